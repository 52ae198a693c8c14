import { deflateSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { readMat, writeMat } from "../formats/mat.ts";
import { fourier, fourierResample, prepareSentence, publishedShape } from "./preprocess.ts";

const wave = (samples: number, rate: number, frequency: number, scale = 20) =>
  Float64Array.from({ length: samples }, (_, t) => scale * Math.sin((2 * Math.PI * frequency * t) / rate + 0.3));

describe("resampling", () => {
  it("is the discrete Fourier transform of its definition, for any length", () => {
    for (const n of [1, 2, 8, 15, 97]) {
      const re = Float64Array.from({ length: n }, (_, i) => Math.sin(1 + 3 * i));
      const im = Float64Array.from({ length: n }, (_, i) => Math.cos(2 * i));
      const [a, b] = [Float64Array.from(re), Float64Array.from(im)];
      fourier(a, b, false);
      for (let k = 0; k < n; k++) {
        let [x, y] = [0, 0];
        for (let t = 0; t < n; t++) {
          const angle = (-2 * Math.PI * k * t) / n;
          x += re[t] * Math.cos(angle) - im[t] * Math.sin(angle);
          y += re[t] * Math.sin(angle) + im[t] * Math.cos(angle);
        }
        expect(a[k]).toBeCloseTo(x, 9);
        expect(b[k]).toBeCloseTo(y, 9);
      }
    }
  });

  it("keeps a wave below half the new rate exactly, and removes one above", () => {
    const kept = fourierResample(wave(1000, 500, 10), 256); // 2 s at 128 Hz, 20 whole periods
    for (const [t, v] of wave(256, 128, 10).entries()) expect(kept[t]).toBeCloseTo(v, 9);
    for (const v of fourierResample(wave(1000, 500, 100), 256)) expect(v).toBeCloseTo(0, 9);
    // As scipy.signal.resample gives them: fewer points, and more.
    const close = (given: number[], count: number, expected: number[]) => {
      for (const [i, v] of fourierResample(Float64Array.from(given), count).entries())
        expect(v).toBeCloseTo(expected[i], 7);
    };
    close([1, 4, 2, 8, 5, 7], 4, [2.83333333, 2.76794919, 6.16666667, 6.23205081]);
    close([1, 4, 2, 8, 5, 7, 3], 4, [1.73947029, 3.6485263, 6.51138747, 5.24347308]);
    close([1, 4, 2, 8], 6, [1, 2.89294919, 3.39294919, 2, 6.85705081, 6.35705081]);
  });
});

describe("preparing a sentence", () => {
  const raw = (channels: Float64Array[], over = {}) =>
    prepareSentence({ channels, rate: 500, ...over }, publishedShape);
  const good = () => [wave(1000, 500, 10), wave(1000, 500, 20)];

  it("resamples, pads and says how much is real", () => {
    const prepared = raw([...good(), new Float64Array(1000)], { dropLast: true });
    if ("rejected" in prepared) throw new Error(prepared.rejected);
    expect([prepared.length, prepared.eeg.length, prepared.zeroed]).toEqual([256, 1280 * 128, 0]);
    expect(prepared.eeg[128]).toBeCloseTo(wave(256, 128, 10)[1], 4);
    expect(prepared.eeg.subarray(256 * 128).every((v) => v === 0)).toBe(true);
  });

  it("rejects what cannot be a sentence, with the reason", () => {
    const reason = (channels: Float64Array[], over = {}) => (raw(channels, over) as { rejected: string }).rejected;
    expect(reason([wave(200, 500, 10)])).toMatch(/shorter than 0\.5 s \(0\.40 s\)/);
    expect(reason([wave(5500, 500, 10)])).toMatch(/longer than 10 s \(11\.00 s\)/);
    expect(reason([good()[0].map((v, i) => (i === 5 ? Number.NaN : v))])).toMatch(
      /channel 1 has values that are not finite/,
    );
    expect(reason([new Float64Array(1000).fill(Number.NaN)])).toMatch(/all values are NaN/);
    expect(reason([new Float64Array(1000)])).toMatch(/all values are zero/);
    expect(reason(good().map((channel) => channel.map((v) => v * 1e-6)))).toMatch(/looks like volts/);
    expect(reason(good(), { dropLast: true })).toMatch(/not all zeros/);
  });

  it("zeroes a dead channel and counts it", () => {
    const prepared = raw([...good(), new Float64Array(1000).fill(Number.NaN)]);
    expect(prepared).toMatchObject({ zeroed: 1 });
  });

  it("refuses rates and channels that do not fit the encoder", () => {
    expect(() => raw(good(), { rate: 100 })).toThrow(/100 samples a second, fewer than the 128/);
    expect(() => raw(Array.from({ length: 130 }, () => wave(1000, 500, 10)))).toThrow(
      /130 channels and the encoder takes 128/,
    );
  });
});

describe("MATLAB files of level 5", () => {
  const numbers = (shape: number[], ...values: number[]) => ({
    kind: "numbers" as const,
    shape,
    data: Float64Array.from(values),
  });
  const text = (content: string) => ({ kind: "text" as const, text: content });
  /** As ZuCo's: sentences with content, raw data and words, or a NaN where nothing was fixated. */
  const sentenceData = {
    kind: "structs" as const,
    shape: [1, 2],
    values: [
      {
        content: text("The film was good ."),
        rawData: numbers([2, 3], 1, 2, 3, 4, 5, 6),
        word: {
          kind: "structs" as const,
          shape: [1, 1],
          values: [
            {
              content: text("The"),
              rawEEG: { kind: "cells" as const, shape: [1, 1], values: [numbers([1, 2], 7, 8)] },
            },
          ],
        },
      },
      { content: text("Dull ."), rawData: numbers([2, 1], 9, 10), word: numbers([1, 1], Number.NaN) },
    ],
  };
  const bytes = writeMat({ sentenceData, rate: numbers([1, 1], 500) });

  it("come back whole, packed as well", () => {
    const back = readMat(bytes, "f.mat");
    expect(back.get("sentenceData")).toEqual(sentenceData);
    const tag = Buffer.alloc(8);
    // The first variable alone, as MATLAB packs each of them.
    const first = bytes.subarray(128, 128 + 8 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(132, true));
    const body = deflateSync(first);
    tag.writeUInt32LE(15, 0);
    tag.writeUInt32LE(body.length, 4);
    expect(readMat(Buffer.concat([bytes.subarray(0, 128), tag, body]), "f.mat").get("sentenceData")).toEqual(
      sentenceData,
    );
  });

  it("hold texts of any length", () => {
    const long = text("a".repeat(300_000));
    expect(readMat(writeMat({ long }), "f.mat").get("long")).toEqual(long);
  });

  it("are refused where a header lies, at no cost", () => {
    const wrong = (at: number, value: number) => {
      const copy = Buffer.from(bytes);
      copy.writeUInt32LE(value, at);
      return () => readMat(copy, "f.mat");
    };
    expect(() => readMat(bytes.subarray(0, bytes.length - 9), "f.mat")).toThrow(/claims|cut off/);
    expect(wrong(132, 0x7fffffff)).toThrow(/claims 2147483647 bytes/);
    expect(wrong(160, 0x7fffffff)).toThrow(/claims \d+ parts in|dimensions/); // the number of sentences
    expect(() => readMat(Buffer.from("not a mat file".padEnd(200)), "f.mat")).toThrow(/not a MATLAB file/);
    const hdf = Buffer.alloc(600);
    Buffer.from([0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a]).copy(hdf, 512);
    expect(() => readMat(hdf, "f.mat")).toThrow(/version 7\.3.*HDF5.*h5wasm/);
  });

  it("are refused when they nest without end", () => {
    let deep: Parameters<typeof writeMat>[0][string] = numbers([1, 1], 1);
    for (let i = 0; i < 60; i++) deep = { kind: "cells", shape: [1, 1], values: [deep] };
    expect(() => readMat(writeMat({ deep }), "f.mat")).toThrow(/nest deeper than 32/);
  });
});
