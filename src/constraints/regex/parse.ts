/**
 * Regular expressions in JavaScript's syntax with its `u` flag: what JavaScript refuses there is refused, with its place. Look-around and
 * back-references are refused by name, as they have no finite automaton of bounded size, and so are the newer (?i: …) and sets of the `v` flag.
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
  /** Of grammars, whose own languages read more: an escaped mark stands for itself, and so does a bracket or brace that means nothing else. */
  readonly lenient?: boolean;
}

const deepest = 500;

/** Errors: `bad_option` with the place and what is not supported. */
export function parseRegex(source: string, flags: Flags = {}): Expression {
  const { ignoreCase = false, dotAll = false, lenient = false } = flags;
  const characters = [...source];
  let at = 0;
  let depth = 0;
  /** Names of groups that may take part together with one here: those of other alternatives may not. */
  const names = new Set<string>();
  let namesOfAlternative: string[] = [];

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
    const outside = namesOfAlternative;
    const items: Expression[] = [];
    const inside: string[] = [];
    do {
      namesOfAlternative = [];
      items.push(sequence());
      for (const name of namesOfAlternative) {
        names.delete(name);
        inside.push(name);
      }
    } while (eat("|"));
    namesOfAlternative = outside;
    for (const name of inside) named(name);
    depth -= 1;
    return items.length === 1 ? items[0] : { kind: "choice", items };
  }

  function named(name: string): void {
    names.add(name);
    namesOfAlternative.push(name);
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
    const end = characters.indexOf("}", at);
    const [all, least, comma, most] = /^\{(\d+)(,?)(\d*)\}$/.exec(characters.slice(at, end + 1).join("")) ?? [];
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
    if (!lenient || /^\{[\d,]/.test(characters.slice(at, at + 2).join(""))) {
      if (peek("{")) fail('"{" begins no count such as {2} or {0,3}, and alone is written \\{,');
      if (peek("}") || peek("]")) fail(`"${characters[at]}" closes nothing, and alone is written \\${characters[at]},`);
    }
    const character = characters[at++];
    const point = character.codePointAt(0)!;
    return points([[point, point]], `[${escapeForClass(point)}]`);
  }

  function group(): Expression {
    if (eat("?")) {
      if (eat("=") || eat("!")) fail("look-ahead is not supported");
      if (eat("<=") || eat("<!")) fail("look-behind is not supported");
      if (eat("<")) {
        const end = characters.indexOf(">", at);
        if (end < 0) fail("the name of a group does not end");
        const name = nameOf(characters.slice(at, end).join(""));
        if (name === undefined) return fail("a group has a name that is none,");
        if (names.has(name)) fail(`two groups are called ${name}, the second`);
        named(name);
        at = end + 1;
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
    if (peek("k")) fail("a back-reference is not supported");
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
    if (!peek("p") && !peek("P")) return undefined;
    if (characters[at + 1] !== "{") fail(`\\${characters[at]} has no property in braces behind it,`);
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

  function escapedPoint(inClass = false): number {
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
    if (character === "x") return hex(/^([0-9a-fA-F]{2})/) ?? unknown(character);
    if (character === "u") {
      const point = hex(/^\{0*([0-9a-fA-F]{1,7})\}/) ?? hex(/^([0-9a-fA-F]{4})/);
      if (point === undefined) return unknown(character);
      if (point > 0x10ffff) fail("there is no such code point");
      if (point < 0xd800 || point > 0xdbff || !peek("\\u")) return point;
      const back = at;
      at += 2;
      const low = hex(/^([dD][c-fC-F][0-9a-fA-F]{2})/);
      if (low !== undefined) return 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
      at = back;
      return point;
    }
    const marks = lenient ? /[^A-Za-z0-9]/ : inClass ? /[-^$\\.*+?()[\]{}|/]/ : /[\^$\\.*+?()[\]{}|/]/;
    return marks.test(character) ? character.codePointAt(0)! : unknown(character);
  }

  /** The escape that has just been begun. */
  function unknown(character: string): never {
    at -= 1;
    const alone = /[A-Za-z0-9]/.test(character) ? "" : `: "${character}" stands for itself,`;
    return fail(`\\${character} is no escape${alone}`);
  }

  function characterClass(): Expression {
    const start = at - 1;
    const negative = eat("^");
    const ranges: (readonly [number, number])[] = [];
    while (!peek("]")) {
      if (at >= characters.length) fail("a character class does not end");
      const low = member();
      if (peek("-") && characters[at + 1] !== "]" && at + 1 < characters.length) {
        const hyphen = at++;
        const high = member();
        if (typeof low !== "number" || typeof high !== "number") {
          at = hyphen;
          return fail("a range has a class at its end, and a hyphen beside one is written \\-,");
        }
        if (low > high) fail("a range is the wrong way round");
        ranges.push([low, high]);
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
    return (set && (ignoreCase ? scan(`\\${characters.slice(start, at).join("")}`, "iu") : set)) ?? escapedPoint(true);
  }

  const asRanges = (value: number | CodePoints): CodePoints => (typeof value === "number" ? [[value, value]] : value);

  ensure(typeof source === "string", "bad_option", "a regular expression is a text");
  const expression = choice();
  if (at < characters.length) fail(`unexpected "${characters[at]}"`);
  return expression;
}

/** A group's name with its escapes read, as JavaScript itself reads it; undefined for what is none. */
function nameOf(written: string): string | undefined {
  try {
    return Object.keys(new RegExp(`(?<${written}>)`, "u").exec("")!.groups!)[0];
  } catch {
    return undefined;
  }
}

const escapeForClass = (point: number): string => `\\u{${point.toString(16)}}`;

export const shorten = (text: string): string => (text.length > 80 ? `${text.slice(0, 77)}…` : text);
