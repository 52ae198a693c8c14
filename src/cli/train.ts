/** `ventris train`: models from recipes, and tokenizers. Interrupted training is saved and goes on with the next call. */

import { existsSync, readdirSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure } from "../errors.ts";
import { partKinds } from "../methods/index.ts";
import { hint, meantBy } from "../names.ts";
import { readNote, runFolderIn } from "../training/export.ts";
import { findPartKind, partKinds as ownPartKinds } from "../training/parts.ts";
import { amount, duration, progressWriter } from "../training/progress.ts";
import { readRecipe, runRecipe } from "../training/recipe.ts";
import { numberFlag, parseAssignments, readEscapes, refuseFlags, threadsFlag } from "./flags.ts";
import { examples } from "./help.ts";
import { interruptible } from "./interruptible.ts";
import { print, printJson, say, talk } from "./output.ts";
import { formatTable } from "./table.ts";
import { beginFinetuning, beginTraining, type FinetuneOptions, folderFor, resultOf } from "./train-begin.ts";
import { lookingOn, marked, runStatus, sample, writeRunModel } from "./train-look.ts";
import { defineMaking } from "./train-making.ts";
import { defineReward } from "./train-reward.ts";

interface TrainFlags {
  init?: string;
  texts?: string[];
  separator?: string;
  field?: string;
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
  folder?: string;
  separator?: string;
  field?: string;
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

const separatorFlag = (): Option =>
  new Option(
    "--separator <text>",
    "what separates the documents of a .txt file, with \\n for a newline; '' makes every file one document. Default: a single .txt file is split at its blank lines, and each of several files is one document",
  ).argParser((text) => readEscapes(text, "--separator"));

const fieldFlag = (): Option =>
  new Option("--field <name>", "the field of the lines of a .jsonl file that has the text; default: text");

export function define(command: Command): void {
  command
    .argument(
      "[recipe]",
      "a recipe: one that --init wrote, or that ships with the package, such as knossos; or one of the commands below",
    )
    .option(
      "--init <folder>",
      "write a recipe for --texts into this folder, sized for the texts and this machine, and stop there",
    )
    .option(
      "--texts <files...>",
      "the texts that --init is to plan for: .txt, or .jsonl whose lines have a field text; each may be compressed (.gz)",
    )
    .addOption(separatorFlag())
    .addOption(fieldFlag())
    .addOption(
      numberFlag("--minutes", z.number().positive(), "how long the training that --init plans may take").default(60),
    )
    .addOption(
      numberFlag(
        "--sample-every",
        z.int().min(1),
        "show what the model writes, every so many steps: a text that is held out of training, the sign |, and how the model goes on",
      ),
    )
    .addOption(
      numberFlag(
        "--keep-every",
        z.int().min(1),
        "keep a copy of the model every so many steps, in the folder kept of the run; ventris inspect markov --run reads the copies",
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
        "stop after this many minutes, those of earlier calls included; the same command with more of them goes on",
      ),
    )
    .addOption(threadsFlag())
    .option("--json", "print the outcome as one JSON object")
    .allowExcessArguments() // refused with what may have been meant
    .addHelpText(
      "after",
      examples(
        "ventris train --init mine --texts story.txt",
        "ventris train mine/recipe.json --run mine/run --out mine/model",
        "ventris train finetune knossos story.txt --folder tuned",
      ),
    )
    .action(trainModel);
  command
    .command("finetune")
    .description("train a model further on texts: all of its weights, a small LoRA beside them, or a part of it")
    .argument(
      "<model>",
      "the model: the name of one that ships, a checkpoint folder, or a name on the hub such as HuggingFaceTB/SmolLM2-135M",
    )
    .argument("<texts...>", "text files: .txt, or .jsonl whose lines have a field text; each may be compressed (.gz)")
    .option(
      "--folder <folder>",
      "folder for everything: the recipe, the checkpoint, and the result in model, adapter or part. Default: runs/ and the names of model and text, such as runs/knossos-story",
    )
    .addOption(separatorFlag())
    .addOption(fieldFlag())
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
      new Option("--targets <names>", "matrices that get a LoRA, between commas, such as q_proj,v_proj")
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
        "a setting of the part, such as vectors=8 for a soft-prompt. May be given several times.",
      )
        .argParser((text, before: string[]) => [...before, text])
        .default([], ""),
    )
    .addOption(threadsFlag())
    .addOption(
      numberFlag(
        "--max-minutes",
        z.number().positive(),
        "stop after this many minutes, those of earlier calls included; the same command with more of them goes on",
      ),
    )
    .option("--json", "print the outcome as one JSON object")
    .addHelpText(
      "after",
      examples(
        "ventris train finetune knossos story.txt --folder tuned --epochs 1",
        "ventris train finetune knossos story.txt --folder adapted --lora 4",
        "ventris train finetune knossos story.txt --part soft-prompt --set vectors=8",
      ),
    )
    .action(finetune);
  defineReward(command);
  command
    .command("status")
    .description("show how far a training run is: steps, losses, speed, time left")
    .argument("<run>", "folder of the run (--run), or of a finetuning (--folder)")
    .option("--json", "print one JSON object")
    .addHelpText("after", examples("ventris train status mine/run"))
    .action(status);
  command
    .command("sample")
    .description(
      "let the last checkpoint of a run continue texts; the sign | stands between each text and what the model adds",
    )
    .argument("<run>", "folder of the run (--run), or of a finetuning (--folder)")
    .argument("[prompts...]", "texts to continue; default: beginnings of texts that are held out of training")
    .addOption(numberFlag("-n, --max-tokens", z.int().min(1).max(100_000), "stop after this many tokens").default(100))
    .addOption(numberFlag("--temperature", z.number().min(0), "0 always takes the most likely token").default(0.7))
    .addOption(numberFlag("--seed", z.int().min(0), "seed of all random choices").default(0))
    .addOption(threadsFlag())
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      examples("ventris train sample mine/run", 'ventris train sample mine/run "Once upon a time" --temperature 0'),
    )
    .action(sampleRun);
  defineMaking(command);
}

const recipesFolder = fileURLToPath(new URL("../../recipes", import.meta.url));

/** A recipe that is not here may be one that ships: by its name, or by a path that ends as its own. */
function recipeAt(given: string): string {
  const [, name] = /^(?:(?:.*[\\/])?recipes[\\/])?([\w-]+)(?:\.json)?$/.exec(given) ?? [];
  const shipped = join(recipesFolder, `${name}.json`);
  if (name === undefined || existsSync(given) || !existsSync(shipped)) return given;
  say(`${given} is not here: taking the recipe that ships, ${shipped}`);
  return shipped;
}

/** Flags that `--init` has no use for. */
const ofTraining = ["sampleEvery", "keepEvery", "data", "run", "out", "maxMinutes"];

async function trainModel(given: string | undefined, flags: TrainFlags, command: Command): Promise<void> {
  const { init, texts, separator, field, minutes, threads, json } = flags;
  const path = given === undefined || init !== undefined ? given : recipeAt(given);
  if (path !== undefined && !existsSync(path)) requireNoCommand(path, command);
  ensure(command.args.length <= 1, "bad_option", () => {
    return `train takes one recipe; what else is ${command.args.slice(1).join(" ")}? (--help shows the usage)`;
  });
  if (init !== undefined) {
    ensure(path === undefined, "bad_option", "--init writes a recipe: do not give one too");
    refuseFlags(command, ofTraining, "belongs to a training, and --init only writes the recipe");
    ensure(texts, "bad_option", "--init: which texts? give --texts FILE…");
    const { recipe, documents, notes } = await interruptible((signal) =>
      beginTraining({ folder: init, texts, separator, field, minutes, threads, signal }),
    );
    if (json) printJson({ recipe, documents });
    else print(recipe);
    for (const note of notes) say(note);
    say(`look at it, then: ventris train ${recipe} --run ${join(init, "run")} --out ${join(init, "model")}`);
    return;
  }
  refuseFlags(command, ["texts"], "belongs to --init; a recipe names its texts itself");
  refuseFlags(command, ["separator", "field"], "belongs to --init; a recipe names it beside its text");
  refuseFlags(command, ["minutes"], "belongs to --init; --max-minutes ends a training");
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
  ensure(!dataFolder || existsSync(dataFolder), "unavailable", `--data: there is no folder ${dataFolder}`);
  await runAndTell(path, { ...flags, data: dataFolder ?? ".", run: flags.run ?? join("runs", recipe.name) });
}

/** Errors: `bad_option` for a word that is no recipe, and nearly one of the commands. */
function requireNoCommand(word: string, { commands }: Command): void {
  if (!/^[\w-]+$/.test(word)) return;
  const recipes = readdirSync(recipesFolder).flatMap((file) => /^([\w-]+)\.json$/.exec(file)?.[1] ?? []);
  const meant = meantBy(word, [...commands.map((command) => command.name()), ...recipes]);
  ensure(
    meant === undefined,
    "bad_option",
    `train has no command "${word}", and there is no such recipe${hint(meant)}`,
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
  if (step < recipe.steps) {
    const [why, more] =
      reason === "time"
        ? ["its --max-minutes are over", "the same command with more --max-minutes"]
        : ["interrupted", "the same command"];
    say(`stopped early (${why}); the checkpoint is in ${run}, and ${more} goes on from it`);
  }
  if (reason === "aborted") process.exitCode = 130;
}

/** What `--part` and `--set` say. Errors: `bad_option`. */
function partOf({ part: kind, set }: FinetuneFlags): FinetuneOptions["part"] {
  ensure(kind !== undefined || set.length === 0, "bad_option", "--set belongs to --part");
  if (kind === undefined) return undefined;
  const { shape } = findPartKind(kind, partKinds).settings as z.ZodObject;
  return { kind, settings: parseAssignments(shape, set, `a part ${kind}`) };
}

async function finetune(model: string, texts: string[], flags: FinetuneFlags, command: Command): Promise<void> {
  const {
    folder = folderFor(model, texts),
    epochs,
    learningRate,
    length,
    lora: r,
    alpha,
    targets,
    threads,
    maxMinutes,
    json,
  } = flags;
  if (r === undefined) refuseFlags(command, ["alpha", "targets"], "belongs to --lora");
  ensure(r === undefined || flags.part === undefined, "bad_option", "--lora and --part: train one of them");
  const lora = r === undefined ? undefined : { r, alpha: alpha ?? 2 * r, targets };
  const part = partOf(flags);
  const { recipe: path, notes } = await interruptible((signal) =>
    beginFinetuning({
      folder,
      model,
      texts,
      separator: flags.separator,
      field: flags.field,
      epochs,
      learningRate,
      length,
      lora,
      part,
      signal,
    }),
  );
  const [run, out] = [join(folder, "run"), join(folder, resultOf({ lora, part }))];
  for (const note of notes) say(note);
  // The run goes on with the settings that it began with: others need a run of their own.
  say(
    `the settings are in ${path}; to train again after editing them: ventris train ${path} --run ${run}-2 --out ${out}-2`,
  );
  await runAndTell(path, { data: ".", run, out, threads, maxMinutes, json });
}

async function status(folder: string, { json }: { json?: true }): Promise<void> {
  const found = await runStatus(await runFolderIn(folder));
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
        ["tokens", `${amount(tokens)} in ${duration(seconds)}`],
        ["speed", tokensPerSecond === undefined ? "-" : `${tokensPerSecond.toFixed(0)} tokens/s`],
      ],
    ),
  );
}

interface SampleFlags {
  maxTokens: number;
  temperature: number;
  seed: number;
  threads?: number;
  json?: true;
}

async function sampleRun(folder: string, given: string[], { json, ...flags }: SampleFlags): Promise<void> {
  const run = await runFolderIn(folder);
  const prompts = given.length > 0 ? given : (await readNote(run)).openings.slice(0, 4);
  const texts = await interruptible((signal) =>
    sample((written) => writeRunModel(run, written), { prompts, ...flags, signal }),
  );
  if (json) printJson(prompts.map((prompt, i) => ({ prompt, text: texts[i] })));
  else {
    if (texts.length > 0) say(`${marked}\n`);
    for (const [i, text] of texts.entries()) print(`${prompts[i]}|${text}\n`);
  }
}
