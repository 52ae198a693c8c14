/** `ventris chat`: a conversation in the terminal, in the model's chat template, or as a plain transcript where it has none. */
import { createInterface } from "node:readline";
import { type Command, Option } from "commander";
import type { Answer } from "../chat.ts";
import { VentrisError } from "../errors.ts";
import { type Conversation, commandHelp, isCommand, openConversation, runCommand } from "./chat-commands.ts";
import { groups } from "./help.ts";
import { addMethodHints, readMethod, requireDecodes } from "./method-choice.ts";
import { endProgress, fail, print, printJson, say, write } from "./output.ts";
import { openShown } from "./progress.ts";
import {
  addOpenFlags,
  addOutputFlags,
  addSamplingFlags,
  openOptions,
  type RequestFlags,
  readRequest,
} from "./request.ts";
import { figuresOf } from "./run.ts";
import { styled, wordWriter } from "./terminal.ts";

interface ChatFlags extends RequestFlags {
  method?: string;
  set?: string[];
  system?: string;
  load?: string;
  json?: true;
}

export function define(command: Command): void {
  command.optionsGroup(groups.prompt);
  command
    .option("--system <text>", "tell the model what it is to be, before the conversation")
    .option("--load <file>", "go on with a conversation that /save wrote");
  addOpenFlags(command, "phaistos");
  command
    .addOption(
      new Option(
        "--method <name>",
        "how to decode: a name from ventris methods, a file, or JSON with options",
      ).helpGroup(groups.method),
    )
    .addOption(
      new Option("--set <name=value>", "set an option of the method. May be given several times.")
        .helpGroup(groups.method)
        .argParser((pair: string, all: string[] | undefined) => [...(all ?? []), pair]),
    );
  addMethodHints(command);
  addSamplingFlags(command);
  addOutputFlags(command, {
    json: false,
    defaults: { maxTokens: "as many as the context has room for; of a diffusion model at most 256" },
  });
  command.option("--json", "print a JSON object for each answer, on a line of its own");
  command.addHelpText(
    "after",
    `
In the conversation a line is a message; one that ends with \\ goes on in the
next line. Ctrl-C stops the answer, and twice leaves. Lines that begin with a
slash are commands:
${commandHelp}
It works in a pipe, too, where each line of standard input is a message:
  echo "Hello" | ventris chat --temperature 0`,
  );
  command.action(chat);
}

async function chat(flags: ChatFlags): Promise<void> {
  const options = await readRequest(flags);
  const method = await readMethod(flags.method, flags.set);
  await using model = await openShown(flags.model, openOptions(flags));
  endProgress();
  requireDecodes(model);
  const conversation = await openConversation(model, { ...flags, options, method });
  if (!model.tokenizer?.encodeChat)
    say(`${model.name} has no chat template: the conversation is written to it as a plain transcript`);
  const lines = linesOf();
  if (lines.terminal)
    say(styled(process.stderr, "dim", "a line is a message; /help shows the commands, Ctrl-D leaves"));
  try {
    for await (const line of messagesIn(lines)) await turn(conversation, line, lines);
  } finally {
    lines.close();
  }
}

/** One line: a command, or a message and its answer. What goes wrong is said, and the conversation goes on. */
async function turn(conversation: Conversation, line: string, lines: Lines): Promise<void> {
  try {
    const answer = isCommand(line) ? await runCommand(conversation, line) : conversation.send(line);
    if (answer === "leave") lines.close();
    else if (answer) await show(conversation, answer, lines);
  } catch (error) {
    if (!(error instanceof VentrisError)) throw error;
    fail(error.code === "context_full" ? new VentrisError(error.code, `${error.message}\n${howToMakeRoom}`) : error);
    if (!lines.terminal) process.exitCode = error.code === "bad_option" ? 2 : 1;
  }
}

const howToMakeRoom =
  "the conversation stays as it was: /forget N takes your first N messages and their answers out, and makes room";

async function show(conversation: Conversation, answer: Answer, lines: Lines): Promise<void> {
  const { stdout, stderr } = process;
  const { json } = conversation;
  const text = stdout.isTTY ? wordWriter(stdout) : { write, end: () => print("") };
  lines.answering(answer);
  const started = performance.now();
  conversation.events = [];
  try {
    let begun = false;
    for await (const event of answer) {
      conversation.events.push({ ...event, at: (performance.now() - started) / 1000 });
      if (event.type !== "tokens" || !event.text || json) continue;
      // A template's or transcript's blank before the answer is none of its words.
      const piece: string = begun ? event.text : event.text.trimStart();
      if (piece) begun = true;
      text.write(piece);
    }
    const reply = await answer.reply;
    if (json) printJson({ model: conversation.model.name, reply, ...(await answer.final) });
  } finally {
    if (!json) text.end();
    lines.answering(undefined);
  }
  if (lines.terminal) say(styled(stderr, "dim", figuresOf([await answer.final])));
}

/** Several lines as one message, where all but the last end with a backslash. */
async function* messagesIn(lines: Lines): AsyncGenerator<string, void> {
  let before = "";
  for (;;) {
    const line = await lines.next(before ? "… " : "> ");
    if (line === undefined) break;
    if (line.endsWith("\\")) {
      before += `${line.slice(0, -1)}\n`;
      continue;
    }
    const message = (before + line).trim();
    before = "";
    if (message) yield message;
  }
  if (before.trim()) yield before.trim();
}

interface Lines {
  /** Whether a person types. */
  readonly terminal: boolean;
  /** The next line; undefined at the end. */
  next(prompt: string): Promise<string | undefined>;
  /** The answer that Ctrl-C stops. */
  answering(answer: Answer | undefined): void;
  close(): void;
}

function linesOf(): Lines {
  const { stdin, stderr } = process;
  const terminal = stdin.isTTY === true && stderr.isTTY === true;
  // The prompt is talk: standard output has the answers alone.
  const reader = createInterface({ input: stdin, output: terminal ? stderr : undefined, terminal, historySize: 500 });
  const ready: string[] = [];
  let over = false;
  let wake = (): void => {};
  let answer: Answer | undefined;
  let interruptions = 0;
  reader.on("line", (line) => {
    interruptions = 0;
    ready.push(line);
    wake();
  });
  const close = (): void => {
    over = true;
    answer?.abort();
    reader.close();
    process.off("SIGINT", interrupt);
    wake();
  };
  const interrupt = (): void => {
    interruptions += 1;
    if (interruptions > 1 || !terminal) {
      process.exitCode = 130;
      ready.length = 0;
      close();
    } else if (answer) answer.abort();
    else {
      // As in shells: what was typed goes first.
      if (reader.line === "") say("\n(Ctrl-C again leaves)");
      else interruptions = 0;
      reader.write(null, { ctrl: true, name: "e" });
      reader.write(null, { ctrl: true, name: "u" });
      reader.prompt();
    }
  };
  reader.on("SIGINT", interrupt);
  process.on("SIGINT", interrupt);
  reader.on("close", () => {
    over = true;
    wake();
  });
  return {
    terminal,
    async next(prompt) {
      if (ready.length === 0 && !over) {
        if (terminal) {
          reader.setPrompt(prompt);
          reader.prompt();
        }
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return ready.shift();
    },
    answering(now) {
      answer = now;
    },
    close,
  };
}
