/**
 * Multi-step arithmetic to measure searches on: problems, a solver that errs at a known rate, and rewards with known noise. The solver is a
 * shaper: it decides every next token, while everything else (forest, batches, methods) is what any model has.
 */
import type { OwnMethod } from "../../../calls.ts";
import { uniform } from "../../../engine/random.ts";
import type { Run } from "../../../engine/run.ts";
import type { MakeShaper } from "../../../engine/shapers/shaper.ts";
import type { Model } from "../../../papers/reproduction.ts";
import { arithmeticProblem, checkSteps, type SkillItem, type Step, writeStep } from "../../../training/skills/index.ts";
import { bestOfN } from "../best-of-n/index.ts";
import { particleFiltering } from "../particle-filtering/index.ts";
import type { Reward } from "../rewards.ts";
import { selfConsistency } from "../self-consistency/index.ts";
import type { EdgeCost } from "./costs.ts";
import { aStar } from "./index.ts";

/** A chain of so many operations on numbers up to 99. */
export function drawProblem(steps: number, seed: number, number: number): SkillItem {
  let index = 0;
  const integer = (low: number, high: number): number =>
    low + Math.floor(uniform({ seed, request: number }, index++, "data") * (high - low + 1));
  const start = integer(5, 30);
  let value = start;
  const operations = Array.from({ length: steps }, () => {
    const minus = value > 60 || (value > 20 && integer(0, 1) === 1);
    const right = integer(2, minus ? Math.min(19, value - 1) : 19);
    value += minus ? -right : right;
    return `${minus ? "-" : "+"} ${right}`;
  });
  return arithmeticProblem(`Start with ${start}. ${operations.join(", ")}. What is the result?`)!;
}

/** Wrong results, beside the right one. */
const slips = [1, -1, 2, 10, -10];

/** Lines that may stand after these, and how likely each is: a step that is right but for `error`, whatever went before. */
function nextLines(operations: readonly Step[], start: number, lines: readonly string[], error: number) {
  const before = lines.length === 0 ? start : Number(/(-?\d+)$/.exec(lines[lines.length - 1])?.[1]);
  if (lines.length >= operations.length) return [{ line: `Answer: ${before}\n`, probability: 1 }];
  const { operator, right } = operations[lines.length];
  const results = { "+": before + right, "-": before - right, "*": before * right };
  const line = (result: number): string => `${writeStep({ left: before, operator, right, result })}\n`;
  const result = results[operator];
  return [
    { line: line(result), probability: 1 - error },
    ...slips.map((slip) => ({ line: line(result + slip), probability: error / slips.length })),
  ];
}

/** A solver that makes a mistake in a step with this probability, and goes on from it. */
export function solver(model: Model, { facts }: SkillItem, error: number): MakeShaper {
  const operations = facts.steps as readonly Step[];
  const { tokenizer } = model;
  const tokenOf = (character: string): number => {
    const ids = tokenizer!.encode(character, { special: false });
    return ids[ids.length - 1];
  };
  return ({ prompt }) => ({
    name: "solver",
    logits(node, logits) {
      const tokens: number[] = [];
      for (let at: typeof node | undefined = node; at && at.depth >= prompt.length; at = at.parent)
        tokens.unshift(at.token);
      const lines = tokenizer!.decode(tokens, { continued: true }).split("\n");
      const begun = lines.pop()!;
      const law = new Float32Array(logits.length).fill(-Infinity);
      const mass = new Map<string, number>();
      for (const { line, probability } of nextLines(operations, operations[0].left, lines, error)) {
        if (!line.startsWith(begun)) continue;
        mass.set(line[begun.length], (mass.get(line[begun.length]) ?? 0) + probability);
      }
      for (const [character, probability] of mass) if (probability > 0) law[tokenOf(character)] = Math.log(probability);
      return law;
    },
  });
}

/** Judges whether all steps so far are right, wrongly with probability `noise`: the same judgement whenever it is asked. */
export function noisyReward(item: SkillItem, noise: number, seed: number): Reward {
  return ({ text }) => {
    const right = checkSteps(item, text).every((one) => one);
    let hash = 0;
    for (const character of `${item.prompt}\n${text}`) hash = (Math.imul(hash, 31) + character.codePointAt(0)!) >>> 0;
    const draw = (index: number): number => uniform({ seed, request: hash }, index, "data");
    const says = draw(0) < noise ? !right : right;
    return (says ? 0.9 : 0.1) + (noise === 0 ? 0 : 0.2 * draw(1) - 0.1);
  };
}

export interface Spent {
  readonly right: number;
  readonly tokens: number;
  readonly rewardCalls: number;
  readonly expansions: number;
}

/** Where steps are judged wrongly at times, the product of their rewards is what all of them say together: best for all that take it. */
const aggregate = "product";
const star = (width: number, edgeCost: EdgeCost) => ({ children: width, budget: 6000, edgeCost, aggregate });

export const searches = {
  "a-star": (width: number) => ({ method: aStar, options: star(width, "drop") }),
  "a-star rise": (width: number) => ({ method: aStar, options: star(width, "rise") }),
  "best-of-n": (width: number) => ({ method: bestOfN, options: { samples: width, aggregate } }),
  "particle-filtering": (width: number) => ({ method: particleFiltering, options: { particles: width } }),
  "self-consistency": (width: number) => ({ method: selfConsistency, options: { samples: width } }),
} as const;
export type Search = keyof typeof searches;

interface Conditions {
  /** Of a step of the solver, and of a judgement of the reward. */
  readonly error: number;
  readonly noise: number;
  readonly seed: number;
  readonly signal?: AbortSignal;
}

/** One search on one problem. */
export function search(model: Model, item: SkillItem, name: Search, width: number, given: Conditions): Run {
  const { method, options } = searches[name](width);
  const steps = { delimiters: ["\n"], answer: "^Answer: (-?\\d+)$" };
  const judged = name === "self-consistency" ? {} : { reward: noisyReward(item, given.noise, given.seed) };
  return model.decode(`${item.prompt}\n`, {
    method: { method, options: { ...options, ...steps, ...judged } } as OwnMethod,
    shapers: [solver(model, item, given.error)],
    maxTokens: 400,
    seed: given.seed,
    signal: given.signal,
  });
}

/** What a search makes of a problem, and what it spends. */
export async function solve(...given: Parameters<typeof search>): Promise<Spent> {
  const [, item] = given;
  const { text, counters } = await search(...given).final;
  const { tokens, rewardCalls, expansions } = counters.search!;
  return { right: text.trimEnd() === item.answer ? 1 : 0, tokens, rewardCalls, expansions };
}

/** Mean tokens (or calls) at which a curve of (cost, accuracy) points, ascending in cost, reaches an accuracy; undefined: it does not. */
export function costAt(curve: readonly (readonly [number, number])[], accuracy: number): number | undefined {
  let before: readonly [number, number] | undefined;
  for (const [cost, reached] of curve) {
    if (reached >= accuracy) {
      if (!before || reached === before[1]) return cost;
      const share = (accuracy - before[1]) / (reached - before[1]);
      return Math.exp(Math.log(before[0]) + share * (Math.log(cost) - Math.log(before[0])));
    }
    if (!before || reached > before[1]) before = [cost, reached];
  }
  return undefined;
}
