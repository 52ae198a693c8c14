/**
 * knossos grown without changing what it computes (Chen, Goodfellow and Shlens 2016, "Net2Net"): its texts and its agreement with a
 * draft stay real, while a pass costs what one of a model of 135 million or a billion parameters costs.
 *
 * Width: what a matrix adds to the residual stream stays zero beyond knossos's own columns, so that nothing more is ever read there; a norm
 * over the wider stream has a smaller mean of squares, which its weights and epsilon make up for. Heads and neurons that are new
 * are computed, and the matrix that would read them has zeros there; so have the last matrices of new layers. Everything else that is new is random.
 * The vocabulary stays, as a draft must share it: more layers stand for the parameters that the shape has there.
 * `grow.mjs` checks that the logits are those of knossos.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { toHalf } from "./blocks.mjs";
import { cache, randomWords } from "./random.mjs";
import { openSafetensors, writeSafetensors } from "./safetensors.mjs";
import { llamaTensors, shapes } from "./shapes.mjs";

/** @typedef {import("./shapes.mjs").LlamaConfig} LlamaConfig */
/** @typedef {"135m" | "1b"} GrownShape */

/** @param {LlamaConfig} config */
const parameterCount = (config) =>
  llamaTensors(config).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);

/**
 * The config of a model grown to a shape: its widths, the small model's vocabulary and size of heads, and as many layers as give the shape's
 * number of parameters.
 * @param {LlamaConfig & { head_dim: number }} small @param {GrownShape} shape
 */
export function grownConfig(small, shape) {
  const wanted = shapes[shape];
  const width = wanted.hidden_size;
  const head = small.head_dim;
  const ofShape = width / wanted.num_attention_heads;
  const grown = {
    ...wanted,
    ...small,
    hidden_size: width,
    intermediate_size: wanted.intermediate_size,
    num_attention_heads: (wanted.num_attention_heads * ofShape) / head,
    num_key_value_heads: (wanted.num_key_value_heads * ofShape) / head,
    rms_norm_eps: (small.rms_norm_eps * small.hidden_size) / width,
  };
  const [one, two] = [1, 2].map((layers) => parameterCount({ ...grown, num_hidden_layers: layers }));
  const layers = Math.round((parameterCount(wanted) - (2 * one - two)) / (two - one));
  return { ...grown, num_hidden_layers: layers };
}

/**
 * Where a row or column of the large model comes from in the small one; -1: it is new.
 * @typedef {(index: number) => number} Origin
 */

/** @param {number} count @returns {Origin} */
const first = (count) => (index) => (index < count ? index : -1);

/**
 * Where the query heads' numbers come from: those that share a key head stay together.
 * @param {LlamaConfig & { head_dim: number }} small @param {LlamaConfig} large @returns {Origin}
 */
function ofQueryHeads(small, large) {
  const [had, has] = [small, large].map((c) => c.num_attention_heads / c.num_key_value_heads);
  return (index) => {
    const head = Math.floor(index / small.head_dim);
    const [shared, place] = [Math.floor(head / has), head % has];
    if (shared >= small.num_key_value_heads || place >= had) return -1;
    return (shared * had + place) * small.head_dim + (index % small.head_dim);
  };
}

/**
 * The tensor of the small model that a tensor of the large one holds, or undefined: a layer of its own.
 * @param {string} name @param {LlamaConfig} small @param {LlamaConfig} large
 */
function originOf(name, small, large) {
  const [, layer, rest] = /^model\.layers\.(\d+)\.(.*)$/.exec(name) ?? [];
  if (layer === undefined) return name;
  // Old layers are spread among the new ones.
  const sources = Array.from({ length: small.num_hidden_layers }, (_, source) =>
    Math.floor(((source + 0.5) * large.num_hidden_layers) / small.num_hidden_layers),
  );
  const source = sources.indexOf(Number(layer));
  return source < 0 ? undefined : `model.layers.${source}.${rest}`;
}

/**
 * The folder of knossos, or of another small Llama with tied embeddings in halves, grown to a shape; written on first use.
 * @param {string} folder of the small model @param {GrownShape} shape
 */
export function grownCheckpoint(folder, shape) {
  const changed = Math.round(statSync(join(folder, "model.safetensors")).mtimeMs);
  const target = join(cache, `grown-${shape}-${changed}`);
  if (existsSync(target)) return target;
  /** @type {LlamaConfig & { head_dim: number }} */
  const small = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
  const large = grownConfig(small, shape);
  const unfinished = `${target}.part`;
  mkdirSync(unfinished, { recursive: true });
  writeFileSync(join(unfinished, "config.json"), JSON.stringify(large, null, 2));
  for (const name of ["tokenizer.json", "tokenizer_config.json", "trigrams.bin"]) {
    if (existsSync(join(folder, name))) copyFileSync(join(folder, name), join(unfinished, name));
  }
  const source = openSafetensors(join(folder, "model.safetensors"));
  const random = randomHalves(1);
  writeSafetensors(
    join(unfinished, "model.safetensors"),
    llamaTensors(large),
    ({ shape: { length } }) => (length === 1 ? "F32" : "F16"), // the factor of the norms is no half
    function* ({ name, shape: [rows, columns = 1] }) {
      const origin = originOf(name, small, large);
      const values = origin === undefined ? undefined : source.readRows(origin, 0, source.tensors[origin].shape[0]);
      if (name.includes("norm")) yield norm(values, rows, small.hidden_size);
      else yield* matrixPieces({ name, rows, columns, values, small, large, random });
    },
  );
  source.close();
  renameSync(unfinished, target);
  return target;
}

/** @param {Float32Array | undefined} values @param {number} width @param {number} had */
function norm(values, width, had) {
  const grown = new Float32Array(width).fill(1);
  if (values) grown.set(values.map((value) => value * Math.sqrt(had / width)));
  return new Uint8Array(grown.buffer);
}

/**
 * A matrix as halves, some rows at a time.
 * @param {object} given
 * @param {string} given.name @param {number} given.rows @param {number} given.columns
 * @param {Float32Array | undefined} given.values of the small model's matrix
 * @param {LlamaConfig & { head_dim: number }} given.small @param {LlamaConfig} given.large
 * @param {(row: Uint16Array) => void} given.random fills a row
 */
function* matrixPieces({ name, rows, columns, values, small, large, random }) {
  const stream = first(small.hidden_size);
  const keys = first(small.num_key_value_heads * small.head_dim);
  const queries = ofQueryHeads(small, large);
  const neurons = first(small.intermediate_size);
  const kinds = Object.entries({
    q_proj: [queries, stream],
    k_proj: [keys, stream],
    v_proj: [keys, stream],
    o_proj: [stream, queries],
    gate_proj: [neurons, stream],
    up_proj: [neurons, stream],
    down_proj: [stream, neurons],
    embed_tokens: [first(small.vocab_size), stream],
  });
  const [ofRow, ofColumn] = /** @type {[string, Origin[]]} */ (kinds.find(([kind]) => name.includes(kind)))[1];
  const addsToStream = ["o_proj", "down_proj", "embed_tokens"].some((kind) => name.includes(kind));
  const from = Int32Array.from({ length: columns }, (_, column) => ofColumn(column));
  const had = from.reduce((count, column) => count + (column >= 0 ? 1 : 0), 0);
  const step = Math.max(1, Math.floor((1 << 21) / columns));
  for (let start = 0; start < rows; start += step) {
    const piece = new Uint16Array(Math.min(step, rows - start) * columns);
    for (let r = 0; r < piece.length / columns; r++) {
      const row = piece.subarray(r * columns, (r + 1) * columns);
      if (!addsToStream) random(row);
      const origin = ofRow(start + r);
      if (!values || origin < 0) continue;
      for (let column = 0; column < columns; column++)
        if (from[column] >= 0) row[column] = toHalf(values[origin * had + from[column]]);
    }
    yield new Uint8Array(piece.buffer);
  }
}

/** Rows out of one pool of nearly normal values, each from another place in it. @param {number} seed @returns {(row: Uint16Array) => void} */
function randomHalves(seed) {
  const next = randomWords(seed);
  const pool = Uint16Array.from({ length: 1 << 17 }, () => {
    const word = next();
    const sum = (word & 255) + ((word >>> 8) & 255) + ((word >>> 16) & 255) + (word >>> 24);
    return toHalf(((sum - 510) / Math.sqrt((4 * (256 ** 2 - 1)) / 12)) * 0.02);
  });
  return (row) => {
    const start = (next() >>> 0) % (pool.length - row.length);
    row.set(pool.subarray(start, start + row.length));
  };
}
