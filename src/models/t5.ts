/**
 * The T5 family of encoder–decoders (Raffel et al. 2020; version 1.1 and Flan-T5 after Chung et al. 2022): RMS norms before each part, no
 * scaling of scores, one relative position bias a stack, shared by its layers. Graphs have fixed sizes; names are the published ones.
 */

import { z } from "zod";
import { ensure, VentrisError } from "../errors.ts";
import { hint } from "../names.ts";
import {
  add,
  constant,
  gather,
  geluTanh,
  linear,
  matmul,
  multiply,
  relu,
  reshape,
  rmsNorm,
  softmax,
  type Tensor,
  transpose,
} from "../tensor/index.ts";
import type { WeightSource } from "../weights/source.ts";
import { judgeField } from "./config-fields.ts";
import type { MakeParameter } from "./family.ts";
import { requireParameter } from "./parameters.ts";

const size = z
  .int()
  .min(1)
  .max(2 ** 20);
const fields = z.object({
  vocab_size: size,
  d_model: size,
  d_kv: size,
  d_ff: size,
  num_layers: z.int().min(1).max(256),
  num_decoder_layers: z.int().min(1).max(256).optional(),
  num_heads: z.int().min(1).max(1024),
  relative_attention_num_buckets: z.int().min(4).max(4096).default(32),
  relative_attention_max_distance: z.int().min(2).max(65_536).default(128),
  layer_norm_epsilon: z.number().positive().max(1).default(1e-6),
  feed_forward_proj: z.enum(["relu", "gated-gelu"]).default("relu"),
  tie_word_embeddings: z.boolean().default(true),
  /** Whether what the output matrix multiplies is divided by the root of the width: where the embedding serves as that matrix, if nothing is said. */
  scale_decoder_outputs: z.boolean().optional(),
  decoder_start_token_id: z.int().min(0).default(0),
  pad_token_id: z.int().min(0).default(0),
  eos_token_id: z.int().min(0).default(1),
  // What published configs say of the feed-forward part besides.
  dense_act_fn: z.string().optional(),
  is_gated_act: z.boolean().optional(),
});
const special = ["decoder_start_token_id", "pad_token_id", "eos_token_id"] as const;
const schema = fields
  .superRefine((config, { addIssue }) => {
    const wrong = (field: string, message: string) => addIssue({ code: "custom", path: [field], message });
    for (const field of special)
      if (config[field] >= config.vocab_size)
        wrong(field, `${config[field]} is no token: the vocabulary has ${config.vocab_size}`);
    const { relative_attention_num_buckets: buckets, relative_attention_max_distance: farthest } = config;
    // Near distances have a bucket each; the others share up to the farthest, logarithmically.
    if (farthest <= buckets >> 1)
      wrong("relative_attention_max_distance", `${farthest} is not beyond the ${buckets >> 1} distances of their own`);
    const gated = config.feed_forward_proj === "gated-gelu";
    const activation = gated ? "gelu_new" : "relu";
    if ((config.dense_act_fn ?? activation) !== activation || (config.is_gated_act ?? gated) !== gated)
      wrong("feed_forward_proj", `${config.feed_forward_proj} contradicts dense_act_fn or is_gated_act`);
  })
  .transform(({ dense_act_fn: _, is_gated_act: __, ...config }) => ({
    ...config,
    scale_decoder_outputs: config.scale_decoder_outputs ?? config.tie_word_embeddings,
  }));
export type T5Config = z.output<typeof schema>;

/** What published configs say besides, and what follows from the rest. */
const implied = new Set(["is_encoder_decoder", "n_positions", "dropout_rate", "classifier_dropout", "output_past"]);

/** Reads a published config.json. Errors: `bad_config` naming the field. */
export function readT5Config(json: Readonly<Record<string, unknown>>): T5Config {
  const architectures = json.architectures as unknown;
  ensure(
    json.model_type === "t5" &&
      (architectures === undefined ||
        (Array.isArray(architectures) &&
          /^T5(ForConditionalGeneration|WithLMHeadModel)$/.test(String(architectures[0])))),
    "bad_config",
    `config: the architecture ${JSON.stringify(architectures ?? json.model_type)} is not T5ForConditionalGeneration`,
  );
  const known = Object.keys(fields.shape);
  for (const [name, value] of Object.entries(json)) {
    if (known.includes(name) || implied.has(name)) continue;
    const { verdict, meant } = judgeField(name, value, known);
    ensure(
      verdict !== "refuse",
      "bad_config",
      `config: the field ${name} is not known to T5, and running without it could give wrong results${hint(meant)}`,
    );
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [{ path, message }] = parsed.error.issues;
  throw new VentrisError("bad_config", `config: ${path.join(".")}: ${message}`);
}

interface Specification {
  readonly name: string;
  readonly shape: readonly number[];
  /** Of initial values: normal with this deviation; undefined: ones. */
  readonly deviation: number | undefined;
}

/** Every parameter under its published name. Initial deviations are those of the authors' code. */
export function t5Parameters(config: T5Config): Specification[] {
  const { d_model: d, d_kv, d_ff, num_heads: heads, vocab_size } = config;
  const inner = heads * d_kv;
  const list: Specification[] = [{ name: "shared.weight", shape: [vocab_size, d], deviation: 1 }];
  const attention = (prefix: string) => {
    list.push({ name: `${prefix}.q.weight`, shape: [inner, d], deviation: (d * d_kv) ** -0.5 });
    for (const part of ["k", "v"])
      list.push({ name: `${prefix}.${part}.weight`, shape: [inner, d], deviation: d ** -0.5 });
    list.push({ name: `${prefix}.o.weight`, shape: [d, inner], deviation: inner ** -0.5 });
  };
  const norm = (name: string) => list.push({ name, shape: [d], deviation: undefined });
  for (const stack of ["encoder", "decoder"] as const) {
    const layers = stack === "encoder" ? config.num_layers : (config.num_decoder_layers ?? config.num_layers);
    for (let i = 0; i < layers; i++) {
      const layer = `${stack}.block.${i}.layer`;
      attention(`${layer}.0.SelfAttention`);
      if (i === 0)
        list.push({
          name: `${layer}.0.SelfAttention.relative_attention_bias.weight`,
          shape: [config.relative_attention_num_buckets, heads],
          deviation: d ** -0.5,
        });
      norm(`${layer}.0.layer_norm.weight`);
      if (stack === "decoder") {
        attention(`${layer}.1.EncDecAttention`);
        norm(`${layer}.1.layer_norm.weight`);
      }
      const dense = `${layer}.${stack === "encoder" ? 1 : 2}`;
      for (const name of config.feed_forward_proj === "relu" ? ["wi"] : ["wi_0", "wi_1"])
        list.push({ name: `${dense}.DenseReluDense.${name}.weight`, shape: [d_ff, d], deviation: d ** -0.5 });
      list.push({ name: `${dense}.DenseReluDense.wo.weight`, shape: [d, d_ff], deviation: d_ff ** -0.5 });
      norm(`${dense}.layer_norm.weight`);
    }
    norm(`${stack}.final_layer_norm.weight`);
  }
  if (!config.tie_word_embeddings) list.push({ name: "lm_head.weight", shape: [vocab_size, d], deviation: d ** -0.5 });
  return list;
}

/** All parameters of a checkpoint. Errors: `bad_file` for a missing, misshapen or superfluous tensor. */
export async function readT5Weights(
  source: WeightSource,
  config: T5Config,
): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  const values = new Map<string, Float32Array<ArrayBuffer>>();
  for (const { name, shape } of t5Parameters(config)) {
    ensure(source.tensors.has(name), "bad_file", `${source.origin}: the tensor ${name} is missing`);
    requireParameter(source, name, shape);
    values.set(name, await source.readFloat32(name));
  }
  // Copies of the embedding that published files carry.
  const copies = [
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
    "lm_head.weight",
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
  ];
  const extra = [...source.tensors.keys()].find((name) => !values.has(name) && !copies.includes(name));
  ensure(
    extra === undefined,
    "bad_file",
    `${source.origin}: the tensor ${extra} has no place in the model that config.json describes`,
  );
  return values;
}

/**
 * Bucket of a relative position key - query: half of the buckets for each direction, or all for the past; near distances have one each,
 * farther ones share, logarithmically up to the greatest distance.
 */
export function relativeBucket(offset: number, bidirectional: boolean, buckets: number, maximum: number): number {
  const count = bidirectional ? buckets >> 1 : buckets;
  const base = bidirectional && offset > 0 ? count : 0;
  const distance = bidirectional ? Math.abs(offset) : Math.max(0, -offset);
  const exact = count >> 1;
  if (distance < exact) return base + distance;
  const far = exact + Math.floor((Math.log(distance / exact) / Math.log(maximum / exact)) * (count - exact));
  return base + Math.min(count - 1, far);
}

/** Additive masks are this far below zero: past any score, and finite. */
export const masked = -1e9;

interface Stack {
  readonly config: T5Config;
  readonly make: MakeParameter;
}

/** Encoder states [rows, length, d_model] of tokens int64 [rows, length]; `mask` additive [rows, 1, 1, length]. */
export function t5Encoder(stack: Stack, tokens: Tensor, mask: Tensor): Tensor {
  const { config, make } = stack;
  let x = gather(make("shared.weight", [config.vocab_size, config.d_model]), tokens);
  const bias = positionBias(stack, "encoder", tokens.shape[1] as number);
  for (let i = 0; i < config.num_layers; i++) {
    const layer = `encoder.block.${i}.layer`;
    x = add(x, attention(stack, `${layer}.0.SelfAttention`, norm(stack, `${layer}.0`, x), undefined, add(bias, mask)));
    x = add(x, feedForward(stack, `${layer}.1`, norm(stack, `${layer}.1`, x)));
  }
  return rmsNorm(x, make("encoder.final_layer_norm.weight", [config.d_model]), config.layer_norm_epsilon);
}

/**
 * Logits [rows · length, vocabulary] for the next token after each of tokens int64 [rows, length], given states [rows, slots, d_model] that
 * stand for the encoder's; `mask` additive [rows, 1, 1, slots], or undefined where all are seen. `wanted` int64 [count]: only these of
 * the rows · length, in this order.
 */
export function t5Decoder(stack: Stack, tokens: Tensor, states: Tensor, mask?: Tensor, wanted?: Tensor): Tensor {
  const { config, make } = stack;
  const { d_model: d, vocab_size, tie_word_embeddings: tied, scale_decoder_outputs: scaled } = config;
  const [rows, length] = tokens.shape as number[];
  const embedding = make("shared.weight", [vocab_size, d]);
  let x = gather(embedding, tokens);
  const future = new Float32Array(length * length);
  for (let q = 0; q < length; q++) for (let k = q + 1; k < length; k++) future[q * length + k] = masked;
  const bias = add(positionBias(stack, "decoder", length), constant(future, [1, 1, length, length]));
  for (let i = 0; i < (config.num_decoder_layers ?? config.num_layers); i++) {
    const layer = `decoder.block.${i}.layer`;
    x = add(x, attention(stack, `${layer}.0.SelfAttention`, norm(stack, `${layer}.0`, x), undefined, bias));
    x = add(x, attention(stack, `${layer}.1.EncDecAttention`, norm(stack, `${layer}.1`, x), states, mask));
    x = add(x, feedForward(stack, `${layer}.2`, norm(stack, `${layer}.2`, x)));
  }
  x = rmsNorm(x, make("decoder.final_layer_norm.weight", [d]), config.layer_norm_epsilon);
  const all = reshape(x, [rows * length, d]);
  const flat = wanted ? gather(all, wanted) : all;
  return linear(scaled ? multiply(flat, d ** -0.5) : flat, tied ? embedding : make("lm_head.weight", [vocab_size, d]));
}

function positionBias({ config, make }: Stack, stack: "encoder" | "decoder", length: number): Tensor {
  const { relative_attention_num_buckets: buckets, relative_attention_max_distance: maximum, num_heads } = config;
  const table = make(`${stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight`, [buckets, num_heads]);
  const indices = BigInt64Array.from({ length: length * length }, (_, i) =>
    BigInt(relativeBucket((i % length) - Math.floor(i / length), stack === "encoder", buckets, maximum)),
  );
  const rows = gather(table, constant(indices, [length * length]));
  return reshape(transpose(rows, [1, 0]), [1, num_heads, length, length]);
}

const norm = ({ config, make }: Stack, layer: string, x: Tensor): Tensor =>
  rmsNorm(x, make(`${layer}.layer_norm.weight`, [config.d_model]), config.layer_norm_epsilon);

/** x [rows, length, d_model] looks at `others` [rows, slots, d_model], or at itself. */
function attention(
  { config, make }: Stack,
  name: string,
  x: Tensor,
  others: Tensor | undefined,
  bias: Tensor | undefined,
): Tensor {
  const { d_model: d, d_kv, num_heads: heads } = config;
  const inner = heads * d_kv;
  const project = (from: Tensor, part: string) => {
    const [rows, length] = from.shape as number[];
    const projected = linear(from, make(`${name}.${part}.weight`, [inner, d]));
    return transpose(reshape(projected, [rows, length, heads, d_kv]), [0, 2, 1, 3]);
  };
  const seen = others ?? x;
  const scores = matmul(project(x, "q"), project(seen, "k"), { transposeB: true });
  const mixed = matmul(softmax(bias ? add(scores, bias) : scores), project(seen, "v"));
  const [rows, length] = x.shape as number[];
  return linear(reshape(transpose(mixed, [0, 2, 1, 3]), [rows, length, inner]), make(`${name}.o.weight`, [d, inner]));
}

function feedForward({ config, make }: Stack, layer: string, x: Tensor): Tensor {
  const { d_model: d, d_ff, feed_forward_proj } = config;
  const weight = (name: string, shape: [number, number]) => make(`${layer}.DenseReluDense.${name}.weight`, shape);
  const inner =
    feed_forward_proj === "relu"
      ? relu(linear(x, weight("wi", [d_ff, d])))
      : multiply(geluTanh(linear(x, weight("wi_0", [d_ff, d]))), linear(x, weight("wi_1", [d_ff, d])));
  return linear(inner, weight("wo", [d, d_ff]));
}
