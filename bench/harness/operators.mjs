/** The runtime's own profile: operators by kind, how many there are and how long they take. */
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { median } from "./measure.mjs";

/** @typedef {{ cat: string, name: string, dur: number, ts: number, args: Record<string, any> }} Event */
/** `bytes`: read and written. @typedef {{ kind: string, count: number, bytes: number, time: number }} Kind */

/** Reads the one profile in a folder, and removes the folder. @param {string} folder @returns {Event[]} */
export function takeProfile(folder) {
  const [file] = readdirSync(folder);
  const events = JSON.parse(readFileSync(join(folder, file), "utf8"));
  rmSync(folder, { recursive: true });
  return events;
}

/**
 * Microseconds (median) and count of each kind of operator in the last runs of a profile.
 * @param {readonly Event[]} events @param {number} last
 * @param {{ kindOf?: (args: Record<string, any>) => string, middle?: (times: number[]) => number }} [how] @returns {Kind[]}
 */
export function byKind(events, last, { kindOf = ({ op_name }) => op_name, middle = median } = {}) {
  const runs = events.filter(({ cat, name }) => cat === "Session" && name === "model_run").slice(-last);
  const nodes = events.filter(({ cat, name }) => cat === "Node" && name.endsWith("_kernel_time"));
  /** @type {Map<string, { count: number, bytes: number, times: number[] }>} */
  const kinds = new Map();
  for (const [i, run] of runs.entries()) {
    /** @type {Map<string, number>} */
    const sums = new Map();
    const [counts, bytes] = [new Map(), new Map()];
    for (const { ts, dur, args } of nodes) {
      if (ts < run.ts || ts >= run.ts + run.dur) continue;
      const kind = kindOf(args);
      sums.set(kind, (sums.get(kind) ?? 0) + dur);
      counts.set(kind, (counts.get(kind) ?? 0) + 1);
      const sizes = [args.activation_size, args.parameter_size, args.output_size].map(Number);
      bytes.set(
        kind,
        sizes.reduce((sum, size) => sum + size, bytes.get(kind) ?? 0),
      );
    }
    for (const [kind, sum] of sums) {
      const known = kinds.get(kind) ?? { count: 0, bytes: 0, times: new Array(i).fill(0) };
      [known.count, known.bytes] = [counts.get(kind), bytes.get(kind)];
      known.times.push(sum);
      kinds.set(kind, known);
    }
  }
  return [...kinds].map(([kind, { count, bytes, times }]) => ({ kind, count, bytes, time: middle(times) }));
}

/** A line for each kind, the longest first. @param {readonly Kind[]} kinds */
export function printKinds(kinds) {
  const total = kinds.reduce((sum, { time }) => sum + time, 0);
  const operators = kinds.reduce((sum, { count }) => sum + count, 0);
  for (const { kind, count, bytes, time } of [...kinds].sort((a, b) => b.time - a.time))
    console.log(
      `${kind.padEnd(34)} ${String(count).padStart(4)} ${(bytes / 1e6).toFixed(1).padStart(8)} MB ${(time / 1000).toFixed(3).padStart(8)} ms ${((100 * time) / total).toFixed(1).padStart(5)} %`,
    );
  return { total, operators };
}
