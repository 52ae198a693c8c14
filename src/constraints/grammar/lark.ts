/**
 * Grammars in the style of Lark: `name: …` with rules in lower and terminals in upper case, "texts", /regular expressions/, groups,
 * [options], repetitions, %ignore and the common terminals of %import. Texts are read without a lexer: a terminal may match whatever it can.
 */
import { ensure } from "../../errors.ts";
import { parseRegex } from "../regex/parse.ts";
import {
  alternatives,
  anyOf,
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

const blanks = /(?:[ \t]|\/\/[^\n]*)*/y;
const allBlanks = /(?:\s|\/\/[^\n]*)*/y;
const header = /[?!]{0,2}([_A-Za-z][_A-Za-z0-9]*)[ \t]*(\.\d+)?[ \t]*:/y;

const common: Readonly<Record<string, string>> = {
  DIGIT: "[0-9]",
  HEXDIGIT: "[0-9a-fA-F]",
  INT: "[0-9]+",
  SIGNED_INT: "[+-]?[0-9]+",
  DECIMAL: "[0-9]+\\.[0-9]*|\\.[0-9]+",
  FLOAT: "(?:[0-9]+\\.[0-9]*|\\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+",
  NUMBER: "(?:[0-9]+\\.[0-9]*|\\.[0-9]+|[0-9]+)(?:[eE][+-]?[0-9]+)?",
  SIGNED_NUMBER: "[+-]?(?:[0-9]+\\.[0-9]*|\\.[0-9]+|[0-9]+)(?:[eE][+-]?[0-9]+)?",
  ESCAPED_STRING: '"(?:[^"\\\\\\n]|\\\\.)*"',
  LCASE_LETTER: "[a-z]",
  UCASE_LETTER: "[A-Z]",
  LETTER: "[a-zA-Z]",
  WORD: "[a-zA-Z]+",
  CNAME: "[_a-zA-Z][_a-zA-Z0-9]*",
  WS_INLINE: "[ \\t]+",
  WS: "[ \\t\\f\\r\\n]+",
  CR: "\\r",
  LF: "\\n",
  NEWLINE: "(?:\\r?\\n)+",
};

export function parseLark(text: string): Grammar {
  const reader = readerOf(text);
  const rules = new Map<string, Part>();
  const ignored: Part[] = [];
  eat(reader, allBlanks);
  while (reader.at < text.length) {
    if (eat(reader, /%ignore[ \t]+/y)) ignored.push(choice());
    else if (eat(reader, /%import[ \t]+common\./y)) importCommon();
    else if (eat(reader, /%/y)) failAt(reader, "of the directives only %ignore and %import common.NAME are supported");
    else rule();
    eat(reader, allBlanks);
  }
  ensure(rules.has("start"), "bad_option", "grammar: a rule called start is missing, where texts begin");
  return ignored.length === 0 ? { start: "start", rules } : spaced(rules, anyOf(ignored));

  function rule(): void {
    const found = eat(reader, header);
    if (!found) failAt(reader, "a rule begins with its name and a colon");
    if (found[2]) failAt(reader, "priorities are not supported: all readings of a text count");
    if (rules.has(found[1])) failAt(reader, `the rule ${found[1]} is given twice`);
    eat(reader, allBlanks);
    rules.set(found[1], choice());
  }

  function importCommon(): void {
    const found = eat(reader, /([A-Z_]+)(?:[ \t]*->[ \t]*([A-Z_]+))?/y);
    const pattern = found && Object.hasOwn(common, found[1]) ? common[found[1]] : undefined;
    if (!found || !pattern) failAt(reader, `common terminals are ${Object.keys(common).join(", ")};`);
    rules.set(found[2] ?? found[1], { kind: "text", expression: parseRegex(pattern) });
  }

  function choice(): Part {
    return alternatives(reader, allBlanks, sequence);
  }

  function sequence(): Part {
    const items: Part[] = [];
    for (;;) {
      eat(reader, blanks);
      if (eat(reader, /->[ \t]*[_A-Za-z][_A-Za-z0-9]*/y)) continue; // a name for the tree, which nobody builds here
      const one = item();
      if (!one) return inOrder(items);
      items.push(repeated(one));
    }
  }

  function item(): Part | undefined {
    const string = eat(reader, /"((?:[^"\\\n]|\\.)*)"(i?)/y);
    if (string) {
      const from = unescaped(string[1]);
      const to = eat(reader, /\.\."((?:[^"\\\n]|\\.)*)"/y);
      return to ? range(from, unescaped(to[1])) : literal(from, string[2] === "i");
    }
    const regex = eat(reader, /\/((?:[^/\\\n]|\\.)+)\/([a-z]*)/y);
    if (regex) {
      if (/[^isu]/.test(regex[2])) failAt(reader, `the flags ${regex[2]} are not supported, before`);
      return {
        kind: "text",
        expression: parseRegex(regex[1], {
          ignoreCase: regex[2].includes("i"),
          dotAll: regex[2].includes("s"),
          lenient: true,
        }),
      };
    }
    if (eat(reader, /\(/y)) return closed(/\)/y);
    if (eat(reader, /\[/y)) return { kind: "repeat", item: closed(/\]/y), least: 0, most: 1 };
    const line = lineOf(reader);
    const found = eat(reader, /[_A-Za-z][_A-Za-z0-9]*(?![_A-Za-z0-9]*[ \t]*(?:\.\d+)?[ \t]*:)/y);
    if (found) return { kind: "rule", name: found[0], line };
    if (reader.at < text.length && !/[\s|)\]]/.test(text[reader.at]) && !text.startsWith("//", reader.at)) {
      failAt(reader, "unexpected text");
    }
    return undefined;
  }

  function unescaped(text: string): string {
    try {
      return JSON.parse(`"${text}"`) as string;
    } catch {
      return failAt(reader, "a text has an escape that is not known, before");
    }
  }

  /** `"a".."z"`: one character of these. */
  function range(...ends: readonly [string, string]): Part {
    if (ends.some((end) => [...end].length !== 1)) failAt(reader, "a range has one character at each end, before");
    const [from, to] = ends.map((end) => `\\u{${end.codePointAt(0)!.toString(16)}}`);
    return { kind: "text", expression: parseRegex(`[${from}-${to}]`) };
  }

  function closed(end: RegExp): Part {
    eat(reader, allBlanks);
    const inner = choice();
    eat(reader, allBlanks);
    if (!eat(reader, end)) failAt(reader, "a group does not end");
    return inner;
  }

  function repeated(part: Part): Part {
    const found = eat(reader, /[*+?]|[ \t]*~[ \t]*(\d+)(?:[ \t]*\.\.[ \t]*(\d+))?/y);
    if (!found) return part;
    const [all, least, most] = found;
    return repeat(reader, part, all, [Number(least), Number(most ?? least)]);
  }
}

const isTerminalName = (name: string): boolean => name === name.toUpperCase();

/** What is ignored may stand before every terminal of a rule and at the end. */
function spaced(rules: ReadonlyMap<string, Part>, ignored: Part): Grammar {
  const gap: Part = { kind: "repeat", item: ignored, least: 0, most: Infinity };
  const before = (part: Part): Part => {
    if (part.kind === "text") return { kind: "sequence", items: [gap, part] };
    if (part.kind === "rule") return isTerminalName(part.name) ? { kind: "sequence", items: [gap, part] } : part;
    if (part.kind === "repeat") return { ...part, item: before(part.item) };
    return { ...part, items: part.items.map(before) };
  };
  const result = new Map([...rules].map(([name, part]) => [name, isTerminalName(name) ? part : before(part)] as const));
  const start = "start of the text";
  result.set(start, { kind: "sequence", items: [{ kind: "rule", name: "start", line: 0 }, gap] });
  return { start, rules: result };
}
