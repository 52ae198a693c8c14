/** What a model lacks is named with the shipped models that have it, as their folders say it: here a folder of models with other names. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { NamedMethod } from "../calls.ts";
import { methodChoice } from "../calls.ts";
import { openDraft } from "../methods/speculative/draft-model.ts";
import { engineModel, type Model, open } from "../open.ts";
import { shippedModels } from "../references.ts";
import { modelsFolder, useModels } from "../shipped.ts";
import { isSaid } from "../wrong.fixture.ts";
import { findPart } from "./shipping.ts";

const packaged = modelsFolder();
const folder = mkdtempSync(join(tmpdir(), "ventris-shipping-"));
const empty = join(folder, "empty");
let pylos: Model;

/** A shipped model under another name, with some of its files. */
function put(name: string, from: string, files: readonly string[]): void {
  for (const file of files) {
    const target = join(folder, "models", name, file);
    mkdirSync(join(target, ".."), { recursive: true });
    cpSync(join(packaged, from, file), target, { recursive: true });
  }
}

beforeAll(async () => {
  put("ithaca", "mycenae", ["config.json"]);
  put("kydonia", "knossos", ["config.json", "tokenizer.json", "tokenizer_config.json", "parts/medusa"]);
  put("zakros", "knossos", ["config.json", "parts/medusa"]);
  put("gournia", "phaistos", ["config.json", "parts/reward"]);
  put("broken", "phaistos", ["parts/reward"]); // no config: no model
  put("malia", "pylos", ["config.json", "tokenizer.json", "tokenizer_config.json"]);
  mkdirSync(empty);
  symlinkSync(join(packaged, "pylos"), join(folder, "target"));
  useModels(join(folder, "models"));
  pylos = await open(join(folder, "target"), { threads: 1 });
});
afterAll(async () => {
  await pylos.close();
  useModels(packaged);
  rmSync(folder, { recursive: true, force: true });
});

const failure = (method: NamedMethod): Promise<string> =>
  Promise.resolve()
    .then(() => pylos.generate("Hi", { method: methodChoice(method), maxTokens: 1 }))
    .then(
      () => "nothing failed",
      (error: Error) => error.message,
    );

describe("what a model lacks, and which shipped model has it", () => {
  test("parts of methods", async () => {
    expect(await failure("medusa")).toMatch(/no part "medusa".*; of the shipped models kydonia and zakros have one$/);
    expect(await failure("a-star")).toMatch(/no part "reward".*; of the shipped models gournia has one$/);
    expect(await failure("eagle")).toMatch(/no part "eagle".*; no shipped model has one$/);
  });

  test("a part of the same kind under another name, and one of its own", async () => {
    expect(await failure({ name: "medusa", heads: "mine" })).toMatch(/kydonia \(as medusa\) and zakros \(as medusa\)/);
    await expect(findPart(join(folder, "models", "kydonia"), "mine", "heads")).rejects.toThrow(/did you mean "medusa"/);
  });

  test("no other of its kind where there are several, but by a near name", async () => {
    const argos = join(packaged, "argos");
    const failed = (name: string) => findPart(argos, name, "multimodal").catch((error: Error) => error.message);
    expect(await failed("nobody")).not.toMatch(/did you mean/);
    expect(await failed("abrubt")).toMatch(/did you mean "abrupt"/);
  });

  test("a canvas", async () => {
    expect(await failure("learn2pd")).toMatch(/needs of its model: canvas;.*; of the shipped models ithaca has one$/);
    expect(() => pylos.decode({ fill: "a ___" })).toThrow(/; of the shipped models ithaca has one$/);
    expect(() => pylos.ability("canvas")).toThrow(/ithaca/);
  });

  test("a draft: of its tokenizer and smaller", async () => {
    const knossos = join(packaged, "knossos");
    await expect(openDraft(engineModel(pylos), knossos)).rejects.toThrow(
      /larger than its target .*; no shipped model can draft for it: /,
    );
    const large = { ...engineModel(pylos), name: "large", parameterCount: 1e9 };
    const tokenizer = { ...large.tokenizer!, fingerprint: "another" };
    const draft = async () => ({ ...large, tokenizer });
    await expect(openDraft({ ...large, companion: draft }, "it")).rejects.toThrow(
      /another vocabulary than large .*; shipped models that can draft for it: malia, kydonia$/,
    );
  });
});

test("a folder of models that is not there is told of when a model is named", async () => {
  const before = modelsFolder();
  useModels(join(folder, "gredy"));
  try {
    await expect(shippedModels()).rejects.toThrow(
      isSaid("unavailable", /^useModels: .*gredy is no folder that can be read: /),
    );
    await expect(open("pylos")).rejects.toThrow(/^useModels: .*gredy is no folder/);
  } finally {
    useModels(before);
  }
});
