/** An engine behind a network as it may be: slow, in trouble, wrong, endless. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { type Model, type OpenOptions, open } from "../../open.ts";
import { listening, openAt } from "./engines.fixture.ts";

type Answer = (response: ServerResponse, body: Record<string, unknown>, request: IncomingMessage) => void;

/** A model behind a server whose completions answer so, one after the other, the last one again and again. */
async function behind(answers: Answer[], options: OpenOptions = {}): Promise<Model> {
  let asked = 0;
  const url = await listening((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      if (request.url === "/v1/models") response.end(JSON.stringify({ data: [{ id: "small" }] }));
      else {
        const answer = answers[Math.min(asked++, answers.length - 1)];
        answer(response, JSON.parse(Buffer.concat(parts).toString()), request);
      }
    });
  });
  return openAt(url, options);
}

const event = (choice: unknown): string => `data: ${JSON.stringify({ choices: [choice] })}\n\n`;
const say = (text: string, finish_reason: string | null = null): string => event({ text, finish_reason });
const stream =
  (...events: string[]): Answer =>
  (response) =>
    response.end([...events, "data: [DONE]\n\n"].join(""));
const status =
  (code: number, headers = {}): Answer =>
  (response) =>
    response.writeHead(code, headers).end(JSON.stringify({ error: { message: "not now" } }));
const hello = stream(say("Hel"), say("lo"), say("", "stop"));

const failure = async (action: Promise<unknown>): Promise<unknown> =>
  action.then(
    () => "nothing",
    (error) => ({ code: error.code, message: error.message }),
  );

describe("a request", () => {
  it("says what it was asked, and is the text that came", async () => {
    let body: Record<string, unknown> = {};
    const model = await behind(
      [
        (response, given, request) => {
          body = { ...given, key: request.headers.authorization };
          hello(response, given, request);
        },
      ],
      { apiKey: "secret", body: { top_k: 4 } },
    );
    const { text, finish, counters } = await model.generate("Say", {
      maxTokens: 9,
      seed: 5,
      topP: 0.9,
      presencePenalty: 1,
    });
    expect({ text, finish, tokens: counters.generated, passes: counters.passes }).toEqual({
      text: "Hello",
      finish: "end",
      tokens: 3,
      passes: 1,
    });
    expect(body).toEqual({
      ...{ model: "small", prompt: "Say", max_tokens: 9, temperature: 1, top_p: 0.9, presence_penalty: 1 },
      ...{ seed: 5, stream: true, logprobs: 0, top_k: 4, key: "Bearer secret" },
    });
  });

  it("takes the token that ends a text for that, and no part of it", async () => {
    const ended = event({ text: "", finish_reason: "stop", logprobs: { tokens: ["</s>"], token_logprobs: [-0.5] } });
    const model = await behind([stream(say("Hello"), ended)]);
    const { text, tokens, finish, ending, counters } = await model.generate("Say", { logprobs: 0 });
    expect({ text, tokens: tokens.length, finish, generated: counters.generated }).toEqual({
      ...{ text: "Hello", tokens: 1, finish: "end", generated: 2 },
    });
    expect(ending).toMatchObject({ raw: -0.5 });
  });

  it("is tried again when the engine is in trouble, as late as it says", async () => {
    const model = await behind([status(503), status(429, { "Retry-After": "0.3" }), hello]);
    const began = performance.now();
    expect((await model.generate("Say")).text).toBe("Hello");
    expect(performance.now() - began).toBeGreaterThan(500);
    expect(model.ability<{ client: { spent: object } }>("remote").client.spent).toMatchObject({
      requests: 4,
      retries: 2,
    });
  });

  it("is tried again at the date that the engine says", async () => {
    const model = await behind([status(429, { "Retry-After": new Date(Date.now() + 2000).toUTCString() }), hello]);
    const began = performance.now();
    expect((await model.generate("Say")).text).toBe("Hello");
    expect(performance.now() - began).toBeGreaterThan(700); // dates have whole seconds, and the first pause is shorter
  });

  it("lists alternatives likeliest first, however they came", async () => {
    const top_logprobs = [{ b: -3, a: -0.1, c: -1 }];
    const model = await behind([
      stream(
        event({ text: "a", finish_reason: "stop", logprobs: { tokens: ["a"], token_logprobs: [-0.1], top_logprobs } }),
      ),
    ]);
    const { logprobs } = await model.generate("Say", { logprobs: 2 });
    expect(logprobs![0].top!.map(({ text }) => text)).toEqual(["a", "c"]);
  });

  it("is not tried again when the engine refuses it, or once it has said something", async () => {
    const refused = await behind([status(400), hello]);
    expect(await failure(refused.generate("Say"))).toMatchObject({
      code: "bad_option",
      message: expect.stringMatching(/400: not now/),
    });
    const broken = await behind([(response) => response.write(say("Hel"), () => response.destroy()), hello]);
    expect(await failure(broken.generate("Say"))).toMatchObject({ code: "unavailable" });
  });

  it("fails when nothing comes for too long", async () => {
    const model = await behind([(response) => void response.write(say("Hel"))], { timeout: 0.2, retries: 0 });
    expect(await failure(model.generate("Say"))).toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/nothing for 0.2 s/),
    });
  });

  it.each<[string, Answer, RegExp]>([
    ["what is no event", stream("data: {nonsense\n\n"), /no JSON/],
    ["no answer at all", (response) => response.writeHead(204).end(), /answered 204/],
    ["an event without choices", stream('data: {"choice": 1}\n\n'), /no part of a completion/],
    ["a failure on the way", stream(say("Hel"), 'data: {"error": {"message": "worker died"}}\n\n'), /worker died/],
    ["an answer that breaks off", stream(say("Hel")), /broke off/],
    ["a reason that is none", stream(say("a", "tool_calls")), /tool_calls/],
    [
      "a probability above 1",
      stream(event({ text: "a", logprobs: { tokens: ["a"], token_logprobs: [2] } })),
      /no part/,
    ],
  ])("refuses %s", async (_, answer, message) => {
    const model = await behind([answer], { retries: 0 });
    expect(await failure(model.generate("Say", { maxTokens: 8 }))).toMatchObject({
      code: "runtime_failed",
      message: expect.stringMatching(message),
    });
  });

  it("takes no more tokens than were asked for", async () => {
    const model = await behind([stream(...Array.from({ length: 20 }, () => say("a")))]);
    const { text, finish } = await model.generate("Say", { maxTokens: 8 });
    expect({ text, finish }).toEqual({ text: "aaaaaaaa", finish: "length" });
  });

  it("keeps no event that never ends", { timeout: 60_000 }, async () => {
    const model = await behind([
      (response) => {
        const more = (): unknown => response.writable && response.write("x".repeat(1 << 16), () => more());
        response.write("data: ");
        more();
        response.on("error", () => {});
      },
    ]);
    expect(await failure(model.generate("Say"))).toMatchObject({
      code: "runtime_failed",
      message: expect.stringMatching(/longer than/),
    });
  });

  it("ends there, too, when it is aborted here", async () => {
    let closed = false;
    const model = await behind([
      (response) => {
        response.write(say("Hel"));
        response.on("close", () => {
          closed = true;
        });
      },
    ]);
    const run = model.decode("Say");
    for await (const piece of run.text) if (piece) break;
    expect((await run.final).finish).toBe("aborted");
    for (let i = 0; i < 100 && !closed; i++) await delay(10);
    expect(closed).toBe(true);
  });
});

describe("limits", () => {
  it("let so many requests be under way at once", async () => {
    let [now, most] = [0, 0];
    const slow: Answer = (response) => {
      most = Math.max(most, ++now);
      setTimeout(() => {
        now -= 1;
        response.end(say("a", "stop"));
      }, 30);
    };
    const model = await behind([slow], { concurrency: 3 });
    const options = { method: { name: "best-of-n", reward: () => 1, samples: 12 }, maxTokens: 4 } as const;
    expect((await model.generate("Say", options)).hypotheses).toHaveLength(12);
    expect(most).toBe(3);
  });

  it("end with the budget", async () => {
    const model = await behind([hello], { budget: { requests: 2 } }); // one is the list of models
    await model.generate("Say");
    expect(await failure(model.generate("Say"))).toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/budget of 2 requests/),
    });
    // Of tokens, in the middle of a text.
    for (const options of [{}, { endpoints: ["http://127.0.0.1:9/v1"], retries: 0 }]) {
      const letters = stream(...Array.from({ length: 20 }, () => say("a")), say("", "stop"));
      const counted = await behind([letters], { budget: { tokens: 5 }, ...options });
      const run = counted.decode("Say", { maxTokens: 20 });
      let text = "";
      const reading = (async () => {
        for await (const piece of run.text) text += piece;
      })();
      expect(await failure(run.final)).toMatchObject({
        code: "unavailable",
        message: expect.stringMatching(/budget of 5 tokens/),
      });
      await failure(reading);
      expect(text).toBe("aaaaa");
      expect(await failure(counted.generate("Say"))).toMatchObject({ code: "unavailable" });
    }
  });
});

describe("opening", () => {
  it("says which models there are", async () => {
    expect(await failure(behind([hello], { model: "smal" }))).toMatchObject({
      code: "bad_option",
      message: expect.stringMatching(/did you mean "small"/),
    });
  });

  it("says what cannot be reached, and what is no option of such a model", async () => {
    expect(await failure(open("http://127.0.0.1:9/v1", { retries: 0 }))).toMatchObject({ code: "unavailable" });
    expect(await failure(behind([hello], { weights: "int8" }))).toMatchObject({
      code: "bad_option",
      message: expect.stringMatching(/^weights/),
    });
    expect(await failure(open("knossos", { retries: 1 }))).toMatchObject({
      code: "bad_option",
      message: expect.stringMatching(/^retries/),
    });
    expect(await failure(open("http://me:secret@127.0.0.1:9/v1"))).toMatchObject({ code: "bad_option" });
    expect(await failure(open("http://127.0.0.1:9/model.gguf"))).toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/files of the web are opened in a page/),
    });
    expect(await failure(open("http://127.0.0.1:9/v1#100%"))).toMatchObject({
      code: "bad_option",
      message: expect.stringMatching(/%25/),
    });
    expect(await failure(open("http://127.0.0.1:9/v1?version=2"))).toMatchObject({
      code: "bad_option",
      message: expect.stringMatching(/no room for a query/),
    });
    expect(await failure(open("http://127.0.0.1:9/v1", { timeout: 301 }))).toMatchObject({ code: "bad_option" });
  });

  it("shows no key that cannot be sent, and takes no field of the body that an option says", async () => {
    const keyed = await failure(open("http://127.0.0.1:9/v1", { apiKey: "secret\nof mine" }));
    expect(keyed).toMatchObject({ code: "bad_option", message: expect.stringMatching(/^apiKey/) });
    expect(JSON.stringify(keyed)).not.toContain("secret");
    for (const name of ["n", "stream", "max_tokens", "stop"])
      expect(await failure(behind([hello], { body: { [name]: 2 } }))).toMatchObject({
        code: "bad_option",
        message: expect.stringMatching(new RegExp(`^body.${name}`)),
      });
  });
});

it.each([
  ["topK", { topK: 3 }, /topK/],
  ["constraint", { constraint: { regex: "a" } }, /constraint/],
  ["a method that needs a forest", { method: "dyspec" }, /dyspec needs .* forest; .* has: remote/],
  ["shapers", { shapers: ["dola"] }, /shapers/],
  ["a reward head", { method: "best-of-n" }, /reward head/],
] as [string, object, RegExp][])("refuses %s by name", async (_, options, message) => {
  const model = await behind([hello]);
  const refused = (async () => model.generate("Say", options))();
  expect(await failure(refused)).toMatchObject({ code: "bad_option", message: expect.stringMatching(message) });
});

it("scores no text that the engine did not echo", async () => {
  const answer =
    (text: string): Answer =>
    (response) => {
      const logprobs = { tokens: ["Say", " more"], token_logprobs: [null, -1] };
      response.end(JSON.stringify({ choices: [{ text, logprobs }] }));
    };
  const echoing = await behind([answer("Say more")]);
  expect((await echoing.score("Say more")).logprob).toBe(-1);
  const other = await behind([answer("and more")]);
  expect(await failure(other.score("Say more"))).toMatchObject({
    code: "unavailable",
    message: expect.stringMatching(/was to echo the text, and said "and more"/),
  });
});

it("continues no chat from its middle, and says so", async () => {
  const chat: Answer = stream(
    ...["one\n\n", "two\n\n", "three"].map((content) => event({ delta: { content }, finish_reason: null })),
    event({ delta: {}, finish_reason: "stop" }),
  );
  const model = await behind([chat]);
  const messages = [{ role: "user", content: "Say" }];
  expect((await model.generate(messages)).text).toBe("one\n\ntwo\n\nthree");
  const whole = {
    method: { name: "best-of-n", reward: ({ steps }: { steps: readonly string[] }) => steps.length / 10, samples: 2 },
  } as const;
  const { hypotheses } = await model.generate(messages, whole);
  expect(hypotheses?.map(({ text, score }) => ({ text, score }))).toEqual(
    Array(2).fill({ text: "one\n\ntwo\n\nthree", score: 0.3 }),
  );
  const stepwise = { method: { name: "particle-filtering", reward: () => 1 } } as const;
  expect(await failure(model.generate(messages, stepwise))).toMatchObject({
    code: "bad_option",
    message: expect.stringMatching(/middle/),
  });
});
