/** A one-node ONNX model that multiplies rows by a quantised matrix. */
import { create, toBinary } from "@bufbuild/protobuf";
import { AttributeProto_AttributeType, ModelProtoSchema } from "onnx-buf";
import { InferenceSession, Tensor } from "onnxruntime-node";
import type { QuantizedMatrix } from "./source.ts";

const [float, uint8] = [1, 2];

/** Rows [count, columns] times the transposed matrix, by ONNX Runtime's MatMulNBits: [count, rows]. */
export async function multiplyInOnnx(
  input: Float32Array,
  matrix: QuantizedMatrix,
  accuracyLevel: number,
): Promise<Float32Array> {
  const { bits, blockSize, rows, columns, packed, scales, zeros } = matrix;
  const count = input.length / columns;
  const integer = (name: string, value: number) => ({ name, type: AttributeProto_AttributeType.INT, i: BigInt(value) });
  const dims = (...sizes: number[]) => sizes.map(BigInt);
  const value = (name: string, ...sizes: number[]) => ({
    name,
    type: {
      value: {
        case: "tensorType" as const,
        value: {
          elemType: float,
          shape: { dim: sizes.map((size) => ({ value: { case: "dimValue" as const, value: BigInt(size) } })) },
        },
      },
    },
  });
  const blocks = Math.ceil(columns / blockSize);
  const model = create(ModelProtoSchema, {
    irVersion: 10n,
    opsetImport: [
      { domain: "", version: 21n },
      { domain: "com.microsoft", version: 1n },
    ],
    graph: {
      name: "product",
      node: [
        {
          opType: "MatMulNBits",
          domain: "com.microsoft",
          input: ["a", "b", "scales", ...(matrix.zeroPoints ? ["zeros"] : [])],
          output: ["y"],
          attribute: [
            integer("K", columns),
            integer("N", rows),
            integer("bits", bits),
            integer("block_size", blockSize),
            integer("accuracy_level", accuracyLevel),
          ],
        },
      ],
      initializer: [
        { name: "b", dataType: uint8, dims: dims(rows, blocks, (blockSize * bits) / 8), rawData: packed },
        { name: "scales", dataType: float, dims: dims(rows, blocks), rawData: new Uint8Array(scales.buffer) },
        ...(matrix.zeroPoints
          ? [{ name: "zeros", dataType: uint8, dims: dims(rows, zeros.length / rows), rawData: zeros }]
          : []),
      ],
      input: [value("a", count, columns)],
      output: [value("y", count, rows)],
    },
  });
  const session = await InferenceSession.create(toBinary(ModelProtoSchema, model), {
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
  });
  try {
    const { y } = await session.run({ a: new Tensor("float32", input, [count, columns]) });
    return y.data as Float32Array;
  } finally {
    await session.release();
  }
}
