/** How a model wants its pictures: resized, cropped and normalised as its `preprocessor_config.json` says (those of CLIP, SigLIP and LLaVA). */
import { ensure, shown, VentrisError } from "../errors.ts";
import { exists, readWhole, within } from "../files.ts";
import { isObject, parseJsonObject } from "../json.ts";
import { mostPixels, type Picture } from "./picture.ts";
import { type Filter, filters, resized } from "./resize.ts";

export interface Preparation {
  /** The shorter side becomes so long; or both sides become what is said. */
  readonly resize?: { readonly shortest: number } | { readonly width: number; readonly height: number };
  readonly filter: Filter;
  /** A square picture first: what is missing is filled with the mean colour. */
  readonly square: boolean;
  readonly crop?: { readonly width: number; readonly height: number };
  readonly scale: number;
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
}

/** By number, as Pillow has them. */
const numbered: readonly (Filter | undefined)[] = ["nearest", "lanczos", "bilinear", "bicubic", "box", undefined];

export const openAiMean = [0.48145466, 0.4578275, 0.40821073];
export const openAiDeviation = [0.26862954, 0.26130258, 0.27577711];

/** Config of a folder; without one a plain picture of the model's size in [-1, 1]. Errors: `bad_config`. */
export async function readPreparation(folder: string, size: number): Promise<Preparation> {
  const path = within(folder, "preprocessor_config.json");
  if (!(await exists(path))) {
    const half = [0.5, 0.5, 0.5];
    return {
      resize: { width: size, height: size },
      filter: "bicubic",
      square: false,
      scale: 1 / 255,
      mean: half,
      deviation: half,
    };
  }
  const bytes = await readWhole(path, 2 ** 20);
  ensure(bytes, "bad_config", `${path} is longer than a config can be`);
  try {
    return preparationOf(parseJsonObject(bytes, path), path, size);
  } catch (error) {
    throw error instanceof VentrisError ? error : new VentrisError("bad_config", (error as Error).message);
  }
}

/** Errors: `bad_config` for a field that says what is not done here, or a size other than the model's. */
export function preparationOf(json: Readonly<Record<string, unknown>>, origin: string, size: number): Preparation {
  const flag = (name: string, fallback: boolean): boolean => {
    const value = json[name] ?? fallback;
    ensure(
      typeof value === "boolean",
      "bad_config",
      () => `${origin}: ${name} must be true or false, not ${shown(value)}`,
    );
    return value;
  };
  const sides = (name: string): { width: number; height: number; shortest?: number } | undefined => {
    const value = json[name];
    const side = (x: unknown): number => {
      const fits = Number.isInteger(x) && (x as number) >= 1 && (x as number) <= 8192;
      ensure(fits, "bad_config", () => `${origin}: ${name} must be whole numbers from 1 to 8192, not ${shown(value)}`);
      return x as number;
    };
    if (value === undefined || value === null) return undefined;
    if (typeof value === "number") return { width: side(value), height: side(value), shortest: side(value) };
    ensure(
      isObject(value),
      "bad_config",
      () => `${origin}: ${name} must be a number or an object, not ${shown(value)}`,
    );
    if ("shortest_edge" in value) {
      const shortest = side(value.shortest_edge);
      return { width: shortest, height: shortest, shortest };
    }
    return { width: side(value.width), height: side(value.height) };
  };
  const three = (name: string, fallback: readonly number[]): readonly number[] => {
    const value = json[name] ?? fallback;
    const fits = Array.isArray(value) && value.length === 3 && value.every((x) => Number.isFinite(x));
    ensure(fits, "bad_config", () => `${origin}: ${name} must be three numbers, not ${shown(value)}`);
    return value as number[];
  };
  const size_ = flag("do_resize", true) ? sides("size") : undefined;
  const crop = flag("do_center_crop", false) ? sides("crop_size") : undefined;
  const number = json.resample ?? 3;
  const filter = numbered[number as number];
  ensure(filter, "bad_config", () => {
    return `${origin}: resample must be one of ${filters.map((name) => `${numbered.indexOf(name)} (${name})`).join(", ")}, not ${shown(number)}`;
  });
  const normal = flag("do_normalize", true);
  const deviation = normal ? three("image_std", openAiDeviation) : [1, 1, 1];
  ensure(
    deviation.every((x) => x > 0),
    "bad_config",
    `${origin}: image_std must be above 0`,
  );
  const factor = json.rescale_factor ?? 1 / 255;
  ensure(
    typeof factor === "number" && factor > 0,
    "bad_config",
    () => `${origin}: rescale_factor must be a positive number, not ${shown(factor)}`,
  );
  const preparation: Preparation = {
    ...(size_ && {
      resize:
        size_.shortest !== undefined ? { shortest: size_.shortest } : { width: size_.width, height: size_.height },
    }),
    filter,
    square: flag("do_pad", false),
    ...(crop && { crop: { width: crop.width, height: crop.height } }),
    scale: flag("do_rescale", true) ? factor : 1,
    mean: normal ? three("image_mean", openAiMean) : [0, 0, 0],
    deviation,
  };
  const end = crop ?? (size_ && (size_.shortest === undefined || flag("do_pad", false)) ? size_ : undefined);
  ensure(end?.width === size && end.height === size, "bad_config", () => {
    return `${origin}: pictures become ${end ? `${end.width} x ${end.height}` : "as large as they come"}, and the model sees ${size} x ${size}`;
  });
  return preparation;
}

/** [3, height, width] of a picture as its model wants it. Errors: `bad_file` for one so narrow that it would become too long. */
export function prepared(
  picture: Picture,
  { resize, filter, square, crop, scale, mean, deviation }: Preparation,
): Float32Array<ArrayBuffer> {
  let seen = square ? squared(picture, mean) : picture;
  if (resize) {
    const shorter = Math.min(seen.width, seen.height);
    // As transformers computes the longer side of a picture whose shorter one is given.
    const along = (side: number): number =>
      "shortest" in resize ? Math.max(1, Math.trunc((resize.shortest * side) / shorter)) : side;
    const [width, height] = "width" in resize ? [resize.width, resize.height] : [along(seen.width), along(seen.height)];
    ensure(width * height <= mostPixels, "bad_file", () => {
      return `a picture of ${picture.width} x ${picture.height} pixels is too long and narrow: it would become ${width} x ${height}`;
    });
    seen = resized(seen, width, height, filter);
  }
  if (crop) seen = cropped(seen, crop);
  const size = seen.width * seen.height;
  const result = new Float32Array(3 * size);
  for (let at = 0; at < size; at++)
    for (let i = 0; i < 3; i++) result[i * size + at] = (seen.pixels[3 * at + i] * scale - mean[i]) / deviation[i];
  return result;
}

function squared({ width, height, pixels }: Picture, mean: readonly number[]): Picture {
  const side = Math.max(width, height);
  if (width === height) return { width, height, pixels };
  const result = new Uint8Array(3 * side * side);
  for (let i = 0; i < result.length; i++) result[i] = Math.trunc(255 * mean[i % 3]);
  const [left, top] = [Math.floor((side - width) / 2), Math.floor((side - height) / 2)];
  for (let row = 0; row < height; row++)
    result.set(pixels.subarray(3 * row * width, 3 * (row + 1) * width), 3 * ((row + top) * side + left));
  return { width: side, height: side, pixels: result };
}

/** The middle of a picture; black beyond its edges. */
function cropped(picture: Picture, { width, height }: { width: number; height: number }): Picture {
  const [left, top] = [Math.floor((picture.width - width) / 2), Math.floor((picture.height - height) / 2)];
  const pixels = new Uint8Array(3 * width * height);
  for (let row = Math.max(0, -top); row < height && row + top < picture.height; row++) {
    const from = Math.max(0, -left);
    const to = Math.min(width, picture.width - left);
    const at = 3 * ((row + top) * picture.width + left);
    pixels.set(picture.pixels.subarray(at + 3 * from, at + 3 * to), 3 * (row * width + from));
  }
  return { width, height, pixels };
}
