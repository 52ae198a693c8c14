/** Shapers of a request inside every method: contrast with a layer, with another model, and what a constraint allows, against the reference. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { methodChoice, shaperChoice } from "../src/calls.ts";
import { createMirror } from "../src/engine/shapers/mirror.ts";
import type { MakeShaper } from "../src/engine/shapers/shaper.ts";
import { lensReading, logitLens } from "../src/models/lens.ts";
import { type Model, open } from "../src/open.ts";
import { logSoftmax } from "./fixtures/reference.ts";
import { removeModel, type TinyModel, writeTinyModel } from "./fixtures/tiny-model.ts";

let expert: TinyModel;
let amateur: TinyModel;
let model: Model;
let second: Model;
beforeAll(async () => {
  const config = { eos_token_id: undefined, bos_token_id: undefined };
  expert = await writeTinyModel({ config });
  amateur = await writeTinyModel({ config, seed: 2 });
  model = await open(expert.folder, { threads: 1 });
  second = await open(amateur.folder, { threads: 1 });
});
afterAll(async () => {
  await model.close();
  await second.close();
  await removeModel(expert);
  await removeModel(amateur);
});

const prompt = [5, 9, 2, 33, 14, 7, 7, 21, 5, 9, 2, 33];
const methods = ["greedy", "prompt-lookup", "aded"];
const alpha = 0.1;

/** log p - log q where p is at least alpha times its best (Li et al. 2022), else nothing. */
function contrast(p: ArrayLike<number>, q: ArrayLike<number>): Float32Array {
  const [a, b] = [logSoftmax(p), logSoftmax(q)];
  const bound = Math.max(...a) + Math.log(alpha);
  return Float32Array.from(a, (x, i) => (x >= bound ? x - b[i] : -Infinity));
}

/** Greedy continuation under a law of the text's logits. */
function greedily(length: number, law: (text: readonly number[]) => ArrayLike<number>): number[] {
  const text = [...prompt];
  while (text.length < prompt.length + length) {
    const scores = Array.from(law(text));
    text.push(scores.indexOf(Math.max(...scores)));
  }
  return text.slice(prompt.length);
}

const site = "layers.0.residual";
const layerContrast: MakeShaper = () => ({
  name: "layer-contrast",
  taps: [lensReading(site)],
  edits: [{ edit: logitLens(site), key: "" }],
  logits: (node, logits) => contrast(logits, node.taps![lensReading(site)]),
});

test("contrast with an exit at a layer, exactly, inside every method", async () => {
  const gain = expert.weights.get("model.norm.weight")!.data;
  const output = expert.weights.get("model.embed_tokens.weight")!.data;
  const wanted = greedily(14, (text) => {
    let exit: number[] = [];
    const last = expert
      .logits(text, (name, position, value) => {
        if (name !== site || position !== text.length - 1) return;
        const scale = 1 / Math.sqrt(value.reduce((sum, x) => sum + x * x, 0) / 32 + 1e-5);
        exit = Array.from({ length: 64 }, (_, t) =>
          value.reduce((s, x, i) => s + output[t * 32 + i] * x * scale * gain[i], 0),
        );
      })
      .at(-1)!;
    return contrast(last, exit);
  });
  expect(wanted).not.toEqual(greedily(14, (text) => expert.logits(text).at(-1)!));
  for (const method of methods) {
    const run = model.decode(prompt, {
      method: methodChoice(method),
      temperature: 0,
      maxTokens: 14,
      shapers: [layerContrast],
    });
    expect((await run.final).tokens).toEqual(wanted);
  }
  const sampled = ["sample", "prompt-lookup", "aded"].map((method) =>
    Promise.all(
      [1, 2, 3, 4].map(async (seed) => {
        const options = {
          method: methodChoice(method),
          seed,
          temperature: 1.3,
          maxTokens: 10,
          logprobs: 0,
          shapers: [layerContrast],
        };
        return (await model.decode(prompt, options).final).tokens;
      }),
    ),
  );
  const [plain, ...others] = await Promise.all(sampled);
  for (const other of others) expect(other).toEqual(plain);
  expect(model.forest.held).toBe(0);
});

describe("contrast with another model", () => {
  let passes: number;
  const withModel =
    (before: number[]): MakeShaper =>
    () => {
      const mirror = createMirror(second.forest, { before });
      const scores = new WeakMap<object, Float32Array>();
      return {
        name: "amateur",
        async prepare(nodes) {
          const twins = await mirror.follow(nodes);
          for (const [i, node] of nodes.entries()) scores.set(node, twins[i].logits!);
        },
        logits: (node, logits) => contrast(logits, scores.get(node)!),
        close: mirror.close,
      };
    };

  test.each([[[]], [[3, 1, 4]]])("which has %j before every text", async (before) => {
    const wanted = greedily(12, (text) =>
      contrast(expert.logits(text).at(-1)!, amateur.logits([...before, ...text]).at(-1)!),
    );
    for (const method of methods) {
      passes = second.forest.counters.passes;
      const own = model.decode(prompt, {
        method: methodChoice(method),
        temperature: 0,
        maxTokens: 12,
        shapers: [withModel(before)],
      });
      const { tokens, counters } = await own.final;
      expect(tokens).toEqual(wanted);
      // One pass of the other model for one of this, and one for what stands before.
      expect(second.forest.counters.passes - passes).toBeLessThanOrEqual(counters.passes + 1);
      expect([model.forest.held, second.forest.held]).toEqual([0, 0]);
    }
  });

  test("its failure is the run's, and nothing stays held", async () => {
    let closed = 0;
    const failing: MakeShaper = () => ({
      name: "failing",
      prepare: () => Promise.reject(new Error("no amateur today")),
      close: () => void closed++,
    });
    await expect(model.decode(prompt, { shapers: [failing] }).final).rejects.toThrow("no amateur today");
    expect(closed).toBeGreaterThan(0);
    expect(model.forest.held).toBe(0);
  });

  test("an aborted run lets go of both", async () => {
    const run = model.decode(prompt, { maxTokens: 60, shapers: [withModel([])] });
    for await (const event of run) if (event.type === "tokens") break;
    expect((await run.final).finish).toBe("aborted");
    expect([model.forest.held, second.forest.held]).toEqual([0, 0]);
  });
});

test("what shapers allow, all of them: after an even token only odd ones, and never 7", async () => {
  const bits = (allowed: (token: number) => boolean): Uint32Array => {
    const words = new Uint32Array(2);
    for (let token = 0; token < 64; token++) if (allowed(token)) words[token >> 5] |= 1 << (token & 31);
    return words;
  };
  let asked = 0;
  const odd: MakeShaper = () => ({
    name: "odd",
    allowed(node) {
      asked += 1;
      return node.token % 2 === 0 ? bits((token) => token % 2 === 1) : undefined;
    },
  });
  const noSeven: MakeShaper = () => ({ name: "no seven", allowed: () => bits((token) => token !== 7) });
  const wanted = greedily(12, (text) =>
    expert
      .logits(text)
      .at(-1)!
      .map((x, token) => (token === 7 || (text.at(-1)! % 2 === 0 && token % 2 === 0) ? -Infinity : x)),
  );
  for (const method of methods) {
    const shapers = [odd, noSeven];
    const { tokens } = await model.decode(prompt, {
      method: methodChoice(method),
      temperature: 0,
      maxTokens: 12,
      shapers,
    }).final;
    expect(tokens).toEqual(wanted);
  }
  expect(asked).toBeGreaterThan(12);
  const nothing: MakeShaper = () => ({ name: "nothing", allowed: () => new Uint32Array(2) });
  await expect(model.decode(prompt, { shapers: [nothing] }).final).rejects.toMatchObject({
    code: "constraint_dead_end",
  });
});

describe("a shaper that throws where it is read", () => {
  const boo = new Error("boo");
  const fail = (): never => {
    throw boo;
  };
  const failing = (field: string, others: object = {}) =>
    Object.defineProperty({ ...others }, field, { enumerable: true, get: fail });
  const stage = { changes: "scores", keepsBest: true, readsHistory: true, create: () => () => {} };
  test.each<[string, object, RegExp]>([
    ["logits", failing("logits", { name: "odd" }), /^the shaper function odd: its shaper\.logits failed: boo$/],
    ["close", failing("close", { name: "odd" }), /its shaper\.close failed: boo$/],
    ["edits", failing("edits", { name: "odd" }), /its shaper\.edits failed: boo$/],
    ["an edit", { name: "odd", edits: [{ edit: failing("site") }] }, /its shaper\.edits\[0\]\.edit\.site failed: boo$/],
    ["a stage", { name: "odd", stages: { last: failing("create", stage) } }, /\.stages\.last\.create failed: boo$/],
    ["what is awaited", failing("then", { name: "odd" }), /^the shaper function odd failed: boo$/],
  ])("%s", async (_, made, message) => {
    const odd = () => made;
    const error = await model.decode(prompt, { maxTokens: 4, shapers: [odd as MakeShaper] }).final.catch((e) => e);
    expect(error).toMatchObject({ name: "VentrisError", message: expect.stringMatching(message), cause: boo });
    expect(model.forest.held).toBe(0);
  });
});

describe("a shaper function that gives what is no shaper, or no logits", () => {
  const refused: [string, unknown, RegExp][] = [
    ["a number", () => 3, /shaper function.* returned 3: it returns an object/],
    ["nothing", () => undefined, /returned undefined/],
    ["a promise of a text", async () => "odd", /returned "odd"/],
    ["no name", () => ({ logits: (_: unknown, logits: Float32Array) => logits }), /returned \{\}/],
    ["a number as a hook", () => ({ name: "odd", logits: 3 }), /shaper odd: logits is a function, not 3/],
    [
      "a text for taps",
      () => ({ name: "odd", taps: "embed" }),
      /shaper odd: taps must be a list of sites, not "embed"/,
    ],
    [
      "taps that are none",
      () => ({ name: "odd", taps: [{ site: "embed" }] }),
      /shaper odd: taps must be a list of sites/,
    ],
    [
      "a ready edit",
      () => ({ name: "odd", edits: [{ site: "embed", set: 0 }] }),
      /shaper odd: edits must be a list of modules/,
    ],
    ["a number for edits", () => ({ name: "odd", edits: 5 }), /shaper odd: edits must be .*, not 5/],
    [
      "a big integer for its length",
      () => ({ name: "odd", contextLength: 1n }),
      /shaper odd: contextLength must be a number, not 1n/,
    ],
    [
      "a number for logits",
      () => ({ name: "odd", logits: () => 3 }),
      /shaper odd: logits returned 3, not a Float32Array of 64/,
    ],
    [
      "too few logits",
      () => ({ name: "odd", logits: () => new Float32Array(3) }),
      /logits returned a Float32Array of 3/,
    ],
    [
      "other floats",
      () => ({ name: "odd", logits: () => new Float64Array(64) }),
      /logits returned a Float64Array of 64/,
    ],
    [
      "a list for a set",
      () => ({ name: "odd", allowed: () => [1, 2] }),
      /allowed returned \[1,2\], not a Uint32Array of 2/,
    ],
    [
      "a set of another vocabulary",
      () => ({ name: "odd", allowed: () => new Uint32Array(9) }),
      /a Uint32Array of 9, not/,
    ],
  ];
  test.each(refused)("%s", async (_, made, message) => {
    const error = await model.decode(prompt, { maxTokens: 4, shapers: [made as MakeShaper] }).final.catch((e) => e);
    expect(error).toMatchObject({ code: "bad_option", message: expect.stringMatching(message) });
    expect(model.forest.held).toBe(0);
  });
});

test.each([
  [Number.NaN, /^the shaper odd: logits returned NaN for token 5$/],
  [Infinity, /^the shaper odd: logits returned Infinity for token 5$/],
])("logits with %s are the shaper's, not the model's", async (value, message) => {
  const odd: MakeShaper = () => ({ name: "odd", logits: (_, logits) => logits.with(5, value).fill(-Infinity, 0, 3) });
  const error = await model.decode(prompt, { maxTokens: 4, shapers: [odd] }).final.catch((e) => e);
  expect(error).toMatchObject({ code: "runtime_failed", message: expect.stringMatching(message) });
  expect(model.forest.held).toBe(0);
});

test("an unknown shaper is refused at once", () => {
  expect(() => model.decode(prompt, { shapers: [shaperChoice("dolla")] })).toThrow(/no shaper is called "dolla"/);
  expect(() => model.decode(prompt, { shapers: [shaperChoice("beam")] })).toThrow(/"beam": it is a method, /);
  expect(() => model.decode(prompt, { method: "cd" as never })).toThrow(/no method is called "cd": it is a shaper, /);
});
