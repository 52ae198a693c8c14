/** How long a pass takes for a number of rows on this machine: what a draft budget is chosen by. Measured once, kept on disk. */

import { z } from "zod";
import { whenAborted } from "../aborts.ts";
import type { Forest } from "./forest.ts";
import { rising } from "./isotonic.ts";
import { forgetMeasurements, measured } from "./measurement.ts";
import type { DecodingModel } from "./model.ts";
import { watchProcessors } from "./processors.ts";

export interface PassCurve {
  /** What was measured, for readers: the model's name, precision, device and threads. */
  readonly model: string;
  /** Measured numbers of rows, ascending, and the median seconds of a pass. */
  readonly rows: readonly number[];
  readonly seconds: readonly number[];
  /** Share of the processors' time that other programs took meanwhile, 0 to 1; absent where that cannot be known. */
  readonly busy?: number;
}

const folderName = "pass-curves";
const measuredRows = [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128];

/** Seconds of a pass over `rows` rows, interpolated; beyond the last measurement in proportion. */
export function passSeconds({ rows, seconds }: PassCurve, count: number): number {
  const above = rows.findIndex((r) => r >= count);
  if (above === 0) return seconds[0];
  if (above < 0) return (seconds[seconds.length - 1] * count) / rows[rows.length - 1];
  const share = (count - rows[above - 1]) / (rows[above] - rows[above - 1]);
  return seconds[above - 1] + share * (seconds[above] - seconds[above - 1]);
}

const schema = z
  .object({
    model: z.string(),
    rows: z.array(z.int().min(1)).min(1),
    seconds: z.array(z.number().gt(0)).min(1),
    busy: z.number().min(0).max(1).optional(),
  })
  .refine(({ rows, seconds }) => rows.length === seconds.length, "as many times as numbers of rows");

/** The curve of a model with its threads and precision, measured when the cache folder has none. Errors: `aborted`. */
export function passCurve(model: DecodingModel, signal?: AbortSignal): Promise<PassCurve> {
  const of = ["pass curve 5", model.identity];
  const measure = async (until: AbortSignal): Promise<PassCurve> => {
    const busyShare = watchProcessors();
    const curve = await measureOn(model.forest, until);
    const busy = busyShare();
    return { model: model.identity, ...curve, ...(busy !== undefined && { busy }) };
  };
  return measured<PassCurve>(model, { folder: folderName, of, schema, measure }, signal);
}

/** All curves that are kept are measured anew when they are next asked for, by processes that begin after this. */
export const forgetPassCurves = (): Promise<void> => forgetMeasurements(folderName);

/** Others that took more than this while a curve was measured made it slower than the machine is. */
const disturbing = 0.15;

/** Words behind a figure of the curve where it was measured on a busy machine; otherwise nothing. */
export const underLoad = ({ busy = 0 }: PassCurve): string =>
  busy > disturbing ? ` (measured while other programs used ${Math.round(100 * busy)} % of the processors)` : "";

const rounds = 8;
const repetitions = 4;
/** Rounds before those, in which code is compiled and caches are filled. */
const warmUpRounds = 2;
/** A model is not kept busy for longer than this, but for a pass of each of the first sizes. */
const mostSeconds = 4;
const leastSizes = 3;

/**
 * Calls of several sizes below one short text, with all that surrounds the pass itself, interleaved so that a disturbance hits all
 * sizes alike. Disturbances only ever add time, so the lower quartile is taken; and more rows never cost less. Sizes for which there
 * was no time are left out.
 */
async function measureOn(forest: Forest, signal: AbortSignal): Promise<Omit<PassCurve, "model" | "busy">> {
  const begun = performance.now();
  const late = (): boolean => performance.now() - begun > 1000 * mostSeconds;
  const lease = forest.lease();
  const close = (): void => lease.close();
  const heard = whenAborted(signal, close);
  try {
    signal.throwIfAborted();
    const { node } = await lease.prefill(
      Array.from({ length: Math.min(64, forest.contextLength - 2) }, (_, i) => i % forest.vocabularySize),
    );
    const sizes = measuredRows.filter((rows) => rows <= Math.min(forest.maxRows, forest.vocabularySize));
    let times = sizes.map(() => [] as number[]);
    for (let round = 0; round < warmUpRounds + rounds; round++) {
      if (round === warmUpRounds && !late()) times = sizes.map(() => []);
      for (const [i, rows] of sizes.entries()) {
        if (late() && (round > 0 || i >= leastSizes)) break;
        // Decoding repeats passes of similar size, and finds caches as the last one left them: the first of a size is not counted.
        for (let repetition = 0; repetition < repetitions; repetition++) {
          const started = performance.now();
          const nodes = await lease.extend(Array.from({ length: rows }, (_, token) => ({ parent: node, token })));
          if (repetition > 0 || late()) times[i].push((performance.now() - started) / 1000);
          lease.release(nodes, { discard: true });
          if (late()) break;
        }
      }
    }
    const timed = times.filter((list) => list.length > 0);
    return {
      rows: sizes.slice(0, timed.length),
      seconds: rising(timed.map((list) => list.sort((a, b) => a - b)[list.length >> 2])),
    };
  } finally {
    heard();
    lease.close();
  }
}
