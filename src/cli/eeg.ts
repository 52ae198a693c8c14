/** `ventris eeg`: data sets of read sentences from recordings, training on them, decoding, evaluation with controls. */
import { existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure, plural } from "../errors.ts";
import * as eeg from "../methods/signals-eeg.ts";
import { progressWriter } from "../training/progress.ts";
import { openBoth, runEvaluate, runWords } from "./eeg-evaluate.ts";
import { parseValue, refuseFlags } from "./flags.ts";
import { examples } from "./help.ts";
import { interruptible } from "./interruptible.ts";
import { print, printJson, say, showProgress, talk } from "./output.ts";

const whole = z.int().min(1).max(1_000_000);
const number = (flag: string, description: string, schema: z.ZodType = whole) =>
  new Option(`${flag} <number>`, description).argParser((text) => parseValue(schema, flag, text));

export function define(command: Command): void {
  command.addHelpText(
    "after",
    examples(
      "ventris eeg prepare synthetic --out data",
      "ventris eeg train data --out model",
      "ventris eeg decode model data",
      "ventris eeg evaluate model data",
    ),
  );
  const prepare = command.command("prepare").description("make a data set from recordings of sentences that were read");
  prepare
    .argument("<source>", "a table of readings (.jsonl), a ZuCo .mat file or a folder of them, or the word synthetic")
    .requiredOption("--out <folder>", "folder for the data set")
    .addOption(number("--rate", "samples a second that recordings are brought to").default(eeg.publishedShape.rate))
    .addOption(
      number("--points", "time points that a recording is cut or padded to").default(eeg.publishedShape.points),
    )
    .addOption(number("--channels", "channels that a recording has").default(eeg.publishedShape.channels))
    .addOption(
      number("--sentences", "how many sentences the synthetic corpus has").default(eeg.syntheticDefaults.sentences),
    )
    .addOption(
      number(
        "--noise",
        "noise of the synthetic corpus, as a multiple of the signal's deviation",
        z.number().min(0).max(1000),
      ).default(eeg.syntheticDefaults.noise),
    )
    .addOption(number("--seed", "seed of all random choices", z.int().min(0)).default(0))
    .addHelpText(
      "after",
      `
A table of readings has a line of JSON for each sentence that somebody read. It
names a recording, and where the reading begins and ends in it (in seconds, if
it is not the whole file):
  {"file": "s1.edf", "start": 12.5, "end": 17, "sentence": "…",
   "paraphrases": ["…"], "labels": {"sentiment": "good"},
   "subject": "…", "task": "…"}
The field channels chooses among the recording's, by names and numbers from 1,
as "Fz,Cz,3-5"; without it all are taken, those of triggers and labels, too.
Recordings are .edf, .bdf, .vhdr, .csv, .tsv, .npy, .npz, .h5 or raw files.
Where a format does not say how many samples a second there are, the line needs
a field rate.`,
    )
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      examples("ventris eeg prepare synthetic --out data", "ventris eeg prepare readings.jsonl --out data"),
    )
    .action(runPrepare);
  command
    .command("train")
    .description("train the encoder of recordings on a data set, beside a text model that stays as it is")
    .argument("<data>", "a data set, as ventris eeg prepare writes it")
    .requiredOption("--out <folder>", "folder for the model; training that was interrupted goes on there")
    .option(
      "--text <folder>",
      "the text model: a folder with a model of the T5 family; default: a small one is trained on the paraphrases",
    )
    .addOption(number("--lambda", "share of the contrastive loss, from 0 to 1", z.number().min(0).max(1)).default(0.5))
    .addOption(number("--commitment", "weight of the commitment loss", z.number().min(0).max(100)).default(0))
    .addOption(number("--steps", "how many training steps").default(1000))
    .addOption(number("--text-steps", "how many training steps the small text model gets").default(600))
    .addOption(number("--batch", "recordings in a step, each of another sentence").default(24))
    .addOption(number("--rate", "learning rate", z.number().positive().max(1)).default(1e-3))
    .addOption(number("--slots", "how many learned queries read a recording").default(8))
    .addOption(number("--width", "width of the queries").default(64))
    .addOption(number("--heads", "how many attention heads").default(4))
    .addOption(number("--blocks", "how many blocks the encoder has, and the decoder of the queries").default(2))
    .addOption(number("--seed", "seed of all random choices", z.int().min(0)).default(0))
    .option("--published", "use the published sizes: 96 slots of width 256, 8 heads, 6 blocks")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      examples("ventris eeg train data --out model", "ventris eeg train data --text flan-t5-small-folder --out model"),
    )
    .action(runTrain);
  command
    .command("decode")
    .description("decode recordings into the sentences that were read")
    .argument("<model>", "a model, as ventris eeg train writes it")
    .argument("<data>", "a data set, as ventris eeg prepare writes it")
    .addOption(
      new Option("--split <name>", "which part of the data set")
        .choices(["train", "validation", "test"])
        .default("test"),
    )
    .addOption(number("--limit", "use at most this many recordings").default(24))
    .addOption(number("--beams", "how many beams the search follows", z.int().min(1).max(16)).default(2))
    .option("--json", "print JSON lines with the fields sentence and generated")
    .addHelpText("after", examples("ventris eeg decode model data --limit 5"))
    .action(runDecode);
  command
    .command("evaluate")
    .description(
      "measure retrieval, classification and the overlap of texts, beside controls: noise, shuffled recordings, none",
    )
    .argument("<model>", "a model, as ventris eeg train writes it")
    .argument("<data>", "a data set, as ventris eeg prepare writes it")
    .addOption(
      new Option("--split <name>", "which part of the data set")
        .choices(["train", "validation", "test"])
        .default("test"),
    )
    .option(
      "--classes <file>",
      'JSON: for each question, its classes and the sentences that stand for them: {topic: {food: ["…"]}}',
    )
    .addOption(
      new Option("--pools <sizes>", "among how many sentences the right one is to be found, between commas")
        .argParser((text) => text.split(",").map((part) => parseValue(z.int().min(2), "--pools", part) as number))
        .default([24, 100, 1000]),
    )
    .addOption(number("--limit", "use at most this many recordings").default(2400))
    .addOption(number("--beams", "how many beams the search follows", z.int().min(1).max(16)).default(2))
    .addOption(number("--seed", "seed of all random choices", z.int().min(0)).default(0))
    .option("--no-texts", "do not generate texts, which is the slowest part")
    .option("--json", "print one JSON object")
    .addHelpText("after", examples("ventris eeg evaluate model data --pools 24,100 --no-texts"))
    .action(runEvaluate);
  command
    .command("words")
    .description(
      "test whether EEG helps to tell sentiment and named entities better than the text alone, on ZuCo's published word features",
    )
    .argument("<folder>", "a folder with zuco1-word-eeg-et-ner.tsv.gz and zuco1-sentiment_labels_task1.csv")
    .addOption(number("--folds", "how many folds the cross-validation has", z.int().min(2).max(100)).default(10))
    .addOption(
      number("--shuffles", "how often the control with shuffled EEG is drawn", z.int().min(1).max(100)).default(5),
    )
    .addOption(number("--seed", "seed of all random choices", z.int().min(0)).default(0))
    .option("--json", "print one JSON object")
    .addHelpText("after", examples("ventris eeg words zuco1"))
    .action(runWords);
}

interface PrepareFlags {
  out: string;
  rate: number;
  points: number;
  channels: number;
  sentences: number;
  noise: number;
  seed: number;
  json?: true;
}

async function runPrepare(source: string, flags: PrepareFlags, command: Command): Promise<void> {
  if (source !== "synthetic")
    refuseFlags(command, ["sentences", "noise"], "belongs to the synthetic corpus, and recordings are given");
  const { rate, points, channels, seed } = flags;
  const shape = { rate, points, channels };
  let shown = 0;
  const options = {
    shape,
    seed,
    onRejected: (what: string, why: string) => say(`${what}: ${why}`),
    onRemark: (what: string, remark: string) => say(`${what}: ${remark}`),
    onProgress: (done: number, total: number) => {
      if (performance.now() - shown < 2000 && done < total) return;
      shown = performance.now();
      showProgress(`${done} of ${total}`);
    },
  };
  const set = await prepareFrom(source, flags, options);
  await eeg.saveSentenceSet(flags.out, set);
  const parts = Object.fromEntries(Object.entries(set.splits).map(([name, list]) => [name, list.length]));
  if (flags.json)
    printJson({
      out: flags.out,
      sentences: set.sentences.length,
      recordings: set.recordings.length,
      splits: parts,
      rejected: set.rejected,
    });
  else {
    for (const [why, count] of Object.entries(set.rejected)) say(`left out ${count}: ${why}`);
    print(
      `${plural(set.recordings.length, "recording")} of ${plural(set.sentences.length, "sentence")} (${Object.entries(
        parts,
      )
        .map(([name, count]) => `${name} ${count}`)
        .join(", ")}), written to ${flags.out}`,
    );
  }
}

async function prepareFrom(
  source: string,
  flags: PrepareFlags,
  options: Parameters<typeof eeg.prepareReadings>[1],
): Promise<eeg.SentenceSet> {
  if (source === "synthetic") {
    const { rate, points, channels, sentences, noise, seed } = flags;
    // The published shape is for ten seconds of 128 channels: the corpus has its own unless one is asked for.
    const own =
      rate === eeg.publishedShape.rate &&
      points === eeg.publishedShape.points &&
      channels === eeg.publishedShape.channels;
    return eeg.synthesiseSentences({
      ...eeg.syntheticDefaults,
      ...(own ? {} : { rate, points, channels }),
      sentences,
      noise,
      seed,
    });
  }
  ensure(
    existsSync(source),
    "unavailable",
    `there is no ${source}; give a table of readings, ZuCo .mat files, or the word synthetic`,
  );
  if ((await stat(source)).isDirectory()) {
    const files = (await readdir(source)).filter((name) => name.endsWith(".mat")).sort();
    ensure(
      files.length > 0,
      "bad_option",
      `${source} has no .mat files; tables of ZuCo's word features are for ventris eeg words`,
    );
    return eeg.prepareZuco(
      files.map((name) => join(source, name)),
      options,
    );
  }
  if (source.endsWith(".mat")) return eeg.prepareZuco([source], options);
  ensure(
    /\.jsonl(\.gz)?$/.test(source),
    "bad_option",
    `${source} is neither a table of readings (.jsonl) nor a .mat file`,
  );
  return eeg.prepareReadings(source, options);
}

interface TrainFlags {
  out: string;
  text?: string;
  lambda: number;
  commitment: number;
  steps: number;
  textSteps: number;
  batch: number;
  rate: number;
  slots: number;
  width: number;
  heads: number;
  blocks: number;
  seed: number;
  published?: true;
  json?: true;
}

async function runTrain(data: string, flags: TrainFlags, command: Command): Promise<void> {
  if (flags.text !== undefined)
    refuseFlags(command, ["textSteps"], "belongs to the small text model, and --text names another");
  if (flags.published)
    refuseFlags(
      command,
      ["slots", "width", "heads", "blocks"],
      "is a size, and --published sets them all: leave one out",
    );
  const { lambda, commitment, steps, batch, rate, seed, out } = flags;
  const set = await eeg.loadSentenceSet(data);
  const lengths = flags.text ? { sourceLength: 96, targetLength: 64 } : { sourceLength: 16, targetLength: 14 };
  const config = flags.published
    ? { slots: 96, width: 256, heads: 8, encoderBlocks: 6, decoderBlocks: 6, promptWidth: 128 }
    : {
        slots: flags.slots,
        width: flags.width,
        heads: flags.heads,
        encoderBlocks: flags.blocks,
        decoderBlocks: flags.blocks,
        promptWidth: 32,
      };
  ensure(
    set.shape.channels % config.heads === 0 && config.width % config.heads === 0,
    "bad_option",
    `--heads ${config.heads} must divide both the ${set.shape.channels} channels and the width ${config.width}`,
  );
  const progress = progressWriter({ stream: talk });
  const model = await interruptible(async (signal) => {
    const text = flags.text ? await eeg.openTextModel(flags.text) : await smallText(set, flags, lengths, signal);
    const options = {
      settings: { lambda, commitment, ...lengths, promptDrop: [0, 1, 1] as const },
      config,
      steps,
      batch,
      learningRate: rate,
      seed,
      checkpointFolder: join(out, "run"),
      signal,
      onProgress: progress.update,
    };
    return eeg.trainGlim(set, text, options);
  }).finally(progress.done);
  await eeg.saveGlim(out, model, flags.text);
  const loss = model.losses.at(-1);
  if (flags.json)
    printJson({ out, steps, loss, parameters: model.parameters.reduce((sum, { values }) => sum + values.length, 0) });
  else print(`${plural(steps, "step")}, loss ${loss?.toFixed(3)}, written to ${out}`);
}

/** A small encoder–decoder of the training sentences and their paraphrases; kept beside the run, so that a resumed run has the same. */
async function smallText(
  set: eeg.SentenceSet,
  { out, textSteps, seed }: TrainFlags,
  lengths: { sourceLength: number; targetLength: number },
  signal: AbortSignal,
) {
  const pairs = [...new Set(set.splits.train.map((r) => set.recordings[r].sentence))].flatMap((s) => {
    const { text, paraphrases } = set.sentences[s];
    return (paraphrases.length > 0 ? paraphrases : [text]).map((paraphrase) => [text, paraphrase] as const);
  });
  ensure(pairs.length > 0, "bad_option", "the training part has no sentences");
  let shown = 0;
  const onProgress = (share: number) => {
    if (performance.now() - shown < 2000) return;
    shown = performance.now();
    showProgress(`text model: ${Math.round(100 * share)} %`);
  };
  say(
    `training a small text model on ${plural(pairs.length, "pair")} (--text names a published one instead); ${out} gets it`,
  );
  return eeg.trainTextModel(pairs, {
    width: 64,
    layers: 2,
    heads: 4,
    steps: textSteps,
    batch: 32,
    ...lengths,
    seed,
    checkpointFolder: join(out, "run", "text"),
    signal,
    onProgress,
  });
}

async function runDecode(
  path: string,
  data: string,
  { split, limit, beams, json }: { split: eeg.Split; limit: number; beams: number; json?: true },
): Promise<void> {
  const { model, set } = await openBoth(path, data);
  const members = set.splits[split].slice(0, limit);
  ensure(members.length > 0, "bad_option", `the part ${split} has no recordings`);
  const { states } = await eeg.encodeRecordings(model, set, members, "none", 0);
  const texts = await eeg.generateTexts(model, states, beams);
  for (const [i, r] of members.entries()) {
    const sentence = set.sentences[set.recordings[r].sentence].text;
    if (json) printJson({ sentence, subject: set.recordings[r].subject, generated: texts[i] });
    else print(`${texts[i]}\t(read: ${sentence})`);
  }
}
