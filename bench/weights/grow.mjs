// node bench/weights/grow.mjs 135m|1b [--weights f32] [--tokens 200] — grows knossos and compares its logits with the grown model's; after a build.
import { parseArgs } from "node:util";
import { openRaw, shippedModel } from "../ours.mjs";
import { grownCheckpoint } from "./grown.mjs";
import { randomPrompt } from "./random.mjs";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { weights: { type: "string", default: "f32" }, tokens: { type: "string", default: "200" } },
});
const [shape] = positionals;
const folder = shippedModel("knossos");
if (!folder || (shape !== "135m" && shape !== "1b")) {
  console.error(
    "usage: node bench/weights/grow.mjs 135m|1b [--weights f32|int8|int4] [--tokens N]; models/knossos must be there",
  );
  process.exit(2);
}
const grown = grownCheckpoint(folder, shape);

/** Logits after each token of a text. @param {string} path */
async function logitsOf(path) {
  const model = await openRaw(path, { threads: 2, weights: /** @type {"f32"} */ (values.weights) });
  const { forest, config } = model;
  const tokens = randomPrompt(Number(values.tokens), config.vocabularySize);
  const lease = forest.lease();
  /** @type {Float32Array[]} */
  const logits = [];
  /** @type {any} */
  let tip;
  for (let start = 0; start < tokens.length; start += forest.maxRows) {
    const part = tokens.slice(start, start + forest.maxRows);
    const nodes = await lease.extend(part.map((token, i) => ({ parent: i > 0 ? i - 1 : tip, token })));
    for (const node of nodes) logits.push(/** @type {Float32Array} */ (node.logits).slice());
    tip = nodes[nodes.length - 1];
  }
  lease.close();
  await model.close();
  return logits;
}

const [small, large] = [await logitsOf(folder), await logitsOf(grown)];
let [most, largest, same] = [0, 0, 0];
small.forEach((row, i) => {
  row.forEach((value, token) => {
    most = Math.max(most, Math.abs(value - large[i][token]));
    largest = Math.max(largest, Math.abs(value));
  });
  if (row.indexOf(Math.max(...row)) === large[i].indexOf(Math.max(...large[i]))) same += 1;
});
console.log(
  `${grown}\nlogits up to ${largest.toFixed(2)} differ by at most ${most.toExponential(2)}; ${same} of ${small.length} largest ones are of the same token`,
);
if (values.weights === "f32" && most > 1e-3) process.exit(1);
