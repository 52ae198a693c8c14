import { expect, test } from "vitest";
import { uniform } from "../../engine/random.ts";
import { familyOf } from "../../models/families.ts";
import { textGraph } from "../../models/graph.ts";
import { parameterMaker } from "../../models/parameters.ts";
import { visionParameters } from "../../models/vision/tower.ts";
import { reduceMean } from "../../tensor/index.ts";
import { graphObjective } from "../graph-objective.ts";
import { modelParameters } from "../next-token.ts";
import { int64 } from "../parts.ts";
import { initialValues } from "../recipe.ts";
import { pictureFeeds, picturesOf, type SeeingBatch, seeingObjective } from "./objective.ts";
import { replicatedSeeing } from "./replicas.ts";
import { mentionsOf, type Scene } from "./scenes.ts";
import { replicatedWords, type WordsBatch, wordsObjective } from "./words.ts";

const json = {
  architectures: ["LlavaForConditionalGeneration"],
  model_type: "llava",
  image_token_index: 3,
  vision_feature_layer: -1,
  vision_feature_select_strategy: "full",
  tie_word_embeddings: true,
  vision_config: {
    model_type: "siglip_vision_model",
    image_size: 8,
    patch_size: 4,
    hidden_size: 8,
    intermediate_size: 12,
    num_hidden_layers: 1,
    num_attention_heads: 2,
  },
  text_config: {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: 40,
    hidden_size: 16,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    intermediate_size: 24,
    max_position_embeddings: 64,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    bos_token_id: 0,
    eos_token_id: 1,
  },
};
const { family, config } = familyOf(json);
const values = initialValues(family, config, 3);
const eyes = new Set(visionParameters(config.vision!).map(({ name }) => name));
const rowsOfPicture = config.vision!.rows;
const draw = (request: number) => (_: unknown, i: number) => 2 * uniform({ seed: 7, request }, i, "initialise") - 1;
const noise = (length: number, request: number) => Float32Array.from({ length }, draw(request));
const copied = () => new Map([...values].map(([name, stored]) => [name, stored.slice()]));

/** Two texts of nine tokens with a picture each. */
function batch(): SeeingBatch {
  const [rows, length] = [2, 8];
  const tokens = Int32Array.from({ length: rows * (length + 1) }, (_, i) => 4 + ((i * 7) % 30));
  const places = new Int32Array(tokens.length).fill(-1);
  for (let row = 0; row < rows; row++)
    for (let i = 0; i < rowsOfPicture; i++) places[row * (length + 1) + 1 + i] = row * rowsOfPicture + i;
  const weights = new Float32Array(rows * length).fill(1);
  return { rows, length, tokens, places, weights, pixels: noise(rows * 3 * 8 * 8, 1) };
}
const shape = { rows: 2, length: 8, pictures: 2 };

test("the text model alone: its gradients are those of the whole, and the tower is none of its parameters", async () => {
  const whole = await seeingObjective(family, config, values, { ...shape, threads: 1 });
  const text = await seeingObjective(family, config, values, { ...shape, threads: 1, trains: "text" });
  const [all, some] = [await whole.gradients(batch()), await text.gradients(batch())];
  expect(some.loss).toBeCloseTo(all.loss, 6);
  expect(text.parameters.map(({ name }) => name)).toEqual(
    whole.parameters.map(({ name }) => name).filter((name) => !eyes.has(name)),
  );
  for (const [i, { name }] of text.parameters.entries()) {
    const expected = all.gradients[whole.parameters.findIndex((one) => one.name === name)];
    for (const [j, value] of some.gradients[i].entries()) expect(value).toBeCloseTo(expected[j], 5);
  }
  // The tower is there all the same: other pixels, another loss.
  expect(await text.loss({ ...batch(), pixels: noise(2 * 3 * 8 * 8, 2) })).not.toBeCloseTo(all.loss, 4);
  await whole.release();
  await text.release();
});

/** By its definition, in float64, from the queries and keys that attention compares: the mean over the tokens that are asked. */
async function lookingEntropy(
  own: typeof values,
  given: SeeingBatch,
  { layer, head }: { layer: number; head: number },
) {
  const { rows, length } = shape;
  const [at, of] = ["queries", "keys"].map((name) => `layers.${layer}.attention.${name}`);
  const parameter = parameterMaker();
  const { edit } = picturesOf(config, shape, parameter);
  const graph = textGraph(family, config, { rows, length, instruments: { taps: [at, of], edits: [edit] }, parameter });
  const tokens = Array.from({ length: rows }, (_, row) => [
    ...given.tokens.slice(row * (length + 1), row * (length + 1) + length),
  ]);
  const reader = await graphObjective<SeeingBatch>({
    loss: reduceMean(graph.logits),
    trained: modelParameters(family, config, own),
    fixed: new Map(),
    feeds: (one) => ({ ...pictureFeeds(config, shape, one), tokens: int64(tokens.flat(), [rows, length]) }),
    outputs: graph.readings,
  });
  const { outputs } = await reader.evaluate(given);
  await reader.release();
  const { headDimension, heads, keyValueHeads } = config;
  const keyHead = Math.floor((head * keyValueHeads) / heads);
  const part = (name: string, row: number, which: number, count: number): Float32Array =>
    (outputs[name].data as Float32Array).subarray((row * count + which) * headDimension).subarray(0, headDimension);
  let [sum, asked] = [0, 0];
  for (let row = 0; row < rows * length; row++) {
    const text = row - (row % length);
    const scores = Array.from({ length: (row % length) + 1 }, (_, key) => {
      const [query, other] = [part(at, row, head, heads), part(of, text + key, keyHead, keyValueHeads)];
      return query.reduce((all, value, i) => all + value * other[i], 0) / Math.sqrt(headDimension);
    });
    const total = Math.log(scores.reduce((all, score) => all + Math.exp(score), 0));
    for (const [key, score] of scores.entries()) {
      const look = given.looks![row * length + key];
      sum += look * (total - score);
      asked += look;
    }
  }
  return sum / asked;
}

test("a head is shown where to look: the loss is the answers' and its cross entropy's share, its gradients are its slopes", async () => {
  const grounding = { layer: 0, head: 1, share: 0.5 };
  const looks = new Float32Array(shape.rows * shape.length ** 2);
  // In each text the seventh token is to look at the begin and at the first row of the picture.
  for (let row = 0; row < shape.rows; row++)
    for (const [at, share] of [
      [0, 0.25],
      [1, 0.75],
    ])
      looks[(row * shape.length + 6) * shape.length + at] = share;
  const grounded = { ...batch(), looks };
  const own = copied();
  const plain = await seeingObjective(family, config, own, { ...shape, threads: 1, trains: "text" });
  const objective = await seeingObjective(family, config, own, { ...shape, threads: 1, trains: "text", grounding });
  // What is measured on held-out texts is the answers alone.
  expect(await objective.loss(grounded)).toBeCloseTo(await plain.loss(batch()), 6);
  const { loss, gradients } = await objective.gradients(grounded);
  const expected = grounding.share * (await lookingEntropy(own, grounded, grounding));
  expect(expected).toBeGreaterThan(0.3);
  expect(loss - (await plain.loss(batch()))).toBeCloseTo(expected, 5);
  const halves = await replicatedSeeing(json, own, { ...shape, threads: 2, trains: "text", grounding });
  expect((await halves.gradients(grounded)).loss).toBeCloseTo(loss, 5);
  for (const name of ["q_proj", "k_proj"]) {
    const at = objective.parameters.findIndex((one) => one.name === `model.layers.0.self_attn.${name}.weight`);
    const { values: stored } = objective.parameters[at];
    for (const j of [3, 40, 100]) {
      const [before, step] = [stored[j], 1e-2];
      const lossAt = async (value: number): Promise<number> => {
        stored[j] = value;
        return (await objective.gradients(grounded)).loss;
      };
      const slope = ((await lossAt(before + step)) - (await lossAt(before - step))) / (2 * step);
      stored[j] = before;
      expect(Math.abs(slope - gradients[at][j])).toBeLessThan(1e-3 + 0.03 * Math.abs(slope));
    }
  }
  for (const each of [plain, objective, halves]) await each.release();
});

const words = noise(5 * config.vision!.width, 3);
function named(pictures: number): WordsBatch {
  const targets = new Float32Array(pictures * rowsOfPicture * 5);
  for (let row = 0; row < pictures * rowsOfPicture; row++) {
    targets[row * 5 + (row % 5)] = 0.75;
    targets[row * 5 + ((row + 2) % 5)] = 0.25;
  }
  return { pixels: noise(pictures * 3 * 8 * 8, 4), targets };
}

test("rows name words: the loss is the cross entropy of their cosines, its gradients are its slopes", async () => {
  const own = copied();
  const objective = await wordsObjective(family, config, own, { pictures: 2, words, threads: 1 });
  expect(new Set(objective.parameters.map(({ name }) => name))).toEqual(eyes);
  const { loss, gradients } = await objective.gradients(named(2));
  expect(loss).toBeGreaterThan(0);
  for (const name of [
    "multi_modal_projector.linear_2.weight",
    "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight",
  ]) {
    const at = objective.parameters.findIndex((one) => one.name === name);
    const { values: stored } = objective.parameters[at];
    for (const j of [0, 5, 11]) {
      const [before, step] = [stored[j], 2e-3];
      const lossAt = async (value: number): Promise<number> => {
        stored[j] = value;
        return objective.loss(named(2));
      };
      const slope = ((await lossAt(before + step)) - (await lossAt(before - step))) / (2 * step);
      stored[j] = before;
      expect(Math.abs(slope - gradients[at][j])).toBeLessThan(2e-3 + 0.03 * Math.abs(slope));
    }
  }
  await objective.release();
});

test("shared out to two threads, both objectives are what they are on one; what cannot be shared evenly is refused", async () => {
  const one = await wordsObjective(family, config, values, { pictures: 2, words, threads: 1 });
  const two = await replicatedWords(json, values, { pictures: 2, words, threads: 2 });
  expect((await two.gradients(named(2))).loss).toBeCloseTo((await one.gradients(named(2))).loss, 5);
  const whole = await seeingObjective(family, config, values, { ...shape, threads: 1, trains: "text" });
  const halves = await replicatedSeeing(json, values, { ...shape, threads: 2, trains: "text" });
  const [left, right] = [await whole.gradients(batch()), await halves.gradients(batch())];
  expect(right.loss).toBeCloseTo(left.loss, 5);
  for (const [i, gradient] of left.gradients.entries())
    for (const [j, value] of gradient.entries()) expect(right.gradients[i][j]).toBeCloseTo(value, 5);
  for (const each of [one, two, whole, halves]) await each.release();
  await expect(replicatedWords(json, values, { pictures: 3, words, threads: 2 })).rejects.toMatchObject({
    code: "bad_option",
  });
});

test("words of questions and answers speak of things, of colours, shapes and places", () => {
  const thing = (colour: string, shape: "circle" | "cross", place: number) =>
    ({ colour, shape, place, x: 0.5, y: 0.5, radius: 0.1, fill: [0, 0, 0] }) as const;
  const scene: Scene = {
    ground: [255, 255, 255],
    things: [thing("red", "circle", 0), thing("red", "cross", 4), thing("blue", "circle", 8)],
  };
  const spoken = (text: string) =>
    mentionsOf(scene, text).map(({ end, places }) => [text.slice(0, end).split(" ").at(-1), places]);
  expect(spoken("How many circles are there?")).toEqual([["circles", [0, 8]]]);
  expect(spoken("How many red things are there?")).toEqual([
    ["red", [0, 4]],
    ["things", [0, 4]],
  ]);
  expect(spoken("Is there a blue cross?")).toEqual([
    ["blue", [8]],
    ["cross", []],
  ]);
  expect(spoken("What colour is the circle at the bottom right?")).toEqual([
    ["circle", [0, 8]],
    ["right", [8]],
  ]);
  expect(spoken("What is at the top?")).toEqual([["top", [1]]]);
  expect(spoken("The red crosses are here: two crosses at the top.")).toEqual([
    ["red", [0, 4]],
    ["crosses", [4]],
    ["crosses", [4]],
    ["top", []],
  ]);
});
