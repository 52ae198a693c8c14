/**
 * Training codebooks: the model's own loss through the bottlenecks, gradients going straight through them, and what trains the codes beside it. The model
 * may be trained along with them, or from scratch, or stay as it is.
 */
import { normal, uniform } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import type { Edit } from "../../../models/edits.ts";
import type { Family, ModelConfig } from "../../../models/family.ts";
import { textGraph } from "../../../models/graph.ts";
import type { Lora } from "../../../models/lora.ts";
import { siteNamed, sitesOf } from "../../../models/sites.ts";
import { add, crossEntropy, input, multiply, reduceMean, type Tensor } from "../../../tensor/index.ts";
import { editParameters, type GraphObjective, graphObjective } from "../../../training/graph-objective.ts";
import { adaptGraph, loraParameters } from "../../../training/lora.ts";
import { modelParameters, type Values } from "../../../training/next-token.ts";
import type { Parameter, TokenBatch } from "../../../training/objective.ts";
import { columns, int64 } from "../../../training/parts.ts";
import {
  type Bottleneck,
  bottleneckEdit,
  type CodebookLoss,
  checkBottleneck,
  idsReading,
  reconstructionReading,
} from "./bottleneck.ts";
import type { Codebook } from "./part.ts";

/** The sites of the paper: attention heads before the output projection, a codebook for each head, and feed-forward outputs. */
export const codebookSites = ["attention", "mlp", "both"] as const;
export type CodebookSites = (typeof codebookSites)[number];

export interface CodebookShape extends Omit<Bottleneck, "site" | "groups"> {
  readonly sites: CodebookSites | readonly { readonly site: string; readonly groups: number }[];
}

/** The bottlenecks of a model: one at each chosen site. Errors: `bad_option` for an unknown site, and as `checkBottleneck`. */
export function bottlenecksOf(family: Family, config: ModelConfig, { sites, ...shape }: CodebookShape): Bottleneck[] {
  const layers = Array.from({ length: config.layers }, (_, layer) => `layers.${layer}`);
  const usual = layers.flatMap((layer) => [
    ...(sites === "mlp" ? [] : [{ site: `${layer}.attention.heads`, groups: config.heads }]),
    ...(sites === "attention" ? [] : [{ site: `${layer}.mlp.output`, groups: 1 }]),
  ]);
  const known = sitesOf(family, config);
  return (typeof sites === "string" ? usual : sites).map((place) => {
    const bottleneck = { ...place, ...shape };
    checkBottleneck(bottleneck, siteNamed(known, place.site).width);
    return bottleneck;
  });
}

/** Fresh codebooks: codes normal as embeddings begin, the norm before the lookup neutral. */
export function initialCodebooks(
  family: Family,
  config: ModelConfig,
  shape: CodebookShape,
  {
    seed = 0,
    deviation = 1,
  }: {
    /** Of the codes. Default: 0. */
    seed?: number;
    /** The codes' standard deviation. Default: 1. */
    deviation?: number;
  } = {},
): Codebook[] {
  const known = sitesOf(family, config);
  return bottlenecksOf(family, config, shape).map((bottleneck, request) => {
    const { groups, codes, site } = bottleneck;
    const dimension = siteNamed(known, site).width / groups;
    const draw = (_: unknown, i: number) => deviation * normal({ seed, request }, i, "initialise", 4);
    return {
      bottleneck,
      parameters: {
        codes: {
          shape: [groups * codes, dimension],
          values: Float32Array.from({ length: groups * codes * dimension }, draw),
        },
        gain: { shape: [groups, dimension], values: new Float32Array(groups * dimension).fill(1) },
        bias: { shape: [groups, dimension], values: new Float32Array(groups * dimension) },
      },
    };
  });
}

/**
 * Codebooks that begin near what the model does: the norm before the lookup restores each number's own mean and spread, and codes are states of the
 * model drawn at random, of a length that lets `k` of them stand for one. `states` are rows of each site [rows, width].
 */
export function codebooksFromStates(
  family: Family,
  config: ModelConfig,
  shape: CodebookShape,
  states: Readonly<Record<string, { readonly width: number; readonly values: Float32Array }>>,
  seed = 0,
): Codebook[] {
  return initialCodebooks(family, config, shape, { seed }).map(({ bottleneck, parameters }, request) => {
    const { site, groups, codes, k, aggregate } = bottleneck;
    const found = states[site];
    ensure(
      found && found.values.length >= found.width,
      "bad_option",
      `codebook at ${site}: there are no states to begin from`,
    );
    const { width, values } = found;
    const [rows, dimension] = [values.length / width, width / groups];
    const { gain, bias } = parameters;
    for (let i = 0; i < width; i++) {
      let [sum, squares] = [0, 0];
      for (let row = 0; row < rows; row++) {
        sum += values[row * width + i];
        squares += values[row * width + i] ** 2;
      }
      bias.values[i] = sum / rows;
      gain.values[i] = Math.sqrt(Math.max(1e-12, squares / rows - bias.values[i] ** 2));
    }
    const share = aggregate === "sum" ? 1 / k : 1;
    for (let group = 0; group < groups; group++) {
      for (let id = 0; id < codes; id++) {
        const row = Math.floor(uniform({ seed, request }, group * codes + id, "initialise", 5) * rows);
        for (let i = 0; i < dimension; i++)
          parameters.codes.values[(group * codes + id) * dimension + i] =
            share * values[row * width + group * dimension + i];
      }
    }
    return { bottleneck, parameters };
  });
}

/** What is trained: the codes alone, a LoRA of the model with them, or all of its weights. */
export interface CodebookTask {
  readonly family: Family;
  readonly config: ModelConfig;
  readonly values: Values;
  readonly codebooks: readonly Codebook[];
  readonly train: "codes" | "lora" | "model";
  /** Adapters, with `train` "lora"; needed there, no default. */
  readonly lora?: Lora;
  /** What is minimised. Default: "aeloss". */
  readonly loss?: CodebookLoss;
  /** Of the pull on the model, with `vqvae` and `fullaeloss`. Default: 0.25. */
  readonly beta?: number;
  /** Of the reconstruction. Default: 1. */
  readonly weight?: number;
  readonly rows: number;
  readonly length: number;
  /** Threads within an operator. Default: all cores, at most 8. */
  readonly threads?: number;
}

/** What a batch came to: the model's loss, and the codes that fired at each token, by site: [rows * length, groups * k]. */
export interface CodebookEvaluation {
  readonly loss: number;
  readonly ids: Readonly<Record<string, BigInt64Array>>;
}

export interface CodebookObjective extends GraphObjective<TokenBatch> {
  /** With the codes that fired. */
  codes(batch: TokenBatch): Promise<CodebookEvaluation>;
}

/** The graph of a batch through codebooks: what is minimised, the model's own loss in it, and the codes that fire. Inputs `tokens` and `targets`. */
export function codebookGraph(
  task: Pick<CodebookTask, "family" | "config" | "codebooks" | "loss" | "beta" | "weight" | "rows" | "length" | "lora">,
) {
  const { family, config, codebooks, rows, length, lora, loss: kind = "aeloss", beta, weight = 1 } = task;
  const edits: Edit[] = codebooks.map(({ bottleneck, parameters }) =>
    bottleneckEdit(bottleneck, parameters, { training: { loss: kind, beta } }),
  );
  const sites = codebooks.map(({ bottleneck }) => bottleneck.site);
  const graph = textGraph(family, config, { rows, length, instruments: { taps: [], edits } });
  const all = [
    graph.logits,
    ...sites.map((site) => graph.readings[reconstructionReading(site)]),
    ...sites.map((site) => graph.readings[idsReading(site)]),
  ];
  const [logits, ...readings] = lora ? adaptGraph(all, lora) : all;
  const hard = reduceMean(crossEntropy(logits, input("targets", [rows * length], "int64")));
  const reconstruction = readings.slice(0, sites.length).reduce<Tensor | undefined>((sum, one) => {
    const mean = reduceMean(one);
    return sum ? add(sum, mean) : mean;
  }, undefined);
  return {
    edits,
    loss: kind === "base" || !reconstruction ? hard : add(hard, multiply(reconstruction, weight)),
    measured: hard,
    ids: Object.fromEntries(sites.map((site, i) => [idsReading(site), readings[sites.length + i]])),
    trained: edits.flatMap(editParameters).map((parameter) => ({ ...parameter, decay: false })),
  };
}

/** Each token, and the one that follows it. */
export const nextTokenFeeds = (batch: TokenBatch) => ({
  tokens: int64(columns(batch, 0, batch.length), [batch.rows, batch.length]),
  targets: int64(columns(batch, 1, batch.length), [batch.rows * batch.length]),
});

/** Codebooks and, as `train` says, the model change in place. What is measured is the model's loss alone. Errors: `bad_option`; those of compiling. */
export async function codebookObjective(task: CodebookTask): Promise<CodebookObjective> {
  const { family, config, values, codebooks, train, lora, rows, length, threads } = task;
  ensure(
    (train === "lora") === (lora !== undefined),
    "bad_option",
    "codebooks: a LoRA is trained where train says so, and given then",
  );
  const sites = codebooks.map(({ bottleneck }) => bottleneck.site);
  const { loss, measured, ids: outputs, trained: ofCodes } = codebookGraph(task);
  const trained: Parameter[] = [
    ...ofCodes,
    ...(train === "model" ? modelParameters(family, config, values) : lora ? loraParameters(lora) : []),
  ];
  const objective = await graphObjective<TokenBatch>({
    loss,
    measured,
    outputs,
    trained,
    fixed: train === "model" ? new Map() : values,
    threads,
    feeds(batch) {
      ensure(
        batch.tokens.length === rows * (length + 1),
        "bad_shape",
        `a batch must hold ${rows} x ${length + 1} tokens`,
      );
      return nextTokenFeeds(batch);
    },
  });
  return {
    ...objective,
    async codes(batch) {
      const { loss: value, outputs } = await objective.evaluate(batch);
      const ids = sites.map((site) => [site, outputs[idsReading(site)].data as BigInt64Array]);
      return { loss: value, ids: Object.fromEntries(ids) };
    },
  };
}

/**
 * The paper's optional revival: codes that did not fire for a while become states of the batch. `counts` says how often each code of a site fired since;
 * returns how many were replaced.
 */
export function replaceDeadCodes(
  { bottleneck, parameters }: Codebook,
  counts: ArrayLike<number>,
  states: Float32Array,
  seed: number,
  noise = 1e-4,
): number {
  const { groups, codes } = bottleneck;
  const dimension = parameters.gain.shape[1];
  const rows = states.length / (groups * dimension);
  let replaced = 0;
  for (let id = 0; id < groups * codes; id++) {
    if (counts[id] > 0) continue;
    const stream = { seed, request: id };
    const row = Math.floor(uniform(stream, 0, "initialise", 6) * rows);
    const group = Math.floor(id / codes);
    const state = states.subarray((row * groups + group) * dimension, (row * groups + group + 1) * dimension);
    const length = Math.hypot(...state);
    for (let i = 0; i < dimension; i++)
      parameters.codes.values[id * dimension + i] = state[i] + noise * length * normal(stream, i, "initialise", 7);
    replaced++;
  }
  return replaced;
}

/** How often each code fired: [groups * codes], of ids [rows, groups * k]. */
export function countCodes(
  { groups, codes, k }: Bottleneck,
  ids: ArrayLike<number | bigint>,
  counts: Uint32Array = new Uint32Array(groups * codes),
): Uint32Array {
  for (let i = 0; i < ids.length; i++) {
    const group = Math.floor((i % (groups * k)) / k);
    counts[group * codes + Number(ids[i])]++;
  }
  return counts;
}
