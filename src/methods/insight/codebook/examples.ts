/** Places where a code fires, as pieces of text for readers: what fired apart from what stands around it. */
import { ensure } from "../../../errors.ts";
import { requireWithin } from "../../../numbers.ts";
import type { CachedText, CodeCache } from "./search.ts";

export interface TextPiece {
  readonly text: string;
  readonly fired: boolean;
}

export interface CodeExample {
  /** Number of the text among those of the cache. */
  readonly document: number;
  readonly pieces: readonly TextPiece[];
}

export interface ExampleOptions {
  /** Examples at most, of different texts as far as there are. Default 5. */
  readonly limit?: number;
  /** Tokens on both sides. Default 12. */
  readonly around?: number;
}

/** Of tokens (places among all, rising): windows around some of them, in which every one of them is marked. Errors: `bad_option` for a place that no text has. */
export function codeExamples(
  { texts }: Pick<CodeCache, "texts">,
  tokens: readonly number[],
  { limit = 5, around = 12 }: ExampleOptions = {},
): CodeExample[] {
  requireWithin({ limit, around }, 0);
  const count = texts.reduce((sum, { ids }) => sum + ids.length, 0);
  const strange = tokens.find((place) => !(Number.isInteger(place) && place >= 0 && place < count));
  ensure(strange === undefined, "bad_option", () => `the texts have ${count} tokens: ${strange} is none`);
  const fired = new Set(tokens);
  const found: { document: number; at: number }[] = [];
  let document = 0;
  for (const place of tokens) {
    while (document + 1 < texts.length && texts[document + 1].from <= place) document++;
    const before = found.at(-1);
    const near = before?.document === document && place - texts[document].from - before.at <= 2 * around;
    if (!near) found.push({ document, at: place - texts[document].from });
  }
  const seen = new Map<number, number>();
  const ranked = found
    .map((one) => {
      const turn = seen.get(one.document) ?? 0;
      seen.set(one.document, turn + 1);
      return { ...one, turn };
    })
    .sort((a, b) => a.turn - b.turn);
  return ranked
    .slice(0, limit)
    .map((one) => ({ document: one.document, pieces: piecesOf(texts[one.document], one.at, around, fired) }));
}

function piecesOf(text: CachedText, at: number, around: number, fired: ReadonlySet<number>): TextPiece[] {
  const [from, to] = [Math.max(0, at - around), Math.min(text.ids.length, at + around + 1)];
  const pieces: { text: string; fired: boolean }[] = [];
  for (let token = from; token < to; token++) {
    const own = text.text.slice(token === 0 ? 0 : text.ends[token - 1], text.ends[token]);
    const mark = fired.has(text.from + token);
    const last = pieces.at(-1);
    if (last && last.fired === mark) last.text += own;
    else pieces.push({ text: own, fired: mark });
  }
  return pieces;
}
