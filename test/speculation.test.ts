/** Lossless decoding with the shipped pair, knossos and pylos: one text per seed by identity, published rules by chi-square. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { ForestNode } from "../src/engine/forest.ts";
import { createShaperChain } from "../src/engine/shapers/chain.ts";
import { type DecodeOptions, type MethodChoice, type Model, methodChoice, open } from "../src/index.ts";
import { dataPath, noData } from "./data.ts";
import { normalDeviate } from "./fixtures/chi-square.ts";

/** Hours: run with VENTRIS_LONG_TESTS=1, or with 3/20 for the third of twenty parts of the prompts. */
const [part, parts = 1] = (process.env.VENTRIS_LONG_TESTS ?? "0").split("/").map(Number);
const long = part >= 1;

/** Whether trees are verified as if they had been drawn from q^0.7. */
const wrong = vi.hoisted(() => ({ q: false }));
vi.mock(import("../src/methods/speculative/verify.ts"), async (original) => {
  const actual = await original();
  const flat = (law: Float64Array): Float64Array => {
    const powers = law.map((q) => q ** 0.7);
    const mass = powers.reduce((a, b) => a + b, 0);
    return powers.map((q) => q / mass);
  };
  const verify: typeof actual.verify = (tree, target, draws) => {
    if (!wrong.q) return actual.verify(tree, target, draws);
    const distributions = tree.distributions.map((law) => law && { ...law, probabilities: flat(law.probabilities) });
    return actual.verify({ ...tree, distributions }, target, draws);
  };
  return { ...actual, verify };
});

const methods: MethodChoice[] = [
  { name: "chain", length: 4 },
  { name: "chain" },
  { name: "prompt-lookup", occurrences: 3 },
  { name: "spec-infer" },
  { name: "sequoia", budget: 16 },
  { name: "sequoia" },
  { name: "dyspec", budget: 16 },
  { name: "dyspec" },
  { name: "dyspec", budget: 16, algorithm: "threshold" },
  { name: "top-k", budget: 16 },
  { name: "top-k" },
  { name: "online", length: 4 },
  { name: "online", grow: "dyspec" },
  { name: "aded" },
];
const budgets = [1, 2, 5, 16, 33, 64];
const budgeted: MethodChoice[] = ["sequoia", "dyspec", "top-k", "aded"].flatMap((name) =>
  budgets.map((budget) => methodChoice({ name, budget })),
);
const label = (method: MethodChoice): string => JSON.stringify(method);
const rows = (list: MethodChoice[]) => list.map((method) => [label(method), method] as const);

// One thread: methods with a draft alternate between two models, and tests share the machine.
const openKnossos = (): Promise<Model> => open("knossos", { threads: 1 });
let model: Model;
beforeAll(async () => {
  model = await openKnossos();
});
afterAll(() => model.close());

const stories = dataPath("tinystories", "tinystories-1000.jsonl.gz");
const questions = dataPath("spec-bench", "question.jsonl.gz");

async function readPrompts(count: number): Promise<string[]> {
  const lines = async (path: string): Promise<Record<string, unknown>[]> =>
    (await promisify(gunzip)(await readFile(path)))
      .toString("utf8")
      .trim()
      .split("\n")
      .slice(0, count / 2)
      .map((line) => JSON.parse(line));
  const [told, asked] = await Promise.all([lines(stories!), lines(questions!)]);
  return [
    ...told.map(({ text }) => (text as string).slice(0, 60)),
    ...asked.map(({ turns }) => (turns as string[])[0].slice(0, 120)),
  ];
}

/** Outputs of a method for all prompts and seeds, so many requests at a time. */
async function outputs(
  on: Model,
  method: MethodChoice,
  together: number,
  { prompts, seeds, ...settings }: DecodeOptions & { prompts: readonly string[]; seeds: number },
): Promise<string[]> {
  const requests = prompts.flatMap((prompt, request) =>
    Array.from({ length: seeds }, (_, seed) => ({ prompt, request, seed })),
  );
  const results: string[] = [];
  for (let start = 0; start < requests.length; start += together) {
    const group = requests
      .slice(start, start + together)
      .map(({ prompt, ...rest }) => on.decode(prompt, { ...settings, ...rest, method }).final);
    for (const { tokens } of await Promise.all(group)) results.push(tokens.join(" "));
  }
  return results;
}

describe.skipIf(!stories || !questions)(`one text per seed (${noData} otherwise)`, () => {
  const maxTokens = 20;
  const [count, seeds] = long ? [200, 10] : [20, 2];
  const kinds = {
    greedy: { temperature: 0, maxTokens },
    sampling: { temperature: 0.9, topP: 0.95, repetitionPenalty: 1.2, maxTokens },
    ...(long && { "sampling plainly": { temperature: 1, maxTokens } }),
  } satisfies Record<string, DecodeOptions>;
  let prompts: string[];
  beforeAll(async () => {
    prompts = (await readPrompts(count)).filter((_, i) => !long || i % parts === part - 1);
  });

  describe.each(Object.entries(kinds))("%s", (kind, settings) => {
    const all = () => ({ ...settings, prompts, seeds: kind === "greedy" ? 1 : seeds });
    const plain: MethodChoice = kind === "greedy" ? "greedy" : "sample";
    let expected: string[];
    beforeAll(async () => {
      expected = await outputs(model, plain, 1, all());
      if (kind !== "greedy") expect(new Set(expected).size).toBeGreaterThan(0.9 * expected.length);
    }, 3_600_000);

    test("plain decoding, eight at a time", async () => {
      expect(await outputs(model, plain, 8, all())).toEqual(expected);
    }, 600_000);

    const together = kind === "sampling" || long ? [1, 8] : [8];
    test.each(rows(methods))(
      "%s",
      async (_, method) => {
        for (const size of together) expect(await outputs(model, method, size, all())).toEqual(expected);
      },
      3_600_000,
    );

    test.each(rows(budgeted).filter(() => long || kind === "sampling"))(
      "%s",
      async (_, method) => {
        const few = long ? all() : { ...all(), prompts: prompts.slice(0, 6), seeds: 1 };
        const own = long ? expected : await outputs(model, plain, 8, few);
        expect(await outputs(model, method, 8, few)).toEqual(own);
      },
      3_600_000,
    );
  });

  test("whatever was measured on the machine before: with an empty cache folder, and with what it then holds", async () => {
    const folder = await mkdtemp(join(tmpdir(), "ventris-empty-"));
    vi.stubEnv("VENTRIS_CACHE", folder);
    try {
      const few = { ...kinds.sampling, prompts: prompts.slice(0, 4), seeds: 1, maxTokens: 40 };
      const expected = await outputs(model, "sample", 1, few);
      for (let opened = 0; opened < 2; opened++) {
        await using fresh = await openKnossos();
        for (const name of ["dyspec", "sequoia", "chain", "aded"])
          expect(await outputs(fresh, methodChoice({ name }), 1, few)).toEqual(expected);
      }
    } finally {
      vi.unstubAllEnvs();
      await rm(folder, { recursive: true, force: true });
    }
  }, 300_000);
});

const shapings = [0.6, 1].flatMap((temperature) => [1, 0.95].map((topP) => ({ temperature, topP })));

describe.skipIf(!long || parts > 1).each(shapings)(
  "the target's distribution, by chi-square: temperature $temperature, top-p $topP",
  (given) => {
    const prompt = "Once upon a time there was";
    const shaping = { ...given, topK: 4, repetitionPenalty: 1.3 };
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

    async function deviate(method: MethodChoice): Promise<number> {
      const [samples, together] = [100_000, 128]; // runs side by side share their passes
      const counts = new Map<string, number>();
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
      return normalDeviate(counts, cells, samples);
    }

    test("the race", async () => {
      expect(await deviate("sample")).toBeLessThan(4);
    }, 900_000);

    const sampled = [
      { name: "chain", length: 4 },
      { name: "spec-infer" },
      { name: "sequoia", budget: 16 },
      { name: "dyspec", budget: 16 },
      { name: "dyspec", budget: 16, algorithm: "threshold" },
    ].map((method) => methodChoice({ ...method, verification: "published", draftTopK: 16 }));
    test.each(rows(sampled))(
      "%s, and another one where draws are verified with q^0.7",
      async (_, method) => {
        expect(await deviate(method)).toBeLessThan(4);
        wrong.q = true;
        expect(await deviate(method).finally(() => (wrong.q = false))).toBeGreaterThan(6);
      },
      3_600_000,
    );
  },
);
