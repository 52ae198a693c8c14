/**
 * What all byte-level tokenizers share (Radford et al. 2019, GPT-2's encoder.py): every byte is written as one printable
 * character, so that a vocabulary of arbitrary byte strings can live in JSON, and text is first cut into pre-tokens
 * across which no merge happens.
 */

/** Character that stands for each byte: printable Latin-1 stands for itself, the other 68 bytes move up from U+0100. */
export const byteCharacters: readonly string[] = (() => {
  const printable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  let moved = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : moved++));
})();

const bytesByCharacter = new Map(byteCharacters.map((character, byte) => [character, byte]));

/** Bytes of a vocabulary entry in byte-level writing; undefined when a character of it stands for no byte. */
export function bytesOfToken(token: string): Uint8Array | undefined {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = bytesByCharacter.get(token[i]);
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}

/** A text in byte-level writing: one character for each byte of its UTF-8. */
export function byteLevelWriting(text: string): string {
  return Array.from(utf8.encode(text), (byte) => byteCharacters[byte]).join("");
}

const utf8 = new TextEncoder();

/**
 * GPT-2's pre-token pattern, with white space as Unicode has it. Its alternatives cover every character, so consecutive matches leave
 * no gap.
 */
const gpt2Pattern =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/** Cuts a text into pre-tokens; together they are the text. */
export function forEachPreToken(text: string, visit: (word: string) => void): void {
  const pattern = new RegExp(gpt2Pattern);
  // `test` with a moving lastIndex makes no match objects: half the time of matchAll.
  for (let start = 0; pattern.test(text); start = pattern.lastIndex) visit(text.slice(start, pattern.lastIndex));
}
