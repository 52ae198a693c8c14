/** Hulls and triangulations against whole numbers of any size: large coordinates, points on one line or one circle, and such as hardly leave them. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { convexHull, delaunay, isDelaunay, isSimplePolygon, type Point } from "./geometry.ts";
import { circleSign, turnSign } from "./predicates.ts";

type Whole = readonly [bigint, bigint];
const whole = ([x, y]: Point): Whole => [BigInt(x), BigInt(y)];

const turnOf = (a: Whole, b: Whole, c: Whole): bigint => (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);

/** As the determinant of four rows x, y, x² + y², 1, by its last column: above 0 where d is inside. */
function circleOf(...points: readonly [Whole, Whole, Whole, Whole]): bigint {
  const rows = points.map(([x, y]) => [x, y, x * x + y * y] as const);
  const minor = (i: number, j: number, k: number): bigint => {
    const [p, q, r] = [rows[i], rows[j], rows[k]];
    return p[0] * (q[1] * r[2] - q[2] * r[1]) - p[1] * (q[0] * r[2] - q[2] * r[0]) + p[2] * (q[0] * r[1] - q[1] * r[0]);
  };
  return -minor(1, 2, 3) + minor(0, 2, 3) - minor(0, 1, 3) + minor(0, 1, 2);
}

const signOf = (value: bigint): number => (value > 0n ? 1 : value < 0n ? -1 : 0);

const large = 1e9;
const coordinate = (most: number) => fc.integer({ min: -most, max: most });
/** Anywhere, on few places of a grid, beside a line, beside a circle, and far from the origin. */
const point = fc.oneof(
  fc.tuple(coordinate(large), coordinate(large)),
  fc.tuple(coordinate(3), coordinate(3)),
  fc.tuple(coordinate(5), coordinate(1)).map(([x, off]): Point => [x * 1e8, x * 1e8 + off]),
  fc.tuple(fc.constantFrom(...circle()), coordinate(1)).map(([[x, y], off]): Point => [x * 1e7 + off, y * 1e7]),
  fc.tuple(coordinate(2), coordinate(2)).map(([x, y]): Point => [large - x, large - y]),
);
/** Whole points at 25 from the origin. */
function circle(): Point[] {
  const side = Array.from({ length: 51 }, (_, i) => i - 25);
  return side.flatMap((x) => side.flatMap((y): Point[] => (x * x + y * y === 625 ? [[x, y]] : [])));
}
const cloud = fc
  .uniqueArray(point, { minLength: 3, maxLength: 24, selector: ([x, y]) => `${x} ${y}` })
  .filter((points) => points.some((one) => turnOf(whole(points[0]), whole(points[1]), whole(one)) !== 0n));

test("signs are those of whole numbers", () => {
  fc.assert(
    fc.property(point, point, point, point, (...four) => {
      const [a, b, c, d] = four.map(whole);
      expect(turnSign(four[0], four[1], four[2])).toBe(signOf(turnOf(a, b, c)));
      expect(circleSign(...four)).toBe(signOf(circleOf(a, b, c, d)));
    }),
    { numRuns: 3000 },
  );
  // Nothing is lost below or above what products of floats can be.
  for (const scale of [1e-300, 2 ** -60, 1, 1e100]) {
    const [a, b, c, d] = circle().map(([x, y]): Point => [x * scale, y * scale]);
    expect(turnSign(a, b, c)).toBe(turnSign(...(circle().slice(0, 3) as [Point, Point, Point])));
    if (Number.isInteger(Math.log2(scale))) expect(circleSign(a, b, c, d)).toBe(0);
  }
});

test("the hull has every point on its left, and no corner that does not turn", () => {
  fc.assert(
    fc.property(cloud, (points) => {
      const hull = convexHull(points);
      for (const [i, from] of hull.entries()) {
        const [to, next] = [hull[(i + 1) % hull.length], hull[(i + 2) % hull.length]].map((at) => whole(points[at]));
        for (const other of points) expect(turnOf(whole(points[from]), to, whole(other)) >= 0n).toBe(true);
        expect(turnOf(whole(points[from]), to, next) > 0n).toBe(true);
      }
      expect(isSimplePolygon(points, hull)).toBe(true);
    }),
    { numRuns: 500 },
  );
});

test("the triangles have empty circles, share no area, and fill the hull", () => {
  fc.assert(
    fc.property(cloud, (points) => {
      const triangles = delaunay(points);
      const at = points.map(whole);
      let area = 0n;
      const directed = new Set<string>();
      for (const [a, ...others] of triangles) {
        const left = turnOf(at[a], at[others[0]], at[others[1]]) > 0n;
        const [b, c] = left ? others : others.toReversed();
        area += turnOf(at[a], at[b], at[c]);
        for (const edge of [`${a} ${b}`, `${b} ${c}`, `${c} ${a}`]) directed.add(edge);
        for (const other of at) expect(circleOf(at[a], at[b], at[c], other) <= 0n).toBe(true);
      }
      expect(directed.size).toBe(3 * triangles.length);
      const hull = convexHull(points).map((corner) => at[corner]);
      const full = hull.slice(2).reduce((sum, corner, i) => sum + turnOf(hull[0], hull[i + 1], corner), 0n);
      expect(area).toBe(full);
      expect(isDelaunay(points, triangles)).toBe(true);
    }),
    { numRuns: 500 },
  );
});

test("points that hardly bend the hull have their triangles, and rounded points on a line have none", () => {
  const bent: Point[] = [
    [0, 0],
    [1, 0],
    [0.5, 1e-8],
    [0.5, 1],
  ];
  expect(delaunay(bent)).toHaveLength(3);
  const rounded: Point[] = [
    [0, 0],
    [0.1, 0.3],
    [0.2, 0.6],
    [0.3, 0.9],
    [1, 0],
  ];
  expect(convexHull(rounded)).toEqual([0, 4, 3]);
  expect(delaunay(rounded)).toHaveLength(3);
});
