/**
 * The bottleneck behind a language model: values in the space of logits, added to those of the frozen model, so that a stream of domains is learned
 * token by token. Beside it the same stream tunes the model's output matrix, which every token moves as a whole.
 */
import { logSumExp } from "../../../engine/shapers/logprobs.ts";
import { ensure } from "../../../errors.ts";
import { valueMaker } from "../../../runtime/program.ts";
import { documentTokens, windowsOf } from "../../../text/windows.ts";
import { keySiteOf, type StateModel } from "../building.ts";
import { productProgram } from "../search.ts";
import { type Bottleneck, type Features, fetchPairs, logitsOf, queriesOf, shuffled } from "./bottleneck.ts";
import { beginLearner } from "./learner.ts";
import { smoothedLoss, stepOn } from "./learning.ts";

/** Every token of some texts: the state before it, the model's logits there, and which it is. */
export interface Positions extends Features {
  readonly logits: Float32Array;
  readonly labels: Int32Array;
}

const window = 256;

/** Reads at most so many tokens, the state at the input of the last feed-forward block. Errors: `bad_option` for texts without any; `aborted`. */
export async function readPositions(
  model: StateModel,
  texts: readonly string[],
  {
    tokens: most,
    signal,
  }: {
    /** Tokens at most. */
    tokens: number;
    /** Ends the work: `aborted`. Default: nothing does. */
    signal?: AbortSignal;
  },
): Promise<Positions> {
  const { tokenizer, config } = model;
  ensure(tokenizer, "bad_option", `texts are read by tokens, and ${model.name} has no tokenizer`);
  const [site, width, size] = [keySiteOf(config), config.hiddenSize, config.vocabularySize];
  const values = new Float32Array(most * width);
  const logits = new Float32Array(most * size);
  const labels = new Int32Array(most);
  let count = 0;
  for (const text of texts) {
    for (const { context, continuation } of windowsOf(documentTokens(tokenizer, text), window, window >> 1)) {
      ensure(!signal?.aborted, "aborted", "reading the texts was aborted");
      const wanted = continuation.slice(0, most - count);
      if (wanted.length === 0) break;
      const tokens = [...context, ...wanted].slice(0, -1);
      const first = tokens.length - wanted.length;
      const [found] = await model.forward([{ tokens, logits: wanted.map((_, i) => first + i) }], { taps: [site] });
      values.set(found.taps[site].values.slice(first * width, tokens.length * width), count * width);
      logits.set(found.logits.subarray(0, wanted.length * size), count * size);
      labels.set(wanted, count);
      count += wanted.length;
    }
  }
  ensure(count > 0, "bad_option", "the texts hold nothing to predict");
  const part = { count, width, values: values.subarray(0, count * width) };
  return { ...part, logits: logits.subarray(0, count * size), labels: labels.subarray(0, count) };
}

/** What learns a domain, and what it then makes of texts: nats a token. */
export interface DomainLearner {
  learn(positions: Positions): Promise<void>;
  nats(positions: Positions): Promise<number>;
  close(): Promise<void>;
}

export interface DomainSettings {
  /** Codebooks, each with keys of its own. */
  readonly codebooks: number;
  /** Pairs of key and value of each codebook. */
  readonly pairs: number;
  /** Numbers of each key. */
  readonly keyWidth: number;
  /** Passes over the texts of a domain. */
  readonly epochs: number;
  /** Positions of a step. */
  readonly batch: number;
  /** Of the values, and of the output matrix. */
  readonly learningRate: number;
  /** Learning rate of the head that it is compared with. */
  readonly headRate: number;
  /** Of the first keys and of the order of what is learnt. */
  readonly seed: number;
}

/** Mean nats of tokens under logits [count, vocabulary] that `added` are added to. */
function meanNats(
  { count, logits, labels }: Positions,
  added: (from: number, until: number) => ArrayLike<number>,
): number {
  const size = logits.length / count;
  let nats = 0;
  for (let n = 0; n < count; n++) {
    const more = added(n, n + 1);
    const row = logits.slice(n * size, (n + 1) * size);
    for (let v = 0; v < size; v++) row[v] += more[v];
    nats += (logSumExp(row) - row[labels[n]]) / count;
  }
  return nats;
}

/** Rows of positions. */
function some({ width, values, logits, labels }: Positions, rows: Int32Array): Positions {
  const size = logits.length / labels.length;
  const part = {
    count: rows.length,
    width,
    values: new Float32Array(rows.length * width),
    logits: new Float32Array(rows.length * size),
    labels: Int32Array.from(rows, (n) => labels[n]),
  };
  for (const [i, n] of rows.entries()) {
    part.values.set(values.subarray(n * width, (n + 1) * width), i * width);
    part.logits.set(logits.subarray(n * size, (n + 1) * size), i * size);
  }
  return part;
}

async function inBatches(
  positions: Positions,
  { epochs, batch, seed }: DomainSettings,
  step: (part: Positions) => void | Promise<void>,
): Promise<void> {
  for (let epoch = 0; epoch < epochs; epoch++) {
    const order = shuffled(positions.count, seed, epoch);
    for (let at = 0; at + batch <= order.length; at += batch)
      await step(some(positions, order.subarray(at, at + batch)));
  }
}

/** Keys are placed by `placing`, which may be of other texts; values begin at zero, as the model alone. */
export async function bottleneckLearner(
  placing: Features,
  vocabularySize: number,
  settings: DomainSettings,
): Promise<DomainLearner & { readonly bottleneck: Bottleneck }> {
  const bottleneck = await beginLearner(placing, vocabularySize, settings);
  const { codebooks, pairs, usage } = bottleneck;
  return {
    bottleneck,
    learn: (positions) =>
      inBatches(positions, settings, (part) => {
        const fetched = fetchPairs(bottleneck, queriesOf(bottleneck, part));
        for (const [i, pair] of fetched.entries()) usage[(i % codebooks) * pairs + pair]++;
        stepOn(bottleneck, fetched, part.labels, {
          learningRate: settings.learningRate,
          smoothing: 0,
          offsets: part.logits,
        });
      }),
    async nats(positions) {
      // A pair that no token of the stream fetched has the value zero: the model as it is, which is right here, and needs no mask.
      const fetched = fetchPairs(bottleneck, queriesOf(bottleneck, positions));
      return meanNats(positions, (from, until) =>
        logitsOf(bottleneck, fetched.subarray(from * codebooks, until * codebooks)),
      );
    },
    async close() {},
  };
}

/** The model's output matrix, tuned by plain gradient steps: what it becomes less what it was, over the same states. */
export async function headLearner(
  width: number,
  vocabularySize: number,
  settings: DomainSettings,
): Promise<DomainLearner> {
  const { batch, headRate } = settings;
  const change = new Float32Array(vocabularySize * width);
  const [forward, backward, value] = [await productProgram(width), await productProgram(batch), await valueMaker()];
  const addedBy = async (values: Float32Array, rows: number): Promise<Float32Array> => {
    const inputs = {
      queries: value("float32", values, [rows, width]),
      keys: value("float32", change, [vocabularySize, width]),
    };
    return (await forward.run(inputs)).products.data as Float32Array;
  };
  return {
    learn: (positions) =>
      inBatches(positions, settings, async ({ values, logits, labels }) => {
        const sums = Float64Array.from(await addedBy(values, batch), (x, i) => x + logits[i]);
        const { slopes } = smoothedLoss(sums, labels, vocabularySize, 0);
        const [across, states] = [new Float32Array(slopes.length), new Float32Array(values.length)];
        slopes.forEach((slope, i) => {
          across[(i % vocabularySize) * batch + Math.floor(i / vocabularySize)] = slope;
        });
        values.forEach((x, i) => {
          states[(i % width) * batch + Math.floor(i / width)] = x;
        });
        const inputs = {
          queries: value("float32", across, [vocabularySize, batch]),
          keys: value("float32", states, [width, batch]),
        };
        const gradient = (await backward.run(inputs)).products.data as Float32Array;
        for (let i = 0; i < change.length; i++) change[i] -= headRate * gradient[i];
      }),
    async nats(positions) {
      const added = await addedBy(positions.values as Float32Array, positions.count);
      return meanNats(positions, (from) => added.subarray(from * vocabularySize, (from + 1) * vocabularySize));
    },
    async close() {
      await forward.release();
      await backward.release();
    },
  };
}

/** Nats a token on held-out texts of the first domain: of the model alone, after the first domain, and after the second; and of the second then. */
export interface DomainResult {
  readonly alone: number;
  readonly learned: number;
  readonly afterwards: number;
  readonly second: { readonly alone: number; readonly learned: number };
}

export async function twoDomains(
  learner: DomainLearner,
  [first, second]: readonly [Positions, Positions],
  [firstTest, secondTest]: readonly [Positions, Positions],
): Promise<DomainResult> {
  try {
    const [alone, secondAlone] = [await learner.nats(firstTest), await learner.nats(secondTest)];
    await learner.learn(first);
    const learned = await learner.nats(firstTest);
    await learner.learn(second);
    const afterwards = await learner.nats(firstTest);
    return { alone, learned, afterwards, second: { alone: secondAlone, learned: await learner.nats(secondTest) } };
  } finally {
    await learner.close();
  }
}
