/** `/v1/responses`: OpenAI's newer interface, as far as it is text and pictures. Nothing is kept: a conversation is sent whole. */
import { randomUUID } from "node:crypto";
import type { Context } from "hono";
import { z } from "zod";
import type { FinishReason } from "../../engine/trace.ts";
import type { RouteContext } from "../app.ts";
import { answerOf, RequestError, readJson } from "../errors.ts";
import type { RunRequest } from "../protocol.ts";
import { withFetched } from "../remote-pictures.ts";
import { event } from "../sse.ts";
import { answer, type ChoiceEvent, finishReason, noUsage, type Usage, withCounters } from "./answer.ts";
import { longestPrompt, optionsOf, readFields, samplingFields, seedOf, tokenLimit } from "./fields.ts";
import { constraintOf, textFormat } from "./format.ts";

const { model, temperature, top_p, seed, stream, user, decoding } = samplingFields;

const part = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.enum(["input_text", "output_text", "text"]),
    text: z.string(),
    annotations: z.array(z.json()).max(0).optional(),
    logprobs: z.array(z.json()).optional(),
  }),
  z.strictObject({
    type: z.literal("input_image"),
    image_url: z.string({
      error: "pictures are given as a data URL; files are not kept here, so that file_id names none",
    }),
    /** Pictures become what the model takes in any case. */
    detail: z.enum(["low", "high", "auto"]).optional(),
  }),
]);
const message = z.strictObject({
  type: z.literal("message").optional(),
  role: z.enum(["system", "developer", "user", "assistant"]),
  content: z.union([z.string().max(longestPrompt), z.array(part).min(1).max(1000)]),
  id: z.string().optional(),
  status: z.string().optional(),
});

const fields = z.strictObject({
  ...{ model, temperature, top_p, seed, stream, user, decoding },
  input: z.union([z.string().min(1).max(longestPrompt), z.array(message).min(1).max(10_000)]),
  instructions: z.string().min(1).max(longestPrompt).optional(),
  max_output_tokens: tokenLimit.optional(),
  text: z.strictObject({ format: textFormat.optional() }).optional(),
  store: z.literal(false, { error: "responses are not kept: leave it out, or say false" }).optional(),
});

type Fields = z.output<typeof fields>;

const unsupported = {
  previous_response_id: "responses are not kept: send the whole conversation as input",
  tools: "use /v1/chat/completions",
  conversation: "conversations are not kept",
};

export async function responses(c: Context, context: RouteContext): Promise<Response> {
  const body = readFields(fields, await readJson(c.req.raw), unsupported);
  const name = await context.catalogue.find(body.model);
  const chosen = seedOf(body);
  const constraint = constraintOf(body.text?.format);
  const limit = body.max_output_tokens;
  if (constraint && body.decoding?.constraint !== undefined)
    throw new RequestError("bad_option", "text.format and decoding.constraint both say what the answer must be", {
      param: "text",
    });
  const options = {
    ...optionsOf({ ...body, n: 1 }, chosen),
    ...(limit !== undefined && { maxTokens: limit }),
    ...(constraint && { constraint }),
  };
  const messages = await withFetched(messagesOf(body), context.pictures, c.req.raw.signal);
  const request: RunRequest = {
    model: name,
    prompt: { messages },
    options,
    ...(limit === undefined && { unlimited: true }),
  };
  const shape = responseShape(body, name);
  return answer(c, context, {
    requests: [request],
    stream: body.stream,
    headers: { "X-Ventris-Seed": String(chosen) },
    fields: { prompt: "input", limit: "max_output_tokens", constraint: body.text ? "text" : "decoding.constraint" },
    pieces: (events) => eventsOf(events, shape),
    whole: ([{ text, reason, usage }]) => shape.ended(text, reason, usage),
    failed: (error) => event({ ...answerOf(error).body.error, type: "error", sequence_number: -1 }, "error"),
  });
}

function messagesOf({ input, instructions }: Fields): { role: string; content: unknown }[] {
  const given =
    typeof input === "string"
      ? [{ role: "user", content: input }]
      : input.map(({ role, content }) => ({
          role: role === "developer" ? "system" : role,
          content: typeof content === "string" ? content : contentOf(content),
        }));
  return instructions === undefined ? given : [{ role: "system", content: instructions }, ...given];
}

/** One text, or where there are pictures the parts as chats have them. */
function contentOf(parts: readonly z.output<typeof part>[]): unknown {
  const texts = parts.flatMap((one) => (one.type === "input_image" ? [] : [one.text]));
  if (texts.length === parts.length) return texts.join("");
  return parts.map((one) =>
    one.type === "input_image"
      ? { type: "image_url", image_url: { url: one.image_url } }
      : { type: "text", text: one.text },
  );
}

function responseShape(body: Fields, name: string) {
  const [id, item] = [`resp_${randomUUID()}`, `msg_${randomUUID()}`];
  const created = Math.floor(Date.now() / 1000);
  const part = (text: string): object => ({ type: "output_text", text, annotations: [], logprobs: [] });
  const output = (text: string, status: string): object => ({
    ...{ type: "message", id: item, status, role: "assistant" },
    content: status === "in_progress" ? [] : [part(text)],
  });
  const response = (status: string, others: object): object => ({
    ...{ id, object: "response", created_at: created, status, error: null, incomplete_details: null },
    ...{ instructions: body.instructions ?? null, max_output_tokens: body.max_output_tokens ?? null, model: name },
    ...{ output: [], parallel_tool_calls: false, previous_response_id: null, store: false },
    ...{ temperature: body.temperature ?? 1, top_p: body.top_p ?? 1, tool_choice: "none", tools: [], metadata: {} },
    ...{ text: { format: body.text?.format ?? { type: "text" } }, truncation: "disabled", usage: null },
    ...others,
  });
  return {
    item,
    part,
    output,
    begun: () => response("in_progress", {}),
    ended(text: string, reason: FinishReason, { promptTokens, cachedTokens, completionTokens }: Usage): object {
      const status = finishReason(reason) === "length" ? "incomplete" : "completed";
      return response(status, {
        ...(status === "incomplete" && { incomplete_details: { reason: "max_output_tokens" } }),
        output: [output(text, status)],
        usage: {
          input_tokens: promptTokens,
          input_tokens_details: { cached_tokens: cachedTokens },
          output_tokens: completionTokens,
          output_tokens_details: { reasoning_tokens: 0 },
          total_tokens: promptTokens + completionTokens,
        },
      });
    },
  };
}

/** The stream's own events, in the order in which OpenAI's clients expect them. */
async function* eventsOf(
  events: AsyncIterable<ChoiceEvent[]>,
  { item, part, output, begun, ended }: ReturnType<typeof responseShape>,
): AsyncGenerator<string, void> {
  let number = 0;
  let text = "";
  let usage = noUsage;
  const tell = (type: string, others: object): string => event({ type, sequence_number: number++, ...others }, type);
  const place = { output_index: 0, item_id: item, content_index: 0 };
  for await (const batch of events) {
    let piece = "";
    for (const one of batch) {
      if (one.type === "begin") {
        usage = { ...usage, promptTokens: one.promptTokens };
        piece += tell("response.created", { response: begun() });
        piece += tell("response.in_progress", { response: begun() });
        piece += tell("response.output_item.added", { output_index: 0, item: output("", "in_progress") });
        piece += tell("response.content_part.added", { ...place, part: part("") });
      } else if (one.type === "text") {
        text += one.text;
        if (one.text) piece += tell("response.output_text.delta", { ...place, delta: one.text, logprobs: [] });
      } else {
        const response = ended(text, one.reason, withCounters(usage, one)) as { status: string };
        piece += tell("response.output_text.done", { ...place, text, logprobs: [] });
        piece += tell("response.content_part.done", { ...place, part: part(text) });
        piece += tell("response.output_item.done", { output_index: 0, item: output(text, response.status) });
        piece += tell(`response.${response.status}`, { response });
      }
    }
    if (piece) yield piece;
  }
}
