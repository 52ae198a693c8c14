/**
 * LocalLeap (Kong et al. 2025, arXiv 2510.07081): positions that the model is very sure of are anchors, and near an anchor less confidence
 * suffices. Nothing is carried from one pass to the next, and a neighbour that is filled opens no neighbourhood of its own.
 */
import { z } from "zod";
import { defineUnmasking } from "../../../engine/canvas/method.ts";
import type { CanvasView } from "../../../engine/canvas/policy.ts";
import { ensure } from "../../../errors.ts";
import { highest } from "../ranking.ts";

export const localleapOptions = z.strictObject({
  anchor: z
    .number()
    .min(0)
    .max(2)
    .default(0.9)
    .describe(
      "probability of its token that makes a position an anchor, around which the bar is lowered (the paper's kappa): lower is faster and less careful; above 1 there are no anchors",
    ),
  relaxed: z
    .number()
    .min(0)
    .max(1)
    .default(0.75)
    .describe("probability that suffices near an anchor: lower is faster and less careful (the paper's tau)"),
  radius: z
    .int()
    .min(0)
    .max(65536)
    .default(4)
    .describe(
      "how many positions to both sides of an anchor count as near (the paper's W); 0 turns the relaxation off",
    ),
});

type Bars = z.output<typeof localleapOptions>;

/** The positions to fill, with reasons. Only masked positions of the block count, as anchors and as neighbours. */
export function leap({ masked, confidence }: Pick<CanvasView, "masked" | "confidence">, bars: Bars) {
  const { anchor, relaxed, radius } = bars;
  const [best] = highest(masked, 1, confidence);
  const anchors = masked.filter((position) => confidence(position) >= anchor);
  const positions: number[] = [];
  const reasons: string[] = [];
  let next = 0; // the first anchor that is not too far to the left
  for (const position of masked) {
    while (next < anchors.length && anchors[next] < position - radius) next++;
    const near = next < anchors.length && anchors[next] <= position + radius;
    const sure = confidence(position) >= anchor;
    const leaps = near && confidence(position) >= relaxed;
    if (!sure && !leaps && position !== best) continue;
    positions.push(position);
    reasons.push(sure ? "anchor" : leaps ? "near" : "best");
  }
  return { positions, reasons };
}

export const localleap = defineUnmasking({
  name: "localleap",
  summary: "lowers the bar for filling next to positions that the model is already sure about",
  source: "Kong et al. 2025, Accelerating Diffusion LLM Inference via Local Determinism Propagation",
  options: localleapOptions,
  policy(_, bars) {
    ensure(
      bars.relaxed <= bars.anchor,
      "bad_option",
      `relaxed ${bars.relaxed} is above anchor ${bars.anchor}: neighbours of what is sure would need more than others`,
    );
    return { decide: (view) => leap(view, bars) };
  },
});
