/** Bytes as text (RFC 4648), on any platform. */

export function toBase64(bytes: Uint8Array): string {
  let characters = "";
  // A call takes only so many arguments.
  for (let at = 0; at < bytes.length; at += 2 ** 13)
    characters += String.fromCharCode(...bytes.subarray(at, at + 2 ** 13));
  return btoa(characters);
}

/** Undefined: it is no such text. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return undefined;
  }
}
