/**
 * Feature neurons through the output matrix (Davies 2025): a neuron's row of the up-projection is taken for a final hidden state, and the output
 * matrix says which tokens it stands for. Weights alone, no data, no gradient. A row is what the neuron reads; its gate row, and the column that it
 * writes, are decoded in the same way when asked for.
 *
 *     s = U · w,   p = softmax(s)          w = W_up[layer][neuron]
 */

import { ensure } from "../../../errors.ts";
import { checkLayers } from "../layers.ts";
import { type Matrix, matrices, type NeuronCheckpoint, type Norm } from "./checkpoint.ts";
import { metrics, squared, type VectorDecoder, type VectorDecoderOptions, vectorDecoder } from "./decode.ts";
import { type DecodedLayer, keptLayers } from "./kept.ts";

export { type Matrix, matrices, type NeuronCheckpoint, type Norm, openNeurons } from "./checkpoint.ts";
export { type Clamp, checkNeuron, clampNeuron, drives } from "./clamp.ts";
export { checkComparable, compareNeurons, type NeuronAgreement } from "./compare.ts";
export {
  type DecodedVectors,
  type DecodingWatch,
  metrics,
  type VectorDecoder,
  type VectorDecoderOptions,
  vectorDecoder,
} from "./decode.ts";
export { neuronPicture } from "./picture.ts";
export { conceptTokens, type NeuronReading, neuronAt, rankNeurons, type SearchOrder, searchOrders } from "./search.ts";
export { type DoseOptions, type DoseResponse, doseResponse, type Forwarding } from "./sweep.ts";

/** `none`: vectors as they are, the paper's form as we read it. `final`: through the model's last norm first, as a hidden state would be. */
export const norms = ["none", "final"] as const;
/** `raw`: rows as they are stored. `gamma`: times the gain of the norm before them, which is what reads the stream before that norm. */
export const inputs = ["raw", "gamma"] as const;
export const signs = ["+", "-"] as const;

export interface NeuronSettings {
  /** Which matrix of the feed-forward layer has the vectors. */
  readonly matrix: Matrix;
  /** How a vector is compared with tokens. */
  readonly metric: (typeof metrics)[number];
  /** What a vector passes first. */
  readonly norm: (typeof norms)[number];
  /** How rows of input matrices are read. */
  readonly input: (typeof inputs)[number];
  /** `-` decodes the opposite direction: what the neuron answers to with a negative value. */
  readonly sign: (typeof signs)[number];
  /** Tokens kept for each neuron. */
  readonly top: number;
}

export interface NeuronMapOptions
  extends Partial<NeuronSettings>,
    Pick<VectorDecoderOptions, "wanted" | "tile" | "threads"> {
  /** Only these; default: all. */
  readonly layers?: readonly number[];
  /** Folder that keeps each layer as it is done: the same call goes on from there, and leaves it. Default: nothing is kept. */
  readonly work?: string;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
  /** Neurons decoded so far, of how many. Default: nobody is told. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** What all neurons decode to; neuron `i` of layer number `l` in `layers` stands at l * neurons + i. */
export interface NeuronMap {
  readonly settings: NeuronSettings;
  readonly layers: readonly number[];
  readonly neurons: number;
  readonly vocabulary: number;
  /** [layers * neurons, top]. */
  readonly tokens: Int32Array;
  readonly scores: Float32Array;
  /** [layers * neurons]: log of the sum of exponentials (softmax); a probability is exp(score - normaliser). Zeros with cosines. */
  readonly normaliser: Float64Array;
  /** Tokens asked for, and their scores [layers * neurons, wanted]. */
  readonly wanted: readonly number[];
  readonly wantedScores: Float32Array;
  /** Seconds of reading and decoding, those of layers that were kept among them, and floating-point operations of the products. */
  readonly seconds: number;
  readonly operations: number;
}

export const defaultSettings: NeuronSettings = {
  matrix: "up",
  metric: "softmax",
  norm: "none",
  input: "raw",
  sign: "+",
  top: 10,
};

/**
 * Decodes all neurons, layer by layer: one layer's matrix and one tile of the output matrix are in memory at a time. Errors: `bad_option` naming the
 * setting, or for layers kept of another model or other settings; those of reading weights; `aborted`, with the layers done kept where `work` is given.
 */
export async function mapNeurons(checkpoint: NeuronCheckpoint, options: NeuronMapOptions = {}): Promise<NeuronMap> {
  const { config, vocabulary } = checkpoint;
  const { threads, tile, work, signal, onProgress, wanted = [], layers = range(config.layers), ...given } = options;
  checkLayers(config, layers);
  const settings = readSettings(checkpoint, { ...defaultSettings, ...given });
  const neurons = config.feedForward;
  const [count, { top }] = [layers.length * neurons, settings];
  const decoder = await vectorDecoder(checkpoint, { top, metric: settings.metric, wanted, tile, threads });
  const about = { of: checkpoint.identity, settings, wanted };
  ensure(work !== "", "bad_option", "work is empty: it must name the folder in which layers are kept");
  const kept = work === undefined ? undefined : await keptLayers(work, about, neurons, top, wanted.length);
  const map = {
    tokens: new Int32Array(count * top),
    scores: new Float32Array(count * top),
    normaliser: new Float64Array(count),
    wantedScores: new Float32Array(count * wanted.length),
  };
  let seconds = 0;
  try {
    for (const [l, layer] of layers.entries()) {
      const report = (share: number) => onProgress?.(Math.floor((l + share) * neurons), count);
      let decoded = await kept?.read(layer);
      if (!decoded) {
        decoded = await decodeLayer(checkpoint, decoder, settings, layer, signal, report);
        await kept?.write(layer, decoded);
      }
      map.tokens.set(decoded.tokens, l * neurons * top);
      map.scores.set(decoded.scores, l * neurons * top);
      map.normaliser.set(decoded.normaliser, l * neurons);
      map.wantedScores.set(decoded.wanted, l * neurons * wanted.length);
      seconds += decoded.seconds;
      report(1);
    }
  } finally {
    await decoder.close();
  }
  return { settings, layers, neurons, vocabulary, ...map, wanted, seconds, operations: decoder.operations * count };
}

async function decodeLayer(
  checkpoint: NeuronCheckpoint,
  decoder: VectorDecoder,
  settings: NeuronSettings,
  layer: number,
  signal: AbortSignal | undefined,
  onProgress: (share: number) => void,
): Promise<DecodedLayer> {
  ensure(!signal?.aborted, "aborted", "decoding the neurons was aborted");
  const started = performance.now();
  const vectors = await checkpoint.vectors(layer, settings.matrix);
  const inner = settings.input === "gamma" ? await checkpoint.innerNorm(layer) : undefined;
  const final = settings.norm === "final" ? await checkpoint.finalNorm() : undefined;
  prepare(vectors, checkpoint.config.hiddenSize, settings, inner, final);
  const decoded = await decoder.decode(vectors, { signal, onProgress });
  return { ...decoded, seconds: (performance.now() - started) / 1000 };
}

function readSettings(checkpoint: NeuronCheckpoint, settings: NeuronSettings): NeuronSettings {
  const choices = { matrix: matrices, metric: metrics, norm: norms, input: inputs, sign: signs } as const;
  for (const [name, allowed] of Object.entries(choices)) {
    const value = settings[name as keyof typeof choices];
    const fits = (allowed as readonly string[]).includes(value);
    ensure(fits, "bad_option", `neurons: ${name} must be one of ${allowed.join(", ")}, not ${JSON.stringify(value)}`);
  }
  const { matrix, input } = settings;
  ensure(checkpoint.matrices.includes(matrix), "bad_option", () => {
    return `neurons: ${checkpoint.config.architecture} has no ${matrix} matrix (it has ${checkpoint.matrices.join(", ")})`;
  });
  ensure(
    !(matrix === "down" && input === "gamma"),
    "bad_option",
    "neurons: input gamma is of what a neuron reads; matrix down is what it writes, after that norm: give up or gate, or input raw",
  );
  return settings;
}

/** Turns vectors [count, width] in place into what is decoded: w → ±γ_layer ⊙ w, then the final norm where it is asked for. */
function prepare(
  vectors: Float32Array,
  width: number,
  { sign }: NeuronSettings,
  inner: Norm | undefined,
  final: Norm | undefined,
): void {
  if (!inner && !final && sign === "+") return;
  const factor = sign === "-" ? -1 : 1;
  for (let at = 0; at < vectors.length; at += width) {
    for (let i = 0; i < width; i++) vectors[at + i] *= factor * (inner?.gain[i] ?? 1);
    if (final) normalise(vectors, at, width, final);
  }
}

/** RMSNorm, or where the norm has a bias LayerNorm, of one row in place. */
function normalise(rows: Float32Array, at: number, width: number, { gain, bias, epsilon }: Norm): void {
  let mean = 0;
  if (bias) for (let i = 0; i < width; i++) mean += rows[at + i] / width;
  for (let i = 0; i < width; i++) rows[at + i] -= mean;
  const inverse = 1 / Math.sqrt(squared(rows, at, width) / width + epsilon);
  for (let i = 0; i < width; i++) rows[at + i] = rows[at + i] * inverse * gain[i] + (bias?.[i] ?? 0);
}

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
