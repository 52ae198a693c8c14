/** Shape rules, the choice of fused operators, and their agreement with what they stand for. */
import { fromBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { ModelProtoSchema } from "onnx-buf";
import { describe, expect, test } from "vitest";
import { VentrisError } from "../errors.ts";
import { compile, valueMaker } from "../runtime/program.ts";
import { dequantizeMatrix, fromGgufBlocks, ownFormats, quantizeMatrix } from "../weights/index.ts";
import * as t from "./index.ts";
import { broadcast, product, reshaped, sum } from "./shape.ts";

const operators = (
  outputs: Record<string, t.Tensor>,
  options: t.LoweringOptions = { parameters: "inputs" },
): string[] => fromBinary(ModelProtoSchema, t.lower(outputs, options).model).graph!.node.map(({ opType }) => opType);

const data = (size: number, seed = 1): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: size }, (_, i) => Math.sin(i * 1.7 + seed) * 1.5);

/** Runs a graph; the shapes of the inputs are those of the given arguments. */
async function run(
  outputs: Record<string, t.Tensor>,
  inputs: Record<string, [Float32Array | BigInt64Array, number[]]>,
  options: t.LoweringOptions = { parameters: "inputs" },
  weights?: (lowered: t.LoweredProgram) => Uint8Array,
): Promise<Record<string, number[]>> {
  const lowered = t.lower(outputs, options);
  const program = await compile(lowered, { threads: 1, weights: weights?.(lowered) });
  const value = await valueMaker();
  const feeds = Object.entries(inputs).map(([name, [values, dims]]) => [
    name,
    value(values instanceof BigInt64Array ? "int64" : "float32", values, dims),
  ]);
  const results = await program.run(Object.fromEntries(feeds));
  await program.release();
  return Object.fromEntries(
    Object.entries(results).map(([name, { data: values }]) => [name, Array.from(values, Number)]),
  );
}

function expectClose(got: ArrayLike<number>, wanted: ArrayLike<number>, tolerance = 1e-5): void {
  expect(got.length).toBe(wanted.length);
  for (let i = 0; i < got.length; i++) expect(Math.abs(got[i] - wanted[i])).toBeLessThan(tolerance);
}

describe("what is no size, number or tensor is refused by name", () => {
  const { NaN: notANumber, POSITIVE_INFINITY: endless } = Number;
  const x = t.input("x", [2, 3]);
  const named = t.input("n", ["rows"]);
  const weight = t.parameter("w", [4, 4]);
  const product = { y: t.linear(t.input("z", [2, 4]), weight) };
  const ruled = (rule: unknown) => {
    const w = t.parameter("w", [2]);
    return t.gradients(t.reduceSum(t.withGradient(t.square(w), [w], rule as t.GradientRule)), [w]);
  };
  const lowered = (options: object) => t.lower(product, { parameters: "weights", ...options });
  test.each<[name: string, call: () => unknown, code: string, message: RegExp]>([
    ["range", () => t.range(endless), "bad_option", /range: size must be .* not Infinity/],
    ["range", () => t.range(-1), "bad_option", /not -1/],
    ["range", () => t.range(1.5), "bad_option", /not 1\.5/],
    ["range", () => t.range(1e12), "bad_option", /from 0 to 134217728, not 1000000000000/],
    ["input", () => t.input("x", [-1]), "bad_shape", /input: \[-1\] has the size -1/],
    ["input", () => t.input("x", [notANumber, 2]), "bad_shape", /input: \[NaN, 2\] has the size NaN/],
    ["parameter", () => t.parameter("x", [1.5]), "bad_shape", /parameter: \[1\.5\] has the size 1\.5/],
    ["constant", () => t.constant(new Float32Array(4), [-2, -2]), "bad_shape", /constant: \[-2, -2\]/],
    ["expand", () => t.expand(t.scalar(1), [endless]), "bad_shape", /expand: \[Infinity\]/],
    ["scatterAdd", () => t.scatterAdd(x, t.range(2), notANumber), "bad_shape", /scatterAdd: \[NaN, 3\]/],
    ["scatterNd", () => t.scatterNd(x, t.input("i", ["k"], "int64"), x), "bad_shape", /scatterNd: .*\[k\]/],
    ["reshape", () => t.reshape(x, [1.5, 4]), "bad_shape", /reshape: .*\[1\.5, 4\]/],
    ["slice", () => t.slice(x, 1, notANumber, 2), "bad_shape", /slice: NaN to 2/],
    ["slice", () => t.slice(x, 1, 0.5, 2), "bad_shape", /slice: 0\.5 to 2/],
    ["split", () => t.split(x, [1.5, 1.5], 1), "bad_shape", /split: /],
    ["topK", () => t.topK(x, 1.5), "bad_shape", /topK: 1\.5 of \[2, 3\]/],
    ["topK", () => t.topK(named, notANumber), "bad_shape", /topK: NaN of \[rows\]/],
    ["topK", () => t.topK(t.scalar(1), 1), "bad_shape", /topK: 1 of \[\]/],
    ["concat", () => t.concat([], 0), "bad_shape", /concat: no tensors/],
    ["elementCount", () => t.elementCount([notANumber]), "bad_shape", /\[NaN\] is no shape/],
    ["matmul", () => t.matmul(weight, weight, { scale: notANumber }), "bad_option", /scale is NaN/],
    ["rmsNorm", () => t.rmsNorm(x, t.input("w", [3]), notANumber), "bad_option", /rmsNorm: epsilon must be .* not NaN/],
    ["layerNorm", () => t.layerNorm(x, named, named, -1), "bad_option", /layerNorm: epsilon must be .* not -1/],
    ["rewrite", () => t.rewrite([x], () => 7 as never), "bad_option", /what replace gives must be a tensor, not 7/],
    ["withGradient", () => ruled(() => 7), "bad_option", /rule must give a list of 1 gradients, not 7/],
    ["withGradient", () => ruled(() => []), "bad_option", /a list of 1 gradients, not \[\]/],
    [
      "withGradient",
      () => ruled(() => [notANumber]),
      "bad_option",
      /gradient 0 of what rule gives must be a tensor, not NaN/,
    ],
    ["lower", () => lowered({ parameters: () => 7 }), "bad_option", /parameters\("w"\) gives 7/],
    ["lower", () => lowered({ blocks: () => 7 }), "bad_option", /blocks gives 7 for w/],
    ["lower", () => lowered({ blocks: () => null }), "bad_option", /blocks gives null for w/],
    ["lower", () => lowered({ blocks: () => ({ ...ownFormats[4], bits: 3 }) }), "bad_option", /"bits":3.* for w/],
  ])("%s (%#)", (_, call, code, message) => {
    expect(call).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
  });
});

describe("shape errors name the operation and both shapes", () => {
  const x = (...shape: t.Dimension[]): t.Tensor => t.input("x", shape);
  test.each<[string, () => unknown, string[]]>([
    ["add", () => t.add(x(2, 3), x(2, 4)), ["add", "[2, 3]", "[2, 4]"]],
    ["add, named", () => t.add(x("rows", 3), x("slots", 3)), ["add", "[rows, 3]", "[slots, 3]"]],
    ["where", () => t.where(t.less(x(2), 1), x(3), x(2)), ["where", "[3]", "[2]"]],
    ["matmul", () => t.matmul(x(2, 3), x(4, 5)), ["matmul", "[2, 3]", "[4, 5]", "3 and 4"]],
    ["matmul, transposed", () => t.matmul(x(2, 3), x(3, 5), { transposeB: true }), ["matmul", "3 and 5"]],
    ["matmul of a vector", () => t.matmul(x(3), x(3, 5)), ["matmul", "[3]", "[3, 5]"]],
    ["reshape", () => t.reshape(x(2, 3), [4, 2]), ["reshape", "[2, 3]", "[4, 2]"]],
    ["reshape, two unknowns", () => t.reshape(x(2, 3), [-1, -1]), ["reshape", "[2, 3]", "[-1, -1]"]],
    ["reshape, negative", () => t.reshape(x(2, 3), [-2, -3]), ["reshape", "[2, 3]", "[-2, -3]"]],
    ["transpose", () => t.transpose(x(2, 3), [0, 0]), ["transpose", "[2, 3]", "[0, 0]"]],
    ["expand", () => t.expand(x(2, 3), [2, 1]), ["expand", "[2, 3]", "[2, 1]"]],
    ["concat", () => t.concat([x(2, 3), x(3, 3)], 1), ["concat", "[2, 3]", "[3, 3]", "axis 1"]],
    ["split", () => t.split(x(2, 5), [2, 2], 1), ["split", "[2, 5]", "[2, 2]"]],
    ["rmsNorm", () => t.rmsNorm(x(2, 3), x(4), 1e-5), ["rmsNorm", "[2, 3]", "[4]"]],
    ["layerNorm", () => t.layerNorm(x(2, 3), x(3), x(4), 1e-5), ["layerNorm", "[2, 3]"]],
    ["crossEntropy", () => t.crossEntropy(x(2, 3), t.input("y", [3], "int64")), ["crossEntropy", "[2, 3]", "[3]"]],
    ["axis", () => t.reduceSum(x(2, 3), 2), ["reduceSum", "axis 2", "[2, 3]"]],
    ["type", () => t.gather(x(2, 3), x(2)), ["gather", "int64", "float32"]],
    ["constant", () => t.constant(new Float32Array(5), [2, 3]), ["constant", "5 values", "[2, 3]"]],
  ])("%s", (_, build, words) => {
    let thrown: unknown;
    try {
      build();
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(VentrisError);
    expect((thrown as VentrisError).code).toBe("bad_shape");
    for (const word of words) expect((thrown as VentrisError).message).toContain(word);
  });
});

describe("shape rules", () => {
  const size = fc.integer({ min: 1, max: 4 });
  const shape = fc.array(size, { maxLength: 4 });
  const elements = (dimensions: readonly number[]): number => dimensions.reduce((a, b) => a * b, 1);

  test("broadcasting: each dimension is the larger, symmetric, and a shape with itself is itself", () => {
    fc.assert(
      fc.property(shape, fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }), fc.nat(4), (full, ones, dropped) => {
        const part = full.map((d, i) => (ones[i] ? 1 : d)).slice(Math.min(dropped, full.length));
        expect(broadcast("add", full, part)).toEqual(full);
        expect(broadcast("add", part, full)).toEqual(full);
        expect(broadcast("add", full, full)).toEqual(full);
      }),
    );
  });

  test("broadcasting refuses exactly what differs without a 1", () => {
    fc.assert(
      fc.property(shape, shape, (a, b) => {
        const rank = Math.max(a.length, b.length);
        const at = (s: number[], i: number): number => s[s.length - rank + i] ?? 1;
        const fits = Array.from({ length: rank }, (_, i) => [at(a, i), at(b, i)]).every(
          ([x, y]) => x === y || x === 1 || y === 1,
        );
        if (fits)
          expect(elements(broadcast("add", a, b) as number[])).toBeGreaterThanOrEqual(
            Math.max(elements(a), elements(b)),
          );
        else expect(() => broadcast("add", a, b)).toThrow(VentrisError);
      }),
    );
  });

  test("reshape keeps the number of elements and finds the unknown dimension", () => {
    fc.assert(
      fc.property(shape, shape, fc.nat(3), (from, to, place) => {
        if (elements(from) === elements(to)) expect(reshaped(from, to)).toEqual(to);
        else expect(() => reshaped(from, to)).toThrow(VentrisError);
        const open = [...to];
        open.splice(Math.min(place, to.length), 0, -1);
        if (elements(from) % elements(to) !== 0) expect(() => reshaped(from, open)).toThrow(VentrisError);
        else expect(elements(reshaped(from, open) as number[])).toBe(elements(from));
      }),
    );
  });

  test("named dimensions have one spelling", () => {
    expect(sum(["slots", 2, "rows", 3])).toBe("rows+slots+5");
    expect(sum([sum(["rows", 2]), sum(["slots", 3])])).toBe(sum(["slots", "rows", 5]));
    expect(product([2, "rows", 3])).toBe("6*rows");
    expect(product([product([2, "rows"]), "batch"])).toBe(product(["batch", "rows", 2]));
    expect(reshaped(["rows", 6], [-1, 3])).toEqual(["2*rows", 3]);
    expect(() => reshaped(["rows", 6], ["slots", -1])).toThrow(/reshape/);
  });
});

describe("fused operators", () => {
  const x = t.input("x", ["rows", 64]);

  test("are not asked of a device that has no fused products, and the numbers are the same", async () => {
    const y = t.input("y", ["rows", 64]);
    const [left, right] = [t.input("left", ["n", 3, 5]), t.input("right", ["n", 4, 5])];
    const table = t.input("table", [6, 64]);
    const parts = t.split(t.linear(x, t.concat([table, t.input("other", [2, 64])], 0)), [6, 2], 1);
    const outputs = {
      flat: t.matmul(x, y, { transposeB: true, scale: 0.5 }),
      deep: t.matmul(left, right, { transposeB: true, scale: 0.25 }),
      first: t.matmul(t.matmul(left, right, { transposeB: true }), left, { transposeA: true }),
      part: parts[0],
      rest: parts[1],
    };
    const products = "plain" as const;
    const plain = operators(outputs, { parameters: "inputs", products });
    expect(plain).not.toContain("FusedMatMul");
    expect(plain).toContain("Gemm");
    const inputs: Parameters<typeof run>[1] = {
      x: [data(128, 1), [2, 64]],
      y: [data(128, 2), [2, 64]],
      left: [data(30, 3), [2, 3, 5]],
      right: [data(40, 4), [2, 4, 5]],
      table: [data(384, 5), [6, 64]],
      other: [data(128, 6), [2, 64]],
    };
    const [fused, separate] = [
      await run(outputs, inputs),
      await run(outputs, inputs, { parameters: "inputs", products }),
    ];
    for (const name of Object.keys(outputs)) expectClose(separate[name], fused[name]);
  });

  test("are chosen", () => {
    expect(operators({ y: t.silu(x) })).toContain("QuickGelu");
    expect(operators({ y: t.matmul(x, x, { transposeB: true, scale: 0.5 }) })).toContain("FusedMatMul");
    const sumOf = t.add(x, t.input("z", ["rows", 64]));
    const norm = t.rmsNorm(sumOf, t.parameter("w", [64]), 1e-5);
    const fused = operators({ y: norm, total: sumOf }, { parameters: "weights" });
    expect(fused).toContain("SkipSimplifiedLayerNormalization");
    expect(fused).not.toContain("Add");
    expect(operators({ y: t.rmsNorm(x, t.input("w", [64]), 1e-5) })).toContain("SimplifiedLayerNormalization");
    const table = t.parameter("table", [8, 64]);
    const both = { y: t.linear(x, table), z: t.gather(table, t.input("i", ["n"], "int64")) };
    const quantised = operators(both, { parameters: "weights", blocks: () => ownFormats[4] });
    expect(quantised).toContain("MatMulNBits");
    expect(quantised).toContain("GatherBlockQuantized");
    const plain = operators(both, { parameters: "weights" });
    expect(plain).toContain("Gather");
    expect(plain).not.toContain("MatMulNBits");
  });

  test("joined products are taken apart where that saves operators", () => {
    const joined = (rows: t.Dimension) => {
      const matrices = t.concat([t.parameter("a", [8, 64]), t.parameter("b", [8, 64])], 0);
      const [a, b] = t.split(t.linear(t.input("x", [rows, 64]), matrices), [8, 8], 1);
      return t.multiply(a, b);
    };
    const y = joined(64);
    const trained = t.parametersOf(y);
    const steps = t.gradients(t.reduceSum(y), [trained.get("a")!, trained.get("b")!]);
    const training = operators({ y, first: steps[0], second: steps[1] });
    // The joined matrix, which nothing reads: the runtime leaves it out.
    expect(training.filter((operator) => operator === "Concat")).toHaveLength(1);
    expect(training).not.toContain("Split");
    expect(operators({ y }, { parameters: "weights" })).not.toContain("Split");
    for (const rows of [63, "rows"]) {
      expect(operators({ y: joined(rows) }, { parameters: "weights" })).toContain("Split");
    }
    expect(operators({ y }, { parameters: "weights", blocks: () => ownFormats[4] })).toContain("Split");
  });

  test("a norm gives its gradient what it multiplied by", () => {
    const x = t.add(t.input("x", [4, 64]), t.input("z", [4, 64]));
    const norm = t.rmsNorm(x, t.input("w", [64]), 1e-5);
    const [gradient] = t.gradients(t.reduceSum(t.square(norm)), [x]);
    const used = operators({ norm, gradient });
    expect(used.filter((operator) => operator.includes("LayerNormalization"))).toEqual([
      "SimplifiedLayerNormalization",
    ]);
    expect(used.filter((operator) => operator.startsWith("Reduce"))).toEqual([]);
    // Asked for first, or alone, it is computed by itself.
    expect(operators({ gradient, norm })).toContain("SimplifiedLayerNormalization");
    expect(operators({ y: t.rmsInverse(x, 1e-5) })).toContain("SimplifiedLayerNormalization");
  });

  test("give what they stand for", async () => {
    const [z, w] = [t.input("z", ["rows", 64]), t.input("w", [64])];
    const total = t.add(x, z);
    const meanSquare = t.reduceMean(t.square(t.subtract(x, t.negate(z))), 1, true);
    const longNorm = t.multiply(t.divide(t.subtract(x, t.negate(z)), t.sqrt(t.add(meanSquare, 1e-5))), w);
    const swapped = t.transpose(z, [1, 0]);
    const result = await run(
      {
        norm: t.rmsNorm(total, w, 1e-5),
        total,
        longNorm,
        silu: t.silu(x),
        longSilu: t.multiply(x, t.sigmoid(x)),
        product: t.matmul(x, z, { transposeB: true, scale: 0.25 }),
        longProduct: t.multiply(t.matmul(x, swapped), 0.25),
      },
      { x: [data(192), [3, 64]], z: [data(192, 2), [3, 64]], w: [data(64, 3), [64]] },
    );
    expectClose(result.norm, result.longNorm);
    expectClose(
      result.total,
      data(192).map((v, i) => v + data(192, 2)[i]),
    );
    expectClose(result.silu, result.longSilu);
    expectClose(result.product, result.longProduct, 1e-4);
  });

  test("a sum that feeds two norms keeps both", async () => {
    const total = t.add(x, x);
    const norms = ["v", "w"].map((name) => t.rmsNorm(total, t.input(name, [64]), 1e-5));
    const inputs = { x: [data(64), [1, 64]], v: [data(64, 2), [64]], w: [data(64, 3), [64]] } as Record<
      string,
      [Float32Array, number[]]
    >;
    const { a, b } = await run({ a: norms[0], b: norms[1] }, inputs);
    const scale = Math.sqrt(data(64).reduce((s, v) => s + (2 * v) ** 2, 0) / 64 + 1e-5);
    expectClose(
      a,
      data(64).map((v, i) => ((2 * v) / scale) * data(64, 2)[i]),
    );
    expectClose(
      b,
      data(64).map((v, i) => ((2 * v) / scale) * data(64, 3)[i]),
    );
  });
});

describe("quantised weights", () => {
  const rows = 40;
  const own = (bits: 4 | 8, columns: number) => quantizeMatrix(data(rows * columns, 5), rows, columns, bits);
  /** Scales of 1/32, then any codes: rows of 3 blocks. */
  const stored = (type: "Q4_0" | "Q8_0") => {
    const length = type === "Q4_0" ? 18 : 34;
    const bytes = Uint8Array.from(data(rows * 3 * length, 5), (x, i) =>
      i % length === 0 ? 0 : i % length === 1 ? 0x28 : x * 1000,
    );
    return fromGgufBlocks(bytes, type, rows, 96);
  };
  test.each([
    ["4 bits", own(4, 128)],
    ["8 bits", own(8, 128)],
    ["4 bits, an odd number of blocks", own(4, 192)],
    ["4 bits, a last block that is partly filled", own(4, 144)],
    ["Q4_0", stored("Q4_0")],
    ["Q8_0", stored("Q8_0")],
  ] as const)("%s: product and gather are those of the dequantised matrix", async (_, matrix) => {
    const { bits, blockSize, zeroPoints, columns } = matrix;
    const format = { bits, blockSize, zeroPoints };
    const dense = dequantizeMatrix(matrix);
    const table = t.parameter("table", [rows, columns]);
    const outputs = {
      product: t.linear(t.input("x", ["n", columns]), table),
      rows: t.gather(table, t.input("i", ["m"], "int64")),
    };
    const x = data(3 * columns, 7);
    const result = await run(
      outputs,
      { x: [x, [3, columns]], i: [BigInt64Array.of(0n, 39n, 7n), [3]] },
      { parameters: "weights", blocks: () => format },
      ({ weights, weightBytes }) => {
        const file = new Uint8Array(weightBytes);
        for (const binding of weights) {
          if (binding.bits === 32) file.set(new Uint8Array(dense.buffer), binding.values);
          else {
            file.set(matrix.packed, binding.packed);
            file.set(new Uint8Array(matrix.scales.buffer), binding.scales);
            file.set(matrix.zeros, binding.zeros ?? 0);
          }
        }
        return file;
      },
    );
    for (const [i, row] of [0, 39, 7].entries()) {
      const wanted = dense.subarray(row * columns, (row + 1) * columns);
      expectClose(result.rows.slice(i * columns, (i + 1) * columns), wanted);
    }
    // The operator rounds x to 8 bits in blocks: half a step a factor, over all products.
    const wanted = Array.from({ length: 3 * rows }, (_, at) => {
      const [n, row] = [Math.floor(at / rows), at % rows];
      return dense.subarray(row * columns, (row + 1) * columns).reduce((s, v, c) => s + v * x[n * columns + c], 0);
    });
    expectClose(result.product, wanted, 0.3);
  });
});

test("inputs and outputs may be called as anything but one another", async () => {
  const [x, y] = [t.input("v0", [2]), t.input("c1", [2])];
  const total = t.add(t.multiply(x, t.constant(data(2, 3), [2])), t.multiply(y, t.constant(data(2, 4), [2])));
  const inputs: Parameters<typeof run>[1] = { v0: [data(2, 1), [2]], c1: [data(2, 2), [2]] };
  const result = await run({ v2: total, v3: t.exp(total) }, inputs);
  const wanted = [0, 1].map((i) => data(2, 1)[i] * data(2, 3)[i] + data(2, 2)[i] * data(2, 4)[i]);
  expectClose(result.v2, wanted);
  expectClose(result.v3, wanted.map(Math.exp), 1e-4);
  for (const name of ["v0", "c1"])
    expect(() => t.lower({ [name]: total }, { parameters: "inputs" })).toThrow(
      `two values of a program are called ${name}`,
    );
  const varying = t.exp(t.input(t.planInput, ["rows"]));
  expect(() => t.lower({ y: varying }, { parameters: "inputs" })).toThrow(/are called memory\.plan/);
});

describe("sizes known only at run time", () => {
  test("split takes them from any tensor that has them", async () => {
    const [a, b] = [t.input("a", [2, "rows"]), t.input("b", [2, "slots"])];
    const [first, fixed, last] = t.split(t.concat([a, t.constant(data(6), [2, 3]), b], 1), ["rows", 3, "slots"], 1);
    for (const [rows, slots] of [
      [1, 4],
      [5, 2],
    ]) {
      const result = await run(
        { first, fixed, last },
        { a: [data(2 * rows, 2), [2, rows]], b: [data(2 * slots, 3), [2, slots]] },
      );
      expectClose(result.first, data(2 * rows, 2));
      expectClose(result.fixed, data(6));
      expectClose(result.last, data(2 * slots, 3));
    }
  });

  test("what cannot be known is refused when it is lowered", () => {
    const x = t.input("x", ["rows", 4]);
    expect(() => t.lower({ y: t.reshape(x, [2, "2*rows"]) }, { parameters: "inputs" })).not.toThrow();
    expect(() => t.lower({ y: t.expand(t.scalar(1), ["rows", 4]) }, { parameters: "inputs" })).toThrow(/expand.*rows/);
    const twice = { y: t.add(t.input("x", [2]), t.input("x", [2])) };
    expect(() => t.lower(twice, { parameters: "inputs" })).toThrow(/two values of a program are called x/);
  });
});
