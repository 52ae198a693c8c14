/** Runs a reproduction: opens what it needs, keeps its finished steps on disk, tells how far it is, and makes the record. */

import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { appendFile, readFile, rm } from "node:fs/promises";
import { cpus, totalmem, type } from "node:os";
import { isAbsolute, join } from "node:path";
import { fileURLToPath } from "node:url";
import { methodChoice, shaperChoice } from "../calls.ts";
import type { TimedEvent } from "../engine/trace.ts";
import { ensure, plural, VentrisError } from "../errors.ts";
import { makeFolder } from "../node-folders.ts";
import { type Model, open } from "../open.ts";
import { pictureOf, sceneOf } from "../training/seeing/scenes.ts";
import { cacheFolder } from "../weights/index.ts";
import type { Paper } from "./paper.ts";
import { weightsOf } from "./record-state.ts";
import type { Json, Measurement, ReproductionRecord, Size } from "./reproduction.ts";

export interface ReproduceOptions {
  readonly size: Size;
  readonly seed?: number;
  /** Forgets the steps that an interrupted run kept. */
  readonly fresh?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: ReproductionProgress) => void;
  /** Where steps are kept; default: in the cache folder. */
  readonly folder?: string;
}

export interface ReproductionProgress {
  readonly done: number;
  readonly total: number;
  /** The step under way, or just done. */
  readonly step: string;
  /** Seconds; undefined before anything is known. */
  readonly secondsLeft?: number;
}

/** A finished step. */
interface Kept {
  readonly key: string;
  readonly seconds: number;
  readonly result: Json;
}

/**
 * Measures a paper's claims. Errors: `unavailable` for a planned system, and for missing models or data; `aborted` when the signal
 * stops it (the steps done are kept, and the same call goes on from there); what the system's own code throws.
 */
export async function reproduce(paper: Paper, options: ReproduceOptions): Promise<ReproductionRecord> {
  const { size, seed = 0, onProgress } = options;
  const signal = options.signal ?? new AbortController().signal;
  ensure(paper.reproduction, "unavailable", `${paper.name} is planned: there is nothing of it to run yet`);
  const reproduction = await paper.reproduction();
  const chosen = reproduction.sizes[size];
  if (size !== "tiny") for (const file of reproduction.data?.(chosen) ?? []) dataPath(...file.split("/"));
  const identity = JSON.stringify([packageVersion(), size, seed, chosen]);
  const folder = join(
    options.folder ?? join(await cacheFolder(), "reproductions"),
    `${paper.name}-${size}-${createHash("sha256").update(identity).digest("hex").slice(0, 12)}`,
  );
  if (options.fresh) await rm(folder, { recursive: true, force: true });
  await makeFolder(folder);
  const file = join(folder, "steps.jsonl");
  const kept = await readKept(file);

  const total = reproduction.steps(chosen);
  const asked = new Set<string>();
  const models = new Map<string, Promise<Model>>();
  const names = new Set<string>();
  // Steps that this run computed, and the seconds that they took.
  let computed = 0;
  let computing = 0;
  /** `seconds`: of the step under way. */
  const report = (step: string, share = 0, seconds = 0): void => {
    const rest = total - asked.size + (1 - share);
    const finished = computed + (seconds > 0 ? share : 0);
    const pace = (computing + seconds) / finished;
    onProgress?.({
      done: asked.size - 1 + share,
      total,
      step,
      ...(finished > 0.01 && { secondsLeft: Math.max(0, pace * rest) }),
    });
  };

  async function step<Result extends Json>(
    key: string,
    work: (step: { folder: string; progress(share: number): void }) => Promise<Result>,
  ): Promise<Result> {
    ensure(!asked.has(key), "internal", `reproduction ${paper.name}: two steps are called "${key}"`);
    if (signal.aborted) throw new VentrisError("aborted", stopped(paper, folder, kept.size, total));
    asked.add(key);
    const known = kept.get(key);
    if (known) {
      report(key, 1);
      return known.result as Result;
    }
    report(key);
    const own = join(folder, createHash("sha256").update(key).digest("hex").slice(0, 16));
    await makeFolder(own);
    const started = performance.now();
    const spent = (): number => (performance.now() - started) / 1000;
    const progress = (share: number): void => report(key, Math.min(1, Math.max(0, share)), spent());
    const result = await work({ folder: own, progress });
    // A step that was cut short (its runs were aborted) must not be kept as if it were whole.
    if (signal.aborted) throw new VentrisError("aborted", stopped(paper, folder, kept.size, total));
    const seconds = spent();
    computed += 1;
    computing += seconds;
    kept.set(key, { key, seconds, result });
    await makeFolder(folder); // another process with the same run may have finished it
    await appendFile(file, `${JSON.stringify({ key, seconds, result })}\n`);
    await rm(own, { recursive: true, force: true });
    report(key, 1);
    return result;
  }

  try {
    const measurements = await reproduction.measure(
      {
        size,
        seed,
        signal,
        open(reference, openOptions = {}) {
          const key = JSON.stringify([reference, openOptions]);
          // A path is of this machine alone: of a model that a step trained here, which the record's options and seed say how to get.
          if (!isAbsolute(reference)) names.add(reference);
          if (!models.has(key)) models.set(key, open(reference, openOptions));
          return models.get(key)!;
        },
        data: dataPath,
        step,
      },
      chosen,
    );
    checkMeasurements(paper, measurements);
    const seconds = [...asked].reduce((sum, key) => sum + (kept.get(key)?.seconds ?? 0), 0);
    const record: ReproductionRecord = {
      format: 1,
      name: paper.name,
      size,
      seed,
      options: chosen,
      date: new Date().toISOString(),
      seconds: Math.round(seconds * 10) / 10,
      models: [...names],
      weights: await weightsOf([...names]),
      machine: describeMachine(),
      versions: versions(),
      measurements,
    };
    await rm(folder, { recursive: true, force: true });
    return record;
  } catch (error) {
    if (signal.aborted && !(error instanceof VentrisError && error.code === "aborted")) {
      throw new VentrisError("aborted", stopped(paper, folder, kept.size, total), { cause: error });
    }
    throw error;
  } finally {
    for (const model of await Promise.allSettled(models.values())) {
      if (model.status === "fulfilled") await model.value.close();
    }
  }
}

/**
 * The events of a short run that shows the system off, for the gallery: what the reproduction gives, or its showcase decoded. `live`: for somebody
 * who waits. Errors: `unavailable` where there is neither, and for missing models or data.
 */
export async function showcase(paper: Paper, signal: AbortSignal, { live = false } = {}): Promise<TimedEvent[]> {
  const reproduction = await paper.reproduction?.();
  if (live && reproduction?.live) return reproduction.live(signal, open);
  if (reproduction?.trace) return reproduction.trace(signal, open, dataPath);
  const { showcase: shown, lives } = paper;
  ensure(
    reproduction && shown && "prompt" in shown,
    "unavailable",
    `${paper.name} has nothing to decode that would show it off`,
  );
  await using model = await open(shown.model ?? "knossos");
  const method = methodChoice({ ...shown.methodOptions, name: lives.method ?? "sample" });
  const shapers = shown.shapers?.map(shaperChoice);
  const events: TimedEvent[] = [];
  const started = performance.now();
  const { prompt, scene, chat } = shown;
  const said = scene
    ? [{ image: pictureOf(sceneOf("test", scene.seed, scene.number), scene.size) }, prompt]
    : chat
      ? [{ role: "user", content: prompt }]
      : prompt;
  for await (const event of model.decode(said, { ...shown.options, method, shapers, signal })) {
    events.push({ ...event, at: (performance.now() - started) / 1000 });
  }
  return events;
}

const stopped = (paper: Paper, folder: string, done: number, total: number): string =>
  `${paper.name}: stopped with ${done} of ${plural(total, "step")} done; they are kept in ${folder}, and the same command goes on from there`;

/** Whole lines alone: the last one may have been cut by a kill. */
async function readKept(file: string): Promise<Map<string, Kept>> {
  const kept = new Map<string, Kept>();
  if (!existsSync(file)) return kept;
  for (const line of (await readFile(file, "utf8")).split("\n")) {
    try {
      const step: Kept = JSON.parse(line);
      if (typeof step.key === "string" && "result" in step) kept.set(step.key, step);
    } catch {
      // computed again
    }
  }
  return kept;
}

function checkMeasurements(paper: Paper, measurements: readonly Measurement[]): void {
  const seen = new Set<string>();
  for (const { claim } of measurements) {
    ensure(
      paper.claims.some(({ id }) => id === claim) && !seen.has(claim),
      "internal",
      `reproduction ${paper.name}: "${claim}" is no claim of the paper, or was measured twice`,
    );
    seen.add(claim);
  }
}

/** Evaluation data lies beside a checkout and is never copied into it. */
function dataPath(...names: string[]): string {
  const folder = process.env.VENTRIS_DATA ?? fileURLToPath(new URL("../../../shared/data", import.meta.url));
  const path = join(folder, ...names);
  ensure(
    existsSync(path),
    "unavailable",
    `no evaluation data at ${path}: set VENTRIS_DATA to the folder that has it. The size tiny needs none`,
  );
  return path;
}

function describeMachine(): ReproductionRecord["machine"] {
  const processors = cpus();
  return {
    processor: processors[0]?.model.trim() ?? "unknown",
    cores: processors.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${process.arch}`,
  };
}

function versions(): Record<string, string> {
  const runtime = fileURLToPath(import.meta.resolve("onnxruntime-common"));
  const manifest = runtime.slice(0, runtime.lastIndexOf("onnxruntime-common") + "onnxruntime-common".length);
  return {
    ventris: packageVersion(),
    node: process.versions.node,
    onnxruntime: JSON.parse(readFileSync(join(manifest, "package.json"), "utf8")).version,
  };
}

const packageVersion = (): string =>
  JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")).version;
