/**
 * A vision transformer (Dosovitskiy et al. 2021) as CLIP (Radford et al. 2021) and SigLIP (Zhai et al. 2023) publish it, and LLaVA-1.5's projector
 * (Liu et al. 2024): from the pixels of pictures to the rows that stand for them in a text. Inference and training alike.
 */
import {
  add,
  concat,
  expand,
  gelu,
  geluTanh,
  layerNorm,
  linear,
  matmul,
  multiply,
  relu,
  reshape,
  sigmoid,
  silu,
  slice,
  softmax,
  type Tensor,
  transpose,
} from "../../tensor/index.ts";
import type { MakeParameter, ParameterSpecification } from "../family.ts";
import type { Activation, VisionConfig } from "./config.ts";

const tower = "vision_tower.vision_model";
const projector = "multi_modal_projector";

const activation: Readonly<Record<Activation, (x: Tensor) => Tensor>> = {
  quick_gelu: (x) => multiply(x, sigmoid(multiply(x, 1.702))),
  gelu,
  gelu_pytorch_tanh: geluTanh,
  relu,
  silu,
};

/** Under the names of LLaVA checkpoints, older ones and those that put "model." before them; layers that are not read are left out. */
export function visionParameters(config: VisionConfig): ParameterSpecification[] {
  const { kind, hiddenSize, feedForward, patchSize, channels, side, used, width, projectorBias } = config;
  const result: ParameterSpecification[] = [];
  const take = (name: string, shape: readonly number[], deviation: number | undefined): void => {
    result.push({ name, shape, sources: [name, `model.${name}`], deviation });
  };
  const affine = (name: string, out: number, inner: number, deviation = 1 / Math.sqrt(inner)): void => {
    take(`${name}.weight`, [out, inner], deviation);
    take(`${name}.bias`, [out], 0);
  };
  const norm = (name: string): void => {
    take(`${name}.weight`, [hiddenSize], undefined);
    take(`${name}.bias`, [hiddenSize], 0);
  };
  const patch = channels * patchSize * patchSize;
  if (kind === "clip") take(`${tower}.embeddings.class_embedding`, [hiddenSize], 0.02);
  take(
    `${tower}.embeddings.patch_embedding.weight`,
    [hiddenSize, channels, patchSize, patchSize],
    1 / Math.sqrt(patch),
  );
  if (kind === "siglip") take(`${tower}.embeddings.patch_embedding.bias`, [hiddenSize], 0);
  const states = side * side + (kind === "clip" ? 1 : 0);
  take(`${tower}.embeddings.position_embedding.weight`, [states, hiddenSize], 0.02);
  if (kind === "clip") norm(`${tower}.pre_layrnorm`); // as it is spelt there
  const branch = 1 / Math.sqrt(2 * Math.max(1, used));
  for (let layer = 0; layer < used; layer++) {
    const at = `${tower}.encoder.layers.${layer}`;
    norm(`${at}.layer_norm1`);
    for (const part of ["q", "k", "v"]) affine(`${at}.self_attn.${part}_proj`, hiddenSize, hiddenSize);
    affine(`${at}.self_attn.out_proj`, hiddenSize, hiddenSize, branch / Math.sqrt(hiddenSize));
    norm(`${at}.layer_norm2`);
    affine(`${at}.mlp.fc1`, feedForward, hiddenSize);
    affine(`${at}.mlp.fc2`, hiddenSize, feedForward, branch / Math.sqrt(feedForward));
  }
  // What comes out begins about as large as embeddings of tokens are.
  for (const [name, inner, deviation] of [
    ["linear_1", hiddenSize, 1 / Math.sqrt(hiddenSize)],
    ["linear_2", width, 0.1 / Math.sqrt(width)],
  ] as const) {
    take(`${projector}.${name}.weight`, [width, inner], deviation);
    if (projectorBias) take(`${projector}.${name}.bias`, [width], 0);
  }
  return result;
}

/** Tensors of a checkpoint that nothing here reads: later layers, the pooled output, tables of numbers 0, 1, … */
export const unreadByVision = ({ used }: VisionConfig) => {
  const later = /vision_model\.encoder\.layers\.(\d+)\./;
  return (name: string): boolean =>
    /^(model\.)?vision_tower\.vision_model\.(post_layernorm\.|head\.|embeddings\.position_ids$)/.test(name) ||
    (/^(model\.)?vision_tower\./.test(name) && Number(later.exec(name)?.[1] ?? -1) >= used);
};

/** Pixels [pictures, channels, size, size], resized and normalised, to rows [pictures * rows, width]. */
export function visionRows(config: VisionConfig, pixels: Tensor, parameter: MakeParameter): Tensor {
  const { kind, patchSize, channels, side, imageSize, hiddenSize, heads, feedForward, epsilon, used, width } = config;
  const [pictures] = pixels.shape;
  const whole = side * patchSize;
  const patch = channels * patchSize * patchSize;
  const read = (name: string, ...shape: number[]): Tensor => parameter(name, shape);
  const affine = (x: Tensor, name: string, out: number, inner: number): Tensor =>
    linear(x, read(`${name}.weight`, out, inner), read(`${name}.bias`, out));
  const norm = (x: Tensor, name: string): Tensor =>
    layerNorm(x, read(`${name}.weight`, hiddenSize), read(`${name}.bias`, hiddenSize), epsilon);

  // A convolution whose steps are as wide as its window is a product with each patch. Pixels beyond the last whole patch are not seen.
  const seen = whole < imageSize ? slice(slice(pixels, 2, 0, whole), 3, 0, whole) : pixels;
  const cut = reshape(seen, [pictures, channels, side, patchSize, side, patchSize]);
  const patches = reshape(transpose(cut, [0, 2, 4, 1, 3, 5]), [-1, patch]);
  const kernel = read(`${tower}.embeddings.patch_embedding.weight`, hiddenSize, channels, patchSize, patchSize);
  const bias = kind === "siglip" ? read(`${tower}.embeddings.patch_embedding.bias`, hiddenSize) : undefined;
  let states = reshape(linear(patches, reshape(kernel, [hiddenSize, patch]), bias), [
    pictures,
    side * side,
    hiddenSize,
  ]);
  if (kind === "clip") {
    const own = reshape(read(`${tower}.embeddings.class_embedding`, hiddenSize), [1, 1, hiddenSize]);
    states = concat([expand(own, [pictures, 1, hiddenSize]), states], 1);
  }
  const length = side * side + (kind === "clip" ? 1 : 0);
  const places = read(`${tower}.embeddings.position_embedding.weight`, length, hiddenSize);
  let residual = reshape(add(states, reshape(places, [1, length, hiddenSize])), [-1, hiddenSize]);
  if (kind === "clip") residual = norm(residual, `${tower}.pre_layrnorm`);

  const dimension = hiddenSize / heads;
  const perHead = (x: Tensor): Tensor => transpose(reshape(x, [pictures, length, heads, dimension]), [0, 2, 1, 3]);
  for (let layer = 0; layer < used; layer++) {
    const at = `${tower}.encoder.layers.${layer}`;
    const first = norm(residual, `${at}.layer_norm1`);
    const [queries, keys, values] = ["q", "k", "v"].map((part) =>
      perHead(affine(first, `${at}.self_attn.${part}_proj`, hiddenSize, hiddenSize)),
    );
    const weights = softmax(matmul(queries, keys, { transposeB: true, scale: 1 / Math.sqrt(dimension) }));
    const attended = reshape(transpose(matmul(weights, values), [0, 2, 1, 3]), [-1, hiddenSize]);
    residual = add(residual, affine(attended, `${at}.self_attn.out_proj`, hiddenSize, hiddenSize));
    const second = norm(residual, `${at}.layer_norm2`);
    const inner = activation[config.activation](affine(second, `${at}.mlp.fc1`, feedForward, hiddenSize));
    residual = add(residual, affine(inner, `${at}.mlp.fc2`, hiddenSize, feedForward));
  }
  const features = config.dropsFirst
    ? reshape(slice(reshape(residual, [pictures, length, hiddenSize]), 1, 1, length), [-1, hiddenSize])
    : residual;
  const project = (x: Tensor, name: string, inner: number): Tensor =>
    linear(
      x,
      read(`${projector}.${name}.weight`, width, inner),
      config.projectorBias ? read(`${projector}.${name}.bias`, width) : undefined,
    );
  const hidden = activation[config.projectorActivation](project(features, "linear_1", hiddenSize));
  return project(hidden, "linear_2", width);
}
