/**
 * The `pre_tokenizer` section of tokenizer.json: steps that cut a normalised text into the pieces across which nothing merges. Each
 * does what the reference (Hugging Face tokenizers, in Rust) does, or is refused by name.
 */

import { isObject } from "../json.ts";
import { byteLevelWriting, forEachPreToken } from "./byte-level.ts";
import { type Behavior, behaviors, type Cut, cutAt } from "./cut.ts";
import { compilePattern, literalPattern } from "./pattern.ts";
import { cutAtScripts } from "./scripts.ts";
import { wordClass } from "./white-space.ts";

type Json = Record<string, unknown>;
type Fail = (message: string) => never;

export interface PreTokenizer {
  cut: Cut;
  /** The pieces are yet to be put into byte-level writing: left to the encoder, which remembers words. */
  writesBytes: boolean;
}

/** `steps` are the objects of the section in order. Errors (through `fail`): a step or an option of one that is not known. */
export function createPreTokenizer(steps: readonly Json[], origin: string, fail: Fail): PreTokenizer {
  const cuts = steps.map((step, index) => readStep(step, index === steps.length - 1, origin, fail));
  return {
    cut: cuts.length === 0 ? (piece, first, visit) => visit(piece, first) : cuts.reduceRight(after),
    writesBytes: steps.at(-1)?.type === "ByteLevel",
  };
}

/** `next` on every piece of `cut`. */
const after = (next: Cut, cut: Cut): Cut => {
  return (piece, first, visit) => cut(piece, first, (part, partFirst) => next(part, partFirst, visit));
};

function readStep(step: Json, last: boolean, origin: string, fail: Fail): Cut {
  const refuse = (what: string): never => fail(`pre_tokenizer: ${what} is not supported`);
  switch (step.type) {
    case "ByteLevel":
      return byteLevel(step, last);
    case "Split":
      return cutAt(
        readPattern(step.pattern, origin, () => refuse("a Split with this pattern")),
        readBehavior(step.behavior, () => refuse(`a Split with behaviour ${String(step.behavior)}`)),
        step.invert === true,
      );
    case "Digits":
      return cutAt(/\p{N}/gu, step.individual_digits === true ? "Isolated" : "Contiguous");
    case "Punctuation":
      return cutAt(
        punctuation,
        readBehavior(step.behavior ?? "Isolated", () => refuse(`Punctuation with behaviour ${String(step.behavior)}`)),
      );
    case "Whitespace":
      return cutAt(new RegExp(`[${wordClass}]+|[^${wordClass}\\p{White_Space}]+`, "gu"), "Removed", true);
    case "WhitespaceSplit":
      return cutAt(/\p{White_Space}/gu, "Removed");
    case "BertPreTokenizer":
      return after(cutAt(punctuation, "Isolated"), cutAt(/\p{White_Space}/gu, "Removed"));
    case "CharDelimiterSplit":
      return cutAt(literalPattern(oneCharacter(step.delimiter, () => refuse("this delimiter"))), "Removed");
    case "Metaspace":
      return metaspace(step, refuse);
    case "UnicodeScripts":
      return cutAtScripts;
    case "FixedLength":
      return fixedLength(step.length ?? 5, refuse);
    default:
      return refuse(`the step ${String(step.type)}`);
  }
}

const punctuation = /[!-/:-@[-`{-~]|\p{P}/gu;

/** Errors (through `refuse`): neither a string nor a regular expression. */
export function readPattern(pattern: unknown, origin: string, refuse: () => never): RegExp {
  const { String: text, Regex: expression } = isObject(pattern) ? pattern : {};
  if (typeof text === "string") return text === "" ? /(?!)/gu : literalPattern(text);
  return typeof expression === "string" ? compilePattern(expression, origin) : refuse();
}

function readBehavior(stated: unknown, refuse: () => never): Behavior {
  return behaviors.find((behavior) => behavior === stated) ?? refuse();
}

function oneCharacter(value: unknown, refuse: () => never): string {
  return typeof value === "string" && Array.from(value).length === 1 ? value : refuse();
}

/** The pieces of a last step are left as text: the encoder puts them into byte-level writing, and remembers words. */
function byteLevel({ add_prefix_space, use_regex }: Json, last: boolean): Cut {
  return (piece, first, visit) => {
    const spaced = add_prefix_space === true && !piece.startsWith(" ") ? ` ${piece}` : piece;
    let atStart = first;
    const write = (word: string) => {
      visit(last ? word : byteLevelWriting(word), atStart);
      atStart = false;
    };
    if (use_regex === false) write(spaced);
    else forEachPreToken(spaced, write);
  };
}

function metaspace(step: Json, refuse: (what: string) => never): Cut {
  const replacement = oneCharacter(step.replacement, () => refuse("a Metaspace with this replacement"));
  const scheme = step.prepend_scheme ?? (step.add_prefix_space === false ? "never" : "always");
  if (!["always", "first", "never"].includes(scheme as string))
    refuse(`a Metaspace with prepend_scheme ${String(scheme)}`);
  if (step.add_prefix_space === false && scheme !== "never")
    refuse(`a Metaspace with add_prefix_space false and prepend_scheme ${scheme}`);
  const words = step.split === false ? undefined : cutAt(literalPattern(replacement), "MergedWithNext");
  return (piece, first, visit) => {
    const replaced = piece.replaceAll(" ", replacement);
    const prepends = (scheme === "always" || (scheme === "first" && first)) && !replaced.startsWith(replacement);
    const whole = prepends ? replacement + replaced : replaced;
    if (words) words(whole, first, visit);
    else visit(whole, first);
  };
}

function fixedLength(length: unknown, refuse: (what: string) => never): Cut {
  if (!Number.isSafeInteger(length) || (length as number) < 1) refuse(`a FixedLength of ${String(length)}`);
  return cutAt(new RegExp(`[\\s\\S]{1,${length}}`, "gu"), "Isolated");
}
