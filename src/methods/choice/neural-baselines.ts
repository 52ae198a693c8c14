/**
 * Neural policies that the paper compares with: epsilon-greedy and greedy, NeuralUCB (Zhou, Li and Gu 2020) and NeuralTS
 * (Zhang, Zhou, Li and Gu 2021) with a diagonal in place of the matrix, and EE-Net (Ban, Yan, Banerjee and He 2022). Their
 * networks are trained as these papers do: on a buffer of past rounds, rarely and to the end, or once a round.
 */

import { uniform } from "../../engine/random.ts";
import { requireWhole } from "../../numbers.ts";
import { givenFields } from "../../values.ts";
import { createNetwork, type Network } from "./network.ts";
import {
  certain,
  createPolicy,
  leastOf,
  type Policy,
  type PolicyState,
  type Rule,
  requireKnown,
  requireOneOf,
  requireOption,
} from "./policy.ts";
import type { Growing } from "./saved.ts";

/** Options that the networks of all baselines share. */
export interface NeuralBaselineOptions {
  /** Features of an arm's context. */
  width: number;
  /** Of the first weights and of what the policy draws. Default 0. */
  seed?: number;
  /** Hidden units of one layer. Default 100. */
  hidden?: number;
  /** Step size. Default 0.01. */
  rate?: number;
  /**
   * "round": one step a round. "schedule": every 10 rounds until round 1000, then every 100, passes over the buffer in random
   * order until the mean loss is at most 0.001 or 2000 steps are taken. Default "schedule".
   */
  training?: "round" | "schedule";
  /** Rounds kept to train on. Default 10,000; the oldest give way. */
  buffer?: number;
}

type Draw = (index: number) => number;

/** The arm of the lowest foretold loss, or any arm with probability `epsilon` (default 0.01; 0 is greedy). */
export function neuralEpsilonGreedy(
  options: NeuralBaselineOptions & { epsilon?: number },
  saved?: PolicyState,
): Policy {
  const { epsilon = 0.01 } = options;
  requireOption("NeuralEpsilonGreedy", "epsilon", epsilon, 0, 1);
  return createPolicy(
    neural("NeuralEpsilonGreedy", options, { epsilon }, 1, ([net]) => ({
      weigh(contexts) {
        const predictions = contexts.map((context) => net.predict(context));
        const best = leastOf(predictions);
        const probabilities = contexts.map((_, arm) => epsilon / contexts.length + (arm === best ? 1 - epsilon : 0));
        return { predictions, probabilities };
      },
    })),
    saved,
  );
}

/** Options of bandits with confidence bounds on a network. */
export interface ConfidenceOptions extends NeuralBaselineOptions {
  /** lambda. Default 0.1. */
  ridge?: number;
  /** nu. Default 0.001. */
  exploration?: number;
}

/** Lowest f(x) - sqrt(lambda nu sum_j g_j^2 / U_j), U += g^2 of the chosen arm, from lambda. */
export const neuralUCB = (options: ConfidenceOptions, saved?: PolicyState): Policy =>
  confidence("NeuralUCB", options, saved);

/** Lowest draw from N(f(x), nu^2 sum_j g_j^2 / U_j). */
export const neuralTS = (options: ConfidenceOptions, saved?: PolicyState): Policy =>
  confidence("NeuralTS", options, saved);

function confidence(name: "NeuralUCB" | "NeuralTS", options: ConfidenceOptions, saved?: PolicyState): Policy {
  const { ridge = 0.1, exploration = 0.001 } = options;
  requireOption(name, "ridge", ridge, 1e-9, 1e9);
  requireOption(name, "exploration", exploration, 0, 1e6);
  return createPolicy(
    neural(name, options, { ridge, exploration }, 1, ([net]) => {
      const diagonal = new Float64Array(net.network.weights.length).fill(ridge);
      return {
        arrays: { diagonal },
        weigh(contexts, _, draw) {
          const predictions = contexts.map((context, arm) => {
            let spread = 0;
            const mean = net.network.differentiate(context, (weight, slope) => {
              spread += slope ** 2 / diagonal[weight];
            });
            return name === "NeuralUCB"
              ? mean - Math.sqrt(ridge * exploration * spread)
              : mean + exploration * Math.sqrt(spread) * normal(draw, arm);
          });
          return { predictions, probabilities: certain(contexts.length, leastOf(predictions)) };
        },
        before(context) {
          net.network.differentiate(context, (weight, slope) => {
            diagonal[weight] += slope ** 2;
          });
        },
      };
    }),
    saved,
  );
}

/** Options of EE-Net. */
export interface EENetOptions extends NeuralBaselineOptions {
  /** Gradient entries that are averaged into one feature of the exploration network. Default 1000. */
  pool?: number;
}

/**
 * EE-Net with its linear decision: f1(x) foretells the loss, f2(pooled, normalised gradient of f1) the part of it that f1
 * misses; the arm of the lowest sum. (The published third network learns to weigh the two; its linear form is the sum.)
 */
export function eeNet(options: EENetOptions, saved?: PolicyState): Policy {
  const { pool = 1000, width, hidden = 100 } = options;
  requireWhole({ "EENet: pool": pool }, 1, 1e9);
  const features = Math.ceil((width * hidden + hidden) / pool);
  return createPolicy(
    neural("EENet", options, { pool }, [width, features], ([exploit, explore]) => {
      const gradient = new Float64Array(exploit.network.weights.length);
      const pooled = (context: Float64Array): { loss: number; features: Float64Array<ArrayBuffer> } => {
        const loss = exploit.predict(context, gradient);
        const result = new Float64Array(features);
        for (let j = 0; j < gradient.length; j++) result[Math.floor(j / pool)] += gradient[j] / pool;
        const norm = Math.sqrt(result.reduce((sum, value) => sum + value * value, 0)) || 1;
        return { loss, features: result.map((value) => value / norm) };
      };
      return {
        weigh(contexts) {
          const predictions = contexts.map((context) => {
            const { loss, features: seen } = pooled(context);
            return loss + explore.predict(seen);
          });
          return { predictions, probabilities: certain(contexts.length, leastOf(predictions)) };
        },
        before(context, loss) {
          const { loss: foretold, features: seen } = pooled(context);
          explore.remember(seen, loss - foretold);
        },
      };
    }),
    saved,
  );
}

/** Every arm alike, or always the same one: what a policy must beat. */
export function fixedArm(
  options: {
    /** Numbers of a context. */
    width: number;
    /** Of the draws. Default: 0. */
    seed?: number;
    /** Always this one. Default: every arm alike. */
    arm?: number;
  },
  saved?: PolicyState,
): Policy {
  const { width, seed = 0, arm } = options;
  requireKnown("Fixed", options, ["width", "seed", "arm"]);
  if (arm !== undefined) requireWhole({ "Fixed: arm": arm }, 0, 9999);
  return createPolicy(
    {
      name: arm === undefined ? "Uniform" : "Fixed",
      options: { width, seed, arm },
      width,
      seed,
      weigh(contexts) {
        const count = contexts.length;
        if (arm !== undefined) requireWhole({ "Fixed: arm": arm }, 0, count - 1);
        const probabilities = arm === undefined ? Array<number>(count).fill(1 / count) : certain(count, arm);
        return { predictions: Array<number>(count).fill(0), probabilities };
      },
      update: () => {},
      save: () => ({ arrays: {} }),
      restore: () => {},
    },
    saved,
  );
}

interface Learner {
  readonly network: Network;
  /** The foretold value; its gradient into `gradient` if given. */
  predict(context: Float64Array, gradient?: Float64Array): number;
  remember(context: Float64Array, target: number): void;
  train(round: number): void;
  readonly arrays: () => Record<string, Float64Array<ArrayBuffer>>;
  readonly growing: Growing;
  restore(arrays: Readonly<Record<string, Float64Array<ArrayBuffer>>>): void;
}

interface Parts {
  arrays?: Record<string, Float64Array<ArrayBuffer>>;
  weigh: Rule["weigh"];
  /** Before the networks learn from a round. */
  before?(context: Float64Array, loss: number): void;
}

/** `own`: the options of this policy alone, defaults filled in. */
function neural(
  name: string,
  options: NeuralBaselineOptions,
  own: Readonly<Record<string, unknown>>,
  widths: 1 | readonly number[],
  make: (learners: Learner[]) => Parts,
): Rule {
  const shared = { seed: 0, hidden: 100, rate: 0.01, training: "schedule" as const, buffer: 10_000 };
  requireKnown(name, options, ["width", ...Object.keys(shared), ...Object.keys(own)]);
  const full = { ...shared, ...givenFields(options), ...own };
  requireWhole({ [`${name}: width`]: full.width }, 1, 1e6);
  requireWhole({ [`${name}: hidden`]: full.hidden }, 1, 1e5);
  requireOption(name, "rate", full.rate, 0, 1e3);
  requireWhole({ [`${name}: buffer`]: full.buffer }, 1, 1e6);
  requireOneOf(name, "training", full.training, ["schedule", "round"]);
  const learners = (widths === 1 ? [full.width] : widths).map((width, i) => learner({ ...full, width }, i));
  const parts = make(learners);
  return {
    name,
    options: full,
    width: full.width,
    seed: full.seed,
    weigh: parts.weigh,
    update(context, loss, round) {
      parts.before?.(context, loss);
      learners[0].remember(context, loss);
      for (const one of learners) one.train(round);
    },
    growing: learners.map(({ growing }) => growing),
    save: () => ({
      arrays: Object.fromEntries([
        ...Object.entries(parts.arrays ?? {}).map(([key, values]) => [key, values.slice()]),
        ...learners.flatMap((one) => Object.entries(one.arrays())),
      ]),
    }),
    restore({ arrays }) {
      for (const [key, values] of Object.entries(parts.arrays ?? {})) values.set(arrays[key]);
      for (const one of learners) one.restore(arrays);
    },
  };
}

function learner(
  { width, hidden, seed, rate, training, buffer }: Required<NeuralBaselineOptions>,
  number: number,
): Learner {
  const network = createNetwork({ width, hidden, depth: 1, parameterisation: "standard", seed, number });
  // Rows of context and target, oldest first; the state is written in that order.
  let seen: { context: Float64Array; target: number }[] = [];

  const step = ({ context, target }: { context: Float64Array; target: number }): number =>
    (network.descend(context, (output) => output - target, rate, 1) - target) ** 2;

  return {
    network,
    predict: (context, gradient) => (gradient ? network.backward(context, gradient) : network.forward(context)),
    remember(context, target) {
      seen.push({ context: Float64Array.from(context), target });
      if (seen.length > buffer) seen.shift();
    },
    train(round) {
      if (training === "round") {
        if (seen.length > 0) step(seen[seen.length - 1]);
        return;
      }
      if (round % (round < 1000 ? 10 : 100) !== 0) return;
      for (let steps = 0; seen.length > 0 && steps < 2000; ) {
        let sum = 0;
        const order = shuffled(seen.length, (i) => uniform({ seed, request: number + 1 }, round, "search", steps + i));
        for (const i of order) {
          sum += step(seen[i]);
          if (++steps >= 2000) return;
        }
        if (sum / seen.length <= 1e-3) return;
      }
    },
    growing: { sizes: { [`targets${number}`]: 1, [`contexts${number}`]: width }, most: buffer },
    arrays: () => ({
      [`weights${number}`]: network.weights.slice(),
      [`targets${number}`]: Float64Array.from(seen, ({ target }) => target),
      [`contexts${number}`]: Float64Array.from(seen.flatMap(({ context }) => [...context])),
    }),
    restore(arrays) {
      network.weights.set(arrays[`weights${number}`]);
      const contexts = arrays[`contexts${number}`];
      seen = Array.from(arrays[`targets${number}`], (target, i) => ({
        context: contexts.slice(i * width, (i + 1) * width),
        target,
      }));
    },
  };
}

function shuffled(length: number, draw: (index: number) => number): number[] {
  const order = Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = Math.floor(draw(i) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** Standard normal, from two uniform draws of its own. */
function normal(draw: Draw, arm: number): number {
  const radius = Math.sqrt(-2 * Math.log(1 - draw(2 * arm)));
  return radius * Math.cos(2 * Math.PI * draw(2 * arm + 1));
}
