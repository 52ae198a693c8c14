/** The claims of the framework on knossos, on chains whose information is known, and on a small model while it is trained. */
import { join } from "node:path";
import { familyOf } from "../../../models/families.ts";
import { defineReproduction, type Measurement, type Model } from "../../../papers/reproduction.ts";

import { writeConfigured } from "../../../training/export.ts";
import { train } from "../../../training/loop.ts";
import { nextTokenObjective } from "../../../training/next-token.ts";
import { initialValues } from "../../../training/recipe.ts";
import { constant } from "../../../training/schedule.ts";
import { rankCorrelation, storyData, storyPrompts } from "../../speculative/measuring.ts";
import { openNeurons } from "../neurons/index.ts";
import {
  acceptanceOf,
  alignmentOf,
  categoricalEntropy,
  drawSymbols,
  lawOf,
  type MarkovSource,
  markovSource,
  measureMarkov,
  openProbes,
  type ProbeExamples,
  predictiveFeatures,
  predictiveOperator,
  type Rows,
  sourceEntropy,
  sourceSurplus,
  surplusOf,
  withProducts,
} from "./index.ts";
import { measuredRun } from "./picture.ts";

type Sizes = {
  /** Of knossos. */
  texts: number;
  tokens: number;
  contexts: number;
  layers: number[];
  distances: number[];
  probeSteps: number;
  /** Of the sources. */
  symbols: number;
  walk: number;
  sourceSteps: number;
};

export const reproduction = defineReproduction<Sizes>({
  sizes: {
    tiny: {
      texts: 12,
      tokens: 24,
      contexts: 150,
      layers: [0, 5],
      distances: [1],
      probeSteps: 4,
      symbols: 3,
      walk: 600,
      sourceSteps: 20,
    },
    quick: {
      texts: 64,
      tokens: 96,
      contexts: 3000,
      layers: [0, 2, 5],
      distances: [1, 2],
      probeSteps: 200,
      symbols: 4,
      walk: 12_000,
      sourceSteps: 600,
    },
    full: {
      texts: 400,
      tokens: 128,
      contexts: 20_000,
      layers: [0, 1, 2, 3, 4, 5],
      distances: [1, 2, 4],
      probeSteps: 1000,
      symbols: 4,
      walk: 60_000,
      sourceSteps: 3000,
    },
  },
  steps: ({ layers, distances }) => 4 + layers.length * distances.length,
  data: () => storyData,
  async measure(
    context,
    { texts, tokens, contexts, layers, distances, probeSteps, symbols, walk, sourceSteps },
  ): Promise<Measurement[]> {
    const { open, step, signal, seed } = context;
    const model = await open("knossos");
    const written = await step("texts", async () =>
      textsOf(model, await storyPrompts(context, model, texts, 12), texts, tokens, seed, signal),
    );
    const head = await headOf(model);
    const report = await step("surplus", async ({ progress }) => {
      const { layers: found } = await measureMarkov({
        model,
        texts: written,
        head,
        contexts,
        distances,
        layers,
        what: ["surplus"],
        steps: probeSteps,
        seed,
        signal,
        onProgress: (done, total) => progress(done / total),
      });
      return found.map(({ layer, surplus }) => ({
        layer,
        surplus: surplus!.map(({ k, value, interval }) => ({ k, value, low: interval[0], high: interval[1] })),
      }));
    });
    // Drafting heads of another shape, seed and split: what exact sampling accepts of them against the model's own law.
    const accepted: { layer: number; k: number; value: number }[] = [];
    const drafting = await draftingExamples(model, written, layers, Math.max(...distances), contexts);
    for (const layer of layers)
      for (const k of distances)
        accepted.push(
          await step(`head after layer ${layer}, ${k} ahead`, async () => ({
            layer,
            k,
            value: await acceptance(drafting, layer, k, head, { steps: probeSteps, seed: seed + 1, signal }),
          })),
        );
    const sources = await step("sources", async () => {
      const found: Record<string, number> = {};
      for (const order of [1, 2]) {
        const source = markovSource(symbols, order, seed + order);
        const { surplus, interval } = await sourceProbe(source, walk, sourceSteps, seed, signal);
        Object.assign(found, {
          [`surplus ${order}`]: surplus,
          [`low ${order}`]: interval[0],
          [`high ${order}`]: interval[1],
          [`exact ${order}`]: sourceSurplus(source, 1),
        });
      }
      return found;
    });
    const trained = await step("training", ({ folder, progress }) =>
      trainedOnSource(markovSource(symbols, 2, seed + 2), folder, open, { steps: sourceSteps, seed, signal, progress }),
    );
    const top = report[report.length - 1];
    const pairs = accepted.map(({ layer, k, value }): [number, number] => {
      const own = report.find((one) => one.layer === layer)!.surplus.find((one) => one.k === k)!;
      return [own.value, value];
    });
    const first = trained[0];
    const last = trained[trained.length - 1];
    return [
      {
        claim: "surplus",
        value: top.surplus[0].value,
        interval: [top.surplus[0].low, top.surplus[0].high],
        count: texts,
        plot: {
          title: "What the states of knossos know of later tokens",
          x: { label: "layer" },
          y: { label: "surplus, nats" },
          series: distances.map((k, i) => ({
            name: `${k} ahead`,
            points: report.map(
              ({ layer, surplus }) => [layer, surplus[i].value, surplus[i].low, surplus[i].high] as const,
            ),
          })),
        },
      },
      {
        claim: "order-one",
        value: sources["surplus 1"],
        interval: [sources["low 1"], sources["high 1"]],
        details: { "order two, estimated": sources["surplus 2"], "order two, exact": sources["exact 2"] },
      },
      {
        claim: "entropy",
        value: Math.abs(last.entropy - last.source),
        note: `the source's ${last.source.toFixed(3)}, the model's ${last.entropy.toFixed(3)}; before training ${first.entropy.toFixed(3)}`,
      },
      {
        claim: "predicts-drafting",
        value: rankCorrelation(pairs),
        count: pairs.length,
        details: {
          "acceptance by layer and distance": Object.fromEntries(
            accepted.map(({ layer, k, value }) => [`${layer}, ${k}`, Number(value.toFixed(3))]),
          ),
        },
      },
      {
        claim: "alignment",
        value: last.captured - first.captured,
        note: `from ${first.captured.toFixed(3)} to ${last.captured.toFixed(3)}, with the source's true distributions`,
        plot: {
          title: "Alignment with the source's predictive operator while a model is trained",
          x: { label: "step" },
          y: { label: "share" },
          series: (["captured", "similarity"] as const).map((name) => ({
            name,
            points: trained.map((point) => [point.step, point[name]] as const),
          })),
        },
      },
    ];
  },
  /** A text of knossos, and what the state before each of its tokens was measured to be. */
  async trace(signal, open) {
    await using model = await open("knossos");
    return measuredRun(model, { prompt: "Once upon a time there was a", maxTokens: 48, seed: 0, signal });
  },
});

async function headOf(model: Model): Promise<Rows> {
  const checkpoint = await openNeurons(model.folder);
  const { vocabularySize: count, hiddenSize: width } = model.config;
  return { count, width, values: await checkpoint.output(0, count).finally(() => checkpoint.close()) };
}

/** What the model writes itself after openings of stories. */
async function textsOf(
  model: Model,
  openings: readonly number[][],
  count: number,
  length: number,
  seed: number,
  signal: AbortSignal,
): Promise<number[][]> {
  const runs = Array.from({ length: count }, (_, request) => {
    const begin = openings[request % openings.length];
    const options = { temperature: 1, minTokens: length, maxTokens: length, seed, request, signal };
    return { begin, run: model.decode(begin, options) };
  });
  return Promise.all(runs.map(async ({ begin, run }) => [...begin, ...(await run.final).tokens]));
}

interface Drafting extends Omit<ProbeExamples, "states"> {
  readonly states: ReadonlyMap<number, Rows>;
  /** The model's own law of the token k further on, of a context. */
  lawAt(place: number, k: number): Promise<Float64Array>;
}

async function draftingExamples(
  model: Model,
  texts: readonly number[][],
  layers: readonly number[],
  distance: number,
  contexts: number,
): Promise<Drafting> {
  const per = Math.max(1, Math.ceil(contexts / texts.length));
  const places = texts.flatMap((text, document) => {
    const usable = text.length - 5 - distance - 1;
    return Array.from({ length: Math.min(per, Math.max(0, usable)) }, (_, i) => ({
      document,
      at: 4 + Math.floor((i * usable) / Math.min(per, usable)),
    }));
  });
  const width = model.config.hiddenSize;
  const states = new Map(
    layers.map((layer) => [layer, { count: places.length, width, values: new Float32Array(places.length * width) }]),
  );
  for (const [document, text] of texts.entries()) {
    const [{ taps }] = await model.forward([{ tokens: text, logits: "none" }], {
      taps: layers.map((layer) => `layers.${layer}.residual`),
    });
    for (const [place, one] of places.entries())
      if (one.document === document)
        for (const layer of layers) {
          const { values } = taps[`layers.${layer}.residual`];
          states.get(layer)!.values.set(values.subarray(one.at * width, (one.at + 1) * width), place * width);
        }
  }
  return {
    states,
    tokens: places.map(({ document, at }) => texts[document].slice(at + 1, at + 2 + distance)),
    documents: places.map(({ document }) => document),
    async lawAt(place, k) {
      const { document, at } = places[place];
      const [{ logits }] = await model.forward([{ tokens: texts[document].slice(0, at + 1 + k), logits: "last" }]);
      return lawOf(logits);
    },
  };
}

/** Contexts that a head's acceptance is measured on. */
const judged = 200;

async function acceptance(
  { states, tokens, documents, lawAt }: Drafting,
  layer: number,
  k: number,
  head: Rows,
  { steps, seed, signal }: { steps: number; seed: number; signal: AbortSignal },
): Promise<number> {
  const own = states.get(layer)!;
  const probes = await openProbes({
    distance: k,
    vocabulary: head.count,
    stateWidth: own.width,
    embedding: head,
    head,
    hidden: 64,
    steps,
    seed,
    signal,
  });
  try {
    const { measured, law } = await probes.train({ states: own, tokens, documents }, k, "state");
    const some = measured
      .filter((_, i) => i % Math.max(1, Math.floor(measured.length / judged)) === 0)
      .slice(0, judged);
    let sum = 0;
    for (const place of some) sum += acceptanceOf(await lawAt(place, k), law(place));
    return sum / some.length;
  } finally {
    await probes.release();
  }
}

async function sourceProbe(source: MarkovSource, walk: number, steps: number, seed: number, signal: AbortSignal) {
  const { symbols } = source;
  const drawn = drawSymbols(source, walk + 3, seed + 10);
  const width = symbols ** 2;
  const values = new Float32Array(walk * width);
  for (let i = 0; i < walk; i++) values[i * width + drawn[i] * symbols + drawn[i + 1]] = 1;
  const tokens = Array.from({ length: walk }, (_, i) => [drawn[i + 2], drawn[i + 3] ?? 0]).slice(0, walk - 1);
  const documents = tokens.map((_, i) => Math.floor((i * 40) / walk));
  const states = { count: walk - 1, width, values: values.subarray(0, (walk - 1) * width) };
  const probes = await openProbes({
    distance: 1,
    vocabulary: symbols,
    stateWidth: width,
    hidden: 48,
    steps,
    rate: 5e-3,
    seed,
    signal,
  });
  try {
    const alone = await probes.train({ states, tokens, documents }, 1, "tokens");
    const seen = await probes.train({ states, tokens, documents }, 1, "state");
    const { value, interval } = surplusOf(1, alone, seen, documents, seed);
    return { surplus: value, interval };
  } finally {
    await probes.release();
  }
}

type Point = { step: number; entropy: number; source: number; captured: number; similarity: number };

/** A small model trained on a source, looked at on the way: its mean entropy, and how its states lie to the source's true operator. */
async function trainedOnSource(
  source: MarkovSource,
  folder: string,
  open: (reference: string) => Promise<Model>,
  {
    steps,
    seed,
    signal,
    progress,
  }: { steps: number; seed: number; signal: AbortSignal; progress: (share: number) => void },
): Promise<Point[]> {
  const { symbols, table } = source;
  const [rows, length] = [16, 32];
  const json = {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: symbols,
    hidden_size: 32,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 4,
    intermediate_size: 64,
    max_position_embeddings: 64,
    rms_norm_eps: 1e-5,
    hidden_act: "silu",
    tie_word_embeddings: false,
  };
  const { family, config } = familyOf(json);
  const values = initialValues(family, config, seed);
  const objective = await nextTokenObjective(family, config, values, { rows, length });
  const points: Point[] = [];
  const look = async (step: number): Promise<void> => {
    const own = join(folder, `at-${step}`);
    await writeConfigured(family, config, values, json, own);
    const model = await open(own);
    const count = 600;
    const walks = Array.from({ length: count / 20 }, (_, i) => drawSymbols(source, 24, seed + 5000 + i));
    const results = await model.forward(
      walks.map((tokens) => ({ tokens, logits: "all" as const })),
      { taps: ["final"] },
    );
    const states = new Float32Array(count * config.hiddenSize);
    const truth = new Float64Array(count * symbols);
    let [entropy, at] = [0, 0];
    for (const [i, { logits, taps }] of results.entries())
      for (let t = 4; t < 24; t++, at++) {
        entropy += categoricalEntropy(lawOf(logits.subarray(t * symbols, (t + 1) * symbols))) / count;
        states.set(
          taps.final.values.subarray(t * config.hiddenSize, (t + 1) * config.hiddenSize),
          at * config.hiddenSize,
        );
        const context = walks[i][t - 1] * symbols + walks[i][t];
        truth.set(table.subarray(context * symbols, (context + 1) * symbols), at * symbols);
      }
    const q = { count, width: symbols, values: truth };
    const { captured, similarity } = await withProducts(async (products) => {
      const operator = await predictiveOperator(predictiveFeatures(q), symbols, products, seed);
      return alignmentOf({ count, width: config.hiddenSize, values: states }, operator, products, { leading: [] });
    });
    points.push({ step, entropy, source: sourceEntropy(source), captured, similarity });
  };
  try {
    await look(0);
    const looks = 4;
    const result = await train({
      objective,
      batches: (index) => {
        const tokens = Int32Array.from(
          Array.from({ length: rows }, (_, row) =>
            drawSymbols(source, length + 1, seed + 10_000 + index * rows + row),
          ).flat(),
        );
        return { tokens, rows, length };
      },
      steps,
      schedule: constant({ peak: 3e-3, warmup: Math.min(20, steps) }),
      seed,
      signal,
      onProgress: ({ step }) => progress(step / steps),
      afterStep: async (step) => {
        if (step % Math.ceil(steps / looks) === 0 || step === steps) await look(step);
      },
    });
    if (result.reason === "aborted") signal.throwIfAborted();
    return points;
  } finally {
    await objective.release();
  }
}
