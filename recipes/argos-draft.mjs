/**
 * How drafts of argos are trained: multimodal speculative decoding's own (texts first, then pictures on a ramp) and what it is compared with. They
 * learn from conversations that argos answers itself, whose rows and final states are computed once. Every step goes on where it was stopped.
 *
 *     npm run build
 *     node recipes/argos-draft.mjs prepare RUN --model MODEL --emoji EMOJI --drawings DRAWINGS [--items N]
 *     node recipes/argos-draft.mjs train RUN NAME --model MODEL [--steps N] [--seconds N]
 *     node recipes/argos-draft.mjs all RUN --model MODEL [--steps N] [--seconds N]
 *
 * `prepare` writes RUN/examples; `train` writes the part RUN/parts/NAME (`small`: the model RUN/parts/small), where NAME is one of the list below,
 * and `all` trains the whole list, as many at a time as there are processors, each on a thread. MODEL is a folder.
 */
import { spawn } from "node:child_process";
import { copyFile, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { uniform } from "../dist/engine/random.js";
import {
  draftBatch,
  examplesOf,
  ownAnswers,
  scaleOfPictures,
} from "../dist/methods/speculative/multimodal/examples.js";
import { readExamples, writeExamples } from "../dist/methods/speculative/multimodal/examples-file.js";
import { drawsPicture, pictureShare } from "../dist/methods/speculative/multimodal/schedule.js";
import { draftObjective } from "../dist/methods/speculative/multimodal/training.js";
import { familyOf } from "../dist/models/families.js";
import { readParameters } from "../dist/models/parameters.js";
import { engineModel, open } from "../dist/open.js";
import { writeConfigured } from "../dist/training/export.js";
import { linear, train } from "../dist/training/index.js";
import { nextTokenObjective } from "../dist/training/next-token.js";
import { itemsOf } from "../dist/training/seeing/items.js";
import { openDrawings, openEmoji } from "../dist/training/seeing/pictures.js";
import { openWeights } from "../dist/weights/index.js";

/** Every draft: what it does with rows of pictures, in what order it meets them, and the seed of its beginning and its order. */
const drafts = [
  { name: "multimodal", form: "decoupled", schedule: "two-stage", seed: 1 },
  { name: "coupled", form: "coupled", schedule: "two-stage", seed: 1 },
  { name: "text-only", form: "text-only", schedule: "two-stage", seed: 1 },
  { name: "small" },
  { name: "multimodal-2", form: "decoupled", schedule: "two-stage", seed: 2 },
  { name: "coupled-2", form: "coupled", schedule: "two-stage", seed: 2 },
  { name: "multimodal-3", form: "decoupled", schedule: "two-stage", seed: 3 },
  { name: "coupled-3", form: "coupled", schedule: "two-stage", seed: 3 },
  { name: "without-texts", form: "decoupled", schedule: "pictures", seed: 1 },
  { name: "without-pictures", form: "decoupled", schedule: "texts", seed: 1 },
  { name: "abrupt", form: "decoupled", schedule: "abrupt", seed: 1 },
  { name: "constant", form: "decoupled", schedule: "constant", seed: 1 },
];

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: "string" },
    emoji: { type: "string" },
    drawings: { type: "string" },
    items: { type: "string", default: "1000" },
    steps: { type: "string", default: "1000" },
    seconds: { type: "string", default: "100000" },
    peak: { type: "string", default: "0.001" },
    only: { type: "string" },
  },
});
const [command, run, name] = positionals;
function misuse(message) {
  console.error(`${message}\nusage: argos-draft.mjs prepare|train|all RUN [NAME] --model MODEL …`);
  process.exit(2);
}
if (!run || !options.model) misuse("RUN and --model are needed");

/** Tokens of a text, and rows of a batch; epochs of the schedule, as the paper counts them. */
const [length, rows, epochs] = [112, 16, 40];
const seed = 11;
const files = { pictures: join(run, "pictures.safetensors"), texts: join(run, "texts.safetensors") };

async function prepare() {
  if (!options.emoji || !options.drawings) misuse("prepare needs --emoji and --drawings");
  await mkdir(run, { recursive: true });
  const model = await open(options.model, { threads: availableParallelism(), weights: "f32" });
  const fits = (prompt, answer) => model.tokenizer.encode(prompt + answer, { special: false }).length <= 100;
  const { withPicture, withText } = itemsOf("train", {
    seed,
    size: model.config.vision.imageSize,
    emoji: await openEmoji(options.emoji, "twemoji"),
    drawings: await openDrawings(options.drawings, "train"),
    fits,
  });
  const count = Number(options.items);
  for (const [kind, item] of [
    ["pictures", withPicture],
    ["texts", withText],
  ]) {
    const began = Date.now();
    const examples = [];
    for (let first = 0; first < count; first += 32) {
      const numbers = Array.from({ length: Math.min(32, count - first) }, (_, i) => first + i);
      const answered = await Promise.all(numbers.map((number) => ownAnswers(model, item(number), length)));
      const whole = answered.filter(({ turns }) => turns.length > 0);
      if (whole.length > 0) examples.push(...(await examplesOf(model, whole, length)));
      if (first % 320 === 0)
        console.error(`${kind}: ${examples.length} of ${count}, ${Math.round((Date.now() - began) / 1000)} s`);
    }
    await writeExamples(`${files[kind]}.new`, examples, model.config.hiddenSize);
    await rename(`${files[kind]}.new`, files[kind]);
    console.error(
      `${kind}: ${examples.length} conversations, ${examples.reduce((sum, { tokens }) => sum + tokens.length, 0)} rows`,
    );
  }
  await model.close();
}

const report = ({ step, smoothedLoss, heldOutLoss }) => {
  if (step % 50 === 0 || heldOutLoss !== undefined)
    console.error(
      `${name}: step ${step} loss ${smoothedLoss.toFixed(4)} ${heldOutLoss === undefined ? "" : `held out ${heldOutLoss.toFixed(4)}`}`,
    );
};

async function trainOne() {
  const draft = drafts.find((one) => one.name === name);
  if (!draft) misuse(`NAME is one of ${drafts.map((one) => one.name).join(", ")}`);
  const [pictures, texts] = await Promise.all([readExamples(files.pictures), readExamples(files.texts)]);
  const steps = Number(options.steps);
  /** A twentieth of each set is held out. */
  const heldOut = (all) => all.filter((_, i) => i % 20 === 0);
  const kept = (all) => all.filter((_, i) => i % 20 !== 0);
  const sets = [kept(texts), kept(pictures)];
  const ownSeed = draft.seed ?? 1;
  const chosen = (number, share) =>
    Array.from({ length: rows }, (_, row) => {
      const item = number * rows + row;
      const set = sets[drawsPicture(share, ownSeed, item) ? 1 : 0];
      return set[Math.floor(uniform({ seed: ownSeed, request: 0x9e }, item, "data") * set.length)];
    });
  const shareAt = (step) => pictureShare(draft.schedule ?? "constant", 1 + Math.floor((step * epochs) / steps), epochs);
  const evaluated = [heldOut(texts), heldOut(pictures)].map((all) =>
    Array.from({ length: rows }, (_, i) => all[i % all.length]),
  );
  const shared = {
    steps,
    maxSeconds: Number(options.seconds),
    schedule: linear({ peak: Number(options.peak), warmup: Math.floor(steps / 20), steps }),
    optimiser: { beta1: 0.9, beta2: 0.95, weightDecay: 0 },
    clip: 0.5,
    seed: ownSeed,
    config: { recipe: "recipes/argos-draft.mjs", name, steps },
    checkpointFolder: join(run, "runs", name),
    onProgress: report,
  };
  const out = join(run, "parts", name);
  if (name === "small") return trainSmall({ chosen, evaluated, shared, out });
  const model = await open(options.model, { threads: 1 });
  const { family, config } = engineModel(model);
  const values = await model.parameterValues();
  const { form, schedule } = draft;
  const width = config.hiddenSize;
  const pictureScale = scaleOfPictures(pictures.slice(0, 100));
  const objective = await draftObjective(family, config, values, {
    rows,
    length: length - 1,
    form,
    seed: ownSeed,
    pictureScale,
    threads: 1,
  });
  const batch = (all, number) => draftBatch(all, { form, length: length - 1, width, number });
  const { reason, step, history } = await train({
    ...shared,
    objective,
    batches: (number) => batch(chosen(number, shareAt(number)), number),
    evaluation: { batches: evaluated.map((all) => batch(all)), every: 250 },
  });
  await objective.release();
  const last = history.findLast((entry) => entry.heldOutLoss !== undefined);
  await model.writePart(out, {
    kind: "multimodal",
    name,
    sites: ["final"],
    settings: { form, pictureScale, schedule },
    training: {
      recipe: "recipes/argos-draft.mjs",
      seed: ownSeed,
      step,
      conversations: sets.map((set) => set.length),
      heldOutLoss: last?.heldOutLoss,
    },
    tensors: objective.tensors,
    stored: "F16",
  });
  await model.close();
  console.error(`${name}: ${reason} after ${step} steps`);
}

/** A small model of its own that reads the texts without their pictures: pylos, taught argos's answers. */
async function trainSmall({ chosen, evaluated, shared, out }) {
  const base = fileURLToPath(new URL("../models/pylos", import.meta.url));
  const json = JSON.parse(await readFile(join(base, "config.json"), "utf8"));
  const { family, config } = familyOf(json);
  const source = await openWeights(base);
  const values = await readParameters(source, family, config);
  await source.close();
  const seen = length - 1;
  const objective = await nextTokenObjective(family, config, values, {
    rows,
    length: seen,
    weighted: true,
    threads: 1,
  });
  function batch(examples) {
    const tokens = new Int32Array(rows * (seen + 1));
    const weights = new Float32Array(rows * seen);
    for (const [row, { tokens: own, places, said }] of examples.entries()) {
      const words = [...own.keys()].filter((i) => places[i] < 0);
      for (const [at, i] of words.entries()) {
        tokens[row * (seen + 1) + at] = own[i];
        if (at > 0) weights[row * seen + at - 1] = said[i];
      }
    }
    const all = weights.reduce((a, b) => a + b, 0);
    return { rows, length: seen, tokens, weights: weights.map((x) => (x * weights.length) / all) };
  }
  const { reason, step } = await train({
    ...shared,
    objective,
    batches: (number) => batch(chosen(number, 0.5)),
    evaluation: { batches: evaluated.map(batch), every: 250 },
  });
  await objective.release();
  await mkdir(out, { recursive: true });
  await writeConfigured(family, config, values, json, out);
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) await copyFile(join(base, file), join(out, file));
  const card = `# small\n\nThe draft pylos, taught argos's answers without their pictures for ${step} steps (recipes/argos-draft.mjs): what the draft of argos is compared with.\n`;
  await writeFile(join(out, "README.md"), card);
  console.error(`small: ${reason} after ${step} steps`);
}

async function trainAll() {
  const waiting = drafts.map((one) => one.name).filter((one) => !options.only || options.only.split(",").includes(one));
  const worker = async () => {
    for (let one = waiting.shift(); one; one = waiting.shift()) {
      const more = ["model", "steps", "seconds", "peak"].flatMap((key) => [`--${key}`, options[key]]);
      const child = spawn(process.execPath, [fileURLToPath(import.meta.url), "train", run, one, ...more], {
        stdio: "inherit",
      });
      const code = await new Promise((resolve) => child.once("exit", resolve));
      if (code !== 0) process.exitCode = 1;
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}

const commands = { prepare, train: trainOne, all: trainAll };
if (!Object.hasOwn(commands, command)) misuse(`there is no command ${command}`);
await commands[command]();
