/** Exact answers to the planar tasks, and what answers are scored by: convex hulls, Delaunay triangulations, areas. */
import { ensure, shown } from "../../errors.ts";
import { requireIndices } from "../../numbers.ts";
import { boxOf, requireCoordinates } from "./checks.ts";
import { type RoundedSigns, roundedSigns, turnSign } from "./predicates.ts";
import { triangulate } from "./triangulate.ts";

/** A point of the plane. */
export type Point = readonly [x: number, y: number];

export { inCircle, turn } from "./predicates.ts";

/**
 * Indices of the convex hull, counter-clockwise from the lowest index on it; points inside edges are left out and of
 * equal points the first stands for all (Andrew's monotone chain, O(n log n)). Exact where all coordinates are whole; of others, what is
 * straight but for their rounding counts as straight. Errors: `bad_option` for fewer than three points that
 * are not on one line.
 */
export function convexHull(points: readonly Point[]): number[] {
  requirePoints(points, 3);
  const { turn } = roundedSigns(points);
  const order = Array.from(points, (_, i) => i).sort(
    (a, b) => points[a][0] - points[b][0] || points[a][1] - points[b][1] || a - b,
  );
  const distinct = order.filter((index, i) => i === 0 || !samePoint(points[index], points[order[i - 1]]));
  const half = (indices: readonly number[]): number[] => {
    const chain: number[] = [];
    for (const index of indices) {
      while (chain.length >= 2 && turn(chain[chain.length - 2], chain[chain.length - 1], index) <= 0) chain.pop();
      chain.push(index);
    }
    return chain.slice(0, -1);
  };
  const hull = [...half(distinct), ...half(distinct.toReversed())];
  // Where the two chains meet no turn was looked at: a corner that hardly turns is none.
  const at = (i: number): number => hull[(i + hull.length) % hull.length];
  for (let i = 0; i < hull.length && hull.length >= 3; ) {
    if (turn(at(i - 1), at(i), at(i + 1)) > 0) i++;
    else {
      hull.splice(i, 1);
      i = 0;
    }
  }
  ensure(hull.length >= 3, "bad_option", "the points lie on one line: they have no hull");
  return rotateTo(hull, Math.min(...hull));
}

/** The cycle that begins with this element. Errors: `bad_option` where it has no such element. */
export function rotateTo(cycle: readonly number[], first: number): number[] {
  const at = cycle.indexOf(first);
  ensure(at >= 0, "bad_option", () => `first is ${first}, which the cycle ${shown(cycle)} does not have`);
  return [...cycle.slice(at), ...cycle.slice(0, at)];
}

/** Whether two cycles are one, whatever their first element and direction. */
export function sameCycle(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length || a.length === 0 || !b.includes(a[0])) return false;
  const turned = rotateTo(b, a[0]);
  const back = [turned[0], ...turned.slice(1).reverse()];
  return a.every((value, i) => value === turned[i]) || a.every((value, i) => value === back[i]);
}

/** Area of a polygon, whatever its direction (shoelace formula). Errors: `bad_option` for corners that are no points. */
export function polygonArea(points: readonly Point[], cycle: readonly number[]): number {
  requireCoordinates(points);
  requireIndices("cycle", cycle, points.length);
  return areaOf(points, cycle);
}

function areaOf(points: readonly Point[], cycle: readonly number[]): number {
  let sum = 0;
  for (const [i, index] of cycle.entries()) {
    const [a, b] = [points[index], points[cycle[(i + 1) % cycle.length]]];
    sum += a[0] * b[1] - b[0] * a[1];
  }
  return Math.abs(sum) / 2;
}

/**
 * Whether a cycle of at least three different points crosses or touches itself nowhere but at its corners. Errors: `bad_option` for corners
 * that are no points.
 */
export function isSimplePolygon(points: readonly Point[], cycle: readonly number[]): boolean {
  requireCoordinates(points);
  requireIndices("cycle", cycle, points.length);
  const { length } = cycle;
  if (length < 3 || new Set(cycle).size !== length) return false;
  for (let i = 0; i < length; i++) {
    const [a, b] = [points[cycle[i]], points[cycle[(i + 1) % length]]];
    for (let j = i + 1; j < length; j++) {
      const [c, d] = [points[cycle[j]], points[cycle[(j + 1) % length]]];
      const neighbours = j === i + 1 || (i === 0 && j === length - 1);
      if (!neighbours && segmentsMeet(a, b, c, d)) return false;
    }
  }
  return true;
}

function segmentsMeet(a: Point, b: Point, c: Point, d: Point): boolean {
  const sides = [turnSign(a, b, c), turnSign(a, b, d), turnSign(c, d, a), turnSign(c, d, b)];
  if (sides[0] !== sides[1] && sides[2] !== sides[3]) return true;
  const within = (p: Point, q: Point, r: Point): boolean =>
    r[0] >= Math.min(p[0], q[0]) &&
    r[0] <= Math.max(p[0], q[0]) &&
    r[1] >= Math.min(p[1], q[1]) &&
    r[1] <= Math.max(p[1], q[1]);
  return (
    (sides[0] === 0 && within(a, b, c)) ||
    (sides[1] === 0 && within(a, b, d)) ||
    (sides[2] === 0 && within(c, d, a)) ||
    (sides[3] === 0 && within(c, d, b))
  );
}

/** Indices of three points. */
export type Triangle = readonly [number, number, number];

/**
 * The Delaunay triangulation as triangles of ascending indices, sorted by the coordinates of their incenters. Exact where all
 * coordinates are whole; of others, what is straight or on one circle but for their rounding counts as that. Of four points on one circle the diagonal with the lowest index is taken. Errors: `bad_option` for fewer than three
 * points, equal points, and points on one line.
 */
export function delaunay(points: readonly Point[]): Triangle[] {
  requireTriangulable(points);
  const signs = roundedSigns(points);
  return sortTriangles(points, preferLowDiagonals(signs, withoutFlat(signs, triangulate(points))));
}

/** Errors: `bad_option` for fewer than three points, equal points, and points on one line. */
export function requireTriangulable(points: readonly Point[]): void {
  requirePoints(points, 3);
  for (let i = 0; i < points.length; i++)
    for (let j = 0; j < i; j++)
      ensure(
        !samePoint(points[i], points[j]),
        "bad_option",
        () => `points ${j + 1} and ${i + 1} are equal: they have no triangulation`,
      );
  convexHull(points); // refuses points on one line
}

/** Without what the rounding of coordinates leaves between the hull and points on its edges. */
function withoutFlat(signs: RoundedSigns, triangles: number[][]): number[][] {
  const isFlat = ([a, b, c]: number[]): boolean => signs.turn(a, b, c) === 0;
  let kept = triangles;
  for (;;) {
    const edges = new Set(kept.flatMap((triangle) => edgesOf(triangle).map((edge) => edge.join(" "))));
    const isOutermost = (triangle: number[]): boolean =>
      edgesOf(triangle).some(([from, to]) => !edges.has(`${to} ${from}`));
    const left = kept.filter((triangle) => !isFlat(triangle) || !isOutermost(triangle));
    if (left.length === kept.length) return kept;
    kept = left;
  }
}

const edgesOf = ([a, b, c]: readonly number[]): (readonly [number, number])[] => [
  [a, b],
  [b, c],
  [c, a],
];

/** Flips the diagonal of neighbours on one circle until it holds the lowest of their four indices. */
function preferLowDiagonals(signs: RoundedSigns, triangles: number[][]): number[][] {
  for (let changed = true; changed; ) {
    changed = false;
    const across = new Map<string, number>();
    for (const [t, triangle] of triangles.entries())
      for (const [from, to] of edgesOf(triangle)) across.set(`${from} ${to}`, t);
    for (const [key, t] of across) {
      const [from, to] = key.split(" ").map(Number);
      const other = across.get(`${to} ${from}`);
      if (other === undefined || other < t) continue;
      const left = triangles[t].find((index) => index !== from && index !== to) as number;
      const right = triangles[other].find((index) => index !== from && index !== to) as number;
      if (signs.circle(from, to, left, right) !== 0 || Math.min(left, right) > Math.min(from, to)) continue;
      if (signs.turn(left, from, right) <= 0 || signs.turn(right, to, left) <= 0) continue;
      triangles[t] = [left, from, right];
      triangles[other] = [right, to, left];
      changed = true;
      break;
    }
  }
  return triangles;
}

/**
 * Indices ascending within each triangle, triangles by their incenters' coordinates: the order that a network is taught. Errors:
 * `bad_option` for triangles that are not of three points.
 */
export function sortTriangles(points: readonly Point[], triangles: readonly (readonly number[])[]): Triangle[] {
  requireCoordinates(points);
  requireTriangles("triangles", triangles, points.length);
  for (const [t, { length }] of triangles.entries())
    ensure(length === 3, "bad_option", `triangles[${t}] has ${length} corners, and must have three`);
  const incenter = ([a, b, c]: readonly number[]): Point => {
    const sides = [distance(points[b], points[c]), distance(points[a], points[c]), distance(points[a], points[b])];
    const whole = sides[0] + sides[1] + sides[2];
    const along = (axis: 0 | 1): number =>
      (sides[0] * points[a][axis] + sides[1] * points[b][axis] + sides[2] * points[c][axis]) / whole;
    return [along(0), along(1)];
  };
  return triangles
    .map((triangle) => [...triangle].sort((a, b) => a - b) as unknown as Triangle)
    .map((triangle) => ({ triangle, at: incenter(triangle) }))
    .sort((a, b) => a.at[0] - b.at[0] || a.at[1] - b.at[1])
    .map(({ triangle }) => triangle);
}

/**
 * Whether the triangles are a Delaunay triangulation, with either diagonal where four points lie on one circle. Errors: those of `delaunay`;
 * `bad_option` for corners that are no points.
 */
export function isDelaunay(
  points: readonly Point[],
  triangles: readonly (readonly number[])[],
  truth = delaunay(points),
): boolean {
  requireCoordinates(points);
  requireTriangles("triangles", triangles, points.length);
  if (triangles.some(({ length }) => length !== 3)) return false;
  if (triangles.length !== truth.length || new Set(triangles.map(triangleKey)).size !== triangles.length) return false;
  const signs = roundedSigns(points);
  // Neighbours must lie on opposite sides of what they share: turning left, no two triangles run along an edge in one direction.
  const directed = triangles.flatMap(([a, b, c]) => {
    const left = turnSign(points[a], points[b], points[c]) > 0 ? [a, b, c] : [a, c, b];
    return left.map((from, i) => `${from} ${left[(i + 1) % 3]}`);
  });
  if (new Set(directed).size !== directed.length) return false;
  const area = triangles.reduce((sum, triangle) => sum + areaOf(points, triangle), 0);
  return (
    Math.abs(area - areaOf(points, convexHull(points))) <= 1e-9 * boxOf(points).extent ** 2 &&
    triangles.every((triangle) => hasEmptyCircle(signs, points.length, triangle))
  );
}

/**
 * Share of the true triangles that were found; one whose circle holds no point counts in place of another on the same circle. Errors: those
 * of `delaunay`; `bad_option` for corners that are no points, and for no true triangles.
 */
export function triangleCoverage(
  points: readonly Point[],
  found: readonly (readonly number[])[],
  truth = delaunay(points),
): number {
  requireCoordinates(points);
  requireTriangles("found", found, points.length);
  ensure(truth.length > 0, "bad_option", "truth is empty: there is no share of no triangles");
  const signs = roundedSigns(points);
  const distinct = new Map(found.map((triangle) => [triangleKey(triangle), triangle]));
  const right = [...distinct.values()].filter((triangle) => hasEmptyCircle(signs, points.length, triangle)).length;
  return Math.min(1, right / truth.length);
}

function requireTriangles(name: string, triangles: readonly (readonly number[])[], points: number): void {
  for (const [t, triangle] of triangles.entries()) requireIndices(`${name}[${t}]`, triangle, points);
}

const triangleKey = (triangle: readonly number[]): string => [...triangle].sort((a, b) => a - b).join(" ");

function hasEmptyCircle(signs: RoundedSigns, points: number, triangle: readonly number[]): boolean {
  if (triangle.length !== 3 || new Set(triangle).size !== 3) return false;
  let [a, b, c] = triangle;
  const side = signs.turn(a, b, c);
  if (side === 0) return false;
  if (side < 0) [b, c] = [c, b];
  for (let i = 0; i < points; i++) if (!triangle.includes(i) && signs.circle(a, b, c, i) > 0) return false;
  return true;
}

/** Euclidean distance. */
export const distance = (a: Point, b: Point): number => Math.hypot(a[0] - b[0], a[1] - b[1]);
/** Whether two points have the same coordinates. */
export const samePoint = (a: Point, b: Point): boolean => a[0] === b[0] && a[1] === b[1];

/** Errors: `bad_option` for too few points and for coordinates that are no finite numbers, naming the point (counted from 1). */
export function requirePoints(points: readonly Point[], least: number, most = 5000): void {
  ensure(Array.isArray(points), "bad_option", () => `points are a list of [x, y], not ${shown(points)}`);
  const { length } = points;
  ensure(
    length >= least && length <= most,
    "bad_option",
    `${length} points are given, and ${least} to ${most} are needed`,
  );
  requireCoordinates(points);
}

/**
 * The points moved and scaled into the unit square, the same scale in both directions, and how: as they are when they lie in it. Errors:
 * `bad_option` for coordinates that are no finite numbers.
 */
export function normalise(points: readonly Point[]): { points: Point[]; scale: number; changed: boolean } {
  requireCoordinates(points);
  if (points.every(([x, y]) => x >= 0 && x <= 1 && y >= 0 && y <= 1))
    return { points: [...points], scale: 1, changed: false };
  const { low, extent } = boxOf(points);
  return {
    points: points.map(([x, y]): Point => [(x - low[0]) / extent, (y - low[1]) / extent]),
    scale: extent,
    changed: true,
  };
}
