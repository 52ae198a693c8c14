/** Rows of numbers as measurements take them, and sums over them in float64. */
import { ensure } from "../../../errors.ts";
import { requireWhole } from "../../../numbers.ts";
import { compile, type Program, valueMaker } from "../../../runtime/program.ts";
import { input, lower, matmul } from "../../../tensor/index.ts";
import { requireRows, zeros } from "./checks.ts";

/** Row-major [count, width]: states of contexts, or their distributions over the vocabulary. */
export interface Rows {
  readonly count: number;
  readonly width: number;
  readonly values: Float32Array | Float64Array;
}

/** A row, as a view. Errors: `bad_option` for rows that are no matrix, and for a number that none of them has. */
export function rowOf(rows: Rows, row: number): Float32Array | Float64Array {
  requireRows("rows", rows);
  if (!(Number.isInteger(row) && row >= 0 && row < rows.count)) requireWhole({ row }, 0, rows.count - 1);
  return rows.values.subarray(row * rows.width, (row + 1) * rows.width);
}

/** Mean of every column. Errors: `bad_option` for rows that are no matrix. */
export function columnMeans(rows: Rows): Float64Array {
  requireRows("rows", rows);
  const { count, width, values } = rows;
  const means = new Float64Array(width);
  for (let i = 0; i < count * width; i++) means[i % width] += values[i] / count;
  return means;
}

/** Rows with the columns' means taken off. Errors: `bad_option` for rows that are no matrix. */
export function centred(rows: Rows): Rows {
  const means = columnMeans(rows);
  return { ...rows, values: Float32Array.from(rows.values, (value, i) => value - means[i % rows.width]) };
}

/** aᵀ b / count [a.width, b.width], in float64. Of states with themselves: small. Errors: `bad_option` for rows that are no matrix; `bad_shape` for other counts. */
export function crossMoment(a: Rows, b: Rows): Float64Array {
  requireRows("a", a);
  requireRows("b", b);
  requireSame("crossMoment", a, b, "count", "count");
  const out = zeros(a.width, b.width);
  for (let row = 0; row < a.count; row++) {
    const [x, y] = [rowOf(a, row), rowOf(b, row)];
    for (let i = 0; i < a.width; i++) {
      const scale = x[i] / a.count;
      for (let j = 0; j < b.width; j++) out[i * b.width + j] += scale * y[j];
    }
  }
  return out;
}

function requireSame(call: string, a: Rows, b: Rows, ofA: "count" | "width", ofB: "count" | "width"): void {
  ensure(a[ofA] === b[ofB], "bad_shape", () => {
    return `${call}: rows of [${a.count}, ${a.width}] and of [${b.count}, ${b.width}] have no product`;
  });
}

/** Products of large matrices on the runtime, in float32; compiled once. */
export interface Products {
  /** a b [a.count, b.width]. Errors: `bad_option` for rows that are no matrix; `bad_shape` for such as do not fit. */
  times(a: Rows, b: Rows): Promise<Rows>;
  /** aᵀ b [a.width, b.width]. Errors: the same. */
  transposedTimes(a: Rows, b: Rows): Promise<Rows>;
  release(): Promise<void>;
}

/** Products of large matrices, compiled once. Errors: those of `compile`. */
export async function openProducts(threads?: number): Promise<Products> {
  const make = await valueMaker();
  const programs: Program[] = [];
  const start = async (transposeA: boolean) => {
    const a = input("a", transposeA ? ["k", "m"] : ["m", "k"]);
    const y = matmul(a, input("b", ["k", "n"]), { transposeA });
    const program = await compile(lower({ y }, { parameters: "inputs" }), { threads });
    programs.push(program);
    return async (one: Rows, other: Rows): Promise<Rows> => {
      requireRows("a", one);
      requireRows("b", other);
      requireSame(transposeA ? "transposedTimes" : "times", one, other, transposeA ? "count" : "width", "count");
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
