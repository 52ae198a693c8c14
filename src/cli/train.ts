/** `ventris train`: models from recipes, and tokenizers. Interrupted training is saved and goes on with the next call. */
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure, VentrisError } from "../errors.ts";
import { trainTable } from "../methods/index.ts";
import { open, resolveModel } from "../open.ts";
import { openTokenizer, readTexts, trainTokenizer } from "../text/index.ts";
import { loadCorpus } from "../training/data.ts";
import { progressWriter } from "../training/progress.ts";
import { readRecipe, runRecipe } from "../training/recipe.ts";
import { parseValue } from "./flags.ts";
import { interruptible } from "./interruptible.ts";
import { murmur, print, printJson, say } from "./output.ts";
import { writeTexts } from "./texts.ts";

interface TrainFlags {
  data?: string;
  run?: string;
  out?: string;
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
    .argument("<recipe>", "a recipe (recipes/*.json), or the words tokenizer, trigrams or texts")
    .option("--data <folder>", "where the recipe's texts are (default: VENTRIS_DATA)")
    .option("--run <folder>", "keeps the checkpoint and the loss curve (default: runs/NAME)")
    .option("--out <folder>", "write the model there when training stops")
    .addOption(numberFlag("--max-minutes", z.number().positive(), "stop after this time, earlier sessions included"))
    .addOption(numberFlag("--threads", z.int().min(1).max(256), "threads within an operation"))
    .option("--json", "print one JSON object at the end")
    .action(trainModel);
  command
    .command("tokenizer")
    .description("train a byte-level BPE tokenizer on texts")
    .argument("<files...>", "texts: .txt, or .jsonl with a field `text`; either also as .gz")
    .addOption(numberFlag("--size", z.int(), "tokens in all").default(4096))
    .requiredOption("--out <folder>", "gets tokenizer.json and tokenizer_config.json")
    .option("--json", "print one JSON object at the end")
    .option("--debug", "show where an error comes from")
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
    .option("--debug", "show where an error comes from")
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
    .option("--debug", "show where an error comes from")
    .action(makeTexts);
}

const numberFlag = (flag: string, schema: z.ZodType, description: string): Option =>
  new Option(`${flag} <number>`, description).argParser((text) => parseValue(schema, flag, text));

async function trainModel(path: string, flags: TrainFlags): Promise<void> {
  const { data: dataFolder = process.env.VENTRIS_DATA, out, threads, maxMinutes, json } = flags;
  const recipe = await readRecipe(path);
  ensure(dataFolder, "bad_option", "where are the texts? give --data, or set VENTRIS_DATA");
  ensure(existsSync(dataFolder), "bad_option", `--data: there is no folder ${dataFolder}`);
  const runFolder = flags.run ?? join("runs", recipe.name);
  const progress = progressWriter();
  const result = await interruptible((signal) =>
    runRecipe(path, {
      dataFolder,
      runFolder,
      out,
      threads,
      maxSeconds: maxMinutes === undefined ? undefined : maxMinutes * 60,
      signal,
      onProgress: progress.update,
      onMessage: say,
    }),
  ).finally(progress.done);
  const { reason, step, resumedFrom, history } = result;
  const loss = history[history.length - 1]?.loss;
  const heldOutLoss = history.findLast((entry) => entry.heldOutLoss !== undefined)?.heldOutLoss;
  if (json)
    printJson({
      recipe: recipe.name,
      reason,
      step,
      steps: recipe.steps,
      resumedFrom,
      loss,
      heldOutLoss,
      runFolder,
      out,
    });
  else {
    const losses = [
      loss === undefined ? [] : `loss ${loss.toFixed(3)}`,
      heldOutLoss === undefined ? [] : `held-out ${heldOutLoss.toFixed(3)}`,
    ];
    print(
      [
        `${recipe.name}: step ${step} of ${recipe.steps}`,
        ...losses.flat(),
        ...(out === undefined ? [] : [`written to ${out}`]),
      ].join(" · "),
    );
  }
  if (step < recipe.steps)
    say(`stopped early (${reason}); the checkpoint is in ${runFolder}, and the same command goes on from it`);
  if (reason === "aborted") process.exitCode = 130;
}

async function makeTrigrams(files: string[], { model, out, pairs, json }: TrigramFlags): Promise<void> {
  const tokenizer = await openTokenizer(await resolveModel(model));
  murmur("counting tri-grams");
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
          murmur(`${texts} of ${count} texts · ${tokensPerSecond.toFixed(0)} tokens/s`);
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
          murmur(progress.stage === "counting" ? "counting words" : `learning ${progress.total} merges`);
        stage = progress.stage;
      },
    }),
  );
  if (json) printJson({ out, tokens: trained.tokens.length, merges: trained.merges.length });
  else print(`${trained.tokens.length} tokens, ${trained.merges.length} of them merges, written to ${out}`);
}
