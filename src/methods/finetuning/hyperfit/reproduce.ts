/** Hyperfitting's claims at our scale, with the controls that its reviewers asked for: one model trained in several ways, and read greedily. */
import type { MakeShaper } from "../../../engine/shapers/shaper.ts";
import {
  defineReproduction,
  type Measurement,
  type OpenModel,
  type ReproductionContext,
} from "../../../papers/reproduction.ts";
import { bootstrap, mean, meanOf } from "../../../papers/statistics.ts";
import { documents } from "../../../text/text-files.ts";
import { writeValues } from "../../../training/export.ts";
import type { Values } from "../../../training/next-token.ts";
import { citationBlocker, equalSequences, hyperfit } from "./index.ts";
import { longestQuotation, repetition, sharpness, typeTokenRatio } from "./metrics.ts";

/** One way of reading one model, over all contexts. */
type Reading = { ttr: number[]; repetition: number[]; quoted: number[] };
/** What a model thinks of held-out text, a value for each context. */
type Opinion = { nats: number[]; entropy: number[]; top: number[]; best: number[] };
type Variant = {
  trainingLoss: number;
  validationLoss: number;
  epoch: number;
  readings: Record<string, Reading>;
  opinion: Opinion;
};

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

async function textsFor(
  context: ReproductionContext,
  model: OpenModel,
  sizes: { sequences: number; length: number; contexts: number },
): Promise<Texts> {
  const texts: string[] = [];
  if (context.size === "tiny") texts.push(...tinyTexts());
  else
    for await (const text of documents({ path: context.data("tinystories", "tinystories-1000.jsonl.gz") }))
      texts.push(text);
  const encoded = texts.map((text) => [...model.tokenizer!.encode(text)]);
  const { sequences } = equalSequences(encoded, sizes.length);
  const [a, b] = [sizes.sequences, sizes.sequences + 8];
  return {
    train: sequences.slice(0, a),
    validation: sequences.slice(a, b),
    contexts: sequences.slice(b, b + sizes.contexts),
  };
}

/** The model's opinion of the held-out sequences, from the true text. */
async function opinionOf(model: OpenModel, contexts: readonly (readonly number[])[]): Promise<Opinion> {
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

export const reproduction = defineReproduction({
  sizes: {
    tiny: {
      sequences: 8,
      length: 24,
      contexts: 2,
      contextTokens: 8,
      tokens: 12,
      epochs: 2,
      learningRate: 1e-3,
      batch: 8,
      samples: 0,
    },
    quick: {
      sequences: 32,
      length: 64,
      contexts: 24,
      contextTokens: 32,
      tokens: 96,
      epochs: 20,
      learningRate: 1e-3,
      batch: 8,
      samples: 0,
    },
    full: {
      sequences: 128,
      length: 128,
      contexts: 100,
      contextTokens: 32,
      tokens: 96,
      epochs: 20,
      learningRate: 5e-4,
      batch: 8,
      samples: 1,
    },
  },
  steps: ({ samples }) => 5 + (samples ? 3 : 0),
  async measure(context, options): Promise<Measurement[]> {
    const { open, step, signal, seed } = context;
    const { contextTokens, tokens, epochs, learningRate, batch, samples } = options;
    const base = await open("knossos");
    const { train, validation, contexts } = await textsFor(context, base, options);
    const prompts = contexts.map((sequence) => sequence.slice(0, contextTokens));

    async function read(model: OpenModel, more: object, shapers: readonly MakeShaper[] = []): Promise<Reading> {
      const reading: Reading = { ttr: [], repetition: [], quoted: [] };
      for (const [request, prompt] of prompts.entries()) {
        const run = model.decode(prompt, {
          temperature: 0,
          maxTokens: tokens,
          seed,
          request,
          signal,
          shapers,
          ...more,
        });
        const { tokens: written } = await run.final;
        reading.ttr.push(typeTokenRatio(written));
        reading.repetition.push(repetition(written));
        reading.quoted.push(longestQuotation(written, train));
      }
      return reading;
    }

    const learnable = await base.learnable();
    const { family, values } = learnable;
    await learnable.release();
    /** Trains a variant and looks at it; `pick` chooses which of its weights. */
    const variant = (
      key: string,
      given: { seed?: number; smoothing?: number; count?: number; early?: boolean; blocked?: boolean },
    ) =>
      step(key, async ({ folder, progress }): Promise<Variant> => {
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
          onEpoch: ({ epoch }) => progress((0.7 * epoch) / passes),
        });
        const chosen: Values = given.early ? result.early.values : result.values;
        await writeValues(family, base.config, chosen, base.folder, folder);
        const model = await open(folder);
        const readings: Record<string, Reading> = { greedy: await read(model, {}) };
        if (given.blocked) readings.blocked = await read(model, {}, [citationBlocker(train)]);
        const { trainingLoss, validationLoss } =
          result.epochs[(given.early ? result.early.epoch : result.epochs.length) - 1] ?? result.epochs[0];
        const epoch = given.early ? result.early.epoch : passes;
        return { trainingLoss, validationLoss, epoch, readings, opinion: await opinionOf(model, contexts) };
      });

    const original = await step(
      "original",
      async (): Promise<{ readings: Record<string, Reading>; opinion: Opinion }> => ({
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
    const fitted = await variant("hyperfitted", { blocked: true });
    const other = await variant("another order", { seed: seed + 1 });
    const early = await variant("early stopped", { early: true });
    const smooth = await variant("label smoothing", { smoothing: 0.1 });
    const fewer: Record<string, number> = {};
    if (samples)
      for (const count of [8, 16, 64])
        fewer[count] = mean((await variant(`${count} samples`, { count })).readings.greedy.ttr);

    const row = (reading: Reading) => ({
      ttr: round(mean(reading.ttr)),
      repetition: round(mean(reading.repetition)),
      quoted: round(mean(reading.quoted)),
      longest: Math.max(...reading.quoted),
    });
    const table = {
      ...Object.fromEntries(
        Object.entries(original.readings).map(([name, reading]) => [`original, ${name}`, row(reading)]),
      ),
      "hyperfitted, greedy": row(fitted.readings.greedy),
      "hyperfitted, citations blocked": row(fitted.readings.blocked),
      "early stopped, greedy": { ...row(early.readings.greedy), epoch: early.epoch },
      "label smoothing, greedy": row(smooth.readings.greedy),
    };
    const paired = (a: readonly number[], b: readonly number[]) => a.map((x, i) => [x, b[i]] as const);
    const rise = meanOf(
      paired(fitted.readings.greedy.ttr, original.readings.greedy.ttr).map(([x, y]) => 100 * (x - y)),
      seed,
    );
    const entropy = bootstrap(
      paired(fitted.opinion.entropy, original.opinion.entropy),
      (units) => mean(units.map(([x]) => x)) / mean(units.map(([, y]) => y)),
      seed,
    );
    const perplexity = bootstrap(
      paired(fitted.opinion.nats, original.opinion.nats),
      (units) => Math.exp(mean(units.map(([x, y]) => x - y))),
      seed,
    );
    const differs = fitted.opinion.best.map((token, i) => (token === other.opinion.best[i] ? 0 : 100));
    return [
      { claim: "variety", ...rise, details: { table, ...(samples && { "type-token ratio by samples": fewer }) } },
      { claim: "loss", value: fitted.trainingLoss, note: `validation ${fitted.validationLoss.toFixed(2)}` },
      { claim: "perplexity", ...perplexity },
      {
        claim: "sharpness",
        ...entropy,
        details: { "top mass": [round(mean(original.opinion.top)), round(mean(fitted.opinion.top))] },
      },
      { claim: "shuffle", value: mean(differs), count: differs.length },
    ];
  },
});

const round = (x: number): number => Number(x.toFixed(3));
