/** `ventris eval`: how well a model predicts texts, answers questions by likelihood, and does checkable tasks. */
import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure, plural } from "../errors.ts";
import { choiceMeasures, scoreItems, truthfulMeasures, wilson } from "../evaluation/choice.ts";
import { measureDraft, workPerToken } from "../evaluation/draft.ts";
import { trainNgrams } from "../evaluation/kneser-ney.ts";
import { type Estimate, measurePerplexity } from "../evaluation/perplexity.ts";
import { shapedScore } from "../evaluation/shaped.ts";
import { loadTask, taskNamed, tasks } from "../evaluation/tasks.ts";
import { findShaper } from "../methods/index.ts";
import { didYouMean } from "../names.ts";
import type { Model } from "../open.ts";
import { mean, meanOf } from "../papers/statistics.ts";
import { readTexts, type Tokenizer } from "../text/index.ts";
import { documentTokens } from "../text/windows.ts";
import { isHeldOut } from "../training/data.ts";
import { skillItem, skills } from "../training/skills/index.ts";
import { numberFlag, threadsFlag } from "./flags.ts";
import { examples } from "./help.ts";
import { interruptible } from "./interruptible.ts";
import { print, printJson, say, showProgress } from "./output.ts";
import { openShown } from "./progress.ts";
import { modelHelp } from "./request.ts";
import { addShaperFlag, readShapers, type ShaperFlags } from "./shapers.ts";
import { formatTable } from "./table.ts";

interface EvalFlags {
  model: string;
  lora?: string;
  data?: string;
  limit?: number;
  overlap?: number;
  heldOut?: true;
  seed: number;
  threads?: number;
  json?: true;
}

export function define(command: Command): void {
  command.addHelpText(
    "after",
    examples(
      "ventris eval perplexity story.txt --model knossos",
      "ventris eval draft story.txt --model knossos --draft pylos",
      "ventris eval lm truthfulqa --model knossos --data FOLDER",
      "ventris eval skills --model phaistos",
    ),
  );
  const common = (sub: Command): Command =>
    sub
      .requiredOption("-m, --model <name>", modelHelp)
      .option("--lora <folder>", "folder of a LoRA adapter in PEFT's format, which is merged into the model")
      .addOption(numberFlag("--limit", z.int().min(1), "use at most this many documents or questions"))
      .addOption(numberFlag("--seed", z.int().min(0), "seed of all random choices").default(0))
      .addOption(threadsFlag())
      .option("--json", "print one JSON object");
  common(command.command("perplexity"))
    .description("measure how well a model predicts texts: perplexity per token, byte and word")
    .argument("<files...>", "text files: .txt, or .jsonl whose lines have a field text; each may be compressed (.gz)")
    .addOption(
      numberFlag(
        "--overlap",
        z.int().min(1),
        "texts longer than the context are read in windows that overlap by this many tokens; default: half the context",
      ),
    )
    .addOption(new Option("--held-out", "use only the documents that training with our recipes leaves out"))
    .addOption(
      new Option(
        "--baseline <name>",
        "measure a 5-gram too, counted in the documents that --held-out leaves out (and in --baseline-texts)",
      ).choices(["kneser-ney"]),
    )
    .option("--baseline-texts <files...>", "further texts for the baseline")
    .addHelpText("after", examples("ventris eval perplexity story.txt --model knossos"))
    .action(perplexity);
  common(command.command("draft"))
    .description("measure how well a draft foresees its model: what speculative decoding would accept on texts")
    .argument("<files...>", "text files: .txt, or .jsonl whose lines have a field text; each may be compressed (.gz)")
    .requiredOption("--draft <model>", "the draft: a model with the same tokenizer")
    .addOption(
      numberFlag(
        "--temperature",
        z.number().positive().max(10),
        "temperature of both models; agreement is measured of their likeliest tokens anyway",
      ).default(1),
    )
    .addOption(
      numberFlag(
        "--overlap",
        z.int().min(1),
        "texts longer than the context are read in windows that overlap by this many tokens; default: half the context",
      ),
    )
    .addOption(new Option("--held-out", "use only the documents that training with our recipes leaves out"))
    .addHelpText("after", examples("ventris eval draft story.txt --model knossos --draft pylos"))
    .action(draftTest);
  const lm = common(command.command("lm"))
    .description(`answer multiple-choice questions by likelihood: ${tasks.map(({ name }) => name).join(", ")}`)
    .argument("<tasks...>", "one or more of these tasks")
    .option(
      "--data <folder>",
      "folder with the files of the tasks; default: that of the environment variable VENTRIS_DATA",
    )
    .option(
      "--normalise",
      "score answers by log-probabilities, normalised over the tokens that the shapers leave, and not by their scores as they are",
    )
    .addOption(numberFlag("--masked", z.number().max(0), "score of a token that a shaper rules out; default: -1000"));
  addShaperFlag(lm);
  lm.addHelpText(
    "after",
    `
With --shaper (a contrast between layers or models, for instance) the model's
own results stand beside, with intervals of the difference.
  ventris eval lm truthfulqa --model knossos --shaper "dola layers=upper"`,
  );
  lm.action(choice);
  common(command.command("skills"))
    .description(
      `solve tasks whose answers can be checked, at temperature 0: ${skills.map(({ name }) => name).join(", ")}`,
    )
    .argument("[skills...]", "some of these tasks; default: all")
    .addHelpText(
      "after",
      examples("ventris eval skills --model phaistos", "ventris eval skills arithmetic --model phaistos --limit 50"),
    )
    .action(skillTests);
}

const hasTokenizer = (model: Model): model is Model & { tokenizer: Tokenizer } => model.tokenizer !== undefined;

async function withModel<T>(
  { model: reference, lora, threads }: EvalFlags,
  action: (model: Model & { tokenizer: Tokenizer }, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const model = await openShown(reference, { threads, lora });
  try {
    ensure(hasTokenizer(model), "bad_option", `--model: ${reference} has no tokenizer`);
    return await interruptible((signal) => action(model, signal));
  } finally {
    await model.close();
  }
}

/** The files' documents, as many as were asked for. */
async function* textsOf(files: string[], { limit = Infinity, heldOut }: EvalFlags): AsyncGenerator<string> {
  let count = 0;
  for await (const text of readTexts(files)) {
    if (heldOut && !isHeldOut(text)) continue;
    if (count++ >= limit) return;
    yield text;
  }
}

/** Rows of estimates over so many documents: one alone says nothing of how others would differ. */
export const estimateRows =
  (documents: number) =>
  (name: string, count: number, { value, interval }: Estimate): string[] => [
    name,
    String(count),
    value.toFixed(3),
    documents > 1 ? spanOf(interval) : "one document",
  ];

async function draftTest(files: string[], flags: EvalFlags & { draft: string; temperature: number }): Promise<void> {
  const { draft: reference, temperature, overlap, seed, threads, json } = flags;
  const { work, ...found } = await withModel(flags, async (model, signal) => {
    const draft = await openShown(reference, { threads });
    try {
      ensure(hasTokenizer(draft), "bad_option", `--draft: ${reference} has no tokenizer`);
      const measured = await measureDraft(model, draft, textsOf(files, flags), {
        temperature,
        overlap,
        seed,
        signal,
        onProgress: (documents) => documents % 20 === 0 && showProgress(plural(documents, "document")),
      });
      return { ...measured, work: workPerToken(model.config) / workPerToken(draft.config) };
    } finally {
      await draft.close();
    }
  });
  if (json) {
    printJson({ model: flags.model, draft: reference, temperature, files, ...found, work });
    return;
  }
  const { positions, documents } = found;
  const estimateRow = estimateRows(documents);
  print(
    formatTable(
      ["draft against model", "positions", "value", "95 % interval"],
      [
        estimateRow(`accepted (sum of minima, temperature ${temperature})`, positions, found.acceptance),
        estimateRow("same most likely token", positions, found.agreement),
        estimateRow("divergence, nats", positions, found.divergence),
        ["work of a token, model over draft", "-", `${work.toFixed(1)}×`, "-"],
      ],
    ),
  );
}

interface PerplexityFlags extends EvalFlags {
  baseline?: "kneser-ney";
  baselineTexts?: string[];
}

/** Counted in all that training may have seen of the files: never in a document that is measured. */
async function countBaseline({ tokenizer }: { tokenizer: Tokenizer }, files: readonly string[], signal: AbortSignal) {
  const { beginToken, vocabularySize } = tokenizer;
  ensure(beginToken !== undefined, "bad_option", "--baseline: the tokenizer has no token that begins a document");
  const ends = tokenizer.endTokens.slice(0, 1);
  showProgress("counting n-grams");
  async function* documents(): AsyncGenerator<number[]> {
    for await (const text of readTexts(files)) {
      signal.throwIfAborted();
      if (!isHeldOut(text)) yield [...documentTokens(tokenizer, text), ...ends];
    }
  }
  return trainNgrams(documents(), { vocabularySize, beginToken });
}

async function perplexity(files: string[], flags: PerplexityFlags): Promise<void> {
  const { overlap, seed, heldOut, baseline, baselineTexts = [], json } = flags;
  ensure(!baseline || heldOut, "bad_option", "--baseline counts in what --held-out leaves out: give --held-out too");
  ensure(baseline || baselineTexts.length === 0, "bad_option", "--baseline-texts belongs to --baseline");
  const found = await withModel(flags, async (model, signal) =>
    measurePerplexity(model, textsOf(files, flags), {
      overlap,
      seed,
      baseline: baseline && (await countBaseline(model, [...files, ...baselineTexts], signal)),
      signal,
      onProgress: (documents) => documents % 20 === 0 && showProgress(plural(documents, "document")),
    }),
  );
  if (json) {
    printJson({ model: flags.model, files, ...found });
    return;
  }
  const estimateRow = estimateRows(found.documents);
  print(
    formatTable(
      ["perplexity per", "units", "value", "95 % interval"],
      [
        estimateRow("token", found.tokens, found.perToken),
        estimateRow("byte", found.bytes, found.perByte),
        estimateRow("word", found.words, found.perWord),
        estimateRow("bits per byte", found.bytes, found.bitsPerByte),
        ...(found.baseline
          ? [
              estimateRow("token, Kneser–Ney 5-gram", found.tokens, found.baseline.perToken),
              estimateRow("byte, Kneser–Ney 5-gram", found.bytes, found.baseline.perByte),
              estimateRow("bits per byte, Kneser–Ney 5-gram", found.bytes, found.baseline.bitsPerByte),
              estimateRow("nats a byte less than the 5-gram", found.bytes, found.baseline.gain),
            ]
          : []),
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
  /** With shapers: the model's own value on the same items, and the difference. */
  readonly plain?: number;
  readonly difference?: { readonly value: number; readonly interval?: readonly [number, number] };
}

interface ChoiceFlags extends EvalFlags, ShaperFlags {
  normalise?: true;
  masked?: number;
}

async function choice(names: string[], flags: ChoiceFlags): Promise<void> {
  const { data = process.env.VENTRIS_DATA, limit, seed, json, normalise = false, masked } = flags;
  const chosen = names.map(taskNamed);
  ensure(data, "bad_option", "where are the tasks' files? give --data, or set VENTRIS_DATA");
  const shapers = readShapers(flags).map(scoredAsPublished);
  ensure(
    shapers.length > 0 || (!normalise && masked === undefined),
    "bad_option",
    "--normalise and --masked say how a --shaper is scored: give one",
  );
  const items = await Promise.all(chosen.map((task) => loadTask(task, data)));
  const results = await withModel(flags, async (model, signal) => {
    const all: TaskResult[] = [];
    for (const [i, task] of chosen.entries()) {
      const some = items[i].slice(0, limit);
      showProgress(`${task.name}: ${plural(some.length, "question")}`);
      const plain = await scoreItems(model, some, signal);
      const shaped =
        shapers.length > 0
          ? await scoreItems(model, some, signal, shapedScore(model, { shapers, normalise, masked, signal }))
          : undefined;
      const scored = shaped ?? plain;
      for (const measure of task.measure === "truthful" ? truthfulMeasures : choiceMeasures) {
        const values = scored.map(measure.of);
        const { value, interval = [value, value] } = meanOf(values, seed);
        const own = plain.map(measure.of);
        all.push({
          task: task.name,
          measure: measure.name,
          items: scored.length,
          value,
          interval: measure.share ? wilson(value, scored.length) : interval,
          chance: mean(some.map(measure.chance)),
          cut: scored.reduce((sum, item) => sum + item.cut, 0),
          ...(shaped && { plain: mean(own), difference: differenceOf(values, own, seed) }),
        });
      }
    }
    return all;
  });
  if (json) {
    printJson({ model: flags.model, ...(shapers.length > 0 && { shapers, normalise }), results });
    return;
  }
  const beside = shapers.length > 0;
  const rows = results.map(({ task, measure, items, value, interval, chance, cut, plain, difference }) => [
    task,
    measure,
    String(items),
    value.toFixed(3),
    spanOf(interval),
    ...(beside ? [plain!.toFixed(3), `${signed(difference!.value)} (${spanOf(difference!.interval, signed)})`] : []),
    chance.toFixed(3),
    String(cut),
  ]);
  const columns = ["task", "by", "items", "right", "95 % interval", ...(beside ? ["plain", "difference"] : [])];
  print(formatTable([...columns, "chance", "cut"], rows));
}

/** Published evaluations of contrasts keep all tokens; what was asked for stays. */
function scoredAsPublished(shaper: ReturnType<typeof readShapers>[number]) {
  if (!("alpha" in findShaper(shaper.name).options.shape) || "alpha" in shaper) return shaper;
  say(`${shaper.name}: alpha 0, as published evaluations score given answers`);
  return { ...shaper, alpha: 0 };
}

function differenceOf(ours: readonly number[], plain: readonly number[], seed: number) {
  const { value, interval } = meanOf(
    ours.map((x, i) => x - plain[i]),
    seed,
  );
  return { value, interval };
}

const signed = (value: number): string => `${value < 0 ? "" : "+"}${value.toFixed(3)}`;
const spanOf = (interval: readonly [number, number] | undefined, write = (x: number) => x.toFixed(3)): string =>
  interval ? `${write(interval[0])} to ${write(interval[1])}` : "one item";

async function skillTests(names: string[], flags: EvalFlags): Promise<void> {
  const { limit = 50, seed, json } = flags;
  const known = skills.map(({ name }) => name);
  for (const name of names)
    ensure(
      known.includes(name),
      "bad_option",
      `no skill "${name}"${didYouMean(name, known)} Skills: ${known.join(", ")}`,
    );
  const chosen = skills.filter(({ name }) => names.length === 0 || names.includes(name));
  const results = await withModel(flags, async (model, signal) => {
    // No answer is longer; of a canvas every position costs something in every pass, and blocks of 32 must fit.
    const maxTokens = model.capabilities.has("canvas") ? 64 : 200;
    const all: { skill: string; items: number; right: number; interval: readonly [number, number] }[] = [];
    for (const skill of chosen) {
      showProgress(skill.name);
      const items = Array.from({ length: limit }, (_, i) => skillItem(skill, "test", seed, i));
      let right = 0;
      for (const item of items) {
        const prompt = model.tokenizer.encodeChat?.([{ role: "user", content: item.prompt }]) ?? `${item.prompt}\n`;
        const { text } = await model.decode(prompt, { temperature: 0, maxTokens, signal }).final;
        // What was cut short is neither right nor wrong.
        ensure(!signal.aborted, "aborted", "the tasks were interrupted");
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
