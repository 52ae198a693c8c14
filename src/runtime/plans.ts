/**
 * Memory plans of programs whose shapes vary. With a plan, a run takes all its memory at once instead of operator by operator, which is
 * a tenth of a small pass. But the runtime keeps a plan for every combination of shapes that it meets and forgets none, and passes have ever
 * new ones. It finds a plan by the exclusive or of all dimensions of the inputs, which an input without elements can therefore choose: shapes
 * that come back have plans of their own, all others share one, in which what does not fit is taken as if there were none.
 */
import type { OnnxValue } from "./program.ts";

/** Shapes that have a plan of their own, at most: a plan of a large program takes some 100 KB. */
const mostPlans = 48;
/** So many runs of a shape earn it a plan. */
const earned = 3;
/** Shapes whose runs are counted. */
const mostCounted = 4096;
/** Plan 0 is the one that is shared. */
const shared = 0;

/** For the inputs of a run, the two dimensions, of which the second is 0, of the input that chooses its plan. */
export function createPlanChoice(): (inputs: Readonly<Record<string, OnnxValue>>) => readonly [number, 0] {
  const plans = new Map<number, number>();
  const counts = new Map<number, number>();

  function planOf(shape: number): number {
    const plan = plans.get(shape);
    if (plan !== undefined || plans.size === mostPlans) return plan ?? shared;
    const count = (counts.get(shape) ?? 0) + 1;
    if (count < earned) {
      if (counts.size === mostCounted) counts.clear();
      counts.set(shape, count);
      return shared;
    }
    counts.delete(shape);
    plans.set(shape, plans.size + 1);
    return plans.size;
  }

  return (inputs) => {
    let [key, shape] = [0, 0];
    for (const name in inputs) {
      for (const dimension of inputs[name].dims) {
        key ^= dimension;
        shape = (Math.imul(shape, 0x01000193) ^ dimension) | 0; // FNV-1: two shapes of one number would share a plan, no more
      }
    }
    return [key ^ planOf(shape), 0];
  };
}
