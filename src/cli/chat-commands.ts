/** A conversation with what its commands change: method, options, history. */

import { type DecodeOptions, withoutLimit } from "../calls.ts";
import { type Answer, type ChatSession, readChat } from "../chat.ts";
import { requestOptions } from "../engine/decoding.ts";
import type { TimedEvent } from "../engine/trace.ts";
import { ensure, plural } from "../errors.ts";
import { hint, meantBy } from "../names.ts";
import type { Model } from "../open.ts";
import { sentence } from "../papers/option-types.ts";
import type { ChatMessage } from "../text/tokenizer.ts";
import { writeFileAtomically } from "../weights/index.ts";
import { parseAssignments } from "./flags.ts";
import { type ChosenMethod, choiceOf, readMethod } from "./method-choice.ts";
import { print, printJson, say } from "./output.ts";
import { wrap } from "./terminal.ts";

export interface Conversation {
  readonly model: Model;
  session: ChatSession;
  /** Of every answer. */
  options: DecodeOptions;
  method: ChosenMethod | undefined;
  /** Results go out as JSON. */
  readonly json: boolean;
  /** Of the last answer. */
  events: TimedEvent[];
  /** Files of pictures that go with the next message. */
  pictures: string[];
  send(text: string): Answer;
}

interface Beginning {
  options: DecodeOptions;
  method: ChosenMethod | undefined;
  system?: string;
  load?: string;
  json?: boolean;
}

export async function openConversation(
  model: Model,
  { options, method, system, load, json = false }: Beginning,
): Promise<Conversation> {
  const conversation: Conversation = {
    model,
    session: begin(model, load === undefined ? [] : await readChat(load)),
    options,
    method,
    json,
    events: [],
    pictures: [],
    send(text) {
      const { pictures } = conversation;
      conversation.pictures = []; // one that cannot be seen is not given again
      const said = pictures.length > 0 ? [...pictures.map((image) => ({ image })), text] : text;
      return conversation.session.send(said, optionsOf(conversation));
    },
  };
  if (system !== undefined) setSystem(conversation, system);
  return conversation;
}

const begin = (model: Model, messages: readonly ChatMessage[]): ChatSession =>
  model.chat({ messages, transcript: true });

function setSystem(conversation: Conversation, text: string): void {
  const rest = conversation.session.messages.filter(({ role }, i) => i > 0 || role !== "system");
  conversation.session = begin(conversation.model, text === "" ? rest : [{ role: "system", content: text }, ...rest]);
}

/** An answer has no limit unless it is told one. */
const optionsOf = ({ model, options, method }: Conversation): DecodeOptions => ({
  ...withoutLimit(model),
  ...options,
  ...(method && { method: choiceOf(method) }),
});

/** An answer to show, the wish to leave, or nothing more to do. */
type Effect = Answer | "leave" | undefined;

interface ChatCommand {
  readonly usage: string;
  readonly summary: string;
  run(conversation: Conversation, rest: string): Effect | Promise<Effect>;
}

const commands: Readonly<Record<string, ChatCommand>> = {
  method: {
    usage: "/method NAME",
    summary:
      "decode by another method, with options as NAME=VALUE behind it; the name default stands for the usual one; without a name, show which it is",
    async run(conversation, rest) {
      if (rest !== "") {
        const [name, ...assignments] = rest.startsWith("{") ? [rest] : rest.split(/\s+/);
        conversation.method = name === "default" ? undefined : await readMethod(name, assignments);
      }
      const { method } = conversation;
      say(`method: ${method ? [method.method.name, ...shownOptions(method.options)].join(" ") : "the usual one"}`);
    },
  },
  set: {
    usage: "/set NAME=VALUE",
    summary: "set an option, such as temperature=0.2; NAME= sets it back; without a name, show what is set",
    run(conversation, rest) {
      const [, cleared] = /^(\w+)=$/.exec(rest) ?? [];
      if (cleared) {
        ensure(cleared in requestOptions.shape, "bad_option", `there is no option ${cleared}`);
        const { [cleared as keyof DecodeOptions]: _, ...others } = conversation.options;
        conversation.options = others;
      } else if (rest !== "") {
        const given = parseAssignments(requestOptions.shape, [rest], "a request");
        conversation.options = { ...conversation.options, ...given };
      }
      say(`options: ${shownOptions(conversation.options).join(" ") || "as usual"}`);
      return undefined;
    },
  },
  system: {
    usage: "/system TEXT",
    summary: "tell the model what it is to be; without a text, take that back",
    run(conversation, rest) {
      setSystem(conversation, rest);
      say(
        rest === ""
          ? "from the next answer on the model is told nothing"
          : "from the next answer on the model is told that",
      );
      return undefined;
    },
  },
  image: {
    usage: "/image FILE",
    summary: "show a picture (PNG, JPEG, WebP or GIF) with the next message, to a model that sees",
    run(conversation, rest) {
      const { model, pictures } = conversation;
      ensure(model.capabilities.has("vision"), "bad_option", `/image: the model ${model.name} cannot see`);
      pictures.push(fileOf(rest, "image"));
      say(`${pictures.join(", ")}: shown with the next message`);
      return undefined;
    },
  },
  retry: {
    usage: "/retry",
    summary: "answer the last message anew, with the next request number of the seed",
    run(conversation) {
      const request = (conversation.options.request ?? 0) + 1;
      conversation.options = { ...conversation.options, request };
      return conversation.session.retry(optionsOf(conversation));
    },
  },
  undo: {
    usage: "/undo",
    summary: "take the last message and its answer back",
    run({ session }) {
      say(session.undo() ? "taken back" : "there is nothing to take back");
      return undefined;
    },
  },
  forget: {
    usage: "/forget N",
    summary:
      "take your first N messages and their answers out, which makes room in the context; without a number, the first of them",
    run(conversation, rest) {
      const { messages } = conversation.session;
      const mine = messages.flatMap(({ role }, i) => (role === "user" ? [i] : []));
      ensure(mine.length > 0, "bad_option", "/forget: nothing was said yet");
      const count = rest === "" ? 1 : Number(rest);
      ensure(Number.isInteger(count) && count >= 1 && count <= mine.length, "bad_option", () => {
        const there = mine.length === 1 ? "is one message" : `are ${mine.length} messages`;
        return `there ${there} of yours: /forget takes 1${mine.length > 1 ? ` to ${mine.length}` : ""}`;
      });
      const system = messages.slice(0, messages[0].role === "system" ? 1 : 0);
      const later = messages.slice(mine[count] ?? messages.length);
      conversation.session = begin(conversation.model, [...system, ...later]);
      say(`forgotten: ${plural(count, "message")} of yours, with what was answered`);
      return undefined;
    },
  },
  history: {
    usage: "/history",
    summary: "show the conversation",
    run({ session, json }) {
      if (json) printJson({ messages: session.messages });
      else if (session.messages.length === 0) say("nothing was said yet");
      else for (const { role, content } of session.messages) print(`${role}: ${wordsOf(content)}`);
      return undefined;
    },
  },
  save: {
    usage: "/save FILE",
    summary: "write the conversation to a file",
    async run({ session }, rest) {
      await session.save(fileOf(rest, "save"));
      say(`saved to ${rest}`);
    },
  },
  load: {
    usage: "/load FILE",
    summary: "go on with a saved conversation",
    async run(conversation, rest) {
      const messages = await readChat(fileOf(rest, "load"));
      conversation.session = begin(conversation.model, messages);
      say(`${plural(messages.length, "message")}: the conversation goes on from there`);
    },
  },
  trace: {
    usage: "/trace FILE",
    summary: "write every event of the last answer as JSON lines, which the studio replays",
    async run({ events }, rest) {
      ensure(events.length > 0, "bad_option", "/trace: nothing was answered yet");
      await writeFileAtomically(fileOf(rest, "trace"), events.map((event) => `${JSON.stringify(event)}\n`).join(""));
      say(`${events.length} events in ${rest}`);
    },
  },
  help: {
    usage: "/help",
    summary: "show these commands",
    run() {
      say(commandHelp.trimEnd());
      return undefined;
    },
  },
  quit: { usage: "/quit", summary: "leave the conversation", run: () => "leave" },
};

const column = 19;

export const commandHelp: string = Object.values(commands)
  .map(({ usage, summary }) => {
    const [first, ...rest] = wrap(sentence(summary), 80 - column);
    return [`  ${usage}`.padEnd(column) + first, ...rest.map((line) => " ".repeat(column) + line), ""].join("\n");
  })
  .join("");

/** `//` begins a message with a slash. */
export const isCommand = (line: string): boolean => /^\/(?!\/)/.test(line);

/** Errors: `bad_option` for a command that is not there, and those of the command. */
export async function runCommand(conversation: Conversation, line: string): Promise<Effect> {
  const [, name, rest] = /^\/(\S*)\s*(.*)$/s.exec(line)!;
  const found = Object.hasOwn(commands, name) ? commands[name] : name === "exit" ? commands.quit : undefined;
  ensure(found, "bad_option", () => {
    const meant = meantBy(name, Object.keys(commands));
    return `there is no command /${name}${hint(meant && `/${meant}`)} (/help shows them)`;
  });
  return found.run(conversation, rest.trim());
}

/** Pictures by their names. */
const wordsOf = (content: ChatMessage["content"]): string =>
  typeof content === "string"
    ? content
    : (content ?? [])
        .map(({ text, image }) => text ?? `[${typeof image === "string" && image.length < 200 ? image : "a picture"}]`)
        .join(" ");

function fileOf(rest: string, command: string): string {
  ensure(rest !== "", "bad_option", `/${command} needs the name of a file`);
  return rest;
}

const shownOptions = (options: object): string[] =>
  Object.entries(options)
    .filter(([, value]) => value !== undefined && !(Array.isArray(value) && value.length === 0))
    .map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`);
