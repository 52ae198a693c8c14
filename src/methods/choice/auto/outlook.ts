/** What would be chosen now, for readers: the learnt policy asked about a few kinds of request. */
import { createPolicyByName } from "../policies.ts";
import { contextsOf } from "./features.ts";
import type { Learnt } from "./state.ts";

export interface Outlook {
  readonly kind: string;
  readonly predicted: readonly number[];
  readonly probabilities: readonly number[];
}

const kinds = [
  { kind: "short prompt", tokens: 64, repetition: 0 },
  { kind: "long prompt", tokens: 2048, repetition: 0.1 },
  { kind: "long prompt that repeats itself", tokens: 2048, repetition: 0.6 },
] as const;

/** On a machine half busy, sampled, without a constraint. Errors: `bad_file` for a state whose policy cannot be made. */
export function outlook({ policy, arms }: Learnt): Outlook[] {
  const { width, ...options } = policy.options as { width: number };
  return kinds.map(({ kind, tokens, repetition }) => {
    const features = [1, Math.log2(1 + tokens) / 16, repetition, 0, 0, 0, 1 / 3];
    const agreements = arms.map(({ agreement }) => agreement);
    const decision = createPolicyByName(policy.policy, { width, ...options }, policy).choose(
      contextsOf(features, agreements),
    );
    return { kind, predicted: decision.predictions, probabilities: decision.probabilities };
  });
}
