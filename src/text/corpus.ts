/** Encoding of whole text collections, as training data is prepared. */
import { ensure, VentrisError } from "../errors.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface EncodedCorpus {
  /** Ids of all texts one after the other; 16 bits wide where the vocabulary allows it. */
  ids: Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;
  texts: number;
  /** UTF-16 units of all texts. */
  characters: number;
}

/**
 * Encodes texts one after the other, each between the tokenizer's begin and end token unless `begin` or `end` is false.
 * Memory: four times the ids at worst, while the buffer doubles. Errors: `bad_option` for an end or begin token that the
 * tokenizer does not have, `aborted`.
 */
export async function encodeCorpus(
  tokenizer: Tokenizer,
  texts: AsyncIterable<string> | Iterable<string>,
  options: {
    begin?: boolean;
    end?: boolean;
    onProgress?: (progress: { texts: number; characters: number }) => void;
    signal?: AbortSignal;
  } = {},
): Promise<EncodedCorpus> {
  const { begin = true, end = true, onProgress, signal } = options;
  const before = begin ? [required(tokenizer.beginToken, "begin")] : [];
  const after = end ? [required(tokenizer.endTokens[0], "end")] : [];
  const allocate = (length: number) =>
    tokenizer.vocabularySize <= 2 ** 16 ? new Uint16Array(length) : new Uint32Array(length);
  let buffer = allocate(1 << 16);
  let length = 0;
  let count = 0;
  let characters = 0;
  const append = (ids: readonly number[]) => {
    if (length + ids.length > buffer.length) {
      const larger = allocate(Math.max(2 * buffer.length, length + ids.length));
      larger.set(buffer.subarray(0, length));
      buffer = larger;
    }
    buffer.set(ids, length);
    length += ids.length;
  };
  for await (const text of texts) {
    if (signal?.aborted) throw new VentrisError("aborted", "encoding the texts was aborted", { cause: signal.reason });
    append(before);
    append(tokenizer.encode(text, { special: false }));
    append(after);
    count++;
    characters += text.length;
    onProgress?.({ texts: count, characters });
  }
  return { ids: buffer.slice(0, length), texts: count, characters };
}

function required(id: number | undefined, name: string): number {
  ensure(id !== undefined, "bad_option", `the tokenizer has no ${name} token: say ${name}: false`);
  return id;
}
