/** How long a pass takes for a number of rows on this machine: what a draft budget is chosen by. Measured once, kept on disk. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { ensure } from "../errors.ts";
import { cacheFolder, cacheKey, openCached, writeFileAtomically } from "../weights/index.ts";
import type { Forest } from "./forest.ts";
import { rising } from "./isotonic.ts";
import type { Model } from "./model.ts";

export interface PassCurve {
  /** What was measured, for readers: the model's name, precision, device and threads. */
  readonly model: string;
  /** Measured numbers of rows, ascending, and the median seconds of a pass. */
  readonly rows: readonly number[];
  readonly seconds: readonly number[];
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

/** The curve of a model with its threads and precision, measured when the cache folder has none. */
export async function passCurve(model: Model): Promise<PassCurve> {
  return model.state("pass curve", () =>
    openCached(
      join(folderName, `${cacheKey("pass curve 4", model.identity)}.json`),
      async (path) => {
        const text = JSON.stringify({ model: model.identity, ...(await measure(model.forest)) });
        await writeFileAtomically(path, new TextEncoder().encode(text));
      },
      readCurve,
    ),
  );
}

/** Curves measured on this machine so far. */
export async function knownPassCurves(): Promise<PassCurve[]> {
  const folder = join(cacheFolder(), folderName);
  const names = await readdir(folder).catch(() => []);
  const curves = await Promise.all(
    names.filter((name) => name.endsWith(".json")).map((name) => readCurve(join(folder, name)).catch(() => undefined)),
  );
  return curves.filter((curve) => curve !== undefined);
}

async function readCurve(path: string): Promise<PassCurve> {
  let curve: Partial<PassCurve> | undefined;
  try {
    curve = JSON.parse(await readFile(path, "utf8")) as Partial<PassCurve>;
  } catch {
    curve = undefined;
  }
  const { model, rows, seconds } = curve ?? {};
  const valid = Array.isArray(rows) && Array.isArray(seconds) && rows.length === seconds.length && rows.length > 0;
  ensure(valid && seconds.every((s) => s > 0 && Number.isFinite(s)), "bad_file", `${path}: not a pass curve`);
  return { model: String(model), rows: rows as number[], seconds: seconds as number[] };
}

const rounds = 8;
const repetitions = 4;
/** Rounds before those, in which code is compiled and caches are filled. */
const warmUpRounds = 2;
/** A large model is not kept busy for longer than this, but for one round. */
const mostSeconds = 4;

/**
 * Calls of several sizes below one short text, with all that surrounds the pass itself, interleaved so that a disturbance hits all
 * sizes alike. Disturbances only ever add time, so the lower quartile is taken; and more rows never cost less.
 */
async function measure(forest: Forest): Promise<Omit<PassCurve, "model">> {
  const lease = forest.lease();
  try {
    const { node } = await lease.prefill(
      Array.from({ length: Math.min(64, forest.contextLength - 2) }, (_, i) => i % forest.vocabularySize),
    );
    const sizes = measuredRows.filter((rows) => rows <= Math.min(forest.maxRows, forest.vocabularySize));
    let times = sizes.map(() => [] as number[]);
    const begun = performance.now();
    for (let round = 0; round < warmUpRounds + rounds; round++) {
      if (round > 0 && performance.now() - begun > 1000 * mostSeconds) break;
      if (round === warmUpRounds) times = sizes.map(() => []);
      for (const [i, rows] of sizes.entries()) {
        // Decoding repeats passes of similar size, and finds caches as the last one left them: the first of a size is not counted.
        for (let repetition = 0; repetition < repetitions; repetition++) {
          const started = performance.now();
          const nodes = await lease.extend(Array.from({ length: rows }, (_, token) => ({ parent: node, token })));
          if (repetition > 0) times[i].push((performance.now() - started) / 1000);
          lease.release(nodes, { discard: true });
        }
      }
    }
    return { rows: sizes, seconds: rising(times.map((list) => list.sort((a, b) => a - b)[list.length >> 2])) };
  } finally {
    lease.close();
  }
}
