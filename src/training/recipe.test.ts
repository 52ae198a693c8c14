import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { trainTokenizer } from "../text/bpe-training.ts";
import { runRecipe } from "./recipe.ts";

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
  return runRecipe(path, { dataFolder: folder, runFolder: join(folder, "run"), out: join(folder, "out") });
}

describe("a finished run", () => {
  it("goes on with more steps alone, and refuses every other change, naming it", async () => {
    expect(await run()).toMatchObject({ step: 2, resumedFrom: 0 });
    const card = () => readFile(join(folder, "out", "README.md"), "utf8");
    const before = await card();
    const changes: [object, RegExp][] = [
      [
        { data: [{ path: "others.jsonl" }] },
        /data \(\[\{"path":"texts\.jsonl"\}\], now \[\{"path":"others\.jsonl"\}\]\)/,
      ],
      [{ rows: 4 }, /rows \(2, now 4\)/],
      [{ schedule: { kind: "constant", peak: 0.02 }, clip: 1 }, /schedule .*, clip \(undefined, now 1\)/],
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
