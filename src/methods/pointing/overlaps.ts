/** Which triangles share more than their edges: a triangulation has none. */
import { requireIndices } from "../../numbers.ts";
import { requireCoordinates } from "./checks.ts";
import type { Point } from "./geometry.ts";
import { turnSign } from "./predicates.ts";

/** How many of the triangles overlap another one. Errors: `bad_option` for corners that are no points. */
export function overlappingTriangles(points: readonly Point[], triangles: readonly (readonly number[])[]): number {
  requireCoordinates(points);
  for (const [t, triangle] of triangles.entries()) requireIndices(`triangles[${t}]`, triangle, points.length);
  const shapes = triangles.map((triangle) => triangle.map((index) => points[index])).flatMap(shapeOf);
  const overlapping = new Set<Shape>();
  for (const [i, a] of shapes.entries())
    for (const b of shapes.slice(0, i))
      if (boxesMeet(a, b) && !areApart(a, b) && !areApart(b, a)) overlapping.add(a).add(b);
  return overlapping.size;
}

interface Shape {
  /** Turning left. */
  readonly corners: readonly Point[];
  readonly low: Point;
  readonly high: Point;
}

/** None of what has no area. */
function shapeOf(corners: readonly Point[]): Shape[] {
  if (corners.length !== 3) return [];
  const [a, b, c] = corners;
  const side = turnSign(a, b, c);
  if (side === 0) return [];
  const span = (pick: (...values: number[]) => number): Point => [pick(a[0], b[0], c[0]), pick(a[1], b[1], c[1])];
  return [{ corners: side > 0 ? [a, b, c] : [a, c, b], low: span(Math.min), high: span(Math.max) }];
}

const boxesMeet = (a: Shape, b: Shape): boolean =>
  a.low[0] < b.high[0] && b.low[0] < a.high[0] && a.low[1] < b.high[1] && b.low[1] < a.high[1];

/** Whether an edge of one has the whole other one beyond it, or on it. */
const areApart = ({ corners }: Shape, other: Shape): boolean =>
  corners.some((from, i) => other.corners.every((corner) => turnSign(from, corners[(i + 1) % 3], corner) <= 0));
