/**
 * Process rewards: a number from 0 to 1 for a partial solution. From a function, from a checker of arithmetic, or from a small head on the
 * model's own last state, trained from rollouts.
 */
import { z } from "zod";
import type { Decoding } from "../../engine/decoding.ts";
import { hostOnly } from "../../engine/method.ts";
import { isRemoteDecoding } from "../../engine/remote/decoding.ts";
import { ensure, ofOption, reasonOf, shown, shownEnd, VentrisError } from "../../errors.ts";
import { arithmeticProblem, checkSteps } from "../../training/skills/index.ts";
import type { Ledger, State } from "./partial.ts";
import { headReward, type RewardHead, readRewardHead, rewardHeadKind, rewardHeadSite } from "./reward-head.ts";
import { stepsOf } from "./steps.ts";

/** What a reward function is asked about. */
export interface Solution {
  /** As given, where the prompt was a text of this model's vocabulary. */
  readonly prompt: string;
  /** All of the steps, joined. */
  readonly text: string;
  readonly steps: readonly string[];
  readonly finished: boolean;
}

/** From 0 to 1; NaN rejects the solution. */
export type Reward = (solution: Solution) => number | Promise<number>;

export const rewardOptions = {
  reward: z
    .union([
      z.literal("arithmetic"),
      z.custom<Reward>(
        (value) => typeof value === "function",
        "must be a function from a solution to a number from 0 to 1",
      ),
    ])
    .optional()
    .describe(
      "what partial solutions are worth: arithmetic checks the steps of that skill; or a function from a solution to a number from 0 to 1; default: the reward head of the model",
    ),
  rewardHead: hostOnly(
    z
      .string()
      .min(1)
      .max(4096)
      .default("reward")
      .describe(
        "where no reward is given: a trained reward head of the model, by its name beside the model or its folder",
      ),
  ),
  aggregate: z
    .enum(["last", "min", "product"])
    .default("last")
    .describe(
      "what the rewards of steps make of a solution: last counts the last step alone; min the worst one, so that one bad step spoils it; product all of them, which favours short solutions",
    ),
};

export interface Rewarding {
  /** How its steps end and how a finished solution looks, where it knows. */
  readonly preferred: { readonly delimiters?: readonly string[]; readonly answer?: string };
  /** Sites that it reads. */
  readonly taps: readonly string[];
  /** Of each state; NaN for one that is rejected. */
  score(states: readonly State[], ledger: Ledger): Promise<number[]>;
}

/** Errors: `bad_option` for a reward that this model or prompt cannot have; those of reading a part. */
export async function rewarding(
  decoding: Decoding,
  { reward, rewardHead }: { reward?: Reward | "arithmetic"; rewardHead: string },
): Promise<Rewarding> {
  ensure(reward !== undefined || !isRemoteDecoding(decoding), "bad_option", () => {
    return "reward: a reward head reads the model's inner states, which stay behind the network: give a function from a solution to a number, or arithmetic";
  });
  if (reward === undefined)
    return headRewarding(
      readRewardHead(
        await ofOption("rewardHead", () => decoding.model.part(rewardHead, rewardHeadKind)),
        decoding.model.config.hiddenSize,
      ),
    );
  const { tokenizer } = decoding.model;
  ensure(tokenizer, "bad_option", "reward: it reads texts, and this model has no tokenizer");
  const prompt = tokenizer.decode(
    decoding.prompt.filter((token) => token >= 0),
    {},
  );
  const ask = reward === "arithmetic" ? checkerOf(prompt) : reward;
  return {
    preferred: reward === "arithmetic" ? { delimiters: ["\n"], answer: "^Answer: *(-?\\d+)[ \\t]*$" } : {},
    taps: [],
    async score(states, ledger) {
      const values: number[] = [];
      for (const state of states) {
        const solution = { prompt, text: state.text, steps: stepsOf(state), finished: state.ended === "end" };
        ledger.rewardCalls += 1;
        values.push(checked(await asked(ask, solution), state.text));
      }
      return values;
    },
  };
}

async function asked(ask: Reward, solution: Solution): Promise<unknown> {
  try {
    return await ask(solution);
  } catch (cause) {
    const where = shownEnd(solution.text);
    throw new VentrisError("bad_option", `reward: it failed on ${where}: ${reasonOf(cause)}`, { cause });
  }
}

const slack = 1e-6;

/** Errors: `bad_option` for what is no number from 0 to 1, nor NaN. */
function checked(value: unknown, text: string): number {
  if (typeof value === "number" && Number.isNaN(value)) return value;
  const fits = typeof value === "number" && value >= -slack && value <= 1 + slack;
  ensure(fits, "bad_option", () => {
    return `reward: must be a number from 0 to 1, and was ${shown(value)} for ${shownEnd(text)}`;
  });
  return Math.min(1, Math.max(0, value as number));
}

/** 1 as long as every step is the right one. Errors: `bad_option` for a prompt that is no such problem. */
function checkerOf(prompt: string): Reward {
  const item = arithmeticProblem(prompt);
  ensure(
    item,
    "bad_option",
    'reward: "arithmetic" checks problems of that skill (as "Start with 5. + 3, * 2. What is the result?"), and the prompt is none',
  );
  return ({ text, finished }) => {
    const lines = checkSteps(item, finished && !text.endsWith("\n") ? `${text}\n` : text);
    return lines.every((right) => right) ? 1 : 0;
  };
}

/** The head reads the state that the model itself has at the end of a step: it costs no pass. */
function headRewarding(head: RewardHead): Rewarding {
  return {
    preferred: { delimiters: head.delimiters, answer: head.answer },
    taps: [rewardHeadSite],
    async score(states, ledger) {
      ledger.rewardCalls += states.length;
      return states.map(({ tip, parent, logprob }) =>
        headReward(head, tip.taps![rewardHeadSite], logprob - (parent?.logprob ?? 0)),
      );
    },
  };
}

/** A solution's reward from its parent's and its last step's. */
export const aggregated = (how: "last" | "min" | "product", before: number | undefined, last: number): number => {
  if (how === "last" || before === undefined) return last;
  return how === "min" ? Math.min(before, last) : before * last;
};
