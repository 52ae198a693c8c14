/** Prompt tokens and transferred states: their guesses against a calculation in float64, what real rows see of them, and what is refused. */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { someNumbers } from "../../../test/conformance/entries.ts";
import { removeModel, type TinyModel, writeTinyModel } from "../../../test/fixtures/tiny-model.ts";
import { methodChoice } from "../../calls.ts";
import type { ForestNode } from "../../engine/forest.ts";
import { leaseSites } from "../../engine/sites/request.ts";
import { type Model, open } from "../../open.ts";
import type { Foresight } from "./guesses.ts";
import { openEarlyExits } from "./hidden-transfer/early-exit.ts";
import { openTransfers, transferForesight } from "./hidden-transfer/index.ts";
import { openPromptTokens, promptForesight } from "./prompt-tokens/vectors.ts";

vi.setConfig({ testTimeout: 180_000 }); // seconds of work at most, but the machine may be busy

const width = 32;
let tiny: TinyModel;
let other: TinyModel;
let model: Model;
beforeAll(async () => {
  [tiny, other] = await Promise.all([
    writeTinyModel({ tokenizer: true, config: { num_hidden_layers: 4, eos_token_id: undefined } }),
    writeTinyModel({ tokenizer: true, seed: 2 }),
  ]);
  model = await open(tiny.folder, { threads: 1 });
});
afterAll(async () => {
  await model.close();
  await Promise.all([tiny, other].map(removeModel));
});

const text = [5, 9, 2, 33, 14, 7];
const difference = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce((worst, v, i) => Math.max(worst, Math.abs(v - b[i])), 0);
};
type Tensors = Record<string, { shape: number[]; values: Float32Array<ArrayBuffer> }>;
const write = (
  name: string,
  kind: string,
  sites: string[],
  settings: Record<string, unknown>,
  tensors: Tensors,
  of = model,
  folder = tiny.folder,
) => of.writePart(join(folder, "parts", name), { kind, sites, settings, tensors: new Map(Object.entries(tensors)) });
const writeVectors = (
  name: string,
  tokens: number,
  ensemble = 1,
  values = someNumbers(tokens * ensemble * width, 0.6),
) =>
  write(
    name,
    "prompt-tokens",
    ["embed.tokens"],
    { tokens, ensemble },
    { vectors: { shape: [tokens * ensemble, width], values } },
  );
const matrix = (step: number): Float32Array<ArrayBuffer> =>
  someNumbers(width * width, 0.2 + step / 10).map((x, i) => x + (i % (width + 1) === 0 ? 0.5 : 0));
const writeTransfers = (name: string, layers: number[], more: Record<string, unknown> = {}, scale = 1) =>
  write(
    name,
    "hidden-transfer",
    ["layers.0.residual"],
    { layers, ...more },
    Object.fromEntries(
      layers.map((_, i) => {
        const values = matrix(i + 1).map((x) => scale * x);
        return [`weight.${i + 1}`, { shape: [width, width], values }];
      }),
    ),
  );

/** The guesses of a foresight at the end of the text. */
async function guessesOf(foresight: Foresight): Promise<(Float32Array | undefined)[]> {
  const lease = model.forest.lease(leaseSites(model.sites(), foresight.taps ?? []));
  const { node } = await lease.prefill(text.slice(0, -1));
  const extensions: Parameters<typeof lease.extend>[0][number][] = [{ parent: node, token: text[text.length - 1] }];
  const places = (foresight.rows?.(foresight.levels) ?? []).map((chain) =>
    chain.map((ahead, i) => {
      extensions.push({ parent: i === 0 ? 0 : extensions.length - 1, token: 0, ahead });
      return extensions.length - 1;
    }),
  );
  const made = await lease.extend(extensions);
  const chains = places.map((chain) => chain.map((place): ForestNode => made[place]));
  const guesses = (await foresight.guess(made[0], chains)).map((logits) => logits?.slice());
  lease.close();
  return guesses;
}

describe("prompt tokens", () => {
  test("stand behind the text, each seeing those before it of its own number in the ensemble, whose logits are averaged", async () => {
    const vectors = someNumbers(6 * width, 0.6);
    await writeVectors("three of two", 3, 2, vectors);
    const guesses = await guessesOf(promptForesight(await openPromptTokens(model, "three of two"), 3));
    const chainOf = (equal: number): Float64Array[] =>
      tiny
        .logits([...text, 0, 0, 0], (site, row, value) => {
          const token = row - text.length;
          if (site === "embed.tokens" && token >= 0) {
            const at = (2 * token + equal) * width;
            value.set(vectors.subarray(at, at + width));
          }
        })
        .slice(-3);
    const [first, second] = [chainOf(0), chainOf(1)];
    for (const level of [0, 1, 2]) {
      const mean = first[level].map((x, i) => (x + second[level][i]) / 2);
      expect(difference(guesses[level]!, mean)).toBeLessThan(1e-4);
    }
  });
});

const turn = (weight: Float32Array, state: Float64Array): Float64Array =>
  Float64Array.from({ length: width }, (_, i) => state.reduce((sum, x, j) => sum + weight[i * width + j] * x, 0));

describe("hidden transfer", () => {
  test.each([
    ["after one layer each", [1, 2, 3], {}],
    ["after the same layer, from the row before", [2, 2], { source: "previous" }],
  ])("states %s go through the layers above, seeing the text and each other", async (_, layers, more) => {
    const name = `transfer ${layers.join()}`;
    await writeTransfers(name, layers, more);
    const transfers = await openTransfers(model, name);
    const foresight = transferForesight(transfers, layers.length, 4);
    const guesses = await guessesOf(foresight);
    expect(layers.map((_, level) => foresight.cost!(level))).toEqual(layers.map((layer) => (4 - layer) / 4));
    const last = text.length - 1;
    /** By layer: the state of the row that a step is made from. */
    const states = new Map<string, Float64Array>();
    const wanted = tiny
      .logits([...text, ...layers.map(() => 0)], (site, row, value) => {
        for (const [i, layer] of layers.entries()) {
          if (site !== `layers.${layer - 1}.residual`) continue;
          const step = i + 1;
          if (row === last + step) {
            const from = "source" in more ? row - 1 : last;
            value.set(turn(matrix(step), states.get(`${site} ${from}`)!));
          }
        }
        states.set(`${site} ${row}`, value.slice());
      })
      .slice(-layers.length);
    for (const [level, logits] of wanted.entries()) expect(difference(guesses[level]!, logits)).toBeLessThan(1e-3);
  });
});

test("an early exit's guesses are the last token's state after its layer, turned and read at once", async () => {
  const layers = [1, 3, 3];
  const tensors = layers.map((_, i): [string, Tensors[string]] => [
    `weight.${i + 1}`,
    { shape: [width, width], values: matrix(i + 1) },
  ]);
  await write("exits", "early-exit", ["layers.0.residual"], { layers }, Object.fromEntries(tensors));
  const guesses = await guessesOf(await openEarlyExits(model, "exits"));
  expect(guesses).toHaveLength(3);
  const last = text.length - 1;
  for (const [i, layer] of layers.entries()) {
    let turned: Float64Array | undefined;
    const wanted = tiny.logits(text, (site, row, value) => {
      if (row !== last) return;
      if (site === `layers.${layer - 1}.residual`) turned = turn(matrix(i + 1), value);
      if (site === "layers.3.residual") value.set(turned!);
    })[last];
    expect(difference(guesses[i]!, wanted)).toBeLessThan(1e-3);
  }
  await write("late exits", "early-exit", [], { layers: [4] }, Object.fromEntries(tensors));
  await expect(openEarlyExits(model, "late exits")).rejects.toThrow(/step 1 is to begin after layer 4/);
  await write("few exits", "early-exit", [], { layers: [1, 2] }, Object.fromEntries(tensors.slice(0, 1)));
  await expect(openEarlyExits(model, "few exits")).rejects.toThrow(/step 2 wants weight\.2 \[32, 32\]/);
});

describe.each(["prompt-tokens", "hidden-transfer"])("decoding with %s", (name) => {
  const option = name === "prompt-tokens" ? "prompts" : "transfers";
  beforeAll(async () => {
    await writeVectors("prompt-tokens", 3);
    await writeTransfers("hidden-transfer", [2, 3, 3]);
  });
  const method = (more: object = {}) => methodChoice({ name, budget: 8, estimate: "draft", ...more });

  test("is plain decoding, whatever the tree, alone and among others, greedy and sampled", async () => {
    for (const temperature of [0, 0.9]) {
      const run = { temperature, seed: 3, maxTokens: 24, frequencyPenalty: 1 };
      const plain = (await model.decode(text, run).final).tokens;
      const kinds = [
        {},
        { tree: "published" },
        { levels: 1 },
        { budget: 2, tree: "published" },
        { budget: 40 },
        { budget: 1 },
        { budget: 0, tree: "published" },
      ];
      const runs = kinds.map((more) => model.decode(text, { ...run, method: method(more) }).final);
      for (const { tokens } of [
        ...(await Promise.all(runs)),
        await model.decode(text, { ...run, method: method() }).final,
      ]) {
        expect(tokens).toEqual(plain);
      }
    }
    expect(model.forest.held).toBe(0);
  });

  test("the published trees say what they expect, and are fitted to the machine where no budget is given", async () => {
    const run = model.decode(text, {
      temperature: 0,
      maxTokens: 30,
      method: method({ tree: "published", estimate: "measured", budget: undefined }),
    });
    const notes: string[] = [];
    for await (const event of run) if (event.type === "draft" && event.note) notes.push(event.note);
    expect(notes[0]).toMatch(/^\d\.\d{3} tokens a pass are expected of trees of \d+ nodes and look-ahead rows$/);
    expect((await run.final).tokens).toEqual(
      (await model.decode(text, { temperature: 0, maxTokens: 30 }).final).tokens,
    );
  });

  test("the published trees expect nothing where nothing was measured", async () => {
    await writeVectors("endless vectors", 1, 1, someNumbers(width, 1e30));
    await writeTransfers("endless matrices", [2], {}, 1e30);
    const endless = name === "prompt-tokens" ? "endless vectors" : "endless matrices";
    for (const more of [{ estimate: "draft" }, { estimate: "measured", [option]: endless }]) {
      const run = model.decode(text, { temperature: 0, maxTokens: 6, method: method({ tree: "published", ...more }) });
      const notes: string[] = [];
      for await (const event of run) if (event.type === "draft" && event.note) notes.push(event.note);
      expect(notes[0]).toMatch(/^trees of 8 nodes and look-ahead rows; how often guesses are right was not measured/);
      expect(notes.join()).not.toMatch(/\d tokens a pass/);
    }
  });

  test("expectation goes with the published trees alone, and changes what they are said to give", async () => {
    const decode = (more: object) => model.decode(text, { temperature: 0, maxTokens: 6, method: method(more) });
    await expect(decode({ expectation: "published" }).final).rejects.toThrow(
      /expectation: means nothing with tree: "adaptive"/,
    );
    const expected: number[] = [];
    for (const expectation of ["direct", "published"]) {
      const run = decode({ tree: "published", estimate: "measured", expectation });
      for await (const event of run)
        if (event.type === "draft" && event.note?.includes("expected")) expected.push(Number.parseFloat(event.note));
    }
    expect(expected[1]).toBeLessThan(expected[0]);
  });

  test("ends with the context", async () => {
    const full = Array.from({ length: 92 }, (_, i) => 3 + ((i * 7) % 40));
    const plain = await model.decode(full, { temperature: 0 }).final;
    for (const tree of ["adaptive", "published"]) {
      const { tokens, finish } = await model.decode(full, { temperature: 0, method: method({ tree }) }).final;
      expect([tokens, finish]).toEqual([plain.tokens, "context"]);
    }
  });

  test("goes on without a draft, and says so, where a row fails", async () => {
    const huge = someNumbers(width * width, 1e30);
    await write(
      "broken vectors",
      "prompt-tokens",
      [],
      { tokens: 1 },
      { vectors: { shape: [1, width], values: huge.slice(0, width) } },
    );
    await write(
      "broken matrices",
      "hidden-transfer",
      [],
      { layers: [2] },
      { "weight.1": { shape: [width, width], values: huge } },
    );
    const run = model.decode(text, {
      temperature: 0,
      maxTokens: 8,
      method: method({ [option]: name === "prompt-tokens" ? "broken vectors" : "broken matrices" }),
    });
    const notes: string[] = [];
    for await (const event of run) if (event.type === "draft" && event.note) notes.push(event.note);
    const { tokens, counters } = await run.final;
    expect(tokens).toEqual((await model.decode(text, { temperature: 0, maxTokens: 8 }).final).tokens);
    expect(notes).toContainEqual(expect.stringMatching(/guess 1 was not finite/));
    expect(counters.failedDrafts).toBeGreaterThan(3);
  });

  test("is refused where the part does not fit", async () => {
    const decode = (more: object) => model.decode(text, { maxTokens: 4, method: method(more) }).final;
    await expect(decode({ levels: 4 })).rejects.toThrow(/levels: 4 tokens ahead.*guesses 3/);
    await expect(decode({ [option]: "nobody" })).rejects.toThrow(/no part "nobody"/);
    await expect(decode({ tree: "published", budget: 500 })).rejects.toThrow(/budget: 503 nodes/);
    await expect(decode({ tree: "published", budget: 1 })).rejects.toThrow(
      /budget: 1 is too small for tree: "published".*at least 2, or 0/,
    );
    await using second = await open(other.folder, { threads: 1 });
    await write(
      "foreign",
      name,
      [],
      name === "prompt-tokens" ? { tokens: 1 } : { layers: [1] },
      name === "prompt-tokens"
        ? { vectors: { shape: [1, width], values: someNumbers(width, 1) } }
        : { "weight.1": { shape: [width, width], values: matrix(1) } },
      second,
      other.folder,
    );
    await expect(decode({ [option]: join(other.folder, "parts", "foreign") })).rejects.toThrow(
      /was trained on another model/,
    );
    expect(model.forest.held).toBe(0);
  });
});

test("a draft with prompt tokens drafts what it drafts without them, in fewer passes where they are right", async () => {
  // The draft is the model itself, whose guesses of zeros are wrong, so that every one of its passes gives a token at least.
  await writeVectors("prompt-tokens", 2);
  const run = { temperature: 0, maxTokens: 24, frequencyPenalty: 1 };
  const plain = await model.decode(text, run).final;
  const method = { name: "prompt-tokens", draft: tiny.folder, length: 4, budget: 4, estimate: "draft" };
  for (const temperature of [0, 0.8]) {
    const { tokens, counters } = await model.decode(text, { ...run, temperature, method: methodChoice(method) }).final;
    expect(tokens).toEqual((await model.decode(text, { ...run, temperature }).final).tokens);
    expect(counters.draftPasses).toBeGreaterThan(0);
  }
  expect(plain.tokens).toHaveLength(24);
  const decode = (more: object) => model.decode(text, { ...run, method: methodChoice({ ...method, ...more }) }).final;
  await expect(decode({ tree: "published" })).rejects.toThrow(/tree: "published" is for the model's own/);
  await expect(decode({ expectation: "direct" })).rejects.toThrow(/expectation: means nothing with draft/);
  await expect(decode({ draft: undefined })).rejects.toThrow(/length: means nothing with the model's own/);
  await expect(decode({ levels: 3 })).rejects.toThrow(/levels: 3 tokens ahead are asked for, and prompts .* guesses 2/);
  // By rank the draft's own trees are of another shape, and of other luck.
  const passes: number[] = [];
  for (const by of ["probability", "rank"]) {
    const { tokens, counters } = await decode({ by, budget: 30, length: 8 });
    expect(tokens).toEqual(plain.tokens);
    passes.push(counters.draftPasses);
  }
  expect(passes[0]).not.toBe(passes[1]);
});

test("what fails in a draft's own guesses is said of the request", async () => {
  const values = someNumbers(width, 1e30);
  await write("failing", "prompt-tokens", [], { tokens: 1 }, { vectors: { shape: [1, width], values } });
  const method = { name: "prompt-tokens", draft: tiny.folder, prompts: "failing", length: 4, budget: 4 };
  const run = model.decode(text, {
    temperature: 0,
    maxTokens: 12,
    method: methodChoice({ ...method, estimate: "draft" }),
  });
  const notes: string[] = [];
  for await (const event of run) if (event.type === "draft" && event.note) notes.push(event.note);
  const { counters } = await run.final;
  expect(notes).toContainEqual(expect.stringMatching(/: guess 1 was not finite/));
  expect(counters.failedDrafts).toBeGreaterThan(1);
});

test("transfers begin after layers that there are, in order, with matrices of the model's width", async () => {
  const decode = (transfers: string) =>
    model.decode(text, { maxTokens: 4, method: methodChoice({ name: "hidden-transfer", transfers }) }).final;
  await writeTransfers("too late", [4]);
  await expect(decode("too late")).rejects.toThrow(/step 1 is to begin after layer 4.*4 layers can begin after 1 to 3/);
  await writeTransfers("falling", [3, 2]);
  await expect(decode("falling")).rejects.toThrow(
    /step 2 is to begin after layer 2, before the step ahead of it \(3\)/,
  );
  await write(
    "narrow",
    "hidden-transfer",
    [],
    { layers: [1] },
    { "weight.1": { shape: [4, 4], values: someNumbers(16, 1) } },
  );
  await expect(decode("narrow")).rejects.toThrow(/step 1 wants weight\.1 \[32, 32\]/);
  await write("vague", "hidden-transfer", [], { layers: [] }, { x: { shape: [1], values: someNumbers(1, 1) } });
  await expect(decode("vague")).rejects.toThrow(/settings/);
});

test("a draft may hold the end of a text, under a constraint, too", async () => {
  const ending = await writeTinyModel({ tokenizer: true, seed: 5 });
  await using own = await open(ending.folder, { threads: 1 });
  await own.writePart(join(ending.folder, "parts", "medusa"), {
    kind: "heads",
    sites: ["layers.1.residual"],
    tensors: new Map(
      [1, 2].flatMap(
        (k) =>
          [
            [`weight.${k}`, { shape: [width, width], values: new Float32Array(width * width) }] as const,
            [`bias.${k}`, { shape: [width], values: new Float32Array(width) }] as const,
          ] as [string, { shape: number[]; values: Float32Array<ArrayBuffer> }][],
      ),
    ),
  });
  // Everything is drafted, so that the end is among it as soon as it comes.
  const method = methodChoice({ name: "medusa", budget: 100, topK: 64, estimate: "draft" });
  let ended = 0;
  for (let request = 0; request < 12; request++) {
    const run = { temperature: 1.5, seed: 1, request, maxTokens: 30, constraint: { regex: "[^q]*" } };
    const plain = await own.decode("the cat", run).final;
    const drafted = await own.decode("the cat", { ...run, method }).final;
    expect([drafted.tokens, drafted.finish]).toEqual([plain.tokens, plain.finish]);
    ended += plain.finish === "end" ? 1 : 0;
  }
  expect(ended).toBeGreaterThan(0);
  await removeModel(ending);
});
