/**
 * Reward heads: sigmoid(weight · state + confidence · log-probability of the step + bias) of a model's last state at the end of a step and
 * of how sure the model was of it, trained by logistic regression on what became of solutions that the model itself wrote. What one solution came to is an unbiased draw of how often its beginnings come to that.
 */
import { z } from "zod";
import { uniform } from "../../engine/random.ts";
import { ensure, plural, VentrisError } from "../../errors.ts";
import type { Part, PartTensor } from "../../models/parts.ts";
import type { Tokenizer } from "../../text/index.ts";
import { adamwState, adamwUpdate } from "../../training/index.ts";

export const rewardHeadKind = "reward-head";
export const rewardHeadSite = "final";

const headSettings = z.object({
  delimiters: z.array(z.string().min(1)).min(1),
  answer: z.string().optional(),
});

export interface RewardHead {
  readonly weight: Float32Array;
  readonly bias: number;
  /** Of the step's log-probability (natural) under the distributions that it was drawn from. */
  readonly confidence: number;
  /** Texts that end a step where it was trained, and how a finished solution looks. */
  readonly delimiters: readonly string[];
  readonly answer?: string;
}

/** Errors: `bad_file` for a part that is no head of this width. */
export function readRewardHead({ tensors, card, folder }: Part, width: number): RewardHead {
  const [weight, bias, confidence] = ["weight", "bias", "confidence"].map((name) => tensors.get(name));
  const fits = weight?.values.length === width && bias?.values.length === 1 && (confidence?.values.length ?? 1) === 1;
  ensure(
    fits,
    "bad_file",
    `${folder}: a reward head has a weight [${width}], a bias [1] and, where it reads log-probabilities, a confidence [1]`,
  );
  const settings = headSettings.safeParse(card.settings);
  ensure(settings.success, "bad_file", () => `${folder}: settings: ${settings.error?.issues[0].message}`);
  return {
    weight: weight!.values,
    bias: bias!.values[0],
    confidence: confidence?.values[0] ?? 0,
    ...settings.data!,
  };
}

/** `logprob`: of the step's tokens together. */
export function headReward(
  { weight, bias, confidence }: Pick<RewardHead, "weight" | "bias" | "confidence">,
  state: ArrayLike<number>,
  logprob: number,
): number {
  let sum = bias + confidence * logprob;
  for (let i = 0; i < weight.length; i++) sum += weight[i] * state[i];
  return 1 / (1 + Math.exp(-sum));
}

/** A task to write solutions for. */
export interface Problem {
  readonly prompt: readonly number[];
  /** Whether each of these steps is right as far as it goes; the last may be an answer. */
  judge(steps: readonly string[], finished: boolean): readonly boolean[];
}

/** What is asked of a model here; an open model has it. */
export interface Writer {
  readonly tokenizer?: Tokenizer;
  decode(
    prompt: readonly number[],
    options: Record<string, unknown>,
  ): {
    readonly final: Promise<{
      readonly tokens: readonly number[];
      readonly finish: string;
      readonly logprobs?: readonly { readonly shaped: number }[];
      readonly taps?: Readonly<
        Record<string, { readonly width: number; readonly rows: number; readonly values: Float32Array }>
      >;
    }>;
  };
}

export interface RolloutOptions {
  /** Solutions a problem. */
  readonly rollouts: number;
  readonly temperature: number;
  readonly maxTokens: number;
  readonly seed: number;
  readonly delimiters: readonly string[];
  readonly answer?: string;
  /** What a beginning is labelled with: whether its own steps are right, or what its solution came to. */
  readonly labels: "steps" | "outcome";
  readonly signal?: AbortSignal;
  readonly onProgress?: (problems: number) => void;
}

export interface Example {
  readonly state: Float32Array;
  /** Of the step, under the distributions that it was drawn from. */
  readonly logprob: number;
  readonly label: 0 | 1;
  /** Of which problem: examples of one are never on both sides of a split. */
  readonly problem: number;
}

/** The states at the ends of the steps that a model writes, with their labels. */
export async function collectRollouts(
  model: Writer,
  problems: readonly Problem[],
  { rollouts, temperature, maxTokens, seed, delimiters, answer, labels, signal, onProgress }: RolloutOptions,
): Promise<Example[]> {
  const { tokenizer } = model;
  ensure(tokenizer, "bad_option", "a reward head reads the ends of steps, and this model has no tokenizer");
  const examples: Example[] = [];
  const finished = answer === undefined ? undefined : new RegExp(answer, "m");
  for (const [number, problem] of problems.entries()) {
    const runs = Array.from({ length: rollouts }, (_, i) =>
      model.decode(problem.prompt, {
        temperature,
        maxTokens,
        seed,
        request: number * rollouts + i,
        taps: [rewardHeadSite],
        logprobs: 0,
        signal,
      }),
    );
    for (const run of runs) {
      const { tokens, finish, taps, logprobs } = await run.final;
      if (signal?.aborted) throw new VentrisError("aborted", "training the reward head was stopped");
      const { values, width, rows } = taps![rewardHeadSite];
      const steps: string[] = [];
      const ends: { row: number; logprob: number }[] = [];
      let logprob = 0;
      let begun: number[] = [];
      let text = "";
      for (const [i, token] of tokens.entries()) {
        begun.push(token);
        logprob += logprobs![i].shaped;
        const step = tokenizer.decode(begun, { continued: true });
        const last = i === tokens.length - 1;
        if (!delimiters.some((delimiter) => step.includes(delimiter)) && !last) continue;
        if (step.trim() !== "") {
          steps.push(step);
          ends.push({ row: problem.prompt.length + i, logprob });
        }
        text += step;
        [begun, logprob] = [[], 0];
        if (finished?.test(text)) break; // a search would stop here
      }
      const ended = finish === "end" || finish === "stop" || (finished?.test(text) ?? false);
      const right = problem.judge(steps, ended);
      const came = ended && right.every((one) => one);
      for (const [i, { row, logprob }] of ends.entries()) {
        if (row >= rows) continue; // nothing needed the last token's row
        const label = labels === "steps" ? right.slice(0, i + 1).every((one) => one) : came;
        const state = values.slice(row * width, (row + 1) * width);
        examples.push({ state, logprob, label: label ? 1 : 0, problem: number });
      }
    }
    onProgress?.(number + 1);
  }
  return examples;
}

export interface TrainedHead {
  readonly tensors: ReadonlyMap<string, PartTensor>;
  readonly examples: number;
  /** Share of labels that are 1. */
  readonly positive: number;
  /** On problems that training did not see: mean log loss (nats), that of always saying the share, and share judged rightly at 0.5. */
  readonly heldOut: {
    readonly examples: number;
    readonly loss: number;
    readonly base: number;
    readonly accuracy: number;
  };
}

/**
 * Logistic regression with full batches of AdamW; a fifth of the problems is held out. Errors: `bad_option` where all labels are the same,
 * so that there is nothing to learn.
 */
export function trainRewardHead(
  examples: readonly Example[],
  { seed = 0, steps = 400, rate = 0.02, decay = 0.01 } = {},
): TrainedHead {
  const apart = ({ problem }: Example): boolean => uniform({ seed, request: problem }, 0, "data") < 0.2;
  const [kept, heldOut] = [examples.filter((one) => !apart(one)), examples.filter(apart)];
  const share = kept.reduce((sum, { label }) => sum + label, 0) / Math.max(1, kept.length);
  ensure(
    share > 0 && share < 1,
    "bad_option",
    `reward head: ${plural(kept.length, "beginning")}, of which ${(100 * share).toFixed(0)} % are right: there is nothing to tell apart; take easier or harder problems, or more of them`,
  );
  const width = kept[0].state.length;
  const weight = new Float32Array(width);
  const bias = new Float32Array([Math.log(share / (1 - share))]);
  const confidence = new Float32Array(1);
  const head = () => ({ weight, bias: bias[0], confidence: confidence[0] });
  const parameters = [
    { name: "weight", shape: [width], values: weight, decay: true },
    { name: "bias", shape: [1], values: bias, decay: false },
    { name: "confidence", shape: [1], values: confidence, decay: false },
  ];
  const state = adamwState(parameters);
  for (let step = 0; step < steps; step++) {
    const gradients = [new Float32Array(width), new Float32Array(1), new Float32Array(1)];
    const now = head();
    for (const { state: x, logprob, label } of kept) {
      const error = (headReward(now, x, logprob) - label) / kept.length;
      for (let i = 0; i < width; i++) gradients[0][i] += error * x[i];
      gradients[1][0] += error;
      gradients[2][0] += error * logprob;
    }
    adamwUpdate(parameters, gradients, state, rate * (1 - step / steps), { weightDecay: decay });
  }
  const judged = heldOut.map(({ state: x, logprob, label }) => ({ r: headReward(head(), x, logprob), label }));
  const loss = (of: (one: (typeof judged)[number]) => number): number =>
    judged.reduce((sum, one) => sum - Math.log(Math.max(1e-12, one.label ? of(one) : 1 - of(one))), 0) /
    Math.max(1, judged.length);
  return {
    tensors: new Map([
      ["weight", { shape: [width], values: weight }],
      ["bias", { shape: [1], values: bias }],
      ["confidence", { shape: [1], values: confidence }],
    ]),
    examples: kept.length,
    positive: share,
    heldOut: {
      examples: judged.length,
      loss: loss(({ r }) => r),
      base: loss(() => share),
      accuracy: judged.filter(({ r, label }) => r > 0.5 === (label === 1)).length / Math.max(1, judged.length),
    },
  };
}
