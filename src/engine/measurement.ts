/** What is measured once on this machine and kept in the cache folder: pass times, acceptance. */
import type { z } from "zod";
import { VentrisError } from "../errors.ts";
import { keeping, readWhole, within } from "../files.ts";
import { cacheFolder, cacheKey, openCached, writeFileAtomically } from "../weights/index.ts";
import type { DecodingModel } from "./model.ts";
import { shareWork } from "./shared-work.ts";

export interface Measurement<T> {
  /** Folder within the cache folder. */
  readonly folder: string;
  /** All that the result depends on: it names the file there. */
  readonly of: readonly (string | number)[];
  readonly schema: z.ZodType<T>;
  /** Ends soon after the signal with `aborted`. */
  measure(signal: AbortSignal): Promise<T>;
}

/**
 * The result for a model, from the cache folder, or measured now, once for all requests that wait for it. Where the folder cannot be
 * written, the result serves this process alone. Errors: `aborted`, and those of measuring.
 */
export async function measured<T>(model: DecodingModel, measurement: Measurement<T>, signal?: AbortSignal): Promise<T> {
  const path = within(measurement.folder, `${await cacheKey(...measurement.of)}.json`);
  const shared = await model.state(path, () => shareWork((until) => kept(path, measurement, until)));
  return shared(signal);
}

/** All measurements of a folder are taken anew by processes that ask for them from now on. */
export const forgetMeasurements = async (folder: string): Promise<void> =>
  (await keeping()).remove(within(await cacheFolder(), folder));

async function kept<T>(path: string, { schema, measure }: Measurement<T>, signal: AbortSignal): Promise<T> {
  let result: T | undefined;
  const write = async (file: string): Promise<void> => {
    result = await measure(signal);
    await writeFileAtomically(file, JSON.stringify(result));
  };
  try {
    return await openCached(path, write, (file) => readMeasurement(file, schema), { signal });
  } catch (error) {
    const unwritable = error instanceof VentrisError && ["unavailable", "disk_full"].includes(error.code);
    if (!unwritable) throw error;
    return result ?? (await measure(signal));
  }
}

/** Measurements are some numbers: what is longer is none. */
const mostBytes = 2 ** 26;

/** Errors: `bad_file`. */
export async function readMeasurement<T>(path: string, schema: z.ZodType<T>): Promise<T> {
  try {
    return schema.parse(JSON.parse(new TextDecoder().decode(await readWhole(path, mostBytes))));
  } catch (cause) {
    throw new VentrisError("bad_file", `${path}: not a measurement of this version`, { cause });
  }
}
