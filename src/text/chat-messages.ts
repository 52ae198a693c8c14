/**
 * Messages in the form that a template can write. Templates differ: some take text alone, some only lists of parts, most know nothing
 * of tools. What a template would drop or write as a data structure is put into its form where that says the same, else refused.
 */
import { ensure, shown, VentrisError } from "../errors.ts";
import { isObject } from "../json.ts";
import { didYouMean, hint, likelySlips, meantBy, meantField, requireFieldsAmong, suggestion } from "../names.ts";
import type { ChatMessage, ChatOptions } from "./tokenizer.ts";

/** What a template is given beside its own variables. */
export interface ChatInput {
  messages: readonly ChatMessage[];
  tools?: readonly unknown[];
  addGenerationPrompt: boolean;
}

export interface ChatForms {
  /** Writes a message's text, given as a string. */
  text: boolean;
  /** Writes it, given as a list of parts. */
  parts: boolean;
  /** Writes the name of who speaks, of messages of a role. */
  names(role: string): boolean;
}

const deepest = 32;

/** A copy of a JSON value with its strings, keys among them, changed by `map`. Errors: `bad_option` naming `where` for what is no JSON. */
export function mapStrings(value: unknown, map: (text: string) => string, where: string, depth = 0): unknown {
  ensure(depth <= deepest, "bad_option", `${where} nests deeper than ${deepest}`);
  if (typeof value === "string") return map(value);
  if (value === null || typeof value === "boolean") return value;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  if (Array.isArray(value)) return value.map((item, i) => mapStrings(item, map, `${where}[${i}]`, depth + 1));
  ensure(isObject(value), "bad_option", () => `${where} is ${typeof value}, which is no JSON value`);
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  return Object.fromEntries(
    entries.map(([key, item]) => [map(key), mapStrings(item, map, `${where}.${key.slice(0, 100)}`, depth + 1)]),
  );
}

/** Templates write any role as it is; one that is neither among these nor in the template's words would become a speaker whom the model never met. */
export const usualRoles = ["system", "developer", "user", "assistant", "tool", "function"] as const;

/** Parts of a content that templates know, and those whose pictures are put in for them. */
const usualParts = ["text", "image", "image_url"];

/** Fields of a message that every chat may have; templates know further ones. */
const usualFields = ["role", "content", "name", "tool_calls", "tool_call_id"];

/** Errors: `bad_option` for what is no message, naming the field that was meant to be its role or content. */
export function requireMessage(message: unknown, where: string): asserts message is ChatMessage {
  ensure(isObject(message), "bad_option", () => `${where} must have a role and content, not ${shown(message)}`);
  const lacks = ["role", "content"].filter((field) => !Object.hasOwn(message, field));
  const others = usualFields.filter((field) => !Object.hasOwn(message, field));
  for (const [field, value] of Object.entries(message)) {
    if (usualFields.includes(field)) continue;
    // One that says nothing may be of somebody's own messages, unless it is a slip: templates are never asked about it.
    const slip = says(value) ? undefined : meantBy(field, others, likelySlips(field));
    const meant = suggestion(field, lacks) || hint(slip);
    ensure(meant === "", "bad_option", () => `${where} has no field ${shown(field)}${meant}`);
  }
  ensure(typeof message.role === "string", "bad_option", () => {
    return message.role === undefined
      ? `${where} must have a role and content, not ${shown(message)}`
      : `${where}.role must be a text, not ${shown(message.role)}`;
  });
  ensure(message.role !== "", "bad_option", `${where}.role is empty: it says who speaks, as "user"`);
  const { content } = message;
  if (content === undefined || content === null)
    ensure(otherwiseSaid(message).length > 0, "bad_option", () => {
      return `${where}.content is ${content === null ? "null" : "missing"}, and there is nothing else to say`;
    });
  else if (typeof content !== "string") checkParts(content, `${where}.content`);
}

/** Names of a message's fields that say something beside its content, and have no place of their own. */
const otherwiseSaid = (message: object): string[] =>
  Object.entries(message).flatMap(([name, value]) => (!told.has(name) && says(value) ? [name] : []));

/** Fields that need no place of their own in a template: `checkResults` sees to what the last two say. */
const told = new Set(["role", "content", "id", "name", "tool_call_id"]);

/**
 * Results of tools stand behind their calls, in the order of these: so a template that writes no `tool_call_id` loses nothing of it, nor of a
 * function's `name`. Errors: `bad_option` for a result of no call, one out of order, and one that another function is to have given.
 */
export function checkResults(messages: readonly ChatMessage[]): void {
  let calls: readonly unknown[] = [];
  let next = 0;
  for (const [index, message] of messages.entries()) {
    if (!isObject(message)) continue;
    const { tool_call_id: id, name, role } = message;
    if (Array.isArray(message.tool_calls)) [calls, next] = [message.tool_calls, 0];
    const at = `messages[${index}]`;
    if (!says(id)) continue;
    ensure(
      role === "tool",
      "bad_option",
      `${at}.tool_call_id is given, and only results of tools (role tool) have one`,
    );
    const found = calls.findIndex((call) => isObject(call) && call.id === id);
    ensure(found >= 0, "bad_option", `${at}.tool_call_id: no call of the message before has the id ${shown(id)}`);
    ensure(
      found === next,
      "bad_option",
      `${at}.tool_call_id: results must stand in the order of their calls, one for each`,
    );
    next += 1;
    const { function: called } = calls[found] as { function?: { name?: unknown } };
    const same = !says(name) || called?.name === name;
    ensure(same, "bad_option", `${at}.name is ${shown(name)}, and the call was one of ${shown(called?.name)}`);
  }
}

/**
 * Messages and tools as a template takes them. `source` is the template, `file` the name of its file, `forms` what it can write.
 * Errors: `bad_option` naming the message and the field that it would drop, or that is not of the right kind.
 */
export function shapeMessages(
  messages: readonly ChatMessage[],
  options: ChatOptions,
  template: { source: string; file: string; forms: () => ChatForms },
): ChatInput {
  const { source, file } = template;
  const mentions = (word: string) =>
    new RegExp(`(?<![\\p{L}\\p{N}_])${word.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")}(?![\\p{L}\\p{N}_])`, "u").test(
      source,
    );
  const refuse = (what: string, end = ""): never => {
    throw new VentrisError("bad_option", `${what}; the model's chat template (${file}) does not write it${end}`);
  };
  if (options.tools?.length && !mentions("tools")) refuse("tools are given");

  checkResults(messages);
  const shaped = messages.map((message: unknown, index): ChatMessage => {
    const where = `messages[${index}]`;
    requireMessage(message, where);
    const { role } = message;
    ensure(
      (usualRoles as readonly string[]).includes(role) || mentions(role),
      "bad_option",
      () =>
        `${where}.role is ${shown(role)}, which the template has no words of its own for${didYouMean(role, usualRoles)} Roles: ${usualRoles.join(", ")}`,
    );
    if (says(message.name) && !says(message.tool_call_id) && !template.forms().names(message.role))
      refuse(`${where}.name is given`);
    for (const name of otherwiseSaid(message))
      if (name.length > 100 || !mentions(name))
        refuse(`${where}.${name.slice(0, 100)} is given`, suggestion(name.slice(0, 100), usualFields));
    const { content } = message;
    if (content === undefined || content === null) return { ...message, role: message.role, content: null };
    if (typeof content === "string") {
      const wraps = /\bfor\b[^%]*content/.test(source) && !template.forms().text && template.forms().parts;
      return { ...message, role: message.role, content: wraps ? [{ type: "text", text: content }] : content };
    }
    const parts = content;
    for (const [i, { type }] of parts.entries()) {
      const writes = (part: string) => part === "text" || (template.forms().parts && mentions(part));
      if (!writes(type)) refuse(`${where}.content[${i}] is of type ${shown(type)}`, suggestion(type, usualParts));
    }
    return {
      ...message,
      role: message.role,
      content: template.forms().parts ? parts : parts.map(({ text }) => text).join(""),
    };
  });
  return { messages: shaped, tools: options.tools, addGenerationPrompt: options.addGenerationPrompt ?? true };
}

/** An absent thing is nothing to drop. */
function says(value: unknown): boolean {
  return !(
    value === undefined ||
    value === null ||
    value === "" ||
    (typeof value === "object" && Object.keys(value).length === 0)
  );
}

/** Errors: `bad_option` for what is no list of parts. */
function checkParts(content: unknown, where: string): void {
  ensure(
    Array.isArray(content),
    "bad_option",
    `${where} must be text, a list of parts, or null, not ${shown(content)}`,
  );
  for (const [i, part] of content.entries()) {
    ensure(isObject(part) && typeof part.type === "string", "bad_option", () => {
      return `${where}[${i}] is no part: it has no type${isObject(part) ? (meantField(part, ["type"]) ?? "") : ""}`;
    });
    if (part.type !== "text") continue; // what else a part may have, its template knows
    ensure(typeof part.text === "string", "bad_option", () => {
      return part.text === undefined
        ? `${where}[${i}] is of type text and has no text${meantField(part, ["type", "text"]) ?? ""}`
        : `${where}[${i}].text must be a text, not ${shown(part.text)}`;
    });
    requireFieldsAmong(part, `${where}[${i}]`, ["type", "text"]);
  }
}

const probe = "decipherment";

/** What a template can write, found out by letting it write a word. */
export function findForms(render: (input: ChatInput) => string): ChatForms {
  const written = (content: ChatMessage["content"], others: { role: string; name?: string } = { role: "user" }) => {
    try {
      return render({ messages: [{ ...others, content }], addGenerationPrompt: false });
    } catch {
      return "";
    }
  };
  const text = written(probe).includes(probe);
  const asParts = written([{ type: "text", text: probe }]);
  // A list put in as it is comes out as JSON.
  const parts = asParts.includes(probe) && !/["']type["']/.test(asParts);
  return {
    text,
    parts,
    names: (role) => written(text ? "a" : [{ type: "text", text: "a" }], { role, name: probe }).includes(probe),
  };
}
