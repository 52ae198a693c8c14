/**
 * Engines behind a network as arms of a bandit: which of several that serve one model is asked next. An arm's context is what the request is
 * like and how busy that engine is with others of ours; its loss is the time a token took, the first one's wait included.
 */
import type { EndpointPolicy, MakeEndpointChooser } from "../../engine/remote/endpoints.ts";
import { armContext, lossOf } from "./arms.ts";
import { createPolicyByName } from "./policies.ts";

/** Of every engine alike, but for `waiting`. */
export const endpointFeatures = ["one", "length", "brevity", "waiting"];

/** Options that suit a few dozen requests, for engines whose speed changes with what others ask of them; what is given comes on top. */
const suited: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  DiscountedLinUCB: { alpha: 0.05, ridge: 0.1, discount: 0.95 },
  LinUCB: { alpha: 0.05, ridge: 0.1 },
  LinearSquareCB: { gamma: 200, ridge: 0.1 },
};

export const makeEndpointChooser: MakeEndpointChooser = (endpoints, given: EndpointPolicy) => {
  const { name, ...options } = typeof given === "string" ? { name: given } : given;
  const width = endpoints * endpointFeatures.length;
  const policy = createPolicyByName(name, { ...suited[name], ...options, width });
  /** Seconds a token of the first answer: what all others are compared with. */
  let pace: number | undefined;
  return ({ length, tokens, candidates }) => {
    const features = [1, Math.min(1, Math.log2(1 + length) / 20), 1 / (tokens ?? 1)];
    const contexts = candidates.map(({ endpoint, waiting }) =>
      armContext([...features, waiting / (1 + waiting)], endpoint, endpoints),
    );
    const { round, arm, predictions, probabilities } = policy.choose(contexts);
    let open = true;
    const once = (action: () => void): void => {
      if (open) action();
      open = false;
    };
    return {
      chosen: arm,
      predicted: predictions,
      probabilities,
      served: (count, seconds) =>
        once(() => {
          if (!(seconds > 0)) return policy.forget(round);
          pace ??= seconds / count;
          policy.learn(round, lossOf(seconds / count, pace));
        }),
      failed: () => once(() => policy.learn(round, 1)),
      dropped: () => once(() => policy.forget(round)),
    };
  };
};
