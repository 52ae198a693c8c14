/** What all uses of the bandits here share: how an arm's context is laid out, and what a time is as a loss. */

/** Features of length 1 in the arm's own block of zeros, so that arms share no coefficient. */
export function armContext(features: readonly number[], arm: number, arms: number): Float64Array<ArrayBuffer> {
  const context = new Float64Array(features.length * arms);
  const length = Math.sqrt(features.reduce((sum, value) => sum + value * value, 0));
  context.set(
    features.map((value) => value / length),
    arm * features.length,
  );
  return context;
}

/**
 * Seconds a token as a loss: half for the pace that they are compared with, an eighth less for each time twice as fast, more for each time
 * twice as slow. What makes all arms slower alike, as a busy machine does, adds the same to all of them.
 */
export const lossOf = (seconds: number, pace: number): number =>
  Math.min(1, Math.max(0, 0.5 + Math.log2(seconds / pace) / 8));
