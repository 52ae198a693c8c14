/** `ventris train tokenizer`, `trigrams` and `texts`: what is made beside a model, from texts or by a model. */
import { existsSync } from "node:fs";
import { rmdir } from "node:fs/promises";
import { type Command, Option } from "commander";
import { z } from "zod";
import { formatBytes } from "../bytes.ts";
import { ensure, plural, VentrisError } from "../errors.ts";
import { trainTable } from "../methods/index.ts";
import { makeFolder } from "../node-folders.ts";
import { resolveModel } from "../references.ts";
import { openTokenizer, readTexts, trainTokenizer } from "../text/index.ts";
import { loadCorpus } from "../training/data.ts";
import { numberFlag, parseValue, threadsFlag } from "./flags.ts";
import { examples } from "./help.ts";
import { interruptible } from "./interruptible.ts";
import { print, printJson, say, showProgress } from "./output.ts";
import { openShown } from "./progress.ts";
import { modelHelp } from "./request.ts";
import { writeTexts } from "./texts.ts";

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
  maxTokens: number;
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

export function defineMaking(command: Command): void {
  command
    .command("tokenizer")
    .description("train a byte-level BPE tokenizer on texts")
    .argument("<files...>", "text files: .txt, or .jsonl whose lines have a field text; each may be compressed (.gz)")
    .addOption(numberFlag("--size", z.int(), "how many tokens it has in all").default(4096))
    .requiredOption("--out <folder>", "folder for tokenizer.json and tokenizer_config.json")
    .option("--json", "print the outcome as one JSON object")
    .addHelpText("after", examples("ventris train tokenizer story.txt --size 320 --out tokens"))
    .action(makeTokenizer);
  command
    .command("trigrams")
    .description("count triples of tokens in texts: the table that the method aded starts from")
    .argument("<files...>", "text files: .txt, or .jsonl whose lines have a field text; each may be compressed (.gz)")
    .requiredOption("-m, --model <name>", `the model that the table is for, whose tokenizer it uses: ${modelHelp}`)
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
    .addHelpText(
      "after",
      examples(
        "ventris train trigrams story.txt --model knossos --out trigrams.bin",
        'ventris run --method aded --set table=trigrams.bin "Once upon a time"',
      ),
    )
    .action(makeTrigrams);
  command
    .command("texts")
    .description("let a model write texts, to train its draft on or to count triples of tokens in")
    .argument(
      "<files...>",
      "texts that openings are taken from: .txt, or .jsonl whose lines have a field text; each may be compressed (.gz)",
    )
    .requiredOption("-m, --model <name>", `the model that writes: ${modelHelp}`)
    .requiredOption("--out <file>", "file for the texts, as JSON lines with a field text")
    .addOption(numberFlag("--count", z.int().min(1).max(10_000_000), "how many texts to write").default(1000))
    .addOption(
      numberFlag(
        "--opening",
        z.int().min(1).max(100_000),
        "how many tokens of a text are given as its opening",
      ).default(32),
    )
    .addOption(
      numberFlag("-n, --max-tokens", z.int().min(1).max(100_000), "stop each text after this many tokens").default(160),
    )
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
    .addHelpText("after", examples("ventris train texts story.txt --model knossos --count 100 --out written.jsonl"))
    .action(makeTexts);
}

/** Errors: `bad_option` for files with no word in them. */
async function requireText(files: readonly string[]): Promise<void> {
  for await (const text of readTexts(files)) if (text.trim() !== "") return;
  throw new VentrisError(
    "bad_option",
    `${files.join(", ")}: there is no text in ${files.length === 1 ? "it" : "them"}`,
  );
}

async function makeTrigrams(files: string[], { model, out, pairs, json }: TrigramFlags): Promise<void> {
  const tokenizer = await openTokenizer(await resolveModel(model));
  await requireText(files);
  showProgress("counting tri-grams");
  const made = await interruptible((signal) =>
    trainTable({ texts: readTexts(files), tokenizer, out, maximumPairs: pairs, signal }),
  );
  if (json) printJson({ out, ...made });
  else print(`${plural(made.pairs, "pair")} of tokens, ${formatBytes(made.bytes)}, written to ${out}`);
}

async function makeTexts(files: string[], { model: reference, threads, json, ...flags }: TextsFlags): Promise<void> {
  const model = await openShown(reference, { threads });
  try {
    const { tokenizer } = model;
    ensure(tokenizer, "bad_option", `--model: ${reference} has no tokenizer`);
    const written = await interruptible(async (signal) => {
      const corpus = await loadCorpus({ files: files.map((path) => ({ path })), tokenizer, signal });
      const { count, opening, maxTokens, temperatures, seed, out } = flags;
      let told = 0;
      return writeTexts({
        model,
        openings: corpus.train.tokens,
        openingTokens: opening,
        count,
        length: maxTokens,
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
  const before = existsSync(out);
  await makeFolder(out).catch((cause) => {
    throw new VentrisError("unavailable", `--out: cannot make the folder: ${cause.message}`, { cause });
  });
  let stage = "";
  let count = 0;
  const texts = async function* () {
    for await (const text of readTexts(files)) {
      count++;
      yield text;
    }
    ensure(count > 0, "bad_option", `${files.join(", ")}: there is no text in ${files.length > 1 ? "them" : "it"}`);
  };
  const trained = await interruptible((signal) =>
    trainTokenizer({
      texts: texts(),
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
  ).catch(async (error) => {
    if (!before) await rmdir(out).catch(() => {}); // what has come into it stays
    throw error;
  });
  if (json) printJson({ out, tokens: trained.tokens.length, merges: trained.merges.length });
  else
    print(
      `${plural(trained.tokens.length, "token")}, ${trained.merges.length} of them made by merging, written to ${out}`,
    );
}
