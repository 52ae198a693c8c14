/**
 * The model (Liu, Shen and Liu 2025): a conditioned encoder of EEG, learned queries that read it, and an aligner that gives what a frozen
 * encoder–decoder takes for its encoder's states. Graphs have fixed sizes.
 */
import { uniform } from "../../../engine/random.ts";
import type { MakeParameter } from "../../../models/family.ts";
import { masked } from "../../../models/t5.ts";
import {
  add,
  constant,
  crossEntropy,
  divide,
  expand,
  gather,
  geluTanh,
  layerNorm,
  linear,
  matmul,
  multiply,
  range,
  reduceMean,
  reduceSum,
  reshape,
  silu,
  softmax,
  split,
  sqrt,
  square,
  subtract,
  type Tensor,
  transpose,
} from "../../../tensor/index.ts";
import type { Parameter } from "../../../training/index.ts";

export interface GlimConfig {
  /** Time points and channels of a recording. */
  readonly points: number;
  readonly channels: number;
  /** Learned queries, width they read with, heads everywhere. */
  readonly slots: number;
  readonly width: number;
  readonly heads: number;
  readonly encoderBlocks: number;
  readonly decoderBlocks: number;
  /** Width of the text model. */
  readonly textWidth: number;
  readonly promptWidth: number;
  /** Sizes of the vocabularies of task, data set and subject, unknown (0) included. */
  readonly prompts: readonly [number, number, number];
}

export const publishedConfig: GlimConfig = {
  points: 1280,
  channels: 128,
  slots: 96,
  width: 256,
  heads: 8,
  encoderBlocks: 6,
  decoderBlocks: 6,
  textWidth: 1024,
  promptWidth: 128,
  prompts: [3, 3, 31],
};

const epsilon = 1e-6;

/** One piece of the model: how it looks up its parameters. */
interface Scope {
  readonly config: GlimConfig;
  readonly make: MakeParameter;
}

const affine = ({ make }: Scope, name: string, x: Tensor, size: number): Tensor =>
  linear(x, make(`${name}.weight`, [size, x.shape[x.shape.length - 1] as number]), make(`${name}.bias`, [size]));

const plainNorm = (x: Tensor): Tensor => {
  const size = x.shape[x.shape.length - 1] as number;
  return layerNorm(
    x,
    constant(new Float32Array(size).fill(1), [size]),
    constant(new Float32Array(size), [size]),
    epsilon,
  );
};

const learnedNorm = ({ make }: Scope, name: string, x: Tensor): Tensor => {
  const size = x.shape[x.shape.length - 1] as number;
  return layerNorm(x, make(`${name}.gain`, [size]), make(`${name}.bias`, [size]), epsilon);
};

/** x [n, a, width] looks at other [n, b, width']; mask additive, broadcast to [n, heads, a, b]. */
function attention(scope: Scope, name: string, x: Tensor, other: Tensor, mask?: Tensor): Tensor {
  const { heads } = scope.config;
  const width = x.shape[2] as number;
  const separate = (from: Tensor, part: string) => {
    const [n, length] = from.shape as number[];
    return transpose(
      reshape(affine(scope, `${name}.${part}`, from, width), [n, length, heads, width / heads]),
      [0, 2, 1, 3],
    );
  };
  const scores = matmul(separate(x, "query"), separate(other, "key"), {
    transposeB: true,
    scale: 1 / Math.sqrt(width / heads),
  });
  const mixed = matmul(softmax(mask ? add(scores, mask) : scores), separate(other, "value"));
  return affine(scope, `${name}.out`, reshape(transpose(mixed, [0, 2, 1, 3]), x.shape), width);
}

const feedForward = (scope: Scope, name: string, x: Tensor): Tensor => {
  const width = x.shape[x.shape.length - 1] as number;
  return affine(scope, `${name}.down`, geluTanh(affine(scope, `${name}.up`, x, 4 * width)), width);
};

/** p = Σ σₖ Embₖ(idₖ): ids int64 [n, 3], result [n, promptWidth]. */
function promptVector({ config, make }: Scope, ids: Tensor): Tensor {
  const columns = split(ids, [1, 1, 1], 1);
  const n = ids.shape[0] as number;
  const terms = config.prompts.map((size, k) => {
    const rows = gather(make(`prompt.${k}.embedding`, [size, config.promptWidth]), reshape(columns[k], [n]));
    return multiply(rows, make(`prompt.${k}.scale`, [1]));
  });
  return terms.reduce((a, b) => add(a, b));
}

/**
 * One conditioned block: each time point scaled and shifted, then attention and feed-forward with norms that the prompt scales, shifts
 * and gates. All conditioning starts at zero, so that the block starts as the identity.
 */
export function conditionedBlock(scope: Scope, name: string, given: Tensor, prompt: Tensor, mask: Tensor): Tensor {
  const [n, t, c] = given.shape as number[];
  const conditioned = silu(prompt);
  const [scaleTime, shiftTime] = split(affine(scope, `${name}.time`, conditioned, 2 * t), [t, t], 1).map((part) =>
    reshape(part, [n, t, 1]),
  );
  let x = add(multiply(given, add(scaleTime, 1)), shiftTime);
  const six = split(affine(scope, `${name}.modulation`, conditioned, 6 * c), [c, c, c, c, c, c], 1).map((part) =>
    reshape(part, [n, 1, c]),
  );
  const [shift1, scale1, gate1, shift2, scale2, gate2] = six;
  const first = add(multiply(plainNorm(x), add(scale1, 1)), shift1);
  x = add(x, multiply(gate1, attention(scope, `${name}.attention`, first, first, mask)));
  const second = add(multiply(plainNorm(x), add(scale2, 1)), shift2);
  return add(x, multiply(gate2, feedForward(scope, `${name}.mlp`, second)));
}

/** Fixed sine and cosine codes of time points [1, t, c], first half sines. */
function positionCode(points: number, channels: number): Tensor {
  const half = Math.ceil(channels / 2);
  const code = new Float32Array(points * channels);
  for (let t = 0; t < points; t++) {
    for (let k = 0; k < channels; k++) {
      const angle = t / 10_000 ** ((k % half) / half);
      code[t * channels + k] = k < half ? Math.sin(angle) : Math.cos(angle);
    }
  }
  return constant(code, [1, points, channels]);
}

export interface EegInputs {
  /** [n, points, channels]. */
  readonly eeg: Tensor;
  /** Additive [n, 1, 1, points]: 0 at real points. */
  readonly mask: Tensor;
  /** int64 [n, 3]. */
  readonly prompts: Tensor;
}

/** H [n, slots, textWidth], what the text decoder sees. */
export function encodeEeg(scope: Scope, { eeg, mask, prompts }: EegInputs): Tensor {
  const { config, make } = scope;
  const { points, channels, slots, width } = config;
  const n = eeg.shape[0] as number;
  const prompt = promptVector(scope, prompts);
  let x = add(eeg, positionCode(points, channels));
  for (let i = 0; i < config.encoderBlocks; i++) x = conditionedBlock(scope, `encoder.${i}`, x, prompt, mask);
  x = learnedNorm(scope, "encoder.norm", affine(scope, "encoder.out", x, width));
  const future = new Float32Array(slots * slots);
  for (let q = 0; q < slots; q++) for (let k = q + 1; k < slots; k++) future[q * slots + k] = masked;
  const causal = constant(future, [1, 1, slots, slots]);
  let y = expand(reshape(make("queries", [slots, width]), [1, slots, width]), [n, slots, width]);
  for (let i = 0; i < config.decoderBlocks; i++) {
    const name = `decoder.${i}`;
    const first = learnedNorm(scope, `${name}.norm1`, y);
    y = add(y, attention(scope, `${name}.self`, first, first, causal));
    y = add(y, attention(scope, `${name}.cross`, learnedNorm(scope, `${name}.norm2`, y), x, mask));
    y = add(y, feedForward(scope, `${name}.mlp`, learnedNorm(scope, `${name}.norm3`, y)));
  }
  return affine(scope, "aligner.out", learnedNorm(scope, "decoder.norm", y), config.textWidth);
}

/** One vector [n, textWidth] of states [n, length, textWidth], by a learned query; `branch` is eeg or text. */
export function pooled(scope: Scope, branch: "eeg" | "text", states: Tensor, mask?: Tensor): Tensor {
  const [n, , e] = states.shape as number[];
  const query = expand(reshape(scope.make(`aligner.${branch}.query`, [1, e]), [1, 1, e]), [n, 1, e]);
  return reshape(attention(scope, `aligner.${branch}`, query, states, mask), [n, e]);
}

const unit = (x: Tensor): Tensor => divide(x, sqrt(add(reduceSum(square(x), 1, true), 1e-12)));

/** Mean of row-wise and column-wise cross entropy of the cosines [n, n], the diagonal being right; no temperature. */
export function contrastiveLoss(eeg: Tensor, text: Tensor): Tensor {
  const n = eeg.shape[0] as number;
  const similarity = matmul(unit(eeg), unit(text), { transposeB: true });
  const rows = reduceMean(crossEntropy(similarity, range(n)));
  return multiply(add(rows, reduceMean(crossEntropy(transpose(similarity, [1, 0]), range(n)))), 0.5);
}

/** Mean cross entropy of logits [rows, vocabulary] over the rows whose weight is 1. */
export function tokenLoss(logits: Tensor, targets: Tensor, weights: Tensor): Tensor {
  return divide(reduceSum(multiply(crossEntropy(logits, targets), weights)), reduceSum(weights));
}

/** Mean squared difference of H and the text encoder's states, for equal numbers of slots and tokens. */
export const commitmentLoss = (h: Tensor, states: Tensor): Tensor => reduceMean(square(subtract(h, states)));

/**
 * The parameters of a graph with their initial values, by their names: conditioning and biases zero, gains one, queries N(0, 1), prompt
 * embeddings N(0, 0.02), prompt scales their vocabulary's share, matrices uniform as Glorot and Bengio (2010) have them.
 */
export function initialParameters(tensors: ReadonlyMap<string, Tensor>, config: GlimConfig, seed: number): Parameter[] {
  const total = config.prompts.reduce((a, b) => a + b, 0);
  return [...tensors].map(([name, { shape: dimensions }], stream) => {
    const shape = dimensions as number[];
    const size = shape.reduce((a, b) => a * b, 1);
    let draws = 0;
    const draw = (index = 0) => uniform({ seed, request: stream }, draws++, "initialise", index);
    const normal = (deviation: number) => () =>
      deviation * Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw(1));
    const fill = (value: () => number): Float32Array<ArrayBuffer> => Float32Array.from({ length: size }, value);
    let values: Float32Array<ArrayBuffer>;
    const [, prompt] = /^prompt\.(\d)\.scale$/.exec(name) ?? [];
    if (prompt !== undefined) values = fill(() => config.prompts[Number(prompt)] / total);
    else if (name.endsWith(".embedding")) values = fill(normal(0.02));
    else if (name.endsWith("queries") || name.endsWith(".query")) values = fill(normal(1));
    else if (name.endsWith(".gain")) values = fill(() => 1);
    else if (shape.length === 1 || /\.(time|modulation)\.weight$/.test(name)) values = fill(() => 0);
    else {
      const bound = Math.sqrt(6 / (shape[0] + shape[1]));
      values = fill(() => bound * (2 * draw() - 1));
    }
    return { name, shape, values, decay: shape.length > 1 };
  });
}
