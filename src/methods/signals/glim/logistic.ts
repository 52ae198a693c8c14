/** Multinomial logistic regression on sparse features, by AdaGrad in an order that the seed fixes. */
import { uniform } from "../../../engine/random.ts";

export interface Example {
  /** Indices of features and their values. */
  readonly features: readonly (readonly [index: number, value: number])[];
  readonly label: number;
}

export interface LogisticOptions {
  readonly classes: number;
  readonly size: number;
  readonly passes: number;
  readonly rate: number;
  /** Weight of half the squared norm, per example. */
  readonly decay: number;
  readonly seed: number;
}

/** Log-probabilities of the classes for an example. */
export type Classifier = (features: Example["features"]) => Float64Array;

export function fitLogistic(
  examples: readonly Example[],
  { classes, size, passes, rate, decay, seed }: LogisticOptions,
): Classifier {
  const weights = new Float64Array(size * classes);
  const squares = new Float64Array(size * classes).fill(1e-6);
  const [logs, errors] = [new Float64Array(classes), new Float64Array(classes)];
  const predict: Classifier = (features) => {
    logs.fill(0);
    for (const [index, value] of features)
      for (let c = 0; c < classes; c++) logs[c] += value * weights[index * classes + c];
    let largest = -Infinity;
    for (let c = 0; c < classes; c++) largest = Math.max(largest, logs[c]);
    let total = 0;
    for (let c = 0; c < classes; c++) total += Math.exp(logs[c] - largest);
    for (let c = 0; c < classes; c++) logs[c] -= largest + Math.log(total);
    return logs;
  };
  for (let pass = 0; pass < passes; pass++) {
    const keys = examples.map((_, i) => uniform({ seed, request: pass }, i, "data"));
    const order = keys.map((_, i) => i).sort((a, b) => keys[a] - keys[b]);
    for (const i of order) {
      const { features, label } = examples[i];
      predict(features);
      for (let c = 0; c < classes; c++) errors[c] = Math.exp(logs[c]) - (c === label ? 1 : 0);
      for (const [index, value] of features) {
        for (let c = 0, at = index * classes; c < classes; c++, at++) {
          const gradient = errors[c] * value + decay * weights[at];
          squares[at] += gradient * gradient;
          weights[at] -= (rate * gradient) / Math.sqrt(squares[at]);
        }
      }
    }
  }
  return predict;
}
