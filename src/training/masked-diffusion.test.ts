/** The masked-diffusion objective and its batches against the definitions. */
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ensureBuilt } from "../../test/build.ts";
import { logSoftmax } from "../../test/fixtures/reference.ts";
import { maskToken, type TinyDiffusion, writeTinyDiffusion } from "../../test/fixtures/tiny-diffusion.ts";
import { familyOf } from "../models/families.ts";
import { readParameters } from "../models/parameters.ts";
import { openWeights } from "../weights/index.ts";
import { documentStarts, drawMaskedBatch, type MaskingOptions } from "./masked-batches.ts";
import { maskedDiffusionObjective } from "./masked-diffusion.ts";
import type { TokenBatch } from "./objective.ts";
import { replicatedObjective } from "./replicas.ts";

describe.each(["llada", "dream"] as const)("the loss of %s", (naming) => {
  let tiny: TinyDiffusion;
  beforeAll(async () => {
    ensureBuilt(); // replicas run in threads, from the build
    tiny = await writeTinyDiffusion({ naming });
  });
  afterAll(() => rm(tiny.folder, { recursive: true, force: true }));

  async function parts() {
    const { family, config } = familyOf(tiny.config);
    const source = await openWeights(tiny.folder);
    const values = await readParameters(source, family, config);
    await source.close();
    return { family, config, values };
  }
  /** Log-probabilities of the prediction for every position of a state. */
  const predictions = (state: readonly number[]): Float64Array[] => {
    const rows = tiny.logits(state).map(logSoftmax);
    return naming === "dream" ? [rows[0], ...rows.slice(0, -1)] : rows;
  };

  test("is the weighted cross entropy of the masked positions over all positions", async () => {
    const { family, config, values } = await parts();
    const [rows, length] = [2, 6];
    const texts = [
      [3, 9, 14, 5, 22, 7],
      [8, 8, 30, 11, 4, 19],
    ];
    const weights = Float32Array.from([0, 2, 0, 0, 1.5, 0, 0, 0, 4, 0, 0, 1]);
    const tokens = Int32Array.from(texts.flatMap((text) => [...text, 1]));
    const objective = await maskedDiffusionObjective(family, config, values, { rows, length, threads: 1 });
    const loss = await objective.loss({ tokens, weights, rows, length });
    let wanted = 0;
    texts.forEach((text, row) => {
      const state = text.map((token, i) => (weights[row * length + i] > 0 ? maskToken : token));
      const log = predictions(state);
      text.forEach((token, i) => {
        wanted -= (weights[row * length + i] * log[i][token]) / (rows * length);
      });
    });
    expect(loss).toBeCloseTo(wanted, 4);
    const { gradients } = await objective.gradients({ tokens, weights, rows, length });
    expect(gradients.every((gradient) => gradient.every(Number.isFinite))).toBe(true);
    // Along the gradient the loss falls.
    objective.parameters.forEach(({ values: stored }, p) => {
      for (let i = 0; i < stored.length; i++) stored[i] -= 0.01 * gradients[p][i];
    });
    expect((await objective.gradients({ tokens, weights, rows, length })).loss).toBeLessThan(loss);
    await objective.release();
  });

  test("weighted by 1/p is an unbiased estimate: on a text of four tokens the exact mean over all masks is the same at every p", async () => {
    // Sum over masks M of P(M) · (1/p) Σ_{i in M} -log p(x_i | M), which the objective's batches sample.
    const text = [3, 9, 14, 5];
    const start = naming === "dream" ? 1 : 0;
    const expected = (p: number): number => {
      let sum = 0;
      for (let mask = 1; mask < 16; mask++) {
        if (mask & ((1 << start) - 1)) continue;
        const masked = [0, 1, 2, 3].filter((i) => mask & (1 << i));
        const state = text.map((token, i) => (masked.includes(i) ? maskToken : token));
        const log = predictions(state);
        const chance = p ** masked.length * (1 - p) ** (4 - start - masked.length);
        sum += (chance / p) * masked.reduce((total, i) => total - log[i][text[i]], 0);
      }
      return sum;
    };
    // Mean over p uniform in (ε, 1], by quadrature.
    const epsilon = 1e-3;
    const grid = Array.from({ length: 200 }, (_, i) => epsilon + ((1 - epsilon) * (i + 0.5)) / 200);
    const wanted = grid.reduce((sum, p) => sum + expected(p), 0) / grid.length / 4;
    const { family, config, values } = await parts();
    const [rows, length] = [64, 4];
    const objective = await maskedDiffusionObjective(family, config, values, { rows, length, threads: 1 });
    const streams = [{ tokens: Uint16Array.from([...text, ...text, ...text]), weight: 1, documents: [0] }];
    const options: MaskingOptions = {
      tokens: { begin: 63, end: 1, assistant: 62 },
      promptShare: 1,
      shift: naming === "dream",
    };
    const losses: number[] = [];
    for (let index = 0; index < 60; index++) {
      const batch = drawMaskedBatch(streams, { rows, length }, options, 3, index);
      expect([...batch.tokens.slice(0, 4)]).toEqual(text);
      losses.push(await objective.loss(batch));
    }
    await objective.release();
    const mean = losses.reduce((a, b) => a + b, 0) / losses.length;
    const error = Math.sqrt(losses.reduce((sum, x) => sum + (x - mean) ** 2, 0)) / losses.length;
    expect(Math.abs(mean - wanted)).toBeLessThan(4 * error);
    expect(error).toBeLessThan(0.05 * wanted);
  });

  test("rows shared out to threads give the same loss", async () => {
    const { family, config, values } = await parts();
    const [rows, length] = [4, 6];
    const stream = Uint16Array.from({ length: 100 }, (_, i) => 3 + ((i * 7) % 40));
    const options: MaskingOptions = { tokens: { begin: 0, end: 1, assistant: 62 }, promptShare: 1, shift: false };
    const batch = drawMaskedBatch([{ tokens: stream, weight: 1 }], { rows, length }, options, 1, 0);
    const whole = await maskedDiffusionObjective(family, config, values, { rows, length, threads: 1 });
    const shared = await replicatedObjective(config, values, { rows, length, threads: 2 });
    expect(await shared.loss(batch)).toBeCloseTo(await whole.loss(batch), 5);
    await Promise.all([whole.release(), shared.release()]);
  });

  test("refuses what goes with next tokens, and models without a mask", async () => {
    const { family, config, values } = await parts();
    const shape = { rows: 1, length: 4, threads: 1 };
    await expect(maskedDiffusionObjective(family, config, values, { ...shape, smoothing: 0.1 })).rejects.toThrow(
      /smoothing/,
    );
    const growing = { ...config, diffusion: undefined };
    await expect(maskedDiffusionObjective(family, growing, values, shape)).rejects.toThrow(/no mask token/);
    const long = { ...shape, length: config.contextLength + 1 };
    await expect(maskedDiffusionObjective(family, config, values, long)).rejects.toThrow(/exceeds the context/);
  });
});

describe("batches", () => {
  const [begin, end, assistant] = [0, 1, 6];
  /** Two chats and a text without turns. */
  const chats = Uint16Array.from([0, 5, 20, 21, 6, 30, 31, 1, 0, 5, 22, 6, 32, 1, 0, 40, 41, 42, 1]);
  const options: MaskingOptions = { tokens: { begin, end, assistant }, promptShare: 1, shift: false };
  const shape = { rows: 8, length: 12 };
  const draw = (index: number, more: Partial<MaskingOptions> = {}): TokenBatch =>
    drawMaskedBatch(
      [{ tokens: chats, weight: 1, documents: documentStarts(chats, begin) }],
      shape,
      { ...options, ...more },
      1,
      index,
    );
  const rowsOf = ({ tokens, weights, length, rows }: TokenBatch) =>
    Array.from({ length: rows }, (_, row) => ({
      text: [...tokens.slice(row * (length + 1), (row + 1) * (length + 1) - 1)],
      weights: [...weights!.slice(row * length, (row + 1) * length)],
    }));

  test("a chat is a row of its own, its question never masked, its answer padded with end tokens that are learned", () => {
    const seen = new Set<string>();
    let padding = 0;
    for (let index = 0; index < 20; index++) {
      for (const { text, weights } of rowsOf(draw(index))) {
        seen.add(text.join());
        const answer = text.lastIndexOf(assistant) + 1;
        weights.slice(0, answer).forEach((weight) => {
          expect(weight).toBe(0);
        });
        padding += weights.slice(9).filter((weight) => weight > 0).length;
      }
    }
    expect([...seen].sort()).toEqual(
      [
        [0, 5, 20, 21, 6, 30, 31, 1, 1, 1, 1, 1],
        [0, 5, 22, 6, 32, 1, 1, 1, 1, 1, 1, 1],
        [0, 40, 41, 42, 1, 1, 1, 1, 1, 1, 1, 1],
      ]
        .map((row) => row.join())
        .sort(),
    );
    expect(padding).toBeGreaterThan(0);
    const masked = Array.from({ length: 20 }, (_, i) => rowsOf(draw(i, { promptShare: 0 }))).flat();
    expect(masked.some(({ weights }) => weights[2] > 0)).toBe(true);
  });

  test("with a block length, answers are masked as decoding finds them: one block like a text, and all behind it", () => {
    const answer = Array.from({ length: 11 }, (_, i) => 20 + i);
    const chat = Uint16Array.from([begin, 5, 40, 41, assistant, ...answer, end]);
    const [start, blockLength, size] = [5, 4, 12];
    const [rows, length] = [8, 24];
    const draw = (index: number, epsilon: number) => {
      const streams = [{ tokens: chat, weight: 1, documents: [0] }];
      return rowsOf(drawMaskedBatch(streams, { rows, length }, { ...options, blockLength, epsilon }, 2, index));
    };
    // With a probability of 1 the whole block is masked: it begins where masks begin, at each of the three borders.
    const seen = new Set<number>();
    for (let index = 0; index < 20; index++) {
      for (const { weights } of draw(index, 1)) {
        const from = weights.findIndex((weight) => weight > 0);
        seen.add(from);
        expect(weights.slice(from).every((weight) => weight > 0)).toBe(true);
        for (const weight of weights.slice(from, from + blockLength))
          expect(weight).toBeCloseTo((3 * length) / size, 4);
        const behind = weights.slice(from + blockLength).reduce((a, b) => a + b, 0);
        expect(behind).toBeCloseTo(length / 4, 4);
      }
    }
    expect([...seen].sort((a, b) => a - b)).toEqual([5, 9, 13]);
    // Tokens of the first block stand behind none: on average they count 1 of 12 each, whatever the probability.
    let sum = 0;
    for (let index = 0; index < 300; index++)
      for (const { weights } of draw(index, 0.2)) for (const weight of weights.slice(start, start + 4)) sum += weight;
    expect(sum / (300 * rows * 4) / (length / size)).toBeCloseTo(1, 1);
  });

  test("rows in order mask the last tokens, whose first counts half, and every token of an answer the same on average", () => {
    const answer = Array.from({ length: 7 }, (_, i) => 20 + i);
    const chat = Uint16Array.from([begin, 5, assistant, ...answer, end]);
    const [start, size] = [3, 8];
    const [rows, length] = [8, 16];
    const mean = new Float64Array(length);
    for (let index = 0; index < 400; index++) {
      const streams = [{ tokens: chat, weight: 1, documents: [0] }];
      const batch = drawMaskedBatch(streams, { rows, length }, { ...options, orderedShare: 1 }, 2, index);
      for (const { weights } of rowsOf(batch)) {
        const cut = weights.findIndex((weight) => weight > 0);
        expect(cut).toBeGreaterThanOrEqual(start);
        expect(cut).toBeLessThan(start + size);
        const masked = start + size - cut;
        const usual = weights[cut + 1] / (length / size);
        if (masked > 1) expect(usual).toBeCloseTo(size / masked / 2, 4);
        expect(weights[cut] / (length / size)).toBeCloseTo((size + size / masked) / 2, 4);
        weights.forEach((weight, i) => {
          mean[i] += weight / (400 * rows);
          if (i > cut) expect(weight).toBeGreaterThan(0);
        });
      }
    }
    const sum = mean.slice(start, start + size).reduce((a, b) => a + b, 0);
    expect(sum / length).toBeCloseTo(1, 1);
  });

  test("a batch is a function of seed and number; its rows have all masking probabilities", () => {
    expect(draw(3)).toEqual(draw(3));
    expect(draw(3)).not.toEqual(draw(4));
    const stream = Uint16Array.from({ length: 4000 }, (_, i) => 3 + (i % 40));
    const large = drawMaskedBatch([{ tokens: stream, weight: 1 }], { rows: 4, length: 1000 }, options, 1, 0);
    const shares = rowsOf(large).map(({ weights }) => weights.filter((w) => w > 0).length / 1000);
    const sorted = [...shares].sort((a, b) => a - b);
    for (let i = 1; i < 4; i++) expect(sorted[i] - sorted[i - 1]).toBeCloseTo(0.25, 1);
    rowsOf(large).forEach(({ weights }, row) => {
      const weight = weights.find((w) => w > 0)!;
      expect(weight * shares[row]).toBeCloseTo(1, 0); // 1/p, whose mean over positions is 1
    });
  });

  test("files are drawn by weight; those too short are refused", () => {
    const [a, b] = [7, 9].map((token) => Uint16Array.from({ length: 40 }, () => token));
    const both = [
      { tokens: a, weight: 3 },
      { tokens: b, weight: 1 },
    ];
    let first = 0;
    for (let index = 0; index < 50; index++)
      first += rowsOf(drawMaskedBatch(both, shape, options, 1, index)).filter(({ text }) => text[0] === 7).length;
    expect(first / 400).toBeGreaterThan(0.68);
    expect(first / 400).toBeLessThan(0.82);
    const short = [{ tokens: a.subarray(0, 12), weight: 1 }];
    expect(() => drawMaskedBatch(short, shape, options, 1, 0)).toThrow(/give more text/);
    expect(() => documentStarts(a, begin)).toThrow(/no document begins/);
  });
});
