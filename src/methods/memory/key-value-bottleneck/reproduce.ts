/**
 * What the discrete key-value bottleneck claims: digits class by class, with an encoder and keys from other drawings, beside heads that are tuned on the
 * same stream. The tiny size, which has no data, takes the paper's toy stream in their place.
 */
import { defineReproduction, type Measurement } from "../../../papers/reproduction.ts";
import { mean, meanOf } from "../../../papers/statistics.ts";
import { classesOf, decide, type Labelled, learn } from "./learning.ts";
import { digitClasses, digitData, digitFeatures } from "./measuring.ts";
import { runStream, type StreamResult } from "./streams.ts";
import { regions, toyBottleneck, toyClasses, toyTask, toyTasks, uniformSquare } from "./toy.ts";

export const reproduction = defineReproduction({
  sizes: {
    tiny: {
      seeds: 2,
      steps: 0,
      digits: 0,
      drawings: 500,
      codebooks: 12,
      pairs: 40,
      keyWidth: 2,
      epochs: 60,
      headEpochs: 60,
    },
    quick: {
      seeds: 2,
      steps: 300,
      digits: 4000,
      drawings: 3000,
      codebooks: 48,
      pairs: 1024,
      keyWidth: 14,
      epochs: 40,
      headEpochs: 4,
    },
    full: {
      seeds: 3,
      steps: 1500,
      digits: 8000,
      drawings: 8000,
      codebooks: 128,
      pairs: 2048,
      keyWidth: 14,
      epochs: 120,
      headEpochs: 10,
    },
  },
  steps: ({ seeds }) => seeds,
  data: () => digitData,
  async measure({ step, signal, seed: first, size, data }, { seeds, steps, digits, drawings, ...settings }) {
    const results: StreamResult[] = [];
    for (let i = 0; i < seeds; i++) {
      const seed = first + i;
      const found = await step(`seed ${seed}`, async ({ folder, progress }) => {
        if (size === "tiny") {
          const toy = {
            train: toyData(seed, 50),
            test: toyData(seed + 1000, 25),
            drawings: uniformSquare(drawings, seed),
          };
          return runStream(toy, toyClasses, { ...settings, seed, signal, onProgress: progress });
        }
        const given = await digitFeatures(data, {
          ...{ seed, steps, digits, drawings, folder, signal },
          onProgress: (share) => progress(share / 3),
        });
        const onProgress = (share: number): void => progress((1 + 2 * share) / 3);
        return runStream(given, digitClasses, { ...settings, seed, signal, onProgress });
      });
      results.push(found as unknown as StreamResult);
    }
    const over = (of: (one: StreamResult) => number) => meanOf(results.map(of), first);
    const shares = Object.fromEntries(
      Object.keys(results[0]).map((name) => [name, mean(results.map((one) => one[name]))]),
    );
    const note =
      size === "tiny"
        ? "on the paper's toy stream"
        : `${digits} digits, ${settings.codebooks} codebooks of ${settings.pairs} pairs`;
    const measurements: Measurement[] = [
      { claim: "locality", value: results.reduce((sum, { moved }) => sum + moved, 0), count: results.length },
      { claim: "retains", ...over(({ firstNow }) => firstNow), note },
      { claim: "against-head", ...over(({ incremental, linear }) => incremental - linear), details: shares },
      { claim: "order-gap", ...over(({ incremental, shuffled }) => shuffled - incremental) },
      { claim: "share-of-iid", ...over(({ incremental, shuffled }) => incremental / shuffled) },
    ];
    return measurements;
  },
  trace: async () => {
    const bottleneck = await toyBottleneck("many", 0);
    const events = [];
    for (const task of toyTasks.keys()) {
      const stream = toyTask(task, 100, 0);
      await learn(bottleneck, stream, { epochs: 100, batch: 100, learningRate: 3 });
      const classes = regions((features) => classesOf(decide(bottleneck, features), toyClasses), 40);
      const samples = Array.from({ length: 40 }, (_, n): [number, number, number] => {
        return [stream.values[2 * n], stream.values[2 * n + 1], stream.labels[n]];
      });
      events.push({ type: "regions" as const, task, side: 40, classes, samples });
    }
    return events;
  },
});

/** All tasks of the toy stream together. */
function toyData(seed: number, count: number): Labelled {
  const tasks = toyTasks.map((_, task) => toyTask(task, count, seed));
  return {
    count: count * tasks.length,
    width: 2,
    values: Float32Array.from(tasks.flatMap(({ values }) => [...values])),
    labels: Int32Array.from(tasks.flatMap(({ labels }) => [...labels])),
  };
}
