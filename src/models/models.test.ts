/** Every architecture, and every way of storing it, gives the logits of a forward pass computed elsewhere. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { dataPath, noData } from "../../test/data.ts";
import { logSoftmax } from "../../test/fixtures/reference.ts";
import {
  removeModel,
  type TinyModel,
  variants,
  vocabularySize,
  writeTinyModel,
} from "../../test/fixtures/tiny-model.ts";
import { argmax as largest } from "../engine/distribution.ts";
import { type Model, type OpenOptions, open } from "../open.ts";
import { ggmlTypes, ggufBytes } from "../weights/gguf.fixture.ts";
import { dequantizeBlocks } from "../weights/gguf-blocks.ts";
import { float16ToFloat32, float32ToFloat16 } from "../weights/half.ts";
import { dequantizeMatrix, quantizeMatrix } from "../weights/index.ts";

const tokens = Array.from({ length: 40 }, (_, i) => (i * i * 7 + 3 * i + 5) % vocabularySize);

/** Largest difference of logits after prefixes on both sides of chunk borders. */
async function largestError(model: Model, wanted: readonly ArrayLike<number>[]): Promise<number> {
  const lease = model.forest.lease();
  let worst = 0;
  for (const length of [1, 2, 16, 17, 40]) {
    const { node } = await lease.prefill(tokens.slice(0, length));
    node.logits!.forEach((x, i) => {
      worst = Math.max(worst, Math.abs(x - wanted[length - 1][i]));
    });
  }
  lease.close();
  return worst;
}

async function errorOf(tiny: TinyModel, options: OpenOptions = {}): Promise<number> {
  await using model = await open(tiny.folder, { threads: 1, maxRows: 16, ...options });
  return await largestError(model, tiny.logits(tokens)); // the model closes with this function
}

describe("tiny random checkpoints agree with the float64 reference", () => {
  test.each(Object.entries(variants))("%s", async (_, options) => {
    const tiny = await writeTinyModel(options);
    expect(await errorOf(tiny)).toBeLessThan(1e-4);
    await removeModel(tiny);
  });

  test("the checks tell the variants apart", async () => {
    const tiny = await writeTinyModel(variants.mistral);
    // The same weights without the window, and with other rotary frequencies, are other models.
    for (const change of [{ sliding_window: null }, { rope_theta: 500 }]) {
      await writeFile(join(tiny.folder, "config.json"), JSON.stringify({ ...tiny.config, ...change }));
      expect(await errorOf(tiny)).toBeGreaterThan(1e-2);
    }
    await removeModel(tiny);
  });
});

describe("quantised", () => {
  /** The reference on the values that the codes stand for: what remains is the rounding of activations to 8 bits. */
  test.each([
    ["int8", 8],
    ["int4", 4],
  ] as const)("%s is the reference on dequantised weights", async (weights, bits) => {
    const config = { hidden_size: 64 }; // whole blocks: the embedding is gathered from the head's codes
    const tiny = await writeTinyModel({ config });
    const rounded = await writeTinyModel({
      config,
      tensors: (all) => {
        for (const [name, { shape, data }] of all) {
          if (shape.length !== 2) continue;
          const matrix = quantizeMatrix(data as Float32Array, shape[0], shape[1], bits);
          all.set(name, { shape, data: dequantizeMatrix(matrix) });
        }
      },
    });
    await using model = await open(tiny.folder, { threads: 1, maxRows: 16, weights });
    const near = await largestError(model, rounded.logits(tokens));
    const far = await largestError(model, tiny.logits(tokens));
    expect(near).toBeLessThan(0.4); // of logits up to 24
    expect(near).toBeLessThan(far * (bits === 4 ? 0.5 : 1.01));
    await Promise.all([tiny, rounded].map(removeModel));
  });

  test.each(["F16", "Q8_0", "Q4_0"] as const)("a GGUF file of %s", async (type) => {
    const tiny = await writeTinyModel();
    const values = new Map<string, Float32Array>();
    const blocks = [...tiny.weights].map(([name, { shape, data }]) => {
      const floats = Float32Array.from(data);
      const matrix = shape.length === 2;
      const bytes = matrix ? encoded(type, ggufOrder(name, shape, floats)) : new Uint8Array(floats.buffer);
      if (matrix) values.set(name, roundTrip(type, floats));
      return { name: ggufName(name), type: ggmlTypes[matrix ? type : "F32"]!, shape: [...shape], bytes };
    });
    const { config } = tiny;
    const metadata = Object.fromEntries(
      Object.entries({
        block_count: config.num_hidden_layers,
        context_length: config.max_position_embeddings,
        embedding_length: config.hidden_size,
        feed_forward_length: config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
      }).map(([key, value]) => [`llama.${key}`, value as number]),
    );
    const path = join(tiny.folder, "tiny.gguf");
    await writeFile(path, ggufBytes({ "general.architecture": "llama", ...metadata }, blocks));
    const stored = await writeTinyModel({
      tensors: (all) => {
        for (const [name, data] of values) all.set(name, { shape: all.get(name)!.shape, data });
      },
    });
    await using model = await open(path, { threads: 1, maxRows: 16 });
    expect(await largestError(model, stored.logits(tokens))).toBeLessThan(type === "F16" ? 1e-4 : 0.25);
    await Promise.all([tiny, stored].map(removeModel));
  });
});

/** llama.cpp's name of a Hugging Face tensor. */
function ggufName(name: string): string {
  const outer: Record<string, string> = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
  };
  const parts: Record<string, string> = {
    input_layernorm: "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    post_attention_layernorm: "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
  };
  const [, layer, part] = name.match(/^model\.layers\.(\d+)\.(.*)\.weight$/) ?? [];
  return outer[name] ?? `blk.${layer}.${parts[part]}.weight`;
}

/** llama.cpp's converter puts the two rows that rotate together side by side (`permute` in convert_hf_to_gguf.py). */
function ggufOrder(name: string, [rows, columns]: readonly number[], values: Float32Array): Float32Array {
  if (!/[qk]_proj/.test(name)) return values;
  const dimension = 8;
  const result = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const [head, within] = [Math.floor(row / dimension), row % dimension];
    const from = head * dimension + (within % 2) * (dimension / 2) + Math.floor(within / 2);
    result.set(values.subarray(from * columns, (from + 1) * columns), row * columns);
  }
  return result;
}

/** ggml's reference quantisers, in blocks of 32: a half-precision scale, then the codes. */
function encoded(type: "F16" | "Q8_0" | "Q4_0", values: Float32Array): Uint8Array {
  if (type === "F16") return new Uint8Array(float32ToFloat16(values).buffer);
  const out: number[] = [];
  for (let at = 0; at < values.length; at += 32) {
    const block = [...values.subarray(at, at + 32)];
    const extreme = block.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);
    const half = float32ToFloat16(Float32Array.of(type === "Q8_0" ? Math.abs(extreme) / 127 : extreme / -8));
    const scale = float16ToFloat32(half)[0];
    out.push(half[0] & 255, half[0] >> 8);
    if (type === "Q8_0") out.push(...block.map((x) => Math.max(-127, Math.min(127, Math.round(x / scale))) & 255));
    else {
      const codes = block.map((x) => Math.max(0, Math.min(15, Math.floor(x / scale + 8.5))));
      for (let i = 0; i < 16; i++) out.push(codes[i] | (codes[i + 16] << 4));
    }
  }
  return Uint8Array.from(out);
}

const roundTrip = (type: "F16" | "Q8_0" | "Q4_0", values: Float32Array): Float32Array =>
  type === "F16" ? float16ToFloat32(float32ToFloat16(values)) : dequantizeBlocks(type, encoded(type, values));

const stories = dataPath("stories260k", "expected.json");
describe.skipIf(!stories)(`stories260K gives what was computed elsewhere${stories ? "" : `: ${noData}`}`, () => {
  interface Expected {
    greedy_200: { ids: number[] };
    cases: { prompt_ids: number[]; greedy_ids: number[]; next_top8: [number, number][] }[];
  }

  test("next-token log-probabilities and greedy continuations", async () => {
    const expected = JSON.parse(await readFile(stories!, "utf8")) as Expected;
    await using model = await open(dataPath("stories260k")!, { threads: 1 });
    for (const { prompt_ids, greedy_ids, next_top8 } of expected.cases) {
      const lease = model.forest.lease();
      const logs = logSoftmax((await lease.prefill(prompt_ids)).node.logits!);
      for (const [token, log] of next_top8) {
        expect(Math.abs(logs[token] - log)).toBeLessThan(1e-4);
      }
      // Step by step, for the reference goes on beyond the token that ends a text.
      const text = [...prompt_ids];
      while (text.length < greedy_ids.length) {
        const { node } = await lease.prefill(text);
        text.push(largest(node.logits!));
      }
      expect(text).toEqual(greedy_ids);
      lease.close();
    }
    const [first, ...rest] = expected.greedy_200.ids;
    const { tokens } = await model.decode([first], { temperature: 0, maxTokens: rest.length }).final;
    expect(tokens).toEqual(rest);
  });
});

const gpt2 = dataPath("tiny-random-gpt2", "expected.json");
describe.skipIf(!gpt2)(`tiny-random-gpt2 gives what was published${gpt2 ? "" : `: ${noData}`}`, () => {
  interface Expected {
    greedy: { input: number[]; output: number[] }[];
    beam_search: { input: number[]; output: number[]; sum_log_prob: number }[];
    last_logits: { input: number[]; first_16: number[]; argmax: number };
  }

  test("logits, greedy outputs, and the sums of log-probabilities of the beam outputs", async () => {
    const expected = JSON.parse(await readFile(gpt2!, "utf8")) as Expected;
    await using model = await open(dataPath("tiny-random-gpt2")!, { threads: 1 });
    const lease = model.forest.lease();
    const { input, first_16, argmax } = expected.last_logits;
    const logits = [...(await lease.prefill(input)).node.logits!];
    first_16.forEach((x, i) => {
      expect(Math.abs(logits[i] - x)).toBeLessThan(1e-4);
    });
    expect(logits.indexOf(Math.max(...logits))).toBe(argmax);
    for (const { input: start, output } of expected.greedy) {
      const { tokens } = await model.decode(start, { temperature: 0, maxTokens: output.length - start.length }).final;
      expect([...start, ...tokens]).toEqual(output);
    }
    for (const { input: start, output, sum_log_prob } of expected.beam_search) {
      let { node } = await lease.prefill(start);
      let sum = 0;
      for (const token of output.slice(start.length)) {
        sum += logSoftmax(node.logits!)[token];
        [node] = await lease.extend([{ parent: node, token }]);
      }
      expect(Math.abs(sum - sum_log_prob)).toBeLessThan(1e-3);
    }
    lease.close();
  });
});
