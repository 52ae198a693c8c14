import { describe, expect, test } from "vitest";
import { createConstraint } from "../../constraints/index.ts";
import { regexConstraint } from "../../constraints/regex/index.ts";
import { uniform } from "../../engine/random.ts";
import { smc } from "../constrained/smc/index.ts";
import { runToy, type Toy, type ToyRun } from "../constrained/toy.ts";
import { sample } from "../plain/index.ts";
import { beam } from "./beam/index.ts";
import { diverseBeam } from "./diverse-beam/index.ts";
import { type Diversity, penaltiesOf } from "./diversity.ts";

const letters = ["a", "b", "c", "d", "e"];
const toy = (model: number, more: Partial<Toy> = {}): Toy => ({
  letters,
  law(prefix) {
    const position = [...prefix].reduce((hash, letter) => (hash * 31 + letter.charCodeAt(0)) % 2 ** 31, 7);
    const weights = ["", ...letters].map(
      (_, token) => uniform({ seed: model, request: 0 }, position, "data", token) ** 3 + 0.01,
    );
    if (prefix === "") weights[0] = 0;
    const total = weights.reduce((a, b) => a + b, 0);
    return weights.map((weight) => weight / total);
  },
  maxTokens: 4,
  ...more,
});
const run = (toy: Toy, options: object = {}, seed = 0): Promise<ToyRun> =>
  runToy(beam, beam.options.parse(options), toy, seed);
const runDiverse = (toy: Toy, options: object = {}): Promise<ToyRun> =>
  runToy(diverseBeam, diverseBeam.options.parse(options), toy, 0);

/** Every text that ends within maxTokens, with its log-probability (the end included), and those that are cut off there. */
function everything({ law, maxTokens }: Toy): { text: string; logprob: number; finished: boolean }[] {
  const found: { text: string; logprob: number; finished: boolean }[] = [];
  const visit = (prefix: string, logprob: number): void => {
    if (prefix.length === maxTokens) {
      found.push({ text: prefix, logprob, finished: false });
      return;
    }
    law(prefix).forEach((p, token) => {
      if (p === 0) return;
      if (token === 0) found.push({ text: prefix, logprob: logprob + Math.log(p), finished: true });
      else visit(prefix + letters[token - 1], logprob + Math.log(p));
    });
  };
  visit("", 0);
  return found.sort((a, b) => Number(b.finished) - Number(a.finished) || b.logprob - a.logprob);
}

test("more texts than a pass holds take several passes, and are the same", async () => {
  for (const [method, options] of [
    [beam, { beams: 12 }],
    [diverseBeam, { beams: 12, groups: 4 }],
    [smc, { particles: 12 }],
  ] as const) {
    const run = (maxRows: number) =>
      runToy(method as typeof beam, method.options.parse(options) as never, toy(1, { maxRows }), 3);
    const [many, few] = [await run(400), await run(5)];
    expect(few).toEqual(many);
  }
});

describe("beam search", () => {
  test("wide enough, it finds the best texts there are", async () => {
    for (let model = 0; model < 5; model++) {
      const expected = everything(toy(model)).filter(({ finished }) => finished);
      const { hypotheses, text } = await run(toy(model), { beams: 400 });
      // An ending counts only among the best of its step, as many as there are beams: far down the list that shows.
      const finished = hypotheses.filter((one) => one.finished).slice(0, 30);
      expect(finished.map((one) => one.text)).toEqual(expected.map((one) => one.text).slice(0, finished.length));
      for (const [i, one] of finished.entries()) expect(one.logprob).toBeCloseTo(expected[i].logprob, 10);
      expect(text).toBe(expected[0].text);
    }
  });

  test("scores are those of the texts, and a length penalty ranks by it", async () => {
    const { law } = toy(3);
    for (const lengthPenalty of [0, 0.7, 1, 2]) {
      const { hypotheses } = await run(toy(3), { beams: 6, lengthPenalty });
      for (const { text, logprob, score, finished } of hypotheses) {
        const steps = [...text].map((letter, i) => Math.log(law(text.slice(0, i))[letters.indexOf(letter) + 1]));
        const whole = steps.reduce((a, b) => a + b, finished ? Math.log(law(text)[0]) : 0);
        expect(logprob).toBeCloseTo(whole, 10);
        expect(score).toBeCloseTo(whole / (text.length + (finished ? 1 : 0)) ** lengthPenalty, 10);
      }
      const ranks = hypotheses.filter(({ finished }) => finished).map(({ score }) => score);
      expect(ranks).toEqual([...ranks].sort((a, b) => b - a));
    }
  });

  test("the bound on live beams changes nothing but the work", async () => {
    for (let model = 0; model < 8; model++) {
      const [patient, early] = [
        await run(toy(model), { beams: 3 }),
        await run(toy(model), { beams: 3, earlyStopping: true }),
      ];
      expect(patient.hypotheses[0].logprob).toBeGreaterThanOrEqual(early.hypotheses[0].logprob);
    }
  });

  test("under a constraint every text is valid", async () => {
    const constraint = regexConstraint("(ab|cd)*e?");
    const { hypotheses } = await run(toy(2, { constraint, maxTokens: 6 }), { beams: 8 });
    expect(hypotheses.length).toBeGreaterThan(3);
    for (const { text, finished } of hypotheses) if (finished) expect(text).toMatch(/^(ab|cd)*e?$/);
  });

  test("what cannot be honoured is refused", async () => {
    await expect(runDiverse(toy(1), { beams: 5, groups: 2 })).rejects.toThrow(/divided into 2/);
    await expect(runDiverse(toy(1), { beams: 4, groups: 2, strength: 0 })).rejects.toThrow(/strength/);
    await expect(run(toy(1), { stochastic: true, lengthPenalty: 1 })).rejects.toThrow(/lengthPenalty/);
  });
});

describe("groups", () => {
  test("one group is beam search, and the first of several is it too, whatever the strength", async () => {
    for (let model = 0; model < 5; model++) {
      const plain = await run(toy(model), { beams: 4 });
      const one = await runDiverse(toy(model), { beams: 4, groups: 1, strength: 3 });
      expect(one.hypotheses).toEqual(plain.hypotheses);
      const narrow = await run(toy(model), { beams: 2 });
      for (const strength of [0.1, 5, 1e6]) {
        const { hypotheses } = await runDiverse(toy(model), { beams: 6, groups: 3, strength });
        expect(hypotheses.filter(({ group }) => group === 0)).toEqual(narrow.hypotheses);
        for (const group of [0, 1, 2]) expect(hypotheses.filter((one) => one.group === group)).toHaveLength(2);
      }
    }
  });

  test("at a huge strength no token repeats across groups", async () => {
    for (let model = 0; model < 6; model++) {
      const { hypotheses } = await runDiverse(toy(model), { beams: 5, groups: 5, strength: 1e6 });
      for (let i = 0; i < 4; i++) {
        const tokens = hypotheses.map(({ text }) => text[i]).filter((letter) => letter !== undefined);
        expect(new Set(tokens).size).toBe(tokens.length);
      }
    }
  });

  test("each step maximises the penalised score: brute force over two groups of one", async () => {
    for (let model = 0; model < 6; model++) {
      // A model that never ends: what happens at an end is for other tests.
      const endless = toy(model);
      const law = (prefix: string): number[] => {
        const [end, ...others] = endless.law(prefix);
        return [0, ...others.map((p) => p / (1 - end))];
      };
      const strength = 0.8;
      const { hypotheses } = await runDiverse({ ...endless, law }, { beams: 2, groups: 2, strength });
      const texts = ["", ""];
      for (let time = 0; time < 4; time++) {
        let taken = -1;
        for (const group of [0, 1]) {
          const scores = law(texts[group]).map(
            (p, token) => Math.log(p) - (group === 1 && token === taken ? strength : 0),
          );
          const token = scores.indexOf(Math.max(...scores));
          if (group === 0) taken = token;
          texts[group] += letters[token - 1];
        }
      }
      for (const group of [0, 1]) expect(hypotheses.find((one) => one.group === group)!.text).toBe(texts[group]);
    }
  });

  test("penalties by definition", () => {
    const diversity = (kind: Diversity["kind"], more: Partial<Diversity> = {}): Diversity => ({
      kind,
      strength: 2,
      length: 2,
      temperature: 0.5,
      penalizeEnd: true,
      ...more,
    });
    const earlier = [
      [1, 2, 3],
      [1, 5, 3],
      [4, 4, 3],
      [1, 2, 6],
    ];
    expect(penaltiesOf(diversity("hamming"), earlier)([1, 2])!(3)).toBe(6);
    expect(penaltiesOf(diversity("hamming"), earlier)([1, 2])!(2)).toBe(0);
    const cumulative = penaltiesOf(diversity("cumulative"), earlier)([1, 2])!(3);
    expect(cumulative).toBeCloseTo(2 * (1 + Math.exp(-1 / 0.5) + Math.exp(-2 / 0.5)), 12);
    const grams = penaltiesOf(diversity("ngram"), earlier);
    expect(grams([9, 1])!(2)).toBe(4);
    expect(grams([9, 4])!(4)).toBe(2);
    expect(grams([])).toBeUndefined();
    expect(penaltiesOf(diversity("hamming", { strength: 0 }), earlier)([1, 2])).toBeUndefined();

    // Tokens as points: 1 and 2 alike, 3 across, 6 opposite to 3, 9 nowhere.
    const points: Readonly<Record<number, [number, number]>> = {
      1: [1, 0],
      2: [3, 4],
      3: [0, 2],
      6: [0, -1],
      9: [0, 0],
    };
    const embeddings = {
      of(tokens: readonly number[]) {
        const vector = Float32Array.from([0, 1].map((i) => tokens.reduce((sum, token) => sum + points[token][i], 0)));
        return { vector, length: Math.hypot(...vector) };
      },
    };
    const texts = [
      [1, 2, 3],
      [2, 1, 3],
      [1, 2, 6],
    ];
    const soft = penaltiesOf(diversity("embedding", { embeddings }), texts)([1, 2])!;
    expect([1, 2, 3, 6, 9].map(soft)).toEqual([0, 2 * 2 * 0.8, 2 * 2, 2, 0].map((value) => expect.closeTo(value, 6)));
    // [1, 2] is (4, 4), of which each text has one; [2, 3] is (3, 6), [1, 3] is (1, 2), [2, 6] is (3, 3): from (4, 4).
    const softGrams = penaltiesOf(diversity("embedding-ngram", { embeddings }), texts)([9, 1])!;
    expect(softGrams(2)).toBeCloseTo(2 * (3 + 2 * (3 / Math.sqrt(10)) + 1), 6);
    expect(penaltiesOf(diversity("embedding-ngram", { embeddings }), texts)([])).toBeUndefined();
  });
});

test("a beam that nothing may follow is dropped; the search ends with an error where all are", async () => {
  const judged = (judge: (text: string) => boolean | "never") => ({ constraint: createConstraint(judge) });
  // Any text of two letters that does not begin with the likeliest one.
  const likeliest = everything({ ...toy(3), maxTokens: 1 }).filter(({ text }) => text)[0].text;
  const some = judged((text) => (text.length < 2 ? false : text.length > 2 || text[0] === likeliest ? "never" : true));
  const none = judged((text) => (text.length < 2 ? false : "never"));
  for (const stochastic of [false, true]) {
    const { text, hypotheses } = await run(toy(3, some), { beams: 3, stochastic }, 2);
    expect(text).toMatch(/^[a-e]{2}$/);
    expect(hypotheses.every((one) => one.text[0] !== likeliest)).toBe(true);
    await expect(run(toy(3, none), { beams: 3, stochastic }, 2)).rejects.toMatchObject({
      code: "constraint_dead_end",
      message: expect.stringMatching(/^constraint function: no token of this model can follow "[a-e]"$/),
    });
  }
  expect((await runDiverse(toy(3, some), { beams: 4, groups: 2 })).text).toMatch(/^[a-e]{2}$/);
});

describe("stochastic beams", () => {
  test("the first text is plain sampling's", async () => {
    for (let seed = 0; seed < 40; seed++) {
      const plain = await runToy(sample, {}, toy(4), seed);
      for (const beams of [1, 3]) expect((await run(toy(4), { beams, stochastic: true }, seed)).text).toBe(plain.text);
    }
  });

  test("texts are a sample without replacement", async () => {
    const short = toy(6, { maxTokens: 2 });
    const all = everything(short);
    const mass = new Map(all.map(({ text, logprob, finished }) => [`${text}${finished}`, Math.exp(logprob)]));
    const first = new Map<string, number>();
    const second = new Map<string, number>();
    const runs = 3_000;
    for (let seed = 0; seed < runs; seed++) {
      const { hypotheses } = await run(short, { beams: 2, stochastic: true }, seed);
      const keys = hypotheses.map(({ text, finished }) => `${text}${finished}`);
      expect(new Set(keys).size).toBe(2);
      first.set(keys[0], (first.get(keys[0]) ?? 0) + 1 / runs);
      second.set(keys[1], (second.get(keys[1]) ?? 0) + 1 / runs);
    }
    const distance = (found: Map<string, number>, law: (key: string) => number): number =>
      [...mass.keys()].reduce((sum, key) => sum + Math.abs((found.get(key) ?? 0) - law(key)) / 2, 0);
    expect(distance(first, (key) => mass.get(key)!)).toBeLessThan(0.05);
    // The second of two: sum over firsts of p(first) p(second) / (1 - p(first)).
    const expected = (key: string): number => {
      let total = 0;
      for (const [other, p] of mass) if (other !== key) total += (p * mass.get(key)!) / (1 - p);
      return total;
    };
    expect(distance(second, expected)).toBeLessThan(0.05);
  });
});
