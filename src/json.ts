/** Text and JSON from bytes that somebody else wrote: every failure is a `bad_file` that names where they came from. */
import type { z } from "zod";
import { ensure, VentrisError } from "./errors.ts";
import { describeIssues } from "./issues.ts";

/** Text of bytes that must be valid UTF-8; a byte order mark is left out. Errors: `bad_file` naming `origin`. */
export function decodeUtf8(bytes: Uint8Array, origin: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    const reason = cause instanceof TypeError ? "not valid UTF-8" : (cause as Error).message; // or too long for a string
    throw new VentrisError("bad_file", `${origin}: ${reason}`, { cause });
  }
}

/** Any JSON value of a text, or of its bytes. Errors: `bad_file` naming `origin`. */
export function parseJson(source: string | Uint8Array, origin: string): unknown {
  const text = typeof source === "string" ? source : decodeUtf8(source, origin);
  try {
    return JSON.parse(text);
  } catch (cause) {
    const { message } = cause as Error;
    const at = placeOf(text, message);
    const place = isOneLine(text) ? "" : `, line ${text.slice(0, at).split("\n").length}`;
    const cut = at >= text.trimEnd().length ? " (truncated?)" : "";
    const fault = faultOf(text, message, { lineIsTold: true });
    throw new VentrisError("bad_file", `${origin}${place}: not valid JSON${cut}: ${fault}`, { cause });
  }
}

/** One line may be of a longer file, where it has another number. */
const isOneLine = (text: string): boolean => !text.trimEnd().includes("\n");

/** What the parser says, in words of ours: where it stopped, as far as it tells. */
export function faultOf(text: string, message: string, { lineIsTold = isOneLine(text) } = {}): string {
  const [, position] = / at position (\d+)/.exec(message) ?? [];
  const [, token] = /^Unexpected token '(.+?)'/s.exec(message) ?? [];
  if (/end of JSON|^Unterminated/.test(message)) return "it ends too early";
  if (position !== undefined) {
    const before = text.slice(0, Number(position)).split("\n");
    return `it goes wrong at ${lineIsTold ? "" : `line ${before.length}, `}column ${before.at(-1)!.length + 1}`;
  }
  return token === undefined ? "it is no JSON" : `${JSON.stringify(token)} cannot stand where it does`;
}

/** Where a text ceases to be JSON: where it ends, if it is cut off. */
function placeOf(text: string, message: string): number {
  const told = /at position (\d+)/.exec(message);
  if (told) return Number(told[1]);
  if (!unexpectedToken.test(message)) return text.length;
  // Of such a token engines do not tell the place: it ends the shortest beginning that has it.
  let [without, having] = [0, text.length];
  while (having - without > 1) {
    const middle = (without + having) >> 1;
    if (unexpectedToken.test(failureOf(text.slice(0, middle)))) having = middle;
    else without = middle;
  }
  return without;
}

const unexpectedToken = /^Unexpected token/;

function failureOf(text: string): string {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    return (error as Error).message;
  }
}

/**
 * The first name that an object of a valid JSON text gives a second time, and its line; undefined: there is none. JSON itself lets the last one
 * count, and what was written before it is lost without a word.
 */
export function repeatedName(text: string): { name: string; line: number } | undefined {
  /** Names of the objects around; undefined for a list. */
  const around: (Set<string> | undefined)[] = [];
  let nameComes = false;
  for (let at = 0; at < text.length; at++) {
    const mark = text[at];
    if (mark === '"') {
      let end = text.indexOf('"', at + 1);
      while (isEscaped(text, end)) end = text.indexOf('"', end + 1);
      const names = nameComes ? around.at(-1) : undefined;
      if (names) {
        const name = JSON.parse(text.slice(at, end + 1)) as string;
        if (names.has(name)) return { name, line: text.slice(0, at).split("\n").length };
        names.add(name);
      }
      nameComes = false;
      at = end;
    } else if (mark === "{" || mark === "[") {
      around.push(mark === "{" ? new Set() : undefined);
      nameComes = mark === "{";
    } else if (mark === "}" || mark === "]") around.pop();
    else if (mark === ",") nameComes = around.at(-1) !== undefined;
  }
  return undefined;
}

function isEscaped(text: string, at: number): boolean {
  let backslashes = 0;
  while (text[at - 1 - backslashes] === "\\") backslashes += 1;
  return backslashes % 2 === 1;
}

/** JSON whose top is an object. Errors: `bad_file` naming `origin`. */
export function parseJsonObject(source: string | Uint8Array, origin: string): Record<string, unknown> {
  const value = parseJson(source, origin);
  ensure(isObject(value), "bad_file", `${origin}: expected a JSON object`);
  return value;
}

/** A value of a file as its schema has it. Errors: `bad_file` naming `origin` and the field. */
export function checkJson<Schema extends z.ZodType>(schema: Schema, value: unknown, origin: string): z.output<Schema> {
  const { data, error } = schema.safeParse(value, { reportInput: true });
  ensure(!error, "bad_file", () => `${origin}: ${describeIssues(error!.issues)}`);
  return data as z.output<Schema>;
}

/** Whether two JSON values say the same; the order of an object's names does not count. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return Object.is(a, b);
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && sameJson(a[name as keyof typeof a], b[name as keyof typeof b]))
  );
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
