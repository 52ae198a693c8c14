/** GBNF, the grammars of llama.cpp: `name ::= …` with literals, character classes, groups and repetitions; `root` is the start. */
import { ensure } from "../../errors.ts";
import { parseRegex } from "../regex/parse.ts";
import {
  alternatives,
  eat,
  failAt,
  type Grammar,
  inOrder,
  lineOf,
  literal,
  type Part,
  readerOf,
  repeat,
} from "./source.ts";

const blanks = /(?:[ \t]|#[^\n]*)*/y;
const allBlanks = /(?:\s|#[^\n]*)*/y;
const name = /[A-Za-z][A-Za-z0-9-_]*/y;
const ruleStart = /[A-Za-z][A-Za-z0-9-_]*\s*::=/y;

export function parseGbnf(text: string): Grammar {
  const reader = readerOf(text);
  const rules = new Map<string, Part>();
  eat(reader, allBlanks);
  while (reader.at < text.length) {
    const found = eat(reader, name);
    if (!found) failAt(reader, "a rule begins with its name");
    eat(reader, blanks);
    if (!eat(reader, /::=/y)) failAt(reader, "::= is missing");
    eat(reader, allBlanks);
    if (rules.has(found[0])) failAt(reader, `the rule ${found[0]} is given twice`);
    rules.set(found[0], choice(false));
    eat(reader, allBlanks);
  }
  ensure(rules.has("root"), "bad_option", "grammar: a rule called root is missing, where texts begin");
  return { start: "root", rules };

  function choice(grouped: boolean): Part {
    return alternatives(reader, allBlanks, () => sequence(grouped));
  }

  function sequence(grouped: boolean): Part {
    const items: Part[] = [];
    for (;;) {
      eat(reader, grouped ? allBlanks : blanks);
      const one = item();
      if (!one) return inOrder(items);
      items.push(repeated(one));
    }
  }

  function item(): Part | undefined {
    const start = reader.at;
    if (eat(reader, /"/y)) return quoted();
    if (eat(reader, /\[(?:[^\]\\]|\\.)*\]/y)) {
      const written = text.slice(start, reader.at);
      return {
        kind: "text",
        expression: parseRegex(
          written.replace(/\\U([0-9A-Fa-f]{8})/g, (_, hex: string) => `\\u{${hex.replace(/^0+(?=.)/, "")}}`),
          { lenient: true },
        ),
      };
    }
    if (eat(reader, /\./y)) return { kind: "text", expression: { kind: "set", points: [[0, 0x10ffff]] } };
    if (eat(reader, /\(/y)) {
      const inner = choice(true);
      eat(reader, allBlanks);
      if (!eat(reader, /\)/y)) failAt(reader, "a group does not end");
      return inner;
    }
    if (eat(reader, ruleStart)) {
      reader.at = start; // the next rule begins here
      return undefined;
    }
    const line = lineOf(reader);
    const found = eat(reader, name);
    if (found) return { kind: "rule", name: found[0], line };
    if (reader.at < text.length && !/[\s|)#]/.test(text[reader.at])) failAt(reader, "unexpected text");
    return undefined;
  }

  function quoted(): Part {
    let value = "";
    for (;;) {
      if (eat(reader, /"/y)) return literal(value);
      const plain = eat(reader, /[^"\\\n]+/y);
      if (plain) {
        value += plain[0];
        continue;
      }
      const escaped = eat(reader, /\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([nrt"\\[\]]))/y);
      if (!escaped) return failAt(reader, "a literal does not end, or has an escape that is not known,");
      const hex = escaped[1] ?? escaped[2] ?? escaped[3];
      const simple: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };
      value += hex === undefined ? (simple[escaped[4]] ?? escaped[4]) : String.fromCodePoint(Number.parseInt(hex, 16));
    }
  }

  function repeated(part: Part): Part {
    let result = part;
    for (;;) {
      const found = eat(reader, /[*+?]|\{\s*(\d+)\s*(,?)\s*(\d*)\s*\}/y);
      if (!found) return result;
      const [all, least, comma, most] = found;
      const to = comma ? (most ? Number(most) : Infinity) : Number(least);
      result = repeat(reader, result, all, [Number(least), to]);
    }
  }
}
