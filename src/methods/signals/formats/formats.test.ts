import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { dataPath, noData } from "../../../../test/data.ts";
import { readBrainVision, writeBrainVision } from "./brainvision.ts";
import { pickColumns } from "./columns.ts";
import { readEdf, writeEdf } from "./edf.ts";
import { openNpz, readNpy, writeNpy } from "./npy.ts";
import type { Recording } from "./recording.ts";
import { parseDelimited, readTable, recordingTable } from "./table.ts";

const folder = await mkdtemp(join(tmpdir(), "ventris-formats-"));
afterAll(() => rm(folder, { recursive: true, force: true }));
const failure = (code: string, message: RegExp) =>
  expect.objectContaining({ name: "VentrisError", code, message: expect.stringMatching(message) });

const wave = (name: string, rate: number, seconds: number, scale: number) => ({
  name,
  unit: "uV",
  rate,
  samples: Float64Array.from({ length: rate * seconds }, (_, i) => scale * Math.sin(i / 7 + name.length) - 3.25),
});
const recording: Recording = {
  channels: [wave("Fz", 64, 4, 80), wave("Cz", 64, 4, 0.02), wave("slow", 16, 4, 1200)],
  annotations: [
    { onset: 0.5, duration: 1.25, text: "word, spoken ü" },
    { onset: 2, duration: 0, text: "stop" },
  ],
  remarks: [],
};

/** Puts text into a header field. */
function edited(bytes: Uint8Array, at: number, text: string): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy.set(Buffer.from(text, "latin1"), at);
  return copy;
}

describe.each([
  [false, "EDF", 16],
  [true, "BDF", 24],
] as const)("EDF with biosemi %s", (biosemi, name, bits) => {
  const bytes = writeEdf(recording, { biosemi });
  const count = recording.channels.length + 1;

  it(`gives values back within one digital step (${name})`, () => {
    const back = readEdf(bytes, "file");
    expect(back.remarks).toEqual([]);
    expect(back.annotations).toEqual(recording.annotations);
    for (const [i, channel] of recording.channels.entries()) {
      const { name, unit, rate, samples } = back.channels[i];
      expect({ name, unit, rate }).toEqual({ name: channel.name, unit: "uV", rate: channel.rate });
      const range = Math.max(...channel.samples) - Math.min(...channel.samples);
      const step = (1.2 * range + 2e-6) / 2 ** bits + 1e-12;
      for (let t = 0; t < samples.length; t++)
        expect(Math.abs(samples[t] - channel.samples[t])).toBeLessThanOrEqual(step);
    }
    expect(recordingTable(back, "file")).toMatchObject({
      names: ["Fz", "Cz"],
      rate: 64,
      remarks: [expect.stringMatching(/slow/)],
    });
  });

  it("reads an unknown number of records and a cut one, and says so", () => {
    expect(readEdf(edited(bytes, 236, "-1      "), "file").channels[0].samples).toHaveLength(256);
    const cut = readEdf(bytes.subarray(0, bytes.length - 10), "file");
    expect(cut.channels[0].samples).toHaveLength(192);
    expect(cut.remarks).toEqual([expect.stringMatching(/4 records are declared, 3 are complete/)]);
  });

  it("fills the gaps of a recording in parts, so that samples are where their time says", () => {
    const parts = edited(bytes, 192, name === "EDF" ? "EDF+D" : "BDF+D");
    // Other times of its four records, of the same length.
    const moved = (source: Uint8Array, times: readonly string[]) => {
      let copy = source;
      for (const [r, time] of times.entries()) {
        const at = Buffer.from(copy).indexOf(`+${r}\x14\x14\0`, 256 + 256 * count);
        copy = edited(copy, at, `+${time}\x14\x14`.padEnd(`+${r}\x14\x14\0`.length, "\0"));
      }
      return copy;
    };
    const back = readEdf(moved(parts, ["0", "1", "4", "7"]), "file");
    const [whole] = readEdf(bytes, "file").channels;
    const [{ samples }] = back.channels;
    expect(samples).toHaveLength(8 * 64);
    expect(samples.subarray(0, 128)).toEqual(whole.samples.subarray(0, 128));
    expect(samples.subarray(128, 256).every(Number.isNaN)).toBe(true);
    expect(samples.subarray(256, 320)).toEqual(whole.samples.subarray(128, 192));
    expect(samples.subarray(320, 448).every(Number.isNaN)).toBe(true);
    expect(samples.subarray(448)).toEqual(whole.samples.subarray(192));
    expect(back.remarks).toEqual(["gaps of 4 s in all are missing values"]);
    // Annotations count from the header's time, which may lie before the first record.
    const late = readEdf(moved(bytes, ["1"]), "file").annotations;
    expect(late.map(({ onset }) => onset)).toEqual(recording.annotations.map(({ onset }) => onset - 1));
    expect(() => readEdf(moved(parts, ["0", "0"]), "file")).toThrow(failure("bad_file", /its record 2 does not say/));
    expect(() => readEdf(moved(parts, ["X"]), "file")).toThrow(failure("bad_file", /not with a time/));
    const shortest = edited(moved(parts, ["0", "1", "2", "9"]), 244, "1e-9    ");
    expect(() => readEdf(shortest, "file")).toThrow(failure("bad_file", /more than can be held/));
  });

  it("refuses headers that lie", () => {
    const at = (block: number) => 256 + count * block;
    const wrong: [Uint8Array, RegExp][] = [
      [bytes.subarray(0, 100), /too few/],
      [bytes.subarray(0, 400), /truncated/],
      [edited(bytes, 252, "9999"), /9999 signals/],
      [edited(bytes, 252, "4000"), /needs 1024256/],
      [edited(bytes, 252, "-3  "), /-3 signals/],
      [edited(bytes, 184, "512     "), /says it has 512 bytes/],
      [edited(bytes, 236, "1e9     "), /declared|records/],
      [edited(bytes, 236, "many    "), /"many", not a number/],
      [edited(bytes, at(104), "5       "), /physical/],
      [
        edited(edited(bytes, at(120), "7       "), at(128), "7       "),
        /digital range is empty|the digital range of signal 1/,
      ],
      [edited(bytes, at(216), "1e12    "), /samples a record/],
      [edited(bytes, 0, "GARBAGE!"), /neither EDF nor BDF/],
      [edited(bytes, 244, "1e-320  "), /lasts 1e-320 s, so that Fz has no rate/],
      [edited(bytes, 244, "0       "), /lasts 0 s, so that Fz has no rate/],
      [edited(edited(bytes, at(104), "-1e308  "), at(112), "1e308   "), /physical range .*without end/],
    ];
    for (const [bad, message] of wrong.filter((_, i) => i !== 6 && i !== 8))
      expect(() => readEdf(bad, "file"), String(message)).toThrow(failure("bad_file", message));
    const flat = edited(edited(bytes, at(104), "5       "), at(112), "5       ");
    expect(() => readEdf(flat, "file")).toThrow(failure("bad_file", /the physical range of signal 1 \(Fz\).*empty/));
    // A thousand million records in a small file cost nothing.
    expect(readEdf(edited(bytes, 236, "99999999"), "file").remarks[0]).toMatch(/4 are complete/);
  });
});

describe("BrainVision", () => {
  const path = join(folder, "subject.vhdr");
  const equal = { ...recording, channels: recording.channels.slice(0, 2) };

  it("gives values back", async () => {
    await writeBrainVision(path, equal);
    const back = await readBrainVision(path);
    for (const [i, { samples }] of equal.channels.entries())
      expect([...back.channels[i].samples]).toEqual([...Float32Array.from(samples)]);
    expect(back.channels.map(({ name, rate, unit }) => [name, rate, unit])).toEqual([
      ["Fz", 64, "uV"],
      ["Cz", 64, "uV"],
    ]);
    expect(back.annotations.map(({ text, onset }) => [text, onset])).toEqual([
      ["word, spoken ü", 0.5],
      ["stop", 2],
    ]);
  });

  it("reads 16-bit vectorised files with resolutions and missing units", async () => {
    const data = new DataView(new ArrayBuffer(12));
    for (const [i, v] of [1, 2, 3, -1, -2, -3].entries()) data.setInt16(2 * i, v, false);
    await writeFile(join(folder, "v.eeg"), new Uint8Array(data.buffer));
    const header = (lines: string) =>
      `Brain Vision Data Exchange Header File Version 2.0\n; c\n[Common Infos]\nDataFile=$b.eeg\nDataFormat=BINARY\nDataOrientation=VECTORIZED\nNumberOfChannels=2\nSamplingInterval=1953.125\n[Binary Infos]\nBinaryFormat=INT_16\nUseBigEndianOrder=YES\n[Channel Infos]\n${lines}`;
    await writeFile(join(folder, "v.vhdr"), header("Ch1=A\\1B,,0.5,mV\nCh2=C,,,\n"));
    const { channels } = await readBrainVision(join(folder, "v.vhdr"));
    expect(channels.map(({ name, unit, rate, samples }) => [name, unit, rate, [...samples]])).toEqual([
      ["A,B", "mV", 512, [0.5, 1, 1.5]],
      ["C", "µV", 512, [-1, -2, -3]],
    ]);
    await writeFile(join(folder, "w.vhdr"), header("Ch1=A,,1,\n"));
    await expect(readBrainVision(join(folder, "w.vhdr"))).rejects.toEqual(failure("unavailable", /no such file/));
  });

  it("refuses what is missing or lies", async () => {
    const text = await readFile(path, "utf8");
    const wrong: [string | RegExp, string, string, RegExp][] = [
      ["subject.eeg", "missing.eeg", "unavailable", /missing\.eeg.*no such file/],
      ["subject.eeg", "../../../etc/passwd", "bad_file", /no plain file name/],
      ["NumberOfChannels=2", "NumberOfChannels=3", "bad_file", /no whole number|points/],
      ["NumberOfChannels=2", "NumberOfChannels=99999999", "bad_file", /NumberOfChannels/],
      [/DataPoints=\d+/, "DataPoints=7", "bad_file", /says there are 7 points/],
      ["IEEE_FLOAT_32", "FLOAT_80", "bad_file", /FLOAT_80/],
      [/SamplingInterval=.*/, "SamplingInterval=0", "bad_file", /SamplingInterval/],
      [/SamplingInterval=.*/, "SamplingInterval=1e-320", "bad_file", /SamplingInterval/],
      ["Brain Vision", "Some", "bad_file", /does not begin/],
      ["Ch2=Cz", "Ch7=Cz", "bad_file", /does not describe channel 2/],
    ];
    for (const [from, to, code, message] of wrong) {
      const bad = join(folder, "bad.vhdr");
      await writeFile(bad, text.replace(from, to));
      await expect(readBrainVision(bad), String(message)).rejects.toEqual(failure(code, message));
    }
    await writeFile(join(folder, "empty.eeg"), "");
    const empty = text.replace("subject.eeg", "empty.eeg").replace(/DataPoints=.*\r?\n/, "");
    await writeFile(join(folder, "bad.vhdr"), empty.replace(/MarkerFile=.*\r?\n/, ""));
    await expect(readTable(join(folder, "bad.vhdr"))).rejects.toEqual(
      failure("bad_file", /channels, but not one sample/),
    );
  });
});

describe("tables", () => {
  it("are read from delimited text with names, gaps and any separator", () => {
    expect(parseDelimited("a;b\n1;2\n;NaN\n", "t")).toMatchObject({ names: ["a", "b"], values: { rows: 2 } });
    expect([...parseDelimited("1 2\n3 4", "t").values.data]).toEqual([1, 2, 3, 4]);
    expect(Number.isNaN(parseDelimited("1,\n2,3", "t").values.data[1])).toBe(true);
    expect(() => parseDelimited("1,2\n3", "t")).toThrow(
      failure("bad_file", /line 2: expected as many fields as the first line has \(2\), found 1/),
    );
    expect(() => parseDelimited("a,b\n3,x", "t")).toThrow(failure("bad_file", /line 2: "x" in column b/));
    expect(() => parseDelimited("", "t")).toThrow(failure("bad_option", /empty/));
    // Sixty thousand columns named, more empty lines: 48 GB, if it were believed.
    expect(() => parseDelimited(`${",".repeat(6e4)}\n${"\n".repeat(1e5)}1`, "t")).toThrow(
      failure("bad_file", /line 2: expected as many fields as the first line has \(60001\), found 1/),
    );
    const table = parseDelimited("x,y,Fz\n1,2,3", "t");
    expect(pickColumns(table, "Fz,1-2", "t")).toMatchObject({ names: ["Fz", "x", "y"] });
    expect(() => pickColumns(table, "4", "t")).toThrow(failure("bad_option", /no column "4"\. It/));
    expect(() => pickColumns(table, "fx", "t")).toThrow(failure("bad_option", /no column "fx"\. It has 3: x, y, Fz/));
  });

  it("are read where every field is quoted, and fields that are no numbers are told from labels and commas", () => {
    const { names, values } = parseDelimited('"a","b"\n"1","-2.5"\n"","3"\n', "q.csv");
    expect([names, [...values.data]]).toEqual([
      ["a", "b"],
      [1, -2.5, Number.NaN, 3],
    ]);
    const labelled = "n1,n2,object\n3,1,car\n0,2,face\n";
    expect(() => parseDelimited(labelled, "it.csv")).toThrow(/"car" in column object .* a column of 0 and 1 for each/);
    expect(() => parseDelimited("a;b\n1,5;2\n", "c.csv")).toThrow(/"1,5" in column a .* decimals with a point/);
  });

  it("are read from NumPy arrays, alone and in archives", async () => {
    const array = { shape: [2, 3], data: Float64Array.of(1, 2, 3, 4, 5, Number.NaN) };
    expect(readNpy(writeNpy(array), "a")).toEqual(array);
    for (const shape of [
      [0, 4],
      [0, 4_000_000_000],
    ]) {
      await writeFile(join(folder, "none.npy"), writeNpy({ shape, data: new Float64Array(0) }));
      await expect(readTable(join(folder, "none.npy"))).rejects.toEqual(failure("bad_file", /it has no values/));
    }
    await writeFile(join(folder, "wide.npy"), writeNpy({ shape: [1, 70_000], data: new Float64Array(70_000) }));
    await expect(readTable(join(folder, "wide.npy"))).rejects.toEqual(failure("bad_file", /70000 columns/));
    await writeFile(join(folder, "a.npy.gz"), gzipSync(writeNpy(array)));
    expect((await readTable(join(folder, "a.npy.gz"))).values).toMatchObject({ rows: 2, columns: 3 });
    const good = Buffer.from(writeNpy(array));
    expect(() => readNpy(good.subarray(0, good.length - 8), "a")).toThrow(
      failure("bad_file", /needs 48 bytes, but there are 40/),
    );
    expect(() => readNpy(Buffer.from(good.toString("latin1").replace("(2, 3)", "(9, 9)"), "latin1"), "a")).toThrow(
      failure("bad_file", /needs 648/),
    );
    expect(() => readNpy(Buffer.from(good.toString("latin1").replace("<f8", "|O8"), "latin1"), "a")).toThrow(
      failure("bad_file", /of a type that is read \(f4/),
    );
    expect(() => openNpz(Buffer.from("PK nothing of the kind, but long enough"), "z")).toThrow(
      failure("bad_file", /zip/),
    );
  });

  it("are refused by extension, and raw rows need their description", async () => {
    await expect(readTable("x.docx")).rejects.toEqual(failure("bad_option", /\.docx are not read/));
    await expect(readTable(join(folder, "none.csv"))).rejects.toEqual(failure("unavailable", /cannot be read/));
    await writeFile(join(folder, "alone.f32"), new Uint8Array(16));
    await expect(readTable(join(folder, "alone.f32"))).rejects.toEqual(
      failure("bad_file", /alone\.f32 holds raw numbers, .* write .*alone\.json, with its columns/),
    );
    await writeFile(join(folder, "r.f32"), new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer));
    await writeFile(join(folder, "r.json"), JSON.stringify({ columns: ["a", "b"], rate: 50 }));
    expect(await readTable(join(folder, "r.f32"))).toMatchObject({ names: ["a", "b"], rate: 50, values: { rows: 2 } });
    for (const [json, message] of [
      [{ columns: 4e9 }, /4000000000 columns/],
      [{ columns: 2, bin_seconds: 0 }, /rate is null/],
      [{ columns: 1.5 }, /list of names or a number/],
    ] as const) {
      await writeFile(join(folder, "r.json"), JSON.stringify(json));
      await expect(readTable(join(folder, "r.f32")), String(message)).rejects.toEqual(failure("bad_file", message));
    }
    await writeFile(join(folder, "r.json"), JSON.stringify({ columns: 3 }));
    await expect(readTable(join(folder, "r.f32"))).rejects.toEqual(failure("bad_file", /no whole number of rows/));
  });

  it.skipIf(!dataPath("edf-samples", "biosemi-140ch.edf.gz"))(
    `are read from a real recording of 140 signals (${noData})`,
    async () => {
      const path = dataPath("edf-samples", "biosemi-140ch.edf.gz")!;
      const { channels } = readEdf(gunzipSync(await readFile(path)), path);
      expect(channels.length).toBe(139); // and one of annotations
      expect([...channels[5].samples.slice(0, 3)]).toEqual([-25, -1, -1]); // read apart
      expect(channels[0].samples.length / channels[0].rate).toBe(6);
      const table = await readTable(path);
      expect(table.values.rows).toBe(channels[0].samples.length);
    },
  );
});
