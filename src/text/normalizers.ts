/**
 * The `normalizer` section of tokenizer.json: what is done to a text before it is cut. Each step does what the reference (Hugging Face
 * tokenizers, in Rust) does, character by character, or is refused by name.
 */
import { byteLevelWriting } from "./byte-level.ts";
import { forEachMatch } from "./pattern.ts";
import { readPattern } from "./pre-tokenizers.ts";
import { createPrecompiled } from "./precompiled.ts";
import { trimEnd, trimStart } from "./white-space.ts";

type Json = Record<string, unknown>;
type Fail = (message: string) => never;
type Rewrite = (text: string) => string;

export interface Normalizer extends Rewrite {
  /** The first character is gone, not changed: then what comes out does not begin where the text does. */
  dropsStart(text: string): boolean;
}

/** `steps` are the objects of the section in order. Errors (through `fail`): a step or an option of one that is not known. */
export function createNormalizer(steps: readonly Json[], origin: string, fail: Fail): Normalizer {
  const normalizers = steps.map((step) =>
    readStep(step, origin, (what) => fail(`normalizer: ${what} is not supported`)),
  );
  const dropsStart = (text: string): boolean => {
    let rest = text;
    return normalizers.some((normalize) => {
      const first = String.fromCodePoint(rest.codePointAt(0) ?? 0);
      const drops = rest !== "" && normalize(first) === "";
      rest = normalize(rest);
      return drops;
    });
  };
  return Object.assign((text: string) => normalizers.reduce((result, normalize) => normalize(result), text), {
    dropsStart,
  });
}

function readStep(step: Json, origin: string, refuse: (what: string) => never): Rewrite {
  switch (step.type) {
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD": {
      const form = step.type;
      return (text) => text.normalize(form);
    }
    case "Lowercase":
      return lowercase;
    case "Strip":
      return (text) => {
        const started = step.strip_left === false ? text : trimStart(text);
        return step.strip_right === false ? started : trimEnd(started);
      };
    case "StripAccents":
      return (text) => text.replace(/\p{M}/gu, "");
    case "Prepend": {
      const { prepend } = step;
      if (typeof prepend !== "string") return refuse("a Prepend without its text");
      return (text) => (text === "" ? "" : prepend + text);
    }
    case "Replace": {
      const pattern = readPattern(step.pattern, origin, () => refuse("a Replace with this pattern"));
      const { content } = step;
      return typeof content === "string"
        ? (text) => replaceAll(text, pattern, content)
        : refuse("a Replace without content");
    }
    case "ByteLevel":
      return byteLevelWriting;
    case "BertNormalizer":
      return bert(step);
    case "Nmt":
      return nmt;
    case "Precompiled":
      return typeof step.precompiled_charsmap === "string"
        ? createPrecompiled(step.precompiled_charsmap, () => refuse("this precompiled_charsmap"))
        : refuse("a Precompiled without precompiled_charsmap");
    default:
      return refuse(`the step ${String(step.type)}`);
  }
}

/** `content` is put in as it is: it has no places for what was found. */
export function replaceAll(text: string, pattern: RegExp, content: string): string {
  let result = "";
  let end = 0;
  forEachMatch(pattern, text, (from, to) => {
    result += text.slice(end, from) + content;
    end = to;
  });
  return result + text.slice(end);
}

/** Every character on its own: at the end of a word, JavaScript would write a sigma in its final form. */
function lowercase(text: string): string {
  const lower = text.toLowerCase();
  return /\u03a3/.test(text) ? Array.from(text, (character) => character.toLowerCase()).join("") : lower;
}

function bert({ clean_text, handle_chinese_chars, strip_accents, lowercase: lowers }: Json): Rewrite {
  return (text) => {
    let result = text;
    if (clean_text !== false) {
      result = result.replace(/[\0\ufffd]|(?![\t\n\r])\p{C}/gu, "").replace(/\p{White_Space}/gu, " ");
    }
    if (handle_chinese_chars !== false) result = result.replace(chinese, " $& ");
    if (strip_accents === true || (typeof strip_accents !== "boolean" && lowers !== false)) {
      result = result.normalize("NFD").replace(/\p{Mn}/gu, "");
    }
    return lowers === false ? result : lowercase(result);
  };
}

const chinese =
  /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu;

/** SentencePiece's own cleaning: control characters vanish, unusual spaces become one. */
function nmt(text: string): string {
  return (
    text
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is removed
      .replace(/[\u0001-\u0008\u000b\u000e-\u001f\u007f\u008f\u009f]/g, "")
      .replace(/[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]/g, " ")
  );
}
