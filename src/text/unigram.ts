/** Unigram models (Kudo 2018; SentencePiece): the pieces of a text whose scores have the largest sum, found by Viterbi's algorithm. */
import { ensure } from "../errors.ts";
import { byteName } from "./bpe.ts";

export interface UnigramVocabulary {
  origin: string;
  /** [piece, log probability] by id. */
  vocab: readonly (readonly [string, number])[];
  unknownToken: number | undefined;
  byteFallback: boolean;
  /** Ids that no text may become. */
  reserved: ReadonlySet<number>;
}

/** An unknown character costs so much more than the rarest piece. */
const unknownPenalty = 10;

/** Errors (when called): `bad_file` for a character that cannot be written at all. */
export function createUnigramEncoder(vocabulary: UnigramVocabulary): (text: string, ids: number[]) => void {
  const { origin, vocab, unknownToken, byteFallback, reserved } = vocabulary;
  const idOf = new Map<string, number>();
  for (const [id, [piece]] of vocab.entries()) if (!reserved.has(id) || id === unknownToken) idOf.set(piece, id);
  /** Beginnings of pieces: where none goes on, no longer piece is looked for. */
  const beginnings = new Set<string>();
  for (const piece of idOf.keys()) for (let end = 1; end <= piece.length; end++) beginnings.add(piece.slice(0, end));
  const worst = vocab.reduce((least, [, score]) => Math.min(least, score), Infinity) - unknownPenalty;
  const utf8 = new TextEncoder();

  const append = (piece: string, ids: number[]) => {
    const id = idOf.get(piece);
    if (id !== undefined) return void ids.push(id);
    const bytes = byteFallback ? Array.from(utf8.encode(piece), (byte) => idOf.get(byteName(byte))) : [undefined];
    if (bytes.every((byte) => byte !== undefined)) return void ids.push(...bytes);
    ensure(unknownToken !== undefined, "bad_file", () => `${origin}: no token stands for "${piece}" of the text`);
    ids.push(unknownToken);
  };

  return (text, ids) => {
    const best = new Float64Array(text.length + 1).fill(-Infinity);
    const from = new Int32Array(text.length + 1);
    const known = new Uint8Array(text.length + 1);
    best[0] = 0;
    const reach = (start: number, end: number, score: number, isKnown: number) => {
      const sum = best[start] + score;
      if (sum > best[end]) [best[end], from[end], known[end]] = [sum, start, isKnown];
    };
    for (let start = 0; start < text.length; ) {
      const next = start + (text.codePointAt(start)! > 0xffff ? 2 : 1);
      let alone = false;
      for (let end = start + 1; end <= text.length; end++) {
        const piece = text.slice(start, end);
        if (!beginnings.has(piece)) break;
        const id = idOf.get(piece);
        if (id === undefined) continue;
        reach(start, end, vocab[id][1], id === unknownToken ? 0 : 1);
        alone ||= end === next;
      }
      if (!alone) reach(start, next, worst, 0);
      start = next;
    }
    const pieces: string[] = [];
    for (let end = text.length; end > 0; ) {
      let start = from[end];
      // Neighbouring characters that are unknown make one piece.
      if (known[end] === 0) while (start > 0 && known[start] === 0) start = from[start];
      pieces.push(text.slice(start, end));
      end = start;
    }
    for (const piece of pieces.reverse()) append(piece, ids);
  };
}
