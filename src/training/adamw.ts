/**
 * AdamW (Loshchilov and Hutter 2019, algorithm 2) with the learning rate multiplying the decay, as PyTorch has it:
 *
 *     m ← β₁ m + (1 - β₁) g        v ← β₂ v + (1 - β₂) g²
 *     θ ← θ - rate · (decay · θ + m̂ / (√v̂ + ε)),    m̂ = m / (1 - β₁ᵗ),  v̂ = v / (1 - β₂ᵗ)
 */
import { ensure } from "../errors.ts";
import { requirePositive, requireWhole, requireWithin } from "../numbers.ts";
import type { Parameter } from "./objective.ts";

export interface AdamWOptions {
  /** Decay of the gradient's running mean; default 0.9. */
  readonly beta1?: number;
  /** Decay of the running mean of squares; default 0.999. */
  readonly beta2?: number;
  /** Added to the root of the second moment; default 1e-8. */
  readonly epsilon?: number;
  /** Decoupled weight decay of the parameters that ask for it; default 0.01. */
  readonly weightDecay?: number;
}

export interface AdamWState {
  /** Updates done so far; it sets the bias correction. */
  step: number;
  /** Per parameter [..., 2]: both moments of an entry side by side, so that the update walks three arrays and not four. */
  readonly moments: readonly Float32Array<ArrayBuffer>[];
}

/** A fresh state: zero moments for every parameter. */
export function adamwState(parameters: readonly Parameter[]): AdamWState {
  return { step: 0, moments: parameters.map(({ values }) => new Float32Array(2 * values.length)) };
}

/** The settings with their defaults. Errors: `bad_option` for numbers that there cannot be. */
export function requireAdamW(options: AdamWOptions = {}): Required<AdamWOptions> {
  const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0.01 } = options;
  for (const [name, beta] of Object.entries({ beta1, beta2 })) {
    ensure(beta >= 0 && beta < 1, "bad_option", `adamw: ${name} is ${beta} and must lie in [0, 1)`);
  }
  requirePositive({ "adamw: epsilon": epsilon });
  requireWithin({ "adamw: weightDecay": weightDecay }, 0);
  return { beta1, beta2, epsilon, weightDecay };
}

/**
 * One update in place. Gradients are by position in `parameters` and are multiplied by `scale` first (clipping, mean over
 * accumulated batches). Nothing is checked for finiteness here: look at their `euclideanNorm` before. Errors: `bad_option`, `bad_shape`.
 */
export function adamwUpdate(
  parameters: readonly Parameter[],
  gradients: readonly Float32Array[],
  state: AdamWState,
  learningRate: number,
  options: AdamWOptions = {},
  scale = 1,
): void {
  const { beta1, beta2, epsilon, weightDecay } = requireAdamW(options);
  requireWithin({ "adamw: learningRate": learningRate, "adamw: scale": scale }, 0);
  requireWhole({ "adamw: state.step": state.step }, 0);
  for (const [i, { name, values }] of parameters.entries()) {
    ensure(
      gradients[i]?.length === values.length && state.moments[i]?.length === 2 * values.length,
      "bad_shape",
      () => `adamw: "${name}" has ${values.length} values but ${gradients[i]?.length} gradient entries`,
    );
  }

  const step = ++state.step;
  // m̂ / (√v̂ + ε) = (m / (1 - β₁ᵗ)) · root / (√v + ε · root) with root = √(1 - β₂ᵗ): nothing but constants leave the loop.
  const root = Math.sqrt(1 - beta2 ** step);
  const rate = (learningRate * root) / (1 - beta1 ** step);
  for (let i = 0; i < parameters.length; i++) {
    const { values, decay } = parameters[i];
    const keep = decay ? 1 - learningRate * weightDecay : 1;
    updateTensor(values, gradients[i], state.moments[i], scale, beta1, beta2, keep, rate, epsilon * root);
  }
}

/**
 * The hot loop, one pass. Arithmetic stays in float64 between loads and stores: rounding each step with Math.fround takes
 * 1.8 times as long, since V8 does not narrow the root and the quotient to float32.
 */
function updateTensor(
  values: Float32Array,
  gradient: Float32Array,
  moments: Float32Array,
  scale: number,
  beta1: number,
  beta2: number,
  keep: number,
  rate: number,
  epsilon: number,
): void {
  const gain1 = (1 - beta1) * scale;
  const gain2 = (1 - beta2) * scale * scale;
  for (let i = 0, j = 0; i < values.length; i++, j += 2) {
    const g = gradient[i];
    const mean = beta1 * moments[j] + gain1 * g;
    const square = beta2 * moments[j + 1] + gain2 * g * g;
    moments[j] = mean;
    moments[j + 1] = square;
    values[i] = keep * values[i] - (rate * mean) / (Math.sqrt(square) + epsilon);
  }
}

/** Euclidean norm over all arrays together; NaN or Infinity exactly when an entry is. Summed in float64. */
export function euclideanNorm(arrays: readonly Float32Array[]): number {
  let sum = 0;
  for (const array of arrays) sum += sumOfSquares(array);
  return Math.sqrt(sum);
}

function sumOfSquares(values: Float32Array): number {
  // Four chains of additions run side by side; one chain would wait for each sum and take twice as long.
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  const whole = values.length - (values.length % 4);
  for (let i = 0; i < whole; i += 4) {
    a += values[i] * values[i];
    b += values[i + 1] * values[i + 1];
    c += values[i + 2] * values[i + 2];
    d += values[i + 3] * values[i + 3];
  }
  for (let i = whole; i < values.length; i++) a += values[i] * values[i];
  return a + b + (c + d);
}

/** The factor that brings a gradient of this norm down to `clip`; 1 when it is within, or clipping is off. Errors: `bad_option`. */
export function clipScale(norm: number, clip: number | undefined): number {
  requireWithin({ "clipScale: norm": norm }, 0);
  if (clip !== undefined) requirePositive({ "clipScale: clip": clip });
  return clip !== undefined && norm > clip ? clip / norm : 1;
}
