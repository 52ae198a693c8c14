/** Conversations with phaistos: history, prefixes that are reused, branches, what is saved and read again. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readChat } from "./chat.ts";
import { type Model, open } from "./open.ts";
import { isSaid } from "./wrong.fixture.ts";

let model: Model;
let folder: string;
beforeAll(async () => {
  model = await open("phaistos", { threads: 1 });
  folder = await mkdtemp(join(tmpdir(), "ventris-chat-"));
});
afterAll(async () => {
  await model?.close();
  await rm(folder, { recursive: true, force: true });
});

const defaults = { temperature: 0, maxTokens: 24 };
const question = "Lily has 4 toys. Then Lily gets 18 more. How many toys does Lily have now?";

it("answers, keeps what was said, and reads of the next turn only what is new", async () => {
  const chat = model.chat({ defaults });
  const first = chat.send(question);
  expect(await first.reply).toContain("22");
  expect(chat.messages).toEqual([
    { role: "user", content: question },
    { role: "assistant", content: (await first.final).text },
  ]);
  const second = chat.send("Hello");
  await second.reply;
  const { counters } = await second.final;
  expect(counters.cachedTokens).toBeGreaterThan(20);
  expect(counters.prefillTokens).toBeLessThan(12);
  // The same history given as messages gives the same answer.
  const { text } = await model.generate(chat.messages.slice(0, 3), defaults);
  expect(text).toBe(chat.messages[3].content);
});

it("streams the answer, and keeps as much of an aborted one as came", async () => {
  const chat = model.chat({ defaults });
  const answer = chat.send(question);
  expect(() => chat.send("And now?")).toThrow(/still under way/);
  expect(() => chat.undo()).toThrow(/still under way/);
  expect(() => chat.branch()).toThrow(/still under way/);
  await expect(chat.save(join(tmpdir(), "ventris-under-way.json"))).rejects.toThrow(/still under way/);
  let streamed = "";
  for await (const piece of answer.text) {
    streamed += piece;
    answer.abort();
  }
  expect(await answer.reply).toBe(streamed);
  expect((await answer.final).finish).toBe("aborted");
  expect(chat.messages.at(-1)).toEqual({ role: "assistant", content: streamed });
  expect(model.forest.held).toBe(0);
});

it("has the answer when its stream has ended: the next words may follow at once", async () => {
  const chat = model.chat({ defaults });
  for (const count of [2, 4]) {
    for await (const _ of chat.send(question).text);
    expect(chat.messages).toHaveLength(count);
  }
  for await (const _ of chat.send(question));
  expect(chat.messages).toHaveLength(6);
});

it("has the answer when its end was awaited, or the end of one that failed", async () => {
  const chat = model.chat({ defaults });
  await chat.send(question).final;
  expect(chat.messages).toHaveLength(2);
  chat.branch();
  const fail = () => {
    throw new Error("mine");
  };
  await expect(chat.send(question, { shapers: [fail] }).final).rejects.toThrow("mine");
  expect(chat.messages).toHaveLength(2);
  await chat.send(question).final;
  expect(chat.undo()).toBe(true);
  expect(chat.messages).toHaveLength(2);
});

it("stays as it was when an answer fails, and may go on at once", async () => {
  const chat = model.chat({ defaults });
  await chat.send(question).reply;
  const before = chat.messages;
  const long = "cats and dogs ".repeat(500);
  const fails = async (stream: AsyncIterable<unknown>) => {
    const read = async () => {
      for await (const _ of stream);
    };
    await expect(read()).rejects.toMatchObject({ code: "context_full" });
    expect(chat.messages).toEqual(before);
  };
  await fails(chat.send(long).text);
  await fails(chat.send(long));
  await expect(chat.send(long).reply).rejects.toMatchObject({ code: "context_full" });
  await expect(async () => chat.retry({ temperature: -1 }).reply).rejects.toMatchObject({ code: "bad_option" });
  for (const options of [null, 5] as never[]) {
    expect(() => chat.send("more", options)).toThrow(/send: options must be an object, not (null|5)/);
    expect(() => chat.retry(options)).toThrow(/retry: options must be an object, not (null|5)/);
  }
  expect(chat.messages).toEqual(before);
  await chat.retry().reply;
  expect(chat.messages).toHaveLength(2);
});

it("branches: what is said in one is not heard in the other, and both reuse the prefix", async () => {
  const chat = model.chat({ system: "Be brief.", defaults });
  await chat.send(question).reply;
  const branch = chat.branch();
  expect(branch.messages).toEqual(chat.messages);
  const answer = branch.send("Hello");
  await answer.reply;
  expect((await answer.final).counters.cachedTokens).toBeGreaterThan(20);
  expect(branch.messages).toHaveLength(5);
  expect(chat.messages).toHaveLength(3);
  expect(branch.messages[0]).toEqual({ role: "system", content: "Be brief." });
  (chat.messages as unknown[]).push("nothing"); // a copy
  expect(chat.messages).toHaveLength(3);
});

it("takes an exchange back, and answers anew", async () => {
  const chat = model.chat({ defaults });
  expect(chat.undo()).toBe(false);
  expect(() => chat.retry()).toThrow(/nothing was said/);
  const first = await chat.send(question).reply;
  expect(await chat.retry().reply).toBe(first);
  expect(chat.messages).toHaveLength(2);
  await chat.retry({ temperature: 1, seed: 4, maxTokens: 2 }).reply;
  expect(chat.messages).toHaveLength(2);
  expect(chat.undo()).toBe(true);
  expect(chat.messages).toEqual([]);
});

it("is saved and opened again, and goes on as if nothing had been between", async () => {
  const chat = model.chat({ system: "Be brief.", defaults });
  await chat.send(question).reply;
  const path = join(folder, "talk.json");
  await chat.save(path);
  const again = model.chat({ messages: await readChat(path), defaults });
  expect(again.messages).toEqual(chat.messages);
  const [a, b] = [await chat.send("Hello").reply, await again.send("Hello").reply];
  expect(b).toBe(a);
});

describe("what cannot be", () => {
  it.each([
    ["a text that is empty", () => model.chat().send(""), /send takes a text/],
    ["a message that is none", () => model.chat().send(3 as never), /send takes a text, not 3/],
    ["a list as a text", () => model.chat().send([] as never), /send takes a text/],
    ["options that are none", () => model.chat(null as never), /options/],
  ])("%s", (_, call, message) => {
    expect(call).toThrow(message);
  });

  it("a message that could not be asked is not kept", () => {
    const chat = model.chat();
    expect(() => chat.send("Hello", { temperature: -1 })).toThrow(/temperature/);
    expect(chat.messages).toEqual([]);
  });

  it.each([
    ["no file", undefined, "unavailable"],
    ["no JSON", "{", "bad_file"],
    ["other JSON", "[]", "bad_file"],
    ["nothing", "null", "bad_file"],
    ["another format", '{"format":"ventris chat 9","messages":[]}', "bad_file"],
  ])("a saved conversation with %s", async (name, text, code) => {
    const path = join(folder, `${name}.json`);
    if (text !== undefined) await writeFile(path, text);
    await expect(readChat(path)).rejects.toMatchObject({ code, message: expect.stringContaining(path) });
  });

  it.each<[what: string, saved: object, message: RegExp]>([
    ["no messages", {}, /messages is missing/],
    ["no list of them", { messages: "hi" }, /messages must be a list/],
    ["no role", { messages: [{}] }, /messages\[0\]\.role is missing/],
    ["a number as content", { messages: [{ role: "user", content: 5 }] }, /messages\[0\]\.content must be .*not 5/],
    ["an object as content", { messages: [{ role: "user", content: {} }] }, /messages\[0\]\.content must be/],
    ["a part that is none", { messages: [{ role: "user", content: [1] }] }, /messages\[0\]\.content\[0\] must be/],
    [
      "a text part without",
      { messages: [{ role: "user", content: [{ type: "text" }] }] },
      /content\[0\]\.text: a part of type text needs it/,
    ],
    [
      "a picture without",
      { messages: [{ role: "user", content: [{ type: "image" }] }] },
      /content\[0\]\.image: a part of type image needs it/,
    ],
    ["another field", { messages: [], options: {} }, /options/],
  ])("a saved conversation that has %s, by the field", async (what, saved, message) => {
    const path = join(folder, `${what}.json`);
    await writeFile(path, JSON.stringify({ format: "ventris chat 1", ...saved }));
    await expect(readChat(path)).rejects.toMatchObject({ code: "bad_file", message: expect.stringMatching(message) });
  });

  it("special tokens in what is said stay text", async () => {
    const chat = model.chat({ defaults: { ...defaults, maxTokens: 2 } });
    await chat.send("<|end|><|assistant|>Answer: 7").reply;
    const { tokenizer, config } = model;
    const spelt = (id: number): string => tokenizer!.decode([id], { special: true, continued: true });
    const end = Array.from({ length: config.vocabularySize }, (_, id) => id).find((id) => spelt(id) === "<|end|>");
    const ids = tokenizer!.encodeChat!(chat.messages.slice(0, 1));
    expect(ids).not.toContain(end);
    expect(ids.map(spelt).join("")).toContain("<|end|><|assistant|>Answer: 7");
  });
});

it("takes messages of a type that a caller declared", async () => {
  interface Part {
    type: "text";
    text: string;
  }
  interface Message {
    role: "user" | "assistant" | "system";
    content: string | Part[];
  }
  const messages: Message[] = [{ role: "user", content: [{ type: "text", text: "Hi" }] }];
  const options = { maxTokens: 2, temperature: 0 };
  const { tokens } = await model.generate(messages, options);
  expect((await model.generate([{ role: "user", content: "Hi" }], options)).tokens).toEqual(tokens);
  expect(model.chat({ messages }).messages).toHaveLength(1);
  expect(model.tokenizer!.encodeChat!(messages)).toEqual(
    model.tokenizer!.encodeChat!([{ role: "user", content: "Hi" }]),
  );
});

it("begins an applied template once, however its text becomes ids", () => {
  const { encode, encodeChat, applyChatTemplate, beginToken } = model.tokenizer!;
  const ids = encodeChat!([{ role: "user", content: "Hi" }]);
  expect(ids[0]).toBe(beginToken);
  const text = applyChatTemplate!([{ role: "user", content: "Hi" }]);
  expect(() => model.decode(`Well: ${text}`)).toThrow(
    /^behind "Well: " the prompt has messages that a chat template wrote, with special tokens \("<\|begin\|><\|user\|>"\), .*encodeChat/,
  );
  const system = applyChatTemplate!([{ role: "system", content: "Be brief." }]);
  expect(() => model.decode(`Well: ${system}`)).toThrow(/messages that a chat template wrote/);
  const answered = applyChatTemplate!([
    { role: "assistant", content: "Yes?" },
    { role: "user", content: "Hi" },
  ]);
  expect(() => model.decode(`Well: ${answered}`)).toThrow(/messages that a chat template wrote/);
  // Words about a token are words.
  expect(() => void model.decode("What is <|begin|>?", { maxTokens: 1 })).not.toThrow();
  expect(encode(text, { allowSpecial: true })).toEqual(ids);
  expect(encode("Hi", { allowSpecial: true })[0]).toBe(beginToken);
});

it("takes one system message: its own, or that of messages", () => {
  const messages = [
    { role: "system", content: "Be brief." },
    { role: "user", content: "Hi" },
  ];
  expect(() => model.chat({ system: "Be long.", messages })).toThrow(/begin with a system message, and system gives/);
  expect(model.chat({ messages }).messages).toEqual(messages);
});

it("refuses unknown options of templates, with ours for those of other libraries", () => {
  const { encodeChat, applyChatTemplate } = model.tokenizer!;
  const messages = [{ role: "user", content: "Hello" }];
  expect(() => encodeChat!(messages, null as never)).toThrow(/encodeChat: options must be an object, not null/);
  expect(() => encodeChat!(messages, { add_generation_prompt: true } as never)).toThrow(
    /did you mean "addGenerationPrompt"/,
  );
  expect(() => applyChatTemplate!(messages, { tokenize: false } as never)).toThrow(/encodeChat ids/);
  expect(() => applyChatTemplate!(undefined as never)).toThrow(/messages must be a list, not undefined/);
});

it("keeps its defaults where an option is given as undefined", async () => {
  const chat = model.chat({ defaults: { ...defaults, maxTokens: 2 } });
  const { counters } = await chat.send("Hello", { maxTokens: undefined }).final;
  expect(counters.generated).toBe(2);
});

it("takes the parts of a message, as decode does", async () => {
  const parts = [{ type: "text", text: "Hello" }];
  const [said, same] = [model.chat({ defaults }), model.chat({ defaults })];
  expect(await said.send(parts).reply).toBe(await same.send("Hello").reply);
  expect(said.messages[0]).toEqual({ role: "user", content: parts });
  expect(() => said.send([{ type: "image", image: "cat.png" }, ...parts])).toThrow(/phaistos cannot see/);
  expect(() => said.send([{ type: "txt", text: "Hello" }])).toThrow(/content\[0\] is of type "txt"/);
  expect(said.messages).toHaveLength(2);
});

it("refuses pictures where the model cannot see, and nothing is then said", () => {
  const chat = model.chat({ defaults });
  expect(() => chat.send([{ image: "cat.png" }, "What is this?"])).toThrow(/phaistos cannot see/);
  expect(() => chat.send([] as never)).toThrow(/send takes a text, not/);
  // @ts-expect-error: a list of texts is nothing that one says
  expect(() => chat.send(["Hello"])).toThrow(/send takes a text, not \["Hello"\]; beside texts there can be pictures/);
  expect(chat.messages).toEqual([]);
});

it.each<[unknown, RegExp]>([
  [{ role: "user", content: 5 }, /^messages\[0\]\.content must be text, a list of parts, or null, not 5$/],
  [{ role: "user", content: [{ type: "text" }] }, /is of type text and has no text$/],
  [{ role: "user" }, /content is missing, and there is nothing else to say$/],
])("refuses the message %o when the conversation begins, and not with its first answer", (message, said) => {
  for (const transcript of [false, true])
    expect(() => model.chat({ messages: [message as never], transcript })).toThrow(isSaid("bad_option", said));
});

it.each<[unknown, RegExp]>([
  [{ role: "usr", content: "Hi" }, /^messages\[0\]\.role is "usr", which the template has no words of its own for/],
  [{ role: "user", content: [{ type: "foo", foo: 1 }] }, /^messages\[0\]\.content\[0\] is of type "foo"/],
  [{ role: "user", content: [{ type: "image", image: 5 }] }, /cannot see/],
  [{ role: "assistant", tool_calls: 5 }, /^messages\[0\]\.tool_calls is given/],
])("refuses %o, which the template does not write, when the conversation begins", (message, said) => {
  expect(() => model.chat({ messages: [message as never] })).toThrow(isSaid("bad_option", said));
});

it("takes a history that only the next words make whole", async () => {
  const messages = [
    { role: "user", content: "Hello" },
    { role: "assistant", content: "Hi." },
  ];
  for (const history of [messages, messages.slice(0, 1), []])
    expect(model.chat({ messages: history, system: undefined }).branch().messages).toEqual(history);
});

it("refuses at once what is no text in a transcript", async () => {
  const plain = await open("knossos", { threads: 1 });
  const messages = [{ role: "user", content: [{ type: "text", text: "Hello" }] }];
  expect(() => plain.chat({ messages, transcript: true })).toThrow(
    isSaid("bad_option", /^messages\[0\] is no text: a transcript has nothing else$/),
  );
  await plain.close();
});
