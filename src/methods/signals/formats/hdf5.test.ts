/** HDF5 and MATLAB 7.3 through h5wasm, on files that h5wasm itself writes. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { prepareZuco } from "../glim/prepare.ts";
import { isHdf5 } from "./hdf5.ts";
import { readTable } from "./table.ts";

interface Writable {
  create_group(name: string): Writable;
  create_dataset(options: {
    name: string;
    data: unknown;
    shape?: number[];
    dtype?: string;
    chunks?: number[];
    maxshape?: (number | null)[];
  }): Writable;
  resize(shape: number[]): void;
  create_reference(): unknown;
  flush(): void;
  close(): void;
}
interface Library {
  ready: Promise<{ FS: { readFile(name: string): Uint8Array } }>;
  File: new (name: string, mode: string) => Writable;
}
const name = "h5wasm/node"; // its types are not for this module resolution
const library = (await import(name).catch(() => undefined)) as Library | undefined;
const folder = await mkdtemp(join(tmpdir(), "ventris-hdf5-"));
afterAll(() => rm(folder, { recursive: true, force: true }));
const failure = (code: string, message: RegExp) =>
  expect.objectContaining({ name: "VentrisError", code, message: expect.stringMatching(message) });

async function written(file: string, fill: (root: Writable) => void): Promise<string> {
  const { FS } = await library!.ready;
  const root = new library!.File(`/${file}`, "w");
  fill(root);
  root.flush();
  root.close();
  const path = join(folder, file);
  await writeFile(path, FS.readFile(`/${file}`));
  return path;
}

test.skipIf(!library)(
  "datasets become tables: by name, alone, nested, of any number type; others are refused by name",
  async () => {
    const path = await written("a.h5", (root) => {
      root.create_dataset({ name: "spikes", data: Uint8Array.from([1, 2, 3, 4, 5, 6]), shape: [3, 2] });
      root.create_dataset({ name: "time", data: Float32Array.from([0.5, 1.5, 2.5]) });
      root.create_dataset({ name: "count", data: BigInt64Array.from([7n, -8n]), shape: [2, 1] });
      root.create_dataset({ name: "words", data: ["a", "b"] });
      root.create_group("trial").create_dataset({ name: "hand", data: Float64Array.from([1, -1]), shape: [1, 2] });
    });
    const table = async (array: string) => {
      const { values } = await readTable(`${path}#${array}`);
      return [values.rows, values.columns, [...values.data]];
    };
    expect(await table("spikes")).toEqual([3, 2, [1, 2, 3, 4, 5, 6]]);
    expect(await table("time")).toEqual([3, 1, [0.5, 1.5, 2.5]]);
    expect(await table("count")).toEqual([2, 1, [7, -8]]);
    expect(await table("trial/hand")).toEqual([1, 2, [1, -1]]);
    await expect(readTable(path)).rejects.toEqual(failure("bad_option", /holds 5 arrays/));
    await expect(readTable(`${path}#word`)).rejects.toEqual(failure("bad_option", /no array "word"; it has count/));
    await expect(readTable(`${path}#trial/foot`)).rejects.toEqual(failure("bad_file", /no dataset trial\/foot/));
    await expect(readTable(`${path}#words`)).rejects.toEqual(failure("bad_file", /words is not a numeric dataset/));
    await expect(readTable(`${path}#trial`)).rejects.toEqual(failure("bad_file", /no dataset trial/));
    // A file of 3 KB that says it is 16 TB: what was never written costs nothing there.
    const vast = await written("vast.h5", (root) => {
      const data = Float64Array.from([1, 2, 3, 4, 5, 6]);
      root.create_dataset({ name: "d", data, shape: [3, 2], chunks: [3, 2], maxshape: [null, 2] }).resize([2 ** 40, 2]);
    });
    await expect(readTable(vast)).rejects.toEqual(failure("bad_file", /d says it is \[1099511627776,2\]/));
    const bytes = await readFile(path);
    await writeFile(join(folder, "cut.h5"), bytes.subarray(0, bytes.length / 2));
    await expect(readTable(join(folder, "cut.h5#spikes"))).rejects.toEqual(
      failure("bad_file", /cut\.h5 cannot be read as HDF5: truncated file[^\n]*$/),
    );
    // Of its own source the library says much: one line of it is said.
    const lie = Buffer.concat([bytes.subarray(0, 8), Buffer.alloc(100)]);
    await writeFile(join(folder, "lie.h5"), lie);
    await expect(readTable(join(folder, "lie.h5#spikes"))).rejects.toEqual(
      failure("bad_file", /lie\.h5 cannot be read as HDF5: [^#\n]+$/),
    );
    await writeFile(join(folder, "text.h5"), "not at all");
    await expect(readTable(join(folder, "text.h5#spikes"))).rejects.toEqual(failure("bad_file", /is not an HDF5 file/));
  },
);

/** What MATLAB 7.3 makes of a struct array: fields as columns of references into a group beside it. */
const zuco = (file: string, change: { content?: unknown; raws?: number } = {}): Promise<string> =>
  written(file, (root) => {
    const refs = root.create_group("#refs#");
    const sentences = ["He reads.", "She wrote it down."];
    const codes = sentences.map((text, i) =>
      refs.create_dataset({
        name: `c${i}`,
        data: change.content ?? Uint16Array.from(text, (letter) => letter.charCodeAt(0)),
        ...(!change.content && { shape: [text.length, 1] }),
      }),
    );
    const signals = [0, 1].map((i) =>
      refs.create_dataset({
        name: `r${i}`,
        // MATLAB's [channels, samples] lies as [samples, channels], the last channel is the silent reference; a sentence without a recording has no matrix.
        data:
          i === 0
            ? Float32Array.from({ length: 1000 * 5 }, (_, at) => (at % 5 === 4 ? 0 : 20 * Math.sin(at / 40)))
            : Float32Array.of(0),
        shape: i === 0 ? [1000, 5] : [1, 1],
      }),
    );
    const data = root.create_group("sentenceData");
    const column = (field: string, of: readonly Writable[]): void => {
      const references = of.map((one) => one.create_reference());
      data.create_dataset({ name: field, data: references, shape: [of.length, 1] });
    };
    column("content", codes);
    column("rawData", signals.slice(0, change.raws ?? 2));
  });

test.skipIf(!library)(
  "ZuCo's sentences come out of MATLAB 7.3 with their recordings, those without are counted",
  async () => {
    const path = await zuco("resultsYAC_NR.mat");
    expect(isHdf5(await readFile(path))).toBe(true);
    const options = { shape: { rate: 64, points: 128, channels: 4 }, seed: 1 };
    const set = await prepareZuco([path], options);
    expect(set.sentences.map(({ text }) => text)).toEqual(["He reads."]);
    expect(set.recordings[0]).toMatchObject({ subject: "YAC", task: "NR", dataset: "ZuCo2", length: 128 });
    expect(set.rejected).toEqual({ "it has no raw data": 1 });
    expect(set.eeg.slice(0, 128 * 4).some((value) => value !== 0)).toBe(true);
    const refused = async (file: string, change: Parameters<typeof zuco>[1], words: RegExp) =>
      expect(prepareZuco([await zuco(file, change)], options)).rejects.toEqual(failure("bad_file", words));
    await refused("resultsA_NR.mat", { content: Float64Array.of(1, 2) }, /sentence 1 is no text/);
    await refused("resultsB_NR.mat", { raws: 1 }, /2 sentences, but raw data of 1/);
  },
);
