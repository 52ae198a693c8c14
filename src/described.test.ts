/** What people print by mistake, or to look, says in a sentence what it is and how it is used. */
import { inspect } from "node:util";
import { afterAll, expect, test } from "vitest";
import { open } from "./open.ts";

const model = await open("phaistos");
const written = await open("knossos");
afterAll(() => Promise.all([model.close(), written.close()]));

test("a model, a tokenizer, a conversation, a run, its text and an answer", async () => {
  const chat = model.chat({ system: "Be brief." });
  const run = model.decode("Once", { maxTokens: 2 });
  const answer = chat.send("Hello", { maxTokens: 2 });
  const things: [object, RegExp][] = [
    [
      model,
      /^the model phaistos \(LlamaForCausalLM, [\d,]+ parameters, a context of 1024 tokens\): decode, generate, .*chat/,
    ],
    [model.tokenizer!, /^a tokenizer of 4096 tokens: encode, decode, .*encodeChat/],
    [chat, /^a conversation with phaistos, 2 messages so far: send, /],
    [run, /^a run of sample on phaistos: iterate it or its text, or await its final result/],
    [run.text, /^the text of a run, piece by piece: for await .*\(await run\.final\)\.text/],
    [answer, /^an answer of phaistos: await its reply, or iterate its text/],
    [answer.text, /^the text of a run/],
  ];
  for (const [thing, said] of things) {
    expect(`${thing}`).toMatch(said);
    expect(inspect(thing)).toBe(`${thing}`);
    // In a page, where nothing asks for more, at least the kind.
    expect(Object.prototype.toString.call(thing)).toMatch(/^\[object (Model|Tokenizer|ChatSession|Run|TextStream)\]$/);
    expect(Object.keys(thing)).not.toContain("toString");
  }
  await Promise.all([run.final, answer.reply]);
  expect(`${await written.score("Once upon a time")}`).toMatch(
    /^\d tokens, log-probability -[\d.]+, perplexity [\d.]+$/,
  );
  expect(`${await written.generate("Once upon a time", { maxTokens: 3 })}`).toMatch(/\w/);
});

test("events in a template read as their text, and all of them as the run's", async () => {
  const run = written.decode("Once upon a time", { maxTokens: 5, temperature: 0, logprobs: 1 });
  let text = "";
  for await (const event of run) {
    text += event;
    expect(`${event}`).toBe(event.type === "tokens" ? event.text : "");
    expect(inspect(event)).toBe(inspect({ ...event }));
    expect(Object.keys(event)).not.toContain("toString");
    expect(JSON.parse(JSON.stringify(event))).toEqual(structuredClone(event));
    // Lent by one object: none is made for each event.
    expect(Object.getOwnPropertyNames(event)).toEqual(Object.keys(event));
  }
  expect(text).toBe(`${await run.final}`);
  expect(text).not.toBe("");
});
