import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { drawFrom } from "../distribution.ts";
import { arrival } from "../race.ts";
import { uniform } from "../random.ts";
import { createCandidates, drop, keepWhere, load } from "./candidates.ts";
import { createShaperChain } from "./chain.ts";
import { logSoftmaxAt, topLogprobs } from "./logprobs.ts";
import type { ShapingOptions } from "./options.ts";
import { presets, type ShapingContext, standardStages } from "./stages.ts";

const context: ShapingContext = { history: [], promptLength: 0, position: 3, stream: { seed: 1, request: 2 } };

function shape(logits: ArrayLike<number>, options: ShapingOptions, changes: Partial<ShapingContext> = {}): number[] {
  const chain = createShaperChain(options, logits.length);
  return Array.from(chain.shape(Float32Array.from(logits), { ...context, ...changes }));
}

function support(probabilities: readonly number[]): number[] {
  return probabilities.flatMap((p, token) => (p > 0 ? [token] : []));
}

/** Reference: what a textbook would write, on plain arrays with -Infinity for what is gone. */
const naive = {
  softmax(l: number[]) {
    const max = Math.max(...l);
    const weights = l.map((x) => Math.exp(x - max));
    const total = weights.reduce((a, b) => a + b, 0);
    return weights.map((w) => w / total);
  },
  keep: (l: number[], kept: Set<number>) => l.map((x, i) => (kept.has(i) ? x : -Infinity)),
  /** Shortest prefix of the ranking whose probabilities reach the mass. */
  prefix(l: number[], rank: (i: number) => number, mass: number) {
    const p = naive.softmax(l);
    const order = [...l.keys()].filter((i) => l[i] > -Infinity).sort((a, b) => rank(a) - rank(b) || a - b);
    let sum = 0;
    const kept = order.filter((i) => {
      const needed = sum < mass - 1e-13;
      sum += p[i];
      return needed;
    });
    return naive.keep(l, new Set(kept));
  },
  atLeast(l: number[], values: number[], threshold: number) {
    const bound = Math.min(threshold, Math.max(...values));
    return l.map((x, i) => (values[i] >= bound ? x : -Infinity));
  },
  entropy: (p: number[]) => -p.reduce((sum, x) => sum + (x > 0 ? x * Math.log(x) : 0), 0),
  temperature: (l: number[], t: number) => l.map((x) => x / t),
  topK(l: number[], k: number) {
    const order = [...l.keys()].sort((a, b) => (l[b] > l[a] ? 1 : l[b] < l[a] ? -1 : a - b));
    return naive.keep(l, new Set(order.slice(0, k)));
  },
  topP: (l: number[], mass: number) => naive.prefix(l, (i) => -l[i], mass),
  minP(l: number[], m: number) {
    const p = naive.softmax(l);
    return naive.atLeast(l, p, m * Math.max(...p));
  },
  typicalP(l: number[], mass: number) {
    const p = naive.softmax(l);
    const h = naive.entropy(p);
    return naive.prefix(l, (i) => Math.abs(-Math.log(p[i]) - h), mass);
  },
  topNSigma(l: number[], n: number) {
    const live = l.filter((x) => x > -Infinity);
    const mean = live.reduce((a, b) => a + b) / live.length;
    const deviation = Math.sqrt(live.reduce((sum, x) => sum + (x - mean) ** 2, 0) / live.length);
    return naive.atLeast(l, l, Math.max(...l) - n * deviation);
  },
  epsilon: (l: number[], e: number) => naive.atLeast(l, naive.softmax(l), e),
  eta(l: number[], e: number) {
    const p = naive.softmax(l);
    return naive.atLeast(l, p, Math.min(e, Math.sqrt(e) * Math.exp(-naive.entropy(p))));
  },
  xtc(l: number[], threshold: number) {
    const p = naive.softmax(l);
    const top = [...l.keys()].filter((i) => p[i] >= threshold).sort((a, b) => l[a] - l[b] || a - b);
    return l.map((x, i) => (top.indexOf(i) > 0 ? -Infinity : x));
  },
};

// Seeded, so that a failure repeats.
let draws = 0;
const random = () => uniform({ seed: 77, request: 0 }, draws++, "data");
function randomLogits(size: number): number[] {
  const spread = [0.1, 1, 3, 10][Math.floor(random() * 4)];
  const grid = random() < 0.4 ? 4 : 1e6; // a coarse grid makes ties
  const holes = random() < 0.4 ? 0.3 : 0;
  const logits = Array.from({ length: size }, () =>
    random() < holes
      ? -Infinity
      : Math.fround((Math.round((random() + random() + random() - 1.5) * grid) / grid) * spread),
  );
  logits[Math.floor(random() * size)] = Math.fround(spread);
  return logits;
}

describe("each sampler agrees with a naive reference", () => {
  const cases: [string, () => [ShapingOptions, (l: number[]) => number[]]][] = [
    ["temperature", () => with1(0.05 + 3 * random(), (x) => [{ temperature: x }, (l) => naive.temperature(l, x)])],
    ["topK", () => with1(1 + Math.floor(random() * 60), (x) => [{ topK: x }, (l) => naive.topK(l, x)])],
    ["topP", () => with1(0.001 + 0.999 * random(), (x) => [{ topP: x }, (l) => naive.topP(l, x)])],
    ["minP", () => with1(random() ** 3, (x) => [{ minP: x }, (l) => naive.minP(l, x)])],
    ["typicalP", () => with1(0.001 + 0.999 * random(), (x) => [{ typicalP: x }, (l) => naive.typicalP(l, x)])],
    ["topNSigma", () => with1(0.01 + 2 * random(), (x) => [{ topNSigma: x }, (l) => naive.topNSigma(l, x)])],
    ["epsilon", () => with1(random() ** 3 * 0.9, (x) => [{ epsilon: x }, (l) => naive.epsilon(l, x)])],
    ["eta", () => with1(random() ** 3 * 0.9, (x) => [{ eta: x }, (l) => naive.eta(l, x)])],
    ["xtc", () => with1(0.5 * random(), (x) => [{ xtc: { probability: 1, threshold: x } }, (l) => naive.xtc(l, x)])],
  ];
  function with1<T>(value: number, make: (value: number) => T): T {
    return make(value);
  }

  test.each(cases)("%s", (_, make) => {
    for (let trial = 0; trial < 150; trial++) {
      const size = [1, 2, 5, 40, 700][trial % 5];
      const logits = randomLogits(size);
      const [options, reference] = make();
      const expected = naive.softmax(reference(logits));
      const got = shape(logits, options);
      const label = JSON.stringify({ options, trial, size });
      expect(support(got), label).toEqual(support(expected));
      expect(Math.max(...got.map((p, i) => Math.abs(p - expected[i]))), label).toBeLessThan(1e-12);
      expect(Math.abs(got.reduce((a, b) => a + b) - 1), label).toBeLessThan(1e-12);
    }
  });

  test("one after the other, in a given order", () => {
    for (let trial = 0; trial < 100; trial++) {
      const logits = randomLogits(200);
      const order = (["topK", "minP", "temperature", "typicalP", "topP"] as const).toSorted(() => random() - 0.5);
      const options = { topK: 50, minP: 0.02, temperature: 1.7, typicalP: 0.9, topP: 0.8, order };
      const run = (l: number[], name: string) => naive[name as "topK"](l, options[name as "topK"]);
      const expected = naive.softmax(order.reduce(run, logits));
      const got = shape(logits, options);
      expect(support(got), JSON.stringify(order)).toEqual(support(expected));
      expect(Math.max(...got.map((p, i) => Math.abs(p - expected[i])))).toBeLessThan(1e-12);
    }
  });

  test("adversarial spacing: keys that a single histogram cannot separate", () => {
    const logits = Array.from({ length: 300 }, (_, i) =>
      Math.fround(i % 3 === 0 ? -(2 ** (i / 3 - 50)) : 2 ** (-i / 3)),
    );
    for (const topK of [1, 24, 25, 100, 299, 300])
      expect(support(shape(logits, { topK }))).toEqual(
        support(naive.softmax(naive.topK(logits, topK))).sort((a, b) => a - b),
      );
    for (const topP of [0.01, 0.3, 0.9, 0.999])
      expect(support(shape(logits, { topP }))).toEqual(support(naive.softmax(naive.topP(logits, topP))));
  });
});

describe("ties and edges", () => {
  test("exactly k survive, the lowest ids first", () => {
    expect(support(shape([1, 1, 1, 1, 1], { topK: 3 }))).toEqual([0, 1, 2]);
    expect(support(shape([0, 1, 1, 5], { topK: 2 }))).toEqual([1, 3]);
  });
  test("top-p keeps the crossing token, and no more when the mass is met exactly", () => {
    expect(support(shape([0, 0, 0, 0], { topP: 0.5 }))).toEqual([0, 1]);
    expect(support(shape([0, 0, 0, 0], { topP: 0.51 }))).toEqual([0, 1, 2]);
    expect(support(shape(new Array(10).fill(0), { topP: 0.9 }))).toHaveLength(9);
  });
  test("at least one token always stays", () => {
    for (const options of [{ topP: 1e-9 }, { minP: 1 }, { epsilon: 0.99 }, { typicalP: 1e-9 }, { topNSigma: 1e-9 }]) {
      expect(support(shape([0, 2, 1], options)).length).toBe(1);
    }
    expect(support(shape([0, 0], { epsilon: 0.9 }))).toEqual([0, 1]); // equals stay together
  });
  test("top-k beyond the vocabulary is no truncation", () => {
    expect(shape([0, 1], { topK: 100 })).toEqual(shape([0, 1], {}));
  });
  test("a vocabulary of one token", () => {
    expect(shape([-3], { temperature: 0.5, topK: 1, topP: 0.1, minP: 0.9, typicalP: 0.2, topNSigma: 1 })).toEqual([1]);
  });
  test("the survivor of a far-off head keeps its full weight", () => {
    const dropHead = {
      "drop.head": {
        changes: "support",
        keepsBest: false,
        readsHistory: false,
        create: () => (candidates) => keepWhere(candidates, (token) => token > 0),
      },
    } satisfies Parameters<typeof createShaperChain>[3];
    const chain = createShaperChain(
      { topP: 0.99, order: ["topP", "drop.head"], temperature: 1 },
      2,
      undefined,
      dropHead,
    );
    expect(() => chain.shape(Float32Array.of(5000, 0), context)).toThrow(
      /no token is left after the stage "drop.head"/,
    );
    const both = createShaperChain({ eta: 1e-9, order: ["temperature", "eta", "drop.head"] }, 3, undefined, dropHead);
    expect([...both.shape(Float32Array.of(5, 5, 5), context)]).toEqual([0, 0.5, 0.5]);
  });
  test("XTC leaves the least likely of the top, and all when only one is above the threshold", () => {
    const logits = [Math.log(0.4), Math.log(0.3), Math.log(0.2), Math.log(0.1)];
    expect(support(shape(logits, { xtc: { probability: 1, threshold: 0.15 } }))).toEqual([2, 3]);
    expect(support(shape(logits, { xtc: { probability: 1, threshold: 0.35 } }))).toEqual([0, 1, 2, 3]);
    expect(support(shape([0, 0, 0, 0], { xtc: { probability: 1, threshold: 0.25 } }))).toEqual([0]); // at the threshold
    expect(createShaperChain({ xtc: { probability: 1, threshold: 0.51 } }, 4).stages).toEqual([]);
  });
  test("XTC tosses one coin per position and seed", () => {
    const chain = createShaperChain({ xtc: { probability: 0.3 } }, 2);
    let excluded = 0;
    let again = 0;
    for (let position = 0; position < 4000; position++) {
      const at = { ...context, position };
      const first = chain.shape(Float32Array.of(0, 1), at);
      if (chain.shape(Float32Array.of(0, 1), at)[1] !== first[1]) again++;
      if (first[1] === 0) excluded++;
    }
    expect(again).toBe(0);
    expect(Math.abs(excluded / 4000 - 0.3)).toBeLessThan(5 * Math.sqrt((0.3 * 0.7) / 4000));
  });
});

describe("order", () => {
  // Temperature 2, top-p 0.9, min-p 0.2. Probabilities before the temperature, in percent:
  const percent = [60, 20, 8, 5, 3, 2, 1, 1];
  const logits = percent.map(Math.log);
  const options = { temperature: 2, topP: 0.9, minP: 0.2 };
  test("the three presets give three supports", () => {
    // llama.cpp: top-p keeps 60 20 8 5, min-p those >= 12.
    expect(support(shape(logits, { ...options, order: "llamacpp" }))).toEqual([0, 1]);
    // Square roots 7.75 4.47 2.83 2.24 1.73 1.41 1 1, sum 22.43. Top-p 0.9 needs 20.18: six; min-p 1.55: five.
    expect(support(shape(logits, { ...options, order: "hf" }))).toEqual([0, 1, 2, 3, 4]);
    // Min-p first: five, sum 19.02; 0.9 of it is 17.11 of which four give 17.28.
    expect(support(shape(logits, { ...options, order: "vllm" }))).toEqual([0, 1, 2, 3]);
  });
  test("hf is the default, every preset holds every stage, and off they are all the same", () => {
    expect(shape(logits, options)).toEqual(shape(logits, { ...options, order: "hf" }));
    for (const order of ["hf", "llamacpp", "vllm"] as const) {
      expect([...presets[order]].sort()).toEqual(Object.keys(standardStages).sort());
      const chain = createShaperChain({ order }, 8);
      expect(chain).toMatchObject({ stages: [], greedy: false, needsHistory: false });
      expect([...chain.shape(Float32Array.from(logits), context)]).toEqual(shape(logits, {}));
    }
  });
  test("only stages that are on are listed, in order", () => {
    const all = { ...options, repetitionPenalty: 1.2, logitBias: { 1: 2 } };
    expect(createShaperChain({ ...all, order: "vllm" }, 8)).toMatchObject({
      stages: ["bias", "penalties", "temperature", "minP", "topP"],
      needsHistory: true,
    });
  });
  test("stages of others run first unless placed", () => {
    const seen: string[] = [];
    const extra = {
      "my.spy": {
        changes: "scores",
        keepsBest: false,
        readsHistory: false,
        create: () => (candidates) => void seen.push(candidates.scores[0].toFixed(1)),
      },
    } satisfies Parameters<typeof createShaperChain>[3];
    createShaperChain({ temperature: 2 }, 1, undefined, extra).shape(Float32Array.of(3), context);
    createShaperChain({ temperature: 2, order: ["temperature", "my.spy"] }, 1, undefined, extra).shape(
      Float32Array.of(3),
      context,
    );
    expect(seen).toEqual(["3.0", "1.5"]);
  });
});

describe("greedy", () => {
  test("temperature 0 is one-hot on the best token; the lowest id wins ties", () => {
    const chain = createShaperChain({ temperature: 0, topP: 0.5, topK: 3, minP: 0.1, typicalP: 0.5 }, 4);
    expect(chain).toMatchObject({ greedy: true, stages: [] });
    expect(chain.choose(Float32Array.of(1, 3, 3, 2), context)).toBe(1);
    expect([...chain.shape(Float32Array.of(1, 3, 3, 2), context)]).toEqual([0, 1, 0, 0]);
    expect(createShaperChain({ temperature: 9e-6 }, 4).greedy).toBe(true);
    expect(createShaperChain({ temperature: 2e-5 }, 4).greedy).toBe(false);
  });
  test("what can change the best token still runs", () => {
    const options = { temperature: 0, logitBias: { 0: 5 }, presencePenalty: 1, typicalP: 0.5, topK: 2 };
    expect(createShaperChain(options, 4).stages).toEqual(["bias", "penalties"]);
    // llama.cpp cuts before the temperature, so there typical-p may remove the best token.
    expect(createShaperChain({ ...options, order: "llamacpp" }, 4).stages).toEqual(["bias", "penalties", "typicalP"]);
    expect(createShaperChain(options, 4).choose(Float32Array.of(0, 4, 4, 4), context)).toBe(0);
  });
  test("above temperature 0 it chooses the winner of the position's race among what is left", () => {
    const chain = createShaperChain({ temperature: 0.7, topP: 0.9, badTokens: [2] }, 4);
    const logits = Float32Array.of(1, 2, 9, 1.5);
    const chosen = new Set<number>();
    for (let position = 0; position < 50; position++) {
      const here = { ...context, position };
      const law = chain.shape(logits, here);
      const times = Array.from(law, (p, token) => (p > 0 ? arrival(here, token) / p : Infinity));
      const token = chain.choose(logits, here);
      expect(token).toBe(times.indexOf(Math.min(...times)));
      chosen.add(token);
    }
    expect([...chosen].sort()).toEqual([1, 3, 0].filter((token) => chain.shape(logits, context)[token] > 0).sort());
  });
});

describe("penalties", () => {
  const chainOf = (options: ShapingOptions, size = 6) => createShaperChain(options, size);
  /** Shaped logits up to a constant, with token 0 never penalised as the anchor. */
  const shaped = (options: ShapingOptions, logits: number[], history: number[], promptLength = 0) => {
    const p = chainOf(options, logits.length).shape(Float32Array.from(logits), { ...context, history, promptLength });
    return Array.from(p, (x) => Math.log(x / p[0]));
  };
  const close = (got: number[], expected: number[]) =>
    expected.forEach((x, i) => void expect(got[i]).toBeCloseTo(x, 9));

  test("repetition divides positive and multiplies negative scores once, prompt included", () => {
    close(shaped({ repetitionPenalty: 2 }, [0, 4, -4, 4], [1, 1, 2], 2), [0, 2, -8, 4]);
  });
  test("frequency counts and presence does not; both see the output only", () => {
    const options = { frequencyPenalty: 0.5, presencePenalty: 0.25 };
    close(shaped(options, [0, 4, 4, 4], [3, 1, 1, 2], 1), [0, 4 - 1.25, 4 - 0.75, 4]);
    close(shaped({ ...options, order: "llamacpp" }, [0, 4, 4, 4], [3, 1, 1, 2], 1), [0, 4 - 1.25, 4 - 0.75, 4 - 0.75]);
  });
  test("the order inside is repetition, frequency, presence", () => {
    close(shaped({ repetitionPenalty: 2, frequencyPenalty: 1, presencePenalty: 1 }, [0, 4], [1, 1]), [0, -1]);
  });
  test("only the window counts: 64 tokens in llama.cpp's order, else all", () => {
    const history = [1, ...new Array(64).fill(2)];
    close(shaped({ repetitionPenalty: 2, order: "llamacpp" }, [0, 4, 4], history), [0, 4, 2]);
    close(shaped({ repetitionPenalty: 2, order: "llamacpp", penaltyWindow: "all" }, [0, 4, 4], history), [0, 2, 2]);
    close(shaped({ repetitionPenalty: 2 }, [0, 4, 4], history), [0, 2, 2]);
    close(shaped({ repetitionPenalty: 2, penaltyWindow: 64 }, [0, 4, 4], history), [0, 4, 2]);
  });
  test("a chain that walked other branches gives the same as a new one", () => {
    const options: ShapingOptions = {
      repetitionPenalty: 1.3,
      frequencyPenalty: 0.2,
      presencePenalty: 0.1,
      penaltyWindow: 9,
      dry: { multiplier: 0.7, window: 12, breakers: [0] },
    };
    const walked = chainOf(options);
    const token = fc.integer({ min: 0, max: 5 });
    const walk = fc.array(fc.tuple(fc.array(token, { maxLength: 30 }), fc.nat(30)), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(walk, (nodes) => {
        for (const [history, prompt] of nodes) {
          const at = { ...context, history, promptLength: Math.min(prompt, history.length) };
          const logits = Float32Array.of(1, -1, 0.5, 2, 0, -0.25);
          expect(walked.shape(logits, at)).toEqual(chainOf(options).shape(logits, at));
        }
      }),
    );
  });
});

describe("DRY", () => {
  const options = { multiplier: 0.5, base: 2, allowedLength: 2 };
  /** Definition: the longest suffix without a breaker that occurred earlier in the window, followed by the token. */
  function reference(history: number[], size: number, window: number, breakers: number[]): number[] {
    const seen = history.slice(-window);
    return Array.from({ length: size }, (_, token) => {
      if (breakers.includes(token)) return 0;
      let longest = 0;
      for (let end = 1; end < seen.length; end++) {
        if (seen[end] !== token) continue;
        let n = 0;
        while (n < end && seen[end - 1 - n] === seen[seen.length - 1 - n] && !breakers.includes(seen[end - 1 - n])) n++;
        longest = Math.max(longest, n);
      }
      return longest >= options.allowedLength
        ? options.multiplier * options.base ** (longest - options.allowedLength)
        : 0;
    });
  }
  const penaltiesOf = (history: number[], size: number, dry: ShapingOptions["dry"], tokenizer?: Tokenizer) => {
    const chain = createShaperChain({ dry }, size + 1, tokenizer);
    const p = chain.shape(new Float32Array(size + 1), { ...context, history }); // the last token is the anchor
    return Array.from({ length: size }, (_, token) => Math.log(p[size] / p[token]) + 0);
  };

  test("an example by hand", () => {
    // a b c c b c y a b c: after "a b c" came c (n = 3), after "c" b (1), after "b c" y (2).
    const [a, b, c, y] = [0, 1, 2, 3];
    const got = penaltiesOf([a, b, c, c, b, c, y, a, b, c], 4, { ...options, breakers: [] });
    [0, 0, 1, 0.5].forEach((x, i) => void expect(got[i]).toBeCloseTo(x, 9));
  });
  test("agrees with the definition", () => {
    const token = fc.integer({ min: 0, max: 3 });
    fc.assert(
      fc.property(
        fc.array(token, { maxLength: 40 }),
        fc.integer({ min: 1, max: 45 }),
        fc.boolean(),
        (history, window, broken) => {
          const breakers = broken ? [3] : [];
          const got = penaltiesOf(history, 4, { ...options, window, breakers });
          reference(history, 4, window, breakers).forEach(
            (x, i) => void expect(got[i] / (x || 1)).toBeCloseTo(x ? 1 : 0, 6),
          );
        },
      ),
      { numRuns: 500 },
    );
  });
  test("a very long repeat stays finite", () => {
    const chain = createShaperChain({ dry: { multiplier: 1, base: 10, breakers: [] } }, 2);
    expect([...chain.shape(Float32Array.of(9, 0), { ...context, history: new Array(5000).fill(0) })]).toEqual([0, 1]);
    const alone = createShaperChain({ dry: { multiplier: 1, base: 10, breakers: [] } }, 1);
    expect([...alone.shape(Float32Array.of(9), { ...context, history: new Array(5000).fill(0) })]).toEqual([1]);
  });
  test("texts as breakers, inside tokens and across them", () => {
    const words = ["a", "b", "c.", "<", "/s", "/s>d", "é", ""];
    const tokenizer = {
      tokenBytes: (id: number) => new TextEncoder().encode(words[id] ?? ""),
    } as unknown as Tokenizer;
    const repeats = (history: number[], breakers: string[]) =>
      penaltiesOf(history, words.length, { ...options, breakers }, tokenizer).map((x) => x > 0.01);
    const history = [0, 1, 2, 0, 1, 0, 1, 2, 0, 1]; // a b c. a b | a b c. a b -> a after "a b c. a b"
    expect(repeats(history, [])[0]).toBe(true);
    expect(penaltiesOf(history, words.length, { ...options, breakers: [] }, tokenizer)[0]).toBeCloseTo(4, 9); // n = 5
    expect(penaltiesOf(history, words.length, { ...options, breakers: ["."] }, tokenizer)[0]).toBeCloseTo(0.5, 9); // n = 2
    expect(repeats([0, 1, 2, 5, 0, 1], ["."])[2]).toBe(false); // "c." holds the breaker itself
    // "</s>" is spread over "<" and "/s>d": it cuts the repeat behind it, while "/s>d" after anything else does not.
    const across = [0, 3, 5, 1, 6, 0, 3, 5, 1];
    expect(penaltiesOf(across, words.length, { ...options, breakers: ["</s>"] }, tokenizer)[6]).toBeCloseTo(0, 9);
    expect(penaltiesOf(across, words.length, { ...options, breakers: ["</t>"] }, tokenizer)[6]).toBeCloseTo(2, 9);
    const other = [0, 0, 5, 1, 6, 0, 0, 5, 1];
    expect(penaltiesOf(other, words.length, { ...options, breakers: ["</s>"] }, tokenizer)[6]).toBeCloseTo(2, 9);
  });
  test("texts as breakers need a tokenizer", () => {
    expect(() => createShaperChain({ dry: { multiplier: 1 } }, 4)).toThrow(/dry\.breakers.*tokenizer/);
    expect(createShaperChain({ dry: { multiplier: 0 } }, 4).stages).toEqual([]);
  });
});

describe("bias, bans and masks", () => {
  const bits = (...tokens: number[]) => {
    const words = new Uint32Array(3);
    for (const token of tokens) words[token >> 5] |= 1 << (token & 31);
    return words;
  };
  test("bias is added before everything else, -Infinity and bad tokens ban", () => {
    const p = shape([0, 0, 0, 0], { logitBias: { 0: Math.log(3), 2: -Infinity }, badTokens: [3] });
    expect(p[0]).toBeCloseTo(0.75, 12);
    expect(support(p)).toEqual([0, 1]);
    expect(support(shape([0, 0, 0], { logitBias: { 2: 1000 }, badTokens: [2] }))).toEqual([0, 1]);
  });
  test("the best token that is not banned is chosen, whether or not the best of all is", () => {
    for (const badTokens of [[], [2], [1], [1, 3]]) {
      for (const logitBias of [{}, { 0: -Infinity }, { 0: 9 }] as Record<number, number>[]) {
        const chain = createShaperChain({ temperature: 0, badTokens, logitBias }, 4);
        const scores = [1, 7, 3, 5].map((logit, token) => logit + (logitBias[token] ?? 0));
        const left = [0, 1, 2, 3].filter((token) => !badTokens.includes(token));
        const wanted = left.reduce((best, token) => (scores[token] > scores[best] ? token : best));
        expect(chain.choose(Float32Array.of(1, 7, 3, 5), context)).toBe(wanted);
      }
    }
  });
  test("the mask comes first, over several words", () => {
    const logits = Array.from({ length: 70 }, (_, i) => i / 10);
    const allowed = bits(0, 31, 32, 63, 64, 69);
    expect(support(shape(logits, {}, { allowed }))).toEqual([0, 31, 32, 63, 64, 69]);
    expect(support(shape(logits, { topK: 2 }, { allowed }))).toEqual([64, 69]);
    expect(
      createShaperChain({ temperature: 0 }, 70).choose(Float32Array.from(logits), { ...context, allowed: bits(3, 40) }),
    ).toBe(40);
    // Bits beyond the vocabulary are nobody's.
    expect(support(shape(logits, {}, { allowed: bits(1, 90) }))).toEqual([1]);
  });
  test("a single legal token always wins", () => {
    const options = { repetitionPenalty: 100, logitBias: { 1: -1e6 }, topP: 0.1, xtc: { probability: 1 } };
    expect(shape([0, -50, 9], options, { allowed: bits(1), history: [1, 1] })).toEqual([0, 1, 0]);
  });
  test("nothing left is a dead end", () => {
    const deadEnd = expect.objectContaining({ code: "constraint_dead_end" });
    expect(() => shape([0, 1], {}, { allowed: bits() })).toThrow(deadEnd);
    expect(() => shape([-Infinity, 1], {}, { allowed: bits(0) })).toThrow(deadEnd);
    expect(() => shape([0, 1], { badTokens: [1] }, { allowed: bits(1) })).toThrow(deadEnd);
    expect(() => shape([0, 1], { badTokens: [0, 1], temperature: 0 })).toThrow(deadEnd);
  });
});

test.each([[[0, Number.NaN]], [[Number.NaN, 0]], [[0, Infinity]], [[-Infinity, -Infinity]]])(
  "logits %j are a failure of the model",
  (logits) => {
    for (const temperature of [0, 1]) {
      expect(() => shape(logits, { temperature })).toThrow(expect.objectContaining({ code: "runtime_failed" }));
    }
  },
);

test("logits or masks of another size are refused", () => {
  const chain = createShaperChain({}, 40);
  const misshapen = expect.objectContaining({ code: "bad_shape" });
  expect(() => chain.shape(new Float32Array(39), context)).toThrow(misshapen);
  expect(() => chain.shape(new Float32Array(40), { ...context, allowed: new Uint32Array(1) })).toThrow(misshapen);
});

test("the returned array belongs to the caller", () => {
  const chain = createShaperChain({ topP: 0.9 }, 2);
  const first = chain.shape(Float32Array.of(0, 0), context);
  const copy = [...first];
  chain.shape(Float32Array.of(0, 9), context);
  expect([...first]).toEqual(copy);
});

test("draws follow the shaped distribution", () => {
  const logits = Float32Array.of(1, 0.5, -Infinity, 0, 2, -1, 1, -3);
  const options: ShapingOptions = { temperature: 1.3, topP: 0.95, frequencyPenalty: 0.4 };
  const p = createShaperChain(options, 8).shape(logits, { ...context, history: [4, 4, 0] });
  const counts = new Float64Array(8);
  const n = 100_000;
  for (let position = 0; position < n; position++) {
    counts[drawFrom(p, uniform(context.stream, position, "sample"))]++;
  }
  const live = support([...p]);
  expect(counts.every((count, token) => count === 0 || p[token] > 0)).toBe(true);
  const statistic = live.reduce((sum, token) => sum + (counts[token] - n * p[token]) ** 2 / (n * p[token]), 0);
  expect(statistic).toBeLessThan(22.5); // 0.1 % point at 6 degrees of freedom
});

test.each<[ShapingOptions | object, RegExp]>([
  [{ temperature: -1 }, /temperature must be at least 0/],
  [{ temperature: Number.NaN }, /temperature/],
  [{ topK: -1 }, /topK must be at least 0, not -1/],
  [{ topK: 1.5 }, /topK/],
  [{ topP: 0 }, /topP must be above 0, not 0/],
  [{ topP: 1.1 }, /topP must be at most 1, not 1.1/],
  [{ minP: 2 }, /minP must be at most 1/],
  [{ xtc: { probability: 2 } }, /xtc\.probability must be at most 1/],
  [{ repetitionPenalty: 0 }, /repetitionPenalty must be above 0/],
  [{ penaltyWindow: 0 }, /penaltyWindow/],
  [{ dry: { multiplier: 1, base: 0.5 } }, /dry\.base must be at least 1/],
  [{ dry: { multiplier: 1, breakers: [""] } }, /dry\.breakers\[0\]/],
  [{ dry: { multiplier: 1, breakers: [9] } }, /dry\.breakers.*9/],
  [{ logitBias: { 4: 1 } }, /logitBias.*token 4.*0 to 3/],
  [{ logitBias: { x: 1 } }, /logitBias/],
  [{ logitBias: { 1: Infinity } }, /logitBias\.1/],
  [{ badTokens: [4] }, /badTokens.*token 4/],
  [{ topk: 4 }, /topk/],
  [{ order: "llama" }, /order/],
  [{ order: ["topK", "temprature"] }, /temprature.*did you mean "temperature"/],
  [{ order: ["topK", "topK"] }, /once/],
  [{ order: ["topK"], topK: 3, topP: 0.5 }, /leaves out topP/],
  [{ order: ["topK"], temperature: 0 }, /leaves out temperature/],
])("refuses %j", (options, message) => {
  expect(() => createShaperChain(options as ShapingOptions, 4)).toThrow(
    expect.objectContaining({ code: "bad_option", message: expect.stringMatching(message) }),
  );
});

describe("raw log-probabilities", () => {
  test("of one token and of the best", () => {
    const logits = Float32Array.of(1, 3, -Infinity, 3, 2);
    const expected = naive.softmax([...logits]).map(Math.log);
    for (const token of [0, 1, 3, 4]) expect(logSoftmaxAt(logits, token)).toBeCloseTo(expected[token], 12);
    expect(logSoftmaxAt(logits, 2)).toBe(-Infinity);
    expect(topLogprobs(logits, 3).map((entry) => entry.token)).toEqual([1, 3, 4]);
    expect(topLogprobs(logits, 9).map((entry) => entry.token)).toEqual([1, 3, 4, 0]);
    expect(topLogprobs(logits, 0)).toEqual([]);
    expect(topLogprobs(logits, 1)[0].raw).toBe(logSoftmaxAt(logits, 1));
  });
  test("against sorting", () => {
    for (let trial = 0; trial < 50; trial++) {
      const logits = randomLogits(300);
      const order = [...logits.keys()]
        .filter((i) => logits[i] > -Infinity)
        .sort((a, b) => logits[b] - logits[a] || a - b);
      expect(topLogprobs(logits, 20).map((entry) => entry.token)).toEqual(order.slice(0, 20));
    }
  });
  test("never positive, and broken logits are refused", () => {
    expect(logSoftmaxAt([1e38, 0], 0)).toBe(0);
    expect(() => logSoftmaxAt([0, Number.NaN], 0)).toThrow(expect.objectContaining({ code: "runtime_failed" }));
  });
});

test("dropping a few tokens is keeping all others, absent and outer ones included", () => {
  for (const unwanted of [[], [0], [9], [4, 0, 9], [3, 3], [12], [5, 2]]) {
    const sets = [createCandidates(10), createCandidates(10)];
    for (const candidates of sets) load(candidates, Float32Array.of(1, 2, -Infinity, 4, 3, 5, 0, -1, 2, 7));
    drop(sets[0], unwanted);
    keepWhere(sets[1], (token) => !unwanted.includes(token));
    const [dropped, kept] = sets.map(({ tokens, count }) => [...tokens.subarray(0, count)]);
    expect(dropped).toEqual(kept);
  }
});
