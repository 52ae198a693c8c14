/** Tasks to measure policies on, and the loop that plays them: synthetic ones with known best arms, and tables of labelled rows. */
import { normal, uniform } from "../../engine/random.ts";
import { ensure, plural, requireAnswer, shown, telling } from "../../errors.ts";
import { isObject } from "../../json.ts";
import { requireCounts, requireIndices, requireWhole } from "../../numbers.ts";
import { cellText } from "../../text/cells.ts";
import { nextTurn } from "../../turn.ts";
import { isInstance } from "../../values.ts";
import type { Policy } from "./policy.ts";

/** One round: contexts to choose among, and the losses of the choices. */
export interface Round {
  readonly contexts: readonly Float64Array[];
  /** Expected loss of each arm. */
  readonly means: readonly number[];
  /** The loss that an arm gives this time, in [0, 1]. Errors: `bad_option` for an arm that is none. */
  loss(arm: number): number;
}

/** Rounds for a policy to play. */
export interface Task {
  readonly name: string;
  readonly width: number;
  readonly arms: number;
  /** A function of the task's seed and the number. Errors: `bad_option` for a number that is not whole or below 0. */
  round(index: number): Round;
}

/** How a policy did on a task. */
export interface Play {
  /** Sum of means of the chosen arms less those of the best. */
  regret: number;
  /** The same over the second half of the rounds. */
  secondHalf: number;
  loss: number;
  /** The one arm that, taken in every round, would have cost least, as is known in hindsight: its means instead of losses. */
  fixed: {
    /** Which it is. */
    arm: number;
    /** As above. */
    regret: number;
    /** As above. */
    secondHalf: number;
    /** As above. */
    loss: number;
  };
  /** Regret up to each of a hundred evenly spaced rounds. */
  curve: readonly (readonly [round: number, regret: number])[];
}

/** Plays `rounds` rounds, and lets nothing else happen meanwhile (`playInTurns` does). Errors: `aborted`; `bad_option` for rounds below 1, and for a task or policy of one's own whose means or choices are none; as the policy. */
export function play(policy: Policy, task: Task, rounds: number, signal?: AbortSignal): Play {
  const all = playing(policy, task, rounds, signal);
  for (;;) {
    const { done, value } = all.next();
    if (done) return value;
  }
}

const millisecondsInTurn = 5;

/** As `play`, giving way every few milliseconds: timers, messages and the signal are heard. Errors: as `play`. */
export async function playInTurns(policy: Policy, task: Task, rounds: number, signal?: AbortSignal): Promise<Play> {
  const all = playing(policy, task, rounds, signal);
  for (let since = performance.now(); ; ) {
    const { done, value } = all.next();
    if (done) return value;
    if (performance.now() - since < millisecondsInTurn) continue;
    await nextTurn();
    since = performance.now();
  }
}

/** A step a round. */
function* playing(policy: Policy, task: Task, rounds: number, signal?: AbortSignal): Generator<void, Play> {
  requireCounts({ rounds });
  const choose = telling(`${policy.name}: choose`, policy.choose.bind(policy));
  const learn = telling(`${policy.name}: learn`, policy.learn.bind(policy));
  let [regret, loss, firstHalf, least] = [0, 0, 0, 0];
  /** Sums of each arm's means, of those arms that every round has. */
  let sums: number[] | undefined;
  let half = { sums: [0], least };
  const curve: (readonly [number, number])[] = [];
  for (let i = 0; i < rounds; i++) {
    ensure(!signal?.aborted, "aborted", "playing the bandit was aborted");
    const one = roundOf(task, i);
    const { contexts, means } = one;
    ensure(means.length === contexts.length && means.every(Number.isFinite), "bad_option", () => {
      return `${task.name}: the means of round ${i} are ${shown(means)}, and must be a finite number for each of ${contexts.length} arms`;
    });
    const decision = choose(contexts);
    requireAnswer(isObject(decision), decision, `${policy.name}: choose`, "{ round, arm } of a decision");
    const { round, arm } = decision;
    requireWhole({ [`${policy.name}: arm of its decision`]: arm }, 0, contexts.length - 1);
    const asked = `${task.name}: loss(${arm}) of round ${i}`;
    const seen = telling(asked, () => one.loss(arm))();
    requireAnswer(Number.isFinite(seen), seen, asked, "a finite number");
    learn(round, seen);
    const lowest = Math.min(...means);
    regret += means[arm] - lowest;
    loss += seen;
    least += lowest;
    sums = (sums ?? means).slice(0, means.length).map((sum, k) => (i === 0 ? sum : sum + means[k]));
    if (i + 1 === Math.floor(rounds / 2)) [firstHalf, half] = [regret, { sums, least }];
    if ((i + 1) % Math.max(1, Math.floor(rounds / 100)) === 0) curve.push([i + 1, regret]);
    yield;
  }
  const fixed = fixedBest(sums!, least, half);
  return { regret, secondHalf: regret - firstHalf, loss, fixed, curve };
}

function fixedBest(sums: readonly number[], least: number, half: { sums: readonly number[]; least: number }) {
  const loss = Math.min(...sums);
  const arm = sums.indexOf(loss);
  const regret = loss - least;
  return { arm, regret, secondHalf: regret - ((half.sums[arm] ?? 0) - half.least), loss };
}

/** Errors: `bad_option` for what is no round. */
function roundOf(task: Task, index: number): Round {
  const asked = `${task.name}: round(${index})`;
  const round = telling(asked, () => task.round(index))();
  const sound =
    isObject(round) &&
    Array.isArray(round.contexts) &&
    round.contexts.every((context) => isInstance<Float64Array>("Float64Array", context)) &&
    Array.isArray(round.means) &&
    typeof round.loss === "function";
  requireAnswer(sound, round, asked, "{ contexts, means, loss }, lists and a function");
  return round;
}

/** A task with a known law. */
export interface SyntheticOptions {
  /** Arms to choose from in each round. Default 4. */
  arms?: number;
  /** Features of an arm's context. Default 10. */
  width?: number;
  /** Of the hidden direction, contexts and losses. Default 0. */
  seed?: number;
  /** The best arm's loss times 0.02, the others at least 0.3. Default false. */
  lowLoss?: boolean;
  /** Rounds after which the hidden direction turns round: an adversary that was fixed beforehand. Default: never. */
  switchEvery?: number;
}

const mostArms = 10_000;
const widest = 100_000;

/** Expected loss (1 - cos(4.5 a'x)) / 2 for a hidden unit vector a, contexts of independent normal entries scaled to length 1, losses 0 or 1. Errors: `bad_option` for numbers that are no counts, or a seed below 0. */
export function cosineTask({
  arms = 4,
  width = 10,
  seed = 0,
  lowLoss = false,
  switchEvery,
}: SyntheticOptions = {}): Task {
  requireWhole({ arms }, 1, mostArms);
  requireWhole({ width }, 1, widest);
  requireWhole({ seed }, 0);
  if (switchEvery !== undefined) requireCounts({ switchEvery });
  const hidden = unitVector(width, (i) => normal({ seed, request: 1 }, i, "data"));
  return {
    name: lowLoss ? "cosine, best arm near 0" : switchEvery ? `cosine, turning every ${switchEvery}` : "cosine",
    width,
    arms,
    round(index) {
      requireWhole({ index }, 0);
      const turned = switchEvery !== undefined && Math.floor(index / switchEvery) % 2 === 1;
      const contexts = Array.from({ length: arms }, (_, arm) =>
        unitVector(width, (i) => normal({ seed, request: 2 }, index, "data", arm * width + i)),
      );
      const means = contexts.map((context) => {
        const along = context.reduce((sum, value, i) => sum + value * hidden[i], 0);
        const mean = (1 - Math.cos(4.5 * along)) / 2;
        return turned ? 1 - mean : mean;
      });
      if (lowLoss) {
        const best = means.indexOf(Math.min(...means));
        for (const [arm, mean] of means.entries()) means[arm] = arm === best ? mean * 0.02 : Math.max(0.3, mean);
      }
      return {
        contexts,
        means,
        loss(arm) {
          requireWhole({ arm }, 0, arms - 1);
          return uniform({ seed, request: 3 }, index, "data", arm) < means[arm] ? 1 : 0;
        },
      };
    },
  };
}

const unitVector = (width: number, draw: (index: number) => number): Float64Array<ArrayBuffer> =>
  scaled(Float64Array.from({ length: width }, (_, i) => draw(i)));

function scaled(values: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0)) || 1;
  for (let i = 0; i < values.length; i++) values[i] /= norm;
  return values;
}

/** Rows of features with a class each. */
export interface Table {
  name: string;
  rows: readonly Float64Array<ArrayBuffer>[];
  /** 0 to classes - 1. */
  labels: readonly number[];
  classes: number;
}

/**
 * Classification as a bandit: arm k is the row (scaled to length 1) in block k of a vector of zeros; loss 0 for the right
 * class, 1 otherwise. Rows come in a random order, again and again. Errors: `bad_option` for rows that are none, not finite or not of one width, labels
 * that are not a class for each, and a seed below 0.
 */
export function classificationTask({ name, rows, labels, classes }: Table, seed = 0): Task {
  requireWhole({ classes }, 1, mostArms);
  requireWhole({ seed }, 0);
  ensure(rows.length > 0 && rows.length === labels.length, "bad_option", () => {
    return `classificationTask: ${rows.length} rows with ${labels.length} labels: there must be a label for each of one row or more`;
  });
  requireIndices("labels", labels, classes);
  for (const [i, row] of rows.entries())
    ensure(row.length === rows[0].length && row.length > 0 && row.every(Number.isFinite), "bad_option", () => {
      return `classificationTask: rows[${i}] must be ${rows[0].length} finite numbers, as rows[0] is, and one or more`;
    });
  const width = rows[0].length;
  const order = Array.from(rows, (_, i) => i);
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(uniform({ seed, request: 4 }, i, "data") * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  const unit = rows.map((row) => scaled(row.slice()));
  return {
    name,
    width: width * classes,
    arms: classes,
    round(index) {
      requireWhole({ index }, 0);
      const row = order[index % order.length];
      const contexts = Array.from({ length: classes }, (_, arm) => {
        const context = new Float64Array(width * classes);
        context.set(unit[row], arm * width);
        return context;
      });
      const means = Array.from({ length: classes }, (_, arm) => (arm === labels[row] ? 0 : 1));
      return {
        contexts,
        means,
        loss(arm) {
          requireWhole({ arm }, 0, classes - 1);
          return means[arm];
        },
      };
    },
  };
}

const mostCategories = 64;

/**
 * A table of CSV text with a header line whose last column is the label: numbers are standardised, words one-hot coded (missing
 * values, "?", are a word or the column's mean), and a column of ones is added. Errors: `bad_option` for an empty text, `bad_file` naming the line.
 */
export function readTable(name: string, text: string): Table {
  ensure(typeof text === "string", "bad_option", () => `readTable takes a name and a text, not ${shown(text)}`);
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  ensure(lines.length > 0, "bad_option", `${name} is empty`);
  ensure(lines.length >= 3, "bad_file", `${name}: expected a header line and at least two rows`);
  const header = lines[0].split(",");
  const cells = lines.slice(1).map((line, i) => {
    const row = line.split(",").map(cellText);
    ensure(
      row.length === header.length,
      "bad_file",
      `${name}, line ${i + 2}: ${plural(row.length, "column")}, not ${header.length}`,
    );
    return row;
  });
  const label = header.length - 1;
  const classes = [...new Set(cells.map((row) => row[label]))].sort();
  ensure(
    classes.length >= 2 && classes.length <= 1000,
    "bad_file",
    `${name}: ${plural(classes.length, "class", "classes")}, expected 2 to 1000`,
  );
  const columns = header.slice(0, -1).map((_, column) =>
    encoder(
      cells.map((row) => row[column]),
      `${name}, column ${header[column]}`,
    ),
  );
  const width = columns.reduce((sum, { size }) => sum + size, 1);
  const rows = cells.map((row) => {
    const values = new Float64Array(width);
    let at = 0;
    for (const [column, { size, write }] of columns.entries()) {
      write(row[column], values.subarray(at, at + size));
      at += size;
    }
    values[at] = 1;
    return values;
  });
  return { name, rows, labels: cells.map((row) => classes.indexOf(row[label])), classes: classes.length };
}

function encoder(
  column: readonly string[],
  origin: string,
): { size: number; write: (cell: string, into: Float64Array) => void } {
  const present = column.filter((cell) => cell !== "?" && cell !== "");
  const numbers = present.map(Number);
  if (present.length > 0 && numbers.every(Number.isFinite)) {
    const mean = numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
    const deviation = Math.sqrt(numbers.reduce((sum, value) => sum + (value - mean) ** 2, 0) / numbers.length) || 1;
    return {
      size: 1,
      write(cell, into) {
        into[0] = cell === "?" || cell === "" ? 0 : (Number(cell) - mean) / deviation;
      },
    };
  }
  const words = [...new Set(column)].sort();
  ensure(
    words.length <= mostCategories,
    "bad_file",
    `${origin}: ${words.length} different words, at most ${mostCategories}`,
  );
  return {
    size: words.length,
    write(cell, into) {
      into[words.indexOf(cell)] = 1;
    },
  };
}
