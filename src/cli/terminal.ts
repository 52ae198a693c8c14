/** What a terminal can show: its width, colours, and text wrapped between words. */

/** A stream as far as it matters here: `process.stdout`, `process.stderr`, or anything like them. */
export interface Screen {
  readonly isTTY?: boolean;
  readonly columns?: number;
  hasColors?(): boolean;
  write(text: string): unknown;
}

/** Columns that a line may take. Infinity where the output goes to a file or a program, unless COLUMNS says otherwise. */
export function widthOf({ isTTY, columns }: Screen): number {
  const stated = Number(process.env.COLUMNS);
  const known = isTTY && columns ? columns : stated >= 20 ? stated : isTTY ? 80 : Infinity;
  return Math.max(20, known);
}

export type Style = "bold" | "dim" | "red" | "green";
const codes: Readonly<Record<Style, readonly [on: number, off: number]>> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
};

/** None where NO_COLOR is set; else as FORCE_COLOR says, in a pipe, too; else where the screen is a terminal that has them. */
function hasColours(screen: Screen): boolean {
  const { FORCE_COLOR, NO_COLOR } = process.env;
  if (NO_COLOR) return false;
  if (FORCE_COLOR) return !["0", "false"].includes(FORCE_COLOR);
  return screen.isTTY === true && screen.hasColors?.() === true;
}

/** The text in a style, or as it is where the screen has no colours. */
export function styled(screen: Screen, style: Style, text: string): string {
  if (!hasColours(screen)) return text;
  const [on, off] = codes[style];
  return `\x1b[${on}m${text}\x1b[${off}m`;
}

const wide =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}\uff01-\uff60]/u;
const unseen = /[\p{Mark}\p{Cf}\p{Cc}]/u;

/** Columns that a text takes. */
export function displayWidth(text: string): number {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += unseen.test(character) ? 0 : wide.test(character) ? 2 : 1;
  return width;
}

/** A space between words: none inside of braces at their ends, between a number and its unit, or a flag and its value unless that is long: commands stand in messages, too. */
const between =
  /(?<!\{) (?!\})(?!(?<=\d )(?:[%×°]|[nµm]?s|min|h|[kMGT]?B|[kM]?Hz|bits?|tokens\/s|[GT]FLOP)(?![\p{L}\p{N}]))(?!(?<=(?<!\S)--[a-z][a-z-]* )[^\s-]\S{0,23}(?!\S))/u;

/** The words of a text, as lines are broken between them. A number and its unit are one, and so are a flag and its value. */
export const wordsOf = (text: string): string[] => text.split(between);

/** Lines of at most `width` columns, broken at spaces only: a longer word has a line of its own. */
export function wrap(text: string, width: number): string[] {
  return text.split("\n").flatMap((paragraph) => {
    const lines: string[] = [];
    let line = "";
    for (const word of wordsOf(paragraph)) {
      if (line !== "" && displayWidth(line) + 1 + displayWidth(word) > width) {
        lines.push(line.trimEnd());
        line = word;
      } else line = line === "" ? word : `${line} ${word}`;
    }
    return [...lines, line];
  });
}

/**
 * Lines wrapped one by one: what goes on stands below the text of its line, behind the label that begins it (with two spaces or more after it,
 * or a sign) where it has one.
 */
export function wrapLines(text: string, width: number): string {
  return text
    .split("\n")
    .flatMap((line) => {
      if (displayWidth(line) <= width) return [line];
      const [label] = /^ *(\S{1,12}(?: \S{1,12})? {2,}|[✓✗·] )?/.exec(line)!;
      const [first, ...rest] = wrap(line.slice(label.length), Math.max(20, width - displayWidth(label)));
      return [label + first, ...rest.map((more) => " ".repeat(displayWidth(label)) + more)];
    })
    .join("\n");
}

/** A command on lines that a shell takes as one, broken between its words; whole on Windows, whose shells have no common sign for that. */
export function wrapCommand(line: string, width: number, platform: string = process.platform): string {
  if (displayWidth(line) <= width || platform === "win32") return line;
  const indent = /^ */.exec(line)![0];
  const lines: string[] = [];
  let current = indent;
  for (const word of line.match(/(?:[^\s"']|"[^"]*(?:"|$)|'[^']*(?:'|$))+/g) ?? []) {
    const begun = current.trim() === "" ? current + word : `${current} ${word}`;
    if (displayWidth(begun) <= width - 2 || current.trim() === "") current = begun;
    else {
      lines.push(`${current} \\`);
      current = `${indent}    ${word}`;
    }
  }
  return [...lines, current].join("\n");
}

/** Text that comes piece by piece, wrapped as by `wrap`: a word is written once it is known where it ends. */
export function wordWriter(screen: Screen): { write(text: string): void; end(): void } {
  const width = widthOf(screen);
  let column = 0;
  let gap = "";
  let word = "";
  const flush = (): void => {
    if (word === "") return;
    const size = displayWidth(word);
    if (column > 0 && column + gap.length + size > width) {
      screen.write(`\n${word}`);
      column = size;
    } else {
      screen.write(gap + word);
      column += gap.length + size;
    }
    [gap, word] = ["", ""];
  };
  return {
    write(text) {
      for (const character of text) {
        if (character !== " " && character !== "\n") word += character;
        else {
          flush();
          if (character === " ") gap += character;
          else {
            screen.write("\n");
            [column, gap] = [0, ""];
          }
        }
      }
    },
    end() {
      flush();
      if (column > 0) screen.write("\n");
      column = 0;
    },
  };
}
