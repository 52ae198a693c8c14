/**
 * Pictures from files: PNG, JPEG, WebP and GIF (its first frame) become pixels of red, green and blue; grey and CMYK pictures and those of 16 bits
 * are converted, what is transparent lies on white. What a file claims is checked before memory is taken for it.
 */
import { ensure, shown, VentrisError } from "../errors.ts";
import { decodeFile } from "./decoder.ts";
import { pictureHeader } from "./header.ts";
import { pixelsOnly } from "./pixels-only.ts";

/** Pixels of a picture. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  /** Red, green and blue from 0 to 255, pixel after pixel, row by row. */
  readonly pixels: Uint8Array;
}

/** A file is at most so long, and its picture so large: about four bytes a pixel are taken while it is decoded. */
export const mostPictureBytes = 32 * 2 ** 20;
export const mostPixels = 2 ** 25;
const longestSide = 2 ** 15;

/** `name` is what errors call it. Errors: `bad_file` for what is no picture, is damaged, or is too large; `unavailable`. */
export async function decodePicture(bytes: Uint8Array, name = "the picture"): Promise<Picture> {
  ensure(bytes.length <= mostPictureBytes, "bad_file", () => {
    return `${name} has ${bytes.length} bytes, and a picture may have ${mostPictureBytes}`;
  });
  const header = pictureHeader(bytes, name);
  const { width, height, format } = header;
  ensure(width > 0 && height > 0, "bad_file", `${name}: a picture of ${width} x ${height} pixels has nothing to see`);
  ensure(width <= longestSide && height <= longestSide && width * height <= mostPixels, "bad_file", () => {
    return `${name} is ${width} x ${height} pixels large, and a picture may have ${mostPixels} (${longestSide} a side): make it smaller`;
  });
  const decoded = await decodeFile(pixelsOnly(bytes, header, name), header, (cause) => {
    throw new VentrisError(
      "bad_file",
      `${name}: a ${format.toUpperCase()} file that is damaged, cut off, or of a kind that is not supported`,
      { cause },
    );
  });
  return { width: decoded.width, height: decoded.height, pixels: onWhite(decoded.rgba) };
}

function onWhite(rgba: Uint8Array): Uint8Array {
  const pixels = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    const alpha = rgba[from + 3];
    for (let i = 0; i < 3; i++) pixels[to++] = Math.round((rgba[from + i] * alpha + 255 * (255 - alpha)) / 255);
  }
  return pixels;
}

/** Pixels that a caller made. Errors: `bad_option`. */
export function checkPicture(picture: Picture): Picture {
  const { width, height } = picture;
  const pixels = picture.pixels as ArrayLike<number> & { every: Uint8Array["every"] };
  const whole = [width, height].every((side) => Number.isInteger(side) && side >= 1 && side <= longestSide);
  ensure(whole && width * height <= mostPixels, "bad_option", () => {
    return `image: a picture of ${shown(width)} x ${shown(height)} pixels is not possible (1 to ${longestSide} a side, ${mostPixels} in all)`;
  });
  const fits = ArrayBuffer.isView(pixels) && pixels.length === 3 * width * height;
  ensure(fits, "bad_option", () => {
    return `image: pixels must be ${3 * width * height} bytes, red, green and blue of each pixel, not ${shown(pixels?.length)}`;
  });
  ensure(pixels instanceof Uint8Array || pixels.every((value) => value >= 0 && value <= 255), "bad_option", () => {
    return "image: pixels must be numbers from 0 to 255";
  });
  return picture;
}
