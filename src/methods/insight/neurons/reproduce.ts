/** The claims about feature neurons on knossos: who stands out, what a clamp does, and what fine-tuning leaves of it. */
import { join } from "node:path";
import { normal, uniform } from "../../../engine/random.ts";
import type { TimedEvent } from "../../../engine/trace.ts";
import { defineReproduction, type Measurement, type Model } from "../../../papers/reproduction.ts";
import { bootstrap, mean } from "../../../papers/statistics.ts";
import { writeValues } from "../../../training/export.ts";
import { hyperfit } from "../../finetuning/hyperfit/index.ts";
import { squared, vectorDecoder } from "./decode.ts";
import {
  clampNeuron,
  compareNeurons,
  conceptTokens,
  mapNeurons,
  type NeuronCheckpoint,
  type NeuronMap,
  openNeurons,
  rankNeurons,
} from "./index.ts";
import { conceptProbability } from "./sweep.ts";

/** Frequent words of simple stories, each a token or two of its vocabulary. */
const words = "dog cat bird tree ball girl boy house mom dad water park rain flower fish car bear king book sun".split(
  " ",
);
const prompts = [
  "Once upon a time there was a",
  "They went outside and saw a",
  "She wanted to play with the",
  "He was very happy with his",
];

type Sizes = {
  words: number;
  /** Neurons of the same layer that the best one is compared with, and random vectors. */
  random: number;
  vectors: number;
  /** Of the fine-tuning: sequences that the model writes itself, and their tokens. */
  sequences: number;
  length: number;
};

/** Clamped at this many times the spread of the best neuron, up and down. */
const multiple = 20;

export const reproduction = defineReproduction<Sizes>({
  sizes: {
    tiny: { words: 2, random: 4, vectors: 200, sequences: 8, length: 16 },
    quick: { words: 20, random: 40, vectors: 2000, sequences: 64, length: 64 },
    full: { words: 20, random: 200, vectors: 4224, sequences: 256, length: 128 },
  },
  steps: ({ words: count }) => count + 3,
  async measure(
    { open, step, signal, seed },
    { words: count, random, vectors, sequences, length },
  ): Promise<Measurement[]> {
    const model = await open("knossos");
    const checkpoint = await openNeurons(model.folder);
    try {
      const { map, seconds } = await mapped(checkpoint, signal);
      const tail = await step("tail", () => tailOf(checkpoint, map, vectors, seed));
      const written = await step("texts", async () => textsOf(model, sequences, length, seed, signal));
      const moved: { word: string; rank: number }[] = [];
      for (const word of words.slice(0, count))
        moved.push(
          await step(word, () => clampingOf(model, checkpoint, word, random, seed, written.slice(0, 8), signal)),
        );
      const agreement = await step("fine-tuning", async ({ folder }) => {
        const learnable = await model.learnable();
        const { family, values } = learnable;
        await learnable.release();
        const task = { family, config: model.config, values };
        const tuned = await hyperfit(task, written, [], { epochs: 1, learningRate: 2e-4, batch: 8, seed, signal });
        await writeValues(family, model.config, tuned.values, model.folder, join(folder, "tuned"));
        const other = await openNeurons(join(folder, "tuned"));
        const compared = compareNeurons(map, await mapNeurons(other, { signal }), seed);
        await other.close();
        return {
          share: compared.agreement,
          expected: compared.expected,
          shuffled: compared.shuffled,
          within: compared.withinTop,
        };
      });
      const above = bootstrap(
        moved.map(({ rank }) => (rank > 0.95 ? 1 : 0)),
        mean,
        seed,
      );
      return [
        {
          claim: "clamping",
          ...above,
          details: {
            "share of random neurons that move the word less": Object.fromEntries(
              moved.map(({ word, rank }) => [word, round(rank)]),
            ),
          },
        },
        {
          claim: "agreement",
          value: 100 * agreement.share,
          note: `by chance ${(100 * agreement.expected).toFixed(1)} %, shuffled ${(100 * agreement.shuffled).toFixed(1)} %; one pass over ${sequences} texts of its own`,
          details: { "best token among the copy's ten, %": round(100 * agreement.within) },
        },
        { claim: "tail", ...bootstrap(tail, mean, seed) },
        {
          claim: "time",
          value: seconds,
          count: 1,
          note: `${map.normaliser.length} neurons, ${(map.operations / 1e9).toFixed(1)} GFLOP`,
        },
      ];
    } finally {
      await checkpoint.close();
    }
  },
  /** Of each word the neuron that stands for it most: its weights, and the tokens that they decode to. */
  async trace(signal, open) {
    await using model = await open("knossos");
    const checkpoint = await openNeurons(model.folder);
    try {
      const events: TimedEvent[] = [];
      const shown = new Set<string>(); // a neuron may be the nearest to several words
      for (const word of words.slice(0, shownWords)) {
        const wanted = conceptTokens(checkpoint.tokenizer, word);
        const map = await mapNeurons(checkpoint, { wanted, signal });
        const [{ layer, neuron, tokens }] = rankNeurons(map, "wanted", 1);
        if (shown.has(`${layer} ${neuron}`)) continue;
        shown.add(`${layer} ${neuron}`);
        const width = checkpoint.config.hiddenSize;
        const weights = (await checkpoint.vectors(layer, "up")).subarray(neuron * width, (neuron + 1) * width);
        const truth = tokens.findIndex(({ token }) => wanted.includes(token));
        events.push({
          type: "retrieval",
          signal: [Array.from(weights, round)],
          of: `neuron ${neuron} of layer ${layer}, the nearest to “${word}”`,
          candidates: tokens.map(({ token }) => checkpoint.tokenizer!.decode([token], { continued: true })),
          scores: tokens.map(({ score }) => round(score)),
          ...(truth >= 0 && { truth }),
        });
      }
      return events;
    } finally {
      await checkpoint.close();
    }
  },
});

/** Words that the trace shows. */
const shownWords = 12;

async function mapped(checkpoint: NeuronCheckpoint, signal: AbortSignal): Promise<{ map: NeuronMap; seconds: number }> {
  const map = await mapNeurons(checkpoint, { signal });
  return { map, seconds: map.seconds };
}

/** Texts that the model writes, [length + 1] tokens each. */
async function textsOf(
  model: Model,
  count: number,
  length: number,
  seed: number,
  signal: AbortSignal,
): Promise<number[][]> {
  const begin = [...model.tokenizer!.encode("Once upon a time")];
  const tokens = length + 1 - begin.length;
  const runs = Array.from({ length: count }, (_, request) =>
    model.decode(begin, { temperature: 1, maxTokens: tokens, minTokens: tokens, seed, request, signal }),
  );
  return (await Promise.all(runs.map((run) => run.final))).map((result) => [...begin, ...result.tokens]);
}

/** Of each neuron whether its best token is surer than 99 of 100 random vectors of neurons' lengths are of theirs. */
async function tailOf(checkpoint: NeuronCheckpoint, map: NeuronMap, count: number, seed: number): Promise<number[]> {
  const width = checkpoint.config.hiddenSize;
  const { top } = map.settings;
  const rows = new Float32Array(count * width);
  const layers = new Map<number, Float32Array>();
  for (let i = 0; i < count; i++) {
    const stream = { seed, request: i };
    const layer = Math.floor(uniform(stream, 0, "data") * checkpoint.config.layers);
    const neuron = Math.floor(uniform(stream, 1, "data") * map.neurons);
    if (!layers.has(layer)) layers.set(layer, await checkpoint.vectors(layer, "up"));
    const wanted = Math.sqrt(squared(layers.get(layer)!, neuron * width, width));
    for (let d = 0; d < width; d++) rows[i * width + d] = normal(stream, d + 2, "data");
    const length = Math.sqrt(squared(rows, i * width, width));
    for (let d = 0; d < width; d++) rows[i * width + d] *= wanted / length;
  }
  const decoder = await vectorDecoder(checkpoint, { top: 1, metric: "softmax" });
  const random = await decoder.decode(rows);
  await decoder.close();
  const ordered = Float64Array.from(random.scores, (score, i) => score - random.normaliser[i]).sort();
  const bound = ordered[Math.floor(0.99 * (count - 1))];
  return Array.from(map.normaliser, (normaliser, place) => (map.scores[place * top] - normaliser > bound ? 1 : 0));
}

/** How many random neurons of its layer move a word's probability less than its best neuron, held at the same values. */
async function clampingOf(
  model: Model,
  checkpoint: NeuronCheckpoint,
  word: string,
  random: number,
  seed: number,
  texts: readonly (readonly number[])[],
  signal: AbortSignal,
): Promise<{ word: string; rank: number }> {
  const wanted = conceptTokens(checkpoint.tokenizer, word);
  const map = await mapNeurons(checkpoint, { wanted, signal });
  const [{ layer, neuron }] = rankNeurons(map, "wanted", 1);
  const site = `layers.${layer}.mlp.up`;
  const read = await model.forward(
    texts.map((tokens) => ({ tokens, logits: "none" as const })),
    { taps: [site] },
  );
  const own = read.flatMap(({ taps }) => {
    const { rows, width, values } = taps[site];
    return Array.from({ length: rows }, (_, row) => values[row * width + neuron]);
  });
  const centre = mean(own);
  const spread = Math.sqrt(mean(own.map((x) => (x - centre) ** 2)));
  const begun = prompts.map((prompt) => [...model.tokenizer!.encode(prompt)]);
  const free = await conceptProbability(model, begun, wanted, []);
  const move = async (one: number): Promise<number> => {
    const values = [multiple * spread, -multiple * spread];
    const logs: number[] = [];
    for (const value of values) {
      const held = await conceptProbability(model, begun, wanted, [clampNeuron({ layer, neuron: one, value })]);
      logs.push(Math.abs(Math.log(held / free)));
    }
    return Math.max(...logs);
  };
  const best = await move(neuron);
  let less = 0;
  for (let i = 0; i < random; i++) {
    signal.throwIfAborted();
    const other = Math.floor(uniform({ seed, request: layer }, i, "data", neuron) * map.neurons);
    if ((await move(other)) < best) less++;
  }
  return { word, rank: less / random };
}

const round = (x: number): number => Number(x.toFixed(3));
