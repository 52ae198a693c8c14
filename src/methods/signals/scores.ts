/** Scores of a decoded trajectory against the true one, over the bins where both are finite. */
import { ensure } from "../../errors.ts";
import type { Matrix } from "./matrix.ts";

/** How far estimates are from the truth. */
export interface Scores {
  /** Root mean square error over root mean square of the true states; 1 is what predicting zero gives. */
  readonly nrmse: number;
  /** Mean absolute angle between decoded and true vectors, radians in [0, π]; for states of two dimensions. */
  readonly angularError?: number;
  /** Mean over the dimensions. */
  readonly correlation: number;
  /** 1 - squared error / variance, mean over the dimensions. */
  readonly r2: number;
  readonly bins: number;
  /**
   * Where the true state is one number that is always 0 or 1: the decoded one cut at a half. Where it is a 1 among zeros, one of them for each
   * class: the largest decoded one.
   */
  readonly classes?: {
    readonly accuracy: number;
    /** Mean of the classes' own accuracies; by chance one over their number. */
    readonly balancedAccuracy: number;
    /** Share of the more frequent class. */
    readonly majority: number;
  };
}

/** Errors: `bad_shape` when the shapes differ; `bad_option` when no bin can be compared. */
export function score(decoded: Matrix, truth: Matrix): Scores {
  const { rows, columns: d } = truth;
  ensure(
    decoded.rows === rows && decoded.columns === d,
    "bad_shape",
    `decoded [${decoded.rows}, ${decoded.columns}] and true [${rows}, ${d}] trajectories differ in shape`,
  );
  let [bins, squared, power, angle] = [0, 0, 0, 0];
  const sums = Array.from({ length: d }, () => ({ x: 0, y: 0, xx: 0, yy: 0, xy: 0, e: 0 }));
  for (let t = 0; t < rows; t++) {
    const x = decoded.data.subarray(t * d, (t + 1) * d);
    const y = truth.data.subarray(t * d, (t + 1) * d);
    if (!x.every(Number.isFinite) || !y.every(Number.isFinite)) continue;
    bins++;
    if (d === 2) angle += angleBetween(x, y);
    for (let k = 0; k < d; k++) {
      const s = sums[k];
      const error = x[k] - y[k];
      squared += error * error;
      power += y[k] * y[k];
      s.x += x[k];
      s.y += y[k];
      s.xx += x[k] * x[k];
      s.yy += y[k] * y[k];
      s.xy += x[k] * y[k];
      s.e += error * error;
    }
  }
  ensure(bins > 0, "bad_option", "no bin has both a decoded and a true state");
  const mean = (f: (s: (typeof sums)[number]) => number) => sums.reduce((total, s) => total + f(s), 0) / d;
  const variance = (total: number, squares: number) => squares / bins - (total / bins) ** 2;
  return {
    nrmse: Math.sqrt(squared / power),
    ...(d === 2 && { angularError: angle / bins }),
    correlation: mean((s) => {
      const spread = Math.sqrt(variance(s.x, s.xx) * variance(s.y, s.yy));
      return spread > 0 ? (s.xy / bins - (s.x / bins) * (s.y / bins)) / spread : 0;
    }),
    r2: mean((s) => 1 - s.e / bins / variance(s.y, s.yy)),
    bins,
    ...classScores(decoded, truth),
  };
}

/** The class of a bin: of one number whether it is 1, of several which of them is; undefined where the truth is no such thing. */
function classOf(values: Float64Array): number | undefined {
  if (!values.every((v) => v === 0 || v === 1)) return undefined;
  if (values.length === 1) return values[0];
  return values.reduce((a, b) => a + b, 0) === 1 ? values.indexOf(1) : undefined;
}

function classScores(decoded: Matrix, truth: Matrix): Pick<Scores, "classes"> {
  const { rows, columns: d } = truth;
  const count = Math.max(2, d);
  const [right, all] = [new Array<number>(count).fill(0), new Array<number>(count).fill(0)];
  for (let t = 0; t < rows; t++) {
    const x = decoded.data.subarray(t * d, (t + 1) * d);
    const y = truth.data.subarray(t * d, (t + 1) * d);
    if (!x.every(Number.isFinite) || !y.every(Number.isFinite)) continue;
    const own = classOf(y);
    if (own === undefined) return {};
    all[own]++;
    const said = d === 1 ? Number(x[0] > 0.5) : x.indexOf(x.reduce((a, b) => Math.max(a, b)));
    if (said === own) right[own]++;
  }
  const sum = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);
  const shares = right.flatMap((hits, k) => (all[k] > 0 ? [hits / all[k]] : []));
  return {
    classes: {
      accuracy: sum(right) / sum(all),
      balancedAccuracy: sum(shares) / shares.length,
      majority: Math.max(...all) / sum(all),
    },
  };
}

/** Absolute difference of two directions, wrapped to [0, π]; a zero vector has the direction 0, as atan2 has it. */
export function angleBetween(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const difference = Math.abs(Math.atan2(a[1], a[0]) - Math.atan2(b[1], b[0]));
  return difference > Math.PI ? 2 * Math.PI - difference : difference;
}
