/** Hyperfitting's claims at our scale, with the controls that its reviewers asked for: one model trained in several ways, and read greedily. */
import { join } from "node:path";
import type { MakeShaper } from "../../../engine/shapers/shaper.ts";
import type { TimedEvent } from "../../../engine/trace.ts";
import { ensure } from "../../../errors.ts";
import {
  defineReproduction,
  type Measurement,
  type Model,
  type Reproduction,
  type ReproductionContext,
} from "../../../papers/reproduction.ts";
import { bootstrap, mean, meanOf, ratioOf } from "../../../papers/statistics.ts";
import { isHeldOut } from "../../../training/data.ts";
import { writeValues } from "../../../training/export.ts";
import type { Values } from "../../../training/next-token.ts";
import { simpleStories, storySources } from "../../../training/stories.ts";
import { citationBlocker, equalSequences, hyperfit } from "./index.ts";
import { longestQuotation, repetition, selfBleu, sharpness, typeTokenRatio } from "./metrics.ts";

/** One way of reading one model, an entry for each context. */
type Reading = {
  ttr: number[];
  tail: number[];
  repetition: number[];
  quoted: number[];
  selfBleu: number;
  empty: number;
};
/** What a model thinks of held-out text, a value for each context; `best` for each position. */
type Opinion = { nats: number[]; entropy: number[]; top: number[]; best: number[] };
type Look = {
  readings: Record<string, Reading>;
  opinion: Opinion;
};
type Fitted = {
  trainingLoss: number;
  validationLoss: number;
  /** Passes over the set. */
  epoch: number;
};
type Variant = Look & Fitted;

/** Texts that run side by side fill a pass better. */
const together = 16;
/** The paper's window for its type-token ratio. */
const tailTokens = 96;

interface Texts {
  readonly train: readonly number[][];
  readonly validation: readonly number[][];
  readonly contexts: readonly number[][];
}

const animals = [
  "fox",
  "hen",
  "bear",
  "mouse",
  "owl",
  "goat",
  "frog",
  "cat",
  "dog",
  "hare",
  "duck",
  "crow",
  "wolf",
  "pig",
  "bee",
  "deer",
];
const things = ["a red kite", "an old key", "a small boat", "a warm coat"];

/** Short texts without data, for the tiny size. */
const tinyTexts = (): string[] =>
  animals.flatMap((animal, i) =>
    things.map(
      (thing, k) =>
        `One day the ${animal} found ${thing} near the river. The ${animals[(i + k + 1) % 16]} asked for it, and the ${animal} said yes. They shared ${thing} and went home together before it was dark.`,
    ),
  );

/**
 * The small set comes from stories that the model's training saw too, for there are few others; contexts and validation are of documents
 * that it left out, so that every text is on one side.
 */
async function textsFor(
  context: Pick<ReproductionContext, "size" | "data">,
  model: Model,
  { sequences: count, length, contexts, contextTokens }: Sizes,
): Promise<Texts> {
  const encode = (texts: readonly string[]) => texts.map((text) => [...model.tokenizer!.encode(text)]);
  if (context.size === "tiny") {
    const { sequences } = equalSequences(encode(tinyTexts()), length);
    const held = sequences.slice(count);
    return { train: sequences.slice(0, count), validation: held.slice(0, 8), contexts: held.slice(8, 8 + contexts) };
  }
  const [seen, heldOut]: string[][] = [[], []];
  for await (const text of simpleStories((path) => context.data(...path.split("/"))))
    (isHeldOut(text) ? heldOut : seen).push(text);
  const train = equalSequences(encode(seen), length).sequences.slice(0, count);
  const held = encode(heldOut);
  const validation = equalSequences(held, length).sequences.slice(0, 8);
  const rest = held.filter(
    (tokens) => !validation.some((one) => one.slice(0, 13).join() === tokens.slice(0, 13).join()),
  );
  const found = equalSequences(rest, Math.min(length, 2 * contextTokens)).sequences.slice(0, contexts);
  ensure(
    found.length === contexts,
    "bad_option",
    `hyperfitting: ${found.length} of the held-out stories are long enough, ${contexts} are wanted`,
  );
  return { train, validation, contexts: found };
}

/** The model's opinion of the held-out sequences, from the true text. */
async function opinionOf(model: Model, contexts: readonly (readonly number[])[]): Promise<Opinion> {
  const { vocabularySize } = model.config;
  const found: Opinion = { nats: [], entropy: [], top: [], best: [] };
  for (const tokens of contexts) {
    const { logits } = await model.forward(tokens.slice(0, -1));
    const rows = tokens.slice(1).map((token, row) => {
      const own = logits.subarray(row * vocabularySize, (row + 1) * vocabularySize);
      const { entropy, top, best } = sharpness(own);
      return { nats: -(own[token] - own[best] + Math.log(top)), entropy, top, best };
    });
    found.nats.push(mean(rows.map(({ nats }) => nats)));
    found.entropy.push(mean(rows.map(({ entropy }) => entropy)));
    found.top.push(mean(rows.map(({ top }) => top)));
    found.best.push(...rows.map(({ best }) => best));
  }
  return found;
}

type Sizes = {
  /** Of the small set, and their tokens. */
  sequences: number;
  length: number;
  contexts: number;
  contextTokens: number;
  /** Generated after each context. */
  tokens: number;
  epochs: number;
  learningRate: number;
  batch: number;
  /** Whether sets of other sizes are tried with as many updates, and orders of another seed read too. */
  ablations: boolean;
};
const scale = { contextTokens: 32, batch: 8, epochs: 20 };

export const reproduction: Reproduction = defineReproduction<Sizes>({
  sizes: {
    tiny: {
      ...scale,
      sequences: 8,
      length: 24,
      contexts: 2,
      contextTokens: 8,
      tokens: 12,
      epochs: 2,
      learningRate: 1e-3,
      ablations: false,
    },
    quick: { ...scale, sequences: 32, length: 64, contexts: 100, tokens: 64, learningRate: 1e-3, ablations: false },
    full: { ...scale, sequences: 128, length: 128, contexts: 100, tokens: 224, learningRate: 5e-4, ablations: true },
  },
  steps: ({ ablations }) => 4 + (ablations ? sampleCounts.length : 0),
  data: () => storySources.map(({ path }) => path),
  async measure(context, options): Promise<Measurement[]> {
    const { open, step, signal, seed } = context;
    const { contextTokens, tokens, epochs, learningRate, batch, ablations } = options;
    const base = await open("knossos");
    const { train, validation, contexts } = await textsFor(context, base, options);
    const prompts = contexts.map((sequence) => sequence.slice(0, contextTokens));

    async function read(model: Model, more: object, shapers: readonly MakeShaper[] = []): Promise<Reading> {
      const written: number[][] = [];
      for (let at = 0; at < prompts.length; at += together) {
        const runs = prompts.slice(at, at + together).map((prompt, i) => {
          const request = { temperature: 0, maxTokens: tokens, seed, request: at + i, signal, shapers, ...more };
          return model.decode(prompt, request).final;
        });
        written.push(...(await Promise.all(runs)).map((result) => [...result.tokens]));
      }
      return {
        ttr: written.map(typeTokenRatio),
        tail: written.map((text) => typeTokenRatio(text.slice(-tailTokens))),
        repetition: written.map((text) => repetition(text)),
        quoted: written.map((text) => longestQuotation(text, train)),
        selfBleu: selfBleu(written),
        empty: written.filter((text) => text.length === 0).length,
      };
    }

    const learnable = await base.learnable();
    const { family, values } = learnable;
    await learnable.release();
    async function look(weights: Values, folder: string, blocked = false): Promise<Look> {
      await writeValues(family, base.config, weights, base.folder, folder);
      const model = await open(folder);
      const readings: Record<string, Reading> = { greedy: await read(model, {}) };
      if (blocked) readings.blocked = await read(model, {}, [citationBlocker(train)]);
      return { readings, opinion: await opinionOf(model, contexts) };
    }
    /** Trains a variant, and looks at what its end or, with `early`, also its best epoch has become. */
    const variant = (key: string, given: { seed?: number; smoothing?: number; count?: number; whole?: boolean }) =>
      step(key, async ({ folder, progress }): Promise<{ end: Variant; early: Variant | null }> => {
        const count = given.count ?? train.length;
        // Fewer samples take more passes: the number of updates is the same.
        const passes = Math.round((epochs * train.length) / count);
        const result = await hyperfit({ family, config: base.config, values }, train.slice(0, count), validation, {
          epochs: passes,
          learningRate,
          batch,
          seed: given.seed ?? seed,
          smoothing: given.smoothing,
          signal,
          onEpoch: ({ epoch }) => progress((0.6 * epoch) / passes),
        });
        const { early } = result;
        const at = (epoch: number): Fitted => {
          const { trainingLoss, validationLoss } = result.epochs[Math.max(1, epoch) - 1];
          return { trainingLoss, validationLoss, epoch };
        };
        const end = { ...at(passes), ...(await look(result.values, join(folder, "end"), given.whole)) };
        if (!given.whole) return { end, early: null };
        return { end, early: { ...at(early.epoch), ...(await look(early.values, join(folder, "early"))) } };
      });

    const original = await step(
      "original",
      async (): Promise<Look> => ({
        readings: {
          greedy: await read(base, {}),
          "top-p 0.9": await read(base, { temperature: 1, topP: 0.9 }),
          "temperature 0.3": await read(base, { temperature: 0.3 }),
          "repetition penalty 1.2": await read(base, { repetitionPenalty: 1.2 }),
          "no repeated 4-gram": await read(base, { noRepeatNgram: 4 }),
        },
        opinion: await opinionOf(base, contexts),
      }),
    );
    const { end: fitted, early } = await variant("hyperfitted", { whole: true });
    const { end: other } = await variant("another order", { seed: seed + 1 });
    const { end: smooth } = await variant("label smoothing", { smoothing: 0.1 });
    const fewer: Record<string, Record<string, number>> = {};
    if (ablations)
      for (const count of sampleCounts) {
        const { end } = await variant(`${count} samples`, { count });
        fewer[count] = { ...row(end.readings.greedy, end.opinion), trainingLoss: round(end.trainingLoss) };
      }

    const table = {
      ...Object.fromEntries(
        Object.entries(original.readings).map(([name, reading]) => [
          `original, ${name}`,
          row(reading, original.opinion),
        ]),
      ),
      "hyperfitted, greedy": row(fitted.readings.greedy, fitted.opinion),
      "hyperfitted, citations blocked": row(fitted.readings.blocked, fitted.opinion),
      "another order, greedy": row(other.readings.greedy, other.opinion),
      "early stopped, greedy": { ...row(early!.readings.greedy, early!.opinion), epoch: early!.epoch },
      "label smoothing, greedy": row(smooth.readings.greedy, smooth.opinion),
    };
    const ttr = (one: Reading) => one.ttr;
    /** Rise of the type-token ratio over another reading, in points, context by context. */
    const rise = (over: Reading, of: Reading = fitted.readings.greedy) =>
      meanOf(
        ttr(of).map((x, i) => 100 * (x - ttr(over)[i])),
        seed,
      );
    const paired = (a: readonly number[], b: readonly number[]) => a.map((x, i) => [x, b[i]] as const);
    const differs = fitted.opinion.best.map((token, i) => (token === other.opinion.best[i] ? 0 : 100));
    const others: Record<string, Reading> = {
      ...Object.fromEntries(Object.entries(original.readings).map(([name, reading]) => [`original, ${name}`, reading])),
      "early stopped, greedy": early!.readings.greedy,
      "label smoothing, greedy": smooth.readings.greedy,
    };
    const against = Object.fromEntries(
      Object.entries(others).map(([name, reading]) => {
        const { value, interval = [value, value] } = rise(reading);
        return [name, [value, ...interval].map(round)];
      }),
    );
    return [
      {
        claim: "variety",
        ...rise(original.readings.greedy),
        details: {
          table,
          "rise of the type-token ratio of hyperfitted greedy text, points, 95 %": against,
          ...(ablations && { "samples at equal updates": fewer }),
        },
      },
      { claim: "loss", value: fitted.trainingLoss, note: `validation ${fitted.validationLoss.toFixed(2)}` },
      {
        claim: "perplexity",
        ...bootstrap(
          paired(fitted.opinion.nats, original.opinion.nats),
          (units) => Math.exp(mean(units.map(([x, y]) => x - y))),
          seed,
        ),
      },
      {
        claim: "sharpness",
        ...ratioOf(paired(fitted.opinion.entropy, original.opinion.entropy), seed),
        details: { "top mass": [round(mean(original.opinion.top)), round(mean(fitted.opinion.top))] },
      },
      { claim: "shuffle", value: mean(differs), count: differs.length },
      { claim: "overlap", ...meanOf(fitted.readings.greedy.quoted, seed) },
      { claim: "blocked", ...rise(fitted.readings.greedy, fitted.readings.blocked) },
    ];
  },
  /** The training at the size `quick`: its loss falls to almost nothing, that on stories left out rises. */
  async trace(signal, open, data) {
    await using base = await open("knossos");
    const options = reproduction.sizes.quick as Sizes;
    return curves(base, await textsFor({ size: "quick", data }, base, options), options, signal);
  },
  /** The same on a few texts that the model writes itself. */
  async live(signal, open) {
    await using base = await open("knossos");
    const begin = [...base.tokenizer!.encode("Once upon a time")];
    const runs = Array.from({ length: ownTexts.train + ownTexts.validation }, (_, request) =>
      base.decode(begin, { maxTokens: ownTexts.tokens, minTokens: ownTexts.tokens, seed: 0, request, signal }),
    );
    const texts = (await Promise.all(runs.map((run) => run.final))).map(({ tokens }) => [...begin, ...tokens]);
    const [train, validation] = [texts.slice(0, ownTexts.train), texts.slice(ownTexts.train)];
    return curves(base, { train, validation }, { epochs: 12, learningRate: 1e-3, batch: 8 }, signal);
  },
});

/** Of the run that somebody waits for. */
const ownTexts = { train: 16, validation: 8, tokens: 44 };

/** Both losses, pass by pass. */
async function curves(
  base: Model,
  { train, validation }: Pick<Texts, "train" | "validation">,
  { epochs, learningRate, batch }: Pick<Sizes, "epochs" | "learningRate" | "batch">,
  signal: AbortSignal,
): Promise<TimedEvent[]> {
  const learnable = await base.learnable();
  const { family, values } = learnable;
  await learnable.release();
  const events: TimedEvent[] = [];
  const started = performance.now();
  await hyperfit({ family, config: base.config, values }, train, validation, {
    epochs,
    learningRate,
    batch,
    seed: 0,
    signal,
    onEpoch: ({ epoch, trainingLoss, validationLoss }) =>
      events.push({
        type: "learn",
        updates: epoch * Math.floor(train.length / batch),
        loss: round(trainingLoss),
        heldOut: round(validationLoss),
        at: round((performance.now() - started) / 1000),
      }),
  });
  return events;
}

const sampleCounts = [8, 16, 64];

/** A line of the table: a reading, and what the model that was read thinks of true text. */
const row = (reading: Reading, opinion: Opinion) => ({
  ttr: round(mean(reading.ttr)),
  [`ttr of the last ${tailTokens}`]: round(mean(reading.tail)),
  repetition: round(mean(reading.repetition)),
  "self-BLEU": round(reading.selfBleu),
  quoted: round(mean(reading.quoted)),
  longest: Math.max(...reading.quoted),
  "quoted above 10": round(mean(reading.quoted.map((length) => (length > 10 ? 1 : 0)))),
  empty: reading.empty,
  entropy: round(mean(opinion.entropy)),
  "top mass": round(mean(opinion.top)),
  perplexity: round(Math.exp(mean(opinion.nats))),
});

const round = (x: number): number => Number(x.toFixed(3));
