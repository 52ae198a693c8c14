/**
 * A model small enough to write its gradient down, softmax regression, for the tests of this folder. Run as a program it
 * trains, printing each step's loss as a JSON line: `node regression.fixture.js FOLDER STEPS`.
 */
import { pathToFileURL } from "node:url";
import { uniform } from "../engine/random.ts";
import { train } from "./loop.ts";
import type { Objective, Parameter } from "./objective.ts";
import { cosine } from "./schedule.ts";

export interface Examples {
  /** [rows, features]. */
  readonly inputs: Float32Array;
  /** [rows], each below `classes`. */
  readonly labels: Int32Array;
}

export const features = 6;
export const classes = 4;

export function regression(): Objective<Examples> {
  const weight: Parameter = {
    name: "weight",
    shape: [classes, features],
    values: Float32Array.from({ length: classes * features }, (_, i) => Math.sin(i) / 10),
    decay: true,
  };
  const bias: Parameter = { name: "bias", shape: [classes], values: new Float32Array(classes), decay: false };
  const gradients = [new Float32Array(classes * features), new Float32Array(classes)];

  function evaluate({ inputs, labels }: Examples): number {
    for (const gradient of gradients) gradient.fill(0);
    let loss = 0;
    for (let row = 0; row < labels.length; row++) {
      const input = inputs.subarray(row * features, (row + 1) * features);
      const exponentials = Array.from(bias.values, (b, c) =>
        Math.exp(input.reduce((sum, x, f) => sum + x * weight.values[c * features + f], b)),
      );
      const total = exponentials.reduce((a, b) => a + b);
      loss -= Math.log(exponentials[labels[row]] / total) / labels.length;
      for (let c = 0; c < classes; c++) {
        const delta = (exponentials[c] / total - (c === labels[row] ? 1 : 0)) / labels.length;
        for (let f = 0; f < features; f++) gradients[0][c * features + f] += delta * input[f];
        gradients[1][c] += delta;
      }
    }
    return loss;
  }
  return {
    parameters: [weight, bias],
    gradients: async (batch) => ({ loss: evaluate(batch), gradients }),
    loss: async (batch) => evaluate(batch),
  };
}

/** Examples whose label is that of the largest among the first inputs: learnable, and a function of seed and index alone. */
export function examples(seed: number, index: number, rows = 8): Examples {
  const inputs = Float32Array.from(
    { length: rows * features },
    (_, i) => uniform({ seed, request: 0 }, index, "data", i) * 2 - 1,
  );
  const labels = Int32Array.from({ length: rows }, (_, row) => {
    const first = inputs.subarray(row * features, row * features + classes);
    return first.indexOf(Math.max(...first));
  });
  return { inputs, labels };
}

export const schedule = cosine({ peak: 0.05, warmup: 5, steps: 60 });

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await train({
    objective: regression(),
    batches: (index) => examples(3, index),
    steps: Number(process.argv[3]),
    schedule,
    checkpointFolder: process.argv[2],
    checkpointEvery: { steps: 7 },
    onProgress: ({ step, loss }) => process.stdout.write(`${JSON.stringify({ step, loss })}\n`),
  });
}
