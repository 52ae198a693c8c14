/** Likelihood under a contrast, and TruthfulQA's measures of it, against float64 sums that share nothing with the engine. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { exitsOf } from "../../test/fixtures/exits.ts";
import { logSoftmax } from "../../test/fixtures/reference.ts";
import { removeModel, type TinyModel, writeTinyModel } from "../../test/fixtures/tiny-model.ts";
import { type Model, open } from "../open.ts";
import type { Tokenizer } from "../text/index.ts";
import { scoreItems, truthfulMeasures } from "./choice.ts";
import { shapedScore } from "./shaped.ts";

let tiny: TinyModel;
let amateur: TinyModel;
let model: Model & { tokenizer: Tokenizer };
beforeAll(async () => {
  const config = { eos_token_id: undefined };
  tiny = await writeTinyModel({ config, tokenizer: true });
  amateur = await writeTinyModel({ config, tokenizer: true, seed: 5 });
  // Fewer rows than the options have: they go in several passes.
  model = (await open(tiny.folder, { threads: 1, maxRows: 7 })) as typeof model;
});
afterAll(async () => {
  await model.close();
  await Promise.all([tiny, amateur].map(removeModel));
});

const context = [5, 9, 2, 33, 14];
const options = [[7, 7, 21], [7, 8, 3, 40, 41, 12, 6, 2, 19], [30], [7, 7, 21, 22]];

/** Scores of an option's tokens by the law of each place. */
const byHand = (option: readonly number[], law: (text: readonly number[]) => ArrayLike<number>): number[] =>
  option.map((token, i) => law([...context, ...option.slice(0, i)])[token]);

const lol = { name: "lol" as const, layers: [1], fusionWeight: 0.5, refocusWeight: 0 };
const lolLaw = (text: readonly number[]): Float64Array => {
  const [own, other] = [exitsOf(tiny, text), exitsOf(amateur, text)];
  return own[2].map((x, t) => x - other[2][t] + 0.5 * (own[1][t] - other[1][t]));
};

test("plain, contrasted as it is, and normalised", async () => {
  const near = (found: readonly (readonly number[])[], law: typeof lolLaw): void => {
    for (const [o, option] of options.entries()) {
      const wanted = byHand(option, law);
      expect(found[o]).toHaveLength(wanted.length);
      for (const [i, score] of found[o].entries()) expect(Math.abs(score - wanted[i])).toBeLessThan(2e-3);
    }
  };
  near((await model.continuations({ context, options })).scores, (text) => exitsOf(tiny, text)[2]);
  const shapers = [{ ...lol, amateur: amateur.folder, alpha: 0 }];
  near((await model.continuations({ context, options }, { shapers, normalise: false })).scores, lolLaw);
  near((await model.continuations({ context, options }, { shapers })).scores, (text) => logSoftmax(lolLaw(text)));
  expect([model.forest.held, (await model.companion(amateur.folder, "peer")).forest.held]).toEqual([0, 0]);
});

test("implausible tokens count what they are told to count", async () => {
  const shapers = [{ name: "dola" as const, layers: [1], alpha: 0.9 }];
  const { scores } = await model.continuations({ context, options }, { shapers, normalise: false, masked: -77 });
  for (const [o, option] of options.entries()) {
    const wanted = byHand(option, (text) => {
      const exits = exitsOf(tiny, text);
      const bound = Math.max(...exits[2]) + Math.log(0.9);
      return exits[2].map((x, t) => (x >= bound ? x - exits[1][t] : -77));
    });
    for (const [i, score] of scores[o].entries()) expect(Math.abs(score - wanted[i])).toBeLessThan(2e-3);
  }
  expect(scores.flat()).toContain(-77);
});

test("a context that is too long is cut on the left, by what the shapers can follow", async () => {
  const long = Array.from({ length: 120 }, (_, i) => 3 + ((i * 7) % 40));
  const words = "the the the ";
  const used = model.tokenizer.encode(words).length;
  const { cut } = await model.continuations({ context: long, options: [[4, 5, 6]] });
  expect(cut).toBe(120 + 2 - 96);
  const shapers = [{ name: "icd" as const, inducing: words, alpha: 0 }];
  expect((await model.continuations({ context: long, options: [[4, 5, 6]] }, { shapers })).cut).toBe(cut + used);
});

test("MC1, MC2 and MC3 under a contrast are what sums by hand give", async () => {
  const letters = "abcdefghij";
  const item = { context: "the ", options: ["cat", "hat.", "bee", "a"].map((o) => o), right: [0, 3], neutral: letters };
  const shapers = [{ ...lol, amateur: amateur.folder, alpha: 0 }];
  const scored = await scoreItems(model, [item], undefined, shapedScore(model, { shapers, normalise: false }));
  const start = model.tokenizer.encode(item.context);
  const sums = item.options.map((option) => {
    const whole = model.tokenizer.encode(item.context + option);
    let same = 0;
    while (same < start.length && whole[same] === start[same]) same++;
    return whole.slice(same).reduce((sum, token, i) => sum + lolLaw(whole.slice(0, same + i))[token], 0);
  });
  const worst = Math.max(sums[1], sums[2]);
  const all = sums.reduce((sum, x) => sum + Math.exp(x), 0);
  const wanted = [
    sums[0] > worst ? 1 : 0,
    (Math.exp(sums[0]) + Math.exp(sums[3])) / all,
    [sums[0], sums[3]].filter((x) => x > worst).length / 2,
  ];
  for (const [i, { of }] of truthfulMeasures.entries()) expect(Math.abs(of(scored[0]) - wanted[i])).toBeLessThan(2e-3);
});

test("what cannot be scored is refused", async () => {
  await expect(model.continuations({ context, options: [[]] })).rejects.toThrow(/options\[0\] is empty/);
  await expect(model.continuations({ context: [], options })).rejects.toThrow(/empty/);
  await expect(model.continuations({ context, options: [] })).rejects.toThrow(/option/);
  await expect(model.continuations({ context, options }, { shaper: [] } as never)).rejects.toThrow(/shaper/);
});
