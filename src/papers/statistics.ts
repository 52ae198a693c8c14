/** Intervals for reproductions: percentile bootstrap over independent units (prompts, seeds), 95 %, repeatable by seed. */
import { uniform } from "../engine/random.ts";
import { ensure } from "../errors.ts";

export interface Estimate {
  readonly value: number;
  /** Absent for a single unit, which says nothing about its spread. */
  readonly interval?: readonly [number, number];
  readonly count: number;
}

const resamples = 2000;

/** `statistic` of the units, with its interval. The statistic gets a list of units drawn with replacement. Errors: `bad_option` without units. */
export function bootstrap<Unit>(
  units: readonly Unit[],
  statistic: (sample: readonly Unit[]) => number,
  seed = 0,
): Estimate {
  const count = units.length;
  ensure(count > 0, "bad_option", "bootstrap: no units to estimate from");
  if (count === 1) return { value: statistic(units), count };
  const values = Array.from({ length: resamples }, (_, i) =>
    statistic(units.map((_, j) => units[Math.floor(uniform({ seed, request: i }, j, "data") * count)])),
  ).sort((a, b) => a - b);
  const at = (share: number): number => values[Math.min(resamples - 1, Math.floor(share * resamples))];
  return { value: statistic(units), interval: [at(0.025), at(0.975)], count };
}

export const mean = (values: readonly number[]): number => values.reduce((sum, v) => sum + v, 0) / values.length;

/** Mean with its interval. */
export const meanOf = (values: readonly number[], seed = 0): Estimate => bootstrap(values, mean, seed);

/** Mean of a over mean of b for units that have both. */
export const ratioOf = (pairs: readonly (readonly [number, number])[], seed = 0): Estimate =>
  bootstrap(pairs, (sample) => mean(sample.map(([a]) => a)) / mean(sample.map(([, b]) => b)), seed);

/** Two-sided 95 % quantiles of Student's t for 1, 2, … degrees of freedom. */
const quantiles = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
/** Beyond the table: Cornish and Fisher's expansion of the quantile in 1 / degrees of freedom, exact to three digits there. */
const studentQuantile = (freedom: number): number =>
  quantiles[freedom - 1] ?? 1.96 + 2.3722 / freedom + 2.8225 / freedom ** 2;

/** Mean with Student's t interval, 95 %: of few repetitions, whose spread a bootstrap would take for smaller than it is. */
export function meanWithin(values: readonly number[]): Estimate {
  const count = values.length;
  ensure(count > 0, "bad_option", "meanWithin: no values to estimate from");
  const value = mean(values);
  if (count === 1) return { value, count };
  const variance = values.reduce((sum, v) => sum + (v - value) ** 2, 0) / (count - 1);
  const half = studentQuantile(count - 1) * Math.sqrt(variance / count);
  return { value, interval: [value - half, value + half], count };
}
