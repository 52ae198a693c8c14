/** What the reproduction and the bench measure a model that sees and its drafts by: held-out questions, how a draft agrees, the names of pictures. */

import { argmax } from "../../../engine/distribution.ts";
import type { Extension, ForestNode, VectorRow } from "../../../engine/forest.ts";
import { logSumExp } from "../../../engine/shapers/logprobs.ts";
import type { TapRows } from "../../../engine/sites/delivery.ts";
import { ensure } from "../../../errors.ts";
import type { Model } from "../../../papers/reproduction.ts";
import { type PicturePrompt, pictureRows } from "../../../pictures.ts";
import { askedScene, pictureOf, type QuestionKind } from "../../../training/seeing/scenes.ts";
import { type Skill, skillItem, skills } from "../../../training/skills/index.ts";
import type { NetworkRow } from "../row-program.ts";
import { openMultimodal } from "./draft.ts";

export interface Asked {
  readonly prompt: PicturePrompt;
  /** Whether a text answers it. */
  check(text: string): boolean;
}

/** Kinds of questions about pictures in turns: every second one asks for all that is there, which is the longest answer. */
const asked: readonly QuestionKind[] = [
  "caption",
  "what",
  "caption",
  "position",
  "caption",
  "count",
  "caption",
  "colour",
  "caption",
  "whether",
];

/** Those whose answers are in a word or two: half of the words of a description say where things stand, whatever they are. */
export const visionQuestions: readonly QuestionKind[] = ["what", "position", "count", "colour", "whether"];

/** Questions about scenes of the test split, of kinds in turns. */
export function sceneQuestions(
  count: number,
  { size, seed, kinds = asked }: { size: number; seed: number; kinds?: readonly QuestionKind[] },
): Asked[] {
  return Array.from({ length: count }, (_, number) => {
    const { scene, question, answer } = askedScene("test", kinds[number % kinds.length], seed, number);
    return { prompt: [{ image: pictureOf(scene, size) }, question], check: (text) => text.trim() === answer };
  });
}

/** Prompts of the checkable skills, of their test split, without a picture. */
export function textQuestions(count: number, seed: number): { content: string; check(text: string): boolean }[] {
  const used = skills.filter(({ name }) => name !== "sql"); // its tables are longer than what argos was taught
  return Array.from({ length: count }, (_, i) => {
    const skill: Skill = used[i % used.length];
    const item = skillItem(skill, "test", seed, i);
    return { content: item.prompt, check: (text) => skill.check(item, text) };
  });
}

/** The rows of a prompt with pictures. */
export const rowsOf = (model: Model, prompt: PicturePrompt): Promise<readonly (number | VectorRow)[]> =>
  pictureRows(model, prompt)();

/** What a draft reads of a text but its last row, which is drafted from the next: `pictures` take the place of the text's own, none are left out. */
function draftRows(
  whole: readonly (number | VectorRow)[],
  { values, width }: TapRows,
  pictures: readonly (VectorRow | undefined)[],
): NetworkRow[] {
  const given: NetworkRow[] = [];
  let seen = 0;
  for (const [before, row] of whole.slice(1, -1).entries()) {
    const vector = typeof row === "number" ? undefined : pictures[seen++];
    if (typeof row !== "number" && !vector) continue;
    const position = given.length;
    const place = { state: values.subarray(before * width, (before + 1) * width), position, parent: position - 1 };
    given.push(vector ? { token: 0, vector: vector.values, ...place } : { token: row as number, ...place });
  }
  return given;
}

const picturesIn = (rows: readonly (number | VectorRow)[]) => rows.filter((row) => typeof row !== "number");

/** What a draft reads of a prompt before it drafts anything, with its pictures' rows and without. */
export async function draftPrompt(
  model: Model,
  prompt: PicturePrompt,
): Promise<{ rows: NetworkRow[]; words: NetworkRow[] }> {
  const rows = await rowsOf(model, prompt);
  const { tokens, taps } = await model.decode(rows, { temperature: 0, maxTokens: 2, taps: ["final"] }).final;
  const whole = [...rows, ...tokens];
  return { rows: draftRows(whole, taps!.final, picturesIn(rows)), words: draftRows(whole, taps!.final, []) };
}

/**
 * How many of the tokens of the model's own answer a draft foretells with its first choice, each below the answer so far; and of the same where the
 * draft is shown another picture (the model is not).
 */
export async function draftAgreement(
  model: Model,
  layer: string,
  { prompt, other, maxTokens }: { prompt: PicturePrompt; other: PicturePrompt; maxTokens: number },
): Promise<{ own: number; swapped: number; count: number }> {
  const draft = await openMultimodal(model, layer);
  const [rows, swappedRows] = await Promise.all([rowsOf(model, prompt), rowsOf(model, other)]);
  const { tokens, taps } = await model.decode(rows, { temperature: 0, maxTokens, taps: ["final"] }).final;
  async function agreeing(shown: readonly (number | VectorRow)[]): Promise<number> {
    const pictures = draft.form === "text-only" ? [] : picturesIn(shown);
    const { logits } = await draft.cache().run(draftRows([...rows, ...tokens], taps!.final, pictures));
    // The last rows stand for the answer's tokens from the second on.
    const last = tokens.length - 1;
    return tokens.slice(1).filter((token, i) => argmax(logits[logits.length - last + i]) === token).length;
  }
  const count = tokens.length - 1;
  if (count < 1) return { own: 0, swapped: 0, count: 0 };
  return { own: await agreeing(rows), swapped: await agreeing(swappedRows), count };
}

/** Texts by their tokens, with what they have in common written once. */
interface Branch {
  readonly children: Map<number, Branch>;
  /** The text that ends here. */
  name?: string;
}

function trieOf(names: readonly string[], tokensOf: (name: string) => readonly number[]): Branch {
  const root: Branch = { children: new Map() };
  for (const name of names) {
    let at = root;
    for (const token of tokensOf(name)) {
      const next: Branch = at.children.get(token) ?? { children: new Map() };
      at.children.set(token, next);
      at = next;
    }
    at.name = name;
  }
  return root;
}

/**
 * The names that a model holds likeliest of a picture, best first: by the probability of the answer "It is NAME." with its end, among all names, exactly.
 * What begins less likely than `count` whole answers cannot come before them, so that few of the names are ever scored.
 */
export async function likeliestNames(
  model: Model,
  prompt: PicturePrompt,
  names: readonly string[],
  count: number,
): Promise<string[]> {
  const { tokenizer, forest } = model;
  ensure(tokenizer, "unavailable", `the model ${model.name} has no tokenizer`);
  const end = tokenizer.endTokens[0];
  const trie = trieOf(names, (name) => [...tokenizer.encode(`It is ${name}.`, { special: false }), end]);
  const rows = await rowsOf(model, prompt);
  const lease = forest.lease();
  try {
    type Open = { score: number; branch: Branch; parent: ForestNode; token: number };
    const { node } = await lease.prefill(rows);
    let open: Open[] = [];
    const whole: { score: number; name: string }[] = [];
    const unfold = (parent: ForestNode, branch: Branch, score: number): void => {
      const logits = parent.logits!;
      const norm = logSumExp(logits);
      for (const [token, next] of branch.children) {
        const at = score + logits[token] - norm;
        if (next.name !== undefined) whole.push({ score: at, name: next.name });
        else open.push({ score: at, branch: next, parent, token });
      }
    };
    unfold(node, trie, 0);
    for (;;) {
      whole.sort((a, b) => b.score - a.score);
      const bar = whole[count - 1]?.score ?? Number.NEGATIVE_INFINITY;
      open = open.filter(({ score }) => score > bar).sort((a, b) => b.score - a.score);
      const taken = open.splice(0, Math.min(16, forest.maxRows));
      if (taken.length === 0) return whole.slice(0, count).map(({ name }) => name);
      const nodes = await lease.extend(taken.map(({ parent, token }): Extension => ({ parent, token })));
      for (const [i, { branch, score }] of taken.entries()) unfold(nodes[i], branch, score);
    }
  } finally {
    lease.close();
  }
}

/** Statistic of a two-sample chi-square test over what came out, rare outcomes together, and its degrees of freedom. */
export function twoSampleChiSquare(a: readonly string[], b: readonly string[]): { statistic: number; freedom: number } {
  const counts = new Map<string, [number, number]>();
  for (const [side, all] of [a, b].entries())
    for (const one of all) {
      const cell = counts.get(one) ?? [0, 0];
      cell[side] += 1;
      counts.set(one, cell);
    }
  const cells: [number, number][] = [];
  let rare: [number, number] = [0, 0];
  for (const cell of counts.values()) {
    if (cell[0] + cell[1] >= 10) cells.push(cell);
    else rare = [rare[0] + cell[0], rare[1] + cell[1]];
  }
  if (rare[0] + rare[1] > 0) cells.push(rare);
  const [wide, narrow] = [Math.sqrt(b.length / a.length), Math.sqrt(a.length / b.length)];
  const statistic = cells.reduce((sum, [x, y]) => sum + (wide * x - narrow * y) ** 2 / (x + y), 0);
  return { statistic, freedom: Math.max(1, cells.length - (a.length === b.length ? 1 : 0)) };
}
