/**
 * How often verification accepts a token, by its share of its pair's weights: learned in the request alone, so that a seed repeats
 * whatever ran before. Classes are equally wide: what decides how long a draft may be is whether shares near 1 mean 0.9 or 0.99.
 */
import type { DraftTree } from "../tree.ts";

export interface ShareEstimate {
  /** Probability that a child with this share (0 to 1) is accepted, once its parent was. */
  acceptance(share: number): number;
  /** Learns from a verification of a tree whose probabilities are shares. */
  observe(tree: DraftTree, path: readonly number[]): void;
}

const classes = 20;
/** What a request starts with counts like so many trials a class; shares of counted texts promise a little too much. */
const priorTrials = 16;
const prior = (share: number): number => share ** 1.2;

export function createShareEstimate(): ShareEstimate {
  const tried = new Float64Array(classes).fill(priorTrials);
  const accepted = tried.map((trials, index) => trials * prior((index + 0.5) / classes));
  const classOf = (share: number) => Math.min(classes - 1, Math.floor(share * classes));
  return {
    acceptance: (share) => accepted[classOf(share)] / tried[classOf(share)],
    observe({ parents, probabilities }, path) {
      const onPath = new Set([0, ...path]);
      for (let i = 0; i < parents.length; i++) {
        if (!onPath.has(parents[i])) continue; // never tried
        const index = classOf(probabilities![i]);
        tried[index]++;
        if (onPath.has(i + 1)) accepted[index]++;
      }
    },
  };
}
