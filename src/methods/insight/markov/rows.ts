/** Rows of numbers as measurements take them, and sums over them in float64. */
import { compile, type Program, valueMaker } from "../../../runtime/program.ts";
import { input, lower, matmul } from "../../../tensor/index.ts";

/** Row-major [count, width]: states of contexts, or their distributions over the vocabulary. */
export interface Rows {
  readonly count: number;
  readonly width: number;
  readonly values: Float32Array | Float64Array;
}

/** A row, as a view. */
export const rowOf = ({ width, values }: Rows, row: number): Float32Array | Float64Array =>
  values.subarray(row * width, (row + 1) * width);

/** Mean of every column. */
export function columnMeans({ count, width, values }: Rows): Float64Array {
  const means = new Float64Array(width);
  for (let i = 0; i < count * width; i++) means[i % width] += values[i] / count;
  return means;
}

/** Rows with the columns' means taken off. */
export function centred(rows: Rows): Rows {
  const means = columnMeans(rows);
  return { ...rows, values: Float32Array.from(rows.values, (value, i) => value - means[i % rows.width]) };
}

/** aᵀ b / count [a.width, b.width], in float64. Of states with themselves: small. */
export function crossMoment(a: Rows, b: Rows): Float64Array {
  const out = new Float64Array(a.width * b.width);
  for (let row = 0; row < a.count; row++) {
    const [x, y] = [rowOf(a, row), rowOf(b, row)];
    for (let i = 0; i < a.width; i++) {
      const scale = x[i] / a.count;
      for (let j = 0; j < b.width; j++) out[i * b.width + j] += scale * y[j];
    }
  }
  return out;
}

/** Products of large matrices on the runtime, in float32; compiled once. */
export interface Products {
  /** a b [a.count, b.width]. */
  times(a: Rows, b: Rows): Promise<Rows>;
  /** aᵀ b [a.width, b.width]. */
  transposedTimes(a: Rows, b: Rows): Promise<Rows>;
  release(): Promise<void>;
}

/** Products of large matrices, compiled once. */
export async function openProducts(threads?: number): Promise<Products> {
  const make = await valueMaker();
  const programs: Program[] = [];
  const start = async (transposeA: boolean) => {
    const a = input("a", transposeA ? ["k", "m"] : ["m", "k"]);
    const y = matmul(a, input("b", ["k", "n"]), { transposeA });
    const program = await compile(lower({ y }, { parameters: "inputs" }), { threads });
    programs.push(program);
    return async (one: Rows, other: Rows): Promise<Rows> => {
      const value = ({ count, width, values }: Rows) => make("float32", Float32Array.from(values), [count, width]);
      const { y: found } = await program.run({ a: value(one), b: value(other) });
      return { count: found.dims[0], width: found.dims[1], values: found.data as Float32Array };
    };
  };
  return {
    times: await start(false),
    transposedTimes: await start(true),
    async release() {
      for (const program of programs) await program.release();
    },
  };
}
