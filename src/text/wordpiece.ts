/** WordPiece (Schuster and Nakajima 2012; BERT's tokenizer): of each word the longest piece that the vocabulary has, from left to right. */
import { ensure } from "../errors.ts";

export interface WordPieceVocabulary {
  /** For messages: the file. */
  origin: string;
  ids: ReadonlyMap<string, number>;
  /** Stands for a word that cannot be put together, and for one that is too long. */
  unknownToken: number | undefined;
  /** Marks pieces that go on a word: "##". */
  prefix: string;
  longestWord: number;
  /** Ids that no text may become. */
  reserved: ReadonlySet<number>;
}

/** Errors (when called): `bad_file` for a word that cannot be written at all. */
export function createWordPieceEncoder(vocabulary: WordPieceVocabulary): (word: string, ids: number[]) => void {
  const { origin, ids: all, unknownToken, prefix, longestWord, reserved } = vocabulary;
  const ids = new Map([...all].filter(([, id]) => !reserved.has(id)));
  /** Longer pieces need not be looked for. */
  const longest = [...ids.keys()].reduce((most, piece) => Math.max(most, piece.length), 0);

  function pieces(word: string): number[] | undefined {
    if (word.length > 2 * longestWord || Array.from(word).length > longestWord) return undefined;
    const found: number[] = [];
    for (let start = 0; start < word.length; ) {
      let end = Math.min(word.length, start + longest);
      let id: number | undefined;
      for (; end > start; end--) {
        id = ids.get(start === 0 ? word.slice(0, end) : prefix + word.slice(start, end));
        if (id !== undefined) break;
      }
      if (id === undefined) return undefined;
      found.push(id);
      start = end;
    }
    return found;
  }

  return (word, out) => {
    const found = pieces(word);
    if (found) for (const id of found) out.push(id);
    else {
      ensure(unknownToken !== undefined, "bad_file", () => `${origin}: no token stands for "${word}" of the text`);
      out.push(unknownToken);
    }
  };
}

/** What decoding takes out of a piece where it cleans up: spaces that English does not write. */
const cleanings: readonly (readonly [string, string])[] = [
  ...[" .", " ?", " !", " ,"].map((mark) => [mark, mark.slice(1)] as const),
  [" ' ", "'"],
  ...[" n't", " 'm"].map((ending) => [ending, ending.slice(1)] as const),
  [" do not", " don't"],
  ...[" 's", " 've", " 're"].map((ending) => [ending, ending.slice(1)] as const),
];

/** A piece as text: without its mark where it goes on a word, else after a space. */
export function wordPieceText(piece: string, prefix: string, cleanup: boolean): string {
  const text = prefix !== "" && piece.startsWith(prefix) ? piece.slice(prefix.length) : ` ${piece}`;
  return cleanup ? cleanings.reduce((cleaned, [from, to]) => cleaned.replaceAll(from, to), text) : text;
}
