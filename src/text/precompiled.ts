/**
 * SentencePiece's compiled normalisation (`precompiled_charsmap`): a double-array trie (Aoe 1989, as in Darts) from sequences of bytes
 * to places in a table of replacements. Little-endian: u32 bytes of the trie, the trie, then replacements that end in a zero byte.
 */
import { fromBase64 } from "../base64.ts";

/** Errors: through `refuse` for a map that is not sound. */
export function createPrecompiled(base64: string, refuse: () => never): (text: string) => string {
  const bytes = fromBase64(base64) ?? refuse();
  if (bytes.length < 4) return bytes.length === 0 ? (text) => text : refuse();
  const view = new DataView(bytes.buffer);
  const size = view.getUint32(0, true);
  if (size % 4 !== 0 || 4 + size > bytes.length) return refuse();
  const units = new Uint32Array(bytes.slice(4, 4 + size).buffer);
  const table = bytes.subarray(4 + size);
  if (units.length === 0) return refuse();

  /** Where the shortest entry that `key` begins with has its replacement; undefined when there is none. */
  const find = (key: Uint8Array): number | undefined => {
    let node = offsetOf(units[0]);
    for (const byte of key) {
      if (byte === 0) break;
      node ^= byte;
      const unit = units[node] ?? 0;
      // The label of a unit says by which byte it is reached.
      if ((unit & 0x800000ff) >>> 0 !== byte) return undefined;
      node ^= offsetOf(unit);
      if ((unit >>> 8) & 1) return (units[node] ?? 0) & 0x7fffffff;
    }
    return undefined;
  };
  const replacement = (part: string): string | undefined => {
    const start = find(utf8.encode(part));
    if (start === undefined || start >= table.length) return undefined;
    const end = table.indexOf(0, start);
    return new TextDecoder().decode(table.subarray(start, end < 0 ? table.length : end));
  };

  return (text) => {
    let result = "";
    for (const { segment } of graphemes.segment(text)) {
      const whole = utf8.encode(segment).length < 6 ? replacement(segment) : undefined;
      result += whole ?? Array.from(segment, (character) => replacement(character) ?? character).join("");
    }
    return result;
  };
}

const utf8 = new TextEncoder();
const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });

const offsetOf = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6);
