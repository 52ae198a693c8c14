/** Templates: a text with blanks anywhere in it, each of a length that is given or found. */

import { ensure, plural, shown } from "../../errors.ts";
import { requireNothingElse, suggestion } from "../../names.ts";
import { requireWhole } from "../../numbers.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import type { Canvas } from "./canvas.ts";

/** A text with blanks to be filled in. */
export interface Template {
  /** The tokens around the blanks: one list more than there are blanks. */
  readonly pieces: readonly (readonly number[])[];
  /** Tokens of each blank; undefined: to be found. */
  readonly lengths: readonly (number | undefined)[];
  /** Longest blank that is tried where the length is to be found. */
  readonly longest: number;
}

/** As a caller gives it. */
export interface TemplateText {
  /** A text with `___` (three underscores or more) for each blank. */
  readonly fill: string;
  /** Tokens of each blank, in order, or "found": the length that the model is surest of. Default: all are found. */
  readonly lengths?: readonly (number | "found")[];
  /** Longest blank to try, in tokens, from 1 to 64. Default 12. */
  readonly longest?: number;
  /** A template has none: without this line `length` would pass as that of the lists of token ids, which a prompt may be too. Never given. */
  readonly length?: never;
}

/** What a template may have. */
export const templateFields: readonly string[] = ["fill", "lengths", "longest"];

const mostTokens = 4096;

/** A length that the model finds. */
const found = "found";

/** Errors: `bad_option` for a text without blanks, and lengths that do not fit them. */
export function readTemplate(given: TemplateText, tokenizer: Tokenizer): Template {
  const { fill, lengths, longest = 12, ...others } = given;
  requireNothingElse(others, "template", templateFields);
  ensure(typeof fill === "string", "bad_option", `template: fill must be a text, not ${shown(fill)}`);
  const texts = fill.split(/_{3,}/);
  const blanks = texts.length - 1;
  ensure(blanks > 0, "bad_option", "template: there is no blank in it: write ___ where something is to be filled in");
  ensure(lengths === undefined || (Array.isArray(lengths) && lengths.length === blanks), "bad_option", () => {
    return `template: it has ${plural(blanks, "blank")}, but lengths are ${shown(lengths)}`;
  });
  // A gap would be taken for a length that is to be found.
  for (const [i, given] of Array.from<unknown>(lengths ?? []).entries()) {
    const fits = given === found || (Number.isInteger(given) && Number(given) >= 1 && Number(given) <= mostTokens);
    ensure(fits, "bad_option", () => {
      const meant = typeof given === "string" ? suggestion(given, [found]) : "";
      return `template: lengths[${i}] must be a whole number from 1 to ${mostTokens}, or "found", not ${shown(given)}${meant}`;
    });
  }
  requireWhole({ "template: longest": longest }, 1, 64);
  return {
    pieces: texts.map((text, i) => {
      // A word's token begins with its space: one before a blank is the blank's own.
      const own = i < blanks ? text.replace(/ $/, "") : text;
      return tokenizer.encode(own, { special: i === 0 });
    }),
    lengths: Array.from({ length: blanks }, (_, i) => (lengths?.[i] === found ? undefined : (lengths?.[i] as number))),
    longest,
  };
}

/** The whole sequence, masks in its blanks. */
export function templateTokens(
  { pieces }: Template,
  lengths: readonly number[],
  maskToken: number,
): Int32Array<ArrayBuffer> {
  return Int32Array.from(
    pieces.flatMap((piece, i) =>
      i < lengths.length ? [...piece, ...new Array<number>(lengths[i]).fill(maskToken)] : piece,
    ),
  );
}

/** How the length of a blank was found. */
export interface FoundLength {
  /** Number of the blank, from 0. */
  readonly blank: number;
  /** Lengths that were tried, and the mean log-probability of what filled each. */
  readonly tried: number[];
  readonly scores: number[];
  readonly chosen: number;
  /** Passes of the model that this took. */
  readonly passes: number;
}

export interface Attempt {
  /** Log-probabilities of what was filled in. */
  readonly scores: readonly number[];
  readonly passes: number;
}

/**
 * Lengths that are not given, one blank after the other: every length is tried, all at once, the blanks behind it being a few tokens long,
 * and the one is taken whose tokens have the highest mean log-probability when they are filled in (the shortest among equals).
 * Attempts share their passes, of which the longest has the most. Each blank's is told to `onFound`. Errors: `context_full`.
 */
export async function chooseLengths(
  template: Template,
  { maskToken }: Canvas,
  contextLength: number,
  onFound: (found: FoundLength) => void,
  attempt: (tokens: Int32Array<ArrayBuffer>) => Promise<Attempt>,
): Promise<readonly number[]> {
  const guess = Math.min(4, template.longest);
  const lengths = template.lengths.map((length) => length ?? guess);
  const fixed = templateTokens(template, lengths, maskToken).length;
  ensure(fixed <= contextLength, "context_full", () => {
    return `template: ${fixed} tokens do not fit into the context of ${contextLength}`;
  });
  for (const [blank, given] of template.lengths.entries()) {
    if (given !== undefined) continue;
    const room = contextLength - fixed + lengths[blank];
    const tries = Array.from({ length: Math.min(template.longest, room) }, (_, i) => i + 1);
    const results = await Promise.all(
      tries.map(async (length) => {
        const { scores, passes } = await attempt(templateTokens(template, lengths.with(blank, length), maskToken));
        return { passes, mean: scores.reduce((sum, value) => sum + value, 0) / scores.length };
      }),
    );
    const means = results.map(({ mean }) => mean);
    const chosen = tries[means.indexOf(Math.max(...means))];
    lengths[blank] = chosen;
    const passes = Math.max(...results.map((result) => result.passes));
    onFound({ blank, tried: tries, scores: means, chosen, passes });
  }
  return lengths;
}
