/** `ventris memory`: texts of one's own as a memory of a model: a datastore of its states, a network that imitates it, and what they know. */
import { join } from "node:path";
import { type Command, Option } from "commander";
import { z } from "zod";
import { memory } from "../methods/index.ts";
import { type OpenModel, open } from "../open.ts";
import { readTexts } from "../text/index.ts";
import { parseValue } from "./flags.ts";
import { interruptible } from "./interruptible.ts";
import { print, printJson, showProgress } from "./output.ts";
import { modelHelp } from "./request.ts";
import { plural } from "./table.ts";

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

const number = (flag: string, schema: z.ZodType, description: string): Option =>
  new Option(`${flag} <number>`, description).argParser((text) => parseValue(schema, flag, text));

const textsHelp = "text files: .txt, or .jsonl whose lines have a field text; each may be compressed (.gz)";

/** Where the parts of a memory lie in its folder. */
const datastoreOf = (folder: string): string => join(folder, "datastore");

export function define(command: Command): void {
  command
    .command("build")
    .description("keep the model's states and what followed them in texts: a datastore, for the shaper knn-lm")
    .argument("<texts...>", textsHelp)
    .requiredOption("--out <folder>", "folder of the memory; the datastore is its folder datastore")
    .option("-m, --model <name>", modelHelp, "knossos")
    .option("--key-site <site>", "where the model is read; default: the input of its last feed-forward block")
    .option(
      "--input-site <site>",
      "where a trained memory will read the model; default: the input of the feed-forward block at seven tenths of its depth",
    )
    .addOption(
      number(
        "--window",
        z.int().min(2),
        "longest text that a state is computed from; default: the context, at most 512",
      ),
    )
    .addOption(number("--max-size", z.number().positive(), "MiB on disk that the datastore may take"))
    .addOption(
      number("--threads", z.int().min(1).max(256), "threads within an operation; default: all cores, at most 8"),
    )
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
An interrupted build goes on where it was when the same call is repeated.
  ventris memory build tales.txt --out tales
  ventris run --shaper "knn-lm datastore=tales/datastore" "Once upon a time"`,
    )
    .action(build);
}

async function build(texts: string[], flags: BuildFlags): Promise<void> {
  const { model: reference, threads, json } = flags;
  await using model = await open(reference, { threads });
  const started = performance.now();
  const card = await interruptible((signal) => buildFor(model, texts, flags, signal));
  const seconds = (performance.now() - started) / 1000;
  const { entries, documents, keySite, inputSite } = card;
  const folder = datastoreOf(flags.out);
  if (json) printJson({ model: reference, datastore: folder, entries, documents, keySite, inputSite, seconds });
  else
    print(`${folder}: ${plural(entries, "entry", "entries")} of ${plural(documents, "document")}, read at ${keySite}`);
}

function buildFor(
  model: OpenModel,
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
