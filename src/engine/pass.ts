/** The compiled forward pass of a model over new rows and the key-value arena: what the forest runs. */
import { pagedAttention } from "../models/attention.ts";
import {
  calledByNumber,
  checkReadings,
  createHooks,
  type Instruments,
  noInstruments,
  withinHalf,
} from "../models/edits.ts";
import { type Family, type ModelConfig, reachesOf } from "../models/family.ts";
import { parameterMaker } from "../models/parameters.ts";
import { rotaryFeeds, rotaryInputs } from "../models/rope.ts";
import { type Site, selectedRows } from "../models/sites.ts";
import {
  type CompileOptions,
  compile,
  type OnnxValue,
  type Program,
  type Value,
  type ValueMaker,
  valueMaker,
} from "../runtime/program.ts";
import {
  cast,
  concat,
  type Dimension,
  gather,
  input,
  type LoweringOptions,
  lower,
  product,
  reshape,
  type Tensor,
} from "../tensor/index.ts";
import { pageSize, type Stored, type StoredType } from "./arena.ts";
import { createScratch, type Scratch } from "./scratch.ts";
import { createSiteInputs, type LoweredPass, type RowSites } from "./sites/rows.ts";
import { beginnings, placeInStage, stageOfLayer, stageOfSite } from "./sites/stages.ts";

export interface PassOptions {
  /** How keys and values are stored. Default float32. */
  stored?: StoredType;
  blocks?: LoweringOptions["blocks"];
  /** Whether the weights are part of the program (default) or inputs of every run: see `startOpenPass`. */
  parameters?: LoweringOptions["parameters"];
  /** What is read and rewritten in every row. */
  always?: Instruments;
  /** What is read, and rewritten in the rows that ask for it: see `sites/variants.ts`. */
  asked?: Instruments;
  products?: LoweringOptions["products"];
  /** Weights that lie in a file already. */
  layout?: LoweringOptions["layout"];
}

export interface PassInputs {
  /** Of rows that begin after a layer they mean nothing. */
  readonly tokens: readonly number[];
  /** Position of each row. */
  readonly depths: readonly number[];
  /** Texts side by side, of equally many rows each, one lane's after the other's: a row looks at its own lane alone. */
  readonly lanes: number;
  /** Rows of a lane in every stage, the last being all of them: see `Stages`. */
  readonly stages: readonly number[];
  /** Rows whose logits are wanted; at least one. */
  readonly select: readonly number[];
  /** Pages of positions that rows look over. */
  readonly pages: number;
  /** Where each row goes in the last of these pages, [lanes, rows]: its page's number times its size, and the column. */
  readonly places: Int32Array;
  /** Additive [pages, lanes, rows, page]: 0 where the row may look. One for each window that layers have. */
  readonly masks: readonly Float32Array[];
  /** Full pages, `keys.N` and `values.N`, and the last pages, `lastKeys.N` and `lastValues.N`: see `Planes`. */
  readonly inputs: Readonly<Record<string, OnnxValue>>;
  /** What rows ask to have read and rewritten, row by row; undefined: nothing. */
  readonly sites?: RowSites;
}

export interface PassOutputs {
  /** [selected, vocabulary]. */
  readonly logits: Float32Array;
  /** Keys [layers, lanes, key-value heads, rows of the first stage, head dimension], and values with one column more, of ones. */
  readonly keys: Stored;
  readonly values: Stored;
  /** What was read: of each row, or of each selected row. */
  readonly taps: Readonly<Record<string, Tapped>>;
  /** Of each edit that was asked for: which rows of its site it gave values that are not finite. */
  readonly bad: Readonly<Record<string, Tapped>>;
}

export interface Tapped {
  readonly rows: Site["rows"];
  /** Read for everybody, not because rows ask for it. */
  readonly always: boolean;
  /** The stage of its site: rows that begin later were not there. */
  readonly stage: number;
  readonly value: Value;
}

export interface Pass {
  readonly config: ModelConfig;
  /** Rows, and selected rows, must be even in number, or the last one's bits differ from what they are elsewhere. */
  readonly evenRows: boolean;
  run(inputs: PassInputs): Promise<PassOutputs>;
  /** Makes ready for rows that ask for these: without it, the first pass with such a row waits. */
  prepare?(asked: Instruments): Promise<void>;
  release(): Promise<void>;
}

/** Inputs of the masks of each window. */
const maskNames = ["mask", "windowMask"];

/** The pass as an ONNX program. Errors: `bad_option` for a site the model has not. */
export function lowerPass(family: Family, config: ModelConfig, options: PassOptions = {}): LoweredPass {
  const { always = noInstruments, asked = noInstruments, layout } = options;
  const { blocks, products, parameters = "weights", stored: type = "float32" } = options;

  const groups = config.heads / config.keyValueHeads;
  const tokens = input("tokens", ["lanes", "rows"], "int64");
  const positions = input("positions", ["lanes", "rows"], "int64");
  const selection = input("select", [selectedRows], "int64");
  const { keyValueHeads, headDimension } = config;
  const after = beginnings(asked.edits);
  const ofStage = (name: string, stage: number): string => (stage === 0 ? name : `${name}.${stage}`);
  const reaches = reachesOf(config);
  const rowsOfStage = Array.from({ length: after.length + 1 }, (_, stage) => {
    const rows = ofStage("rows", stage);
    const shape = ["last+pages", "lanes", 1, product([groups, rows]), pageSize];
    return {
      positions: stage === 0 ? positions : input(ofStage("positions", stage), ["lanes", rows], "int64"),
      places: input(ofStage("places", stage), ["lanes", keyValueHeads, rows, 4], "int64"),
      masks: reaches.windows.map((_, kind) => input(ofStage(maskNames[kind], stage), shape)),
      ones: input(ofStage("ones", stage), ["lanes", keyValueHeads, rows, 1]),
    };
  });

  const ofModel = new Set(family.parameters(config).map(({ name }) => name));
  const parameter = parameterMaker();
  const select = (hidden: Tensor): Tensor => gather(hidden, selection);
  /** Where a site has fewer rows than the pass, selected ones stand elsewhere among them. */
  const selections = [...after.map((_, stage) => input(`selected.${stage}`, [selectedRows], "int64")), selection];
  const instruments = { taps: [...always.taps, ...asked.taps], edits: [...always.edits, ...asked.edits] };
  const hooks = createHooks(family, config, instruments, {
    parameter,
    select: (rows, site) => gather(rows, selections[stageOfSite(site, after)]),
    gated: new Set(asked.edits),
    called: calledByNumber(instruments.edits),
    join(value, site) {
      const stage = stageOfSite(site, after);
      const size = product(["lanes", ofStage("rows", stage)]);
      return gather(value, input(`joined.${stage}`, [size], "int64"));
    },
  });
  /** Keys or values of the rows that are stored, which come first in every lane. */
  const real = new Map<number, Tensor>();
  function storedRows(value: Tensor, stage: number): Tensor {
    if (stage === 0) return value;
    const size = product([keyValueHeads, "lanes", "rows"]);
    if (!real.has(stage)) real.set(stage, input(`real.${stage}`, [size], "int64"));
    const width = value.shape[3];
    return reshape(gather(reshape(value, [-1, width]), real.get(stage)!), ["lanes", keyValueHeads, "rows", width]);
  }
  const stored: { keys: Tensor[]; values: Tensor[] } = { keys: [], values: [] };
  const pages = (name: string, count: Dimension, width: number, of: StoredType): Tensor =>
    cast(input(name, [count, "lanes", keyValueHeads, pageSize, width], of), "float32");
  const store = (layer: number, kind: "keys" | "values", value: Tensor): Tensor => {
    // An edit's row may hold more than half precision does; as infinities, it would reach other rows.
    const kept = cast(type === "float16" && asked.edits.length > 0 ? withinHalf(value) : value, type);
    stored[kind].push(storedRows(kept, stageOfLayer(layer, after)));
    return cast(kept, "float32");
  };
  const logits = family.build(config, {
    tokens,
    positions,
    positionsAfter: (layer) =>
      after.includes(layer) ? rowsOfStage[stageOfLayer(layer + 1, after)].positions : undefined,
    rotary: rotaryInputs(config),
    attention: pagedAttention({
      past: (layer) => ({
        keys: pages(`keys.${layer}`, "pages", headDimension, type),
        values: pages(`values.${layer}`, "pages", headDimension + 1, type),
        lastKeys: pages(`lastKeys.${layer}`, "last", headDimension, "float32"),
        lastValues: pages(`lastValues.${layer}`, "last", headDimension + 1, "float32"),
      }),
      rows(layer) {
        const { masks, ...rows } = rowsOfStage[stageOfLayer(layer, after)];
        return { ...rows, mask: masks[reaches.of(layer)] };
      },
      store,
    }),
    parameter,
    site: hooks.site,
    select,
  });
  checkReadings(instruments, hooks);
  // Parameters that edits bring stay inputs: they may be trained on, and the weight file is the model's.
  const place = (name: string) => (ofModel.has(name) && parameters === "weights" ? "weights" : "inputs");
  const lowered = lower(
    { logits, "new.keys": concat(stored.keys, 0), "new.values": concat(stored.values, 0), ...hooks.outputs },
    { parameters: place, blocks, products, layout },
  );
  return { ...lowered, always, asked, madeAt: hooks.madeAt };
}

/** Compiles a lowered pass. Errors: those of `compile`. */
export async function startPass(
  config: ModelConfig,
  lowered: LoweredPass,
  compileOptions: CompileOptions,
): Promise<Pass> {
  const program = await compile(lowered, compileOptions);
  return passOf(config, lowered, program, await valueMaker(), () => ({}), program.release);
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
  lowered: LoweredPass,
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
      const keepOpen = async (): Promise<void> => {};
      const pass = passOf(config, lowered, program, value, () => weights, keepOpen);
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
  lowered: LoweredPass,
  program: Program,
  value: ValueMaker,
  weights: () => Record<string, OnnxValue>,
  release: () => Promise<void>,
): Pass {
  const { keyValueHeads } = config;
  const groups = config.heads / keyValueHeads;
  const rotations = rotaryFeeds(config, (data, dims) => value("float32", data, dims));
  const scratches: Scratch[] = [];
  const siteInputs = createSiteInputs(lowered, value);
  const wanted = new Set(lowered.inputs.map(({ name }) => name));
  const after = beginnings(lowered.asked.edits);
  /** Outputs "PREFIX.NAME". */
  const described = (prefix: string) =>
    lowered.outputs.flatMap(({ name: output, shape }) => {
      if (!output.startsWith(`${prefix}.`)) return [];
      const name = output.slice(prefix.length + 1);
      const rows: Site["rows"] = shape[0] === selectedRows ? "selected" : "all";
      const stage = stageOfSite(lowered.madeAt.get(output)!, after);
      return { output, name, rows, always: lowered.always.taps.includes(name), stage };
    });
  const [tapped, checked] = [described("tap"), described("bad")];
  return {
    config,
    // The kernel takes rows in pairs, and sums a row that is left over in another order.
    evenRows: lowered.weights.some((weight) => weight.bits === 4 && weight.blockSize === 64),
    async run({ tokens, depths, lanes, stages, select, pages, places, masks, inputs, sites }) {
      const all = stages[stages.length - 1];
      // The kernel wants tables as long as the rows are many, whatever their positions.
      const rotation = rotations([...depths, all - 1]);
      const feeds: Record<string, OnnxValue> = {
        ...inputs,
        ...weights(),
        ...rotation,
        ...siteInputs(sites, { lanes, rows: stages }, select),
        tokens: value("int64", int64s(firstOf(tokens, lanes, stages[0])), [lanes, stages[0]]),
        select: value("int64", int64s(select), [select.length]),
      };
      stages.forEach((rows, stage) => {
        // What is selected and begins later has the first row's place: its reading is not looked at.
        if (stage < stages.length - 1)
          feeds[`selected.${stage}`] = value(
            "int64",
            int64s(select.map((at) => placeInStage(at, { lanes, rows: stages }, stage) ?? 0)),
            [select.length],
          );
        const name = (input: string): string => (stage === 0 ? input : `${input}.${stage}`);
        masks.forEach((mask, kind) => {
          const own = stage * masks.length + kind;
          scratches[own] ??= createScratch();
          const shown = repeatRows(mask, { blocks: pages * lanes, groups, all, rows }, scratches[own]);
          feeds[name(maskNames[kind])] = value("float32", shown, [pages, lanes, 1, groups * rows, pageSize]);
        });
        const columns = placeIndices(firstOf(places, lanes, rows), lanes, keyValueHeads);
        feeds[name("positions")] = value("int64", int64s(firstOf(depths, lanes, rows)), [lanes, rows]);
        feeds[name("places")] = value("int64", columns, [lanes, keyValueHeads, rows, 4]);
        feeds[name("ones")] = value("float32", ones(lanes * keyValueHeads * rows), [lanes, keyValueHeads, rows, 1]);
        if (stage === 0) return;
        const before = stages[stage - 1];
        // A row that joins holds some other one's value until the edit that begins it.
        const joined = numbers(lanes * rows, (i) => Math.floor(i / rows) * before + (i % rows < before ? i % rows : 0));
        const [first, heads] = [stages[0], lanes * keyValueHeads];
        const real = numbers(heads * first, (i) => Math.floor(i / first) * rows + (i % first));
        feeds[name("joined")] = value("int64", int64s(joined), [lanes * rows]);
        feeds[name("real")] = value("int64", int64s(real), [heads * first]);
      });
      for (const name of Object.keys(feeds)) if (stages.length > 1 && !wanted.has(name)) delete feeds[name];
      const outputs = await program.run(feeds);
      const named = (described: typeof tapped): Record<string, Tapped> => {
        const result: Record<string, Tapped> = {};
        for (const { output, name, rows, always, stage } of described) {
          result[name] = { rows, always, stage, value: outputs[output] };
        }
        return result;
      };
      return {
        logits: outputs.logits.data as Float32Array,
        keys: outputs["new.keys"].data as Stored,
        values: outputs["new.values"].data as Stored,
        taps: named(tapped),
        bad: named(checked),
      };
    },
    release,
  };
}

/** Whole numbers from 0 to 2^31 - 1 as 64-bit words, without the detour over bigints. */
function int64s(values: ArrayLike<number>): BigInt64Array {
  const words = new Int32Array(2 * values.length); // low word first: ONNX Runtime is little-endian everywhere
  for (let i = 0; i < values.length; i++) words[2 * i] = values[i];
  return new BigInt64Array(words.buffer);
}

/** Indices (page, lane, head, column) for every head, of places [lanes, rows]. */
function placeIndices(places: Int32Array, lanes: number, heads: number): BigInt64Array {
  const rows = places.length / lanes;
  const words = new Int32Array(2 * 4 * heads * places.length);
  let to = 0;
  for (let lane = 0; lane < lanes; lane++) {
    for (let head = 0; head < heads; head++) {
      for (let row = lane * rows; row < (lane + 1) * rows; row++) {
        words[to] = Math.floor(places[row] / pageSize);
        words[to + 2] = lane;
        words[to + 4] = head;
        words[to + 6] = places[row] % pageSize;
        to += 8;
      }
    }
  }
  return new BigInt64Array(words.buffer);
}

const numbers = (length: number, of: (i: number) => number): number[] => Array.from({ length }, (_, i) => of(i));

/** The first rows of each lane. */
function firstOf<Values extends readonly number[] | Int32Array>(values: Values, lanes: number, rows: number): Values {
  const all = values.length / lanes;
  if (rows === all) return values;
  return values.filter((_: number, i: number) => i % all < rows) as Values;
}

const ones = (count: number): Float32Array => new Float32Array(count).fill(1);

/**
 * The mask of the first `rows` of `all` rows, in every page and lane; the query heads that share a key head stand below one another, and each
 * needs the same.
 */
function repeatRows(
  mask: Float32Array,
  { blocks, groups, all, rows }: { blocks: number; groups: number; all: number; rows: number },
  scratch: Scratch,
): Float32Array {
  if (groups === 1 && rows === all) return mask;
  const [size, kept] = [mask.length / blocks, (mask.length / blocks / all) * rows];
  const result = scratch(blocks * groups * kept);
  for (let block = 0; block < blocks; block++) {
    const own = mask.subarray(block * size, block * size + kept);
    for (let group = 0; group < groups; group++) result.set(own, (block * groups + group) * kept);
  }
  return result;
}
