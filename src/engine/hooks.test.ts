/** What authors without types may return from a hook by mistake: the error names the hook, and what it must return. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { speculate } from "../methods/speculative/speculate.ts";
import { type Model, open } from "../open.ts";
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
  ];
  test.each(shapers)("%s of a shaper", async (_, shaper, message) => {
    const run = writer.decode("Once upon", { shapers: [() => ({ name: "mine", ...shaper }) as never], maxTokens: 3 });
    await expect(run.final).rejects.toMatchObject({ code: "bad_option", message: expect.stringMatching(message) });
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
});
