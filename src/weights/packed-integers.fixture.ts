/** Writes checkpoints of packed integers as their makers lay them out, from codes, zeros and scales that a test chooses. */
import type { TensorToWrite } from "./safetensors.ts";

export interface Codes {
  outputs: number;
  inputs: number;
  bits: 4 | 8;
  groupSize: number;
  /** By (output, input); (output, group) for the others. Scales must be halves. */
  code(output: number, input: number): number;
  zero(output: number, group: number): number;
  scale(output: number, group: number): number;
  /** The group of an input; default: in order. */
  group?(input: number): number;
}

/** The definition, value by value: [outputs, inputs]. */
export function valuesOf({ outputs, inputs, groupSize, code, zero, scale, group }: Codes): Float32Array<ArrayBuffer> {
  const result = new Float32Array(outputs * inputs);
  for (let at = 0; at < result.length; at++) {
    const [output, input] = [Math.floor(at / inputs), at % inputs];
    const g = group ? group(input) : Math.floor(input / groupSize);
    result[at] = (code(output, input) - zero(output, g)) * scale(output, g);
  }
  return result;
}

/** A matrix of numbers below 2^bits as integers, `order` saying which of a run of neighbours each place holds. */
function packed(
  rows: number,
  columns: number,
  bits: number,
  order: readonly number[],
  value: (row: number, column: number) => number,
): Int32Array<ArrayBuffer> {
  const each = 32 / bits;
  const result = new Int32Array((rows * columns) / each);
  for (let i = 0; i < result.length; i++) {
    const [row, first] = [Math.floor((i * each) / columns), (i * each) % columns];
    for (let place = 0; place < each; place++) {
      result[i] |= (value(row, first + order[place]) & (2 ** bits - 1)) << (place * bits);
    }
  }
  return result;
}

const inOrder = (bits: number) => Array.from({ length: 32 / bits }, (_, i) => i);

export function gptqTensors(
  stem: string,
  codes: Codes,
  options: { version?: 1 | 2; bias?: boolean } = {},
): TensorToWrite[] {
  const { outputs, inputs, bits, groupSize, group } = codes;
  const groups = Math.ceil(inputs / groupSize);
  const each = 32 / bits;
  // Inputs are packed one below the other: as if the matrix [outputs, inputs] were packed across, then transposed.
  const down = packed(outputs, inputs, bits, inOrder(bits), codes.code);
  const qweight = new Int32Array(down.length);
  const rows = inputs / each;
  for (let i = 0; i < down.length; i++) qweight[(i % rows) * outputs + Math.floor(i / rows)] = down[i];
  const less = options.version === 2 ? 0 : 1;
  return [
    { name: `${stem}.qweight`, type: "I32", shape: [rows, outputs], data: qweight },
    {
      name: `${stem}.qzeros`,
      type: "I32",
      shape: [groups, outputs / each],
      data: packed(groups, outputs, bits, inOrder(bits), (g, output) => codes.zero(output, g) - less),
    },
    scalesOf(stem, codes, groups),
    {
      name: `${stem}.g_idx`,
      type: "I32",
      shape: [inputs],
      data: Int32Array.from({ length: inputs }, (_, input) => (group ? group(input) : Math.floor(input / groupSize))),
    },
    ...(options.bias
      ? [{ name: `${stem}.bias`, type: "F16" as const, shape: [outputs], data: new Float32Array(outputs) }]
      : []),
  ];
}

export function awqTensors(stem: string, codes: Codes): TensorToWrite[] {
  const { outputs, inputs, groupSize } = codes;
  const groups = Math.ceil(inputs / groupSize);
  const order = [0, 2, 4, 6, 1, 3, 5, 7];
  return [
    {
      name: `${stem}.qweight`,
      type: "I32",
      shape: [inputs, outputs / 8],
      data: packed(inputs, outputs, 4, order, (input, output) => codes.code(output, input)),
    },
    {
      name: `${stem}.qzeros`,
      type: "I32",
      shape: [groups, outputs / 8],
      data: packed(groups, outputs, 4, order, (g, output) => codes.zero(output, g)),
    },
    scalesOf(stem, codes, groups),
  ];
}

function scalesOf(stem: string, { outputs, scale }: Codes, groups: number): TensorToWrite {
  const data = Float32Array.from({ length: groups * outputs }, (_, i) => scale(i % outputs, Math.floor(i / outputs)));
  return { name: `${stem}.scales`, type: "F16", shape: [groups, outputs], data };
}
