import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readTable } from "./table.ts";
import { countTrains } from "./trains.ts";

const folder = await mkdtemp(join(tmpdir(), "ventris-trains-"));
afterAll(() => rm(folder, { recursive: true, force: true }));
const failure = (code: string, message: RegExp) =>
  expect.objectContaining({ name: "VentrisError", code, message: expect.stringMatching(message) });
const rowsOf = ({ values }: ReturnType<typeof countTrains>) =>
  Array.from({ length: values.rows }, (_, t) => [
    ...values.data.subarray(t * values.columns, (t + 1) * values.columns),
  ]);

describe("spike trains", () => {
  it("are counted in bins, beside the mean place of each bin, with gaps where nothing was seen", () => {
    const table = countTrains(
      {
        units: [[0.1, 0.2, 1.1, -4, 99], []],
        position: { t: [0.2, 0.4, 1.5, 3.5, 4], x: [1, 3, 5, 7, 9] },
        gap_s: [1.2, 1.9],
      },
      1,
      "t",
    );
    expect(table.names).toEqual(["1", "2", "x"]);
    // 99 is the last time of all: 99 bins, and its own is not whole.
    expect(table.values.rows).toBe(99);
    expect(rowsOf(table).slice(0, 4)).toEqual([
      [2, 0, 2],
      [NaN, NaN, NaN],
      [0, 0, NaN],
      [0, 0, 7],
    ]);
    expect(table.rate).toBe(1);
  });

  it("are read from trains with names beside evenly sampled tracks", () => {
    const table = countTrains(
      {
        sample_seconds: 0.5,
        t0: 0.25,
        position_cm: [1, 3, 5, 7, 9],
        spike_times_low: [0.1, 1.9],
        spike_times_high: [1],
      },
      1,
      "t",
    );
    expect(table.names).toEqual(["low", "high", "position_cm"]);
    expect(rowsOf(table)).toEqual([
      [1, 0, 2],
      [1, 1, 6],
    ]);
  });

  it("of trials follow one another with a gap between", () => {
    const table = countTrains({ t_ms: [-2, 1], spike_index: [[0, 1, 3], [2]], direction: [0, 1] }, 0.002, "t");
    expect([table.names, table.rate]).toEqual([["spikes", "direction"], 500]);
    expect(rowsOf(table)).toEqual([
      [2, 0],
      [1, 0],
      [NaN, NaN],
      [0, 1],
      [1, 1],
      [NaN, NaN],
    ]);
    const many = Array.from({ length: 300_000 }, (_, i) => i % 10);
    expect(rowsOf(countTrains({ dt: 1, spike_index: [many] }, 5, "t"))).toEqual([[150_000], [150_000], [NaN]]);
    const beside = countTrains(
      {
        dt: 0.5,
        spike_index: [[1], []],
        lfp: [
          [1, 2, 3, 4],
          [5, 6, 7, 8],
        ],
      },
      1,
      "t",
    );
    expect(rowsOf(beside)).toEqual([
      [1, 1.5],
      [0, 3.5],
      [NaN, NaN],
      [0, 5.5],
      [0, 7.5],
      [NaN, NaN],
    ]);
  });

  it("that are absent leave samples; what is neither is refused by name", async () => {
    expect(rowsOf(countTrains({ dt: 0.001, eeg: [1, null, 3] }, undefined, "t"))).toEqual([[1], [NaN], [3]]);
    // A time that is null is no spike at 0.
    expect(rowsOf(countTrains({ units: [[null, 0.5, 2.5]] }, 1, "t"))).toEqual([[1], [0]]);
    const cases: [object, number | undefined, string, RegExp][] = [
      [{ units: [[1, 2]] }, undefined, "bad_option", /--bin says in how many seconds/],
      [{ spike_index: [[1]], dt: 0.001 }, undefined, "bad_option", /--bin/],
      [{ dt: 0.001, eeg: [1, 2] }, 1, "bad_option", /no spikes that could be counted/],
      [{ units: [[0.1]] }, 1, "bad_file", /shorter than one bin/],
      [{ units: [[1e12]] }, 0.001, "bad_option", /more than can be held/],
      [{ units: [[3]], position: { t: [1, 2], x: [1] } }, 1, "bad_file", /position\.x and position\.t/],
      [{ units: [[3]], position: { x: [1] } }, 1, "bad_file", /no list of times/],
      [{ words: ["a"] }, 1, "bad_file", /neither spike trains/],
      [{ dt: 0.001, a: [1, 2], b: [1] }, undefined, "bad_file", /b has 1 samples, a 2/],
      [{ spike_index: [[1]], dt: -1 }, 1, "bad_file", /dt is no time/],
      [{ spike_index: [[1]], dt: 1e-320 }, 1, "bad_file", /dt is no time/],
      [{ dt: Number.POSITIVE_INFINITY, eeg: [1, 2] }, undefined, "bad_file", /neither spike trains/],
    ];
    for (const [json, bin, code, message] of cases)
      expect(() => countTrains(json as never, bin, "t"), String(message)).toThrow(failure(code, message));
    await writeFile(join(folder, "a.csv"), "1,2\n3,4\n");
    await expect(readTable(join(folder, "a.csv"), { bin: 1 })).rejects.toEqual(
      failure("bad_option", /--bin: .*has rows already/),
    );
  });
});

it("raw rows whose parts share a description are read by it", async () => {
  await writeFile(join(folder, "m.json"), JSON.stringify({ bins: 3, bin_seconds: 0.05, kin_columns: ["x", "y"] }));
  await writeFile(join(folder, "m.spikes.u8"), Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9));
  await writeFile(join(folder, "m.kin.f32"), Buffer.from(Float32Array.of(1, 2, 3, 4, 5, 6).buffer));
  const [spikes, kin] = await Promise.all(["m.spikes.u8", "m.kin.f32"].map((name) => readTable(join(folder, name))));
  expect([spikes.names, [...spikes.values.data.subarray(3, 6)], spikes.rate]).toEqual([["1", "2", "3"], [4, 5, 6], 20]);
  expect([kin.names, [...kin.values.data.subarray(2, 4)], kin.rate]).toEqual([["x", "y"], [3, 4], 20]);
  await writeFile(join(folder, "m.spikes.u8"), Uint8Array.of(1, 2, 3, 4));
  await expect(readTable(join(folder, "m.spikes.u8"))).rejects.toEqual(failure("bad_file", /columns must be a list/));
});
