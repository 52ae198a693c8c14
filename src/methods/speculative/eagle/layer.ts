/**
 * EAGLE's draft as a graph: one decoder layer of the model's own family over [embedding of the next token; state of this one] W, without the norm
 * before its attention, read by the model's output matrix without the final norm, as what it gives stands for states behind that norm. It is
 * the family's own program with three places rewritten.
 */

import type { DecodingModel } from "../../../engine/model.ts";
import { ensure } from "../../../errors.ts";
import { within } from "../../../files.ts";
import type { Edit } from "../../../models/edits.ts";
import type { Family, ModelConfig } from "../../../models/family.ts";
import type { Part } from "../../../models/parts.ts";
import { concat, linear, type Tensor } from "../../../tensor/index.ts";
import { fileIdentity, findWeights, openWeights } from "../../../weights/index.ts";
import { type Publication, partUnlessPublished } from "../published-part.ts";

export const eagleKind = "eagle";

/** The draft's config: the model's, of one layer. */
export const layerConfig = (config: ModelConfig): ModelConfig => ({ ...config, layers: 1 });

export interface Fusion {
  /** [width, 2 · width] */
  readonly weight: Tensor;
  /** [width] */
  readonly bias?: Tensor;
}

/** [embedding; state] W + b. */
export const fused = (embeddings: Tensor, states: Tensor, { weight, bias }: Fusion): Tensor =>
  linear(concat([embeddings, states], 1), weight, bias);

/** `input`: what the layer reads, of the tokens' embeddings. `normed`: it has a norm before its attention after all, as some published drafts do. */
export function layerEdits(input: (tokens: Tensor) => Tensor, normed = false): Edit[] {
  let begun: Tensor | undefined;
  let ended: Tensor | undefined;
  return [
    {
      name: "eagle-input",
      site: "embed.tokens",
      apply(value) {
        begun = input(value);
        return { value: begun };
      },
    },
    ...(normed ? [] : [{ name: "eagle-norm", site: "layers.0.attention.norm", apply: () => ({ value: begun! }) }]),
    {
      name: "eagle-state",
      site: "layers.0.residual",
      apply(value) {
        ended = value;
        return {};
      },
    },
    { name: "eagle-final", site: "final", apply: (_, { select }) => ({ value: select(ended!) }) },
  ];
}

/** Parameters of the draft's layer: those of the family's first layer. */
export const layerParameters = (family: Family, config: ModelConfig, normed = false) => {
  const own = family.parameters(layerConfig(config));
  const without = family.parameters({ ...config, layers: 0 });
  const outside = new Set(without.map(({ name }) => name));
  return own.filter(({ name }) => !outside.has(name) && (normed || !/input_layernorm|ln_1/.test(name)));
};

/** Takes tensors of a part by name and shape. Errors: `bad_file`. */
export function takerOf({ folder, tensors }: Pick<Part, "folder" | "tensors">, model: string) {
  return (name: string, shape: readonly number[]): Float32Array => {
    const found = tensors.get(name);
    ensure(found?.shape.join() === shape.join(), "bad_file", () => {
      return `${folder}: ${name} ${found ? `has shape [${found.shape}]` : "is missing"}, and ${model} asks for [${shape}]`;
    });
    return found.values;
  };
}

export interface EagleValues {
  readonly identity: string;
  readonly weight: Float32Array;
  readonly bias?: Float32Array;
  readonly normed: boolean;
  /** By the family's names of its first layer. */
  readonly layer: ReadonlyMap<string, Float32Array>;
}

const publication: Publication = {
  file: "model.safetensors",
  pickles: ["pytorch_model.bin"],
  holds: (folder) => findWeights(folder).then(Boolean, () => false),
};

type Host = Pick<DecodingModel, "name" | "config" | "family" | "part" | "parameterValues" | "state">;

/**
 * A part of the kind `eagle`, or else a folder with a published draft: `fc.weight`, perhaps `fc.bias`, and `layers.0.…` under Llama's names; embeddings
 * that it carries along are the model's own and are not read. Errors: `unavailable`, `bad_file`; `bad_option` for a part of another model.
 */
export async function readEagle(model: Host, reference: string): Promise<EagleValues> {
  const { config, family } = model;
  const width = config.hiddenSize;
  const part = await partUnlessPublished(model, reference, eagleKind, publication);
  if (part) {
    const { card, folder, tensors } = part;
    const take = takerOf(part, model.name);
    return {
      identity: `${card.base.fingerprint} ${await fileIdentity(within(folder, "part.safetensors"))}`,
      weight: take("fc.weight", [width, 2 * width]),
      bias: tensors.has("fc.bias") ? take("fc.bias", [width]) : undefined,
      normed: false,
      layer: new Map(layerParameters(family, config).map(({ name, shape }) => [name, take(name, shape)])),
    };
  }
  const path = await findWeights(reference);
  const source = await openWeights(reference);
  try {
    const read = async (names: readonly string[], shape: readonly number[]): Promise<Float32Array> => {
      const name = names.find((candidate) => source.tensors.has(candidate));
      ensure(name, "bad_file", `${source.origin}: the tensor ${names[0]} is missing: this is no EAGLE draft`);
      const found = source.tensors.get(name)!;
      ensure(found.shape.join() === shape.join(), "bad_file", () => {
        return `${source.origin}: ${name} has shape [${found.shape}], and a draft of ${model.name} asks for [${shape}]`;
      });
      return source.readFloat32(name);
    };
    const published = (name: string): string[] => [name.replace(/^model\./, ""), name];
    const normed = source.tensors.has("layers.0.input_layernorm.weight");
    const layer = new Map<string, Float32Array>();
    for (const { name, shape } of layerParameters(family, config, normed))
      layer.set(name, await read(published(name), shape));
    return {
      identity: await fileIdentity(path),
      weight: await read(["fc.weight"], [width, 2 * width]),
      bias: source.tensors.has("fc.bias") ? await read(["fc.bias"], [width]) : undefined,
      normed,
      layer,
    };
  } finally {
    await source.close();
  }
}
