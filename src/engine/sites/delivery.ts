/** What a request's taps read, position by position from the first token of the prompt on, as the trace and the result give it. */
import { ensure } from "../../errors.ts";
import type { ForestNode } from "../forest.ts";
import type { TraceEvent } from "../trace.ts";

/** Rows of one site or reading: row i is position i of the text, prompt first. */
export interface TapRows {
  readonly width: number;
  readonly rows: number;
  /** [rows, width], row-major. */
  readonly values: Float32Array;
}

export interface TapDelivery {
  /** Nodes of the text in order of position; those that were taken already are passed over. */
  take(nodes: readonly ForestNode[]): void;
  result(): Record<string, TapRows>;
}

export function createTapDelivery(taps: readonly string[], emit: (event: TraceEvent) => void): TapDelivery {
  const names = [...new Set(taps)];
  const kept = new Map(names.map((name) => [name, [] as Float32Array[]]));
  let position = 0;
  return {
    take(nodes) {
      if (names.length === 0) return;
      const fresh = nodes.filter((node) => node.depth >= position);
      if (fresh.length === 0) return;
      const isWhole = fresh.every((node, i) => node.taps && node.depth === position + i);
      ensure(isWhole, "internal", "a row that was tapped became output after it had been let go of");
      const values: Record<string, number[]> = {};
      for (const name of names) {
        const rows = fresh.map((node) => node.taps![name]);
        kept.get(name)!.push(...rows);
        values[name] = numbersOf(rows);
      }
      emit({ type: "taps", position, rows: fresh.length, values });
      position += fresh.length;
    },
    result() {
      return Object.fromEntries([...kept].map(([name, rows]) => [name, joined(rows)]));
    },
  };
}

/** Written out: iterating over typed arrays takes longer than a small model's pass allows. */
function numbersOf(rows: readonly Float32Array[]): number[] {
  const numbers = new Array<number>(rows.length * (rows[0]?.length ?? 0));
  let to = 0;
  for (const row of rows) for (let i = 0; i < row.length; i++) numbers[to++] = row[i];
  return numbers;
}

/** Rows one after the other. */
export function joined(rows: readonly Float32Array[]): TapRows {
  const width = rows[0]?.length ?? 0;
  const values = new Float32Array(rows.length * width);
  for (const [i, row] of rows.entries()) values.set(row, i * width);
  return { width, rows: rows.length, values };
}
