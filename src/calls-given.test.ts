/** What calls of a model make of options that are no plain object, of getters and proxies, of lists with gaps, and of texts that are none. */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Model, open } from "./index.ts";
import { isSaid } from "./wrong.fixture.ts";

let model: Model;
beforeAll(async () => {
  model = await open("pylos", { threads: 1 });
}, 120_000);
afterAll(() => model.close());

// biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
type Wrong = any;

const boo = new Error("boo");
const fail = (): never => {
  throw boo;
};
const failing = (field: string, others: object = {}): Wrong =>
  Object.defineProperty({ ...others }, field, { enumerable: true, get: fail });
class Options {
  get maxTokens() {
    return 2;
  }
}

/** A list whose first place is empty. */
const behindGap = (item: unknown): Wrong => Object.assign([], { 1: item });

const rejection = async (call: () => unknown): Promise<unknown> => {
  try {
    await call();
    return undefined;
  } catch (error) {
    return error;
  }
};

/** Every call that takes options, with these. */
const withOptions: Record<string, (options: Wrong) => unknown> = {
  open: (options) => open("pylos", options).then((one) => one.close()),
  decode: (options) => model.decode("Hi", options),
  generate: (options) => model.generate("Hi", options),
  score: (options) => model.score("The dog ran", options),
  continuations: (options) => model.continuations({ context: [1], options: [[2]] }, options),
  embed: (options) => model.embed("The dog ran", options),
  chat: (options) => model.chat(options),
  "defaults of a chat": (options) => model.chat({ transcript: true, defaults: options }),
  send: (options) => model.chat({ transcript: true }).send("Hi", options),
  trace: (options) => model.trace("Hi", options),
  writeTrace: (options) => model.writeTrace("/nowhere/x.safetensors", "Hi", options),
  forward: (options) => model.forward("Hi", options),
  encode: (options) => model.tokenizer!.encode("Hi", options),
  "decode of ids": (options) => model.tokenizer!.decode([5], options),
  release: (options) => model.forest.lease().release([], options),
};

describe("options are plain objects", () => {
  test.each(Object.keys(withOptions))("of %s", async (name) => {
    for (const [given, words] of [
      [new Options(), "an object of the class Options"],
      [Object.create({ maxTokens: 2 }), "what an object takes from another"],
      [Object.assign(Object.create({ temprature: 1 }), { signal: undefined }), "what an object takes from another"],
    ] as const)
      expect(await rejection(() => withOptions[name](given))).toEqual(
        isSaid("bad_option", new RegExp(`options must be a plain object.*; ${words} is not read as options: write`)),
      );
  });

  const lent = (lender: object, own: object): Wrong => Object.assign(Object.create(lender), own);
  test.each<[string, Wrong, RegExp]>([
    [
      "a method by its name",
      { method: lent({ lenght: 3 }, { name: "prompt-lookup" }) },
      /^decode: method must be a plain/,
    ],
    [
      "a method beside its options",
      { method: { method: {}, options: new Options() } },
      /^method: options must be a plain/,
    ],
    ["a shaper", { shapers: [lent({ layer: 1 }, { name: "dola" })] }, /^shapers: a shaper must be a plain object/],
    ["an option that is an object", { mirostat: lent({ tau: "x" }, {}) }, /^decode: mirostat must be a plain object/],
    [
      "what names a constraint",
      { constraint: lent({ regex: "a" }, {}) },
      /^constraint: what names one must be a plain/,
    ],
  ])("within others: %s", (_, options, message) => {
    expect(() => model.decode("Hi", options)).toThrow(isSaid("bad_option", message));
  });

  test("a sequence to go forward, and what continuations are given", async () => {
    expect(await rejection(() => model.forward([lent({ tokens: [1, 2] }, {})]))).toEqual(
      isSaid("bad_option", /^forward: a sequence must be a plain object, such as \{ tokens: \[1, 2\] \}/),
    );
    expect(await rejection(() => model.continuations(lent({ context: [1] }, { options: [[2]] })))).toEqual(
      isSaid("bad_option", /^continuations: the first argument must be a plain object/),
    );
  });

  test("without a prototype, and of another realm, they are taken", async () => {
    for (const options of [
      Object.assign(Object.create(null), { maxTokens: 1 }),
      runInNewContext('({ maxTokens: 1, method: { name: "prompt-lookup", length: 3 }, mirostat: { tau: 3 } })'),
    ])
      expect((await model.generate("Once", options)).counters.generated).toBe(1);
  });
});

describe("what reading an argument throws is told with its place", () => {
  test.each(Object.keys(withOptions))("an option of %s", async (name) => {
    const field = name === "release" ? "discard" : "signal";
    for (const given of [failing(field), new Proxy({}, { ownKeys: fail }), new Proxy({}, { getPrototypeOf: fail })])
      expect(await rejection(() => withOptions[name](given))).toEqual(isSaid("bad_option", /: \S.* failed: boo$/, boo));
  });

  const user = (others: object): Wrong => [{ role: "user", ...others }];
  test.each<[string, () => unknown, RegExp]>([
    ["a setting", () => model.decode("Hi", failing("temperature")), /^decode: temperature failed: boo$/],
    [
      "one within",
      () => model.decode("Hi", { mirostat: failing("tau") }),
      /^decode options: mirostat\.tau failed: boo$/,
    ],
    [
      "an option of a method",
      () => model.decode("Hi", { method: failing("length", { name: "prompt-lookup" }) }),
      /^decode: method\.length failed: boo$/,
    ],
    ["a role", () => model.decode([failing("role", { content: "a" })]), /^decode: prompt\[0\]\.role failed: boo$/],
    ["a content", () => model.decode([failing("content", { role: "user" })]), /^decode: prompt\[0\]\.content failed/],
    [
      "a part's type",
      () => model.decode(user({ content: [failing("type", { text: "a" })] })),
      /^decode: prompt\[0\]\.content\[0\]\.type failed: boo$/,
    ],
    [
      "a part's text",
      () => model.decode(user({ content: [failing("text", { type: "text" })] })),
      /^decode: prompt\[0\]\.content\[0\]\.text failed: boo$/,
    ],
    ["a picture", () => model.decode([failing("image")]), /^decode: prompt\[0\]\.image failed: boo$/],
    ["a prompt", () => model.decode(new Proxy([1], { get: fail })), /^decode: prompt failed: boo$/],
    [
      "messages of a chat",
      () => model.chat({ messages: [failing("role")] }),
      /^chat: messages\[0\]\.role failed: boo$/,
    ],
    ["tokens to go forward", () => model.forward([failing("tokens")]), /^forward: text\[0\]\.tokens failed: boo$/],
    [
      "continuations",
      () => model.continuations(failing("context", { options: [[1]] })),
      /^continuations: the first argument\.context failed: boo$/,
    ],
    [
      "messages for a tokenizer",
      () => model.tokenizer!.encode("a", failing("special")),
      /^encode: special failed: boo$/,
    ],
    [
      "the rows of a lease",
      () => model.forest.lease().extend([failing("token")]),
      /^extend: extensions\[0\]\.token failed: boo$/,
    ],
  ])("%s", async (_, call, message) => {
    expect(await rejection(call)).toEqual(isSaid("bad_option", message, boo));
  });
});

describe("lists with gaps, and what is no name or number in them, are refused", () => {
  test.each<[string, () => unknown, RegExp]>([
    [
      "taps of forward",
      () => model.forward("Hi", { taps: behindGap("final") }),
      /^forward: taps must be a list of sites/,
    ],
    ["taps of a trace", () => model.trace("Hi", { taps: behindGap("final") }), /^trace: taps must be a list of sites/],
    [
      "taps of decode",
      () => model.decode("Hi", { taps: behindGap("final") }),
      /taps\[0\] is missing: it must be a text/,
    ],
    ["rows for logits", () => model.forward("Hi", { logits: behindGap(1) }), /logits are asked for of row undefined/],
    ["an object for a row", () => model.forward("Hi", { logits: [{}] as Wrong }), /logits are asked for of row \{\}/],
    ["a symbol for a row", () => model.forward("Hi", { logits: [Symbol("a")] as Wrong }), /of row Symbol\(a\)/],
    [
      "choices",
      () => model.decode("Hi", { constraint: { choices: behindGap("a") } }),
      /choices must be a list of texts/,
    ],
    [
      "nodes",
      () => model.forest.lease().release(new Array(1) as Wrong),
      /^release: nodes\[0\] must be a node .*, not undefined$/,
    ],
    [
      "numbers for nodes",
      () => model.forest.lease().release([1] as Wrong),
      /^release: nodes\[0\] must be a node .*, not 1$/,
    ],
    [
      "objects for nodes",
      () => model.forest.lease().release([{}] as Wrong),
      /^release: nodes\[0\] must be a node .*, not \{\}$/,
    ],
  ])("%s", async (_, call, message) => {
    expect(await rejection(call)).toEqual(isSaid("bad_option", message));
  });
});

describe("calls that go on with no prompt speak of what they were given", () => {
  const picture = [{ image: "cat.png" }, "What is this?"] as Wrong;
  const message = [{ role: "user", content: [{ type: "image", image: "cat.png" }] }];
  test.each<[string, () => unknown, RegExp]>([
    ["score", () => model.score([1, "a"] as Wrong), /^score: text\[1\]: "a" is not a token id/],
    ["score of nothing", () => model.score(""), /^score: the text is empty$/],
    [
      "score of a number",
      () => model.score(7 as Wrong),
      /^score: the text must be a text, token ids or chat messages, not 7/,
    ],
    ["embed", () => model.embed([-1]), /^embed: text\[0\]: -1 is not a token id/],
    ["trace", () => model.trace([-1], { taps: ["final"] }), /^trace: text\[0\]: -1 is not a token id/],
    [
      "writeTrace",
      () => model.writeTrace("x", [-1], { taps: ["final"] }),
      /^writeTrace: text\[0\]: -1 is not a token id/,
    ],
    [
      "options",
      () => model.continuations({ context: [1], options: [["a"]] as Wrong }),
      /^continuations: options\[0\]\[0\]: "a"/,
    ],
    [
      "a context",
      () => model.continuations({ context: [1n] as Wrong, options: [[1]] }),
      /^continuations: context\[0\]: 1n/,
    ],
    [
      "a picture to score",
      () => model.score(picture),
      /^score: the text has a picture: score takes texts, ids and messages of t/,
    ],
    [
      "a picture to embed",
      () => model.embed(message),
      /^embed: the text has a picture: embed takes texts, ids and messages/,
    ],
    [
      "a special token",
      () => model.score(`${[...model.tokenizer!.specialTokens!.keys()][0]} a`),
      /^score: the text begins with the text of the special token/,
    ],
    ["a prompt", () => model.decode([-1]), /^prompt\[0\]: -1 is not a token id/],
  ])("%s", async (_, call, words) => {
    expect(await rejection(call)).toEqual(isSaid("bad_option", words));
  });
});

test("messages are a text of every call that reads one", { timeout: 60_000 }, async () => {
  await using chat = await open("phaistos", { threads: 1 });
  const messages = [{ role: "user", content: "Hi" }] as const;
  const ids = chat.tokenizer!.encodeChat!(messages);
  const taps = ["final"];
  expect(await chat.forward(messages, { taps })).toEqual(await chat.forward(ids, { taps }));
  const read = async (text: typeof messages | readonly number[]) => {
    const chunks = [];
    for await (const chunk of chat.trace(text, { taps })) chunks.push(chunk);
    return chunks;
  };
  expect(await read(messages)).toEqual(await read(ids));
});

test("a part of a message has no field that nobody reads", async () => {
  const said = (part: object): Wrong => [{ role: "user", content: [part] }];
  for (const [part, message] of [
    [{ type: "text", text: "a", txet: "b" }, /content\[0\] has no field "txet" \(known: type, text\)$/],
    [{ type: "text", text: "a", content: "b" }, /content\[0\] has no field "content" \(known: type, text\)$/],
    [{ type: "image", img: "x" }, /content\[0\] has no field "img"; did you mean "image"\?$/],
    [{ type: "image_url", image_ulr: "x" }, /content\[0\] has no field "image_ulr"; did you mean "image_url"\?$/],
    [
      { type: "image_url", image_url: { ulr: "x" } },
      /content\[0\]\.image_url has no field "ulr"; did you mean "url"\?$/,
    ],
  ] as const)
    expect(() => model.decode(said(part))).toThrow(isSaid("bad_option", message));
});

test("messages that a template wrote are refused wherever a text stands, alone or in a larger one", {
  timeout: 60_000,
}, async () => {
  const canvas = await open("mycenae", { threads: 1 });
  const chat = await open("phaistos", { threads: 1 });
  try {
    const fillOf = (text: string) => () => canvas.decode({ fill: text });
    const messages = [{ role: "user", content: "Who is ___?" }] as const;
    const written = canvas.tokenizer!.applyChatTemplate!(messages);
    const instead = "a text with blanks has no messages, and decode(messages) answers them";
    expect(fillOf(written)).toThrow(/^fill begins with the text of the special token <\|begin\|>, /);
    expect(fillOf(written)).toThrow(instead);
    for (const around of [`Well: ${written}`, `Well: ${written} ___.`]) {
      expect(fillOf(around)).toThrow(/^behind "Well: " fill has messages that a chat template wrote, .*<\|user\|>/);
      expect(fillOf(around)).toThrow(instead);
    }
    const text = `Well: ${chat.tokenizer!.applyChatTemplate!(messages)} ___.`;
    const told = /behind "Well: " the (prompt|text) has messages that a chat template wrote/;
    expect(() => chat.decode(text)).toThrow(told);
    expect(() => chat.trace(text, { taps: ["final"] })).toThrow(told);
    for (const call of [chat.generate, chat.score, chat.embed, chat.forward])
      expect(await rejection(() => call(text))).toMatchObject({ message: expect.stringMatching(told) });
  } finally {
    await Promise.all([canvas.close(), chat.close()]);
  }
});

test("so are those of a template that begins with plain text and ends answers with a special token", {
  timeout: 60_000,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), "ventris-template-"));
  try {
    await cp(fileURLToPath(new URL("../models/phaistos", import.meta.url)), folder, { recursive: true });
    const path = join(folder, "tokenizer_config.json");
    const written =
      "{% for m in messages %}{% if m.role == 'user' %}USER: {{ m.content }} {% elif m.role == 'system' %}{{ m.content }} {% else %}ASSISTANT: {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}";
    await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, "utf8")), chat_template: written }));
    await using chat = await open(folder, { threads: 1 });
    const said = ["Hi", "Hello", "Bye"].map(
      (content, i) => ({ role: i === 1 ? "assistant" : "user", content }) as const,
    );
    const text = chat.tokenizer!.applyChatTemplate!(said);
    expect(text).toMatch(/^USER: Hi ASSISTANT: Hello<\|end\|>/);
    expect(() => chat.decode(text)).toThrow(
      /messages that a chat template wrote, with special tokens \("<\|end\|>USER:"\)/,
    );
    await chat.generate("Write <|end|> behind it.", { maxTokens: 1 }); // the words of a token alone are a text
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
