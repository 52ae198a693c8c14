/**
 * A small encoder of images, trained on one set of drawings and then frozen: patches through shared weights, a hidden layer whose values are the
 * features, and a head that is thrown away.
 */
import { normal, uniform } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import { parameterMaker } from "../../../models/parameters.ts";
import { compile, valueMaker } from "../../../runtime/program.ts";
import {
  crossEntropy,
  input,
  linear,
  lower,
  parametersOf,
  reduceMean,
  relu,
  reshape,
  type Tensor,
} from "../../../tensor/index.ts";
import { digestOf } from "../../../training/digest.ts";
import { graphObjective, weightFile } from "../../../training/graph-objective.ts";
import { train } from "../../../training/loop.ts";
import type { Parameter } from "../../../training/objective.ts";
import { linear as linearSchedule } from "../../../training/schedule.ts";
import type { Features } from "./bottleneck.ts";

/** Pixels of a side, of a patch's side, between patches; channels of a patch; features. */
const [side, patch, stride, channels, featureWidth] = [28, 6, 2, 24, 128];
const across = (side - patch) / stride + 1;
const patches = across * across;

/** Patches [images · patches, pixels] of images of 28 by 28 bytes. */
function patchesOf(images: Uint8Array, chosen: ArrayLike<number>): Float32Array {
  const result = new Float32Array(chosen.length * patches * patch * patch);
  let at = 0;
  for (let n = 0; n < chosen.length; n++) {
    const image = chosen[n] * side * side;
    for (let y = 0; y < across; y++) {
      for (let x = 0; x < across; x++) {
        for (let dy = 0; dy < patch; dy++) {
          for (let dx = 0; dx < patch; dx++) {
            result[at++] = images[image + (y * stride + dy) * side + x * stride + dx] / 255;
          }
        }
      }
    }
  }
  return result;
}

function featuresGraph(pixels: Tensor, rows: number | string, parameter: ReturnType<typeof parameterMaker>): Tensor {
  const local = relu(
    linear(pixels, parameter("patch.weight", [channels, patch * patch]), parameter("patch.bias", [channels])),
  );
  const whole = reshape(local, [rows, patches * channels]);
  return relu(
    linear(
      whole,
      parameter("hidden.weight", [featureWidth, patches * channels]),
      parameter("hidden.bias", [featureWidth]),
    ),
  );
}

export interface Encoder {
  encode(images: Uint8Array): Promise<Features>;
  close(): Promise<void>;
}

const trainRows = 128;
const encodeRows = 250;

/** Trains on images with labels. Errors: `aborted`, those of training. */
export async function trainEncoder(
  images: Uint8Array,
  labels: Uint8Array,
  {
    classes,
    steps,
    seed,
    folder,
    threads,
    signal,
    onProgress,
  }: {
    classes: number;
    steps: number;
    seed: number;
    folder?: string;
    threads?: number;
    signal?: AbortSignal;
    onProgress?: (share: number) => void;
  },
): Promise<ReadonlyMap<string, Float32Array>> {
  const parameter = parameterMaker();
  const features = featuresGraph(input("pixels", [trainRows * patches, patch * patch]), trainRows, parameter);
  const logits = linear(features, parameter("head.weight", [classes, featureWidth]), parameter("head.bias", [classes]));
  const loss = reduceMean(crossEntropy(logits, input("labels", [trainRows], "int64")));
  const parameters: Parameter[] = [...parametersOf(loss)].map(([name, { shape }], request) => {
    const dimensions = shape as number[];
    const scale = dimensions.length === 2 ? Math.sqrt(2 / dimensions[1]) : 0;
    const length = dimensions.reduce((a, b) => a * b, 1);
    const values = Float32Array.from({ length }, (_, i) => scale * normal({ seed, request }, i, "initialise"));
    return { name, shape: dimensions, values, decay: dimensions.length > 1 };
  });
  const objective = await graphObjective<{ chosen: Int32Array }>({
    loss,
    trained: parameters,
    fixed: new Map(),
    threads,
    feeds: ({ chosen }) => ({
      pixels: { data: patchesOf(images, chosen), dims: [trainRows * patches, patch * patch] },
      labels: { data: BigInt64Array.from(chosen, (n) => BigInt(labels[n])), dims: [trainRows] },
    }),
  });
  const draw = (index: number, row: number): number =>
    Math.floor(uniform({ seed, request: 0 }, index, "data", row) * labels.length);
  try {
    const { reason } = await train<{ chosen: Int32Array }>({
      objective,
      batches: (index) => ({ chosen: Int32Array.from({ length: trainRows }, (_, row) => draw(index, row)) }),
      countTokens: () => trainRows,
      steps,
      schedule: linearSchedule({ peak: 2e-3, warmup: Math.min(20, steps >> 2), steps }),
      clip: 1,
      seed,
      basis: async () => ({ classes, images: await digestOf(images, labels) }),
      checkpointFolder: folder,
      signal,
      onProgress: ({ step }) => onProgress?.(step / steps),
    });
    ensure(reason !== "aborted", "aborted", "training the encoder was aborted");
  } finally {
    await objective.release();
  }
  return new Map(parameters.filter(({ name }) => !name.startsWith("head.")).map(({ name, values }) => [name, values]));
}

export async function openEncoder(values: ReadonlyMap<string, Float32Array>, threads?: number): Promise<Encoder> {
  const pixels = input("pixels", [encodeRows * patches, patch * patch]);
  const lowered = lower({ features: featuresGraph(pixels, encodeRows, parameterMaker()) }, { parameters: "weights" });
  const program = await compile(lowered, {
    threads,
    weights: weightFile(lowered, values as ReadonlyMap<string, Float32Array<ArrayBuffer>>),
  });
  const value = await valueMaker();
  return {
    async encode(images) {
      const count = images.length / (side * side);
      const result = new Float32Array(count * featureWidth);
      for (let at = 0; at < count; at += encodeRows) {
        const chosen = Int32Array.from({ length: encodeRows }, (_, i) => Math.min(count - 1, at + i));
        const { features } = await program.run({
          pixels: value("float32", patchesOf(images, chosen), [encodeRows * patches, patch * patch]),
        });
        const rows = Math.min(encodeRows, count - at);
        result.set((features.data as Float32Array).subarray(0, rows * featureWidth), at * featureWidth);
      }
      return { count, width: featureWidth, values: result };
    },
    close: () => program.release(),
  };
}

/** Labels and images of the MNIST files, unzipped. Errors: `bad_file`. */
export function readDigits(
  images: Uint8Array,
  labels: Uint8Array,
  origin: string,
): { images: Uint8Array; labels: Uint8Array } {
  const header = (bytes: Uint8Array, magic: number, sizes: number): number[] => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    ensure(
      bytes.length >= 4 * (1 + sizes) && view.getUint32(0) === magic,
      "bad_file",
      `${origin}: no IDX file of ${sizes} dimensions`,
    );
    return Array.from({ length: sizes }, (_, i) => view.getUint32(4 + 4 * i));
  };
  const [count, rows, columns] = header(images, 0x803, 3);
  const [labelled] = header(labels, 0x801, 1);
  const fits =
    rows === side &&
    columns === side &&
    images.length === 16 + count * side * side &&
    labels.length === 8 + labelled &&
    labelled === count;
  ensure(
    fits,
    "bad_file",
    `${origin}: ${count} images of ${rows} by ${columns} and ${labelled} labels do not fit the files`,
  );
  return { images: images.subarray(16), labels: labels.subarray(8) };
}
