import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { dataPath, noData } from "../../test/data.ts";
import { logSoftmax } from "../../test/fixtures/reference.ts";
import { removeModel, type TinyModel, variants, writeTinyModel } from "../../test/fixtures/tiny-model.ts";
import { type Model, open } from "../open.ts";
import type { Tokenizer } from "../text/index.ts";
import { type ChoiceItem, chooses, rankings, type ScoredItem, scoreItems, truthfulness, wilson } from "./choice.ts";
import { trainNgrams } from "./kneser-ney.ts";
import { scoreContinuations } from "./likelihood.ts";
import { measurePerplexity } from "./perplexity.ts";
import { loadTask, taskNamed, tasks } from "./tasks.ts";

let tiny: TinyModel;
let model: Model & { tokenizer: Tokenizer };
beforeAll(async () => {
  tiny = await writeTinyModel(variants.llama ?? Object.values(variants)[0]);
  const opened = await open(tiny.folder, { threads: 1 });
  // A letter is a token: its place in the alphabet, after the begin token 0.
  const tokenizer = {
    beginToken: 0,
    encode: (text: string, options?: { special?: boolean }) => [
      ...(options?.special === false ? [] : [0]),
      ...[...text].map(letter),
    ],
  };
  model = { ...opened, tokenizer: tokenizer as unknown as Tokenizer };
});
afterAll(async () => {
  await model.close();
  await removeModel(tiny);
});
const letter = (c: string): number => 1 + ((c.codePointAt(0)! * 7) % 30);

/** Sum of log-probabilities by the float64 forward pass of the tests. */
function reference(context: readonly number[], continuation: readonly number[]): number {
  const logits = tiny.logits([...context, ...continuation]);
  return continuation.reduce((sum, token, i) => sum + logSoftmax(logits[context.length - 1 + i])[token], 0);
}

describe("likelihood", () => {
  test("sums of log-probabilities are those of an independent forward pass, whatever shares a pass", async () => {
    const pairs = [1, 4, 9, 2].map((n, i) => ({
      context: Array.from({ length: 3 * n }, (_, k) => (k * 5 + i) % 31),
      continuation: Array.from({ length: n }, (_, k) => (k * 11 + i + 1) % 31),
    }));
    const found = await scoreContinuations(model, pairs);
    for (const [i, { context, continuation }] of pairs.entries()) {
      expect(Math.abs(found[i].logprob - reference(context, continuation))).toBeLessThan(1e-3);
      expect(found[i].cut).toBe(0);
    }
    const { contextLength } = model.config;
    const long = { context: Array.from({ length: contextLength + 5 }, (_, k) => k % 31), continuation: [3, 4] };
    const [{ cut, logprob }] = await scoreContinuations(model, [long]);
    expect(cut).toBe(6);
    expect(Math.abs(logprob - reference(long.context.slice(6), long.continuation))).toBeLessThan(1e-3);
  });

  test("perplexity counts every token once, in windows too", async () => {
    const texts = ["abcdefgh ij", "klm", "the cat"];
    const { perToken, tokens, bytes, words, bitsPerByte } = await measurePerplexity(model, texts);
    const nats = texts.reduce((sum, text) => sum - reference([0], [...text].map(letter)), 0);
    expect([tokens, bytes, words]).toEqual([21, 21, 5]);
    expect(Math.abs(Math.log(perToken.value) - nats / 21)).toBeLessThan(1e-4);
    expect(Math.abs(bitsPerByte.value - nats / 21 / Math.LN2)).toBeLessThan(1e-4);
    expect(perToken.interval[0]).toBeLessThanOrEqual(perToken.value);
    expect(perToken.interval[1]).toBeGreaterThanOrEqual(perToken.value);

    const counted = ["abcdefg", "the hat", "abc"];
    const documents = counted.map((text) => [0, ...[...text].map(letter)]);
    const baseline = await trainNgrams(documents, { vocabularySize: 31, beginToken: 0 });
    const beside = await measurePerplexity(model, texts, { baseline });
    const others = texts.map(
      (text) => -baseline.logProbabilities([0, ...[...text].map(letter)]).reduce((a, b) => a + b),
    );
    const total = others.reduce((a, b) => a + b);
    expect(Math.log(beside.baseline!.perToken.value)).toBeCloseTo(total / 21, 6);
    expect(beside.baseline!.gain.value).toBeCloseTo((total - nats) / 21, 4);
    expect(beside.perToken).toEqual(perToken);

    const { contextLength } = model.config;
    const long = Array.from({ length: contextLength + 20 }, (_, i) => String.fromCodePoint(97 + (i % 26))).join("");
    const found = await measurePerplexity(model, [long], { overlap: contextLength - 8 });
    expect(found.tokens).toBe(long.length);
    const ids = [0, ...[...long].map(letter)];
    let sum = reference(ids.slice(0, 1), ids.slice(1, contextLength + 1));
    for (let at = contextLength + 1; at < ids.length; at += 8) {
      const end = Math.min(ids.length, at + 8);
      sum += reference(ids.slice(end - 1 - contextLength, at), ids.slice(at, end));
    }
    expect(Math.abs(Math.log(found.perToken.value) + sum / long.length)).toBeLessThan(1e-4);
  });
});

describe("multiple choice", () => {
  const item: ChoiceItem = { context: "ab", options: [" c", " def", " gh"], right: [1], neutral: "x" };
  const scored: ScoredItem = {
    item,
    cut: 0,
    scores: [
      { logprob: -3, tokens: 1, bytes: 2, unconditional: -2.5 },
      { logprob: -4, tokens: 4, bytes: 4, unconditional: -9 },
      { logprob: -3.5, tokens: 2, bytes: 3, unconditional: -3 },
    ],
  };

  test("each ranking by its definition", () => {
    const by = Object.fromEntries(Object.entries(rankings).map(([name, rank]) => [name, scored.scores.map(rank)]));
    expect(by.sum).toEqual([-3, -4, -3.5]);
    expect(by.token).toEqual([-3, -1, -1.75]);
    expect(by.byte.map((x) => x.toFixed(3))).toEqual(["-1.500", "-1.000", "-1.167"]);
    expect(by.information).toEqual([-0.5, 5, -0.5]);
    expect(Object.keys(rankings).map((name) => chooses(scored, rankings[name]))).toEqual([false, true, true, true]);
  });

  test("MC1, MC2 and MC3 by hand", () => {
    const scores = [0.2, 0.4, 0.1, 0.3].map((p) => ({ logprob: Math.log(p), tokens: 1, bytes: 1, unconditional: 0 }));
    const answers = { ...item, options: ["a", "b", "c", "d"], right: [0, 1], best: 0 };
    const { mc1, mc2, mc3 } = truthfulness({ item: answers, scores, cut: 0 });
    expect([mc1, Number(mc2.toFixed(12)), mc3]).toEqual([0, 0.6, 0.5]);
    expect(truthfulness({ item: { ...answers, best: 1 }, scores, cut: 0 }).mc1).toBe(1);
  });

  test("ties count against the right answer, and extreme scores neither overflow nor vanish", () => {
    const item = { context: "ab", options: ["a", "b", "c"], right: [0, 1], best: 0, neutral: "x" };
    const of = (logs: number[]) =>
      truthfulness({
        item,
        cut: 0,
        scores: logs.map((logprob) => ({ logprob, tokens: 1, bytes: 1, unconditional: 0 })),
      });
    expect(of([-1, -2, -1])).toMatchObject({ mc1: 0, mc3: 0 });
    expect(of([2000, -2000, -2000])).toEqual({ mc1: 1, mc2: 1, mc3: 0.5 });
    const { mc2 } = of([-2000, -2001, -2000]);
    expect(mc2).toBeCloseTo((1 + Math.exp(-1)) / (2 + Math.exp(-1)), 12);
  });

  test("options are scored in their context and alone", async () => {
    const [{ scores }] = await scoreItems(model, [item]);
    for (const [i, option] of item.options.entries()) {
      const ids = [...option].map(letter);
      expect(Math.abs(scores[i].logprob - reference([0, ...[..."ab"].map(letter)], ids))).toBeLessThan(1e-3);
      expect(Math.abs(scores[i].unconditional - reference([0, letter("x")], ids))).toBeLessThan(1e-3);
      expect([scores[i].tokens, scores[i].bytes]).toEqual([option.length, option.length]);
    }
  });

  test("Wilson's interval is the published example's", () => {
    // 15 of 20: Newcombe (1998) gives 0.531 to 0.888 for such shares.
    expect(wilson(0.75, 20).map((x) => Number(x.toFixed(3)))).toEqual([0.531, 0.888]);
  });
});

const data = dataPath();
describe.skipIf(!data)(`the sets${data ? "" : `: ${noData}`}`, () => {
  test.each(tasks.map(({ name }) => name))("%s: every item has options and a right one", async (name) => {
    const items = await loadTask(taskNamed(name), data!);
    expect(items.length).toBeGreaterThan(180);
    for (const { options, right, context } of items) {
      expect(context.length).toBeGreaterThan(5);
      expect(right.length).toBeGreaterThan(0);
      expect(right.length).toBeLessThan(options.length);
      for (const i of right) expect(options[i]?.trim().length).toBeGreaterThan(0);
    }
  });
});

test("unknown tasks and missing files are told", async () => {
  expect(() => taskNamed("truthfulqaa")).toThrow(/did you mean "truthfulqa"/);
  await expect(loadTask(taskNamed("aqua"), "/nowhere")).rejects.toMatchObject({
    code: "unavailable",
    message: expect.stringMatching(/^the task aqua needs \/nowhere.*: there is no such file$/),
  });
  const folder = await mkdtemp(join(tmpdir(), "tasks-"));
  const { file } = taskNamed("factor-news");
  await mkdir(dirname(join(folder, file)), { recursive: true });
  await writeFile(join(folder, file), "no gzip");
  await expect(loadTask(taskNamed("factor-news"), folder)).rejects.toThrow(/news_factor.*: it cannot be unzipped: /);
  await expect(loadTask(taskNamed("factor-news"), join(folder, file))).rejects.toThrow(/there is no such file$/);
  await rm(folder, { recursive: true });
});
