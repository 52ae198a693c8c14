/** The shaper by its definition in float64, inside every kind of method, and what it refuses. */
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { logSoftmax } from "../../../../test/fixtures/reference.ts";
import { removeModel, type TinyModel, writeTinyModel } from "../../../../test/fixtures/tiny-model.ts";
import { methodChoice } from "../../../calls.ts";
import type { TraceEvent } from "../../../engine/trace.ts";
import { baseOf, buildDatastore } from "../building.ts";
import { type Datastore, openDatastore } from "../datastore.ts";
import { type MemoryFixture, memoryFixture, tinyTexts } from "../memory.fixture.ts";

let fixture: MemoryFixture;
let datastore: Datastore;
let draft: TinyModel;
let folder: string;
beforeAll(async () => {
  fixture = await memoryFixture();
  folder = join(fixture.folder, "datastore");
  await buildDatastore(fixture.model, tinyTexts, { folder });
  datastore = await openDatastore(folder, await baseOf(fixture.model));
  draft = await writeTinyModel({ config: { num_hidden_layers: 1, eos_token_id: undefined }, tokenizer: true });
});
afterAll(async () => {
  await fixture.remove();
  await removeModel(draft);
});

const prompt = [5, 9, 2, 33, 14, 7];
const settings = { k: 6, temperature: 3, lambda: 0.4 };
const shaper = (options = {}) => [{ name: "knn-lm" as const, datastore: folder, ...settings, ...options }];

/** ln of the mixture [vocabulary], by plain loops. */
function law(text: readonly number[], { k, temperature, lambda } = settings): number[] {
  let query = new Float64Array(0);
  const logits = fixture.tiny
    .logits(text, (site, position, value) => {
      if (site === "layers.1.mlp.norm" && position === text.length - 1) query = Float64Array.from(value);
    })
    .at(-1)!;
  const own = logSoftmax(logits);
  const { keys, values, entries, width } = datastore;
  const near = Array.from({ length: entries }, (_, entry) => ({
    entry,
    distance: query.reduce((sum, x, j) => sum + (x - keys[entry * width + j]) ** 2, 0),
  }))
    .sort((a, b) => a.distance - b.distance || a.entry - b.entry)
    .slice(0, k);
  const weights = near.map(({ distance }) => Math.exp((near[0].distance - distance) / temperature));
  const total = weights.reduce((a, b) => a + b, 0);
  const memory = new Float64Array(own.length);
  near.forEach(({ entry }, i) => {
    memory[values[entry]] += weights[i] / total;
  });
  return Array.from(own, (log, token) => Math.log((1 - lambda) * Math.exp(log) + lambda * memory[token]));
}

function greedily(length: number): number[] {
  const text = [...prompt];
  for (let i = 0; i < length; i++) {
    const scores = law(text);
    const next = scores.indexOf(Math.max(...scores));
    if (next === 1) break;
    text.push(next);
  }
  return text.slice(prompt.length);
}

const decode = (method: string | { name: string }, options: object = {}) =>
  fixture.model.decode(prompt, { method: methodChoice(method as never), maxTokens: 12, shapers: shaper(), ...options });

test("greedy steps are those of the definition, and not the model's own", async () => {
  const { tokens } = await decode("greedy").final;
  expect(tokens).toEqual(greedily(12));
  expect(tokens).not.toEqual((await decode("greedy", { shapers: [] }).final).tokens);
});

test("the mixture's log-probabilities, and a sum of one", async () => {
  const { scores } = await fixture.model.continuations(
    { context: prompt, options: Array.from({ length: 64 }, (_, token) => [token]) },
    { shapers: shaper() },
  );
  const wanted = law(prompt);
  for (const [token, [score]] of scores.entries()) expect(Math.abs(score - wanted[token])).toBeLessThan(2e-3);
  expect(scores.reduce((sum, [score]) => sum + Math.exp(score), 0)).toBeCloseTo(1, 5);
});

test("λ = 0 is the model to the bit; λ = 1 the memory alone", async () => {
  const options = { temperature: 0.9, seed: 5, logprobs: 1 };
  const [without, with0] = await Promise.all([
    decode("sample", { ...options, shapers: [] }).final,
    decode("sample", { ...options, shapers: shaper({ lambda: 0 }) }).final,
  ]);
  expect(with0.logprobs).toEqual(without.logprobs);
  const { scores } = await fixture.model.continuations(
    { context: prompt, options: Array.from({ length: 64 }, (_, token) => [token]) },
    { shapers: shaper({ lambda: 1 }) },
  );
  const wanted = law(prompt, { ...settings, lambda: 1 });
  scores.forEach(([score], token) => {
    if (wanted[token] === -Infinity) expect(score).toBeLessThan(-9000);
    else expect(Math.abs(score - wanted[token])).toBeLessThan(2e-3);
  });
});

test("one text per seed with every lossless method, and beside other requests", async () => {
  const methods = [
    { name: "dyspec", draft: draft.folder, budget: 6 },
    { name: "chain", draft: draft.folder },
    { name: "aded" },
    { name: "prompt-lookup" },
  ];
  for (const temperature of [0, 1.2]) {
    const plain = await decode("sample", { temperature, seed: 3 }).final;
    const runs = methods.map((method) => decode(method, { temperature, seed: 3 }));
    for (const { tokens } of await Promise.all(runs.map((run) => run.final))) expect(tokens).toEqual(plain.tokens);
  }
  expect(fixture.model.forest.held).toBe(0);
});

test("the trace tells what was added, and from which passages", async () => {
  const events: TraceEvent[] = [];
  const run = decode("greedy");
  for await (const event of run) events.push(event);
  const { tokens } = await run.final;
  const told = events.filter((event) => event.type === "memory");
  expect(told.map(({ token }) => token)).toEqual(tokens);
  for (const [i, { position, tokens: shown, before, memory, after, passages }] of told.entries()) {
    expect(position).toBe(prompt.length + i);
    const wanted = law([...prompt, ...tokens.slice(0, i)]);
    shown.forEach((token, k) => {
      expect(after[k]).toBeCloseTo(Math.exp(wanted[token]), 3);
      expect(after[k]).toBeCloseTo(0.6 * before[k] + 0.4 * memory[k], 5);
    });
    expect(passages!.length).toBe(4);
    for (const { document, before: words, next } of passages!) {
      const text = fixture.model.tokenizer!.decode(
        fixture.model.tokenizer!.encode(tinyTexts[document], { special: false }),
        { continued: true },
      );
      expect(text).toContain(`${words}${next}`.trim());
    }
  }
});

test("what cannot be honoured is refused by name", async () => {
  expect(() => decode("greedy", { shapers: shaper({ lambda: 1.5 }) })).toThrow(/lambda/);
  expect(() => decode("greedy", { shapers: shaper({ lambda: -0.1 }) })).toThrow(/lambda/);
  expect(() => decode("greedy", { shapers: shaper({ temperature: 0 }) })).toThrow(/temperature/);
  expect(() => decode("greedy", { shapers: [{ name: "knn-lm" } as never] })).toThrow(/datastore/);
  await expect(decode("greedy", { shapers: shaper({ datastore: "nowhere" }) }).final).rejects.toThrow(
    /nowhere is no datastore/,
  );
  const other = await memoryFixture({}, 9);
  try {
    const run = other.model.decode(prompt, { maxTokens: 2, shapers: shaper() });
    await expect(run.final).rejects.toThrow(/built with another model/);
    expect(other.model.forest.held).toBe(0);
  } finally {
    await other.remove();
  }
});
