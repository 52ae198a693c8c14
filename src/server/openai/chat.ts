/** `/v1/chat/completions`: chats in the model's own template, held to a schema or to calls of tools where that is asked for. */
import { randomUUID } from "node:crypto";
import type { Context } from "hono";
import { z } from "zod";
import { type CallReader, createCallReader, type ToolCall, type ToolRules } from "../../tool-calls.ts";
import type { RouteContext } from "../app.ts";
import { RequestError, readJson } from "../errors.ts";
import type { RunRequest, ServedLogprob } from "../protocol.ts";
import { withFetched } from "../remote-pictures.ts";
import { answer, type Choice, chunksOf, finishReason, type Rendering, usageOf } from "./answer.ts";
import { fillsElsewhere, optionsOf, otherNames, readFields, samplingFields, seedOf, tokenLimit } from "./fields.ts";
import { constraintOf, readTools, responseFormat, toolFields } from "./format.ts";
import { chatLogprobs } from "./logprobs.ts";

const message = z.looseObject({ role: z.enum(["system", "developer", "user", "assistant", "tool"]) });

const fields = z.strictObject({
  ...samplingFields,
  ...toolFields,
  messages: z.array(message).min(1).max(10_000),
  max_tokens: tokenLimit.optional(),
  max_completion_tokens: tokenLimit.optional(),
  logprobs: z.boolean().default(false),
  top_logprobs: z.int().min(0).max(100).optional(),
  response_format: responseFormat.optional(),
  /** Nothing is kept in any case. */
  store: z.literal(false).optional(),
});

type Fields = z.output<typeof fields>;

const unsupported = { ...otherNames, functions: "use tools", function_call: "use tool_choice", suffix: fillsElsewhere };

export async function chatCompletions(c: Context, context: RouteContext): Promise<Response> {
  const body = readFields(fields, await readJson(c.req.raw), unsupported);
  const model = await context.catalogue.find(body.model);
  const seed = seedOf(body);
  const rules = readTools(body);
  const { constraint, field } = formOf(body, rules !== undefined && rules.mode !== "none");
  const maxTokens = lengthOf(body);
  const options = {
    ...optionsOf(body, seed),
    ...(maxTokens !== undefined && { maxTokens }),
    ...(constraint && { constraint }),
    ...(body.logprobs && { logprobs: body.top_logprobs ?? 0 }),
  };
  const messages = await withFetched(body.messages.map(plainRole), context.pictures, c.req.raw.signal);
  const prompt = { messages, tools: rules?.tools ?? [] };
  const requests = Array.from(
    { length: body.n },
    (_, request): RunRequest => ({
      model,
      prompt,
      options: { ...options, request },
      ...(maxTokens === undefined && { unlimited: true }),
      ...(rules && { tools: rules }),
    }),
  );
  const created = Math.floor(Date.now() / 1000);
  const head = (object: string): object => ({ id, object, created, model });
  const id = `chatcmpl-${randomUUID()}`;
  const usage = body.stream_options?.include_usage === true;
  return answer(c, context, {
    requests,
    stream: body.stream,
    headers: { "X-Ventris-Seed": String(seed) },
    fields: {
      prompt: "messages",
      constraint: field ?? (rules && "tools"),
      limit: body.max_completion_tokens === undefined ? "max_tokens" : "max_completion_tokens",
    },
    pieces: (events) =>
      chunksOf(
        events,
        { head: head("chat.completion.chunk"), count: body.n, perPrompt: body.n, usage },
        rendering(body.logprobs, rules?.mode),
      ),
    whole: (choices) => ({
      ...head("chat.completion"),
      choices: choices.map((choice, index) => whole(choice, index, body.logprobs, rules?.mode)),
      usage: usageOf(
        choices.map((choice) => choice.usage),
        body.n,
      ),
    }),
  });
}

/** OpenAI's newer name of the system's role, which templates do not know. */
function plainRole({ type, ...one }: Fields["messages"][number]): Fields["messages"][number] {
  // Some clients say of a message that it is text.
  const kept = type === undefined || type === "text" ? one : { ...one, type };
  return one.role === "developer" ? { ...kept, role: "system" } : kept;
}

/** What the answer must be, and the field that says so. Errors: `bad_option` for two that say it. */
function formOf({ response_format: format, decoding, logprobs, top_logprobs: top }: Fields, calls: boolean) {
  if (top !== undefined && !logprobs)
    throw new RequestError("bad_option", "top_logprobs needs logprobs: true", { param: "top_logprobs" });
  const constraint = constraintOf(format);
  const own = decoding?.constraint !== undefined;
  const says = [
    ...(constraint ? ["response_format"] : []),
    ...(calls ? ["tools"] : []),
    ...(own ? ["decoding.constraint"] : []),
  ];
  if (says.length > 1) {
    const message = `${says.join(" and ")} both say what the answer must be: give one${calls ? " (or tool_choice none)" : ""}`;
    throw new RequestError("bad_option", message, { param: says[0] });
  }
  return { constraint, field: says[0] };
}

/** Errors: `bad_option` for two different limits. */
function lengthOf({ max_tokens: old, max_completion_tokens: limit }: Fields): number | undefined {
  if (old !== undefined && limit !== undefined && old !== limit)
    throw new RequestError("bad_option", "max_tokens and max_completion_tokens differ: give one", {
      param: "max_tokens",
    });
  return limit ?? old;
}

const callPart = ({ name, arguments: given }: ToolCall): object => ({
  id: `call_${randomUUID().replaceAll("-", "")}`,
  type: "function",
  function: { name, arguments: JSON.stringify(given) },
});

/** A call that was cut off before its end is none: then there is no content either. */
function whole(
  { text, logprobs, reason }: Choice,
  index: number,
  wanted: boolean,
  mode: ToolRules["mode"] | undefined,
): object {
  const reader = createCallReader(mode);
  const begun = reader.push(text);
  const { call, text: rest } = reader.end();
  const content = begun ?? rest ?? null;
  return {
    index,
    message: { role: "assistant", content, refusal: null, ...(call && { tool_calls: [callPart(call)] }) },
    logprobs: wanted ? chatLogprobs(logprobs) : null,
    finish_reason: call ? "tool_calls" : finishReason(reason),
  };
}

/** A call is told once it is whole; other text as it comes. */
function rendering(wanted: boolean, mode: ToolRules["mode"] | undefined): Rendering {
  const readers = new Map<number, { reader: CallReader; logprobs: ServedLogprob[] }>();
  const choice = (
    index: number,
    delta: object,
    list: readonly ServedLogprob[] = [],
    reason: string | null = null,
  ): object => ({
    index,
    delta,
    logprobs: wanted && list.length > 0 ? chatLogprobs(list) : null,
    finish_reason: reason,
  });
  return {
    begin(index) {
      readers.set(index, { reader: createCallReader(mode), logprobs: [] });
      return choice(index, { role: "assistant", content: mode === "required" ? null : "" });
    },
    text(index, { text, logprobs = [] }) {
      const held = readers.get(index)!;
      const list = [...held.logprobs, ...logprobs];
      const content = held.reader.push(text);
      held.logprobs = content === undefined ? list : [];
      return content === undefined ? undefined : choice(index, { content }, list);
    },
    end(index, { reason }) {
      const { reader, logprobs } = readers.get(index)!;
      const { call, text } = reader.end();
      if (!call) return [choice(index, text ? { content: text } : {}, logprobs, finishReason(reason))];
      return [
        choice(index, { tool_calls: [{ index: 0, ...callPart(call) }] }, logprobs),
        choice(index, {}, [], "tool_calls"),
      ];
    },
  };
}
