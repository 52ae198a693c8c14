import { mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { VentrisError } from "../errors.ts";
import { type GgufMetadata, type GgufTensor, ggufBytes } from "./gguf.fixture.ts";
import { openGguf } from "./gguf.ts";
import { findWeights } from "./open.ts";
import { openSafetensors } from "./safetensors.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ventris-gguf-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function fileWith(bytes: Uint8Array): Promise<string> {
  const path = join(folder, "crafted.gguf");
  await writeFile(path, bytes);
  return path;
}

const failure = async (bytes: Uint8Array): Promise<VentrisError> => {
  const error = await openGguf(await fileWith(bytes)).then(
    () => undefined,
    (reason) => reason,
  );
  expect(error).toBeInstanceOf(VentrisError);
  return error as VentrisError;
};

/** Processor time: the clock on the wall also measures what else the machine does. */
const secondsSince = (began: NodeJS.CpuUsage) => {
  const { user, system } = process.cpuUsage(began);
  return (user + system) / 1e6;
};

const fixture = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));

// Written with the reference libraries in Python (gguf, safetensors): blocks, and the values they stand for.
describe("a file by the reference writer", () => {
  test("every type has the reference's values, bit for bit", async () => {
    const [source, expected] = await Promise.all([
      openGguf(fixture("reference.gguf")),
      openSafetensors(fixture("reference.safetensors")),
    ]);
    expect([...source.tensors.values()].map(({ type }) => type).sort()).toEqual([
      "BF16",
      "F16",
      "F32",
      "I32",
      "Q4_0",
      "Q4_1",
      "Q4_K",
      "Q6_K",
      "Q8_0",
    ]);
    for (const { name, shape } of source.tensors.values()) {
      expect(shape).toEqual(expected.tensors.get(name)?.shape);
      expect(await source.readFloat32(name), name).toEqual(await expected.readFloat32(name));
    }
    await Promise.all([source.close(), expected.close()]);
  });

  test("metadata of every type", async () => {
    const { metadata, close } = await openGguf(fixture("reference.gguf"));
    await close();
    expect(metadata).toEqual({
      "general.architecture": "llama",
      "ventris.text": "héllo",
      "ventris.u8": 255,
      "ventris.i8": -5,
      "ventris.u16": 65535,
      "ventris.i16": -300,
      "ventris.u32": 4294967295,
      "ventris.i32": -7,
      "ventris.u64": 2 ** 40,
      "ventris.i64": -(2 ** 40),
      "ventris.f32": 0.5,
      "ventris.f64": 0.1,
      "ventris.yes": true,
      "ventris.names": ["a", "", "ü"],
      "ventris.numbers": [1, -2, 3],
    });
  });
});

test("a header larger than the parser's pieces", async () => {
  const words = Array.from({ length: 150_000 }, (_, i) => `token number ${i}`);
  const tensor = { name: "w", type: 0, shape: [1], bytes: new Uint8Array(Float32Array.of(5).buffer) };
  const source = await openGguf(await fileWith(ggufBytes({ words, last: "yes" }, [tensor])));
  expect(source.metadata.last).toBe("yes");
  expect((source.metadata.words as string[]).at(-1)).toBe("token number 149999");
  expect([...(await source.readFloat32("w"))]).toEqual([5]);
  await source.close();
});

describe("bad files are refused with file and tensor", () => {
  const w = (changes: Partial<GgufTensor> = {}): GgufTensor => ({
    name: "w",
    type: 0,
    shape: [8],
    bytes: new Uint8Array(32),
    ...changes,
  });
  const sound = () => ggufBytes({ "general.architecture": "llama" }, [w()]);
  const patched = (at: number, ...bytes: number[]) => {
    const result = sound();
    result.set(bytes, at);
    return result;
  };

  test.each<[string, () => Uint8Array, RegExp]>([
    ["an empty file", () => new Uint8Array(), /0 bytes, too few/],
    ["another format", () => Buffer.alloc(64, "x"), /does not start with "GGUF"/],
    ["version 1", () => patched(4, 1), /version 1 is not supported/],
    ["big-endian", () => patched(4, 0, 0, 0, 3), /version 50331648 is not supported/],
    ["more tensors than bytes", () => patched(8, 0xff), /more tensors and keys than the file can hold/],
    ["too many tensors", () => patched(8, 0xff, 0xff, 0xff), /16777215 tensors, more than 100000/],
    [
      "more keys than bytes",
      () => patched(16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
      /more tensors and keys/,
    ],
    ["a key that never ends", () => patched(24, 0xff, 0xff, 0xff, 0xff), /unsound GGUF header: String length/],
    ["a key beyond the end", () => patched(24, 0xff, 0xff, 0x10), /unsound GGUF header|beyond the end/],
    ["an unknown kind of value", () => patched(24 + 8 + 20, 99), /unsound GGUF header: Unsupported metadata type/],
    ["a truncated header", () => sound().subarray(0, 100), /beyond the end|unsound/],
    ["truncated data", () => sound().subarray(0, -1), /tensor w ends at byte .* truncated/],
    ["a key twice", () => ggufBytes({ version: "9" }, []), /a key twice, or one that is reserved/],
    ["one part of several", () => ggufBytes({ "split.count": 3 }, []), /one part of 3/],
    ["an odd alignment", () => ggufBytes({ "general.alignment": 48 }, []), /power of two, not 48/],
    ["no alignment", () => ggufBytes({ "general.alignment": 0 }, []), /alignment/],
    ["a type that is not supported", () => ggufBytes({}, [w({ type: 18 })]), /tensor w: ggml type IQ3_XXS is not supp/],
    ["a type that there is not", () => ggufBytes({}, [w({ type: 77 })]), /tensor w: ggml type 77 is not supported/],
    [
      "rows that are not whole blocks",
      () => ggufBytes({}, [w({ type: 2, shape: [4, 8] })]),
      /tensor w: unsound shape \[4,8\] for Q4_0/,
    ],
    [
      "a shape beyond exact integers",
      () => ggufBytes({}, [w({ shape: [2 ** 31, 2 ** 31] })]),
      /tensor w: unsound shape/,
    ],
    ["a shape beyond the file", () => ggufBytes({}, [w({ shape: [2 ** 20, 2 ** 10] })]), /tensor w ends at byte/],
    [
      "an offset off the alignment",
      () => ggufBytes({}, [w({ offset: 4 })]),
      /tensor w: offset 4 is not a multiple of 32/,
    ],
    ["a tensor twice", () => ggufBytes({}, [w(), w()]), /tensor w is there twice/],
    ["overlap", () => ggufBytes({}, [w(), w({ name: "v", offset: 0 })]), /tensor [vw] overlaps/],
    ["a hole", () => ggufBytes({}, [w(), w({ name: "v", offset: 128 })]), /96 bytes before tensor v/],
    ["bytes after the end", () => Buffer.concat([sound(), Buffer.alloc(40)]), /the last 40 bytes/],
  ])("%s", async (_, bytes, message) => {
    const error = await failure(bytes());
    expect(error.code).toBe("bad_file");
    expect(error.message).toContain(folder);
    expect(error.message).toMatch(message);
  });

  test("a key twice for real", async () => {
    const bytes = ggufBytes({ "key.a": 1, "key.b": 2 }, []);
    bytes.set(Buffer.from("key.a"), bytes.indexOf("key.b"));
    expect((await failure(bytes)).message).toMatch(/a key twice/);
  });
});

describe("a split file", () => {
  const tensor = (name: string, value: number) => ({
    name,
    type: 0,
    shape: [2],
    bytes: new Uint8Array(Float32Array.of(value, value).buffer),
  });
  async function parts(change: (part: number) => GgufMetadata = () => ({}), tensors = [[], ["a", "b"], ["c"]]) {
    const own = await mkdtemp(join(folder, "split-"));
    const paths = tensors.map((_, i) => join(own, `model-0000${i + 1}-of-00003.gguf`));
    for (const [i, names] of tensors.entries()) {
      const metadata = { "split.no": i, "split.count": 3, "split.tensors.count": 3, ...change(i) };
      const head: GgufMetadata = i === 0 ? { "general.architecture": "llama" } : {};
      await writeFile(
        paths[i],
        ggufBytes(
          { ...head, ...metadata },
          names.map((name, j) => tensor(name, 10 * i + j)),
        ),
      );
    }
    return { own, paths };
  }

  test("is opened whole by any of its parts, and by its folder", async () => {
    const { own, paths } = await parts();
    expect(await findWeights(own)).toBe(paths[0]);
    for (const path of paths) {
      const source = await openGguf(path);
      expect([...source.tensors.keys()]).toEqual(["a", "b", "c"]);
      expect(source.metadata["general.architecture"]).toBe("llama");
      expect([...(await source.readFloat32("b")), ...(await source.readFloat32("c"))]).toEqual([11, 11, 20, 20]);
      for (const part of paths) expect(source.identity).toContain(part);
      await source.close();
    }
  });

  test.each<[string, () => Promise<string>, string, RegExp]>([
    ["a missing part", async () => (await parts(undefined, [[], ["a"]])).paths[0], "unavailable", /00003-of-00003/],
    [
      "parts in another order",
      async () => (await parts((i) => ({ "split.no": 2 - i }))).paths[1],
      "bad_file",
      /says it is part 2 of 3/,
    ],
    ["another count inside", async () => (await parts((i) => ({ "split.count": 3 + i }))).paths[0], "bad_file", /of 4/],
    [
      "a tensor in two parts",
      async () => (await parts(undefined, [["a"], ["a"], ["b"]])).paths[0],
      "bad_file",
      /tensor a is in an earlier part/,
    ],
    [
      "fewer tensors than stated",
      async () => (await parts(undefined, [[], ["a"], ["c"]])).paths[0],
      "bad_file",
      /hold 2 tensors, and should hold 3/,
    ],
  ])("is refused with %s", async (_, make, code, message) => {
    await expect(openGguf(await make())).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });
});

describe("hostile bytes only ever fail with our error, soon", () => {
  const survives = async (bytes: Uint8Array) => {
    const path = await fileWith(bytes);
    const began = process.cpuUsage();
    try {
      const source = await openGguf(path);
      try {
        for (const name of source.tensors.keys()) await source.readFloat32(name, { allowNonFinite: true });
      } finally {
        await source.close();
      }
    } catch (error) {
      expect(error).toBeInstanceOf(VentrisError);
    }
    expect(secondsSince(began)).toBeLessThan(5);
  };

  test("random bytes, with and without a sound start", () => {
    const start = ggufBytes({}, []).subarray(0, 8);
    const small = (value: number) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
    const bytes = fc.uint8Array({ maxLength: 200 });
    return fc.assert(
      fc.asyncProperty(bytes, fc.nat(3), fc.nat(3), fc.boolean(), (rest, tensors, keys, counts) =>
        survives(Buffer.concat(counts ? [start, small(tensors), small(keys), rest] : [start, rest])),
      ),
      { numRuns: 150 },
    );
  });

  test("a sound file with some bytes changed", async () => {
    const sound = await readFile(fixture("reference.gguf"));
    const change = fc.tuple(fc.nat(1200), fc.nat(255)); // in the header
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), fc.nat(sound.length), async (changes, cut) => {
        const bytes = Uint8Array.from(sound.subarray(0, cut % 3 ? undefined : cut));
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        await survives(bytes);
      }),
      { numRuns: 150 },
    );
  });

  test("arrays and strings that claim to go on for ever", async () => {
    for (const [elementType, length] of [
      [8, 999_999],
      [0, 1_000_000],
      [9, 1_000_000],
      [8, 2 ** 40],
      [12, 999_999],
    ]) {
      const bytes = ggufBytes({ "key.a": ["x"] }, []);
      const at = bytes.indexOf("key.a") + 5 + 4;
      bytes.writeUInt32LE(elementType, at);
      bytes.writeBigUInt64LE(BigInt(length), at + 4);
      await survives(bytes);
    }
  });

  test("counts that a large empty file could hold", async () => {
    const preamble = (tensors: number, keys: number) => {
      const bytes = ggufBytes({}, []).subarray(0, 24);
      bytes.writeBigUInt64LE(BigInt(tensors), 8);
      bytes.writeBigUInt64LE(BigInt(keys), 16);
      return bytes;
    };
    for (const [tensors, keys] of [
      [100_000, 1],
      [1, 100_000],
      [9_999_999, 1],
    ]) {
      const path = await fileWith(preamble(tensors, keys));
      await truncate(path, 2 ** 28); // sparse: zeros all the way
      const began = process.cpuUsage();
      await expect(openGguf(path)).rejects.toThrow(VentrisError);
      expect(secondsSince(began)).toBeLessThan(5);
    }
  }, 60_000);
});
