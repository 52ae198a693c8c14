/** What the geometry and the tours refuse: points that lie nowhere, and distances that are no numbers. */
import { ensure, leaveUnheard, shown, VentrisError } from "../../errors.ts";
import { isListOf } from "../../values.ts";
import type { Point } from "./geometry.ts";
import type { Distances } from "./tours.ts";

/** Differences of larger coordinates, and their products, are not finite. */
const largest = 1e100;

const isCoordinate = (x: unknown): x is number => typeof x === "number" && Math.abs(x) <= largest;

/** Errors: `bad_option` for coordinates that are no finite numbers, naming the point (counted from 1). */
export function requireCoordinates(points: readonly Point[]): void {
  ensure(Array.isArray(points), "bad_option", () => `points are a list of [x, y], not ${shown(points)}`);
  for (const [i, point] of points.entries())
    ensure(isListOf(point, isCoordinate) && point.length === 2, "bad_option", () => {
      const given = Array.isArray(point) ? `(${Array.from(point, shown).join(", ")})` : shown(point);
      return `point ${i + 1} is ${given}, not two numbers of at most ${largest}`;
    });
}

/** The same distances, each looked at when it is asked for. Errors: of the call, `bad_option` for one that is not finite, or below `least`. */
export function checkedDistances(between: Distances, least = -Number.MAX_VALUE): Distances {
  return (a, b) => {
    const length: unknown = between(a, b);
    // Added up or compared, anything else gives no tour, or one improvement after the other without an end.
    if (typeof length === "number" && length >= least && length <= Number.MAX_VALUE) return length;
    leaveUnheard(length);
    const wanted = least === 0 ? "a finite number of at least 0" : "a finite number";
    throw new VentrisError(
      "bad_option",
      `between(${a}, ${b}) gives ${shown(length)}, and a distance must be ${wanted}`,
    );
  };
}

/** The lowest coordinates of points, and the larger side of the box that holds them: 1 where they are all one. */
export function boxOf(points: readonly Point[]): { low: Point; extent: number } {
  const low: [number, number] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  const high: [number, number] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const point of points)
    for (const axis of [0, 1] as const) {
      low[axis] = Math.min(low[axis], point[axis]);
      high[axis] = Math.max(high[axis], point[axis]);
    }
  return { low, extent: Math.max(high[0] - low[0], high[1] - low[1]) || 1 };
}
