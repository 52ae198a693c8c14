/**
 * The filter of Learn2PD: from the confidences of a block, for each position how likely its prediction is final. Two layers
 * z = W2 relu(W1 c + b1) + b2 with B x B matrices; one layer, four, and a filter that looks at each position alone are there to compare.
 */
import { ensure, shown } from "../../../errors.ts";
import type { Part, PartTensor } from "../../../models/parts.ts";

export const filterKind = "learn2pd";
export const depths = ["positions", "1", "2", "4"] as const;
/** "positions": a factor and a constant for each position; otherwise layers of B x B. */
export type Depth = (typeof depths)[number];

export const publishedThreshold = 0.96;

export interface Filter {
  readonly blockLength: number;
  readonly depth: Depth;
  /** Numbers that were trained. */
  readonly size: number;
  /** How sure it must be of a position, where a request does not say: as published for LLaDA unless its card says otherwise. */
  readonly threshold: number;
  /** Logits [length] for confidences of a block that may be shorter; it is then padded with zeros on the right. */
  logits(confidences: ArrayLike<number>): Float64Array;
}

/** Names and shapes of a filter's tensors. */
export function filterShapes(depth: Depth, blockLength: number): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  const layers = depth === "positions" ? 1 : Number(depth);
  for (let layer = 0; layer < layers; layer++) {
    shapes.set(`${layer}.weight`, depth === "positions" ? [blockLength] : [blockLength, blockLength]);
    shapes.set(`${layer}.bias`, [blockLength]);
  }
  return shapes;
}

/** Errors: `bad_file` for shapes that are none of a filter's, and values that are not finite. */
export function createFilter(
  depth: Depth,
  blockLength: number,
  tensors: ReadonlyMap<string, PartTensor>,
  origin: string,
  threshold = publishedThreshold,
): Filter {
  const shapes = filterShapes(depth, blockLength);
  ensure(shapes.size === tensors.size, "bad_file", `${origin}: a filter of depth ${depth} has ${shapes.size} tensors`);
  for (const [name, shape] of shapes) {
    const found = tensors.get(name);
    ensure(found?.shape.join() === shape.join(), "bad_file", () => {
      return `${origin}: the filter's tensor ${name} must be [${shape}]${found ? `, not [${found.shape}]` : ", and is missing"}`;
    });
    ensure(found.values.every(Number.isFinite), "bad_file", `${origin}: the filter's tensor ${name} is not finite`);
  }
  const layers = Array.from({ length: shapes.size / 2 }, (_, layer) => ({
    weight: tensors.get(`${layer}.weight`)!.values,
    bias: tensors.get(`${layer}.bias`)!.values,
  }));
  return {
    blockLength,
    depth,
    threshold,
    size: [...shapes.values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0),
    logits(confidences) {
      let values = new Float64Array(blockLength);
      for (let i = 0; i < confidences.length; i++) values[i] = Math.fround(confidences[i]);
      layers.forEach(({ weight, bias }, layer) => {
        const out = Float64Array.from(bias);
        for (let row = 0; row < blockLength; row++) {
          if (depth === "positions") out[row] += weight[row] * values[row];
          else for (let i = 0; i < blockLength; i++) out[row] += weight[row * blockLength + i] * values[i];
          if (layer < layers.length - 1 && out[row] < 0) out[row] = 0;
        }
        values = out;
      });
      return values.subarray(0, confidences.length);
    },
  };
}

/** Errors: `bad_file` for a part that holds no filter. */
export function filterOfPart({ card, folder, tensors }: Part): Filter {
  const { depth, blockLength, threshold = publishedThreshold } = card.settings;
  const whole = Number.isInteger(blockLength) && (blockLength as number) >= 1 && (blockLength as number) <= 2 ** 12;
  ensure(whole && depths.includes(depth as Depth), "bad_file", `${folder}: the card says no depth and block length`);
  ensure(typeof threshold === "number" && threshold >= 0 && threshold <= 1, "bad_file", () => {
    return `${folder}: the card's threshold must be a number from 0 to 1, not ${shown(threshold)}`;
  });
  return createFilter(depth as Depth, blockLength as number, tensors, folder, threshold);
}
