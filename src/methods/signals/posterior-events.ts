/** A trajectory as trace events, which every face knows how to draw: a belief a bin, with its covariance ellipse. */
import type { TraceEvent } from "../../engine/trace.ts";
import type { Trajectory } from "./filter.ts";
import type { Matrix } from "./matrix.ts";

/** A trajectory as events of the trace. */
export function posteriorEvents({ means, covariances }: Trajectory, truth?: Matrix): TraceEvent[] {
  const d = means.columns;
  return Array.from({ length: means.rows }, (_, step) => ({
    type: "posterior" as const,
    step,
    mean: [...means.data.subarray(step * d, (step + 1) * d)],
    covariance: [...covariances.data.subarray(step * d * d, (step + 1) * d * d)],
    ...(truth && { truth: [...truth.data.subarray(step * d, (step + 1) * d)] }),
  }));
}
