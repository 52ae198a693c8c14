import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { dataPath, noData } from "../../test/data.ts";
import { VentrisError } from "../errors.ts";
import { describeTensor, openSafetensors, openSharded, type TensorToWrite, writeSafetensors } from "./safetensors.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ventris-safetensors-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A file with the given header (an object, JSON text or raw bytes) and that many data bytes. */
async function fileWith(header: unknown, dataBytes: number, headerLength?: number): Promise<string> {
  const json =
    header instanceof Uint8Array
      ? Buffer.from(header)
      : Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(headerLength ?? json.length));
  const path = join(folder, "crafted.safetensors");
  await writeFile(path, Buffer.concat([prefix, json, Buffer.alloc(dataBytes)]));
  return path;
}

const failure = async (promise: Promise<unknown>): Promise<VentrisError> => {
  const error = await promise.then(
    () => undefined,
    (reason) => reason,
  );
  expect(error).toBeInstanceOf(VentrisError);
  return error as VentrisError;
};

const f32 = (shape: unknown, begin: number, end: number) => ({ dtype: "F32", shape, data_offsets: [begin, end] });

describe("writing and reading", () => {
  test("every type comes back, as bytes and as float32", async () => {
    const path = join(folder, "all.safetensors");
    const shape = [2, 2];
    const tensors: (TensorToWrite & { values: number[] })[] = [
      { name: "bool", type: "BOOL", shape, data: Uint8Array.of(1, 0, 0, 1), values: [1, 0, 0, 1] },
      {
        name: "f64",
        type: "F64",
        shape,
        data: Float64Array.of(1, -2.5, 1e-3, 4),
        values: [1, -2.5, Math.fround(1e-3), 4],
      },
      { name: "f32", type: "F32", shape, data: Float32Array.of(1, -2, 0.1, 4), values: [1, -2, Math.fround(0.1), 4] },
      { name: "f16", type: "F16", shape, data: Uint16Array.of(0x3c00, 0xc000, 1, 0), values: [1, -2, 2 ** -24, 0] },
      { name: "rounded", type: "F16", shape, data: Float32Array.of(1, 2049, 0, -1), values: [1, 2048, 0, -1] },
      { name: "bf16", type: "BF16", shape, data: () => Float32Array.of(1, 257, 0, -1), values: [1, 256, 0, -1] },
      { name: "i8", type: "I8", shape, data: Int8Array.of(-128, 127, 0, 1), values: [-128, 127, 0, 1] },
      { name: "u8", type: "U8", shape, data: async () => Uint8Array.of(255, 0, 1, 2), values: [255, 0, 1, 2] },
      { name: "i32", type: "I32", shape, data: Int32Array.of(-5, 6, 7, 8), values: [-5, 6, 7, 8] },
      { name: "i64", type: "I64", shape, data: BigInt64Array.of(-5n, 6n, 7n, 8n), values: [-5, 6, 7, 8] },
      { name: "scalar", type: "F32", shape: [], data: Float32Array.of(7), values: [7] },
      { name: "empty", type: "F32", shape: [0, 3], data: new Float32Array(), values: [] },
      { name: "__proto__", type: "F32", shape: [1], data: Float32Array.of(3), values: [3] },
    ];
    await writeSafetensors(path, tensors, { format: "pt", note: 'héllo " : \\' });
    const source = await openSafetensors(path);
    expect(source.metadata).toEqual({ format: "pt", note: 'héllo " : \\' });
    expect([...source.tensors.keys()].sort()).toEqual(tensors.map((tensor) => tensor.name).sort());
    for (const { name, type, shape, values } of tensors) {
      expect(source.tensors.get(name)).toMatchObject({ name, type, shape });
      expect([...(await source.readFloat32(name))], name).toEqual(values);
    }
    expect([...(await source.readBytes("i8"))]).toEqual([128, 127, 0, 1]);
    await source.close();
    await source.close();
    expect((await failure(source.readBytes("i8"))).code).toBe("bad_option");
  });

  test("tensors are aligned to their elements and can be located for use in place", async () => {
    const path = join(folder, "aligned.safetensors");
    const values = Float32Array.of(1, 2, 3);
    await writeSafetensors(path, [
      { name: "bytes", type: "U8", shape: [3], data: Uint8Array.of(1, 2, 3) },
      { name: "floats", type: "F32", shape: [3], data: values },
    ]);
    const { offset, length, file } = await describeTensor(path, "floats");
    expect(offset % 4).toBe(0);
    expect(file.path).toBe(path);
    expect((await readFile(path)).subarray(offset, offset + length)).toEqual(Buffer.from(values.buffer));
  });

  test("any float32 tensors come back bit for bit", async () => {
    const tensor = fc.record({
      name: fc.string(),
      data: fc.float32Array({ noNaN: true, noDefaultInfinity: true, maxLength: 20 }),
    });
    const names = { selector: (t: { name: string }) => t.name, maxLength: 5 };
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(tensor, names), async (drawn) => {
        const tensors = drawn.filter((t) => t.name !== "__metadata__" && Buffer.from(t.name).toString() === t.name);
        const path = join(folder, "property.safetensors");
        await writeSafetensors(
          path,
          tensors.map(({ name, data }) => ({ name, type: "F32", shape: [data.length], data })),
        );
        const source = await openSafetensors(path);
        for (const { name, data } of tensors) expect(await source.readFloat32(name)).toEqual(data);
        await source.close();
      }),
      { numRuns: 50 },
    );
  });

  test.each(["null", "{}", '{"format":"pt"}'])("opens with __metadata__ %s", async (metadata) => {
    const path = await fileWith(`{"__metadata__":${metadata},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4);
    const source = await openSafetensors(path);
    expect(source.metadata).toEqual(JSON.parse(metadata) ?? {});
    expect([...source.tensors.keys()]).toEqual(["a"]);
    await source.close();
  });

  test("a tensor that fails while it is made leaves the old file and no other", async () => {
    const own = await mkdtemp(join(folder, "atomic-"));
    const path = join(own, "model.safetensors");
    await writeSafetensors(path, [{ name: "a", type: "U8", shape: [1], data: Uint8Array.of(1) }]);
    const before = await readFile(path);
    const broken = () => Promise.reject(new VentrisError("aborted", "enough"));
    expect((await failure(writeSafetensors(path, [{ name: "a", type: "U8", shape: [1], data: broken }]))).code).toBe(
      "aborted",
    );
    expect(await readFile(path)).toEqual(before);
    expect(await readdir(own)).toEqual(["model.safetensors"]);
  });

  test.each<[string, TensorToWrite[], RegExp]>([
    [
      "a wrong number of values",
      [{ name: "w", type: "F32", shape: [3], data: new Float32Array(2) }],
      /tensor w: 2 values do not fill \[3\]/,
    ],
    [
      "an array of another type",
      [{ name: "w", type: "F32", shape: [2], data: new Uint8Array(8) }],
      /tensor w: Uint8Array does not hold F32/,
    ],
    [
      "a block type",
      [{ name: "w", type: "Q4_0", shape: [32], data: new Uint8Array(18) }],
      /tensor w cannot be stored as Q4_0/,
    ],
    [
      "a value beyond F16",
      [{ name: "w", type: "F16", shape: [2], data: Float32Array.of(1, 70000) }],
      /tensor w: element 1 is 70000, too large/,
    ],
    [
      "a repeated name",
      [1, 2].map(() => ({ name: "w", type: "U8" as const, shape: [0], data: new Uint8Array() })),
      /name w is taken/,
    ],
  ])("refuses to write %s", async (_, tensors, message) => {
    const error = await failure(writeSafetensors(join(folder, "refused.safetensors"), tensors));
    expect(error.code).toBe("bad_option");
    expect(error.message).toMatch(message);
  });
});

const nested = (depth: number): string => "[".repeat(depth) + "]".repeat(depth);

describe("bad files are refused with file and tensor", () => {
  test.each<[string, unknown, number, RegExp]>([
    ["not JSON", "{nope", 0, /not valid JSON/],
    ["not an object", "[]", 0, /does not begin with {/],
    ["a shape that nests", `{"a":{"dtype":"F32","shape":${nested(100_000)},"data_offsets":[0,4]}}`, 4, /nests deeper/],
    ["nothing but brackets", `{"a":${"[".repeat(1_000_000)}`, 0, /nests deeper/],
    ["a name of 20 MB", `{"${"n".repeat(20_000_000)}":{"dtype":"F32"}}`, 4, /a tensor name of 20000000 characters/],
    ["invalid UTF-8", Uint8Array.of(0x7b, 0xff, 0x7d), 0, /not valid UTF-8/],
    ["overlap", { a: f32([2], 0, 8), b: f32([2], 4, 12) }, 12, /tensor b overlaps/],
    ["hole", { a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12, /4 bytes before tensor b belong to no tensor/],
    ["hole at the start", { a: f32([1], 4, 8) }, 8, /before tensor a/],
    ["bytes after the last tensor", { a: f32([1], 0, 4) }, 5, /last 1 bytes/],
    ["truncated data", { a: f32([2], 0, 8) }, 7, /tensor a ends at byte .* truncated/],
    ["shape against length", { a: f32([3], 0, 8) }, 8, /tensor a: F32 \[3\] needs 12 bytes, data_offsets span 8/],
    ["negative dimension", { a: f32([-1, -1], 0, 4) }, 4, /tensor a: unsound shape/],
    ["fractional dimension", { a: f32([0.5, 2], 0, 4) }, 4, /tensor a: unsound shape/],
    ["dimensions beyond exact integers", { a: f32([2 ** 40, 2 ** 40], 0, 4) }, 4, /tensor a: unsound shape/],
    ["a size beyond exact integers", { a: f32([2 ** 52], 0, 4) }, 4, /tensor a: F32 .* needs undefined|tensor a/],
    ["reversed offsets", { a: f32([1], 4, 0) }, 4, /tensor a: unsound data_offsets/],
    [
      "three offsets",
      { a: { dtype: "F32", shape: [1], data_offsets: [0, 4, 8] } },
      4,
      /tensor a: unsound data_offsets/,
    ],
    ["huge offsets", { a: f32([1], 2 ** 60, 2 ** 60 + 4) }, 4, /tensor a: unsound data_offsets/],
    [
      "unknown type",
      { a: { dtype: "F8_E4M3", shape: [1], data_offsets: [0, 1] } },
      1,
      /tensor a: type "F8_E4M3" is not supported/,
    ],
    ["type from the prototype", { a: { dtype: "toString", shape: [1], data_offsets: [0, 1] } }, 1, /tensor a: type/],
    ["unknown field", { a: { ...f32([1], 0, 4), strides: [1] } }, 4, /tensor a: unknown field strides/],
    ["entry that is no object", { a: 5 }, 0, /tensor a: its entry is not an object/],
    ["metadata that is not text", { __metadata__: { a: 1 } }, 0, /__metadata__/],
    ["metadata that nests", { __metadata__: { a: { b: "c" } } }, 0, /__metadata__ is not an object of strings/],
    [
      "a name twice",
      `{"a":${JSON.stringify(f32([1], 0, 4))},"a":${JSON.stringify(f32([1], 0, 4))}}`,
      4,
      /a name twice/,
    ],
    ["a field twice", '{"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}}', 4, /a name twice/],
  ])("%s", async (_, header, dataBytes, message) => {
    const path = await fileWith(header, dataBytes);
    const error = await failure(openSafetensors(path));
    expect(error.code).toBe("bad_file");
    expect(error.message).toContain(path);
    expect(error.message).toMatch(message);
  });

  test("a header length beyond the file, or beyond the bound, is refused before anything is read or allocated", async () => {
    expect((await failure(openSafetensors(await fileWith("{}", 0, 2 ** 50)))).message).toMatch(
      /the header says it has .* truncated/,
    );
    const big = join(folder, "big.safetensors");
    await writeFile(big, Buffer.alloc(26_000_000, 0x20));
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(25_500_000n);
    await writeFile(big, prefix, { flag: "r+" });
    expect((await failure(openSafetensors(big))).message).toMatch(/more than 25000000/);
    await writeFile(big, Buffer.alloc(5));
    expect((await failure(openSafetensors(big))).message).toMatch(/5 bytes, too few/);
  });

  test("an absent file, a folder, and an absent tensor", async () => {
    expect((await failure(openSafetensors(join(folder, "absent")))).code).toBe("unavailable");
    expect((await failure(openSafetensors(folder))).message).toMatch(/not a file|EISDIR/);
    const source = await openSafetensors(await fileWith({ "layer.weight": f32([1], 0, 4) }, 4));
    expect((await failure(source.readFloat32("layer.weigth"))).message).toMatch(
      /no tensor layer.weigth; did you mean "layer.weight"\?/,
    );
    for (const name of [undefined, 7] as never[])
      for (const read of [source.readFloat32(name), source.readBytes(name), source.readRows!(name, 0, 1)])
        expect((await failure(read)).message).toMatch(/a tensor's name is a text, not/);
    await source.close();
  });

  test("NaN and infinities are refused with tensor and index, unless allowed", async () => {
    const path = join(folder, "nan.safetensors");
    for (const [value, type] of [
      [NaN, "F32"],
      [Infinity, "BF16"],
      [-Infinity, "F16"],
    ] as const) {
      await writeSafetensors(path, [{ name: "w", type, shape: [3], data: Float32Array.of(1, 2, value) }]);
      const source = await openSafetensors(path);
      const error = await failure(source.readFloat32("w"));
      expect(error.code).toBe("bad_file");
      expect(error.message).toContain(`tensor w: element 2 is ${value}`);
      expect([...(await source.readFloat32("w", { allowNonFinite: true }))]).toEqual([1, 2, value]);
      await source.close();
    }
  });

  test("a file that is cut while it is open", async () => {
    const path = join(folder, "cut.safetensors");
    await writeSafetensors(path, [{ name: "w", type: "F32", shape: [3], data: Float32Array.of(1, 2, 3) }]);
    const source = await openSafetensors(path);
    await writeFile(path, (await readFile(path)).subarray(0, -4));
    expect((await failure(source.readFloat32("w"))).message).toMatch(/shrank while tensor w/);
    await source.close();
  });
});

describe("sharded checkpoints", () => {
  const shard = (name: string, tensor: string, value: number) =>
    writeSafetensors(join(folder, name), [{ name: tensor, type: "F32", shape: [1], data: Float32Array.of(value) }]);
  const index = async (weight_map: unknown) => {
    const path = join(folder, "model.safetensors.index.json");
    await writeFile(path, JSON.stringify({ metadata: {}, weight_map }));
    return path;
  };

  test("read as one source", async () => {
    await shard("one.safetensors", "a", 1);
    await shard("two.safetensors", "b", 2);
    const source = await openSharded(await index({ a: "one.safetensors", b: "two.safetensors" }));
    expect([...source.tensors.keys()]).toEqual(["a", "b"]);
    expect([...(await source.readFloat32("b"))]).toEqual([2]);
    await source.close();
    await expect(source.readFloat32("b")).rejects.toThrow(VentrisError);
  });

  test.each<[string, unknown, RegExp]>([
    ["no weight_map", undefined, /no weight_map/],
    ["an empty one", {}, /weight_map is empty/],
    [
      "a tensor that its shard lacks",
      { a: "one.safetensors", c: "one.safetensors" },
      /one.safetensors has no tensor c/,
    ],
    ["a shard with a tensor not listed", { b: "one.safetensors" }, /holds tensor a, which .* does not place there/],
    ["a missing shard", { a: "three.safetensors" }, /cannot open .*three.safetensors/],
    ["a shard outside the folder", { a: "../one.safetensors" }, /not a .safetensors file name/],
    ["a shard with a drive path", { a: "c:\\one.safetensors" }, /not a .safetensors file name/],
    ["a shard that is no text", { a: 3 }, /not a .safetensors file name/],
  ])("refuse %s", async (_, weightMap, message) => {
    await shard("one.safetensors", "a", 1);
    expect((await failure(openSharded(await index(weightMap)))).message).toMatch(message);
  });
});

describe("hostile bytes only ever fail with our error", () => {
  const survives = async (bytes: Uint8Array) => {
    const path = join(folder, "hostile.safetensors");
    await writeFile(path, bytes);
    try {
      const source = await openSafetensors(path);
      try {
        for (const name of source.tensors.keys()) await source.readFloat32(name, { allowNonFinite: true });
      } finally {
        await source.close();
      }
    } catch (error) {
      expect(error).toBeInstanceOf(VentrisError);
    }
  };

  test("random bytes", () =>
    fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), survives), { numRuns: 300 }));

  test("random headers", () => {
    const number = fc.oneof(fc.nat(20), fc.integer(), fc.double(), fc.maxSafeInteger());
    const entry = fc.record(
      {
        dtype: fc.oneof(fc.constantFrom("F32", "F16", "I64", "BOOL", "U8", "Q4_0", "constructor"), fc.string()),
        shape: fc.oneof(fc.array(number, { maxLength: 4 }), fc.jsonValue()),
        data_offsets: fc.oneof(fc.array(number, { maxLength: 3 }), fc.jsonValue()),
      },
      { requiredKeys: [] },
    );
    const header = fc.dictionary(
      fc.oneof(fc.string(), fc.constantFrom("__metadata__", "__proto__")),
      fc.oneof(entry, fc.jsonValue()),
    );
    return fc.assert(
      fc.asyncProperty(header, fc.nat(64), async (content, dataBytes) => {
        await survives(await readFile(await fileWith(content, dataBytes)));
      }),
      { numRuns: 500 },
    );
  });

  test("a sound file with some bytes changed", async () => {
    const path = join(folder, "sound.safetensors");
    await writeSafetensors(path, [
      { name: "a", type: "F32", shape: [2, 2], data: new Float32Array(4) },
      { name: "b", type: "I8", shape: [5], data: new Int8Array(5) },
    ]);
    const sound = await readFile(path);
    const change = fc.tuple(fc.nat(sound.length - 1), fc.nat(255));
    await fc.assert(
      fc.asyncProperty(
        fc.array(change, { minLength: 1, maxLength: 4 }),
        fc.nat(sound.length),
        async (changes, length) => {
          const bytes = Uint8Array.from(sound.subarray(0, length || undefined));
          for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
          await survives(bytes);
        },
      ),
      { numRuns: 500 },
    );
  });
});

const stories = dataPath("stories260k", "model.safetensors");
describe.skipIf(!stories)(`a published checkpoint (${stories ?? noData})`, () => {
  test("opens and reads", async () => {
    const source = await openSafetensors(stories!);
    expect(source.tensors.get("model.embed_tokens.weight")).toMatchObject({ type: "F32", shape: [512, 64] });
    expect((await source.readFloat32("model.embed_tokens.weight")).length).toBe(512 * 64);
    await source.close();
  });
});

test("an iterator of tensors that gives no steps is refused", async () => {
  const given = { [Symbol.iterator]: () => ({ next: () => 5 }) };
  await expect(writeSafetensors(join(folder, "steps.safetensors"), given as never)).rejects.toThrow(
    /steps.safetensors: tensors: next of its iterator gave 5/,
  );
});

describe("what is no tensor is refused before a file is begun, and what gives no values before it is kept", () => {
  const sound = { name: "a", type: "U8", shape: [1], data: Uint8Array.of(1) };
  test.each<[given: unknown, message: RegExp]>([
    [null, /tensors\[0\] must be \{ name, type, shape, data \}, .* not null/],
    [7, /tensors\[0\] must be .* not 7/],
    [{}, /tensors\[0\] must be .* not \{\}/],
    [{ ...sound, name: 7 }, /tensors\[0\] must be/],
    [{ ...sound, shape: undefined }, /tensors\[0\] must be/],
    [{ ...sound, data: [1] }, /tensors\[0\] must be/],
    [{ ...sound, type: "Q9" }, /tensor a cannot be stored as Q9/],
    [{ ...sound, shape: [-1] }, /tensor a cannot be stored as U8 \[-1\]/],
    [{ ...sound, shape: [Number.NaN] }, /tensor a cannot be stored as U8/],
    [{ ...sound, data: () => undefined }, /tensor a: data gives undefined in place of values/],
    [{ ...sound, data: () => 7 }, /tensor a: data gives 7 in place of values/],
  ])("%o", async (given, message) => {
    const path = join(folder, "unsound.safetensors");
    const others = [{ ...sound, name: "b" }];
    await expect(writeSafetensors(path, [given, ...others] as never)).rejects.toMatchObject({
      code: "bad_option",
      message: expect.stringMatching(message),
    });
    await expect(stat(path)).rejects.toMatchObject({ code: "ENOENT" });
  });
});
