/**
 * Where words go: the result to stdout; progress and messages to stderr. `--quiet` leaves the result and errors alone. Under `--json` an error is
 * on stdout, too, as an object of its own: whoever reads the result reads there why there is none.
 */
import { type Screen, styled, widthOf, wrap } from "./terminal.ts";

let quiet = false;
let json = false;
/** Whether a line of progress stands at the end of the terminal. */
let inProgress = false;

export function setQuiet(value: boolean): void {
  quiet = value;
}

export function setJson(value: boolean): void {
  json = value;
}

/** Whether messages are shown at all: what is only said need not be measured otherwise. */
export const talks = (): boolean => !quiet;

/** A piece of the result, without a newline of its own. */
export function write(text: string): void {
  endProgress();
  process.stdout.write(text);
}

/** A line of the result. */
export const print = (text: string): void => write(`${text}\n`);

/** The result as one line of JSON. */
export const printJson = (value: unknown): void => print(JSON.stringify(value));

/** A message that belongs to the outcome. */
export function say(text: string): void {
  if (!quiet) complain(text);
}

/** What went wrong: said in any case. Lines are as wide as the terminal, and none breaks a word; what is indented (a place in the program) stays as it is. */
export function complain(text: string): void {
  endProgress();
  const { stderr } = process;
  const lines = text.split("\n").flatMap((line) => (line.startsWith(" ") ? line : wrap(line, widthOf(stderr))));
  stderr.write(`${lines.join("\n")}\n`);
}

/** An error, in words for people, and for programs under `--json`: `code` is that of the library's errors. */
export function fail({ code, message }: { code: string; message: string }): void {
  complain(`ventris: ${message}`);
  if (json) printJson({ error: { code, message } });
}

/** Where others write progress: stderr, unless it is to be quiet. */
export const talk: Screen = {
  get isTTY() {
    return process.stderr.isTTY;
  },
  get columns() {
    return process.stderr.columns;
  },
  write: (text) => quiet || process.stderr.write(text),
};

/** What is being done now: one line of a terminal, which the next one replaces, and which goes when anything else is written. */
export function showProgress(text: string): void {
  const { stderr } = process;
  if (quiet || !stderr.isTTY) return;
  // Cut to the width: a line that wraps cannot be taken back.
  stderr.write(`\r\x1b[K${styled(stderr, "dim", text.slice(0, widthOf(stderr) - 1))}`);
  inProgress = true;
}

/** Takes the line of progress away. */
export function endProgress(): void {
  if (!inProgress) return;
  inProgress = false;
  process.stderr.write("\r\x1b[K");
}
