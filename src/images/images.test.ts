/** Pictures from files: every format, what is damaged or claims too much, and how they are resized and normalised. */
import { deflateSync } from "node:zlib";
import { PhotonImage } from "@cf-wasm/photon";
import { describe, expect, test } from "vitest";
import { decodePicture, pictureHeader, preparationOf, prepared } from "./index.ts";
import { pixelsOnly } from "./pixels-only.ts";
import { resized } from "./resize.ts";

const crcTable = Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});
const crc = (bytes: Uint8Array): number => {
  let c = 0xffffffff;
  for (const byte of bytes) c = crcTable[(c ^ byte) & 0xff] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
};
const chunk = (type: string, data: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, crc(bytes.subarray(4, 8 + data.length)));
  return bytes;
};
/** A PNG file of scan lines as they are, each after its filter byte. */
function png(
  width: number,
  height: number,
  depth: number,
  colour: number,
  lines: Uint8Array,
  more: Uint8Array[] = [],
): Uint8Array {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([depth, colour, 0, 0, 0], 8);
  return Buffer.concat([
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10),
    chunk("IHDR", header),
    ...more,
    chunk("IDAT", deflateSync(lines)),
    chunk("IEND", new Uint8Array(0)),
  ]);
}
/** Red, then half transparent blue; below green, then nothing. */
const small = png(2, 2, 8, 6, Uint8Array.of(0, 255, 0, 0, 255, 0, 0, 255, 128, 0, 0, 200, 0, 255, 9, 9, 9, 0));
/** A GIF of one black and one white pixel; then a second frame. */
const gif = Uint8Array.of(
  ...new TextEncoder().encode("GIF89a"),
  2,
  0,
  1,
  0,
  0x80,
  0,
  0,
  0,
  0,
  0,
  255,
  255,
  255,
  0x2c,
  0,
  0,
  0,
  0,
  2,
  0,
  1,
  0,
  0,
  2,
  2,
  0x44,
  0x0a,
  0,
  0x2c,
  0,
  0,
  0,
  0,
  2,
  0,
  1,
  0,
  0,
  2,
  2,
  0x0c,
  0x0a,
  0,
  0x3b,
);

/** A JPEG of one plain block a component, written by hand: sequential, Huffman coded, quantised by 1. */
function plainJpeg(stored: readonly number[], adobe: boolean): Uint8Array {
  const segment = (marker: number, ...bytes: number[]) => {
    const length = bytes.length + 2;
    return [0xff, marker, length >> 8, length & 255, ...bytes];
  };
  // Codes of four bits for the categories 0 to 11 of the mean, and one of a bit that ends the block.
  const lengths = (at: number, count: number) => Array.from({ length: 16 }, (_, i) => (i === at - 1 ? count : 0));
  const categories = Array.from({ length: 12 }, (_, i) => i);
  let bits = "";
  for (const value of stored) {
    const mean = 8 * (value - 128);
    const category = mean === 0 ? 0 : Math.floor(Math.log2(Math.abs(mean))) + 1;
    bits += category.toString(2).padStart(4, "0");
    if (category > 0) bits += (mean > 0 ? mean : mean + 2 ** category - 1).toString(2).padStart(category, "0");
    bits += "0";
  }
  const padded = bits.padEnd(8 * Math.ceil(bits.length / 8), "1");
  const scan = Array.from({ length: padded.length / 8 }, (_, i) => Number.parseInt(padded.slice(8 * i, 8 * i + 8), 2));
  const parts = stored.map((_, i) => i + 1);
  return Uint8Array.of(
    ...[0xff, 0xd8],
    ...(adobe ? segment(0xee, ...new TextEncoder().encode("Adobe"), 0, 100, 0, 0, 0, 0, 0) : []),
    ...segment(0xdb, 0, ...new Array<number>(64).fill(1)),
    ...segment(0xc0, 8, 0, 8, 0, 8, stored.length, ...parts.flatMap((part) => [part, 0x11, 0])),
    ...segment(0xc4, 0x00, ...lengths(4, 12), ...categories),
    ...segment(0xc4, 0x10, ...lengths(1, 1), 0),
    ...segment(0xda, stored.length, ...parts.flatMap((part) => [part, 0]), 0, 63, 0),
    ...scan.flatMap((byte) => (byte === 0xff ? [0xff, 0] : [byte])),
    ...[0xff, 0xd9],
  );
}

describe("a file", () => {
  test("of PNG: what is transparent lies on white", async () => {
    const { width, height, pixels } = await decodePicture(small);
    expect([width, height]).toEqual([2, 2]);
    expect([...pixels]).toEqual([255, 0, 0, 127, 127, 255, 0, 200, 0, 255, 255, 255]);
  });
  test("of PNG with 16 bits, and grey ones", async () => {
    const deep = png(1, 1, 16, 2, Uint8Array.of(0, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00));
    expect([...(await decodePicture(deep)).pixels]).toEqual([255, 128, 0]);
    const grey = png(2, 1, 8, 0, Uint8Array.of(0, 7, 200));
    expect([...(await decodePicture(grey)).pixels]).toEqual([7, 7, 7, 200, 200, 200]);
  });
  test("of GIF: its first frame", async () => {
    const { width, height, pixels } = await decodePicture(gif);
    expect([width, height]).toEqual([2, 1]);
    expect([...pixels]).toEqual([0, 0, 0, 255, 255, 255]);
  });
  test("of JPEG and WebP, as the library writes them", async () => {
    const plain = new Uint8Array(4 * 16 * 16);
    for (let i = 0; i < 256; i++) plain.set([200, 60, 30, 255], 4 * i);
    const image = new PhotonImage(plain, 16, 16);
    for (const [format, bytes] of [
      ["jpeg", image.get_bytes_jpeg(95)],
      ["webp", image.get_bytes_webp()],
    ] as const) {
      expect(pictureHeader(bytes, "")).toEqual({ format, width: 16, height: 16 });
      const { pixels } = await decodePicture(bytes);
      expect(pixels.length).toBe(3 * 256);
      for (const [i, wanted] of [200, 60, 30].entries()) expect(Math.abs(pixels[3 * 100 + i] - wanted)).toBeLessThan(6);
      await expect(decodePicture(bytes.subarray(0, Math.floor(bytes.length / 2)), "half")).rejects.toThrow(
        /^half: a (JPEG|WEBP) file that is damaged, cut off/,
      );
    }
    image.free();
  });

  test("of JPEG in grey, and in the four inks of print as Adobe stores them, upside down", async () => {
    const colourOf = async (bytes: Uint8Array) => [...(await decodePicture(bytes)).pixels.slice(0, 3)];
    expect(await colourOf(plainJpeg([90], false))).toEqual([90, 90, 90]);
    expect(await colourOf(plainJpeg([200, 60, 30, 255], true))).toEqual([200, 60, 30]); // no black ink
    expect(await colourOf(plainJpeg([200, 60, 30, 0], true))).toEqual([0, 0, 0]); // nothing but it
  });

  const white = Uint8Array.of(0, 255, 255, 255);
  const iccp = Buffer.concat([Buffer.from("profile\0\0"), deflateSync(Buffer.alloc(2 ** 28))]);
  test("of PNG whose profile and texts inflate to gigabytes is seen without them", async () => {
    const before = process.resourceUsage().maxRSS;
    for (const kind of ["iCCP", "zTXt", "eXIf"]) {
      const { pixels } = await decodePicture(png(1, 1, 8, 2, white, [chunk(kind, iccp)]));
      expect([...pixels]).toEqual([255, 255, 255]);
    }
    expect(process.resourceUsage().maxRSS - before).toBeLessThan(100 * 2 ** 10); // kilobytes
  });
  test("of PNG keeps its palette and what is transparent in it", async () => {
    const more = [chunk("PLTE", Uint8Array.of(1, 2, 3, 9, 9, 9)), chunk("tRNS", Uint8Array.of(255, 0))];
    const { pixels } = await decodePicture(png(2, 1, 8, 3, Uint8Array.of(0, 0, 1), more));
    expect([...pixels]).toEqual([1, 2, 3, 255, 255, 255]);
  });
  const framed = (kind: string, data: Uint8Array) => {
    const head = Buffer.alloc(8);
    head.write(kind, 0, "latin1");
    head.writeUInt32LE(data.length, 4);
    return Buffer.concat([head, data, Buffer.alloc(data.length % 2)]);
  };
  const plainWebp = () => {
    const image = new PhotonImage(new Uint8Array(4 * 16).fill(255), 4, 4);
    const bytes = image.get_bytes_webp();
    image.free();
    return bytes;
  };
  /** An extended WebP of 4 x 4 that says that it has a profile and notes, and has them. */
  const notedWebp = (...more: Uint8Array[]) => {
    const head = Uint8Array.of(0x20 | 0x08 | 0x04, 0, 0, 0, 3, 0, 0, 3, 0, 0);
    const notes = ["ICCP", "EXIF", "XMP "].map((kind) => framed(kind, new TextEncoder().encode("secret!")));
    const body = [framed("VP8X", head), notes[0], ...more, plainWebp().subarray(12), notes[1], notes[2]];
    return framed("RIFF", Buffer.concat([Buffer.from("WEBP"), ...body]));
  };
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("latin1");
  test("of any kind gives the decoder nothing but pixels", async () => {
    const comment = [0x21, 0xfe, 7, ...new TextEncoder().encode("secret!"), 0];
    const noted = Buffer.concat([gif.subarray(0, 19), Uint8Array.of(...comment), gif.subarray(19)]);
    const segment = (marker: number) => [0xff, marker, 0, 9, ...new TextEncoder().encode("secret!")];
    const plain = plainJpeg([200, 60, 30, 255], true);
    const jpegs = [0xe1, 0xe2, 0xed, 0xfe].flatMap(segment);
    const shot = Uint8Array.of(...plain.subarray(0, 2), ...jpegs, ...plain.subarray(2), ...jpegs);
    const webp = notedWebp();
    for (const bytes of [noted, shot, webp, png(1, 1, 8, 2, white, [chunk("tEXt", Buffer.from("secret!"))])]) {
      const kept = pixelsOnly(bytes, pictureHeader(bytes, ""), "");
      expect(text(bytes)).toContain("secret!");
      expect(text(kept)).not.toContain("secret!");
      await decodePicture(bytes);
    }
    expect([...(await decodePicture(noted)).pixels]).toEqual([0, 0, 0, 255, 255, 255]);
    expect([...(await decodePicture(shot)).pixels.slice(0, 3)]).toEqual([200, 60, 30]);
    expect([...(await decodePicture(webp)).pixels.slice(0, 3)]).toEqual([255, 255, 255]);
    expect(Buffer.from(pixelsOnly(plain, pictureHeader(plain, ""), "")).equals(plain)).toBe(true);
  });

  const jpeg = (...segments: number[][]) => Uint8Array.of(0xff, 0xd8, ...segments.flat());
  const huge = 0xffff;
  test.each([
    [
      "no picture",
      new TextEncoder().encode("hello world"),
      /no PNG, JPEG, WebP or GIF picture: it begins with the bytes 68 65 6c 6c/,
    ],
    ["empty", new Uint8Array(0), /it is empty/],
    ["a PNG that ends in its header", small.subarray(0, 20), /ends before it says how large/],
    ["a PNG that is cut off", small.subarray(0, 60), /PNG file that is damaged, cut off/],
    ["a PNG of 100,000 x 100,000", png(100_000, 100_000, 8, 2, new Uint8Array(1)), /is 100000 x 100000 pixels large/],
    ["a PNG without pixels", png(0, 4, 8, 2, new Uint8Array(1)), /0 x 4 pixels has nothing to see/],
    [
      "a PNG that ends with a chunk of two gigabytes",
      Buffer.concat([small.subarray(0, 33), Uint8Array.of(0x7f, 0xff, 0xff, 0xff, 0x49, 0x44, 0x41, 0x54)]),
      /damaged, cut off/,
    ],
    [
      "a GIF whose screen is vast",
      Uint8Array.of(...gif.subarray(0, 6), 255, 255, 255, 255, ...gif.subarray(10)),
      /65535 x 65535 pixels large/,
    ],
    [
      "a GIF whose first frame is vast",
      Uint8Array.of(...gif.subarray(0, 24), 255, 255, 255, 255, ...gif.subarray(28)),
      /pixels large/,
    ],
    ["a GIF without a frame", Uint8Array.of(...gif.subarray(0, 19), 0x3b), /without a frame/],
    [
      "a GIF of endless extensions",
      Uint8Array.of(...gif.subarray(0, 19), ...Array.from({ length: 4000 }, () => [0x21, 0xfe, 1, 65, 0]).flat()),
      /ends before it says/,
    ],
    [
      "a JPEG of 65,535 x 65,535",
      jpeg([0xff, 0xc0, 0, 11, 8, huge >> 8, huge & 255, huge >> 8, huge & 255, 1, 1, 0x11, 0]),
      /65535 x 65535/,
    ],
    ["a JPEG in four inks that nobody explains", plainJpeg([200, 60, 30, 255], false), /four inks of print.* no Adobe/],
    ["a JPEG with a segment of no length", jpeg([0xff, 0xe0, 0, 0]), /a segment of 0 bytes/],
    ["a PNG whose pixels inflate to far more than there are", png(1, 1, 8, 2, new Uint8Array(2 ** 26)), /damaged/],
    ["a PNG whose last chunk is cut", small.subarray(0, small.length - 5), /PNG file that is damaged, cut off/],
    ["a PNG without its last chunk", small.subarray(0, small.length - 12), /PNG file that is damaged, cut off/],
    ["a PNG that needs what nobody knows", png(1, 1, 8, 2, white, [chunk("CgBI", white)]), /needs a chunk "CgBI"/],
    ["a WebP whose last chunk is cut", notedWebp().subarray(0, -3), /WEBP file that is damaged, cut off/],
    [
      "a WebP with more pixels in it than it says",
      notedWebp(framed("VP8 ", Uint8Array.of(0, 0, 0, 0x9d, 1, 0x2a, 0xff, 0x3f, 0xff, 0x3f))),
      /16383 x 16383 pixels in a picture of 4 x 4/,
    ],
    [
      "a WebP animation with more pixels in a frame than it says",
      notedWebp(
        framed(
          "ANMF",
          Buffer.concat([
            Buffer.alloc(16),
            framed("VP8 ", Uint8Array.of(0, 0, 0, 0x9d, 1, 0x2a, 0xff, 0x3f, 0xff, 0x3f)),
          ]),
        ),
      ),
      /16383 x 16383 pixels in a picture of 4 x 4/,
    ],
    ["a GIF that is cut in its frame", gif.subarray(0, 31), /GIF file that is damaged, cut off/],
    [
      "a JPEG of endless scans",
      Uint8Array.of(
        ...plainJpeg([90], false).subarray(0, -2),
        ...Array.from({ length: 100 }, () => [0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0]).flat(),
        ...[0xff, 0xd9],
      ),
      /more than 100 scans/,
    ],
    ["a WebP of an unknown kind", new TextEncoder().encode("RIFF0000WEBPVP9 00000000000000"), /an unknown kind/],
    ["a file of many megabytes", new Uint8Array(33 * 2 ** 20), /bytes, and a picture may have/],
  ])("that is %s is refused by name", async (_, bytes, message) => {
    const before = process.memoryUsage().rss;
    await expect(decodePicture(bytes, "this file")).rejects.toThrow(message);
    await expect(decodePicture(bytes, "this file")).rejects.toThrow(/^this file/);
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * 2 ** 20);
    expect((await decodePicture(small)).width).toBe(2); // the decoder goes on working
  });
});

describe("resizing", () => {
  const noise = {
    width: 7,
    height: 5,
    pixels: Uint8Array.from({ length: 105 }, (_, i) => (i * 97 + (i % 5) * 31) % 256),
  };
  test.each(["bilinear", "bicubic", "lanczos", "box"] as const)(
    "by %s is the filter's weighted mean, along each side",
    (filter) => {
      const value: Record<string, (x: number) => number> = {
        box: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0),
        bilinear: (x) => Math.max(0, 1 - Math.abs(x)),
        bicubic: (x) =>
          Math.abs(x) < 1
            ? 1.5 * Math.abs(x) ** 3 - 2.5 * x * x + 1
            : Math.abs(x) < 2
              ? -0.5 * Math.abs(x) ** 3 + 2.5 * x * x - 4 * Math.abs(x) + 2
              : 0,
        lanczos: (x) =>
          x === 0
            ? 1
            : Math.abs(x) < 3
              ? (3 * Math.sin(Math.PI * x) * Math.sin((Math.PI * x) / 3)) / (Math.PI * x) ** 2
              : 0,
      };
      for (const [width, height] of [
        [3, 4],
        [11, 9],
      ]) {
        const { pixels } = resized(noise, width, height, filter);
        /** The definition over all pixels, in two dimensions at once; rounding between the sides costs a step or so. */
        const along = (before: number, after: number, at: number) => {
          const stretch = Math.max(1, before / after);
          const all = Array.from({ length: before }, (_, i) =>
            value[filter]((i + 0.5 - ((at + 0.5) * before) / after) / stretch),
          );
          const sum = all.reduce((a, b) => a + b, 0);
          return all.map((x) => x / sum);
        };
        for (let y = 0; y < height; y++)
          for (let x = 0; x < width; x++) {
            const [ys, xs] = [along(5, height, y), along(7, width, x)];
            let sum = 0;
            for (let v = 0; v < 5; v++)
              for (let u = 0; u < 7; u++) sum += ys[v] * xs[u] * noise.pixels[3 * (v * 7 + u)];
            // What overshoots is cut between the sides, too: there nothing is compared.
            if (sum > 20 && sum < 235)
              expect(Math.abs(pixels[3 * (y * width + x)] - sum)).toBeLessThan(
                filter === "bilinear" || filter === "box" ? 1.2 : 25,
              );
          }
      }
    },
  );
  test("of a plain picture leaves it plain", () => {
    const plain = { width: 6, height: 4, pixels: new Uint8Array(72).fill(93) };
    for (const filter of ["nearest", "box", "bilinear", "bicubic", "lanczos"] as const)
      expect(new Set(resized(plain, 9, 2, filter).pixels)).toEqual(new Set([93]));
  });
});

describe("a preprocessor's config", () => {
  const clip = {
    do_resize: true,
    size: { shortest_edge: 4 },
    resample: 0,
    do_center_crop: true,
    crop_size: { height: 4, width: 4 },
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: [0.5, 0.25, 0],
    image_std: [0.5, 0.25, 1],
  };
  test("says how a picture is cropped and normalised", () => {
    // Eight wide, four high: the middle half is seen.
    const pixels = Uint8Array.from({ length: 96 }, (_, i) => (Math.floor(i / 3) % 8) * 30);
    const seen = prepared({ width: 8, height: 4, pixels }, preparationOf(clip, "test", 4));
    expect(seen.length).toBe(48);
    for (let i = 0; i < 4; i++) {
      const value = ((i + 2) * 30) / 255;
      expect(seen[i]).toBeCloseTo((value - 0.5) / 0.5, 5);
      expect(seen[16 + i]).toBeCloseTo((value - 0.25) / 0.25, 5);
      expect(seen[32 + i]).toBeCloseTo(value, 5);
    }
  });
  test("that pads makes a square of the mean colour", () => {
    const config = { ...clip, do_pad: true, do_center_crop: false, size: { height: 4, width: 4 } };
    const seen = prepared(
      { width: 4, height: 2, pixels: new Uint8Array(24).fill(255) },
      preparationOf(config, "test", 4),
    );
    expect(seen[0]).toBeCloseTo((127 / 255 - 0.5) / 0.5, 5);
    expect(seen[4]).toBeCloseTo(1, 5);
  });
  test.each([
    [{ resample: 9 }, /resample must be one of/],
    [{ image_std: [0, 1, 1] }, /image_std must be above 0/],
    [{ image_mean: [1] }, /image_mean must be three numbers/],
    [{ crop_size: 5 }, /pictures become 5 x 5, and the model sees 4 x 4/],
    [{ size: { height: 1e9, width: 4 } }, /size must be whole numbers/],
    [{ do_normalize: "yes" }, /do_normalize must be true or false/],
    [{ rescale_factor: 0 }, /rescale_factor must be a positive number/],
  ])("%j is refused", (changes, message) => {
    expect(() => preparationOf({ ...clip, ...changes }, "test", 4)).toThrow(message);
  });
  test("a strip that would become endless is refused", () => {
    const strip = { width: 30_000, height: 1, pixels: new Uint8Array(90_000) };
    const config = { ...clip, size: { shortest_edge: 336 }, crop_size: { height: 336, width: 336 } };
    expect(() =>
      prepared(strip, preparationOf({ ...config, size: { shortest_edge: 1200 }, crop_size: 1200 }, "test", 1200)),
    ).toThrow(/too long and narrow/);
  });
});
