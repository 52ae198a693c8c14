/**
 * Heads on a model's last state, our own and published ones, as one program: each adds silu(W x + b) to the state (in as many blocks as it
 * has) and is read by an output matrix.
 *
 * Ours (parts of the kind "heads", see src/training/parts.ts) stand before the final norm and share the model's norm and output matrix. Published ones
 * (FasterDecoding/Medusa: `medusa_lm_head.safetensors` with a config.json) stand after the norm and have an output matrix each, under
 * the names `HEAD.BLOCK.linear.weight`, `HEAD.BLOCK.linear.bias` and, after the last block, `HEAD.BLOCKS.weight`.
 */
import { z } from "zod";
import type { DecodingModel } from "../../../engine/model.ts";
import { ensure } from "../../../errors.ts";
import { exists, within } from "../../../files.ts";
import { parameterMaker } from "../../../models/parameters.ts";
import type { Part } from "../../../models/parts.ts";
import { add, concat, input, linear, parameter, parametersOf, silu, type Tensor } from "../../../tensor/index.ts";
import { fileIdentity, openSafetensors, readConfig } from "../../../weights/index.ts";
import type { Foresight } from "../guesses.ts";
import { type PartProgram, partProgram } from "../part-program.ts";
import { type Publication, partUnlessPublished } from "../published-part.ts";

/** What is asked of a model here; an open model has it. */
type Host = Pick<DecodingModel, "name" | "config" | "family" | "state" | "part" | "parameterValues">;

export const headsKind = "heads";
const publishedFile = "medusa_lm_head.safetensors";
const publication: Publication = {
  file: publishedFile,
  pickles: ["medusa_lm_head.pt", "medusa_lm_head.bin"],
  holds: (folder) => exists(within(folder, publishedFile)),
};
const most = 16;

export interface Heads {
  readonly identity: string;
  /** Head k (from 0) foretells the token k + 2 places after the one whose state it is given. */
  readonly count: number;
  /** Where the state is read. */
  readonly site: string;
  /** Logits [vocabulary] of every head. */
  logits(state: Float32Array): Promise<Float32Array[]>;
  close(): Promise<void>;
}

/** Weights as they were read: blocks by head, and the output matrices of heads that have their own. */
interface HeadValues {
  readonly identity: string;
  readonly site: string;
  readonly blocks: readonly (readonly { readonly weight: Float32Array; readonly bias: Float32Array }[])[];
  readonly outputs?: readonly Float32Array[];
}

/**
 * Heads for a model, by a part's name or path or the folder of published ones; compiled once. Errors: `unavailable`, `bad_file`; `bad_option` for a
 * part of another model.
 */
export const openHeads = (model: Host, reference: string): Promise<Heads> =>
  model.state(`medusa heads ${reference}`, async () => {
    const part = await partUnlessPublished(model, reference, headsKind, publication);
    return startHeads(model, part ? await readOwn(model, part) : await readPublished(model, reference));
  });

async function readOwn(model: Host, { card, folder, tensors }: Part): Promise<HeadValues> {
  const { hiddenSize: width, layers } = model.config;
  const count = [...tensors.keys()].filter((name) => name.startsWith("weight.")).length;
  const blocks = Array.from({ length: count }, (_, i) => {
    const [weight, bias] = [tensors.get(`weight.${i + 1}`), tensors.get(`bias.${i + 1}`)];
    const fits = weight?.shape.join() === `${width},${width}` && bias?.shape.join() === `${width}`;
    ensure(
      fits,
      "bad_file",
      `${folder}: head ${i + 1} wants weight.${i + 1} [${width}, ${width}] and bias.${i + 1} [${width}]`,
    );
    return [{ weight: weight!.values, bias: bias!.values }];
  });
  ensure(count >= 1 && count <= most, "bad_file", `${folder}: a part of heads has 1 to ${most}, not ${count}`);
  const identity = `${card.base.fingerprint} ${await fileIdentity(within(folder, "part.safetensors"))}`;
  return { identity, site: `layers.${layers - 1}.residual`, blocks };
}

const publishedConfig = z.object({
  medusa_num_heads: z.int().min(1).max(most),
  medusa_num_layers: z.int().min(1).max(8).default(1),
});

async function readPublished(model: Host, folder: string): Promise<HeadValues> {
  const { hiddenSize: width, vocabularySize } = model.config;
  const parsed = publishedConfig.safeParse(await readConfig(folder));
  ensure(parsed.success, "bad_config", () => {
    const [issue] = parsed.error!.issues;
    return `${folder}: config: ${issue.path.join(".")}: ${issue.message}`;
  });
  const { medusa_num_heads: count, medusa_num_layers: depth } = parsed.data;
  const path = within(folder, publishedFile);
  const source = await openSafetensors(path);
  /** Newer files put the name of the list before the head's number. */
  const prefix = source.tensors.has("0.0.linear.weight") ? "" : "medusa_head.";
  const read = async (name: string, shape: readonly number[]): Promise<Float32Array> => {
    const found = source.tensors.get(prefix + name);
    ensure(
      found,
      "bad_file",
      `${path}: the tensor ${prefix + name} is missing: config.json says ${count} heads of ${depth} blocks`,
    );
    ensure(found.shape.join() === shape.join(), "bad_file", () => {
      return `${path}: ${prefix + name} has shape [${found.shape}], and ${model.name} asks for [${shape}]`;
    });
    return source.readFloat32(prefix + name);
  };
  try {
    const blocks: { weight: Float32Array; bias: Float32Array }[][] = [];
    const outputs: Float32Array[] = [];
    for (let head = 0; head < count; head++) {
      const own: { weight: Float32Array; bias: Float32Array }[] = [];
      for (let block = 0; block < depth; block++) {
        const weight = await read(`${head}.${block}.linear.weight`, [width, width]);
        own.push({ weight, bias: await read(`${head}.${block}.linear.bias`, [width]) });
      }
      blocks.push(own);
      outputs.push(await read(`${head}.${depth}.weight`, [vocabularySize, width]));
    }
    return { identity: await fileIdentity(path), site: "final", blocks, outputs };
  } finally {
    await source.close();
  }
}

async function startHeads(model: Host, { identity, site, blocks, outputs }: HeadValues): Promise<Heads> {
  const { config, family } = model;
  const { hiddenSize: width, vocabularySize } = config;
  const values = new Map<string, Float32Array>();
  const given = (name: string, shape: number[], data: Float32Array): Tensor => {
    values.set(name, data);
    return parameter(name, shape);
  };
  const state = input("state", [1, width]);
  const states = blocks.map((own, head) =>
    own.reduce((x, { weight, bias }, block) => {
      const name = `heads/${head}.${block}`;
      const matrix = given(`${name}.weight`, [width, width], weight);
      return add(x, silu(linear(x, matrix, given(`${name}.bias`, [width], bias))));
    }, state as Tensor),
  );
  let logits: Tensor;
  if (outputs) {
    const each = states.map((x, head) =>
      linear(x, given(`heads/${head}.output`, [vocabularySize, width], outputs[head])),
    );
    logits = concat(each, 0);
  } else {
    logits = family.readout(config, parameterMaker(), concat(states, 0));
    const used = parametersOf(logits);
    for (const [name, data] of await model.parameterValues((name) => used.has(name))) values.set(name, data);
  }
  const program: PartProgram = await partProgram({ logits }, values);
  return {
    identity,
    count: blocks.length,
    site,
    async logits(given) {
      const { data } = (await program.run({ state: { data: given, dims: [1, width] } })).logits;
      return blocks.map((_, head) =>
        (data as Float32Array).subarray(head * vocabularySize, (head + 1) * vocabularySize),
      );
    },
    close: program.close,
  };
}

/** The first heads, as guesses that need no rows. */
export const medusaForesight = (heads: Heads, levels = heads.count): Foresight => ({
  identity: `medusa ${levels} ${heads.identity}`,
  levels,
  taps: [heads.site],
  async guess({ taps }) {
    const state = taps?.[heads.site];
    ensure(state, "internal", "the state that heads are read off is not there");
    return (await heads.logits(state)).slice(0, levels);
  },
});
