/** Digits as features: an encoder that was trained on drawings alone, and drawings that keys are placed by. */
import { readFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";
import { shuffled } from "./bottleneck.ts";
import { openEncoder, readDigits, trainEncoder } from "./images.ts";
import { type Labelled, rowsOf } from "./learning.ts";
import type { StreamData } from "./streams.ts";

export const digitClasses = 10;

export interface DigitOptions {
  readonly seed: number;
  /** Steps of training the encoder. */
  readonly steps: number;
  /** Digits in all, and drawings that the keys are placed by. */
  readonly digits: number;
  readonly drawings: number;
  readonly folder?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (share: number) => void;
}

/** What `digitFeatures` reads. */
export const digitData = [
  "quickdraw/quickdraw-10x2000-28x28.u8.gz",
  "mnist-10k/images-idx3-ubyte.gz",
  "mnist-10k/labels-idx1-ubyte.gz",
];

/** Features of digits by an encoder that was trained on drawings alone. A fifth of the digits are for tests. */
export async function digitFeatures(data: (...names: string[]) => string, options: DigitOptions): Promise<StreamData> {
  const { seed, steps, digits, drawings, folder, signal, onProgress } = options;
  const unzipped = async (...names: string[]) => new Uint8Array(gunzipSync(await readFile(data(...names))));
  const sketches = await unzipped("quickdraw", "quickdraw-10x2000-28x28.u8.gz");
  const labels = Uint8Array.from({ length: sketches.length / 784 }, (_, i) => Math.floor(i / 2000));
  const origin = "mnist-10k";
  const found = readDigits(
    await unzipped(origin, "images-idx3-ubyte.gz"),
    await unzipped(origin, "labels-idx1-ubyte.gz"),
    origin,
  );
  const values = await trainEncoder(sketches, labels, { classes: 10, steps, seed, folder, signal, onProgress });
  const encoder = await openEncoder(values);
  try {
    const some = (images: Uint8Array, rows: Int32Array) => {
      const chosen = new Uint8Array(rows.length * 784);
      for (const [i, n] of rows.entries()) chosen.set(images.subarray(n * 784, (n + 1) * 784), i * 784);
      return chosen;
    };
    const order = shuffled(found.labels.length, seed, 0).slice(0, digits);
    const features = await encoder.encode(some(found.images, order));
    const all: Labelled = { ...features, labels: Int32Array.from(order, (n) => found.labels[n]) };
    const cut = Math.floor(0.8 * digits);
    const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
    return {
      train: rowsOf(all, range(0, cut)),
      test: rowsOf(all, range(cut, digits)),
      drawings: await encoder.encode(some(sketches, shuffled(labels.length, seed, 1).slice(0, drawings))),
    };
  } finally {
    await encoder.close();
  }
}
