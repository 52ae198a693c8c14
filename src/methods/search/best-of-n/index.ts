/** Best-of-n: whole solutions drawn side by side, of which the reward takes the best. The budget is spent evenly, whatever becomes of them. */
import { z } from "zod";
import { defineMethod } from "../../../engine/method.ts";
import { growToEnd } from "../chains.ts";
import { rewarding, rewardOptions } from "../rewards.ts";
import { conclude, createSteps, stepOptions, stepSettings, voted } from "../steps.ts";

export const bestOfN = defineMethod({
  name: "best-of-n",
  family: "search",
  summary: "draws whole solutions side by side and keeps the one with the best reward",
  source: "Cobbe et al. 2021 (arXiv 2110.14168), baseline of A*-decoding",
  lossless: false,
  suffices: ["remote"],
  options: z.strictObject({
    ...rewardOptions,
    ...stepOptions,
    samples: z
      .int()
      .min(1)
      .max(1024)
      .default(8)
      .describe("how many whole solutions are drawn; more make a right one likelier, and cost as much more"),
    answerBy: z
      .enum(["reward", "vote"])
      .default("reward")
      .describe(
        "which solution is the result: the best by reward, or one with the answer that has most reward over all solutions (vote), which needs answer",
      ),
  }),
  async decode(decoding, settings) {
    const rewards = await rewarding(decoding, settings);
    decoding.instrument({ taps: rewards.taps });
    const steps = createSteps(decoding, stepSettings(settings, rewards.preferred));
    const chains = await growToEnd(decoding, steps, settings.samples, { rewards, aggregate: settings.aggregate });
    const list = chains
      .map(({ state, reward }) => ({ state, score: reward, weight: reward }))
      .sort((a, b) => Number(b.state.ended === "end") - Number(a.state.ended === "end") || b.score - a.score);
    const finished = list.filter(({ state }) => state.ended === "end");
    const chosen = (settings.answerBy === "vote" && voted(finished, steps.settings)) || list[0];
    conclude(decoding, chosen.state, list, steps.ledger);
  },
});
