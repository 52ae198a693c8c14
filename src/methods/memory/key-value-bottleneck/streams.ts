/** A stream class by class, and everything that is compared on it. */
import { requireCounts } from "../../../numbers.ts";
import { type Bottleneck, createBottleneck, type Features, initialiseKeys, shuffled } from "./bottleneck.ts";
import { createHead, nearestMean, nearestNeighbours } from "./heads.ts";
import { accuracy, classesOf, decide, type Labelled, learn, ofClasses } from "./learning.ts";

export interface StreamData {
  readonly train: Labelled;
  readonly test: Labelled;
  /** What keys are placed by. */
  readonly drawings: Features;
}

export interface StreamSettings {
  /** Codebooks, each with keys of its own. */
  readonly codebooks: number;
  /** Pairs of key and value of each codebook. */
  readonly pairs: number;
  /** Numbers of each key. */
  readonly keyWidth: number;
  /** Passes over each split of the stream, for the bottleneck and for heads. */
  readonly epochs: number;
  /** Passes over the whole stream, for the head that sees all of it at once. */
  readonly headEpochs: number;
  /** Classes that come at a time. Default 2. */
  readonly perSplit?: number;
  /** Of the bottleneck. Default 20. */
  readonly learningRate?: number;
  /** Of the first keys and of the order of what is learnt. */
  readonly seed: number;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
  /** Told which share of the bottlenecks' learning is done. Default: nobody is told. */
  readonly onProgress?: (share: number) => void;
}

/** The classes in splits of so many, in an order of the seed's. Errors: `bad_option` for numbers below 1. */
export function splitsOf(classes: number, perSplit: number, seed: number): number[][] {
  requireCounts({ classes, perSplit });
  const order = [...shuffled(classes, seed, 7)];
  return Array.from({ length: Math.ceil(classes / perSplit) }, (_, i) => order.slice(i * perSplit, (i + 1) * perSplit));
}

const [batch, bottleneckRate, headRate] = [256, 20, 0.1];

/** A bottleneck for these classes, its keys placed by other features. */
export async function placedBottleneck(
  features: Features,
  classes: number,
  { codebooks, pairs, keyWidth, seed }: StreamSettings,
): Promise<Bottleneck> {
  const shape = { codebooks, pairs, keyWidth, valueWidth: classes, featureWidth: features.width };
  const bottleneck = createBottleneck(shape, { seed });
  await initialiseKeys(bottleneck, features, { epochs: 5, batch: 256, seed });
  return bottleneck;
}

/** What was measured on one stream: shares of right classes over all tests, after the whole stream. */
export interface StreamResult extends Record<string, number> {
  /** The bottleneck, class by class and shuffled; without the mask; on the classes of the first split, after it and after the stream. */
  readonly incremental: number;
  readonly shuffled: number;
  readonly unmasked: number;
  readonly firstThen: number;
  readonly firstNow: number;
  readonly linear: number;
  readonly linearFirst: number;
  readonly linearWithoutBias: number;
  readonly ridge: number;
  readonly network: number;
  /** A linear head with all data at once: an upper bound. */
  readonly replay: number;
  readonly nearestMean: number;
  readonly neighbours: number;
  /** Values of keys that no sample of a step fetched and that the step changed. */
  readonly moved: number;
}

export async function runStream(
  { train, test, drawings }: StreamData,
  classes: number,
  settings: StreamSettings,
): Promise<StreamResult> {
  const { epochs, headEpochs, perSplit = 2, learningRate = bottleneckRate, seed, signal, onProgress } = settings;
  const splits = splitsOf(classes, perSplit, seed);
  const first = ofClasses(test, splits[0]);
  const share = (logits: Float64Array, of: Labelled): number => accuracy(classesOf(logits, classes), of);
  const learning = { batch, learningRate, seed, signal };
  const bottleneck = await placedBottleneck(drawings, classes, settings);
  let [moved, firstThen] = [0, 0];
  for (const [i, split] of splits.entries()) {
    const before = { values: bottleneck.values.slice(), usage: bottleneck.usage.slice() };
    const told = (done: number): void => onProgress?.((i + done) / splits.length / 2);
    await learn(bottleneck, ofClasses(train, split), { ...learning, epochs, onProgress: told });
    for (let pair = 0; pair < before.usage.length; pair++) {
      if (bottleneck.usage[pair] !== before.usage[pair]) continue;
      for (let v = 0; v < classes; v++) {
        if (bottleneck.values[pair * classes + v] !== before.values[pair * classes + v]) moved++;
      }
    }
    if (i === 0) firstThen = share(decide(bottleneck, first), first);
  }
  const iid = await placedBottleneck(drawings, classes, settings);
  await learn(iid, train, { ...learning, epochs, onProgress: (done) => onProgress?.((1 + done) / 2) });
  const tuned = (options: object, parts: readonly Labelled[]) => {
    const head = createHead(train.width, { classes, seed, ...options });
    for (const part of parts) head.learn(part, { epochs: headEpochs, batch: 64, learningRate: headRate, seed });
    return head;
  };
  const stream = splits.map((split) => ofClasses(train, split));
  const linear = tuned({}, stream);
  return {
    incremental: share(decide(bottleneck, test), test),
    shuffled: share(decide(iid, test), test),
    unmasked: share(decide(bottleneck, test, { mask: false }), test),
    firstThen,
    firstNow: share(decide(bottleneck, first), first),
    linear: share(linear.decide(test), test),
    linearFirst: share(linear.decide(first), first),
    linearWithoutBias: share(tuned({ bias: false }, stream).decide(test), test),
    ridge: share(tuned({ weightDecay: 1e-2 }, stream).decide(test), test),
    network: share(tuned({ hidden: 128 }, stream).decide(test), test),
    replay: share(tuned({}, [train]).decide(test), test),
    nearestMean: accuracy(nearestMean(train, test, classes), test),
    neighbours: accuracy(await nearestNeighbours(train, test, 5), test),
    moved,
  };
}
