/**
 * A picture file with nothing but what its pixels are made of. Profiles, texts, thumbnails and what cameras note may be compressed a thousandfold or
 * lead a decoder elsewhere, and none of it is seen: it is left out before anything is decoded, and what the file says of its own length is checked.
 */
import { joinBytes } from "../bytes.ts";
import { ensure, VentrisError } from "../errors.ts";
import { ascii, gifTable, type PictureHeader, webpSize } from "./header.ts";

/** Errors: `bad_file` for a file that ends within one of its pieces, or has pieces that nobody may pass over. */
export function pixelsOnly(bytes: Uint8Array, header: PictureHeader, name: string): Uint8Array {
  const { format } = header;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    if (format === "png") return pngPixels(bytes, view, name);
    if (format === "webp") return webpPixels(bytes, view, header, name);
    return format === "gif" ? gifPixels(bytes, view) : jpegPixels(bytes, view, name);
  } catch (error) {
    if (error instanceof RangeError) throw cutOff(format, name);
    throw error;
  }
}

const cutOff = (format: string, name: string) =>
  new VentrisError("bad_file", `${name}: a ${format.toUpperCase()} file that is damaged, cut off: it ends too early`);

/** The bytes from one place to another. Errors: `RangeError` where there are fewer. */
function piece(bytes: Uint8Array, from: number, to: number): Uint8Array {
  if (to > bytes.length) throw new RangeError(`${to} of ${bytes.length} bytes`);
  return bytes.subarray(from, to);
}

const pngPieces = ["IHDR", "PLTE", "tRNS", "IDAT", "IEND"];

function pngPixels(bytes: Uint8Array, view: DataView, name: string): Uint8Array {
  const kept = [bytes.subarray(0, 8)];
  for (let at = 8; ; ) {
    const end = at + 12 + view.getUint32(at);
    const kind = ascii(bytes, at + 4, 4);
    const whole = piece(bytes, at, end);
    // The case of the first letter says whether a reader may pass it over.
    ensure(pngPieces.includes(kind) || !/^[A-Z]/.test(kind), "bad_file", () => {
      return `${name}: a PNG file that is damaged, or of a kind that is not supported (it needs a chunk ${JSON.stringify(kind)})`;
    });
    if (pngPieces.includes(kind)) kept.push(whole);
    if (kind === "IEND") return joinBytes(kept);
    at = end;
  }
}

const webpPieces = ["VP8X", "VP8 ", "VP8L", "ALPH", "ANIM", "ANMF"];
/** In the flags of an extended WebP file: a colour profile, and what cameras and editors note. */
const webpNotes = 0x20 | 0x08 | 0x04;

function webpPixels(bytes: Uint8Array, view: DataView, header: PictureHeader, name: string): Uint8Array {
  const end = 8 + view.getUint32(4, true);
  const all = piece(bytes, 0, end);
  const kept: Uint8Array[] = [];
  for (const { kind, at, to } of webpChunks(all, view, 12)) {
    const whole = piece(all, at, to).slice();
    requireWithin(kind, view, at, header, name);
    if (kind === "VP8X") whole[8] &= ~webpNotes;
    // A frame of an animation: its place and size, then pieces of its own.
    if (kind === "ANMF")
      for (const inner of webpChunks(piece(bytes, 0, to), view, at + 24))
        requireWithin(inner.kind, view, inner.at, header, name);
    if (webpPieces.includes(kind)) kept.push(whole, new Uint8Array((to - at) % 2));
  }
  const body = joinBytes(kept);
  const head = bytes.slice(0, 12);
  new DataView(head.buffer).setUint32(4, 4 + body.length, true);
  return joinBytes([head, body]);
}

/** Those of even length follow each other; odd ones are filled up. */
function* webpChunks(bytes: Uint8Array, view: DataView, from: number) {
  for (let at = from; at < bytes.length; ) {
    const to = at + 8 + view.getUint32(at + 4, true);
    yield { kind: ascii(bytes, at, 4), at, to };
    at = to + ((to - at) % 2);
  }
}

/** Errors: `bad_file` for pixels that are more than the file's head says, for which memory would be taken. */
function requireWithin(kind: string, view: DataView, at: number, { width, height }: PictureHeader, name: string): void {
  if (kind !== "VP8 " && kind !== "VP8L") return;
  const sees = webpSize(kind, view, at);
  ensure(sees.width <= width && sees.height <= height, "bad_file", () => {
    return `${name}: a WebP file that is damaged: ${sees.width} x ${sees.height} pixels in a picture of ${width} x ${height}`;
  });
}

/** The header, its colours, what is transparent, and the first frame. */
function gifPixels(bytes: Uint8Array, view: DataView): Uint8Array {
  const table = (at: number): number => gifTable(view.getUint8(at));
  const afterBlocks = (from: number): number => {
    let at = from;
    while (view.getUint8(at) > 0) at += 1 + bytes[at];
    return at + 1;
  };
  let at = 13 + table(10);
  const kept = [piece(bytes, 0, at)];
  for (;;) {
    const isFrame = view.getUint8(at) === 0x2c;
    const end = afterBlocks(isFrame ? at + 11 + table(at + 9) : at + 2);
    if (isFrame || view.getUint8(at + 1) === 0xf9) kept.push(piece(bytes, at, end));
    at = end;
    if (isFrame) return joinBytes([...kept, Uint8Array.of(0x3b)]);
  }
}

/** Progressive pictures have about ten; every one more goes over all pixels, and costs a file few bytes. */
const mostScans = 100;

/** All segments but those of applications and comments; JFIF's and Adobe's say how colours are stored. */
function jpegPixels(bytes: Uint8Array, view: DataView, name: string): Uint8Array {
  const kept = [bytes.subarray(0, 2)];
  let scans = 0;
  for (let at = 2; at < bytes.length; ) {
    const marker = view.getUint8(at + 1);
    if (marker === 0xd9) return joinBytes([...kept, bytes.subarray(at, at + 2)]);
    if (marker === 0xff || (marker >= 0xd0 && marker <= 0xd8)) {
      at += marker === 0xff ? 1 : 2;
      continue;
    }
    let end = at + 2 + view.getUint16(at + 2);
    if (marker === 0xda) {
      scans += 1;
      ensure(scans <= mostScans, "bad_file", `${name}: a JPEG file of more than ${mostScans} scans`);
      end = nextMarker(bytes, end);
    }
    const isNote = (marker >= 0xe1 && marker <= 0xef && marker !== 0xee) || marker === 0xfe;
    if (!isNote) kept.push(piece(bytes, at, end));
    at = end;
  }
  return joinBytes(kept); // without its end, of which some cameras' files lack the two bytes
}

/** Where coded pixels end. */
function nextMarker(bytes: Uint8Array, from: number): number {
  for (let at = from; ; at += 2) {
    at = bytes.indexOf(0xff, at);
    if (at < 0 || at + 1 >= bytes.length) return bytes.length;
    const next = bytes[at + 1];
    if (next === 0xff) at -= 1;
    else if (next !== 0 && (next < 0xd0 || next > 0xd7)) return at;
  }
}
