/** What a grammar says, whatever syntax it was written in. */
import { VentrisError } from "../../errors.ts";
import type { Expression } from "../regex/parse.ts";

export type Part =
  | { readonly kind: "text"; readonly expression: Expression }
  | { readonly kind: "rule"; readonly name: string; readonly line: number }
  | { readonly kind: "sequence" | "choice"; readonly items: readonly Part[] }
  | { readonly kind: "repeat"; readonly item: Part; readonly least: number; readonly most: number };

export interface Grammar {
  readonly start: string;
  readonly rules: ReadonlyMap<string, Part>;
}

export const nothing: Part = { kind: "sequence", items: [] };
export const inOrder = (items: readonly Part[]): Part => (items.length === 1 ? items[0] : { kind: "sequence", items });
export const anyOf = (items: readonly Part[]): Part => (items.length === 1 ? items[0] : { kind: "choice", items });

/** A literal text; `ignoreCase`: its ASCII letters in either case. */
export function literal(text: string, ignoreCase = false): Part {
  const items: Expression[] = [...text].map((character) => {
    const forms =
      ignoreCase && /[A-Za-z]/.test(character) ? [character.toLowerCase(), character.toUpperCase()] : [character];
    const points = forms.map((form): [number, number] => [form.codePointAt(0)!, form.codePointAt(0)!]);
    return { kind: "set", points: points.sort((a, b) => a[0] - b[0]) };
  });
  return { kind: "text", expression: { kind: "sequence", items } };
}

/** Where a reader stands in a grammar. */
export interface Reader {
  readonly text: string;
  at: number;
  /** Groups around this place. */
  depth: number;
}

export const readerOf = (text: string): Reader => ({ text, at: 0, depth: 0 });

const deepest = 200;

export function failAt({ text, at }: Reader, what: string): never {
  const before = text.slice(0, at);
  const line = before.split("\n").length;
  throw new VentrisError("bad_option", `grammar, line ${line}: ${what} at "${text.slice(at, at + 30).split("\n")[0]}"`);
}

/** Eats what a sticky expression matches here; undefined where it does not. */
export function eat(reader: Reader, pattern: RegExp): RegExpExecArray | undefined {
  pattern.lastIndex = reader.at;
  const match = pattern.exec(reader.text);
  if (match) reader.at += match[0].length;
  return match ?? undefined;
}

/** Sequences with bars between them; each may begin on a line of its own. `allBlanks` eats what says nothing, ends of lines too. */
export function alternatives(reader: Reader, allBlanks: RegExp, sequence: () => Part): Part {
  reader.depth += 1;
  if (reader.depth > deepest) failAt(reader, `groups are nested deeper than ${deepest}`);
  const items = [sequence()];
  for (;;) {
    const back = reader.at;
    eat(reader, allBlanks);
    if (!eat(reader, /\|/y)) {
      reader.at = back;
      break;
    }
    eat(reader, allBlanks);
    items.push(sequence());
  }
  reader.depth -= 1;
  return anyOf(items);
}

export const lineOf = ({ text, at }: Reader): number => text.slice(0, at).split("\n").length;

/** Counts that a repetition may name. */
const mostRepetitions = 10_000;

const signs: Readonly<Record<string, readonly [number, number]>> = {
  "*": [0, Infinity],
  "+": [1, Infinity],
  "?": [0, 1],
};

/** A part as often as a sign says, or as the bounds do that stand in its place. */
export function repeat(reader: Reader, item: Part, sign: string, bounds: readonly [number, number]): Part {
  const [least, most] = signs[sign] ?? bounds;
  if (least > most) failAt(reader, "the bounds of a repetition are the wrong way round");
  if ([least, most].some((bound) => bound !== Infinity && bound > mostRepetitions)) {
    failAt(reader, `more than ${mostRepetitions} repetitions`);
  }
  return { kind: "repeat", item, least, most };
}
