/**
 * Particle filtering over steps (Puri et al. 2025): solutions advance a step each, and are resampled by softmax of the reward's logits, the
 * finished ones among them; the answer is the particle with the highest last reward.
 */
import { z } from "zod";
import { defineMethod } from "../../../engine/method.ts";
import { uniform } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import { pickBy } from "../../constrained/sampling.ts";
import { rejectByReward, rootState, type State } from "../partial.ts";
import { rewarding, rewardOptions } from "../rewards.ts";
import { conclude, createSteps, createTeller, stepOptions, stepSettings } from "../steps.ts";

/** Rewards are kept this far from 0 and 1, so that their logits are finite. */
const margin = 1e-7;

export const particleFiltering = defineMethod({
  name: "particle-filtering",
  family: "search",
  summary: "solutions that advance a step at a time and are resampled by their rewards",
  source: "Puri et al. 2025, Rollout Roulette (arXiv 2502.01618), baseline of A*-decoding",
  lossless: false,
  suffices: ["remote"],
  options: z.strictObject({
    ...rewardOptions,
    ...stepOptions,
    particles: z
      .int()
      .min(1)
      .max(1024)
      .default(8)
      .describe("how many solutions are grown side by side; more lose fewer good beginnings, and cost as much more"),
    weightTemperature: z
      .number()
      .gt(0)
      .max(1000)
      .default(1)
      .describe(
        "how strictly rewards decide which solutions go on: below 1 the best crowd out the others sooner, above 1 later",
      ),
    resampleFinished: z
      .boolean()
      .default(true)
      .describe(
        "whether finished solutions take part in resampling, as published; false keeps every one that is finished",
      ),
  }),
  async decode(decoding, settings) {
    const { particles: count, weightTemperature, resampleFinished, aggregate } = settings;
    ensure(
      aggregate === "last",
      "bad_option",
      "aggregate: particle filtering weighs by the last step's reward; leave it at last",
    );
    ensure(!decoding.greedy || count === 1, "bad_option", "particles: temperature 0 makes all of them the same");
    const rewards = await rewarding(decoding, settings);
    decoding.instrument({ taps: rewards.taps });
    const steps = createSteps(decoding, stepSettings(settings, rewards.preferred));
    const root = rootState(await decoding.prefill());
    const tell = createTeller(decoding);
    let particles: { state: State; reward: number }[] = Array.from({ length: count }, () => ({
      state: root,
      reward: 1,
    }));

    for (let step = 0; particles.some(({ state }) => !state.ended); step++) {
      const going = particles.flatMap(({ state }, i) => (state.ended ? [] : [{ i, state, draws: step * count + i }]));
      const grown = await steps.grow(going);
      const alive = grown.flatMap((state, k) => (state ? [{ i: going[k].i, state }] : []));
      const values = await rewards.score(
        alive.map(({ state }) => state),
        steps.ledger,
      );
      const next: ((typeof particles)[number] | undefined)[] = particles.map((one) =>
        one.state.ended ? one : undefined,
      );
      for (const [k, { i, state }] of alive.entries()) {
        if (Number.isNaN(values[k])) rejectByReward(steps, state);
        else {
          tell(state, values[k]);
          next[i] = { state, reward: values[k] };
        }
      }
      const pool = next.flatMap((one) => (one ? [one] : []));
      ensure(pool.length > 0, "constraint_dead_end", () => {
        return `particle-filtering: no particle is left: ${steps.refusals.told()}`;
      });
      particles = next.map((one, i) => (one?.state.ended && !resampleFinished ? one : draw(pool, step * count + i)));
    }
    const list = [...new Set(particles)].map(({ state, reward }) => ({ state, score: reward }));
    list.sort((a, b) => Number(b.state.ended === "end") - Number(a.state.ended === "end") || b.score - a.score);
    conclude(decoding, list[0].state, list, steps.ledger);

    function draw(pool: typeof particles, number: number): (typeof particles)[number] {
      const logits = pool.map(({ reward }) => {
        const clipped = Math.min(1 - margin, Math.max(margin, reward));
        return Math.log(clipped / (1 - clipped)) / weightTemperature;
      });
      const highest = Math.max(...logits);
      const weights = logits.map((logit) => Math.exp(logit - highest));
      const total = weights.reduce((a, b) => a + b, 0);
      const picked = pickBy(
        weights.map((weight) => weight / total),
        uniform(decoding.stream, number, "search"),
      );
      return pool[picked];
    }
  },
});
