/** `ventris train`: models from recipes, and tokenizers. Interrupted training is saved and goes on with the next call. */
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure, VentrisError } from "../errors.ts";
import { trainTable } from "../methods/index.ts";
import { open, resolveModel } from "../open.ts";
import { openTokenizer, readTexts, trainTokenizer } from "../text/index.ts";
import { loadCorpus } from "../training/data.ts";
import { readNote } from "../training/export.ts";
import { duration, progressWriter } from "../training/progress.ts";
import { readRecipe, runRecipe } from "../training/recipe.ts";
import { parseValue } from "./flags.ts";
import { interruptible } from "./interruptible.ts";
import { print, printJson, say, showProgress, talk } from "./output.ts";
import { formatTable } from "./table.ts";
import { writeTexts } from "./texts.ts";
import { beginFinetuning, beginTraining } from "./train-begin.ts";
import { runStatus, sample, writeRunModel } from "./train-look.ts";

interface TrainFlags {
  init?: string;
  texts?: string[];
  minutes: number;
  sampleEvery?: number;
  data?: string;
  run?: string;
  out?: string;
  threads?: number;
  maxMinutes?: number;
  json?: true;
}

interface FinetuneFlags {
  folder: string;
  epochs: number;
  learningRate?: number;
  length?: number;
  lora?: number;
  alpha?: number;
  targets: string[];
  threads?: number;
  maxMinutes?: number;
  json?: true;
}

interface TokenizerFlags {
  size: number;
  out: string;
  json?: true;
}

interface TextsFlags {
  model: string;
  out: string;
  count: number;
  opening: number;
  length: number;
  temperatures: number[];
  seed: number;
  threads?: number;
  json?: true;
}

interface TrigramFlags {
  model: string;
  out: string;
  pairs: number;
  json?: true;
}

export function define(command: Command): void {
  command
    .argument("[recipe]", "a recipe (recipes/*.json), or one of the words below")
    .option("--init <folder>", "write a recipe there that fits --texts and this machine, and train nothing")
    .option("--texts <files...>", "texts for --init: .txt, or .jsonl with a field `text`; either also as .gz")
    .addOption(numberFlag("--minutes", z.number().positive(), "time that --init plans for").default(60))
    .addOption(numberFlag("--sample-every", z.int().min(1), "print what the model writes after every so many steps"))
    .option("--data <folder>", "where the recipe's texts are (default: VENTRIS_DATA)")
    .option("--run <folder>", "keeps the checkpoint and the loss curve (default: runs/NAME)")
    .option("--out <folder>", "write the model there when training stops")
    .addOption(numberFlag("--max-minutes", z.number().positive(), "stop after this time, earlier sessions included"))
    .addOption(numberFlag("--threads", z.int().min(1).max(256), "threads within an operation"))
    .option("--json", "print one JSON object at the end")
    .action(trainModel);
  command
    .command("finetune")
    .description("train a model further on texts, all of its weights or a LoRA")
    .argument("<model>", "a checkpoint folder, a shipped model, or org/name on the hub")
    .argument("<texts...>", "texts: .txt, or .jsonl with a field `text`; either also as .gz")
    .requiredOption("--folder <folder>", "gets the recipe, the run and, in `model` or `adapter`, what is trained")
    .addOption(numberFlag("--epochs", z.number().positive(), "passes over the texts").default(3))
    .addOption(numberFlag("--learning-rate", z.number().positive(), "peak (default: 2e-5; of a LoRA 2e-4)"))
    .addOption(numberFlag("--length", z.int().min(1), "tokens of a row (default: 256)"))
    .addOption(numberFlag("--lora", z.int().min(1), "train a LoRA of this rank instead of all weights"))
    .addOption(numberFlag("--alpha", z.number().positive(), "of the LoRA (default: twice the rank)"))
    .addOption(
      new Option("--targets <names>", "matrices of the LoRA, between commas")
        .argParser((text) => text.split(","))
        .default(["all-linear"], "all-linear"),
    )
    .addOption(numberFlag("--threads", z.int().min(1).max(256), "threads"))
    .addOption(numberFlag("--max-minutes", z.number().positive(), "stop after this time"))
    .option("--json", "print one JSON object at the end")
    .action(finetune);
  command
    .command("status")
    .description("say how far a run is")
    .argument("<run>", "the run's folder")
    .option("--json", "print one JSON object")
    .action(status);
  command
    .command("sample")
    .description("let the last checkpoint of a run write")
    .argument("<run>", "the run's folder")
    .argument("[prompts...]", "default: how held-out texts begin")
    .addOption(numberFlag("--tokens", z.int().min(1).max(100_000), "tokens that are added").default(100))
    .addOption(numberFlag("--temperature", z.number().min(0), "0 is greedy").default(0.7))
    .addOption(numberFlag("--seed", z.int().min(0), "of the draws").default(0))
    .addOption(numberFlag("--threads", z.int().min(1).max(256), "threads within an operation"))
    .option("--json", "print one JSON object")
    .action(sampleRun);
  command
    .command("tokenizer")
    .description("train a byte-level BPE tokenizer on texts")
    .argument("<files...>", "texts: .txt, or .jsonl with a field `text`; either also as .gz")
    .addOption(numberFlag("--size", z.int(), "tokens in all").default(4096))
    .requiredOption("--out <folder>", "gets tokenizer.json and tokenizer_config.json")
    .option("--json", "print one JSON object at the end")
    .action(makeTokenizer);
  command
    .command("trigrams")
    .description("count the tri-gram table that the method aded starts from")
    .argument("<files...>", "texts: .txt, or .jsonl with a field `text`; either also as .gz")
    .requiredOption("--model <folder>", "the model whose tokenizer the table is for")
    .requiredOption("--out <file>", "the table; a model finds its own under the name trigrams.bin")
    .addOption(
      numberFlag(
        "--pairs",
        z
          .int()
          .min(1)
          .max(2 ** 23),
        "most pairs kept",
      ).default(100_000),
    )
    .option("--json", "print one JSON object at the end")
    .action(makeTrigrams);
  command
    .command("texts")
    .description("let a model write texts, to distil a draft from or to count tri-grams in")
    .argument("<files...>", "texts to take openings from: .txt, or .jsonl with a field `text`; either also as .gz")
    .requiredOption("--model <folder>", "the model that writes")
    .requiredOption("--out <file>", "gets JSON lines {text}")
    .addOption(numberFlag("--count", z.int().min(1).max(10_000_000), "texts in all").default(1000))
    .addOption(numberFlag("--opening", z.int().min(1).max(100_000), "tokens of an opening").default(32))
    .addOption(numberFlag("--length", z.int().min(1).max(100_000), "tokens that the model adds").default(160))
    .addOption(
      new Option("--temperatures <numbers>", "temperatures, taken in turn; 0 is greedy")
        .argParser((text) => {
          const temperature = z.number().min(0).max(10);
          return text.split(",").map((part) => parseValue(temperature, "--temperatures", part));
        })
        .default([0, 0.6, 0.8, 1]),
    )
    .addOption(numberFlag("--seed", z.int().min(0), "seed of openings and draws").default(0))
    .addOption(numberFlag("--threads", z.int().min(1).max(256), "threads within an operation"))
    .option("--json", "print one JSON object at the end")
    .action(makeTexts);
}

const numberFlag = (flag: string, schema: z.ZodType, description: string): Option =>
  new Option(`${flag} <number>`, description).argParser((text) => parseValue(schema, flag, text));

async function trainModel(path: string | undefined, flags: TrainFlags): Promise<void> {
  const { init, texts, minutes, threads, json } = flags;
  if (init !== undefined) {
    ensure(path === undefined, "bad_option", "--init writes a recipe: do not give one too");
    ensure(texts, "bad_option", "--init: which texts? give --texts FILE…");
    const recipe = await interruptible((signal) => beginTraining({ folder: init, texts, minutes, threads, signal }));
    if (json) printJson({ recipe });
    else print(recipe);
    say(`look at it, then: ventris train ${recipe} --run ${join(init, "run")} --out ${join(init, "model")}`);
    return;
  }
  ensure(texts === undefined, "bad_option", "--texts belongs to --init; a recipe names its texts itself");
  ensure(path, "bad_option", "give a recipe, or --init FOLDER --texts FILE… to have one written");
  const recipe = await readRecipe(path);
  const dataFolder = flags.data ?? process.env.VENTRIS_DATA;
  const elsewhere = recipe.data.every((file) => isAbsolute(file.path) || file.path.startsWith("./"));
  ensure(dataFolder || elsewhere, "bad_option", "where are the texts? give --data, or set VENTRIS_DATA");
  ensure(!dataFolder || existsSync(dataFolder), "bad_option", `--data: there is no folder ${dataFolder}`);
  await runAndTell(path, { ...flags, data: dataFolder ?? ".", run: flags.run ?? join("runs", recipe.name) });
}

/** Trains as a recipe says, with progress, and tells how it ended. */
async function runAndTell(
  path: string,
  { data, run, out, threads, maxMinutes, sampleEvery, json }: Partial<TrainFlags> & { data: string; run: string },
): Promise<void> {
  const recipe = await readRecipe(path);
  const progress = progressWriter({ stream: talk });
  const result = await interruptible((signal) =>
    runRecipe(path, {
      dataFolder: data,
      runFolder: run,
      out,
      threads,
      maxSeconds: maxMinutes === undefined ? undefined : maxMinutes * 60,
      samples: sampleEvery === undefined ? undefined : { every: sampleEvery, take: samplesOf(run, threads, signal) },
      signal,
      onProgress: progress.update,
      onMessage: say,
    }),
  ).finally(progress.done);
  const { reason, step, resumedFrom, history } = result;
  const loss = history[history.length - 1]?.loss;
  const heldOutLoss = history.findLast((entry) => entry.heldOutLoss !== undefined)?.heldOutLoss;
  if (json) {
    const { name, steps } = recipe;
    printJson({ recipe: name, reason, step, steps, resumedFrom, loss, heldOutLoss, runFolder: run, out });
  } else {
    const losses = [
      loss === undefined ? [] : `loss ${loss.toFixed(3)}`,
      heldOutLoss === undefined ? [] : `held-out ${heldOutLoss.toFixed(3)}`,
    ];
    const written = out === undefined ? [] : [`written to ${out}`];
    print([`${recipe.name}: step ${step} of ${recipe.steps}`, ...losses.flat(), ...written].join(" · "));
  }
  if (step < recipe.steps)
    say(`stopped early (${reason}); the checkpoint is in ${run}, and the same command goes on from it`);
  if (reason === "aborted") process.exitCode = 130;
}

/** Two openings of held-out texts, continued by the model as it is. */
const samplesOf =
  (run: string, threads: number | undefined, signal: AbortSignal) =>
  async (write: (folder: string) => Promise<void>, step: number): Promise<void> => {
    const { openings } = await readNote(run);
    const prompts = openings.slice(0, 2);
    const texts = await sample(write, { prompts, tokens: 80, temperature: 0.7, seed: step, threads, signal });
    for (const [i, text] of texts.entries()) say(`\nstep ${step}: ${prompts[i]}|${text}`);
  };

async function finetune(model: string, texts: string[], flags: FinetuneFlags): Promise<void> {
  const { folder, epochs, learningRate, length, lora: r, alpha, targets, threads, maxMinutes, json } = flags;
  ensure(r !== undefined || alpha === undefined, "bad_option", "--alpha belongs to --lora");
  const lora = r === undefined ? undefined : { r, alpha: alpha ?? 2 * r, targets };
  const path = await interruptible((signal) =>
    beginFinetuning({ folder, model, texts, epochs, learningRate, length, lora, signal }),
  );
  say(`${path}: what is done, to be changed or run again with \`ventris train\``);
  const out = join(folder, lora ? "adapter" : "model");
  await runAndTell(path, { data: ".", run: join(folder, "run"), out, threads, maxMinutes, json });
}

async function status(run: string, { json }: { json?: true }): Promise<void> {
  const found = await runStatus(run);
  if (json) {
    printJson(found);
    return;
  }
  const { name, running, step, steps, loss, heldOutLoss, tokens, tokensPerSecond, secondsLeft, seconds } = found;
  const left = secondsLeft === undefined || !running ? "" : `, about ${duration(secondsLeft)} left`;
  print(
    formatTable(
      ["run", name],
      [
        ["state", running ? "running" : step >= steps ? "finished" : "stopped; the same command goes on"],
        ["step", `${step} of ${steps}${left}`],
        ["loss", loss === undefined ? "-" : `${loss.toFixed(3)} nats a token`],
        ["held out", heldOutLoss === undefined ? "-" : `${heldOutLoss.toFixed(3)} nats a token`],
        ["tokens", `${(tokens / 1e6).toFixed(2)} million in ${duration(seconds)}`],
        ["speed", tokensPerSecond === undefined ? "-" : `${tokensPerSecond.toFixed(0)} tokens/s`],
      ],
    ),
  );
}

interface SampleFlags {
  tokens: number;
  temperature: number;
  seed: number;
  threads?: number;
  json?: true;
}

async function sampleRun(run: string, given: string[], { json, ...flags }: SampleFlags): Promise<void> {
  const prompts = given.length > 0 ? given : (await readNote(run)).openings.slice(0, 4);
  const texts = await interruptible((signal) =>
    sample((folder) => writeRunModel(run, folder), { prompts, ...flags, signal }),
  );
  if (json) printJson(prompts.map((prompt, i) => ({ prompt, text: texts[i] })));
  else for (const [i, text] of texts.entries()) print(`${prompts[i]}|${text}\n`);
}

async function makeTrigrams(files: string[], { model, out, pairs, json }: TrigramFlags): Promise<void> {
  const tokenizer = await openTokenizer(await resolveModel(model));
  showProgress("counting tri-grams");
  const made = await interruptible((signal) =>
    trainTable({ texts: readTexts(files), tokenizer, out, maximumPairs: pairs, signal }),
  );
  if (json) printJson({ out, ...made });
  else print(`${made.pairs} pairs, ${made.bytes} bytes, written to ${out}`);
}

async function makeTexts(files: string[], { model: reference, threads, json, ...flags }: TextsFlags): Promise<void> {
  const model = await open(reference, { threads });
  try {
    const { tokenizer } = model;
    ensure(tokenizer, "bad_option", `--model: ${reference} has no tokenizer`);
    const written = await interruptible(async (signal) => {
      const corpus = await loadCorpus({ files: files.map((path) => ({ path })), tokenizer, signal });
      const { count, opening, length, temperatures, seed, out } = flags;
      let told = 0;
      return writeTexts({
        model,
        openings: corpus.train.tokens,
        openingTokens: opening,
        count,
        length,
        temperatures,
        seed,
        out,
        signal,
        onProgress({ texts, tokensPerSecond }) {
          if (performance.now() - told < 10_000 && texts < count) return;
          told = performance.now();
          showProgress(`${texts} of ${count} texts · ${tokensPerSecond.toFixed(0)} tokens/s`);
        },
      });
    });
    const complete = written >= flags.count;
    if (json) printJson({ out: flags.out, texts: written, complete });
    else print(`${written} texts${complete ? `, written to ${flags.out}` : ""}`);
    if (complete) return;
    say(`stopped early; what is written is in ${flags.out}.partial, and the same command goes on from it`);
    process.exitCode = 130;
  } finally {
    await model.close();
  }
}

async function makeTokenizer(files: string[], { size, out, json }: TokenizerFlags): Promise<void> {
  await mkdir(out, { recursive: true }).catch((cause) => {
    throw new VentrisError("unavailable", `--out: cannot make the folder: ${cause.message}`, { cause });
  });
  let stage = "";
  const trained = await interruptible((signal) =>
    trainTokenizer({
      texts: readTexts(files),
      size,
      out,
      signal,
      onProgress(progress) {
        if (progress.stage !== stage)
          showProgress(progress.stage === "counting" ? "counting words" : `learning ${progress.total} merges`);
        stage = progress.stage;
      },
    }),
  );
  if (json) printJson({ out, tokens: trained.tokens.length, merges: trained.merges.length });
  else print(`${trained.tokens.length} tokens, ${trained.merges.length} of them merges, written to ${out}`);
}
