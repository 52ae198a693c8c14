import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { VentrisError } from "../errors.ts";
import { type GgufTensor, ggufBytes } from "./gguf.fixture.ts";
import { huggingFaceName } from "./gguf-architectures.ts";
import { openGgufModel } from "./gguf-llama.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ventris-gguf-llama-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const [width, heads, keyHeads, feedForward, vocabulary] = [64, 4, 2, 96, 10];

const metadata = (architecture: string, changes: Record<string, string | number> = {}) => {
  const own = Object.entries({
    block_count: 1,
    context_length: 128,
    embedding_length: width,
    feed_forward_length: feedForward,
    "attention.head_count": heads,
    "attention.head_count_kv": keyHeads,
    "attention.layer_norm_rms_epsilon": 0.5 ** 17,
    ...changes,
  }).map(([key, value]) => [`${architecture}.${key}`, value]);
  return { "general.architecture": architecture, ...Object.fromEntries(own), "tokenizer.ggml.eos_token_id": 2 };
};

const floats = (name: string, shape: number[], first = 0): GgufTensor => {
  const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => first + i);
  return { name, type: 0, shape, bytes: new Uint8Array(values.buffer) };
};

const layer = (part: string, shape: number[]) => floats(`blk.0.${part}.weight`, shape);
const tensors = () => [
  floats("token_embd.weight", [vocabulary, width]),
  layer("attn_norm", [width]),
  layer("attn_q", [width, width]),
  layer("attn_k", [width / 2, width]),
  layer("attn_v", [width / 2, width]),
  layer("attn_output", [width, width]),
  layer("ffn_norm", [width]),
  layer("ffn_gate", [feedForward, width]),
  layer("ffn_up", [feedForward, width]),
  layer("ffn_down", [width, feedForward]),
  floats("output_norm.weight", [width]),
];

async function model(pairs: ReturnType<typeof metadata>, list: GgufTensor[]) {
  const path = join(folder, "model.gguf");
  await writeFile(path, ggufBytes(pairs, list));
  return openGgufModel(path);
}

const failure = async (promise: Promise<unknown>): Promise<VentrisError> => {
  const error = await promise.then(
    () => undefined,
    (reason) => reason,
  );
  expect(error).toBeInstanceOf(VentrisError);
  return error as VentrisError;
};

/** llama.cpp's `permute` (convert_hf_to_gguf.py): reshape(heads, 2, d / 2, …).swapaxes(1, 2); gives the source row of each row. */
function convertedRows(rows: number, headCount: number): number[] {
  const d = rows / headCount;
  const result: number[] = [];
  for (let head = 0; head < headCount; head++) {
    for (let pair = 0; pair < d / 2; pair++) for (const half of [0, 1]) result.push(head * d + half * (d / 2) + pair);
  }
  return result;
}

describe("a llama file under Hugging Face's names", () => {
  test("has the config and every tensor", async () => {
    const source = await model(metadata("llama"), tensors());
    expect(source.config).toEqual({
      architectures: ["LlamaForCausalLM"],
      model_type: "llama",
      vocab_size: vocabulary,
      hidden_size: width,
      intermediate_size: feedForward,
      num_hidden_layers: 1,
      num_attention_heads: heads,
      num_key_value_heads: keyHeads,
      head_dim: 16,
      max_position_embeddings: 128,
      rms_norm_eps: 0.5 ** 17,
      rope_theta: 10000,
      hidden_act: "silu",
      attention_bias: false,
      tie_word_embeddings: true,
      bos_token_id: undefined,
      eos_token_id: 2,
    });
    expect([...source.tensors.keys()].sort()).toEqual(
      [
        "model.embed_tokens.weight",
        "model.norm.weight",
        ...["input_layernorm", "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"].map(
          (part) => `model.layers.0.${part}.weight`,
        ),
        ...["q", "k", "v", "o"].map((part) => `model.layers.0.self_attn.${part}_proj.weight`),
      ].sort(),
    );
    const name = "model.layers.0.mlp.down_proj.weight";
    expect(source.tensors.get(name)).toMatchObject({ name, shape: [width, feedForward] });
    expect((await failure(source.readFloat32("model.layers.0.mlp.down.weight"))).message).toMatch(
      /did you mean "model.layers.0.mlp.down_proj.weight/,
    );
    await source.close();
  });

  test("undoes the converter's order of query and key rows, for values and for quantised blocks", async () => {
    const rowsOf = (rows: number, headCount: number) =>
      Float32Array.from(convertedRows(rows, headCount).flatMap((row) => Array(width).fill(row)));
    const list = tensors().map((tensor) => {
      if (tensor.name === "blk.0.attn_q.weight")
        return { ...tensor, bytes: new Uint8Array(rowsOf(width, heads).buffer) };
      if (tensor.name !== "blk.0.attn_k.weight") return tensor;
      // Two Q8_0 blocks a row with scale 1 and the number of the row as every code.
      const bytes = convertedRows(width / 2, keyHeads).flatMap((row) =>
        Array(2)
          .fill([0, 0x3c, ...Array(32).fill(row)])
          .flat(),
      );
      return { ...tensor, type: 8, bytes: Uint8Array.from(bytes) };
    });
    const source = await model(metadata("llama"), list);
    const firstColumn = (values: Float32Array) =>
      Array.from({ length: values.length / width }, (_, row) => values[row * width]);
    const inOrder = (rows: number) => Array.from({ length: rows }, (_, row) => row);
    expect(firstColumn(await source.readFloat32("model.layers.0.self_attn.q_proj.weight"))).toEqual(inOrder(width));
    expect(firstColumn(await source.readFloat32("model.layers.0.self_attn.k_proj.weight"))).toEqual(inOrder(width / 2));
    const bytes = await source.readBytes("model.layers.0.self_attn.k_proj.weight");
    expect(Array.from({ length: width / 2 }, (_, row) => bytes[row * 68 + 2])).toEqual(inOrder(width / 2));
    await source.close();
  });

  test("qwen2 keeps its rows and has biases", async () => {
    const biases = ["q", "k", "v"].map((part) => floats(`blk.0.attn_${part}.bias`, [part === "q" ? width : width / 2]));
    const source = await model(metadata("qwen2"), [...tensors(), ...biases]);
    expect(source.config).toMatchObject({ architectures: ["Qwen2ForCausalLM"], attention_bias: false });
    expect((await source.readFloat32("model.layers.0.self_attn.q_proj.weight"))[width]).toBe(width);
    expect((await source.readFloat32("model.layers.0.self_attn.q_proj.bias"))[5]).toBe(5);
    await source.close();
  });

  test("Llama 3's rope divisors become rope_scaling", async () => {
    const divisors = Float32Array.from({ length: 8 }, (_, i) => {
      const wave = 2 * Math.PI * 500000 ** (i / 8);
      if (wave < 8192 / 4) return 1;
      if (wave > 8192) return 32;
      const smooth = (8192 / wave - 1) / 3;
      return 1 / ((1 - smooth) / 32 + smooth);
    });
    const factors = { name: "rope_freqs.weight", type: 0, shape: [8], bytes: new Uint8Array(divisors.buffer) };
    const source = await model(metadata("llama", { "rope.freq_base": 500000 }), [...tensors(), factors]);
    expect(source.config.rope_scaling).toEqual({
      rope_type: "llama3",
      factor: 32,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    });
    expect(source.tensors.has("rope_freqs.weight")).toBe(false);
    await source.close();
    const error = await failure(model(metadata("llama", { "rope.freq_base": 10000 }), [...tensors(), factors]));
    expect(error.code).toBe("bad_config");
    expect(error.message).toMatch(/does not hold Llama 3's rope scaling/);
  });

  test("linear rope scaling", async () => {
    const source = await model(
      metadata("llama", { "rope.scaling.type": "linear", "rope.scaling.factor": 4 }),
      tensors(),
    );
    expect(source.config.rope_scaling).toEqual({ rope_type: "linear", factor: 4 });
    await source.close();
  });
});

test.each<[string, string, Record<string, string | number>, RegExp]>([
  ["another architecture", "mamba", {}, /architecture "mamba" is not supported/],
  ["an architecture named like a method", "toString", {}, /architecture "toString" is not supported/],
  ["experts", "llama", { expert_count: 8 }, /llama.expert_count = 8 is not supported/],
  ["partial rotary", "llama", { "rope.dimension_count": 8 }, /rope.dimension_count = 8/],
  [
    "yarn without its original length",
    "llama",
    { "rope.scaling.type": "yarn" },
    /original_context_length must be a number/,
  ],
  ["another rope scaling", "llama", { "rope.scaling.type": "ntk" }, /rope scaling "ntk" is not supported/],
  ["a sliding window", "llama", { "attention.sliding_window": 64 }, /sliding_window = 64/],
  ["a logit scale", "olmo2", { logit_scale: 3 }, /olmo2.logit_scale = 3/],
  ["a missing number", "llama", { context_length: "long" }, /llama.context_length must be a number, not "long"/],
])("refuses %s", async (_, architecture, changes, message) => {
  const error = await failure(model(metadata(architecture, changes), tensors()));
  expect(error.code).toBe("bad_config");
  expect(error.message).toMatch(message);
});

test("refuses a tensor that is none of the architecture's, and rows that do not fit the heads", async () => {
  const extra = floats("blk.0.ffn_gate_exps.weight", [4]);
  expect((await failure(model(metadata("llama"), [...tensors(), extra]))).message).toMatch(
    /tensor blk.0.ffn_gate_exps.weight is not known/,
  );
  const source = await model(
    metadata("llama", { "attention.head_count": 5, "attention.key_length": 16, "rope.dimension_count": 16 }),
    tensors(),
  );
  expect((await failure(source.readFloat32("model.layers.0.self_attn.q_proj.weight"))).message).toMatch(
    /q_proj.weight: 64 rows do not fit 5 heads/,
  );
  await source.close();
});

test("names", () => {
  expect(huggingFaceName("blk.12.attn_q_norm.weight")).toBe("model.layers.12.self_attn.q_norm.weight");
  expect(huggingFaceName("output.weight")).toBe("lm_head.weight");
  for (const name of ["constructor", "blk.0.constructor.weight", "blk.x.attn_q.weight", "output"])
    expect(huggingFaceName(name)).toBeUndefined();
});
