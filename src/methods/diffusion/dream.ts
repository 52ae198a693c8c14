/**
 * Dream's ways to choose positions (Ye et al. 2025, arXiv 2508.15487): a measure of sureness, a schedule in time, and noise on the order.
 */
import { z } from "zod";
import type { CanvasView, Policy, PolicyRequest } from "../../engine/canvas/policy.ts";
import { uniform } from "../../engine/random.ts";
import { evenSchedule, highest, skippedAfter, stepsOfBlock, stepsOptions } from "./ranking.ts";

export const dreamOptions = z.strictObject({
  ...stepsOptions.shape,
  schedule: z
    .enum(["even", "time"])
    .default("even")
    .describe(
      "how many positions each pass fills: even spreads them over the steps; time follows Dream's schedule, which is rounded down, so that more are left to the last passes",
    ),
  orderTemperature: z
    .number()
    .min(0)
    .max(1000)
    .default(0)
    .describe(
      "0 fills the surest positions first; above 0 they are drawn by their sureness over this, so that a larger number makes the order more random and runs more different",
    ),
});

/** The last of Dream's times. */
const epsilon = 1e-3;

/** Times fall evenly from 1 to epsilon; a pass fills the share 1 - s / t of what is masked, the last pass all. */
export const timeOf = (step: number, steps: number): number => 1 + (step / steps) * (epsilon - 1);

/** Positions that the step fills of so many masked ones. */
export function timedCount(step: number, steps: number, masked: number): number {
  if (step >= steps - 1) return masked;
  return Math.floor(masked * (1 - timeOf(step + 1, steps) / timeOf(step, steps)));
}

/** How many positions a pass fills, and how many steps around it fill nothing: they are no passes, and count where steps were given. */
export function countsOf(
  request: Pick<PolicyRequest, "length" | "blocks">,
  { steps, schedule }: Pick<z.output<typeof dreamOptions>, "steps" | "schedule">,
): (view: CanvasView) => { readonly count: number; readonly skippedSteps: number } {
  if (schedule === "even") {
    const countFor = evenSchedule(request, steps);
    const skippedBy = skippedAfter(request, steps);
    return (view) => {
      const count = countFor(view);
      return { count, skippedSteps: skippedBy(view, count) };
    };
  }
  const own = stepsOfBlock(request, steps);
  let time = 0;
  return ({ step, masked }) => {
    if (step === 0) time = 0;
    const before = time;
    let count = 0;
    while (count === 0) count = timedCount(time++, own, masked.length);
    const after = count >= masked.length ? Math.max(0, own - time) : 0;
    return { count, skippedSteps: steps === undefined ? 0 : time - before - 1 + after };
  };
}

/** Fills by a measure; with a temperature on the order, by draws without replacement (Gumbel's trick). */
export function byMeasure(
  request: PolicyRequest,
  options: z.output<typeof dreamOptions>,
  measure: (view: CanvasView) => (position: number) => number,
): Policy {
  const countFor = countsOf(request, options);
  const { orderTemperature: temperature } = options;
  return {
    decide(view) {
      const value = measure(view);
      const noisy = (position: number): number => {
        const u = uniform(request.stream, request.place(view.pass, position), "unmask");
        return value(position) / temperature - Math.log(-Math.log(Math.max(u, Number.MIN_VALUE)));
      };
      const { count, skippedSteps } = countFor(view);
      return { positions: highest(view.masked, count, temperature > 0 ? noisy : value), skippedSteps };
    },
  };
}
