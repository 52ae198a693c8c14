/**
 * Readers of recordings, given sound files with some bytes changed: each either reads what is there or refuses it with an error of ours, soon
 * and without growing. VENTRIS_FUZZ says how many changed files a format gets (default 60).
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deflateRawSync, deflateSync, gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { uniform } from "../../../engine/random.ts";
import { VentrisError } from "../../../errors.ts";
import { decodeUtf8, parseJsonObject } from "../../../json.ts";
import { loadSentenceSet, saveSentenceSet } from "../glim/dataset.ts";
import { prepareReadings, prepareZuco } from "../glim/prepare.ts";
import { synthesiseSentences } from "../glim/synthetic.ts";
import { readBrainVision, writeBrainVision } from "./brainvision.ts";
import { readEdf, writeEdf } from "./edf.ts";
import { hdfArray, withHdf5 } from "./hdf5.ts";
import { type MatValue, readMat, writeMat } from "./mat.ts";
import { openNpz, readNpy, writeNpy } from "./npy.ts";
import type { Recording } from "./recording.ts";
import { parseDelimited, readTable } from "./table.ts";
import { countTrains } from "./trains.ts";

const rounds = Number(process.env.VENTRIS_FUZZ ?? 60);
const folder = await mkdtemp(join(tmpdir(), "ventris-fuzz-"));
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Whole numbers below `bound`, one after the other. */
function draws(seed: number): (bound: number) => number {
  let count = 0;
  return (bound) => Math.floor(uniform({ seed, request: 0 }, count++, "data") * bound);
}

const numbers = [
  "-1",
  "0",
  "1",
  "1e9",
  "99999999",
  "1e308",
  "-1e308",
  "1e-320",
  "NaN",
  "Infinity",
  "null",
  "2147483648",
  "",
];
const words = [0, 1, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];

/** One to three changes: bytes, words of extreme values, a number written in text, a part left out, repeated or cut off. */
function changed(bytes: Uint8Array, pick: (bound: number) => number): Buffer {
  let out = Buffer.from(bytes);
  for (let left = 1 + pick(3); left > 0; left--) {
    const at = pick(out.length);
    const kind = pick(7);
    if (kind === 0) out[at] ^= 1 << pick(8);
    else if (kind === 1) out[at] = pick(256);
    else if (kind === 2 && at + 4 <= out.length) out.writeUInt32LE(words[pick(words.length)], at);
    else if (kind === 3) out = out.subarray(0, at);
    else if (kind === 4) out = Buffer.concat([out.subarray(0, at), out.subarray(at + 1 + pick(40))]);
    else if (kind === 5) out = Buffer.concat([out.subarray(0, at), out.subarray(Math.max(0, at - pick(60)))]);
    else {
      const found = [...out.toString("latin1").matchAll(/\d[\d.]*/g)];
      if (found.length === 0) continue;
      const { index, 0: text } = found[pick(found.length)];
      const number = numbers[pick(numbers.length)];
      // A field of fixed width keeps it, half of the time.
      const fits = pick(2) === 0 ? number.padEnd(text.length) : number;
      out = Buffer.concat([out.subarray(0, index), Buffer.from(fits), out.subarray(index + text.length)]);
    }
    if (out.length === 0) return out;
  }
  return out;
}

async function survives(
  name: string,
  sound: Uint8Array,
  read: (bytes: Buffer) => unknown,
  count = rounds,
): Promise<void> {
  await read(Buffer.from(sound)); // what is not changed is read
  const pick = draws(name.length);
  let refused = 0;
  for (let round = 0; round < count; round++) {
    const bytes = changed(sound, pick);
    const started = performance.now();
    try {
      await read(bytes);
    } catch (error) {
      if (!(error instanceof VentrisError) || error.code === "internal") {
        if (process.env.VENTRIS_FUZZ) await writeFile(join(tmpdir(), `fuzz-${name}-${round}`), bytes);
        throw new Error(`${name}, round ${round}: ${(error as Error).stack}`, { cause: error });
      }
      refused++;
    }
    expect(performance.now() - started, `${name}, round ${round}`).toBeLessThan(5000);
  }
  expect(refused, name).toBeGreaterThan(count / 20);
}

const wave = (length: number, scale: number) => Float64Array.from({ length }, (_, i) => scale * Math.sin(i / 5));
const recording: Recording = {
  channels: ["Fz", "Cz"].map((name, i) => ({ name, unit: "uV", rate: 64, samples: wave(128, 20 + i) })),
  annotations: [{ onset: 0.5, duration: 1, text: "word" }],
  remarks: [],
};
const file = async (name: string, bytes: Uint8Array | string): Promise<string> => {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
};
/** What is read by its path is written anew for every round, and has fewer of them. */
const survivesAsFile = (name: string, sound: Uint8Array, read: (path: string) => Promise<unknown>): Promise<void> =>
  survives(name, sound, async (bytes) => read(await file(name, bytes)), Math.ceil(rounds / 4));

it.each([false, true])("EDF and BDF (biosemi %s)", (biosemi) =>
  survives("edf", writeEdf(recording, { biosemi }), (bytes) => {
    const { channels } = readEdf(bytes, "file");
    for (const { rate, samples } of channels) {
      expect(rate > 0 && Number.isFinite(rate), String(rate)).toBe(true);
      expect(samples.every(Number.isFinite)).toBe(true);
    }
  }),
);

it("BrainVision headers, markers and samples", async () => {
  const path = join(folder, "b.vhdr");
  await writeBrainVision(path, recording);
  for (const part of ["b.vhdr", "b.vmrk", "b.eeg"]) {
    const sound = await readFile(join(folder, part));
    await survivesAsFile(part, sound, () => readBrainVision(path));
    await file(part, sound);
  }
});

const sentences: MatValue = {
  kind: "structs",
  shape: [1, 2],
  values: ["He reads.", "She wrote."].map((text) => ({
    content: { kind: "text", text },
    rawData: {
      kind: "numbers",
      shape: [3, 400],
      data: Float64Array.from({ length: 1200 }, (_, i) => (i % 3 === 2 ? 0 : 9 * Math.sin(i))),
    },
  })),
};

it("MATLAB's level 5, packed and not, as sentences of ZuCo", async () => {
  const plain = writeMat({
    sentenceData: sentences,
    words: { kind: "cells", shape: [1, 1], values: [{ kind: "text", text: "a" }] },
  });
  const body = deflateSync(plain.subarray(128));
  const tag = Buffer.alloc(8);
  tag.writeUInt32LE(15, 0);
  tag.writeUInt32LE(body.length, 4);
  const packed = Buffer.concat([plain.subarray(0, 128), tag, body]);
  for (const [name, sound] of [
    ["plain", plain],
    ["packed", packed],
  ] as const)
    await survives(name, sound, (bytes) => readMat(bytes, "file"));
  const options = { shape: { rate: 64, points: 128, channels: 4 }, seed: 1 };
  await survivesAsFile("resultsYAC_NR.mat", plain, (path) => prepareZuco([path], options));
});

it("NumPy's arrays and archives", async () => {
  const array = writeNpy({ shape: [6, 4], data: wave(24, 1) });
  await survives("npy", array, (bytes) => readNpy(bytes, "file"));
  await survivesAsFile("a.npy", array, readTable);
  const entry = (method: number) => {
    const body = method === 8 ? deflateRawSync(array) : Buffer.from(array);
    const head = Buffer.alloc(30);
    head.writeUInt32LE(0x04034b50, 0);
    head.writeUInt16LE(method, 8);
    head.writeUInt16LE(5, 26);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(method, 10);
    central.writeUInt32LE(body.length, 20);
    central.writeUInt32LE(array.length, 24);
    central.writeUInt16LE(5, 28);
    const end = Buffer.alloc(22);
    end.writeUInt32LE(0x06054b50, 0);
    end.writeUInt16LE(1, 10);
    end.writeUInt32LE(35 + body.length, 16);
    return Buffer.concat([head, Buffer.from("a.npy"), body, central, Buffer.from("a.npy"), end]);
  };
  for (const method of [0, 8])
    await survives(`npz ${method}`, entry(method), (bytes) => {
      for (const read of openNpz(bytes, "file").values()) read();
    });
});

const hdf5 = "h5wasm/node"; // its types are not for this module resolution
const library = await import(hdf5).catch(() => undefined);

it.skipIf(!library)("HDF5", async () => {
  const { FS } = await library.ready;
  const root = new library.File("/fuzz.h5", "w");
  root.create_dataset({ name: "a", data: wave(24, 1), shape: [6, 4] });
  root.create_group("g").create_dataset({ name: "b", data: Uint8Array.of(1, 2, 3), shape: [3] });
  root.flush();
  root.close();
  await survives("hdf5", FS.readFile("/fuzz.h5"), (bytes) =>
    withHdf5(bytes, "file", (file) => [hdfArray(file, "a", "file"), hdfArray(file, "g/b", "file")]),
  );
});

it("delimited text, raw rows and their descriptions", async () => {
  const text = Buffer.from("a,b,c\n1,2,3\n4.5,,NaN\n7,8,9\n");
  await survives("csv", text, (bytes) => parseDelimited(decodeUtf8(bytes, "file"), "file"));
  const rows = Buffer.from(Float32Array.from(wave(12, 1)).buffer);
  await file("r.f32", rows);
  await survivesAsFile(
    "r.json",
    Buffer.from(JSON.stringify({ columns: 3, rate: 50, bins: 4, bin_seconds: 0.02 })),
    () => readTable(join(folder, "r.f32")),
  );
  await file("r.json", '{"columns": 3}');
  await survivesAsFile("r.f32", rows, readTable);
});

it("spike trains and tracks in JSON", async () => {
  const trains = { units: [[0.1, 0.5, 1.2], [0.3]], position: { t: [0, 1, 2], x: [1, 2, 3] }, gap_s: [0.4, 0.6] };
  const trials = { spike_index: [[10, 20], [5], [1, 2]], t_ms: [0, 100], dt: 0.001, direction: [0, 1, 0] };
  const samples = { dt: 0.01, lfp: [1, 2, 3], eeg: [4, 5, 6] };
  for (const [i, bin] of [0.25, 0.01, undefined].entries())
    await survives(`json ${i}`, Buffer.from(JSON.stringify([trains, trials, samples][i])), (bytes) => {
      const { rate, values } = countTrains(parseJsonObject(bytes, "file"), bin, "file");
      expect([rate > 0 && Number.isFinite(rate), values.data.length]).toEqual([true, values.rows * values.columns]);
    });
});

it("tables of readings and data sets of sentences", async () => {
  await file("r.edf", writeEdf(recording));
  const line = {
    file: "r.edf",
    start: 0,
    end: 1.5,
    sentence: "He reads.",
    paraphrases: ["Reads he."],
    labels: { topic: "x" },
    subject: "A",
    task: "NR",
  };
  const options = { shape: { rate: 32, points: 64, channels: 4 }, seed: 1 };
  await survivesAsFile("r.jsonl", Buffer.from(`${JSON.stringify(line)}\n`), (path) => prepareReadings(path, options));
  const set = synthesiseSentences({
    sentences: 6,
    subjects: 2,
    readings: 1,
    channels: 2,
    points: 8,
    rate: 64,
    noise: 1,
    seed: 1,
  });
  const path = join(folder, "set");
  await saveSentenceSet(path, set);
  for (const part of ["sentences.json", "eeg.safetensors"]) {
    const sound = await readFile(join(path, part));
    await survivesAsFile(join("set", part), sound, () => loadSentenceSet(path));
    await file(join("set", part), sound);
  }
});

describe("small files that say much", () => {
  const refused = expect.objectContaining({ name: "VentrisError", code: "bad_file" });
  const filled = (text: string, times: number) => Buffer.alloc(text.length * times, text);
  const packed = async (name: string, ...parts: (string | Buffer)[]) =>
    file(name, gzipSync(Buffer.concat(parts.map((part) => Buffer.from(part))), { level: 1 }));

  it("text of as many lines as bytes is not held line by line", async () => {
    await expect(readTable(await packed("empty.csv.gz", filled("\n", 2 ** 24)))).rejects.toMatchObject({
      code: "bad_option",
    });
    await expect(readTable(await packed("long.csv.gz", filled("1\n", 2 ** 26 + 1)))).rejects.toEqual(refused);
    await expect(readTable(await packed("wide.csv.gz", filled("1,", 2 ** 25), "1"))).rejects.toEqual(refused);
  }, 60_000);

  it("JSON of brackets is refused before it is parsed", async () => {
    const started = performance.now();
    await expect(readTable(await packed("deep.json.gz", '{"units":', filled("[", 2 ** 25)))).rejects.toEqual(refused);
    const flat = await packed("flat.json.gz", '{"units":[', filled("[],", 2 ** 23), "[]]}");
    await expect(readTable(flat, { bin: 1 })).rejects.toEqual(refused);
    const long = await packed("long.json.gz", '{"dt":1,"a":[', filled("0,", 2 ** 26), "0]}");
    await expect(readTable(long)).rejects.toEqual(refused);
    // Brackets in names are text.
    const name = "[".repeat(100);
    const named = JSON.stringify({ dt: 0.1, [`${name}\\"${name}`]: [1, 2, 3] });
    expect((await readTable(await file("named.json", named))).values.rows).toBe(3);
    expect(performance.now() - started).toBeLessThan(10_000);
  }, 60_000);

  it("MATLAB files of empty cells, of bytes and of text", () => {
    const element = (type: number, body: Uint8Array) => {
      const tag = Buffer.alloc(8);
      tag.writeUInt32LE(type, 0);
      tag.writeUInt32LE(body.length, 4);
      return Buffer.concat([tag, body]);
    };
    const ints = (...values: number[]) => element(5, Buffer.from(Int32Array.from(values).buffer));
    const mat = (kind: number, count: number, body: Uint8Array) => {
      const flags = element(6, Buffer.from(Uint32Array.of(kind, 0).buffer));
      const matrix = element(14, Buffer.concat([flags, ints(1, count), element(1, new Uint8Array(0)), body]));
      return Buffer.concat([writeMat({}), element(15, deflateSync(matrix, { level: 1 }))]);
    };
    const started = performance.now();
    const cells = 2 ** 22 + 1;
    expect(() => readMat(mat(1, cells, filled("\x0e\0\0\0\0\0\0\0", cells)), "file")).toThrow(/more than \d+ arrays/);
    const bytes = 2 ** 27 + 8;
    expect(() => readMat(mat(9, bytes, element(2, Buffer.alloc(bytes))), "file")).toThrow(/more than \d+ values/);
    const letters = 2 ** 24 + 1;
    expect(() => readMat(mat(4, letters, element(2, filled("a", letters))), "file")).toThrow(/bytes of text/);
    expect(performance.now() - started).toBeLessThan(30_000);
  }, 60_000);
});
