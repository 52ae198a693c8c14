import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gguf } from "@huggingface/gguf";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { formats, halves, toHalf } from "./blocks.mjs";
import { exportGguf } from "./gguf.mjs";
import { writeSafetensors } from "./safetensors.mjs";
import { llamaTensors, shapes } from "./shapes.mjs";
import { syntheticTokenizer } from "./tokenizer.mjs";

describe("number formats", () => {
  it("turns every half-precision number into itself", () => {
    const numbers = Array.from(halves.keys()).filter((half) => !Number.isNaN(halves[half]));
    expect(numbers.filter((half) => toHalf(halves[half]) !== half)).toEqual([]);
  });

  it("rounds to the nearest half, ties to even", () => {
    expect(halves[toHalf(1 + 2 ** -11)]).toBe(1);
    expect(halves[toHalf(1 + 3 * 2 ** -11)]).toBe(1 + 2 ** -9);
    expect(halves[toHalf(65519)]).toBe(65504);
    expect(halves[toHalf(65520)]).toBe(Number.POSITIVE_INFINITY);
    expect(halves[toHalf(2 ** -25)]).toBe(0);
    expect(halves[toHalf(1.5 * 2 ** -24)]).toBe(2 ** -23);
  });

  const values = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i * 1.7) * (i < 32 ? 1 : 30));

  it("writes Q4_0 as ggml does: the largest value is met exactly, the others within half a step", () => {
    const bytes = formats.Q4_0.encode(values);
    for (let block = 0; block < 2; block++) {
      const scale = halves[bytes[block * 18] | (bytes[block * 18 + 1] << 8)];
      const largest = values
        .subarray(block * 32, block * 32 + 32)
        .reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a));
      expect(scale).toBe(halves[toHalf(largest / -8)]);
      for (let j = 0; j < 32; j++) {
        const code = (bytes[block * 18 + 2 + (j % 16)] >> (j < 16 ? 0 : 4)) & 15;
        // The side opposite to the largest value ends at 7 steps: up to one step is lost there.
        const tolerance = Math.abs(scale) * (code === 15 ? 1.01 : 0.51);
        expect(Math.abs((code - 8) * scale - values[block * 32 + j])).toBeLessThanOrEqual(tolerance);
      }
    }
  });

  it("writes Q8_0 within half a step", () => {
    const bytes = formats.Q8_0.encode(values);
    const codes = new Int8Array(bytes.buffer);
    for (let i = 0; i < 64; i++) {
      const block = i >> 5;
      const scale = halves[bytes[block * 34] | (bytes[block * 34 + 1] << 8)];
      expect(Math.abs(codes[block * 34 + 2 + (i & 31)] * scale - values[i])).toBeLessThanOrEqual(scale * 0.57);
    }
  });
});

describe("export", () => {
  const folder = mkdtempSync(join(tmpdir(), "gguf-"));
  const config = {
    ...shapes.knossos,
    hidden_size: 64,
    intermediate_size: 96,
    num_hidden_layers: 1,
    vocab_size: 300,
    eos_token_id: 2,
  };
  const path = join(folder, "model.gguf");
  /** Each value of a tensor tells its place, exactly representable in F16. @param {number} length */
  const numbered = (length) => Float32Array.from({ length }, (_, i) => i % 2048);

  beforeAll(() => {
    writeFileSync(join(folder, "config.json"), JSON.stringify(config));
    writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(syntheticTokenizer(config.vocab_size)));
    writeSafetensors(join(folder, "model.safetensors"), llamaTensors(config), "F32", ({ shape }) => [
      new Uint8Array(numbered(shape.reduce((a, b) => a * b, 1)).buffer),
    ]);
    exportGguf(folder, path, "F16");
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it("can be read by Hugging Face's reader", async () => {
    const { metadata, tensorInfos } = await gguf(path, { allowLocalFile: true });
    expect(metadata).toMatchObject({
      "general.architecture": "llama",
      "llama.attention.head_count_kv": 4,
      "tokenizer.ggml.model": "gpt2",
      "tokenizer.ggml.eos_token_id": 2,
    });
    expect(metadata["tokenizer.ggml.tokens"]).toHaveLength(300);
    expect(new Set(/** @type {string[]} */ (metadata["tokenizer.ggml.tokens"])).size).toBe(300);
    expect(tensorInfos.map(({ name }) => name)).toEqual(
      [
        "token_embd",
        ...["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"].map(
          (part) => `blk.0.${part}`,
        ),
        "output_norm",
      ].map((name) => `${name}.weight`),
    );
    expect(tensorInfos.find(({ name }) => name === "blk.0.ffn_down.weight")).toMatchObject({
      shape: [96n, 64n],
      dtype: 1,
    });
    expect(tensorInfos.find(({ name }) => name === "output_norm.weight")).toMatchObject({ shape: [64n], dtype: 0 });
  });

  it("interleaves the halves of each query head, and leaves the values alone", async () => {
    const { readFileSync } = await import("node:fs");
    const { tensorInfos, tensorDataOffset } = await gguf(path, { allowLocalFile: true });
    const file = readFileSync(path);
    /** First value of each row. @param {string} name */
    const rows = (name) => {
      const { offset, shape } = /** @type {any} */ (tensorInfos.find((tensor) => tensor.name === name));
      const [columns, count] = shape.map(Number);
      const start = Number(tensorDataOffset + offset);
      return Array.from({ length: count }, (_, row) => halves[file.readUInt16LE(start + row * columns * 2)] / columns);
    };
    // head width 8: rows 0 … 3 are the first half of the rotation, 4 … 7 the second
    expect(rows("blk.0.attn_q.weight").slice(0, 16)).toEqual([0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15]);
    expect(rows("blk.0.attn_k.weight").slice(0, 8)).toEqual([0, 4, 1, 5, 2, 6, 3, 7]);
    expect(rows("blk.0.attn_v.weight").slice(0, 4)).toEqual([0, 1, 2, 3]);
  });

  it("refuses a checkpoint whose tensors do not fit its config", () => {
    writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, intermediate_size: 128 }));
    expect(() => exportGguf(folder, path, "F16")).toThrow(/gate_proj.*128,64.*96,64/);
  });
});
