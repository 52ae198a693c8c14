/** A checkpoint of the shape of Llama 3.1 8B in BF16 whose unread tensors are holes in the file: a few gigabytes where the whole has sixteen. */
import { renameSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { llamaTensors } from "./shapes.mjs";

const config = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_act: "silu",
  rms_norm_eps: 1e-5,
  tie_word_embeddings: false,
  bos_token_id: null,
  eos_token_id: null,
  hidden_size: 4096,
  intermediate_size: 14336,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  vocab_size: 128256,
  max_position_embeddings: 131072,
  rope_theta: 500000,
};

/** Writes the output matrix, and the up-projections of the first layers. @param {string} folder @param {number} layers */
export async function sparseLlama8B(folder, layers) {
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  const tensors = llamaTensors(config);
  let position = 0;
  /** @type {Record<string, unknown>} */
  const header = {};
  /** @type {{ name: string, from: number, length: number }[]} */
  const places = [];
  for (const { name, shape } of tensors) {
    const length = 2 * shape.reduce((/** @type {number} */ a, /** @type {number} */ b) => a * b, 1);
    header[name] = { dtype: "BF16", shape, data_offsets: [position, position + length] };
    places.push({ name, from: position, length });
    position += length;
  }
  const json = Buffer.from(JSON.stringify(header));
  const padded = Math.ceil(json.length / 8) * 8;
  const first = Buffer.alloc(8 + padded, 0x20);
  first.writeBigUInt64LE(BigInt(padded));
  json.copy(first, 8);
  const unfinished = join(folder, "model.safetensors.part");
  const file = await open(unfinished, "w");
  try {
    await file.truncate(first.length + position);
    await file.write(first, 0, first.length, 0);
    const piece = new Uint16Array(2 ** 22);
    const bytes = new Uint8Array(piece.buffer);
    let state = 1;
    for (const { name, from, length } of places) {
      const layer = /layers\.(\d+)\.mlp\.up_proj/.exec(name)?.[1];
      if (name !== "lm_head.weight" && !(layer !== undefined && Number(layer) < layers)) continue;
      for (let done = 0; done < length; done += bytes.length) {
        // Signs and mantissas at random, exponents around those of a deviation of 0.02.
        for (let i = 0; i < piece.length; i++) {
          state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
          piece[i] = ((state >>> 31) << 15) | ((118 + ((state >>> 28) & 3)) << 7) | ((state >>> 12) & 127);
        }
        const size = Math.min(bytes.length, length - done);
        await file.write(bytes, 0, size, first.length + from + done);
      }
    }
  } finally {
    await file.close();
  }
  renameSync(unfinished, join(folder, "model.safetensors"));
}
