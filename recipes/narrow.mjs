/**
 * Where a draft's training begins: a model of the recipe's shape whose embedding is a wider model's, projected onto the directions in which
 * that model's output matrix varies most (its final gain included). All else is initialised as training does. A draft that begins so need
 * not learn anew which tokens are alike.
 *
 *     npm run build && node recipes/narrow.mjs RECIPE WIDE OUT
 */

import { existsSync } from "node:fs";
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { familyOf } from "../dist/models/families.js";
import { readParameters } from "../dist/models/parameters.js";
import { initialValues, readRecipe } from "../dist/training/recipe.js";
import { openWeights, readConfig, writeSafetensors } from "../dist/weights/index.js";

const [path, wide, out] = process.argv.slice(2);
if (!out) {
  console.error("usage: narrow.mjs RECIPE WIDE OUT");
  process.exit(2);
}
const recipe = await readRecipe(path);
const { family, config } = familyOf(recipe.config);
const teacher = familyOf(await readConfig(wide));
const source = await openWeights(wide);
const weights = await readParameters(source, teacher.family, teacher.config);
await source.close();
const [rows, from, to] = [config.vocabularySize, teacher.config.hiddenSize, config.hiddenSize];
const table = weights.get("model.embed_tokens.weight");
const gain = weights.get("model.norm.weight");

// Logits are only compared within a position, so that what all tokens share says nothing.
const scaled = new Float64Array(rows * from);
for (let c = 0; c < from; c++) {
  let mean = 0;
  for (let r = 0; r < rows; r++) mean += (table[r * from + c] * gain[c]) / rows;
  for (let r = 0; r < rows; r++) scaled[r * from + c] = table[r * from + c] * gain[c] - mean;
}
const basis = principal(scaled, rows, from, to);
const values = initialValues(family, config, recipe.seed);
const embedding = values.get("model.embed_tokens.weight");
const before = deviation(embedding);
for (let r = 0; r < rows; r++)
  for (let k = 0; k < to; k++) {
    let sum = 0;
    for (let c = 0; c < from; c++) sum += scaled[r * from + c] * basis[k][c];
    embedding[r * to + k] = sum;
  }
const kept = (embedding.reduce((a, x) => a + x * x, 0) / scaled.reduce((a, x) => a + x * x, 0)) * 100;
// The scale that training expects: the residual stream is normalised anyway, and logits grow as they are learned.
const factor = before / deviation(embedding);
for (let i = 0; i < embedding.length; i++) embedding[i] *= factor;

await mkdir(out, { recursive: true });
const tensors = family
  .parameters(config)
  .map(({ name, shape, sources }) => ({ name: sources[0], type: "F32", shape, data: values.get(name) }));
await writeSafetensors(join(out, "model.safetensors"), tensors, { format: "pt" });
await writeFile(join(out, "config.json"), `${JSON.stringify(recipe.config, null, 2)}\n`);
for (const file of ["tokenizer.json", "tokenizer_config.json"])
  if (existsSync(join(wide, file))) await copyFile(join(wide, file), join(out, file));
console.log(`${to} of ${from} directions keep ${kept.toFixed(0)} % of the output matrix's variance; written to ${out}`);

function deviation(numbers) {
  return Math.sqrt(numbers.reduce((a, x) => a + x * x, 0) / numbers.length);
}

/** The first `count` principal directions of a centred matrix [rows, width], by orthogonal iteration on its covariance. */
function principal(matrix, rows, width, count) {
  const covariance = Array.from({ length: width }, () => new Float64Array(width));
  for (let r = 0; r < rows; r++)
    for (let i = 0; i < width; i++) {
      const x = matrix[r * width + i];
      for (let j = 0; j < width; j++) covariance[i][j] += x * matrix[r * width + j];
    }
  let vectors = Array.from({ length: count }, (_, k) =>
    Float64Array.from({ length: width }, (_, i) => Math.cos((i + 1) * (k + 1) * 0.7)),
  );
  for (let iteration = 0; iteration < 60; iteration++) {
    vectors = vectors.map((v) => covariance.map((row) => row.reduce((a, x, j) => a + x * v[j], 0)));
    for (const [k, v] of vectors.entries()) {
      for (let pass = 0; pass < 2; pass++)
        for (const u of vectors.slice(0, k)) {
          const along = v.reduce((a, x, i) => a + x * u[i], 0);
          for (let i = 0; i < width; i++) v[i] -= along * u[i];
        }
      const norm = Math.hypot(...v);
      for (let i = 0; i < width; i++) v[i] /= norm;
    }
  }
  return vectors;
}
