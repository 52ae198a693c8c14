/** node-llama-cpp: llama.cpp's prebuilt CPU library through its own low-level API, token ids in and out. */
import { fileURLToPath } from "node:url";
import { startChild } from "../harness/child.mjs";
import { median } from "../harness/measure.mjs";

/**
 * Its two ways to speculate, with the options of its own classes (InputLookupTokenPredictor, DraftSequenceTokenPredictor);
 * `verified`: the same proposals in a loop without the faults of its own (verified-speculation.mjs), greedy only.
 * @typedef {{ verified?: boolean, options?: object } & ({ kind: "lookup" } | { kind: "draft", gguf: string })} Predictor
 */

/**
 * @typedef {object} Generated
 * @property {number[]} tokens count + 1 of them
 * @property {number} seconds for all but the first: neither the prompt nor the first step counts
 * @property {number} accepted predicted tokens that the model confirmed
 * @property {number} rejected
 */

/** @typedef {{ threads: number, flashAttention: boolean }} PeerSettings */

/**
 * @param {string} gguf path of the model
 * @param {{ contextSize: number, predictor?: Predictor }} options
 */
export function startLlamaCpp(gguf, options) {
  const child = startChild(process.execPath, [fileURLToPath(new URL("llama-cpp-process.mjs", import.meta.url))]);
  return {
    /** Loads the model if need be, and makes a fresh context. @param {PeerSettings & { predictor?: Predictor }} settings */
    open: (settings) => child.call("open", { gguf, ...options, ...settings }),
    /**
     * Feeds the prompt, then generates `count` timed tokens (greedy at temperature 0).
     * @param {readonly number[]} prompt @param {number} count
     * @param {{ temperature?: number, seed?: number }} [sampling]
     * @returns {Promise<Generated>}
     */
    generate: (prompt, count, { temperature = 0, seed = 0 } = {}) =>
      child.call("generate", { prompt, count, temperature, seed }),
    close: () => child.close(),
  };
}

/** @typedef {ReturnType<typeof startLlamaCpp>} LlamaCpp */

/**
 * Which settings generate fastest on this prompt: flash attention on or off, with each of these numbers of threads. More
 * threads are not always faster: llama.cpp's threads spin at a barrier after every operation, and where the system puts
 * two of them on one core a step takes many times as long.
 * @param {LlamaCpp} peer @param {readonly number[]} threads @param {readonly number[]} prompt @param {number} count
 */
export async function fastestSettings(peer, threads, prompt, count) {
  /** @type {(PeerSettings & { tokensPerSecond: number })[]} */
  const tried = [];
  for (const used of threads) {
    for (const flashAttention of [false, true]) {
      await peer.open({ threads: used, flashAttention });
      const speeds = [];
      for (let run = 0; run < 3; run++) speeds.push(count / (await peer.generate(prompt, count)).seconds);
      tried.push({ threads: used, flashAttention, tokensPerSecond: median(speeds.slice(1)) });
    }
  }
  const { threads: best, flashAttention } = tried.reduce((a, b) => (b.tokensPerSecond > a.tokensPerSecond ? b : a));
  return { settings: { threads: best, flashAttention }, tried };
}

/** @param {PeerSettings & { tokensPerSecond: number }} tried */
export const describeSettings = ({ threads, flashAttention, tokensPerSecond }) =>
  `${tokensPerSecond.toFixed(1)}/s with ${threads} thread${threads === 1 ? "" : "s"}${flashAttention ? " and flash attention" : ""}`;
