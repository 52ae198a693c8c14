/** So many positions a pass, the surest first: the plainest way to fill in parallel, and the baseline of all others. */
import { z } from "zod";
import { defineUnmasking } from "../../../engine/canvas/method.ts";
import { highest } from "../ranking.ts";

export const fixedK = defineUnmasking({
  name: "fixed-k",
  summary: "fills the k surest positions in every pass",
  options: z.strictObject({
    k: z
      .int()
      .min(1)
      .max(65536)
      .default(2)
      .describe("how many positions a pass fills: more are faster and less careful"),
  }),
  policy: (_, { k }) => ({ decide: ({ masked, confidence }) => ({ positions: highest(masked, k, confidence) }) }),
});
