/** What `ventris serve` answers, asked with OpenAI's own client wherever that can ask. */
import { setTimeout as delay } from "node:timers/promises";
import OpenAI, { type APIError } from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type OpenModel, open } from "../src/open.ts";
import { type Listening, listen, serveGroups } from "../src/server/listen.ts";
import { ensureBuilt } from "./build.ts";

let server: Listening;
let client: OpenAI;
let knossos: OpenModel;
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
    const request = { model, prompt, seed: 7, max_tokens: 24, stop: "." };
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
    expect(pieces).toBeGreaterThan(3);
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

  it("refuses what it does not support, by its name", async () => {
    const { status, param, type } = await refusal(client.completions.create({ model, prompt, suffix: "." }));
    expect({ status, param, type }).toEqual({ status: 400, param: "suffix", type: "invalid_request_error" });
  });
});
