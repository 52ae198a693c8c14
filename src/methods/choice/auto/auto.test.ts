import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { z } from "zod";
import { removeModel, type TinyModel, writeTinyModel } from "../../../../test/fixtures/tiny-model.ts";
import { methodChoice } from "../../../calls.ts";
import { defineMethod } from "../../../engine/method.ts";
import type { TraceEvent } from "../../../engine/trace.ts";
import { VentrisError } from "../../../errors.ts";
import { type Model, open } from "../../../open.ts";
import { sample } from "../../plain/index.ts";
import { promptLookup } from "../../speculative/prompt-lookup/index.ts";
import { openChooser, statePath } from "./chooser.ts";
import { contextsOf, featureNames, repetition } from "./features.ts";
import { createAuto } from "./index.ts";
import { outlook } from "./outlook.ts";
import { forgetLearnt, learntIn, readLearnt } from "./state.ts";

let files: TinyModel[];
let scratch: string;
beforeAll(async () => {
  files = await Promise.all([
    writeTinyModel({ tokenizer: true }),
    writeTinyModel({ tokenizer: true, config: { num_hidden_layers: 1, intermediate_size: 32 } }),
  ]);
  scratch = await mkdtemp(join(tmpdir(), "ventris-auto-"));
});
afterAll(async () => {
  await Promise.all([...files.map(removeModel), rm(scratch, { recursive: true, force: true })]);
});
let state: string;
beforeEach(async () => {
  state = await mkdtemp(join(scratch, "state-"));
});

const openTiny = (i = 0): Promise<Model> => open(files[i].folder, { threads: 1 });
const auto = (options: Record<string, unknown> = {}) => methodChoice({ name: "auto", state, ...options });
const eventsOf = async (run: AsyncIterable<TraceEvent>): Promise<TraceEvent[]> => {
  const events: TraceEvent[] = [];
  for await (const event of run) events.push(event);
  return events;
};
const settings = {
  arms: ["slow", "fast"],
  policy: "LinUCB",
  policyOptions: { alpha: 0.05, ridge: 0.1 },
  fingerprint: "f",
  pace: 0.01,
  insist: true,
};

test("whatever is chosen, the output is plain decoding's, greedy and sampled, request after request", async () => {
  await using model = await openTiny();
  const draft = files[1].folder;
  const arms = [
    "sample",
    { name: "prompt-lookup", length: 3 },
    { name: "aded", table: "empty", budget: 6 },
    { name: "chain", draft, length: 3 },
    { name: "dyspec", draft, budget: 6, estimate: "draft" },
  ];
  const chosen = new Set<number>();
  for (let request = 0; request < 24; request++) {
    const options = { temperature: request % 3 === 0 ? 0 : 0.9, seed: 4, request, maxTokens: 12 };
    const plain = await model.decode("the cat the cat", { ...options, method: "sample" }).final;
    const run = model.decode("the cat the cat", { ...options, method: auto({ arms }) });
    const events = await eventsOf(run);
    expect((await run.final).tokens).toEqual(plain.tokens);
    const choice = events.find((event) => event.type === "choice");
    expect(choice?.arms.length).toBe(5);
    chosen.add(choice?.chosen as number);
  }
  expect(chosen.size).toBeGreaterThanOrEqual(4); // nothing being known, it tries
});

test("it learns which way is fast, in which circumstances, and saves, restores and continues", async () => {
  const path = await statePath(state, settings);
  const circumstances = (long: boolean) => ({
    prompt: Array.from({ length: long ? 3000 : 8 }, (_, i) => (long ? i % 7 : i)),
    greedy: false,
    constrained: false,
  });
  // The first way is the slower one for long prompts that repeat themselves, the faster one for short ones.
  const seconds = (arm: number, long: boolean): number => ((arm === 1) === long ? 0.004 : 0.016);
  const first = await openChooser({ ...settings, path });
  for (let i = 0; i < 300; i++) {
    const long = i % 2 === 0;
    const chosen = first.choose(circumstances(long));
    chosen.served(100, 100 * seconds(chosen.arm, long), chosen.arm + 1);
  }
  await first.close();
  const [{ learnt }] = await learntIn(state);
  expect(learnt.arms.map(({ requests }) => requests).reduce((a, b) => a + b)).toBe(300);
  expect(learnt.arms[1].agreement).toBeGreaterThan(0.4);
  expect(learnt.policy.counters.learnt).toBe(300);
  const [short, , repeating] = outlook(learnt);
  expect(short.probabilities).toEqual([1, 0]);
  expect(repeating.probabilities).toEqual([0, 1]);

  const second = await openChooser({ ...settings, path });
  expect(second.learnt).toBe(300);
  for (const long of [true, false]) {
    const { probabilities } = second.choose(circumstances(long));
    expect(probabilities[long ? 1 : 0]).toBeGreaterThan(0.9);
  }
  await second.close();
});

test("rounds that taught nothing are kept, too: what is chosen next is what it would have been", async () => {
  const own = { ...settings, policy: "NeuSquareCB", policyOptions: { hidden: 8, gamma: 1 } };
  const circumstances = { prompt: [1, 2, 3, 4, 5, 6], greedy: false, constrained: false };
  const path = await statePath(state, own);
  const learning = async (chooser: Awaited<ReturnType<typeof openChooser>>) =>
    chooser.choose(circumstances).served(100, 1, 2);
  const dropping = (chooser: Awaited<ReturnType<typeof openChooser>>) => {
    for (let i = 0; i < 7; i++) {
      const chosen = chooser.choose(circumstances);
      if (i % 2 === 0) chosen.dropped();
      else chosen.served(1, 0.1, 1); // too short
    }
  };
  const nextArms = (chooser: Awaited<ReturnType<typeof openChooser>>) =>
    Array.from({ length: 16 }, () => {
      const chosen = chooser.choose(circumstances);
      chosen.dropped();
      return chosen.arm;
    });
  const uninterrupted = await openChooser(own);
  await learning(uninterrupted);
  dropping(uninterrupted);
  for (const step of [learning, dropping]) {
    const chooser = await openChooser({ ...own, path });
    await step(chooser);
    await chooser.close();
  }
  const reopened = await openChooser({ ...own, path });
  const arms = nextArms(uninterrupted);
  expect(nextArms(reopened)).toEqual(arms);
  expect(new Set(arms).size).toBe(2);
  await reopened.close();
});

test("requests under way are counted, those that tell nothing teach nothing, failures count as the worst", async () => {
  const chooser = await openChooser(settings);
  const circumstances = { prompt: [1, 2, 3], greedy: true, constrained: false };
  const short = chooser.choose(circumstances);
  short.served(2, 0.1, 1);
  chooser.choose(circumstances).dropped();
  expect(chooser.learnt).toBe(0);
  const failed = chooser.choose(circumstances);
  failed.failed();
  failed.served(100, 1, 1); // answered already
  expect(chooser.learnt).toBe(1);
  await chooser.close();
});

test("a state is held by one at a time: another that asked for it is refused, one that did not goes on without", async () => {
  const path = await statePath(state, settings);
  const holder = await openChooser({ ...settings, path });
  await expect(openChooser({ ...settings, path })).rejects.toMatchObject({ code: "unavailable" });
  const other = await openChooser({ ...settings, path, insist: false });
  expect(other.takeNotes().join()).toMatch(/not kept/);
  const chosen = other.choose({ prompt: [1], greedy: true, constrained: false });
  chosen.served(10, 1, 1);
  await other.close();
  expect(await readLearnt(path)).toBeUndefined();
  await holder.close();
  await (await openChooser({ ...settings, path })).close();
});

test("states that are stale, damaged, of other arms or of another policy are refused by name", async () => {
  const path = await statePath(state, settings);
  const chooser = await openChooser({ ...settings, path });
  chooser.choose({ prompt: [1], greedy: true, constrained: false }).served(10, 1, 1);
  await chooser.close();
  const refused = (change: object, words: RegExp) =>
    expect(openChooser({ ...settings, path, ...change })).rejects.toThrow(words);
  await refused({ fingerprint: "other" }, /other weights/);
  await refused({ tokenizer: "other" }, /tokenizer/);
  await refused({ arms: ["slow", "faster"] }, /arms slow, fast, not slow, faster/);
  await refused({ policy: "LinearSquareCB", policyOptions: {} }, /LinUCB, not LinearSquareCB/);
  await refused({ policyOptions: { alpha: 7 } }, /alpha 0.05, not 7/);
  const text = await readFile(path, "utf8");
  for (const broken of [
    text.slice(0, 100),
    text.replace('"rounds":1', '"rounds":-1'),
    "[]",
    text.replace("auto 1", "auto 0"),
  ]) {
    await writeFile(path, broken);
    await refused({}, /damaged, or not a state of this version/);
  }
  await writeFile(path, text.replace(/"sums":"[^"]+"/, '"sums":"AAAAAAAA"'));
  await refused({}, /cut off|numbers/);
  expect(await forgetLearnt(state)).toEqual([path]);
  await (await openChooser({ ...settings, path })).close();
});

test("beside a model, each kind of choice has a file of its own; a folder that cannot be written is said", async () => {
  await using model = await openTiny(1);
  const method = methodChoice({ name: "auto", arms: ["sample", { name: "prompt-lookup", length: 3 }] });
  await model.decode("the cat", { method, maxTokens: 8 }).final;
  await model.decode("the cat", {
    method: methodChoice({ name: "auto", arms: ["sample"], policy: "NeuFastCB" }),
    maxTokens: 8,
  }).final;
  await model.close();
  const folder = join(files[1].folder, "auto");
  const found = await learntIn(folder);
  expect(found.map(({ learnt }) => learnt.arms.map(({ name }) => name)).sort()).toEqual([
    ["sample"],
    ["sample", 'prompt-lookup {"length":3}'],
  ]);
  expect(found.map(({ learnt }) => learnt.policy.counters.learnt)).toEqual([1, 1]);
  await rm(folder, { recursive: true });
  if (process.getuid?.() === 0) return; // who may write everywhere
  await chmod(files[1].folder, 0o500);
  await using again = await openTiny(1);
  const events = await eventsOf(again.decode("the cat", { method, maxTokens: 8 }));
  await chmod(files[1].folder, 0o700);
  expect(events.find((event) => event.type === "learn")?.note).toMatch(/not kept/);
});

test("an arm that fails before it says anything gives way to plain decoding; its options are refused as its own", async () => {
  const failing = defineMethod({
    name: "failing",
    family: "plain",
    summary: "",
    lossless: true,
    options: z.strictObject({}),
    decode: async () => {
      throw new VentrisError("unavailable", "it is not there");
    },
  });
  const method = createAuto([sample, failing]);
  await using model = await openTiny();
  const own = { method, options: { arms: ["failing"], state: "none" } };
  const run = model.decode("the cat", { method: own, maxTokens: 8, temperature: 0 });
  const notes = (await eventsOf(run)).flatMap((event) => (event.type === "learn" ? [event.note] : []));
  expect(notes[0]).toMatch(/failing failed, plain decoding goes on: it is not there/);
  const plain = await model.decode("the cat", { maxTokens: 8, temperature: 0 }).final;
  expect((await run.final).tokens).toEqual(plain.tokens);
  const refused = (options: Record<string, unknown>, words: RegExp) =>
    expect(model.decode("the cat", { method: auto(options) }).final).rejects.toThrow(words);
  await refused({ arms: ["auto"] }, /"auto" is no method to choose/);
  await refused({ arms: ["promt-lookup"] }, /did you mean "prompt-lookup"/);
  await refused({ arms: [{ name: "prompt-lookup", lenght: 3 }] }, /arm prompt-lookup.*lenght/);
  await refused({ arms: ["sample", "sample"] }, /sample is there twice/);
  await refused({ arms: ["sample"], draft: "pylos" }, /draft belongs to the default arms/);
  await refused({ policyOptions: { alfa: 3 } }, /alfa.*alpha/);
});

test("it is as lossless as its arms are", () => {
  const method = createAuto([sample, promptLookup, { ...sample, name: "lossy", lossless: false }]);
  const lossless = method.lossless as (options: unknown) => boolean;
  expect(lossless({})).toBe(true);
  expect(lossless({ arms: ["sample", "prompt-lookup"] })).toBe(true);
  expect(lossless({ arms: ["sample", "lossy"] })).toBe(false);
});

test("features: repetition is the share that looking up would have found; contexts are blocks of length 1", () => {
  expect(repetition([1, 2, 3, 1, 2, 3, 1, 2, 3])).toBeCloseTo(4 / 7, 12);
  expect(repetition([1, 2, 3, 4, 5])).toBe(0);
  expect(repetition([1])).toBe(0);
  const features = Array.from({ length: featureNames.length - 1 }, (_, i) => i + 1);
  const [a, b] = contextsOf(features, [0, 0.5]);
  expect(a.slice(featureNames.length).every((value) => value === 0)).toBe(true);
  expect(b.slice(0, featureNames.length).every((value) => value === 0)).toBe(true);
  for (const context of [a, b]) expect(context.reduce((sum, x) => sum + x * x, 0)).toBeCloseTo(1, 12);
});
