/**
 * Which size the compute at hand makes best: short runs of knossos's recipe with about 3, 5 and 7 million parameters, each over a quarter,
 * half and all of the steps with a decay of its own, a fit of the losses, and what it says of each size after the same hours as the full
 * training. Writes scaling.json, scaling.svg and scaling.md (for the card). Runs that were interrupted go on; the speeds are of a dozen steps of
 * each size in turns at the end, as other work may have slowed the runs: call it again when the machine is idle.
 *
 *     npm run build && node recipes/scaling.mjs DATA OUT [--steps N] [--hours H] [--threads N]
 */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { familyOf } from "../dist/models/families.js";
import { drawPlot } from "../dist/papers/plot.js";
import { readRecipe, runRecipe } from "../dist/training/recipe.js";
import { fitScaling, predictedLoss } from "../dist/training/scaling.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    steps: { type: "string", default: "400" },
    hours: { type: "string", default: "6" },
    threads: { type: "string", default: "2" },
  },
});
const [data, out] = positionals;
if (!out) {
  console.error("usage: scaling.mjs DATA OUT [--steps N] [--hours H] [--threads N]");
  process.exit(2);
}
const [steps, hours, threads] = [values.steps, values.hours, values.threads].map(Number);
const here = fileURLToPath(new URL(".", import.meta.url));
const knossos = await readRecipe(join(here, "knossos.json"));
const shapes = [
  { hidden_size: 192, num_hidden_layers: 5, num_attention_heads: 6, num_key_value_heads: 3, intermediate_size: 512 },
  { hidden_size: 256, num_hidden_layers: 6, num_attention_heads: 8, num_key_value_heads: 4, intermediate_size: 704 },
  { hidden_size: 288, num_hidden_layers: 7, num_attention_heads: 9, num_key_value_heads: 3, intermediate_size: 768 },
];

/** Knossos's rate, with a decay in the last two fifths. @param {number} count */
const schedule = (count) => ({
  kind: "warmupStableDecay",
  peak: knossos.schedule.peak,
  warmup: Math.ceil(count / 20),
  decay: Math.floor(count * 0.43),
});

await mkdir(out, { recursive: true });
const points = [];
for (const shape of shapes) {
  const config = { ...knossos.config, ...shape };
  const { family, config: read } = familyOf(config);
  const parameters = family.parameters(read).reduce((sum, { shape: s }) => sum + s.reduce((a, b) => a * b, 1), 0);
  for (const share of [4, 2, 1]) {
    const count = Math.round(steps / share);
    const name = `size-${(parameters / 1e6).toFixed(1).replace(".", "-")}m-${count}`;
    const recipe = {
      ...knossos,
      name,
      config,
      tokenizer: resolve(here, knossos.tokenizer),
      steps: count,
      schedule: schedule(count),
    };
    const path = join(out, `${name}.json`);
    await writeFile(path, JSON.stringify(recipe, null, 2));
    const { history } = await runRecipe(path, { dataFolder: data, runFolder: join(out, name), threads });
    const last = history.at(-1);
    const point = { parameters, tokens: last.tokens, loss: last.heldOutLoss };
    points.push(point);
    console.error(`${name}: ${JSON.stringify(point)}`);
  }
}

/** Tokens a second of each size, the fastest of three turns of a dozen steps. */
const speeds = shapes.map(() => 0);
for (let turn = 0; turn < 3; turn++) {
  for (const [i, shape] of shapes.entries()) {
    const path = join(out, "speed.json");
    const tokenizer = resolve(here, knossos.tokenizer);
    const timed = { ...knossos, name: "speed", config: { ...knossos.config, ...shape }, tokenizer, steps: 12 };
    timed.schedule = schedule(12);
    await writeFile(path, JSON.stringify(timed));
    await rm(join(out, "speed"), { recursive: true, force: true });
    const { history } = await runRecipe(path, { dataFolder: data, runFolder: join(out, "speed"), threads });
    const last = history.at(-1);
    speeds[i] = Math.max(speeds[i], last.tokens / last.seconds);
  }
}

const fit = fitScaling(points);
const sizes = [...new Set(points.map(({ parameters }) => parameters))];
const million = (n) => (n / 1e6).toFixed(2);
const lines = sizes.map((parameters, i) => {
  const own = points.filter((point) => point.parameters === parameters);
  const speed = speeds[i];
  const tokens = speed * hours * 3600;
  const losses = own.map(({ loss }) => loss.toFixed(3)).join(" · ");
  const predicted = predictedLoss(fit, { parameters, tokens }).toFixed(3);
  return `| ${million(parameters)} | ${losses} | ${speed.toFixed(0)} | ${million(tokens)} | ${predicted} |`;
});
const lengths = points.slice(0, 3).map(({ tokens }) => million(tokens));
const { floor, a, alpha, b, beta, error } = fit;
const text = `| million parameters | held-out loss after ${lengths.join(" · ")} million tokens | tokens/s | million tokens in ${hours} h | fit says |
|---|---|---|---|---|
${lines.join("\n")}

loss = ${floor.toFixed(3)} + ${a.toPrecision(3)} / parameters^${alpha.toFixed(2)} + ${b.toPrecision(3)} / tokens^${beta.toFixed(2)}, to ${(100 * error).toFixed(2)} % of the nine losses. The fit goes ${hours} hours beyond runs of minutes: a hint, not a measurement. It knows nothing of passes over the same text.
`;
const plot = {
  title: "held-out loss by tokens (million)",
  x: { label: "million tokens", scale: "log" },
  y: { label: "nats a token" },
  series: sizes.map((parameters) => ({
    name: `${million(parameters)} M`,
    points: points.filter((p) => p.parameters === parameters).map((p) => [p.tokens / 1e6, p.loss]),
  })),
};
await writeFile(join(out, "scaling.json"), `${JSON.stringify({ points, speeds, fit, hours }, null, 2)}\n`);
await writeFile(join(out, "scaling.svg"), drawPlot(plot));
await writeFile(join(out, "scaling.md"), text);
console.log(text);
