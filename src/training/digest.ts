/** Names data by its contents: for what a training depends on (`basis`). */
import { storage } from "../files.ts";

/** SHA-256 of the pieces one after the other, in hexadecimal. */
export async function digestOf(...pieces: readonly (string | ArrayBufferView)[]): Promise<string> {
  const hash = (await storage()).hash("sha256");
  for (const piece of pieces)
    hash.update(typeof piece === "string" ? piece : new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength));
  return hash.hex();
}
