/** Options that another one leaves without effect are refused by name, and a server can tell which are not for its users. */

import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { removeModel, type TinyModel, writeTinyModel } from "../../../test/fixtures/tiny-model.ts";
import { methodChoice } from "../../calls.ts";
import { hostOnly, hostOnlyOptions } from "../../engine/method.ts";
import { type Model, open } from "../../open.ts";
import { methods, shapers } from "../index.ts";

let file: TinyModel;
let model: Model;
beforeAll(async () => {
  file = await writeTinyModel({ tokenizer: true });
  model = await open(file.folder, { threads: 1, maxRows: 32 });
});
afterAll(async () => {
  await model.close();
  await removeModel(file);
});

/** The draft's folder is known when a test runs. */
const withDraft = (name: string, options: object) => ({ name, draft: "", ...options });
const ready = (method: { name: string; draft?: unknown }) =>
  methodChoice("draft" in method ? { ...method, draft: file.folder } : method);
const refused: [option: string, method: { name: string } & Record<string, unknown>][] = [
  ["primePrompt", { name: "aded", primePrompt: true, window: 16 }],
  ["c1", { name: "aded", search: "best-first", c1: 1 }],
  ["c2", { name: "aded", search: "best-first", c2: 1 }],
  ["reward", { name: "aded", search: "best-first", reward: "repo" }],
  ["paths", { name: "aded", search: "best-first", paths: 4 }],
  ["cut", { name: "aded", cut: "repo" }],
  ["contexts", { name: "aded", paths: 4, contexts: [3] }],
  ["forget", { name: "aded", step: 0, forget: 0.2 }],
  ["maximumWeight", { name: "aded", step: 0, maximumWeight: 2 }],
  ["window", { name: "aded", step: 0, window: 16 }],
  ["budget", { name: "aded", budget: 32 }],
  ["budget", { name: "prompt-lookup", budget: 32 }],
  ["budget", withDraft("dyspec", { budget: 32 })],
  ["budget", withDraft("top-k", { budget: 32 })],
  ["budget", withDraft("sequoia", { budget: 32 })],
  ["budget", withDraft("spec-infer", { budget: 32 })],
  ["length", withDraft("chain", { length: 32 })],
  ["length", withDraft("online", { length: 32 })],
  ["width", withDraft("dyspec", { algorithm: "threshold", width: 4 })],
  ["maximumPasses", withDraft("dyspec", { algorithm: "threshold", maximumPasses: 4 })],
  ["threshold", withDraft("dyspec", { threshold: 0.1 })],
  ["replacement", withDraft("spec-infer", { replacement: true })],
  ["saveBuffer", withDraft("online", { saveBuffer: true })],
  ["draftTemperature", withDraft("chain", { draftTemperature: 0, verification: "published" })],
];

test.each(refused)("%s of %j", async (option, method) => {
  const error = await model.decode("the cat", { method: ready(method), temperature: 0.7, maxTokens: 4 }).final.then(
    () => undefined,
    (reason) => reason,
  );
  expect(error).toMatchObject({ code: "bad_option" });
  expect(error.message).toMatch(new RegExp(`^${option}: `));
  expect(model.forest.held).toBe(0);
});

test("without these options each of the methods fits a narrow pass, and so does its draft", async () => {
  const plain = await model.decode("the cat", { temperature: 0.7, maxTokens: 8 }).final;
  for (const name of new Set(refused.map(([, method]) => method.name))) {
    const method = methodChoice(name === "aded" || name === "prompt-lookup" ? { name } : { name, draft: file.folder });
    if (name === "online") continue; // its learner works in a thread of the built package
    expect((await model.decode("the cat", { method, temperature: 0.7, maxTokens: 8 }).final).tokens).toEqual(
      plain.tokens,
    );
  }
  expect((await model.companion(file.folder)).forest.maxRows).toBe(32);
});

test("primePrompt: a tri-gram far above is known to the first draft", async () => {
  await using own = await open("knossos", { threads: 1 });
  const far =
    "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen.";
  const prompt = `The blue fox ran. The blue fox ran. The blue fox ran. ${far} The blue`;
  const drafted = async (primePrompt?: boolean): Promise<number> => {
    const method = { name: "aded", table: "empty", isolate: true, contexts: [], budget: 8, primePrompt };
    return (await own.generate(prompt, { method: methodChoice(method), temperature: 0, maxTokens: 4 })).counters
      .drafted;
  };
  expect(await drafted(true)).toBeGreaterThan(0);
  expect(await drafted()).toBe(0);
});

test("options that open folders or write files are marked", () => {
  const marked = Object.fromEntries(methods.map((method) => [method.name, hostOnlyOptions(method)]));
  expect(marked).toMatchObject({
    sample: [],
    "prompt-lookup": [],
    chain: ["draft"],
    dyspec: ["draft"],
    aded: ["table"],
    online: ["draft", "bufferBytes", "maxDrafts", "state", "saveBuffer"],
  });
  expect(Object.fromEntries(shapers.map((shaper) => [shaper.name, hostOnlyOptions(shaper)]))).toMatchObject({
    dola: [],
    cd: ["amateur"],
    icd: ["amateur"],
    lol: ["amateur"],
    "knn-lm": ["datastore"],
    "mlp-memory": ["memory"],
    codebook: ["part"],
  });
  // Whatever is called like one of them is one, in any method and however it may be left out.
  expect(
    hostOnlyOptions({ options: z.strictObject({ folder: hostOnly(z.string()).default("a").optional() }) }),
  ).toEqual(["folder"]);
  for (const { options } of [...methods, ...shapers]) {
    for (const name of ["amateur", "draft", "table", "state", "file", "folder", "path"]) {
      if (name in options.shape) expect(hostOnlyOptions({ options })).toContain(name);
    }
  }
});
