/**
 * What the constructed weights do, as pointers: from which row of P·Y each read row takes its row of the list. A point is a row of P·Y: across where it stands, up
 * where it belongs, so that a restored list is a way that climbs from point to point.
 */
import type { TraceEvent } from "../../../engine/trace.ts";
import { construct } from "./index.ts";
import { inputOf, type Layout, reachable } from "./layout.ts";
import { drawList } from "./training.ts";
import { disentangled, widthAfter } from "./transformer.ts";

/** Events of one list in one layout. `says` begins what each of them is said to be. */
export async function readingEvents(
  layout: Layout,
  { causal, says, seed }: { readonly causal: boolean; readonly says: string; readonly seed: number },
): Promise<TraceEvent[]> {
  const { n, rows, values, read } = layout;
  const { order, list } = drawList(n, seed, 0);
  const model = await disentangled(layout, construct(layout), { causal });
  try {
    const { stream } = await model.run(inputOf(layout, order, list));
    const [before, width] = [widthAfter(n, rows, 1), widthAfter(n, rows, 2)];
    const could = reachable(layout, order);
    return list.map((_, j): TraceEvent => {
      // Every row carries its own place as a one-hot vector, so that the mean which attention leaves in the stream holds the weights of attention themselves.
      const from = (read + j) * width + before + n + values;
      const probabilities = Array.from(stream.subarray(from, from + n), (value) => Number(value.toFixed(4)));
      return {
        type: "point",
        chosen: probabilities.indexOf(Math.max(...probabilities)),
        probabilities,
        of: `${says}: row ${j + 1} of the list${causal && !could[j] ? ", which stands further on and is not seen" : ""}`,
        ...(j === 0 && { inputs: order.map((to, i): [number, number] => [i / (n - 1), to / (n - 1)]) }),
      };
    });
  } finally {
    await model.release();
  }
}
