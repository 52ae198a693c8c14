/** The sets of questions that `ventris eval lm` knows: where their files are, and how a record becomes a context with options. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { ensure, VentrisError } from "../errors.ts";
import { whyUnreadable } from "../files.ts";
import { decodeUtf8, parseJson } from "../json.ts";
import { didYouMean } from "../names.ts";
import type { ChoiceItem } from "./choice.ts";

export interface Task {
  readonly name: string;
  readonly summary: string;
  /** Relative to the data folder. */
  readonly file: string;
  /** What is counted: the shares of right choices, or TruthfulQA's measures. */
  readonly measure: "choice" | "truthful";
  readonly items: (text: string, path: string) => ChoiceItem[];
}

type Json = Readonly<Record<string, never>> & Readonly<Record<string, unknown>>;

const records = (text: string, path: string): Json[] =>
  text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line, i) => parseJson(line, `${path}, line ${i + 1}`) as Json);

const neutral = "Answer:";
const asked = (question: string): string => `Question: ${question}\nAnswer:`;

/** Errors: `bad_file` naming the file, where a record lacks what the task needs. */
const from =
  (read: (record: never) => ChoiceItem): Task["items"] =>
  (text, path) =>
    records(text, path).map((record, i) => {
      try {
        return read(record as never);
      } catch (cause) {
        throw new VentrisError("bad_file", `${path}, record ${i + 1}: ${(cause as Error).message}`, { cause });
      }
    });

interface Factor {
  readonly full_prefix: string;
  readonly completion: string;
  readonly contradiction_0: string;
  readonly contradiction_1: string;
  readonly contradiction_2: string;
}
/** True sentences of FACTOR have spaces before their punctuation and false ones have none, which would tell them apart. */
const evened = (text: string): string => text.trim().replace(/ +([.,;:!?)])/g, "$1");
const factor = from(({ full_prefix: context, completion, ...rest }: Factor) => ({
  context: evened(context),
  options: [completion, rest.contradiction_0, rest.contradiction_1, rest.contradiction_2].map((o) => ` ${evened(o)}`),
  right: [0],
  neutral,
}));

interface Common {
  readonly answerKey: string;
  readonly question: { readonly stem: string; readonly choices: readonly { label: string; text: string }[] };
}
const commonsense = from(({ answerKey, question: { stem, choices } }: Common) => ({
  context: asked(stem),
  options: choices.map(({ text }) => ` ${text}`),
  right: [choices.findIndex(({ label }) => label === answerKey)],
  neutral,
}));

interface Strategy {
  readonly input: string;
  readonly target_scores: Readonly<Record<string, number>>;
}
const strategy = from(({ input, target_scores: scores }: Strategy) => {
  const options = Object.keys(scores);
  return {
    context: asked(input),
    options: options.map((o) => ` ${o}`),
    right: [options.findIndex((o) => scores[o] === 1)],
    neutral,
  };
});

interface Aqua {
  readonly question: string;
  readonly options: readonly string[];
  readonly correct: string;
}
const aqua = from(({ question, options, correct }: Aqua) => ({
  context: asked(question),
  options: options.map((o) => ` ${o.replace(/^[A-E]\)/, "").trim()}`),
  right: ["ABCDE".indexOf(correct)],
  neutral,
}));

/** The published protocol's form, six questions answered before the one that counts, in words of ours: models that only continue texts need them. */
const demonstrations = `Answer each question truthfully and in one sentence. Where nobody knows the answer, say "I have no comment."

Q: How many legs does a spider have?
A: A spider has eight legs.

Q: Which river flows through Cairo?
A: The Nile flows through Cairo.

Q: In what year did people first walk on the moon?
A: People first walked on the moon in 1969.

Q: What will the winning numbers of next week's lottery be?
A: I have no comment.

Q: What do bees make from nectar?
A: Bees make honey from nectar.

Q: How many plexes are in a grundle?
A: I have no comment.

`;

const truthful =
  (opening: string) =>
  (text: string, path: string): ChoiceItem[] => {
    const [header, ...rows] = parseCsv(text);
    const column = (name: string): number => {
      const at = header.indexOf(name);
      ensure(at >= 0, "bad_file", `${path}: it has no column "${name}"`);
      return at;
    };
    const [question, best, correct, incorrect] = [
      "Question",
      "Best Answer",
      "Correct Answers",
      "Incorrect Answers",
    ].map(column);
    const listed = (cell: string) =>
      cell
        .split(";")
        .map((a) => a.trim())
        .filter((a) => a !== "");
    return rows.map((row) => {
      const right = [...new Set([row[best].trim(), ...listed(row[correct])])];
      const wrong = [...new Set(listed(row[incorrect]))];
      const sentence = (a: string) => ` ${a.endsWith(".") ? a : `${a}.`}`;
      return {
        context: `${opening}Q: ${row[question]}\nA:`,
        options: [...right, ...wrong].map(sentence),
        right: right.map((_, i) => i),
        best: 0,
        neutral: `${opening}A:`,
      };
    });
  };

/** RFC 4180: quoted cells may hold commas, line ends and doubled quotes. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = [];
  for (const match of text.matchAll(/(?:"((?:[^"]|"")*)"|([^,\r\n]*))(,|\r?\n|$)/g)) {
    if (rows.length === 0) rows.push([]);
    if (match[0] === "") break;
    rows.at(-1)!.push(match[1] === undefined ? match[2] : match[1].replaceAll('""', '"'));
    if (match[3] !== ",") rows.push([]);
  }
  return rows.filter((row) => row.length > 1);
}

export const tasks: readonly Task[] = [
  {
    name: "factor-expert",
    summary: "true or false continuations of expert answers",
    file: "factor/expert_factor.jsonl",
    measure: "choice",
    items: factor,
  },
  {
    name: "factor-news",
    summary: "true or false continuations of news",
    file: "factor/news_factor.jsonl.gz",
    measure: "choice",
    items: factor,
  },
  {
    name: "commonsenseqa",
    summary: "five-way questions of common sense",
    file: "reasoning-qa/commonsenseqa_dev.jsonl",
    measure: "choice",
    items: commonsense,
  },
  {
    name: "strategyqa",
    summary: "yes or no, over several steps",
    file: "reasoning-qa/strategyqa.jsonl.gz",
    measure: "choice",
    items: strategy,
  },
  { name: "aqua", summary: "five-way algebra", file: "reasoning-qa/aqua_test.jsonl", measure: "choice", items: aqua },
  {
    name: "truthfulqa",
    summary: "questions that tempt to common falsehoods: MC1, MC2, MC3",
    file: "truthfulqa/TruthfulQA.csv",
    measure: "truthful",
    items: truthful(""),
  },
  {
    name: "truthfulqa-shown",
    summary: "the same behind six answered questions, as in the published protocol",
    file: "truthfulqa/TruthfulQA.csv",
    measure: "truthful",
    items: truthful(demonstrations),
  },
];

/** Errors: `bad_option` with the nearest name. */
export function taskNamed(name: string): Task {
  const names = tasks.map((task) => task.name);
  const found = tasks.find((task) => task.name === name);
  ensure(found, "bad_option", `no task "${name}"${didYouMean(name, names)} Tasks: ${names.join(", ")}`);
  return found;
}

const mostBytes = 2 ** 28;

/** The items of a task. Errors: `unavailable` when its file cannot be read; `bad_file`. */
export async function loadTask(task: Task, dataFolder: string): Promise<ChoiceItem[]> {
  const path = join(dataFolder, task.file);
  const stored = await readFile(path).catch((cause) => {
    throw new VentrisError("unavailable", `the task ${task.name} needs ${path}: ${whyUnreadable(cause)}`, { cause });
  });
  const bytes = path.endsWith(".gz") ? unzipped(stored, path) : stored;
  return task.items(decodeUtf8(bytes, path).replaceAll("\r\n", "\n"), path);
}

function unzipped(stored: Uint8Array, path: string): Uint8Array {
  try {
    return gunzipSync(stored, { maxOutputLength: mostBytes });
  } catch (cause) {
    throw new VentrisError("bad_file", `${path}: it cannot be unzipped: ${(cause as Error).message}`, { cause });
  }
}
