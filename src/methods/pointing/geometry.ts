/** Exact answers to the planar tasks, and what answers are scored by: convex hulls, Delaunay triangulations, areas. */
import { ensure, shown } from "../../errors.ts";
import { requireIndices } from "../../numbers.ts";
import { boxOf, requireCoordinates } from "./checks.ts";

/** A point of the plane. */
export type Point = readonly [x: number, y: number];

/** Twice the signed area of a, b, c: positive when they turn left. */
export const turn = (a: Point, b: Point, c: Point): number =>
  (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);

/** Below this a turn counts as straight, for coordinates about the unit square. */
const straight = 1e-12;

/**
 * Indices of the convex hull, counter-clockwise from the lowest index on it; points inside edges are left out and of
 * equal points the first stands for all (Andrew's monotone chain, O(n log n)). Errors: `bad_option` for fewer than three points that
 * are not on one line.
 */
export function convexHull(points: readonly Point[]): number[] {
  requirePoints(points, 3);
  const order = Array.from(points, (_, i) => i).sort(
    (a, b) => points[a][0] - points[b][0] || points[a][1] - points[b][1] || a - b,
  );
  const distinct = order.filter((index, i) => i === 0 || !samePoint(points[index], points[order[i - 1]]));
  const half = (indices: readonly number[]): number[] => {
    const chain: number[] = [];
    for (const index of indices) {
      while (
        chain.length >= 2 &&
        turn(points[chain[chain.length - 2]], points[chain[chain.length - 1]], points[index]) <= straight
      )
        chain.pop();
      chain.push(index);
    }
    return chain.slice(0, -1);
  };
  const hull = [...half(distinct), ...half(distinct.toReversed())];
  // Where the two chains meet no turn was looked at: a corner that hardly turns is none.
  const at = (i: number): Point => points[hull[(i + hull.length) % hull.length]];
  for (let i = 0; i < hull.length && hull.length >= 3; ) {
    if (turn(at(i - 1), at(i), at(i + 1)) > straight) i++;
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
  const sides = [turn(a, b, c), turn(a, b, d), turn(c, d, a), turn(c, d, b)].map(Math.sign);
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

/** Positive when d lies inside the circle through a, b, c (which turn left), 0 on it. */
export function inCircle(a: Point, b: Point, c: Point, d: Point): number {
  const [ax, ay] = [a[0] - d[0], a[1] - d[1]];
  const [bx, by] = [b[0] - d[0], b[1] - d[1]];
  const [cx, cy] = [c[0] - d[0], c[1] - d[1]];
  return (
    (ax * ax + ay * ay) * (bx * cy - cx * by) -
    (bx * bx + by * by) * (ax * cy - cx * ay) +
    (cx * cx + cy * cy) * (ax * by - bx * ay)
  );
}

/**
 * The Delaunay triangulation as triangles of ascending indices, sorted by the coordinates of their incenters (Bowyer 1981, Watson
 * 1981). Of four points on one circle the diagonal with the lowest index is taken. Errors: `bad_option` for fewer than three
 * points, equal points, and points on one line.
 */
export function delaunay(points: readonly Point[]): Triangle[] {
  requirePoints(points, 3);
  for (let i = 0; i < points.length; i++)
    for (let j = 0; j < i; j++)
      ensure(
        !samePoint(points[i], points[j]),
        "bad_option",
        () => `points ${j + 1} and ${i + 1} are equal: they have no triangulation`,
      );
  ensure(convexHull(points).length >= 3, "internal", "a hull of fewer than three points");
  // Far enough that its corners act as points at infinity for coordinates about the unit square.
  const far = 1e5;
  const all: Point[] = [...points, [-3 * far, -3 * far], [3 * far, -3 * far], [0, 3 * far]];
  const n = points.length;
  let triangles: number[][] = [[n, n + 1, n + 2]];
  for (let p = 0; p < n; p++) {
    const edges = new Map<string, [number, number]>();
    triangles = triangles.filter(([a, b, c]) => {
      if (inCircle(all[a], all[b], all[c], all[p]) <= straight) return true;
      for (const [from, to] of [
        [a, b],
        [b, c],
        [c, a],
      ]) {
        // An edge of two removed triangles lies inside the hole.
        if (!edges.delete(`${to} ${from}`)) edges.set(`${from} ${to}`, [from, to]);
      }
      return false;
    });
    for (const [from, to] of edges.values()) triangles.push([from, to, p]);
  }
  const kept = triangles.filter((triangle) => triangle.every((index) => index < n));
  return sortTriangles(points, preferLowDiagonals(points, kept));
}

/** Flips the diagonal of neighbours on one circle until it holds the lowest of their four indices. */
function preferLowDiagonals(points: readonly Point[], triangles: number[][]): number[][] {
  for (let changed = true; changed; ) {
    changed = false;
    const across = new Map<string, number>();
    for (const [t, [a, b, c]] of triangles.entries())
      for (const [from, to] of [
        [a, b],
        [b, c],
        [c, a],
      ])
        across.set(`${from} ${to}`, t);
    for (const [key, t] of across) {
      const [from, to] = key.split(" ").map(Number);
      const other = across.get(`${to} ${from}`);
      if (other === undefined || other < t) continue;
      const left = triangles[t].find((index) => index !== from && index !== to) as number;
      const right = triangles[other].find((index) => index !== from && index !== to) as number;
      const onCircle = Math.abs(inCircle(points[from], points[to], points[left], points[right])) <= straight;
      if (!onCircle || Math.min(left, right) > Math.min(from, to)) continue;
      if (turn(points[left], points[from], points[right]) <= 0 || turn(points[right], points[to], points[left]) <= 0)
        continue;
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
  // Neighbours must lie on opposite sides of what they share: turning left, no two triangles run along an edge in one direction.
  const directed = triangles.flatMap(([a, b, c]) => {
    const left = turn(points[a], points[b], points[c]) > 0 ? [a, b, c] : [a, c, b];
    return left.map((from, i) => `${from} ${left[(i + 1) % 3]}`);
  });
  if (new Set(directed).size !== directed.length) return false;
  const area = triangles.reduce((sum, triangle) => sum + areaOf(points, triangle), 0);
  return (
    Math.abs(area - areaOf(points, convexHull(points))) <= 1e-9 &&
    triangles.every((triangle) => hasEmptyCircle(points, triangle))
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
  const distinct = new Map(found.map((triangle) => [triangleKey(triangle), triangle]));
  const right = [...distinct.values()].filter((triangle) => hasEmptyCircle(points, triangle)).length;
  return Math.min(1, right / truth.length);
}

function requireTriangles(name: string, triangles: readonly (readonly number[])[], points: number): void {
  for (const [t, triangle] of triangles.entries()) requireIndices(`${name}[${t}]`, triangle, points);
}

const triangleKey = (triangle: readonly number[]): string => [...triangle].sort((a, b) => a - b).join(" ");

function hasEmptyCircle(points: readonly Point[], triangle: readonly number[]): boolean {
  if (triangle.length !== 3 || new Set(triangle).size !== 3) return false;
  let [a, b, c] = triangle.map((index) => points[index]);
  const side = turn(a, b, c);
  if (Math.abs(side) <= straight) return false;
  if (side < 0) [b, c] = [c, b];
  return points.every((point, i) => triangle.includes(i) || inCircle(a, b, c, point) <= straight);
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
