/** What learns from numbers in a page as under Node: filters of signals, and a head trained on a frozen model. */
import type { Model } from "../../src/index.ts";
import type * as signalArea from "../../src/methods/signals.ts";
import type * as modelArea from "../../src/models/index.ts";
import type * as tensorArea from "../../src/tensor/index.ts";
import type * as trainingArea from "../../src/training/index.ts";

/** Every filter of the registry fitted, written to a file, read and run: means of some bins. Nothing from outside stands in these functions. */
export async function fitAll(signals: typeof signalArea, folder: string): Promise<Record<string, number[] | string>> {
  const { filters, fitFilter, openFilter, filterAll, matrix, saveFilter, loadFilter } = signals;
  const bins = 160;
  const [states, observations] = [matrix(bins, 2), matrix(bins, 4)];
  for (let t = 0; t < bins; t++) {
    const state = [Math.sin(t / 9), Math.cos(t / 7)];
    states.data.set(state, 2 * t);
    for (let c = 0; c < 4; c++) {
      const noise = Math.sin(t * 12.9898 + c * 78.233) * 43758.5453;
      const rate = 4 + 2 * (c % 2 ? state[0] : state[1]) + (c > 1 ? state[0] * state[1] : 0);
      observations.data[4 * t + c] = Math.max(0, Math.round(rate + 2 * (noise - Math.floor(noise)) - 1));
    }
  }
  const quick: Record<string, Record<string, unknown>> = {
    ekf: { iterations: 5 },
    ukf: { iterations: 5 },
    particle: { particles: 50 },
    lstm: { passes: 2, batch: 40, cells: 3 },
  };
  const found: Record<string, number[] | string> = {};
  for (const method of filters) {
    try {
      const counts = method.name === "place";
      const model = await fitFilter(method, { states, observations }, {
        options: quick[method.name],
        ...(counts && { features: "as-is", centreStates: false }),
      } as Parameters<typeof fitFilter>[2]);
      const path = `${folder}/${method.name}.safetensors`;
      await saveFilter(path, model);
      const { means } = filterAll(openFilter(method, await loadFilter(path)), observations);
      found[method.name] = [20, 80, 150].flatMap((t) => [...means.data.subarray(2 * t, 2 * t + 2)]);
    } catch (error) {
      found[method.name] = `FAILED ${(error as Error).message}`;
    }
  }
  return found;
}

interface Areas {
  readonly models: typeof modelArea;
  readonly tensor: typeof tensorArea;
  readonly training: typeof trainingArea;
}

/** Losses while a head learns the token after the next one, and what the part holds that was written of it, read again. */
export async function trainHead(
  model: Model,
  { models, tensor, training }: Areas,
  folder: string,
): Promise<{ losses: number[]; kept: boolean; kind: string }> {
  const { vocabularySize: vocabulary } = model.config;
  const { width } = model.sites().find(({ name }) => name === "final")!;
  const head = {
    name: "medusa",
    site: "final",
    parameters: { weight: { shape: [vocabulary, width], values: new Float32Array(vocabulary * width) } },
    apply: (value: tensorArea.Tensor, { parameters }: { parameters: Record<string, tensorArea.Tensor> }) => ({
      readings: { logits: tensor.linear(value, parameters.weight) },
    }),
  };
  const [rows, length] = [1, 16];
  const { readings } = models.textGraph(model.family, model.config, {
    rows,
    length,
    instruments: { taps: ["medusa.logits"], edits: [head as never] },
  });
  const targets = tensor.input("targets", [rows * length], "int64");
  const int64 = (ids: number[], dims: number[]) => ({ data: BigInt64Array.from(ids, BigInt), dims });
  const { values: fixed } = await model.learnable();
  const objective = await training.graphObjective<number[]>({
    loss: tensor.reduceMean(tensor.crossEntropy(readings["medusa.logits"], targets)),
    trained: training.editParameters(head as never),
    fixed,
    feeds: (text) => ({
      tokens: int64(text.slice(0, length), [rows, length]),
      targets: int64(text.slice(2, length + 2), [length]),
    }),
  });
  const text = model.tokenizer!.encode(
    "There was an old king. He could read a script that everybody else had forgotten.",
  );
  const state = training.adamwState(objective.parameters);
  const losses: number[] = [];
  for (let step = 0; step < 5; step++) {
    const { loss, gradients } = await objective.gradients(text);
    losses.push(loss);
    training.adamwUpdate(objective.parameters, gradients, state, 0.01);
  }
  await objective.release();
  const [{ values }] = objective.parameters;
  const tensors = new Map([["weight", { shape: [vocabulary, width], values }]]);
  await model.writePart(`${folder}/head`, { kind: "medusa", sites: ["final"], settings: { distance: 2 }, tensors });
  const part = await model.part(`${folder}/head`, "medusa");
  const read = part.tensors.get("weight")!.values;
  // Kept in halves or floats: as near as those are.
  const kept = values.every((value, i) => Math.abs(value - read[i]) <= 1e-3);
  return { losses, kept, kind: part.card.kind };
}
