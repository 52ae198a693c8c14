/** The training set reduced to averages, one pair (observation, state) for each direction of the state. */
import { ensure } from "../../../errors.ts";
import { type Matrix, matrix } from "../matrix.ts";

/**
 * Means of x [m, n] and y [m, d] over the points whose first two state dimensions point into the same of `count` equal sectors, the
 * first centred on direction zero. Sectors without a point are left out. Errors: `bad_option` for states of one dimension.
 */
export function averageDirections(x: Matrix, y: Matrix, count: number): { x: Matrix; y: Matrix } {
  const [n, d] = [x.columns, y.columns];
  ensure(d >= 2, "bad_option", "prototypes are averages by direction, and a state of one dimension has none");
  const sums = Array.from({ length: count }, () => ({ x: new Float64Array(n), y: new Float64Array(d), points: 0 }));
  for (let t = 0; t < x.rows; t++) {
    const [a, b] = [y.data[t * d], y.data[t * d + 1]];
    if (a === 0 && b === 0) continue;
    const turns = Math.atan2(b, a) / (2 * Math.PI);
    const sector = sums[(Math.round(turns * count) + count) % count];
    for (let k = 0; k < n; k++) sector.x[k] += x.data[t * n + k];
    for (let k = 0; k < d; k++) sector.y[k] += y.data[t * d + k];
    sector.points++;
  }
  const filled = sums.filter(({ points }) => points > 0);
  ensure(filled.length > 0, "bad_option", "no training state has a direction: all are zero");
  const means = (rows: readonly { values: Float64Array; points: number }[], columns: number) =>
    matrix(
      rows.length,
      columns,
      Float64Array.from(rows.flatMap(({ values, points }) => [...values].map((v) => v / points))),
    );
  return {
    x: means(
      filled.map((s) => ({ values: s.x, points: s.points })),
      n,
    ),
    y: means(
      filled.map((s) => ({ values: s.y, points: s.points })),
      d,
    ),
  };
}
