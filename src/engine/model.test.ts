/** Models by what they can do: what is missing is named, memos are bounded, and everything is closed with the model. */
import { expect, test } from "vitest";
import { createModel, type DecodingModel, type ModelParts } from "./model.ts";

const bare = (more: Partial<ModelParts> = {}): ModelParts => ({
  name: "filter",
  folder: ".",
  tokenizer: undefined,
  secondsToLoad: 0,
  parameterCount: 0,
  identity: "a test's",
  openCompanion: async (name) => createModel(bare({ name })),
  ...more,
});

test("a model that is no transformer has what it brings, and names what it lacks", async () => {
  let closed = 0;
  const filter = { step: (x: number) => 2 * x, close: () => void closed++ };
  const model = createModel(bare({ abilities: { filter } }));
  expect([...model.capabilities]).toEqual(["filter"]);
  expect(model.ability<typeof filter>("filter").step(3)).toBe(6);
  expect(() => model.forest).toThrow(/the model filter has no forest; what it has: filter/);
  expect(() => model.forward).toThrow(/no forward/);
  expect(() => model.sites()).toThrow(/no sites/);
  expect(() => model.ability("canvas")).toThrow(/no canvas/);
  await expect(model.learnable()).rejects.toThrow(/no learning/);
  await expect(model.fingerprint()).rejects.toThrow(/no fingerprint/);
  await model.close();
  expect(closed).toBe(1);
});

test("memos are forgotten when they are many, the longest unused first; what is to be closed stays", async () => {
  const model: DecodingModel = createModel(bare());
  let [made, closed] = [0, 0];
  const memo = (i: number) => model.state(`memo ${i}`, () => ({ number: made++ }));
  await model.state("learner", () => ({ close: () => void closed++ }));
  for (let i = 0; i < 1000; i++) {
    await memo(i);
    await memo(0); // used all the time
  }
  expect(made).toBe(1000);
  expect((await memo(0)).number).toBe(0);
  expect((await memo(1)).number).toBe(1000); // had been forgotten
  await model.close();
  expect(closed).toBe(1);
});

test("no more than eight other models are open beside one", async () => {
  const model = createModel(bare());
  for (let i = 0; i < 8; i++) await model.companion(`draft ${i}`);
  expect(() => model.companion("draft 8")).toThrow(/8 other models are open beside filter already: draft 0, draft 1/);
  expect((await model.companion("draft 3")).name).toBe("draft 3");
  await model.close();
});
