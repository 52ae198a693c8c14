/** What authors without types may return from a hook by mistake: the error names the hook, and what it must return. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { speculate } from "../methods/speculative/speculate.ts";
import { type Model, open } from "../open.ts";
import { isSaid } from "../wrong.fixture.ts";
import { defineUnmasking } from "./canvas/method.ts";
import { defineMethod, isLossless, type Method, methodOutlook, repeatsPlain, variesBySeed } from "./method.ts";

let [writer, filler]: Model[] = [];
beforeAll(async () => {
  [writer, filler] = await Promise.all([open("pylos", { threads: 1 }), open("mycenae", { threads: 1 })]);
}, 120_000);
afterAll(() => Promise.all([writer.close(), filler.close()]));

const names = { name: "mine", family: "plain", summary: "does as told", lossless: false } as const;
const method = (hooks: object): Method => defineMethod({ ...names, options: z.strictObject({}), ...hooks } as never);
const drafting = (drafter: object): Method => method({ decode: (d: never) => speculate(d, drafter as never) });
const filling = (policy: unknown): Method =>
  defineUnmasking({ ...names, options: z.strictObject({}), policy: () => policy } as never);
const nothing = { tokens: [], parents: [], replacement: false };
async function* later(): AsyncGenerator {}
function* never(): Generator {}
const boo = new Error("boo");
const fail = (): never => {
  throw boo;
};

describe("a hook that returns what it must not is named", () => {
  const decoding: [what: string, method: () => Method, message: RegExp][] = [
    [
      "decode, with a star",
      () => method({ decode: later }),
      /the method mine: decode returned a generator, which nobody/,
    ],
    [
      "decode, with a text",
      () => method({ decode: async () => "Hi" }),
      /mine: decode returned "Hi"; it must return noth/,
    ],
    [
      "begin",
      () => method({ decode() {}, begin: async () => ({}) }),
      /mine: begin returned a Promise that was not await/,
    ],
    ["begin, with a star", () => method({ decode() {}, begin: never }), /mine: begin returned a generator/],
    ["propose", () => drafting({ propose: later }), /the drafter: propose returned a generator.*createTree/],
    [
      "propose, of a list",
      () => drafting({ propose: () => [1, 2] }),
      /propose returned \[1,2\]; it must return a tree/,
    ],
    ["ahead", () => drafting({ propose: () => nothing, ahead: never }), /the drafter: ahead returned a generator/],
    [
      "observe",
      () => drafting({ propose: () => nothing, observe: never }),
      /the drafter: observe returned a generator/,
    ],
  ];
  test.each(decoding)("%s", async (_, make, message) => {
    const run = writer.decode("Once upon", { method: make(), maxTokens: 3, temperature: 0 });
    await expect(run.final).rejects.toMatchObject({ code: "bad_option", message: expect.stringMatching(message) });
  });

  const policies: [what: string, policy: unknown, message: RegExp][] = [
    ["a policy that is none", {}, /the method's policy returned \{\}; it must return \{ decide/],
    ["a policy's star", { decide: never }, /the policy: decide returned a generator/],
    [
      "a decision of positions alone",
      { decide: () => [3] },
      /the policy: decide returned \[3\]; it must return \{ pos/,
    ],
  ];
  test.each(policies)("%s", async (_, policy, message) => {
    const run = filler.decode("Once upon", { method: filling(policy), maxTokens: 8 });
    await expect(run.final).rejects.toMatchObject({ code: "bad_option", message: expect.stringMatching(message) });
  });

  const stage = { changes: "scores", keepsBest: false, readsHistory: false };
  const shapers: [what: string, shaper: object, message: RegExp][] = [
    ["prepare", { prepare: later }, /the shaper mine: prepare returned a generator/],
    ["chosen", { chosen: never }, /the shaper mine: chosen returned a generator/],
    ["a stage", { stages: { cut: { ...stage, create: () => never } } }, /the stage mine\.cut returned a generator/],
    [
      "a stage's maker",
      { stages: { cut: { ...stage, create: () => 3 } } },
      /mine\.cut: create returned 3; it must ret/,
    ],
    [
      "what a stage changes",
      { stages: { cut: { ...stage, changes: "suport", create: () => undefined } } },
      /^shaper: stages\.cut\.changes must be "scores" or "support", not "suport"; did you mean "support"\?$/,
    ],
  ];
  test.each(shapers)("%s of a shaper", async (_, shaper, message) => {
    const run = writer.decode("Once upon", { shapers: [() => ({ name: "mine", ...shaper }) as never], maxTokens: 3 });
    await expect(run.final).rejects.toMatchObject({ code: "bad_option", message: expect.stringMatching(message) });
  });

  test.each<[string, () => unknown]>([
    ["throws", fail],
    ["rejects", async () => fail()],
  ])("close of a shaper that %s is told, the others are closed, and the model is free", async (_, close) => {
    const model = await open("pylos", { threads: 1 });
    const closed: string[] = [];
    const other = () => ({ name: "other", close: () => void closed.push("other") });
    const shapers = [() => ({ name: "mine", close }), other] as never;
    const said = isSaid("internal", /^the shaper mine: close failed: boo$/, boo);
    await expect(model.generate("Once", { shapers, maxTokens: 2 })).rejects.toThrow(said);
    expect(closed).toContain("other");
    const run = model.decode("Once", { shapers, maxTokens: 2 });
    run.abort();
    await expect(run.final).rejects.toThrow(said);
    await model.close(); // which waits for every run
  });

  test("what a shaper promises in place of logits is refused, and nothing goes unheard", async () => {
    for (const hook of ["logits", "allowed"]) {
      const shapers = [() => ({ name: "mine", [hook]: async () => fail() })] as never;
      await expect(writer.generate("Once", { shapers, maxTokens: 2 })).rejects.toThrow(
        isSaid("bad_option", new RegExp(`^the shaper mine: ${hook} returned a Promise`)),
      );
    }
  });

  test("what is asked before a method decodes", async () => {
    const asked = method({
      decode() {},
      lossless: () => "yes",
      repeats: never,
      varies: () => 1,
      outlook: async () => 2,
    });
    expect(() => isLossless(asked, {})).toThrow(
      'the method mine: lossless returned "yes"; it must return true or false',
    );
    expect(() => repeatsPlain(asked, {})).toThrow(/mine: repeats returned a generator/);
    expect(() => variesBySeed(asked, {})).toThrow(/mine: varies returned 1/);
    await expect(methodOutlook(asked, {} as never, {}, { temperature: 0 })).rejects.toThrow(/mine: outlook returned 2/);
  });

  test("a field of another type is refused when the method is defined", () => {
    expect(() => method({ decode() {}, needs: "forest" })).toThrow('method.needs must be a list, not "forest"');
    expect(() => method({ decode() {}, begin: {} })).toThrow("method.begin must be a function, not {}");
  });

  test("what is asked before a method decodes, and fails", async () => {
    const failing = method({ decode() {}, lossless: fail, repeats: fail, varies: fail, outlook: async () => fail() });
    const said = (hook: string): Error => isSaid("internal", new RegExp(`^the method mine: ${hook} failed: boo$`), boo);
    expect(() => isLossless(failing, {})).toThrow(said("lossless"));
    expect(() => repeatsPlain(failing, {})).toThrow(said("repeats"));
    expect(() => variesBySeed(failing, {})).toThrow(said("varies"));
    await expect(methodOutlook(failing, {} as never, {}, { temperature: 0 })).rejects.toThrow(said("outlook"));
    const begun = writer.generate("Once", { method: method({ decode() {}, begin: fail }) });
    await expect(begun).rejects.toThrow(said("begin"));
    const late = writer.generate("Once", { method: method({ decode() {}, begin: async () => fail() }) });
    await expect(late).rejects.toThrow(isSaid("bad_option", /begin returned a Promise/)); // and nothing goes unheard
  });

  test.each<[object]>([
    [{ most: Number.NaN, because: "", advice: "" }],
    [{ most: 1, speedUp: "x", because: "", advice: "" }],
    [{ most: 1, because: 5, advice: "" }],
    [{ most: 1 }],
  ])("the outlook %o is none", async (outlook) => {
    const asked = method({ decode() {}, outlook: async () => outlook });
    await expect(methodOutlook(asked, {} as never, {}, { temperature: 0 })).rejects.toThrow(
      isSaid("bad_option", /mine: outlook returned .*; it must return \{ speedUp, most, because, advice \}/),
    );
  });
});

describe("defaults of a method are options of a request", () => {
  const options = z.strictObject({});
  test.each<[unknown, RegExp]>([
    [[3], /defaults must be an object, not \[3\]$/],
    [Object.create({ temperature: 0 }), /^the method mine: defaults must be a plain object; what an object takes from/],
    [new Map(), /defaults must be an object, not a Map$/],
    [{ temperature: "hot" }, /^the method mine: defaults, options: temperature must be a number/],
    [{ maxTokens: Number.NaN }, /defaults, options: maxTokens must be/],
    [{ method: "greedy" }, /defaults, options: there is no option "method"/],
    [{ tempature: 0 }, /there is no option "tempature"; did you mean "temperature"\?$/],
  ])("%o", async (defaults, message) => {
    const plain = { ...names, options, decode() {}, defaults } as never;
    expect(() => defineMethod(plain)).toThrow(isSaid("bad_option", message));
    await expect(writer.generate("Once", { method: plain })).rejects.toThrow(isSaid("bad_option", message));
  });
});

describe("functions in a method's schema of options", () => {
  const later = async (): Promise<never> => fail();
  const generate = (a: z.ZodType, given: unknown): Promise<unknown> => {
    const asked = method({ options: z.strictObject({ a }), decode() {} });
    return writer.generate("Once", { method: { method: asked, options: { a: given } } });
  };

  test.each<[string, z.ZodType, unknown]>([
    ["a transformation", z.string().transform(fail), "x"],
    ["a refinement", z.string().refine(fail), "x"],
    ["a default", z.string().default(fail), undefined],
    ["a preparation", z.preprocess(fail, z.string()), "x"],
    ["a message", z.string({ error: fail }), 5],
  ])("%s that throws is told, and is the cause", async (_, schema, given) => {
    await expect(generate(schema, given)).rejects.toThrow(isSaid("bad_option", /^mine options: a failed: boo$/, boo));
  });

  test.each<[string, z.ZodType]>([
    ["a refinement", z.string().refine(async () => true)],
    ["a transformation", z.string().transform(async () => 5)],
    ["a promise", z.promise(z.string())],
    ["a refinement that fails", z.string().refine(later)],
    ["a transformation that fails", z.string().transform(later)],
    ["a further refinement that fails", z.string().superRefine(later)],
    ["a check that fails", z.string().check(later)],
    ["a schema of one's own that fails", z.custom<string>(later)],
    ["a preparation that fails", z.preprocess(later, z.string())],
    ["what follows a preparation and fails", z.preprocess((one) => one, z.string().refine(later))],
    ["a codec that fails", z.codec(z.string(), z.string(), { decode: later, encode: (one) => one })],
    ["one of two sides that fails", z.intersection(z.string(), z.string().refine(later))],
    ["what may be left out and fails", z.string().refine(later).optional()],
  ])("%s that keeps one waiting is refused, and nothing is left unheard", async (_, schema) => {
    const unheard: unknown[] = [];
    const hear = (reason: unknown): void => void unheard.push(reason);
    process.on("unhandledRejection", hear);
    await expect(generate(schema, "x")).rejects.toThrow(
      isSaid("bad_option", /^mine options: its schema has an asynchronous function/),
    );
    await new Promise((resolve) => setTimeout(resolve, 5));
    process.off("unhandledRejection", hear);
    expect(unheard).toEqual([]);
  });
});
