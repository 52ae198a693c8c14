import { describe, expect, it } from "vitest";
import { compile, valueMaker } from "../runtime/program.ts";
import { add, constant, gradients, lower, reduceMean, type Tensor } from "../tensor/index.ts";
import { parameterMaker } from "./parameters.ts";
import { masked, readT5Config, relativeBucket, type T5Config, t5Decoder, t5Encoder, t5Parameters } from "./t5.ts";

/** As google/flan-t5-large has it. */
const published = {
  architectures: ["T5ForConditionalGeneration"],
  d_ff: 2816,
  d_kv: 64,
  d_model: 1024,
  decoder_start_token_id: 0,
  dropout_rate: 0.1,
  eos_token_id: 1,
  feed_forward_proj: "gated-gelu",
  initializer_factor: 1.0,
  is_encoder_decoder: true,
  layer_norm_epsilon: 1e-6,
  model_type: "t5",
  n_positions: 512,
  num_decoder_layers: 24,
  num_heads: 16,
  num_layers: 24,
  output_past: true,
  pad_token_id: 0,
  relative_attention_max_distance: 128,
  relative_attention_num_buckets: 32,
  tie_word_embeddings: false,
  transformers_version: "4.23.1",
  use_cache: true,
  vocab_size: 32128,
};

const small = (over: Record<string, unknown> = {}): T5Config =>
  readT5Config({
    ...published,
    d_ff: 24,
    d_kv: 4,
    d_model: 12,
    num_layers: 2,
    num_decoder_layers: 2,
    num_heads: 3,
    vocab_size: 20,
    relative_attention_num_buckets: 8,
    relative_attention_max_distance: 12,
    ...over,
  });

const weightsOf = (config: T5Config) =>
  new Map(
    t5Parameters(config).map(({ name, shape }, p) => [
      name,
      Float32Array.from(
        { length: shape.reduce((a, b) => a * b, 1) },
        (_, i) => 0.4 * Math.sin(1.3 * i + p * 7.7) + (shape.length === 1 ? 1 : 0),
      ),
    ]),
  );

type Rows = number[][];
const tokens = [
  [3, 7, 1, 9, 4, 0, 0],
  [5, 2, 8, 8, 6, 11, 1],
];
const seen = [5, 7];
const targets = [
  [0, 4, 2, 9],
  [0, 13, 6, 6],
];

/** The model from its definition, in double precision, one text at a time. */
function reference(
  config: T5Config,
  weights: Map<string, Float32Array>,
  text: number[],
  start: number[],
): { states: Rows; logits: Rows } {
  const { d_model: d, d_kv, num_heads: heads, layer_norm_epsilon } = config;
  const w = (name: string) => weights.get(name)!;
  const embed = (ids: number[]): Rows => ids.map((id) => [...w("shared.weight").subarray(id * d, (id + 1) * d)]);
  const times = (x: Rows, name: string): Rows => {
    const m = w(name);
    const columns = x[0].length;
    return x.map((row) =>
      Array.from({ length: m.length / columns }, (_, o) => row.reduce((s, v, i) => s + v * m[o * columns + i], 0)),
    );
  };
  const plus = (a: Rows, b: Rows): Rows => a.map((row, i) => row.map((v, j) => v + b[i][j]));
  const norm = (x: Rows, name: string): Rows =>
    x.map((row) => {
      const scale = 1 / Math.sqrt(row.reduce((s, v) => s + v * v, 0) / d + layer_norm_epsilon);
      return row.map((v, i) => v * scale * w(name)[i]);
    });
  const attend = (x: Rows, other: Rows, name: string, bias: (q: number, k: number, h: number) => number): Rows => {
    const [q, k, v] = [
      times(x, `${name}.q.weight`),
      times(other, `${name}.k.weight`),
      times(other, `${name}.v.weight`),
    ];
    const mixed = x.map((_, i) =>
      Array.from({ length: heads * d_kv }, (_, column) => {
        const h = Math.floor(column / d_kv);
        const scores = other.map((_, j) => {
          let s = bias(i, j, h);
          for (let c = h * d_kv; c < (h + 1) * d_kv; c++) s += q[i][c] * k[j][c];
          return Math.exp(s);
        });
        const total = scores.reduce((a, b) => a + b, 0);
        return scores.reduce((s, e, j) => s + (e / total) * v[j][column], 0);
      }),
    );
    return times(mixed, `${name}.o.weight`);
  };
  const gelu = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
  const dense = (x: Rows, layer: string): Rows => {
    const name = `${layer}.DenseReluDense`;
    if (config.feed_forward_proj === "relu")
      return times(
        times(x, `${name}.wi.weight`).map((r) => r.map((v) => Math.max(0, v))),
        `${name}.wo.weight`,
      );
    const gate = times(x, `${name}.wi_1.weight`);
    return times(
      times(x, `${name}.wi_0.weight`).map((r, i) => r.map((v, j) => gelu(v) * gate[i][j])),
      `${name}.wo.weight`,
    );
  };
  const bucket = (offset: number, both: boolean) => {
    let count = config.relative_attention_num_buckets;
    let base = 0;
    let n = -offset;
    if (both) {
      count /= 2;
      if (n < 0) base = count;
      n = Math.abs(n);
    } else n = Math.max(n, 0);
    const exact = count / 2;
    if (n < exact) return base + n;
    return (
      base +
      Math.min(
        count - 1,
        exact +
          Math.trunc(
            (Math.log(n / exact) / Math.log(config.relative_attention_max_distance / exact)) * (count - exact),
          ),
      )
    );
  };
  const relative = (stack: string) => (q: number, k: number, h: number) =>
    w(`${stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight`)[
      bucket(k - q, stack === "encoder") * heads + h
    ];

  let x = embed(text);
  for (let i = 0; i < config.num_layers; i++) {
    const layer = `encoder.block.${i}.layer`;
    const n = norm(x, `${layer}.0.layer_norm.weight`);
    x = plus(x, attend(n, n, `${layer}.0.SelfAttention`, relative("encoder")));
    x = plus(x, dense(norm(x, `${layer}.1.layer_norm.weight`), `${layer}.1`));
  }
  const states = norm(x, "encoder.final_layer_norm.weight");
  let y = embed(start);
  for (let i = 0; i < config.num_decoder_layers!; i++) {
    const layer = `decoder.block.${i}.layer`;
    const n = norm(y, `${layer}.0.layer_norm.weight`);
    y = plus(
      y,
      attend(n, n, `${layer}.0.SelfAttention`, (q, k, h) => (k > q ? -Infinity : relative("decoder")(q, k, h))),
    );
    y = plus(
      y,
      attend(norm(y, `${layer}.1.layer_norm.weight`), states, `${layer}.1.EncDecAttention`, () => 0),
    );
    y = plus(y, dense(norm(y, `${layer}.2.layer_norm.weight`), `${layer}.2`));
  }
  y = norm(y, "decoder.final_layer_norm.weight");
  const last = config.scale_decoder_outputs ? y.map((r) => r.map((v) => v * d ** -0.5)) : y;
  return { states, logits: times(last, config.tie_word_embeddings ? "shared.weight" : "lm_head.weight") };
}

function graph(config: T5Config) {
  const stack = { config, make: parameterMaker() };
  const mask = Float32Array.from({ length: 14 }, (_, i) => (i % 7 < seen[Math.floor(i / 7)] ? 0 : masked));
  const ids = (rows: number[][]) => constant(BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0].length]);
  const shade = constant(mask, [2, 1, 1, 7]);
  const states = t5Encoder(stack, ids(tokens), shade);
  return { states, logits: t5Decoder(stack, ids(targets), states, shade) };
}

async function run(config: T5Config, outputs: Record<string, Tensor>) {
  const weights = weightsOf(config);
  const program = await compile(lower(outputs, { parameters: "inputs" }), { threads: 1 });
  const value = await valueMaker();
  const feeds = Object.fromEntries(
    t5Parameters(config).map(({ name, shape }) => [name, value("float32", weights.get(name)!, shape)]),
  );
  const result = await program.run(feeds);
  await program.release();
  return result;
}

describe.each([
  ["version 1.1, as Flan-T5", {}],
  ["version 1.0: relu, tied", { feed_forward_proj: "relu", tie_word_embeddings: true }],
  ["tied and not scaled", { tie_word_embeddings: true, scale_decoder_outputs: false }],
  ["scaled and not tied", { scale_decoder_outputs: true }],
])("T5, %s", (_, over) => {
  it("gives the states and logits of its definition in double precision", async () => {
    const config = small(over);
    const result = await run(config, graph(config));
    for (const [row, text] of tokens.entries()) {
      const { states, logits } = reference(config, weightsOf(config), text.slice(0, seen[row]), targets[row]);
      for (const [t, state] of states.entries())
        for (const [k, v] of state.entries()) expect(result.states.data[(row * 7 + t) * 12 + k]).toBeCloseTo(v, 4);
      for (const [t, line] of logits.entries())
        for (const [k, v] of line.entries()) expect(result.logits.data[(row * 4 + t) * 20 + k]).toBeCloseTo(v, 4);
    }
  });

  it("can be trained: its bias table gets a gradient", async () => {
    const config = small(over);
    const make = parameterMaker();
    const stack = { config, make };
    const ids = constant(BigInt64Array.from([1, 2, 3], BigInt), [1, 3]);
    const states = t5Encoder(stack, ids, constant(new Float32Array(3), [1, 1, 1, 3]));
    const loss = reduceMean(add(t5Decoder(stack, ids, states), 0));
    const table = make("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", [8, 3]);
    const { g } = await run(config, { g: gradients(loss, [table])[0], loss });
    expect((g.data as Float32Array).some((v) => v !== 0)).toBe(true);
  });
});

describe("configs and names", () => {
  it("are the published ones", () => {
    const config = readT5Config(published);
    const names = new Map(t5Parameters(config).map(({ name, shape }) => [name, shape.join()]));
    expect(names.get("shared.weight")).toBe("32128,1024");
    expect(names.get("encoder.block.23.layer.1.DenseReluDense.wi_1.weight")).toBe("2816,1024");
    expect(names.get("decoder.block.7.layer.1.EncDecAttention.v.weight")).toBe("1024,1024");
    expect(names.get("decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight")).toBe("32,16");
    expect(names.has("decoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight")).toBe(false);
    // 783,150,080 parameters, as its model card says.
    expect(t5Parameters(config).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)).toBe(
      783_150_080,
    );
  });

  it("are refused where they would change the mathematics unread", () => {
    expect(() => readT5Config({ ...published, model_type: "mt9" })).toThrow(/not T5/);
    expect(() => readT5Config({ ...published, feed_forward_proj: "gated-silu" })).toThrow(/feed_forward_proj/);
    expect(() => readT5Config({ ...published, d_model: -1 })).toThrow(/d_model/);
    expect(() => readT5Config({ ...published, attention_window_size: 3 })).toThrow(/attention_window_size/);
    expect(() => readT5Config({ ...published, dense_act_fn: "silu" })).toThrow(/contradicts dense_act_fn/);
    expect(() => readT5Config({ ...published, is_gated_act: false })).toThrow(/is_gated_act/);
  });

  it.each([
    ["decoder_start_token_id", 32128],
    ["pad_token_id", 1e9],
    ["eos_token_id", 32128],
    ["relative_attention_max_distance", 16],
    ["relative_attention_max_distance", 2],
    ["relative_attention_num_buckets", 2],
    ["layer_norm_epsilon", 1e300],
    ["d_model", 2 ** 40],
  ])("are refused where %s is %d", (field, value) => {
    expect(() => readT5Config({ ...published, [field]: value })).toThrow(new RegExp(`config: ${field}: `));
  });

  it("have the buckets of the paper: exact near, logarithmic far", () => {
    const both = (offset: number) => relativeBucket(offset, true, 32, 128);
    expect([0, -1, -7, -8, 1, 7].map(both)).toEqual([0, 1, 7, 8, 17, 23]);
    expect(both(-127)).toBe(15);
    expect(both(-5000)).toBe(15);
    const past = (offset: number) => relativeBucket(offset, false, 32, 128);
    expect([5, 0, -15, -16, -20, -127].map(past)).toEqual([0, 0, 15, 16, 17, 31]);
  });
});
