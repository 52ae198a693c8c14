/**
 * Parts that a recipe can train: something small on a frozen base. The base's weights are constants of the compiled program; what is trained,
 * kept in checkpoints and exported is the part alone.
 */

import { z } from "zod";
import { uniform } from "../engine/random.ts";
import { ensure } from "../errors.ts";
import { nameOf, storage } from "../files.ts";
import { describeIssues } from "../issues.ts";
import type { Edit } from "../models/edits.ts";
import type { Family, ModelConfig } from "../models/family.ts";
import { textGraph } from "../models/graph.ts";
import { fingerprintOf, type PartTensor, writePart } from "../models/parts.ts";
import { sitesOf } from "../models/sites.ts";
import { suggestion } from "../names.ts";
import type { Value } from "../runtime/program.ts";
import { readBy, strictly } from "../strict.ts";
import {
  add,
  constant,
  crossEntropy,
  gather,
  greater,
  input,
  linear,
  reduceMean,
  silu,
  type Tensor,
  where,
} from "../tensor/index.ts";
import { openWeights } from "../weights/index.ts";
import { storedType } from "./export.ts";
import { editParameters, graphObjective } from "./graph-objective.ts";
import type { HistoryEntry } from "./history.ts";
import type { LanguageModelObjective, Values } from "./next-token.ts";
import type { Parameter, TokenBatch } from "./objective.ts";

/** The base, and the shape of a batch. */
export interface PartTask {
  readonly family: Family;
  readonly config: ModelConfig;
  readonly values: Values;
  readonly rows: number;
  readonly length: number;
  readonly seed: number;
  /** The texts that it is trained on, by number: for a kind that begins from what the base does with some of them. */
  readonly batch: (index: number) => TokenBatch;
  readonly threads?: number;
  /** Says what the run should know of how the kind begins. */
  readonly say?: (message: string) => void;
}

/** A kind's graph: its loss, what is trained, and what a batch [rows, length + 1] feeds. */
export interface PartGraph {
  /** Sites that the part reads or rewrites. */
  readonly sites: readonly string[];
  /** By the graph's names. */
  readonly trained: readonly Parameter[];
  /** What the card says of it; default: the settings. */
  readonly stated?: Readonly<Record<string, unknown>>;
  /** What is written, as it then is. */
  readonly tensors: ReadonlyMap<string, PartTensor>;
  readonly loss: Tensor;
  /** Of held-out texts; default: the loss. */
  readonly measured?: Tensor;
  feeds(batch: TokenBatch): Readonly<Record<string, Value>>;
}

/** Of a part that is edits of its base: their parameters, whose names must differ. */
export const ofEdits = (edits: readonly Edit[]): Pick<PartGraph, "sites" | "trained" | "tensors"> => ({
  sites: [...new Set(edits.map(({ site }) => site))],
  trained: edits.flatMap(editParameters),
  tensors: new Map(edits.flatMap(({ parameters }) => Object.entries(parameters ?? {}))),
});

export interface PartKind {
  /** As cards say it. */
  readonly name: string;
  readonly settings: z.ZodType;
  /** Errors: `bad_option` where a batch of this shape does not fit. */
  graph(task: PartTask, settings: unknown): PartGraph | Promise<PartGraph>;
}

/** A kind whose settings are those of its schema. */
export const partKind = <Settings>(
  name: string,
  settings: z.ZodType<Settings>,
  graph: (task: PartTask, settings: Settings) => PartGraph | Promise<PartGraph>,
): PartKind => ({ name, settings, graph: (task, given) => graph(task, given as Settings) });

export const int64 = (data: ArrayLike<number>, dims: number[]) => ({ data: BigInt64Array.from(data, BigInt), dims });

/** Tokens from a column on of each row, as many as `width`. */
export const columns = ({ tokens, rows, length }: TokenBatch, from: number, width: number): number[] =>
  Array.from({ length: rows * width }, (_, i) => tokens[Math.floor(i / width) * (length + 1) + from + (i % width)]);

/**
 * A soft prompt (Lester, Al-Rfou and Constant 2021): vectors before every text, which begin as embeddings of tokens drawn by the seed. The loss
 * is the next token's, of the texts alone. Tensor `vectors` [count, width]: give them to `decode` as the first rows of a prompt.
 */
const softPrompt = partKind(
  "soft-prompt",
  z.strictObject({ vectors: z.int().min(1).max(1024) }),
  ({ family, config, values, rows, length, seed }, { vectors: count }) => {
    const { hiddenSize: width, vocabularySize, contextLength } = config;
    const whole = count + length;
    ensure(whole <= contextLength, "bad_option", `part: ${count} vectors and ${length} tokens exceed the context`);
    const embeddings = values.get(family.parameters(config)[0].name)!;
    const start = new Float32Array(count * width);
    for (let i = 0; i < count; i++) {
      const token = Math.floor(uniform({ seed, request: 0 }, i, "initialise", 3) * vocabularySize);
      start.set(embeddings.subarray(token * width, (token + 1) * width), i * width);
    }
    const places = Array.from({ length: rows * whole }, (_, i) => i % whole);
    const which = constant(
      BigInt64Array.from(places, (place) => BigInt(Math.min(place, count - 1))),
      [rows * whole],
    );
    const isVector = constant(
      Float32Array.from(places, (place) => (place < count ? 1 : 0)),
      [rows * whole, 1],
    );
    const edit: Edit = {
      name: "prompt",
      site: "embed.tokens",
      parameters: { vectors: { shape: [count, width], values: start } },
      apply: (value, { parameters }) => ({
        value: where(greater(isVector, 0), gather(parameters.vectors, which), value),
      }),
    };
    const chosen = Array.from(
      { length: rows * length },
      (_, i) => Math.floor(i / length) * whole + count + (i % length),
    );
    const ofTexts = constant(BigInt64Array.from(chosen, BigInt), [rows * length]);
    const { logits } = textGraph(family, config, {
      rows,
      length: whole,
      instruments: { taps: [], edits: [edit] },
      select: (hidden) => gather(hidden, ofTexts),
    });
    return {
      ...ofEdits([edit]),
      loss: reduceMean(crossEntropy(logits, input("targets", [rows * length], "int64"))),
      feeds(batch) {
        const tokens = Array.from({ length: rows }, (_, row) => [
          ...new Array<number>(count).fill(0),
          ...batch.tokens.subarray(row * (length + 1), row * (length + 1) + length),
        ]);
        return {
          tokens: int64(tokens.flat(), [rows, whole]),
          targets: int64(columns(batch, 1, length), [rows * length]),
        };
      },
    };
  },
);

/**
 * Heads for the tokens after the next, as Medusa's (Cai et al. 2024): h + silu(h W^T + b) through the base's own norm and output matrix, W and b
 * zero at first. Head k (from 1) foretells the token k after the next one. Tensors `weight.K` [width, width] and `bias.K` [width], at
 * the residual stream after the last layer. The loss is the sum of the heads'.
 */
const heads = partKind(
  "heads",
  z.strictObject({ heads: z.int().min(1).max(16) }),
  ({ family, config, rows, length }, { heads: count }) => {
    const width = config.hiddenSize;
    const seen = length - count;
    ensure(seen >= 1, "bad_option", `part: ${count} heads need rows longer than ${length} tokens`);
    const numbers = Array.from({ length: count }, (_, i) => i + 1);
    const edit: Edit = {
      name: "heads",
      site: `layers.${config.layers - 1}.residual`,
      parameters: Object.fromEntries(
        numbers.flatMap((k) => [
          [`weight.${k}`, { shape: [width, width], values: new Float32Array(width * width) }],
          [`bias.${k}`, { shape: [width], values: new Float32Array(width) }],
        ]),
      ),
      apply: (value, { parameters, readout }) => ({
        readings: Object.fromEntries(
          numbers.map((k) => {
            const turned = silu(linear(value, parameters[`weight.${k}`], parameters[`bias.${k}`]));
            return [`logits.${k}`, readout(add(value, turned))];
          }),
        ),
      }),
    };
    const taps = numbers.map((k) => `heads.logits.${k}`);
    const { readings } = textGraph(family, config, { rows, length: seen, instruments: { taps, edits: [edit] } });
    const losses = numbers.map((k) =>
      reduceMean(crossEntropy(readings[`heads.logits.${k}`], input(`targets.${k}`, [rows * seen], "int64"))),
    );
    return {
      ...ofEdits([edit]),
      loss: reduceMean(losses.reduce(add)),
      feeds: (batch) => ({
        tokens: int64(columns(batch, 0, seen), [rows, seen]),
        ...Object.fromEntries(numbers.map((k) => [`targets.${k}`, int64(columns(batch, 1 + k, seen), [rows * seen])])),
      }),
    };
  },
);

/** What recipes can train; methods bring kinds of their own. */
export const partKinds: readonly PartKind[] = [softPrompt, heads];

export interface StatedPart {
  readonly kind: string;
  readonly settings?: Readonly<Record<string, unknown>>;
}

export interface PartRun {
  readonly objective: LanguageModelObjective;
  /** Writes the part as it now is. */
  write(folder: string, about: { name: string; step: number; history: readonly HistoryEntry[] }): Promise<void>;
}

/** The kind of this name, of these and `more`. Errors: `bad_option` with the names that there are. */
export function findPartKind(kind: string, more: readonly PartKind[] = []): PartKind {
  const kinds = [...partKinds, ...more];
  const found = kinds.find(({ name }) => name === kind);
  ensure(found, "bad_option", () => {
    const names = kinds.map(({ name }) => name);
    return `part: there is no kind ${kind.slice(0, 200)} (there are ${names.join(", ")})${suggestion(kind.slice(0, 200), names)}`;
  });
  return found;
}

/** The settings with their defaults. Errors: `bad_option` for an unknown kind, and for settings that it does not take. */
export function partSettings({ kind, settings = {} }: StatedPart, more: readonly PartKind[] = []): unknown {
  const schema = strictly(findPartKind(kind, more).settings);
  const parsed = readBy(schema, settings, "part", "settings");
  const { issues } = parsed;
  ensure(issues === undefined, "bad_option", () => `part: settings: ${describeIssues(issues!, schema)}`);
  return parsed.data;
}

/** Errors: `bad_option` for an unknown kind, settings that it does not take, or a batch that does not fit it; those of compiling. */
export async function startPart(
  stated: StatedPart,
  task: PartTask & { base: string },
  more: readonly PartKind[] = [],
): Promise<PartRun> {
  const { family, config, values, rows, length, base, threads } = task;
  const { kind } = stated;
  const settings = partSettings(stated, more);
  const made = await findPartKind(kind, more).graph(task, settings as never);
  const { sites, trained, tensors, loss, measured, feeds } = made;
  const objective = await graphObjective<TokenBatch>({
    loss,
    measured,
    trained,
    fixed: values,
    threads,
    feeds(batch) {
      const fits = batch.tokens.length === rows * (length + 1);
      ensure(fits, "bad_shape", `a batch must hold ${rows} x ${length + 1} tokens, not ${batch.tokens.length}`);
      return feeds(batch);
    },
  });
  return {
    objective,
    async write(folder, { name, step, history }) {
      const source = await openWeights(base);
      const fingerprint = await fingerprintOf(source).finally(() => source.close());
      const heldOutLoss = history.findLast((entry) => entry.heldOutLoss !== undefined)?.heldOutLoss;
      await writePart(
        folder,
        { name: nameOf((await storage()).absolute(base)), fingerprint, sites: sitesOf(family, config) },
        {
          name,
          kind,
          sites: [...sites],
          settings: made.stated ?? (settings as Record<string, unknown>),
          training: { step, loss: history.at(-1)?.loss, heldOutLoss },
          tensors,
          stored: storedType([...tensors].map(([tensor, { values }]) => [tensor, values] as const)),
        },
      );
    },
  };
}
