/**
 * Memory plans of programs whose shapes vary. With a plan, a run takes all its memory at once instead of operator by operator, which is
 * a tenth of a small pass. But the runtime keeps a plan for every combination of shapes that it meets and forgets none, and passes have ever
 * new ones. It finds a plan by the exclusive or of all dimensions of the inputs, which an input without elements can therefore choose: shapes
 * that come back have plans of their own, all others share one, in which what does not fit is taken as if there were none.
 */
import type { ValueDescription } from "../tensor/index.ts";
import type { OnnxValue } from "./program.ts";

/** Shapes that have a plan of their own, at most: a plan of a large program takes some 100 KB. */
const mostPlans = 48;
/** So many runs of a shape earn it a plan. */
const earned = 3;
/** Shapes whose runs are counted. */
const mostCounted = 4096;
/** Plan 0 is the one that is shared. */
const shared = 0;

/**
 * For the inputs of a run, the two dimensions, of which the second is 0, of the input that chooses its plan. What dimensions of one name are
 * in a run is read once.
 */
export function createPlanChoice(
  described: readonly ValueDescription[],
): (inputs: Readonly<Record<string, OnnxValue>>) => readonly [number, 0] {
  const dimensions = new Map<string, { readonly input: string; readonly axis: number; times: number }>();
  for (const { name, shape } of described) {
    shape.forEach((dimension, axis) => {
      if (typeof dimension === "number") return;
      const known = dimensions.get(dimension) ?? { input: name, axis, times: 0 };
      known.times += 1;
      dimensions.set(dimension, known);
    });
  }
  const named = [...dimensions.values()];
  const plans = new Map<string, number>();
  const counts = new Map<string, number>();

  function planOf(shape: string): number {
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
    let [key, shape] = [0, ""];
    for (const { input, axis, times } of named) {
      const size = inputs[input]?.dims[axis] ?? 0; // what is missing is the runtime's to refuse
      if (times % 2 === 1) key ^= size; // twice the same is nothing
      shape += `${size} `;
    }
    return [key ^ planOf(shape), 0];
  };
}
