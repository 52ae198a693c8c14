/**
 * Edits: small modules that stand at a site and rewrite its value, or only read something off it. They may bring parameters of their
 * own and take inputs for every row at run time. The same definition serves decoding, `forward` and training.
 */

import { ensure, leaveUnheard, reasonOf, shown, VentrisError } from "../errors.ts";
import { isObject } from "../json.ts";
import { meantField, suggestion } from "../names.ts";
import {
  add,
  type ElementType,
  input,
  less,
  maximum,
  minimum,
  reduceL1,
  sameShape,
  shapeText,
  type Tensor,
  where,
} from "../tensor/index.ts";
import type { Family, MakeParameter, ModelConfig, SiteHook } from "./family.ts";
import { layerEndedBy, type Site, siteNamed, sitesOf } from "./sites.ts";

/** A value that a request gives an edit for each row, at run time. */
export interface EditInput {
  readonly type?: Extract<ElementType, "float32" | "int64">;
  /** Shape of one row's value; the tensor is [rows, …shape]. */
  readonly shape: readonly number[];
}

/** An edit's own weights. */
export interface EditParameter {
  readonly shape: readonly number[];
  /** Row-major. Read at every run: training may change them in place. */
  readonly values: Float32Array<ArrayBuffer>;
}

/** What an edit may use to compute its result. */
export interface EditContext {
  readonly site: Site;
  readonly parameters: Readonly<Record<string, Tensor>>;
  /** Each [rows, …shape]. */
  readonly inputs: Readonly<Record<string, Tensor>>;
  /** The model's own final norm and output matrix: logits [rows, vocabulary] of values of the residual stream. */
  readout(residual: Tensor): Tensor;
  /** Those rows whose logits are wanted; what is after the selection already is returned as it is. */
  select(rows: Tensor): Tensor;
}

/** A module that replaces what a site holds, as a tensor program. */
export interface Edit {
  /** Its readings go by it, "NAME.KEY"; in a graph of one's own its parameters and inputs, too. */
  readonly name: string;
  /** The place whose value it replaces: a name of `sites`. */
  readonly site: string;
  /** Its weights by name, which belong to the model. Default: none. */
  readonly parameters?: Readonly<Record<string, EditParameter>>;
  /** What it gets in every row, by name. Default: nothing. */
  readonly inputs?: Readonly<Record<string, EditInput>>;
  /**
   * Look-ahead rows that have this edit begin here: they are in no layer below, and what they hold before the edit means nothing. The site is
   * `layers.N.residual`. In a training graph, where all rows are there from the first layer on, it changes nothing. Default: they go through all layers.
   */
  readonly begins?: true;
  /**
   * The value [rows, width] to go on with, of the shape it was given, and `readings`: tensors whose first dimension are the rows (or the
   * selected rows), delivered like taps as "NAME.KEY". No value: the site stays as it is.
   */
  apply(value: Tensor, context: EditContext): { readonly value?: Tensor; readonly readings?: Record<string, Tensor> };
}

const editFields: readonly (keyof Edit)[] = ["name", "site", "parameters", "inputs", "begins", "apply"];

/** What is read and rewritten in a program: sites, or readings of edits; and edits in the order in which they act at a site. */
export interface Instruments {
  readonly taps: readonly string[];
  readonly edits: readonly Edit[];
}

/** No taps and no edits. */
export const noInstruments: Instruments = { taps: [], edits: [] };

/** What the sites of a program under construction are hooked with. */
export interface HookOptions {
  /** Makes the tensors of the parameters that edits have. */
  readonly parameter: MakeParameter;
  /** Of the rows that a site has, those whose logits are wanted. */
  readonly select: (rows: Tensor, site: string) => Tensor;
  /** Edits that act only in rows that ask for them (an input, the limit [rows, 1]: `largestValue` or 0), and whose results are checked (output "bad.NAME"). Default: none. */
  readonly gated?: ReadonlySet<Edit>;
  /** What the program calls parameters, inputs and limits of edits. Default: "NAME.KEY". */
  readonly called?: Called;
  /** The rows from a site on, where some begin there. Needed where an edit begins rows; no default. */
  readonly join?: (rows: Tensor, site: string) => Tensor;
}

/** What a program calls something that an edit has. */
export type Called = (edit: Edit, what: "parameter" | "input" | "limit", key?: string) => string;

/** By an edit's number: its own name and keys are anybody's, and may be what the program calls something else. */
export const calledByNumber =
  (edits: readonly Edit[]): Called =>
  (edit, what, key) =>
    `edit.${edits.indexOf(edit)}.${what}${key === undefined ? "" : `.${key}`}`;

const calledByName: Called = ({ name }, what, key = what) => `${name}.${key}`;

/** A hook for a model's sites, and the outputs that it made. */
export interface Hooks {
  readonly site: SiteHook;
  /** Outputs of the program: "tap.NAME" [rows, …], "bad.NAME" [rows, 1], 0 where all is well. Complete once the model is built. */
  readonly outputs: Record<string, Tensor>;
  /** Of each output, the site where it was made. */
  readonly madeAt: Map<string, string>;
}

/** A row whose absolute values have a larger sum is taken for infinite: its squares would be, further on. */
export const largestValue = 1e15;

/** The value, its numbers brought to the nearest that half precision holds. */
export const withinHalf = (value: Tensor): Tensor => minimum(maximum(value, -65504), 65504);

/**
 * The hook for `family.build` that taps and edits as told. Errors: `bad_option` for an unknown site or reading (with the nearest name) and
 * for two edits of one name, `bad_shape` for an edit whose result has another shape.
 */
export function createHooks(
  family: Family,
  config: ModelConfig,
  { taps, edits }: Instruments,
  { parameter, select, gated, called = calledByName, join }: HookOptions,
): Hooks {
  const sites = sitesOf(family, config);
  checkInstruments(sites, { taps, edits });
  // A parameter is made once for each name: of two that share one, the second would silently be the first.
  const taken = new Map(family.parameters(config).map(({ name }) => [name, "one of the model's"]));
  for (const edit of edits) {
    const meant = meantField(edit, editFields);
    ensure(
      meant === undefined,
      "bad_option",
      () => `the edit ${edit.name}: it has a field that edits have not${meant}`,
    );
    for (const key of Object.keys(edit.parameters ?? {})) {
      const full = called(edit, "parameter", key);
      ensure(!taken.has(full), "bad_option", () => {
        return `the edit ${edit.name}: its parameter would be called ${full}, as ${taken.get(full)} is`;
      });
      taken.set(full, "another edit's");
    }
  }
  const outputs: Record<string, Tensor> = {};
  const madeAt = new Map<string, string>();
  const wanted = new Set(taps);
  const give = (output: string, value: Tensor, site: string): void => {
    outputs[output] = value;
    madeAt.set(output, site);
  };

  const applied = (edit: Edit, site: Site, value: Tensor, isSum: boolean): Tensor => {
    const rows = value.shape[0];
    const given = resultOf(edit, value, {
      site,
      parameters: mapValues(edit.parameters, ({ shape }, key) => parameter(called(edit, "parameter", key), shape)),
      inputs: mapValues(edit.inputs, ({ type = "float32", shape }, key) =>
        input(called(edit, "input", key), [rows, ...shape], type),
      ),
      readout: (residual) => family.readout(config, parameter, residual),
      select: (x) => (site.rows === "selected" ? x : select(x, site.name)),
    });
    for (const [key, reading] of Object.entries(given.readings ?? {})) {
      const full = `${edit.name}.${key}`;
      ensure(!sites.some((s) => s.name === full), "bad_option", () => {
        return `the edit ${edit.name}: its reading ${key} would be called ${full}, as a site is`;
      });
      ensure(!Object.hasOwn(outputs, `tap.${full}`), "bad_option", () => {
        return `the edit ${edit.name}: its reading ${key} would be called ${full}, as another edit's is`;
      });
      requireTensor(reading, `the edit ${edit.name}: its reading ${key}`);
      give(`tap.${full}`, reading, edit.site);
    }
    const result = given.value;
    if (!result) return value;
    requireTensor(result, `the edit ${edit.name}: its value`);
    ensure(sameShape(result.shape, value.shape) && result.type === value.type, "bad_shape", () => {
      const [is, must] = [shapeText(result.shape), shapeText(value.shape)];
      return `the edit ${edit.name} at ${edit.site} gives ${result.type} ${is}, but the site is ${value.type} ${must}`;
    });
    if (!gated?.has(edit)) return result;
    // What is not finite would reach other requests' rows through attention, where even a masked NaN is NaN: such a row stays as it was. No
    // sum is below zero, which is the limit in rows without the edit.
    const limit = input(called(edit, "limit"), [rows, 1]);
    const acts = less(reduceL1(result, -1, true), limit);
    give(`bad.${edit.name}`, where(acts, 0, limit), edit.site);
    // A sum stays one: with the norm that follows it is one operator, whose bits are not those of a norm by itself. Rows without the edit
    // have to be what they are in a program that has no edits.
    return isSum ? add(where(acts, 0, value), where(acts, result, 0)) : where(acts, result, value);
  };

  return {
    outputs,
    madeAt,
    site(name, value) {
      const isSum = value.operation === "add";
      let result = join && edits.some((edit) => edit.begins && edit.site === name) ? join(value, name) : value;
      for (const edit of edits) {
        if (edit.site !== name) continue;
        result = applied(edit, siteNamed(sites, name), result, isSum);
      }
      if (wanted.has(name)) give(`tap.${name}`, result, name);
      return result;
    },
  };
}

/** What an edit makes of a value. Errors: `bad_option`, or the code of an error of ours, naming the edit, for whatever goes wrong in it. */
function resultOf(edit: Edit, value: Tensor, context: EditContext): ReturnType<Edit["apply"]> {
  let given: unknown;
  try {
    given = edit.apply(value, context);
  } catch (cause) {
    const code = cause instanceof VentrisError ? cause.code : "bad_option";
    throw new VentrisError(code, `the edit ${edit.name} at ${edit.site}: apply failed: ${reasonOf(cause)}`, { cause });
  }
  leaveUnheard(given);
  const what = isTensor(given) ? "a tensor alone" : given instanceof Promise ? "a promise" : undefined;
  ensure(isObject(given) && !what, "bad_option", () => {
    return `the edit ${edit.name}: apply must give { value, readings }, each where there is one, not ${what ?? shown(given)}`;
  });
  const other = Object.keys(given).find((key) => key !== "value" && key !== "readings");
  ensure(other === undefined, "bad_option", () => {
    return `the edit ${edit.name}: apply must give { value, readings }, and gave ${shown(other)}`;
  });
  ensure(given.readings === undefined || isObject(given.readings), "bad_option", () => {
    return `the edit ${edit.name}: readings are tensors by their keys, not ${shown(given.readings)}`;
  });
  return given as ReturnType<Edit["apply"]>;
}

const isTensor = (given: unknown): boolean =>
  isObject(given) && Array.isArray(given.shape) && typeof given.type === "string";

function requireTensor(given: unknown, what: string): void {
  ensure(isTensor(given), "bad_option", () => `${what} must be a tensor, not ${shown(given)}`);
}

/** To be called when the model is built: errors as for `createHooks`, for readings that no edit gave. */
export function checkReadings({ taps }: Instruments, { outputs }: Hooks): void {
  const readings = Object.keys(outputs).flatMap((name) => (name.startsWith("tap.") ? [name.slice(4)] : []));
  for (const tap of taps) {
    ensure(readings.includes(tap), "bad_option", () => {
      return `no edit gives a reading ${tap}${suggestion(tap, readings)}`;
    });
  }
}

/** Errors: as for `createHooks`, as far as they show before the edits are applied. */
export function checkInstruments(sites: readonly Site[], { taps, edits }: Instruments): void {
  const names = new Set<string>();
  for (const { name, site, begins, parameters = {}, inputs = {}, ...others } of edits) {
    const named = typeof name === "string" && name !== "" && name.length <= 200 && !/\p{Cc}/u.test(name);
    ensure(named, "bad_option", () => `an edit at ${shown(site)} has no name, which its inputs and readings go by`);
    ensure(typeof site === "string", "bad_option", () => {
      return `the edit ${name}: site must be a text, a name of the model's sites, not ${shown(site)}${meantField(others, ["site"]) ?? ""}`;
    });
    for (const [key, { type = "float32", shape }] of Object.entries(inputs)) {
      const fits =
        ["float32", "int64"].includes(type) &&
        Array.isArray(shape) &&
        shape.every((size) => Number.isSafeInteger(size) && size > 0);
      ensure(fits, "bad_option", () => {
        return `the edit ${name}: its input ${key} must have a type (float32 or int64) and a shape of whole numbers from 1 on, not ${shown({ type, shape })}`;
      });
    }
    for (const [key, { shape, values }] of Object.entries(parameters)) {
      const size = shape.reduce((a, b) => a * b, 1);
      ensure(values instanceof Float32Array && values.length === size, "bad_shape", () => {
        return `the edit ${name}: its parameter ${key} [${shape}] needs a Float32Array of ${size} numbers${values instanceof Float32Array ? `, not of ${values.length}` : ""}`;
      });
    }
    siteNamed(sites, site);
    ensure(!begins || layerEndedBy(site) !== undefined, "bad_option", () => {
      return `the edit ${name}: rows begin after a layer, at layers.N.residual, not at ${site}`;
    });
    ensure(!names.has(name), "bad_option", () => `two edits are called ${name}: give each a name of its own`);
    ensure(!sites.some((s) => s.name === name), "bad_option", () => `an edit cannot be called ${name}, as a site is`);
    names.add(name);
  }
  for (const tap of taps) {
    const reading = edits.some(({ name }) => tap.startsWith(`${name}.`));
    if (!reading) siteNamed(sites, tap);
  }
}

function mapValues<A, B>(record: Readonly<Record<string, A>> | undefined, map: (value: A, key: string) => B) {
  return Object.fromEntries(Object.entries(record ?? {}).map(([key, value]) => [key, map(value, key)]));
}
