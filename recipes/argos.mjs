/**
 * How argos is trained: phaistos with a small vision tower, in two stages. First the tower alone: each row of a picture names the words of what
 * stands there, among the embeddings of phaistos's tokens. Then the text model, on questions and answers about what it is shown, while one of its
 * attention heads is shown what their words speak of. Three kinds of pictures
 * (generated scenes with checkable questions, emoji of one artist with their names, quick drawings of ten kinds) and phaistos's skills without a
 * picture, so that these stay. Goes on where it was stopped. EMOJI and DRAWINGS are folders of data (emoji of two artists as PNG in tar files with captions; quick drawings); the other artist's emoji and the last
 * drawings of each kind are for testing and are not read.
 *
 *     npm run build && node recipes/argos.mjs RUN OUT --emoji EMOJI --drawings DRAWINGS [--looking N] [--steps N] [--seconds N] [--threads N]
 *     … --from OUT --peak 0.0003: the second stage once more from the text model that it gave (with --looking 0 from its eyes too), with other
 *         pictures and questions
 */
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { preparationOf, prepared } from "../dist/images/index.js";
import { familyOf } from "../dist/models/families.js";
import { readParameters } from "../dist/models/parameters.js";
import { openTokenizer } from "../dist/text/index.js";
import { writeConfigured } from "../dist/training/export.js";
import { lossCurveSvg, train, warmupStableDecay } from "../dist/training/index.js";
import { initialValues } from "../dist/training/recipe.js";
import { namedItem, skillTurns, varied } from "../dist/training/seeing/items.js";
import { openDrawings, openEmoji } from "../dist/training/seeing/pictures.js";
import { replicatedSeeing } from "../dist/training/seeing/replicas.js";
import {
  colours,
  drawnScene,
  mentionsOf,
  places,
  questionAbout,
  questionKinds,
  sceneOf,
  shapes,
} from "../dist/training/seeing/scenes.js";
import { seeingBatch } from "../dist/training/seeing/texts.js";
import { replicatedWords } from "../dist/training/seeing/words.js";
import { choices } from "../dist/training/skills/skill.js";
import { openWeights } from "../dist/weights/index.js";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    emoji: { type: "string" },
    drawings: { type: "string" },
    from: { type: "string" },
    looking: { type: "string", default: "6000" },
    steps: { type: "string", default: "4000" },
    seconds: { type: "string", default: "100000" },
    threads: { type: "string", default: "2" },
    peak: { type: "string", default: "0.0003" },
  },
});
const [run, out] = positionals;
if (!out || !options.emoji || !options.drawings) {
  console.error("usage: argos.mjs RUN OUT --emoji EMOJI --drawings DRAWINGS [--steps N] [--seconds N] [--threads N]");
  process.exit(2);
}
const here = fileURLToPath(new URL(".", import.meta.url));
const base = join(here, "../models/phaistos");
const seed = 5;
const steps = Number(options.steps);
const shape = { rows: 16, pictures: 14, length: 112, threads: Number(options.threads) };
const looking = { pictures: 32, threads: Number(options.threads) };

const json = JSON.parse(await readFile(join(here, "argos.config.json"), "utf8"));
const { family, config } = familyOf(json);
const size = config.vision.imageSize;
const preprocessor = {
  image_processor_type: "SiglipImageProcessor",
  do_resize: true,
  size: { height: size, width: size },
  resample: 3,
  do_rescale: true,
  rescale_factor: 1 / 255,
  do_normalize: true,
  image_mean: [0.5, 0.5, 0.5],
  image_std: [0.5, 0.5, 0.5],
};
const preparation = preparationOf(preprocessor, "argos", size);
const tokenizer = await openTokenizer(base);

// The text model begins as phaistos, the vision tower and the projector by chance.
const values = initialValues(family, config, seed);
const source = await openWeights(base);
const text = familyOf(JSON.parse(await readFile(join(base, "config.json"), "utf8")));
for (const [name, stored] of await readParameters(source, text.family, text.config)) values.set(name, stored);
await source.close();
if (options.from) {
  const before = await openWeights(options.from);
  for (const [name, stored] of await readParameters(before, family, config))
    if (options.looking === "0" || !/^(vision_tower|multi_modal_projector)\./.test(name)) values.set(name, stored);
  await before.close();
}

const emoji = await openEmoji(options.emoji, "twemoji");
const drawings = await openDrawings(options.drawings, "train");
console.error(`${emoji.length} emoji, ${drawings.length} drawings`);

const practised = ["position", "whether", "count"].flatMap((kind) => [kind, kind, kind]).concat("what", "colour");
/** The rows of the picture in each ninth of it. */
const rowsOfPlaces = places.map((_, place) =>
  Array.from({ length: config.vision.rows }, (_, row) => row).filter((row) => placeOfRow(row) === place),
);
function placeOfRow(row) {
  const { side } = config.vision;
  const [y, x] = [Math.floor(row / side), row % side].map((i) => Math.floor((3 * i) / side));
  return 3 * y + x;
}
/** What words speak of; the words that follow still do, until others speak of something else. */
function referencesOf(scene, text) {
  const mentions = mentionsOf(scene, text).map(({ end, places }) => ({
    end,
    things: places.map((at) => rowsOfPlaces[at]),
  }));
  const ends = [...text.matchAll(/\w+|[?.]/g)].map((word) => word.index + word[0].length);
  return ends.flatMap((end) => {
    const spoken = mentions.findLast((mention) => mention.end <= end);
    return spoken ? [{ ...spoken, end }] : [];
  });
}
/** Questions of these kinds, each once, with what their words and those of the answers speak of. */
function turnsAbout(scene, kinds, number) {
  const turns = kinds.flatMap((kind, i) => questionAbout(scene, kind, seed + i, number) ?? []);
  const once = turns.filter(({ question }, i) => turns.findIndex((turn) => turn.question === question) === i);
  return once.map(({ question, answer }) => ({
    question,
    answer,
    references: { question: referencesOf(scene, question), answer: referencesOf(scene, answer) },
  }));
}
function conversation(number, row) {
  const choose = choices({ seed, request: 77 + row }, number);
  if (row >= shape.pictures) {
    const fits = (prompt, answer) => tokenizer.encode(prompt + answer, { special: false }).length <= 100;
    return { turns: skillTurns("train", { seed: seed + 100, choose, fits }) };
  }
  const kind = row < 10 ? "scene" : row < 12 ? "emoji" : "drawing";
  if (kind === "scene") {
    if (row < 3) {
      // More things than a scene of any split has: the more there are, the more must be told apart.
      const scene = fullScene(choose);
      const kinds = Array.from({ length: 7 }, () => choose.one(["position", "position", "what", "colour", "whether"]));
      return { pixels: lookedAt(scene), turns: turnsAbout(scene, kinds, number * 16 + row) };
    }
    const scene = sceneOfBatch(number, row);
    // What is asked for by content, and counting, needs more practice than naming what stands at a place.
    const wanted = choose.chance(0.2)
      ? choose.several(questionKinds, questionKinds.length)
      : choose.several(practised, practised.length);
    return { pixels: lookedAt(scene), turns: turnsAbout(scene, wanted, number * 16 + row) };
  }
  const one = choose.one(kind === "emoji" ? emoji : drawings);
  const { picture, turns } = namedItem(one, choose, kind === "drawing");
  return { pixels: prepared(picture, preparation), turns };
}
const firstBatch = options.from ? 10_000_000 : 0;
const batchOf = (number) =>
  seeingBatch(
    tokenizer,
    Array.from({ length: shape.rows }, (_, row) => conversation(firstBatch + number, row)),
    config.vision,
    shape,
  );

// Stage one: words. A scene's rows name what stands in their ninth of the picture, rows of other pictures all of the picture's name.
const words = new Map();
const tokensOf = (text) => tokenizer.encode(` ${text}`, { special: false });
const vocabulary = [
  "nothing",
  ...Object.keys(colours),
  ...shapes,
  ...places,
  ...new Set([...emoji, ...drawings].map(({ label }) => label)),
].flatMap(tokensOf);
for (const id of vocabulary) if (!words.has(id)) words.set(id, words.size);
const { width, rows: pictureRows } = config.vision;
const table = new Float32Array(words.size * width);
const embedding = values.get("model.embed_tokens.weight");
for (const [id, at] of words) table.set(embedding.subarray(id * width, (id + 1) * width), at * width);

/** The words' shares, each the same. */
function bag(texts) {
  const shares = new Float32Array(words.size);
  for (const text of texts) {
    const ids = tokensOf(text);
    for (const id of ids) shares[words.get(id)] += 1 / (ids.length * texts.length);
  }
  return shares;
}
const bagsOfPlaces = new Map();
function bagOf(scene, place) {
  const thing = scene.things.find((one) => one.place === place);
  const key = thing ? `${thing.colour} ${thing.shape} ${place}` : `${place}`;
  const where = places[place].replace(/^(at|in) the /, "");
  if (!bagsOfPlaces.has(key))
    bagsOfPlaces.set(key, bag([...(thing ? [thing.colour, thing.shape] : ["nothing"]), where]));
  return bagsOfPlaces.get(key);
}
/** As many things as there are places, of any colours and shapes: the more there is to see, the more a picture teaches. */
function crowdedScene(choose) {
  const chance = (from, to) => choose.integer(from, to) / 1000;
  const things = places.flatMap((_, place) => {
    if (choose.chance(0.15)) return [];
    const colour = choose.one(Object.keys(colours));
    const radius = chance(90, 140);
    const room = 1 / 6 - radius;
    const centre = (at) => (at + 0.5) / 3 + room * chance(-1000, 1000);
    const fill = colours[colour].map((c) => Math.max(0, Math.min(255, c + choose.integer(-12, 12))));
    const [x, y] = [centre(place % 3), centre(Math.floor(place / 3))];
    return [{ shape: choose.one(shapes), colour, place, x, y, radius, fill }];
  });
  const light = choose.integer(205, 255);
  return { ground: [light, light - choose.integer(0, 16), light - choose.integer(0, 16)], things };
}
function fullScene(choose) {
  for (;;) {
    const scene = crowdedScene(choose);
    if (scene.things.length > 5) return scene;
  }
}
const sceneOfBatch = (number, row) => sceneOf("train", seed, number * 16 + row);
const lookedAt = (scene) => prepared({ width: size, height: size, pixels: drawnScene(scene, size) }, preparation);

function lookingBatch(number) {
  const pixels = new Float32Array(looking.pictures * 3 * size * size);
  const targets = new Float32Array(looking.pictures * pictureRows * words.size);
  for (let picture = 0; picture < looking.pictures; picture++) {
    const choose = choices({ seed, request: 177 + picture }, number);
    const at = (row) => (picture * pictureRows + row) * words.size;
    if (picture % 8 < 4) {
      const scene = picture % 8 < 3 ? crowdedScene(choose) : sceneOfBatch(2_000_000 + number, picture);
      pixels.set(lookedAt(scene), picture * 3 * size * size);
      for (let row = 0; row < pictureRows; row++) targets.set(bagOf(scene, placeOfRow(row)), at(row));
    } else {
      const drawn = picture % 8 > 4;
      const one = choose.one(drawn ? drawings : emoji);
      pixels.set(
        prepared(varied(one.picture, choose, drawn && choose.chance(0.5)), preparation),
        picture * 3 * size * size,
      );
      const shares = bag([one.label]);
      for (let row = 0; row < pictureRows; row++) targets.set(shares, at(row));
    }
  }
  return { pixels, targets };
}

const report = ({ step, smoothedLoss, heldOutLoss, tokensPerSecond, gradientNorm }) => {
  if (step % 20 === 0 || heldOutLoss !== undefined)
    console.error(
      `step ${step} loss ${smoothedLoss.toFixed(4)} norm ${gradientNorm.toFixed(2)} ${heldOutLoss ?? ""} ${tokensPerSecond.toFixed(0)} tokens/s`,
    );
};
const began = Date.now();
const secondsLeft = () => Number(options.seconds) - (Date.now() - began) / 1000;
const lookingSteps = Number(options.looking);
if (lookingSteps > 0) {
  const eyes = await replicatedWords(json, values, { ...looking, words: table });
  const seen = await train({
    objective: eyes,
    batches: lookingBatch,
    evaluation: { batches: [1, 2].map((i) => lookingBatch(5_000_000 + i)), every: 500 },
    steps: lookingSteps,
    maxSeconds: secondsLeft(),
    schedule: warmupStableDecay({
      peak: 0.001,
      warmup: 200,
      steps: lookingSteps,
      decay: Math.floor(lookingSteps * 0.4),
      final: 0.00005,
    }),
    optimiser: { beta1: 0.9, beta2: 0.98, weightDecay: 0.02 },
    clip: 1,
    seed,
    config: { recipe: "recipes/argos.mjs", looking: lookingSteps },
    checkpointFolder: join(run, "looking"),
    onProgress: report,
  });
  await eyes.release();
  console.error(`looking: ${seen.reason} after ${seen.step} steps`);
  if (seen.step < lookingSteps) process.exit(0);
}

// The tower stays as it has learned to look: trained along from the start, it forgets shapes, which it had learned to tell apart.
const objective = await replicatedSeeing(json, values, {
  ...shape,
  trains: "text",
  grounding: { layer: 2, head: 0, share: 0.5 },
});
const result = await train({
  objective,
  batches: batchOf,
  evaluation: { batches: Array.from({ length: 4 }, (_, i) => batchOf(10_000_000 + i)), every: 500 },
  steps,
  maxSeconds: secondsLeft(),
  schedule: warmupStableDecay({
    peak: Number(options.peak),
    warmup: 100,
    steps,
    decay: Math.floor(steps * 0.35),
    final: 0.00002,
  }),
  optimiser: { beta1: 0.9, beta2: 0.98, weightDecay: 0.05 },
  clip: 1,
  seed,
  config: { recipe: "recipes/argos.mjs", steps },
  checkpointFolder: run,
  onProgress: report,
});
await objective.release();
await mkdir(out, { recursive: true });
await writeConfigured(family, config, values, json, out);
await writeFile(join(out, "preprocessor_config.json"), `${JSON.stringify(preprocessor, null, 2)}\n`);
await copyFile(join(base, "tokenizer.json"), join(out, "tokenizer.json"));
const stated = JSON.parse(await readFile(join(base, "tokenizer_config.json"), "utf8"));
const template =
  "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}{% if part.type == 'image' %}<|image|>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
await writeFile(
  join(out, "tokenizer_config.json"),
  `${JSON.stringify({ ...stated, chat_template: template }, null, 2)}\n`,
);
await writeFile(join(out, "loss.svg"), lossCurveSvg(result.history, "argos: loss (nats a token of the answers)"));
console.error(`${result.reason} after ${result.step} steps`);
