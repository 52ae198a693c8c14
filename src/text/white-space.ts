/** White space as Unicode and Rust's `char::is_whitespace` define it: U+0085 is some, U+FEFF is none; JavaScript's `\s` and `trim` say otherwise. */

const isSpace = /\p{White_Space}/u;

/** Where the white space that begins at `start` ends. No such character takes two units. */
export function endOfSpace(text: string, start = 0): number {
  let end = start;
  while (end < text.length && isSpace.test(text[end])) end++;
  return end;
}

export const trimStart = (text: string): string => text.slice(endOfSpace(text));

export function trimEnd(text: string): string {
  let end = text.length;
  while (end > 0 && isSpace.test(text[end - 1])) end--;
  return text.slice(0, end);
}

/** For character classes: what Rust's regular expressions call `\w`. */
export const wordClass = String.raw`\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}`;
