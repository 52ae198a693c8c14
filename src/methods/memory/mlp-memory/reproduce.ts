/**
 * What MLP Memory claims, on texts that state facts: a memory of the statements, measured on other words about the same facts, beside the search that it
 * imitates; questions; and what both cost.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ShaperChoice } from "../../../calls.ts";
import { normal } from "../../../engine/random.ts";
import type { TimedEvent } from "../../../engine/trace.ts";
import { defineReproduction, type Measurement, type Model } from "../../../papers/reproduction.ts";
import { bootstrap, mean, meanOf, ratioOf } from "../../../papers/statistics.ts";
import { valueMaker } from "../../../runtime/program.ts";
import { buildDatastore, type StateModel } from "../building.ts";
import { exactSearch } from "../search.ts";
import { compileMemory, recallAll } from "./index.ts";
import { answer, asked, type Made, madeUpFacts, makeBoth, predict, relationFacts, textsOf } from "./measuring.ts";
import { beginMemory, shapeFor } from "./network.ts";

export const reproduction = defineReproduction({
  sizes: {
    tiny: { facts: 8, passes: 4, questions: 2, keys: 2000, tokens: 8, repeats: 2 },
    quick: { facts: 150, passes: 10, questions: 40, keys: 50_000, tokens: 48, repeats: 5 },
    full: { facts: 1500, passes: 10, questions: 200, keys: 200_000, tokens: 96, repeats: 9 },
  },
  steps: () => 2,
  data: () => ["facts/relations.jsonl.gz"],
  async measure({ open, step, signal, seed, size, data }, { facts: count, passes, questions, keys, tokens, repeats }) {
    const model = await open("knossos");
    const facts =
      size === "tiny"
        ? madeUpFacts.slice(0, count)
        : await relationFacts(data("facts", "relations.jsonl.gz"), count, seed);
    const learned = await step("memory", async ({ folder, progress }) => {
      const made = await makeBoth(model, textsOf(facts), folder, {
        passes,
        seed,
        signal,
        onTrain: ({ step: done, totalSteps }) => progress((0.8 * done) / (totalSteps ?? done)),
      });
      try {
        const predicted = await predict(model, made, asked(facts).slice(0, 400), signal);
        const answers = await answer(model, made, facts, facts.slice(-questions), predicted.lambdas, signal);
        const overhead = await overheads(model, made, tokens, repeats);
        return { ...predicted, answers, overhead, entries: made.datastore.entries };
      } finally {
        await made.close();
      }
    });
    const speed = await step("speed", () => searchOverMemory(model, keys, repeats));
    const { documents, lambdas, answers, overhead } = learned as unknown as {
      documents: number[][];
      lambdas: number[];
      answers: number[][];
      overhead: [number, number][];
    };
    const total = (units: readonly (readonly number[])[], column: number): number =>
      units.reduce((sum, unit) => sum + unit[column], 0);
    const [length, own, search, memory, ownDivergence, memoryDivergence] = [0, 1, 2, 3, 4, 5];
    const note = `a memory of ${(learned as unknown as { entries: number }).entries} tokens; λ ${lambdas[0]} of the search and ${lambdas[1]} of the memory, chosen on as many other sentences`;
    const perplexity = (column: number): number => Math.exp(total(documents, column) / total(documents, length));
    const matched = (column: number): number => mean(answers.map((one) => one[column]));
    const measurements: Measurement[] = [
      {
        claim: "perplexity",
        ...bootstrap(
          documents,
          (units) => Math.exp((total(units, memory) - total(units, own)) / total(units, length)),
          seed,
        ),
        note,
        details: { alone: perplexity(own), search: perplexity(search), memory: perplexity(memory) },
      },
      {
        claim: "against-table",
        ...bootstrap(
          documents,
          (units) => (total(units, own) - total(units, memory)) / (total(units, own) - total(units, search)),
          seed,
        ),
        note,
      },
      {
        claim: "imitates",
        ...bootstrap(documents, (units) => total(units, memoryDivergence) / total(units, ownDivergence), seed),
      },
      {
        claim: "speed",
        ...ratioOf(speed as [number, number][], seed),
        note: `${keys} keys of width ${model.config.hiddenSize}, one query`,
      },
      { claim: "overhead", ...ratioOf(overhead, seed) },
      {
        claim: "questions",
        ...meanOf(
          answers.map((one) => 100 * (one[3] - one[0])),
          seed,
        ),
        details: { alone: matched(0), passages: matched(1), search: matched(2), memory: matched(3) },
      },
    ];
    return measurements;
  },
  async trace(signal, open) {
    await using model = await open("knossos");
    return await traceOf(model, signal);
  },
  async live(signal, open) {
    await using model = await open("knossos");
    return await liveOf(model, signal);
  },
});

/** Seconds with the memory and without, in turns. */
async function overheads(model: Model, { folder }: Made, tokens: number, repeats: number): Promise<[number, number][]> {
  const pairs: [number, number][] = [];
  const shapers = [{ name: "mlp-memory" as const, memory: `${folder}/memory` }];
  const seconds = async (options: object): Promise<number> => {
    const run = model.decode("Once upon a time", { temperature: 0, maxTokens: tokens, minTokens: tokens, ...options });
    return (await run.final).seconds.decode;
  };
  for (let i = 0; i <= repeats; i++) {
    const pair: [number, number] = [await seconds({ shapers }), await seconds({})];
    if (i > 0) pairs.push(pair); // the first warms up
  }
  return pairs;
}

/** Seconds of an exact search and of a memory's network, in turns. What the numbers are makes no difference. */
async function searchOverMemory(model: Model, entries: number, repeats: number): Promise<[number, number][]> {
  const width = model.config.hiddenSize;
  const keys = Float32Array.from({ length: entries * width }, (_, i) =>
    normal({ seed: 0, request: i % 997 }, i % 1009, "data"),
  );
  const norms = new Float32Array(entries).fill(width);
  const search = await exactSearch({ entries, width, keys, norms });
  const shape = shapeFor(model.config, width, 3);
  const program = await compileMemory(shape, new Map(beginMemory(shape, 0).map(({ name, values }) => [name, values])));
  await valueMaker();
  const query = keys.slice(0, width);
  const timed = async (action: () => Promise<unknown>): Promise<number> => {
    const started = performance.now();
    await action();
    return (performance.now() - started) / 1000;
  };
  const pairs: [number, number][] = [];
  for (let i = 0; i <= repeats; i++) {
    const pair: [number, number] = [
      await timed(() => search.find(query, 64)),
      await timed(() => recallAll(program, shape, query)),
    ];
    if (i > 0) pairs.push(pair);
  }
  await search.close();
  await program.release();
  return pairs;
}

/** A short run with the search, whose passages can be shown. */
const traceOf = (model: Model, signal: AbortSignal): Promise<TimedEvent[]> =>
  inFolder(async (folder) => {
    await buildDatastore(model as StateModel, textsOf(madeUpFacts), { folder });
    return told(model, [{ name: "knn-lm", datastore: folder, k: 16, lambda: 0.6 }], signal);
  });

/** A memory that learns the same facts, and is then asked the same. */
const liveOf = (model: Model, signal: AbortSignal): Promise<TimedEvent[]> =>
  inFolder(async (folder) => {
    const made = await makeBoth(model, textsOf(madeUpFacts), folder, { passes: 40, signal });
    await made.close();
    return told(model, [{ name: "mlp-memory", memory: join(folder, "memory"), lambda: 0.6 }], signal);
  });

async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "ventris-memory-"));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function told(model: Model, shapers: readonly ShaperChoice[], signal: AbortSignal): Promise<TimedEvent[]> {
  const started = performance.now();
  const events: TimedEvent[] = [];
  const run = model.decode("In Tarn, the king is called", { temperature: 0, maxTokens: 12, shapers, signal });
  for await (const event of run) events.push({ ...event, at: (performance.now() - started) / 1000 });
  return events;
}
