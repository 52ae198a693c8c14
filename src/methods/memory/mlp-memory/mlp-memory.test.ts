/** The memory: its loss by definition, an interrupted making, the shaper inside every kind of method, and what is refused. */
import { readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { logSoftmax } from "../../../../test/fixtures/reference.ts";
import { removeModel, type TinyModel, writeTinyModel } from "../../../../test/fixtures/tiny-model.ts";
import { methodChoice } from "../../../calls.ts";
import { baseOf, buildDatastore } from "../building.ts";
import { type Datastore, openDatastore } from "../datastore.ts";
import { type MemoryFixture, memoryFixture, tinyTexts } from "../memory.fixture.ts";
import { exactSearch } from "../search.ts";
import { openMemory } from "./index.ts";
import { makeMemory } from "./making.ts";
import { beginMemory, type MemoryShape } from "./network.ts";
import { type Teacher, teach } from "./teacher.ts";
import { imitation, inPasses } from "./training.ts";

let fixture: MemoryFixture;
let datastore: Datastore;
let teacher: Teacher;
let draft: TinyModel;
let paths: { datastore: string; memory: string };
const shape: MemoryShape = {
  blocks: 2,
  kind: "swiglu",
  inputWidth: 32,
  width: 32,
  innerWidth: 64,
  vocabularySize: 64,
  epsilon: 1e-5,
};
const making = {
  ...{ k: 8, temperature: 3, alpha: 0.4, blocks: 2, steps: 40, rows: 16, learningRate: 5e-3, seed: 1, threads: 1 },
};

beforeAll(async () => {
  fixture = await memoryFixture();
  paths = { datastore: join(fixture.folder, "datastore"), memory: join(fixture.folder, "memory") };
  await buildDatastore(fixture.model, tinyTexts, { folder: paths.datastore });
  datastore = await openDatastore(paths.datastore, await baseOf(fixture.model));
  const search = await exactSearch(datastore, { threads: 1 });
  teacher = await teach(datastore, search, { folder: join(fixture.folder, "teacher"), k: 8, temperature: 3 });
  await search.close();
  draft = await writeTinyModel({ config: { num_hidden_layers: 1, eos_token_id: undefined }, tokenizer: true });
});
afterAll(async () => {
  await fixture.remove();
  await removeModel(draft);
});

const make = (out: string, options: object = {}) =>
  makeMemory(fixture.model, { ...making, datastore: paths.datastore, out, work: `${out}-work`, ...options });

const lessons = () => ({ states: datastore.keys, width: 32, values: datastore.values, teacher });

/** Logits of one state, by plain loops in float64. */
function networkOf(tensors: ReadonlyMap<string, ArrayLike<number>>, state: ArrayLike<number>): Float64Array {
  const norm = (x: Float64Array, name: string): Float64Array => {
    const scale = 1 / Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length + 1e-5);
    return x.map((v, i) => v * scale * tensors.get(`${name}.weight`)![i]);
  };
  const product = (x: Float64Array, name: string): Float64Array => {
    const weight = tensors.get(`${name}.weight`)!;
    const rows = weight.length / x.length;
    return Float64Array.from({ length: rows }, (_, r) =>
      x.reduce((sum, v, i) => sum + v * weight[r * x.length + i], 0),
    );
  };
  let stream = Float64Array.from(state);
  for (let block = 0; block < 2; block++) {
    const x = norm(stream, `${block}.norm`);
    const [gate, up] = [product(x, `${block}.gate`), product(x, `${block}.up`)];
    const inner = up.map((v, i) => (v * gate[i]) / (1 + Math.exp(-gate[i])));
    stream = product(inner, `${block}.down`).map((v, i) => v + stream[i]);
  }
  return product(norm(stream, "norm"), "output");
}

describe("training", () => {
  test("a pass takes every entry once, each in an order of its own, from any place on", () => {
    const all = Array.from({ length: 7 }, (_, entry) => entry);
    const entryAt = inPasses(7, 3);
    const passes = [0, 1, 2].map((pass) => all.map((i) => entryAt(7 * pass + i)));
    for (const order of passes) expect(order.toSorted((a, b) => a - b)).toEqual(all);
    expect(new Set(passes.map(String)).size).toBe(3);
    const later = inPasses(7, 3);
    expect([16, 3, 20].map(later)).toEqual([passes[2][2], passes[0][3], passes[2][6]]);
  });

  const entries = Int32Array.of(0, 3, 7, 20);
  test.each([0, 0.4, 1])("the loss is α KL(search || memory) + (1 - α) CE, α = %f", async (alpha) => {
    const parameters = beginMemory(shape, 3);
    const objective = await imitation(lessons(), parameters, { shape, alpha, rows: 4, threads: 1 });
    const loss = await objective.loss({ entries });
    const { gradients } = await objective.gradients({ entries });
    await objective.release();
    const tensors = new Map(parameters.map(({ name, values }) => [name, values]));
    let [kl, ce] = [0, 0];
    for (const entry of entries) {
      const log = logSoftmax(networkOf(tensors, datastore.keys.subarray(entry * 32, (entry + 1) * 32)));
      for (let at = teacher.offsets[entry]; at < teacher.offsets[entry + 1]; at++) {
        const p = teacher.probabilities[at];
        kl += (p * (Math.log(p) - log[teacher.tokens[at]])) / 4;
      }
      ce -= log[datastore.values[entry]] / 4;
    }
    expect(loss).toBeCloseTo(alpha * kl + (1 - alpha) * ce, 4);
    expect(gradients.every((g) => g.some((x) => x !== 0))).toBe(true);
  });

  test("stored states and states computed now give the same loss", async () => {
    const parameters = beginMemory(shape, 3);
    const stored = await imitation(lessons(), parameters, { shape, alpha: 0.4, rows: 4, threads: 1 });
    const tokens = fixture.model.tokenizer!.encode(tinyTexts[0], { special: false });
    const { beginToken } = fixture.model.tokenizer!;
    const { taps } = await fixture.model.forward([...(beginToken === undefined ? [] : [beginToken]), ...tokens], {
      taps: ["layers.1.mlp.norm"],
    });
    const fresh = { ...lessons(), states: taps["layers.1.mlp.norm"].values };
    const online = await imitation(fresh, parameters, { shape, alpha: 0.4, rows: 4, threads: 1 });
    expect(await online.loss({ entries })).toBeCloseTo(await stored.loss({ entries }), 3); // states are stored as halves
    await Promise.all([stored.release(), online.release()]);
  });

  test("the teacher is each entry's search without itself, and sums to one", () => {
    const { values, entries: count } = datastore;
    expect(teacher.offsets.length).toBe(count + 1);
    for (let entry = 0; entry < count; entry += 5) {
      const law = teacher.probabilities.subarray(teacher.offsets[entry], teacher.offsets[entry + 1]);
      expect(law.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6);
    }
    // With itself among the neighbours, almost every entry would know its own token.
    const own = Array.from({ length: count }, (_, entry) => {
      for (let at = teacher.offsets[entry]; at < teacher.offsets[entry + 1]; at++) {
        if (teacher.tokens[at] === values[entry]) return teacher.probabilities[at];
      }
      return 0;
    });
    expect(own.filter((p) => p === 0).length).toBeGreaterThan(3);
  });

  test("it learns, leaves the base alone, and goes on after a stop to the same numbers", async () => {
    const before = await fixture.model.fingerprint();
    const { loss, entries: count, inverted } = await make(paths.memory);
    expect(inverted).toBeUndefined();
    const listed = await make(join(fixture.folder, "listed"), { exactUntil: 10, steps: 2 });
    expect(listed.inverted).toMatchObject({ lists: 32, probes: 32, recall: 1 }); // of few entries all lists are looked at
    expect(count).toBe(datastore.entries);
    expect(loss).toBeLessThan(3);
    expect(await fixture.model.fingerprint()).toBe(before);
    expect(await readdir(fixture.folder)).not.toContain("memory-work");

    await expect(make(join(fixture.folder, "wide"), { rows: 2 ** 40 })).rejects.toMatchObject({
      code: "out_of_memory",
      message: expect.stringMatching(/^rows: a step of 1099511627776 entries over 64 tokens/),
    });
    const wrong = { k: 0, blocks: 1.5, rows: 0, steps: -1, temperature: 0, learningRate: Infinity, alpha: 2, seed: -1 };
    for (const [name, value] of Object.entries(wrong))
      await expect(make(join(fixture.folder, "wrong"), { [name]: value })).rejects.toThrow(`${name} must`);

    // Two at once: one is refused before it has searched, and loses nothing of the other's.
    const taught: number[] = [];
    const twice = [0, 1].map((i) => make(join(fixture.folder, "twice"), { steps: 2, onTeach: () => taught.push(i) }));
    const both = await Promise.allSettled(twice);
    expect(both.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(both).toContainEqual({
      status: "rejected",
      reason: expect.objectContaining({ code: "unavailable", message: expect.stringMatching(/work\.lock; if/) }),
    });
    expect(new Set(taught).size).toBe(1);

    const stopped = join(fixture.folder, "stopped");
    const teaching = new AbortController();
    const onTeach = () => teaching.abort();
    await expect(make(stopped, { signal: teaching.signal, onTeach })).rejects.toMatchObject({ code: "aborted" });
    const training = new AbortController();
    const onTrain = ({ step }: { step: number }) => step === 15 && training.abort();
    await expect(make(stopped, { signal: training.signal, onTrain })).rejects.toThrow(/step 15 of 40/);
    await expect(make(stopped, { alpha: 0.9 })).rejects.toThrow(/another alpha; give/);
    await make(stopped);
    const [a, b] = await Promise.all([paths.memory, stopped].map((folder) => fixture.model.part(folder)));
    for (const [name, { values }] of a.tensors) expect(b.tensors.get(name)!.values).toEqual(values);
  });

  test("a teacher of other settings or damaged is refused", async () => {
    const search = await exactSearch(datastore, { threads: 1 });
    const folder = join(fixture.folder, "teacher");
    await expect(teach(datastore, search, { folder, k: 5, temperature: 3 })).rejects.toThrow(/other settings/);
    const damaged = join(fixture.folder, "damaged");
    await teach(datastore, search, { folder: damaged, k: 8, temperature: 3 });
    const [file] = await readdir(damaged);
    await writeFile(join(damaged, file), "nothing");
    await expect(teach(datastore, search, { folder: damaged, k: 8, temperature: 3 })).rejects.toMatchObject({
      code: "bad_file",
    });
    await rm(join(damaged, file));
    await search.close();
  });
});

describe("as a shaper", () => {
  const prompt = [5, 9, 2, 33, 14, 7];
  const shaper = (options = {}) => [{ name: "mlp-memory" as const, memory: paths.memory, lambda: 0.5, ...options }];
  const decode = (method: string | { name: string }, options: object = {}) =>
    fixture.model.decode(prompt, {
      method: methodChoice(method as never),
      maxTokens: 12,
      shapers: shaper(),
      ...options,
    });

  async function law(text: readonly number[], lambda = 0.5): Promise<number[]> {
    let state = new Float64Array(0);
    const logits = fixture.tiny.logits(text, (site, position, value) => {
      if (site === "layers.1.mlp.norm" && position === text.length - 1) state = Float64Array.from(value);
    });
    const { tensors } = await fixture.model.part(paths.memory);
    const memory = logSoftmax(networkOf(new Map([...tensors].map(([name, { values }]) => [name, values])), state));
    const own = logSoftmax(logits.at(-1)!);
    return Array.from(own, (log, token) => Math.log((1 - lambda) * Math.exp(log) + lambda * Math.exp(memory[token])));
  }
  const scores = async (options: object) => {
    const all = { context: prompt, options: Array.from({ length: 64 }, (_, token) => [token]) };
    return (await fixture.model.continuations(all, { shapers: shaper(options) })).scores.map(([score]) => score);
  };

  test("log-probabilities are those of the mixture, which sums to one", async () => {
    for (const lambda of [0.5, 1]) {
      const [found, wanted] = [await scores({ lambda, weights: "f32" }), await law(prompt, lambda)];
      for (const [token, score] of found.entries()) expect(Math.abs(score - wanted[token])).toBeLessThan(2e-3);
      expect(found.reduce((sum, score) => sum + Math.exp(score), 0)).toBeCloseTo(1, 5);
    }
  });

  test("in 8 bits the mixture is nearly that of the memory as it was trained, and another", async () => {
    const [kept, rounded] = [await scores({ lambda: 1, weights: "f32" }), await scores({ lambda: 1 })];
    const distances = rounded.map((score, token) => Math.abs(score - kept[token]));
    expect(Math.max(...distances)).toBeLessThan(0.1);
    expect(Math.max(...distances)).toBeGreaterThan(1e-6);
  });

  test("λ = 0 is the model to the bit", async () => {
    const options = { temperature: 0.9, seed: 5, logprobs: 1 };
    const plain = await decode("sample", { ...options, shapers: [] }).final;
    expect((await decode("sample", { ...options, shapers: shaper({ lambda: 0 }) }).final).logprobs).toEqual(
      plain.logprobs,
    );
  });

  test("one text per seed with every lossless method, beside others; a row's bits do not depend on the others", async () => {
    const methods = [{ name: "dyspec", draft: draft.folder, budget: 6 }, { name: "aded" }, { name: "prompt-lookup" }];
    for (const temperature of [0, 1.2]) {
      const plain = await decode("sample", { temperature, seed: 3 }).final;
      const runs = methods.map((method) => decode(method, { temperature, seed: 3 }));
      for (const { tokens } of await Promise.all(runs.map((run) => run.final))) expect(tokens).toEqual(plain.tokens);
    }
    const memory = await openMemory(fixture.model, paths.memory);
    const many = await memory.recall(datastore.keys.slice(0, 100 * 32));
    const alone = await memory.recall(datastore.keys.slice(70 * 32, 71 * 32));
    expect(alone[0]).toEqual(many[70]);
    await memory.close();
  });

  test("of another model, of another kind, outside its range: refused by name", async () => {
    expect(() => decode("greedy", { shapers: shaper({ lambda: 2 }) })).toThrow(/lambda/);
    expect(() => decode("greedy", { shapers: shaper({ temperature: 0 }) })).toThrow(/temperature/);
    expect(() => decode("greedy", { shapers: shaper({ weights: "int4" }) })).toThrow(/weights/);
    await expect(decode("greedy", { shapers: shaper({ memory: "none" }) }).final).rejects.toThrow(/no part "none"/);
    const other = await memoryFixture({}, 9);
    const run = other.model.decode(prompt, { maxTokens: 2, shapers: shaper() });
    await expect(run.final).rejects.toThrow(/trained on another model/);
    await other.remove();
    const write = (name: string, part: object) =>
      fixture.model.writePart(join(fixture.folder, name), {
        kind: "mlp-memory",
        sites: ["layers.1.mlp.norm"],
        settings: { ...shape },
        tensors: new Map([["norm.weight", { shape: [32], values: new Float32Array(32) }]]),
        ...part,
      });
    const refused = async (name: string, part: object, message: RegExp) => {
      await write(name, part);
      await expect(decode("greedy", { shapers: shaper({ memory: join(fixture.folder, name) }) }).final).rejects.toThrow(
        message,
      );
    };
    await refused("heads", { kind: "heads" }, /kind heads, not mlp-memory/);
    await refused("tensors", {}, /is missing, and must be/);
    await refused("settings", { settings: {} }, /settings: blocks is missing: it must be a number/);
    await refused("epsilon", { settings: { ...shape, epsilon: 1e308 } }, /epsilon must be at most 1, not 1e\+308/);
    await refused("site", { sites: ["layers.1.mlp.up"] }, /64 wide, not 32/);
    await refused("vocabulary", { settings: { ...shape, vocabularySize: 9 } }, /9 tokens/);
    expect(fixture.model.forest.held).toBe(0);
  });
});
