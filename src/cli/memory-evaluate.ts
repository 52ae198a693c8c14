/** `ventris memory evaluate`: what a memory is worth on texts and questions, beside the model alone, the search, and passages in the prompt. */
import { join } from "node:path";
import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure, plural } from "../errors.ts";
import { ratioOfSums } from "../evaluation/bootstrap.ts";
import { memory } from "../methods/index.ts";
import type { Model } from "../open.ts";
import { readTexts } from "../text/index.ts";
import { numberFlag, refuseFlags, threadsFlag } from "./flags.ts";
import { interruptible } from "./interruptible.ts";
import { answered, reportAnswers } from "./memory-questions.ts";
import { print, printJson, say, showProgress } from "./output.ts";
import { openShown } from "./progress.ts";
import { modelHelp } from "./request.ts";
import { formatTable } from "./table.ts";

interface EvaluateFlags {
  memory: string;
  model: string;
  k: number;
  temperature: number;
  search: "exact" | "inverted";
  probes: number;
  questions?: string;
  passages: number;
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
      "measure how well texts are predicted, and questions answered, by the model, with the datastore's neighbours, and with the trained memory",
    )
    .argument(
      "[texts...]",
      "text files, which the memory should not have read: .txt, or .jsonl whose lines have a field text; each may be compressed (.gz)",
    )
    .requiredOption("--memory <folder>", "the folder that ventris memory build or train wrote")
    .option("-m, --model <name>", modelHelp, "knossos")
    .addOption(numberFlag("--k", z.int().min(1).max(65536), "how many neighbours the search looks up").default(64))
    .addOption(
      numberFlag("--temperature", z.number().positive(), "divides the squared distances of neighbours").default(16),
    )
    .addOption(
      new Option(
        "--search <kind>",
        "exact looks at all keys; inverted looks only at the lists nearest to the state, and how much of the exact search it finds is measured on every eighth token of the texts",
      )
        .choices(["exact", "inverted"])
        .default("exact"),
    )
    .addOption(
      numberFlag("--probes", z.int().min(1).max(65536), "how many lists the search inverted looks at").default(16),
    )
    .option(
      "--questions <file>",
      "ask the model these too, .jsonl whose lines have the fields question, which is the prompt as it stands, and answer, a text or a list of which any is right; beside the memories it is asked with passages of the remembered texts in its prompt (rag)",
    )
    .addOption(
      numberFlag(
        "--passages",
        z.int().min(1).max(100),
        "how many passages of 64 words, found by BM25, rag puts before a question",
      ).default(5),
    )
    .addOption(
      numberFlag(
        "--lambda",
        z.number().min(0).max(1),
        "weight of the memories; default: for each memory the weight that does best on the first half of the documents, with which the other half and the questions are measured; 0.25 for a single document",
      ),
    )
    .addOption(numberFlag("--limit", z.int().min(1), "use at most this many documents, and this many questions"))
    .addOption(numberFlag("--seed", z.int().min(0), "seed of the random draws behind the intervals").default(0))
    .addOption(threadsFlag())
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Examples:
  ventris memory evaluate later-tales.txt --memory tales
  ventris memory evaluate later.jsonl --memory tales --questions asked.jsonl`,
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

async function evaluate(files: string[], flags: EvaluateFlags, command: Command): Promise<void> {
  const { model: reference, memory: folder, questions, threads, json, seed, limit } = flags;
  ensure(
    files.length > 0 || questions,
    "bad_option",
    "give texts to predict, or questions (--questions FILE), or both",
  );
  if (!questions) refuseFlags(command, ["passages"], "belongs to --questions");
  if (flags.search === "exact") refuseFlags(command, ["probes"], "belongs to --search inverted");
  ensure(
    !(await memory.readCard(folder)),
    "bad_option",
    `--memory ${folder} is a datastore: give the folder that it is in`,
  );
  ensure(
    !(await memory.isMade(folder)),
    "bad_option",
    `--memory ${folder} is a trained memory by itself: give the folder that it is in`,
  );
  await using model = await openShown(reference, { threads });
  const trained = await memory.isMade(join(folder, "memory"));
  if (!trained) say(`${folder} has no trained memory (ventris memory train makes one): the search alone is measured`);
  await interruptible(async (signal) => {
    const texts = files.length > 0 ? await predicted(model, files, flags, trained, signal) : undefined;
    if (texts && !json) reportTexts(texts);
    const asked = questions
      ? await answered(model, {
          ...{ questions, limit, passages: flags.passages, reference, seed, signal },
          ...(await memories(
            model,
            flags,
            trained,
            texts?.rows.slice(1).map(({ lambda }) => lambda),
          )),
        })
      : undefined;
    if (asked && !json) reportAnswers(asked);
    if (json) printJson({ ...texts, ...(asked && { questions: asked }) });
  });
}

/** The datastore's card, and the memories as ways to ask, with their weights. */
async function memories(model: Model, flags: EvaluateFlags, trained: boolean, chosen?: readonly number[]) {
  const { k, temperature, search, probes, lambda } = flags;
  const folder = join(flags.memory, "datastore");
  const card = await memory.completeCard(folder, await memory.baseOf(model));
  const lambdas = (trained ? [0, 1] : [0]).map((i) => chosen?.[i] ?? lambda ?? usualLambda);
  const looked = search === "inverted" ? { search, probes } : {};
  const shapers = [
    { name: "knn-lm", datastore: folder, k, temperature, lambda: lambdas[0], ...looked },
    ...(trained ? [{ name: "mlp-memory", memory: join(flags.memory, "memory"), lambda: lambdas[1] }] : []),
  ];
  return { folder, card, lambdas, memories: shapers.map((shaper) => ({ name: shaper.name, shaper })) };
}

/** What the texts say of the model alone, of the search and of the memory. */
async function predicted(
  model: Model,
  files: readonly string[],
  flags: EvaluateFlags,
  trained: boolean,
  signal: AbortSignal,
) {
  const { memory: folder, k, temperature, probes, limit, threads } = flags;
  const datastore = await memory.openDatastore(join(folder, "datastore"), await memory.baseOf(model));
  const exact = await memory.exactSearch(datastore, { threads });
  const inverted =
    flags.search === "inverted" ? await memory.invertedSearch(datastore, { probes, threads }) : undefined;
  const measured = inverted && memory.measuredSearch(inverted, exact, datastore.width);
  const opened = trained ? await memory.openMemory(model, join(folder, "memory")) : undefined;
  try {
    const readers: memory.Reader[] = [
      {
        name: "knn-lm",
        site: datastore.card.keySite,
        recall: async (states) =>
          (await (measured ?? exact).find(states, k)).map((hits) =>
            memory.neighbourRecollection(hits, datastore.values, temperature),
          ),
      },
    ];
    if (opened) {
      const recall = async (states: Float32Array) =>
        (await opened.recall(states)).map((logprobs) => memory.recollection(logprobs, 1));
      readers.push({ name: "mlp-memory", site: opened.site, recall });
    }
    const documents = await memory.readTextsWith(model, firstOf(files, limit), readers, {
      imitated: "knn-lm",
      signal,
      onProgress: (done) => showProgress(plural(done, "document")),
    });
    const names = readers.map(({ name }) => name);
    const found = inverted && { lists: inverted.lists, probes, ...measured!.measured() };
    return { ...rowsOf(documents, names, flags), ...(found && { inverted: found }) };
  } finally {
    await inverted?.close();
    await exact.close();
    await opened?.close();
  }
}

function rowsOf(
  documents: readonly memory.ReadDocument[],
  names: readonly string[],
  { lambda, seed, model: reference }: EvaluateFlags,
) {
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
    const spent = measured.map((one) => memory.natsOf(one, reader, weight));
    if (!spent.every(Number.isFinite)) {
      say(
        `${name} with λ = ${weight} gives some token the probability 0, and so the whole text: its perplexity is infinite, in JSON null; a λ below 1 leaves the model its share`,
      );
      const [nats, known] = [{ value: Number.POSITIVE_INFINITY }, { value: Number.NEGATIVE_INFINITY }];
      return { name, lambda: weight, perplexity: Number.POSITIVE_INFINITY, nats, gain: known, divergence: kl / tokens };
    }
    const rate = ratioOfSums(spent, lengths, seed);
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
  return { documents: measured.length, tokens, rows };
}

/** Where the text is impossible, in words. */
const finite = (value: number, digits: number): string => (Number.isFinite(value) ? value.toFixed(digits) : "infinite");

function reportTexts({ documents, tokens, rows, inverted }: Awaited<ReturnType<typeof predicted>>): void {
  print(
    formatTable(
      [
        ...["with", "λ", "perplexity a token", "nats less", "95 % interval", "divergence from the search"],
        ...(inverted ? ["recall"] : []),
      ],
      rows.map(({ name, lambda: weight, perplexity, gain, divergence: kl }) => [
        name,
        weight.toFixed(2),
        finite(perplexity, 2),
        finite(gain.value, 3),
        "interval" in gain ? gain.interval.map((x) => x.toFixed(3)).join(" to ") : "-",
        kl.toFixed(3),
        ...(inverted ? [name === "knn-lm" ? inverted.recall.toFixed(3) : "-"] : []),
      ]),
    ),
  );
  say(`${plural(documents, "document")}, ${plural(tokens, "token")}`);
  if (inverted) {
    const { lists, probes, checked } = inverted;
    say(
      `the inverted file looks at ${probes} of ${plural(lists, "list")}; its recall is of ${plural(checked, "state")}`,
    );
  }
}
