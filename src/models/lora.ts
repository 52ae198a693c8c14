/**
 * LoRA adapters (Hu et al. 2022) in PEFT's format: for a matrix W [out, in] the model uses W + scale · B A, with A [rank, in] and
 * B [out, rank]. Here: which matrices they sit on, their names, reading, writing, and merging into weights.
 */

import { z } from "zod";
import { ensure, VentrisError } from "../errors.ts";
import { exists, readWhole, within } from "../files.ts";
import { parseJsonObject } from "../json.ts";
import { suggestion } from "../names.ts";
import { openSafetensors, writeFileAtomically, writeSafetensors } from "../weights/index.ts";
import type { Family, ModelConfig, ParameterSpecification } from "./family.ts";
import type { StoredParameter } from "./parameters.ts";
import { fingerprintOf } from "./parts.ts";

/** Rank, scale and targets of an adapter, as PEFT states them. */
export interface LoraConfig {
  readonly rank: number;
  /** Scale: alpha / rank, or alpha / √rank where `rankStabilised` (Kalajdzievski 2023). */
  readonly alpha: number;
  readonly rankStabilised?: boolean;
  /** Ends of module names, as `q_proj` or `3.mlp.up_proj`; `all-linear`: every matrix but embeddings and output. */
  readonly targets: readonly string[];
}

/** One adapted matrix: its parameter and the names of A and B, here and in PEFT's files. */
export interface LoraSite {
  readonly parameter: string;
  readonly shape: readonly [number, number];
  readonly down: string;
  readonly up: string;
}

/** An adapter's matrices by their names. */
export type LoraValues = ReadonlyMap<string, Float32Array<ArrayBuffer>>;

export const loraScale = ({ rank, alpha, rankStabilised }: LoraConfig): number =>
  alpha / (rankStabilised ? Math.sqrt(rank) : rank);

const moduleOf = ({ sources }: ParameterSpecification): string => sources[0].replace(/\.weight$/, "");
const isLinear = ({ name, shape }: ParameterSpecification): boolean =>
  shape.length === 2 && !/(embed_tokens|lm_head|embed_in|embed_out|wte|wpe)\.weight$/.test(name);

/** The matrices that the targets name. Errors: `bad_option` for a target that names none, or a rank above their sizes. */
export function loraSites(family: Family, config: ModelConfig, { rank, targets }: LoraConfig): LoraSite[] {
  const linear = family.parameters(config).filter(isLinear);
  const named = (target: string, module: string): boolean =>
    target === "all-linear" || module === target || module.endsWith(`.${target}`);
  ensure(targets.length > 0, "bad_option", "lora: no targets are given");
  for (const target of targets) {
    if (linear.some((specification) => named(target, moduleOf(specification)))) continue;
    const names = [...new Set(linear.map((specification) => moduleOf(specification).split(".").at(-1)!))];
    throw new VentrisError(
      "bad_option",
      `targets: the model has no matrix "${target}" to adapt (${names.join(", ")}, all-linear)${suggestion(target, names)}`,
    );
  }
  return linear
    .filter((specification) => targets.some((target) => named(target, moduleOf(specification))))
    .map((specification) => {
      const shape = specification.shape as readonly [number, number];
      const module = moduleOf(specification);
      ensure(
        Number.isInteger(rank) && rank >= 1 && rank <= Math.min(...shape),
        "bad_option",
        () => `lora: the rank ${rank} must be a whole number from 1 to ${Math.min(...shape)} for ${module} [${shape}]`,
      );
      const name = `base_model.model.${module}`;
      return { parameter: specification.name, shape, down: `${name}.lora_A.weight`, up: `${name}.lora_B.weight` };
    });
}

/** W + scale · B A for every site, as new arrays; other parameters are as they were. */
export function mergeLora(
  values: ReadonlyMap<string, Float32Array<ArrayBuffer>>,
  sites: readonly LoraSite[],
  adapter: LoraValues,
  scale: number,
): Map<string, Float32Array<ArrayBuffer>> {
  const result = new Map(values);
  for (const site of sites) result.set(site.parameter, mergedMatrix(values.get(site.parameter)!, site, adapter, scale));
  return result;
}

function mergedMatrix(base: Float32Array, { shape, down, up }: LoraSite, adapter: LoraValues, scale: number) {
  const [rows, columns] = shape;
  const [a, b] = [adapter.get(down)!, adapter.get(up)!];
  const rank = a.length / columns;
  const merged = new Float32Array(base);
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < rank; k++) {
      const factor = scale * b[row * rank + k];
      if (factor === 0) continue;
      for (let column = 0; column < columns; column++)
        merged[row * columns + column] += factor * a[k * columns + column];
    }
  }
  return merged;
}

/** A page of JSON, with room for lists of modules. */
const mostConfigBytes = 2 ** 20;
export const loraFiles = { config: "adapter_config.json", weights: "adapter_model.safetensors" };

/** A checkpoint's parameters with an adapter merged in as they are read; adapted ones are stored in no blocks any more. */
export function mergedParameters(
  parameters: ReadonlyMap<string, StoredParameter>,
  { sites, values, config }: Lora,
): Map<string, StoredParameter> {
  const result = new Map(parameters);
  for (const site of sites) {
    const base = parameters.get(site.parameter)!;
    const read = async () => mergedMatrix(await base.read(), site, values, loraScale(config));
    const [, columns] = site.shape;
    const readRows = async (from: number, to: number) => (await read()).slice(from * columns, to * columns);
    result.set(site.parameter, { ...base, blocks: undefined, read, readRows });
  }
  return result;
}

const noneOf = (...values: unknown[]) =>
  z
    .unknown()
    .refine((value) => values.includes(value ?? undefined))
    .optional();

/** What PEFT writes, as far as it changes the mathematics; what we do not compute must be at its neutral value. */
const adapterConfig = z.looseObject({
  peft_type: z.literal("LORA"),
  r: z.int().min(1),
  lora_alpha: z.number().positive(),
  lora_dropout: z.number().optional(), // of training alone
  use_rslora: z.boolean().optional(),
  target_modules: z.union([z.array(z.string()), z.string()]),
  bias: noneOf("none", undefined),
  use_dora: noneOf(false, undefined),
  modules_to_save: noneOf(undefined),
  rank_pattern: z
    .record(z.string(), z.unknown())
    .refine((value) => Object.keys(value).length === 0)
    .nullish(),
  alpha_pattern: z
    .record(z.string(), z.unknown())
    .refine((value) => Object.keys(value).length === 0)
    .nullish(),
  layers_to_transform: noneOf(undefined),
  layer_replication: noneOf(undefined),
  trainable_token_indices: noneOf(undefined),
  lora_bias: noneOf(false, undefined),
});

/** An adapter as it was read: its configuration and its matrices. */
export interface Lora {
  readonly config: LoraConfig;
  readonly sites: readonly LoraSite[];
  readonly values: LoraValues;
}

/**
 * Reads a PEFT adapter folder for a model. Errors: `unavailable` where it is none; `bad_file` for a field whose mathematics is not
 * supported, or tensors that are missing, of another shape, or without a place in the model.
 */
export async function readLora(
  folder: string,
  family: Family,
  config: ModelConfig,
): Promise<Lora & { readonly fingerprint: string }> {
  const path = within(folder, loraFiles.config);
  ensure(await exists(path), "unavailable", `${folder} is no LoRA adapter: it has no ${loraFiles.config}`);
  const bytes = await readWhole(path, mostConfigBytes);
  ensure(bytes, "bad_file", `${path} is longer than the config of an adapter can be`);
  const parsed = adapterConfig.safeParse(parseJsonObject(bytes, path));
  if (!parsed.success) {
    const [{ path: field, message }] = parsed.error.issues;
    throw new VentrisError("bad_file", `${path}: ${field.join(".")} has a value that is not supported (${message})`);
  }
  const { r: rank, lora_alpha: alpha, use_rslora: rankStabilised, target_modules: modules } = parsed.data;
  const lora = { rank, alpha, rankStabilised, targets: typeof modules === "string" ? [modules] : modules };
  const source = await openSafetensors(within(folder, loraFiles.weights));
  try {
    const all = loraSites(family, config, { ...lora, targets: ["all-linear"], rank: 1 });
    const sites = all.filter(({ down }) => source.tensors.has(down));
    const values = new Map<string, Float32Array<ArrayBuffer>>();
    for (const { down, up, shape } of sites) {
      for (const [name, wanted] of [
        [down, [rank, shape[1]]],
        [up, [shape[0], rank]],
      ] as const) {
        const found = source.tensors.get(name)?.shape;
        const fits = found?.join() === wanted.join();
        ensure(fits, "bad_file", `${source.origin}: ${name} is [${found ?? "missing"}], but must be [${wanted}]`);
        values.set(name, await source.readFloat32(name));
      }
    }
    const stray = [...source.tensors.keys()].find((name) => !values.has(name));
    ensure(stray === undefined, "bad_file", `${source.origin}: ${stray} has no place in the model`);
    return { config: lora, sites, values, fingerprint: `${await fingerprintOf(source)} ${JSON.stringify(lora)}` };
  } finally {
    await source.close();
  }
}

/** Writes the adapter as PEFT does. `base` is the model it belongs to, as the file names it. Errors: `disk_full`, `unavailable`. */
export async function writeLora(folder: string, { config, sites, values }: Lora, base: string): Promise<void> {
  const tensors = sites.flatMap(({ down, up, shape }) => [
    { name: down, type: "F32" as const, shape: [config.rank, shape[1]], data: values.get(down)! },
    { name: up, type: "F32" as const, shape: [shape[0], config.rank], data: values.get(up)! },
  ]);
  await writeSafetensors(within(folder, loraFiles.weights), tensors, { format: "pt" });
  const json = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: base,
    r: config.rank,
    lora_alpha: config.alpha,
    use_rslora: config.rankStabilised ?? false,
    lora_dropout: 0,
    target_modules: config.targets.length === 1 && config.targets[0] === "all-linear" ? "all-linear" : config.targets,
    bias: "none",
    fan_in_fan_out: sites.some(({ parameter }) => /^h\.\d+\./.test(parameter)), // GPT-2 stores its matrices transposed
    inference_mode: true,
  };
  await writeFileAtomically(
    within(folder, loraFiles.config),
    new TextEncoder().encode(`${JSON.stringify(json, null, 2)}\n`),
  );
}
