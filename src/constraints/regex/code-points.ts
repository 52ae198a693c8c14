/** Sets of code points as sorted, disjoint ranges. */
import { LAST_CODE_POINT } from "../automaton.ts";

export type CodePoints = readonly (readonly [number, number])[];

/** Any ranges, put in order and joined. */
export function toRanges(ranges: Iterable<readonly [number, number]>): CodePoints {
  const result: [number, number][] = [];
  for (const [low, high] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const last = result.at(-1);
    if (last && low <= last[1] + 1) last[1] = Math.max(last[1], high);
    else result.push([low, high]);
  }
  return result;
}

export function complement(points: CodePoints): CodePoints {
  const result: [number, number][] = [];
  let from = 0;
  for (const [low, high] of points) {
    if (low > from) result.push([from, low - 1]);
    from = high + 1;
  }
  if (from <= LAST_CODE_POINT) result.push([from, LAST_CODE_POINT]);
  return result;
}

export function contains(points: CodePoints, point: number): boolean {
  let from = 0;
  let to = points.length;
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (points[middle][1] < point) from = middle + 1;
    else to = middle;
  }
  return from < points.length && points[from][0] <= point;
}

const range = (low: string, high = low): [number, number] => [low.codePointAt(0)!, high.codePointAt(0)!];

export const digits: CodePoints = [range("0", "9")];
export const wordCharacters: CodePoints = [range("0", "9"), range("A", "Z"), range("_"), range("a", "z")];
export const lineEnds: CodePoints = [range("\n"), range("\r"), range("\u2028", "\u2029")];
export const spaces: CodePoints = toRanges([
  range("\t", "\r"),
  range(" "),
  range("\u00a0"),
  range("\u1680"),
  range("\u2000", "\u200a"),
  range("\u2028", "\u2029"),
  range("\u202f"),
  range("\u205f"),
  range("\u3000"),
  range("\ufeff"),
]);

const scanned = new Map<string, CodePoints>();

/** All code points in order, in texts of at most 4096; surrogates one by one, or neighbours would make pairs. */
let everything: { readonly from: number; readonly text: string }[] | undefined;

function allCodePoints(): { readonly from: number; readonly text: string }[] {
  const texts: { from: number; text: string }[] = [];
  for (let from = 0; from <= LAST_CODE_POINT; ) {
    const surrogate = from >= 0xd800 && from < 0xe000;
    const size = surrogate ? 1 : Math.min(4096, (from < 0xd800 ? 0xd800 : LAST_CODE_POINT + 1) - from);
    texts.push({ from, text: String.fromCodePoint(...Array.from({ length: size }, (_, i) => from + i)) });
    from += size;
  }
  return texts;
}

/** The code points that a one-character expression stands for, asked of the JavaScript engine itself. Throws its syntax errors. */
export function scan(written: string, flags: string): CodePoints {
  const key = `${flags}/${written}`;
  const known = scanned.get(key);
  if (known) return known;
  const pattern = new RegExp(`(?:${written})+`, `g${flags}`);
  everything ??= allCodePoints();
  const ranges: [number, number][] = [];
  for (const { from, text } of everything) {
    const width = from > 0xffff ? 2 : 1;
    for (const { 0: found, index } of text.matchAll(pattern)) {
      const low = from + index / width;
      ranges.push([low, low + found.length / width - 1]);
    }
  }
  const points = toRanges(ranges);
  if (scanned.size > 200) scanned.clear();
  scanned.set(key, points);
  return points;
}

/** What \w stands for: in either case also the two characters beyond ASCII that fold to letters of it. */
export const wordsOf = ({ ignoreCase = false }: { readonly ignoreCase?: boolean }): CodePoints =>
  ignoreCase ? scan("\\w", "iu") : wordCharacters;
