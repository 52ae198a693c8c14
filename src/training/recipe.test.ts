import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { familyOf } from "../models/families.ts";
import { readLora } from "../models/lora.ts";
import { readParameters } from "../models/parameters.ts";
import { open } from "../open.ts";
import { trainTokenizer } from "../text/bpe-training.ts";
import { openTokenizer } from "../text/open-tokenizer.ts";
import { openWeights } from "../weights/index.ts";
import { openSafetensors } from "../weights/safetensors.ts";
import { checkpointPath } from "./checkpoint.ts";
import { loadCorpus } from "./data.ts";
import { readNote } from "./export.ts";
import { differencesIn, readRecipe, runRecipe } from "./recipe.ts";

const folder = await mkdtemp(join(tmpdir(), "ventris-recipe-"));
const texts = (subject: string) => Array.from({ length: 400 }, (_, i) => `${subject} ${i} sat on mat ${i * 7}.`);
beforeAll(async () => {
  vi.stubEnv("VENTRIS_CACHE", join(folder, "cache"));
  await writeFile(join(folder, "texts.jsonl"), lines("The cat"));
  await mkdir(join(folder, "tokenizer"));
  await trainTokenizer({ texts: texts("The cat"), size: 270, out: join(folder, "tokenizer") });
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

const lines = (subject: string) =>
  texts(subject)
    .map((text) => JSON.stringify({ text }))
    .join("\n");

const tiny = {
  name: "tiny",
  description: "a test",
  licence: "none",
  config: {
    architectures: ["LlamaForCausalLM"],
    vocab_size: 270,
    hidden_size: 16,
    intermediate_size: 32,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    max_position_embeddings: 32,
    tie_word_embeddings: true,
  },
  tokenizer: "tokenizer",
  data: [{ path: "texts.jsonl" }],
  rows: 2,
  length: 8,
  steps: 2,
  seed: 1,
  schedule: { kind: "constant", peak: 0.01 },
};

async function run(change: object = {}) {
  const path = join(folder, "recipe.json");
  await writeFile(path, JSON.stringify({ ...tiny, ...change }));
  return runRecipe(path, { dataFolder: folder, runFolder: join(folder, "run"), out: join(folder, "out"), threads: 1 });
}

describe("a finished run", () => {
  it("goes on with more steps alone, and refuses every other change, naming it", async () => {
    expect(await run()).toMatchObject({ step: 2, resumedFrom: 0 });
    const card = () => readFile(join(folder, "out", "README.md"), "utf8");
    const before = await card();
    const changes: [object, RegExp][] = [
      [{ data: [{ path: "others.jsonl" }] }, /data\[0\]\.path \("texts\.jsonl", now "others\.jsonl"\)/],
      [{ rows: 4 }, /rows \(2, now 4\)/],
      [{ schedule: { kind: "constant", peak: 0.02 }, clip: 1 }, /schedule\.\w+ .*, clip \(not given, now 1\)/],
      [{ config: { ...tiny.config, rope_theta: 5 } }, /config/],
      [{ steps: 1 }, /steps \(2, now 1\)/],
      [{ seed: 2 }, /seed/],
    ];
    for (const [change, message] of changes)
      await expect(run(change)).rejects.toMatchObject({
        code: "bad_checkpoint",
        message: expect.stringMatching(message),
      });

    await writeFile(join(folder, "texts.jsonl"), lines("A dog"));
    await expect(run()).rejects.toMatchObject({
      code: "bad_checkpoint",
      message: expect.stringMatching(/texts or the tokenizer/),
    });
    expect(await card()).toBe(before);

    await writeFile(join(folder, "texts.jsonl"), lines("The cat"));
    expect(await run({ steps: 3, description: "a longer test" })).toMatchObject({ step: 3, resumedFrom: 2 });
    expect(await card()).toMatch(/a longer test[\s\S]*3 of 3/);
  });
});

it("a slip in a recipe's config is the recipe's, and names what was meant", async () => {
  const { num_hidden_layers, ...config } = tiny.config;
  await expect(run({ config: { ...config, num_hiden_layers: num_hidden_layers } })).rejects.toMatchObject({
    code: "bad_option",
    message: expect.stringMatching(
      /^recipe .*recipe\.json: config: num_hidden_layers is missing: it must be a whole number .*did you mean "num_hidden_layers" for "num_hiden_layers"\?$/,
    ),
  });
  await expect(run({ config: { ...config, num_hidden_layers: "2" } })).rejects.toMatchObject({ code: "bad_option" });
});

describe("other ways of training", () => {
  const fresh = async (change: object, name: string) => {
    const path = join(folder, `${name}.json`);
    await writeFile(path, `// a comment\n${JSON.stringify({ ...tiny, ...change }).replace("{", '{ // "another"\n')}`);
    const [runFolder, out] = [join(folder, `run-${name}`), join(folder, `out-${name}`)];
    const result = await runRecipe(path, { dataFolder: folder, runFolder, out, threads: 1 });
    return { result, out, runFolder };
  };

  it("weights of the texts, kept apart, recomputed and accumulated", async () => {
    await writeFile(join(folder, "more.jsonl"), lines("The fish"));
    const data = [
      { path: "texts.jsonl", weight: 3 },
      { path: "more.jsonl", weight: 1 },
    ];
    const { result } = await fresh({ data, separateDocuments: true, recompute: true, accumulate: 2 }, "mixed");
    expect(result.step).toBe(2);
    expect(result.history.at(-1)!.tokens).toBe(2 * 2 * 16);
  });

  it("a text file is one document, or those between what its separator says", async () => {
    await writeFile(join(folder, "texts.txt"), texts("The cat").join("\n###\n"));
    const separated = { path: "texts.txt", separator: "\n###\n" };
    expect((await fresh({ data: [separated] }, "separated")).result.step).toBe(2);
    const tokenizer = await openTokenizer(join(folder, "tokenizer"));
    const countOf = async (file: { separator?: string }) => {
      const files = [{ ...file, path: join(folder, "texts.txt") }];
      const { train, heldOut } = await loadCorpus({ files, tokenizer, heldOut: 0.2 });
      return train.documents + heldOut.documents;
    };
    expect(await countOf({})).toBe(1);
    expect(await countOf(separated)).toBe(400);
  });

  it("weights that sum to 0, or that some files lack, and misspelt fields are refused by name", async () => {
    const wrong: [object, RegExp][] = [
      [{ data: [{ path: "texts.jsonl", weight: 0 }] }, /weights sum to 0/],
      [{ data: [{ path: "texts.jsonl", weight: 1 }, { path: "more.jsonl" }] }, /more\.jsonl has no weight/],
      [{ data: [{ path: "texts.jsonl", weight: -1 }] }, /weight/],
      [{ stepz: 5 }, /stepz/],
      [{ lora: { r: 2, alpha: 4, targets: ["q_proj"] } }, /give continues/],
      [{ lora: { r: 2, alpha: 4, targets: ["q_proj"], dropout: 0.1 } }, /dropout is not supported/],
    ];
    for (const [change, message] of wrong) {
      await expect(fresh(change, "wrong")).rejects.toMatchObject({
        code: "bad_option",
        message: expect.stringMatching(message),
      });
    }
  });

  it("an empty text, a binary one and one that is not there are told by name", async () => {
    await writeFile(join(folder, "empty.txt"), " \n");
    await writeFile(join(folder, "binary.txt"), Uint8Array.of(80, 0, 81, 0));
    await writeFile(join(folder, "latin.txt"), Uint8Array.of(80, 200, 81));
    const wrong = {
      "empty.txt": /no text/,
      "binary.txt": /not text/,
      "latin.txt": /latin\.txt/,
      "gone.txt": /gone\.txt/,
    };
    for (const [path, message] of Object.entries(wrong)) {
      const failure = fresh({ data: [{ path: "texts.jsonl" }, { path }] }, `bad-${path.replace(".", "-")}`);
      await expect(failure).rejects.toMatchObject({ name: "VentrisError", message: expect.stringMatching(message) });
    }
  });

  it.each<[object, RegExp]>([
    [{ rows: -4 }, /rows must be at least 1, not -4/],
    [{ schedule: { kind: "cosin", peak: 1 } }, /schedule\.kind must be "constant".*not "cosin"; did you mean "cosine"/],
    [{ schedule: { kind: "constant", peek: 1 } }, /no option "peek" in schedule; did you mean "peak"/],
  ])("says of a wrong field what it must be, and what was given: %j", async (fields, message) => {
    await expect(fresh(fields, "wrong-field")).rejects.toMatchObject({
      name: "VentrisError",
      message: expect.stringMatching(message),
    });
  });

  it("names the line where a recipe is no JSON", async () => {
    const path = join(folder, "comma.json");
    await writeFile(path, '// a comment\n{\n  "name": "x",\n}\n');
    await expect(readRecipe(path)).rejects.toThrow(/recipe .*comma\.json, line 4: not valid JSON: /);
    await writeFile(path, '{\n  "name": "x",');
    await expect(readRecipe(path)).rejects.toThrow(/line 2: not valid JSON \(truncated\?\)/);
    await writeFile(path, '{\n  "name": "x",\n  "steps": x96,\n  "seed": true\n}\n');
    await expect(readRecipe(path)).rejects.toThrow(/line 3: not valid JSON: "x" cannot stand where it does/);
    // However much else is missing.
    await writeFile(path, JSON.stringify({ nmae: "tiny", step: 3 }));
    await expect(readRecipe(path)).rejects.toThrow(
      /comma\.json: there is no option "nmae"; did you mean "name"\? there is no option "step"; did you mean "steps"\?/,
    );
  });

  it("of a single document the end is held out; of a short one nothing can be", async () => {
    await writeFile(join(folder, "one.txt"), texts("The cat").join(" "));
    const { result, runFolder } = await fresh({ data: [{ path: "one.txt" }] }, "one");
    expect(result.history.at(-1)!.heldOutLoss).toBeGreaterThan(0);
    const { openings } = await readNote(runFolder);
    expect(openings).toHaveLength(1);
    await writeFile(join(folder, "few.txt"), texts("The cat").slice(0, 4).join(" "));
    await expect(fresh({ data: [{ path: "few.txt" }] }, "few")).rejects.toThrow(/less than one batch of 2 x 8/);
  });

  it("a LoRA of a model that was trained, in PEFT's files; samples see it merged", async () => {
    const { out: model } = await fresh({}, "base");
    const path = join(folder, "adapter.json");
    const recipe = {
      ...tiny,
      steps: 3,
      continues: { model, tokens: 32, minutes: 1 },
      lora: { r: 2, alpha: 4, targets: ["q_proj", "down_proj"] },
    };
    await writeFile(path, JSON.stringify(recipe));
    const [runFolder, out] = [join(folder, "run-adapter"), join(folder, "out-adapter")];
    const seen: number[] = [];
    await runRecipe(path, {
      dataFolder: folder,
      runFolder,
      out,
      threads: 1,
      samples: {
        every: 2,
        async take(write, step) {
          seen.push(step);
          await write(join(folder, `sample-${step}`));
        },
      },
    });
    expect(seen).toEqual([2]);
    const { family, config } = familyOf(tiny.config);
    const lora = await readLora(out, family, config);
    expect(lora.sites.map(({ parameter }) => parameter.replace(/.*\d\./, ""))).toEqual([
      "self_attn.q_proj.weight",
      "mlp.down_proj.weight",
    ]);
    const weightsOf = async (from: string) => {
      const source = await openWeights(from);
      return readParameters(source, family, config).finally(() => source.close());
    };
    const [before, merged] = [await weightsOf(model), await weightsOf(join(folder, "sample-2"))];
    const changed = [...before].filter(([name, stored]) => stored.some((x, i) => x !== merged.get(name)![i]));
    expect(changed.map(([name]) => name)).toEqual(lora.sites.map(({ parameter }) => parameter));
    expect(await readNote(runFolder)).toMatchObject({ base: model, tokenizer: join(folder, "tokenizer") });
  });

  it("what is trained is written as it was published: GPT-2's names, its matrices transposed", async () => {
    const config = {
      architectures: ["GPT2LMHeadModel"],
      vocab_size: 270,
      n_embd: 16,
      n_head: 2,
      n_layer: 1,
      n_positions: 32,
    };
    const { out } = await fresh({ config }, "gpt");
    const source = await openWeights(out);
    expect(source.tensors.get("transformer.h.0.attn.c_attn.weight")?.shape).toEqual([16, 48]);
    await source.close();
    const again = await fresh({ config, continues: { model: out, tokens: 0, minutes: 0 } }, "gpt-again");
    expect(again.result.history[0].loss).toBeLessThan(10);
  });
});

describe("a part", () => {
  const base = join(folder, "base");
  const path = join(folder, "part.json");
  const trainPart = async (part: object, change: object = {}) => {
    const continues = { model: "base", tokens: 0, minutes: 0 };
    const schedule = { kind: "constant", peak: 0.02 };
    await writeFile(path, JSON.stringify({ ...tiny, name: "mine", schedule, part, continues, ...change }));
    return runRecipe(path, {
      dataFolder: folder,
      runFolder: join(folder, "part-run"),
      out: join(base, "parts", "mine"),
      threads: 1,
    });
  };
  beforeAll(async () => {
    await writeFile(path, JSON.stringify({ ...tiny, name: "base", steps: 60 }));
    await runRecipe(path, { dataFolder: folder, runFolder: join(folder, "base-run"), out: base, threads: 1 });
  });

  it.each([
    ["soft-prompt", { vectors: 3 }, { vectors: [3, 16] }, ["embed.tokens"]],
    [
      "heads",
      { heads: 2 },
      { "weight.1": [16, 16], "bias.1": [16], "weight.2": [16, 16], "bias.2": [16] },
      ["layers.0.residual"],
    ],
  ])(
    "%s is trained on the frozen base, goes on from its checkpoint, which holds nothing else, and is read by the model",
    async (kind, settings, tensors, sites) => {
      await rm(join(folder, "part-run"), { recursive: true, force: true });
      const before = await readFile(join(base, "model.safetensors"));
      const first = await trainPart({ kind, settings }, { steps: 10 });
      expect(first).toMatchObject({ step: 10, resumedFrom: 0 });
      const last = await trainPart({ kind, settings }, { steps: 60 });
      expect(last).toMatchObject({ step: 60, resumedFrom: 10 });
      const losses = last.history.flatMap(({ heldOutLoss }) => heldOutLoss ?? []);
      expect(losses.at(-1)).toBeLessThan(losses[0]);
      expect(await readFile(join(base, "model.safetensors"))).toEqual(before);
      const size = Object.values(tensors).reduce((sum, shape: number[]) => sum + shape.reduce((a, b) => a * b), 0);
      const checkpoint = await openSafetensors(checkpointPath(join(folder, "part-run")));
      const kept = [...checkpoint.tensors.values()].reduce(
        (sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1),
        0,
      );
      await checkpoint.close();
      expect(kept).toBe(3 * size); // values, and the optimiser's two moments
      await using model = await open(base, { threads: 1 });
      const part = await model.part("mine", kind);
      expect(part.card).toMatchObject({ kind, settings, sites, tensors, training: { step: 60 } });
      if (kind === "soft-prompt") {
        const { values } = part.tensors.get("vectors")!;
        const vectors = [0, 1, 2].map((i) => ({ id: `mine ${i}`, values: values.slice(16 * i, 16 * (i + 1)) }));
        const text = model.tokenizer!.encode("The cat 5 sat on");
        const [plain, prompted] = await Promise.all(
          [text, [...vectors, ...text]].map((prompt) => model.decode(prompt, { temperature: 0, maxTokens: 4 }).final),
        );
        expect(prompted.tokens.length).toBe(plain.tokens.length);
      }
    },
  );

  it("is refused where it does not fit, by name", async () => {
    await rm(join(folder, "part-run"), { recursive: true, force: true });
    const cases: [object, object, RegExp][] = [
      [{ kind: "soft-promt" }, {}, /no kind soft-promt .*did you mean "soft-prompt"/],
      [{ kind: "soft-prompt" }, {}, /part: settings: .*vectors/],
      [{ kind: "soft-prompt", settings: { vectors: 30 } }, {}, /30 vectors and 8 tokens exceed/],
      [{ kind: "heads", settings: { heads: 8 } }, {}, /8 heads need rows longer than 8/],
      [{ kind: "heads", settings: { heads: 1, more: 1 } }, {}, /more/],
      [{ kind: "heads", settings: { heads: 1 } }, { continues: undefined }, /part: .*give continues/],
      [{ kind: "heads", settings: { heads: 1 } }, { recompute: true }, /recompute does not go with part/],
    ];
    for (const [part, change, message] of cases)
      await expect(trainPart(part, change)).rejects.toMatchObject({ message: expect.stringMatching(message) });
  });
});

it("of another recipe only what differs is said, each by its path", () => {
  const before = { kind: "cosine", peak: 0.001, list: [1, { a: 2 }] };
  expect(differencesIn("schedule", before, { ...before, peak: 0.002, warmup: 5, list: [1, { a: 3 }] })).toEqual([
    "schedule.peak (0.001, now 0.002)",
    "schedule.list[1].a (2, now 3)",
    "schedule.warmup (not given, now 5)",
  ]);
  expect(differencesIn("schedule", before, { ...before })).toEqual([]);
  expect(differencesIn("data", ["a.txt"], ["a.txt", "b.txt"])).toEqual(['data (["a.txt"], now ["a.txt","b.txt"])']);
});
