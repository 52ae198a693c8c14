// node-llama-cpp in a process of its own (harness/child.mjs); the calls are documented in llama-cpp.mjs.
import { DraftSequenceTokenPredictor, getLlama, InputLookupTokenPredictor, LlamaLogLevel } from "node-llama-cpp";
import { serve } from "../harness/child.mjs";
import { draftFrom, lookUpWith, speculate } from "./verified-speculation.mjs";

/** @typedef {import("node-llama-cpp").LlamaModel} LlamaModel */
/** @typedef {import("node-llama-cpp").LlamaContext} LlamaContext */
/** @typedef {import("node-llama-cpp").LlamaContextSequence} LlamaContextSequence */
/** @typedef {import("node-llama-cpp").Token} Token */

const llama = await getLlama({
  gpu: false,
  build: "never",
  skipDownload: true,
  maxThreads: 0, // the context's own thread count is then exact, not a hint
  logLevel: LlamaLogLevel.error,
  logger: (_level, message) => process.stderr.write(`llama.cpp: ${message.trim()}\n`),
});

/** @type {Map<string, LlamaModel>} */
const models = new Map();
/** @type {LlamaContext[]} */
let contexts = [];
/** @type {LlamaContextSequence | undefined} */
let sequence;
/** @type {import("./verified-speculation.mjs").Propose | undefined} instead of the sequence's own predictor */
let propose;

/** @param {string} modelPath */
async function load(modelPath) {
  const loaded =
    models.get(modelPath) ?? (await llama.loadModel({ modelPath, gpuLayers: 0, ignoreMemorySafetyChecks: true }));
  models.set(modelPath, loaded);
  return loaded;
}

/** @param {string} modelPath @param {{ contextSize: number, threads: number, flashAttention: boolean }} options */
async function createContext(modelPath, { contextSize, threads, flashAttention }) {
  const model = await load(modelPath);
  const context = await model.createContext({
    contextSize,
    threads,
    flashAttention,
    batchSize: 512,
    ignoreMemorySafetyChecks: true,
  });
  contexts.push(context);
  return context;
}

/** @param {import("./llama-cpp.mjs").Predictor} predictor @param {any} options */
async function createProposer(predictor, options) {
  if (predictor.kind === "lookup") return lookUpWith(new InputLookupTokenPredictor(predictor.options));
  return draftFrom((await createContext(predictor.gguf, options)).getSequence(), predictor.options);
}

/** Generates like the sequence's own loop, but verifies whole drafts. @param {LlamaContextSequence} sequence @param {Token[]} prompt @param {number} count */
async function generateVerified(sequence, prompt, count) {
  /** @type {Token[]} */
  const tokens = [];
  let [accepted, drafted] = [0, 0];
  /** @type {bigint | undefined} */
  let start;
  let untimed = 0;
  for await (const round of speculate(
    sequence,
    prompt,
    /** @type {import("./verified-speculation.mjs").Propose} */ (propose),
  )) {
    tokens.push(...round.tokens);
    accepted += round.tokens.length - 1;
    drafted += round.drafted;
    if (start === undefined) {
      start = process.hrtime.bigint(); // the first pass is not timed, and its tokens do not count
      untimed = tokens.length;
    } else if (tokens.length - untimed >= count) break;
  }
  const elapsed = Number(process.hrtime.bigint() - /** @type {bigint} */ (start)) / 1e9;
  const seconds = (elapsed * count) / (tokens.length - untimed); // the last pass may give more than was asked for
  return { tokens: tokens.slice(0, count + 1), seconds, accepted, rejected: drafted - accepted };
}

/** @param {import("./llama-cpp.mjs").Predictor | undefined} predictor @param {any} options */
async function createPredictor(predictor, options) {
  if (predictor === undefined) return undefined;
  if (predictor.kind === "lookup") return new InputLookupTokenPredictor(predictor.options);
  const draft = await createContext(predictor.gguf, options);
  return new DraftSequenceTokenPredictor(draft.getSequence(), predictor.options);
}

await serve({
  async open({ gguf, predictor = undefined, ...options }) {
    for (const context of contexts) await context.dispose();
    contexts = [];
    const context = await createContext(gguf, options);
    propose = predictor?.verified ? await createProposer(predictor, options) : undefined;
    const tokenPredictor = propose ? undefined : await createPredictor(predictor, options);
    sequence = context.getSequence({ tokenPredictor });
    return { threads: context.idealThreads, flashAttention: context.flashAttention };
  },

  async generate({ prompt, count, temperature, seed }) {
    if (!sequence) throw new Error("no model is open");
    const prefix = prompt.slice(0, -1);
    await sequence.adaptStateToTokens(prefix, false); // an earlier run's prompt is kept as far as it agrees
    const missing = prefix.slice(sequence.nextTokenIndex);
    if (missing.length > 0) await sequence.evaluateWithoutGeneratingNewTokens(missing);
    if (propose) return generateVerified(sequence, prompt, count);
    sequence.tokenPredictor?.updateInputTokens(prompt);
    const before = sequence.tokenPredictions;
    /** @type {Token[]} */
    const tokens = [];
    /** @type {bigint | undefined} */
    let start;
    // The first token is not timed: with a draft model its step also feeds the draft the prompt.
    for await (const token of sequence.evaluate(prompt.slice(-1), {
      temperature,
      seed,
      topK: 0,
      topP: 1,
      yieldEogToken: true,
    })) {
      start ??= process.hrtime.bigint();
      tokens.push(token);
      if (tokens.length > count) break;
    }
    const seconds = Number(process.hrtime.bigint() - /** @type {bigint} */ (start)) / 1e9;
    const after = sequence.tokenPredictions;
    return { tokens, seconds, accepted: after.validated - before.validated, rejected: after.refuted - before.refuted };
  },
});
await llama.dispose();
