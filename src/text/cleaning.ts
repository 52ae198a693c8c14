/**
 * Cleaning of training texts: characters decoded twice are repaired, quotes, dashes and white space made uniform, and
 * boilerplate, contents, other languages and duplicates left out. Every step is a plain function of a text; `cleanTexts`
 * puts them in order and counts what each changed.
 */
import { ensure } from "../errors.ts";

export interface CleaningOptions {
  /** Keep only paragraphs of running prose: drops headings, contents, word lists, verse in short lines. Default false. */
  proseOnly?: boolean;
  /** Split a text where a new story begins ("Once upon a time" at the start of a line). Default false. */
  splitStories?: boolean;
  /** Give a lower-cased text its capitals back; needs the names that are always written with one: see `collectNames`. */
  names?: ReadonlySet<string>;
  /** Shortest text that is kept, in characters. Default 1. */
  minimumCharacters?: number;
  /** Texts seen so far: give one set to several calls and what is twice in any of them is kept once. */
  seen?: SeenTexts;
}

/** What cleaning did, in texts unless it says otherwise. */
export interface CleaningReport {
  read: number;
  kept: number;
  charactersRead: number;
  charactersKept: number;
  /** Texts in which characters decoded twice were repaired. */
  repaired: number;
  /** Texts whose quotes, dashes or white space changed. */
  normalised: number;
  /** Texts that lost boilerplate or paragraphs that are no prose. */
  trimmed: number;
  /** Texts left out. */
  short: number;
  foreign: number;
  damaged: number;
  duplicates: number;
}

export const emptyReport = (): CleaningReport => ({
  read: 0,
  kept: 0,
  charactersRead: 0,
  charactersKept: 0,
  repaired: 0,
  normalised: 0,
  trimmed: 0,
  short: 0,
  foreign: 0,
  damaged: 0,
  duplicates: 0,
});

/** The cleaned texts in order; `report` is filled in as they are read. Memory: one text and what `seen` holds. */
export async function* cleanTexts(
  texts: AsyncIterable<string> | Iterable<string>,
  options: CleaningOptions = {},
  report: CleaningReport = emptyReport(),
): AsyncGenerator<string> {
  const { proseOnly = false, splitStories = false, names, minimumCharacters = 1, seen } = options;
  ensure(
    minimumCharacters >= 1,
    "bad_option",
    `cleaning: minimumCharacters is ${minimumCharacters} and must be 1 or more`,
  );
  for await (const raw of texts) {
    report.charactersRead += raw.length;
    const repaired = repairDoubleDecoding(raw);
    const normal = normaliseCharacters(repaired);
    if (repaired !== raw) report.repaired++;
    if (normal !== repaired) report.normalised++;
    for (const story of splitStories ? splitAtOpenings(normal) : [normal]) {
      report.read++;
      const body = withoutBoilerplate(story);
      const prose = proseOnly ? prosePart(body) : body;
      if (prose !== story) report.trimmed++;
      const text = names ? restoreCase(prose, names) : prose;
      const fault = faultOf(text, minimumCharacters) ?? (seen?.add(text) === false ? "duplicates" : undefined);
      if (fault) {
        report[fault]++;
        continue;
      }
      report.kept++;
      report.charactersKept += text.length;
      yield text;
    }
  }
}

function faultOf(text: string, minimumCharacters: number): "short" | "damaged" | "foreign" | undefined {
  if (text.length < minimumCharacters) return "short";
  if (text.includes("\u{FFFD}")) return "damaged";
  return isEnglish(text) ? undefined : "foreign";
}

/** The characters that Windows-1252 has at the bytes 0x80 to 0x9F; the five free bytes stand for themselves. */
const windows1252 = "€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ";
const byteOf = new Map([
  ...Array.from({ length: 128 }, (_, i) => [String.fromCharCode(128 + i), 128 + i] as const), // ISO 8859-1
  ...Array.from(windows1252, (character, i) => [character, 128 + i] as const),
]);
const byteClass = `[${[...byteOf.keys()].join("")}]`;
const suspects = new RegExp(`[ÂÃâã]${byteClass}{0,2}`, "g");

/**
 * Bytes of UTF-8 that were read as Windows-1252, put right: "â€™" is an apostrophe, "Ã©" an é. Sources that were
 * lower-cased afterwards ("ã©"), and ones that lost the free byte of a closing quote ("â€"), are understood too. Letters
 * that stand for themselves ("château") stay as they are: a lone â is followed by no such byte.
 */
export function repairDoubleDecoding(text: string): string {
  if (!/[ÂÃâã]/.test(text)) return text;
  return text.replace(suspects, (found) => {
    const lead = found[0] === "ã" ? 0xc3 : found[0] === "â" ? 0xe2 : byteOf.get(found[0])!;
    const bytes = Array.from(found.slice(1), (character) => byteOf.get(character)!);
    const continued = bytes.findIndex((byte) => byte > 0xbf);
    const tail = continued < 0 ? bytes : bytes.slice(0, continued);
    const wanted = lead === 0xe2 ? 2 : 1;
    if (tail.length >= wanted) {
      const decoded = new TextDecoder().decode(Uint8Array.of(lead, ...tail.slice(0, wanted)));
      return decoded + found.slice(1 + wanted);
    }
    // E2 80 9D, whose last byte is free in Windows-1252, is where most programs lose a character.
    if (lead === 0xe2 && tail.length === 1 && tail[0] === 0x80) return `”${found.slice(2)}`;
    return found;
  });
}

const characterRules: readonly (readonly [RegExp, string])[] = [
  [/\r\n?|[\u0085\u2028\u2029\f\v]/g, "\n"],
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this removes
  [/[\u0000-\u0008\u000e-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2060\ufeff]/g, ""],
  [/[\p{Zs}\t]/gu, " "],
  [/[‘’‚‛′´`]/g, "'"],
  [/[“”„‟″«»]|''/g, '"'],
  [/[—―]/g, "--"],
  [/[‐‑‒–]/g, "-"],
  [/ *-{2,} */g, " - "],
  [/…/g, "..."],
  [/[•·]/g, "*"],
  [/ {2,}/g, " "],
  [/ *\n */g, "\n"],
  [/\n{3,}/g, "\n\n"],
];

/** Straight quotes, " - " for dashes, three full stops, single blanks, at most one blank line; composed letters (NFC). */
export function normaliseCharacters(text: string): string {
  return characterRules.reduce((result, [pattern, by]) => result.replace(pattern, by), text.normalize("NFC")).trim();
}

const openings = /\n+(?=(?:Once upon a time|Once there (?:was|were)|One day, there was)\b)/i;
/** Texts that were joined without a mark: a story that begins at the start of a line begins a text. */
export const splitAtOpenings = (text: string): string[] => text.split(openings).filter((story) => story.trim() !== "");

const boilerplateLine =
  /project gutenberg|produced by|transcriber|proofread|copyright|all rights reserved|isbn|https?:|www\.|creative commons|\billustrat(?:ion|ed by)\b|\[registered\]|^\s*(?:the end\.?|contents\.?|preface\.?|page \d+)\s*$/i;

/** Without lines of licence, production and contents, picture marks and headings' number signs. */
export function withoutBoilerplate(text: string): string {
  const lines = text.split("\n").filter((line) => !(line.length < 300 && boilerplateLine.test(line)));
  return lines
    .map((line) => line.replace(/^#+ *.*$/, "").replace(/\[[^\]\n]{0,80}\]|[_*]/g, ""))
    .join("\n")
    .replace(/ {2,}/g, " ")
    .replace(/\n{3,}/g, "\n\n")
    .trim();
}

/** Paragraphs of whole sentences, mostly in small letters; what else stands in a book is no story. */
export function prosePart(text: string): string {
  const paragraphs = text.split(/\n{2,}/).map((paragraph) => paragraph.trim());
  return paragraphs.filter(isProse).join("\n\n");
}

function isProse(paragraph: string): boolean {
  const words = paragraph.split(/\s+/).length;
  const letters = paragraph.replace(/[^\p{L}]/gu, "").length;
  const small = paragraph.replace(/[^\p{Ll}]/gu, "").length;
  const speech = /^["']/.test(paragraph);
  return (
    (speech || words >= 8) &&
    /[.!?]["')]*$/.test(paragraph) &&
    small >= 0.75 * letters &&
    letters >= 0.6 * paragraph.length
  );
}

/** A fifth of running English is these words, and hardly anything of other languages. */
const commonWords = new Set(
  "the and a to of in was he she it they that his her had with you for on said i is as at but not were be there one so him them all my me have this from up out when we then what who".split(
    " ",
  ),
);

/** True for a text of fewer than 20 words, or one in which every seventh word is among the commonest of English. */
export function isEnglish(text: string): boolean {
  const words =
    text
      .slice(0, 20_000)
      .toLowerCase()
      .match(/[\p{L}']+/gu) ?? [];
  if (words.length < 20) return true;
  let common = 0;
  for (const word of words) if (commonWords.has(word)) common++;
  return common * 7 >= words.length;
}

/**
 * Words that these texts write with a capital inside sentences, at least `minimum` times and at least nine times in ten,
 * in small letters: names.
 */
export async function collectNames(texts: AsyncIterable<string> | Iterable<string>, minimum = 3): Promise<Set<string>> {
  const counts = new Map<string, [capital: number, small: number]>();
  for await (const text of texts) {
    // The first word of a sentence or a speech says nothing.
    for (const [, word] of text.matchAll(/(?<=[\p{Ll},;] )(\p{L}[\p{L}']*)/gu)) {
      const small = word.toLowerCase();
      const count = counts.get(small) ?? [0, 0];
      count[word === small ? 1 : 0]++;
      counts.set(small, count);
    }
  }
  const names = new Set<string>();
  for (const [word, [capital, small]] of counts) if (capital >= minimum && capital >= 9 * small) names.add(word);
  return names;
}

/** After a question or cry in quotes these verbs go on with the sentence: "Why?" she asked. */
const speechVerbs =
  "said|asked|replied|shouted|cried|yelled|exclaimed|whispered|called|answered|laughed|screamed|thought|wondered|begged";
const sentenceStart = new RegExp(
  `(^|\\n|[.!?] +|\\." +|[!?]" +(?!(?:[\\p{L}']+ ){1,4}(?:${speechVerbs})\\b)|(?:^|[\\s,])")(\\p{Ll})`,
  "gu",
);

/**
 * Capitals at the beginning of sentences and speeches, for "I" and for names; names that the text itself gives ("named
 * lily") too.
 */
export function restoreCase(text: string, names: ReadonlySet<string>): string {
  const own = new Set(Array.from(text.matchAll(/\b(?:named|called) (\p{Ll}+)\b/gu), ([, name]) => name));
  const upper = (word: string): string => word[0].toUpperCase() + word.slice(1);
  return text
    .replace(/\p{L}[\p{L}']*/gu, (word) => {
      const stem = word.replace(/'(?:s|d|ll|m|ve|re)?$/u, "");
      return stem === "i" || names.has(stem) || (own.has(stem) && !commonWords.has(stem)) ? upper(word) : word;
    })
    .replace(sentenceStart, (_, before: string, letter: string) => before + letter.toUpperCase());
}

export interface SeenTexts {
  /** False when this text, or most of it, was there before; otherwise it is remembered. */
  add(text: string): boolean;
  readonly size: number;
}

/**
 * Remembers texts by their words in groups of eight, letters only: a text is a duplicate when half of its groups were seen
 * before, whatever its case, quotes and spacing. Memory: four bytes a word and the overhead of a set. A text without eight
 * words is compared whole.
 */
export function seenTexts(): SeenTexts {
  const groups = new Set<number>();
  return {
    get size() {
      return groups.size;
    },
    add(text) {
      const words = text.toLowerCase().match(/\p{L}+/gu) ?? [];
      const length = Math.min(8, Math.max(1, words.length));
      const own = new Set<number>();
      // Every fourth group is enough to tell, chosen by its own hash so that a shifted copy chooses the same.
      for (let i = 0; i + length <= words.length; i++) {
        const hash = hashWords(words, i, length);
        if (hash % 4 === 0 || words.length < 40) own.add(hash);
      }
      let known = 0;
      for (const hash of own) if (groups.has(hash)) known++;
      if (own.size > 0 && 2 * known >= own.size) return false;
      for (const hash of own) groups.add(hash);
      return true;
    },
  };
}

/** FNV-1a over the words' characters, 32 bits. */
function hashWords(words: readonly string[], from: number, count: number): number {
  let hash = 0x811c9dc5;
  for (let w = from; w < from + count; w++) {
    const word = words[w];
    for (let i = 0; i < word.length; i++) hash = Math.imul(hash ^ word.charCodeAt(i), 0x01000193);
    hash = Math.imul(hash ^ 32, 0x01000193);
  }
  return hash >>> 0;
}
