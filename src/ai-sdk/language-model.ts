/** A model of ours as the AI SDK calls it. */
import { randomInt, randomUUID } from "node:crypto";
import type {
  JSONObject,
  LanguageModelV3,
  LanguageModelV3CallOptions,
  LanguageModelV3Content,
  LanguageModelV3FinishReason,
  LanguageModelV3GenerateResult,
  LanguageModelV3StreamPart,
  LanguageModelV3Usage,
  SharedV3ProviderMetadata,
  SharedV3Warning,
} from "@ai-sdk/provider";
import { type DecodeOptions, withoutLimit } from "../calls.ts";
import type { Run, RunResult } from "../engine/run.ts";
import type { FinishReason } from "../engine/trace.ts";
import { ensure, requireObject, requireOptions, shown } from "../errors.ts";
import { suggestion } from "../names.ts";
import type { Model } from "../open.ts";
import { createCallReader, type Tool, type ToolCall, type ToolRules, toolConstraint } from "../tool-calls.ts";
import { promptOf } from "./prompt.ts";

export const languageModel = (modelId: string, opened: () => Promise<Model>): LanguageModelV3 => ({
  specificationVersion: "v3",
  provider: "ventris",
  modelId,
  supportedUrls: {},
  async doGenerate(options) {
    requireCall(options, "doGenerate");
    const started = await start(await opened(), options);
    const { run, rules, warnings } = started;
    const result = await run.final;
    options.abortSignal?.throwIfAborted();
    const reader = createCallReader(rules?.mode);
    const begun = reader.push(result.text);
    const { call, text = begun } = reader.end();
    const content: LanguageModelV3Content[] = [];
    if (text) content.push({ type: "text", text });
    if (call) content.push(callPart(call));
    return { content, ...endOf(started, result, call), response: { id: randomUUID(), modelId }, warnings };
  },
  async doStream(options) {
    requireCall(options, "doStream");
    const started = await start(await opened(), options);
    return { stream: partsOf(modelId, started, options) };
  },
});

/** Errors: `bad_option` for what the SDK would not call it with. */
function requireCall(options: unknown, call: string): void {
  requireObject(options, call, "its options");
  const { prompt } = options as { prompt?: unknown };
  ensure(Array.isArray(prompt), "bad_option", () => {
    return `${call} takes { prompt }, a list of messages, not ${shown(prompt)}: generateText and streamText make one of a text`;
  });
}

interface Started {
  readonly run: Run;
  readonly rules: ToolRules | undefined;
  readonly seed: number;
  readonly warnings: SharedV3Warning[];
}

/** What `decode` says by other names, or the call says itself. */
const elsewhere = [
  "temperature",
  "topP",
  "topK",
  "frequencyPenalty",
  "presencePenalty",
  "stop",
  "seed",
  "maxTokens",
  "signal",
];

/** Errors: those of `decode`; `bad_option` for two things that say what the answer must be. */
async function start(model: Model, options: LanguageModelV3CallOptions): Promise<Started> {
  const { providerOptions, abortSignal: signal, stopSequences, maxOutputTokens, responseFormat } = options;
  const warnings: SharedV3Warning[] = [];
  const own = providerOptions?.ventris ?? {};
  requireOptions(own, "providerOptions", "ventris");
  const form = responseFormat?.type;
  ensure(form === undefined || form === "json" || form === "text", "bad_option", () => {
    return `responseFormat.type must be "text" or "json", not ${shown(form)}${typeof form === "string" ? suggestion(form, ["text", "json"]) : ""}`;
  });
  for (const name of elsewhere)
    ensure(!(name in own), "bad_option", `providerOptions.ventris.${name}: the call itself has a field for it`);
  const rules = readTools(options, warnings);
  const calls = rules && toolConstraint(rules);
  const json = form === "json";
  const says = [
    ...(json ? ["the response format"] : []),
    ...(calls ? ["tools"] : []),
    ...(own.constraint ? ["the constraint"] : []),
  ];
  ensure(says.length <= 1, "bad_option", () => `${says.join(" and ")} both say what the answer must be: give one`);
  const { seed = randomInt(2 ** 32), temperature, topP, topK, frequencyPenalty, presencePenalty } = options;
  const given: DecodeOptions = {
    ...{ temperature, topP, topK, frequencyPenalty, presencePenalty, signal, seed },
    ...(maxOutputTokens === undefined ? withoutLimit(model) : { maxTokens: maxOutputTokens }),
    ...(stopSequences && { stop: stopSequences }),
    ...(responseFormat?.type === "json" && { constraint: { jsonSchema: responseFormat.schema ?? true } }),
    ...(calls && { constraint: calls }),
  };
  const prompt = promptOf(model, options.prompt, rules?.tools ?? [], warnings);
  return { run: model.decode(prompt, { ...(own as DecodeOptions), ...given }), rules, seed, warnings };
}

/** Tools to tell of, and the rules for the answer; undefined without tools. Errors: `bad_option` for tools that a provider would have to run. */
function readTools(
  { tools: given = [], toolChoice }: LanguageModelV3CallOptions,
  warnings: SharedV3Warning[],
): ToolRules | undefined {
  const tools = given.map((tool): Tool => {
    ensure(
      tool.type === "function",
      "bad_option",
      () => `tools: ${tool.name} is a tool of a provider, and this one has none`,
    );
    if (tool.inputExamples) warnings.push({ type: "unsupported", feature: `input examples of the tool ${tool.name}` });
    const { name, description, inputSchema: parameters } = tool;
    return { name, ...(description !== undefined && { description }), parameters };
  });
  if (tools.length === 0) return undefined;
  const rules = { tools, field: "inputSchema" } as const;
  if (toolChoice?.type !== "tool") return { ...rules, mode: toolChoice?.type ?? "auto" };
  const { toolName: chosen } = toolChoice;
  ensure(
    tools.some(({ name }) => name === chosen),
    "bad_option",
    `toolChoice: there is no tool ${chosen}`,
  );
  return { ...rules, mode: "required", chosen };
}

const callPart = ({ name, arguments: given }: ToolCall) =>
  ({ type: "tool-call", toolCallId: `call_${randomUUID()}`, toolName: name, input: JSON.stringify(given) }) as const;

const unified: Readonly<Record<FinishReason, LanguageModelV3FinishReason["unified"]>> = {
  stop: "stop",
  end: "stop",
  length: "length",
  context: "length",
  incomplete: "length",
  aborted: "other",
};

type End = Pick<LanguageModelV3GenerateResult, "finishReason" | "usage"> & {
  providerMetadata: SharedV3ProviderMetadata;
};

function endOf({ seed }: Started, { finish, counters, seconds, logprobs }: RunResult, call: ToolCall | undefined): End {
  const { prefillTokens, cachedTokens, generated } = counters;
  const usage: LanguageModelV3Usage = {
    inputTokens: {
      total: prefillTokens + cachedTokens,
      noCache: prefillTokens,
      cacheRead: cachedTokens,
      cacheWrite: undefined,
    },
    outputTokens: { total: generated, text: generated, reasoning: undefined },
  };
  const metadata = JSON.parse(JSON.stringify({ seed, counters, seconds, logprobs })) as JSONObject;
  return {
    finishReason: { unified: call ? "tool-calls" : unified[finish], raw: finish },
    usage,
    providerMetadata: { ventris: metadata },
  };
}

/** Leaving the stream ends the run. */
function partsOf(
  modelId: string,
  started: Started,
  { abortSignal, includeRawChunks }: LanguageModelV3CallOptions,
): ReadableStream<LanguageModelV3StreamPart> {
  const { run, rules, warnings } = started;
  async function* parts(): AsyncGenerator<LanguageModelV3StreamPart, void> {
    yield { type: "stream-start", warnings };
    yield { type: "response-metadata", id: randomUUID(), modelId };
    const reader = createCallReader(rules?.mode);
    const id = "0";
    let begun = false;
    for await (const event of run) {
      if (includeRawChunks) yield { type: "raw", rawValue: event };
      const delta = event.type === "tokens" ? reader.push(event.text) : undefined;
      if (!delta) continue;
      if (!begun) yield { type: "text-start", id };
      begun = true;
      yield { type: "text-delta", id, delta };
    }
    abortSignal?.throwIfAborted();
    const { call, text } = reader.end();
    if (text && !begun) yield { type: "text-start", id };
    if (text) yield { type: "text-delta", id, delta: text };
    if (text || begun) yield { type: "text-end", id };
    if (call) {
      const part = callPart(call);
      yield { type: "tool-input-start", id: part.toolCallId, toolName: part.toolName };
      yield { type: "tool-input-delta", id: part.toolCallId, delta: part.input };
      yield { type: "tool-input-end", id: part.toolCallId };
      yield part;
    }
    yield { type: "finish", ...endOf(started, await run.final, call) };
  }
  const iterator = parts();
  return new ReadableStream<LanguageModelV3StreamPart>({
    async pull(controller) {
      const { value, done } = await iterator.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      run.abort();
      await iterator.return();
    },
  });
}
