/**
 * Delaunay triangles by one point after the other (Bowyer 1981, Watson 1981). Beyond each edge of the hull lies a triangle whose third corner is
 * nowhere, which takes the points outside: corners that are merely far away would be too near for points that hardly bend the hull.
 */
import type { Point } from "./geometry.ts";
import { circleSign, turnSign } from "./predicates.ts";

/** The third corner of what lies beyond an edge of the hull. */
const nowhere = -1;

type Corners = readonly [number, number, number];

/** Triangles that turn left. The points are different ones, at least three of them, and not on one line. */
export function triangulate(points: readonly Point[]): number[][] {
  const third = points.findIndex((point, i) => i > 1 && turnSign(points[0], points[1], point) !== 0);
  const [a, b] = turnSign(points[0], points[1], points[third]) > 0 ? [0, 1] : [1, 0];
  let triangles: Corners[] = [
    [a, b, third],
    [b, a, nowhere],
    [third, b, nowhere],
    [a, third, nowhere],
  ];
  for (const [p, point] of points.entries()) {
    if (p === 0 || p === 1 || p === third) continue;
    const edges = new Map<string, readonly [number, number]>();
    triangles = triangles.filter((triangle) => {
      if (!takes(points, triangle, point)) return true;
      for (const [i, from] of triangle.entries()) {
        const to = triangle[(i + 1) % 3];
        // An edge of two removed triangles lies inside the hole.
        if (!edges.delete(`${to} ${from}`)) edges.set(`${from} ${to}`, [from, to]);
      }
      return false;
    });
    for (const [from, to] of edges.values())
      triangles.push(from === nowhere ? [to, p, from] : to === nowhere ? [p, from, to] : [from, to, p]);
  }
  return triangles.filter((triangle) => triangle[2] !== nowhere).map((triangle) => [...triangle]);
}

/** Whether the circle has the point inside; beyond the hull, whether it lies outside the edge, or on it. */
function takes(points: readonly Point[], [a, b, c]: Corners, point: Point): boolean {
  if (c !== nowhere) return circleSign(points[a], points[b], points[c], point) > 0;
  const [from, to] = [points[a], points[b]];
  const side = turnSign(from, to, point);
  if (side !== 0) return side > 0;
  const axis = from[0] === to[0] ? 1 : 0;
  return point[axis] > Math.min(from[axis], to[axis]) && point[axis] < Math.max(from[axis], to[axis]);
}
