/**
 * What the theorem leaves open: a causal language model (learned positions, norms, feed-forwards) is shown an order and shuffled items and is to give the items in order.
 * Answers stand in one of three places: in the rows of the items themselves, in rows of a filler token behind them, or in what it writes, token after token.
 */
import { permutation, uniform } from "../../../engine/random.ts";
import { ensure, VentrisError } from "../../../errors.ts";
import { within } from "../../../files.ts";
import { familyOf } from "../../../models/families.ts";
import { textGraph } from "../../../models/graph.ts";
import { requireCounts, requireWhole } from "../../../numbers.ts";
import { constant, crossEntropy, gather, input, reduceMean } from "../../../tensor/index.ts";
import { writeConfigured } from "../../../training/export.ts";
import { graphObjective } from "../../../training/graph-objective.ts";
import { train } from "../../../training/loop.ts";
import { modelParameters } from "../../../training/next-token.ts";
import { initialValues } from "../../../training/recipe.ts";
import { linear } from "../../../training/schedule.ts";
import type { LayoutOptions } from "./layout.ts";

/** `in-place`: in the rows of the items. `filler`: in as many rows of a token that means nothing. `written`: as the tokens that follow. */
export const answerPlaces = ["in-place", "filler", "written"] as const;
/** Where an answer stands beside its question. */
export type AnswerPlace = (typeof answerPlaces)[number];

/** Lists to be put into order, as texts. */
export interface OrderingTask {
  /** Items to be ordered. */
  readonly n: number;
  /** Different items there are; a list may hold one twice. */
  readonly items: number;
  readonly place: AnswerPlace;
}

/** Tokens: 0 to n-1 say where the item goes, then come the items, then the filler. */
export const orderingVocabulary = ({ n, items }: OrderingTask): number => n + items + 1;

/** Tokens of the text, and what is to be at `from` and the rows after it. */
export interface OrderingExample {
  readonly tokens: readonly number[];
  readonly from: number;
  readonly answer: readonly number[];
}

/** Errors: `bad_option`. */
function requireTask({ n, items }: OrderingTask): void {
  const fits = Number.isInteger(n) && n >= 2 && n <= 64 && Number.isInteger(items) && items >= 2;
  ensure(fits, "bad_option", `ordering: ${n} of ${items} items: there are 2 to 64 of 2 or more`);
}

/** A question about an order, with its answer, as tokens. Errors: `bad_option` for a task that is none, and for a seed or index that is not whole or below 0. */
export function orderingExample(task: OrderingTask, seed: number, index: number): OrderingExample {
  requireTask(task);
  requireWhole({ seed, index }, 0);
  const { n, items, place } = task;
  const stream = { seed, request: index };
  const order = permutation(n, stream);
  const shuffled = Array.from({ length: n }, (_, i) => n + Math.floor(uniform(stream, i, "data", 1) * items));
  const answer = new Array<number>(n);
  for (const [i, to] of order.entries()) answer[to] = shuffled[i];
  const shown = [...order, ...shuffled];
  if (place === "in-place") return { tokens: shown, from: n, answer };
  if (place === "filler") return { tokens: [...shown, ...new Array<number>(n).fill(n + items)], from: 2 * n, answer };
  return { tokens: [...shown, ...answer.slice(0, -1)], from: 2 * n - 1, answer };
}

/** Where the answer is read, as a layout of the theorem would have it. */
export const placeOf = ({ n, place }: OrderingTask): LayoutOptions =>
  place === "filler" ? { after: n } : { read: "values" };

/** How a model is trained on them. */
export interface OrderingTraining {
  /** Numbers in a state. */
  readonly width: number;
  /** Layers of the model. */
  readonly layers: number;
  /** Examples in a batch. */
  readonly batch: number;
  /** Steps of the optimiser, a batch each. */
  readonly steps: number;
  /** Peak of the learning rate. */
  readonly rate: number;
  /** Of the first weights and of the examples. */
  readonly seed: number;
  /** Examples that the share of right answers is measured on. Default 256. */
  readonly heldOut?: number;
  /** Threads within an operator. Default 1. */
  readonly threads?: number;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
  /** Told the number of each step. Default: nobody is told. */
  readonly onProgress?: (step: number) => void;
}

/** Configuration of a small GPT-2 for the task. */
export const orderingConfig = (task: OrderingTask, { width, layers }: Pick<OrderingTraining, "width" | "layers">) => ({
  architectures: ["GPT2LMHeadModel"],
  model_type: "gpt2",
  vocab_size: orderingVocabulary(task),
  n_embd: width,
  n_layer: layers,
  n_head: 4,
  n_positions: 3 * task.n,
  layer_norm_epsilon: 1e-5,
});

/** Held-out examples have numbers that training does not reach. */
const heldOutFrom = 2 ** 40;

/**
 * Trains a GPT-2 of this size on the task into `folder`, a model folder, and returns the share of answers that are right on held-out examples, read at their rows;
 * what the model writes by itself is `writtenAccuracy`'s. Errors: `bad_option`; `aborted`; those of training.
 */
export async function trainOrdering(
  task: OrderingTask,
  folder: string,
  { width, layers, batch, steps, rate, seed, heldOut = 256, threads = 1, signal, onProgress }: OrderingTraining,
): Promise<number> {
  requireTask(task);
  requireCounts({ width, layers, batch, steps, heldOut });
  const { n } = task;
  const json = orderingConfig(task, { width, layers });
  const { family, config } = familyOf(json);
  const values = initialValues(family, config, seed);
  const { tokens: first, from } = orderingExample(task, seed, 0);
  const length = first.length;
  const rows = Array.from({ length: batch * n }, (_, i) => BigInt(Math.floor(i / n) * length + from + (i % n)));
  const chosen = constant(BigInt64Array.from(rows), [batch * n]);
  const { logits } = textGraph(family, config, { rows: batch, length, select: (hidden) => gather(hidden, chosen) });
  type Examples = readonly OrderingExample[];
  const objective = await graphObjective<Examples>({
    loss: reduceMean(crossEntropy(logits, input("answers", [batch * n], "int64"))),
    outputs: { logits },
    trained: modelParameters(family, config, values),
    fixed: new Map(),
    threads,
    feeds: (examples) => ({
      tokens: { data: BigInt64Array.from(examples.flatMap(({ tokens }) => tokens.map(BigInt))), dims: [batch, length] },
      answers: { data: BigInt64Array.from(examples.flatMap(({ answer }) => answer.map(BigInt))), dims: [batch * n] },
    }),
  });
  const examples = (at: number): Examples =>
    Array.from({ length: batch }, (_, i) => orderingExample(task, seed, at + i));
  try {
    const result = await train<Examples>({
      objective,
      batches: (index) => examples(index * batch),
      steps,
      schedule: linear({ peak: rate, warmup: Math.ceil(steps / 20), steps, final: rate / 20 }),
      optimiser: { beta2: 0.98, weightDecay: 0 },
      clip: 1,
      seed,
      signal,
      onProgress: ({ step }) => onProgress?.(step),
    });
    if (result.reason === "aborted") throw new VentrisError("aborted", "training to order items was aborted");
    let [right, all] = [0, 0];
    for (let at = 0; at < heldOut; at += batch) {
      const drawn = examples(heldOutFrom + at);
      const { outputs } = await objective.evaluate(drawn);
      const found = outputs.logits.data as Float32Array;
      for (const [row, answer] of drawn.flatMap((example) => example.answer).entries()) {
        const own = found.subarray(row * config.vocabularySize, (row + 1) * config.vocabularySize);
        if (own.indexOf(Math.max(...own)) === answer) right++;
        all++;
      }
    }
    await writeConfigured(family, config, values, json, folder);
    return right / all;
  } finally {
    await objective.release();
  }
}

/** What of an open model this needs. */
interface Writer {
  decode(
    prompt: readonly number[],
    options: { temperature: number; maxTokens: number },
  ): { readonly final: Promise<{ readonly tokens: readonly number[] }> };
}

/** Share of answers that are right in what a model writes by itself after the input, greedily. */
export async function writtenAccuracy(model: Writer, task: OrderingTask, count: number, seed: number): Promise<number> {
  requireCounts({ count });
  let right = 0;
  for (let i = 0; i < count; i++) {
    const { tokens, answer } = orderingExample({ ...task, place: "in-place" }, seed, heldOutFrom + i);
    const written = (await model.decode(tokens, { temperature: 0, maxTokens: task.n }).final).tokens;
    right += answer.filter((token, j) => written[j] === token).length;
  }
  return right / (count * task.n);
}

/** Where the model for a place of the answer is kept. */
export const orderingFolder = (folder: string, place: AnswerPlace): string => within(folder, place);
