/** Confidence-aware parallel decoding (Fast-dLLM; Wu et al. 2025, arXiv 2505.22618): whatever is sure enough, and at least the surest. */
import { z } from "zod";
import { defineUnmasking } from "../../../engine/canvas/method.ts";
import { highest } from "../ranking.ts";

export const threshold = defineUnmasking({
  name: "threshold",
  summary: "fills every position whose confidence reaches a threshold, and the surest",
  source: "Wu et al. 2025, Fast-dLLM",
  options: z.strictObject({
    threshold: z
      .number()
      .min(0)
      .max(2)
      .default(0.9)
      .describe(
        "fill a position when the model gives its token at least this probability: lower is faster and less careful; above 1 it is never reached, and a pass fills one position",
      ),
  }),
  policy: (_, { threshold }) => ({
    decide({ masked, confidence }) {
      const [best] = highest(masked, 1, confidence);
      const positions = masked.filter((position) => position === best || confidence(position) >= threshold);
      const reasons = positions.map((position) => (confidence(position) >= threshold ? "sure" : "best"));
      return { positions, reasons };
    },
  }),
});
