/** Lossless decoding with the shipped pair, knossos and pylos: greedy output by identity, sampled output by chi-square. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ForestNode } from "../src/engine/forest.ts";
import { createShaperChain } from "../src/engine/shapers/chain.ts";
import { type DecodeOptions, type MethodChoice, type OpenModel, open } from "../src/index.ts";
import { dataPath, noData } from "./data.ts";

const speculative: MethodChoice[] = [
  { name: "chain", length: 4 },
  { name: "chain" },
  { name: "prompt-lookup", occurrences: 3 },
  { name: "spec-infer" },
  { name: "sequoia", budget: 16 },
  { name: "dyspec", budget: 16 },
  { name: "dyspec" },
  { name: "dyspec", budget: 16, algorithm: "threshold" },
  { name: "top-k", budget: 16 },
  { name: "top-k" },
  { name: "online", length: 4 },
  { name: "aded" },
];
const isChosen = (method: MethodChoice): boolean =>
  ["prompt-lookup", "top-k", "aded"].includes((method as { name: string }).name);
const label = (method: MethodChoice): string => JSON.stringify(method);

let model: OpenModel;
beforeAll(async () => {
  model = await open("knossos");
});
afterAll(() => model.close());

const stories = dataPath("tinystories", "tinystories-1000.jsonl.gz");
const questions = dataPath("spec-bench", "question.jsonl.gz");

/** A quarter of an hour: run with VENTRIS_LONG_TESTS=1. */
const long = process.env.VENTRIS_LONG_TESTS === "1";

describe.skipIf(!stories || !questions)(`greedy output on 200 prompts (${noData} otherwise)`, () => {
  const lines = (path: string): Record<string, unknown>[] =>
    gunzipSync(readFileSync(path))
      .toString("utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
  const prompts = (): string[] => [
    ...lines(stories!)
      .slice(0, 100)
      .map((story) => (story.text as string).slice(0, 60)),
    ...lines(questions!)
      .slice(0, 100)
      .map((question) => (question.turns as string[])[0].slice(0, 120)),
  ];
  const greedy = { temperature: 0, maxTokens: 20 } satisfies DecodeOptions;
  let expected: string[];
  const outputs = async (
    method: MethodChoice,
    together: number,
    settings: DecodeOptions = greedy,
    all = prompts(),
  ): Promise<string[]> => {
    const results: string[] = [];
    for (let start = 0; start < all.length; start += together) {
      const group = all
        .slice(start, start + together)
        .map((prompt, i) => model.decode(prompt, { ...settings, request: start + i, method }).final);
      for (const { tokens } of await Promise.all(group)) results.push(tokens.join(" "));
    }
    return results;
  };
  beforeAll(async () => {
    expected = await outputs("greedy", 1);
  }, 120_000);

  test.each(speculative.map((method) => [label(method), method] as const))(
    "%s equals plain greedy, alone",
    async (_, method) => {
      expect(await outputs(method, 1)).toEqual(expected);
    },
    180_000,
  );

  test.each(speculative.map((method) => [label(method), method] as const))(
    "%s equals plain greedy, eight at a time",
    async (_, method) => {
      expect(await outputs(method, 8)).toEqual(expected);
    },
    180_000,
  );

  /** Drafts that are chosen and not drawn change nothing about the target's draws: the same seed gives the same text. */
  test.each(speculative.filter(isChosen).map((method) => [label(method), method] as const))(
    "%s draws what plain sampling draws, seed by seed",
    async (_, method) => {
      const sampling = { temperature: 0.9, topP: 0.95, repetitionPenalty: 1.2, maxTokens: 20, seed: 5 };
      const some = prompts().slice(60, 140);
      const plain = await outputs("sample", 8, sampling, some);
      expect(new Set(plain).size).toBeGreaterThan(70);
      for (const together of [1, 8]) expect(await outputs(method, together, sampling, some)).toEqual(plain);
    },
    180_000,
  );
});

describe.skipIf(!long)("sampled output has the target's distribution (chi-square, 100,000 runs a method)", () => {
  const prompt = "Once upon a time there was";
  const shaping = { temperature: 0.9, topK: 4, topP: 0.95, repetitionPenalty: 1.3 };
  const maxTokens = 3;
  const cells = new Map<string, number>();

  /** The exact probability of every continuation, by following each token that the shaped distribution allows. */
  beforeAll(async () => {
    const chain = createShaperChain(shaping, model.config.vocabularySize, model.tokenizer);
    const ids = model.tokenizer!.encode(prompt);
    const lease = model.forest.lease();
    const follow = async (node: ForestNode, output: number[], probability: number): Promise<void> => {
      if (output.length === maxTokens || model.tokenizer!.endTokens.includes(output[output.length - 1])) {
        cells.set(output.join(" "), probability);
        return;
      }
      const context = {
        history: [...ids, ...output],
        promptLength: ids.length,
        position: node.depth + 1,
        stream: { seed: 0, request: 0 },
      };
      const probabilities = chain.shape(node.logits!, context);
      for (const [token, p] of probabilities.entries()) {
        if (p === 0) continue;
        const [child] = await lease.extend([{ parent: node, token }]);
        await follow(child, [...output, token], probability * p);
      }
    };
    await follow((await lease.prefill(ids)).node, [], 1);
    lease.close();
  }, 60_000);

  async function pValue(method: MethodChoice, samples: number): Promise<number> {
    const counts = new Map<string, number>();
    // Runs side by side share their passes.
    const together = 128;
    for (let start = 0; start < samples; start += together) {
      const runs = Array.from({ length: Math.min(together, samples - start) }, (_, i) => {
        return model.decode(prompt, { ...shaping, maxTokens, seed: 11, request: start + i, method }).final;
      });
      for (const { tokens } of await Promise.all(runs)) {
        const key = tokens.join(" ");
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
    }
    for (const key of counts.keys()) expect(cells.has(key), `the target cannot emit ${key}`).toBe(true);
    let statistic = 0;
    let degrees = -1;
    const rest = { expected: 0, count: 0 };
    const add = (expected: number, count: number): void => {
      statistic += (count - expected) ** 2 / expected;
      degrees += 1;
    };
    for (const [key, probability] of cells) {
      const [expected, count] = [probability * samples, counts.get(key) ?? 0];
      if (expected >= 5) add(expected, count);
      else [rest.expected, rest.count] = [rest.expected + expected, rest.count + count];
    }
    if (rest.expected >= 1) add(rest.expected, rest.count);
    // Wilson and Hilferty 1931: the cube root of a chi-square over its degrees is nearly normal.
    const z = ((statistic / degrees) ** (1 / 3) - (1 - 2 / (9 * degrees))) / Math.sqrt(2 / (9 * degrees));
    return 0.5 * (1 - erf(z / Math.SQRT2));
  }

  const sampled = speculative.filter((method) => !isChosen(method) && (method as { name: string }).name !== "online");
  test.each(sampled.map((method) => [label(method), method] as const))(
    "%s",
    async (_, method) => {
      expect(await pValue({ ...(method as { name: string }), draftTopK: 16 }, 100_000)).toBeGreaterThan(1e-3);
    },
    900_000,
  );
});

/** Abramowitz and Stegun 1964, 7.1.26: absolute error below 1.5e-7. */
function erf(x: number): number {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - series * Math.exp(-x * x));
}
