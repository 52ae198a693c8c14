/** Round tours: the usual heuristics, which exact ones (held-karp.ts) are compared with. A tour is a list of all indices. */
import { uniform } from "../../engine/random.ts";
import { ensure, shown } from "../../errors.ts";
import { requireIndices, requireWhole } from "../../numbers.ts";
import { checkedDistances } from "./checks.ts";
import { rotateTo } from "./geometry.ts";

/** Distance between two cities, by their indices: a finite number, the same in both directions. */
export type Distances = (a: number, b: number) => number;

/** Length of a closed tour through the cities in this order. Errors: `bad_option` for cities that are no indices, and distances that are not finite. */
export function tourLength(tour: readonly number[], between: Distances): number {
  requireIndices("tour", tour, mostCities);
  const apart = checkedDistances(between);
  let sum = 0;
  for (const [i, city] of tour.entries()) sum += apart(city, tour[(i + 1) % tour.length]);
  return sum;
}

/**
 * From city 0, in the direction in which the second index is smaller than the last: one writing for each round tour. Errors: `bad_option`
 * for what is no tour.
 */
export function canonicalTour(tour: readonly number[]): number[] {
  requireTour("tour", tour);
  const [first, ...rest] = rotateTo(tour, 0);
  return rest.length > 1 && rest[0] > rest[rest.length - 1] ? [first, ...rest.reverse()] : [first, ...rest];
}

/** Whether every city is visited once. Errors: `bad_option` for a number of cities that there cannot be. */
export function isTour(tour: readonly number[], cities: number): boolean {
  requireWhole({ cities }, 0, mostCities);
  const there = (city: number): boolean => Number.isInteger(city) && city >= 0 && city < cities;
  return tour.length === cities && new Set(tour).size === cities && tour.every(there);
}

/** Of more, not even the nearest of all pairs are found within minutes. */
const mostCities = 100_000;

function requireTour(name: string, tour: readonly number[]): void {
  requireWhole({ [`${name}.length`]: tour.length }, 1, mostCities);
  ensure(isTour(tour, tour.length), "bad_option", () => {
    return `${name} must have each index from 0 to ${tour.length - 1} once, and is ${shown(tour)}`;
  });
}

/** Where all pairs are sorted by their length: those of more do not fit Node's memory. */
const mostSorted = 5000;

/** Any order, a function of seed and number: what a tour is worth that knows nothing. Errors: `bad_option` for numbers that there cannot be. */
export function randomTour(cities: number, seed: number, index: number): number[] {
  requireWhole({ cities }, 1, mostCities);
  requireWhole({ seed, index }, 0);
  const tour = Array.from({ length: cities }, (_, city) => city);
  for (let left = cities; left > 1; left--) {
    const drawn = Math.floor(uniform({ seed, request: cities }, index, "search", left) * left);
    [tour[drawn], tour[left - 1]] = [tour[left - 1], tour[drawn]];
  }
  return canonicalTour(tour);
}

/** From city 0 always to the nearest that is left. Errors: `bad_option` for a number of cities that there cannot be, and for distances that are not finite. */
export function nearestNeighbour(cities: number, between: Distances): number[] {
  requireWhole({ cities }, 1, mostCities);
  const apart = checkedDistances(between);
  const left = new Set(Array.from({ length: cities - 1 }, (_, i) => i + 1));
  const tour = [0];
  while (left.size > 0) {
    const here = tour[tour.length - 1];
    let [nearest, least] = [-1, Number.POSITIVE_INFINITY];
    for (const city of left) {
      const length = apart(here, city);
      if (length < least) [nearest, least] = [city, length];
    }
    left.delete(nearest);
    tour.push(nearest);
  }
  return canonicalTour(tour);
}

/**
 * Shortest edges first, as long as no city gets three and no circle closes early. Errors: `bad_option` for none or more than 5000 cities,
 * and for distances that are not finite.
 */
export function greedyEdges(cities: number, between: Distances): number[] {
  requireWhole({ cities }, 1, mostSorted);
  if (cities <= 3) return Array.from({ length: cities }, (_, i) => i);
  const neighbours: number[][] = Array.from({ length: cities }, () => []);
  const parts = disjointSets(cities);
  let count = 0;
  for (const [a, b] of edgesByLength(cities, checkedDistances(between))) {
    if (neighbours[a].length === 2 || neighbours[b].length === 2) continue;
    if (!parts.join(a, b) && count < cities - 1) continue;
    neighbours[a].push(b);
    neighbours[b].push(a);
    if (++count === cities) break;
  }
  const tour = [0];
  for (let previous = -1; tour.length < cities; ) {
    const here = tour[tour.length - 1];
    const next = neighbours[here].find((city) => city !== previous) as number;
    previous = here;
    tour.push(next);
  }
  return canonicalTour(tour);
}

/**
 * Turns stretches of the tour round while that makes it shorter (Croes 1958). Errors: `bad_option` for what is no tour, and for distances
 * that are not finite or not the same in both directions, or at two times, so that the turns lead nowhere.
 */
export function twoOpt(start: readonly number[], between: Distances): number[] {
  requireTour("start", start);
  const apart = checkedDistances(between);
  const tour = [...start];
  const { length } = tour;
  let shortest = tourLength(tour, between);
  for (let improved = true; improved; ) {
    improved = false;
    for (let i = 0; i < length - 1; i++) {
      for (let j = i + 2; j < length; j++) {
        if (i === 0 && j === length - 1) continue;
        const [a, b, c, d] = [tour[i], tour[i + 1], tour[j], tour[(j + 1) % length]];
        if (apart(a, c) + apart(b, d) >= apart(a, b) + apart(c, d) - 1e-12) continue;
        for (let from = i + 1, to = j; from < to; from++, to--) [tour[from], tour[to]] = [tour[to], tour[from]];
        improved = true;
      }
    }
    if (!improved) break;
    const now = tourLength(tour, between);
    improved = hasFallen(shortest, now);
    shortest = now;
  }
  return canonicalTour(tour);
}

/** Whether exchanges that each seemed to shorten did so in all, by more than sums are rounded by. Errors: `bad_option` where they made it longer. */
function hasFallen(before: number, now: number): boolean {
  ensure(now - before <= 1e-9 * Math.abs(before), "bad_option", () => {
    return `between gives other distances for (a, b) than for (b, a), or at another time: shorter edges made ${before} into ${now}`;
  });
  return now < before;
}

/** Odd cities that are matched exactly; beyond it pairs are taken greedily and exchanged while that helps. */
export const mostMatchedExactly = 16;

/**
 * Christofides 1976: a shortest spanning tree, a matching of its odd cities, an Euler circuit, and each city once. The bound
 * of 1.5 holds for up to 16 odd cities, where the matching is the shortest, and for distances that obey the triangle inequality. Errors:
 * `bad_option` for none or more than 5000 cities, and for distances that are not finite, below 0 (which that inequality rules out), or not the
 * same in both directions.
 */
export function christofides(cities: number, between: Distances): number[] {
  requireWhole({ cities }, 1, mostSorted);
  if (cities <= 3) return Array.from({ length: cities }, (_, i) => i);
  const neighbours: number[][] = Array.from({ length: cities }, () => []);
  const link = (a: number, b: number): void => {
    neighbours[a].push(b);
    neighbours[b].push(a);
  };
  const parts = disjointSets(cities);
  const apart = checkedDistances(between, 0);
  for (const [a, b] of edgesByLength(cities, apart)) if (parts.join(a, b)) link(a, b);
  const odd = neighbours.flatMap((list, city) => (list.length % 2 === 1 ? [city] : []));
  const distanceOf = (i: number, j: number): number => apart(odd[i], odd[j]);
  const pairs =
    odd.length <= mostMatchedExactly ? exactMatching(odd.length, distanceOf) : greedyMatching(odd.length, distanceOf);
  for (const [i, j] of pairs) link(odd[i], odd[j]);
  // Hierholzer's circuit, then each city where it is first met.
  const [stack, circuit] = [[0], [] as number[]];
  while (stack.length > 0) {
    const here = stack[stack.length - 1];
    const next = neighbours[here].pop();
    if (next === undefined) circuit.push(stack.pop() as number);
    else {
      neighbours[next].splice(neighbours[next].indexOf(here), 1);
      stack.push(next);
    }
  }
  return canonicalTour([...new Set(circuit)]);
}

type Pair = [number, number];

/** Ten bytes for each subset of so many. */
const mostMatched = 24;

/**
 * The shortest perfect matching of an even number of points, by subsets. Errors: `bad_option` for an odd count or one beyond 24, and for distances
 * that are not finite (those below 0 are taken as they are).
 */
export function exactMatching(count: number, between: Distances): Pair[] {
  requireWhole({ count }, 0, mostMatched);
  ensure(count % 2 === 0, "bad_option", `count is ${count}, and only an even number of points can be paired`);
  const apart = checkedDistances(between);
  const sets = 1 << count;
  const best = new Float64Array(sets).fill(Number.POSITIVE_INFINITY);
  const taken = new Int16Array(sets);
  best[0] = 0;
  for (let set = 0; set < sets - 1; set++) {
    if (best[set] === Number.POSITIVE_INFINITY) continue;
    let first = 0;
    while (set & (1 << first)) first++;
    for (let second = first + 1; second < count; second++) {
      if (set & (1 << second)) continue;
      const next = set | (1 << first) | (1 << second);
      const length = best[set] + apart(first, second);
      if (length < best[next]) {
        best[next] = length;
        taken[next] = first * 64 + second;
      }
    }
  }
  const pairs: Pair[] = [];
  for (let set = sets - 1; set !== 0; ) {
    const pair: Pair = [taken[set] >> 6, taken[set] & 63];
    pairs.push(pair);
    set ^= (1 << pair[0]) | (1 << pair[1]);
  }
  return pairs;
}

function greedyMatching(count: number, between: Distances): Pair[] {
  const free = new Set(Array.from({ length: count }, (_, i) => i));
  const pairs: Pair[] = [];
  for (const [a, b] of edgesByLength(count, between)) {
    if (!free.has(a) || !free.has(b)) continue;
    free.delete(a);
    free.delete(b);
    pairs.push([a, b]);
  }
  const whole = (): number => pairs.reduce((sum, [a, b]) => sum + between(a, b), 0);
  let shortest = whole();
  for (let improved = true; improved; ) {
    improved = false;
    for (let i = 0; i < pairs.length; i++) {
      for (let j = 0; j < i; j++) {
        const [[a, b], [c, d]] = [pairs[i], pairs[j]];
        const now = between(a, b) + between(c, d);
        const crossed = between(a, c) + between(b, d) <= between(a, d) + between(b, c);
        const [one, other]: [Pair, Pair] = crossed
          ? [
              [a, c],
              [b, d],
            ]
          : [
              [a, d],
              [b, c],
            ];
        if (between(...one) + between(...other) >= now - 1e-12) continue;
        [pairs[i], pairs[j]] = [one, other];
        improved = true;
      }
    }
    if (!improved) break;
    const now = whole();
    improved = hasFallen(shortest, now);
    shortest = now;
  }
  return pairs;
}

function edgesByLength(count: number, between: Distances): Pair[] {
  const edges: [number, Pair][] = [];
  for (let i = 0; i < count; i++) for (let j = i + 1; j < count; j++) edges.push([between(i, j), [i, j]]);
  return edges.sort(([a], [b]) => a - b).map(([, pair]) => pair);
}

function disjointSets(count: number) {
  const parent = Array.from({ length: count }, (_, i) => i);
  const root = (i: number): number => {
    while (parent[i] !== i) {
      parent[i] = parent[parent[i]];
      i = parent[i];
    }
    return i;
  };
  return {
    /** False when they were together already. */
    join(a: number, b: number): boolean {
      const [x, y] = [root(a), root(b)];
      parent[x] = y;
      return x !== y;
    },
  };
}
