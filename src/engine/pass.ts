/** The compiled forward pass of a model over new rows and the key-value arena: what the forest runs. */
import type { Tensor as OnnxValue } from "onnxruntime-common";
import { ensure, nearest } from "../errors.ts";
import { arenaAttention } from "../models/attention.ts";
import type { Family, ModelConfig } from "../models/family.ts";
import { rotationTables } from "../models/rope.ts";
import {
  type CompileOptions,
  compile,
  type Program,
  type Value,
  type ValueMaker,
  valueMaker,
} from "../runtime/program.ts";
import {
  cast,
  concat,
  gather,
  input,
  type LoweredProgram,
  type LoweringOptions,
  lower,
  type Tensor,
} from "../tensor/index.ts";
import type { Stored, StoredType } from "./arena.ts";

export interface PassOptions {
  /** How keys and values are stored. Default float32. */
  stored?: StoredType;
  blocks?: LoweringOptions["blocks"];
  /** Whether the weights are part of the program (default) or inputs of every run: see `startOpenPass`. */
  parameters?: LoweringOptions["parameters"];
  /** Sites to read (one row a token), and sites to rewrite. */
  taps?: readonly string[];
  edits?: Readonly<Record<string, (value: Tensor) => Tensor>>;
}

export interface PassInputs {
  readonly tokens: readonly number[];
  /** Position of each row. */
  readonly depths: readonly number[];
  /** Additive [lanes * rows, slots + rows]: 0 where the row may look. */
  readonly mask: Float32Array;
  /** Rows whose logits are wanted; at least one. */
  readonly select: readonly number[];
  readonly slots: number;
  /** Texts side by side, of equally many rows each, one lane's after the other's: a row looks at its own lane alone. */
  readonly lanes: number;
  /** Arguments `keys.N` and `values.N`, [lanes, key-value heads, slots, head dimension]. */
  readonly arena: Readonly<Record<string, OnnxValue>>;
}

export interface PassOutputs {
  /** [selected, vocabulary]. */
  readonly logits: Float32Array;
  /** [2 * layers, lanes, key-value heads, rows, head dimension]: keys of layer 0, values of layer 0, keys of layer 1, … */
  readonly entries: Stored;
  /** Each tap's value, first dimension rows (or selected rows, for sites after the selection). */
  readonly taps: Readonly<Record<string, Value>>;
}

export interface Pass {
  readonly config: ModelConfig;
  run(inputs: PassInputs): Promise<PassOutputs>;
  release(): Promise<void>;
}

/** The pass as an ONNX program. Errors: `bad_option` for a site the model has not. */
export function lowerPass(
  family: Family,
  config: ModelConfig,
  { taps = [], edits = {}, blocks, parameters = "weights", stored: type = "float32" }: PassOptions = {},
): LoweredProgram {
  const groups = config.heads / config.keyValueHeads;
  const tokens = input("tokens", ["lanes", "rows"], "int64");
  const positions = input("positions", ["lanes", "rows"], "int64");
  const select = input("select", ["selected"], "int64");
  const mask = input("mask", ["lanes", 1, groups === 1 ? "rows" : `${groups}*rows`, "rows+slots"]);
  const cacheShape = ["lanes", config.keyValueHeads, "slots", config.headDimension];
  const half = config.headDimension / 2;

  const visited: string[] = [];
  const tapped: Record<string, Tensor> = {};
  const stored: Tensor[] = [];
  const read = (name: string): Tensor => cast(input(name, cacheShape, type), "float32");
  const store = (value: Tensor): Tensor => {
    const kept = cast(value, type);
    stored.push(kept);
    return cast(kept, "float32");
  };
  const logits = family.build(config, {
    tokens,
    positions,
    rotary: config.frequencies && {
      cosines: input("cosines", ["positions", half]),
      sines: input("sines", ["positions", half]),
    },
    attention: arenaAttention(
      (layer) => ({ keys: read(`keys.${layer}`), values: read(`values.${layer}`) }),
      mask,
      (_, { keys, values }) => ({ keys: store(keys), values: store(values) }),
    ),
    site(name, value) {
      visited.push(name);
      const result = edits[name]?.(value) ?? value;
      if (taps.includes(name)) tapped[`tap.${name}`] = result;
      return result;
    },
    select: (hidden) => gather(hidden, select),
  });
  for (const name of [...taps, ...Object.keys(edits)]) {
    ensure(visited.includes(name), "bad_option", () => {
      const meant = nearest(name, visited);
      return `the model has no site ${name}${meant ? `; did you mean ${meant}?` : ""}`;
    });
  }
  return lower({ logits, entries: concat(stored, 0), ...tapped }, { parameters, blocks });
}

/** Compiles a lowered pass. Errors: those of `compile`. */
export async function startPass(
  config: ModelConfig,
  lowered: LoweredProgram,
  compileOptions: CompileOptions,
): Promise<Pass> {
  const program = await compile(lowered, compileOptions);
  return passOf(config, program, await valueMaker(), () => ({}), program.release);
}

/** One program for any number of weights of one shape: drafts that learn are swapped without compiling anything. */
export interface OpenPass {
  /** A pass with weights of its own, which are read when they are set and at every run. */
  withWeights(
    values: ReadonlyMap<string, Float32Array>,
  ): Pass & { setWeights(values: ReadonlyMap<string, Float32Array>): void };
  release(): Promise<void>;
}

/** Compiles a pass that was lowered with its parameters as inputs. Errors: those of `compile`. */
export async function startOpenPass(
  config: ModelConfig,
  lowered: LoweredProgram,
  compileOptions: CompileOptions,
): Promise<OpenPass> {
  const program = await compile(lowered, compileOptions);
  const value = await valueMaker();
  const wrap = (values: ReadonlyMap<string, Float32Array>): Record<string, OnnxValue> =>
    Object.fromEntries(
      lowered.inputs.flatMap(({ name, shape }) => {
        const data = values.get(name);
        return data ? [[name, value("float32", data, shape as number[])]] : [];
      }),
    );
  return {
    withWeights(values) {
      let weights = wrap(values);
      const pass = passOf(
        config,
        program,
        value,
        () => weights,
        async () => {},
      );
      const setWeights = (next: ReadonlyMap<string, Float32Array>): void => {
        weights = wrap(next);
      };
      return { ...pass, setWeights };
    },
    release: () => program.release(),
  };
}

function passOf(
  config: ModelConfig,
  program: Program,
  value: ValueMaker,
  weights: () => Record<string, OnnxValue>,
  release: () => Promise<void>,
): Pass {
  const groups = config.heads / config.keyValueHeads;
  const tablesFor = config.frequencies && rotationTables(config.frequencies);
  let tables: ReturnType<NonNullable<typeof tablesFor>> | undefined;
  let rotation: Record<string, OnnxValue> = {};
  const repeated = createScratch();
  return {
    config,
    async run({ tokens, depths, mask, select, slots, lanes, arena }) {
      const rows = tokens.length / lanes;
      const current = tablesFor?.(depths);
      if (current && current !== tables) {
        tables = current;
        const dims = [tables.positions, config.headDimension / 2];
        rotation = { cosines: value("float32", tables.cosines, dims), sines: value("float32", tables.sines, dims) };
      }
      const feeds: Record<string, OnnxValue> = {
        ...arena,
        ...weights(),
        ...rotation,
        tokens: value("int64", int64s(tokens), [lanes, rows]),
        positions: value("int64", int64s(depths), [lanes, rows]),
        select: value("int64", int64s(select), [select.length]),
        mask: value("float32", repeatRows(mask, lanes, groups, repeated), [lanes, 1, groups * rows, slots + rows]),
      };
      const { logits, entries, ...rest } = await program.run(feeds);
      const named = Object.entries(rest).map(([name, result]) => [name.slice("tap.".length), result]);
      return {
        logits: logits.data as Float32Array,
        entries: entries.data as Stored,
        taps: Object.fromEntries(named),
      };
    },
    release,
  };
}

/** Whole numbers from 0 to 2^31 - 1 as 64-bit words, without the detour over bigints. */
function int64s(values: readonly number[]): BigInt64Array {
  const words = new Int32Array(2 * values.length); // low word first: ONNX Runtime is little-endian everywhere
  for (let i = 0; i < values.length; i++) words[2 * i] = values[i];
  return new BigInt64Array(words.buffer);
}

/** The query heads that share a key head stand below one another: each needs the same mask. */
function repeatRows(mask: Float32Array, lanes: number, groups: number, scratch: Scratch): Float32Array {
  if (groups === 1) return mask;
  const result = scratch(mask.length * groups);
  const size = mask.length / lanes;
  for (let lane = 0; lane < lanes; lane++) {
    const own = mask.subarray(lane * size, (lane + 1) * size);
    for (let group = 0; group < groups; group++) result.set(own, (lane * groups + group) * size);
  }
  return result;
}

export type Scratch = (length: number) => Float32Array;

/**
 * Gives an array of any length out of one buffer, valid until the next call; its contents are what the last user left. Fresh arrays
 * of a mask's size would make the collector go through the whole heap every few passes.
 */
export function createScratch(): Scratch {
  let buffer = new Float32Array(0);
  return (length) => {
    if (buffer.length < length) buffer = new Float32Array(2 * length);
    return buffer.subarray(0, length);
  };
}
