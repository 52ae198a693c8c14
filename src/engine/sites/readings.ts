/** Between the rows of a pass and the programs' taps and edits: what the rows ask for, and what comes back for each. */
import { VentrisError } from "../../errors.ts";
import type { Edit, Instruments } from "../../models/edits.ts";
import type { Row } from "../node.ts";
import type { PassOutputs, Tapped } from "../pass.ts";
import type { RowSites } from "./rows.ts";
import { placeInStage, type Stages } from "./stages.ts";
import { union, unite } from "./variants.ts";

/** Whether a row has anything read or rewritten. */
export const asks = ({ taps, edits }: Row): boolean => taps.length > 0 || edits.length > 0;

/** Lists of taps and of edits that rows ask for, each once. */
export type Parts = Map<unknown, Instruments>;

/** What a list asks for: one object for each list, so that passes that ask for the same are known by it. */
const known = new WeakMap<Row["taps"] | Row["edits"], Instruments>();

function partOf<List extends Row["taps"] | Row["edits"]>(list: List, make: (list: List) => Instruments): Instruments {
  let part = known.get(list);
  if (!part) {
    part = make(list);
    known.set(list, part);
  }
  return part;
}

function addParts(parts: Parts, { taps, edits }: Row): void {
  if (taps.length > 0 && !parts.has(taps))
    parts.set(
      taps,
      partOf(taps, (names) => ({ taps: names, edits: [] })),
    );
  if (edits.length > 0 && !parts.has(edits))
    parts.set(
      edits,
      partOf(edits, (list) => ({ taps: [], edits: list.map(({ edit }) => edit) })),
    );
}

/** Adds what these rows ask for to what others do; false, and nothing added, where they cannot be in one pass. */
export function joinParts(parts: Parts, rows: readonly Row[]): boolean {
  if (!rows.some(asks)) return true;
  const all = new Map(parts);
  for (const row of rows) addParts(all, row);
  if (all.size === parts.size) return true;
  if (parts.size > 0 && !unite(all.values())) return false;
  for (const [list, part] of all) parts.set(list, part);
  return true;
}

/** What the rows of a pass ask for; undefined: nothing, as almost always. */
export function sitesOfRows(rows: readonly { readonly row: Row; readonly at: number }[]): RowSites | undefined {
  if (!rows.some(({ row }) => asks(row))) return undefined;
  const parts: Parts = new Map();
  for (const { row } of rows) addParts(parts, row);
  let places: Map<unknown, number> | undefined;
  const placeOf = (node: unknown): number | undefined => {
    places ??= new Map(rows.map(({ row, at }) => [row.node, at]));
    return places.get(node);
  };
  const edited = rows.flatMap(({ row: { node, edits }, at }) =>
    edits.length > 0 ? [{ at, edits, row: { position: node.position, node, placeOf } }] : [],
  );
  return { needed: union(parts.values()), edited, failed: new Map() };
}

/** Where a row stands in a pass, and, if it is selected, its number among the selected rows. */
interface RowPlace {
  readonly at: number;
  readonly selected: number | undefined;
  readonly stages: Stages;
}

/** What somebody is told whose edit gave values that would reach other rows as NaN. */
export const notFinite = ({ name, site }: Edit, position: number | undefined): VentrisError =>
  new VentrisError(
    "runtime_failed",
    `the edit ${name} at ${site} gave values that are not finite, or beyond 1e15, at position ${position}`,
  );

/** Keeps with a row's node what was read there. */
export function keepReadings({ node, taps, edits }: Row, outputs: PassOutputs, place: RowPlace): void {
  for (const name in outputs.taps) {
    const tapped = outputs.taps[name];
    if (!tapped.always && !taps.includes(name)) continue;
    const values = rowOf(tapped, place);
    if (!values) continue;
    node.taps ??= {};
    node.taps[name] = values;
  }
  for (const { edit } of edits) {
    const bad = outputs.bad[edit.name] && rowOf(outputs.bad[edit.name], place);
    if (bad && !(bad[0] === 0)) node.broken ??= notFinite(edit, node.depth);
  }
}

function rowOf({ rows, value, stage }: Tapped, { at, selected, stages }: RowPlace): Float32Array | undefined {
  const place = placeInStage(at, stages, stage); // of a row that begins later: none, selected or not
  const row = place === undefined || rows === "all" ? place : selected;
  if (row === undefined) return undefined;
  const width = value.data.length / value.dims[0];
  return floatsOf(value.data, row * width, (row + 1) * width);
}

/** A copy of a part of what a program gave, as floats. */
export function floatsOf(data: Tapped["value"]["data"], from: number, to: number): Float32Array<ArrayBuffer> {
  // Nearly everything is floats already, and a function for each number would cost more than the pass.
  if (data instanceof Float32Array) return data.slice(from, to);
  return Float32Array.from(data.subarray(from, to) as ArrayLike<number | bigint>, Number);
}
