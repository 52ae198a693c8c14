/** The first use of a draft, which measures how fast passes are and how often proposals are accepted. */

import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate, setTimeout } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { removeModel, type TinyModel, writeTinyModel } from "../../../test/fixtures/tiny-model.ts";
import { methodChoice } from "../../calls.ts";
import type { Forest } from "../../engine/forest.ts";
import { type Model, open } from "../../open.ts";

let files: TinyModel[];
let cache: string;
beforeAll(async () => {
  files = await Promise.all([
    writeTinyModel({ tokenizer: true }),
    writeTinyModel({ tokenizer: true, config: { num_hidden_layers: 1, intermediate_size: 32 } }),
  ]);
  cache = await mkdtemp(join(tmpdir(), "ventris-first-use-"));
});
afterAll(async () => {
  await Promise.all([...files.map(removeModel), rm(cache, { recursive: true, force: true })]);
});
afterEach(() => vi.unstubAllEnvs());

const openTiny = (): Promise<Model> => open(files[0].folder, { threads: 1 });
const request = (name = "dyspec") => ({
  method: methodChoice(name === "aded" ? { name } : { name, draft: files[1].folder }),
  temperature: 0.8,
  maxTokens: 12,
});
const forestsOf = async (model: Model): Promise<Forest[]> => [
  model.forest,
  (await model.companion(files[1].folder)).forest,
];
const passes = (forests: readonly Forest[]): number => forests.reduce((sum, { counters }) => sum + counters.passes, 0);

test("holds few nodes at a time, and leaves none behind", async () => {
  vi.stubEnv("VENTRIS_CACHE", join(cache, "released"));
  await using model = await openTiny();
  const forests = await forestsOf(model);
  const run = model.decode("the cat", request()).final;
  let done = false;
  run.finally(() => {
    done = true;
  });
  let most = 0;
  while (!done) {
    await setImmediate();
    // Rows of one pass of the curve, besides: these are at most `maxRows`.
    for (const { held } of forests) most = Math.max(most, held);
  }
  expect((await run).tokens.length).toBeGreaterThan(0);
  expect(most).toBeLessThan(64 + 128 + 16);
  expect(forests.map(({ held }) => held)).toEqual([0, 0]);
  expect(existsSync(join(cache, "released", "acceptance"))).toBe(true);
});

test.each(["dyspec", "sequoia", "chain"])(
  "an abort ends it within a pass, and the next request starts anew: %s",
  async (name) => {
    vi.stubEnv("VENTRIS_CACHE", join(cache, `aborted-${name}`));
    await using model = await openTiny();
    const forests = await forestsOf(model);
    for (const after of [1, 20, 60]) {
      const before = passes(forests);
      const run = model.decode("the cat", request(name));
      while (passes(forests) - before < after) await setImmediate();
      run.abort();
      const atAbort = passes(forests);
      expect(await run.final).toMatchObject({ finish: "aborted" });
      await setTimeout(30);
      expect(passes(forests) - atAbort).toBeLessThanOrEqual(2);
      expect(forests.map(({ held }) => held)).toEqual([0, 0]);
    }
    const { tokens } = await model.decode("the cat", request(name)).final;
    expect(tokens).toEqual((await model.decode("the cat", { ...request(), method: "sample" }).final).tokens);
  },
);

test("one of two requests that wait for it can leave without the other", async () => {
  vi.stubEnv("VENTRIS_CACHE", join(cache, "two"));
  await using model = await openTiny();
  const forests = await forestsOf(model);
  const runs = [model.decode("the cat", request()), model.decode("the hat", request())];
  while (passes(forests) < 20) await setImmediate();
  runs[0].abort();
  expect(await runs[0].final).toMatchObject({ finish: "aborted" });
  expect((await runs[1].final).tokens.length).toBeGreaterThan(0);
});

test("a cache folder that cannot be written is done without", async () => {
  const blocked = join(cache, "blocked");
  await writeFile(blocked, "a file where the folder should be");
  await using model = await openTiny();
  vi.stubEnv("VENTRIS_CACHE", blocked);
  const plain = await model.decode("the cat", { ...request(), method: "sample" }).final;
  for (const name of ["dyspec", "sequoia", "chain", "top-k", "aded"]) {
    expect((await model.decode("the cat", request(name)).final).tokens).toEqual(plain.tokens);
  }
});
