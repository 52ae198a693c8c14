import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openDecoder, openGraph, parametersOfModel } from "../../../engine/encoder-decoder/search.ts";
import { wordCodec } from "../../../engine/encoder-decoder/text-model.ts";
import { parameterMaker } from "../../../models/parameters.ts";
import { masked, t5Decoder } from "../../../models/t5.ts";
import { compile, valueMaker } from "../../../runtime/program.ts";
import { input, lower, parametersOf } from "../../../tensor/index.ts";
import { distinctBatches, loadSentenceSet, type RecordingEntry, saveSentenceSet, splitBySentence } from "./dataset.ts";
import { encodeRecordings, encodeTexts, evaluateGlim } from "./evaluate.ts";
import { eegFeeds, loadGlim, saveGlim, trainGlim } from "./index.ts";
import { trainTextModel } from "./language.ts";
import { bleu, cosines, retrievalRanks, rouge1 } from "./metrics.ts";
import { conditionedBlock, encodeEeg, type GlimConfig, initialParameters } from "./model.ts";
import { classSentences, synthesiseSentences } from "./synthetic.ts";

const folder = await mkdtemp(join(tmpdir(), "ventris-glim-"));
afterAll(() => rm(folder, { recursive: true, force: true }));
const failure = (code: string, message: RegExp) =>
  expect.objectContaining({ name: "VentrisError", code, message: expect.stringMatching(message) });

const config: GlimConfig = {
  points: 12,
  channels: 8,
  slots: 3,
  width: 8,
  heads: 2,
  encoderBlocks: 2,
  decoderBlocks: 1,
  textWidth: 8,
  promptWidth: 6,
  prompts: [3, 2, 4],
};
const wave = (size: number, seed: number) => Float32Array.from({ length: size }, (_, i) => Math.sin(seed + 1.9 * i));

describe("the model", () => {
  it("has blocks that are the identity at the start, whatever the prompt", async () => {
    const [eeg, mask, prompt] = [input("eeg", [2, 12, 8]), input("mask", [2, 1, 1, 12]), input("prompt", [2, 6])];
    const out = conditionedBlock({ config, make: parameterMaker() }, "encoder.0", eeg, prompt, mask);
    const parameters = initialParameters(parametersOf(out), config, 1);
    const program = await compile(lower({ out }, { parameters: "inputs" }), { threads: 1 });
    const value = await valueMaker();
    const x = wave(2 * 12 * 8, 1);
    const result = await program.run({
      eeg: value("float32", x, [2, 12, 8]),
      mask: value("float32", new Float32Array(24), [2, 1, 1, 12]),
      prompt: value("float32", wave(12, 3), [2, 6]),
      ...Object.fromEntries(parameters.map((p) => [p.name, value("float32", p.values, p.shape)])),
    });
    await program.release();
    expect(result.out.data).toEqual(x);
  });

  it("does not see what lies behind a recording's end, with any weights", async () => {
    const inputs = {
      eeg: input("eeg", [2, 12, 8]),
      mask: input("mask", [2, 1, 1, 12]),
      prompts: input("prompts", [2, 3], "int64"),
    };
    const h = encodeEeg({ config, make: parameterMaker() }, inputs);
    const parameters = initialParameters(parametersOf(h), config, 1);
    for (const [i, { values }] of parameters.entries()) values.set(wave(values.length, i).map((v) => 0.5 * v));
    const program = await compile(lower({ h }, { parameters: "inputs" }), { threads: 1 });
    const value = await valueMaker();
    const run = async (behind: number, real: number) => {
      const x = wave(2 * 12 * 8, 1);
      const mask = new Float32Array(24);
      for (let n = 0; n < 2; n++) {
        for (let t = 7; t < 12; t++) {
          for (let k = 0; k < 8; k++) x[(n * 12 + t) * 8 + k] = behind;
          mask[n * 12 + t] = masked;
        }
        x[n * 96] += real;
      }
      const result = await program.run({
        eeg: value("float32", x, [2, 12, 8]),
        mask: value("float32", mask, [2, 1, 1, 12]),
        prompts: value("int64", new BigInt64Array(6), [2, 3]),
        ...Object.fromEntries(parameters.map((p) => [p.name, value("float32", p.values, p.shape)])),
      });
      return [...(result.h.data as Float32Array)];
    };
    const [zero, junk, moved] = [await run(0, 0), await run(37, 0), await run(0, 5)];
    await program.release();
    for (const [i, v] of zero.entries()) expect(junk[i]).toBeCloseTo(v, 5);
    expect(moved.some((v, i) => Math.abs(v - zero[i]) > 1e-4)).toBe(true);
  });

  it("starts with the published prompt scales and deviations", () => {
    const inputs = {
      eeg: input("eeg", [1, 12, 8]),
      mask: input("mask", [1, 1, 1, 12]),
      prompts: input("prompts", [1, 3], "int64"),
    };
    const big = { ...config, prompts: [3, 3, 31] as const };
    const parameters = new Map(
      initialParameters(parametersOf(encodeEeg({ config: big, make: parameterMaker() }, inputs)), big, 1).map((p) => [
        p.name,
        p.values,
      ]),
    );
    expect(parameters.get("prompt.2.scale")![0]).toBeCloseTo(31 / 37, 6);
    const embedding = parameters.get("prompt.2.embedding")!;
    expect(Math.sqrt(embedding.reduce((s, v) => s + v * v, 0) / embedding.length)).toBeCloseTo(0.02, 2);
    expect(parameters.get("encoder.0.modulation.weight")!.every((v) => v === 0)).toBe(true);
  });
});

describe("splits and batches", () => {
  const recordings: RecordingEntry[] = Array.from({ length: 300 }, (_, i) => ({
    sentence: i % 100,
    task: i < 200 ? "NR" : "TSR",
    dataset: "Z",
    subject: `S${i % 7}`,
    length: 5,
  }));

  it("never put a sentence into two parts, and sentences of several tasks into train alone", () => {
    // Sentences 0–99 are read twice in one task, and the last third makes them appear in a second one.
    const mixed = recordings.filter((r, i) => i < 200 || r.sentence < 30);
    const splits = splitBySentence(mixed, 100, 3);
    const parts = Object.values(splits).map((list) => new Set(list.map((r) => mixed[r].sentence)));
    for (const [i, a] of parts.entries())
      for (const b of parts.slice(i + 1)) expect([...a].filter((s) => b.has(s))).toEqual([]);
    for (let s = 0; s < 30; s++) expect(parts[0].has(s)).toBe(true);
    // 100 sentences, 70 of them in one task only: 0.8 - 0.2 · 30 / 70 of those go to train.
    const own = [...parts[0]].filter((s) => s >= 30).length;
    expect(own).toBe(Math.round((0.8 - (0.2 * 30) / 70) * 70));
    expect(Math.abs(parts[1].size - parts[2].size)).toBeLessThanOrEqual(1);
    expect(splitBySentence(mixed, 100, 3)).toEqual(splits);
  });

  it("draw batches of distinct sentences, each recording once in a pass", () => {
    const members = recordings.map((_, i) => i);
    const batches = distinctBatches({ recordings }, members, 24, 5, 0);
    expect(batches.length).toBeGreaterThanOrEqual(10);
    for (const batch of batches) expect(new Set(batch.map((r) => recordings[r].sentence)).size).toBe(24);
    const all = batches.flat();
    expect(new Set(all).size).toBe(all.length);
    expect(distinctBatches({ recordings }, members, 24, 5, 1)).not.toEqual(batches);
    expect(distinctBatches({ recordings }, members.slice(0, 10), 24, 5, 0)).toEqual([]);
  });
});

describe("scores", () => {
  it("are those of worked examples", () => {
    expect(bleu("the the the the the the the", ["the cat is on the mat", "there is a cat on the mat"])[0]).toBeCloseTo(
      2 / 7,
      12,
    ); // the paper's own
    const [one, two] = bleu("the cat sat", ["the cat sat down"]);
    expect(one).toBeCloseTo(Math.exp(1 - 4 / 3), 12);
    expect(two).toBeCloseTo(Math.exp(1 - 4 / 3), 12);
    expect(bleu("", ["a"])).toEqual([0, 0, 0, 0]);
    expect(rouge1("a b c", ["x y", "a b d e"])).toMatchObject({ recall: 0.5, precision: 2 / 3 });
  });

  it("rank the right sentence among as many as the pool has, and give chance for what says nothing", () => {
    const own = Array.from({ length: 200 }, (_, i) => i % 50);
    expect(retrievalRanks((r, s) => (s === own[r] ? 1 : 0), own, 24, 1)!.every((rank) => rank === 0)).toBe(true);
    const blind = retrievalRanks((r, s) => (Math.sin(12.9898 * r + 78.233 * s) * 43758.5453) % 1, own, 10, 1)!;
    const top = blind.filter((rank) => rank === 0).length / 200;
    expect(top).toBeGreaterThan(0.04);
    expect(top).toBeLessThan(0.17);
    expect(retrievalRanks(() => 0, own, 51, 1)).toBeUndefined();
    expect(cosines(Float32Array.of(3, 4), Float32Array.of(4, 3, -3, -4), 2)).toEqual(Float64Array.of(24 / 25, -1));
  });
});

describe("from recordings to texts", () => {
  const set = synthesiseSentences({
    sentences: 150,
    subjects: 3,
    readings: 2,
    channels: 8,
    points: 32,
    rate: 64,
    noise: 0.5,
    seed: 2,
  });
  const shape = { sourceLength: 12, targetLength: 10 };
  /** Of a model that trains in no time. */
  const small = {
    settings: { lambda: 0.5, commitment: 0, ...shape, promptDrop: [0, 1, 1] as const },
    config: { slots: 4, width: 16, heads: 2, encoderBlocks: 1, decoderBlocks: 1, promptWidth: 8 },
  };
  const pairs = set.sentences.flatMap(({ text, paraphrases }) => paraphrases.map((p) => [text, p] as const));

  it("trains, decodes, evaluates with every control, and comes back from its files", async () => {
    const text = await trainTextModel(pairs, {
      width: 16,
      layers: 1,
      heads: 2,
      steps: 30,
      batch: 8,
      ...shape,
      seed: 1,
    });
    const model = await trainGlim(set, text, {
      settings: { lambda: 0.5, commitment: 0, ...shape, promptDrop: [0, 1, 1] },
      config: { slots: 4, width: 16, heads: 2, encoderBlocks: 1, decoderBlocks: 1, promptWidth: 8 },
      steps: 30,
      batch: 12,
      learningRate: 2e-3,
      seed: 1,
    });
    expect(model.losses.at(-1)).toBeLessThan(model.losses[0]);
    for (const control of ["none", "noise", "shuffled", "no-prompt"] as const) {
      const report = await evaluateGlim(model, set, {
        split: "train",
        control,
        pools: [24, 10_000],
        classes: classSentences,
        limit: 60,
        beams: 2,
        seed: 1,
        texts: control === "none",
      });
      expect(Object.keys(report.retrieval)).toEqual(["24"]);
      expect(report.classification.topic).toMatchObject({ count: 60 });
      expect(report.classification.topic.majority).toBeGreaterThan(0.1);
      if (control === "none") expect(report.texts!.freeRunning.bleu).not.toEqual(report.texts!.teacherForced.bleu);
    }
    const out = join(folder, "run");
    await saveGlim(out, model);
    const again = await loadGlim(out);
    const [a, b] = [
      await encodeRecordings(model, set, [0, 1], "none", 1),
      await encodeRecordings(again, set, [0, 1], "none", 1),
    ];
    expect(b.vectors).toEqual(a.vectors);
    // A batch of one is a batch.
    const alone = await encodeRecordings(again, set, [1], "none", 1);
    for (let k = 0; k < 16; k++) expect(alone.vectors[k]).toBeCloseTo(a.vectors[16 + k], 5);
    expect((await encodeTexts(again, ["anna loved the soup ."])).length).toBe(16);
    const card = JSON.parse(await readFile(join(out, "glim.json"), "utf8"));
    for (const [change, message] of [
      [{ config: { ...card.config, slots: 5 } }, /queries is \[4,16\], and .*glim\.json asks for \[5,16\]/],
      [{ config: { ...card.config, encoderBlocks: 2 } }, /lacks encoder\.1\./],
      [{ config: { ...card.config, points: 60_000, channels: 60_000 } }, /at most 16 million/],
      [{ config: { ...card.config, heads: 3 } }, /heads must divide/],
      [{ settings: undefined }, /settings is missing/],
      [{ text: 7 }, /text must be a text, not 7/],
    ] as const) {
      await writeFile(join(out, "glim.json"), JSON.stringify({ ...card, ...change }));
      await expect(loadGlim(out), String(message)).rejects.toEqual(failure("bad_file", message));
    }
    await writeFile(join(out, "glim.json"), JSON.stringify({ ...card, textFingerprint: "another" }));
    await expect(loadGlim(out)).rejects.toEqual(failure("bad_option", /trained with another text model/));
    const elsewhere = join(out, "text");
    await expect(loadGlim(elsewhere)).rejects.toEqual(
      failure("unavailable", /has no glim\.json: it is no model that ventris eeg train wrote/),
    );
  });

  it("writes with one beam what the most likely token at each step makes", async () => {
    const text = await trainTextModel(pairs, {
      width: 16,
      layers: 1,
      heads: 2,
      steps: 20,
      batch: 8,
      ...shape,
      seed: 3,
    });
    const states = wave(4 * 16, 2);
    const logits = t5Decoder(
      { config: text.config, make: parameterMaker() },
      input("tokens", [1, 8], "int64"),
      input("states", [1, 4, 16]),
    );
    const graph = await openGraph({ logits }, parametersOfModel(text));
    const ids: number[] = [];
    for (let step = 0; step < 8 && ids.at(-1) !== 1; step++) {
      const tokens = BigInt64Array.from({ length: 8 }, (_, i) => BigInt(i === 0 ? 0 : (ids[i - 1] ?? 0)));
      const result = await graph.run({
        tokens: { data: tokens, dims: [1, 8] },
        states: { data: states, dims: [1, 4, 16] },
      });
      const line = [
        ...(result.logits.data as Float32Array).subarray(
          step * text.config.vocab_size,
          (step + 1) * text.config.vocab_size,
        ),
      ];
      ids.push(line.indexOf(Math.max(...line)));
    }
    await graph.release();
    const decoder = await openDecoder(text, { rows: 1, slots: 4, length: 8, beams: 1 });
    expect((await decoder.find(states)).map(({ tokens }) => tokens)).toEqual([ids]);
    await decoder.release();
  });

  it("keeps and checks its data sets", async () => {
    const path = join(folder, "set");
    await saveSentenceSet(path, set);
    expect((await loadSentenceSet(path)).eeg).toEqual(set.eeg);
    const index = JSON.parse(await (await import("node:fs/promises")).readFile(join(path, "sentences.json"), "utf8"));
    const broken = async (change: (copy: typeof index) => void) => {
      const copy = structuredClone(index);
      change(copy);
      await writeFile(join(path, "sentences.json"), JSON.stringify(copy));
      return loadSentenceSet(path);
    };
    await expect(broken((copy) => copy.splits.test.push(copy.splits.train[0]))).rejects.toEqual(
      failure("bad_file", /both in train and in test/),
    );
    await expect(broken((copy) => copy.recordings.pop())).rejects.toEqual(failure("bad_file", /recording|asks for/));
    for (const [change, message] of [
      [(copy: typeof index) => delete copy.shape, /shape is missing/],
      [(copy: typeof index) => delete copy.splits.test, /splits\.test is missing/],
      [(copy: typeof index) => (copy.sentences[0].labels = ["good"]), /sentences\[0\]\.labels must be an object/],
      [(copy: typeof index) => (copy.recordings[0].length = 33), /recording 1 has 33 real points of 32/],
    ] as const)
      await expect(broken(change), String(message)).rejects.toEqual(failure("bad_file", message));
    await expect(
      broken((copy) => {
        copy.recordings[0].sentence = 9999;
      }),
    ).rejects.toEqual(failure("bad_file", /sentence that is not there/));
  });

  it("gives prompts of unknown names the id 0, and refuses a batch that training cannot fill", async () => {
    const settings = {
      lambda: 0.5,
      commitment: 0,
      ...shape,
      promptDrop: [0, 0, 1] as const,
      tasks: ["reading"],
      datasets: [],
      subjects: ["subject 1"],
    };
    const feeds = eegFeeds({ config: { ...config, points: 32, channels: 8 }, settings }, set, [0]);
    expect([...(feeds.prompts.data as BigInt64Array)]).toEqual([1n, 0n, 0n]);
    const text = await trainTextModel(pairs, { width: 16, layers: 1, heads: 2, steps: 1, batch: 4, ...shape, seed: 3 });
    const options = {
      ...small,
      steps: 1,
      learningRate: 1e-3,
      seed: 1,
    };
    for (const [name, value] of Object.entries({ steps: 0.5, batch: Number.NaN, seed: -1 }))
      await expect(trainGlim(set, text, { ...options, batch: 8, [name]: value })).rejects.toThrow(
        `${name} must be a whole number`,
      );
    await expect(
      trainTextModel(pairs, { ...{ width: Number.NaN, layers: 1, heads: 2, steps: 1, batch: 4 }, ...shape, seed: 3 }),
    ).rejects.toThrow(/width must be/);
    await expect(trainGlim(set, text, { ...options, batch: 500 })).rejects.toEqual(
      failure("bad_option", /batches of 500 distinct/),
    );
    await expect(
      trainGlim(set, text, { ...options, batch: 8, settings: { ...options.settings, commitment: 1 } }),
    ).rejects.toEqual(failure("bad_option", /4 slots and a source length of 12/));
  });

  it("goes on with a training only as it was begun", async () => {
    const folder = await mkdtemp(join(tmpdir(), "ventris-glim-run-"));
    try {
      const smallText = {
        width: 16,
        layers: 1,
        heads: 2,
        batch: 4,
        ...shape,
        seed: 3,
        checkpointFolder: join(folder, "text"),
      };
      const text = await trainTextModel(pairs, { ...smallText, steps: 2 });
      const again = await trainTextModel(pairs, { ...smallText, steps: 2 });
      for (const [name, values] of text.weights) expect(again.weights.get(name)).toEqual(values);
      await expect(trainTextModel(pairs.slice(1), { ...smallText, steps: 2 })).rejects.toEqual(
        failure("bad_checkpoint", /another pairs/),
      );
      const options = {
        ...small,
        batch: 8,
        learningRate: 1e-3,
        seed: 1,
        checkpointFolder: join(folder, "run"),
      };
      await trainGlim(set, text, { ...options, steps: 2 });
      for (const [what, change, data] of [
        ["lambda", { settings: { ...options.settings, lambda: 0 } }, set],
        ["learningRate", { learningRate: 2e-3 }, set],
        ["recordings", {}, { ...set, eeg: set.eeg.map((v) => 2 * v) }],
      ] as const)
        await expect(trainGlim(data, text, { ...options, ...change, steps: 3 }), what).rejects.toEqual(
          failure("bad_checkpoint", new RegExp(`another ${what};`)),
        );
      expect((await trainGlim(set, text, { ...options, steps: 3 })).losses.length).toBeGreaterThan(0);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  it("has a codec of words that keeps what it knows", () => {
    const codec = wordCodec(["<pad>", "</s>", "<unk>", "the", "soup", "."]);
    expect(codec.encode("The soup, .")).toEqual([3, 4, 2, 5]);
    expect(codec.decode([3, 4, 5, 1, 0])).toBe("the soup .");
  });
});
