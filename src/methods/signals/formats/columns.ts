/** Columns of numbers, row = bin or sample, whatever file they came from. */
import { ensure } from "../../../errors.ts";
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
  const text = field.trim();
  if (text === "" || /^(nan|na|null|_)$/i.test(text)) return Number.NaN;
  const value = Number(text);
  if (!Number.isNaN(value)) return value;
  return /^[+-]?inf(inity)?$/i.test(text) ? (text.startsWith("-") ? -Infinity : Infinity) : undefined;
}

/**
 * Columns by names or by numbers from 1, with ranges: `x,y`, `1-10`, `Fz,3-5`. Errors: `bad_option` naming what is not there.
 */
export function pickColumns(
  { names, values }: Table,
  wanted: string,
  origin: string,
): { names: string[]; values: Matrix } {
  const indices = wanted.split(",").flatMap((part) => {
    const word = part.trim();
    const named = names.indexOf(word);
    if (named >= 0) return [named];
    const [, from, to = from] = /^(\d+)(?:-(\d+))?$/.exec(word) ?? [];
    const [low, high] = [Number(from), Number(to)];
    ensure(
      from !== undefined && low >= 1 && high >= low && high <= names.length,
      "bad_option",
      `${origin} has no column "${word}"; it has ${names.length}: ${names.slice(0, 12).join(", ")}${names.length > 12 ? " …" : ""}`,
    );
    return Array.from({ length: high - low + 1 }, (_, i) => low - 1 + i);
  });
  const out = matrix(values.rows, indices.length);
  for (let r = 0; r < values.rows; r++)
    for (const [k, c] of indices.entries()) out.data[r * indices.length + k] = values.data[r * values.columns + c];
  return { names: indices.map((c) => names[c]), values: out };
}
