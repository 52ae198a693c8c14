import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** @typedef {import("./report.mjs").Row} Row */
/** @typedef {import("./report.mjs").RowDefinition} RowDefinition */
/** @typedef {import("./report.mjs").BenchmarkRecord} BenchmarkRecord */

/**
 * A benchmark's record with rows measured now in the places of older ones. Rows of no definition any more, or with another target, go; a row
 * that was never measured has no value.
 * @param {BenchmarkRecord | undefined} before
 * @param {Omit<BenchmarkRecord, "rows"> & { rows: readonly Row[] }} now
 * @param {readonly { what: string, target: string }[]} all in the table's order
 * @returns {BenchmarkRecord}
 */
export function merged(before, now, all) {
  /** @param {string} what @param {string} target @param {BenchmarkRecord | undefined} record */
  const found = (what, target, record) => {
    const row = record?.rows.find((row) => row.what === what && row.target === target && row.value !== null);
    return row && record && { ...row, date: row.date ?? record.date };
  };
  return {
    ...now,
    rows: all.map(
      ({ what, target }) =>
        found(what, target, now) ??
        found(what, target, before) ?? { what, target, value: null, holds: false, runs: [] },
    ),
  };
}

/** What figures depend on; the peers' versions are named in the rows that need them. */
const told = ["cpu", "cores", "system", "node", "onnxruntime"];

/**
 * The record in bench/results, or undefined. Rows of two machines would make a table of neither: a record of another machine must be removed
 * by hand first.
 * @param {string} name @param {BenchmarkRecord["machine"]} machine
 */
export function openRecord(name, machine) {
  const path = fileURLToPath(new URL(`../results/${name}.json`, import.meta.url));
  /** @returns {BenchmarkRecord | undefined} */
  const read = () => (existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : undefined);
  const before = read();
  const other = before && told.find((field) => before.machine[field] !== machine[field]);
  if (other) {
    throw new Error(
      `${path} was measured with ${other} ${before.machine[other]}, not ${machine[other]}; remove it to begin a new record`,
    );
  }
  return {
    /** Writes what was measured so far into the record, which another run may have gone on with. @param {BenchmarkRecord} now @param {readonly { what: string, target: string }[]} all */
    save(now, all) {
      writeFileSync(path, `${JSON.stringify(merged(read(), now, all))}\n`);
    },
  };
}
