/** All measurements of an open model at every layer, over the same contexts of some texts. */

import type { ForwardResult } from "../../../engine/forward/index.ts";
import type { ForwardSequence } from "../../../engine/forward/input.ts";
import type { AppliedEdit } from "../../../engine/sites/rows.ts";
import { ensure, VentrisError } from "../../../errors.ts";
import type { ModelConfig } from "../../../models/family.ts";
import { lensReading, logitLens } from "../../../models/lens.ts";
import { requireCounts, requireWhole } from "../../../numbers.ts";
import { checkLayers } from "../layers.ts";
import {
  type Alignment,
  alignmentOf,
  explainedShare,
  predictiveFeatures,
  predictiveOperator,
  prepareStates,
  withProducts,
} from "./alignment.ts";
import { requireRows } from "./checks.ts";
import { type Coherence, leastStates, temporalCoherence } from "./coherence.ts";
import { categoricalEntropy, lawOf } from "./entropy.ts";
import { averageFisher, blindShare, spectrumOf } from "./fisher.ts";
import { centred, columnMeans, crossMoment, type Rows } from "./rows.ts";
import { documentParts, openProbes, type ProbeOutcome, type Surplus, surplusOf } from "./surplus.ts";

/** What of an open model this needs. */
export interface MarkovModel {
  readonly config: ModelConfig;
  forward(
    sequences: readonly ForwardSequence[],
    options?: { readonly taps?: readonly string[]; readonly edits?: AppliedEdit[] },
  ): Promise<ForwardResult[]>;
}

/** Names of all measurements. */
export const measurements = ["entropy", "surplus", "fisher", "alignment", "coherence"] as const;
/** Name of a measurement. */
export type MeasurementName = (typeof measurements)[number];

/** What is measured, on which texts and layers. */
export interface MarkovOptions {
  /** What is measured. */
  readonly model: MarkovModel;
  /** Tokens of texts, each as many as fit a pass; for the surplus of ten documents or more. */
  readonly texts: readonly (readonly number[])[];
  /** The number of the document that each text is a piece of: pieces of one are not independent of each other. Default: each is a document. */
  readonly documents?: readonly number[];
  /** Output vectors [vocabulary, width] of the model's head. */
  readonly head: Rows;
  /** Contexts in all, evenly spread over the texts. Default 4000. */
  readonly contexts?: number;
  /** Of the surplus. Default 1 to 4. */
  readonly distances?: readonly number[];
  /** Default: all. */
  readonly layers?: readonly number[];
  /** Measurements to take. Default: all. */
  readonly what?: readonly MeasurementName[];
  /** An independent model of the same vocabulary, whose predictions make the kernel; without one alignment is with the tokens that came alone. */
  readonly reference?: MarkovModel;
  /** Steps of each probe's training. Default 400. */
  readonly steps?: number;
  /** Of the probes and of what is drawn. Default 0. */
  readonly seed?: number;
  /** Threads within an operator. Default: all cores, at most 8. */
  readonly threads?: number;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
  /** Told how much of which measurement is done. Default: nobody is told. */
  readonly onProgress?: (done: number, total: number, what: string) => void;
}

/** What was measured of one layer. */
export interface LayerMeasurements {
  readonly layer: number;
  /** Through the model's own norm and output matrix after this layer: mean entropies, information, loss on the tokens that came, and its gap over the entropy. */
  readonly entropy?: { readonly kl: number; readonly totalVariation: number; readonly renyi: number };
  readonly information?: number;
  readonly loss?: number;
  readonly gap?: number;
  readonly surplus?: readonly Surplus[];
  /** Σ of the surpluses up to each distance: of the tokens together. */
  readonly total?: readonly number[];
  readonly explained?: number;
  readonly alignment?: Alignment;
  readonly coherence?: Coherence;
}

/** What was measured of a model. */
export interface MarkovReport {
  readonly contexts: number;
  readonly documents: number;
  readonly vocabulary: number;
  readonly layers: readonly LayerMeasurements[];
  /** Of the head's input, over all contexts. */
  readonly fisher?: {
    readonly trace: number;
    readonly effectiveRank: number;
    /** Share of the states' variance in directions in which predictions hardly change. */
    readonly blind: number;
    readonly eigenvalues: readonly number[];
  };
}

/** What of each context is kept. */
interface Collected {
  readonly states: ReadonlyMap<number, Rows>;
  readonly following: ReadonlyMap<number, Rows>;
  /** The head's input, and what it says. */
  readonly final: Rows;
  readonly q: Rows;
  readonly tokens: readonly (readonly number[])[];
  /** Number of the text that each is from. */
  readonly texts: readonly number[];
  readonly entropies: ReadonlyMap<
    number,
    { kl: number; totalVariation: number; renyi: number; loss: number; mean: Float64Array }
  >;
}

/** The first tokens of a text have little before them. */
const skipped = 4;
/** A text's tokens that a pass takes, at most. */
const longest = 256;

/** Errors: `bad_option` for texts that give no contexts, layers or distances that are not there or asked for twice, numbers of contexts or steps that there cannot be, a head that is no matrix, a reference of another vocabulary; `aborted`; those of `forward`. */
export async function measureMarkov(options: MarkovOptions): Promise<MarkovReport> {
  const { model, head, reference, seed = 0, threads, signal, steps } = options;
  const { contexts = 4000, distances = [1, 2, 3, 4], what = measurements, onProgress = () => {} } = options;
  const { config } = model;
  requireCounts({ contexts, ...(steps !== undefined && { steps }) });
  requireWhole({ seed }, 0);
  const documents = options.documents ?? options.texts.map((_, i) => i);
  ensure(documents.length === options.texts.length, "bad_shape", () => {
    return `documents: ${documents.length} numbers for ${options.texts.length} texts: each text is a piece of one document`;
  });
  const layers = options.layers ?? Array.from({ length: config.layers }, (_, i) => i);
  checkLayers(config, layers);
  for (const one of [model, reference])
    ensure(!one?.config.diffusion, "bad_option", () => {
      return "a masked diffusion model predicts tokens from both sides: what a state knows of the next ones is measured of models that write from left to right";
    });
  for (const [at, k] of distances.entries()) {
    requireWhole({ [`distances[${at}]`]: k }, 1, 16);
    ensure(distances.indexOf(k) === at, "bad_option", `the distance ${k} is asked for twice`);
  }
  ensure(!reference || reference.config.vocabularySize === config.vocabularySize, "bad_option", () => {
    return `the reference has ${reference!.config.vocabularySize} tokens, the model ${config.vocabularySize}: their predictions cannot be compared`;
  });
  ensure(
    head.count === config.vocabularySize && head.width === config.hiddenSize,
    "bad_shape",
    `the head is [${head.count}, ${head.width}], the model's would be [${config.vocabularySize}, ${config.hiddenSize}]`,
  );
  requireRows("head", head);
  const has = (name: MeasurementName): boolean => what.includes(name);
  const distance = Math.max(1, ...distances);
  const total = 1 + (has("surplus") ? distances.length * (layers.length + 1) : 0) + layers.length + 1;
  let done = 0;
  const next = (about: string): void => {
    if (signal?.aborted) throw new VentrisError("aborted", "measuring was aborted");
    onProgress(done++, total, about);
  };
  next("reading states");
  const chosen = placesOf(options.texts, contexts, distance);
  // Before anything is computed: whether there are texts enough.
  const count = chosen.reduce((sum, places) => sum + places.length, 0);
  ensure(!has("coherence") || count >= leastStates(config.hiddenSize), "bad_option", () => {
    return `coherence needs ${leastStates(config.hiddenSize)} contexts, and there are ${count}: give more contexts or texts, or measure something else`;
  });
  if (has("surplus"))
    documentParts(
      chosen.flatMap((places, text) => places.map(() => documents[text])),
      seed,
    );
  const read = has("entropy") ? layers : [];
  const found = await collect(model, options.texts, chosen, layers, read, distance, signal);
  const documentOf = found.texts.map((text) => documents[text]);
  const q =
    reference && has("alignment")
      ? (await collect(reference, options.texts, chosen, [], [], distance, signal)).q
      : undefined;

  const surplus = has("surplus") ? await surpluses() : undefined;
  async function surpluses(): Promise<Map<number, Surplus[]>> {
    const result = new Map<number, Surplus[]>(layers.map((layer) => [layer, []]));
    const probes = await openProbes({
      distance,
      vocabulary: config.vocabularySize,
      stateWidth: config.hiddenSize,
      embedding: head,
      head,
      steps,
      seed,
      threads,
      signal,
    });
    try {
      const { tokens } = found;
      for (const k of distances) {
        next(`tokens alone, ${k} ahead`);
        const alone: ProbeOutcome = await probes.train(
          { states: found.final, tokens, documents: documentOf },
          k,
          "tokens",
        );
        for (const layer of layers) {
          next(`layer ${layer}, ${k} ahead`);
          const seen = await probes.train(
            { states: found.states.get(layer)!, tokens, documents: documentOf },
            k,
            "state",
          );
          result.get(layer)!.push(surplusOf(k, alone, seen, documentOf, seed));
        }
      }
    } finally {
      await probes.release();
    }
    return result;
  }

  const measured = await withProducts(async (products) => {
    const operator =
      q && (await predictiveOperator(predictiveFeatures(q), Math.min(config.hiddenSize, q.count - 1), products, seed));
    const list: LayerMeasurements[] = [];
    const upcoming = found.tokens.map(([token]) => token);
    for (const layer of layers) {
      next(`layer ${layer}`);
      const states = found.states.get(layer)!;
      const entropies = found.entropies.get(layer);
      const own = surplus?.get(layer);
      const prepared = has("alignment") ? prepareStates(states) : undefined;
      list.push({
        layer,
        ...(entropies && {
          entropy: { kl: entropies.kl, totalVariation: entropies.totalVariation, renyi: entropies.renyi },
          information: categoricalEntropy(entropies.mean) - entropies.kl,
          loss: entropies.loss,
          gap: entropies.loss - entropies.kl,
        }),
        ...(own && {
          surplus: own,
          total: own.map((_, i) => own.slice(0, i + 1).reduce((sum, { value }) => sum + value, 0)),
        }),
        ...(prepared && {
          explained: explainedShare(states, upcoming, config.vocabularySize, prepared),
          ...(operator && { alignment: await alignmentOf(states, operator, products, { prepared }) }),
        }),
        ...(has("coherence") && { coherence: temporalCoherence(states, found.following.get(layer)!) }),
      });
    }
    next("geometry of the head");
    const fisher = has("fisher")
      ? await (async () => {
          const vectors = await products.times(found.q, head);
          const metric = averageFisher(head, columnMeans(found.q), vectors);
          const spectrum = spectrumOf(metric, config.hiddenSize);
          const own = centred(found.final);
          return {
            trace: spectrum.trace,
            effectiveRank: spectrum.effectiveRank,
            blind: blindShare(spectrum, crossMoment(own, own)),
            eigenvalues: [...spectrum.values],
          };
        })()
      : undefined;
    return { list, fisher };
  }, threads);
  onProgress(total, total, "done");
  return {
    contexts: found.tokens.length,
    documents: new Set(documentOf).size,
    vocabulary: config.vocabularySize,
    layers: measured.list,
    ...(measured.fisher && { fisher: measured.fisher }),
  };
}

/** Rows of each text whose states are taken, evenly spread, with `distance` + 1 tokens behind them. */
function placesOf(texts: readonly (readonly number[])[], contexts: number, distance: number): number[][] {
  const usable = texts.map((tokens) => Math.max(0, Math.min(tokens.length, longest) - skipped - distance - 1));
  const all = usable.reduce((a, b) => a + b, 0);
  ensure(
    all > 0,
    "bad_option",
    `the texts have no context with ${skipped} tokens before it and ${distance + 1} behind it`,
  );
  // Counted through all texts: of short ones each may have a part of a context.
  const wanted = Math.min(contexts, all);
  const before = (place: number): number => Math.floor((place * wanted) / all);
  let first = 0;
  return usable.map((count) => {
    const from = first;
    first += count;
    return Array.from({ length: count }, (_, i) => i)
      .filter((i) => before(from + i + 1) > before(from + i))
      .map((i) => skipped + i);
  });
}

/** States of `layers`, and what the model's head would say after those of `read`, which costs a product with the vocabulary each. */
async function collect(
  model: MarkovModel,
  texts: readonly (readonly number[])[],
  chosen: readonly (readonly number[])[],
  layers: readonly number[],
  read: readonly number[],
  distance: number,
  signal: AbortSignal | undefined,
): Promise<Collected> {
  const { vocabularySize: vocabulary, hiddenSize: width, contextLength } = model.config;
  ensure(contextLength > skipped, "bad_option", `the model's context of ${contextLength} tokens is too short`);
  const count = chosen.reduce((sum, places) => sum + places.length, 0);
  const rows = (size: number): Rows & { values: Float32Array } => ({
    count,
    width: size,
    values: new Float32Array(count * size),
  });
  const [final, q] = [rows(width), rows(vocabulary)];
  const states = new Map(layers.map((layer) => [layer, rows(width)]));
  const following = new Map(layers.map((layer) => [layer, rows(width)]));
  const entropies = new Map(
    read.map((layer) => [layer, { kl: 0, totalVariation: 0, renyi: 0, loss: 0, mean: new Float64Array(vocabulary) }]),
  );
  const tokens: number[][] = [];
  const from: number[] = [];
  const site = (layer: number): string => `layers.${layer}.residual`;
  const taps = [...layers.map(site), ...read.map((layer) => lensReading(site(layer))), "final"];
  const edits = read.map((layer) => ({ edit: logitLens(site(layer)), key: "" }));
  let at = 0;
  for (const [text, places] of chosen.entries()) {
    if (places.length === 0) continue;
    if (signal?.aborted) throw new VentrisError("aborted", "reading states was aborted");
    const whole = texts[text].slice(0, Math.min(longest, contextLength));
    const [result] = await model.forward([{ tokens: whole, logits: places }], { taps, edits });
    for (const [i, place] of places.entries()) {
      tokens.push(texts[text].slice(place + 1, place + 2 + distance));
      from.push(text);
      const law = lawOf(result.logits.subarray(i * vocabulary, (i + 1) * vocabulary));
      q.values.set(law, at * vocabulary);
      const row = (name: string, index: number): Float32Array => {
        const { values, width: size, rows: tapped } = result.taps[name];
        const own = tapped === places.length ? i : index;
        return values.subarray(own * size, (own + 1) * size);
      };
      final.values.set(row("final", place), at * width);
      for (const layer of layers) {
        states.get(layer)!.values.set(row(site(layer), place), at * width);
        const { values, width: size } = result.taps[site(layer)];
        following.get(layer)!.values.set(values.subarray((place + 1) * size, (place + 2) * size), at * width);
      }
      for (const layer of read) {
        const through = lawOf(row(lensReading(site(layer)), place));
        const sums = entropies.get(layer)!;
        sums.kl += categoricalEntropy(through) / count;
        sums.totalVariation += categoricalEntropy(through, "total-variation") / count;
        sums.renyi += categoricalEntropy(through, { renyi: 0.5 }) / count;
        sums.loss -= Math.log(Math.max(Number.MIN_VALUE, through[texts[text][place + 1]])) / count;
        for (let v = 0; v < vocabulary; v++) sums.mean[v] += through[v] / count;
      }
      at++;
    }
  }
  return { states, following, final, q, tokens, texts: from, entropies };
}
