/** Plain aligned tables, as every command prints them. */
import { displayWidth, widthOf, wordsOf, wrap } from "./terminal.ts";

/** Numbers with what may stand around them, or a dash for none: such columns are aligned on the right. */
const numeric = /^([-+±]?[\d.,]+( ?[×%A-Za-zµ/]{1,8})?( \[[^\]]*\])?|-|)$/;

/**
 * Lines of a table: columns two spaces apart, numbers on the right. Where they would be wider than `width` (default: the terminal's),
 * texts are broken between words; where that is not enough, a long first cell stands on a line above the others of its row; and where
 * a text would be broken into a narrow column of many lines, each row becomes a block of lines. No line ends in spaces. Every row must have as many cells as the header.
 */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  width = widthOf(process.stdout),
): string {
  const right = header.map((_, column) => {
    const cells = rows.map((row) => row[column]);
    return cells.some((cell) => /\d/.test(cell)) && cells.every((cell) => numeric.test(cell));
  });
  const columns = header.map((title, column) => [title, ...rows.map((row) => row[column])]);
  const longest = columns.map((cells) => Math.max(...cells.map(displayWidth)));
  // Titles are broken before cells, and numbers never.
  const whole = columns.map(([title, ...cells]) => Math.max(...wordWidths(title), ...cells.map(displayWidth)));
  const least = columns.map((cells, i) => (right[i] ? whole[i] : Math.max(...cells.flatMap(wordWidths))));
  const room = width - 2 * (header.length - 1);
  const names = Math.max(displayWidth(header[0]), leastNames);
  const widths =
    fitted(longest, whole, room) ??
    fitted(whole, least, room) ??
    fitted([Math.min(names, longest[0]), ...longest.slice(1)], [Math.min(names, longest[0]), ...least.slice(1)], room);
  const squeezed = (size: number, i: number): boolean => i > 0 && size < leastText && longest[i] > mostLines * size;
  if (!widths || widths.some(squeezed)) return blocks(header, rows, width);
  const line = ([name, ...cells]: readonly string[]): string[] => {
    const above = displayWidth(name) > widths[0] && wordWidths(name).some((size) => size > widths[0]);
    const wrapped = [above ? "" : name, ...cells].map((cell, i) => wrap(cell, widths[i]));
    const height = Math.max(...wrapped.map((lines) => lines.length));
    const lines = Array.from({ length: height }, (_, y) =>
      wrapped
        .map((column, i) => pad(column[y] ?? "", widths[i], right[i]))
        .join("  ")
        .trimEnd(),
    );
    return above ? [name, ...lines] : lines;
  };
  return [header, ...rows].flatMap(line).join("\n");
}

/** Columns that names keep where the rest needs the room. */
const leastNames = 8;
/** A text of more lines than this in a column narrower than that is not read. */
const [leastText, mostLines] = [24, 4];

const wordWidths = (text: string): number[] => text.split("\n").flatMap(wordsOf).map(displayWidth);

function pad(text: string, width: number, right: boolean): string {
  const space = " ".repeat(Math.max(0, width - displayWidth(text)));
  return right ? space + text : text + space;
}

/** Widths with a sum of at most `room`: the widest gives first, none below its least. Undefined where they cannot fit. */
function fitted(longest: readonly number[], least: readonly number[], room: number): number[] | undefined {
  const widths = [...longest];
  let excess = widths.reduce((a, b) => a + b, 0) - room;
  while (excess > 0) {
    const yielding = widths.flatMap((width, i) => (width > least[i] ? [i] : []));
    if (yielding.length === 0) return undefined;
    const widest = yielding.reduce((a, b) => (widths[b] > widths[a] ? b : a));
    widths[widest]--;
    excess--;
  }
  return widths;
}

/** A row as its first cell (its number and name, where rows are numbered), with the others below it, each after its title. */
function blocks(header: readonly string[], rows: readonly (readonly string[])[], width: number): string {
  const names = rows.every(([first]) => /^\d+$/.test(first)) ? 2 : 1;
  const titles = Math.max(...header.slice(names).map(displayWidth)) + 4;
  return rows
    .map((row) =>
      [
        row.slice(0, names).join(" "),
        ...row
          .slice(names)
          .flatMap((cell, i) =>
            wrap(cell, Math.max(20, width - titles)).map((text, y) =>
              `${pad(y === 0 ? `  ${header[names + i]}` : "", titles, false)}${text}`.trimEnd(),
            ),
          ),
      ].join("\n"),
    )
    .join("\n");
}
