/** What `ventris serve` answers, asked with OpenAI's own client wherever that can ask. */
import { setTimeout as delay } from "node:timers/promises";
import OpenAI, { type APIError } from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Model, open } from "../src/open.ts";
import { type Listening, listen, serveGroups } from "../src/server/listen.ts";
import { ensureBuilt } from "./build.ts";

let server: Listening;
let client: OpenAI;
let knossos: Model;
beforeAll(async () => {
  ensureBuilt();
  server = await listen({ port: 0, groups: serveGroups(false) });
  client = new OpenAI({ baseURL: new URL("v1", server.url).href, apiKey: "none", maxRetries: 0 });
  knossos = await open("knossos");
}, 300_000);
afterAll(async () => {
  await knossos?.close();
  await server?.close();
});

const model = "knossos";
const prompt = "Once upon a time";

/** Nothing is held once what was asked for is over. */
async function nothingHeld(): Promise<void> {
  const deadline = Date.now() + 5000;
  while (((await server.engine.call("held")) > 0 || server.engine.active > 0) && Date.now() < deadline) await delay(20);
  expect(await server.engine.call("held")).toBe(0);
  expect(server.engine.active).toBe(0);
  expect(server.admission.active).toBe(0);
}

const refusal = async (ask: PromiseLike<unknown>): Promise<APIError> => {
  try {
    await ask;
  } catch (error) {
    if (error instanceof OpenAI.APIError) return error;
    throw error;
  }
  throw new Error("it was not refused");
};

describe("completions", () => {
  it("gives the library's text and counts", async () => {
    const expected = await knossos.generate(prompt, { temperature: 0.8, seed: 7, maxTokens: 24 });
    const { choices, usage, object } = await client.completions.create({
      model,
      prompt,
      temperature: 0.8,
      seed: 7,
      max_tokens: 24,
    });
    expect(object).toBe("text_completion");
    expect(choices).toEqual([{ index: 0, text: expected.text, logprobs: null, finish_reason: "length" }]);
    expect(usage).toMatchObject({
      prompt_tokens: knossos.tokenizer!.encode(prompt).length,
      completion_tokens: 24,
      total_tokens: knossos.tokenizer!.encode(prompt).length + 24,
    });
  });

  it("streams the same in pieces, with usage at the end", async () => {
    // Text is sent at most forty times a second: this takes longer than that.
    const request = { model, prompt, seed: 7, max_tokens: 120, stop: "zebra" };
    const whole = await client.completions.create(request);
    const stream = await client.completions.create({
      ...request,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    let pieces = 0;
    const reasons: unknown[] = [];
    let usage: unknown;
    for await (const chunk of stream) {
      for (const choice of chunk.choices) {
        text += choice.text;
        pieces += 1;
        if (choice.finish_reason) reasons.push(choice.finish_reason);
      }
      if (chunk.usage) usage = chunk.usage;
    }
    expect(text).toBe(whole.choices[0].text);
    expect(reasons).toEqual([whole.choices[0].finish_reason]);
    expect(pieces).toBeGreaterThan(1);
    expect(usage).toMatchObject({ completion_tokens: whole.usage!.completion_tokens });
  });

  it("gives several prompts and choices what each has alone, whatever shares their passes", async () => {
    const request = { model, seed: 3, max_tokens: 12 };
    const { choices } = await client.completions.create({ ...request, prompt: [prompt, "The fox"], n: 2 });
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    const alone = await client.completions.create({ ...request, prompt: "The fox", n: 2 });
    expect(choices.slice(2).map(({ text }) => text)).toEqual(alone.choices.map(({ text }) => text));
    expect(alone.choices[0].text).not.toBe(alone.choices[1].text);
  });

  it("frees the nodes of a client that goes away", async () => {
    const stream = await client.completions.create({ model, prompt, max_tokens: 900, logit_bias: {}, stream: true });
    for await (const _ of stream) break;
    await nothingHeld();
  });

  it("decodes an empty prompt from the begin token, and scores it", async () => {
    const begin = knossos.tokenizer!.beginToken!;
    const { text } = await knossos.generate([begin], { seed: 5, maxTokens: 12 });
    const request = { model, prompt: "", seed: 5, max_tokens: 12 };
    const { choices, usage } = await client.completions.create(request);
    expect(choices[0].text).toBe(text);
    expect(usage).toMatchObject({ prompt_tokens: 1 });
    const several = await client.completions.create({ ...request, prompt: ["", "The fox"] });
    expect(several.choices[0].text).toBe(text);
    const { choices: echoed } = await client.completions.create({ ...request, echo: true, logprobs: 1 });
    expect(echoed[0].text).toBe(text);
    expect(echoed[0].logprobs!.token_logprobs!.slice(0, 2)).toEqual([null, expect.any(Number)]);
  });

  it("refuses what it does not support, by its name", async () => {
    const { status, param, type } = await refusal(client.completions.create({ model, prompt, suffix: "." }));
    expect({ status, param, type }).toEqual({ status: 400, param: "suffix", type: "invalid_request_error" });
  });
});

describe("lm-evaluation-harness", () => {
  /** As its `local-completions` asks, and as it reads the answer. */
  const ask = (fields: object): Promise<Response> =>
    fetch(new URL("v1/completions", server.url), {
      method: "POST",
      headers: { "content-type": "application/json", authorization: "Bearer none" },
      body: JSON.stringify({ model, temperature: 0, seed: 1234, ...fields }),
    });
  interface Answer {
    choices: {
      index: number;
      text: string;
      logprobs: {
        token_logprobs: (number | null)[];
        top_logprobs: (Record<string, number> | null)[];
        tokens: string[];
        text_offset: number[];
      };
    }[];
  }
  const contexts = ["Once upon a time there was a", "The fox said:"];
  const continuations = [" king", " hello there"];

  it.each([1, 0])(
    "finds continuations as likely as the library does: echo, logprobs, max_tokens %i",
    async (maxTokens) => {
      const { tokenizer } = knossos;
      const context = contexts.map((text) => tokenizer!.encode(text));
      const whole = contexts.map((text, i) => tokenizer!.encode(text + continuations[i]));
      const response = await ask({ prompt: whole, max_tokens: maxTokens, logprobs: 1, echo: true });
      expect(response.status).toBe(200);
      const { choices } = (await response.json()) as Answer;
      expect(choices).toHaveLength(2);
      for (const { index, logprobs, text } of choices) {
        expect(logprobs.tokens).toHaveLength(whole[index].length + maxTokens);
        expect(logprobs.token_logprobs[0]).toBeNull();
        expect(logprobs.top_logprobs[0]).toBeNull();
        expect(text.startsWith(contexts[index] + continuations[index])).toBe(true);
        const end = maxTokens === 1 ? -1 : undefined;
        const tokens = logprobs.token_logprobs.slice(context[index].length, end) as number[];
        const tops = logprobs.top_logprobs.slice(context[index].length, end) as Record<string, number>[];
        const scored = await knossos.score(whole[index], { top: 1 });
        const expected = scored.tokens.slice(context[index].length);
        expect(tokens.reduce((sum, one) => sum + one, 0)).toBeCloseTo(
          expected.reduce((sum, one) => sum + one.logprob!, 0),
          8,
        );
        // Whether greedy decoding would have said it: by equality of numbers, as the harness does.
        const greedy = tokens.every((one, i) => one === Math.max(...Object.values(tops[i])));
        expect(greedy).toBe(expected.every(({ token, top }) => token === top![0].token));
      }
    },
  );

  it("finds a continuation as likely as the library does where the model would end the text behind it", async () => {
    const story = await knossos.generate(contexts[0], { temperature: 0, maxTokens: 400, logprobs: 1 });
    expect(story.finish).toBe("end");
    const whole = [...knossos.tokenizer!.encode(contexts[0]), ...story.tokens];
    const { choices } = (await (
      await ask({ prompt: [whole], max_tokens: 1, logprobs: 1, echo: true })
    ).json()) as Answer;
    const [{ logprobs }] = choices;
    expect(logprobs.token_logprobs).toHaveLength(whole.length + 1);
    const told = logprobs.token_logprobs.slice(-1 - story.tokens.length, -1) as number[];
    const { tokens: scored } = await knossos.score(whole);
    const expected = scored.slice(-story.tokens.length).map(({ logprob }) => logprob!);
    expect(told.reduce((sum, one) => sum + one, 0)).toBeCloseTo(
      expected.reduce((sum, one) => sum + one, 0),
      8,
    );
    expect(logprobs.tokens.at(-1)).toBe(story.ending!.text);
    expect(logprobs.token_logprobs.at(-1)).toBeCloseTo(story.ending!.raw, 4);
  });

  it("generates until a text, from a text", async () => {
    const response = await ask({ prompt: contexts, max_tokens: 30, stop: ["\n\n", "."] });
    const { choices } = (await response.json()) as Answer;
    for (const { text } of choices) expect(text).not.toContain(".");
    const [first] = choices;
    const alone = await knossos.generate(contexts[0], { temperature: 0, maxTokens: 30, stop: ["\n\n", "."] });
    expect(first.text).toBe(alone.text);
  });
});

describe("log-probabilities of completions", () => {
  it("are as many as the tokens that were decoded, the one that ended the text included, streamed as in a whole", async () => {
    const request = {
      model,
      prompt: "Once upon a time there was a cat.",
      temperature: 0,
      max_tokens: 400,
      logprobs: 1,
    };
    const { choices, usage } = await client.completions.create(request);
    const [{ finish_reason: reason, logprobs, text }] = choices;
    expect(reason).toBe("stop");
    expect(logprobs!.tokens).toHaveLength(usage!.completion_tokens);
    expect(logprobs!.text_offset!.at(-1)).toBe(text.length);
    const gathered: string[] = [];
    let streamed = "";
    for await (const chunk of await client.completions.create({ ...request, stream: true })) {
      for (const choice of chunk.choices) {
        gathered.push(...(choice.logprobs?.tokens ?? []));
        streamed += choice.text;
      }
    }
    expect(gathered).toEqual(logprobs!.tokens);
    expect(streamed).toBe(text);
  });

  it("name every token and its alternatives, with offsets into the text, streamed as in a whole", async () => {
    const request = { model, prompt, max_tokens: 20, logprobs: 4, seed: 2, echo: true };
    const { choices } = await client.completions.create(request);
    const { tokens, token_logprobs: own, top_logprobs: tops, text_offset: offsets } = choices[0].logprobs!;
    expect(tokens!.length).toBe(knossos.tokenizer!.encode(prompt).length + 20);
    expect(choices[0].text.startsWith(prompt)).toBe(true);
    tokens!.forEach((token, i) => {
      if (!/^(bytes:|<)/.test(token)) expect(choices[0].text.startsWith(token, offsets![i])).toBe(true);
    });
    expect(Object.keys(tops!.at(-1)!)).toHaveLength(4);
    expect(own!.at(-1)).toBeLessThanOrEqual(0);
    const gathered: string[] = [];
    for await (const chunk of await client.completions.create({ ...request, stream: true }))
      for (const choice of chunk.choices) gathered.push(...(choice.logprobs?.tokens ?? []));
    expect(gathered).toEqual(tokens);
  });

  it("name the tokens of text that is held back until the end, streamed as in a whole", async () => {
    for (let length = 6; length < 12; length++) {
      const request = { model, prompt, max_tokens: length, logprobs: 0, temperature: 0 };
      const [{ text }] = (await client.completions.create(request)).choices;
      const held = { ...request, stop: `${text.slice(-6)}\u2603` }; // the end of the text might be this one's beginning
      const [whole] = (await client.completions.create(held)).choices;
      const streamed = { text: "", tokens: [] as string[] };
      for await (const { choices } of await client.completions.create({ ...held, stream: true }))
        for (const one of choices) {
          streamed.text += one.text;
          streamed.tokens.push(...(one.logprobs?.tokens ?? []));
        }
      expect(streamed).toEqual({ text, tokens: whole.logprobs!.tokens });
    }
  });
});

it("places every token of an echo where its character begins, however many tokens that has", async () => {
  const given = "na\u00efve \u{1f389}, said he";
  const request = { model, prompt: given, echo: true, max_tokens: 8, logprobs: 1, seed: 4 };
  const [{ text, logprobs }] = (await client.completions.create(request)).choices;
  const offsets = logprobs!.text_offset!;
  const spread = logprobs!.tokens!.flatMap((token, i) => (token.startsWith("bytes:") ? [offsets[i]] : []));
  expect(spread.slice(0, 2)).toEqual([2, 2]);
  logprobs!.tokens!.forEach((token, i) => {
    if (!/^(bytes:|<)/.test(token)) expect(text.startsWith(token, offsets[i]), `${token} at ${offsets[i]}`).toBe(true);
  });
  const streamed: number[] = [];
  for await (const { choices } of await client.completions.create({ ...request, stream: true }))
    streamed.push(...(choices[0].logprobs?.text_offset ?? []));
  expect(streamed).toEqual(offsets);
});

it("refuses several choices of a search that has one answer", async () => {
  const ask = (decoding: object, n: number) =>
    client.completions.create({
      model,
      prompt,
      max_tokens: 4,
      n,
      decoding,
    } as OpenAI.CompletionCreateParamsNonStreaming);
  for (const decoding of [{ method: "beam" }, { method: "diverse-beam" }]) {
    const { status, param, message } = await refusal(ask(decoding, 2));
    expect({ status, param }).toEqual({ status: 400, param: "n" });
    expect(message).toContain(decoding.method);
    expect((await ask(decoding, 1)).choices).toHaveLength(1);
  }
  expect((await ask({ method: "beam", stochastic: true }, 2)).choices).toHaveLength(2);
});

it.each([
  ["a name that every object has", { toString: 1 }, "decoding.toString", "a request has no such option"],
  ["a token that is not there", { stopTokens: [4096] }, "decoding.stopTokens", "4096"],
])("refuses in decoding %s", async (_, decoding, field, words) => {
  const request = { model, prompt, max_tokens: 2, decoding } as OpenAI.CompletionCreateParamsNonStreaming;
  const { status, param, message } = await refusal(client.completions.create(request));
  expect({ status, param }).toEqual({ status: 400, param: field });
  expect(message).toContain(words);
});

it.each([
  ["its range", { method: "dyspec", budget: -1 }, "decoding.budget"],
  ["what the method finds out itself", { method: "diverse-beam", beams: 5, groups: 2 }, "decoding.beams"],
  ["another option of the request", { method: "smc", particles: 4, constraint: { regex: "a" } }, "decoding.particles"],
  ["what no option can mend", { method: "low-confidence" }, "decoding.method"],
  ["a constraint of nothing", { constraint: { choices: [] } }, "decoding.constraint"],
  ["a constraint that lacks its tables", { constraint: { sqlSchema: {} } }, "decoding.constraint"],
])("names the option of a method that is wrong by %s", async (_, decoding, field) => {
  const request = {
    model,
    prompt,
    max_tokens: 2,
    temperature: 0,
    decoding,
  } as OpenAI.CompletionCreateParamsNonStreaming;
  const { status, param, message } = await refusal(client.completions.create(request));
  expect({ status, param }, message).toEqual({ status: 400, param: field });
});

it.each<[string, string, object, number, string, RegExp]>([
  ["a negative length", "completions", { prompt, max_tokens: -3 }, 400, "max_tokens", /^max_tokens must be at least 0/],
  [
    "a method with its options inside",
    "completions",
    { prompt, decoding: { method: { name: "dyspec" } } },
    400,
    "decoding.method",
    /its options stand beside it/,
  ],
  [
    "what stands behind a blank",
    "completions",
    { prompt, suffix: "." },
    400,
    "suffix",
    /diffusion model, with ventris run --fill/,
  ],
  [
    "positions that are no blocks, by the field's name",
    "completions",
    { model: "mycenae", prompt, max_tokens: 40 },
    400,
    "max_tokens",
    /^max_tokens: 40 positions .* give 32 or 64/,
  ],
  [
    "the same of a response",
    "responses",
    { model: "mycenae", input: "Hello", max_output_tokens: 40 },
    400,
    "max_output_tokens",
    /^max_output_tokens: 40 positions/,
  ],
  [
    "more positions than there is room for",
    "chat/completions",
    { model: "mycenae", messages: [{ role: "user", content: "Hello" }], max_completion_tokens: 2048 },
    400,
    "messages",
    /give max_completion_tokens of at most \d+$/,
  ],
  ["vectors of a model without", "embeddings", { input: "The", model: "mycenae" }, 404, "model", /has no forest/],
])("says what to do about %s", async (_, route, body, status, param, message) => {
  const url = new URL(`v1/${route}`, server.url);
  const response = await fetch(url, { method: "POST", body: JSON.stringify({ model, ...body }) });
  const { error } = (await response.json()) as { error: { param: string; message: string } };
  expect({ status: response.status, param: error.param }).toEqual({ status, param });
  expect(error.message).toMatch(message);
});

it("an answer of a diffusion model needs no limit, and its passes are counted", async () => {
  const passes = async (): Promise<number> => {
    const text = await (await fetch(new URL("metrics", server.url))).text();
    return Number(/^ventris_engine_passes (\d+)/m.exec(text)![1]);
  };
  const before = await passes();
  const decoding = { method: "threshold" };
  const messages = [{ role: "user" as const, content: "Hello" }];
  const chat = { model: "mycenae", messages, seed: 1, decoding } as OpenAI.ChatCompletionCreateParamsNonStreaming;
  const { choices } = await client.chat.completions.create(chat);
  expect(choices[0]).toMatchObject({ finish_reason: "stop" });
  const response = {
    model: "mycenae",
    input: "Hello",
    seed: 1,
    decoding,
  } as OpenAI.Responses.ResponseCreateParamsNonStreaming;
  expect((await client.responses.create(response)).output_text).toBe(choices[0].message.content);
  expect(await passes()).toBeGreaterThan(before + 1);
});

it("says how a route is asked, and where routes are", async () => {
  const ask = async (path: string, init?: RequestInit) => {
    const response = await fetch(new URL(path, server.url), init);
    return { status: response.status, allow: response.headers.get("allow"), text: await response.text() };
  };
  const other = await ask("v1/chat/completions");
  expect(other).toMatchObject({ status: 405, allow: "POST", text: expect.stringContaining("is asked with POST") });
  expect(await ask("")).toMatchObject({ status: 404, text: expect.stringContaining("below /v1") });
  const stranger = await ask("v1/models", { headers: { origin: "http://elsewhere:3000" } });
  expect(stranger).toMatchObject({ status: 403, text: expect.stringContaining("--cors lets its pages call") });
});

it("names the method where what it needs is not beside the model", async () => {
  const request = { model: "phaistos", prompt, max_tokens: 2, decoding: { method: "eagle" } };
  const { status, param, message } = await refusal(
    client.completions.create(request as OpenAI.CompletionCreateParamsNonStreaming),
  );
  expect({ status, param }, message).toEqual({ status: 404, param: "decoding.method" });
});

it("refuses a prompt beyond the context before a stream begins", async () => {
  const error = await refusal(client.completions.create({ model, prompt: "word ".repeat(3000), stream: true }));
  expect({ status: error.status, code: error.code, param: error.param }).toEqual({
    status: 400,
    code: "context_full",
    param: "prompt",
  });
});

describe("chats", () => {
  const chat = { model: "phaistos", temperature: 0 } as const;
  const messages = [
    { role: "user" as const, content: "Lily has 4 toys. Then Lily gets 18 more. How many toys does Lily have now?" },
  ];

  it("answers in the model's template, whole and in pieces", async () => {
    const { choices, usage } = await client.chat.completions.create({ ...chat, messages });
    expect(choices[0]).toMatchObject({ index: 0, finish_reason: "stop", message: { role: "assistant" } });
    expect(choices[0].message.content).toContain("22");
    expect(usage!.prompt_tokens).toBeGreaterThan(10);
    const stream = client.chat.completions.stream({ ...chat, messages, stream_options: { include_usage: true } });
    const final = await stream.finalChatCompletion();
    expect(final.choices[0].message.content).toBe(choices[0].message.content);
    expect(final.usage).toMatchObject({ completion_tokens: usage!.completion_tokens });
  });

  it.each<[string, OpenAI.ChatCompletionMessageParam[], string]>([
    ["a name that the template has no place for", [{ ...messages[0], name: "ann" }], "messages[0].name"],
    [
      "the result of a call that nobody made",
      [...messages, { role: "tool", tool_call_id: "call_1", content: "22" }],
      "messages[1].tool_call_id",
    ],
    ["a field that is none", [{ ...messages[0], mood: "glad" } as never], "messages[0].mood"],
  ])("refuses %s by its field", async (_, given, field) => {
    const { status, param } = await refusal(client.chat.completions.create({ ...chat, messages: given }));
    expect({ status, param }).toEqual({ status: 400, param: field });
  });

  it("takes messages as lm-evaluation-harness's chats send them", async () => {
    const typed = messages.map((message) => ({ ...message, type: "text" }));
    const { choices } = await client.chat.completions.create({
      ...chat,
      messages: typed,
      seed: 1234,
      max_tokens: 30,
      stop: ["\n\n"],
    });
    expect(choices[0].message.content).toContain("22");
  });

  it("gives log-probabilities with bytes and alternatives", async () => {
    const { choices } = await client.chat.completions.create({
      ...chat,
      messages,
      logprobs: true,
      top_logprobs: 3,
      max_tokens: 5,
    });
    const { content } = choices[0].logprobs!;
    expect(content!).toHaveLength(5);
    for (const { token, logprob, bytes, top_logprobs: top } of content!) {
      expect(Buffer.from(bytes!).toString("utf8")).toBe(token);
      expect(top).toHaveLength(3);
      expect(logprob).toBeCloseTo(top[0].logprob, 10); // greedy
    }
  });

  const schema = {
    type: "object",
    properties: { sum: { type: "integer" }, sure: { type: "boolean" } },
    required: ["sum", "sure"],
    additionalProperties: false,
  };

  it("holds an answer to a strict schema", async () => {
    const { choices } = await client.chat.completions.create({
      ...chat,
      messages,
      max_tokens: 100,
      response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema } },
    });
    const value = JSON.parse(choices[0].message.content!);
    expect(Object.keys(value).sort()).toEqual(["sum", "sure"]);
    expect(Number.isInteger(value.sum)).toBe(true);
  });

  it("refuses a schema that it cannot enforce, naming the keyword", async () => {
    const refused: [boolean, object, string][] = [
      [true, { ...schema, unevaluatedProperties: false }, "unevaluatedProperties"],
      [false, { ...schema, unevaluatedProperties: false }, "unevaluatedProperties"],
      [true, { $ref: "#" }, "$ref"],
      [true, { not: { type: "array", uniqueItems: true } }, "uniqueItems"],
    ];
    for (const [strict, given, keyword] of refused) {
      const { status, param, message } = await refusal(
        client.chat.completions.create({
          ...chat,
          messages,
          response_format: {
            type: "json_schema",
            json_schema: { name: "answer", strict, schema: given as Record<string, unknown> },
          },
        }),
      );
      expect({ status, param }).toEqual({ status: 400, param: "response_format" });
      expect(message).toContain(keyword);
    }
  });

  const tools = [
    {
      type: "function" as const,
      function: {
        name: "add",
        description: "adds two numbers",
        parameters: {
          type: "object",
          properties: { a: { $ref: "#/$defs/number" }, b: { $ref: "#/$defs/number" } },
          required: ["a", "b"],
          additionalProperties: false,
          $defs: { number: { type: "integer", minimum: 0, maximum: 999 } },
        },
      },
    },
    { type: "function" as const, function: { name: "clock" } },
  ];

  it.each([
    ["required" as const, ["add", "clock"]],
    [{ type: "function" as const, function: { name: "add" } }, ["add"]],
  ])("calls a tool when it must: %j", async (choice, names) => {
    const request = { ...chat, messages, tools, tool_choice: choice, max_tokens: 200, temperature: 1, seed: 5 };
    const { choices } = await client.chat.completions.create(request);
    expect(choices[0]).toMatchObject({ finish_reason: "tool_calls", message: { content: null } });
    const [call] = choices[0].message.tool_calls!;
    if (call.type !== "function") throw new Error("no function");
    expect(names).toContain(call.function.name);
    const given = JSON.parse(call.function.arguments);
    expect(Object.keys(given).sort()).toEqual(call.function.name === "add" ? ["a", "b"] : []);
    const streamed = await client.chat.completions.stream(request).finalChatCompletion();
    expect(streamed.choices[0].message.tool_calls![0]).toMatchObject({ function: call.function });
    expect(streamed.choices[0].finish_reason).toBe("tool_calls");
  });

  it("answers with text or a call when it may do either, and takes the result back", async () => {
    const { choices } = await client.chat.completions.create({ ...chat, messages, tools, max_tokens: 60 });
    const [{ message }] = choices;
    expect(Boolean(message.content) !== Boolean(message.tool_calls)).toBe(true);
    const call = { id: "call_1", type: "function" as const, function: { name: "add", arguments: '{"a": 4, "b": 18}' } };
    const after = await client.chat.completions.create({
      ...chat,
      messages: [
        ...messages,
        { role: "assistant", content: null, tool_calls: [call] },
        { role: "tool", tool_call_id: "call_1", content: "22" },
      ],
      max_tokens: 20,
    });
    expect(after.choices[0].message.content).toBeTypeOf("string");
  });

  it.each<[string, object, string]>([
    [
      "a schema of a tool that cannot be enforced",
      { tools: [{ type: "function", function: { name: "f", parameters: { $dynamicRef: "#x" } } }] },
      "tools",
    ],
    ...["auto", "none", "required"].flatMap((tool_choice): [string, object, string][] => [
      [
        `parameters of a type that there is not (${tool_choice})`,
        { tools: [{ type: "function", function: { name: "f", parameters: { type: "strng" } } }], tool_choice },
        "tools",
      ],
      [
        `parameters that are no object (${tool_choice})`,
        { tools: [{ type: "function", function: { name: "f", parameters: { type: "array" } } }], tool_choice },
        "tools",
      ],
    ]),
    [
      "tools that are not to be called, and a bad response format",
      {
        tools,
        tool_choice: "none",
        response_format: { type: "json_schema", json_schema: { name: "a", schema: { type: "strng" } } },
      },
      "response_format",
    ],
    ["tools and a response format", { tools, response_format: { type: "json_object" } }, "response_format"],
    ["a choice without tools", { tool_choice: "required" }, "tool_choice"],
    [
      "a choice of none of the tools",
      { tools, tool_choice: { type: "function", function: { name: "sub" } } },
      "tool_choice",
    ],
    ["two limits that differ", { max_tokens: 4, max_completion_tokens: 5 }, "max_tokens"],
    ["alternatives without log-probabilities", { top_logprobs: 3 }, "top_logprobs"],
    ["a model's state on the host", { decoding: { method: "dyspec", draft: "pylos" } }, "decoding.draft"],
    ["a table of the host", { decoding: { method: "aded", table: "/etc/passwd" } }, "decoding.table"],
    ["a folder of the host", { decoding: { method: "online", state: "/tmp/x" } }, "decoding.state"],
    ["an amateur of the host", { decoding: { shapers: [{ name: "cd", amateur: "pylos" }] } }, "decoding.shapers"],
    ["an unknown method", { decoding: { method: "dispec" } }, "decoding.method"],
    ["an option that the method has not", { decoding: { method: "dyspec", budgets: 3 } }, "decoding.budgets"],
    ["an option out of range", { decoding: { method: "dyspec", budget: -3 } }, "decoding.budget"],
    ["an option that the body says", { decoding: { temperature: 1 } }, "decoding.temperature"],
    ["a bias of a token that is not there", { logit_bias: { 99999: 1 } }, "logit_bias"],
    ["a pattern with look-ahead", { decoding: { constraint: { regex: "(?=a)b" } } }, "decoding.constraint"],
    ["a place that the model has not", { decoding: { edits: [{ site: "nope", scale: 2 }] } }, "decoding.edits"],
    ["another server's name of an option", { top_k: 5 }, "top_k"],
    ["a field of the future", { reasoning_effort: "high" }, "reasoning_effort"],
    [
      "an image",
      { messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "x" } }] }] },
      "messages[0].content[0]",
    ],
  ])("refuses %s", async (_, fields, param) => {
    const error = await refusal(client.chat.completions.create({ ...chat, messages, ...fields } as never));
    expect({ status: error.status, param: error.param }).toEqual({ status: 400, param });
  });

  it("says that a model without a template has none", async () => {
    const error = await refusal(client.chat.completions.create({ model, messages }));
    expect({ status: error.status, param: error.param }).toEqual({ status: 400, param: "model" });
    expect(error.message).toContain("chat template");
  });

  it("decodes by any method, for the same text", async () => {
    const request = { model: "phaistos", messages, seed: 3, max_tokens: 30 };
    const plain = await client.chat.completions.create(request);
    const drafted = await client.chat.completions.create({
      ...request,
      decoding: { method: "prompt-lookup" },
    } as never);
    expect((drafted as typeof plain).choices[0].message.content).toBe(plain.choices[0].message.content);
  });
});

describe("responses", () => {
  it("answers and streams text", async () => {
    const request = {
      model: "phaistos",
      input: "Start with 14. * 5, - 9. What is the result?",
      temperature: 0,
      store: false,
    };
    const response = await client.responses.create(request);
    expect(response.status).toBe("completed");
    expect(response.output_text).toContain("61");
    const stream = client.responses.stream(request);
    let text = "";
    stream.on("response.output_text.delta", ({ delta }) => {
      text += delta;
    });
    const final = await stream.finalResponse();
    expect(final.output_text).toBe(response.output_text);
    expect(text).toBe(response.output_text);
    expect(final.usage!.output_tokens).toBe(response.usage!.output_tokens);
  });

  it("holds them to a schema, and says when they were cut off", async () => {
    const cut = await client.responses.create({
      model: "phaistos",
      input: "Hello",
      max_output_tokens: 2,
      temperature: 0,
    });
    expect(cut).toMatchObject({ status: "incomplete", incomplete_details: { reason: "max_output_tokens" } });
    const schema = {
      type: "object",
      properties: { n: { enum: [1, 2] } },
      required: ["n"],
      additionalProperties: false,
    };
    const { output_text } = await client.responses.create({
      model: "phaistos",
      input: "Hello",
      text: { format: { type: "json_schema", name: "n", strict: true, schema } },
    });
    expect([1, 2]).toContain(JSON.parse(output_text).n);
  });

  it("keeps nothing, and says so", async () => {
    const error = await refusal(client.responses.create({ model: "phaistos", input: "Hello", store: true }));
    expect(error).toMatchObject({ status: 400, param: "store" });
  });
});

describe("embeddings", () => {
  it("are the library's, as numbers and in base64", async () => {
    const input = ["The king was old.", "A fox ran."];
    const expected = await Promise.all(input.map((text) => knossos.embed(text)));
    for (const encoding_format of ["float", "base64", undefined] as const) {
      const { data, usage } = await client.embeddings.create({ model, input, encoding_format });
      expect(usage.total_tokens).toBeGreaterThan(5);
      const rows = data.map(({ embedding }) =>
        typeof embedding === "string"
          ? Array.from(new Float32Array(new Uint8Array(Buffer.from(embedding, "base64")).buffer))
          : embedding,
      );
      for (const [i, row] of rows.entries()) {
        expect(row).toHaveLength(expected[i].length);
        for (const [j, value] of row.entries()) expect(value).toBeCloseTo(expected[i][j], 5);
      }
    }
  });
});

describe("models", () => {
  it("are listed and found by name", async () => {
    const names: string[] = [];
    for await (const one of client.models.list()) names.push(one.id);
    expect(names).toContain("knossos");
    expect(names).toContain("phaistos");
    expect(await client.models.retrieve("knossos")).toMatchObject({ id: "knossos", object: "model" });
    expect(await refusal(client.models.retrieve("minos"))).toMatchObject({ status: 404, param: "model" });
    expect(await refusal(client.completions.create({ model: "/etc/passwd", prompt }))).toMatchObject({ status: 404 });
  });
});
