/**
 * The side under measurement, with the same small face as the peers. The built library (dist) is imported here alone.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { passCurve, passSeconds } from "../dist/engine/pass-curve.js";
import { open } from "../dist/index.js";
import { foresightOf, guessAccuracy } from "../dist/methods/speculative/accuracy.js";
import { openMultimodal } from "../dist/methods/speculative/multimodal/draft.js";
import * as seeingMeasures from "../dist/methods/speculative/multimodal/measuring.js";
import { familyOf } from "../dist/models/families.js";
import { loraSites } from "../dist/models/lora.js";
import { readParameters } from "../dist/models/parameters.js";
import { bootstrap, meanOf } from "../dist/papers/statistics.js";
import { adamwState, adamwUpdate, clipScale, euclideanNorm } from "../dist/training/adamw.js";
import { initialLora } from "../dist/training/lora.js";
import { startPart } from "../dist/training/parts.js";
import { runRecipe } from "../dist/training/recipe.js";
import { replicatedObjective } from "../dist/training/replicas.js";
import { openDrawings, openEmoji } from "../dist/training/seeing/pictures.js";
import { skillItem, skills } from "../dist/training/skills/index.js";
import { openWeights } from "../dist/weights/index.js";
import { openSafetensors } from "../dist/weights/safetensors.js";
import { median, seconds } from "./harness/measure.mjs";
import { randomPrompt } from "./weights/random.mjs";

/** @typedef {Awaited<ReturnType<typeof openModel>>} OurModel */

/** What models that see are measured by. */
export const seeing = { ...seeingMeasures, openMultimodal, openDrawings, openEmoji, bootstrap, meanOf };

export { logSoftmaxAt } from "../dist/engine/shapers/logprobs.js";
export { bootstrap, meanOf, ratioOf } from "../dist/papers/statistics.js";
export { productRate } from "../dist/training/plan.js";
export { dequantizeMatrix, fromGgufBlocks, quantizeMatrix } from "../dist/weights/index.js";

/** All matrices of a checkpoint, as float32. @param {string} folder */
export async function matricesOf(folder) {
  const source = await openWeights(folder);
  const matrices = [];
  for (const { name, shape } of source.tensors.values()) {
    if (shape.length === 2)
      matrices.push({ values: await source.readFloat32(name), rows: shape[0], columns: shape[1] });
  }
  await source.close();
  return matrices;
}

/** The command line's entry point. */
export const commandLine = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));

/** The folder of a shipped model, or undefined. @param {string} name */
export function shippedModel(name) {
  const folder = fileURLToPath(new URL(`../models/${name}`, import.meta.url));
  return existsSync(join(folder, "model.safetensors")) ? folder : undefined;
}

/** A model as the library gives it. @param {string} path @param {{ threads: number, maxRows?: number, weights?: "auto" | "f32" | "int8" | "int4" }} options */
export const openRaw = (path, options) => open(path, options);

/** Held-out items of one checkable skill. @param {string} name @param {number} count */
export const heldOutItems = (name, count) => {
  const skill = skills.find((one) => one.name === name);
  if (!skill) throw new Error(`there is no skill "${name}"`);
  return Array.from({ length: count }, (_, i) => {
    const item = skillItem(skill, "test", 0, i);
    return { ...item, check: (/** @type {string} */ text) => skill.check(item, text) };
  });
};

/** Held-out items of the checkable skills, as the model's template writes them. @param {any} model @param {number} count */
export const skillPrompts = (model, count) =>
  Array.from({ length: count }, (_, i) => {
    const skill = skills[i % skills.length];
    const item = skillItem(skill, "test", 0, i);
    const check = (/** @type {string} */ text) => skill.check(item, text);
    const ids = model.tokenizer.encodeChat([{ role: "user", content: item.prompt }]);
    return { ids, check, skill: skill.name };
  });

/**
 * Opens a checkpoint folder or a GGUF file. By default matrices are used as they are stored: the blocks of a quantised
 * file stay as they are.
 * @param {string} path @param {{ weights?: "auto" | "f32" | "int8" | "int4", threads: number, maxRows?: number }} options
 */
export async function openModel(path, options) {
  const model = await open(path, options);
  const { vocabularySize } = model.config;

  /**
   * One request, greedy unless told otherwise, that end tokens do not end before `count` tokens.
   * @param {readonly number[]} prompt @param {number} count @param {object} [more] further options of `decode`
   */
  const request = (prompt, count, more) =>
    model.decode(prompt, { temperature: 0, maxTokens: count, minTokens: count, ...more });

  return {
    model,

    /**
     * Greedy, one request; seconds for all but the first of count + 1 tokens, as the peer counts.
     * @param {readonly number[]} prompt @param {number} count @param {object} [more] further options of `decode`
     */
    async generate(prompt, count, more) {
      const { tokens, seconds } = await request(prompt, count + 1, more).final;
      return { tokens, seconds: seconds.decode };
    },

    /** By how many nats the best token after a text is ahead of another; infinite where that is not among the next hundred. @param {readonly number[]} text @param {number} other */
    async lead(text, other) {
      const { tokens } = await model.score([...text, other], { top: 100 });
      const top = tokens[tokens.length - 1].top ?? [];
      return top[0].logprob - (top.find(({ token }) => token === other)?.logprob ?? -Infinity);
    },

    /**
     * Tokens per second of concurrent greedy requests together, their prompts included.
     * @param {readonly (readonly number[])[]} prompts @param {number} count
     */
    async together(prompts, count) {
      let generated = 0;
      const taken = await seconds(async () => {
        const results = await Promise.all(prompts.map((prompt) => request(prompt, count).final));
        for (const { counters } of results) generated += counters.generated;
      });
      return generated / taken;
    },

    /**
     * Rows that the model computed for this many concurrent samples of one prompt, one token each: nothing but prefill.
     * @param {readonly number[]} prompt @param {number} samples
     */
    async rowsOfSamples(prompt, samples) {
      const before = model.forest.counters.rows;
      const runs = Array.from({ length: samples }, (_, request) =>
        model.decode(prompt, { temperature: 1, maxTokens: 1, request }),
      );
      await Promise.all(runs.map((run) => run.final));
      return model.forest.counters.rows - before;
    },

    /**
     * Seconds of one pass over `rows` new nodes below one node at depth `context`: the median of a few.
     * @param {number} context @param {number} rows
     */
    async passSeconds(context, rows) {
      const lease = model.forest.lease();
      try {
        const { node: parent } = await lease.prefill(randomPrompt(context, vocabularySize));
        const children = Array.from({ length: rows }, (_, token) => ({ parent, token }));
        const times = [];
        for (let time = 0; time < 8; time++) {
          /** @type {Awaited<ReturnType<typeof lease.extend>>} */
          let nodes = [];
          times.push(
            await seconds(async () => {
              nodes = await lease.extend(children);
            }),
          );
          lease.release(nodes, { discard: true });
        }
        return median(times);
      } finally {
        lease.close();
      }
    },

    close: () => model.close(),
  };
}

/**
 * Training steps as the library's loop does them: gradients, clipping, AdamW; of all weights, or of a LoRA of this rank on q_proj and v_proj, PEFT's default.
 * @param {import("./training.mjs").TrainingOptions} options @param {{ rank?: number, recompute?: boolean }} [what]
 */
export async function openTraining(options, { rank, recompute } = {}) {
  const { folder, batch, length, threads, learningRate, clip, ...optimiser } = options;
  const { family, config } = familyOf(JSON.parse(readFileSync(join(folder, "config.json"), "utf8")));
  const source = await openSafetensors(join(folder, "model.safetensors"));
  const values = await readParameters(source, family, config);
  await source.close();
  /** @param {number} rank */
  const adapter = (rank) => {
    const lora = { rank, alpha: 2 * rank, targets: ["q_proj", "v_proj"] };
    const sites = loraSites(family, config, lora);
    return { config: lora, sites, values: initialLora(sites, rank, 1) };
  };
  const lora = rank === undefined ? undefined : adapter(rank);
  const objective = await replicatedObjective(config, values, { rows: batch, length, threads, lora, recompute });
  const state = adamwState(objective.parameters);
  const bytes = readFileSync(options.batches);
  const ids = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  const size = batch * (length + 1);
  let next = 0;

  async function step() {
    const start = (next++ * size) % ids.length;
    const tokens = ids.slice(start, start + size);
    const { loss, gradients } = await objective.gradients({ tokens, rows: batch, length });
    const scale = clipScale(euclideanNorm(gradients), clip);
    adamwUpdate(objective.parameters, gradients, state, learningRate, optimiser, scale);
    return loss;
  }

  return {
    /** @param {number} count */
    async steps(count) {
      /** @type {number[]} */
      const times = [];
      /** @type {number[]} */
      const losses = [];
      for (let i = 0; i < count; i++) times.push(await seconds(async () => void losses.push(await step())));
      return { seconds: times, losses };
    },
    /** Numbers that the model has. */
    parameters: [...values.values()].reduce((sum, stored) => sum + stored.length, 0),
    close: () => objective.release(),
  };
}

/** The filters of signals, loaded only where they are measured. */
export async function ourFilters() {
  const { findFilter, fitFilter, openFilter } = await import("../dist/methods/signals.js");
  const { synthesise } = await import("../dist/methods/signals/dkf/synthetic.js");
  return { findFilter, fitFilter, openFilter, synthesise };
}

/** Ways to fill a canvas and what they learn from, loaded only where they are measured. */
export async function ourUnmasking() {
  const { defineUnmasking } = await import("../dist/engine/canvas/method.js");
  const { permutation } = await import("../dist/engine/random.js");
  const { filterKind } = await import("../dist/methods/diffusion/learn2pd/filter.js");
  const { recordsOf } = await import("../dist/methods/diffusion/learn2pd/records.js");
  const { trainFilter } = await import("../dist/methods/diffusion/learn2pd/train.js");
  const { leap } = await import("../dist/methods/diffusion/localleap/index.js");
  const { highest } = await import("../dist/methods/diffusion/ranking.js");
  return {
    filterKind,
    highest,
    leap,
    permutation,
    recordsOf,
    skillItem,
    skills,
    trainFilter,
    /** A method without options that is looked at. @param {(request: any) => any} policy */
    unmasking: (policy) =>
      defineUnmasking({ name: "watched", summary: "is looked at", options: z.strictObject({}), policy }),
  };
}

/** Neurons and codebooks, loaded only where they are measured. */
export async function ourInside() {
  const { codebooks, neurons } = await import("../dist/methods/index.js");
  const { readTexts } = await import("../dist/text/index.js");
  const { logSoftmaxAt } = await import("../dist/engine/shapers/logprobs.js");
  const { isHeldOut } = await import("../dist/training/data.js");
  const { simpleStories } = await import("../dist/training/stories.js");
  return { codebooks, isHeldOut, logSoftmaxAt, neurons, open, readTexts, simpleStories };
}

/** Constraints and particles, loaded only where they are measured. */
export async function ourControl() {
  const { createConstraint, createVocabulary, isValid } = await import("../dist/constraints/index.js");
  const { jsonSchemaConstraint } = await import("../dist/constraints/json/index.js");
  const awrsReproduction = await import("../dist/methods/constrained/awrs/reproduce.js");
  const { awrs } = await import("../dist/methods/constrained/awrs/index.js");
  const { smc } = await import("../dist/methods/constrained/smc/index.js");
  const { runToy } = await import("../dist/methods/constrained/toy.js");
  const { overlap } = await import("../dist/methods/search/diverse-beam/reproduce.js");
  return {
    overlap,
    runToy,
    awrs,
    smc,
    awrsReproduction,
    createConstraint,
    isValid,
    jsonSchema: jsonSchemaConstraint,
    choices: (/** @type {string[]} */ list) => createConstraint({ choices: list }),
    createVocabulary,
  };
}

/** How searches over steps are compared. */
export async function ourSearches() {
  const { costAt } = await import("../dist/methods/search/a-star/measuring.js");
  const { bootstrap, mean } = await import("../dist/papers/statistics.js");
  return { bootstrap, costAt, mean };
}

/** Scoring of given answers, loaded only where it is measured. */
export async function ourChoices() {
  const choice = await import("../dist/evaluation/choice.js");
  const tasks = await import("../dist/evaluation/tasks.js");
  const { shapedScore } = await import("../dist/evaluation/shaped.js");
  const { shaperChoice } = await import("../dist/calls.js");
  return { ...choice, ...tasks, shapedScore, shaperChoice };
}

/** What `auto` chooses with, loaded only where it is measured. */
export async function ourChoice() {
  const { openChooser } = await import("../dist/methods/choice/auto/chooser.js");
  const { suited } = await import("../dist/methods/choice/auto/index.js");
  const { passCurve, passSeconds } = await import("../dist/engine/pass-curve.js");
  const { uniform } = await import("../dist/engine/random.js");
  return { openChooser, suited, passCurve, passSeconds, uniform };
}

/** Bandits, tasks and tables to play them on, and intervals. */
export async function ourBandits() {
  const { classificationTask, cosineTask, createPolicyByName, play, readTable } = await import(
    "../dist/methods/choice/index.js"
  );
  const { publicSets } = await import("../dist/methods/choice/neural-bandit/reproduce.js");
  const { meanWithin } = await import("../dist/papers/statistics.js");
  return { classificationTask, cosineTask, createPolicyByName, play, publicSets, readTable, meanWithin };
}

/** What `memory.mjs` asks of memories. */
export async function ourMemory() {
  const { compile, valueMaker } = await import("../dist/runtime/program.js");
  const { input, lower, reduceSum } = await import("../dist/tensor/index.js");
  return {
    measuring: await import("../dist/methods/memory/mlp-memory/measuring.js"),
    digits: await import("../dist/methods/memory/key-value-bottleneck/measuring.js"),
    bottleneck: await import("../dist/methods/memory/key-value-bottleneck/index.js"),
    search: await import("../dist/methods/memory/search.js"),
    inverted: await import("../dist/methods/memory/inverted.js"),
    building: await import("../dist/methods/memory/building.js"),
    datastores: await import("../dist/methods/memory/datastore.js"),
    mlp: await import("../dist/methods/memory/mlp-memory/index.js"),
    shapes: await import("../dist/methods/memory/mlp-memory/network.js"),
    statistics: await import("../dist/papers/statistics.js"),
    /** The sum of each key: a program that does nothing but read them. */
    async sumProgram() {
      const sums = reduceSum(input("keys", ["n", "width"]), -1);
      return {
        program: await compile(lower({ sums }, { parameters: "inputs" }), { threads: 2 }),
        value: await valueMaker(),
      };
    },
  };
}

/** knossos with what `instruments.mjs` asks of it. @param {number} threads */
export async function openTraced(threads) {
  const folder = shippedModel("knossos");
  if (!folder) throw new Error("models/knossos is absent");
  const model = await open(folder, { threads });
  const { layers, vocabularySize, hiddenSize, contextLength } = model.config;
  const residuals = Array.from({ length: layers }, (_, layer) => `layers.${layer}.residual`);
  const text = randomPrompt(100_000, vocabularySize);
  const last = `layers.${layers - 2}.residual`;
  /** @param {boolean} begins */
  const guess = (begins) => ({
    name: begins ? "begun" : "throughout",
    site: last,
    ...(begins && { begins }),
    inputs: { state: { shape: [hiddenSize] } },
    /** @param {unknown} _ @param {any} context */
    apply: (_, { inputs }) => ({ value: inputs.state }),
  });
  const [begun, throughout] = [guess(true), guess(false)];
  const state = Float32Array.from({ length: hiddenSize }, (_, i) => Math.sin(i));

  return {
    middle: residuals[layers >> 1],

    /** Milliseconds a token. @param {number} count @param {object} options */
    async decode(count, options) {
      const run = model.decode(text.slice(0, 32), { temperature: 0, maxTokens: count, minTokens: count, ...options });
      return (1000 * (await run.final).seconds.decode) / count;
    },

    /** Reads every layer; bytes resident after a quarter and at the end. @param {number} count */
    async trace(count) {
      let quarter = 0;
      let sum = 0;
      for await (const { position, values } of model.trace(text.slice(0, count), { taps: residuals })) {
        sum += values[residuals[0]].values[0];
        if (quarter === 0 && position >= count / 4) quarter = process.memoryUsage.rss();
      }
      return { quarter, end: process.memoryUsage.rss(), sum };
    },

    /** Logits of every token, in windows of the context. @param {number} count */
    async evaluate(count) {
      const { forest } = model;
      for (let start = 0; start < count; start += contextLength) {
        const lease = forest.lease();
        let tip;
        const end = Math.min(count, start + contextLength);
        for (let at = start; at < end; at += forest.maxRows) {
          const part = text.slice(at, Math.min(end, at + forest.maxRows));
          const nodes = await lease.extend(part.map((token, i) => ({ parent: i === 0 ? tip : i - 1, token })));
          if (tip) lease.release([tip]);
          tip = nodes[nodes.length - 1];
          lease.release(nodes.slice(0, -1));
        }
        lease.close();
      }
    },

    /** Milliseconds of a pass of a token and so many rows ahead of it. @param {number} rows @param {boolean} begins */
    async aheadPass(rows, begins) {
      const lease = model.forest.lease();
      const { node } = await lease.prefill(text.slice(0, 100));
      const edits = [{ edit: begins ? begun : throughout, inputs: () => ({ state }) }];
      const ahead = Array.from({ length: rows }, (_, i) => ({ parent: i, token: 0, ahead: { edits } }));
      const times = [];
      for (let time = 0; time < 12; time++) {
        /** @type {Awaited<ReturnType<typeof lease.extend>>} */
        let nodes = [];
        const taken = await seconds(async () => {
          nodes = await lease.extend([{ parent: node, token: time }, ...ahead]);
        });
        times.push(1000 * taken);
        lease.release(nodes.slice(0, 1), { discard: true });
      }
      lease.close();
      return median(times);
    },
  };
}

/**
 * Seconds of a step on one head and of a step on all weights, from the same weights on the same batches.
 * @param {import("./training.mjs").TrainingOptions} options
 */
export async function openParts(options) {
  const { folder, batch: rows, length, threads, learningRate, clip, ...optimiser } = options;
  const full = await openTraining(options);
  const { family, config } = familyOf(JSON.parse(readFileSync(join(folder, "config.json"), "utf8")));
  const source = await openSafetensors(join(folder, "model.safetensors"));
  const values = await readParameters(source, family, config);
  await source.close();
  const task = { family, config, values, rows, length, seed: 1, base: folder, threads };
  const { objective } = await startPart({ kind: "heads", settings: { heads: 1 } }, task);
  const state = adamwState(objective.parameters);
  const tokens = Int32Array.from(randomPrompt(rows * (length + 1), config.vocabularySize));
  return {
    part: () =>
      seconds(async () => {
        const { gradients } = await objective.gradients({ tokens, rows, length });
        adamwUpdate(
          objective.parameters,
          gradients,
          state,
          learningRate,
          optimiser,
          clipScale(euclideanNorm(gradients), clip),
        );
      }),
    full: async () => (await full.steps(1)).seconds[0],
    async close() {
      await objective.release();
      await full.close();
    },
  };
}

/** Measurements of a reproduction at a size, without keeping anything. @param {"a-star"} name @param {"tiny" | "quick"} size @param {(line: string) => void} progress */
export async function ourReproduction(name, size, progress) {
  const { reproduction } = await import(`../dist/methods/search/${name}/reproduce.js`);
  const { open } = await import("../dist/index.js");
  /** @type {{ close(): Promise<void> }[]} */
  const models = [];
  try {
    return await reproduction.measure(
      {
        size,
        seed: 1,
        signal: new AbortController().signal,
        open: async (/** @type {string} */ reference) => {
          const model = await open(reference);
          models.push(model);
          return model;
        },
        step: (/** @type {string} */ key, /** @type {(step: object) => unknown} */ work) => {
          progress(`  ${key}`);
          return work({ folder: "", progress: () => {} });
        },
      },
      reproduction.sizes[size],
    );
  } finally {
    for (const model of models) await model.close();
  }
}

/**
 * Share of the guesses of a method's part among whose `top` likeliest tokens the model's own choice is, by level, under the tokens of these texts.
 * @param {any} model @param {string} name @param {readonly (readonly number[])[]} texts @param {number} top @param {string} [part] default: the method's own
 */
export async function guessAccuracies(model, name, texts, top, part = name) {
  const foresight = await foresightOf(model, name, part);
  const sums = new Array(foresight.levels).fill(0);
  for (const text of texts) {
    const shares = await guessAccuracy(model, foresight, text, { top });
    for (const [i, share] of shares.entries()) sums[i] += share / texts.length;
  }
  return sums;
}

/** Seconds of a pass over so many rows, over those of one. @param {any} model @param {number} rows */
export async function rowCost(model, rows) {
  const curve = await passCurve(model);
  return passSeconds(curve, rows) / passSeconds(curve, 1);
}

/**
 * Trains a part of a model by a recipe that `write` writes, given the model's config.
 * @param {string} path @param {(config: object) => void} write
 * @param {{ base: string, data: string, out: string, run: string, progress: (line: string) => void }} options
 */
export async function trainRecipe(path, write, { base, data, out, run, progress }) {
  const { partKinds } = await import("../dist/methods/index.js");
  write(JSON.parse(readFileSync(join(base, "config.json"), "utf8")));
  const options = { dataFolder: data, runFolder: run, out, threads: 1, partKinds };
  const started = performance.now();
  const { history } = await runRecipe(path, options);
  const { step, loss } = history[history.length - 1];
  progress(`  ${step} steps, loss ${loss.toFixed(3)}, ${((performance.now() - started) / 1000).toFixed(0)} s`);
}
