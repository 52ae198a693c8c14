/** `ventris memory`: texts of one's own as a memory of a model: a datastore of its states, a network that imitates it, and what they know. */

import { join } from "node:path";
import type { Command } from "commander";
import { z } from "zod";
import { plural } from "../errors.ts";
import { memory } from "../methods/index.ts";
import type { Model } from "../open.ts";
import { readTexts } from "../text/index.ts";
import { amount } from "../training/progress.ts";
import { numberFlag, threadsFlag } from "./flags.ts";
import { examples } from "./help.ts";
import { interruptible } from "./interruptible.ts";
import { addBottleneck } from "./memory-bottleneck.ts";
import { addEvaluate } from "./memory-evaluate.ts";
import { print, printJson, say, showProgress } from "./output.ts";
import { openShown } from "./progress.ts";
import { modelHelp } from "./request.ts";

interface BuildFlags {
  model: string;
  out: string;
  keySite?: string;
  inputSite?: string;
  window?: number;
  maxSize?: number;
  threads?: number;
  json?: true;
}

interface TrainFlags extends BuildFlags {
  k: number;
  temperature: number;
  alpha: number;
  blocks: number;
  passes: number;
  rows: number;
  rate: number;
  seed: number;
}

const textsHelp = "text files: .txt, or .jsonl whose lines have a field text; each may be compressed (.gz)";

/** Where the parts of a memory lie in its folder. */
const datastoreOf = (folder: string): string => join(folder, "datastore");

const memoryFolder = (folder: string): string => join(folder, "memory");

export function define(command: Command): void {
  command.addHelpText(
    "after",
    examples(
      "ventris memory build tales.txt --out tales",
      "ventris memory train tales.txt --out tales",
      "ventris memory evaluate later-tales.txt --memory tales",
      "ventris memory bottleneck train mon.csv tue.csv --out week.safetensors",
    ),
  );
  addBuildFlags(command.command("build"))
    .description("keep the model's states and what followed them in texts: a datastore, for the shaper knn-lm")
    .addHelpText(
      "after",
      `
An interrupted build goes on where it was when the same call is repeated.
  ventris memory build tales.txt --out tales
  ventris run --shaper "knn-lm datastore=tales/datastore" "Once upon a time"`,
    )
    .action(build);
  addBuildFlags(command.command("train"))
    .description(
      "build a datastore, and train a small network on it that answers as a search in it would: for the shaper mlp-memory",
    )
    .addOption(numberFlag("--k", z.int().min(1).max(65536), "neighbours that it learns from").default(64))
    .addOption(
      numberFlag("--temperature", z.number().positive(), "divides the squared distances of neighbours").default(16),
    )
    .addOption(
      numberFlag(
        "--alpha",
        z.number().min(0).max(1),
        "how much of the loss is the imitation of the search, from 0 to 1; the next tokens of the texts have the rest",
      ).default(0.4),
    )
    .addOption(numberFlag("--blocks", z.int().min(1).max(64), "feed-forward blocks of the network").default(3))
    .addOption(
      numberFlag(
        "--passes",
        z.number().positive().max(100_000),
        "how often it sees every token; a short text more often: there are 200 steps at least",
      ).default(10),
    )
    .addOption(
      numberFlag("--rows", z.int().min(1).max(65536), "how many tokens each training step learns from").default(256),
    )
    .addOption(numberFlag("--rate", z.number().positive().max(1), "learning rate of AdamW").default(2e-3))
    .addOption(numberFlag("--seed", z.int().min(0), "seed of all random choices").default(0))
    .addHelpText(
      "after",
      `
Interrupted in any stage, it goes on where it was when the call is repeated.
  ventris memory train tales.txt --out tales
  ventris run --shaper "mlp-memory memory=tales/memory" "Once upon a time"`,
    )
    .action(train);
  addEvaluate(command);
  addBottleneck(command);
}

const addBuildFlags = (command: Command): Command =>
  command
    .argument("<texts...>", textsHelp)
    .requiredOption("--out <folder>", "folder of the memory: its parts are the folders datastore and memory in it")
    .option("-m, --model <name>", modelHelp, "knossos")
    .option(
      "--key-site <site>",
      "the site of the model whose states are the keys; default: the input of its last feed-forward block",
    )
    .option(
      "--input-site <site>",
      "the site of the model whose states a trained memory gets; default: the input of the feed-forward block at seven tenths of its depth",
    )
    .addOption(
      numberFlag(
        "--window",
        z.int().min(2),
        "longest text that a state is computed from; default: the context, at most 512",
      ),
    )
    .addOption(
      numberFlag("--max-size", z.number().positive(), "most space on disk that the datastore may take, in MiB"),
    )
    .addOption(threadsFlag())
    .option("--json", "print one JSON object");

async function build(texts: string[], flags: BuildFlags): Promise<void> {
  const { model: reference, threads, json } = flags;
  await using model = await openShown(reference, { threads });
  const started = performance.now();
  const card = await interruptible((signal) => buildFor(model, texts, flags, signal));
  const seconds = (performance.now() - started) / 1000;
  const { entries, documents, keySite, inputSite } = card;
  const folder = datastoreOf(flags.out);
  if (json) printJson({ model: reference, datastore: folder, entries, documents, keySite, inputSite, seconds });
  else
    print(`${folder}: ${plural(entries, "entry", "entries")} of ${plural(documents, "document")}, read at ${keySite}`);
  if (!json) say(`use it: ventris run --shaper "knn-lm datastore=${folder}" "…"`);
}

function buildFor(
  model: Model,
  texts: readonly string[],
  { out, keySite, inputSite, window, maxSize }: BuildFlags,
  signal: AbortSignal,
): Promise<memory.DatastoreCard> {
  return memory.buildDatastore(model, readTexts(texts), {
    folder: datastoreOf(out),
    keySite,
    inputSite,
    window,
    maxBytes: maxSize === undefined ? undefined : maxSize * 2 ** 20,
    signal,
    onProgress: ({ entries, documents }) =>
      showProgress(`${plural(entries, "entry", "entries")} of ${plural(documents, "document")}`),
  });
}

async function train(texts: string[], flags: TrainFlags): Promise<void> {
  const { model: reference, out, threads, json, rows, passes, rate, ...settings } = flags;
  const { k, temperature, alpha, blocks, seed } = settings;
  await using model = await openShown(reference, { threads });
  const started = performance.now();
  const made = await interruptible(async (signal) => {
    const { entries } = await buildFor(model, texts, flags, signal);
    return memory.makeMemory(model, {
      datastore: datastoreOf(out),
      out: memoryFolder(out),
      work: join(out, "training"),
      ...{ k, temperature, alpha, blocks, rows, seed, threads, signal },
      steps: Math.max(200, Math.ceil((passes * entries) / rows)),
      learningRate: rate,
      onTeach: (done, of) => showProgress(`searching for ${done} of ${of} entries`),
      onTrain: ({ step, totalSteps, smoothedLoss, secondsLeft }) =>
        showProgress(
          `step ${step} of ${totalSteps} · loss ${smoothedLoss.toFixed(3)} · ${Math.ceil(secondsLeft)} s left`,
        ),
    });
  });
  const seconds = (performance.now() - started) / 1000;
  const { entries, steps, loss, inverted } = made;
  const numbers = made.parameters.reduce((sum, { values }) => sum + values.length, 0);
  if (json)
    printJson({ model: reference, memory: memoryFolder(out), entries, steps, loss, numbers, inverted, seconds });
  else {
    print(
      `${memoryFolder(out)}: ${amount(numbers)} numbers that remember ${plural(entries, "entry", "entries")}; loss ${loss.toFixed(3)} after ${plural(steps, "step")}`,
    );
    if (inverted)
      say(
        `it learned from an inverted file, ${inverted.probes} of ${plural(inverted.lists, "list")}, which finds ${(100 * inverted.recall).toFixed(1)} % of the exact search's neighbours`,
      );
    say(`use it: ventris run --shaper "mlp-memory memory=${memoryFolder(out)}" "…"`);
  }
}
