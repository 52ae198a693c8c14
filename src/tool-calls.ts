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
import { jsonSchemaConstraint } from "./constraints/json/index.ts";
import { trusted } from "./constraints/own.ts";
import { ensure, shown, VentrisError } from "./errors.ts";
import { isObject } from "./json.ts";
import { checkResults } from "./text/chat-messages.ts";
import type { ChatMessage, Tokenizer } from "./text/tokenizer.ts";

export interface Tool {
  readonly name: string;
  readonly description?: string;
  /** JSON Schema of its arguments; absent: an object without properties. */
  readonly parameters?: unknown;
}

/**
 * `required`: the answer is a call. `auto`: it is one if it begins with a brace, or with the tag `<tool_call>` that many models were trained to
 * write around it, and any other text otherwise. `none`: it is any text; the tools must be sound all the same.
 */
export interface ToolRules {
  /** All that the request gives, in its order. */
  readonly tools: readonly Tool[];
  /** The field of a tool that is its schema in the request, for messages. */
  readonly field: "function.parameters" | "inputSchema";
  readonly mode: "none" | "auto" | "required";
  /** The name of the one that must be called. */
  readonly chosen?: string;
}

/** What an answer must be; undefined: any text. Errors: `bad_option` for a schema that is not supported, naming tool, keyword and place. */
export function toolConstraint(rules: ToolRules): Constraint | undefined {
  const { tools, mode, chosen } = rules;
  const calls = soundCalls(rules);
  if (mode === "none") return undefined;
  if (mode === "auto") return orText(calls);
  return chosen === undefined ? calls : callsOf(tools.filter(({ name }) => name === chosen));
}

const callsOf = (tools: readonly Tool[]): Constraint => createConstraint({ jsonSchema: schemaOfCalls(tools) });

/** Constraints of tools that were looked at one by one. */
const sound = new WeakSet<Constraint>();

function soundCalls({ tools, field }: ToolRules): Constraint {
  const lookAt = (): void => {
    for (const [i, tool] of tools.entries()) requireSound(tool, `tools[${i}].${field}`);
  };
  let calls: Constraint;
  try {
    calls = callsOf(tools);
  } catch (error) {
    lookAt(); // says where in the request it stands, if it is one tool's fault
    throw error;
  }
  if (!sound.has(calls)) lookAt();
  sound.add(calls);
  return calls;
}

/** A tool whose schema can be enforced, and allows some arguments. Errors: `bad_option` with the place. */
function requireSound({ parameters }: Tool, place: string): void {
  if (parameters === undefined) return;
  let allowed: Constraint;
  try {
    allowed = jsonSchemaConstraint(parameters);
  } catch (cause) {
    if (!(cause instanceof VentrisError)) throw cause;
    throw new VentrisError(cause.code, `${place}: ${cause.message}`, { cause });
  }
  ensure(allowed.start.push(brace), "bad_option", () => {
    const type = isObject(parameters) && parameters.type !== undefined ? `: its type is ${shown(parameters.type)}` : "";
    return `${place}: the parameters of a tool are an object, and this schema allows none${type}`;
  });
}

/** One schema for the calls of all tools. Those of the tools move below $defs, and their references with them. */
function schemaOfCalls(tools: readonly Tool[]): object {
  const dialects = new Set(tools.flatMap(({ parameters }) => (isObject(parameters) ? (parameters.$schema ?? []) : [])));
  ensure(dialects.size <= 1, "bad_option", () => {
    return `tools: their schemas name different drafts ($schema): ${[...dialects].join(", ")}`;
  });
  const [$schema] = dialects;
  const schemas = tools.map(({ parameters, name }, i) => {
    const given = parameters ?? noParameters;
    ensure(typeof given === "boolean" || isObject(given), "bad_option", () => {
      return `tools: the schema of ${name} is an object or a boolean, not ${shown(given)}`;
    });
    if (!isObject(given)) return [`tool${i}`, given] as const;
    const { $schema: _, ...schema } = given;
    ensure(!("$id" in schema || "id" in schema), "bad_option", `tools: the schema of ${name} has a $id: leave it out`);
    return [`tool${i}`, moved(schema, `#/$defs/tool${i}`)] as const;
  });
  const call = ({ name }: Tool, i: number): object => ({
    type: "object",
    properties: { name: { const: name }, arguments: { allOf: [{ type: "object" }, { $ref: `#/$defs/tool${i}` }] } },
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
const encoder = new TextEncoder();
const [opening, closing] = ["<tool_call>", "</tool_call>"];
const [openingBytes, closingBytes] = [encoder.encode(opening), encoder.encode(closing)];
const withText = new WeakMap<Constraint, Constraint>();

const anyText: ConstraintState = { push: () => anyText, complete: true, allowed: allTokens };

/** JSON if it begins with a brace, JSON in tags if it begins with these, any text otherwise. */
function orText(json: Constraint): Constraint {
  const known = withText.get(json);
  if (known) return known;
  const start: ConstraintState = {
    push: (byte) => (byte === brace ? json.start.push(byte) : tagged(json, 0).push(byte)),
    complete: true,
    allowed: (vocabulary) => but(vocabulary, allTokens(vocabulary), beginning(brace), start),
  };
  const made = trusted({ name: "tool-calls", tight: true, start });
  withText.set(json, made);
  return made;
}

/** After so many bytes of the opening tag. Any other byte makes it text. */
const tagged = (json: Constraint, matched: number): ConstraintState => ({
  push: (byte) => {
    if (byte !== openingBytes[matched]) return anyText;
    return matched + 1 === openingBytes.length ? within(json.start) : tagged(json, matched + 1);
  },
  complete: true,
});

/** Between the tags, where blanks are the JSON's own. */
function within(json: ConstraintState): ConstraintState {
  const state: ConstraintState = {
    push(byte) {
      const next = json.push(byte);
      if (next) return within(next);
      return json.complete && byte === closingBytes[0] ? closed(1) : undefined;
    },
    complete: false,
    allowed:
      json.allowed && ((vocabulary) => but(vocabulary, json.allowed!(vocabulary), holding(closingBytes[0]), state)),
  };
  return state;
}

/** After so many bytes of the closing tag, behind which nothing comes. */
const closed = (matched: number): ConstraintState => ({
  push: (byte) => (byte === closingBytes[matched] ? closed(matched + 1) : undefined),
  complete: matched === closingBytes.length,
});

/** A set of tokens, those of one kind decided by trying them. */
function but(vocabulary: Vocabulary, set: Uint32Array, kind: TokenKind, state: ConstraintState): Uint32Array {
  const bits = set.slice();
  for (const token of tokensOf(vocabulary, kind)) {
    const fits = pushAll(state, vocabulary.bytes(token)) !== undefined;
    if (fits) bits[token >>> 5] |= 1 << (token & 31);
    else bits[token >>> 5] &= ~(1 << (token & 31));
  }
  return bits;
}

interface TokenKind {
  readonly key: string;
  has(bytes: Uint8Array): boolean;
}
const beginning = (byte: number): TokenKind => ({ key: `begins ${byte}`, has: (bytes) => bytes[0] === byte });
const holding = (byte: number): TokenKind => ({ key: `has ${byte}`, has: (bytes) => bytes.includes(byte) });

/** Tokens of one kind, looked up once for each vocabulary. */
function tokensOf(vocabulary: Vocabulary, { key, has }: TokenKind): readonly number[] {
  const kinds = kindsOf.get(vocabulary) ?? new Map<string, number[]>();
  kindsOf.set(vocabulary, kinds);
  let tokens = kinds.get(key);
  if (!tokens) {
    tokens = Array.from({ length: vocabulary.size }, (_, token) => token).filter((token) =>
      has(vocabulary.bytes(token)),
    );
    kinds.set(key, tokens);
  }
  return tokens;
}

const kindsOf = new WeakMap<Vocabulary, Map<string, number[]>>();
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
  /** Once nothing more comes: the call, or text that was still held. A call that was cut off is neither. */
  end(): { readonly call?: ToolCall; readonly text?: string };
}

/** Without tools every answer is text. */
export function createCallReader(mode: ToolRules["mode"] = "none"): CallReader {
  let isText = mode === "none";
  let held = "";
  const begun = (): boolean => mode === "required" || held.startsWith("{") || held.startsWith(opening);
  return {
    push(text) {
      if (isText) return text;
      held += text;
      if (begun() || opening.startsWith(held)) return undefined;
      isText = true;
      return held;
    },
    end() {
      if (isText || held === "") return {};
      if (!begun()) return { text: held };
      const json = held.startsWith(opening) ? held.slice(opening.length, held.lastIndexOf(closing)) : held;
      try {
        const { name, arguments: given } = JSON.parse(json) as ToolCall;
        return { call: { name, arguments: given } };
      } catch {
        return {};
      }
    },
  };
}

/**
 * Ids of a chat with tools, as the template writes them; a template that knows no tools gets them in words: descriptions in the system
 * message, earlier calls as the JSON that they were. Errors: `bad_option`, of the template; `context_full` for more tokens than `most`.
 */
export function chatTokens(
  { encodeChat }: Pick<Tokenizer, "encodeChat">,
  messages: readonly ChatMessage[],
  tools: readonly Tool[] = [],
  most?: number,
): number[] {
  ensure(encodeChat, "bad_option", "this model has no chat template: give it a prompt instead of messages");
  checkResults(messages);
  const called = messages.some((message) => message.tool_calls !== undefined);
  if (tools.length === 0 && !called) return encodeChat(messages, { most });
  const written = messages.map(withObjects);
  const given = tools.map((tool) => ({
    type: "function",
    function: { ...tool, parameters: tool.parameters ?? noParameters },
  }));
  try {
    return encodeChat(written, { ...(given.length > 0 && { tools: given }), most });
  } catch (error) {
    if (!(error instanceof VentrisError && error.code === "bad_option")) throw error;
    return encodeChat(inWords(messages, tools), { most });
  }
}

/** Arguments of earlier calls as objects: clients send them as JSON, and templates write them as JSON. */
function withObjects(message: ChatMessage): ChatMessage {
  const { tool_calls: calls } = message;
  if (!Array.isArray(calls)) return message;
  const parsed = calls.map((call) => {
    const text = call?.function?.arguments;
    if (typeof text !== "string") return call;
    try {
      return { ...call, function: { ...call.function, arguments: JSON.parse(text) } };
    } catch {
      throw new VentrisError("bad_option", "messages: the arguments of a call are no JSON");
    }
  });
  return { ...message, tool_calls: parsed };
}

function inWords(messages: readonly ChatMessage[], tools: readonly Tool[]): ChatMessage[] {
  // Results stand behind their calls, in order: that was checked.
  const plain = messages.map(({ tool_calls: calls, tool_call_id: id, ...message }) =>
    calls === undefined
      ? id === undefined
        ? message
        : { ...message, name: undefined }
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
