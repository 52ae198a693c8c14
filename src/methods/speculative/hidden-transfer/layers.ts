/**
 * After which layer each step begins, by measurement: a part is trained for a few steps from after each layer of the model alike, and its guesses
 * are judged on other batches. The steps then take the layers of the least loss together that do not fall, as a step's rows look at those before.
 */
import { ensure } from "../../../errors.ts";
import type { Tensor } from "../../../tensor/index.ts";
import { adamwState, adamwUpdate, clipScale, euclideanNorm } from "../../../training/adamw.ts";
import { graphObjective } from "../../../training/graph-objective.ts";
import type { TokenBatch } from "../../../training/objective.ts";
import type { PartGraph, PartTask } from "../../../training/parts.ts";

/** Steps that a part is trained for, batches that it is judged on, and its rate, that of the shipped recipe. */
const [trainedSteps, judged, rate] = [60, 4, 0.002];
/** Batches from here on are drawn from the same texts, and no run comes to them. */
const apart = 2 ** 31;

export interface MeasuredLayers {
  readonly layers: readonly number[];
  /** Loss by layer, from the first, and by step. */
  readonly losses: readonly (readonly number[])[];
}

/** For each step a layer (from 1), none before that of the step ahead of it, whose losses are least in all. */
export function bestLayers(losses: readonly (readonly number[])[]): number[] {
  let ends = losses.map((_, at) => ({ loss: 0, layers: [] as number[], at }));
  for (const step of losses[0].keys()) {
    ends = losses.map((ofSteps, at) => {
      const before = ends.slice(0, step === 0 ? undefined : at + 1).reduce((a, b) => (b.loss < a.loss ? b : a));
      return { loss: before.loss + ofSteps[step], layers: [...before.layers, at + 1], at };
    });
  }
  return ends.reduce((a, b) => (b.loss < a.loss ? b : a)).layers;
}

/** Errors: `bad_option` for a model of one layer; those of compiling and training. */
export async function measureLayers(
  { config, values, threads, batch, say = () => {} }: PartTask,
  steps: number,
  graphOf: (layers: readonly number[]) => PartGraph & { readonly ofSteps: Tensor },
): Promise<MeasuredLayers> {
  const count = config.layers - 1;
  ensure(count >= 1, "bad_option", "layers: a model of one layer has none after which states could go on");
  say(`layers: none are given: parts that begin after 1 to ${count} are trained for ${trainedSteps} steps each`);
  const losses: number[][] = [];
  for (let layer = 1; layer <= count; layer++) {
    const { loss, trained, feeds, ofSteps } = graphOf(new Array<number>(steps).fill(layer));
    const outputs = { ofSteps };
    const objective = await graphObjective<TokenBatch>({ loss, trained, fixed: values, threads, feeds, outputs });
    try {
      const state = adamwState(trained);
      for (let step = 0; step < trainedSteps; step++) {
        const { gradients } = await objective.gradients(batch(step));
        const scale = clipScale(euclideanNorm(gradients), 1);
        adamwUpdate(trained, gradients, state, rate, { weightDecay: 0 }, scale);
      }
      const sums = new Array<number>(steps).fill(0);
      for (let i = 0; i < judged; i++) {
        const found = (await objective.evaluate(batch(apart + i))).outputs.ofSteps.data as Float32Array;
        for (const step of sums.keys()) sums[step] += found[step] / judged;
      }
      losses.push(sums);
    } finally {
      await objective.release();
    }
    say(
      `layers: after ${layer}, loss by step: ${losses
        .at(-1)!
        .map((value) => value.toFixed(3))
        .join(", ")}`,
    );
  }
  const layers = bestLayers(losses);
  say(`layers: ${layers.join(", ")}, the least in all of those that do not fall`);
  return { layers, losses };
}
