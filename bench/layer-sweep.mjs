/**
 * From which layer on transferred states guess best, step by step: hidden transfer trained alike from after each layer of knossos, for a few hundred
 * steps, and its guesses on held-out stories.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { reported } from "./harness/report.mjs";
import { guessAccuracies, openModel, shippedModel, trainRecipe } from "./ours.mjs";
import { promptsOf, textsMissing } from "./texts.mjs";

/** Where `recipes/corpus.mjs` and `ventris train texts` have left what parts are trained on. */
const texts = process.env.VENTRIS_BENCH_CORPUS ?? "";
const files = ["own.jsonl", "stories.jsonl"];
const steps = 300;

/** Why it cannot be measured here, or undefined. @param {string | undefined} folder of the model */
function missing(folder) {
  if (!folder) return "models/knossos is absent";
  const absent = files.find((file) => !existsSync(join(texts, file)));
  if (texts === "" || absent)
    return `no ${absent ?? files[0]}: VENTRIS_BENCH_CORPUS names the folder of the texts of recipes/knossos-hidden-transfer.json`;
  return textsMissing();
}

/** The recipe of the shipped part, shorter, with smaller batches and other layers. @param {readonly number[]} layers @param {string} base @param {number} count of steps */
const recipeOf = (layers, base, count) => ({
  ...{ name: "sweep", description: "a layer of a sweep", licence: "none", tokenizer: base },
  data: [
    { path: files[0], weight: 2 },
    { path: files[1], weight: 1 },
  ],
  ...{ rows: 4, length: 128, steps: count, seed: 1, clip: 1 },
  schedule: { kind: "cosine", peak: 0.002, warmup: 20, final: 0.00002 },
  optimiser: { beta1: 0.9, beta2: 0.98, weightDecay: 0 },
  continues: { model: base, tokens: 0, minutes: 0 },
  part: { kind: "hidden-transfer", settings: { layers, anchors: 24 } },
});

/** @param {readonly number[]} layers */
const trained =
  (layers) =>
  async (/** @type {import("./harness/report.mjs").Settings} */ { quick, progress }) => {
    const base = shippedModel("knossos");
    const skipped = missing(base);
    if (skipped || !base) return { skipped: skipped ?? "" };
    const folder = mkdtempSync(join(tmpdir(), "ventris-sweep-"));
    try {
      const path = join(folder, "recipe.json");
      const count = quick ? 20 : steps;
      await trainRecipe(
        path,
        (config) => writeFileSync(path, JSON.stringify({ ...recipeOf(layers, base, count), config })),
        {
          ...{ base, data: texts, out: join(folder, "part"), run: join(folder, "run"), progress },
        },
      );
      const { model } = await openModel("knossos", { threads: 2 });
      try {
        const prompts = promptsOf("stories", quick ? 4 : 60, 96, (text) => model.tokenizer.encode(text));
        const byStep = await guessAccuracies(model, "hidden-transfer", prompts, 1, join(folder, "part"));
        const note = byStep.map((share, i) => `step ${i + 1} ${share.toFixed(3)}`).join(", ");
        return { value: byStep[0], runs: byStep, note: `${note}; ${count} steps of 4 x 128 tokens` };
      } finally {
        await model.close();
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  };

const oneLayer = [1, 2, 3, 4, 5].map((layer) => ({ layers: [layer, layer, layer], name: `after layer ${layer}` }));

export const sweepRows = [...oneLayer, { layers: [1, 2, 3], name: "after layers 1, 2 and 3" }].map(
  ({ layers, name }) => ({
    what: `guesses of hidden transfer that begins ${name}, trained alike, by step`,
    target: reported(""),
    measure: trained(layers),
  }),
);
