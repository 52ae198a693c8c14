/** Positions in the order of some measure, and how many of them go in which pass. */
import { z } from "zod";
import type { CanvasView, PolicyRequest } from "../../engine/canvas/policy.ts";
import { ensure } from "../../errors.ts";

/** The `count` positions with the highest measure; of equal ones those that come first. They are returned rising. */
export function highest(positions: readonly number[], count: number, measure: (position: number) => number): number[] {
  const measured = positions.map((position) => ({ position, value: measure(position) }));
  measured.sort((a, b) => b.value - a.value || a.position - b.position);
  return measured
    .slice(0, count)
    .map(({ position }) => position)
    .sort((a, b) => a - b);
}

export const stepsOptions = z.strictObject({
  steps: z
    .int()
    .min(1)
    .max(2 ** 20)
    .optional()
    .describe(
      "passes for the whole answer, a multiple of the number of blocks: fewer are faster, as each fills more positions, and less careful; default: one for each position",
    ),
});

/** Steps of each block. Errors: `bad_option` for steps that the blocks cannot share evenly, fewer than there are blocks among them. */
export function stepsOfBlock({ length, blocks }: Pick<PolicyRequest, "length" | "blocks">, steps = length): number {
  ensure(steps % blocks === 0, "bad_option", () => {
    return `steps: ${steps} steps cannot be shared evenly by ${blocks} blocks: give a multiple of ${blocks}`;
  });
  return steps / blocks;
}

/**
 * How many positions a block's pass fills: all of them spread evenly over the block's steps, the first ones taking one more (LLaDA's schedule).
 * `whole`: as of a whole block, even where the canvas was cut within it and fewer are left. Steps that would fill nothing are no passes.
 * Errors: `bad_option` for steps that the blocks cannot share.
 */
export function evenSchedule(
  request: Pick<PolicyRequest, "length" | "blocks">,
  steps?: number,
  { whole = false } = {},
): (view: Pick<CanvasView, "step" | "masked" | "block">) => number {
  const own = stepsOfBlock(request, steps);
  let all = request.length / request.blocks;
  return ({ step, masked }) => {
    if (step === 0 && !whole) all = masked.length;
    return Math.max(1, Math.floor(all / own) + (step < all % own ? 1 : 0));
  };
}

/** Steps of a block's schedule that fill nothing, where steps were given: those that are left when a pass fills the rest. */
export function skippedAfter(
  request: Pick<PolicyRequest, "length" | "blocks">,
  steps: number | undefined,
): (view: Pick<CanvasView, "step" | "masked">, filled: number) => number {
  if (steps === undefined) return () => 0;
  const own = stepsOfBlock(request, steps);
  return ({ step, masked }, filled) => (filled >= masked.length ? Math.max(0, own - step - 1) : 0);
}
