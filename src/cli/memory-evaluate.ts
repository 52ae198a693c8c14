/** `ventris memory evaluate`: what a memory is worth on texts, beside the model alone and the search. */
import { join } from "node:path";
import type { Command } from "commander";
import { z } from "zod";
import { ratioOfSums } from "../evaluation/bootstrap.ts";
import { memory } from "../methods/index.ts";
import { open } from "../open.ts";
import { readTexts } from "../text/index.ts";
import { numberFlag, threadsFlag } from "./flags.ts";
import { interruptible } from "./interruptible.ts";
import { print, printJson, say, showProgress } from "./output.ts";
import { modelHelp } from "./request.ts";
import { formatTable, plural } from "./table.ts";

interface EvaluateFlags {
  memory: string;
  model: string;
  k: number;
  temperature: number;
  lambda?: number;
  limit?: number;
  seed: number;
  threads?: number;
  json?: true;
}

export function addEvaluate(command: Command): void {
  command
    .command("evaluate")
    .description(
      "how well texts are predicted by the model, with the datastore's neighbours, and with the trained memory",
    )
    .argument(
      "<texts...>",
      "text files, which the memory should not have read: .txt, or .jsonl whose lines have a field text; each may be compressed (.gz)",
    )
    .requiredOption("--memory <folder>", "the folder that ventris memory build or train wrote")
    .option("-m, --model <name>", modelHelp, "knossos")
    .addOption(numberFlag("--k", z.int().min(1).max(65536), "how many neighbours the search looks up").default(64))
    .addOption(
      numberFlag("--temperature", z.number().positive(), "divides the squared distances of neighbours").default(16),
    )
    .addOption(
      numberFlag(
        "--lambda",
        z.number().min(0).max(1),
        "weight of the memories; default: for each the best on the first half of the documents, measured on the others, or 0.25 for a single document",
      ),
    )
    .addOption(numberFlag("--limit", z.int().min(1), "use at most this many documents"))
    .addOption(numberFlag("--seed", z.int().min(0), "seed of the intervals").default(0))
    .addOption(threadsFlag())
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Example:
  ventris memory evaluate later-tales.txt --memory tales`,
    )
    .action(evaluate);
}

/** The default of the shapers. */
const usualLambda = 0.25;

async function* firstOf(files: readonly string[], limit = Infinity): AsyncGenerator<string> {
  let count = 0;
  for await (const text of readTexts(files)) {
    if (count++ >= limit) return;
    yield text;
  }
}

async function evaluate(files: string[], flags: EvaluateFlags): Promise<void> {
  const { model: reference, memory: folder, k, temperature, lambda, limit, seed, threads, json } = flags;
  await using model = await open(reference, { threads });
  const datastore = await memory.openDatastore(join(folder, "datastore"), await memory.baseOf(model));
  const search = await memory.exactSearch(datastore, { threads });
  const trained = (await memory.isMade(join(folder, "memory")))
    ? await memory.openMemory(model, join(folder, "memory"))
    : undefined;
  try {
    const readers: memory.Reader[] = [
      {
        name: "knn-lm",
        site: datastore.card.keySite,
        recall: async (states) =>
          (await search.find(states, k)).map((hits) =>
            memory.neighbourRecollection(hits, datastore.values, temperature),
          ),
      },
    ];
    if (trained) {
      const recall = async (states: Float32Array) =>
        (await trained.recall(states)).map((logits) => memory.recollection(logits, 1));
      readers.push({ name: "mlp-memory", site: trained.site, recall });
    } else say(`${folder} has no trained memory (ventris memory train makes one): the search alone is measured`);
    const documents = await interruptible((signal) =>
      memory.readTextsWith(model, firstOf(files, limit), readers, {
        imitated: "knn-lm",
        signal,
        onProgress: (done) => showProgress(plural(done, "document")),
      }),
    );
    report(
      documents,
      readers.map(({ name }) => name),
      { lambda, seed, json, reference },
    );
  } finally {
    await search.close();
    await trained?.close();
  }
}

function report(
  documents: readonly memory.ReadDocument[],
  names: readonly string[],
  { lambda, seed, json, reference }: { lambda?: number; seed: number; json?: true; reference: string },
): void {
  const half = lambda === undefined ? Math.floor(documents.length / 2) : 0;
  // Where there is one document, that of the shapers stands in: a weight chosen on what it is measured on would flatter the memory.
  const given = lambda ?? (half === 0 ? usualLambda : undefined);
  if (lambda === undefined && half === 0)
    say(
      `one document cannot both choose λ and measure it: λ is ${usualLambda}, as in ventris run; --lambda tries others, and a .jsonl of several documents chooses the best`,
    );
  const measured = documents.slice(half);
  const lengths = measured.map(({ own }) => own.length);
  const tokens = lengths.reduce((a, b) => a + b, 0);
  const row = (name: string, reader: number, weight: number, kl: number) => {
    const rate = ratioOfSums(
      measured.map((one) => memory.natsOf(one, reader, weight)),
      lengths,
      seed,
    );
    const gain = ratioOfSums(
      measured.map((one) => memory.natsOf(one, reader, 0) - memory.natsOf(one, reader, weight)),
      lengths,
      seed,
    );
    // One document says nothing of how far others differ.
    const known = measured.length > 1 ? gain : { value: gain.value };
    const nats = measured.length > 1 ? rate : { value: rate.value };
    return { name, lambda: weight, perplexity: Math.exp(rate.value), nats, gain: known, divergence: kl / tokens };
  };
  const divergence = (of: (one: NonNullable<memory.ReadDocument["divergences"]>) => number): number =>
    measured.reduce((sum, { divergences }) => sum + of(divergences!), 0);
  const rows = [
    row(
      reference,
      0,
      0,
      divergence(({ own }) => own),
    ),
    ...names.map((name, reader) => {
      const weight = given ?? memory.bestLambda(documents.slice(0, half), reader);
      return row(
        name,
        reader,
        weight,
        divergence(({ memories }) => memories[reader]),
      );
    }),
  ];
  if (json) {
    printJson({ documents: measured.length, tokens, rows });
    return;
  }
  print(
    formatTable(
      ["with", "λ", "perplexity a token", "nats less", "95 % interval", "divergence from the search"],
      rows.map(({ name, lambda: weight, perplexity, gain, divergence: kl }) => [
        name,
        weight.toFixed(2),
        perplexity.toFixed(2),
        gain.value.toFixed(3),
        "interval" in gain ? gain.interval.map((x) => x.toFixed(3)).join(" to ") : "-",
        kl.toFixed(3),
      ]),
    ),
  );
  say(`${plural(measured.length, "document")}, ${plural(tokens, "token")}`);
}
