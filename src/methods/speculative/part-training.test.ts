/** Training of parts that make rows foretell tokens: their layout, what is trained and what is not, and that it learns. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { llamaConfig } from "../../../test/fixtures/tiny-model.ts";
import { uniform } from "../../engine/random.ts";
import { familyOf } from "../../models/families.ts";
import { open } from "../../open.ts";
import { trainTokenizer } from "../../text/index.ts";
import { aheadLayout } from "../../training/look-ahead.ts";
import { runRecipe } from "../../training/recipe.ts";
import { partKinds } from "../index.ts";
import { foresightOf, guessAccuracy } from "./accuracy.ts";
import { bestLayers } from "./hidden-transfer/layers.ts";
import { paper as transferPaper } from "./hidden-transfer/paper.ts";

vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 }); // seconds of work at most, but the machine may be busy

test("blocks stand behind their anchors, and are seen by nothing but their own later rows", () => {
  const { family, config } = familyOf({ ...llamaConfig, num_key_value_heads: 4 });
  const layout = aheadLayout({
    family,
    config,
    rows: 2,
    length: 8,
    anchors: 2,
    steps: 2,
    ensemble: 2,
    decay: 1,
    targets: "model",
    places: "even",
    seed: 1,
  });
  const { positions, anchorOf, mask } = layout.even;
  expect(layout.whole).toBe(8 + 2 * 2 * 2);
  const own = positions.slice(8, 16);
  const anchors = anchorOf.slice(8, 16);
  // The last anchor leaves two tokens that its rows can foretell.
  expect(anchors).toEqual([2, 2, 2, 2, 5, 5, 5, 5]);
  expect(own).toEqual([3, 3, 4, 4, 6, 6, 7, 7]);
  expect(anchorOf.slice(16 + 8, 16 + 10)).toEqual([16 + 2, 16 + 2]);
  const seen = (row: number): number[] =>
    Array.from({ length: 16 }, (_, key) => key).filter((key) => mask[row * 16 + key] === 0);
  expect(seen(4)).toEqual([0, 1, 2, 3, 4]);
  expect(seen(8)).toEqual([0, 1, 2, 8]);
  expect(seen(11)).toEqual([0, 1, 2, 9, 11]); // of the second number of the ensemble, after that of step 1
  expect(layout.rowsOf(2).slice(0, 2)).toEqual([10, 11]);
});

test("drawn blocks stand at places of each text's own, the same whenever the batch comes again", () => {
  const { family, config } = familyOf({ ...llamaConfig, num_key_value_heads: 4 });
  const [rows, length, anchors, steps] = [3, 24, 4, 2];
  const shape = { family, config, rows, length, anchors, steps, decay: 1, targets: "model", places: "random" } as const;
  const layout = aheadLayout({ ...shape, seed: 1 });
  const { whole } = layout;
  const batch = (first: number) => ({
    tokens: Int32Array.from({ length: rows * (length + 1) }, (_, i) => (first + i * i) % 50),
    rows,
    length,
  });
  const anchorsOf = (text: number, from = layout, of = batch(1)): number[] =>
    Array.from({ length: anchors }, (_, i) => {
      const { anchorOf } = from.drawn(of);
      return anchorOf[text * whole + length + i * steps] - text * whole;
    });
  for (let text = 0; text < rows; text++) {
    const own = anchorsOf(text);
    expect(new Set(own).size).toBe(anchors);
    expect(own).toEqual([...own].sort((a, b) => a - b));
    expect(own.every((at) => at >= 0 && at <= length - 1 - steps)).toBe(true);
    expect(anchorsOf(text)).toEqual(own);
  }
  const others = [anchorsOf(1), anchorsOf(0, layout, batch(2)), anchorsOf(0, aheadLayout({ ...shape, seed: 2 }))];
  for (const other of others) expect(other).not.toEqual(anchorsOf(0));
  const { mask, positions } = layout.drawn(batch(1));
  const row = length + steps + 1; // the second step behind the second anchor
  for (let text = 0; text < rows; text++) {
    const anchor = anchorsOf(text)[1];
    const seen = Array.from({ length: whole }, (_, key) => key).filter(
      (key) => mask[(text * whole + row) * whole + key] === 0,
    );
    expect(seen).toEqual([...Array.from({ length: anchor + 1 }, (_, key) => key), row - 1, row]);
    expect(positions[text * whole + row]).toBe(anchor + 2);
  }
});

test("pages and comparisons say of the shipped parts what their cards say they have seen", async () => {
  const read = (path: string) => readFile(new URL(`../../../${path}`, import.meta.url), "utf8");
  const page = async (name: string) => (await read(`src/methods/speculative/${name}/README.md`)).replaceAll("\n", " ");
  const seen = async (name: string): Promise<[steps: number, millions: string]> => {
    const { training } = JSON.parse(await read(`models/knossos/parts/${name}/part.json`));
    const { rows, length } = JSON.parse(await read(`recipes/knossos-${name}.json`));
    return [training.step, `${((training.step * rows * length) / 1e6).toFixed(1)} million`];
  };
  const measurements = (await read("docs/measurements.md")).replaceAll("\n", " ");
  const parts = { "prompt-tokens": "prompt tokens", medusa: "Medusa heads", "hidden-transfer": "hidden transfer" };
  for (const [part, name] of Object.entries({ ...parts, eagle: "EAGLE" })) {
    const [steps, millions] = await seen(part);
    expect(measurements).toContain(`${name} ${millions}`);
    if (part === "eagle") continue;
    for (const text of [millions, `${steps}`]) expect(await page("prompt-tokens"), part).toContain(text);
    if (part === "prompt-tokens") continue;
    expect(await page("hidden-transfer"), part).toContain(`${millions} tokens`);
    expect(await page(part), part).toContain(`${steps}`);
    const ours = transferPaper.claims.find(({ id }) => id === "against-medusa")!.ours;
    expect(ours, part).toContain(millions.replace(" million", ""));
  }
});

test("the layers of the steps are those of the least loss in all that do not fall", () => {
  const draw = (i: number): number => uniform({ seed: 3, request: 0 }, i, "data");
  for (let example = 0; example < 30; example++) {
    const losses = [0, 1, 2, 3].map((layer) => [0, 1, 2].map((step) => draw(12 * example + 3 * layer + step)));
    const all = losses.flatMap((_, a) =>
      losses.flatMap((_, b) => losses.map((_, c) => [a, b, c]).filter(() => a <= b)).filter(([, b, c]) => b <= c),
    );
    const sum = (layers: number[]): number => layers.reduce((total, layer, step) => total + losses[layer][step], 0);
    const best = all.reduce((x, y) => (sum(y) < sum(x) ? y : x));
    expect(bestLayers(losses)).toEqual(best.map((layer) => layer + 1));
  }
});

describe("a part", () => {
  let folder: string;
  const config = {
    architectures: ["LlamaForCausalLM"],
    vocab_size: 280,
    hidden_size: 16,
    intermediate_size: 32,
    num_hidden_layers: 3,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    max_position_embeddings: 64,
    tie_word_embeddings: true,
    bos_token_id: 0,
    eos_token_id: 1,
  };
  const tiny = {
    description: "tiny",
    licence: "none",
    config,
    tokenizer: "tokenizer",
    data: [{ path: "texts.jsonl" }],
    heldOut: 0.2,
    rows: 2,
    length: 16,
    seed: 1,
    schedule: { kind: "constant", peak: 0.02 },
  };
  const recipe = async (change: Record<string, unknown>, out: string, onMessage?: (message: string) => void) => {
    const path = join(folder, `${change.name}.json`);
    await writeFile(path, JSON.stringify({ ...tiny, ...change }));
    return runRecipe(path, {
      dataFolder: folder,
      runFolder: join(folder, `${change.name}-run`),
      out,
      threads: 1,
      partKinds,
      onMessage,
    });
  };
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "ventris-ahead-"));
    const texts = Array.from({ length: 80 }, (_, i) =>
      `The cat ${i % 7} sat on the mat and the dog ${i % 5} sat on the log. `.repeat(2),
    );
    await writeFile(join(folder, "texts.jsonl"), texts.map((text) => `${JSON.stringify({ text })}\n`).join(""));
    await mkdir(join(folder, "tokenizer"));
    await trainTokenizer({ texts, size: 280, out: join(folder, "tokenizer") });
    await recipe({ name: "base", steps: 80 }, join(folder, "base"));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test.each<[string, Record<string, unknown>, Record<string, number[]>]>([
    ["prompt-tokens", { tokens: 2, ensemble: 2, anchors: 4 }, { vectors: [4, 16] }],
    ["hidden-transfer", { layers: [1, 2], anchors: 4 }, { "weight.1": [16, 16], "weight.2": [16, 16] }],
    ["eagle", { distributions: 1 }, { "fc.weight": [16, 32], "fc.bias": [16] }],
  ])("%s learns, on a base that stays as it is, and drafts what is then accepted", async (kind, settings, tensors) => {
    const weights = join(folder, "base", "model.safetensors");
    const before = await readFile(weights);
    const continues = { model: "base", tokens: 0, minutes: 0 };
    const out = join(folder, "base", "parts", kind);
    const { history } = await recipe(
      { name: kind, steps: kind === "prompt-tokens" ? 120 : 60, continues, part: { kind, settings } },
      out,
    );
    const mean = (entries: typeof history): number =>
      entries.reduce((sum, { loss }) => sum + loss!, 0) / entries.length;
    expect(mean(history.slice(-10))).toBeLessThan(0.8 * mean(history.slice(0, 2)));
    expect(await readFile(weights)).toEqual(before);
    await using model = await open(join(folder, "base"), { threads: 1 });
    const part = await model.part(kind, kind);
    expect(part.card.tensors).toMatchObject(tensors);
    if (kind !== "eagle") expect(Object.keys(part.card.tensors)).toEqual(Object.keys(tensors));
    const run = { temperature: 0, maxTokens: 30 };
    const method = { name: kind, budget: 6, ...(kind === "eagle" ? {} : { estimate: "draft" }) };
    const plain = await model.decode("The cat 3 sat", run).final;
    const drafted = await model.decode("The cat 3 sat", { ...run, method: method as never }).final;
    expect(drafted.tokens).toEqual(plain.tokens);
    expect(drafted.counters.accepted).toBeGreaterThan(0);
  });

  test.each<[string, Record<string, unknown>]>([
    ["prompt-tokens", { tokens: 2, ensemble: 2 }],
    ["prompt-tokens", { tokens: 2, targets: "texts" }],
    ["hidden-transfer", { layers: [1, 2], source: "previous" }],
  ])(
    "drawn places of %s are those of even ones where all are taken, and a run that goes on draws as one in one go",
    async (kind, settings) => {
      const continues = { model: "base", tokens: 0, minutes: 0 };
      const trained = async (name: string, more: object, steps: number[]) => {
        const out = join(folder, "base", "parts", name);
        const losses: number[] = [];
        for (const count of steps) {
          const part = { kind, settings: { ...settings, ...more } };
          const { history } = await recipe({ name, steps: count, continues, part }, out);
          losses.push(...history.map(({ loss }) => loss!));
        }
        const tensors = await readFile(join(out, "part.safetensors"));
        await Promise.all([out, join(folder, `${name}-run`)].map((path) => rm(path, { recursive: true })));
        return { losses, tensors };
      };
      const all = { anchors: 64 };
      const [even, drawn] = [
        await trained("even", { ...all, places: "even" }, [3]),
        await trained("drawn", { ...all, places: "random" }, [3]),
      ];
      expect(drawn.losses).toHaveLength(even.losses.length);
      for (const [i, loss] of drawn.losses.entries()) expect(loss).toBeCloseTo(even.losses[i], 4);
      const whole = await trained("whole", { anchors: 3 }, [6]);
      expect((await trained("parts", { anchors: 3 }, [3, 6])).tensors).toEqual(whole.tensors);
      expect((await trained("few", { anchors: 3, places: "even" }, [6])).tensors).not.toEqual(whole.tensors);
    },
  );

  test("transfers whose layers are not given begin after those of the least measured loss, which the card keeps", async () => {
    const continues = { model: "base", tokens: 0, minutes: 0 };
    const out = join(folder, "base", "parts", "measured");
    const messages: string[] = [];
    const part = { kind: "hidden-transfer", settings: { steps: 2, anchors: 4 } };
    await recipe({ name: "measured", steps: 4, continues, part }, out, (message) => messages.push(message));
    await using model = await open(join(folder, "base"), { threads: 1 });
    const { layers, losses } = (await model.part("measured", "hidden-transfer")).card.settings as Record<
      string,
      never[]
    >;
    expect(losses).toEqual([1, 2].map(() => [expect.any(Number), expect.any(Number)]));
    expect(layers).toEqual(bestLayers(losses));
    expect(messages).toContainEqual(expect.stringMatching(/^layers: after 2, loss by step: \d\.\d{3}, \d\.\d{3}$/));
    const run = { temperature: 0, maxTokens: 12 };
    const method = { name: "hidden-transfer", transfers: "measured", budget: 6, estimate: "draft" } as const;
    const plain = await model.decode("The cat 3 sat", run).final;
    expect((await model.decode("The cat 3 sat", { ...run, method }).final).tokens).toEqual(plain.tokens);
  });

  test("early exits learn beside them, on a base that stays as it is, and guess better than untrained ones", async () => {
    const weights = join(folder, "base", "model.safetensors");
    const before = await readFile(weights);
    const continues = { model: "base", tokens: 0, minutes: 0 };
    const part = { kind: "early-exit", settings: { layers: [1, 2], anchors: 4 } };
    const parts = join(folder, "base", "parts");
    const train = async (name: string, steps: number) =>
      (await recipe({ name, steps, continues, part }, join(parts, name))).history.map(({ loss }) => loss!);
    await train("exits-untrained", 1);
    const losses = await train("exits", 60);
    const mean = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length;
    expect(mean(losses.slice(-10))).toBeLessThan(0.8 * mean(losses.slice(0, 2)));
    expect(await readFile(weights)).toEqual(before);
    await using model = await open(join(folder, "base"), { threads: 1 });
    const { card } = await model.part("exits", "early-exit");
    expect(card.tensors).toEqual({ "weight.1": [16, 16], "weight.2": [16, 16] });
    expect(card.sites).toEqual(["layers.0.residual", "layers.1.residual"]);
    const text = model.tokenizer!.encode(
      "The cat 3 sat on the mat and the dog 2 sat on the log. The cat 1 sat on the mat",
    );
    const shares = async (name: string) =>
      mean(await guessAccuracy(model, await foresightOf(model, "early-exit", name), text, { top: 3 }));
    expect(await shares("exits")).toBeGreaterThan(await shares("exits-untrained"));
  });

  test("codebooks begin near the base's states, lose less of its loss with training, and work in a request", async () => {
    const continues = { model: "base", tokens: 0, minutes: 0 };
    const out = join(folder, "base", "parts", "codebook");
    const settings = { sites: "both", codes: 16, k: 2, weight: 0.1 };
    const heldOut = async (name: string, steps: number) =>
      (await recipe({ name, steps, continues, part: { kind: "codebook", settings } }, out)).history.findLast(
        (entry) => entry.heldOutLoss !== undefined,
      )!.heldOutLoss!;
    const first = await heldOut("codebook-first", 1);
    expect(await heldOut("codebook", 60)).toBeLessThan(first - 0.05);
    await using model = await open(join(folder, "base"), { threads: 1 });
    const { card } = await model.part("codebook", "codebook");
    expect(card.settings).toMatchObject({ aggregate: "sum", sites: { length: 6 } });
    expect(card.tensors).toMatchObject({
      "layers.0.attention.heads.codes": [32, 8],
      "layers.2.mlp.output.codes": [16, 16],
    });
    const run = { temperature: 0, maxTokens: 12 };
    const through = await model.decode("The cat 3 sat", { ...run, shapers: [{ name: "codebook" }] as never }).final;
    expect(through.tokens.length).toBeGreaterThan(0);
  });

  test("of units: all weights learn, the text's loss stays, and more tokens a pass are sure enough", async () => {
    const continues = { model: "base", tokens: 0, minutes: 0 };
    const units = { pad: "<|mask|>", threshold: 0.3, longest: 3, most: 3 };
    const out = join(folder, "units");
    await recipe({ name: "units", steps: 40, continues, units, schedule: { kind: "constant", peak: 0.01 } }, out);
    await using model = await open(out, { threads: 1 });
    const pad = model.tokenizer!.specialTokens!.get("<|mask|>")!;
    const method = { name: "lexical-units", pad, beta: 0.3, lookAhead: 3 } as never;
    const { counters } = await model.decode("The cat 3 sat", { temperature: 0, maxTokens: 40, method }).final;
    expect(counters.tokensPerPass).toBeGreaterThan(1.05);
    expect(await readFile(join(out, "README.md"), "utf8")).toMatch(
      /\| units \| of up to 3 tokens, .* `<\\\|mask\\\|>`: `lookAhead` .* above 3 is more than was learned \|/,
    );
  });

  test("of units that no text has says so, and trains on the texts alone", async () => {
    const continues = { model: "base", tokens: 0, minutes: 0 };
    const messages: string[] = [];
    const trained = async (change: Record<string, unknown>) => {
      const { name, units } = change as { name: string; units?: object };
      const { history } = await recipe(
        { name, steps: 3, continues, ...(units && { units }) },
        join(folder, name),
        (message) => messages.push(message),
      );
      return history.at(-1)!.loss;
    };
    const plain = await trained({ name: "without-units" });
    const units = { pad: "<|mask|>", threshold: 0.9999, longest: 3, most: 3 };
    expect(await trained({ name: "no-unit", units })).toBeCloseTo(plain, 4);
    expect(messages).toContainEqual(
      expect.stringMatching(/^units: the texts of the first 3 steps have none.*0\.9999.*smaller threshold/),
    );
  });

  test("is refused where it does not fit, by name", async () => {
    const continues = { model: "base", tokens: 0, minutes: 0 };
    const attempt = (change: Record<string, unknown>) =>
      recipe({ name: "refused", steps: 2, continues, ...change }, join(folder, "refused"));
    const cases: [Record<string, unknown>, RegExp][] = [
      [{ part: { kind: "prompt-tokens", settings: { tokens: 16 } } }, /16 tokens ahead need rows longer than 16/],
      [{ part: { kind: "prompt-tokens", settings: { tokens: 0 } } }, /settings/],
      [
        { part: { kind: "hidden-transfer", settings: { layers: [3] } } },
        /after layer 3.*3 layers can begin after 1 to 2/,
      ],
      [{ part: { kind: "hidden-transfer", settings: { layers: [1], steps: 2 } } }, /steps: 2 are asked for.*names 1/],
      [{ part: { kind: "early-exit", settings: {} } }, /layers/],
      [{ part: { kind: "early-exit", settings: { layers: [3] } } }, /after layer 3.*3 layers can begin after 1 to 2/],
      [{ part: { kind: "hidden-transfer", settings: { layers: [2, 1] } } }, /step 2 is to begin after layer 1, before/],
      [{ part: { kind: "codebook", settings: { codes: 0 } } }, /codes/],
      [{ part: { kind: "codebook", settings: { codes: 4, k: 8 } } }, /8 of 4 codes cannot fire/],
      [
        { part: { kind: "codebook", settings: { sites: [{ site: "layers.0.mlp.outputs", groups: 1 }] } } },
        /mlp.output/,
      ],
      [{ part: { kind: "eagle", settings: { states: 0, distributions: 0 } } }, /nothing is learned/],
      [{ units: { pad: "<|nope|>", threshold: 0.8, longest: 3 } }, /no special token <\|nope\|>/],
      [{ units: { pad: "<|mask|>", threshold: 1, longest: 3 } }, /threshold/],
      [{ units: { pad: "<|mask|>", threshold: 0.5, longest: 16 } }, /texts of 16 tokens are shorter than units of 16/],
      [{ units: { pad: "<|mask|>", threshold: 0.5, longest: 3 }, continues: undefined }, /units: .*give continues/],
      [{ units: { pad: "<|mask|>", threshold: 0.5, longest: 3 }, recompute: true }, /recompute does not go with units/],
    ];
    for (const [change, message] of cases) {
      await expect(attempt(change), JSON.stringify(change)).rejects.toMatchObject({
        message: expect.stringMatching(message),
      });
      await rm(join(folder, "refused-run"), { recursive: true, force: true });
    }
  });
});
