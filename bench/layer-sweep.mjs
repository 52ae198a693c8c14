/**
 * From which layer on transferred states guess best, step by step: hidden transfer trained alike from after each layer of knossos, for a few hundred
 * steps, and its guesses on held-out stories. Beside it early exits: the same matrices read at once, which shows what the upper layers bring.
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

/** @typedef {"hidden-transfer" | "early-exit"} Kind */

/** The recipe of the shipped part, shorter, with smaller batches and other layers. @param {Kind} kind @param {readonly number[]} layers @param {string} base @param {number} count of steps */
const recipeOf = (kind, layers, base, count) => ({
  ...{ name: "sweep", description: "a layer of a sweep", licence: "none", tokenizer: base },
  data: [
    { path: files[0], weight: 2 },
    { path: files[1], weight: 1 },
  ],
  ...{ rows: 4, length: 128, steps: count, seed: 1, clip: 1 },
  schedule: { kind: "cosine", peak: 0.002, warmup: 20, final: 0.00002 },
  optimiser: { beta1: 0.9, beta2: 0.98, weightDecay: 0 },
  continues: { model: base, tokens: 0, minutes: 0 },
  // Early exits are trained at evenly spaced places, and so are transfers beside them.
  part: { kind, settings: { layers, anchors: 24, ...(kind === "hidden-transfer" && { places: "even" }) } },
});

/** @param {Kind} kind @param {readonly number[]} layers */
const trained =
  (kind, layers) =>
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
        (config) => writeFileSync(path, JSON.stringify({ ...recipeOf(kind, layers, base, count), config })),
        {
          ...{ base, data: texts, out: join(folder, "part"), run: join(folder, "run"), progress },
        },
      );
      const { model } = await openModel("knossos", { threads: 2 });
      try {
        const prompts = promptsOf("stories", quick ? 4 : 60, 96, (text) => model.tokenizer.encode(text));
        const byStep = await guessAccuracies(model, kind, prompts, 1, join(folder, "part"));
        const note = byStep.map((share, i) => `step ${i + 1} ${share.toFixed(3)}`).join(", ");
        return { value: byStep[0], runs: byStep, note: `${note}; ${count} steps of 4 x 128 tokens` };
      } finally {
        await model.close();
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  };

/** @param {number} layer of every step's */
const ofAll = (layer) => [layer, layer, layer];
const each = [1, 2, 3, 4, 5];
/** @type {readonly { kind: Kind, layers: readonly number[], name: string }[]} */
const sweep = [
  ...each.map(
    (layer) =>
      /** @type {const} */ ({
        kind: "hidden-transfer",
        layers: ofAll(layer),
        name: `hidden transfer that begins after layer ${layer}`,
      }),
  ),
  { kind: "hidden-transfer", layers: [1, 2, 3], name: "hidden transfer that begins after layers 1, 2 and 3" },
  ...each.map(
    (layer) =>
      /** @type {const} */ ({
        kind: "early-exit",
        layers: ofAll(layer),
        name: `early exits after layer ${layer}`,
      }),
  ),
];

export const sweepRows = sweep.map(({ kind, layers, name }) => ({
  what: `guesses of ${name}, trained alike, by step`,
  target: reported(""),
  measure: trained(kind, layers),
}));
