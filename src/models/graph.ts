/** The graph of a model over whole texts, of one size: what training objectives are built on. */
import { ensure } from "../errors.ts";
import { constant, input, type Tensor } from "../tensor/index.ts";
import { causalAttention } from "./attention.ts";
import { checkReadings, createHooks, type Instruments, noInstruments } from "./edits.ts";
import { type Attention, type Family, type MakeParameter, type ModelConfig, reachesOf } from "./family.ts";
import { maskedAttention } from "./masked-attention.ts";
import { parameterMaker } from "./parameters.ts";
import { type RotaryTables, type Rotation, rotationTable } from "./rope.ts";

/** Shape, hooks and parameters of such a program. */
export interface TextGraphOptions {
  /** Texts, and tokens of each. */
  readonly rows: number;
  /** Tokens of each text. */
  readonly length: number;
  /** int64 [rows, length]. Default: the input "tokens". */
  readonly tokens?: Tensor;
  /** int64 [rows, length], below the context (the same numbers at every run: a constant; else an input). Default: 0, 1, … in each text. */
  readonly positions?: Tensor;
  /** What a token sees: "causal" (default), "bidirectional" (default of diffusion models), or additive [rows, 1, groups * length, length], 0 where it looks. */
  readonly mask?: "causal" | "bidirectional" | Tensor;
  /** float32 [rows, length], with the causal mask: numbers of documents within a text, which do not see each other. Default: each text is one document. */
  readonly documents?: Tensor;
  /** What is read and rewritten: taps and readings are in the result; inputs of edits are inputs of the graph, "NAME.KEY" [rows * length, …]. Default: nothing. */
  readonly instruments?: Instruments;
  /** Rows [rows * length, width] whose logits are wanted. Default: all. */
  readonly select?: (rows: Tensor) => Tensor;
  /** Makes the model's parameters. A graph that runs a model twice passes the same; two models have one each, with a scope of their own. Default: parameters of its own, by their names. */
  readonly parameter?: MakeParameter;
}

/** A whole model over rows of tokens as one tensor program, for training. */
export interface TextGraph {
  readonly tokens: Tensor;
  /** [selected rows, vocabulary]. */
  readonly logits: Tensor;
  /** Taps and readings by name. */
  readonly readings: Readonly<Record<string, Tensor>>;
}

/** Errors: `bad_option` for an unknown site or reading, `bad_shape` for an edit's result. */
export function textGraph(family: Family, config: ModelConfig, options: TextGraphOptions): TextGraph {
  const {
    rows,
    length,
    mask = config.diffusion ? "bidirectional" : "causal",
    documents,
    instruments = noInstruments,
    select = (hidden) => hidden,
  } = options;
  const { tokens = input("tokens", [rows, length], "int64"), parameter = parameterMaker() } = options;
  const counted = BigInt64Array.from({ length: rows * length }, (_, i) => BigInt(i % length));
  const { positions = constant(counted, [rows, length]) } = options;
  const hooks = createHooks(family, config, instruments, { parameter, select });
  const logits = family.build(config, {
    tokens,
    positions,
    rotary: config.rotations.map((rotation) =>
      // The operator wants as many positions as a text has rows, though blocks behind a text stand at positions within it.
      rotaryConstants(rotation, options.positions ? Math.max(config.contextLength, length) : length),
    ),
    attention: attentionFor(config, length, mask, documents),
    parameter,
    site: hooks.site,
    select,
  });
  checkReadings(instruments, hooks);
  const readings = Object.entries(hooks.outputs).map(([name, tensor]) => [name.replace(/^tap\./, ""), tensor]);
  return { tokens, logits, readings: Object.fromEntries(readings) };
}

function attentionFor(
  config: ModelConfig,
  length: number,
  mask: NonNullable<TextGraphOptions["mask"]>,
  documents: Tensor | undefined,
): Attention {
  const groups = config.heads / config.keyValueHeads;
  if (mask === "causal") {
    const { windows, of } = reachesOf(config);
    const kinds = windows.map((window) => causalAttention(length, groups, window, documents));
    return (layer, ...rest) => kinds[of(layer)](layer, ...rest);
  }
  ensure(!documents, "bad_option", "documents: only the causal mask keeps them apart");
  if (mask !== "bidirectional") return maskedAttention({ mask });
  return maskedAttention({
    mask: constant(new Float32Array(groups * length * length), [1, 1, groups * length, length]),
  });
}

function rotaryConstants(rotation: Rotation, length: number): RotaryTables {
  const { cosines, sines } = rotationTable(rotation, length);
  const shape = [length, rotation.frequencies.length];
  return { cosines: constant(cosines, shape), sines: constant(sines, shape) };
}
