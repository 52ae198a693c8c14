/**
 * What the library's blocks cost in precision beside ggml's: relative squared error of normal weights and of knossos's matrices,
 * seconds to quantise, and knossos's loss on held-out stories, as Markdown tables.
 * Usage, after a build: node bench/quantization.mjs
 */
import { seconds } from "./harness/measure.mjs";
import {
  dequantizeMatrix,
  fromGgufBlocks,
  logSoftmaxAt,
  matricesOf,
  openModel,
  quantizeMatrix,
  shippedModel,
} from "./ours.mjs";
import { promptsOf, textsMissing } from "./texts.mjs";
import { formats } from "./weights/blocks.mjs";
import { ggufInCache } from "./weights/gguf.mjs";

/** @typedef {{ values: Float32Array, rows: number, columns: number }} Matrix */

const folder = shippedModel("knossos");
const missing = folder ? textsMissing() : "models/knossos is absent";
if (missing || !folder) {
  console.error(missing);
  process.exit(1);
}

/** Tokens of each story. */
const length = 256;

/** Repeatable normal values (Box and Muller's transform). @param {number} rows @param {number} columns @returns {Matrix} */
function normals(rows, columns) {
  let state = 1;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  const next = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  return { values: Float32Array.from({ length: rows * columns }, next), rows, columns };
}

/** @param {"Q4_0" | "Q8_0"} type @returns {(matrix: Matrix) => ReturnType<typeof quantizeMatrix>} */
const stored =
  (type) =>
  ({ values, rows, columns }) =>
    fromGgufBlocks(formats[type].encode(values), type, rows, columns);

/** @param {4 | 8} bits @returns {(matrix: Matrix) => ReturnType<typeof quantizeMatrix>} */
const own =
  (bits) =>
  ({ values, rows, columns }) =>
    quantizeMatrix(values, rows, columns, bits);

/** Sum of squared errors over sum of squares. @param {readonly Matrix[]} matrices @param {ReturnType<typeof own>} quantise */
function relativeError(matrices, quantise) {
  let [errors, squares] = [0, 0];
  for (const matrix of matrices) {
    const back = dequantizeMatrix(quantise(matrix));
    for (const [i, value] of matrix.values.entries()) {
      errors += (back[i] - value) ** 2;
      squares += value ** 2;
    }
  }
  return errors / squares;
}

/** Nats a token over the beginnings of held-out stories. @param {string} path @param {"auto" | "f32" | "int8" | "int4"} weights */
async function heldOutLoss(path, weights) {
  const { model } = await openModel(path, { threads: 2, weights, maxRows: length });
  const texts = promptsOf("stories", 40, length, (text) => model.tokenizer?.encode(text) ?? []);
  let [loss, count] = [0, 0];
  for (const tokens of texts) {
    const lease = model.forest.lease();
    const nodes = await lease.extend(tokens.map((token, i) => ({ parent: i ? i - 1 : undefined, token })));
    for (const [i, { logits }] of nodes.slice(0, -1).entries()) {
      if (!logits) throw new Error("a node without logits");
      loss -= logSoftmaxAt(logits, tokens[i + 1]);
      count++;
    }
    lease.close();
  }
  await model.close();
  return { loss: loss / count, count };
}

const normal = [normals(512, 2048)];
const real = await matricesOf(folder);
console.log("| relative squared error | normal weights | knossos |\n| --- | --: | --: |");
for (const [name, quantise] of /** @type {const} */ ([
  ["Q4_0", stored("Q4_0")],
  ["int4", own(4)],
  ["Q8_0", stored("Q8_0")],
  ["int8", own(8)],
])) {
  const errors = [normal, real].map((matrices) => relativeError(matrices, quantise).toExponential(3));
  console.log(`| ${name} | ${errors.join(" | ")} |`);
}

const large = normals(2048, 8192);
for (const bits of /** @type {const} */ ([4, 8])) {
  own(bits)(normal[0]); // compiled by now
  console.log(`\nint${bits}: ${(await seconds(async () => void own(bits)(large))).toFixed(2)} s for [2048, 8192]`);
}

console.log("\n| knossos | held-out loss, nats a token |\n| --- | --: |");
for (const [name, path, weights] of /** @type {const} */ ([
  ["float32", folder, "f32"],
  ["Q8_0", ggufInCache(folder, "Q8_0"), "auto"],
  ["int8", folder, "int8"],
  ["Q4_0", ggufInCache(folder, "Q4_0"), "auto"],
  ["int4", folder, "int4"],
])) {
  const { loss, count } = await heldOutLoss(path, weights);
  console.log(`| ${name} | ${loss.toFixed(4)} (${count} tokens) |`);
}
