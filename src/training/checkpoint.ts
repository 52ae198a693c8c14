/**
 * Training checkpoints: one safetensors file that holds parameters, optimiser moments and the run's history, replaced
 * atomically, so that a folder always has either the previous checkpoint or the new one, whole. Parameters keep their
 * names, so the file also opens as plain weights.
 */
import { ensure, VentrisError } from "../errors.ts";
import { exists, storage, within } from "../files.ts";
import { parseJsonObject } from "../json.ts";
import { openSafetensors, writeSafetensors } from "../weights/safetensors.ts";
import type { WeightSource } from "../weights/source.ts";
import { type AdamWState, euclideanNorm } from "./adamw.ts";
import type { HistoryEntry } from "./history.ts";
import type { Parameter } from "./objective.ts";

/** What a training's steps depend on besides the seed, as JSON. */
export type Basis = Readonly<Record<string, unknown>>;

/** A training run as it stands: values, optimiser, history. */
export interface Checkpoint {
  /** Optimiser steps done. */
  readonly step: number;
  readonly seed: number;
  readonly history: readonly HistoryEntry[];
  /** The caller's own record of what is trained on what; any JSON. */
  readonly config: unknown;
  /** What the steps depended on. */
  readonly basis?: Basis;
}

/** A checkpoint's tensors, by position in the parameters it was loaded for. */
export interface LoadedCheckpoint extends Checkpoint {
  readonly values: readonly Float32Array<ArrayBuffer>[];
  readonly optimiser: AdamWState;
}

const formatName = "ventris training checkpoint 1";
const momentsPrefix = "optimiser.moments.";

/** Where a run's folder keeps its checkpoint. */
export const checkpointPath = (folder: string) => within(folder, "checkpoint.safetensors");

/**
 * Replaces the folder's checkpoint. The old one stays when this fails. Errors: `disk_full`, `unavailable`;
 * `runtime_failed` when a parameter is no longer finite, since nothing could be resumed from that.
 */
export async function saveCheckpoint(
  folder: string,
  checkpoint: Checkpoint & { readonly parameters: readonly Parameter[]; readonly optimiser: AdamWState },
): Promise<void> {
  const { step, seed, history, config, basis, parameters, optimiser } = checkpoint;
  for (const { name, values } of parameters) {
    ensure(
      Number.isFinite(euclideanNorm([values])),
      "runtime_failed",
      () => `parameter "${name}" is no longer finite; not saved`,
    );
  }
  const run = JSON.stringify({ step, seed, updates: optimiser.step, history, config: config ?? null, basis });
  const arrays = [...parameters.map(({ values }) => values), ...optimiser.moments];
  const tensors = parameters.flatMap(({ name, shape, values }, i) => [
    { name, type: "F32" as const, shape, data: values },
    { name: momentsPrefix + name, type: "F32" as const, shape: [...shape, 2], data: optimiser.moments[i] },
  ]);
  await writeSafetensors(checkpointPath(folder), tensors, {
    format: formatName,
    run,
    digest: await digestOf(run, arrays),
  });
}

/**
 * Reads and verifies the folder's checkpoint for these parameters without touching them; undefined when there is none.
 * Errors: `bad_checkpoint` when the file is damaged or belongs to other parameters.
 */
export async function loadCheckpoint(
  folder: string,
  parameters: readonly Parameter[],
): Promise<LoadedCheckpoint | undefined> {
  const path = checkpointPath(folder);
  if (!(await exists(path))) return undefined;
  try {
    const file = await openSafetensors(path);
    try {
      const { format, run, digest } = file.metadata;
      ensure(format === formatName, "bad_checkpoint", "it was not written as a training checkpoint of this version");
      ensure(run !== undefined, "bad_checkpoint", "it does not say what run it belongs to");
      const values = await readTensors(
        file,
        parameters.map(({ name, shape }) => ({ name, shape })),
      );
      const moments = await readTensors(
        file,
        parameters.map(({ name, shape }) => ({ name: momentsPrefix + name, shape: [...shape, 2] })),
      );
      const extra = file.tensors.size - 2 * parameters.length;
      ensure(extra === 0, "bad_checkpoint", `it holds ${extra} tensors that the model does not have`);
      ensure(
        digest === (await digestOf(run, [...values, ...moments])),
        "bad_checkpoint",
        "its contents do not match its digest",
      );
      const { updates, ...checkpoint } = parseJsonObject(run, "its run") as unknown as Checkpoint & { updates: number };
      return { ...checkpoint, values, optimiser: { step: updates, moments } };
    } finally {
      await file.close();
    }
  } catch (error) {
    if (!(error instanceof VentrisError)) throw error;
    const advice = "give another checkpoint folder, or move the file away to start anew";
    throw new VentrisError("bad_checkpoint", `cannot resume from ${path}: ${error.message}; ${advice}`, {
      cause: error,
    });
  }
}

/** What a checkpoint says of its run, without its tensors; undefined when there is none. Errors: as `loadCheckpoint`. */
export async function readRun(folder: string): Promise<Checkpoint | undefined> {
  const path = checkpointPath(folder);
  if (!(await exists(path))) return undefined;
  const file = await openSafetensors(path);
  try {
    ensure(file.metadata.format === formatName, "bad_checkpoint", `${path} was not written as a training checkpoint`);
    return parseJsonObject(file.metadata.run ?? "", `${path}: its run`) as unknown as Checkpoint;
  } finally {
    await file.close();
  }
}

async function readTensors(
  file: WeightSource,
  wanted: readonly { name: string; shape: readonly number[] }[],
): Promise<Float32Array<ArrayBuffer>[]> {
  const result: Float32Array<ArrayBuffer>[] = [];
  for (const { name, shape } of wanted) {
    const info = file.tensors.get(name);
    ensure(info, "bad_checkpoint", `it lacks the tensor "${name}"`);
    const fits = info.type === "F32" && info.shape.join() === shape.join();
    ensure(fits, "bad_checkpoint", `"${name}" is ${info.type} [${info.shape}] there, but F32 [${shape}] in the model`);
    result.push(await file.readFloat32(name));
  }
  return result;
}

/** Safetensors has no checksum of its own; a flipped bit in a moment would otherwise go unnoticed. */
async function digestOf(run: string, arrays: readonly Float32Array<ArrayBuffer>[]): Promise<string> {
  const hash = (await storage()).hash("sha256").update(run);
  for (const { buffer, byteOffset, byteLength } of arrays) hash.update(new Uint8Array(buffer, byteOffset, byteLength));
  return hash.hex();
}
