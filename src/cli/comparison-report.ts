/** What a comparison says, for the terminal and the page alike: table, texts, notes, trees. */

import type { Outlook } from "../engine/method.ts";
import { plural } from "../errors.ts";
import {
  type Comparison,
  type Entry,
  measureOf,
  promised,
  type Skipped,
  speedUp,
  tokensPerSecond,
  type Verdict,
  verdictOf,
} from "./comparison.ts";
import { marginNote } from "./margin.ts";
import { sampling } from "./misfit.ts";
import { draftedRounds, drawRound } from "./tree.ts";

const fewTokens = 50;
/** Verdicts that no row says: that there are too few runs is one note of all. */
const silent: readonly Verdict[] = ["plain", "too few runs"];

/** The table's cells, for every face. */
export function rowsOf({ entries, differences }: Comparison): { header: string[]; rows: string[][] } {
  const plain = measureOf(entries);
  // A text that nothing else must write is the same as no other.
  const compared = entries.filter(promised).length > 1;
  const same = (entry: Entry): string => {
    if (!promised(entry)) return "not promised";
    if (!compared) return "-";
    return differences.some(({ method }) => method === entry.label) ? "✗ no" : "✓";
  };
  const judged = entries.some((entry) => !silent.includes(verdictOf(entry, plain)));
  const rows = entries.map((entry) => {
    const total = (of: (result: Entry["results"][number]) => number) =>
      entry.results.reduce((sum, r) => sum + of(r), 0);
    const drafted = total(({ counters }) => counters.drafted);
    const accepted = total(({ counters }) => counters.accepted);
    const { value, interval } = speedUp(entry, plain);
    const within = entry === plain || !interval ? "" : ` [${interval.map((end) => end.toFixed(2)).join(", ")}]`;
    const verdict = verdictOf(entry, plain);
    return [
      entry.label,
      same(entry),
      (total(({ counters }) => counters.tokensPerPass) / entry.results.length).toFixed(2),
      drafted > 0 ? `${Math.round((100 * accepted) / drafted)} %` : "-",
      tokensPerSecond(entry).toFixed(0),
      `${value.toFixed(2)}×${within}`,
      ...(judged ? [verdict === "slower" ? "✗ slower" : silent.includes(verdict) ? "" : verdict] : []),
    ];
  });
  const against = plain.chosen.method.family === "plain" ? "against plain" : `against ${plain.label}`;
  const header = [
    "method",
    "same text",
    "tokens a pass",
    "drafts kept",
    "tokens/s",
    ...(judged ? ["speed", against] : [`speed ${against}`]),
  ];
  return { header, rows };
}

/** What the columns of speed say, in one line. */
export function columnsNote({ entries }: Pick<Comparison, "entries">): string {
  const plain = measureOf(entries);
  const other = plain.chosen.method.family === "plain" ? "plain decoding" : plain.label;
  return `tokens/s: how many tokens it wrote in a second; speed: how many times as fast as ${other} it was, each run beside its own.`;
}

/** Outputs that are equal, once, with the methods that wrote them. */
export function textsOf({ entries }: Comparison, prompt: number): { labels: string[]; text: string }[] {
  const found = new Map<string, string[]>();
  for (const { label, results } of entries) {
    const text = results[prompt]?.text;
    if (text !== undefined) found.set(text, [...(found.get(text) ?? []), label]);
  }
  return [...found].map(([text, labels]) => ({ labels, text }));
}

/** What a reader must know to read the figures: outputs too short, and methods that cannot gain here, once with the figures. */
export function notesOf({ entries, prompts, margin }: Comparison): string[] {
  const notes: string[] = margin ? [marginNote(margin)] : [];
  const lengths = entries.flatMap(({ results }) => results.map(({ counters }) => counters.generated));
  if (lengths.length > 0 && Math.max(...lengths) < fewTokens)
    notes.push(
      `the output has only ${plural(Math.max(...lengths), "token")}${prompts.length > 1 ? " a prompt" : ""}: too few for its speeds to mean much`,
    );
  const few = entries.filter((entry) => verdictOf(entry, measureOf(entries)) === "too few runs");
  if (few.length > 0)
    notes.push(
      `${plural(Math.min(...few.map(({ secondsPerToken }) => secondsPerToken.length)), "run")} of each method: too few to say which is faster; --repeat 4, or more prompts, give intervals`,
    );
  const why = new Map<string, string[]>();
  for (const entry of entries) {
    const { label, outlook } = entry;
    const reason = outlook && reasonFor(outlook);
    // Kept pass times may be those of a busy machine: what the table itself has measured is better known.
    if (reason && prospectOf(outlook) !== "not known" && speedUp(entry, measureOf(entries)).value <= noGain)
      why.set(reason, [...(why.get(reason) ?? []), label]);
  }
  return [...notes, ...[...why].map(([reason, labels]) => `${listed(labels)} ${reason}`)];
}

/** Which methods were skipped and why, those together that one reason or one flag is about. */
export function skippedNotes(skipped: readonly Skipped[]): string[] {
  const drawing = skipped.filter(({ flag }) => flag === sampling);
  const why = new Map<string, string[]>();
  for (const one of skipped) {
    const reason =
      drawing.length > 1 && drawing.includes(one)
        ? `temperature 0 leaves one text, and they choose among several; pass ${sampling} to let them run`
        : one.reason;
    why.set(reason, [...(why.get(reason) ?? []), one.label]);
  }
  return [...why].map(
    ([reason, labels]) => `${listed(labels)} ${labels.length > 1 ? "were" : "was"} skipped: ${reason}`,
  );
}

/** The sentence that a method does not gain here, as far as is known; undefined where it may. */
export const hopeless = (label: string, outlook: Outlook | undefined): string | undefined => {
  const reason = outlook && reasonFor(outlook);
  return reason && `${label} ${reason}`;
};

function reasonFor(outlook: Outlook): string | undefined {
  const { speedUp: expected, most, because, advice } = outlook;
  const figures = [...(expected === undefined ? [] : [`expected ${factorOf(expected)}`]), `at best ${factorOf(most)}`];
  switch (prospectOf(outlook)) {
    case "may gain":
      return undefined;
    case "not known":
      return `may gain here or not, which pass times of a busy machine do not tell: ${because}; ventris doctor --measure, with the flag --model, takes them anew`;
    case "not expected":
      return `is not expected to gain here (${figures.join(", ")}): ${because}; ${advice}`;
    case "cannot gain":
      return `cannot gain here: ${because}; ${advice}`;
  }
}

const factorOf = (value: number): string => `${value.toFixed(2)}×`;

/** A smaller gain is none. */
export const noGain = 1.05;

/** So far below 1 even the best case would be on an idle machine. */
const farBelow = 0.7;

type Prospect = "may gain" | "not expected" | "cannot gain" | "not known";

/** What an outlook allows to say; of times that were disturbed it takes more to say that there is no gain. */
export function prospectOf({ speedUp: expected, most, disturbed }: Omit<Outlook, "because" | "advice">): Prospect {
  if ((expected ?? most) > noGain) return "may gain";
  if (disturbed && most >= farBelow) return "not known";
  return most < 1 ? "cannot gain" : "not expected";
}

export const listed = (labels: readonly string[]): string =>
  labels.length < 2 ? labels.join("") : `${labels.slice(0, -1).join(", ")} and ${labels.at(-1)}`;

/** Drafted trees of the first rounds that have one on the first prompt, none wider than `width`, and which rounds have none. */
export function treesOf(
  { entries }: Pick<Comparison, "entries">,
  rounds: number,
  nameOf: (token: number) => string,
  width?: number,
): { trees: string[]; without: string[] } {
  const trees: string[] = [];
  const without: string[] = [];
  for (const { label, events } of rounds > 0 ? entries : []) {
    const { shown, empty } = draftedRounds(events[0], rounds);
    for (const { number, round } of shown) trees.push(drawRound(round, nameOf, width, `${label}, round ${number}: `));
    const last = shown.at(-1)?.number;
    if (empty === 0) continue;
    without.push(
      last === undefined
        ? `${label} drafted nothing in ${empty === 1 ? "its only round" : `any of its ${empty} rounds`}`
        : `${label} drafted nothing in ${empty} of its first ${last} rounds`,
    );
  }
  return { trees, without };
}
