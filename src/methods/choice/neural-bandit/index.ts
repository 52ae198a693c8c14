/**
 * NeuSquareCB and NeuFastCB (Deb, Ban, Zuo, He and Banerjee, "Contextual Bandits with Online Neural Regression", ICLR 2024,
 * arXiv 2312.07145): a network foretells each arm's loss, arms are drawn by inverse gaps, and one projected gradient step
 * a round keeps the network's regret small. No confidence widths, no matrix.
 */

import { uniform } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import { isObject } from "../../../json.ts";
import { requireWhole } from "../../../numbers.ts";
import { givenFields } from "../../../values.ts";
import { createNetwork, type Network, projectedStep } from "../network.ts";
import {
  createPolicy,
  inverseGap,
  type Policy,
  type PolicyState,
  type Rule,
  requireKnown,
  requireOneOf,
  requireOption,
} from "../policy.ts";

/** Options of bandits on a network's estimates. */
export interface NeuralBanditOptions {
  /** Features of an arm's context. */
  width: number;
  /** Of the first weights and of what the policy draws. Default 0. */
  seed?: number;
  /** Width m of the hidden layers. Default 100. */
  hidden?: number;
  /** Hidden layers. Default 1. */
  depth?: number;
  /** How weights are scaled (network.ts). Step sizes mean different things under each. Default "standard". */
  parameterisation?: "standard" | "paper";
  /** Greediness: larger explores less. A number, or `{ scale }` for scale * sqrt(round). Default 100. */
  gamma?:
    | number
    | {
        /** Factor on the square root of the round. */
        scale: number;
      };
  /** Step size; "1/t" divides it by the round, as the theory does. Default 0.01 (square) or 0.03 (fast), constant. */
  rate?: number;
  /** Whether the step size stays or is divided by the round. Default "constant". */
  rateSchedule?: "constant" | "1/t";
  /**
   * "rademacher": the ensemble of perturbed predictions; "expected-ridge": its square loss in expectation, a pull towards
   * the first weights, without noise (square loss only); "none". Default "rademacher".
   */
  perturbation?: "rademacher" | "expected-ridge" | "none";
  /** c_p. Default 0.1. */
  strength?: number;
  /** S, perturbed predictions. Default ceil(log2 hidden). */
  members?: number;
  /** What arms are weighed by: the mean of the perturbed predictions, as published, or the network alone. Default "ensemble". */
  actOn?: "ensemble" | "mean";
  /** Radius of the ball about each layer's first weights. Default 10. */
  radius?: number;
  /** Longest step a round, as a norm; Default 1. */
  longestStep?: number;
}

/** Square loss, linear output, SquareCB's rule. Errors: `bad_option` naming the option; `bad_file` for another's state. */
export const neuSquareCB = (options: NeuralBanditOptions, saved?: PolicyState): Policy =>
  createPolicy(rule("square", options), saved);

/** KL loss, logistic output, FastCB's rule. Errors as `neuSquareCB`. */
export const neuFastCB = (options: NeuralBanditOptions, saved?: PolicyState): Policy =>
  createPolicy(rule("fast", options), saved);

const logistic = (x: number): number => Math.min(1 - 1e-6, Math.max(1e-6, 1 / (1 + Math.exp(-x))));

function rule(kind: "square" | "fast", given: NeuralBanditOptions): Rule {
  const options = withDefaults(kind, given);
  const { width, seed, hidden, gamma, rate, rateSchedule, perturbation, actOn, radius, longestStep } = options;
  const name = kind === "square" ? "NeuSquareCB" : "NeuFastCB";
  requireKnown(name, given, Object.keys(withDefaults(kind, { width: 1 })));
  check(name, kind, options);
  const network = createNetwork(options);
  const predictor = perturbed(network, options);
  const gradient = new Float64Array(network.weights.length);
  return {
    name,
    options: { ...options },
    width,
    seed,
    weigh(contexts, round) {
      const strength = typeof gamma === "number" ? gamma : gamma.scale * Math.sqrt(round + 1);
      const predictions = contexts.map((context) => {
        const members = predictor.predict(network.forward(context) - predictor.offset(context));
        const output = actOn === "mean" ? members.centre : mean(members.values);
        return kind === "fast" ? logistic(output) : Math.min(1, Math.max(0, output));
      });
      return { predictions, probabilities: inverseGap(predictions, strength, kind) };
    },
    update(context, loss, round) {
      const offset = predictor.offset(context);
      const { values } = predictor.predict(network.backward(context, gradient) - offset);
      // d/dg of (y - g)^2 / 2 and of KL(y, sigmoid(g)): the prediction less the loss.
      const slopes = values.map((value) => (kind === "fast" ? logistic(value) : value) - loss);
      predictor.gradient(gradient, slopes);
      projectedStep(network, gradient, rateSchedule === "1/t" ? rate / round : rate, radius, longestStep);
      predictor.moved();
    },
    save: () => ({ arrays: { weights: network.weights.slice() } }),
    restore({ arrays }) {
      network.weights.set(arrays.weights);
      predictor.moved();
    },
  };

  function check(policy: string, rule: string, { perturbation: kindOfPerturbation, ...numbers }: typeof options): void {
    requireWhole({ [`${policy}: width`]: numbers.width }, 1, 1e6);
    requireWhole({ [`${policy}: hidden`]: numbers.hidden }, 1, 1e5);
    requireWhole({ [`${policy}: depth`]: numbers.depth }, 1, 16);
    requireOption(policy, "gamma", isObject(gamma) ? (gamma.scale as number) : gamma, 0, 1e12);
    requireOption(policy, "rate", numbers.rate, 0, 1e6);
    requireOption(policy, "strength", numbers.strength, 0, 1e3);
    requireWhole({ [`${policy}: members`]: numbers.members }, 1, 64);
    requireOption(policy, "radius", numbers.radius, 0, 1e9);
    requireOption(policy, "longestStep", numbers.longestStep, 0, 1e9);
    requireOneOf(policy, "parameterisation", numbers.parameterisation, ["standard", "paper"]);
    requireOneOf(policy, "rateSchedule", rateSchedule, ["constant", "1/t"]);
    requireOneOf(policy, "perturbation", kindOfPerturbation, ["rademacher", "expected-ridge", "none"]);
    requireOneOf(policy, "actOn", actOn, ["ensemble", "mean"]);
    ensure(
      rule === "square" || kindOfPerturbation !== "expected-ridge",
      "bad_option",
      `${policy}: "expected-ridge" is the expectation of the square loss; take "rademacher" or "none"`,
    );
  }

  /** The ensemble g_s = f + c_p m^(-1/4) sum_j (theta_j - theta0_j) eps_sj, whose second term is the same for every context. */
  function perturbed(net: Network, { strength, members, parameterisation }: typeof options) {
    const { weights, initial } = net;
    const count = perturbation === "rademacher" ? members : 1;
    const scale = perturbation === "none" ? 0 : strength * hidden ** -0.25;
    const signs = perturbation === "rademacher" ? rademacher(seed, count, weights.length) : [];
    const shifts = new Float64Array(count);
    const first = parameterisation === "standard" ? createNetwork(options) : undefined;
    return {
      /** He's scale begins with outputs of any size: they are centred on the first network's. The paper's begins near 0. */
      offset: (context: Float64Array): number => first?.forward(context) ?? 0,
      predict: (centre: number) => ({ centre, values: Array.from(shifts, (shift) => centre + shift) }),
      /** From grad f in place: the mean over members of slope_s (grad f + c_p m^(-1/4) eps_s), and the ridge's pull. */
      gradient(into: Float64Array, slopes: readonly number[]): void {
        const slope = mean(slopes);
        for (let j = 0; j < into.length; j++) into[j] *= slope;
        for (const [s, eps] of signs.entries()) {
          const factor = (scale * slopes[s]) / count;
          for (let j = 0; j < into.length; j++) into[j] += factor * eps[j];
        }
        if (perturbation === "expected-ridge")
          for (let j = 0; j < into.length; j++) into[j] += scale * scale * (weights[j] - initial[j]);
      },
      moved(): void {
        for (const [s, eps] of signs.entries()) {
          let sum = 0;
          for (let j = 0; j < eps.length; j++) sum += (weights[j] - initial[j]) * eps[j];
          shifts[s] = scale * sum;
        }
      },
    };
  }
}

function withDefaults(kind: "square" | "fast", options: NeuralBanditOptions): Required<NeuralBanditOptions> {
  const { hidden = 100 } = options;
  return {
    seed: 0,
    hidden,
    depth: 1,
    parameterisation: "standard",
    gamma: 100,
    rate: kind === "square" ? 0.01 : 0.03,
    rateSchedule: "constant",
    perturbation: "rademacher",
    strength: 0.1,
    members: Math.max(1, Math.ceil(Math.log2(hidden))),
    actOn: "ensemble",
    radius: 10,
    longestStep: 1,
    ...givenFields(options),
  };
}

/** Vectors of -1 and 1, functions of the seed. */
export function rademacher(seed: number, count: number, length: number): Int8Array[] {
  return Array.from({ length: count }, (_, s) =>
    Int8Array.from({ length }, (_, j) => (uniform({ seed, request: 2 ** 20 + s }, j, "initialise", 2) < 0.5 ? -1 : 1)),
  );
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
