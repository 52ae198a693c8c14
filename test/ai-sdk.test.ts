/** The provider as the AI SDK itself uses it. */
import { setTimeout as delay } from "node:timers/promises";
import { embedMany, generateObject, generateText, jsonSchema, Output, stepCountIs, streamText, tool } from "ai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { createVentris, ventris } from "../src/ai-sdk/index.ts";
import { type Model, open } from "../src/open.ts";

const model = ventris("phaistos");
const prompt = "Lily has 4 toys. Then Lily gets 18 more. How many toys does Lily have now?";
let phaistos: Model;
beforeAll(async () => {
  phaistos = await open("phaistos");
});
afterAll(async () => {
  await phaistos.close();
  await ventris.close();
});

it("generates the library's text, with usage, seed and log-probabilities", async () => {
  const expected = await phaistos.generate([{ role: "user", content: prompt }], {
    temperature: 0.9,
    seed: 4,
    logprobs: 2,
  });
  const { text, usage, finishReason, providerMetadata } = await generateText({
    model,
    prompt,
    temperature: 0.9,
    seed: 4,
    providerOptions: { ventris: { logprobs: 2 } },
  });
  expect(text).toBe(expected.text);
  expect(finishReason).toBe("stop");
  expect(usage.outputTokens).toBe(expected.counters.generated);
  expect(usage.inputTokens).toBe(expected.counters.prefillTokens + expected.counters.cachedTokens);
  expect(providerMetadata!.ventris.seed).toBe(4);
  expect(providerMetadata!.ventris.logprobs).toEqual(JSON.parse(JSON.stringify(expected.logprobs)));
});

it("an answer of a diffusion model needs no limit", async () => {
  const providerOptions = { ventris: { method: { name: "threshold" } } };
  const { finishReason, text } = await generateText({ model: ventris("mycenae"), prompt: "Hello", providerOptions });
  expect(finishReason).toBe("stop");
  expect(text).not.toBe("");
});

it("streams the same text in pieces", async () => {
  const { text } = await generateText({ model, prompt, seed: 4 });
  const result = streamText({ model, prompt, seed: 4 });
  const pieces: string[] = [];
  for await (const piece of result.textStream) pieces.push(piece);
  expect(pieces.join("")).toBe(text);
  expect(pieces.length).toBeGreaterThan(2);
  expect((await result.usage).outputTokens).toBeGreaterThan(2);
});

it("decodes by a method with its options, for the same text", async () => {
  const method = { name: "prompt-lookup" };
  const { text, providerMetadata } = await generateText({
    model,
    prompt,
    seed: 4,
    providerOptions: { ventris: { method } },
  });
  expect(text).toBe((await generateText({ model, prompt, seed: 4 })).text);
  expect(providerMetadata!.ventris.counters).toHaveProperty("drafted");
  await expect(
    generateText({ model, prompt, maxRetries: 0, providerOptions: { ventris: { method: "dispec" } } }),
  ).rejects.toThrow('did you mean "dyspec"');
});

it("ends when it is aborted, and holds nothing afterwards", async () => {
  const own = createVentris();
  const stop = new AbortController();
  let failure: unknown;
  const { textStream } = streamText({
    model: own("knossos"),
    prompt: "Once upon a time",
    abortSignal: stop.signal,
    providerOptions: { ventris: { minTokens: 900 } },
    onError: ({ error }) => {
      failure = error;
    },
  });
  let pieces = 0;
  for await (const _ of textStream) if (++pieces === 3) stop.abort();
  expect(failure).toBeUndefined();
  expect(pieces).toBeLessThan(50);
  await own.close(); // waits for runs: it would not end while one went on
  const aborted = AbortSignal.abort();
  await expect(generateText({ model, prompt, abortSignal: aborted, maxRetries: 0 })).rejects.toThrow();
});

describe("objects", () => {
  it("fit their schema, whatever the model would have said", async () => {
    const schema = z.object({ answer: z.int().min(0).max(99), unit: z.enum(["toys", "cakes"]) });
    const { object } = await generateObject({ model, prompt, schema, temperature: 1, seed: 1 });
    expect(schema.parse(object)).toEqual(object);
    const { output } = await generateText({ model, prompt, seed: 2, output: Output.object({ schema }) });
    expect(schema.parse(output)).toEqual(output);
  });

  it("are refused where the schema cannot be enforced", async () => {
    const schema = jsonSchema({ type: "object", unevaluatedProperties: false } as never);
    await expect(generateObject({ model, prompt, schema, maxRetries: 0 })).rejects.toThrow("unevaluatedProperties");
  });
});

describe("tools", () => {
  const add = tool({
    description: "adds two numbers",
    inputSchema: z.object({ a: z.int().min(0).max(99), b: z.int().min(0).max(99) }),
    execute: async ({ a, b }) => a + b,
  });

  it("are called with arguments that fit, and their results go back", async () => {
    const { steps } = await generateText({
      model,
      prompt,
      seed: 3,
      temperature: 0,
      maxOutputTokens: 200,
      tools: { add },
      toolChoice: "required",
      stopWhen: stepCountIs(2),
    });
    const [call] = steps[0].toolCalls;
    expect(call.toolName).toBe("add");
    expect(steps[0].finishReason).toBe("tool-calls");
    const { a, b } = call.input as { a: number; b: number };
    expect(steps[0].toolResults[0].output).toBe(a + b);
    expect(steps).toHaveLength(2);
  });

  it("are streamed", async () => {
    const result = streamText({ model, prompt, seed: 3, maxOutputTokens: 200, tools: { add }, toolChoice: "required" });
    const types: string[] = [];
    for await (const { type } of result.fullStream) types.push(type);
    expect(types).toContain("tool-call");
    expect(types).toContain("tool-result");
  });
});

it("continues a text with a model that has no template, and says so", async () => {
  const { text, warnings } = await generateText({
    model: ventris("knossos"),
    prompt: "Once upon a time",
    seed: 1,
    maxOutputTokens: 12,
  });
  expect(text.length).toBeGreaterThan(5);
  expect(JSON.stringify(warnings)).toContain("no chat template");
  await expect(
    generateText({ model: ventris("knossos"), system: "Be brief.", prompt: "Hello", maxRetries: 0 }),
  ).rejects.toThrow("no chat template");
});

it("embeds", async () => {
  const values = ["The king was old.", "A fox ran."];
  const { embeddings, usage } = await embedMany({ model: ventris.embeddingModel("phaistos"), values });
  const expected = await Promise.all(values.map(async (text) => Array.from(await phaistos.embed(text))));
  expect(embeddings).toEqual(expected);
  expect(usage.tokens).toBeGreaterThan(5);
});

it("refuses at once what can be known at once", () => {
  const wrong =
    (call: (...given: never[]) => unknown, ...given: unknown[]) =>
    () =>
      call(...(given as never[]));
  const calls: [call: () => unknown, message: RegExp][] = [
    [wrong(ventris, "phaistos", { weights: "int8" }), /ventris\("phaistos", …\): .* given to createVentris/],
    [wrong(ventris.languageModel, "phaistos", {}), /languageModel\("phaistos", …\): it takes a name alone/],
    [wrong(ventris.embeddingModel, "phaistos", {}), /embeddingModel\("phaistos", …\): it takes a name alone/],
    [wrong(ventris, undefined), /ventris takes the name of a shipped model/],
    [wrong(createVentris, { weights: "int9" }), /createVentris options: weights must be .*; did you mean "int\d"\?/],
    [
      wrong(createVentris, { wieghts: "int8" }),
      /createVentris options: there is no option "wieghts"; did you mean "weights"\?/,
    ],
    [wrong(createVentris, "phaistos"), /createVentris: options must be an object, not "phaistos"/],
  ];
  for (const [call, message] of calls) {
    expect(call).toThrow(message);
    expect(call).toThrow(expect.objectContaining({ name: "VentrisError", code: "bad_option" }));
  }
  // @ts-expect-error: a second argument does not compile
  expect(() => ventris("phaistos", {})).toThrow();
});

it("tells calls that the SDK would not make in words", async () => {
  const model = ventris("phaistos") as unknown as Record<
    "doGenerate" | "doStream",
    (options?: unknown) => Promise<unknown>
  >;
  const embedding = ventris.embeddingModel("phaistos") as unknown as { doEmbed(options?: unknown): Promise<unknown> };
  const calls: [call: Promise<unknown>, message: RegExp][] = [
    [model.doGenerate(), /doGenerate: its options must be an object, not undefined/],
    [model.doStream(), /doStream: its options must be an object/],
    [model.doGenerate({ prompt: "x" }), /doGenerate takes \{ prompt \}, a list of messages, not "x"/],
    [embedding.doEmbed(), /doEmbed: its options must be an object/],
    [embedding.doEmbed({ values: "x" }), /doEmbed takes \{ values \}, a list of texts, not "x"/],
  ];
  for (const [call, message] of calls) {
    await expect(call).rejects.toMatchObject({
      name: "VentrisError",
      code: "bad_option",
      message: expect.stringMatching(message),
    });
  }
});

it("says what is not there", async () => {
  await expect(generateText({ model: ventris("minos"), prompt, maxRetries: 0 })).rejects.toThrow('no model "minos"');
  expect(() => ventris.imageModel("knossos")).toThrow("no images");
  await delay(0);
});
