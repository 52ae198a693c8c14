/** The paper's three tasks: examples with exact answers, written in the order that a network is taught, and how answers are scored. */
import { uniform } from "../../engine/random.ts";
import { ensure, shown } from "../../errors.ts";
import { requireIndices, requireWhole } from "../../numbers.ts";
import { requireCoordinates } from "./checks.ts";
import {
  convexHull,
  delaunay,
  distance,
  isDelaunay,
  isSimplePolygon,
  type Point,
  polygonArea,
  requirePoints,
  requireTriangulable,
  sameCycle,
  type Triangle,
  triangleCoverage,
} from "./geometry.ts";
import { heldKarp } from "./held-karp.ts";
import { overlappingTriangles } from "./overlaps.ts";
import type { RuleName } from "./rules.ts";
import { canonicalTour, type Distances, isTour, tourLength } from "./tours.ts";

/** Name of a task. */
export type TaskName = "hull" | "delaunay" | "tour";

/** How good an answer is. */
export interface Score {
  /** The whole answer is right: the hull up to rotation and direction, the triangles as a set, a tour as short as the shortest. */
  readonly exact: boolean;
  /** The answer is of the right kind at all: a simple polygon, triangles that do not overlap, a tour. */
  readonly valid: boolean;
  /** Hull: share of the true area covered. Delaunay: share of the true triangles found, valid or not. Tour: length over the shortest, or over `reference`. */
  readonly quality: number;
}

/** A geometric question: its rule, its exact solution, and how an answer is judged. */
export interface PointingTask {
  readonly name: TaskName;
  readonly least: number;
  /** Whether networks are taught where an answer ends. Those of the others end after `steps`. */
  readonly stops: boolean;
  /** Whether equal points are asked for once, by the first of them. */
  readonly once: boolean;
  /** Steps of the longest answer to n points, a stop that is taught included. Errors: `bad_option` for a number of points that there cannot be. */
  steps(points: number): number;
  /** The rule that answers are held to when the user says nothing, and the beams that go with it. */
  readonly rule: RuleName;
  readonly beams: number;
  /** Errors: `bad_option` for points that have no answer: such as lie on one line, and equal ones where each must have its own place. */
  check(points: readonly Point[]): void;
  /** The exact answer as the network is taught it, stop left out. Errors: `bad_option` where there is none. */
  solve(points: readonly Point[]): number[];
  /** `truth`: what `solve` gives, where it was worked out already. Errors: `bad_option` for places that are no points, and where there is no truth. */
  score(points: readonly Point[], answer: readonly number[], truth?: readonly number[]): Score;
}

/** The triangles of an answer about them, the last one short where the answer ends within. */
export const trianglesOf = (flat: readonly number[]): number[][] =>
  Array.from({ length: Math.ceil(flat.length / 3) }, (_, i) => flat.slice(3 * i, 3 * i + 3));

function euclidean(points: readonly Point[]): Distances {
  requireCoordinates(points);
  return (a, b) => distance(points[a], points[b]);
}

function counted(points: number): number {
  requireWhole({ points }, 1, mostDrawn);
  return points;
}

/** More fit no task and hardly a memory. */
const mostDrawn = 1_000_000;

/** Errors: `bad_option` naming the list where it is none of places of points. */
function requirePlaces(name: string, places: readonly number[], points: readonly Point[]): void {
  ensure(Array.isArray(places), "bad_option", () => `${name} must be a list of places of points, not ${shown(places)}`);
  requireIndices(name, places, points.length);
}

/** The task, which looks at what it is given before it works with it. */
const checkedTask = (task: PointingTask): PointingTask => ({
  ...task,
  check(points) {
    requirePoints(points, task.least);
    task.check(points);
  },
  solve(points) {
    requireCoordinates(points);
    return task.solve(points);
  },
  score(points, answer, truth) {
    requireCoordinates(points);
    requirePlaces("answer", answer, points);
    if (truth !== undefined) requirePlaces("truth", truth, points);
    return task.score(points, answer, truth);
  },
});

/** The tasks by their names: convex hull, Delaunay triangulation, shortest tour. */
export const tasks: Readonly<Record<TaskName, PointingTask>> = {
  hull: checkedTask({
    name: "hull",
    least: 3,
    stops: true,
    once: true,
    steps: (points) => counted(points) + 1,
    rule: "hull",
    beams: 1,
    check: convexHull,
    solve: convexHull,
    score(points, given, truth = convexHull(points)) {
      // Files of the authors repeat the first point at the end.
      const answer = withoutReturn(given);
      const valid = isSimplePolygon(points, answer);
      const quality = valid ? Math.min(1, polygonArea(points, answer) / polygonArea(points, truth)) : 0;
      return { exact: sameCycle(answer, truth), valid, quality };
    },
  }),
  delaunay: checkedTask({
    name: "delaunay",
    least: 3,
    stops: true,
    once: false,
    steps: (points) => 3 * Math.max(1, 2 * counted(points) - 5) + 1,
    rule: "triples",
    beams: 3,
    check: requireTriangulable,
    solve: (points) => delaunay(points).flat(),
    score(points, answer, truth) {
      const right = truth ? (trianglesOf(truth) as unknown as Triangle[]) : delaunay(points);
      const triangles = trianglesOf(answer);
      const valid =
        answer.length > 0 &&
        triangles.every((triangle) => new Set(triangle).size === 3) &&
        overlappingTriangles(points, triangles) === 0;
      return {
        exact: valid && isDelaunay(points, triangles, right),
        valid,
        quality: triangleCoverage(points, triangles, right),
      };
    },
  }),
  tour: checkedTask({
    name: "tour",
    least: 1,
    stops: false,
    once: false,
    steps: (points) => counted(points),
    rule: "tour",
    beams: 10,
    check() {},
    solve: (points) => heldKarp(points.length, euclidean(points)),
    score(points, answer, truth = heldKarp(points.length, euclidean(points))) {
      const valid = isTour(answer, points.length);
      const [length, shortest] = [answer, truth].map((tour) => tourLength(tour, euclidean(points)));
      const exact = valid && (length <= shortest * (1 + 1e-9) || String(canonicalTour(answer)) === String(truth));
      return { exact, valid, quality: valid ? length / (shortest || 1) : Number.NaN };
    },
  }),
};

/** Uniform in the unit square, a function of seed and number. Errors: `bad_option` for numbers that are not whole, or below 0, and for more than a million points. */
export function drawPoints(count: number, seed: number, index: number): Point[] {
  requireWhole({ count }, 0, mostDrawn);
  requireWhole({ seed, index }, 0);
  const stream = { seed, request: count };
  return Array.from(
    { length: count },
    (_, i): Point => [uniform(stream, index, "data", 2 * i), uniform(stream, index, "data", 2 * i + 1)],
  );
}

/**
 * Lines of the authors' files about a task, "x1 y1 x2 y2 … output c1 c2 …", with indices from 1; a closing first index is taken off hulls and
 * tours. Undefined for a blank line, and for a line of another form, which the caller names.
 */
export function readLine(line: string, task: TaskName): { points: Point[]; answer: number[] } | undefined {
  const [left, right, ...more] = line.trim().split(/\s*output\s*/);
  if (left === "" || right === undefined || more.length > 0) return undefined;
  const [coordinates, indices] = [left, right].map((part) => part.split(/\s+/).filter(Boolean).map(Number));
  const count = coordinates.length / 2;
  const sound =
    Number.isInteger(count) &&
    coordinates.every(Number.isFinite) &&
    indices.every((index) => Number.isInteger(index) && index >= 1 && index <= count);
  if (!sound) return undefined;
  const answer = indices.map((index) => index - 1);
  return {
    points: Array.from({ length: count }, (_, i): Point => [coordinates[2 * i], coordinates[2 * i + 1]]),
    answer: task === "delaunay" ? answer : withoutReturn(answer),
  };
}

/** A cycle that is written with its first place at the end, too, without that. */
function withoutReturn(cycle: readonly number[]): number[] {
  return cycle.length > 1 && cycle[0] === cycle[cycle.length - 1] ? cycle.slice(0, -1) : [...cycle];
}
