/** Whole solutions drawn side by side, each as plain sampling would draw it. */
import type { Decoding } from "../../engine/decoding.ts";
import { ensure } from "../../errors.ts";
import { rejectByReward, rootState, type State, type Steps } from "./partial.ts";
import { aggregated, type Rewarding } from "./rewards.ts";
import { createTeller } from "./steps.ts";

export interface Chain {
  readonly state: State;
  /** 1 where there is no reward. */
  readonly reward: number;
}

/**
 * Solutions grown to their ends. With a reward that looks at the last step alone, only ends are scored; else every step is. What the reward
 * rejects is left out. Errors: `constraint_dead_end` where nothing is left.
 */
export async function growToEnd(
  decoding: Decoding,
  steps: Steps,
  count: number,
  judged?: { readonly rewards: Rewarding; readonly aggregate: "last" | "min" | "product" },
): Promise<Chain[]> {
  ensure(
    !decoding.greedy || count === 1,
    "bad_option",
    "samples: temperature 0 makes all of them the same; give a temperature, or samples=1",
  );
  const root = rootState(await decoding.prefill());
  const tell = createTeller(decoding);
  const everyStep = judged !== undefined && judged.aggregate !== "last";
  const done: Chain[] = [];
  let growing: { state: State; reward: number | undefined; draws: number; goesOn: boolean }[] = Array.from(
    { length: count },
    (_, i) => ({
      state: root,
      reward: undefined,
      draws: i,
      goesOn: !everyStep,
    }),
  );
  while (growing.length > 0) {
    const grown = await steps.grow(growing);
    const next = grown.flatMap((state, i) => (state ? [{ ...growing[i], state }] : []));
    const asked = next.filter(({ state }) => judged && (everyStep || state.ended));
    const values = judged
      ? await judged.rewards.score(
          asked.map(({ state }) => state),
          steps.ledger,
        )
      : [];
    growing = [];
    for (const one of next) {
      const value = values[asked.indexOf(one)] ?? undefined;
      if (value !== undefined && Number.isNaN(value)) {
        rejectByReward(steps, one.state);
        continue;
      }
      tell(one.state, value);
      const reward = value === undefined ? one.reward : aggregated(judged!.aggregate, one.reward, value);
      if (one.state.ended) done.push({ state: one.state, reward: reward ?? 1 });
      else growing.push({ ...one, reward });
    }
  }
  ensure(done.length > 0, "constraint_dead_end", () => `no solution is left: ${steps.refusals.told()}`);
  return done;
}
