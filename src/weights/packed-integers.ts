/**
 * Safetensors that hold matrices as packed integers: GPTQ (Frantar et al. 2022, as AutoGPTQ writes it) and AWQ (Lin et al. 2023, as
 * AutoAWQ's GEMM version writes it). A matrix [outputs, inputs] is stored as `qweight`, `qzeros` and `scales`, with one zero and one
 * scale for each output and each group of inputs: value = (code - zero) * scale. Here they are seen as the `weight` that they stand for.
 */
import { ensure, shown, VentrisError } from "../errors.ts";
import { isObject } from "../json.ts";
import type { BlockFormat } from "../tensor/index.ts";
import { requireFinite } from "./layout.ts";
import { emptyMatrix } from "./quantize.ts";
import type { QuantizedMatrix, WeightInfo, WeightSource } from "./source.ts";

/** Places in an integer of 32 bits from which AWQ's eight neighbouring outputs are taken. */
const awqPlaces = [0, 4, 1, 5, 2, 6, 3, 7];

interface Packing {
  method: "gptq" | "awq";
  bits: 4 | 8;
  /** Inputs that share a scale; undefined: all of them. */
  groupSize: number | undefined;
  /** Added to a stored zero. */
  zeroOffset: number;
}

/** A quantised matrix and where its parts are. */
interface Packed {
  stem: string;
  outputs: number;
  inputs: number;
  groupSize: number;
  groups: number;
  blocks: BlockFormat | undefined;
  /** The group of each input, where they are not in order. */
  grouping: Int32Array | undefined;
}

/**
 * The source with its packed matrices as plain ones. Errors: `bad_config` for a method or a variant that is not known, naming the field;
 * `bad_file` for parts that do not fit each other.
 */
export async function dequantizing(source: WeightSource, quantization: unknown): Promise<WeightSource> {
  const packing = readPacking(quantization);
  const packed = new Map<string, Packed>();
  const tensors = new Map<string, WeightInfo>();
  const parts = /\.(qweight|qzeros|scales|g_idx)$/;
  for (const name of source.tensors.keys()) {
    if (!name.endsWith(".qweight")) continue;
    const matrix = await describe(source, name.slice(0, -".qweight".length), packing);
    const weight = `${matrix.stem}.weight`;
    ensure(!source.tensors.has(weight), "bad_file", `${source.origin} holds both ${name} and ${weight}`);
    packed.set(weight, matrix);
    tensors.set(weight, {
      name: weight,
      type: "F32",
      shape: [matrix.outputs, matrix.inputs],
      ...(matrix.blocks && { blocks: matrix.blocks }),
    });
  }
  for (const [name, info] of source.tensors) {
    const stem = name.replace(/\.\w+$/, "");
    const ofPacked = packed.has(`${stem}.weight`);
    if (ofPacked && parts.test(name)) continue;
    tensors.set(name, ofPacked && (await isZeroBias(source, name)) ? { ...info, spare: true } : info);
  }
  const unpack = (name: string) => readMatrix(source, packed.get(name)!, packing);
  return {
    ...source,
    identity: `${source.identity}\n${JSON.stringify(packing)}`,
    tensors,
    async readFloat32(name, options) {
      const matrix = packed.get(name);
      return matrix ? dequantized(await unpack(name), matrix) : source.readFloat32(name, options);
    },
    async readRows(name, from, to) {
      const matrix = packed.get(name);
      if (!matrix && source.readRows) return source.readRows(name, from, to);
      const columns = tensors.get(name)!.shape[1];
      const values = matrix ? dequantized(await unpack(name), matrix) : await source.readFloat32(name);
      return values.slice(from * columns, to * columns);
    },
    async readBytes(name) {
      ensure(!packed.has(name), "bad_option", () => `${source.origin}: tensor ${name} is stored as packed integers`);
      return source.readBytes(name);
    },
    async readBlocks(name) {
      const matrix = packed.get(name);
      if (!matrix) return source.readBlocks(name);
      ensure(
        matrix.blocks,
        "bad_option",
        () => `${source.origin}: tensor ${name} has no blocks that could be used as they are`,
      );
      return toBlocks(await unpack(name), matrix, matrix.blocks);
    },
  };
}

/** Writers give every packed matrix a bias, of zeros where the model has none. */
async function isZeroBias(source: WeightSource, name: string): Promise<boolean> {
  return name.endsWith(".bias") && (await source.readFloat32(name)).every((value) => value === 0);
}

function readPacking(stated: unknown): Packing {
  const fail = (message: string): never => {
    throw new VentrisError("bad_config", `config: quantization_config${message}`);
  };
  const config = isObject(stated) ? stated : fail(` must be an object, not ${shown(stated)}`);
  const only = (field: string, ...allowed: unknown[]) => {
    const value = config[field] ?? undefined;
    if (!allowed.includes(value)) fail(`.${field} = ${shown(value)} is not supported`);
    return value;
  };
  const { quant_method: method } = config;
  if (method !== "gptq" && method !== "awq") {
    return fail(`.quant_method = ${shown(method)} is not supported (gptq and awq are)`);
  }
  const bits = only(
    method === "awq" && config.bits === undefined ? "w_bit" : "bits",
    4,
    ...(method === "gptq" ? [8] : []),
  ) as 4 | 8;
  const size = config.group_size ?? config.q_group_size ?? 128;
  const whole = size === -1;
  if (!whole && !(Number.isInteger(size) && (size as number) >= 1 && (size as number) <= 2 ** 24)) {
    fail(`.group_size = ${shown(size)} is not a number of columns`);
  }
  if (method === "awq") {
    only("version", "gemm", "GEMM", undefined);
    only("zero_point", true, undefined);
  }
  const format = method === "gptq" ? only("checkpoint_format", "gptq", "gptq_v2", undefined) : undefined;
  return {
    method,
    bits,
    groupSize: whole ? undefined : (size as number),
    // The first GPTQ format stores zeros less one.
    zeroOffset: method === "gptq" && format !== "gptq_v2" ? 1 : 0,
  };
}

async function describe(
  source: WeightSource,
  stem: string,
  { method, bits, groupSize: size }: Packing,
): Promise<Packed> {
  const where = `${source.origin}: ${stem}`;
  const part = (name: string, types: readonly string[]) => {
    const info = source.tensors.get(`${stem}.${name}`);
    ensure(
      info && types.includes(info.type) && info.shape.length === 2,
      "bad_file",
      () =>
        `${where}.${name} is ${info ? `${info.type} [${info.shape}]` : "missing"}, not a matrix of ${types.join(" or ")}`,
    );
    return info.shape;
  };
  const [codes, zeros, scales] = [
    part("qweight", ["I32"]),
    part("qzeros", ["I32"]),
    part("scales", ["F16", "BF16", "F32"]),
  ];
  const perInteger = 32 / bits;
  const outputs = method === "gptq" ? codes[1] : codes[1] * perInteger;
  const inputs = method === "gptq" ? codes[0] * perInteger : codes[0];
  const groupSize = size ?? inputs;
  const groups = Math.ceil(inputs / groupSize);
  const fits =
    outputs % perInteger === 0 &&
    scales[0] === groups &&
    scales[1] === outputs &&
    zeros[0] === groups &&
    zeros[1] === outputs / perInteger;
  ensure(
    fits,
    "bad_file",
    `${where}: qweight [${codes}], qzeros [${zeros}] and scales [${scales}] do not fit each other in groups of ${groupSize}`,
  );
  const grouping = await readGrouping(source, stem, { inputs, groupSize, groups });
  const blockSize = ([32, 64, 128] as const).find((known) => known === groupSize);
  const usable = blockSize !== undefined && grouping === undefined && inputs % groupSize === 0;
  const blocks = usable ? ({ bits, blockSize, zeroPoints: true } as const) : undefined;
  return { stem, outputs, inputs, groupSize, groups, blocks, grouping };
}

/** The group of each input; undefined where they are in order (as they are without `desc_act`). */
async function readGrouping(
  source: WeightSource,
  stem: string,
  { inputs, groupSize, groups }: { inputs: number; groupSize: number; groups: number },
): Promise<Int32Array | undefined> {
  const name = `${stem}.g_idx`;
  const info = source.tensors.get(name);
  if (!info) return undefined;
  const fits = info.type === "I32" && info.shape.length === 1 && info.shape[0] === inputs;
  ensure(fits, "bad_file", `${source.origin}: ${name} is ${info.type} [${info.shape}], not I32 [${inputs}]`);
  const bytes = await source.readBytes(name);
  const grouping = new Int32Array(bytes.buffer, bytes.byteOffset, inputs);
  ensure(
    grouping.every((group) => group >= 0 && group < groups),
    "bad_file",
    `${source.origin}: ${name} names a group beyond ${groups}`,
  );
  return grouping.every((group, input) => group === Math.floor(input / groupSize)) ? undefined : grouping;
}

/** Codes [inputs, outputs], zeros [groups, outputs] and scales [groups, outputs], in the order of the file. */
interface Unpacked {
  codes: Uint8Array;
  zeros: Uint8Array;
  scales: Float32Array;
}

async function readMatrix(source: WeightSource, matrix: Packed, packing: Packing): Promise<Unpacked> {
  const { stem, outputs, inputs, groups } = matrix;
  const { method, bits, zeroOffset } = packing;
  const integers = async (name: string) => {
    const bytes = await source.readBytes(`${stem}.${name}`);
    return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  };
  const mask = 2 ** bits - 1;
  const perInteger = 32 / bits;
  const places = method === "awq" ? awqPlaces : Array.from({ length: perInteger }, (_, i) => i);
  /** Rows whose outputs are packed side by side. */
  const across = (stored: Uint32Array, rows: number, offset: number): Uint8Array => {
    const result = new Uint8Array(rows * outputs);
    for (let i = 0; i < stored.length; i++) {
      for (let j = 0; j < perInteger; j++) {
        result[i * perInteger + j] = ((stored[i] >>> (places[j] * bits)) + offset) & mask;
      }
    }
    return result;
  };
  /** Inputs packed one below the other. */
  const down = (stored: Uint32Array): Uint8Array => {
    const result = new Uint8Array(inputs * outputs);
    for (let i = 0; i < stored.length; i++) {
      const [row, output] = [Math.floor(i / outputs) * perInteger, i % outputs];
      for (let j = 0; j < perInteger; j++) result[(row + j) * outputs + output] = (stored[i] >>> (j * bits)) & mask;
    }
    return result;
  };
  const codes = await integers("qweight");
  const scales = await source.readFloat32(`${stem}.scales`);
  requireFinite(scales, `${source.origin}: tensor ${stem}.scales`);
  return {
    codes: method === "gptq" ? down(codes) : across(codes, inputs, 0),
    zeros: across(await integers("qzeros"), groups, zeroOffset),
    scales,
  };
}

/** [outputs, inputs]. */
function dequantized({ codes, zeros, scales }: Unpacked, matrix: Packed): Float32Array<ArrayBuffer> {
  const { outputs, inputs, groupSize, grouping } = matrix;
  const result = new Float32Array(outputs * inputs);
  for (let input = 0; input < inputs; input++) {
    const group = (grouping ? grouping[input] : Math.floor(input / groupSize)) * outputs;
    for (let output = 0; output < outputs; output++) {
      const code = codes[input * outputs + output] - zeros[group + output];
      result[output * inputs + input] = code * scales[group + output];
    }
  }
  return result;
}

function toBlocks(
  { codes, zeros, scales }: Unpacked,
  { outputs, inputs, groups }: Packed,
  format: BlockFormat,
): QuantizedMatrix {
  const result = emptyMatrix(outputs, inputs, format);
  const { bits } = format;
  const perByte = 8 / bits;
  const zeroBytes = Math.ceil(groups / perByte);
  for (let output = 0; output < outputs; output++) {
    for (let input = 0; input < inputs; input++) {
      const at = output * inputs + input;
      result.packed[Math.floor(at / perByte)] |= codes[input * outputs + output] << ((at % perByte) * bits);
    }
    for (let group = 0; group < groups; group++) {
      result.scales[output * groups + group] = scales[group * outputs + output];
      result.zeros[output * zeroBytes + Math.floor(group / perByte)] |=
        zeros[group * outputs + output] << ((group % perByte) * bits);
    }
  }
  return result;
}
