/** Resizing with a filter as wide as what is left out, along one side and then the other, each rounded to bytes: Pillow's way. */
import type { Picture } from "./picture.ts";

export const filters = ["nearest", "box", "bilinear", "bicubic", "lanczos"] as const;
export type Filter = (typeof filters)[number];

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** Half the width of each, in pixels of the smaller picture, and its value at a distance. */
const kernels: Readonly<Record<Exclude<Filter, "nearest">, { support: number; at: (x: number) => number }>> = {
  box: { support: 0.5, at: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    at(x) {
      const [a, d] = [-0.5, Math.abs(x)];
      if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
      return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
    },
  },
  lanczos: { support: 3, at: (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

interface Window {
  readonly from: number;
  readonly weights: readonly number[];
}

/** For each pixel of the result, which of the old ones count how much. */
function windows(before: number, after: number, filter: Filter): Window[] {
  const ratio = before / after;
  if (filter === "nearest")
    return Array.from({ length: after }, (_, i) => ({
      from: Math.min(before - 1, Math.floor((i + 0.5) * ratio)),
      weights: [1],
    }));
  const { support, at } = kernels[filter];
  const stretch = Math.max(1, ratio);
  return Array.from({ length: after }, (_, i) => {
    const centre = (i + 0.5) * ratio;
    const from = Math.max(0, Math.trunc(centre - support * stretch + 0.5));
    const to = Math.min(before, Math.trunc(centre + support * stretch + 0.5));
    const weights = Array.from({ length: to - from }, (_, k) => at((k + from - centre + 0.5) / stretch));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { from, weights: weights.map((weight) => weight / sum) };
  });
}

export function resized(picture: Picture, width: number, height: number, filter: Filter): Picture {
  const { width: before, height: rows } = picture;
  const across = width === before ? picture.pixels : horizontal(picture, width, filter);
  if (height === rows) return { width, height, pixels: across };
  const pixels = new Uint8ClampedArray(3 * width * height);
  for (const [row, { from, weights }] of windows(rows, height, filter).entries()) {
    for (let at = 0; at < 3 * width; at++) {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * across[3 * width * (from + k) + at];
      pixels[3 * width * row + at] = Math.floor(sum + 0.5);
    }
  }
  return { width, height, pixels: new Uint8Array(pixels.buffer) };
}

function horizontal({ width: before, height, pixels }: Picture, width: number, filter: Filter): Uint8Array {
  const result = new Uint8ClampedArray(3 * width * height);
  for (const [column, { from, weights }] of windows(before, width, filter).entries()) {
    for (let row = 0; row < height; row++) {
      for (let i = 0; i < 3; i++) {
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k] * pixels[3 * (row * before + from + k) + i];
        result[3 * (row * width + column) + i] = Math.floor(sum + 0.5);
      }
    }
  }
  return new Uint8Array(result.buffer);
}
