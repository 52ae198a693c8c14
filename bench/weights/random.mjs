/** Random Llama checkpoints in Hugging Face's layout: speed depends on the shape, not on what the weights know. */
import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { toHalf } from "./blocks.mjs";
import { writeSafetensors } from "./safetensors.mjs";
import { llamaTensors, shapes } from "./shapes.mjs";
import { syntheticTokenizer } from "./tokenizer.mjs";

export const cache = fileURLToPath(new URL("../cache/", import.meta.url));

/** Standard deviation of every matrix, as in Llama's and GPT-2's initialisation; norms start at one. */
const deviation = 0.02;

/**
 * The folder of a random checkpoint, written on first use: config.json, tokenizer.json and model.safetensors.
 * @param {keyof typeof shapes} shape
 * @param {{ seed?: number, dtype?: "F16" | "F32" }} [options]
 */
export function randomCheckpoint(shape, { seed = 1, dtype = "F16" } = {}) {
  const folder = join(cache, `llama-${shape}-${dtype}-seed${seed}`);
  if (existsSync(folder)) return folder;
  const config = { ...shapes[shape], torch_dtype: dtype === "F16" ? "float16" : "float32" };
  const unfinished = `${folder}.part`;
  mkdirSync(unfinished, { recursive: true });
  writeFileSync(join(unfinished, "config.json"), JSON.stringify(config, null, 2));
  writeFileSync(join(unfinished, "tokenizer.json"), JSON.stringify(syntheticTokenizer(config.vocab_size)));
  const next = randomWords(seed);
  writeSafetensors(
    join(unfinished, "model.safetensors"),
    llamaTensors(config),
    dtype,
    ({ shape: [rows, columns = 1], name }) =>
      name.includes("norm") ? [ones(rows, dtype)] : normalPieces(rows * columns, dtype, next),
  );
  renameSync(unfinished, folder);
  return folder;
}

/** @param {number} count @param {"F16" | "F32"} dtype */
function ones(count, dtype) {
  const values = dtype === "F16" ? new Uint16Array(count).fill(toHalf(1)) : new Float32Array(count).fill(1);
  return new Uint8Array(values.buffer);
}

/**
 * Nearly normal values: the four bytes of a random word summed (Irwin–Hall), by table. A billion weights take seconds.
 * @param {number} count @param {"F16" | "F32"} dtype @param {() => number} next
 */
function* normalPieces(count, dtype, next) {
  const levels = Float32Array.from(
    { length: 4 * 255 + 1 },
    (_, sum) => ((sum - 510) / Math.sqrt((4 * (256 ** 2 - 1)) / 12)) * deviation,
  );
  const table = dtype === "F16" ? Uint16Array.from(levels, toHalf) : levels;
  for (let done = 0; done < count; done += 1 << 22) {
    const piece = new /** @type {any} */ (table.constructor)(Math.min(1 << 22, count - done));
    for (let i = 0; i < piece.length; i++) {
      const word = next();
      piece[i] = table[(word & 255) + ((word >>> 8) & 255) + ((word >>> 16) & 255) + (word >>> 24)];
    }
    yield new Uint8Array(piece.buffer);
  }
}

/** Marsaglia's xorshift32. @param {number} seed */
export function randomWords(seed) {
  let state = Math.imul(seed + 1, 0x9e3779b1) | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state;
  };
}

/** Token ids of a random prompt. @param {number} length @param {number} vocabulary @param {number} [seed] */
export function randomPrompt(length, vocabulary, seed = 1) {
  const next = randomWords(seed);
  return Array.from({ length }, () => (next() >>> 0) % vocabulary);
}
