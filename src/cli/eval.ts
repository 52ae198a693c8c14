/** `ventris eval`: how well a model predicts texts, answers questions by likelihood, and does checkable tasks. */
import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure } from "../errors.ts";
import { chooses, rankings, scoreItems, truthfulness, wilson } from "../evaluation/choice.ts";
import { type Estimate, measurePerplexity } from "../evaluation/perplexity.ts";
import { loadTask, taskNamed, tasks } from "../evaluation/tasks.ts";
import { type OpenModel, open } from "../open.ts";
import { readTexts, type Tokenizer } from "../text/index.ts";
import { skillItem, skills } from "../training/skills/index.ts";
import { parseValue } from "./flags.ts";
import { interruptible } from "./interruptible.ts";
import { murmur, print, printJson } from "./output.ts";
import { formatTable } from "./table.ts";

interface EvalFlags {
  model: string;
  lora?: string;
  data?: string;
  limit?: number;
  overlap?: number;
  seed: number;
  threads?: number;
  json?: true;
}

export function define(command: Command): void {
  const common = (sub: Command): Command =>
    sub
      .requiredOption("--model <model>", "a shipped model, a folder or file, or org/name on the hub")
      .option("--lora <folder>", "a LoRA adapter in PEFT's format, merged in")
      .addOption(numberFlag("--limit", z.int().min(1), "documents or items at most"))
      .addOption(numberFlag("--seed", z.int().min(0), "of resamples and items").default(0))
      .addOption(numberFlag("--threads", z.int().min(1).max(256), "threads within an operation"))
      .option("--json", "print one JSON object")
      .option("--debug", "show where an error comes from");
  common(command.command("perplexity"))
    .description("perplexity on texts, per token, byte and word")
    .argument("<files...>", "texts: .txt, or .jsonl with a field `text`; either also as .gz")
    .addOption(
      numberFlag("--overlap", z.int().min(1), "tokens of context kept between windows (default: half the context)"),
    )
    .action(perplexity);
  common(command.command("lm"))
    .description(`multiple choice by likelihood: ${tasks.map(({ name }) => name).join(", ")}`)
    .argument("<tasks...>", "tasks")
    .option("--data <folder>", "where the tasks' files are (default: VENTRIS_DATA)")
    .action(choice);
  common(command.command("skills"))
    .description(`checkable tasks, greedy: ${skills.map(({ name }) => name).join(", ")}`)
    .argument("[skills...]", "default: all")
    .action(skillTests);
}

const numberFlag = (flag: string, schema: z.ZodType, description: string): Option =>
  new Option(`${flag} <number>`, description).argParser((text) => parseValue(schema, flag, text));

async function withModel<T>(
  { model: reference, lora, threads }: EvalFlags,
  action: (model: OpenModel & { tokenizer: Tokenizer }, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const model = await open(reference, { threads, lora });
  try {
    ensure(model.tokenizer, "bad_option", `--model: ${reference} has no tokenizer`);
    return await interruptible((signal) => action(model as OpenModel & { tokenizer: Tokenizer }, signal));
  } finally {
    await model.close();
  }
}

async function perplexity(files: string[], flags: EvalFlags): Promise<void> {
  const { limit = Infinity, overlap, seed, json } = flags;
  async function* some(): AsyncGenerator<string> {
    let count = 0;
    for await (const text of readTexts(files)) {
      if (count++ >= limit) return;
      yield text;
    }
  }
  const found = await withModel(flags, (model, signal) =>
    measurePerplexity(model, some(), {
      overlap,
      seed,
      signal,
      onProgress: (documents) => documents % 20 === 0 && murmur(`${documents} documents`),
    }),
  );
  if (json) {
    printJson({ model: flags.model, files, ...found });
    return;
  }
  const row = (name: string, count: number | string, { value, interval: [low, high] }: Estimate) => [
    name,
    String(count),
    value.toFixed(3),
    `${low.toFixed(3)} to ${high.toFixed(3)}`,
  ];
  print(
    formatTable(
      ["perplexity per", "units", "value", "95 % interval"],
      [
        row("token", found.tokens, found.perToken),
        row("byte", found.bytes, found.perByte),
        row("word", found.words, found.perWord),
        row("bits per byte", found.bytes, found.bitsPerByte),
      ],
    ),
  );
}

interface TaskResult {
  readonly task: string;
  readonly measure: string;
  readonly items: number;
  readonly value: number;
  readonly interval: readonly [number, number];
  /** What choosing at random would give. */
  readonly chance: number;
  /** Items whose context was cut on the left. */
  readonly cut: number;
}

async function choice(names: string[], flags: EvalFlags): Promise<void> {
  const { data = process.env.VENTRIS_DATA, limit, json } = flags;
  ensure(data, "bad_option", "where are the tasks' files? give --data, or set VENTRIS_DATA");
  const chosen = names.map(taskNamed);
  const items = await Promise.all(chosen.map((task) => loadTask(task, data)));
  const results = await withModel(flags, async (model, signal) => {
    const all: TaskResult[] = [];
    for (const [i, task] of chosen.entries()) {
      murmur(`${task.name}: ${Math.min(limit ?? Infinity, items[i].length)} items`);
      const scored = await scoreItems(model, items[i].slice(0, limit), signal);
      const cut = scored.reduce((sum, item) => sum + item.cut, 0);
      const mean = (of: (item: (typeof scored)[number]) => number) =>
        scored.reduce((sum, item) => sum + of(item), 0) / scored.length;
      const chance = mean(({ item }) => item.right.length / item.options.length);
      const enter = (measure: string, value: number, expected = chance) =>
        all.push({
          task: task.name,
          measure,
          items: scored.length,
          value,
          interval: wilson(value, scored.length),
          chance: expected,
          cut,
        });
      if (task.measure === "truthful") {
        const one = mean(({ item }) => 1 / (item.options.length - item.right.length + 1));
        enter(
          "MC1",
          mean((item) => truthfulness(item).mc1),
          one,
        );
        enter(
          "MC2",
          mean((item) => truthfulness(item).mc2),
        );
        enter(
          "MC3",
          mean((item) => truthfulness(item).mc3),
          one,
        );
      } else
        for (const [name, ranking] of Object.entries(rankings))
          enter(
            name,
            mean((item) => (chooses(item, ranking) ? 1 : 0)),
          );
    }
    return all;
  });
  if (json) {
    printJson({ model: flags.model, results });
    return;
  }
  const rows = results.map(({ task, measure, items, value, interval: [low, high], chance, cut }) => [
    task,
    measure,
    String(items),
    value.toFixed(3),
    `${low.toFixed(3)} to ${high.toFixed(3)}`,
    chance.toFixed(3),
    String(cut),
  ]);
  print(formatTable(["task", "by", "items", "right", "95 % interval", "chance", "cut"], rows));
}

async function skillTests(names: string[], flags: EvalFlags): Promise<void> {
  const { limit = 50, seed, json } = flags;
  const chosen = skills.filter(({ name }) => names.length === 0 || names.includes(name));
  const unknown = names.find((name) => !skills.some((skill) => skill.name === name));
  ensure(unknown === undefined, "bad_option", `no skill "${unknown}": ${skills.map(({ name }) => name).join(", ")}`);
  const results = await withModel(flags, async (model, signal) => {
    const all: { skill: string; items: number; right: number; interval: readonly [number, number] }[] = [];
    for (const skill of chosen) {
      murmur(skill.name);
      const items = Array.from({ length: limit }, (_, i) => skillItem(skill, "test", seed, i));
      let right = 0;
      for (const item of items) {
        const prompt = model.tokenizer.encodeChat?.([{ role: "user", content: item.prompt }]) ?? `${item.prompt}\n`;
        const { text } = await model.decode(prompt, { temperature: 0, maxTokens: 200, signal }).final;
        if (skill.check(item, text)) right++;
      }
      all.push({ skill: skill.name, items: limit, right: right / limit, interval: wilson(right / limit, limit) });
    }
    return all;
  });
  if (json) printJson({ model: flags.model, results });
  else {
    const rows = results.map(({ skill, items, right, interval: [low, high] }) => [
      skill,
      String(items),
      right.toFixed(3),
      `${low.toFixed(3)} to ${high.toFixed(3)}`,
    ]);
    print(formatTable(["skill", "items", "right", "95 % interval"], rows));
  }
}
