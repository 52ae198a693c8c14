/** What trainings of EAGLE's draft and of its form for models that see share: how a draft begins, and how far its states are off. */
import { normal } from "../../../engine/random.ts";
import { ensure } from "../../../errors.ts";
import type { Family, ModelConfig } from "../../../models/family.ts";
import type { PartTensor } from "../../../models/parts.ts";
import { abs, constant, less, multiply, reduceMean, subtract, type Tensor, where } from "../../../tensor/index.ts";
import type { Values } from "../../../training/next-token.ts";
import { layerParameters } from "./layer.ts";

/** A draft before training: the state is handed on, which a text's next state resembles more than nothing, and the layer is the model's last one. */
export function initialDraft(
  family: Family,
  config: ModelConfig,
  values: Values,
  { seed, bias }: { readonly seed: number; readonly bias: boolean },
): Map<string, PartTensor> {
  const width = config.hiddenSize;
  const weight = Float32Array.from(
    { length: 2 * width * width },
    (_, i) => 0.02 * normal({ seed, request: 0 }, i, "initialise"),
  );
  for (let i = 0; i < width; i++) weight[i * 2 * width + width + i] += 1;
  const tensors = new Map<string, PartTensor>([["fc.weight", { shape: [width, 2 * width], values: weight }]]);
  if (bias) tensors.set("fc.bias", { shape: [width], values: new Float32Array(width) });
  for (const { name, shape } of layerParameters(family, config)) {
    const of = name.replace(/(layers|h)\.0\./, (_, list) => `${list}.${config.layers - 1}.`);
    const own = values.get(of);
    ensure(own, "internal", `no values for ${of}`);
    tensors.set(name, { shape: [...shape], values: own.slice() });
  }
  return tensors;
}

/** Numbers of all rows of texts of `length` but one each, which is the last for `first` 0 and the first for `first` 1. */
export function rowsFrom(first: 0 | 1, { rows, length }: { readonly rows: number; readonly length: number }): Tensor {
  const seen = length - 1;
  const numbers = BigInt64Array.from({ length: rows * seen }, (_, i) =>
    BigInt(Math.floor(i / seen) * length + first + (i % seen)),
  );
  return constant(numbers, [rows * seen]);
}

/** Smooth L1 between states, the mean of each row. */
export function smoothDistance(got: Tensor, wanted: Tensor): Tensor {
  const off = subtract(got, wanted);
  const size = abs(off);
  return reduceMean(where(less(size, 1), multiply(multiply(off, off), 0.5), subtract(size, 0.5)), -1);
}
