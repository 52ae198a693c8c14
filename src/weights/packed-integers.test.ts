import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "./open.ts";
import { awqTensors, type Codes, gptqTensors, valuesOf } from "./packed-integers.fixture.ts";
import { dequantizeMatrix } from "./quantize.ts";
import { type TensorToWrite, writeSafetensors } from "./safetensors.ts";

const base = await mkdtemp(join(tmpdir(), "ventris-packed-"));
afterAll(() => rm(base, { recursive: true, force: true }));

async function open(tensors: TensorToWrite[], quantization_config: object) {
  const folder = await mkdtemp(join(base, "checkpoint-"));
  await writeSafetensors(join(folder, "model.safetensors"), tensors);
  await writeFile(join(folder, "config.json"), JSON.stringify({ vocab_size: 5, quantization_config }));
  return openCheckpoint(folder);
}

const codesOf = (change: Partial<Codes> = {}): Codes => {
  const bits = change.bits ?? 4;
  return {
    outputs: 16,
    inputs: 128,
    bits,
    groupSize: 32,
    code: (output, input) => (output * 31 + input * 7 + ((output * input) >> 3)) % 2 ** bits,
    zero: (output, group) => (output * 5 + group * 3 + 1) % 2 ** bits,
    scale: (output, group) => (1 + ((output + group) % 7)) / 64,
    ...change,
  };
};
const gptq = { quant_method: "gptq", bits: 4, group_size: 32, desc_act: false, sym: false };
const awq = { quant_method: "awq", bits: 4, group_size: 32, version: "gemm", zero_point: true };

describe("packed integers", () => {
  it.each<[string, Codes, (codes: Codes) => TensorToWrite[], object]>([
    ["GPTQ", codesOf(), (codes) => gptqTensors("m", codes), gptq],
    [
      "GPTQ, second format",
      codesOf(),
      (codes) => gptqTensors("m", codes, { version: 2 }),
      { ...gptq, checkpoint_format: "gptq_v2" },
    ],
    ["GPTQ, 8 bits", codesOf({ bits: 8 }), (codes) => gptqTensors("m", codes), { ...gptq, bits: 8 }],
    ["GPTQ, groups of 64", codesOf({ groupSize: 64 }), (codes) => gptqTensors("m", codes), { ...gptq, group_size: 64 }],
    ["AWQ", codesOf(), (codes) => awqTensors("m", codes), awq],
    [
      "AWQ, groups of 128",
      codesOf({ groupSize: 128 }),
      (codes) => awqTensors("m", codes),
      { ...awq, group_size: undefined },
    ],
  ])("of %s are the matrices that they stand for, and keep their blocks", async (_, codes, write, quantization) => {
    const source = await open(write(codes), quantization);
    expect([...source.tensors.keys()]).toEqual(["m.weight"]);
    expect(source.config).toEqual({ vocab_size: 5 });
    expect(source.tensors.get("m.weight")!.shape).toEqual([16, 128]);
    expect(await source.readFloat32("m.weight")).toEqual(valuesOf(codes));
    expect(source.tensors.get("m.weight")!.blocks).toEqual({
      bits: codes.bits,
      blockSize: codes.groupSize,
      zeroPoints: true,
    });
    expect(dequantizeMatrix(await source.readBlocks("m.weight"))).toEqual(valuesOf(codes));
    await source.close();
  });

  it.each<[string, Codes, object]>([
    ["inputs in an order of their own", codesOf({ group: (input) => (input * 7) % 4 }), { ...gptq, desc_act: true }],
    ["one group", codesOf({ groupSize: 128 }), { ...gptq, group_size: -1 }],
    ["groups of no block's size", codesOf({ groupSize: 16 }), { ...gptq, group_size: 16 }],
  ])("with %s are read as values", async (name, codes, quantization) => {
    const source = await open(gptqTensors("m", codes), quantization);
    expect(await source.readFloat32("m.weight")).toEqual(valuesOf(codes));
    if (name !== "one group") await expect(source.readBlocks("m.weight")).rejects.toMatchObject({ code: "bad_option" });
    await source.close();
  });

  it("lie beside plain tensors, and biases of zeros are told apart", async () => {
    const plain = { name: "norm.weight", type: "F32", shape: [2], data: Float32Array.of(1, 2) } as const;
    const bias = {
      name: "n.bias",
      type: "F16",
      shape: [16],
      data: Float32Array.from({ length: 16 }, (_, i) => i),
    } as const;
    const source = await open(
      [...gptqTensors("m", codesOf(), { bias: true }), ...gptqTensors("n", codesOf()), plain, bias],
      gptq,
    );
    expect([...source.tensors.keys()].sort()).toEqual(["m.bias", "m.weight", "n.bias", "n.weight", "norm.weight"]);
    expect([...source.tensors.values()].filter(({ spare }) => spare).map(({ name }) => name)).toEqual(["m.bias"]);
    expect(await source.readFloat32("norm.weight")).toEqual(plain.data);
    await source.close();
  });

  const sound = gptqTensors("m", codesOf());
  const without = (part: string) => sound.filter(({ name }) => name !== `m.${part}`);
  const replaced = (part: string, change: Partial<TensorToWrite>) =>
    sound.map((tensor) => (tensor.name === `m.${part}` ? { ...tensor, ...change } : tensor));
  it.each<[string, TensorToWrite[], object, string, RegExp]>([
    ["another method", sound, { quant_method: "bitsandbytes" }, "bad_config", /quant_method = "bitsandbytes"/],
    ["no method", sound, { bits: 4 }, "bad_config", /quantization_config\.quant_method = undefined/],
    ["three bits", sound, { ...gptq, bits: 3 }, "bad_config", /\.bits = 3/],
    ["a foreign layout", sound, { ...gptq, checkpoint_format: "marlin" }, "bad_config", /checkpoint_format = "marlin"/],
    ["AWQ by columns", sound, { ...awq, version: "gemv" }, "bad_config", /version = "gemv"/],
    ["a group of none", sound, { ...gptq, group_size: 0 }, "bad_config", /group_size = 0/],
    ["no scales", without("scales"), gptq, "bad_file", /m\.scales is missing/],
    ["groups of another size", sound, { ...gptq, group_size: 64 }, "bad_file", /do not fit each other in groups of 64/],
    [
      "codes of another type",
      replaced("qweight", { type: "F32", data: new Float32Array(256) }),
      gptq,
      "bad_file",
      /m\.qweight is F32/,
    ],
    ["a group beyond the last", replaced("g_idx", { data: new Int32Array(128).fill(4) }), gptq, "bad_file", /beyond 4/],
    [
      "fewer groups named than inputs",
      replaced("g_idx", { shape: [4], data: new Int32Array(4) }),
      gptq,
      "bad_file",
      /g_idx is I32 \[4\]/,
    ],
    [
      "both forms",
      [...sound, { name: "m.weight", type: "U8", shape: [0], data: new Uint8Array() }],
      gptq,
      "bad_file",
      /holds both/,
    ],
  ])("are refused with %s", async (_, tensors, quantization, code, message) => {
    await expect(open(tensors, quantization)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });
});
