/** An answer as trace events, which every face knows how to draw: a pointer a step, the points with the first. */
import type { TraceEvent } from "../../engine/trace.ts";
import { requireIndices } from "../../numbers.ts";
import { requireCoordinates } from "./checks.ts";
import type { Point } from "./geometry.ts";
import type { Answer } from "./search.ts";

/** `points` as they are drawn, within the unit square. Errors: `bad_option` for places of the answer that are no points. */
export function pointingEvents(points: readonly Point[], { places, probabilities }: Answer): TraceEvent[] {
  requireCoordinates(points);
  requireIndices("places", places, points.length);
  const inputs = points.map(([x, y]): [number, number] => [x, y]);
  return probabilities.map((step, i) => ({
    type: "point",
    chosen: places[i] ?? -1,
    probabilities: Array.from(step, (p) => Math.round(p * 1e4) / 1e4),
    ...(i === 0 && { inputs }),
  }));
}
