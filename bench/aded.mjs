/**
 * What each part of aded is worth: its variants and prompt-lookup in turns over the same prompts, greedy, as a Markdown table.
 * Counts repeat; times are medians over prompts of each variant's speed over prompt-lookup's on the same prompt.
 * Usage, after a build: node bench/aded.mjs
 */
import { median } from "./harness/measure.mjs";
import { openModel, shippedModel } from "./ours.mjs";
import { kinds, promptsOf, textsMissing } from "./texts.mjs";

const published = { paths: 24, pathLength: 4, step: 0.04, forget: 0, window: 16 };
/** @type {Record<string, { name: string } & Record<string, unknown>>} */
const variants = {
  "prompt-lookup": { name: "prompt-lookup" },
  aded: { name: "aded" },
  "table alone": { name: "aded", contexts: [] },
  "no search (best-first)": { name: "aded", search: "best-first" },
  "no update": { name: "aded", step: 0 },
  "published update": { name: "aded", step: 0.04, forget: 0, window: 16 },
  "prompt credited too": { name: "aded", primePrompt: true },
  "empty table": { name: "aded", table: "empty" },
  "path length 4": { name: "aded", pathLength: 4 },
  "path length 8": { name: "aded", pathLength: 8 },
  "path length 16": { name: "aded", pathLength: 16 },
  "16 nodes always": { name: "aded", budget: 16 },
  "all as published, 64 nodes": { name: "aded", ...published, budget: 64 },
  "all as published, authors' reward": { name: "aded", ...published, budget: 64, reward: "repo" },
};
const tokens = 96;

const folder = shippedModel("knossos");
const missing = folder ? textsMissing() : "models/knossos is absent";
if (missing || !folder) {
  console.error(missing);
  process.exit(1);
}

/** Every variant has a model of its own, since what acceptance is learned from the drafts stays with the model. */
const sides = [];
for (const [label, options] of Object.entries(variants)) {
  const { model } = await openModel(folder, { threads: 2 });
  sides.push({ label, model, method: options.name === "aded" ? { isolate: true, ...options } : options });
}

/** @param {typeof sides[number]} side @param {readonly number[]} prompt */
async function generate({ model, method }, prompt) {
  const run = model.decode(prompt, { method, temperature: 0, maxTokens: tokens, minTokens: tokens });
  let drafting = 0;
  for await (const event of run) if (event.type === "draft") drafting += event.seconds;
  const { counters, seconds } = await run.final;
  const rounds = (counters.generated - 1) / counters.tokensPerPass;
  return { rounds, generated: counters.generated - 1, nodes: counters.drafted, drafting, decode: seconds.decode };
}

for (const kind of kinds.filter((name) => name !== "questions")) {
  console.log(`\n| ${kind} | tokens a pass | nodes a pass | drafting, ms a pass | against prompt-lookup |`);
  console.log("| --- | --: | --: | --: | --: |");
  /** @type {Awaited<ReturnType<typeof generate>>[][]} */
  const results = sides.map(() => []);
  const { tokenizer } = sides[0].model;
  const prompts = promptsOf(kind, 6, 128, (text) => tokenizer?.encode(text) ?? []);
  for (const [number, prompt] of [prompts[0], ...prompts].entries()) {
    for (const [i, side] of sides.entries()) {
      const result = await generate(side, prompt);
      if (number > 0) results[i].push(result); // the first one warms up
    }
  }
  for (const [i, { label }] of sides.entries()) {
    const sum = (/** @type {"rounds" | "generated" | "nodes" | "drafting"} */ what) =>
      results[i].reduce((total, result) => total + result[what], 0);
    const rounds = sum("rounds");
    const speeds = results[i].map(({ decode }, run) => results[0][run].decode / decode);
    const figures = [
      (sum("generated") / rounds).toFixed(2),
      (sum("nodes") / rounds).toFixed(1),
      ((1000 * sum("drafting")) / rounds).toFixed(2),
      `${median(speeds).toFixed(2)}×`,
    ];
    console.log(`| ${[label, ...figures].join(" | ")} |`);
  }
}
for (const { model } of sides) await model.close();
