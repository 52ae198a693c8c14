import { expect, test } from "vitest";
import { canonicalTour, type Distances, distance, drawPoints, heldKarp, type Point, tourLength } from "./index.ts";

const between =
  (points: readonly Point[]): Distances =>
  (a, b) =>
    distance(points[a], points[b]);

/** The same without bounds: every set, every last city. */
function plain(cities: number, between: Distances): number[] {
  const table = Array.from({ length: cities }, (_, a) => Array.from({ length: cities }, (_, b) => between(a, b)));
  const apart: Distances = (a, b) => table[a][b];
  const others = cities - 1;
  const sets = 1 << others;
  const best = new Float64Array(sets * others).fill(Number.POSITIVE_INFINITY);
  const before = new Int8Array(sets * others);
  for (let j = 0; j < others; j++) best[(1 << j) * others + j] = apart(0, j + 1);
  for (let set = 1; set < sets; set++)
    for (let j = 0; j < others; j++)
      for (let k = 0; k < others; k++) {
        if (set & (1 << k)) continue;
        const next = (set | (1 << k)) * others + k;
        const length = best[set * others + j] + apart(j + 1, k + 1);
        if (length >= best[next]) continue;
        best[next] = length;
        before[next] = j;
      }
  let last = 0;
  const whole = (j: number): number => best[(sets - 1) * others + j] + apart(j + 1, 0);
  for (let j = 1; j < others; j++) if (whole(j) < whole(last)) last = j;
  const tour: number[] = [];
  for (let set = sets - 1; set !== 0; ) {
    tour.push(last + 1);
    const previous = before[set * others + last];
    set ^= 1 << last;
    last = previous;
  }
  return canonicalTour([0, ...tour]);
}

test("bounds leave out no shortest tour: the same one as without them, of scattered cities and of such with many shortest tours", () => {
  const onGrid = (points: readonly Point[], lines: number): Point[] =>
    points.map(([x, y]): Point => [Math.floor(x * lines), Math.floor(y * lines)]);
  for (const cities of [4, 6, 8, 10, 11, 12, 13])
    for (let seed = 0; seed < (cities < 12 ? 4 : 8); seed++) {
      const points = drawPoints(cities, seed, 5);
      const sets = [points, onGrid(points, 3), onGrid(points, 1), points.map(([x]): Point => [x, 0])];
      for (const [kind, set] of sets.entries())
        expect(heldKarp(cities, between(set)), `${cities} ${seed} ${kind}`).toEqual(plain(cities, between(set)));
      // Lengths that no points have, below 0 as well.
      const drawn: Distances = (a, b) => drawPoints(2, Math.min(a, b), 100 * seed + Math.max(a, b))[0][0] - 0.4;
      expect(heldKarp(cities, drawn), `${cities} ${seed} drawn`).toEqual(plain(cities, drawn));
    }
});

test("the tour does not depend on how the cities are numbered", () => {
  for (let seed = 0; seed < 5; seed++) {
    const points = drawPoints(14, seed, 6);
    const length = tourLength(heldKarp(14, between(points)), between(points));
    const turned = [...points.slice(5), ...points.slice(0, 5)].toReversed();
    expect(tourLength(heldKarp(14, between(turned)), between(turned))).toBeCloseTo(length, 12);
  }
});

test("twenty cities: on a circle the tour goes round, and on a grid it takes steps of one", () => {
  const round = Array.from({ length: 20 }, (_, i): Point => {
    const angle = (2 * Math.PI * ((7 * i) % 20)) / 20;
    return [Math.cos(angle), Math.sin(angle)];
  });
  expect(tourLength(heldKarp(20, between(round)), between(round))).toBeCloseTo(40 * Math.sin(Math.PI / 20), 9);
  const grid = Array.from({ length: 20 }, (_, i): Point => [i % 5, Math.floor(i / 5)]);
  expect(tourLength(heldKarp(20, between(grid)), between(grid))).toBe(20);
  // Where no tour is shorter than another nothing can be left out: 16 cities, as 20 take seconds.
  expect(heldKarp(16, () => 1)).toEqual(plain(16, () => 1));
});

test("distances that cannot be added up are refused", () => {
  expect(() => heldKarp(6, () => 1e308)).toThrow(/too large to be added up/);
});
