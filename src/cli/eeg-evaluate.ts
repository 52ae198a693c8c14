/** `ventris eeg evaluate` and `ventris eeg words`: what decoding from recordings is worth, beside its controls. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { z } from "zod";
import { ensure, plural } from "../errors.ts";
import { parseJsonObject } from "../json.ts";
import * as eeg from "../methods/signals-eeg.ts";
import { refuseFlags } from "./flags.ts";
import { interruptible } from "./interruptible.ts";
import { print, printJson, say, showProgress } from "./output.ts";
import { formatTable } from "./table.ts";

/** A model and a data set that fits it. Errors: `bad_option` for another shape. */
export async function openBoth(path: string, data: string) {
  const [model, set] = [await eeg.loadGlim(path), await eeg.loadSentenceSet(data)];
  const { points, channels } = model.config;
  ensure(
    points === set.shape.points && channels === set.shape.channels,
    "bad_option",
    `${path} takes recordings of ${plural(points, "point")} and ${plural(channels, "channel")}, and ${data} has ${set.shape.points} and ${set.shape.channels}`,
  );
  return { model, set };
}

interface EvaluateFlags {
  split: eeg.Split;
  classes?: string;
  pools: number[];
  limit: number;
  beams: number;
  seed: number;
  texts: boolean;
  json?: true;
}

export async function runEvaluate(path: string, data: string, flags: EvaluateFlags, command: Command): Promise<void> {
  if (!flags.texts) refuseFlags(command, ["beams"], "belongs to the texts, which --no-texts leaves out");
  const { model, set } = await openBoth(path, data);
  const classes = flags.classes
    ? await readClasses(flags.classes)
    : set.recordings.some(({ dataset }) => dataset === "synthetic")
      ? eeg.classSentences
      : {};
  const reports: eeg.Report[] = [];
  for (const control of eeg.controls) {
    showProgress(control === "none" ? "the recordings" : control);
    reports.push(
      await eeg.evaluateGlim(model, set, { ...flags, classes, control, texts: flags.texts && control === "none" }),
    );
  }
  const left = flags.pools.filter((pool) => !reports[0].retrieval[pool]);
  if (left.length > 0)
    say(`--pools ${left.join(",")}: the part ${flags.split} has fewer sentences than that, so these are left out`);
  if (flags.json) {
    printJson({ reports });
    return;
  }
  const percent = (value: number) => `${(100 * value).toFixed(1)}`;
  const between = ({ value, interval }: { value: number; interval?: readonly [number, number] }) =>
    `${percent(value)}${interval ? ` [${percent(interval[0])}, ${percent(interval[1])}]` : ""}`;
  const name = (control: eeg.Control) => (control === "none" ? "recordings" : control);
  print(
    formatTable(
      ["input", "measure", "%", "chance or majority, %"],
      reports.flatMap((report) => [
        ...Object.entries(report.retrieval).flatMap(([pool, hits]) =>
          Object.entries(hits).map(([top, hit]) => [
            name(report.control),
            `${top} among ${pool}`,
            between(hit),
            percent(hit.chance),
          ]),
        ),
        ...Object.entries(report.classification).map(([question, { fromEeg, fromText, majority }]) => [
          name(report.control),
          `${question} (from the text: ${percent(fromText)})`,
          between(fromEeg),
          percent(majority),
        ]),
      ]),
    ),
  );
  const { texts } = reports[0];
  if (!texts) return;
  print("");
  const row = (label: string, { bleu, rouge1, bleu1Raw }: typeof texts.freeRunning) => [
    label,
    ...bleu.map(percent),
    percent(rouge1.recall),
    percent(rouge1.precision),
    percent(rouge1.f),
    percent(bleu1Raw),
  ];
  print(
    formatTable(
      ["texts", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-1 R", "P", "F", "BLEU-1, as read"],
      [
        row("free running", texts.freeRunning),
        row("teacher-forced (not decoding)", texts.teacherForced),
        row("one constant sentence", texts.constant),
      ],
    ),
  );
  print(`${plural(texts.distinct, "distinct text")} of ${reports[0].recordings}`);
}

async function readClasses(path: string): Promise<Record<string, eeg.ClassTexts[]>> {
  ensure(existsSync(path), "unavailable", `--classes: there is no file ${path}`);
  const parsed = z
    .record(z.string(), z.record(z.string(), z.array(z.string().min(1)).min(1)))
    .safeParse(parseJsonObject(await readFile(path), path));
  ensure(parsed.success, "bad_file", `${path}: it must be {question: {class: [sentences]}}`);
  return Object.fromEntries(
    Object.entries(parsed.data).map(([question, map]) => [
      question,
      Object.entries(map).map(([label, texts]) => ({ label, texts })),
    ]),
  );
}

export async function runWords(
  folder: string,
  { folds, shuffles, seed, json }: { folds: number; shuffles: number; seed: number; json?: true },
): Promise<void> {
  const corpus = await eeg.readWordCorpus(folder);
  let shown = 0;
  const results = await interruptible((signal) =>
    eeg.analyseWords(corpus, {
      folds,
      shuffles,
      passes: 6,
      seed,
      signal,
      onProgress: (done, total) => {
        if (performance.now() - shown < 2000) return;
        shown = performance.now();
        showProgress(`${done} of ${total}`);
      },
    }),
  );
  if (json) {
    printJson({ folds, shuffles, seed, results });
    return;
  }
  const figure = (v: number) => v.toFixed(4);
  const range = ({ value, interval }: { value: number; interval?: readonly [number, number] }, digits: number) =>
    `${value.toFixed(digits)}${interval ? ` [${interval[0].toFixed(digits)}, ${interval[1].toFixed(digits)}]` : ""}`;
  for (const { question, count, majority, gain, gainAlone, ...held } of results) {
    print(`${question}: ${plural(count, "unit")}, majority class ${(100 * majority).toFixed(1)} %`);
    print(
      formatTable(
        ["seen", "accuracy, %", "loss, nats"],
        Object.entries(held).map(([name, one]) => [name, (100 * one.accuracy).toFixed(1), figure(one.nats)]),
      ),
    );
    print(
      `EEG over shuffled EEG, beside the text: ${range(gain.nats, 4)} nats, ${range(gain.points, 2)} points; alone: ${range(gainAlone.nats, 4)} nats, ${range(gainAlone.points, 2)} points\n`,
    );
  }
}
