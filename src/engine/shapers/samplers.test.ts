/** Samplers against calculations of their own: dense, straight from the definitions, sharing no code with the stages. */
import { describe, expect, test } from "vitest";
import { uniform } from "../random.ts";
import { createShaperChain } from "./chain.ts";
import type { MirostatState } from "./mirostat.ts";
import type { ShapingOptions } from "./options.ts";

const size = 40;
const context = { history: [] as number[], promptLength: 0, position: 0, stream: { seed: 1, request: 0 } };
const logitsOf = (trial: number, scale = 4, length = size): Float32Array =>
  Float32Array.from({ length }, (_, i) => scale * uniform({ seed: 2, request: trial }, i, "data"));

function softmax(scores: readonly number[]): number[] {
  const most = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - most));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
}
/** The law without the tokens that are not kept. */
function only(law: readonly number[], kept: (token: number) => boolean): number[] {
  const left = law.map((p, token) => (kept(token) ? p : 0));
  const total = left.reduce((a, b) => a + b, 0);
  return left.map((p) => p / total);
}
const ranked = (law: readonly number[]): number[] => [...law.keys()].sort((a, b) => law[b] - law[a] || a - b);
function expectLaw(actual: ArrayLike<number>, wanted: readonly number[]): void {
  wanted.forEach((p, token) => {
    expect(Math.abs(actual[token] - p), `token ${token}`).toBeLessThan(1e-9);
  });
}

describe("dynamic temperature", () => {
  test.each([
    [0.8, 0.5, 1],
    [1, 1, 2],
    [0.5, 0.7, 0.5], // would go below 0
  ])("temperature %d, range %d, exponent %d", (temperature, range, exponent) => {
    for (let trial = 0; trial < 20; trial++) {
      const logits = logitsOf(trial, 1 + trial);
      const law = softmax([...logits]);
      const entropy = -law.reduce((sum, p) => sum + (p > 0 ? p * Math.log(p) : 0), 0);
      const low = Math.max(0, temperature - range);
      const own = low + (temperature + range - low) * (entropy / Math.log(size)) ** exponent;
      const chain = createShaperChain({ temperature, dynamicTemperature: { range, exponent } }, size);
      expectLaw(chain.shape(logits, context), softmax([...logits].map((x) => x / own)));
    }
  });

  test("sees what comes before it only, leaves a single token alone, and is refused at temperature 0", () => {
    const options: ShapingOptions = { order: "llamacpp", topK: 5, dynamicTemperature: { range: 0.5 } };
    const logits = logitsOf(1);
    const law = softmax([...logits]);
    const best = new Set(ranked(law).slice(0, 5));
    const cut = only(law, (token) => best.has(token));
    const entropy = -cut.reduce((sum, p) => sum + (p > 0 ? p * Math.log(p) : 0), 0);
    const own = 0.5 + (entropy / Math.log(5)) * 1;
    const wanted = softmax([...logits].map((x, token) => (best.has(token) ? x / own : -Infinity)));
    expectLaw(createShaperChain(options, size).shape(logits, context), wanted);
    expect(createShaperChain({ ...options, topK: 1 }, size).shape(logits, context)[ranked(law)[0]]).toBe(1);
    expect(() => createShaperChain({ temperature: 0, dynamicTemperature: { range: 0.5 } }, size)).toThrow(
      /dynamicTemperature/,
    );
  });
});

describe("no repeated n-grams", () => {
  test("bans what stands after the same tokens before, prompt included", () => {
    for (let trial = 0; trial < 60; trial++) {
      const length = trial % 13;
      const history = Array.from({ length }, (_, i) => Math.floor(4 * uniform({ seed: 3, request: trial }, i, "data")));
      for (const noRepeatNgram of [1, 2, 3]) {
        const banned = new Set<number>();
        for (let token = 0; token < size; token++) {
          const grams = [...history, token];
          const last = grams.slice(-noRepeatNgram).join();
          for (let end = noRepeatNgram; end < grams.length; end++) {
            if (grams.length >= noRepeatNgram && grams.slice(end - noRepeatNgram, end).join() === last)
              banned.add(token);
          }
        }
        const logits = logitsOf(trial);
        const law = only(softmax([...logits]), (token) => !banned.has(token));
        const here = { ...context, history, promptLength: length >> 1, position: length };
        expectLaw(createShaperChain({ noRepeatNgram }, size).shape(logits, here), law);
        expect(createShaperChain({ noRepeatNgram, temperature: 0 }, size).choose(logits, here)).toBe(ranked(law)[0]);
      }
    }
  });
});

describe("minimum kept", () => {
  const sharp = logitsOf(5, 60);
  const law = softmax([...sharp]);
  const order = ranked(law);
  const cuts: ShapingOptions[] = [
    { topK: 2 },
    { topP: 0.1 },
    { minP: 0.99 },
    { typicalP: 0.01 },
    { epsilon: 0.9 },
    { eta: 0.9 },
    { topNSigma: 0.01 },
    { mirostat: { version: 1, tau: 0.01 } },
    { mirostat: { version: 2, tau: 0.01 } },
  ];
  test.each(cuts)("%j", (cut) => {
    const kept = (minKept: number): number[] =>
      [...createShaperChain({ ...cut, minKept }, size).shape(sharp, context)].flatMap((p, token) =>
        p > 0 ? [token] : [],
      );
    expect(kept(1).length).toBeLessThan(4);
    // By likelihood, or for typical by how far a token's surprise is from the entropy.
    const entropy = -law.reduce((sum, p) => sum + p * Math.log(p), 0);
    const oddness = law.map((p) => -Math.abs(-Math.log(p) - entropy));
    const wanted = ("typicalP" in cut ? ranked(oddness) : order).slice(0, 4);
    expect(kept(4)).toEqual(wanted.sort((a, b) => a - b));
    expect(kept(1000)).toHaveLength(size);
  });

  test("where a cut leaves more, it changes nothing; xtc drops only what leaves so many", () => {
    const flat = logitsOf(6, 1);
    const shape = (options: ShapingOptions) => createShaperChain(options, size).shape(flat, context);
    expect(shape({ topK: 9, minKept: 4 })).toEqual(shape({ topK: 9 }));
    const xtc = { probability: 1, threshold: 1e-6 };
    const count = (options: ShapingOptions) => shape(options).reduce((sum, p) => sum + (p > 0 ? 1 : 0), 0);
    expect(count({ xtc })).toBe(1);
    expect(count({ xtc, minKept: 2 })).toBe(size);
  });
});

describe("mirostat", () => {
  /** One step by the paper's algorithms, with everything in order of likelihood. */
  function step(version: 1 | 2, law: readonly number[], mu: number): number[] {
    const order = ranked(law);
    if (version === 2) {
      const kept = new Set(order.filter((token, rank) => rank === 0 || -Math.log2(law[token]) <= mu));
      return only(law, (token) => kept.has(token));
    }
    let [tb, tt] = [0, 0];
    for (let i = 1; i < Math.min(100, law.length); i++) {
      const t = Math.log((i + 1) / i);
      tb += t * Math.log(law[order[i - 1]] / law[order[i]]);
      tt += t * t;
    }
    const s = tb / tt;
    const e = s - 1;
    const k = Math.max(1, Math.floor(((e * 2 ** mu) / (1 - law.length ** -e)) ** (1 / s)));
    const kept = new Set(order.slice(0, k));
    return only(law, (token) => kept.has(token));
  }

  test.each([1, 2] as const)("version %d follows the surprise of its own tokens, position by position", (version) => {
    const [tau, eta, temperature, vocabulary] = [2.5, 0.2, 1.3, 300];
    const chain = createShaperChain({ temperature, mirostat: { version, tau, eta } }, vocabulary);
    const history = [7, 8];
    let mu = 2 * tau;
    let before: MirostatState | undefined;
    const bounds = new Set<number>();
    for (let position = 2; position < 40; position++) {
      const logits = logitsOf(position, 9, vocabulary);
      const wanted = step(version, softmax([...logits].map((x) => x / temperature)), mu);
      const memory: { before?: MirostatState; after?: MirostatState } = { before };
      const here = { ...context, history: [...history], promptLength: 2, position, memory };
      expectLaw(chain.shape(logits, here), wanted);
      const token = chain.choose(logits, here);
      expect(wanted[token]).toBeGreaterThan(0);
      mu -= eta * (-Math.log2(wanted[token]) - tau);
      before = memory.after;
      history.push(token);
      bounds.add(wanted.filter((p) => p > 0).length);
    }
    expect(bounds.size).toBeGreaterThan(5);
  });

  test("every branch of a tree has the state of its own path", () => {
    const chain = createShaperChain({ mirostat: { tau: 3, eta: 0.5 } }, size);
    const root: { after?: MirostatState } = {};
    const first = { ...context, history: [1], promptLength: 1, position: 1, memory: root };
    const law = chain.shape(logitsOf(1, 3), first);
    const likely = ranked([...law]).filter((token) => law[token] > 0);
    const below = (token: number) => {
      const memory = { before: root.after };
      return chain.shape(logitsOf(2, 3), { ...first, history: [1, token], position: 2, memory });
    };
    const [sure, odd] = [likely[0], likely.at(-1)!];
    const count = (law: Float64Array) => law.filter((p) => p > 0).length;
    const sureAfter = below(sure);
    expect(count(below(odd))).toBeLessThan(count(sureAfter)); // what was odd makes the next one sober
    expect(below(sure)).toEqual(sureAfter);
  });

  test("a position that was not shaped is an error that names the option", () => {
    const chain = createShaperChain({ mirostat: {} }, size);
    expect(() => chain.shape(logitsOf(1), { ...context, history: [1, 2], promptLength: 1, position: 2 })).toThrow(
      /^mirostat: /,
    );
  });
});
