/** TSPLIB instances (Reinelt 1991): coordinates or explicit weights, distances rounded as the library's manual says. */
import { ensure } from "../../errors.ts";
import { requireWhole } from "../../numbers.ts";
import type { Point } from "./geometry.ts";
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

/** Errors: `bad_file` naming the instance and what is wrong; `bad_option` for weight kinds that are not read. */
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
  const points = pointsOf(sections.get("NODE_COORD_SECTION") ?? sections.get("DISPLAY_DATA_SECTION"), cities, origin);
  const kind = fields.get("EDGE_WEIGHT_TYPE") ?? "";
  const name = fields.get("NAME") || origin;
  if (kind === "EXPLICIT") {
    const format = fields.get("EDGE_WEIGHT_FORMAT") ?? "";
    const between = explicitWeights(sections.get("EDGE_WEIGHT_SECTION") ?? [], format, cities, origin);
    return { name, cities, ...(points && { points }), between: ofCities(between, cities) };
  }
  const measure = measures[kind];
  ensure(
    measure,
    "bad_option",
    `${origin}: weights of the kind ${kind || "(none)"} are not read; known: EXPLICIT, ${Object.keys(measures).join(", ")}`,
  );
  ensure(points && sections.has("NODE_COORD_SECTION"), "bad_file", `${origin}: no NODE_COORD_SECTION`);
  return { name, cities, points, between: ofCities((a, b) => measure(points[a], points[b]), cities) };
}

function ofCities(between: Distances, cities: number): Distances {
  const there = (city: number): boolean => Number.isInteger(city) && city >= 0 && city < cities;
  return (a, b) => {
    if (!there(a) || !there(b)) requireWhole({ "between's a": a, "between's b": b }, 0, cities - 1);
    return between(a, b);
  };
}

function pointsOf(numbers: readonly number[] | undefined, cities: number, origin: string): Point[] | undefined {
  if (numbers === undefined) return undefined;
  ensure(
    numbers.length === 3 * cities,
    "bad_file",
    `${origin}: ${numbers.length / 3} coordinates for ${cities} cities`,
  );
  return Array.from({ length: cities }, (_, i): Point => [numbers[3 * i + 1], numbers[3 * i + 2]]);
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
  const expected = counts[format];
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
