/**
 * Calls of tools as constrained JSON: what an answer may be, how tools are told to a model whose template does not write them, and the
 * calls in what it answered. An answer is one call, `{"name": …, "arguments": …}`, and its arguments fit the tool's schema.
 */
import {
  type Constraint,
  type ConstraintState,
  createConstraint,
  pushAll,
  type Vocabulary,
  wordsFor,
} from "./constraints/index.ts";
import { ensure, VentrisError } from "./errors.ts";
import { isObject } from "./json.ts";
import type { ChatMessage, Tokenizer } from "./text/tokenizer.ts";

export interface Tool {
  readonly name: string;
  readonly description?: string;
  /** JSON Schema of its arguments; absent: an object without properties. */
  readonly parameters?: unknown;
}

/** `required`: the answer is a call. `auto`: it is one if it begins with a brace, and any other text otherwise. */
export interface ToolRules {
  readonly tools: readonly Tool[];
  readonly mode: "auto" | "required";
}

/** Errors: `bad_option` for a schema that is not supported, naming keyword and place. */
export function toolConstraint({ tools, mode }: ToolRules): Constraint {
  const calls = createConstraint({ jsonSchema: schemaOfCalls(tools) });
  return mode === "required" ? calls : orText(calls);
}

/** One schema for the calls of all tools. Those of the tools move below $defs, and their references with them. */
function schemaOfCalls(tools: readonly Tool[]): object {
  const dialects = new Set(tools.flatMap(({ parameters }) => (isObject(parameters) ? (parameters.$schema ?? []) : [])));
  ensure(dialects.size <= 1, "bad_option", () => {
    return `tools: their schemas name different drafts ($schema): ${[...dialects].join(", ")}`;
  });
  const [$schema] = dialects;
  const schemas = tools.map(({ parameters, name }, i) => {
    const { $schema: _, ...schema } = isObject(parameters) ? parameters : noParameters;
    ensure(!("$id" in schema || "id" in schema), "bad_option", `tools: the schema of ${name} has a $id: leave it out`);
    return [`tool${i}`, moved(schema, `#/$defs/tool${i}`)] as const;
  });
  const call = ({ name }: Tool, i: number): object => ({
    type: "object",
    properties: { name: { const: name }, arguments: { $ref: `#/$defs/tool${i}` } },
    required: ["name", "arguments"],
    additionalProperties: false,
  });
  return { ...($schema !== undefined && { $schema }), anyOf: tools.map(call), $defs: Object.fromEntries(schemas) };
}

const noParameters: Readonly<Record<string, unknown>> = { type: "object", properties: {}, additionalProperties: false };

/** Keywords whose values are no schemas, and those whose values are schemas by name. */
const values = new Set(["const", "enum", "default", "examples", "required"]);
const byName = new Set(["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"]);

function moved(schema: unknown, root: string): unknown {
  if (Array.isArray(schema)) return schema.map((one) => moved(one, root));
  if (!isObject(schema)) return schema;
  const move = ([keyword, value]: [string, unknown]): [string, unknown] => {
    if (keyword === "$ref" && typeof value === "string" && /^#(\/|$)/.test(value))
      return [keyword, root + value.slice(1)];
    if (values.has(keyword)) return [keyword, value];
    if (!byName.has(keyword) || !isObject(value)) return [keyword, moved(value, root)];
    return [keyword, Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, moved(inner, root)]))];
  };
  return Object.fromEntries(Object.entries(schema).map(move));
}

const brace = "{".charCodeAt(0);
const withText = new WeakMap<Constraint, Constraint>();

/** JSON if it begins with a brace, any text otherwise. */
function orText(json: Constraint): Constraint {
  const known = withText.get(json);
  if (known) return known;
  const anyText: ConstraintState = { push: () => anyText, complete: true, allowed: allTokens };
  const start: ConstraintState = {
    push: (byte) => (byte === brace ? json.start.push(byte) : anyText),
    complete: true,
    allowed(vocabulary) {
      const bits = new Uint32Array(wordsFor(vocabulary.size));
      for (let token = 0; token < vocabulary.size; token++) {
        const bytes = vocabulary.bytes(token);
        const fits = bytes.length > 0 && (bytes[0] !== brace || pushAll(json.start, bytes) !== undefined);
        if (fits) bits[token >>> 5] |= 1 << (token & 31);
      }
      return bits;
    },
  };
  const made: Constraint = { name: "tool-calls", tight: true, start };
  withText.set(json, made);
  return made;
}

const allOf = new WeakMap<Vocabulary, Uint32Array>();

/** Every token that stands for bytes. */
function allTokens(vocabulary: Vocabulary): Uint32Array {
  let bits = allOf.get(vocabulary);
  if (!bits) {
    bits = new Uint32Array(wordsFor(vocabulary.size));
    for (let token = 0; token < vocabulary.size; token++)
      if (vocabulary.bytes(token).length > 0) bits[token >>> 5] |= 1 << (token & 31);
    allOf.set(vocabulary, bits);
  }
  return bits;
}

export interface ToolCall {
  readonly name: string;
  readonly arguments: unknown;
}

/** Tells calls from text while an answer comes. */
export interface CallReader {
  /** What to pass on as text; undefined while it may still be a call. */
  push(text: string): string | undefined;
  /** The call, once nothing more comes: none of a text, nor of a call that was cut off. */
  end(): ToolCall | undefined;
}

/** Without a mode every answer is text. */
export function createCallReader(mode: ToolRules["mode"] | undefined): CallReader {
  let isText = mode === undefined;
  let held = "";
  return {
    push(text) {
      if (isText) return text;
      held += text;
      if (mode === "required" || held === "" || held.startsWith("{")) return undefined;
      isText = true;
      return held;
    },
    end() {
      if (isText) return undefined;
      try {
        const { name, arguments: given } = JSON.parse(held) as ToolCall;
        return { name, arguments: given };
      } catch {
        return undefined;
      }
    },
  };
}

/**
 * Ids of a chat with tools, as the template writes them; a template that knows no tools gets them in words: descriptions in the system
 * message, earlier calls as the JSON that they were. Errors: `bad_option`, of the template.
 */
export function chatTokens(
  { encodeChat }: Pick<Tokenizer, "encodeChat">,
  messages: readonly ChatMessage[],
  tools: readonly Tool[] = [],
): number[] {
  ensure(encodeChat, "bad_option", "this model has no chat template: give it a prompt instead of messages");
  const called = messages.some((message) => message.tool_calls !== undefined);
  if (tools.length === 0 && !called) return encodeChat(messages);
  const given = tools.map((tool) => ({
    type: "function",
    function: { ...tool, parameters: tool.parameters ?? noParameters },
  }));
  try {
    return encodeChat(messages, given.length > 0 ? { tools: given } : undefined);
  } catch (error) {
    if (!(error instanceof VentrisError && error.code === "bad_option")) throw error;
    return encodeChat(inWords(messages, tools));
  }
}

function inWords(messages: readonly ChatMessage[], tools: readonly Tool[]): ChatMessage[] {
  const plain = messages.map(({ tool_calls: calls, ...message }) =>
    calls === undefined
      ? message
      : { ...message, content: [message.content, wordsOfCalls(calls)].filter(Boolean).join("\n") },
  );
  if (tools.length === 0) return plain;
  const words = [
    'You can call these functions. To call one, answer with JSON alone: {"name": …, "arguments": …}',
    ...tools.map((tool) => JSON.stringify(tool)),
  ].join("\n");
  const [first, ...rest] = plain;
  return first?.role === "system" && typeof first.content === "string"
    ? [{ ...first, content: `${first.content}\n\n${words}` }, ...rest]
    : [{ role: "system", content: words }, ...plain];
}

function wordsOfCalls(calls: unknown): string {
  ensure(Array.isArray(calls), "bad_option", "tool_calls must be a list");
  return calls
    .map((call) => {
      const { name, arguments: given } = (call?.function ?? {}) as { name?: unknown; arguments?: unknown };
      ensure(typeof name === "string", "bad_option", "tool_calls: a call has a function with a name");
      return `{"name": ${JSON.stringify(name)}, "arguments": ${typeof given === "string" ? given : JSON.stringify(given ?? {})}}`;
    })
    .join("\n");
}
