/** Builds ONNX models: names, constants, nodes and the final bytes. Knows the file format and nothing of what is lowered. */
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  AttributeProto_AttributeType as AttributeType,
  ModelProtoSchema,
  type NodeProtoSchema,
  TensorProto_DataLocation,
  type TensorProtoSchema,
  type ValueInfoProtoSchema,
} from "onnx-buf";
import { ensure } from "../errors.ts";
import type { Shape } from "./shape.ts";
import { type ElementType, elementTypeOf, type TensorData } from "./tensor.ts";

/** ONNX's own numbers of the element types. */
export const dataTypes: Record<ElementType, number> = {
  float32: 1,
  uint8: 2,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
};

export type OnnxAttribute = number | string | readonly number[] | { float: number };

/** The operator set of onnx.ai; ONNX Runtime's own operators live in `microsoft`. */
const operatorSet = 21n;
export const microsoft = "com.microsoft";

/** What models call the file with their weights. */
export const weightFileName = "weights";

export interface OnnxBuilder {
  /** Appends a node; returns its output names. */
  node(operator: string, inputs: readonly string[], options?: NodeOptions): string[];
  /** A small value stored inside the model; equal ones are stored once. */
  constant(data: TensorData, shape: readonly number[]): string;
  /** An initializer whose bytes lie in the program's weight file; returns its offset there. `at`: where it lies already. */
  external(name: string, type: ElementType, shape: readonly number[], byteLength: number, at?: number): number;
  /** Length of the weight file. */
  readonly externalBytes: number;
  input(name: string, type: ElementType, shape: Shape): void;
  output(name: string, source: string, type: ElementType, shape: Shape): void;
  finish(): Uint8Array<ArrayBuffer>;
}

export interface NodeOptions {
  attributes?: Record<string, OnnxAttribute>;
  domain?: string;
  /** Number of outputs, or their wanted places: false leaves an optional output out. */
  outputs?: number | readonly boolean[];
}

/** `reserved`: names that outputs will have. Errors: `bad_shape` where two values have one name, which ONNX knows them by. */
export function createOnnxBuilder(reserved: readonly string[]): OnnxBuilder {
  const nodes: MessageInitShape<typeof NodeProtoSchema>[] = [];
  const initializers: MessageInitShape<typeof TensorProtoSchema>[] = [];
  const inputs: MessageInitShape<typeof ValueInfoProtoSchema>[] = [];
  const outputs: MessageInitShape<typeof ValueInfoProtoSchema>[] = [];
  const constants = new Map<string, string>();
  const taken = new Set(reserved);
  const declared = new Set<string>();
  let counter = 0;
  let externalBytes = 0;
  /** A name of its own for what has none. */
  function fresh(letter: string): string {
    let name = `${letter}${counter++}`;
    while (taken.has(name)) name = `${letter}${counter++}`;
    return name;
  }
  function declare(name: string): void {
    ensure(!declared.has(name), "bad_shape", () => {
      return `two values of a program are called ${name}: give one tensor to both places, or each a name of its own`;
    });
    declared.add(name);
    taken.add(name);
  }

  return {
    node(operator, nodeInputs, { attributes = {}, domain = "", outputs: wanted = 1 } = {}) {
      const places = typeof wanted === "number" ? Array.from({ length: wanted }, () => true) : wanted;
      const names = places.map((place) => (place ? fresh("v") : ""));
      nodes.push({
        name: `${operator}_${nodes.length}`,
        opType: operator,
        domain,
        input: [...nodeInputs],
        output: names,
        attribute: Object.entries(attributes).map(([name, value]) => attributeProto(name, value)),
      });
      return names;
    },
    constant(data, shape) {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      const type = elementTypeOf(data);
      const key = bytes.length <= 256 ? `${type}[${shape}]${bytes.join(",")}` : undefined;
      const known = key && constants.get(key);
      if (known) return known;
      const name = fresh("c");
      initializers.push({ name, dataType: dataTypes[type], dims: shape.map(BigInt), rawData: bytes.slice() });
      if (key) constants.set(key, name);
      return name;
    },
    get externalBytes() {
      return externalBytes;
    },
    external(name, type, shape, byteLength, at) {
      declare(name);
      // Page borders let the runtime map the file into memory instead of reading it.
      const offset = at ?? Math.ceil(externalBytes / 4096) * 4096;
      externalBytes = Math.max(externalBytes, offset + byteLength);
      initializers.push({
        name,
        dataType: dataTypes[type],
        dims: shape.map(BigInt),
        dataLocation: TensorProto_DataLocation.EXTERNAL,
        externalData: [
          { key: "location", value: weightFileName },
          { key: "offset", value: String(offset) },
          { key: "length", value: String(byteLength) },
        ],
      });
      return offset;
    },
    input(name, type, shape) {
      declare(name);
      inputs.push(valueInfo(name, type, shape));
    },
    output(name, source, type, shape) {
      declare(name);
      nodes.push({ name: `output_${outputs.length}`, opType: "Identity", input: [source], output: [name] });
      outputs.push(valueInfo(name, type, shape));
    },
    finish() {
      const model = create(ModelProtoSchema, {
        irVersion: 10n,
        producerName: "ventris",
        opsetImport: [
          { domain: "", version: operatorSet },
          { domain: microsoft, version: 1n },
        ],
        graph: { name: "program", node: nodes, initializer: initializers, input: inputs, output: outputs },
      });
      return toBinary(ModelProtoSchema, model);
    },
  };
}

function attributeProto(name: string, value: OnnxAttribute) {
  if (typeof value === "number") return { name, type: AttributeType.INT, i: BigInt(value) };
  if (typeof value === "string") return { name, type: AttributeType.STRING, s: new TextEncoder().encode(value) };
  if ("float" in value) return { name, type: AttributeType.FLOAT, f: value.float };
  return { name, type: AttributeType.INTS, ints: value.map(BigInt) };
}

function valueInfo(name: string, type: ElementType, shape: Shape): MessageInitShape<typeof ValueInfoProtoSchema> {
  const dim = shape.map((dimension) => ({
    value:
      typeof dimension === "number"
        ? { case: "dimValue" as const, value: BigInt(dimension) }
        : { case: "dimParam" as const, value: dimension },
  }));
  return { name, type: { value: { case: "tensorType", value: { elemType: dataTypes[type], shape: { dim } } } } };
}
