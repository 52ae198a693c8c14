/** Holding a neuron at a value: an edit like any other. */
import type { ReadyEdit } from "../../../engine/sites/ready.ts";
import { ensure } from "../../../errors.ts";
import { checkLayer } from "../layers.ts";

/**
 * `up`: the neuron's value u is set, and the gate still multiplies it. `product`: gate times u is set, what the neuron writes is driven directly.
 */
export const drives = ["up", "product"] as const;

/**
 * The causal check: a neuron's value is held at `value` in every row, prompt and output, under any method. Whether the model has the neuron is seen
 * when the edit is used. Errors: `bad_option` for a value that is not finite.
 */
export function clampNeuron({ layer, neuron, value, drive = "up" }: Clamp): ReadyEdit {
  const finite = Number.isFinite(value);
  ensure(finite, "bad_option", `clamp ${layer}.${neuron}: the value must be a finite number, not ${value}`);
  return { site: `layers.${layer}.mlp.${drive === "up" ? "up" : "neurons"}`, entries: [neuron], set: value };
}

export interface Clamp {
  readonly layer: number;
  readonly neuron: number;
  readonly value: number;
  /** What is set: u, which the gate still multiplies, or their product. Default: "up". */
  readonly drive?: (typeof drives)[number];
}

/** Errors: `bad_option`. */
export function checkNeuron(
  { layers, feedForward }: { readonly layers: number; readonly feedForward: number },
  layer: number,
  neuron: number,
): void {
  checkLayer({ layers }, layer);
  ensure(Number.isInteger(neuron) && neuron >= 0 && neuron < feedForward, "bad_option", () => {
    return `layer ${layer} has no neuron ${neuron}: it has neurons 0 to ${feedForward - 1}`;
  });
}
