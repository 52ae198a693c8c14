/** `ventris train`: models from recipes, and tokenizers. Interrupted training is saved and goes on with the next call. */
import { existsSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure, nearest, VentrisError } from "../errors.ts";
import { partKinds, trainTable } from "../methods/index.ts";
import { makeFolder } from "../node-folders.ts";
import { open } from "../open.ts";
import { resolveModel } from "../references.ts";
import { openTokenizer, readTexts, trainTokenizer } from "../text/index.ts";
import { loadCorpus } from "../training/data.ts";
import { readNote } from "../training/export.ts";
import { findPartKind, partKinds as ownPartKinds } from "../training/parts.ts";
import { duration, progressWriter } from "../training/progress.ts";
import { readRecipe, runRecipe } from "../training/recipe.ts";
import { numberFlag, parseAssignments, parseValue, threadsFlag } from "./flags.ts";
import { interruptible } from "./interruptible.ts";
import { print, printJson, say, showProgress, talk } from "./output.ts";
import { formatBytes, formatTable, plural } from "./table.ts";
import { writeTexts } from "./texts.ts";
import { beginFinetuning, beginTraining, type FinetuneOptions, resultOf } from "./train-begin.ts";
import { lookingOn, runStatus, sample, writeRunModel } from "./train-look.ts";
import { defineReward } from "./train-reward.ts";

interface TrainFlags {
  init?: string;
  texts?: string[];
  minutes: number;
  sampleEvery?: number;
  keepEvery?: number;
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
  part?: string;
  set: string[];
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
    .argument("[recipe]", "a recipe, as recipes/knossos.json or one that --init wrote; or one of the commands below")
    .option(
      "--init <folder>",
      "write a recipe for --texts into this folder, sized for the texts and this machine, and stop there",
    )
    .option(
      "--texts <files...>",
      "the texts that --init is to plan for: .txt, or .jsonl whose lines have a field text; each may be compressed (.gz)",
    )
    .addOption(
      numberFlag("--minutes", z.number().positive(), "how long the training that --init plans may take").default(60),
    )
    .addOption(numberFlag("--sample-every", z.int().min(1), "show what the model writes, once every so many steps"))
    .addOption(
      numberFlag(
        "--keep-every",
        z.int().min(1),
        "keep the model as it then is, once every so many steps, in the folder kept of the run; ventris inspect markov --run reads them",
      ),
    )
    .option(
      "--data <folder>",
      "folder with the texts that the recipe names; default: that of the environment variable VENTRIS_DATA",
    )
    .option(
      "--run <folder>",
      "folder for the checkpoint and the loss curve; the same folder goes on from there. Default: runs/ and the recipe's name",
    )
    .option("--out <folder>", "write the trained model into this folder when training stops")
    .addOption(
      numberFlag(
        "--max-minutes",
        z.number().positive(),
        "stop after this many minutes, those of earlier calls included; the same command goes on",
      ),
    )
    .addOption(threadsFlag())
    .option("--json", "print the outcome as one JSON object")
    .allowExcessArguments() // refused with what may have been meant
    .action(trainModel);
  command
    .command("finetune")
    .description("train a model further on texts: all of its weights, a small LoRA beside them, or a part of it")
    .argument(
      "<model>",
      "the model: the name of one that ships, a checkpoint folder, or a name on the hub such as HuggingFaceTB/SmolLM2-135M",
    )
    .argument("<texts...>", "text files: .txt, or .jsonl whose lines have a field text; each may be compressed (.gz)")
    .requiredOption(
      "--folder <folder>",
      "folder for everything: the recipe, the checkpoint, and the result in model, adapter or part",
    )
    .addOption(numberFlag("--epochs", z.number().positive(), "how often the texts are read").default(3))
    .addOption(
      numberFlag(
        "--learning-rate",
        z.number().positive(),
        "highest learning rate; default: 2e-5, of a LoRA 2e-4, of a part 2e-3",
      ),
    )
    .addOption(numberFlag("--length", z.int().min(1), "tokens of each training row; default: 256"))
    .addOption(numberFlag("--lora", z.int().min(1), "train a LoRA of this rank instead of all weights"))
    .addOption(numberFlag("--alpha", z.number().positive(), "scale of the LoRA, as in PEFT; default: twice the rank"))
    .addOption(
      new Option("--targets <names>", "matrices that get a LoRA, between commas, as q_proj,v_proj")
        .argParser((text) => text.split(","))
        .default(["all-linear"], "all-linear"),
    )
    .option(
      "--part <kind>",
      `train a part of the model, which stays as it is: ${[...ownPartKinds, ...partKinds].map(({ name }) => name).join(", ")}`,
    )
    .addOption(
      new Option(
        "--set <name=value>",
        "a setting of the part, as vectors=8 of a soft-prompt. May be given several times.",
      )
        .argParser((text, before: string[]) => [...before, text])
        .default([], ""),
    )
    .addOption(threadsFlag())
    .addOption(
      numberFlag("--max-minutes", z.number().positive(), "stop after this many minutes; the same command goes on"),
    )
    .option("--json", "print the outcome as one JSON object")
    .action(finetune);
  defineReward(command);
  command
    .command("status")
    .description("show how far a training run is: steps, losses, speed, time left")
    .argument("<run>", "folder of the run (--run)")
    .option("--json", "print one JSON object")
    .action(status);
  command
    .command("sample")
    .description("let the last checkpoint of a run continue texts")
    .argument("<run>", "folder of the run (--run)")
    .argument("[prompts...]", "texts to continue; default: beginnings of texts that are held out of training")
    .addOption(numberFlag("--tokens", z.int().min(1).max(100_000), "how many tokens it writes").default(100))
    .addOption(numberFlag("--temperature", z.number().min(0), "0 always takes the most likely token").default(0.7))
    .addOption(numberFlag("--seed", z.int().min(0), "seed of all random choices").default(0))
    .addOption(threadsFlag())
    .option("--json", "print one JSON object")
    .action(sampleRun);
  command
    .command("tokenizer")
    .description("train a byte-level BPE tokenizer on texts")
    .argument("<files...>", "text files: .txt, or .jsonl whose lines have a field text; each may be compressed (.gz)")
    .addOption(numberFlag("--size", z.int(), "how many tokens it has in all").default(4096))
    .requiredOption("--out <folder>", "folder for tokenizer.json and tokenizer_config.json")
    .option("--json", "print the outcome as one JSON object")
    .action(makeTokenizer);
  command
    .command("trigrams")
    .description("count triples of tokens in texts: the table that the method aded starts from")
    .argument("<files...>", "text files: .txt, or .jsonl whose lines have a field text; each may be compressed (.gz)")
    .requiredOption("--model <folder>", "the model that the table is for, whose tokenizer it uses")
    .requiredOption("--out <file>", "where the table goes; a model finds its own as trigrams.bin in its folder")
    .addOption(
      numberFlag(
        "--pairs",
        z
          .int()
          .min(1)
          .max(2 ** 23),
        "keep this many of the most frequent pairs",
      ).default(100_000),
    )
    .option("--json", "print the outcome as one JSON object")
    .action(makeTrigrams);
  command
    .command("texts")
    .description("let a model write texts itself, to train its draft on or to count triples of tokens in")
    .argument(
      "<files...>",
      "texts that openings are taken from: .txt, or .jsonl whose lines have a field text; each may be compressed (.gz)",
    )
    .requiredOption("--model <folder>", "the model that writes")
    .requiredOption("--out <file>", "file for the texts, as JSON lines with a field text")
    .addOption(numberFlag("--count", z.int().min(1).max(10_000_000), "how many texts to write").default(1000))
    .addOption(
      numberFlag(
        "--opening",
        z.int().min(1).max(100_000),
        "how many tokens of a text are given as its opening",
      ).default(32),
    )
    .addOption(numberFlag("--length", z.int().min(1).max(100_000), "how many tokens the model adds").default(160))
    .addOption(
      new Option(
        "--temperatures <numbers>",
        "temperatures between commas, taken in turn; 0 always takes the most likely token",
      )
        .argParser((text) => {
          const temperature = z.number().min(0).max(10);
          return text.split(",").map((part) => parseValue(temperature, "--temperatures", part));
        })
        .default([0, 0.6, 0.8, 1]),
    )
    .addOption(numberFlag("--seed", z.int().min(0), "seed of all random choices").default(0))
    .addOption(threadsFlag())
    .option("--json", "print the outcome as one JSON object")
    .action(makeTexts);
}

async function trainModel(path: string | undefined, flags: TrainFlags, command: Command): Promise<void> {
  const { init, texts, minutes, threads, json } = flags;
  if (path !== undefined && !existsSync(path)) requireNoCommand(path, command);
  ensure(command.args.length <= 1, "bad_option", () => {
    return `train takes one recipe; what else is ${command.args.slice(1).join(" ")}? (--help shows the usage)`;
  });
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
  ensure(!/\.(txt|jsonl)(\.gz)?$/.test(path), "bad_option", () => {
    return `${path} is a text, and train takes a recipe: ventris train --init FOLDER --texts ${path} writes one, and ventris train finetune MODEL ${path} --folder FOLDER trains a model further`;
  });
  const recipe = await readRecipe(path);
  const dataFolder = flags.data ?? process.env.VENTRIS_DATA;
  const relative = recipe.data.findIndex((file) => !isAbsolute(file.path) && !file.path.startsWith("./"));
  ensure(dataFolder || relative < 0, "bad_option", () => {
    const { path: file } = recipe.data[relative];
    return `recipe ${path}: data[${relative}].path: where is ${file}? Give its folder by --data or VENTRIS_DATA, its whole path, or ./${file} beside the recipe`;
  });
  ensure(!dataFolder || existsSync(dataFolder), "bad_option", `--data: there is no folder ${dataFolder}`);
  await runAndTell(path, { ...flags, data: dataFolder ?? ".", run: flags.run ?? join("runs", recipe.name) });
}

/** Errors: `bad_option` for a word that is no recipe, and nearly one of the commands. */
function requireNoCommand(word: string, { commands }: Command): void {
  const names = commands.map((command) => command.name());
  const meant = /^[\w-]+$/.test(word) ? nearest(word, names) : undefined;
  ensure(
    meant === undefined,
    "bad_option",
    `train has no command "${word}", and there is no such recipe; did you mean "${meant}"?`,
  );
}

/** Trains as a recipe says, with progress, and tells how it ended. */
async function runAndTell(
  path: string,
  {
    data,
    run,
    out,
    threads,
    maxMinutes,
    sampleEvery,
    keepEvery,
    json,
  }: Partial<TrainFlags> & { data: string; run: string },
): Promise<void> {
  const recipe = await readRecipe(path);
  const progress = progressWriter({ stream: talk });
  const result = await interruptible((signal) =>
    runRecipe(path, {
      dataFolder: data,
      runFolder: run,
      out,
      partKinds,
      threads,
      maxSeconds: maxMinutes === undefined ? undefined : maxMinutes * 60,
      samples: lookingOn(run, { sampleEvery, keepEvery }, threads, signal),
      signal,
      onProgress: progress.update,
      onMessage: say,
    }),
  ).finally(progress.done);
  const { reason, step, resumedFrom, history } = result;
  const loss = history[history.length - 1]?.smoothedLoss; // as progress and status tell it
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

/** What `--part` and `--set` say. Errors: `bad_option`. */
function partOf({ part: kind, set }: FinetuneFlags): FinetuneOptions["part"] {
  ensure(kind !== undefined || set.length === 0, "bad_option", "--set belongs to --part");
  if (kind === undefined) return undefined;
  const { shape } = findPartKind(kind, partKinds).settings as z.ZodObject;
  return { kind, settings: parseAssignments(shape, set, `a part ${kind}`) };
}

async function finetune(model: string, texts: string[], flags: FinetuneFlags): Promise<void> {
  const { folder, epochs, learningRate, length, lora: r, alpha, targets, threads, maxMinutes, json } = flags;
  ensure(r !== undefined || alpha === undefined, "bad_option", "--alpha belongs to --lora");
  ensure(r === undefined || flags.part === undefined, "bad_option", "--lora and --part: train one of them");
  const lora = r === undefined ? undefined : { r, alpha: alpha ?? 2 * r, targets };
  const part = partOf(flags);
  const path = await interruptible((signal) =>
    beginFinetuning({ folder, model, texts, epochs, learningRate, length, lora, part, signal }),
  );
  const [run, out] = [join(folder, "run"), join(folder, resultOf({ lora, part }))];
  say(`${path} says how; once it is changed, it is run by ventris train ${path} --run ${run} --out ${out}`);
  await runAndTell(path, { data: ".", run, out, threads, maxMinutes, json });
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
  else print(`${plural(made.pairs, "pair")} of tokens, ${formatBytes(made.bytes)}, written to ${out}`);
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
          showProgress(`${texts} of ${plural(count, "text")} · ${tokensPerSecond.toFixed(0)} tokens/s`);
        },
      });
    });
    const complete = written >= flags.count;
    if (json) printJson({ out: flags.out, texts: written, complete });
    else print(`${plural(written, "text")}${complete ? `, written to ${flags.out}` : ""}`);
    if (complete) return;
    say(`stopped early; what is written is in ${flags.out}.partial, and the same command goes on from it`);
    process.exitCode = 130;
  } finally {
    await model.close();
  }
}

async function makeTokenizer(files: string[], { size, out, json }: TokenizerFlags): Promise<void> {
  await makeFolder(out).catch((cause) => {
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
          showProgress(
            progress.stage === "counting" ? "counting words" : `learning ${plural(progress.total, "merge")}`,
          );
        stage = progress.stage;
      },
    }),
  );
  if (json) printJson({ out, tokens: trained.tokens.length, merges: trained.merges.length });
  else
    print(
      `${plural(trained.tokens.length, "token")}, ${trained.merges.length} of them made by merging, written to ${out}`,
    );
}
