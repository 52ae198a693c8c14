/** What single rows of a pass have read and rewritten, and the program inputs that say so. */
import { ensure, leaveUnheard, plural, reasonOf, shown, VentrisError } from "../../errors.ts";
import { isObject } from "../../json.ts";
import { calledByNumber, type Edit, type Instruments, largestValue } from "../../models/edits.ts";
import { selectedRows } from "../../models/sites.ts";
import type { OnnxValue, ValueMaker } from "../../runtime/program.ts";
import type { LoweredProgram } from "../../tensor/index.ts";
import { isPlatforms } from "../../values.ts";
import type { ForestNode } from "../forest.ts";
import { beginnings, placeInStage, type Stages, stageOfSite } from "./stages.ts";

/** A row as inputs of edits may see it. */
export interface PlacedRow {
  readonly position: number;
  /** Of rows of the forest. */
  readonly node?: ForestNode;
  /** Where another node's row stands in this pass, counted as rows of sites are; undefined when it is in no row of the pass. */
  placeOf(node: ForestNode): number | undefined;
}

/** An edit in use. */
export interface AppliedEdit {
  /** The module. */
  readonly edit: Edit;
  /** Whether it acts at a position. Default: at all. */
  readonly at?: (position: number) => boolean;
  /** The values of all its inputs in a row, each with as many numbers as the input's shape has. What this throws ends its own request alone. Needed by a module that has inputs; no default. */
  readonly inputs?: (row: PlacedRow) => Readonly<Record<string, ArrayLike<number>>>;
  /**
   * What `at` and `inputs` depend on: leases with equal edits and keys share cached texts. Default: nobody shares them, unless it has neither,
   * and the edit no parameters.
   */
  readonly key?: string;
}

/** What a lease wants of the rows that it computes. */
export interface LeaseSites {
  /** Sites and readings to keep with every node. */
  readonly taps: readonly string[];
  /** And with every node whose logits are wanted: those, and what is looked at beside the logits. */
  readonly scored: readonly string[];
  readonly edits: readonly AppliedEdit[];
  /** Says what the edits make of a text's keys and values: texts are shared only among leases of one world. "" without edits. */
  readonly world: string;
  /** Some tap lies after the selection of rows: every row is then selected. */
  readonly selected: boolean;
}

export const noSites: LeaseSites = { taps: [], scored: [], edits: [], world: "", selected: false };

export const instrumentsOf = ({ scored, edits }: LeaseSites): Instruments => ({
  taps: scored,
  edits: edits.map(({ edit }) => edit),
});

/** What the rows of a pass ask for. */
export interface RowSites {
  /** Everything that some row asks for. */
  readonly needed: Instruments;
  /** Rows with edits that act in them. */
  readonly edited: readonly { readonly at: number; readonly edits: readonly AppliedEdit[]; readonly row: PlacedRow }[];
  /** By row: why an edit could not say what it does there. It then does nothing, and who asked for the row is told. */
  readonly failed: Map<number, VentrisError>;
}

/** A lowered program and what is in it for every row, and for rows that ask. */
export interface LoweredPass extends LoweredProgram {
  readonly always: Instruments;
  readonly asked: Instruments;
  /** Of each output of a tap or an edit, the site where it was made. */
  readonly madeAt: ReadonlyMap<string, string>;
}

/** Makes a program's inputs of what its rows ask for; `select` are the selected ones. */
export function createSiteInputs(
  { inputs: described, always, asked }: Pick<LoweredPass, "inputs" | "always" | "asked">,
  value: ValueMaker,
) {
  const shapes = new Map(described.map(({ name, shape, type }) => [name, { shape, type }]));
  const fixed: Record<string, OnnxValue> = {};
  const edits = [...always.edits, ...asked.edits];
  const called = calledByNumber(edits);
  for (const edit of edits) {
    for (const [key, { shape, values }] of Object.entries(edit.parameters ?? {})) {
      const full = called(edit, "parameter", key);
      if (shapes.has(full)) fixed[full] = value("float32", values, shape);
    }
  }
  const after = beginnings(asked.edits);
  const inputsOf = asked.edits.map((edit) => {
    const limit = called(edit, "limit");
    const given = Object.entries(edit.inputs ?? {}).map(([key, { type = "float32", shape }]) => {
      const name = called(edit, "input", key);
      return { key, type, width: shape.reduce((a, b) => a * b, 1), shape, used: shapes.has(name), name };
    });
    const selected = shapes.get(limit)?.shape[0] === selectedRows;
    return { edit, limit, isGated: shapes.has(limit), given, selected, stage: stageOfSite(edit.site, after) };
  });
  function allocate({ limit, isGated, given }: (typeof inputsOf)[number], rows: number) {
    const limits = new Float32Array(rows);
    const feeds: Record<string, OnnxValue> = {};
    if (isGated) feeds[limit] = value("float32", limits, [rows, 1]);
    const arrays = given.map(({ key, type, width, shape, used, name }) => {
      const data = type === "int64" ? new BigInt64Array(rows * width) : new Float32Array(rows * width);
      if (used) feeds[name] = value(type, data, [rows, ...shape]);
      return { key, width, data };
    });
    return { rows, limits, arrays, feeds };
  }
  /** Of the last pass: a program runs once at a time, and the next pass mostly has as many rows. */
  const last: ReturnType<typeof allocate>[] = [];

  return (sites: RowSites | undefined, stages: Stages, select: readonly number[]): Record<string, OnnxValue> => {
    if (inputsOf.length === 0) return fixed;
    const result = { ...fixed };
    for (const [number, input] of inputsOf.entries()) {
      const { edit, selected, stage } = input;
      const inStage = (place: number): number | undefined => placeInStage(place, stages, stage);
      const rows = selected ? select.length : stages.lanes * stages.rows[stage];
      if (last[number]?.rows !== rows) last[number] = allocate(input, rows);
      const { limits, arrays, feeds } = last[number];
      limits.fill(0);
      for (const { data } of arrays) data instanceof Float32Array ? data.fill(0) : data.fill(0n);
      for (const { at, edits: acting, row } of sites?.edited ?? []) {
        const applied = acting.find((a) => a.edit === edit);
        const place = selected ? select.indexOf(at) : inStage(at);
        if (!applied || place === undefined || place < 0) continue;
        const placeOf: PlacedRow["placeOf"] = (node) => {
          const place = row.placeOf(node);
          return place === undefined ? undefined : inStage(place);
        };
        try {
          if (!actsAt(applied, row.position)) continue;
          const given = arrays.length > 0 ? applied.inputs?.({ ...row, placeOf }) : undefined;
          leaveUnheard(given);
          ensure(!given || (isObject(given) && !isPlatforms(given)), "bad_option", () => {
            return `inputs must give an object of numbers by their inputs, and gave ${shown(given)}`;
          });
          for (const { key, width } of arrays) checkInput(given?.[key], key, width);
          const unknown = given && Object.keys(given).find((key) => !arrays.some((array) => array.key === key));
          ensure(unknown === undefined, "bad_option", () => `it has no input ${unknown}`);
          for (const { key, data, width } of arrays) {
            const values = given![key];
            if (data instanceof Float32Array) data.set(values, place * width);
            else for (let i = 0; i < width; i++) data[place * width + i] = BigInt(values[i]);
          }
          limits[place] = largestValue;
        } catch (cause) {
          // Others share the pass: they must not fail for it.
          const what = `the edit ${edit.name} at ${edit.site}, position ${row.position}: ${reasonOf(cause)}`;
          sites!.failed.set(at, new VentrisError("bad_option", what, { cause }));
        }
      }
      Object.assign(result, feeds);
    }
    return result;
  };
}

/** Errors: `bad_option` for what is neither true nor false. */
function actsAt({ at }: AppliedEdit, position: number): boolean {
  if (!at) return true;
  const acts: unknown = at(position);
  if (typeof acts === "boolean") return acts;
  leaveUnheard(acts);
  throw new VentrisError("bad_option", `at must give true or false, and gave ${shown(acts)}`);
}

/** Errors: `bad_option` for an edit that acts at none of the positions that there are: it would be ignored. */
export function requireActing(edits: readonly AppliedEdit[], positions: readonly number[], subject: string): void {
  for (const applied of edits) {
    const { edit, at } = applied;
    if (!at) continue;
    try {
      if (positions.some((position) => actsAt(applied, position))) continue;
    } catch {
      continue; // said by the pass, with the row where it fails
    }
    const sorted = [...positions].sort((a, b) => a - b);
    const where = `the rows have the positions ${sorted[0]} to ${sorted.at(-1)}`;
    throw new VentrisError("bad_option", `${subject}: the edit ${edit.name} at ${edit.site} acts nowhere: ${where}`);
  }
}

function checkInput(values: ArrayLike<number> | undefined, key: string, width: number): void {
  ensure(values, "bad_option", () => `its input ${key} was given no value`);
  ensure(Array.isArray(values) || ArrayBuffer.isView(values), "bad_option", () => {
    return `its input ${key} must be a list or a typed array of ${plural(width, "number")}, not ${shown(values)}`;
  });
  const other = Array.isArray(values) ? values.findIndex((value) => typeof value !== "number") : -1;
  ensure(other < 0, "bad_option", () => `its input ${key} has ${shown(values[other])} among its numbers`);
  ensure(values.length === width, "bad_option", () => {
    return `its input ${key} was given ${values.length} numbers, and its shape has ${width}`;
  });
}
