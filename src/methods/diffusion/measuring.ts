/** What the reproductions of methods over a canvas share: a model with tasks whose answers can be checked, runs on them, and looks inside. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { methodChoice } from "../../calls.ts";
import { defineUnmasking } from "../../engine/canvas/method.ts";
import type { CanvasView } from "../../engine/canvas/policy.ts";
import type { TimedEvent } from "../../engine/trace.ts";
import type { Model, Plot, ReproductionContext } from "../../papers/reproduction.ts";
import { mean } from "../../papers/statistics.ts";
import { skillItem, skills } from "../../training/skills/index.ts";
import { filterKind } from "./learn2pd/filter.ts";
import { collectRecords } from "./learn2pd/records.ts";
import { trainFilter } from "./learn2pd/train.ts";
import { evenSchedule, highest } from "./ranking.ts";
import { toyItem, toyLength, trainToy } from "./toy.ts";

export interface TaskPrompt {
  readonly tokens: readonly number[];
  /** Whether a text that a model wrote, its end left out, is right. */
  right(result: { readonly tokens: readonly number[]; readonly text: string }): boolean;
}

export interface Tasks {
  readonly model: Model;
  readonly prompts: readonly TaskPrompt[];
  /** Other prompts, on which a method's setting is chosen. */
  readonly validation: readonly TaskPrompt[];
  readonly length: number;
  readonly blockLength: number;
  /** A trained filter: the model's own, or one that is trained now. */
  filter(): Promise<string>;
}

export interface TaskOptions {
  /** "toy", or a model with a chat template. */
  readonly model: string;
  readonly prompts: number;
  readonly validation: number;
  readonly length: number;
  /** Of the toy: training steps of the model and of its filter. */
  readonly steps: number;
}

/** How much each size of a reproduction measures: a toy where seconds count, otherwise the shipped model. */
export const taskSizes = {
  tiny: { model: "toy", prompts: 4, validation: 2, length: 64, steps: 120 },
  quick: { model: "mycenae", prompts: 42, validation: 42, length: 64, steps: 0 },
  full: { model: "mycenae", prompts: 210, validation: 140, length: 256, steps: 0 },
} satisfies Record<string, TaskOptions>;

/** Opens the tasks for `measure`; what was trained for it goes away afterwards. */
export async function withTasks<T>(
  { open, signal, seed }: ReproductionContext,
  { model: name, prompts: count, validation: others, length, steps }: TaskOptions,
  measure: (tasks: Tasks) => Promise<T>,
): Promise<T> {
  const blockLength = 32;
  const split = (all: readonly TaskPrompt[]) => ({ prompts: all.slice(0, count), validation: all.slice(count) });
  if (name !== "toy") {
    const model = await open(name);
    const all = Array.from({ length: count + others }, (_, i) => {
      const skill = skills[i % skills.length];
      const item = skillItem(skill, "test", seed, i);
      const tokens = model.tokenizer!.encodeChat!([{ role: "user", content: item.prompt }]);
      return { tokens, right: ({ text }: { text: string }) => skill.check(item, text) };
    });
    const filter = async () => "learn2pd";
    return measure({ model, ...split(all), length, blockLength, filter });
  }
  const folder = await mkdtemp(join(tmpdir(), "ventris-toy-"));
  try {
    await trainToy(folder, steps, seed + 1, signal);
    const model = await open(folder);
    const item = (i: number) => toyItem(seed + 100, i);
    const all = Array.from({ length: count + others }, (_, i) => {
      const { prompt, answer } = item(i);
      const right = ({ tokens }: { tokens: readonly number[] }) => tokens.join() === answer.slice(0, -1).join();
      return { tokens: prompt, right };
    });
    const filter = async (): Promise<string> => {
      const training = Array.from({ length: 40 }, (_, i) => toyItem(seed + 1, i).prompt);
      const records = await collectRecords(model, { prompts: training, length: toyLength.answer, blockLength, signal });
      const { tensors } = await trainFilter(records, { depth: "2", steps: 2 * steps, seed, signal });
      const part = join(folder, "filter");
      await model.writePart(part, { kind: filterKind, settings: { depth: "2", blockLength }, tensors });
      return part;
    };
    return await measure({ model, ...split(all), length, blockLength, filter });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What a method did on one prompt. */
export type Answered = {
  readonly passes: number;
  readonly right: number;
  /** Everything behind the prompt. */
  readonly canvas: readonly number[];
};

/**
 * Fills the whole canvas: nobody is helped by stopping early but whoever predicts the end. `untilText` stops where the text is there, of which
 * nothing changes afterwards: passes into padding, which all methods fill fast, then do not count.
 */
export async function answer(
  { model, length, blockLength }: Tasks,
  prompt: TaskPrompt,
  method: { readonly name: string } & Readonly<Record<string, unknown>>,
  { signal, untilText = false }: { readonly signal?: AbortSignal; readonly untilText?: boolean } = {},
): Promise<Answered> {
  const result = await model.decode(prompt.tokens, {
    method: methodChoice({ blockLength, earlyStop: untilText, ...method }),
    maxTokens: length,
    signal,
  }).final;
  return { passes: result.counters.passes, right: prompt.right(result) ? 1 : 0, canvas: result.canvas! };
}

/** Share of the positions that two answers have in common, up to the end of the shorter one's text. */
export function agreement(a: readonly number[], b: readonly number[], ends: readonly number[]): number {
  const textOf = (canvas: readonly number[]) => {
    const end = canvas.findIndex((token) => ends.includes(token));
    return end < 0 ? canvas : canvas.slice(0, end + 1);
  };
  const [x, y] = [textOf(a), textOf(b)];
  const length = Math.max(x.length, y.length);
  return length === 0 ? 1 : x.filter((token, i) => token === y[i]).length / length;
}

/**
 * One-token decoding, whose passes may be looked at. It runs until the text is there; its passes are those of the whole canvas all the same, which
 * are as many as there are positions.
 */
export async function oneToken(
  { model, length, blockLength }: Tasks,
  prompt: TaskPrompt,
  { signal, look }: { readonly signal?: AbortSignal; readonly look?: (view: CanvasView, start: number) => void } = {},
): Promise<Answered> {
  const method = defineUnmasking({
    name: "watched",
    summary: "one-token decoding that is looked at",
    options: z.strictObject({}),
    policy(request) {
      const countFor = evenSchedule(request);
      return {
        decide(view) {
          look?.(view, request.start);
          return { positions: highest(view.masked, countFor(view), view.confidence) };
        },
      };
    },
  });
  const run = model.decode(prompt.tokens, {
    method: { method, options: { blockLength } },
    maxTokens: length,
    signal,
  });
  const result = await run.final;
  return { passes: length, right: prompt.right(result) ? 1 : 0, canvas: result.canvas! };
}

/** A setting chosen on validation, and what was found there. */
export type Chosen = {
  readonly index: number;
  readonly note: string;
  /** Of each validation prompt, whether one token a pass gets it right. */
  readonly plain: readonly number[];
};

/**
 * Of settings of a method, the one that takes the fewest passes on the validation prompts at a score at most a point below that of one token a pass;
 * where there is none, the one with the highest score. Published settings are tuned to another model's confidences. Where several methods choose:
 * `called` tells their steps apart, and `plain` is what an earlier choice found of one token a pass.
 */
export async function chooseSetting(
  tasks: Tasks,
  { step, signal }: Pick<ReproductionContext, "step" | "signal">,
  settings: readonly ({ readonly name: string } & Readonly<Record<string, unknown>>)[],
  { called = "", plain: known }: { readonly called?: string; readonly plain?: readonly number[] } = {},
): Promise<Chosen> {
  const found: { plain: number; settings: { passes: number; right: number }[] }[] = [];
  for (const [i, prompt] of tasks.validation.entries())
    found.push(
      await step(`${called && `${called}, `}validation ${i + 1}`, async () => {
        const plain = known ? known[i] : (await oneToken(tasks, prompt, { signal })).right;
        const measured: { passes: number; right: number }[] = [];
        for (const method of settings) {
          const { passes, right } = await answer(tasks, prompt, method, { signal, untilText: true });
          measured.push({ passes, right });
        }
        return { plain, settings: measured };
      }),
    );
  const plain = 100 * mean(found.map((one) => one.plain));
  const scored = settings.map((_, index) => ({
    index,
    passes: mean(found.map((one) => one.settings[index].passes)),
    score: 100 * mean(found.map((one) => one.settings[index].right)),
  }));
  const close = scored.filter(({ score }) => score >= plain - 1);
  const { index, score } = (close.length > 0 ? close : scored).reduce((a, b) =>
    (close.length > 0 ? b.passes < a.passes : b.score > a.score) ? b : a,
  );
  const note = `chosen on ${found.length} other prompts: ${score.toFixed(1)} % right there, one token a pass ${plain.toFixed(1)} %`;
  return { index, note, plain: found.map((one) => one.plain) };
}

/** The events of one item decoded by mycenae: arithmetic in steps, some of which wait for others, in two blocks. */
export async function showItem(
  method: { readonly name: string } & Readonly<Record<string, unknown>>,
  signal: AbortSignal,
  open: (reference: string) => Promise<Model>,
): Promise<TimedEvent[]> {
  await using model = await open("mycenae");
  const arithmetic = skills.find(({ name }) => name === "arithmetic")!;
  const { prompt } = skillItem(arithmetic, "test", 0, 1);
  const started = performance.now();
  const events: TimedEvent[] = [];
  const options = { method: methodChoice({ earlyStop: false, ...method }), maxTokens: 64, signal };
  for await (const event of model.decode([{ role: "user", content: prompt }], options))
    events.push({ ...event, at: (performance.now() - started) / 1000 });
  return events;
}

/** What one setting of a method did on each prompt. */
type Setting = readonly { readonly passes: number; readonly right: number }[];

/** Right answers over passes until the text is there: a line for each method, a point for each of its settings. */
export function frontiers(methods: Readonly<Record<string, readonly Setting[]>>): Plot {
  const pointOf = (found: Setting): [number, number] => [
    mean(found.map(({ passes }) => passes)),
    100 * mean(found.map(({ right }) => right)),
  ];
  return {
    title: "right answers over passes until the text is there",
    x: { label: "passes" },
    y: { label: "right, %" },
    series: Object.entries(methods).map(([name, settings]) => ({
      name,
      from: "ours",
      points: settings.map(pointOf).sort(([a], [b]) => a - b),
    })),
  };
}
