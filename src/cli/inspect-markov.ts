/** `ventris inspect markov`: what a model's states know of later tokens, how sure its head is, and how states lie to predictions, layer by layer. */
import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure } from "../errors.ts";
import { markov, neurons } from "../methods/index.ts";
import { type OpenModel, open } from "../open.ts";
import { drawPlot } from "../papers/plot.ts";
import { readTexts } from "../text/index.ts";
import { writeFileAtomically } from "../weights/index.ts";
import { numberFlag, parseValue, threadsFlag } from "./flags.ts";
import { interruptible } from "./interruptible.ts";
import { endProgress, print, printJson, say, showProgress } from "./output.ts";
import { modelHelp } from "./request.ts";
import { formatTable, plural } from "./table.ts";

interface MarkovFlags {
  model: string[];
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
      "text files: .txt, or .jsonl whose lines have a field text; default: texts that the first model writes itself",
    )
    .option("-m, --model <names...>", `${modelHelp}; several: checkpoints of one training, in its order`, ["knossos"])
    .option(
      "--reference <model>",
      "an independent model of the same vocabulary, whose predictions states are compared with; default: the tokens that came",
    )
    .addOption(
      new Option("--what <names>", `measurements between commas: ${markov.measurements.join(", ")}; default: all`)
        .argParser((text) => parseValue(z.array(z.enum(markov.measurements)).min(1), "--what", text))
        .default([...markov.measurements], "all"),
    )
    .addOption(numberFlag("--contexts", z.int().min(100).max(100_000), "how many contexts are looked at").default(4000))
    .addOption(
      list("--distances", z.int().min(1).max(16), "how far ahead, numbers between commas; default: 1,2,3,4").default(
        [1, 2, 3, 4],
        "1,2,3,4",
      ),
    )
    .addOption(list("--layers", z.int().min(0), "these layers alone, numbers between commas; default: all"))
    .addOption(numberFlag("--steps", z.int().min(1).max(100_000), "steps that each probe is trained for").default(400))
    .addOption(numberFlag("--seed", z.int().min(0), "seed of all random choices").default(0))
    .option("--picture <file.svg>", "draw the surplus, or else the first measurement, over the layers into this file")
    .addOption(threadsFlag())
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Figures are in nats. "surplus 1" is what a state tells of the token after the
next one, once the next is known: what a drafting head has to gain from it.
"gap" is loss minus stated entropy: above 0 a model is surer than it is right.

Examples:
  ventris inspect markov stories.jsonl
  ventris inspect markov --what entropy,fisher
  ventris inspect markov --what surplus --layers 1,3,5 --distances 1,2
  ventris inspect markov stories.jsonl --reference phaistos --what alignment
  ventris inspect markov --model runs/early runs/late --picture surplus.svg`,
    )
    .action(inspect);
}

/** Of texts that a model writes itself. */
const ownTexts = { count: 64, tokens: 96, opening: "Once upon a time" };

async function inspect(files: string[], flags: MarkovFlags): Promise<void> {
  const { reference: referenceName, picture, json, threads, ...settings } = flags;
  ensure(!picture || picture.endsWith(".svg"), "bad_option", `--picture ${picture}: it is an .svg`);
  ensure(
    referenceName === undefined || flags.what.includes("alignment"),
    "bad_option",
    "--reference belongs to the measurement alignment, which --what leaves out",
  );
  const models: OpenModel[] = [];
  const close = () => Promise.all(models.map((model) => model.close()));
  try {
    const reports = await interruptible(async (signal) => {
      const get = async (name: string): Promise<OpenModel> => {
        const model = await open(name, { threads });
        models.push(model);
        return model;
      };
      const reference = referenceName === undefined ? undefined : await get(referenceName);
      const result: { model: string; report: markov.MarkovReport }[] = [];
      let texts: number[][] | undefined;
      let fingerprint: string | undefined;
      for (const name of flags.model) {
        const model = await get(name);
        const { tokenizer } = model;
        ensure(tokenizer, "bad_option", `--model: ${name} has no tokenizer, so that it reads no texts`);
        fingerprint ??= tokenizer.fingerprint;
        const others = [tokenizer, reference?.tokenizer].every((one) => !one || one.fingerprint === fingerprint);
        ensure(others, "bad_option", `--model: ${name} and the other models do not share a tokenizer`);
        texts ??=
          files.length > 0 ? await textsOf(files, tokenizer, flags.contexts) : await written(model, flags.seed, signal);
        const report = await markov.measureMarkov({
          ...settings,
          model,
          texts,
          reference,
          head: await headOf(model),
          threads,
          signal,
          onProgress: (done, total, what) => showProgress(`${name}: ${what}, ${done} of ${total}`),
        });
        endProgress();
        result.push({ model: name, report });
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

/** As many texts as give the contexts, one document each. */
async function textsOf(
  files: string[],
  tokenizer: NonNullable<OpenModel["tokenizer"]>,
  contexts: number,
): Promise<number[][]> {
  const texts: number[][] = [];
  let tokens = 0;
  for await (const text of readTexts(files)) {
    const ids = [...(tokenizer.beginToken === undefined ? [] : [tokenizer.beginToken]), ...tokenizer.encode(text)];
    texts.push(ids.slice(0, 256));
    tokens += Math.min(ids.length, 256);
    // More documents than are needed: neighbouring contexts say nearly the same.
    if (tokens >= 4 * contexts && texts.length >= 40) break;
  }
  return texts;
}

async function written(model: OpenModel, seed: number, signal: AbortSignal): Promise<number[][]> {
  say("no texts were given: measured on what the model writes itself, where its loss is its entropy");
  showProgress("letting the model write");
  const begin = [...model.tokenizer!.encode(ownTexts.opening)];
  const runs = Array.from({ length: ownTexts.count }, (_, request) =>
    model.decode(begin, {
      temperature: 1,
      minTokens: ownTexts.tokens,
      maxTokens: ownTexts.tokens,
      seed,
      request,
      signal,
    }),
  );
  return (await Promise.all(runs.map((run) => run.final))).map((result) => [...begin, ...result.tokens]);
}

async function headOf(model: OpenModel): Promise<markov.Rows> {
  const checkpoint = await neurons.openNeurons(model.folder);
  try {
    const { vocabularySize: count, hiddenSize: width } = model.config;
    return { count, width, values: await checkpoint.output(0, count) };
  } finally {
    await checkpoint.close();
  }
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
