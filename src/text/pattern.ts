/**
 * Regular expressions of tokenizer files, which are written for Oniguruma (Ruby's syntax), as JavaScript's. What differs is
 * translated (`\s`, `\d` and `\w` by Unicode, possessive quantifiers, atomic groups, `(?i:…)`, `^` and `$` at every line, scripts by
 * name alone, intersections of classes); what has no counterpart here is refused.
 */
import { VentrisError } from "../errors.ts";

/** Oniguruma's classes by Unicode. */
const sets: Readonly<Record<string, string>> = {
  s: String.raw`\p{White_Space}`,
  d: String.raw`\p{Nd}`,
  w: String.raw`[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]`,
  h: "[0-9a-fA-F]",
};
/** Outside of a class, `\w` also finds the digits and fractions of Latin-1, as the reference does. */
const word = String.raw`[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}²³¹¼½¾]`;
const controls: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, f: 12, v: 11, a: 7, e: 27 };

const longestPattern = 20_000;
const deepestGroup = 100;

/** A pattern that finds what the reference finds, with the flags g and v. Errors: `bad_file` naming `origin` and what is not understood. */
export function compilePattern(source: string, origin: string): RegExp {
  const fail = (message: string): never => {
    const shownSource = source.length > 200 ? `${source.slice(0, 200)}…` : source;
    throw new VentrisError("bad_file", `${origin}: the pattern ${shownSource}: ${message}`);
  };
  if (source.length > longestPattern) fail(`longer than ${longestPattern} characters`);
  const translated = createTranslator(source, fail)();
  try {
    return new RegExp(translated, "gv");
  } catch (cause) {
    return fail((cause as Error).message);
  }
}

/** A text as a pattern that finds it. */
export function literalPattern(text: string): RegExp {
  return new RegExp(Array.from(text, literal).join(""), "gv");
}

/** Visits all matches from left to right; an empty one directly after another match is passed over, as the reference does. */
export function forEachMatch(pattern: RegExp, text: string, visit: (start: number, end: number) => void): void {
  let last = -1;
  pattern.lastIndex = 0;
  for (;;) {
    const match = pattern.exec(text);
    if (match === null) return;
    const [start, end] = [match.index, pattern.lastIndex];
    // Nothing at all may be found between the two halves of a character, too.
    if (start < end || (end !== last && !isWithinCharacter(text, end))) {
      visit(start, end);
      last = end;
    } else {
      // On by a character, not by half of one.
      pattern.lastIndex = end + ((text.codePointAt(end) ?? 0) > 0xffff ? 2 : 1);
      if (pattern.lastIndex > text.length) return;
    }
  }
}

const isWithinCharacter = (text: string, at: number): boolean => at > 0 && (text.codePointAt(at - 1) ?? 0) > 0xffff;

const literal = (character: string): string =>
  /^[A-Za-z0-9]$/.test(character) ? character : `\\u{${character.codePointAt(0)!.toString(16)}}`;

function createTranslator(source: string, fail: (message: string) => never): () => string {
  const characters = Array.from(source);
  let at = 0;
  let atomic = 0;
  const rest = (count: number) => characters.slice(at, at + count).join("");
  const take = (text: string): boolean => {
    if (rest(text.length) !== text) return false;
    at += text.length;
    return true;
  };

  function alternatives(ignoreCase: boolean, depth: number): string {
    if (depth > deepestGroup) fail("groups nest too deeply");
    let written = "";
    let folding = ignoreCase;
    while (at < characters.length && characters[at] !== ")") {
      if (take("|")) written += "|";
      else if (take("(?i)")) folding = true;
      else if (rest(3) === "(?#") skipComment();
      else written += quantified(atom(folding, depth));
    }
    return written;
  }

  function skipComment(): void {
    while (at < characters.length && characters[at] !== ")") at++;
    at++;
  }

  function group(ignoreCase: boolean, depth: number): string {
    const kinds: [string, (inner: string) => string][] = [
      ["?:", (inner) => `(?:${inner})`],
      ["?=", (inner) => `(?=${inner})`],
      ["?!", (inner) => `(?!${inner})`],
      ["?<=", (inner) => `(?<=${inner})`],
      ["?<!", (inner) => `(?<!${inner})`],
      ["?>", unyielding],
      ["?i:", (inner) => `(?:${inner})`],
    ];
    const kind = kinds.find(([mark]) => take(mark));
    if (!kind && characters[at] === "?") {
      const named = /^\?<([A-Za-z_]\w*)>/.exec(rest(60));
      if (!named) fail(`a group that begins with (${rest(3)} is not supported`);
      else at += named[0].length;
    }
    const inner = alternatives(ignoreCase || kind?.[0] === "?i:", depth + 1);
    if (!take(")")) fail("a group is not closed");
    return (kind?.[1] ?? ((text: string) => `(?:${text})`))(inner);
  }

  /** What has matched gives nothing back: a lookahead keeps its first way, and the reference repeats it. */
  function unyielding(inner: string): string {
    atomic++;
    return `(?:(?=(?<atomic${atomic}>${inner}))\\k<atomic${atomic}>)`;
  }

  function quantified(first: string): string {
    let written = first;
    for (;;) {
      const counted = /^\{(\d{1,4})?(,)?(\d{1,4})?\}/.exec(rest(12));
      const [sign] = /^[*+?]/.exec(rest(1)) ?? [];
      if (counted && (counted[1] ?? counted[3]) !== undefined) {
        at += counted[0].length;
        const [, least = "0", comma = "", most = ""] = counted;
        // After a count, + is one more repetition and not possessive.
        written = `(?:${written}{${least}${comma}${most}}${take("?") ? "?" : ""})`;
      } else if (sign) {
        at++;
        if (take("+")) written = unyielding(`${written}${sign}`);
        else written = `(?:${written}${sign}${take("?") ? "?" : ""})`;
      } else return written;
    }
  }

  function atom(ignoreCase: boolean, depth: number): string {
    const character = characters[at++];
    if (character === "(") return group(ignoreCase, depth);
    if (character === "[") return characterClass(ignoreCase, depth);
    if (character === ".") return "[^\\n]";
    if (character === "^") return "(?:^|(?<=\\n)(?=[\\s\\S]))"; // not after the last line end
    if (character === "$") return "(?=\\n|$)";
    if (character === "\\") return escaped(ignoreCase);
    if ("*+?".includes(character)) fail(`nothing to repeat before ${character}`);
    return folded(character, ignoreCase);
  }

  function escaped(ignoreCase: boolean): string {
    const places: Record<string, string> = {
      A: "^",
      z: "$",
      Z: "(?=\\n?$)",
      b: `(?:(?<=${word})(?!${word})|(?<!${word})(?=${word}))`,
      B: `(?:(?<=${word})(?=${word})|(?<!${word})(?!${word}))`,
    };
    const letter = characters[at] ?? fail("it ends in a backslash");
    if (Object.hasOwn(places, letter)) {
      at++;
      return places[letter];
    }
    if (/[wW]/.test(letter)) {
      at++;
      return letter === "w" ? word : `[^${word}]`;
    }
    const { set, character } = escapedSet(ignoreCase);
    return set ?? folded(character!, ignoreCase);
  }

  /** After a backslash: a set of characters or one character. */
  function escapedSet(ignoreCase: boolean): { set?: string; character?: string } {
    const letter = characters[at++] ?? fail("it ends in a backslash");
    const lower = letter.toLowerCase();
    if (Object.hasOwn(sets, lower)) return { set: letter === lower ? sets[lower] : `[^${sets[lower]}]` };
    if (lower === "p") return { set: property(letter === "P", ignoreCase) };
    if (Object.hasOwn(controls, letter)) return { character: String.fromCodePoint(controls[letter]) };
    const code = /^(?:x\{([0-9A-Fa-f]{1,6})\}|x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{4}))/.exec(letter + rest(10));
    if (code) {
      at += code[0].length - 1;
      const value = Number.parseInt(code[1] ?? code[2] ?? code[3], 16);
      return {
        character: value <= 0x10ffff ? String.fromCodePoint(value) : fail(`no character has the number ${value}`),
      };
    }
    if (letter === "0") return { character: "\0" };
    if (/[\p{L}\p{N}]/u.test(letter)) fail(`\\${letter} is not supported`);
    return { character: letter };
  }

  function property(outer: boolean, ignoreCase: boolean): string {
    const [whole, inverted, name] = /^\{(\^?)([\w= -]{1,60})\}/.exec(rest(64)) ?? fail("\\p without a name in braces");
    at += whole.length;
    if (ignoreCase && /^(Lu|Ll|Lt|Upper|Lower)/i.test(name))
      fail(`\\p{${name}} where case is ignored is not supported`);
    const written = [name, `Script=${name}`].find((candidate) => {
      try {
        return new RegExp(`\\p{${candidate}}`, "v");
      } catch {
        return false;
      }
    });
    return `\\${outer !== (inverted !== "") ? "P" : "p"}{${written ?? fail(`\\p{${name}} is not supported`)}}`;
  }

  function characterClass(ignoreCase: boolean, depth: number): string {
    if (depth > deepestGroup) fail("classes nest too deeply");
    const negated = take("^");
    const operands: string[][] = [[]];
    let first = true;
    for (;;) {
      if (at >= characters.length) fail("a class is not closed");
      if (!first && take("]")) break;
      first = false;
      if (take("&&")) operands.push([]);
      else if (rest(2) === "[:") fail("classes like [:alpha:] are not supported");
      else if (take("[")) operands.at(-1)!.push(characterClass(ignoreCase, depth + 1));
      else operands.at(-1)!.push(classItem(ignoreCase));
    }
    const joined =
      operands.length === 1 ? operands[0].join("") : operands.map((items) => `[${items.join("")}]`).join("&&");
    return `[${negated ? "^" : ""}${joined}]`;
  }

  function classItem(ignoreCase: boolean): string {
    const start = classCharacter(ignoreCase);
    if (start.set !== undefined) return start.set;
    const low = start.character!;
    // A minus at the end, or before another class, is itself.
    if (rest(1) !== "-" || [undefined, "]", "["].includes(characters[at + 1])) return members(low, ignoreCase);
    at++;
    const end = classCharacter(ignoreCase);
    const high = end.character ?? fail("a range ends in a class");
    if (low.codePointAt(0)! > high.codePointAt(0)!) fail(`the range ${low}-${high} is empty`);
    if (!ignoreCase) return `${literal(low)}-${literal(high)}`;
    const range = `${low}-${high}`;
    if (["a-z", "A-Z"].includes(range)) return "a-zA-Z\\u{17f}\\u{212a}";
    if (!/[\p{L}]/u.test(low + high)) return `${literal(low)}-${literal(high)}`;
    return fail(`the range ${range} where case is ignored is not supported`);
  }

  function classCharacter(ignoreCase: boolean): { set?: string; character?: string } {
    const character = characters[at++];
    if (character !== "\\") return { character };
    if (characters[at] === "b") {
      at++;
      return { character: "\b" };
    }
    return escapedSet(ignoreCase);
  }

  return () => {
    let written = alternatives(false, 0);
    if (at < characters.length) fail("a group is closed that was not opened");
    if (written === "") written = "(?:)";
    return written;
  };
}

/** A character, or all that it equals where case is ignored. */
const folded = (character: string, ignoreCase: boolean): string =>
  ignoreCase && /\p{L}/u.test(character) ? `[${members(character, true)}]` : literal(character);

function members(character: string, ignoreCase: boolean): string {
  if (!ignoreCase) return literal(character);
  const variants = new Set([character, character.toLowerCase(), character.toUpperCase()]);
  // Two letters of ASCII have a third form beyond it.
  if (variants.has("s")) variants.add("ſ");
  if (variants.has("k")) variants.add("\u212a");
  return [...variants]
    .filter((variant) => Array.from(variant).length === 1)
    .map(literal)
    .join("");
}
