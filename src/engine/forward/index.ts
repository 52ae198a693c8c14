/**
 * `forward`: the model as a function of whole sequences, beside the forest. Any mask, any positions, vectors instead of tokens, given keys and
 * values; several sequences in one pass. The same definition as the forest's, over the same weight file, compiled for what is asked.
 */
import { ensure } from "../../errors.ts";
import { calledByNumber, createHooks, type Instruments } from "../../models/edits.ts";
import { type Family, type ModelConfig, reachesOf } from "../../models/family.ts";
import { maskedAttention } from "../../models/masked-attention.ts";
import { parameterMaker } from "../../models/parameters.ts";
import { rotaryFeeds, rotaryInputs } from "../../models/rope.ts";
import { selectedRows } from "../../models/sites.ts";
import {
  type CompileOptions,
  compile,
  type OnnxValue,
  type Program,
  type Value,
  valueMaker,
} from "../../runtime/program.ts";
import { gather, input, type LoweredProgram, type LoweringOptions, lower, type Tensor } from "../../tensor/index.ts";
import { joined, type TapRows } from "../sites/delivery.ts";
import { floatsOf, notFinite } from "../sites/readings.ts";
import { type AppliedEdit, createSiteInputs, type LoweredPass, type RowSites, requireActing } from "../sites/rows.ts";
import { union } from "../sites/variants.ts";
import { applyVector } from "../sites/vectors.ts";
import { type Batch, type ForwardSequence, type KeptRows, layOutBatch } from "./input.ts";

/** What is read and rewritten in a forward pass. */
export interface ForwardSettings {
  /** Sites, and readings of edits, of every row. */
  readonly taps: readonly string[];
  /** Changes to values inside the model, in order. */
  readonly edits: readonly AppliedEdit[];
  /** Whether to return the rows' keys and values. */
  readonly keep: boolean;
}

/** What a sequence's rows gave. */
export interface ForwardResult {
  /** [selected rows, vocabulary]. */
  readonly logits: Float32Array;
  readonly taps: Readonly<Record<string, TapRows>>;
  readonly kept?: KeptRows;
}

/** Whole sequences in one pass, under any mask. */
export interface Forward {
  /** A result for each sequence. Errors: `bad_option`, `bad_shape`, `context_full` before anything runs; `runtime_failed`. */
  run(sequences: readonly ForwardSequence[], settings: ForwardSettings): Promise<ForwardResult[]>;
  release(): Promise<void>;
}

export interface ForwardParts {
  readonly family: Family;
  readonly config: ModelConfig;
  /** Part of the model: what is read and rewritten in every row. */
  readonly always: Instruments;
  readonly blocks: LoweringOptions["blocks"];
  readonly products?: LoweringOptions["products"];
  /** The weight file's layout, and how programs over it are compiled. */
  readonly layout: LoweredProgram;
  readonly compiling: CompileOptions;
}

interface Compiled {
  readonly program: Program;
  readonly lowered: LoweredPass;
}

/** What a program is compiled for. */
interface Shape {
  readonly asked: Instruments;
  readonly past: boolean;
  readonly keep: boolean;
  readonly logits: boolean;
}

/** Input of the mask of each window that layers have. */
const maskName = (kind: number): string => ["mask", "windowMask"][kind];

/** Programs that are kept, the one used last being the last. */
const mostPrograms = 6;

export function createForward(parts: ForwardParts): Forward {
  const { config } = parts;
  const programs: { shape: Shape; compiled: Promise<Compiled> }[] = [];
  let rotations: ReturnType<typeof rotaryFeeds<OnnxValue>> | undefined;
  let last: Promise<unknown> = Promise.resolve();
  let open = true;

  function programFor(shape: Shape): Promise<Compiled> {
    const at = programs.findIndex((p) => sameShape(p.shape, shape));
    const found = at >= 0 ? programs.splice(at, 1)[0] : { shape, compiled: compileFor(parts, shape) };
    programs.push(found);
    found.compiled.catch(() => programs.splice(programs.indexOf(found), 1));
    if (programs.length > mostPrograms) {
      const [old] = programs.splice(0, 1);
      last = last.then(async () => (await old.compiled).program.release()).catch(() => {});
    }
    return found.compiled;
  }

  async function runBatch(batch: Batch, { taps, edits, keep }: ForwardSettings): Promise<ForwardResult[]> {
    const value = await valueMaker();
    rotations ??= rotaryFeeds(config, (data, dims) => value("float32", data, dims));
    const { sequences, length, past, select } = batch;
    const sites = sitesOfBatch(batch, taps, edits);
    const logits = select.length > 0;
    const isRow = (at: number): boolean => at % length < sequences[Math.floor(at / length)].tokens.length;
    requireActing(
      edits,
      batch.positions.filter((_, at) => isRow(at)),
      "forward",
    );
    const compiled = await programFor({ asked: sites.needed, past: past > 0, keep, logits });
    const { program, lowered } = compiled;
    ensure(logits || !lowered.inputs.some(({ name }) => name === "select"), "bad_option", () => {
      return `forward: ${taps.join(", ")}: of rows whose logits are wanted, and logits is "none"`;
    });
    const groups = config.heads / config.keyValueHeads;
    const dims = [sequences.length, length];
    const needed = new Set(lowered.inputs.map(({ name }) => name));
    const feeds: Record<string, OnnxValue> = {
      ...createSiteInputs(lowered, value)(sites, { lanes: sequences.length, rows: [length] }, select),
      ...(past > 0 ? pastInputs(config, batch, value) : {}),
      tokens: value("int64", batch.tokens, dims),
      positions: value("int64", BigInt64Array.from(batch.positions, BigInt), dims),
      ...Object.fromEntries(
        batch.masks.map((mask, kind) => {
          const dims = [sequences.length, 1, groups * length, past + length];
          return [maskName(kind), value("float32", mask, dims)];
        }),
      ),
      ...rotations(batch.positions),
      ...(logits && { select: value("int64", BigInt64Array.from(select, BigInt), [select.length]) }),
    };
    for (const error of sites.failed.values()) throw error;
    for (const name of Object.keys(feeds)) if (!needed.has(name)) delete feeds[name];
    const outputs = await program.run(feeds);
    refuseBroken(outputs, sites, lowered, batch);
    return resultsOf(config, batch, outputs, lowered, { taps, edits, keep });
  }

  return {
    run(sequences, settings) {
      ensure(open, "aborted", "the model was closed");
      const batch = layOutBatch(config, sequences);
      const result = last.then(() => runBatch(batch, settings)); // a program runs once at a time
      last = result.catch(() => {});
      return result;
    },
    async release() {
      open = false;
      await last;
      for (const { compiled } of programs) await compiled.then(({ program }) => program.release()).catch(() => {});
    },
  };
}

function sameShape(a: Shape, b: Shape): boolean {
  const same = <T>(x: readonly T[], y: readonly T[]): boolean =>
    x.length === y.length && x.every((item, i) => item === y[i]);
  const flags = a.past === b.past && a.keep === b.keep && a.logits === b.logits;
  return flags && same(a.asked.taps, b.asked.taps) && same(a.asked.edits, b.asked.edits);
}

async function compileFor({ family, config, always, blocks, products, layout, compiling }: ForwardParts, shape: Shape) {
  const { asked, past, keep, logits: wantsLogits } = shape;
  const groups = config.heads / config.keyValueHeads;
  const heads = config.keyValueHeads;
  const parameter = parameterMaker();
  const selection = input("select", [selectedRows], "int64");
  const select = (hidden: Tensor): Tensor => gather(hidden, selection);
  const instruments = { taps: [...always.taps, ...asked.taps], edits: [...always.edits, ...asked.edits] };
  const called = calledByNumber(instruments.edits);
  const hooks = createHooks(family, config, instruments, { parameter, select, gated: new Set(asked.edits), called });
  const kept: Record<string, Tensor> = {};
  const reaches = reachesOf(config);
  const seen = ["batch", 1, groups === 1 ? "length" : `${groups}*length`, past ? "length+past" : "length"];
  const masks = reaches.windows.map((_, kind) => input(maskName(kind), seen));
  const pastOf = (name: string): Tensor => input(name, ["batch", heads, "past", config.headDimension]);
  const logits = family.build(config, {
    tokens: input("tokens", ["batch", "length"], "int64"),
    positions: input("positions", ["batch", "length"], "int64"),
    rotary: rotaryInputs(config),
    attention: maskedAttention({
      mask: (layer) => masks[reaches.of(layer)],
      ...(past && { past: (layer) => ({ keys: pastOf(`keys.${layer}`), values: pastOf(`values.${layer}`) }) }),
      keep: (layer, keys, values) =>
        Object.assign(kept, { [`kept.keys.${layer}`]: keys, [`kept.values.${layer}`]: values }),
    }),
    parameter,
    site: hooks.site,
    select,
  });
  const outputs = { ...(wantsLogits && { logits }), ...(keep && kept), ...hooks.outputs };
  ensure(Object.keys(outputs).length > 0, "bad_option", "forward: nothing is asked for: no logits, taps or kept rows");
  const ofModel = new Set(family.parameters(config).map(({ name }) => name));
  const place = (name: string) => (ofModel.has(name) ? "weights" : "inputs");
  const lowered = {
    ...lower(outputs, { parameters: place, blocks, products, layout }),
    always,
    asked,
    madeAt: hooks.madeAt,
  };
  return { lowered, program: await compile(lowered, compiling) };
}

/** What the rows of a batch ask for: the edits of the call in all rows that are not padding, and vectors in theirs. */
function sitesOfBatch(batch: Batch, taps: readonly string[], edits: readonly AppliedEdit[]): RowSites {
  const edited: RowSites["edited"][number][] = [];
  batch.sequences.forEach(({ tokens }, s) => {
    for (let row = 0; row < tokens.length; row++) {
      const at = s * batch.length + row;
      const vector = batch.vectors.get(at);
      const acting = vector ? [applyVector(vector), ...edits] : edits;
      if (acting.length === 0) continue;
      edited.push({ at, edits: acting, row: { position: batch.positions[at], placeOf: () => undefined } });
    }
  });
  const modules = edited.map((row) => row.edits.map(({ edit }) => edit));
  const needed = union([{ taps, edits: [] }, ...modules.map((list) => ({ taps: [], edits: list }))]);
  return { needed, edited, failed: new Map() };
}

function pastInputs(config: ModelConfig, { sequences, past }: Batch, value: Awaited<ReturnType<typeof valueMaker>>) {
  const { layers, keyValueHeads: heads, headDimension: dimension } = config;
  const result: Record<string, OnnxValue> = {};
  for (let layer = 0; layer < layers; layer++) {
    for (const kind of ["keys", "values"] as const) {
      const plane = new Float32Array(sequences.length * heads * past * dimension);
      sequences.forEach(({ past: own }, s) => {
        for (let head = 0; own && head < heads; head++) {
          const rows = own[kind][layer].subarray(head * own.length * dimension, (head + 1) * own.length * dimension);
          plane.set(rows, (s * heads + head) * past * dimension);
        }
      });
      result[`${kind}.${layer}`] = value("float32", plane, [sequences.length, heads, past, dimension]);
    }
  }
  return result;
}

/** Errors: `runtime_failed` naming the edit that gave values which are not finite. */
function refuseBroken(outputs: Record<string, Value>, { edited }: RowSites, lowered: LoweredPass, batch: Batch): void {
  for (const edit of lowered.asked.edits) {
    const { name } = edit;
    const bad = outputs[`bad.${name}`]?.data as Float32Array | undefined;
    const at = bad?.findIndex((x) => Number.isNaN(x) || x !== 0) ?? -1; // not a comparison alone: NaN is bad, too
    if (at < 0) continue;
    const after = lowered.outputs.find((output) => output.name === `bad.${name}`)!.shape[0] === selectedRows;
    const row = after ? batch.select[at] : at;
    throw notFinite(edit, edited.find((e) => e.at === row)?.row.position);
  }
}

function resultsOf(
  config: ModelConfig,
  batch: Batch,
  outputs: Record<string, Value>,
  lowered: LoweredPass,
  { taps, keep }: ForwardSettings,
): ForwardResult[] {
  const { sequences, length, selected } = batch;
  const wanted = [...lowered.always.taps, ...taps];
  let chosen = 0;
  return sequences.map(({ tokens }, s) => {
    const first = chosen;
    chosen += selected[s];
    const rowsOf = (name: string): TapRows => {
      const { data, dims } = outputs[`tap.${name}`];
      const width = data.length / dims[0];
      const after = lowered.outputs.find((output) => output.name === `tap.${name}`)!.shape[0] === selectedRows;
      const [from, count] = after ? [first, selected[s]] : [s * length, tokens.length];
      if (count === 0) return joined([]);
      const values = floatsOf(data, from * width, (from + count) * width);
      return { width, rows: count, values };
    };
    const vocabulary = config.vocabularySize;
    const logits = outputs.logits?.data as Float32Array | undefined;
    return {
      logits: logits?.slice(first * vocabulary, chosen * vocabulary) ?? new Float32Array(0),
      taps: Object.fromEntries(wanted.map((name) => [name, rowsOf(name)])),
      ...(keep && { kept: keptOf(config, batch, outputs, s) }),
    };
  });
}

function keptOf(
  config: ModelConfig,
  { sequences, length }: Batch,
  outputs: Record<string, Value>,
  s: number,
): KeptRows {
  const { layers, keyValueHeads: heads, headDimension: dimension } = config;
  const rows = sequences[s].tokens.length;
  const planes = (kind: string): Float32Array[] =>
    Array.from({ length: layers }, (_, layer) => {
      const data = outputs[`kept.${kind}.${layer}`].data as Float32Array;
      const own = new Float32Array(heads * rows * dimension);
      for (let head = 0; head < heads; head++) {
        const from = (s * heads + head) * length * dimension;
        own.set(data.subarray(from, from + rows * dimension), head * rows * dimension);
      }
      return own;
    });
  return { length: rows, keys: planes("keys"), values: planes("values") };
}
