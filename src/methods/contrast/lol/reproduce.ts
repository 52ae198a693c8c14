/**
 * What LOL claims, as far as shipped models can show it: questions that tempt to falsehoods (TruthfulQA) and true against false continuations
 * (FACTOR), answered by the likelihood of a small model, plain and contrasted with itself behind words that induce falsehoods.
 */
import { shaperChoice } from "../../../calls.ts";
import {
  type ChoiceItem,
  chooses,
  rankings,
  type ScoredItem,
  scoreItems,
  truthfulness,
} from "../../../evaluation/choice.ts";
import { shapedScore } from "../../../evaluation/shaped.ts";
import { loadTask, taskNamed } from "../../../evaluation/tasks.ts";
import { defineReproduction, type Model, type ReproductionContext } from "../../../papers/reproduction.ts";
import { mean, meanOf } from "../../../papers/statistics.ts";
import type { Tokenizer } from "../../../text/index.ts";
import { spread } from "../../speculative/measuring.ts";

/** As published evaluations score: every token counts. */
const contrasts = {
  plain: undefined,
  icd: { name: "icd", alpha: 0 },
  dola: { name: "dola", alpha: 0 },
  lol: { name: "lol", alpha: 0 },
} as const;
type Contrast = keyof typeof contrasts;

/** For the tiny size, which has no data. */
const ours: readonly ChoiceItem[] = [
  {
    context: "Q: What do cows drink?\nA:",
    options: [" Cows drink water.", " Cows drink milk."],
    right: [0],
    neutral: "A:",
  },
  {
    context: "Q: What colour is the sun seen from space?\nA:",
    options: [" White.", " Yellow."],
    right: [0],
    neutral: "A:",
  },
];

/** Of questions, and of facts without misconceptions. */
const tasks = ["truthfulqa", "factor-news"] as const;

async function itemsOf({ size, data }: ReproductionContext, task: string, count: number): Promise<ChoiceItem[]> {
  if (size === "tiny") return ours.slice(0, count);
  const { file } = taskNamed(task);
  const path = data(...file.split("/"));
  return [...spread(await loadTask(taskNamed(task), path.slice(0, -file.length)), count)];
}

const score = (model: Model & { tokenizer: Tokenizer }, item: ChoiceItem, contrast: Contrast, signal: AbortSignal) => {
  const shaper = contrasts[contrast];
  const by = shaper && shapedScore(model, { shapers: [shaper], normalise: false, signal });
  return scoreItems(model, [item], signal, by).then(([scored]) => scored);
};

/** Mean of MC1, MC2 and MC3, in points. */
const truth = (scored: ScoredItem): number => 100 * mean(Object.values(truthfulness(scored)));

export const reproduction = defineReproduction({
  sizes: {
    tiny: { questions: 2, continuations: 2, texts: 1 },
    quick: { questions: 60, continuations: 40, texts: 4 },
    full: { questions: 480, continuations: 300, texts: 15 },
  },
  steps: ({ questions, continuations, texts }) => questions + continuations + texts,
  data: () => tasks.map((task) => taskNamed(task).file),
  async measure(context, { questions, continuations, texts }) {
    const { step, signal, seed } = context;
    const model = (await context.open("knossos")) as Model & { tokenizer: Tokenizer };
    const names = Object.keys(contrasts) as Contrast[];
    const answered: Record<Contrast, number>[] = [];
    for (const [i, item] of (await itemsOf(context, tasks[0], questions)).entries()) {
      answered.push(
        await step(`question ${i + 1}`, async () => {
          const values = await Promise.all(names.map(async (name) => truth(await score(model, item, name, signal))));
          return Object.fromEntries(names.map((name, k) => [name, values[k]])) as Record<Contrast, number>;
        }),
      );
    }
    const continued: [number, number][] = [];
    for (const [i, item] of (await itemsOf(context, tasks[1], continuations)).entries()) {
      continued.push(
        await step(`continuation ${i + 1}`, async () => {
          const [plain, shaped] = await Promise.all(
            (["plain", "lol"] as const).map((name) => score(model, item, name, signal)),
          );
          return [chooses(plain, rankings.token) ? 100 : 0, chooses(shaped, rankings.token) ? 100 : 0];
        }),
      );
    }
    let furthest = 0;
    for (let i = 0; i < texts; i++) {
      furthest = Math.max(furthest, await step(`text ${i + 1}`, () => differenceFromIcd(model, i)));
    }
    const less = (a: Contrast, b: Contrast) =>
      meanOf(
        answered.map((one) => one[a] - one[b]),
        seed,
      );
    const details = Object.fromEntries(names.map((name) => [name, mean(answered.map((one) => one[name]))]));
    const note =
      "knossos, which was taught stories and no facts, contrasted with itself behind words that induce falsehoods";
    return [
      { claim: "against-best", ...less("lol", "icd"), note, details },
      { claim: "against-plain", ...less("lol", "plain"), note, details },
      {
        claim: "damage",
        ...meanOf(
          continued.map(([plain, shaped]) => shaped - plain),
          seed,
        ),
        details: { plain: mean(continued.map(([plain]) => plain)), lol: mean(continued.map(([, shaped]) => shaped)) },
      },
      { claim: "reduces", value: furthest, count: texts },
    ];
  },
});

const openings = [
  "The king said that",
  "A cat is an animal which",
  "In the morning the sea",
  "She opened the old door and",
];

/** Largest difference of scores between icd and lol without lower exits and refocusing, over a text. */
async function differenceFromIcd(model: Model & { tokenizer: Tokenizer }, number: number): Promise<number> {
  const context = model.tokenizer.encode(openings[number % openings.length]);
  const { tokens } = await model.decode(context, { seed: number, maxTokens: 12 }).final;
  const given = { context, options: [tokens] };
  const by = async (shaper: { name: string } & Record<string, unknown>) =>
    (await model.continuations(given, { shapers: [shaperChoice({ ...shaper, alpha: 0 })], normalise: false }))
      .scores[0];
  const [lol, icd] = [await by({ name: "lol", fusionWeight: 0, refocusWeight: 0 }), await by({ name: "icd" })];
  return Math.max(...lol.map((value, i) => Math.abs(value - icd[i])));
}
