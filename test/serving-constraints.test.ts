/** Schemas of strangers, tried where nobody waits: what takes long, or for ever, holds up nobody else's stream. */
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { open } from "../src/open.ts";
import { type Listening, listen, serveGroups } from "../src/server/listen.ts";
import { ensureBuilt } from "./build.ts";

const limit = 4;
let server: Listening;
/** One that gives constraints any time they want. */
let patient: Listening;
beforeAll(async () => {
  ensureBuilt();
  const started = (constraintSeconds: number) => listen({ port: 0, groups: serveGroups(false), constraintSeconds });
  [server, patient] = await Promise.all([started(limit), started(600)]);
  for (const to of [server, patient]) await (await post({ max_tokens: 1 }, {}, to)).text();
}, 300_000);
afterAll(async () => {
  await server?.close();
  await patient?.close();
});

const post = (fields: object, init: RequestInit = {}, to = server): Promise<Response> =>
  fetch(new URL("/v1/completions", to.url), {
    method: "POST",
    body: JSON.stringify({ model: "knossos", prompt: "The", ...fields }),
    ...init,
  });
const held = (constraint: object, fields: object = {}): object => ({ decoding: { constraint }, ...fields });

interface Answer {
  readonly choices: readonly { readonly text: string }[];
}

/** Minutes of compilation: no text satisfies it, which is seen after hundreds of patterns with a set of a thousand places at each step. */
const impossible = (n: number): object => ({
  type: "string",
  allOf: Array.from({ length: 300 }, (_, i) => ({ pattern: `^(a?){${n - i}}a{${n}}$` })),
  maxLength: n - 1,
});
const endless = (n: number): object => ({ jsonSchema: impossible(n) });
/** A good part of a second of compilation, and valid. */
const slow = {
  jsonSchema: {
    oneOf: Array.from({ length: 30 }, (_, i) => ({
      type: "object",
      properties: { [`a${i}`]: { type: "string", pattern: `^x{${i}}` } },
    })),
  },
};

/** The longest silence of another client's stream while something is asked, and how long that took, in ms. */
async function silence(ask: () => Promise<unknown>): Promise<{ longest: number; whole: number }> {
  const stop = new AbortController();
  const times: number[] = [];
  const other = (async () => {
    while (!stop.signal.aborted) {
      const stream = await post(
        { stream: true, max_tokens: 900, decoding: { minTokens: 900 } },
        { signal: stop.signal },
      );
      for await (const _ of stream.body!) times.push(performance.now());
    }
  })().catch((error) => {
    if (!stop.signal.aborted) throw error;
  });
  while (times.length < 5) await delay(10);
  const began = performance.now();
  await ask();
  const ended = performance.now();
  stop.abort();
  await other;
  const within = [began, ...times.filter((time) => time > began && time < ended), ended];
  return { longest: Math.max(...within.slice(1).map((time, i) => time - within[i])), whole: ended - began };
}

describe("a schema that takes too long", () => {
  it("is refused with the reason, and no other stream falls silent meanwhile", { timeout: 300_000 }, async () => {
    const answers: Response[] = [];
    const { longest, whole } = await silence(async () => {
      answers.push(await post(held(endless(1900))));
    });
    const [answer] = answers;
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({
      error: {
        code: "bad_option",
        param: "decoding.constraint",
        message: expect.stringContaining(`longer than the ${limit} s`),
      },
    });
    // In the engine's own process it would be silent for all of this time, and for much longer.
    expect(whole).toBeGreaterThan(limit * 1000);
    expect(longest).toBeLessThan(whole / 2);
  });

  it("is known from then on", { timeout: 120_000 }, async () => {
    const began = performance.now();
    expect((await post(held(endless(1900)))).status).toBe(400);
    expect(performance.now() - began).toBeLessThan(limit * 1000);
  });

  it("is named in chats and responses by the field that has it", { timeout: 300_000 }, async () => {
    const schema = impossible(1901);
    const messages = [{ role: "user", content: "Hi" }];
    const ask = async (path: string, body: object): Promise<unknown> => {
      const answer = await fetch(new URL(path, server.url), {
        method: "POST",
        body: JSON.stringify({ model: "phaistos", ...body }),
      });
      return ((await answer.json()) as { error?: { param: unknown } }).error?.param;
    };
    const format = { type: "json_schema", json_schema: { name: "a", schema } };
    expect(await ask("/v1/chat/completions", { messages, response_format: format })).toBe("response_format");
    const tools = [
      { type: "function", function: { name: "f", parameters: { type: "object", properties: { a: schema } } } },
    ];
    expect(await ask("/v1/chat/completions", { messages, tools })).toBe("tools");
    expect(
      await ask("/v1/responses", { input: "Hi", text: { format: { type: "json_schema", name: "a", schema } } }),
    ).toBe("text");
  });

  it("is given up with the client who asked for it", { timeout: 300_000 }, async () => {
    const stop = new AbortController();
    const asked = post(held(endless(1950)), { signal: stop.signal }, patient);
    while (patient.engine.active === 0) await delay(10);
    await delay(1500); // in the second thread by now
    stop.abort();
    await expect(asked).rejects.toThrow();
    // The same thread has to be free for this one.
    const next = held({ jsonSchema: { ...slow.jsonSchema, minProperties: 0 } }, { max_tokens: 4 });
    expect((await post(next, {}, patient)).status).toBe(200);
    expect(patient.engine.active).toBe(0);
    expect(patient.admission.active).toBe(0);
  });
});

describe("a schema that is slow, and valid", () => {
  const request = held(slow, { max_tokens: 40, seed: 5, temperature: 0.7 });

  it("is decoded apart, to the very text of the library", { timeout: 300_000 }, async () => {
    const answer = await post(request, {}, patient);
    const body = (await answer.json()) as Answer;
    expect(answer.status, JSON.stringify(body)).toBe(200);
    expect(patient.engine.pidApart).toBeTypeOf("number");
    expect(patient.engine.pidApart).not.toBe(patient.engine.pid);
    await using model = await open("knossos");
    const { text } = await model.generate("The", { constraint: slow, maxTokens: 40, seed: 5, temperature: 0.7 });
    expect(body.choices[0].text).toBe(text);
    expect((await patient.engine.statistics()).held).toBe(0);
  });

  it("leaves cheap ones where they were", async () => {
    const passes = async (): Promise<number> => (await server.engine.call("statistics")).passes;
    const before = await passes();
    const answer = await post(held({ regex: "[0-9]{4}" }, { max_tokens: 8 }));
    expect(((await answer.json()) as Answer).choices[0].text).toMatch(/^[0-9]{4}$/);
    expect(await passes()).toBeGreaterThan(before);
  });
});
