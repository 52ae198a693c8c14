/** Text from token ids as they arrive. */
import { requireFlags, requireObject, requireOptions } from "../errors.ts";
import { requireNothingElse } from "../names.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Ids one by one into text, whose pieces never end within a character. */
export interface Detokenizer {
  /** Text that this id completes: possibly empty, never part of a character, no U+FFFD for an unfinished one. */
  push(id: number): string;
  /** What remains at the end (U+FFFD for a character that was never finished); then ready for another text. */
  flush(): string;
}

/**
 * The pieces of `push` and the final `flush` together equal `tokenizer.decode(ids, { continued })`. Say `continued` when
 * the ids go on from a prompt, so that a leading space stays.
 */
export function createDetokenizer(
  tokenizer: Tokenizer,
  options: {
    /** The ids go on from a prompt: a leading space stays. Default: false. */
    continued?: boolean;
  } = {},
): Detokenizer {
  requireObject(tokenizer, "createDetokenizer", "the tokenizer");
  requireOptions(options, "createDetokenizer");
  const { continued, ...others } = options;
  requireNothingElse(others, "createDetokenizer", ["continued"]);
  requireFlags({ continued }, "createDetokenizer");
  const decoder = createByteDecoder(tokenizer.dropsLeadingSpace === true && !continued);
  return { push: (id) => decoder.push(tokenizer.tokenBytes(id)), flush: decoder.flush };
}

/** UTF-8 decoding across piece borders; `dropSpace` removes one space at the very start. */
export function createByteDecoder(dropSpace: boolean): { push(bytes: Uint8Array): string; flush(): string } {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let atStart = true;
  return {
    push(bytes) {
      if (bytes.length === 0) return "";
      const drop = atStart && dropSpace && bytes[0] === 0x20;
      atStart = false;
      return decoder.decode(drop ? bytes.subarray(1) : bytes, { stream: true });
    },
    flush() {
      atStart = true;
      return decoder.decode();
    },
  };
}
