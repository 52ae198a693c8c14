/** A learnt observation model x ~ N(h(z), R) for the filters that need one: a network on 70 % of the points, R from the rest. */

import { splitRows } from "./dkf/learn.ts";
import type { FitContext, PreparedData } from "./filter.ts";
import { covariance, type Matrix, matrix, selectRows } from "./matrix.ts";
import { fitNetwork, type Network, networkRegression } from "./network.ts";

export async function fitObservationNetwork(
  { states, observations }: PreparedData,
  options: { hidden: number; iterations: number; heldOut: number },
  { seed, signal, onProgress }: FitContext,
): Promise<Network & { readonly R: Matrix }> {
  const [first, second] = splitRows(states.rows, options.heldOut, seed);
  const network = await fitNetwork(selectRows(states, first), selectRows(observations, first), {
    ...options,
    seed,
    signal,
    onProgress: (done, total) => onProgress?.("observation network", done, total),
  });
  const [d, n] = [states.columns, observations.columns];
  const h = networkRegression(network);
  const residuals = matrix(second.length, n);
  const predicted = new Float64Array(n);
  for (const [i, row] of second.entries()) {
    h(states.data.subarray(row * d, (row + 1) * d), predicted);
    for (let k = 0; k < n; k++) residuals.data[i * n + k] = observations.data[row * n + k] - predicted[k];
  }
  return { ...network, R: covariance(residuals) };
}
