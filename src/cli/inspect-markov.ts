/** `ventris inspect markov`: what a model's states know of later tokens, how sure its head is, and how states lie to predictions, layer by layer. */
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure, plural } from "../errors.ts";
import { markov, ownTexts } from "../methods/index.ts";
import type { Model } from "../open.ts";
import { drawPlot } from "../papers/plot.ts";
import { readTexts } from "../text/index.ts";
import { documentTokens, stretchesOf } from "../text/windows.ts";
import { writeFileAtomically } from "../weights/index.ts";
import { numberFlag, parseValue, refuseFlags, threadsFlag } from "./flags.ts";
import { interruptible } from "./interruptible.ts";
import { endProgress, print, printJson, say, showProgress } from "./output.ts";
import { openShown } from "./progress.ts";
import { modelHelp } from "./request.ts";
import { formatTable } from "./table.ts";

interface MarkovFlags {
  model?: string[];
  run?: string;
  reference?: string;
  what: markov.MeasurementName[];
  contexts: number;
  distances: number[];
  layers?: number[];
  steps: number;
  seed: number;
  picture?: string;
  threads?: number;
  json?: true;
}

export function defineMarkov(command: Command): void {
  const list = (flag: string, entry: z.ZodType, description: string): Option =>
    new Option(`${flag} <list>`, description).argParser((text) =>
      parseValue(z.array(entry).min(1).max(1024), flag, text),
    );
  command
    .command("markov")
    .description("measure what the states of every layer know of the next tokens, and how the head reads them")
    .argument(
      "[texts...]",
      "text files: .txt, each one text, or .jsonl whose lines have a field text; the surplus takes ten texts or more; default: texts that the model writes itself (of several models the first one writes them, of a run the last)",
    )
    .option(
      "-m, --model <names...>",
      `${modelHelp}. Several are checkpoints of one training, in its order. Default: knossos.`,
    )
    .option(
      "--run <folder>",
      "checkpoints of a training in place of --model: the models in this folder or in its folder kept, which train --keep-every writes, in the order of the numbers in their names",
    )
    .option(
      "--reference <model>",
      "an independent model of the same vocabulary, whose predictions states are compared with; default: the tokens that came",
    )
    .addOption(
      new Option("--what <names>", `measurements between commas: ${markov.measurements.join(", ")}; default: all`)
        .argParser((text) => parseValue(z.array(z.enum(markov.measurements)).min(1), "--what", text))
        .default([...markov.measurements], "all"),
    )
    .addOption(
      numberFlag(
        "--contexts",
        z.int().min(100).max(100_000),
        "how many positions of the texts are looked at; a long text is read in pieces of 256 tokens",
      ).default(4000),
    )
    .addOption(
      list(
        "--distances",
        z.int().min(1).max(16),
        "how many tokens ahead the surplus is measured, numbers between commas",
      ).default([1, 2, 3, 4], "1,2,3,4"),
    )
    .addOption(list("--layers", z.int().min(0), "these layers alone, numbers between commas; default: all"))
    .addOption(
      numberFlag(
        "--steps",
        z.int().min(1).max(100_000),
        "how many steps each probe is trained for; a probe is a small network that reads one layer",
      ).default(400),
    )
    .addOption(numberFlag("--seed", z.int().min(0), "seed of all random choices").default(0))
    .option(
      "--picture <file.svg>",
      "draw a measurement over the layers into this file: the surplus, or without it the first of --what",
    )
    .addOption(threadsFlag())
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Measurements, in nats:
  entropy    how unsure the model is of the next token; "gap" is its loss minus
             that: above 0 a model is surer than it is right
  surplus    "surplus 1" is what a state tells of the token after the next one,
             once the next is known: what a drafting head has to gain from it
  fisher     in how many directions of the last state predictions change, and
             how much of its variance lies in those where they do not
  alignment  how well states span what tells predictions apart, or the tokens
             that came; of another model with --reference
  coherence  how much a state tells of the next state

Examples:
  ventris inspect markov stories.jsonl
  ventris inspect markov --what entropy,fisher
  ventris inspect markov --what surplus --layers 1,3,5 --distances 1,2
  ventris inspect markov stories.jsonl --reference phaistos --what alignment
  ventris inspect markov --model runs/early runs/late --picture surplus.svg
  ventris inspect markov stories.jsonl --run runs/mine --json > training.json

The studio's room "inside" draws what --json prints.`,
    )
    .action(inspect);
}

async function inspect(files: string[], flags: MarkovFlags, command: Command): Promise<void> {
  const { reference: referenceName, picture, json, threads, model: named, run, ...settings } = flags;
  ensure(!picture || picture.endsWith(".svg"), "bad_option", `--picture ${picture}: it is an .svg`);
  ensure(
    referenceName === undefined || flags.what.includes("alignment"),
    "bad_option",
    "--reference belongs to the measurement alignment, which --what leaves out",
  );
  if (flags.what.every((one) => one === "fisher"))
    refuseFlags(command, ["layers"], "has no part in the measurement fisher, which is of the last layer alone");
  ensure(!picture || flags.what.some((one) => one !== "fisher"), "bad_option", () => {
    return "--picture: the measurement fisher is of the last layer alone: ask for another with --what";
  });
  if (!flags.what.includes("surplus"))
    refuseFlags(command, ["distances", "steps"], "belongs to the measurement surplus, which --what leaves out");
  ensure(run === undefined || named === undefined, "bad_option", "give --model or --run: one of them");
  const names = run === undefined ? (named ?? ["knossos"]) : await checkpointsOf(run);
  const text = named?.find((name) => /\.(txt|jsonl)(\.gz)?$/.test(name));
  ensure(text === undefined, "bad_option", () => {
    return `--model takes every name that follows, and ${text} is a file of texts: give texts before it, or behind another flag`;
  });
  const models: Model[] = [];
  const close = () => Promise.all(models.map((model) => model.close()));
  try {
    const reports = await interruptible(async (signal) => {
      const get = async (name: string): Promise<Model> => {
        const model = await openShown(name, { threads });
        models.push(model);
        return model;
      };
      const reference = referenceName === undefined ? undefined : await get(referenceName);
      const result: { model: string; report: markov.MarkovReport }[] = [];
      let read: Pick<markov.MarkovOptions, "texts" | "documents"> | undefined;
      const first = await get(names[0]);
      const fingerprint = reference?.tokenizer?.fingerprint ?? first.tokenizer?.fingerprint;
      checkModel(names[0], first, fingerprint, settings.layers);
      // The others are looked at before one is measured, which may take an hour.
      for (const name of names.slice(1)) {
        signal.throwIfAborted();
        await using model = await openShown(name, { threads });
        checkModel(name, model, fingerprint, settings.layers);
      }
      for (const [i, name] of names.entries()) {
        const model = i === 0 ? first : await get(name);
        const tokenizer = model.tokenizer!;
        read ??=
          files.length > 0
            ? await textsOf(files, tokenizer, flags.contexts)
            : {
                texts: await written(
                  run === undefined ? model : await get(names[names.length - 1]),
                  flags.seed,
                  signal,
                ),
              };
        const report = await markov.measureMarkov({
          ...settings,
          ...read,
          model,
          reference,
          head: await markov.headOf(model),
          threads,
          signal,
          onProgress: (done, total, what) => showProgress(`${name}: ${what}, ${done} of ${total}`),
        });
        endProgress();
        result.push({ model: name, report });
        // Of a long training, one at a time.
        for (const done of models.splice(reference ? 1 : 0)) await done.close();
      }
      return result;
    });
    if (picture) {
      await writeFileAtomically(picture, drawPlot(plotOf(reports)));
      say(`drawn: ${picture}`);
    }
    if (json) printJson({ reference: referenceName, models: reports });
    else for (const { model, report } of reports) tell(model, report, reports.length > 1);
  } finally {
    endProgress();
    await close();
  }
}

/** Errors: `bad_option` for a model that cannot be measured, or not beside the others. */
function checkModel(
  name: string,
  { tokenizer, config }: Model,
  fingerprint: string | undefined,
  layers: readonly number[] = [],
): void {
  ensure(tokenizer, "bad_option", `--model: ${name} has no tokenizer, so that it reads no texts`);
  const same = tokenizer.fingerprint === fingerprint;
  ensure(same, "bad_option", `--model: ${name} and the other models do not share a tokenizer`);
  ensure(
    !config.diffusion,
    "bad_option",
    `--model: ${name} is a masked diffusion model, which predicts tokens from both sides: there is no next token that its states could know of`,
  );
  markov.checkLayers(config, layers);
}

async function written(model: Model, seed: number, signal: AbortSignal): Promise<number[][]> {
  say(`no texts were given: measured on what ${model.name} writes itself, where its loss is its entropy`);
  showProgress("letting the model write");
  return ownTexts(model, { seed, signal });
}

/** Models of a run's folder, in the order of the numbers in their names. Errors: `unavailable` for a folder without any. */
async function checkpointsOf(run: string): Promise<string[]> {
  ensure(existsSync(run), "unavailable", `--run: there is no folder ${run}`);
  const kept = join(run, "kept");
  const folder = existsSync(kept) ? kept : run;
  const found = (await readdir(folder).catch(() => []))
    .filter((name) => existsSync(join(folder, name, "config.json")))
    .sort(new Intl.Collator("en", { numeric: true }).compare);
  ensure(found.length > 0, "unavailable", () => {
    return `--run: no model is in ${folder}: a training keeps them with ventris train RECIPE --keep-every STEPS`;
  });
  return found.map((name) => join(folder, name));
}

/** As many texts as give the contexts, each a document in pieces of 256 tokens. */
async function textsOf(
  files: string[],
  tokenizer: NonNullable<Model["tokenizer"]>,
  contexts: number,
): Promise<{ texts: number[][]; documents: number[] }> {
  // More than are needed: neighbouring contexts say nearly the same.
  const wanted = 4 * contexts;
  const found: number[][][] = [];
  let total = 0;
  for await (const text of readTexts(files)) {
    const document = documentTokens(tokenizer, text).slice(0, wanted);
    found.push([...stretchesOf(document, 256, tokenizer.beginToken)].map(({ tokens }) => [...tokens]));
    total += document.length;
    if (total >= wanted && found.length >= 40) break;
  }
  // A piece of every text, and further ones as far as they are needed: long texts take no place from the others.
  const texts: number[][] = [];
  const documents: number[] = [];
  let tokens = 0;
  for (let round = 0; tokens < wanted && found.some((pieces) => pieces.length > round); round++) {
    for (const [document, pieces] of found.entries()) {
      if (pieces.length <= round) continue;
      texts.push(pieces[round]);
      documents.push(document);
      tokens += pieces[round].length;
    }
  }
  return { texts, documents };
}

const figure = (value: number | undefined): string => (value === undefined ? "-" : value.toFixed(3));

function tell(name: string, { layers, fisher, contexts, documents }: markov.MarkovReport, several: boolean): void {
  if (several) print(`\n${name}`);
  const first = layers[0];
  const columns: [string, (layer: markov.LayerMeasurements) => string][] = [
    ["layer", ({ layer }) => String(layer)],
    ...(first?.entropy
      ? ([
          ["entropy", ({ entropy }) => figure(entropy?.kl)],
          ["1 - Σq²", ({ entropy }) => figure(entropy?.totalVariation)],
          ["tells of next", ({ information }) => figure(information)],
          ["loss", ({ loss }) => figure(loss)],
          ["gap", ({ gap }) => figure(gap)],
        ] as [string, (layer: markov.LayerMeasurements) => string][])
      : []),
    ...(first?.surplus ?? []).map(({ k }, i): [string, (layer: markov.LayerMeasurements) => string] => [
      `surplus ${k}`,
      ({ surplus }) => {
        const { value, interval } = surplus![i];
        return `${value.toFixed(3)} [${interval.map((x) => x.toFixed(3)).join(", ")}]`;
      },
    ]),
    ...(first?.explained === undefined
      ? []
      : ([["explained", ({ explained }) => figure(explained)]] as [
          string,
          (layer: markov.LayerMeasurements) => string,
        ][])),
    ...(first?.alignment
      ? ([
          ["captured", ({ alignment }) => figure(alignment?.captured)],
          ["overlap 8", ({ alignment }) => figure(alignment?.overlap[8])],
          ["CKA", ({ alignment }) => figure(alignment?.similarity)],
        ] as [string, (layer: markov.LayerMeasurements) => string][])
      : []),
    ...(first?.coherence
      ? ([
          ["coherence", ({ coherence }) => figure(coherence?.gaussian)],
          ["at least", ({ coherence }) => figure(coherence?.contrastive)],
        ] as [string, (layer: markov.LayerMeasurements) => string][])
      : []),
  ];
  if (columns.length > 1)
    print(
      formatTable(
        columns.map(([title]) => title),
        layers.map((layer) => columns.map(([, cell]) => cell(layer))),
      ),
    );
  if (fisher)
    print(
      `head: predictions depend on ${fisher.effectiveRank.toFixed(1)} directions (effective rank); ${(100 * fisher.blind).toFixed(1)} % of the states' variance lies where they hardly do`,
    );
  say(`${plural(contexts, "context")} of ${plural(documents, "text")}`);
}

/** Surplus over layers: at each distance of one model, or at the first of several. */
function plotOf(reports: readonly { model: string; report: markov.MarkovReport }[]) {
  const [{ report }] = reports;
  const kinds: [string, (layer: markov.LayerMeasurements) => number | undefined][] = [
    ["surplus, nats", ({ surplus }) => surplus?.[0]?.value],
    ["share of the next token's variance explained", ({ explained }) => explained],
    ["entropy, nats", ({ entropy }) => entropy?.kl],
    ["coherence, nats", ({ coherence }) => coherence?.gaussian],
  ];
  const kind = kinds.find(([, value]) => report.layers[0] && value(report.layers[0]) !== undefined);
  ensure(
    kind,
    "bad_option",
    "--picture: what is measured has no value for each layer: ask for another measurement with --what",
  );
  const [label, value] = kind;
  const distances = reports.length === 1 ? (report.layers[0].surplus ?? []) : [];
  const series =
    distances.length > 0
      ? distances.map(({ k }, i) => ({
          name: `${k} ahead`,
          points: report.layers.map(({ layer, surplus }) => {
            const { value: at, interval } = surplus![i];
            return [layer, at, interval[0], interval[1]] as const;
          }),
        }))
      : reports.map(({ model, report: { layers } }) => ({
          name: model.split("/").slice(-2).join("/"),
          points: layers.map((layer) => [layer.layer, value(layer) ?? Number.NaN] as const),
        }));
  return {
    title: reports.length === 1 ? reports[0].model : `${reports.length} checkpoints`,
    x: { label: "layer" },
    y: { label },
    series,
  };
}
