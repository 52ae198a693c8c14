/** Points of a file: CSV with a line x,y for each, or TSPLIB. */
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { ensure, shown, VentrisError } from "../errors.ts";
import { whyUnreadable } from "../files.ts";
import { pointing } from "../methods/index.ts";

export interface PointFile {
  readonly points: pointing.Point[];
  /** The file's own distances, where it states some. */
  readonly between: pointing.Distances;
  /** Length of the shortest tour, where it is published. */
  readonly optimum?: number;
}

/** Errors: `unavailable`; `bad_file` naming the line, and what in it is no number. */
export async function readPointFile(path: string): Promise<PointFile> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    throw new VentrisError("unavailable", `cannot read ${path}: ${whyUnreadable(cause)}`, { cause });
  }
  if (path.endsWith(".tsp")) {
    const { points, between, optimum } = pointing.readTsplib(text, basename(path));
    ensure(points, "bad_option", `${path} has distances but no coordinates to point at`);
    return { points, between, optimum };
  }
  const points = readTable(text, path);
  return { points, between: (a, b) => pointing.distance(points[a], points[b]) };
}

const decimal = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
/** Digits come first, or a word for what is no finite number: such a cell is meant as a number, whether or not it is one. */
const numberLike = /^[+-]?(\.?\d|nan|inf)/i;

export function readTable(text: string, path: string): pointing.Point[] {
  const points: pointing.Point[] = [];
  for (const [i, raw] of text.split(/\r?\n/).entries()) {
    const line = raw.trim();
    if (line === "") continue;
    const cells = line.split(/\s*[,;]\s*|\s+/);
    if (i === 0 && cells.every((cell) => cell !== "" && !numberLike.test(cell))) continue; // a header
    const where = `${path}, line ${i + 1}`;
    for (const cell of cells)
      ensure(decimal.test(cell) && Number.isFinite(Number(cell)), "bad_file", () => {
        return `${where}: ${cell === "" ? "an empty cell" : shown(cell)} is not a number; expected two, x,y`;
      });
    ensure(cells.length === 2, "bad_file", `${where}: expected two numbers, x,y, not ${cells.length}`);
    points.push([Number(cells[0]), Number(cells[1])]);
  }
  return points;
}
