/**
 * Beam search by reward: of the steps drawn for every beam the best are kept. In subtrees (diverse verifier tree search, Beeching et al. 2024)
 * every beam keeps its own best step instead, so that beams never merge.
 */
import { z } from "zod";
import { defineMethod } from "../../../engine/method.ts";
import { ensure } from "../../../errors.ts";
import { rejectByReward, rootState, type State } from "../partial.ts";
import { aggregated, rewarding, rewardOptions } from "../rewards.ts";
import { conclude, createSteps, createTeller, stepOptions, stepSettings } from "../steps.ts";

interface Beam {
  readonly state: State;
  readonly reward: number | undefined;
  readonly tree: number;
}

export const rewardBeam = defineMethod({
  name: "reward-beam",
  family: "search",
  summary: "keeps the steps with the best rewards, a fixed number at a time",
  source: "Snell et al. 2024 (arXiv 2408.03314); subtrees: Beeching et al. 2024",
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
      .describe(
        "steps that are drawn at a time, over all beams; more compare more continuations and cost as much more",
      ),
    children: z
      .int()
      .min(1)
      .max(64)
      .default(4)
      .describe(
        "steps that are drawn for each solution that is kept, of which there are samples / children: more choose among more continuations of fewer solutions",
      ),
    subtrees: z
      .boolean()
      .default(false)
      .describe("let every beam keep the best of its own steps, instead of the best of all: more different solutions"),
  }),
  async decode(decoding, settings) {
    const { samples, children, subtrees, aggregate } = settings;
    const width = samples / children;
    ensure(Number.isInteger(width), "bad_option", `samples: ${samples} cannot be divided by ${children} children`);
    ensure(!decoding.greedy || samples === 1, "bad_option", "samples: temperature 0 makes all of them the same");
    const rewards = await rewarding(decoding, settings);
    decoding.instrument({ taps: rewards.taps });
    const steps = createSteps(decoding, stepSettings(settings, rewards.preferred));
    const root = rootState(await decoding.prefill());
    const tell = createTeller(decoding);
    let beams: Beam[] = Array.from({ length: width }, (_, tree) => ({ state: root, reward: undefined, tree }));
    const done: Beam[] = [];

    for (let step = 0; beams.length > 0; step++) {
      const wanted = beams.flatMap((beam, b) =>
        Array.from({ length: children }, (_, j) => ({
          beam,
          state: beam.state,
          draws: step * samples + b * children + j,
        })),
      );
      steps.ledger.expansions += beams.length;
      const grown = await steps.grow(wanted);
      const alive = grown.flatMap((state, k) => (state ? [{ state, from: wanted[k].beam }] : []));
      const values = await rewards.score(
        alive.map(({ state }) => state),
        steps.ledger,
      );
      const next: Beam[] = [];
      for (const [k, { state, from }] of alive.entries()) {
        if (Number.isNaN(values[k])) rejectByReward(steps, state);
        else {
          tell(state, values[k]);
          next.push({ state, reward: aggregated(aggregate, from.reward, values[k]), tree: from.tree });
        }
      }
      next.sort((a, b) => b.reward! - a.reward!);
      // Beams that drew the same are one.
      const distinct = next.filter((one, i) => next.findIndex(({ state }) => state.text === one.state.text) === i);
      steps.ledger.duplicates += next.length - distinct.length;
      const kept = subtrees
        ? beams.flatMap(({ tree }) => next.find((one) => one.tree === tree) ?? [])
        : distinct.slice(0, beams.length);
      done.push(...kept.filter(({ state }) => state.ended));
      beams = kept.filter(({ state }) => !state.ended);
    }
    ensure(done.length > 0, "constraint_dead_end", () => {
      return `reward-beam: nothing is left to go on from: ${steps.refusals.told()}`;
    });
    const list = done.map(({ state, reward }) => ({ state, score: reward! }));
    list.sort((a, b) => Number(b.state.ended === "end") - Number(a.state.ended === "end") || b.score - a.score);
    conclude(decoding, list[0].state, list, steps.ledger);
  },
});
