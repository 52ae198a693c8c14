/**
 * The canvas: for sequences that are filled in any order what the forest is for trees. A sheet is one sequence with the keys and values that
 * it keeps; a call computes any of its rows, all others standing in with what was kept; calls that wait at the same time share a pass.
 */
import { formatBytes } from "../../bytes.ts";
import { ensure, VentrisError } from "../../errors.ts";
import type { MaskedDiffusion, ModelConfig } from "../../models/family.ts";
import { nextTurn } from "../../turn.ts";
import { type CanvasPass, type CanvasRows, columnsFor, type Planes } from "./pass.ts";

export interface SheetCall {
  /** Tokens of the whole sequence. */
  readonly tokens: ArrayLike<number>;
  /** Positions to compute, rising; "all" of them needs nothing kept. */
  readonly rows: readonly number[] | "all";
  /** Positions whose rows are scored: among those that are computed. */
  readonly scored: readonly number[];
  /** Keep the rows' keys and values for later calls. */
  readonly keep: boolean;
}

export interface Sheet {
  /**
   * Logits [scored, vocabulary], valid until the next call. Errors: `out_of_memory` where the kept rows would exceed the limit,
   * `runtime_failed`, `aborted` after `close`.
   */
  compute(call: SheetCall): Promise<Float32Array>;
  /** Frees what was kept; a call that waits ends as aborted. */
  close(): void;
}

export interface Canvas extends MaskedDiffusion {
  readonly contextLength: number;
  readonly endTokens: readonly number[];
  readonly counters: { passes: number; rows: number; secondsInPasses: number };
  /** Bytes of keys and values that sheets keep. */
  readonly held: number;
  open(): Sheet;
  close(): Promise<void>;
}

interface Job {
  readonly rows: CanvasRows;
  cancelled: boolean;
  finish(result: Float32Array): void;
  fail(error: unknown): void;
}

export interface CanvasOptions {
  /** Bytes of kept keys and values. */
  readonly memoryLimit: number;
  /** Rows of a pass; a call of more has one for itself. */
  readonly maxRows?: number;
}

const aborted = (): VentrisError => new VentrisError("aborted", "the request was aborted");

/** Errors: `bad_option` for a limit that is not positive. */
export function createCanvas(config: ModelConfig, pass: CanvasPass, options: CanvasOptions): Canvas {
  const { memoryLimit, maxRows = 2048 } = options;
  const { layers, keyValueHeads, headDimension, contextLength, diffusion, endTokens } = config;
  ensure(diffusion, "internal", "a canvas needs a masked diffusion model");
  const counters = { passes: 0, rows: 0, secondsInPasses: 0 };
  const queue: Job[] = [];
  let pumping: Promise<void> | undefined;
  let held = 0;
  const bytesFor = (columns: number): number => 8 * layers * keyValueHeads * headDimension * columns;

  /** The calls of the next pass: those that come first, and others of about as many rows, since sequences are padded to the longest. */
  function takeBatch(): Job[] {
    const batch: Job[] = [];
    let longest = 0;
    let rows = 0;
    for (let i = 0; i < queue.length; ) {
      const job = queue[i];
      const own = job.rows.positions.length;
      const next = Math.max(longest, own);
      const padded = next * (batch.length + 1);
      const joins = batch.length === 0 || (padded <= maxRows && padded <= 1.5 * (rows + own));
      if (!job.cancelled && !joins) {
        i++;
        continue;
      }
      queue.splice(i, 1);
      if (job.cancelled) job.fail(aborted());
      else {
        batch.push(job);
        longest = next;
        rows += own;
      }
    }
    return batch;
  }

  async function pump(): Promise<void> {
    while (queue.length > 0) {
      await nextTurn(); // whatever became ready in this turn joins
      const batch = takeBatch();
      if (batch.length === 0) continue;
      const started = performance.now();
      try {
        const results = await pass.run(batch.map((job) => job.rows));
        batch.forEach((job, i) => {
          if (job.cancelled) job.fail(aborted());
          else job.finish(results[i]);
        });
      } catch (error) {
        for (const job of batch) job.fail(error);
      }
      counters.passes += 1;
      counters.rows += batch.reduce((sum, job) => sum + job.rows.positions.length, 0);
      counters.secondsInPasses += (performance.now() - started) / 1000;
    }
    pumping = undefined;
  }

  function openSheet(): Sheet {
    let planes: Planes | undefined;
    let waiting: Job | undefined;
    let closed = false;

    function planesFor(length: number): Planes {
      const columns = columnsFor(length);
      if (planes && planes.columns >= columns) return planes;
      ensure(!planes, "bad_option", "compute: tokens are more than those kept before, and a sheet does not grow");
      const bytes = bytesFor(columns);
      ensure(held + bytes <= memoryLimit, "out_of_memory", () => {
        return `the canvas would keep ${formatBytes(held + bytes)} of keys and values, more than its limit of ${formatBytes(memoryLimit)}: use cache "none", a shorter answer, or a larger memoryLimit`;
      });
      held += bytes;
      const make = () => Array.from({ length: layers }, () => new Float32Array(bytes / 8 / layers));
      planes = { columns, keys: make(), values: make() };
      return planes;
    }

    return {
      compute({ tokens, rows, scored, keep }) {
        if (closed) return Promise.reject(aborted());
        const { length } = tokens;
        const positions = rows === "all" ? Array.from({ length }, (_, i) => i) : rows;
        const rowOf = new Map(positions.map((position, row) => [position, row]));
        try {
          const missing = scored.find((position) => !rowOf.has(position));
          ensure(missing === undefined, "bad_option", `compute: scored has ${missing}, which is none of rows`);
          ensure(rows === "all" || planes, "bad_option", 'compute: rows must be "all" where nothing is kept yet');
          const own = keep ? planesFor(length) : planes;
          return new Promise((finish, fail) => {
            waiting = {
              rows: {
                positions,
                tokens: positions.map((position) => tokens[position]),
                scored: scored.map((position) => rowOf.get(position)!),
                length,
                planes: rows === "all" ? undefined : own,
                keep: keep ? own : undefined,
              },
              cancelled: false,
              finish,
              fail,
            };
            queue.push(waiting);
            pumping ??= pump();
          });
        } catch (error) {
          return Promise.reject(error);
        }
      },
      close() {
        if (closed) return;
        closed = true;
        if (waiting) waiting.cancelled = true;
        if (planes) held -= bytesFor(planes.columns);
        planes = undefined;
      },
    };
  }

  return {
    ...diffusion,
    contextLength,
    endTokens,
    counters,
    get held() {
      return held;
    },
    open: openSheet,
    async close() {
      for (const job of queue) job.cancelled = true;
      await pumping;
      await pass.release();
    },
  };
}
