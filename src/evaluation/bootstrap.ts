/** Estimates over documents, with 95 % percentile bootstrap intervals of 1000 resamples of the documents. */
import { uniform } from "../engine/random.ts";

export interface Estimate {
  readonly value: number;
  /** 95 %, over the documents. */
  readonly interval: readonly [number, number];
}

/** The sum of `over` by the sum of `under`, an entry for each document. */
export function ratioOfSums(over: readonly number[], under: readonly number[], seed: number): Estimate {
  const ratio = (pick: (i: number) => number): number => {
    let [top, bottom] = [0, 0];
    for (let i = 0; i < over.length; i++) {
      const document = pick(i);
      top += over[document];
      bottom += under[document];
    }
    return top / bottom;
  };
  const resamples = Array.from({ length: 1000 }, (_, request) =>
    ratio((i) => Math.floor(uniform({ seed, request }, i, "data") * over.length)),
  ).sort((a, b) => a - b);
  return { value: ratio((i) => i), interval: [resamples[25], resamples[974]] };
}

/** The estimate of a monotone function of what is estimated. */
export const mapped = ({ value, interval: [low, high] }: Estimate, map: (x: number) => number): Estimate => ({
  value: map(value),
  interval: [map(low), map(high)],
});
