/** node-llama-cpp: llama.cpp's prebuilt CPU library through its own low-level API, token ids in and out. */
import { fileURLToPath } from "node:url";
import { startChild } from "../harness/child.mjs";
import { median } from "../harness/measure.mjs";

/**
 * Its two ways to speculate, with the options of its own classes (InputLookupTokenPredictor, DraftSequenceTokenPredictor).
 * @typedef {{ kind: "lookup", options?: object } | { kind: "draft", gguf: string, options?: object }} Predictor
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
    /** Loads the model if need be, and makes a fresh context. @param {PeerSettings} settings */
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
 * Opens the peer with whichever settings generate fastest on this prompt: flash attention on or off, and up to `threads`
 * threads. More threads are not always faster: llama.cpp's threads spin at a barrier after every operation, and where the
 * system puts two of them on one core a step takes many times as long.
 * @param {LlamaCpp} peer @param {number} threads @param {readonly number[]} prompt @param {number} count
 */
export async function openFastest(peer, threads, prompt, count) {
  /** @type {(PeerSettings & { tokensPerSecond: number })[]} */
  const tried = [];
  for (let used = 1; used <= threads; used++) {
    for (const flashAttention of [false, true]) {
      await peer.open({ threads: used, flashAttention });
      const speeds = [];
      for (let run = 0; run < 4; run++) speeds.push(count / (await peer.generate(prompt, count)).seconds);
      tried.push({ threads: used, flashAttention, tokensPerSecond: median(speeds.slice(1)) });
    }
  }
  const settings = tried.reduce((a, b) => (b.tokensPerSecond > a.tokensPerSecond ? b : a));
  await peer.open(settings);
  return { settings, tried };
}

/** @param {PeerSettings & { tokensPerSecond: number }} tried */
export const describeSettings = ({ threads, flashAttention, tokensPerSecond }) =>
  `${tokensPerSecond.toFixed(1)}/s with ${threads} thread${threads === 1 ? "" : "s"}${flashAttention ? " and flash attention" : ""}`;
