/** Columns of numbers, row = bin or sample, whatever file they came from. */
import { ensure } from "../../../errors.ts";
import { didYouMean } from "../../../names.ts";
import { cellText } from "../../../text/cells.ts";
import { type Matrix, matrix } from "../matrix.ts";

/** Named columns of numbers over time. */
export interface Table {
  readonly names: readonly string[];
  readonly values: Matrix;
  /** Rows a second, where the file says. */
  readonly rate?: number;
  readonly remarks: readonly string[];
}

/** Most numbers of a table from text: packed, a small file can say many. */
export const mostValues = 2 ** 26;

/** A field's number; NaN for a gap, undefined for what is no number. */
export function readNumber(field: string): number | undefined {
  const text = cellText(field); // programs that quote every field quote numbers, too
  if (text === "" || /^(nan|na|null|_)$/i.test(text)) return Number.NaN;
  const value = Number(text);
  if (!Number.isNaN(value)) return value;
  return /^[+-]?inf(inity)?$/i.test(text) ? (text.startsWith("-") ? -Infinity : Infinity) : undefined;
}

/**
 * Columns by names or by numbers from 1, with ranges: `x,y`, `1-10`, `Fz,3-5`; or by their places from 0. Errors: `bad_option` naming what
 * is not there.
 */
export function pickColumns(
  table: Table,
  wanted: string | readonly number[],
  origin: string,
): { names: string[]; values: Matrix; places: readonly number[] } {
  const { names, values } = table;
  const places = typeof wanted === "string" ? placesOf(table, wanted, origin) : wanted;
  const out = matrix(values.rows, places.length);
  for (let r = 0; r < values.rows; r++)
    for (const [k, c] of places.entries()) out.data[r * places.length + k] = values.data[r * values.columns + c];
  return { names: places.map((c) => names[c]), values: out, places };
}

/** Where columns of these names and numbers are, from 0. Errors: `bad_option` naming what is not there. */
export function placesOf({ names }: Pick<Table, "names">, wanted: string, origin: string): number[] {
  return wanted.split(",").flatMap((part) => {
    const word = part.trim();
    const named = names.indexOf(word);
    if (named >= 0) return [named];
    const [, from, to = from] = /^(\d+)(?:-(\d+))?$/.exec(word) ?? [];
    const [low, high] = [Number(from), Number(to)];
    ensure(from !== undefined && low >= 1 && high >= low && high <= names.length, "bad_option", () => {
      // A number that is too large is near to others, and none of them is meant.
      const meant = from === undefined ? didYouMean(word, names) : ".";
      return `${origin} has no column "${word}"${meant} It has ${names.length}: ${names.slice(0, 12).join(", ")}${names.length > 12 ? " …" : ""}`;
    });
    return Array.from({ length: high - low + 1 }, (_, i) => low - 1 + i);
  });
}

/**
 * Where columns of these names are, in the order of the names: a recording is another order away from the one that was learnt from. Undefined
 * where the table has no names of its own, or names do not tell columns apart. Errors: `bad_option` naming what the table lacks.
 */
export function placesByName({ names }: Table, wanted: readonly string[], origin: string): number[] | undefined {
  const numbered = names.every((name, i) => name === `${i + 1}`);
  const distinct = new Set(names).size === names.length && new Set(wanted).size === wanted.length;
  const places = wanted.map((name) => names.indexOf(name));
  if (!distinct || (numbered && places.includes(-1))) return undefined;
  const lacking = wanted.filter((_, i) => places[i] < 0);
  if (lacking.length === wanted.length && wanted.every((name) => /^\d+$/.test(name))) return undefined;
  ensure(
    lacking.length === 0,
    "bad_option",
    `${origin} has no column ${lacking.slice(0, 8).join(", ")}, which the filter was fitted to; if others stand for them, name all in order with --channels`,
  );
  return places;
}
