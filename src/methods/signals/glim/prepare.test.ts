import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { uniform } from "../../../engine/random.ts";
import { writeEdf } from "../formats/edf.ts";
import { writeMat } from "../formats/mat.ts";
import { fitLogistic } from "./logistic.ts";
import { prepareReadings, prepareZuco } from "./prepare.ts";
import { analyseWords, parseWords, readWordCorpus } from "./zuco-words.ts";

const folder = await mkdtemp(join(tmpdir(), "ventris-prepare-"));
afterAll(() => rm(folder, { recursive: true, force: true }));
const failure = (code: string, message: RegExp) =>
  expect.objectContaining({ name: "VentrisError", code, message: expect.stringMatching(message) });
const options = { shape: { rate: 64, points: 128, channels: 4 }, seed: 1 };
const wave = (samples: number, step: number) =>
  Float64Array.from({ length: samples }, (_, t) => 30 * Math.sin(t * step));

describe("readings", () => {
  const write = (lines: unknown[]) =>
    writeFile(
      join(folder, "r.jsonl"),
      lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line))).join("\n"),
    );
  const prepared = () => prepareReadings(join(folder, "r.jsonl"), options);
  const edf = writeEdf({
    channels: ["Fz", "Cz"].map((name, k) => ({ name, unit: "uV", rate: 128, samples: wave(1280, 0.3 + 0.2 * k) })),
    annotations: [],
    remarks: [],
  });

  it("become recordings of their sentences, with what cannot be used counted", async () => {
    await writeFile(join(folder, "s.edf"), edf);
    await write([
      { file: "s.edf", start: 0, end: 1.5, sentence: "One.", subject: "A", labels: { sentiment: "good" } },
      { file: "s.edf", start: 2, end: 3.5, sentence: "Two.", subject: "A" },
      { file: "s.edf", start: 4, end: 5.5, sentence: "one. ", subject: "B" },
      { file: "s.edf", start: 6, end: 6.2, sentence: "Three.", subject: "A" },
    ]);
    const set = await prepared();
    expect(set.sentences.map(({ text }) => text)).toEqual(["One.", "Two."]);
    expect(set.recordings.map(({ sentence, subject, length }) => [sentence, subject, length])).toEqual([
      [0, "A", 96],
      [1, "A", 96],
      [0, "B", 96],
    ]);
    expect(set.rejected).toEqual({ "it is shorter than 0.5 s": 1 });
    expect(set.eeg.length).toBe(3 * 128 * 4);
  });

  it("are found by whole paths as well, and refused where a file has no channels", async () => {
    await writeFile(join(folder, "s.edf"), edf);
    await write([{ file: join(folder, "s.edf"), end: 1.5, sentence: "One." }]);
    expect((await prepared()).recordings.length).toBe(1);
    // Of two signals, a field after the other: only annotations are left where both are called so.
    const notes = Buffer.from(edf);
    for (const at of [256, 272]) notes.write("EDF Annotations ", at, "latin1");
    notes.fill(0, 256 * 3);
    await writeFile(join(folder, "notes.edf"), notes);
    await write([{ file: "notes.edf", end: 1.5, sentence: "One." }]);
    await expect(prepared()).rejects.toEqual(failure("bad_file", /notes\.edf has no channels, only annotations/));
  });

  it("take the channels that are asked for", async () => {
    await writeFile(join(folder, "s.edf"), edf);
    const first = { file: "s.edf", end: 1.5, sentence: "One." };
    await write([first, { ...first, channels: "Cz" }, { ...first, channels: "2,1" }]);
    const { eeg } = await prepared();
    const value = (recording: number, channel: number) => eeg[(recording * 128 + 20) * 4 + channel];
    expect([value(1, 0), value(1, 1)]).toEqual([value(0, 1), 0]);
    expect([value(2, 0), value(2, 1)]).toEqual([value(0, 1), value(0, 0)]);
    await write([{ ...first, channels: "Oz" }]);
    await expect(prepared()).rejects.toEqual(failure("bad_option", /s\.edf has no column "Oz"\. It has 2: Fz, Cz/));
  });

  it("say what was odd about recordings that are used: cut files, dead channels", async () => {
    const path = join(folder, "odd.jsonl");
    await writeFile(join(folder, "cut.edf"), edf.subarray(0, edf.length - 10));
    await writeFile(
      join(folder, "dead.csv"),
      `a,b\n${Array.from({ length: 300 }, (_, t) => `${9 * Math.sin(t)},\n`).join("")}`,
    );
    const lines = [
      { file: "cut.edf", start: 0, end: 1.5, sentence: "One." },
      { file: "dead.csv", rate: 256, sentence: "Two." },
    ];
    await writeFile(path, lines.map((line) => JSON.stringify(line)).join("\n"));
    const remarks: string[] = [];
    await prepareReadings(path, { ...options, onRemark: (_, remark) => remarks.push(remark) });
    expect(remarks).toEqual([
      expect.stringMatching(/records are declared/),
      "1 of 2 channels have no values and are taken as zero",
    ]);
  });

  it("are refused where files, times, rates or labels contradict", async () => {
    const cases: [unknown[], string, RegExp][] = [
      [["{broken"], "bad_file", /line 1/],
      [[{ file: "s.edf" }], "bad_file", /line 1: sentence is missing/],
      [[{ file: "none.edf", sentence: "x" }], "unavailable", /none\.edf/],
      [[{ file: "s.edf", sentence: "x", paraphrases: "y" }], "bad_file", /line 1: paraphrases must be a list/],
      [[{ file: "s.edf", sentence: "x", labels: ["a"] }], "bad_file", /line 1: labels must be an object/],
      [[{ file: "s.edf", sentence: "x", start: null }], "bad_file", /line 1: start must be a number/],
      [[{ file: "s.edf", start: 9, end: 12, sentence: "x" }], "bad_file", /ends at 10\.00 s, before/],
      [[{ file: "s.edf", start: 3, end: 2, sentence: "x" }], "bad_file", /ends before it begins/],
      [[{ file: "c.csv", sentence: "x" }], "bad_option", /how many samples a second/],
      [[{ file: "c.csv", sentence: "x", rate: 32 }], "bad_option", /32 samples a second, fewer than the 64/],
      [[{ file: "s.edf", start: 0, end: 0.1, sentence: "x" }], "bad_option", /not one reading can be used/],
      [
        [
          { file: "s.edf", end: 1, sentence: "x", labels: { s: "a" } },
          { file: "s.edf", end: 1, sentence: "x", labels: { s: "b" } },
        ],
        "bad_file",
        /labelled both a and b in s/,
      ],
    ];
    await writeFile(join(folder, "c.csv"), Array.from(wave(100, 0.2), (v) => `${v},${v + 1}`).join("\n"));
    for (const [lines, code, message] of cases) {
      await write(lines);
      await expect(prepared(), String(message)).rejects.toEqual(failure(code, message));
    }
  });
});

it("ZuCo's files of level 5 become recordings of subject and task", async () => {
  const raw = (samples: number) => ({
    kind: "numbers" as const,
    shape: [3, samples],
    data: Float64Array.from({ length: 3 * samples }, (_, i) => (i % 3 === 2 ? 0 : 20 * Math.sin(i / 9))),
  });
  const text = (content: string) => ({ kind: "text" as const, text: content });
  const values = [
    { content: text("It was good ."), rawData: raw(500) },
    { content: text("It was long ."), rawData: raw(6000) },
    {
      content: text("Not recorded ."),
      rawData: { kind: "numbers" as const, shape: [1, 1], data: Float64Array.of(Number.NaN) },
    },
  ];
  const path = join(folder, "resultsZAB_SR.mat");
  await writeFile(path, writeMat({ sentenceData: { kind: "structs", shape: [1, 3], values } }));
  const set = await prepareZuco([path], options);
  expect(set.recordings).toEqual([{ sentence: 0, task: "SR", dataset: "ZuCo1", subject: "ZAB", length: 64 }]);
  expect(Object.keys(set.rejected).sort()).toEqual([
    expect.stringMatching(/no raw data/),
    expect.stringMatching(/longer than/),
  ]);
  await writeFile(path, writeMat({ other: text("x") }));
  await expect(prepareZuco([path], options)).rejects.toEqual(failure("bad_file", /sentenceData/));
});

describe("the analysis of words", () => {
  it("reads rows of its form alone", () => {
    const row = (word: string, tag: string, band = "3") =>
      [word, ...new Array(17).fill("1"), ...new Array(8).fill(band), tag].join("\t");
    expect(parseWords(`${row("Ford", "B-PER")}\n${row("ran", "O", "0")}\n\n${row("Yes", "O")}\n`, "t")).toEqual([
      [
        { word: "Ford", eeg: new Array(8).fill(3), entity: 1 },
        { word: "ran", eeg: undefined, entity: 0 },
      ],
      [{ word: "Yes", eeg: new Array(8).fill(3), entity: 0 }],
    ]);
    expect(() => parseWords("a\tb", "t")).toThrow(failure("bad_file", /line 1: 2 fields where there should be 27/));
    expect(() => parseWords(row("x", "B-XYZ"), "t")).toThrow(failure("bad_file", /B-XYZ/));
    expect(() => parseWords(row("x", "O", "2.5"), "t")).toThrow(failure("bad_file", /no whole number/));
  });

  it("takes a table of labels for the sentences of its own words alone", async () => {
    const row = (word: string) => [word, ...new Array(25).fill("1"), "O"].join("\t");
    const words = ["Good film", "Dull plot"].map((text) => text.split(" ").map(row).join("\n")).join("\n\n");
    await writeFile(join(folder, "zuco1-word-eeg-et-ner.tsv.gz"), gzipSync(words));
    const labelled = async (...lines: string[]) => {
      await writeFile(
        join(folder, "zuco1-sentiment_labels_task1.csv"),
        `id;sentence;control;label\n${lines.join("\n")}\n`,
      );
      return readWordCorpus(folder);
    };
    expect((await labelled("1;Good film.;;1", "2;Dull plot.;;-1")).sentiment).toEqual([2, 0]);
    await expect(labelled("1;Dull plot.;;-1", "2;Good film.;;1")).rejects.toEqual(
      failure("bad_file", /not of the same sentences: 0 of 2 agree/),
    );
    await expect(labelled("1;Good film.;;1", "2;Dull plot.;;1", "3;Third.;;0")).rejects.toEqual(
      failure("bad_file", /2 of 3 agree/),
    );
    await expect(labelled("1;Good film.;;7")).rejects.toEqual(failure("bad_file", /sentence 1 has no sentiment/));
  });

  it("finds what EEG adds where it adds, and nothing where it does not", async () => {
    const corpus = (informative: boolean) => ({
      sentences: Array.from({ length: 120 }, (_, s) =>
        Array.from({ length: 6 }, (_, w) => {
          const entity = (s * 7 + w * 3) % 4;
          const hint = informative ? entity : (s * 5 + w * 11 + ((s * s) % 7)) % 4;
          return {
            word: `word${(s * 13 + w * 29) % 90}`,
            eeg: Array.from({ length: 8 }, (_, k) => (k === hint ? 5 : 1)),
            entity,
          };
        }),
      ),
      sentiment: Array.from({ length: 60 }, (_, s) => s % 3),
    });
    const options = { folds: 3, shuffles: 2, passes: 4, seed: 1 };
    const [, real] = await analyseWords(corpus(true), options);
    expect(real.gain.nats.interval![0]).toBeGreaterThan(0.1);
    expect(real.gainAlone.points.interval![0]).toBeGreaterThan(20);
    const [, none] = await analyseWords(corpus(false), options);
    expect(none.gainAlone.points.value).toBeLessThan(real.gainAlone.points.value / 3);
  });

  it("does not take for EEG that a word was passed over, which the eyes tell", async () => {
    // Entities are passed over far more often; what was read has bands that say nothing.
    const draw = (...at: number[]) => uniform({ seed: 5, request: at[0] }, at[1], "data", at[2]);
    const sentences = Array.from({ length: 150 }, (_, s) =>
      Array.from({ length: 6 }, (_, w) => {
        const entity = draw(s, w, 0) < 0.5 ? 1 : 0;
        const passed = draw(s, w, 1) < (entity === 1 ? 0.8 : 0.1);
        const eeg = passed ? undefined : Array.from({ length: 8 }, (_, k) => 1 + Math.floor(4 * draw(s, w, 2 + k)));
        return { word: `word${(s * 13 + w * 29) % 90}`, eeg, entity };
      }),
    );
    const corpus = { sentences, sentiment: Array.from({ length: 60 }, (_, s) => s % 3) };
    const [, { gainAlone, eegAlone, majority }] = await analyseWords(corpus, {
      folds: 3,
      shuffles: 2,
      passes: 4,
      seed: 1,
    });
    expect(eegAlone.accuracy).toBeGreaterThan(majority + 0.1); // it is seen, by both
    expect(Math.abs(gainAlone.points.value)).toBeLessThan(5);
  });

  it("fits probabilities, not only decisions", () => {
    const examples = Array.from({ length: 400 }, (_, i) => ({
      features: [[0, 1] as const, [1 + (i % 2), 1] as const],
      label: i % 8 < (i % 2 ? 6 : 2) ? 1 : 0,
    }));
    const classify = fitLogistic(examples, { classes: 2, size: 4, passes: 30, rate: 0.1, decay: 0, seed: 1 });
    const shareOf = (kind: number) =>
      examples.filter((_, i) => i % 2 === kind).reduce((sum, { label }) => sum + label, 0) / 200;
    for (const kind of [0, 1])
      expect(
        Math.exp(
          classify([
            [0, 1],
            [1 + kind, 1],
          ])[1],
        ),
      ).toBeCloseTo(shareOf(kind), 1);
  });
});
