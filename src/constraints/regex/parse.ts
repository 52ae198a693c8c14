/**
 * Regular expressions in JavaScript's syntax, with the meaning of its `u` flag and, as without that flag, escapes that stand for
 * themselves. Look-around and back-references are refused by name: they have no finite automaton of bounded size.
 */
import { ensure, VentrisError } from "../../errors.ts";
import {
  type CodePoints,
  complement,
  digits,
  lineEnds,
  scan,
  spaces,
  toRanges,
  wordCharacters,
} from "./code-points.ts";

export type Expression =
  | { readonly kind: "set"; readonly points: CodePoints }
  | { readonly kind: "sequence" | "choice"; readonly items: readonly Expression[] }
  | { readonly kind: "repeat"; readonly item: Expression; readonly least: number; readonly most: number }
  | { readonly kind: "assert"; readonly what: "start" | "end" | "boundary" | "no boundary" };

export interface Flags {
  /** Letters of either case. */
  readonly ignoreCase?: boolean;
  /** The dot stands for line ends too. */
  readonly dotAll?: boolean;
}

const deepest = 500;

/** Errors: `bad_option` with the place and what is not supported. */
export function parseRegex(source: string, { ignoreCase = false, dotAll = false }: Flags = {}): Expression {
  const characters = [...source];
  let at = 0;
  let depth = 0;

  const fail = (what: string): never => {
    throw new VentrisError("bad_option", `regular expression /${shorten(source)}/: ${what} at character ${at + 1}`);
  };
  const peek = (text: string): boolean => characters.slice(at, at + text.length).join("") === text;
  const eat = (text: string): boolean => {
    if (!peek(text)) return false;
    at += text.length;
    return true;
  };
  const points = (set: CodePoints, written: string): Expression => ({
    kind: "set",
    points: ignoreCase ? scan(written, "iu") : set,
  });

  function choice(): Expression {
    depth += 1;
    if (depth > deepest) fail(`groups are nested deeper than ${deepest}`);
    const items = [sequence()];
    while (eat("|")) items.push(sequence());
    depth -= 1;
    return items.length === 1 ? items[0] : { kind: "choice", items };
  }

  function sequence(): Expression {
    const items: Expression[] = [];
    while (at < characters.length && !peek("|") && !peek(")")) items.push(quantified());
    return items.length === 1 ? items[0] : { kind: "sequence", items };
  }

  function quantified(): Expression {
    const grouped = peek("(");
    const item = term();
    const bounds = quantifier();
    if (!bounds) return item;
    if (item.kind === "assert" && !grouped) fail("an assertion cannot be repeated");
    eat("?"); // lazy: the same texts
    if (quantifier()) fail("nothing to repeat");
    return { kind: "repeat", item, least: bounds[0], most: bounds[1] };
  }

  function quantifier(): [number, number] | undefined {
    if (eat("*")) return [0, Infinity];
    if (eat("+")) return [1, Infinity];
    if (eat("?")) return [0, 1];
    if (!peek("{")) return undefined;
    const [all, least, comma, most] = /^\{(\d+)(,?)(\d*)\}/.exec(characters.slice(at, at + 40).join("")) ?? [];
    if (!all) return undefined;
    at += all.length;
    const from = Number(least);
    const to = comma ? (most ? Number(most) : Infinity) : from;
    if (from > to) fail(`{${least},${most}} has its bounds the wrong way round`);
    return [from, to];
  }

  function term(): Expression {
    if (eat("(")) return group();
    if (eat("[")) return characterClass();
    if (eat("^")) return { kind: "assert", what: "start" };
    if (eat("$")) return { kind: "assert", what: "end" };
    if (eat(".")) return { kind: "set", points: dotAll ? [[0, 0x10ffff]] : complement(lineEnds) };
    if (peek("*") || peek("+") || peek("?")) fail("nothing to repeat");
    if (eat("\\")) return escapedTerm();
    const character = characters[at++];
    const point = character.codePointAt(0)!;
    return points([[point, point]], `[${escapeForClass(point)}]`);
  }

  function group(): Expression {
    if (eat("?")) {
      if (eat("=") || eat("!")) fail("look-ahead is not supported");
      if (eat("<=") || eat("<!")) fail("look-behind is not supported");
      if (eat("<")) {
        while (at < characters.length && characters[at] !== ">") at += 1;
        if (!eat(">")) fail("the name of a group does not end");
      } else if (!eat(":")) fail("this kind of group is not supported");
    }
    const inner = choice();
    if (!eat(")")) fail("a group does not end");
    return inner;
  }

  function escapedTerm(): Expression {
    if (at >= characters.length) fail("an escape does not end");
    if (eat("b")) return { kind: "assert", what: "boundary" };
    if (eat("B")) return { kind: "assert", what: "no boundary" };
    if (/[1-9]/.test(characters[at])) fail("a back-reference is not supported");
    if (peek("k<")) fail("a back-reference is not supported");
    const start = at - 1;
    const set = escapedClass() ?? [[0, 0]];
    if (at === start + 1) {
      const point = escapedPoint();
      return points([[point, point]], `[${escapeForClass(point)}]`);
    }
    return points(set, characters.slice(start, at).join(""));
  }

  /** \d \w \s and their complements, \p{…}. */
  function escapedClass(): CodePoints | undefined {
    if (eat("d")) return digits;
    if (eat("D")) return complement(digits);
    if (eat("w")) return wordCharacters;
    if (eat("W")) return complement(wordCharacters);
    if (eat("s")) return spaces;
    if (eat("S")) return complement(spaces);
    if (!peek("p{") && !peek("P{")) return undefined;
    const end = characters.indexOf("}", at);
    if (end < 0) fail("a property does not end");
    const written = `\\${characters.slice(at, end + 1).join("")}`;
    try {
      const set = scan(written, "u");
      at = end + 1;
      return set;
    } catch {
      return fail(`${written} is no Unicode property`);
    }
  }

  function escapedPoint(): number {
    const character = characters[at++];
    const simple = { t: 9, n: 10, v: 11, f: 12, r: 13 }[character];
    if (simple !== undefined) return simple;
    if (character === "0" && !/[0-9]/.test(characters[at] ?? "")) return 0;
    if (character === "c" && /[A-Za-z]/.test(characters[at] ?? "")) return characters[at++].charCodeAt(0) % 32;
    const hex = (pattern: RegExp): number | undefined => {
      const [all, number] = pattern.exec(characters.slice(at, at + 12).join("")) ?? [];
      if (!all) return undefined;
      at += all.length;
      return Number.parseInt(number, 16);
    };
    if (character === "x") return hex(/^([0-9a-fA-F]{2})/) ?? 0x78;
    if (character === "u") {
      const point = hex(/^\{([0-9a-fA-F]+)\}/) ?? hex(/^([0-9a-fA-F]{4})/);
      if (point === undefined) return 0x75;
      if (point > 0x10ffff) fail("there is no such code point");
      if (point < 0xd800 || point > 0xdbff || !peek("\\u")) return point;
      const back = at;
      at += 2;
      const low = hex(/^([dD][c-fC-F][0-9a-fA-F]{2})/);
      if (low !== undefined) return 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
      at = back;
      return point;
    }
    if (/[A-Za-z0-9]/.test(character)) fail(`\\${character} is no escape`);
    return character.codePointAt(0)!;
  }

  function characterClass(): Expression {
    const start = at - 1;
    const negative = eat("^");
    const ranges: (readonly [number, number])[] = [];
    while (!peek("]")) {
      if (at >= characters.length) fail("a character class does not end");
      const low = member();
      if (peek("-") && characters[at + 1] !== "]" && at + 1 < characters.length) {
        const back = at;
        at += 1;
        const high = member();
        if (typeof low === "number" && typeof high === "number") {
          if (low > high) fail("a range is the wrong way round");
          ranges.push([low, high]);
          continue;
        }
        at = back; // as without the u flag: [\w-x] has a plain hyphen
        ranges.push(...asRanges(low), [0x2d, 0x2d]);
        at += 1;
        continue;
      }
      ranges.push(...asRanges(low));
    }
    at += 1;
    const set = toRanges(ranges);
    if (!ignoreCase) return { kind: "set", points: negative ? complement(set) : set };
    const written = set.map(([low, high]) => `${escapeForClass(low)}-${escapeForClass(high)}`).join("");
    return points(set, set.length === 0 ? characters.slice(start, at).join("") : `[${negative ? "^" : ""}${written}]`);
  }

  function member(): number | CodePoints {
    if (!eat("\\")) return characters[at++].codePointAt(0)!;
    if (at >= characters.length) fail("an escape does not end");
    if (eat("b")) return 8;
    if (eat("-")) return 0x2d;
    const start = at;
    const set = escapedClass();
    // \W of either case is without what folds to a letter of \w.
    return (set && (ignoreCase ? scan(`\\${characters.slice(start, at).join("")}`, "iu") : set)) ?? escapedPoint();
  }

  const asRanges = (value: number | CodePoints): CodePoints => (typeof value === "number" ? [[value, value]] : value);

  ensure(typeof source === "string", "bad_option", "a regular expression is a text");
  const expression = choice();
  if (at < characters.length) fail(`unexpected "${characters[at]}"`);
  return expression;
}

const escapeForClass = (point: number): string => `\\u{${point.toString(16)}}`;

export const shorten = (text: string): string => (text.length > 80 ? `${text.slice(0, 77)}…` : text);
