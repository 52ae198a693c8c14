/**
 * Seconds of a pass in several builds of the library, in turns in one process: what a change of the pass costs or gains.
 * Usage: node bench/steps.mjs DIST_A DIST_B … [--shape 135m] [--weights int4] [--threads 2] [--contexts 128,1024] [--rows 1,8] [--rounds 40] [--processor]
 * Prints the median and the fastest tenth of each side, with ratios over the first; on a busy machine read the fastest tenth,
 * or with one thread the time of the processor (--processor).
 */
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { shippedModel } from "./ours.mjs";
import { randomCheckpoint, randomPrompt } from "./weights/random.mjs";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    shape: { type: "string", default: "135m" },
    weights: { type: "string", default: "int4" },
    keyValues: { type: "string", default: "auto" },
    threads: { type: "string", default: "2" },
    contexts: { type: "string", default: "128,1024" },
    rows: { type: "string", default: "1,8" },
    rounds: { type: "string", default: "40" },
    processor: { type: "boolean" },
  },
});
/** Milliseconds on the clock, or those that the processor worked. */
const now = () => {
  if (!values.processor) return performance.now();
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const numbers = (/** @type {string} */ list) => list.split(",").map(Number);
const { shape, weights, keyValues, threads } = values;
const folder =
  shape === "knossos" ? shippedModel("knossos") : randomCheckpoint(/** @type {"135m" | "1b" | "small"} */ (shape));
if (!folder || positionals.length < 2) {
  console.error("usage: node bench/steps.mjs DIST_A DIST_B … [options]; models/knossos must be there for its shape");
  process.exit(2);
}

const sides = await Promise.all(
  positionals.map(async (dist) => {
    const { open } = await import(pathToFileURL(join(resolve(dist), "index.js")).href);
    const model = await open(folder, { weights, keyValues, threads: Number(threads) });
    const { forest, config } = model;
    return {
      /** Runs a pass of so many rows below each of two nodes in turn, as decoding finds other caches than it left. @param {number} context */
      async prepare(context) {
        const lease = forest.lease();
        const { node } = await lease.prefill(randomPrompt(context, config.vocabularySize));
        /** @param {number} rows */
        const step = async (rows) => {
          const children = Array.from({ length: rows }, (_, token) => ({ parent: node, token }));
          const started = now();
          const nodes = await lease.extend(children);
          const taken = now() - started;
          lease.release(nodes, { discard: true });
          return taken;
        };
        return { step, close: () => lease.close() };
      },
      close: () => model.close(),
    };
  }),
);

for (const context of numbers(values.contexts)) {
  const prepared = await Promise.all(sides.map((side) => side.prepare(context)));
  for (const rows of numbers(values.rows)) {
    const times = prepared.map(() => /** @type {number[]} */ ([]));
    for (let round = 0; round < Number(values.rounds) + 2; round++) {
      for (const [i, side] of prepared.entries()) {
        await side.step(rows);
        const taken = await side.step(rows);
        if (round >= 2) times[i].push(taken);
      }
    }
    const at = (/** @type {number} */ share) =>
      times.map((list) => [...list].sort((a, b) => a - b)[Math.floor(share * list.length)]);
    const text = (/** @type {number[]} */ found) =>
      found.map((ms) => `${ms.toFixed(2)} (${(ms / found[0]).toFixed(3)})`).join(", ");
    console.log(
      `${shape} ${weights}, context ${context}, ${rows} rows, ms: median ${text(at(0.5))}; fast ${text(at(0.1))}`,
    );
  }
  for (const side of prepared) side.close();
}
for (const side of sides) await side.close();
