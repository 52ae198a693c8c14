/**
 * Where the time of a pass goes: operators of one pass by kind, how many there are and how long they take, from the runtime's own profile.
 * Usage, after a build: node bench/profile.mjs [--dist dist] [--shape 135m] [--weights int4] [--threads 2] [--contexts 128] [--rows 1] [--passes 40]
 * A profile slows small operators down: shares say more than sums. The last line has the time of the same passes by the clock.
 */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { median } from "./harness/measure.mjs";
import { byKind, printKinds, takeProfile } from "./harness/operators.mjs";
import { randomCheckpoint, randomPrompt } from "./weights/random.mjs";

const { values } = parseArgs({
  options: {
    dist: { type: "string", default: "dist" },
    shape: { type: "string", default: "135m" },
    weights: { type: "string", default: "int4" },
    keyValues: { type: "string", default: "auto" },
    threads: { type: "string", default: "2" },
    contexts: { type: "string", default: "128" },
    rows: { type: "string", default: "1" },
    passes: { type: "string", default: "40" },
  },
});
const { shape, weights, keyValues, threads } = values;
const passes = Number(values.passes);
const { open } = await import(pathToFileURL(join(resolve(values.dist), "index.js")).href);
const folder =
  shape === "knossos" ? "models/knossos" : randomCheckpoint(/** @type {"135m" | "1b" | "small"} */ (shape));

/** Milliseconds of each pass of so many rows by the clock. @param {any} forest @param {number} vocabulary @param {number} context @param {number} rows */
async function step(forest, vocabulary, context, rows) {
  const lease = forest.lease();
  const { node } = await lease.prefill(randomPrompt(context, vocabulary));
  const times = [];
  for (let pass = 0; pass < passes; pass++) {
    const children = Array.from({ length: rows }, (_, token) => ({ parent: node, token }));
    const started = performance.now();
    const nodes = await lease.extend(children);
    times.push(performance.now() - started);
    lease.release(nodes, { discard: true });
  }
  lease.close();
  return times;
}

for (const context of values.contexts.split(",").map(Number)) {
  for (const rows of values.rows.split(",").map(Number)) {
    const place = mkdtempSync(join(tmpdir(), "profile-"));
    const model = await open(folder, { weights, keyValues, threads: Number(threads), profile: join(place, "pass") });
    await step(model.forest, model.config.vocabularySize, context, rows);
    await model.close();
    const kinds = byKind(takeProfile(place), passes);
    const plain = await open(folder, { weights, keyValues, threads: Number(threads) });
    const clock = median(await step(plain.forest, plain.config.vocabularySize, context, rows));
    await plain.close();

    const products = kinds.find(({ kind }) => kind === "MatMulNBits")?.time ?? 0;
    console.log(`\n${shape} ${weights}, context ${context}, ${rows} rows, ${threads} threads`);
    const { total, operators } = printKinds(kinds);
    const other = ((100 * (total - products)) / total).toFixed(0);
    console.log(
      `${operators} operators, ${(total / 1000).toFixed(2)} ms, ${other} % of it not quantised products; a pass by the clock, without a profile, ${clock.toFixed(2)} ms`,
    );
  }
}
