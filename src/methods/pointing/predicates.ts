/**
 * Which way three points turn and on which side of a circle a fourth lies, right for any coordinates: in plain floats where the bound of their rounding
 * (Shewchuk 1997) leaves no doubt, and in whole numbers of any size elsewhere.
 */
import { boxOf } from "./checks.ts";
import type { Point } from "./geometry.ts";

const rounding = 2 ** -53;
const turnBound = (3 + 16 * rounding) * rounding;
const circleBound = (10 + 96 * rounding) * rounding;
/** Products that are smaller lose more than the bounds know of. */
const smallest = 1e-280;

/** 1 where a, b, c turn left, -1 where they turn right, 0 on one line. */
export function turnSign(a: Point, b: Point, c: Point): number {
  const left = (b[0] - a[0]) * (c[1] - a[1]);
  const right = (b[1] - a[1]) * (c[0] - a[0]);
  const whole = Math.abs(left) + Math.abs(right);
  if (whole > smallest && Math.abs(left - right) > turnBound * whole) return Math.sign(left - right);
  const [p, q, r] = wholes([a, b, c]);
  return signOf((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]));
}

/** 1 where d lies inside the circle through a, b, c (which turn left), -1 outside, 0 on it. */
export function circleSign(a: Point, b: Point, c: Point, d: Point): number {
  const [ax, ay] = [a[0] - d[0], a[1] - d[1]];
  const [bx, by] = [b[0] - d[0], b[1] - d[1]];
  const [cx, cy] = [c[0] - d[0], c[1] - d[1]];
  const [aa, bb, cc] = [ax * ax + ay * ay, bx * bx + by * by, cx * cx + cy * cy];
  const sum = aa * (bx * cy - cx * by) - bb * (ax * cy - cx * ay) + cc * (ax * by - bx * ay);
  const whole =
    aa * (Math.abs(bx * cy) + Math.abs(cx * by)) +
    bb * (Math.abs(ax * cy) + Math.abs(cx * ay)) +
    cc * (Math.abs(ax * by) + Math.abs(bx * ay));
  if (whole > smallest && Math.abs(sum) > circleBound * whole) return Math.sign(sum);
  const [p, q, r, s] = wholes([a, b, c, d]);
  const [px, py, qx, qy, rx, ry] = [p, q, r].flatMap(([x, y]) => [x - s[0], y - s[1]]);
  return signOf(
    (px * px + py * py) * (qx * ry - rx * qy) -
      (qx * qx + qy * qy) * (px * ry - rx * py) +
      (rx * rx + ry * ry) * (px * qy - qx * py),
  );
}

const signOf = (value: bigint): number => (value > 0n ? 1 : value < 0n ? -1 : 0);

/** Coordinates as multiples of one power of two, which all floats are. */
function wholes(points: readonly Point[]): (readonly [bigint, bigint])[] {
  const split = points.map((point) =>
    point.map((x) => {
      let [whole, halvings] = [x, 0];
      for (; !Number.isInteger(whole); halvings++) whole *= 2;
      return { whole: BigInt(whole), halvings };
    }),
  );
  const most = BigInt(Math.max(...split.flat().map(({ halvings }) => halvings)));
  return split.map(([x, y]) => [x.whole << (most - BigInt(x.halvings)), y.whole << (most - BigInt(y.halvings))]);
}

/** Signs of points by their indices, 0 for what is straight or on a circle but for the rounding of its coordinates. */
export interface RoundedSigns {
  turn(a: number, b: number, c: number): number;
  circle(a: number, b: number, c: number, d: number): number;
}

/** So much of a box of side 1. */
const straight = 1e-12;

/** Whole coordinates are taken as they are: of 0.1 and its like nobody means the last bit. */
export function roundedSigns(points: readonly Point[]): RoundedSigns {
  const exact: RoundedSigns = {
    turn: (a, b, c) => turnSign(points[a], points[b], points[c]),
    circle: (a, b, c, d) => circleSign(points[a], points[b], points[c], points[d]),
  };
  if (points.every((point) => point.every(Number.isInteger))) return exact;
  const { low, extent } = boxOf(points);
  const scaled = points.map(([x, y]): Point => [(x - low[0]) / extent, (y - low[1]) / extent]);
  const at = (i: number): Point => scaled[i];
  return {
    turn: (a, b, c) => (Math.abs(turn(at(a), at(b), at(c))) <= straight ? 0 : exact.turn(a, b, c)),
    circle: (a, b, c, d) => (Math.abs(inCircle(at(a), at(b), at(c), at(d))) <= straight ? 0 : exact.circle(a, b, c, d)),
  };
}

/** Twice the signed area of a, b, c: positive when they turn left. */
export const turn = (a: Point, b: Point, c: Point): number =>
  (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);

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
