/** Self-consistency (Wang et al. 2022): the answer that most of several drawn solutions give. It needs no reward. */
import { z } from "zod";
import { defineMethod } from "../../../engine/method.ts";
import { growToEnd } from "../chains.ts";
import { answerOf, conclude, createSteps, stepOptions, stepSettings, voted } from "../steps.ts";

export const selfConsistency = defineMethod({
  name: "self-consistency",
  family: "search",
  summary: "draws whole solutions side by side and takes the answer that most of them give",
  source: "Wang et al. 2022, Self-Consistency (arXiv 2203.11171)",
  lossless: false,
  suffices: ["remote"],
  options: z.strictObject({
    ...stepOptions,
    samples: z
      .int()
      .min(1)
      .max(1024)
      .default(8)
      .describe("how many whole solutions are drawn; more make a right one likelier, and cost as much more"),
  }),
  async decode(decoding, settings) {
    const steps = createSteps(decoding, stepSettings(settings));
    const chains = await growToEnd(decoding, steps, settings.samples);
    const finished = chains.filter(({ state }) => state.ended === "end").map(({ state }) => ({ state, weight: 1 }));
    const chosen = voted(finished, steps.settings)?.state ?? chains[0].state;
    const votes = (state: (typeof chains)[number]["state"]): number =>
      finished.filter((one) => answerOf(one.state, steps.settings) === answerOf(state, steps.settings)).length;
    const list = chains.map(({ state }) => ({ state, score: votes(state) / chains.length }));
    conclude(
      decoding,
      chosen,
      list.sort((a, b) => b.score - a.score),
      steps.ledger,
    );
  },
});
