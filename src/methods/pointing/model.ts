/** A trained network with its task, kept in one file. */
import { z } from "zod";
import { ensure } from "../../errors.ts";
import { within } from "../../files.ts";
import { checkJson, parseJsonObject } from "../../json.ts";
import { modelsFolder } from "../../shipped.ts";
import { openSafetensors, writeSafetensors } from "../../weights/safetensors.ts";
import { createNetwork, type Network, type Weight, weightShapes } from "./network.ts";
import { type TaskName, tasks } from "./tasks.ts";

/** A pointer network with the task it was trained for. */
export interface PointingModel {
  readonly task: TaskName;
  readonly network: Network;
  /** Sizes it was trained on, and steps. */
  readonly trained: {
    readonly sizes: readonly [low: number, high: number];
    readonly steps: number;
    readonly seed: number;
  };
  readonly weights: ReadonlyMap<string, Weight>;
}

export const pointingFormat = "ventris pointing 1";

/** Writes one safetensors file, halves; its metadata say what it is. Errors: `disk_full`, `unavailable`. */
export async function savePointing(path: string, { task, network, weights, trained }: PointingModel): Promise<void> {
  const tensors = Array.from(weights.values(), ({ name, shape, values }) => ({
    name,
    type: "F16" as const,
    shape,
    data: values,
  }));
  await writeSafetensors(path, tensors, {
    format: pointingFormat,
    card: JSON.stringify({ task, shape: network.shape, trained }),
  });
}

/** The file of the network that ships for a task. */
export const shippedNetwork = (task: TaskName): string => within(modelsFolder(), "pointing", `${task}.safetensors`);

/** Errors: `unavailable`; `bad_file` for a file that is no pointing network, is damaged, or has weights of another shape or not finite. */
export async function openPointing(path: string): Promise<PointingModel> {
  const source = await openSafetensors(path);
  try {
    ensure(source.metadata?.format === pointingFormat, "bad_file", `${path} is no pointing network of ours`);
    const card = parseJsonObject(source.metadata.card ?? "", `${path}: its card`);
    const { task, shape, trained } = checkJson(cardSchema, card, `${path}: its card`);
    const weights = new Map<string, Weight>();
    for (const [name, dimensions] of weightShapes(shape)) {
      const stored = source.tensors.get(name);
      ensure(stored, "bad_file", `${path} has no tensor ${name}`);
      ensure(
        String(stored.shape) === String(dimensions),
        "bad_file",
        `${path}: ${name} is [${stored.shape}], expected [${dimensions}]`,
      );
      const values = await source.readFloat32(name);
      weights.set(name, { name, shape: dimensions, values });
    }
    const extra = [...source.tensors.keys()].find((name) => !weights.has(name));
    ensure(extra === undefined, "bad_file", `${path}: the tensor ${extra} has no place in a ${shape.kind} network`);
    return { task, network: createNetwork(shape, weights), weights, trained };
  } finally {
    await source.close();
  }
}

const width = z.int().min(1).max(4096);
const cardSchema = z.object({
  task: z.enum(Object.keys(tasks) as TaskName[]),
  shape: z.strictObject({ kind: z.enum(["pointer", "attention", "plain"]), hidden: width, largest: width.optional() }),
  trained: z.object({
    sizes: z.tuple([width, width]).readonly(),
    steps: z.int().min(0),
    seed: z.int(),
  }),
});
