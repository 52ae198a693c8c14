/** TSPLIB instances (Reinelt 1991): coordinates or explicit weights, distances rounded as the library's manual says. */
import { ensure } from "../../errors.ts";
import { requireWhole } from "../../numbers.ts";
import type { Point } from "./geometry.ts";
import { publishedOptimum } from "./optima.ts";
import type { Distances } from "./tours.ts";

/** A travelling salesman's problem as a TSPLIB file states it. */
export interface Instance {
  name: string;
  cities: number;
  /** Absent for explicit weights without coordinates to show. */
  points?: Point[];
  /** Length of the shortest tour, where it is published for an instance of this name and so many cities. */
  optimum?: number;
  /** Errors: `bad_option` for what is no index of a city. */
  between: Distances;
}

const mostCities = 20_000;
const longestFile = 2 ** 26;

/** Errors: `bad_file` naming the instance and what is wrong; `bad_option` for problems and kinds of weights that are not read. */
export function readTsplib(text: string, origin: string): Instance {
  ensure(text.length <= longestFile, "bad_file", `${origin}: longer than ${longestFile} characters`);
  const fields = new Map<string, string>();
  const sections = new Map<string, number[]>();
  let section: number[] | undefined;
  for (const raw of text.split(/\r?\n/)) {
    const line = raw.trim();
    if (line === "" || line === "EOF") continue;
    const [, key, value] = /^([A-Z_]+)\s*(?::\s*(.*))?$/.exec(line) ?? [];
    if (key?.endsWith("_SECTION")) {
      ensure(!sections.has(key), "bad_file", `${origin}: ${key} is there twice`);
      section = [];
      sections.set(key, section);
    } else if (key !== undefined) {
      section = undefined;
      fields.set(key, value ?? "");
    } else {
      ensure(section, "bad_file", `${origin}: "${line.slice(0, 60)}" stands outside every section`);
      for (const word of line.split(/\s+/)) {
        const number = Number(word);
        ensure(Number.isFinite(number), "bad_file", `${origin}: "${word.slice(0, 40)}" is not a number`);
        section.push(number);
      }
    }
  }
  const cities = Number(fields.get("DIMENSION"));
  ensure(
    Number.isInteger(cities) && cities >= 1 && cities <= mostCities,
    "bad_file",
    `${origin}: DIMENSION is ${fields.get("DIMENSION") ?? "missing"}, expected 1 to ${mostCities}`,
  );
  const type = fields.get("TYPE") ?? "TSP";
  // Some files have the author's name behind the type.
  ensure(/^TSP(?!\w)/.test(type), "bad_option", `${origin}: problems of the type ${type} are not read, only TSP`);
  const kind = fields.get("EDGE_WEIGHT_TYPE") ?? "";
  const isExplicit = kind === "EXPLICIT";
  const measure = Object.hasOwn(measures, kind) ? measures[kind] : undefined;
  ensure(
    measure || isExplicit,
    "bad_option",
    `${origin}: weights of the kind ${kind || "(none)"} are not read; known: EXPLICIT, ${Object.keys(measures).join(", ")}`,
  );
  const shown = ["NODE_COORD_SECTION", ...(isExplicit ? ["DISPLAY_DATA_SECTION"] : [])].find((one) =>
    sections.has(one),
  );
  const points = shown === undefined ? undefined : pointsOf(sections.get(shown)!, cities, `${origin}: ${shown}`);
  const name = (fields.get("NAME") || origin).replace(/\.tsp$/, "");
  // Edges that a tour must have make another problem.
  const optimum = sections.has("FIXED_EDGES_SECTION") ? undefined : publishedOptimum(name, cities);
  const instance = { name, cities, ...(points && { points }), ...(optimum !== undefined && { optimum }) };
  if (!measure) {
    const format = fields.get("EDGE_WEIGHT_FORMAT") ?? "";
    const between = explicitWeights(sections.get("EDGE_WEIGHT_SECTION") ?? [], format, cities, origin);
    return { ...instance, between: ofCities(between, cities) };
  }
  ensure(points, "bad_file", `${origin}: no NODE_COORD_SECTION`);
  return { ...instance, between: ofCities((a, b) => measure(points[a], points[b]), cities) };
}

function ofCities(between: Distances, cities: number): Distances {
  const there = (city: number): boolean => Number.isInteger(city) && city >= 0 && city < cities;
  return (a, b) => {
    if (!there(a) || !there(b)) requireWhole({ "between's a": a, "between's b": b }, 0, cities - 1);
    return between(a, b);
  };
}

/** Lines of a number from 1 on and two coordinates: each city's, wherever its line stands. */
function pointsOf(numbers: readonly number[], cities: number, where: string): Point[] {
  ensure(numbers.length === 3 * cities, "bad_file", `${where}: ${numbers.length / 3} coordinates for ${cities} cities`);
  const points = new Map<number, Point>();
  for (let i = 0; i < numbers.length; i += 3) {
    const [number, x, y] = numbers.slice(i, i + 3);
    const there = Number.isInteger(number) && number >= 1 && number <= cities;
    ensure(there, "bad_file", `${where}: ${number} is no number of a city, which are 1 to ${cities}`);
    ensure(!points.has(number), "bad_file", `${where}: the city ${number} is there twice, and so another is missing`);
    points.set(number, [x, y]);
  }
  return Array.from({ length: cities }, (_, city) => points.get(city + 1)!);
}

/** The manual's nint. */
const nearestInteger = (x: number): number => Math.floor(x + 0.5);
const straightLine = (a: Point, b: Point): number => Math.hypot(a[0] - b[0], a[1] - b[1]);

const measures: Readonly<Record<string, (a: Point, b: Point) => number>> = {
  EUC_2D: (a, b) => nearestInteger(straightLine(a, b)),
  CEIL_2D: (a, b) => Math.ceil(straightLine(a, b)),
  MAN_2D: (a, b) => nearestInteger(Math.abs(a[0] - b[0]) + Math.abs(a[1] - b[1])),
  MAX_2D: (a, b) => Math.max(nearestInteger(Math.abs(a[0] - b[0])), nearestInteger(Math.abs(a[1] - b[1]))),
  /** Pseudo-Euclidean, of the problems att48 and att532. */
  ATT(a, b) {
    const length = Math.sqrt(((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) / 10);
    const rounded = nearestInteger(length);
    return rounded < length ? rounded + 1 : rounded;
  },
  /** Kilometres on a sphere; coordinates are degrees and minutes, DDD.MM, and pi is 3.141592, as in the manual. */
  GEO(a, b) {
    const radians = (x: number): number => {
      const degrees = Math.trunc(x);
      // biome-ignore lint/suspicious/noApproximativeNumericConstant: the manual's own value, part of the published distances
      return (3.141592 * (degrees + (5 * (x - degrees)) / 3)) / 180;
    };
    const q1 = Math.cos(radians(a[1]) - radians(b[1]));
    const q2 = Math.cos(radians(a[0]) - radians(b[0]));
    const q3 = Math.cos(radians(a[0]) + radians(b[0]));
    // Of cities side by side the cosine may be rounded to just above 1, which is that of no angle.
    return Math.floor(6378.388 * Math.acos(Math.min(1, 0.5 * ((1 + q1) * q2 - (1 - q1) * q3))) + 1);
  },
};

function explicitWeights(numbers: readonly number[], format: string, cities: number, origin: string): Distances {
  const triangle = (cities * (cities - 1)) / 2;
  const counts: Readonly<Record<string, number>> = {
    FULL_MATRIX: cities * cities,
    UPPER_ROW: triangle,
    LOWER_ROW: triangle,
    UPPER_DIAG_ROW: triangle + cities,
    LOWER_DIAG_ROW: triangle + cities,
  };
  const expected = Object.hasOwn(counts, format) ? counts[format] : undefined;
  ensure(
    expected !== undefined,
    "bad_option",
    `${origin}: weights in the form ${format || "(none)"} are not read; known: ${Object.keys(counts).join(", ")}`,
  );
  ensure(
    numbers.length === expected,
    "bad_file",
    `${origin}: ${numbers.length} weights, and ${format} of ${cities} cities has ${expected}`,
  );
  if (format === "FULL_MATRIX") return (a, b) => numbers[a * cities + b];
  const diagonal = format.includes("DIAG") ? 1 : 0;
  return (a, b) => {
    if (a === b) return 0;
    const [low, high] = [Math.min(a, b), Math.max(a, b)];
    if (format.startsWith("LOWER")) return numbers[(high * (high - 1)) / 2 + diagonal * high + low];
    // Rows before `low` hold cities - 1 - i entries each, and one more with the diagonal.
    const before = low * (cities - 1 + diagonal) - (low * (low - 1)) / 2;
    return numbers[before + high - low - 1 + diagonal];
  };
}
