/** How every row is measured: both sides in one run, taking turns, compared by their medians. */

/** The value below which a share of all lies. @param {readonly number[]} values @param {number} share from 0 to 1 */
export const quantile = (values, share) =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))];

/** @param {readonly number[]} values at least one */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * Runs a, b, a, b, … so that a drift of the machine (heat, a neighbour's load) meets both alike. One pair before the
 * counted ones warms caches and compilers.
 * @param {() => Promise<number>} a measures once; the unit is the caller's
 * @param {() => Promise<number>} b
 * @param {number} runs counted pairs
 * @param {(line: string) => void} [progress]
 * @returns {Promise<{ a: number[], b: number[] }>}
 */
export async function alternate(a, b, runs, progress = () => {}) {
  await a();
  await b();
  /** @type {{ a: number[], b: number[] }} */
  const measured = { a: [], b: [] };
  for (let run = 0; run < runs; run++) {
    measured.a.push(await a());
    measured.b.push(await b());
    progress(`run ${run + 1} of ${runs}: ${format(measured.a[run])} and ${format(measured.b[run])}`);
  }
  return measured;
}

/**
 * The value of a row: median of a over median of b, with the ratio of each pair beside it.
 * @param {{ a: readonly number[], b: readonly number[] }} measured
 */
export function ratio(measured) {
  return {
    value: median(measured.a) / median(measured.b),
    runs: measured.a.map((value, run) => value / measured.b[run]),
  };
}

/** Seconds that an action took. @param {() => unknown} action */
export async function seconds(action) {
  const start = process.hrtime.bigint();
  await action();
  return Number(process.hrtime.bigint() - start) / 1e9;
}

/** Four significant digits; what rounding leaves of 0 is 0. @param {number} value */
export function format(value) {
  if (Math.abs(value) < 1e-15) return "0";
  return String(Number(value.toPrecision(4)));
}
