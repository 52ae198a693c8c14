import { getEventListeners } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, expectTypeOf, test } from "vitest";
import { z } from "zod";
import { shown } from "./errors.ts";
import {
  type ChatSessionOptions,
  type ContinuationScoring,
  type DecodeOptions,
  type Decoding,
  defineMethod,
  defineShaper,
  findMethod,
  type MethodChoice,
  type Model,
  methodChoice,
  open,
  type Prompt,
  readChat,
  resolveModel,
  type TraceEvent,
  type UnmaskEvent,
} from "./index.ts";
import { isSaid } from "./wrong.fixture.ts";

const folder = mkdtempSync(join(tmpdir(), "calls-"));
let model: Model;
beforeAll(async () => {
  model = await open("knossos", { threads: 1 });
});
afterAll(async () => {
  await model.close();
  rmSync(folder, { recursive: true, force: true });
});

// biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
const wrong = (value: unknown) => value as any;

const own = (decode: (decoding: Decoding) => Promise<void>) =>
  defineMethod({
    name: "own",
    family: "plain",
    summary: "does as told",
    lossless: false,
    options: z.strictObject({}),
    decode,
  });

const lax = defineMethod({
  name: "lax",
  family: "plain",
  summary: "ends at once",
  lossless: false,
  decode: async (decoding) => decoding.finish("end"),
  options: z.object({
    length: z.number().default(1).describe("a length"),
    stages: z
      .array(z.object({ size: z.number().optional() }))
      .default([])
      .describe("what is done in turn"),
  }),
});

const once = defineShaper({
  name: "once",
  summary: "lowers the logits of what the text has",
  options: z.strictObject({ times: z.number().min(0).default(1).describe("strength") }),
  create: (_, { times }) => ({
    name: "once",
    logits(node, logits) {
      const shaped = logits.slice();
      for (let at: typeof node | undefined = node; at; at = at.parent) if (at.token >= 0) shaped[at.token] -= 4 * times;
      return shaped;
    },
  }),
});

describe("every wrong call is a VentrisError that says what is wrong", () => {
  const calls: [name: string, call: () => unknown, message: RegExp][] = [
    ["open without a name", () => open(wrong(undefined)), /open takes the name/],
    ["open with null", () => open("knossos", wrong(null)), /options must be an object, not null/],
    [
      "an abort signal by another name",
      () => model.decode("a b", wrong({ abortSignal: new AbortController().signal })),
      /did you mean "signal"/,
    ],
    ["a misspelt method", () => model.decode("a b", wrong({ mehtod: "greedy" })), /did you mean "method"/],
    [
      "a constraint in a list",
      () => model.decode("a b", wrong({ constraint: ["x"] })),
      /constraint must name a constraint/,
    ],
    ["a message alone", () => model.decode(wrong({ role: "user", content: "a" })), /; messages stand in a list/],
    [
      "a prompt among options",
      () => model.decode(wrong({ prompt: "a" })),
      /; the prompt comes first, and options behind/,
    ],
    ["messages among options", () => model.decode(wrong({ messages: [] })), /; give the list of messages itself/],
    [
      "a role of others",
      () => model.decode(wrong([{ role: "human", content: "a" }])),
      /no chat template|did you mean "user"/,
    ],
    ["a system message for options", () => model.chat(wrong("You are")), /not "You are": write \{ system: "…" \}$/],
    [
      "options of a method in one more object",
      () => model.decode("a", wrong({ method: { name: "chain", options: { length: 3 } } })),
      /no option "options" .*: options stand beside the name/,
    ],
    [
      "a callback behind the options",
      () => wrong(model).generate("a", {}, () => 1),
      /^generate takes 2 arguments \(prompt, options\), and a function is given beside: iterate the text/,
    ],
    [
      "one argument more",
      () => wrong(model).decode("a", {}, 3),
      /^decode takes 2 arguments .*, and 3 is given beside$/,
    ],
    [
      "an option of other methods",
      () => model.decode("a b", wrong({ method: { name: "prompt-lookup", draft: "pylos" } })),
      /no option "draft" \(known: length, .*\): it is an option of the methods chain, spec-infer, sequoia, dyspec and \d+ others$/,
    ],
    [
      "an option of the request in a method",
      () => model.decode("a b", wrong({ method: { name: "greedy", topK: 3 } })),
      /no option "topK": it is an option of the request, beside method$/,
    ],
    [
      "an option of another shaper",
      () => model.decode("a b", wrong({ shapers: [{ name: "dola", amateur: "pylos" }] })),
      /no option "amateur" \(known: layers, alpha, divergence\): it is an option of the shapers? /,
    ],
    ["open with an unknown option", () => open("knossos", wrong({ dtype: "q8" })), /no option "dtype"/],
    ["open with a misspelt one", () => open("knossos", wrong({ thread: 2 })), /did you mean "threads"/],
    ["open with weights unknown", () => open("knossos", wrong({ weights: "q4" })), /"auto", "f32", "int8" or "int4"/],
    ["open with a wrong signal", () => open("knossos", wrong({ signal: {} })), /AbortSignal/],
    [
      "decode without a prompt",
      () => model.decode(wrong(undefined)),
      /prompt must be a text, token ids or chat messages/,
    ],
    ["decode with null", () => model.decode("Hi", wrong(null)), /options must be an object, not null/],
    [
      "a stop pattern",
      () => model.decode("Hi", { stop: wrong(/a/) }),
      /stop must be a text or a list of texts, not \/a\//,
    ],
    [
      "a progress that is no function",
      () => open("knossos", wrong({ onProgress: true })),
      /onProgress must be a function, not true/,
    ],
    [
      "a controller as a signal",
      () => open("knossos", wrong({ signal: new AbortController() })),
      /signal must be an AbortSignal, not an AbortController/,
    ],
    ["a promised prompt", () => model.decode(wrong(Promise.resolve("Hi"))), /not a Promise that was not awaited/],
    [
      "ids in a typed array",
      () => model.decode(wrong(Uint32Array.of(1, 2))),
      /not a Uint32Array of 2; Array.from makes a list/,
    ],
    [
      "a shaper without its function",
      () => model.decode("Hi", { shapers: [wrong({ name: "x", logits: () => {} })] }),
      /one of your own is a function that returns it.*see defineShaper/,
    ],
    [
      "a shaper with a misspelt hook",
      () =>
        model.generate("Hi", {
          shapers: [wrong(() => ({ name: "x", logit: (_: unknown, logits: unknown) => logits }))],
        }),
      /the shaper x has a field "logit" that shapers have not; did you mean "logits"\?/,
    ],
    [
      "a shaper of a class with a misspelt hook",
      () => {
        class Idle {
          name = "x";
          logit() {}
        }
        return model.generate("Hi", { shapers: [wrong(() => new Idle())] });
      },
      /the shaper x does nothing: it has none of taps/,
    ],
    [
      "a shaper that fails",
      () =>
        model.generate("Hi", {
          shapers: [
            () => ({
              name: "x",
              logits: () => {
                throw new Error("no ink");
              },
            }),
          ],
        }),
      /the shaper x: logits failed: no ink/,
    ],
    [
      "a shaper that fails later",
      () =>
        model.generate("Hi", { shapers: [() => ({ name: "x", prepare: () => Promise.reject(new Error("no ink")) })] }),
      /the shaper x: prepare failed: no ink/,
    ],
    [
      "a maker of shapers that fails",
      () =>
        model.generate("Hi", {
          shapers: [
            function ink() {
              throw new Error("no ink");
            },
          ],
        }),
      /the shaper function ink failed: no ink/,
    ],
    ["an expression as a constraint", () => model.decode("Hi", { constraint: wrong(/a/) }), /as in { regex: /],
    [
      "a schema of zod as a constraint",
      () => model.decode("Hi", { constraint: wrong(z.object({})) }),
      /z\.toJSONSchema\(schema\)/,
    ],
    [
      "a list of shapers that is empty in places",
      () => model.decode("Hi", { shapers: new Array(2) }),
      /a shaper must be a name.*not undefined/,
    ],
    ...["jsonSchema", "regex", "choices", "grammar", "sqlSchema", "smiles"].flatMap(
      (kind): [string, () => unknown, RegExp][] => {
        const cyclic: Record<string, unknown> = {};
        cyclic.type = cyclic;
        const given = [10n, cyclic, new Array(3), Symbol("x"), new DataView(new ArrayBuffer(2))];
        return given.map((value) => [
          `${kind} as ${shown(value)}`,
          () => model.decode("Hi", { constraint: wrong({ [kind]: value }) }),
          /^constraint:|schema/,
        ]);
      },
    ),
    [
      "a paths' zero character in a part",
      () => model.generate("Hi", { method: { name: "medusa", heads: "a\0b" } }),
      /is no path: it has a zero character/,
    ],
    [
      "forward of a view of bytes",
      () => model.forward(wrong(new DataView(new ArrayBuffer(2)))),
      /forward takes a text/,
    ],
    [
      "a choice of nothing",
      () => model.decode("Hi", { method: methodChoice(wrong(undefined)) }),
      /methodChoice takes a name/,
    ],
    ["an ability by no name", () => model.ability(wrong(Object.create(null))), /ability takes the name/],
    ["a number as a shaper", () => model.decode("Hi", { shapers: [wrong(3)] }), /a shaper must be a name.*not 3/],
    [
      "a shaper's misspelt option",
      () => model.decode("Hi", { shapers: [{ shaper: once, options: { tims: 2 } }] }),
      /once options: .*did you mean "times"/,
    ],
    [
      "an order with a misspelt stage",
      () => model.decode("Hi", { order: wrong(["topk"]) }),
      /order\[0\]: no stage is called "topk"; did you mean "topK"\?/,
    ],
    ["an order that repeats", () => model.decode("Hi", { order: ["topK", "topK"] }), /order: every stage .* only once/],
    [
      "an order without a stage that is set",
      () => model.decode("Hi", { order: ["topK", "mine.cut", "minTokens"], topK: 3, topP: 0.5 }),
      /order: leaves out topP, for which there are options/,
    ],
    [
      "a bias of a token that there is not",
      () => model.decode("Hi", { logitBias: { 999999: 1 } }),
      /logitBias.*999999/,
    ],
    [
      "a constraint with two keys, one misspelt",
      () => model.decode("Hi", { constraint: wrong({ regex: "a", whitspace: 2 }) }),
      /constraint: regex: there is no option "whitspace"/,
    ],
    [
      "a constraint's option, misspelt before it",
      () => model.decode("Hi", { constraint: wrong({ whitspace: 2, jsonSchema: {} }) }),
      /jsonSchema: there is no option "whitspace"; did you mean "whitespace"\?/,
    ],
    [
      "two misspelt keys of a constraint",
      () => model.decode("Hi", { constraint: wrong({ whitespace: 2, jsonShema: {} }) }),
      /given: whitespace, jsonShema; did you mean "jsonSchema"\?/,
    ],
    [
      "a constraint as others write it",
      () => model.decode("Hi", { constraint: wrong({ json_schema: {} }) }),
      /did you mean "jsonSchema"\?/,
    ],
    [
      "a misspelt field of a message",
      () => model.decode(wrong([{ rol: "user", content: "Hi" }])),
      /messages\[0\] has no field "rol"; did you mean "role"\?/,
    ],
    [
      "a content as others call it",
      () => model.decode(wrong([{ role: "user", text: "Hi" }])),
      /no field "text"; did you mean "content"\?/,
    ],
    [
      "a constraint by another name",
      () => model.decode("Hi", { constraint: wrong({ regexp: "a" }) }),
      /given: regexp; did you mean "regex"/,
    ],
    [
      "a schema of zod",
      () => model.decode("Hi", { constraint: { jsonSchema: z.object({ a: z.string() }) } }),
      /z\.toJSONSchema/,
    ],
    [
      "a schema of a library with plain objects",
      () => model.decode("Hi", { constraint: { jsonSchema: { kind: "schema", type: "string", "~standard": {} } } }),
      /z\.toJSONSchema/,
    ],
    [
      "continuations of a text",
      () => model.continuations(wrong("Hi")),
      /continuations: the first argument must be an object, not "Hi"/,
    ],
    [
      "continuations as texts",
      () => model.continuations({ context: [1], options: [wrong(" a")] }),
      /options\[0\] must be a list of token ids, not " a"; tokenizer.encode/,
    ],
    [
      "a chat with a misspelt option",
      () => model.chat(wrong({ systm: "a", transcript: true })),
      /chat: .*did you mean "system"/,
    ],
    [
      "a chat with a number",
      () => model.chat({ system: wrong(5), transcript: true }),
      /chat: system must be a text, not 5/,
    ],
    [
      "a chat with a text of messages",
      () => model.chat({ messages: wrong("x"), transcript: true }),
      /messages must be a list, not "x"/,
    ],
    [
      "a chat with wrong defaults",
      () => model.chat({ defaults: wrong({ temprature: 1 }), transcript: true }),
      /chat defaults options: .*did you mean "temperature"/,
    ],
    [
      "save without a path",
      () => model.chat({ transcript: true }).save(wrong(undefined)),
      /save takes the path of a file, not undefined/,
    ],
    ["readChat without a path", () => readChat(wrong(undefined)), /readChat takes the path of a file, not undefined/],
    ["encode without a text", () => model.tokenizer!.encode(wrong(5)), /encode takes a text, not 5/],
    ["decode of a text", () => model.tokenizer!.decode(wrong("abc")), /decode takes a list of token ids, not "abc"/],
    [
      "decode of a typed array",
      () => model.tokenizer!.decode(wrong(Uint32Array.of(1))),
      /decode takes a list of token ids, not a Uint32Array of 1/,
    ],
    ["findMethod without a name", () => findMethod(wrong(undefined)), /name of a method must be a text, not undefined/],
    ["resolveModel without a name", () => resolveModel(wrong(undefined)), /resolveModel takes the name/],
    ["defineMethod of nothing", () => defineMethod(wrong(undefined)), /one of your own has a name.*Given: undefined/],
    [
      "defineMethod with a misspelt field",
      () => defineMethod(wrong({ name: "x", family: "plain", options: z.strictObject({}), decod() {} })),
      /Given: an object with name, family, options, decod; did you mean "decode"\?/,
    ],
    [
      "defineShaper with a field too many",
      () => defineShaper(wrong({ name: "x", sumary: "", options: z.strictObject({}), create: () => {} })),
      /shaper: x has a field "sumary" that shapers have not; did you mean "summary"\?/,
    ],
    ["defineShaper of nothing", () => defineShaper(wrong({ name: "x" })), /see defineShaper. Given/],
    [
      "a method that only returns",
      () => model.generate("Hi", { method: own(async () => {}) }),
      /the method returned before its run was finished.*decoding\.finish/,
    ],
    [
      "a method that ends for no reason",
      () => model.generate("Hi", { method: own(async (decoding) => decoding.finish(wrong("done"))) }),
      /finish: reason must be "aborted", .* not "done"/,
    ],
    [
      "a method that commits a number",
      () => model.generate("Hi", { method: own(async (decoding) => void decoding.commit(wrong(5))) }),
      /commit: tokens must be a list, not 5/,
    ],
    ["a row without values", () => model.generate([1, wrong({ id: "a" })]), /prompt\[1\]: values is missing/],
    [
      "a row with its values misspelt",
      () => model.generate([1, wrong({ id: "a", value: new Float32Array(64) })]),
      /prompt\[1\]: values is missing; did you mean "values" for "value"\?/,
    ],
    [
      "a row without values at first",
      () => model.generate([wrong({ id: "a", value: new Float32Array(64) })]),
      /prompt\[0\]: values is missing; did you mean "values" for "value"\?/,
    ],
    ["a row without values, to score", () => model.score([1, wrong({ id: "a" })]), /text\[1\]: values is missing/],
    ["a row without values, to embed", () => model.embed([1, wrong({ id: "a" })]), /text\[1\]: values is missing/],
    [
      "a list of texts",
      () => model.generate([wrong(["Once"])]),
      /^prompt\[0\]: \["Once"\] is not a token id.*a list of texts/,
    ],
    ["lists of ids", () => model.generate([1, wrong([2])]), /^prompt\[1\]: \[2\] is not a token id.*a list of prompts/],
    [
      "a message among ids",
      () => model.generate([1, wrong({ role: "user", content: "a" })]),
      /^prompt\[1\]: a chat message stands among token ids/,
    ],
    ["an id that is undefined", () => model.generate([wrong(undefined)]), /undefined is not a token id/],
    ["ids of which one is left out", () => model.generate([1, wrong(undefined)]), /undefined is not a token id/],
    ...[
      () => model.generate("x", wrong(Promise.resolve({ maxTokens: 3 }))),
      () => model.chat(wrong(Promise.resolve({}))),
      () => model.chat({ transcript: true }).send("Hello", wrong(Promise.resolve({}))),
    ].map((call, i): [string, () => unknown, RegExp] => [
      `options that are a promise, ${i}`,
      call,
      /options must be an object, not a Promise that was not awaited: await it first/,
    ]),
    ...[new Map([["maxTokens", 3]]), new URLSearchParams("a=3"), new Date(), /x/].flatMap(
      (value): [string, () => unknown, RegExp][] => [
        [
          `options of a class, ${shown(value)}`,
          () => model.generate("x", wrong(value)),
          /options must be an object, not/,
        ],
        [`the same to open, ${shown(value)}`, () => open("pylos", wrong(value)), /options must be an object, not/],
      ],
    ),
    ...["lenght", 3, null].map((value): [string, () => unknown, RegExp] => [
      `normalise that is ${value}`,
      () => model.continuations({ context: [1], options: [[2]] }, { normalise: wrong(value) }),
      /continuations: normalise must be true or false, not/,
    ]),
    ...["x", null, Number.NaN].map((value): [string, () => unknown, RegExp] => [
      `masked that is ${value}`,
      () => model.continuations({ context: [1], options: [[2]] }, { masked: wrong(value) }),
      /continuations: masked must be a number, not/,
    ]),
    [
      "resolveModel with a misspelt option",
      () => resolveModel("knossos", wrong({ sginal: 1 })),
      /resolveModel: there is no option "sginal"; did you mean "signal"/,
    ],
    [
      "resolveModel with an option of open",
      () => resolveModel("knossos", wrong({ weights: "int8" })),
      /no option "weights" \(known: signal, onProgress\)/,
    ],
    [
      "resolveModel with a wrong signal",
      () => resolveModel("knossos", wrong({ signal: {} })),
      /signal must be an AbortSignal, not \{\}/,
    ],
    [
      "resolveModel with a progress that is no function",
      () => resolveModel("knossos", wrong({ onProgress: 3 })),
      /onProgress must be a function, not 3/,
    ],
    [
      "a misspelt field within an option of a method whose schema would drop it",
      () => model.decode("Hi", { method: { method: lax, options: { stages: [{ sise: 3 }] } } }),
      /lax options: there is no option "sise" in stages\[0\]; did you mean "size"\?/,
    ],
    [
      "a misspelt option of an own method whose schema is loose about it",
      () => model.decode("Hi", { method: { method: lax, options: { lenght: 3 } } }),
      /lax options: there is no option "lenght"; did you mean "length"\?/,
    ],
    [
      "the same of an own shaper",
      () =>
        model.decode("Hi", {
          shapers: [{ shaper: { ...once, options: z.object({ times: z.number() }) }, options: { tims: 3 } }],
        }),
      /once options: there is no option "tims"; did you mean "times"\?/,
    ],
    ...(
      [
        [
          { parnt: undefined, token: 3 },
          /extend: there is no option "parnt" in extensions\[0\]; did you mean "parent"\?/,
        ],
        [
          { parent: undefined, token: 3, logit: false },
          /no option "logit" in extensions\[0\]; did you mean "logits"\?/,
        ],
        [
          { parent: undefined, token: 3, ahead: { pos: 3 } },
          /no option "pos" in extensions\[0\]\.ahead \(known: position, vector, edits\)/,
        ],
      ] as const
    ).map(([extension, message]): [string, () => unknown, RegExp] => [
      `an extension of a lease: ${shown(extension)}`,
      () => model.generate("Hi", { method: own(async ({ lease }) => void (await lease.extend([wrong(extension)]))) }),
      message,
    ]),
    ...(
      [
        [({ lease }) => lease.release([], wrong({ discrad: true })), /release: .*did you mean "discard"/],
        [
          ({ forest }) => void forest.lease(wrong({ tapz: [] })),
          /lease: there is no option "tapz"; did you mean "taps"\?/,
        ],
        [(decoding) => void decoding.instrument(wrong({ tap: ["final"] })), /instrument: .*"tap"; did you mean "taps"/],
        [
          (decoding) => void decoding.commit([wrong({ token: 1, from: undefined, frm: 1 })]),
          /commit: there is no option "frm" in tokens\[0\]; did you mean "from"/,
        ],
        [
          (decoding) => decoding.emit(wrong({ type: "drft" })),
          /emit: event\.type must be "beams".*; did you mean "draft"\?/,
        ],
        [
          (decoding) => decoding.emit(wrong({ type: "draft", token: [1] })),
          /emit: event\.tokens is missing: it must be a list; "token" is given/,
        ],
      ] as [(decoding: Decoding) => void, RegExp][]
    ).map(([decode, message]): [string, () => unknown, RegExp] => [
      `a method's own call, ${message}`,
      () => model.generate("Hi", { method: own(async (decoding) => decode(decoding)) }),
      message,
    ]),
    ...(
      [
        [{ scale: 1, ad: 1 }, /no option "ad" in edits\[0\]; did you mean "add"\?/],
        [{ scale: 1, att: [1] }, /no option "att" in edits\[0\]; did you mean "at"\?/],
        [{ clamp: { mn: 0 } }, /no option "mn" in edits\[0\]\.clamp; did you mean "min"\?/],
      ] as const
    ).map(([edit, message]): [string, () => unknown, RegExp] => [
      `an edit, ${shown(edit)}`,
      () => model.decode("Hi", { edits: [wrong({ site: "layers.0.residual", ...edit })] }),
      message,
    ]),
    ...[new Date(), new Map(), Promise.resolve({ tau: 3 })].map((value): [string, () => unknown, RegExp] => [
      `an option that is an object, as ${shown(value)}`,
      () => model.decode("Hi", { mirostat: wrong(value) }),
      /decode: mirostat must be an object, not a/,
    ]),
    [
      "a misspelt field beside a module that edits",
      () => model.decode("Hi", { edits: [wrong({ edit: { name: "x", site: "final", apply() {} }, inputz: 3 })] }),
      /there is no "inputz" beside a module; did you mean "inputs"\?/,
    ],
    ["a template that is misspelt", () => model.decode(wrong({ fil: "a ___" })), /; did you mean "fill" for "fil"\?/],
    ...["img", "imge"].flatMap((name): [string, () => unknown, RegExp][] => [
      [
        `a picture as ${name}`,
        () => model.decode(wrong([{ [name]: "cat.png" }, "x"])),
        new RegExp(`prompt\\[0\\]: image is missing; did you mean "image" for "${name}"`),
      ],
      [
        `a picture as ${name} behind a text`,
        () => model.decode(wrong(["x", { [name]: "cat.png" }])),
        new RegExp(`prompt\\[1\\]: image is missing; did you mean "image" for "${name}"`),
      ],
    ]),
    [
      "a misspelt syntax of a grammar",
      () => model.decode("Hi", { constraint: { grammar: 'root ::= "a"', syntax: wrong("gnbf") } }),
      /constraint\.syntax must be "gbnf" or "lark", not "gnbf"; did you mean "gbnf"\?/,
    ],
    ["forward with misspelt logits", () => model.forward([1], { logits: wrong("lst") }), /did you mean "last"\?/],
    [
      "a method that needs what there is not",
      () => model.decode("Hi", { method: { ...own(async () => {}), needs: ["forrest"] } }),
      /^the method own: needs\[0\]: no model has "forrest"; did you mean "forest"\? Capabilities: forest, /,
    ],
    [
      "a method for which a misspelt word would do",
      () => model.decode("Hi", { method: { ...own(async () => {}), suffices: ["remote", "toplogprobs"] } }),
      /^the method own: suffices\[1\]: no model has "toplogprobs"; did you mean "top-logprobs"\?/,
    ],
    ["an object that says a text", () => model.decode(wrong(new URL("file:///x"))), /not a URL/],
    ["a wrong signal", () => model.decode("Hi", { signal: wrong({}) }), /signal must be an AbortSignal, not \{\}/],
    ["a method without a name", () => model.decode("Hi", { method: wrong({ length: 3 }) }), /method has no name/],
    ["a misspelt method", () => model.decode("Hi", { method: wrong("gredy") }), /did you mean "greedy"/],
    [
      "a misspelt option",
      () => model.decode("Hi", { method: wrong({ name: "chain", lenght: 3 }) }),
      /did you mean "length"/,
    ],
    ["a misspelt request option", () => model.decode("Hi", wrong({ temprature: 1 })), /did you mean "temperature"/],
    ["out of range", () => model.decode("Hi", { topP: 2 }), /topP must be at most 1, not 2/],
    [
      "of another kind",
      () => model.decode("Hi", { maxTokens: wrong("ten") }),
      /maxTokens must be a whole number from 1 to 1000000, not "ten"/,
    ],
    [
      "not whole",
      () => model.decode("Hi", { maxTokens: 1.5 }),
      /maxTokens must be a whole number from 1 to 1000000, not 1.5/,
    ],
    [
      "of a fixed set",
      () => model.decode("Hi", { method: { name: "dyspec", algorithm: wrong("heep") } }),
      /did you mean "heap"/,
    ],
    [
      "nested",
      () => model.decode("Hi", { dry: wrong({ multiplier: 1, bas: 2 }) }),
      /no option "bas" in dry; did you mean "base"/,
    ],
    ["a number as a message", () => model.decode(wrong([{ content: "x" }])), /messages\[0\] must have a role/],
    ["a token id out of range", () => model.decode([1, 1e9]), /1000000000 is not a token id/],
    [
      "a rendered template",
      () => model.decode("<|begin|>Once"),
      /begins with the text of the special token <\|begin\|>.*encodeChat/,
    ],
    [
      "a rendered template behind a blank",
      () => model.decode("\n <|begin|>Once"),
      /begins with the text of the special token <\|begin\|>.*encodeChat/,
    ],
    [
      "a number that is too large",
      () => model.decode("Hi", { maxTokens: 1e99 }),
      /options: maxTokens must be at most 1000000, not 1e\+99$/,
    ],
    [
      "an option of a method",
      () => model.decode("Hi", wrong({ budget: 3 })),
      /no option "budget": budget is an option of \d+ methods, such as [\w-]+: method: \{ name: "[\w-]+", budget: 3 \}$/,
    ],
    [
      "an option of the chosen method, with a slip",
      () => model.decode("Hi", wrong({ method: "dyspec", budgt: 3 })),
      /no option "budgt": budget is an option of the method dyspec, .* method: \{ name: "dyspec", budget: 3 \}$/,
    ],
    [
      "an option of the chosen method that is also had otherwise",
      () => model.decode("Hi", wrong({ method: "beam", beams: 3 })),
      /of the method beam, .* method: \{ name: "beam", beams: 3 \}$/,
    ],
    [
      "an option of an own method",
      () => model.decode("Hi", wrong({ method: lax, length: 3 })),
      /of the method lax, .* method: \{ method, options: \{ length: 3 \} \}$/,
    ],
    ["a bigint", () => model.decode("Hi", { maxTokens: wrong(10n) }), /maxTokens must be .*, not 10n$/],
    ["trace without options", () => model.trace("a b", wrong(undefined)), /trace: options must be an object/],
    ["trace with a misspelt one", () => model.trace("a", wrong({ taps: [], windw: 3 })), /did you mean "window"/],
    ["forward without tokens", () => model.forward(wrong(undefined)), /forward takes a text, token ids/],
    ["forward with a misspelt option", () => model.forward([1, 2], wrong({ msk: 1 })), /did you mean "mask"/],
    ["forward with null", () => model.forward([1, 2], wrong(null)), /forward: options must be an object, not null/],
    ["forward with other logits", () => model.forward([1, 2], { logits: wrong("some") }), /logits must be "all"/],
    ["a sequence without tokens", () => model.forward([wrong({ tokns: [1] })]), /did you mean "tokens"/],
    ["an own method that is none", () => model.decode("a", { method: wrong({ decode: 3 }) }), /see defineMethod/],
    ["a wrapped one", () => model.decode("a", { method: wrong({ method: 3 }) }), /see defineMethod.*Given: 3/],
    ["a constraint's number", () => model.decode("a", { constraint: wrong({ regex: 3 }) }), /regex must be a text or/],
    ["a choice", () => model.decode("a", { constraint: wrong({ choices: "a" }) }), /choices must be a list of texts/],
    [
      "a constraint that is no expression",
      () => model.decode("a", { constraint: { regex: "(" } }),
      /^constraint: regular expression \/\(\//,
    ],
    [
      "forward with a site that is no text",
      () => model.forward("a b", { taps: [wrong(5)] }),
      /taps must be a list of sites/,
    ],
    ["forward of a text far beyond the context", () => model.forward("a b ".repeat(60_000)), /context/],
    [
      "forward of what is no token",
      () => model.forward([{ tokens: [wrong(Object.create(null))] }]),
      /token \{\} is outside/,
    ],
    [
      "a shaper whose summary is no text",
      () => defineShaper({ ...once, summary: wrong(5) }),
      /shaper\.summary must be a text, not 5/,
    ],
    [
      "continuations that nobody waits for any more",
      () => model.continuations({ context: [5, 6], options: [[7], [8]] }, { signal: AbortSignal.abort() }),
      /aborted/,
    ],
    ["a choice of nothing", () => model.decode("a", { constraint: { choices: [] } }), /^constraint: choices: the list/],
    [
      "a constraint without a name",
      () => model.decode("a", { constraint: wrong({}) }),
      /^constraint: give exactly one of/,
    ],
    [
      "continuations, and none of them",
      () => model.continuations({ context: [1], options: [] }),
      /^continuations: options is empty/,
    ],
    [
      "a continuation of nothing",
      () => model.continuations({ context: [1], options: [[1], []] }),
      /^continuations: options\[1\] is empty/,
    ],
    [
      "an edit that is null",
      () => model.decode("a", { edits: [wrong(null)] }),
      /edits\[0\] must be of the form {"site":.*}, not null/,
    ],
    [
      "edits that are no list",
      () => model.decode("a", { edits: wrong({}) }),
      /edits must be a list of entries of the form {"site":.*}, not {}/,
    ],
    ["edits at opening", () => open("knossos", { edits: [wrong(3)] }), /edits\[0\].*must be a module/],
    ["score with an unknown option", () => model.score("a b", wrong({ tops: 1 })), /no option "tops"/],
    ["score with another library's option", () => model.score("a b", wrong({ logprobs: 1 })), /did you mean "top"/],
    ["score of a list of texts", () => model.score(wrong(["a", "b"])), /one text to each call/],
    [
      "embed with another library's option",
      () => model.embed("a b", wrong({ pooling: "cls" })),
      /mean of the final states/,
    ],
    ["decode with a conversation's option", () => model.decode("a b", wrong({ system: "x" })), /model\.chat/],
    [
      "decode with another library's option",
      () => model.decode("a b", wrong({ stopSequences: ["."] })),
      /did you mean "stop"/,
    ],
    ["open with another library's option", () => open("knossos", wrong({ n_ctx: 4 })), /did you mean "contextLength"/],
    [
      "trace with a signal that is none",
      () => model.trace("a b", wrong({ taps: ["final"], signal: 2 })),
      /signal must be an AbortSignal, not 2/,
    ],
    [
      "forward with keep that is no truth",
      () => model.forward("a b", wrong({ keep: "yes" })),
      /keep must be true or false, not "yes"/,
    ],
    [
      "forward with a past that is none",
      () => model.forward("a b", wrong({ past: 3 })),
      /past must be \{ length, keys, values \}.*, not 3$/,
    ],
    // @ts-expect-error A misspelt name does not compile.
    ["an ability whose name is misspelt", () => model.ability("forwad"), /did you mean "forward"\?$/],
    ["one that the model lacks", () => model.ability(wrong("vison")), /has no "vison"; did you mean "vision"\?$/],
    ["one of several letters more", () => model.ability(wrong("canvass")), /did you mean "canvas"\?$/],
    ["several of one", () => model.ability(wrong("filters")), /did you mean "filter"\?$/],
    ["one that it lacks, by its name", () => model.ability("canvas"), /has no canvas; what it has: /],
    [
      "an ability without a name",
      () => model.ability(wrong(undefined)),
      /takes the name of a capability, not undefined/,
    ],
    [
      "encode with another library's option",
      () => model.tokenizer!.encode("a", wrong({ add_special_tokens: false })),
      /special: false/,
    ],
    [
      "encode with an unknown option",
      () => model.tokenizer!.encode("a", wrong({ specal: false })),
      /did you mean "special"/,
    ],
    [
      "decoding ids with an unknown option",
      () => model.tokenizer!.decode([5], wrong({ clean: true })),
      /no option "clean"/,
    ],
  ];
  test.each(calls)("%s", async (_, call, message) => {
    const error = await Promise.resolve()
      .then(call)
      .then(
        () => undefined,
        (reason: unknown) => reason,
      );
    expect(error).toMatchObject({ name: "VentrisError", message: expect.stringMatching(message) });
    // None of the schema library's words.
    expect((error as Error).message).not.toMatch(/Too (big|small)|Invalid|expected \w+ to|Unrecognized/);
  });
});

test("an own method that goes on while tokens remain ends where the text does", async () => {
  const { tokens } = await model.generate("Once upon a time", { temperature: 0, maxTokens: 4 });
  const method = own(async (decoding) => {
    for (let tip = await decoding.prefill(); decoding.remaining > 0; ) {
      const token = decoding.choose(tip);
      decoding.commit([{ token, from: tip }]);
      if (decoding.remaining > 0) [tip] = await decoding.lease.extend([{ parent: tip, token }]);
    }
  });
  const ended = await model.generate("Once upon a time", { method, temperature: 0, stopTokens: [tokens[2]] });
  expect([ended.finish, ended.tokens]).toEqual(["stop", tokens.slice(0, 2)]);
});

test("options that do not exist do not compile, and those that do have their types", () => {
  expectTypeOf<"greedy">().toExtend<MethodChoice>();
  expectTypeOf<"gredy">().not.toExtend<MethodChoice>();
  expectTypeOf<{ name: "chain"; length: number }>().toExtend<MethodChoice>();
  expectTypeOf<DecodeOptions["temperature"]>().toEqualTypeOf<number | undefined>();
  // @ts-expect-error: misspelt
  const misspelt: DecodeOptions = { method: { name: "chain", lenght: 3 } };
  // @ts-expect-error: no such stage
  const disordered: DecodeOptions = { order: ["topk"] };
  const ordered: DecodeOptions = { order: ["topK", "mine.cut"] };
  // @ts-expect-error: no such method
  const unknown: DecodeOptions = { method: "gredy" };
  // @ts-expect-error: a blank's length is one of `lengths`
  const blank: Prompt = { fill: "x ___", length: 3 };
  expectTypeOf<Extract<TraceEvent, { type: "unmask" }>>().toExtend<UnmaskEvent>();
  expectTypeOf<string[]>().not.toExtend<Prompt>();
  expectTypeOf<({ image: string } | string)[]>().toExtend<Prompt>();
  expectTypeOf<[{ image: Uint8Array }, string]>().toExtend<Prompt>();
  expect([misspelt, unknown, disordered, ordered, blank]).toHaveLength(5);
});

test("a method and a shaper take their own fields alone, wherever they are given", () => {
  const mine = defineMethod({
    name: "mine",
    family: "plain",
    summary: "nothing",
    lossless: true,
    options: z.strictObject({ every: z.int().default(2) }),
    async decode() {},
  });
  const kind = defineShaper({
    name: "mine",
    summary: "nothing",
    options: z.strictObject({}),
    create: () => ({ name: "mine" }),
  });
  expectTypeOf<typeof mine>().toExtend<MethodChoice>();
  expectTypeOf<{ method: typeof mine; options: { every: number } }>().toExtend<MethodChoice>();
  const own: DecodeOptions = { method: { method: mine, options: { every: 3 } }, shapers: [kind, { shaper: kind }] };
  const named: DecodeOptions = { method: { name: "chain", length: 3 }, shapers: ["cd", { name: "dola", alpha: 0.1 }] };
  // @ts-expect-error: options stand beside the name
  const nested: DecodeOptions = { method: { name: "chain", options: { lenght: 3 } } };
  // @ts-expect-error: another field of own methods
  const mixed: DecodeOptions = { method: { name: "greedy", summary: "x" } };
  // @ts-expect-error: options of an own method stand in `options`
  const beside: DecodeOptions = { method: { method: mine, length: 3 } };
  // @ts-expect-error: options stand beside the name
  const shaper: DecodeOptions = { shapers: [{ name: "dola", options: { x: 3 } }] };
  // @ts-expect-error: an option of another shaper's
  const other: ContinuationScoring = { shapers: [{ name: "dola", datastore: "x" }] };
  // @ts-expect-error: and of answers in a conversation
  const chat: ChatSessionOptions = { defaults: { method: { name: "sample", options: {} } } };
  expect([own, named, nested, mixed, beside, shaper, other, chat]).toHaveLength(8);
});

test("many requests of one signal are one listener to it, and all of them end", async () => {
  const controller = new AbortController();
  const options = { maxTokens: 200, signal: controller.signal };
  const runs = Array.from({ length: 12 }, (_, request) => model.decode("Once upon a time", { ...options, request }));
  expect(getEventListeners(controller.signal, "abort").length).toBe(1);
  controller.abort();
  for (const run of runs) expect((await run.final).finish).toBe("aborted");
});

test("generate gives the result, and it reads as its text", async () => {
  const options = { temperature: 0, maxTokens: 8 };
  const result = await model.generate("Once upon a time", options);
  expect(result.tokens).toEqual((await model.decode("Once upon a time", options).final).tokens);
  expect(`${result}`).toBe(result.text);
  const run = model.decode("Once upon a time", options);
  expect(`${run}`).not.toContain("[object");
  await run.final;
});

test("score: the log-probabilities that decoding reports, whatever the windows", async () => {
  const decoded = await model.decode("Once upon a time", { temperature: 0, maxTokens: 40, logprobs: 1 }).final;
  const ids = [...model.tokenizer!.encode("Once upon a time"), ...decoded.tokens];
  const scored = await model.score(ids, { top: 2 });
  expect(scored.tokens.map(({ token }) => token)).toEqual(ids);
  expect(scored.tokens[0].logprob).toBeUndefined();
  const own = scored.tokens.slice(-decoded.tokens.length);
  for (const [i, { raw }] of decoded.logprobs!.entries()) expect(own[i].logprob).toBeCloseTo(raw, 3);
  expect(own[0].top![0].token).toBe(decoded.tokens[0]);
  const sum = scored.tokens.reduce((total, { logprob = 0 }) => total + logprob, 0);
  expect(scored.logprob).toBeCloseTo(sum, 9);
  expect(scored.perplexity).toBeCloseTo(Math.exp(-sum / (ids.length - 1)), 9);
});

test("embed: unit vectors, nearer for nearer texts", async () => {
  const [a, b, c] = await Promise.all(
    ["The cat sat on the mat.", "A cat was on a mat.", "SELECT 1; 42 17"].map((text) => model.embed(text)),
  );
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  expect(dot(a, a)).toBeCloseTo(1, 5);
  expect(dot(a, b)).toBeGreaterThan(dot(a, c));
});

test("a shaper of one's own, made by defineShaper, with and without options", async () => {
  const request = { temperature: 0, maxTokens: 24 };
  const repeats = (tokens: readonly number[]) => tokens.length - new Set(tokens).size;
  const plain = await model.generate("Once upon a time", request);
  const shaped = await model.generate("Once upon a time", { ...request, shapers: [once] });
  const off = await model.generate("Once upon a time", {
    ...request,
    shapers: [{ shaper: once, options: { times: 0 } }],
  });
  expect(off.tokens).toEqual(plain.tokens);
  expect(repeats(shaped.tokens)).toBeLessThan(repeats(plain.tokens));
});

test("a method of one's own decodes, with options, and shows its name in the trace", async () => {
  const shout = defineMethod({
    name: "every-other",
    family: "plain",
    summary: "takes the second most likely token at every n-th step",
    lossless: false,
    options: z.strictObject({ every: z.int().min(1).default(2).describe("steps between deviations") }),
    async decode(decoding, { every }) {
      let tip = await decoding.prefill();
      for (let step = 1; !decoding.finished; step++) {
        const probabilities = decoding.shape(tip);
        const best = probabilities.indexOf(Math.max(...probabilities));
        if (step % every === 0) probabilities[best] = 0;
        const token = probabilities.indexOf(Math.max(...probabilities));
        decoding.commit([{ token, from: tip }]);
        if (decoding.finished) break;
        const [next] = await decoding.lease.extend([{ parent: tip, token }]);
        decoding.lease.release([tip]);
        tip = next;
      }
    },
  });
  const settings = { maxTokens: 12, temperature: 1 };
  const plain = await model.decode("Once upon a time", { ...settings, temperature: 0 }).final;
  const never = await model.decode("Once upon a time", {
    ...settings,
    method: { method: shout, options: { every: 1000 } },
  }).final;
  const often = model.decode("Once upon a time", { ...settings, method: shout });
  expect(never.tokens).toEqual(plain.tokens);
  expect((await often.final).tokens).not.toEqual(plain.tokens);
  const events = [];
  for await (const event of often) events.push(event);
  expect(events[0]).toMatchObject({ type: "start", method: "every-other", options: { every: 2 } });
  expect(() => model.decode("a", { method: { method: shout, options: { evry: 1 } } })).toThrow(/did you mean "every"/);
});

const whole = {
  name: "mine",
  family: "plain",
  summary: "does as told",
  lossless: false,
  options: z.strictObject({}),
  decode: async () => {},
} as const;

test.each<[what: string, fields: object, message: RegExp]>([
  [
    "a family that there is not",
    { family: "plian" },
    /method\.family must be .*"plain".*not "plian"; did you mean "plain"\?/,
  ],
  ["no summary", { summary: undefined }, /method\.summary must be a text/],
  ["nothing said of losses", { lossless: undefined }, /method\.lossless must be true or false or a function/],
  [
    "a field that methods have not",
    { sumary: "x" },
    /mine has a field "sumary" that methods have not; did you mean "summary"\?/,
  ],
])("a method with %s is refused by the field's name", (_, fields, message) => {
  const made = (): unknown => defineMethod({ ...whole, ...fields } as never);
  expect(made).toThrow(expect.objectContaining({ name: "VentrisError", code: "bad_option" }));
  expect(made).toThrow(message);
});

test("a method of one's own that throws is named, and what it threw is kept; one that is aborted ends as aborted", async () => {
  const cause = new RangeError("too far");
  const failing = defineMethod({
    ...whole,
    decode() {
      throw cause;
    },
  });
  await expect(model.generate("Once", { method: failing })).rejects.toMatchObject({
    name: "VentrisError",
    code: "internal",
    message: "the method mine failed: too far",
    cause,
  });
  const patient = defineMethod({
    ...whole,
    decode: ({ signal }) => new Promise((_, reject) => signal!.addEventListener("abort", () => reject(signal!.reason))),
  });
  const run = model.decode("Once", { method: patient });
  run.abort();
  expect((await run.final).finish).toBe("aborted");
});

test("opening tells what it does and can be aborted", async () => {
  const stages: string[] = [];
  await using other = await open("pylos", { onProgress: ({ stage }) => stages.push(stage) });
  expect(other.name).toBe("pylos");
  expect(stages).toEqual(["load"]);
  await expect(model.embed("Hi", { signal: AbortSignal.abort() })).rejects.toThrow(/^embed was aborted/);
  await expect(open("pylos", { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "aborted" });
});

test("what onProgress throws ends the opening with an error that names it", async () => {
  const boo = new Error("boo");
  const onProgress = (): never => {
    throw boo;
  };
  await expect(open("pylos", { onProgress })).rejects.toThrow(
    isSaid("bad_option", /^open: onProgress failed: boo$/, boo),
  );
  const late = open("pylos", {
    async onProgress() {
      throw new Error("boo");
    },
  });
  await expect(late).rejects.toMatchObject({ code: "bad_option", message: "open: onProgress failed: boo" });
});

test("a model without a chat template says so, for messages and for sessions", () => {
  expect(() => model.chat()).toThrow(/no chat template/);
  expect(() => model.decode([{ role: "user", content: "Hi" }])).toThrow(/no chat template/);
});

test.each([["draft-2020-12"], ["draft-7"], ["openapi-3.0"]] as const)(
  "takes a schema as zod writes it: %s",
  async (target) => {
    const jsonSchema = z.toJSONSchema(z.object({ answer: z.int().min(1).max(9) }), { target });
    const { text } = await model.generate("Hi", { constraint: { jsonSchema }, maxTokens: 60, seed: 1 });
    expect(JSON.parse(text).answer).toBeGreaterThan(0);
  },
);
