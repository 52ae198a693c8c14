/** What is measured once on this machine and kept in the cache folder: pass times, acceptance. */
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { z } from "zod";
import { VentrisError } from "../errors.ts";
import { cacheFolder, openCached, writeFileAtomically } from "../weights/index.ts";
import type { Model } from "./model.ts";
import { shareWork } from "./shared-work.ts";

export interface Measurement<T> {
  /** Folder within the cache folder, and the file's name there: all that the result depends on is in it. */
  readonly folder: string;
  readonly key: string;
  readonly schema: z.ZodType<T>;
  /** Ends soon after the signal with `aborted`. */
  measure(signal: AbortSignal): Promise<T>;
}

/**
 * The result for a model, from the cache folder, or measured now, once for all requests that wait for it. Where the folder cannot be
 * written, the result serves this process alone. Errors: `aborted`, and those of measuring.
 */
export async function measured<T>(model: Model, measurement: Measurement<T>, signal?: AbortSignal): Promise<T> {
  const { folder, key } = measurement;
  const shared = await model.state(`${folder} ${key}`, () => shareWork((until) => kept(measurement, until)));
  return shared(signal);
}

/** All measurements of a folder are taken anew by processes that ask for them from now on. */
export const forgetMeasurements = (folder: string): Promise<void> =>
  rm(join(cacheFolder(), folder), { recursive: true, force: true });

async function kept<T>({ folder, key, schema, measure }: Measurement<T>, signal: AbortSignal): Promise<T> {
  let result: T | undefined;
  const write = async (path: string): Promise<void> => {
    result = await measure(signal);
    await writeFileAtomically(path, JSON.stringify(result));
  };
  try {
    return await openCached(join(folder, `${key}.json`), write, (path) => readMeasurement(path, schema), { signal });
  } catch (error) {
    const unwritable = error instanceof VentrisError && ["unavailable", "disk_full"].includes(error.code);
    if (!unwritable) throw error;
    return result ?? (await measure(signal));
  }
}

/** Errors: `bad_file`. */
export async function readMeasurement<T>(path: string, schema: z.ZodType<T>): Promise<T> {
  try {
    return schema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch (cause) {
    throw new VentrisError("bad_file", `${path}: not a measurement of this version`, { cause });
  }
}
