/** What the first bytes of a picture file say of it, read before anything is decoded: a file can claim to be larger than any memory. */
import { ensure, VentrisError } from "../errors.ts";

export const pictureFormats = ["png", "jpeg", "webp", "gif"] as const;
export type PictureFormat = (typeof pictureFormats)[number];

export interface PictureHeader {
  readonly format: PictureFormat;
  readonly width: number;
  readonly height: number;
}

/** "Adob", of "Adobe". */
const adobeName = 0x41646f62;

export const ascii = (bytes: Uint8Array, from: number, length: number): string =>
  String.fromCharCode(...bytes.subarray(from, from + length));

/** Errors: `bad_file` for what is no picture of a known format, or ends before its size is said. */
export function pictureHeader(bytes: Uint8Array, name: string): PictureHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    if (bytes[0] === 0x89 && ascii(bytes, 1, 7) === "PNG\r\n\x1a\n") {
      ensure(ascii(bytes, 12, 4) === "IHDR", "bad_file", `${name}: a PNG file that does not begin with its header`);
      return { format: "png", width: view.getUint32(16), height: view.getUint32(20) };
    }
    if (/^GIF8[79]a$/.test(ascii(bytes, 0, 6))) return gifHeader(bytes, view, name);
    if (ascii(bytes, 0, 4) === "RIFF" && ascii(bytes, 8, 4) === "WEBP") return webpHeader(bytes, view, name);
    if (bytes[0] === 0xff && bytes[1] === 0xd8) return jpegHeader(view, name);
  } catch (error) {
    if (error instanceof RangeError)
      throw new VentrisError("bad_file", `${name}: the file ends before it says how large the picture is`);
    throw error;
  }
  const shown =
    bytes.length === 0
      ? "it is empty"
      : `it begins with the bytes ${[...bytes.subarray(0, 4)].map((b) => b.toString(16).padStart(2, "0")).join(" ")}`;
  throw new VentrisError("bad_file", `${name} is no PNG, JPEG, WebP or GIF picture: ${shown}`);
}

/** Bytes of the table of colours that a GIF's flags announce. */
export const gifTable = (flags: number): number => (flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0);

/** The larger of the screen that a GIF asks for and its first frame, either of which is allocated. */
function gifHeader(bytes: Uint8Array, view: DataView, name: string): PictureHeader {
  let [width, height] = [view.getUint16(6, true), view.getUint16(8, true)];
  let at = 13 + gifTable(view.getUint8(10));
  for (;;) {
    const kind = view.getUint8(at);
    if (kind === 0x2c) {
      width = Math.max(width, view.getUint16(at + 1, true) + view.getUint16(at + 5, true));
      height = Math.max(height, view.getUint16(at + 3, true) + view.getUint16(at + 7, true));
      return { format: "gif", width, height };
    }
    ensure(kind === 0x21, "bad_file", `${name}: a GIF file without a frame`);
    at += 2;
    while (view.getUint8(at) > 0) at += 1 + bytes[at];
    at += 1;
  }
}

function webpHeader(bytes: Uint8Array, view: DataView, name: string): PictureHeader {
  const kind = ascii(bytes, 12, 4);
  const small = (at: number): number => view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
  if (kind === "VP8X") return { format: "webp", width: small(24) + 1, height: small(27) + 1 };
  ensure(kind === "VP8 " || kind === "VP8L", "bad_file", `${name}: a WebP file of an unknown kind`);
  return { format: "webp", ...webpSize(kind, view, 12) };
}

/** Of coded pixels, whose chunk begins at a place. */
export function webpSize(kind: "VP8 " | "VP8L", view: DataView, at: number): { width: number; height: number } {
  if (kind === "VP8 ")
    return { width: view.getUint16(at + 14, true) & 0x3fff, height: view.getUint16(at + 16, true) & 0x3fff };
  const bits = view.getUint32(at + 9, true);
  return { width: (bits & 0x3fff) + 1, height: ((bits >> 14) & 0x3fff) + 1 };
}

/** The first frame header that is met, whatever the coding. Errors: `bad_file` for four inks of which nobody says how they are stored. */
function jpegHeader(view: DataView, name: string): PictureHeader {
  let at = 2;
  let adobe = false;
  for (;;) {
    ensure(view.getUint8(at) === 0xff, "bad_file", `${name}: a JPEG file whose segments do not follow each other`);
    const marker = view.getUint8(at + 1);
    if (marker === 0xff) at += 1;
    else if (marker >= 0xd0 && marker <= 0xd9) at += 2;
    else if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      // Adobe's programs store inks upside down and say so; others store them either way, and colours read the wrong way are another picture.
      ensure(adobe || view.getUint8(at + 9) !== 4, "bad_file", () => {
        return `${name}: a JPEG file in the four inks of print that does not say how they are stored (it has no Adobe segment): save it in red, green and blue`;
      });
      return { format: "jpeg", height: view.getUint16(at + 5), width: view.getUint16(at + 7) };
    } else {
      const length = view.getUint16(at + 2);
      adobe ||= marker === 0xee && length >= 14 && view.getUint32(at + 4) === adobeName;
      ensure(length >= 2, "bad_file", `${name}: a JPEG file with a segment of ${length} bytes`);
      at += 2 + length;
    }
  }
}
