/** Questions to a network: points that have an answer, in the unit square, and its answer about the points as they were given. */
import { z } from "zod";
import { parseOptions } from "../../engine/shapers/options.ts";
import { normalise, type Point, requirePoints } from "./geometry.ts";
import type { PointingModel } from "./model.ts";
import { type OwnRule, type RuleName, rules } from "./rules.ts";
import { type Answer, mostBeams, pointAt } from "./search.ts";
import { tasks } from "./tasks.ts";

/** How an answer is searched. */
export interface PointOptions {
  /** Hypotheses kept; default: the task's own. */
  beams?: number;
  /** What answers are held to, by its name or as an automaton of one's own; default: the task's own. `none` lets the network answer as it likes. */
  rule?: RuleName | OwnRule;
  /** Most points that are taken: memory and time grow with their square. At most 5000; default 2000. */
  most?: number;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  signal?: AbortSignal;
}

/** The network's answer for a set of points. */
export interface Pointed extends Answer {
  /** True when the points lay outside the unit square and were moved and scaled into it. */
  readonly normalised: boolean;
  /** Indices of points that the network was not shown, as they equal earlier ones; of hulls alone. */
  readonly dropped: readonly number[];
  /** Further answers of the beam, best first. */
  readonly others: readonly Answer[];
}

export const mostPoints = 2000;
/** Of more there are no exact answers to compare with. */
export const mostSolved = 5000;

const ruleNames = Object.keys(rules);
const pointOptions = z.strictObject({
  beams: z.int().min(1).max(mostBeams).optional(),
  rule: z
    .custom<RuleName | OwnRule>((rule) => typeof rule === "function" || ruleNames.includes(rule as string), {
      error: `must be ${ruleNames.map((name) => `"${name}"`).join(", ")} or a function that gives a state of a rule`,
    })
    .optional(),
  most: z.int().min(1).max(mostSolved).optional(),
  signal: z.instanceof(AbortSignal, { error: "must be an AbortSignal" }).optional(),
});

/**
 * The network's answer: indices of the points. Errors: `bad_option` for too few points (3; a tour: 1) or more than `most`, coordinates that
 * are no numbers, and points that have no answer (on one line; for a triangulation, equal ones); `constraint_dead_end`; `aborted`.
 */
export async function point(
  { task: name, network }: PointingModel,
  points: readonly Point[],
  options: PointOptions = {},
): Promise<Pointed> {
  const task = tasks[name];
  const parsed = parseOptions(pointOptions, options, "point");
  const { beams = task.beams, rule = task.rule, most = mostPoints, signal } = parsed;
  requirePoints(points, task.least, most);
  task.check(points);
  const shown = task.once ? firstOfEach(points) : Array.from(points, (_, i) => i);
  const { points: inside, changed } = normalise(shown.map((index) => points[index]));
  const steps = task.stops ? undefined : task.steps(inside.length);
  const answers = await pointAt(network, inside, { beams, rule, steps, signal });
  const [best, ...others] = shown.length === points.length ? answers : answers.map((one) => among(one, shown, points));
  const kept = new Set(shown);
  return { ...best, others, normalised: changed, dropped: [...points.keys()].filter((index) => !kept.has(index)) };
}

/** Indices of the points that equal no earlier one. */
function firstOfEach(points: readonly Point[]): number[] {
  // A map takes -0 and 0 for one key, and so do points.
  const seen = new Map<number, Set<number>>();
  return [...points.keys()].filter((index) => {
    const [x, y] = points[index];
    const column = seen.get(x) ?? new Set();
    seen.set(x, column);
    return column.size < column.add(y).size;
  });
}

/** An answer about the points that were shown as one about all points. */
function among(answer: Answer, shown: readonly number[], points: readonly Point[]): Answer {
  return {
    ...answer,
    places: answer.places.map((place) => shown[place]),
    probabilities: answer.probabilities.map((step) => {
      const all = new Float64Array(points.length + 1);
      for (const [place, index] of shown.entries()) all[index] = step[place];
      all[points.length] = step[shown.length];
      return all;
    }),
  };
}
