/** Stochastic gradient descent as it is published with older networks: θ ← θ - rate · g, without momentum. */
import { ensure } from "../errors.ts";
import { requireWithin } from "../numbers.ts";
import type { Parameter } from "./objective.ts";

/** One update in place. Gradients are by position in `parameters` and are multiplied by `scale` first. Errors: `bad_option`, `bad_shape`. */
export function sgdUpdate(
  parameters: readonly Parameter[],
  gradients: readonly Float32Array[],
  learningRate: number,
  scale = 1,
): void {
  requireWithin({ "sgd: learningRate": learningRate, "sgd: scale": scale }, 0);
  for (const [i, { name, values }] of parameters.entries()) {
    const gradient = gradients[i];
    ensure(gradient?.length === values.length, "bad_shape", () => {
      return `sgd: "${name}" has ${values.length} values but ${gradient?.length} gradient entries`;
    });
    for (let at = 0; at < values.length; at++) values[at] -= learningRate * scale * gradient[at];
  }
}
