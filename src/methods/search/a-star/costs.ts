/**
 * What a step costs A*, from the costs to go h = 1 − reward before and after it. The paper says that increases of h alone are
 * accumulated, which can be read of the cost (`rise`) or of f (`drop`); the others are controls.
 *
 *     rise   max(0, h' − h)     f = h + sum of rises: may fall where a step improves
 *     drop   max(0, h − h')     f = h_1 + sum of rises: never falls on a path, and h is consistent
 *     abs    |h' − h|           f = h + total variation
 *     zero   0                  f = h: greedy best-first
 */
export const edgeCosts = ["rise", "drop", "abs", "zero"] as const;
export type EdgeCost = (typeof edgeCosts)[number];

/** `before` is undefined at the first step: the bare prompt is not scored, and getting away from it costs nothing. */
export function edgeCost(kind: EdgeCost, before: number | undefined, after: number): number {
  if (before === undefined || kind === "zero") return 0;
  if (kind === "rise") return Math.max(0, after - before);
  return kind === "drop" ? Math.max(0, before - after) : Math.abs(after - before);
}
