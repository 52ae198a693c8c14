/** Decodes pictures under Node. */
import { createInflate } from "node:zlib";
import { VentrisError } from "../errors.ts";
import type { PictureHeader } from "./header.ts";

export interface Decoded {
  readonly width: number;
  readonly height: number;
  /** Red, green, blue and opacity from 0 to 255. */
  readonly rgba: Uint8Array;
}

/** "IDAT" */
const pixelChunk = 0x49444154;

type Decoder = typeof import("@cf-wasm/photon");
let decoder: Promise<Decoder> | undefined;

/** Errors: `unavailable` where the decoder is not installed. */
const findDecoder = (): Promise<Decoder> => {
  decoder ??= import("@cf-wasm/photon").catch((cause) => {
    decoder = undefined;
    throw new VentrisError("unavailable", "pictures need the package @cf-wasm/photon, which cannot be loaded", {
      cause,
    });
  });
  return decoder;
};

/** `refuse` is called with what the decoder says of a file that it cannot read. Errors: `unavailable`. */
export async function decodeFile(
  bytes: Uint8Array,
  header: PictureHeader,
  refuse: (cause: unknown) => never,
): Promise<Decoded> {
  if (header.format === "png") await requireFew(bytes, mostLines(header)).catch(refuse);
  const { PhotonImage } = await findDecoder();
  let decoded: InstanceType<Decoder["PhotonImage"]>;
  try {
    decoded = PhotonImage.new_from_byteslice(bytes);
  } catch (cause) {
    return refuse(cause);
  }
  try {
    return { width: decoded.get_width(), height: decoded.get_height(), rgba: decoded.get_raw_pixels() };
  } finally {
    decoded.free();
  }
}

/** What the lines of a PNG can be at most: four numbers of 16 bits a pixel, and a filter byte a line, of which interlaced ones have up to two a row. */
const mostLines = ({ width, height }: PictureHeader): number => 8 * width * height + 2 * height + 8;

/** The decoder passes over what comes after the last pixel, but inflates it, a thousand bytes from one. A few more are some writers' habit. */
async function requireFew(png: Uint8Array, most: number): Promise<void> {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  const inflate = createInflate();
  const counted = (async () => {
    let bytes = 0;
    for await (const piece of inflate) {
      bytes += (piece as Uint8Array).length;
      if (bytes > most + 2 ** 16) throw new Error(`its pixels inflate to more than ${most} bytes`);
    }
  })();
  for (let at = 8; at < png.length; at += 12 + view.getUint32(at))
    if (view.getUint32(at + 4) === pixelChunk) inflate.write(png.subarray(at + 8, at + 8 + view.getUint32(at)));
  inflate.end();
  await counted;
}
