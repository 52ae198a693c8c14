/**
 * Memories: what they remember beside the search that they imitate, what a token costs with them, how fast the search itself is, and what a bottleneck
 * keeps of a stream. `VENTRIS_BENCH_KEYS` is the number of keys that are searched; a million unless given or --quick.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { alternate, median, ratio } from "./harness/measure.mjs";
import { atLeast, atMost, reported } from "./harness/report.mjs";
import { openRaw, ourMemory, shippedModel } from "./ours.mjs";
import { dataFile, dataMissing, records } from "./texts.mjs";

/** @typedef {import("./harness/report.mjs").Settings} Settings */
/** @typedef {import("./harness/report.mjs").Measurement} Measurement */

/** @param {() => Promise<unknown>} action seconds that it takes */
async function timed(action) {
  const started = performance.now();
  await action();
  return (performance.now() - started) / 1000;
}

/** @param {() => Promise<unknown>} action @param {number} times */
async function repeated(action, times) {
  for (let i = 0; i < times; i++) await action();
}

const facts = "facts/relations.jsonl.gz";
const stories = "simple-stories/tinystories-more.jsonl.gz";
const dialogues = "dialogues/self-dialogue.jsonl.gz";
const speeches = "us-speeches/inaugural.jsonl.gz";

/** A memory of facts that the texts state, and what it makes of other words about them: measured once, for all rows. @type {Promise<any> | undefined} */
let remembered;
/** @param {Settings} settings */
async function remember({ quick, progress }) {
  const { measuring } = await ourMemory();
  const model = await openRaw(/** @type {string} */ (shippedModel("knossos")), { threads: 2 });
  const known = await measuring.relationFacts(dataFile(facts), quick ? 100 : 1500, 0);
  const folder = mkdtempSync(join(tmpdir(), "ventris-bench-memory-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  const texts = measuring.textsOf(known);
  const signal = new AbortController().signal;
  const started = performance.now();
  const made = await measuring.makeBoth(model, texts, folder, { passes: 10, signal });
  const seconds = (performance.now() - started) / 1000;
  progress(`  a memory of ${made.datastore.entries} tokens in ${seconds.toFixed(0)} s`);
  const predicted = await measuring.predict(model, made, measuring.asked(known).slice(0, 400), signal);
  return { measuring, model, known, folder, made, predicted, seconds, texts, signal };
}

/** @param {string} file @param {(settings: Settings) => Promise<Measurement>} measure @returns {(settings: Settings) => Promise<Measurement>} */
const needing = (file, measure) => async (settings) => {
  const skipped = dataMissing(file) ?? (shippedModel("knossos") ? undefined : "models/knossos is absent");
  return skipped ? { skipped } : measure(settings);
};
/** @param {(one: any, settings: Settings) => Promise<Measurement>} measure */
const withMemory = (measure) =>
  needing(facts, async (settings) => {
    remembered ??= remember(settings);
    return measure(await remembered, settings);
  });

/** @param {readonly (readonly number[])[]} documents @param {number} column */
const total = (documents, column) => documents.reduce((sum, one) => sum + one[column], 0);

/** Exact matches of questions by the model alone, with passages, with the search, with the memory. @type {Promise<number[][]> | undefined} */
let answers;
/** @param {any} one @param {Settings} settings */
async function answered({ measuring, model, made, known, predicted, signal }, { quick }) {
  answers ??= measuring.answer(model, made, known, known.slice(quick ? -30 : -200), predicted.lambdas, signal);
  return answers;
}

/** @param {number} column @param {number} [less] */
const matches = (column, less) =>
  withMemory(async (one, settings) => {
    const { statistics } = await ourMemory();
    const units = (await answered(one, settings)).map(
      (row) => 100 * (row[column] - (less === undefined ? 0 : row[less])),
    );
    const { value, interval } = statistics.meanOf(units, 0);
    return { value, runs: [value], note: interval && `95 %: ${interval.map((x) => x.toFixed(1)).join(" to ")}` };
  });

/** @param {Settings} settings */
const keysOf = ({ quick }) => Number(process.env.VENTRIS_BENCH_KEYS ?? (quick ? 50_000 : 1_000_000));

/** Keys of which only the number counts. @param {number} entries @param {number} width */
function anyKeys(entries, width) {
  const keys = new Float32Array(entries * width);
  let state = 1;
  for (let i = 0; i < keys.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    keys[i] = state / 2 ** 31;
  }
  const norms = new Float32Array(entries);
  for (let i = 0; i < keys.length; i++) norms[Math.floor(i / width)] += keys[i] * keys[i];
  return { entries, width, keys, norms };
}

/** Reads all keys once, by the runtime's own sum over them. @param {{ entries: number, width: number, keys: Float32Array }} table */
async function reader({ entries, width, keys }) {
  const { program, value } = await (await ourMemory()).sumProgram();
  const given = value("float32", keys, [entries, width]);
  return { read: () => program.run({ keys: given }), close: () => program.release() };
}

/** Seconds of a network's answer to one state. @param {number} width */
async function network(width) {
  const { mlp, shapes } = await ourMemory();
  const model = await openRaw(/** @type {string} */ (shippedModel("knossos")), { threads: 2 });
  const shape = shapes.shapeFor(model.config, width, 3);
  await model.close();
  const values = new Map(shapes.beginMemory(shape, 0).map((/** @type {any} */ { name, values }) => [name, values]));
  const program = await mlp.compileMemory(shape, values, { threads: 2 });
  return {
    ask: (/** @type {Float32Array} */ state) => mlp.recallAll(program, shape, state),
    close: () => program.release(),
  };
}

export const rows = [
  {
    what: "MLP memory: gain in nats on sentences about remembered facts, as a share of exact kNN-LM's",
    target: atLeast(0.6),
    measure: withMemory(async ({ predicted: { documents } }) => {
      const value = (total(documents, 1) - total(documents, 3)) / (total(documents, 1) - total(documents, 2));
      const [own, search, memory] = [1, 2, 3].map((c) =>
        Math.exp(total(documents, c) / total(documents, 0)).toFixed(1),
      );
      return {
        value,
        runs: [value],
        note: `perplexity ${own} alone, ${search} with the search, ${memory} with the memory`,
      };
    }),
  },
  {
    what: "seconds of exact search over those of the memory's network, 2 × 10⁵ keys of width 256, one query",
    target: atLeast(50),
    /** @param {Settings} settings */
    async measure({ runs, quick }) {
      const { search: searching } = await ourMemory();
      const table = anyKeys(quick ? 20_000 : 200_000, 256);
      const search = await searching.exactSearch(table, { threads: 2 });
      const memory = await network(256);
      const query = table.keys.slice(0, 256);
      // Each as it is used, by itself: a search leaves nothing of the network in the processor's caches, and who decodes has one of the two.
      const each = (/** @type {() => Promise<unknown>} */ ask, /** @type {number} */ times) => async () => {
        await ask();
        return (await timed(() => repeated(ask, times))) / times;
      };
      const measured = await alternate(
        each(() => search.find(query, 64), 3),
        each(() => memory.ask(query), 50),
        4 * runs,
      );
      await search.close();
      await memory.close();
      const note = `${(1000 * median(measured.a)).toFixed(2)} and ${(1000 * median(measured.b)).toFixed(3)} ms, each several times in a row`;
      return { ...ratio(measured), note };
    },
  },
  {
    what: "a token with the memory over one without",
    target: atMost(1.4),
    measure: withMemory(async ({ model, folder }, { runs }) => {
      const seconds = async (/** @type {object} */ options) => {
        const request = { temperature: 0, maxTokens: 128, minTokens: 128, ...options };
        return (await model.decode("Once upon a time", request).final).seconds.decode;
      };
      const shapers = [{ name: "mlp-memory", memory: join(folder, "memory") }];
      return ratio(
        await alternate(
          () => seconds({ shapers }),
          () => seconds({}),
          4 * runs,
        ),
      );
    }),
  },
  {
    what: "the memory's answer beside 10⁶ keys over its answer beside 10³",
    target: atMost(1.1),
    /** @param {Settings} settings */
    async measure({ runs, quick }) {
      const memory = await network(256);
      const state = anyKeys(1, 256).keys;
      const answer = () => timed(() => repeated(() => memory.ask(state), 20));
      const few = anyKeys(1000, 256);
      const first = [];
      for (let i = 0; i <= runs; i++) first.push(await answer());
      const many = anyKeys(quick ? 50_000 : 1_000_000, 256);
      const second = [];
      for (let i = 0; i <= runs; i++) second.push(await answer());
      await memory.close();
      const value = median(second.slice(1)) / median(first.slice(1));
      return {
        value,
        runs: [value],
        note: `${few.entries} and ${many.entries} keys in memory; no search is part of an answer`,
      };
    },
  },
  { what: "closed-book questions, exact matches: the model alone", target: reported(" %"), measure: matches(0) },
  { what: "closed-book questions: five passages by BM25 in the prompt", target: reported(" %"), measure: matches(1) },
  { what: "closed-book questions: exact kNN-LM", target: reported(" %"), measure: matches(2) },
  { what: "closed-book questions: MLP memory", target: reported(" %"), measure: matches(3) },
  {
    what: "closed-book questions: MLP memory, more than the model alone",
    target: atLeast(0.01, " points"),
    measure: matches(3, 0),
  },
  {
    what: "exact search, one query, over reading all keys once",
    target: atMost(2),
    /** @param {Settings} settings */
    async measure(settings) {
      const { search: searching } = await ourMemory();
      const table = anyKeys(keysOf(settings), 256);
      const search = await searching.exactSearch(table, { threads: 2 });
      const keys = await reader(table);
      const query = table.keys.slice(0, 256);
      const measured = await alternate(
        () => timed(() => search.find(query, 64)),
        () => timed(keys.read),
        2 * settings.runs,
      );
      await search.close();
      await keys.close();
      const rate = table.keys.byteLength / median(measured.b) / 1e9;
      const note = `${table.entries} keys of width 256: ${(1000 * median(measured.a)).toFixed(1)} ms; keys are read at ${rate.toFixed(1)} GB/s`;
      return { ...ratio(measured), note };
    },
  },
  {
    what: "exact search over an inverted file at recall ≥ 0.95, states of knossos on stories",
    target: atLeast(10),
    measure: needing(stories, async (settings) => {
      const { search: searching, inverted: files, building, datastores } = await ourMemory();
      const model = await openRaw(/** @type {string} */ (shippedModel("knossos")), { threads: 2 });
      const folder = mkdtempSync(join(tmpdir(), "ventris-bench-keys-"));
      try {
        const wanted = keysOf(settings);
        const texts = [];
        let characters = 0;
        for (const { text } of records(stories)) {
          if (characters > 3.9 * wanted) break; // about four characters a token
          texts.push(text);
          characters += text.length;
        }
        await building.buildDatastore(model, texts, { folder });
        const table = await datastores.openDatastore(folder, await building.baseOf(model));
        const count = 50;
        const queries = new Float32Array(count * table.width);
        const own = Int32Array.from({ length: count }, (_, i) => Math.floor((i * table.entries) / count));
        for (const [i, entry] of own.entries())
          queries.set(table.keys.subarray(entry * table.width, (entry + 1) * table.width), i * table.width);
        const exact = await searching.exactSearch(table, { threads: 2 });
        const truth = await exact.find(queries, 64, own);
        let [found, note] = [{ value: 0, runs: [0] }, "no number of lists up to 64 reached a recall of 0.95"];
        for (const probes of [4, 8, 16, 32, 64]) {
          const inverted = await files.invertedSearch(table, { probes, threads: 2 });
          const recall = files.recallOf(truth, await inverted.find(queries, 64, own));
          settings.progress(`  ${probes} of ${inverted.lists} lists: recall ${recall.toFixed(3)}`);
          if (recall >= 0.95) {
            let at = 0;
            const query = () => queries.subarray((at++ % count) * table.width, (((at - 1) % count) + 1) * table.width);
            const measured = await alternate(
              () => timed(() => exact.find(query().slice(), 64)),
              () => timed(() => inverted.find(query().slice(), 64)),
              4 * settings.runs,
            );
            found = ratio(measured);
            note = `${table.entries} keys, ${probes} of ${inverted.lists} lists, recall ${recall.toFixed(3)}: ${(1000 * median(measured.a)).toFixed(1)} and ${(1000 * median(measured.b)).toFixed(2)} ms`;
            await inverted.close();
            break;
          }
          await inverted.close();
        }
        await exact.close();
        return { ...found, note };
      } finally {
        await model.close();
        rmSync(folder, { recursive: true, force: true });
      }
    }),
  },
  ...["incremental over shuffled", "linear head", "network of 128 units"].map((name, i) => ({
    what: `key-value bottleneck, digits in five splits of two, keys and encoder from drawings: ${name}`,
    target: i === 0 ? atLeast(0.9) : reported(" of tests right"),
    measure: needing("mnist-10k/images-idx3-ubyte.gz", async (/** @type {Settings} */ settings) => {
      stream ??= digits(settings);
      const found = await stream;
      const value = [found.incremental / found.shuffled, found.linear, found.network][i];
      const note =
        i === 0 ? `${found.incremental.toFixed(3)} class by class, ${found.shuffled.toFixed(3)} shuffled` : undefined;
      return { value, runs: [value], note };
    }),
  })),
  ...["bottleneck, incremental over all at once", "bottleneck", "linear head"].map((name, i) => ({
    what: `topics of dialogues by knossos's states, two of eight at a time, right of all: ${name}`,
    target: i === 0 ? atLeast(0.9) : reported(" of tests right"),
    measure: needing(dialogues, async (/** @type {Settings} */ settings) => {
      topics ??= topicStream(settings);
      const { incremental, shuffled, linear } = await topics;
      const value = [incremental / shuffled, incremental, linear][i];
      return { value, runs: [value] };
    }),
  })),
  ...["bottleneck", "tuned output matrix"].map((name, i) => ({
    what: `speeches, then dialogues, behind knossos: what of the gain on speeches is lost, ${name}`,
    target: i === 0 ? atMost(0.1) : reported(" of the gain"),
    measure: needing(dialogues, async (/** @type {Settings} */ settings) => {
      domains ??= domainStream(settings);
      const { alone, learned, afterwards } = (await domains)[i];
      const value = (afterwards - learned) / (alone - learned);
      const note = `${alone.toFixed(3)} nats a token alone, ${learned.toFixed(3)} after speeches, ${afterwards.toFixed(3)} after dialogues`;
      return { value, runs: [value], note };
    }),
  })),
  {
    what: "a megabyte of text to a trained memory, two threads",
    target: atMost(15, " minutes"),
    measure: needing(stories, async ({ quick }) => {
      if (quick) return { skipped: "takes minutes: not with --quick" };
      const { measuring } = await ourMemory();
      const model = await openRaw(/** @type {string} */ (shippedModel("knossos")), { threads: 2 });
      const folder = mkdtempSync(join(tmpdir(), "ventris-bench-own-"));
      try {
        const texts = [];
        let bytes = 0;
        for (const { text } of records(stories)) {
          if (bytes >= 2 ** 20) break;
          texts.push(text);
          bytes += Buffer.byteLength(text);
        }
        const value = (await timed(() => measuring.makeBoth(model, texts, folder, { passes: 10 }))) / 60;
        return { value, runs: [value] };
      } finally {
        await model.close();
        rmSync(folder, { recursive: true, force: true });
      }
    }),
  },
];

/** @type {Promise<any> | undefined} */
let stream;
/** @param {Settings} settings */
async function digits({ quick }) {
  const { digits: measured, bottleneck } = await ourMemory();
  const data = await measured.digitFeatures((/** @type {string[]} */ ...names) => dataFile(names.join("/")), {
    seed: 1,
    ...(quick ? { steps: 200, digits: 2000, drawings: 1500 } : { steps: 600, digits: 6000, drawings: 5000 }),
  });
  const sizes = quick ? { codebooks: 32, pairs: 512 } : { codebooks: 64, pairs: 1024 };
  return bottleneck.runStream(data, 10, { ...sizes, keyWidth: 14, epochs: 40, headEpochs: 4, seed: 1 });
}

/** @type {Promise<any> | undefined} */
let topics;
/** @param {Settings} settings */
async function topicStream({ quick }) {
  const { bottleneck } = await ourMemory();
  const model = await openRaw(/** @type {string} */ (shippedModel("knossos")), { threads: 2 });
  const names = ["movies", "music", "nfl_football", "fashion", "baseball", "disney", "star_wars", "harry_potter"];
  const kept = new Map(names.map((name) => [name, /** @type {string[]} */ ([])]));
  for (const { topic, turns } of records(dialogues)) {
    const texts = kept.get(topic);
    if (texts && texts.length < (quick ? 20 : 150)) texts.push(turns.join(" "));
  }
  const texts = [...kept.values()].flat();
  const features = await bottleneck.textFeatures(model, texts, { site: "layers.4.mlp.norm" });
  await model.close();
  const labels = Int32Array.from([...kept.values()].flatMap((some, label) => some.map(() => label)));
  const rows = [...labels.keys()];
  const train = bottleneck.rowsOf(
    { ...features, labels },
    rows.filter((i) => i % 5 !== 0),
  );
  const test = bottleneck.rowsOf(
    { ...features, labels },
    rows.filter((i) => i % 5 === 0),
  );
  const scaled = bottleneck.standardise(train, train);
  const data = { train: scaled, test: bottleneck.standardise(test, train), drawings: scaled };
  const sizes = { codebooks: 64, pairs: 256, keyWidth: 14, epochs: 20, headEpochs: 20, seed: 1 };
  return bottleneck.runStream(data, names.length, sizes);
}

/** @type {Promise<any[]> | undefined} */
let domains;
/** @param {Settings} settings */
async function domainStream({ quick }) {
  const { bottleneck } = await ourMemory();
  const model = await openRaw(/** @type {string} */ (shippedModel("knossos")), { threads: 2 });
  const formal = [...records(speeches)].map(({ text }) => text.slice(0, 4000));
  const chat = [];
  for (const { turns } of records(dialogues)) if (chat.push(turns.join(" ")) === 300) break;
  const read = (/** @type {string[]} */ texts, /** @type {number} */ tokens) =>
    bottleneck.readPositions(model, texts, { tokens });
  const [learn, test] = quick ? [300, 200] : [2000, 1000];
  const streams = [await read(formal.slice(10), learn), await read(chat.slice(100), learn)];
  const tests = [await read(formal.slice(0, 10), test), await read(chat.slice(0, 100), test)];
  const { vocabularySize, hiddenSize } = model.config;
  await model.close();
  const [first, second] = streams;
  const placing = {
    count: first.count + second.count,
    width: hiddenSize,
    values: Float32Array.from([...first.values, ...second.values]),
  };
  const sizes = { codebooks: 16, pairs: 256, keyWidth: 8, epochs: 3, batch: 32, seed: 1 };
  const settings = { ...sizes, learningRate: 200, headRate: 0.02 };
  return [
    await bottleneck.twoDomains(await bottleneck.bottleneckLearner(placing, vocabularySize, settings), streams, tests),
    await bottleneck.twoDomains(await bottleneck.headLearner(hiddenSize, vocabularySize, settings), streams, tests),
  ];
}
