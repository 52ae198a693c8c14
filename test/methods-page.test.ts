/** docs/methods.md: its drafter, shaper and policy, run as they stand. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type MakeShaper, type Method, type Model, open } from "../src/index.ts";
import { root } from "./build.ts";

const page = readFileSync(join(root, "docs", "methods.md"), "utf8");
const blocks = [...page.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, block]) => block);
const sources = { ventris: "src/index.ts", "ventris/methods": "src/methods/authoring.ts" };

let folder: string;
let model: Model;
let made: Record<string, unknown>;
beforeAll(async () => {
  const parent = join(root, "dist", "pages"); // ignored, and within the project
  mkdirSync(parent, { recursive: true });
  folder = mkdtempSync(join(parent, "methods-"));
  made = {};
  for (const [i, block] of blocks.entries()) {
    const text = block.replace(/from "(ventris[^"]*)"/g, (_, name: keyof typeof sources) => {
      return `from ${JSON.stringify(pathToFileURL(join(root, sources[name])).href.replace("file://", ""))}`;
    });
    const path = join(folder, `block-${i}.ts`);
    writeFileSync(path, text);
    Object.assign(made, await import(/* @vite-ignore */ path));
  }
  model = await open("knossos", { threads: 1 });
});
afterAll(async () => {
  await model?.close();
  rmSync(folder, { recursive: true, force: true });
});

const request = { maxTokens: 24, temperature: 0 };

it("the drafter drafts, and the text is plain decoding's", async () => {
  const plain = await model.generate("Once upon a time", request);
  const drafted = await model.generate("Once upon a time", { ...request, method: made.echo as Method });
  expect(drafted.tokens).toEqual(plain.tokens);
  expect(drafted.counters.drafted).toBeGreaterThan(0);
});

it("the shaper changes what is said, inside the drafter's method too", async () => {
  const shapers = [made.fresh as MakeShaper];
  const plain = await model.generate("Once upon a time", request);
  const shaped = await model.generate("Once upon a time", { ...request, shapers });
  const drafted = await model.generate("Once upon a time", { ...request, shapers, method: made.echo as Method });
  expect(shaped.tokens).not.toEqual(plain.tokens);
  expect(drafted.tokens).toEqual(shaped.tokens);
});

it("the policy says as many tokens as it has steps, first of all the likeliest, and leaves nothing behind", async () => {
  const shaping = { maxTokens: 8, temperature: 1 };
  const found = await model.generate("Once upon a time", { ...shaping, method: made.pair as Method });
  expect(found).toMatchObject({ finish: "length", tokens: { length: 8 } });
  const first = await model.generate("Once upon a time", {
    ...shaping,
    method: { method: made.pair as Method, options: { steps: 1 } },
  });
  const greedy = await model.generate("Once upon a time", { ...shaping, temperature: 0 });
  expect(first.tokens).toEqual(greedy.tokens.slice(0, 1));
  expect(model.forest.held).toBe(0);
});
