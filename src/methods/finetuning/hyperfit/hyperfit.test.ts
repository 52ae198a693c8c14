import { describe, expect, test } from "vitest";
import { removeModel, writeTinyModel } from "../../../../test/fixtures/tiny-model.ts";
import { familyOf } from "../../../models/families.ts";
import { open } from "../../../open.ts";
import { initialValues } from "../../../training/recipe.ts";
import { citationBlocker, indexCitations } from "./citations.ts";
import { equalSequences, hyperfit } from "./index.ts";
import { bleuAgainst, longestQuotation, repetition, selfBleu, sharpness, typeTokenRatio } from "./metrics.ts";

const sequence = (seed: number, length: number): number[] =>
  Array.from({ length }, (_, i) => (seed * 7 + i * i * 3 + i) % 29);

describe("measures", () => {
  test("by hand", () => {
    expect(typeTokenRatio([])).toBe(0);
    expect(typeTokenRatio([1, 1, 2, 3])).toBe(0.75);
    expect(repetition([1, 2, 3, 4, 1, 2, 3, 4])).toBe(1 / 5);
    expect(repetition([1, 2])).toBe(0);
    expect(
      longestQuotation(
        [9, 1, 2, 3, 9],
        [
          [5, 1, 2, 3, 4],
          [3, 9],
        ],
      ),
    ).toBe(3);
    const { entropy, top, best } = sharpness(Float32Array.of(0, Math.log(2), -Infinity, 0));
    expect(entropy).toBeCloseTo(0.5 * Math.log(2) + 0.5 * Math.log(4), 6);
    expect([best, Number(top.toFixed(6))]).toEqual([1, 0.5]);
  });

  test("BLEU by hand: clipped counts, smoothing, brevity; and against all texts but itself", () => {
    // Of 1 2 3 4 5: unigrams 4 of 5, bigrams 3 of 4, trigrams 2 of 3, four-grams 1 of 2; above unigrams one more of each.
    const wanted = (0.8 * (4 / 5) * (3 / 4) * (2 / 3)) ** 0.25;
    expect(bleuAgainst([[1, 2, 3, 4, 9]])([1, 2, 3, 4, 5])).toBeCloseTo(wanted, 12);
    // Clipped: 7 7 7 has one 7 in the reference; no bigram of two, no trigram of one, and no four-gram to be had.
    const clipped = ((1 / 3) * (1 / 3) * (1 / 2) * 1) ** 0.25;
    expect(bleuAgainst([[7, 8, 9]])([7, 7, 7])).toBeCloseTo(clipped, 12);
    expect(bleuAgainst([[1, 2, 3, 4, 5, 6]])([1, 2, 3, 4])).toBeCloseTo(Math.exp(1 - 6 / 4), 12);
    expect(bleuAgainst([[1]])([2, 3])).toBe(0);
    const texts = [1, 2, 3].map((seed) => sequence(seed, 30));
    const apart = texts.map((text, i) => bleuAgainst(texts.filter((_, k) => k !== i))(text));
    expect(selfBleu(texts)).toBeCloseTo(apart.reduce((a, b) => a + b) / 3, 12);
    expect(selfBleu([texts[0], texts[0], texts[0]])).toBeCloseTo(1, 12);
    expect(selfBleu([texts[0]])).toBe(0);
  });

  test("the longest quotation agrees with a search of all spans", () => {
    for (let seed = 1; seed < 20; seed++) {
      const [text, set] = [sequence(seed, 30), [sequence(seed + 3, 25), sequence(2 * seed, 25)]];
      let wanted = 0;
      for (let from = 0; from < text.length; from++) {
        for (let to = from + 1; to <= text.length; to++) {
          const span = `,${text.slice(from, to).join()},`;
          if (set.some((other) => `,${other.join()},`.includes(span))) wanted = Math.max(wanted, to - from);
        }
      }
      expect(longestQuotation(text, set)).toBe(wanted);
    }
  });
});

describe("citation blocker", () => {
  test("knows what goes on, and nothing across sequences", () => {
    const index = indexCitations(
      [
        [1, 2, 3, 4],
        [2, 3, 5],
        [9, 1, 2],
      ],
      2,
    );
    expect(index.get("2,3")).toEqual(new Set([4, 5]));
    expect(index.get("1,2")).toEqual(new Set([3]));
    expect(index.get("3,4")).toBeUndefined();
    expect(() => indexCitations([], 2)).toThrow(/no sequences/);
    expect(() => indexCitations([[1]], 0)).toThrow(/matched must be .* not 0/);
  });

  test("what a model would quote, it does not: no longer span than allowed", async () => {
    const tiny = await writeTinyModel({});
    await using model = await open(tiny.folder, { threads: 1 });
    const request = { temperature: 0, maxTokens: 40, minTokens: 40 };
    const plain = (await model.decode([3, 5, 7], request).final).tokens;
    // The model's own text is the set: unhindered, it quotes all of it.
    expect(longestQuotation(plain, [plain])).toBe(40);
    for (const matched of [1, 3, 5]) {
      const shapers = [citationBlocker([plain], { matched })];
      const { tokens } = await model.decode([3, 5, 7], { ...request, shapers }).final;
      expect(tokens.slice(0, matched)).toEqual(plain.slice(0, matched));
      expect(longestQuotation(tokens, [plain])).toBeLessThanOrEqual(matched);
    }
    await removeModel(tiny);
  });
});

describe("fitting", () => {
  const model = familyOf({
    architectures: ["LlamaForCausalLM"],
    vocab_size: 32,
    hidden_size: 32,
    num_hidden_layers: 1,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    intermediate_size: 48,
    max_position_embeddings: 32,
  });
  const values = initialValues(model.family, model.config, 1);
  const train = Array.from({ length: 6 }, (_, i) => sequence(i + 1, 13));
  const validation = Array.from({ length: 4 }, (_, i) => sequence(i + 50, 13).reverse());
  const options = { epochs: 80, learningRate: 1e-2, batch: 2, threads: 1 };

  test("the loss goes to almost nothing, validation ends above its best, and the original stays", async () => {
    const before = [...values].map(([, stored]) => stored.slice());
    const result = await hyperfit({ ...model, values }, train, validation, options);
    expect(result.epochs.at(-1)!.trainingLoss).toBeLessThan(0.1);
    expect(result.epochs.at(-1)!.validationLoss).toBeGreaterThan(result.epochs[0].validationLoss);
    expect(result.early.epoch).toBeLessThan(10);
    expect([...values].map(([, stored]) => stored)).toEqual(before);
  });

  test("smoothing keeps the loss above zero; another seed is another order", async () => {
    const few = { ...options, epochs: 3 };
    const [a, b, again] = [
      await hyperfit({ ...model, values }, train, validation, few),
      await hyperfit({ ...model, values }, train, validation, { ...few, seed: 1 }),
      await hyperfit({ ...model, values }, train, validation, few),
    ];
    expect(again.epochs).toEqual(a.epochs);
    expect(b.epochs.at(-1)!.trainingLoss).not.toBe(a.epochs.at(-1)!.trainingLoss);
    const smooth = await hyperfit({ ...model, values }, train, validation, { ...options, smoothing: 0.1 });
    expect(smooth.epochs.at(-1)!.trainingLoss).toBeGreaterThan(0.3);
  });

  test.each([
    ["epochs", 0.5],
    ["epochs", Number.NaN],
    ["batch", Number.NaN],
    ["batch", 0],
    ["learningRate", Number.NaN],
    ["learningRate", -1],
    ["learningRate", Number.POSITIVE_INFINITY],
    ["smoothing", 2],
    ["seed", -1],
  ])("%s %d is refused by name", async (option, value) => {
    await expect(hyperfit({ ...model, values }, train, [], { ...options, [option]: value })).rejects.toThrow(
      expect.objectContaining({ code: "bad_option", message: expect.stringContaining(`hyperfitting: ${option} must`) }),
    );
  });

  test("too few or uneven sequences are refused; short and double ones are left out", async () => {
    await expect(hyperfit({ ...model, values }, train.slice(0, 1), [], options)).rejects.toThrow(
      /one batch of 2 is more than 1 sequence;/,
    );
    await expect(
      hyperfit(
        { ...model, values },
        [
          [1, 2, 3],
          [1, 2],
        ],
        [],
        options,
      ),
    ).rejects.toThrow(/equally long/);
    const long = sequence(1, 40);
    expect(equalSequences([long, long.slice(0, 5), [...long.slice(0, 20), 0]], 15)).toEqual({
      sequences: [long.slice(0, 16)],
      skipped: 2,
    });
  });
});
