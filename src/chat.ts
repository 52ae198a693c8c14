/**
 * A conversation: messages in order, answers decoded on the prefix that the forest still has, history that can be branched, saved and
 * opened again.
 */
import { z } from "zod";
import {
  type DecodeOptions,
  decode,
  readRequest,
  requestExample,
  requireAnswerable,
  requireMessages,
  requireOpen,
  requirePath,
} from "./calls.ts";
import { describedRun, describing } from "./described.ts";
import type { DecodingModel } from "./engine/model.ts";
import type { Run, RunResult } from "./engine/run.ts";
import { ensure, requireFlags, requireOptions, shown, VentrisError } from "./errors.ts";
import { readWhole, whyUnreadable } from "./files.ts";
import { checkJson, parseJsonObject } from "./json.ts";
import { chatWays, requireNothingElse } from "./names.ts";
import { dataUrlOf, isPicturePrompt, messageOf, type PicturePrompt } from "./pictures.ts";
import { tellingReads } from "./reads.ts";
import type { ChatMessage, ContentPart, GivenMessage } from "./text/tokenizer.ts";
import { givenFields } from "./values.ts";
import { writeFileAtomically } from "./weights/cache.ts";

/** How a conversation begins. */
export interface ChatSessionOptions {
  /** The system message. Default: none, and some templates write one of their own. */
  system?: string;
  /** Messages to begin with. Default: none. */
  messages?: readonly GivenMessage[];
  /** Options of every answer; those of `send` go before them. Default: none, so that those of `decode` hold. */
  defaults?: DecodeOptions;
  /** Write the conversation as a plain transcript ("User: …", "Assistant: …") to a model that has no chat template. Default: refuse it. */
  transcript?: boolean;
}

/** An answer under way: a run, and its whole text. */
export interface Answer extends Run {
  /** The answer's text when it is whole; then it is part of the history. An aborted answer is kept as far as it came. */
  readonly reply: Promise<string>;
}

/** A conversation: messages in order, with answers decoded on what the forest has of them. */
export interface ChatSession {
  /** All messages so far. A copy: changing it changes nothing. */
  readonly messages: readonly ChatMessage[];
  /**
   * Adds the user's words, or words and pictures in order, also as the parts of a message, and starts the answer. What fails leaves the
   * history as it was. Errors: `bad_option` while an answer is under way, and as `decode`.
   */
  send(said: string | PicturePrompt | readonly ContentPart[], options?: DecodeOptions): Answer;
  /** Takes back the last exchange; false when there is none. */
  undo(): boolean;
  /** Answers the last words of the user anew. Errors: `bad_option` when there are none. */
  retry(options?: DecodeOptions): Answer;
  /** A conversation of its own that begins with this history. Errors: `bad_option` while an answer is under way. */
  branch(): ChatSession;
  /** Writes the history as JSON, pictures as their paths or data URLs. Errors: `bad_option` for a picture that is given as pixels, and while an answer is under way. */
  save(path: string): Promise<void>;
}

const format = "ventris chat 1";
/** A part as templates know it: what they take beside texts and pictures is theirs. */
const savedPart = z
  .looseObject({ type: z.string().min(1), text: z.string().optional(), image: z.string().min(1).optional() })
  .refine(({ type, text }) => type !== "text" || text !== undefined, {
    path: ["text"],
    error: "a part of type text needs it",
  })
  .refine(({ type, image }) => type !== "image" || image !== undefined, {
    path: ["image"],
    error: "a part of type image needs it",
  });
/** As `save` writes it; a message of calls has no content. */
const savedChat = z.strictObject({
  format: z.literal(format),
  messages: z.array(
    z.looseObject({ role: z.string().min(1), content: z.union([z.string(), z.array(savedPart)]).nullish() }),
  ),
});
/** Bytes of a saved conversation. */
const largestFile = 2 ** 26;

/** Errors: `bad_option`; `unavailable` for a model without a chat template. */
export function createChat(model: DecodingModel, options: ChatSessionOptions = {}): ChatSession {
  requireOpen(model);
  requireOptions(options, "chat", "options", '{ system: "…" }');
  const { system, messages = [], defaults: given = {}, transcript = false, ...others } = options;
  requireNothingElse(others, "chat", ["system", "messages", "defaults", "transcript"], chatWays);
  ensure(
    system === undefined || typeof system === "string",
    "bad_option",
    () => `chat: system must be a text, not ${shown(system)}`,
  );
  requireFlags({ transcript }, "chat");
  requireMessages(messages);
  ensure(system === undefined || messages[0]?.role !== "system", "bad_option", () => {
    return "chat: messages begin with a system message, and system gives another: leave one of them out";
  });
  readRequest(model, given, "chat defaults");
  const defaults = { ...given }; // as they are now, whatever becomes of them
  const templated = model.tokenizer?.encodeChat !== undefined;
  ensure(
    templated || (transcript && model.tokenizer),
    "unavailable",
    `the model ${model.name} has no chat template: chat({ transcript: true }) writes a plain transcript, and decode takes whatever text you make of the conversation`,
  );
  const history: ChatMessage[] = [
    ...(system === undefined ? [] : [{ role: "system", content: system }]),
    ...messages.map((message) => ({ ...message })),
  ];
  // Refused at once, and not with the first answer, which somebody's words come before.
  if (!templated) transcriptOf(history);
  else if (messages.length > 0) {
    const asked = history.at(-1)?.role === "user";
    requireAnswerable(model, asked ? history : [...history, { role: "user", content: "" }]);
  }
  let answering = false;
  /** The question of an answer that is under way is in the history already. */
  const requireRest = (): void =>
    ensure(!answering, "bad_option", "chat: an answer is still under way; wait for its reply or abort it");

  /** `before`: the history that a failure leaves. */
  function answer(given: DecodeOptions, before: readonly ChatMessage[]): Answer {
    const options = { ...defaults, ...givenFields(given) };
    const run = templated
      ? decode(model, history, options)
      : decode(model, transcriptOf(history), stoppedByUser(options));
    answering = true;
    const written = ({ text }: RunResult): string => (templated ? text : text.trim());
    // Whoever has awaited the end, or the reply, may send the next words at once.
    const final = run.final.then(
      (result) => {
        history.push({ role: "assistant", content: written(result) });
        answering = false;
        return result;
      },
      (error) => {
        history.splice(0, history.length, ...before);
        answering = false;
        throw error;
      },
    );
    const reply = final.then(written);
    reply.catch(() => {}); // whoever only streams sees it there
    // Who has read the stream to its end finds the answer in the history, or what a failure left, and may send the next words.
    const kept = async function* <T>(stream: AsyncIterable<T>) {
      try {
        yield* stream;
      } catch (error) {
        await reply.catch(() => {});
        throw error;
      }
      await reply.catch(() => {});
    };
    const text = { [Symbol.asyncIterator]: () => kept(run.text) };
    const { abort } = run;
    return describedRun(
      { final, abort, text, [Symbol.asyncIterator]: () => kept(run), reply },
      `an answer of ${model.name}: await its reply, or iterate its text`,
    );
  }

  function ask(given: DecodeOptions, change: () => void): Answer {
    const before = [...history];
    change();
    try {
      return answer(given, before);
    } catch (error) {
      history.splice(0, history.length, ...before);
      throw error;
    }
  }

  const lastOfUser = (): number => history.findLastIndex(({ role }) => role === "user");
  const session: ChatSession = {
    get messages() {
      return history.map((message) => ({ ...message }));
    },
    send: tellingReads("send", ["said", "options"], (said, given = {}) => {
      requireOpen(model);
      requireOptions(given, "send", "options", requestExample);
      const message = messageSaid(said);
      ensure(message, "bad_option", () => {
        return `chat: send takes a text, not ${shown(said)}; beside texts there can be pictures in a list`;
      });
      requireRest();
      return ask(given, () => history.push(message));
    }),
    undo() {
      requireRest();
      const at = lastOfUser();
      if (at >= 0) history.splice(at);
      return at >= 0;
    },
    retry: tellingReads("retry", ["options"], (given = {}) => {
      requireOpen(model);
      requireOptions(given, "retry", "options", requestExample);
      const at = lastOfUser();
      ensure(at >= 0, "bad_option", "chat: nothing was said yet that could be answered again");
      requireRest();
      return ask(given, () => history.splice(at + 1));
    }),
    branch() {
      requireRest();
      return createChat(model, { messages: history, defaults, transcript });
    },
    async save(path) {
      requirePath(path, "save");
      requireRest();
      const messages = history.map(storable);
      await writeFileAtomically(path, new TextEncoder().encode(`${JSON.stringify({ format, messages }, null, 2)}\n`));
    },
  };
  return describing(session, "ChatSession", () => {
    const { length } = history;
    return `a conversation with ${model.name}, ${length} ${length === 1 ? "message" : "messages"} so far: send, undo, retry, branch, save, messages`;
  });
}

/** What a user says, as a message; undefined for what is nothing to say. Errors: `bad_option` for pictures beside what is no text. */
function messageSaid(said: string | PicturePrompt | readonly ContentPart[]): ChatMessage | undefined {
  if (typeof said === "string") return said === "" ? undefined : { role: "user", content: said };
  if (!Array.isArray(said) || said.length === 0) return undefined;
  const isPart = (piece: unknown): boolean => typeof (piece as ContentPart | null)?.type === "string";
  if (said.every(isPart)) return { role: "user", content: [...(said as readonly ContentPart[])] };
  return isPicturePrompt(said) ? messageOf(said) : undefined;
}

/** A message as JSON can hold it. Errors: `bad_option`. */
function storable(message: ChatMessage, i: number): ChatMessage {
  if (!Array.isArray(message.content)) return message;
  const content = message.content.map((part: ContentPart): ContentPart => {
    if (part.type !== "image" || typeof part.image === "string") return part;
    ensure(part.image instanceof Uint8Array, "bad_option", () => {
      return `chat: messages[${i}] has a picture that is given as pixels, which is not saved: give it as a file or a data URL`;
    });
    return { ...part, image: dataUrlOf(part.image) };
  });
  return { ...message, content };
}

const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1);

/** The conversation as a text that the next answer continues. Errors: `bad_option` for messages that are no text. */
function transcriptOf(history: readonly ChatMessage[]): string {
  const turns = history.map(({ role, content }, i) => {
    ensure(typeof content === "string", "bad_option", () => `messages[${i}] is no text: a transcript has nothing else`);
    return role === "system" ? `${content}\n\n` : `${capital(role)}: ${content}\n`;
  });
  return `${turns.join("")}Assistant:`;
}

/** The model must not go on with the user's next words. */
const stoppedByUser = ({ stop = [], ...options }: DecodeOptions): DecodeOptions => ({
  ...options,
  stop: [...(typeof stop === "string" ? [stop] : stop), "\nUser:"],
});

/** Messages of a saved conversation. Errors: `unavailable`, `bad_file`. */
export async function readChat(path: string): Promise<ChatMessage[]> {
  requirePath(path, "readChat");
  const bytes = await readWhole(path, largestFile).catch((cause) => {
    throw cause instanceof VentrisError
      ? cause
      : new VentrisError("unavailable", `cannot read ${path}: ${whyUnreadable(cause)}`, { cause });
  });
  ensure(bytes, "bad_file", `${path}: more than ${largestFile} bytes; it is no saved conversation`);
  const saved = parseJsonObject(bytes, path);
  ensure(
    saved.format === format,
    "bad_file",
    `${path} is no conversation saved by chat: its format is ${shown(saved.format)}`,
  );
  return checkJson(savedChat, saved, path).messages as ChatMessage[];
}
