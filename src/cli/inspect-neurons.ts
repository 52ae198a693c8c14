/** `ventris inspect neurons`: which tokens the neurons of a model stand for, read off its weights. */
import { basename } from "node:path";
import { type Command, Option } from "commander";
import { z } from "zod";
import { capabilityWords } from "../engine/model.ts";
import { tokenText } from "../engine/token-text.ts";
import { ensure, plural } from "../errors.ts";
import { neurons } from "../methods/index.ts";
import { resolveModel } from "../references.ts";
import { writeFileAtomically } from "../weights/index.ts";
import { numberFlag, parseValue, refuseFlags, threadsFlag } from "./flags.ts";
import { interruptible } from "./interruptible.ts";
import { endProgress, print, printJson, say, showProgress } from "./output.ts";
import { openShown, progressOfOpening } from "./progress.ts";
import { modelHelp } from "./request.ts";
import { formatTable } from "./table.ts";

interface NeuronFlags extends neurons.NeuronSettings {
  model: string;
  word?: string;
  tokens?: number[];
  neuron?: Place;
  compare?: string;
  clamp?: Place;
  drive: "up" | "product";
  prompt: string;
  layers?: number[];
  limit: number;
  out?: string;
  picture?: string;
  work?: string;
  threads?: number;
  json?: true;
}

interface Place {
  readonly layer: number;
  readonly neuron: number;
}

export function defineNeurons(command: Command): void {
  const { defaultSettings: standard } = neurons;
  const choice = (name: "matrix" | "metric" | "norm" | "input" | "sign", values: readonly string[], about: string) =>
    new Option(`--${name} <name>`, about).choices(values).default(standard[name]);
  command
    .command("neurons")
    .description(
      "show which tokens every feed-forward neuron stands for: those whose output vectors its own vector is most like",
    )
    .option("-m, --model <name>", modelHelp, "knossos")
    .option(
      "--word <word>",
      "show the neurons that stand most for this word: in any case, with a space before it, or in the plural",
    )
    .addOption(
      new Option(
        "--tokens <list>",
        "show the neurons that stand most for these tokens, by their ids, between commas",
      ).argParser((text) => parseValue(z.array(z.int().min(0)).min(1).max(256), "--tokens", text)),
    )
    .addOption(place("--neuron", "show what one neuron reads and what it writes; 3.118 is neuron 118 of layer 3"))
    .option(
      "--compare <model>",
      "show how many neurons stand for the same token in this other model, and how many would by chance",
    )
    .addOption(
      place(
        "--clamp",
        "hold a neuron at multiples of the standard deviation of its values, and show how likely --word becomes after --prompt",
      ),
    )
    .addOption(
      new Option(
        "--drive <name>",
        "what --clamp holds; up: the value that the gate then multiplies; product: what comes of both",
      )
        .choices(neurons.drives)
        .default("up"),
    )
    .option("--prompt <text>", "the text that --clamp lets the model continue", "Once upon a time there was a")
    .addOption(
      choice(
        "matrix",
        neurons.matrices,
        "which vectors of the neurons are looked at; up and gate: what they read; down: what they write",
      ),
    )
    .addOption(
      choice(
        "metric",
        neurons.metrics,
        "how alike vectors are; softmax: the probability of the token; cosine: the angle between them",
      ),
    )
    .addOption(
      choice(
        "norm",
        neurons.norms,
        "whether vectors go through the model's last norm first, as what it writes does (final), or not (none)",
      ),
    )
    .addOption(
      choice(
        "input",
        neurons.inputs,
        "vectors as they are stored (raw), or up and gate times the gain of the norm before them (gamma)",
      ),
    )
    .addOption(choice("sign", neurons.signs, "vectors as they are (+), or their opposites (-)"))
    .addOption(
      numberFlag("--top", z.int().min(1).max(256), "how many tokens are kept for each neuron").default(standard.top),
    )
    .addOption(
      new Option(
        "--layers <list>",
        "look at these layers alone, numbers from 0 between commas; default: all",
      ).argParser((text) => parseValue(z.array(z.int().min(0)).min(1).max(1024), "--layers", text)),
    )
    .addOption(numberFlag("--limit", z.int().min(1).max(10_000), "how many neurons are shown").default(15))
    .option("--out <file.jsonl>", "write every neuron with its tokens into this file, a line of JSON for each")
    .option("--picture <file.svg>", "draw the map of all neurons into this file")
    .option(
      "--work <folder>",
      "keep each layer in this folder as soon as it is done: after an interrupt the same command goes on from there",
    )
    .addOption(threadsFlag())
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Weights are read layer by layer and the vocabulary in tiles: memory does not
grow with the model. To hold a neuron while a model writes, under any method:
  ventris run --clamp 3.118=8 "Once upon a time"

Examples:
  ventris inspect neurons
  ventris inspect neurons --word dog
  ventris inspect neurons --neuron 3.118
  ventris inspect neurons --clamp 3.118 --word dog
  ventris inspect neurons --compare runs/mine/model
  ventris inspect neurons -m ~/models/llama-8b --work llama-8b-neurons
  ventris inspect neurons --picture map.svg --out neurons.jsonl`,
    )
    .action(inspect);
}

/** LAYER.NEURON. Errors: `bad_option`. */
function place(flag: string, description: string): Option {
  return new Option(`${flag} <layer.neuron>`, description).argParser((text): Place => {
    const [, layer, neuron] = /^(\d{1,6})\.(\d{1,9})$/.exec(text) ?? [];
    ensure(layer !== undefined, "bad_option", `${flag} ${text}: write it as LAYER.NEURON, such as 3.118`);
    return { layer: Number(layer), neuron: Number(neuron) };
  });
}

/** Flags that have no part in what another one asks for. */
const foreign = {
  neuron: ["word", "tokens", "matrix", "sign", "layers", "limit", "out", "picture", "work"],
  compare: ["word", "tokens", "limit", "out", "picture", "work"],
  clamp: ["matrix", "metric", "norm", "input", "sign", "top", "layers", "limit", "out", "picture", "work"],
} as const;

async function inspect(flags: NeuronFlags, command: Command): Promise<void> {
  const modes = (["neuron", "compare", "clamp"] as const).filter((name) => flags[name] !== undefined);
  ensure(modes.length <= 1, "bad_option", `give one of ${modes.map((name) => `--${name}`).join(" and ")}`);
  const [mode] = modes;
  if (mode) refuseFlags(command, foreign[mode], `has no part in --${mode}: leave one of them out`);
  if (mode !== "clamp") refuseFlags(command, ["drive", "prompt"], "belongs to --clamp, which is not given");
  ensure(!flags.word || !flags.tokens, "bad_option", "--word and --tokens both name what to rank by: give one of them");
  ensure(
    !flags.clamp || flags.word || flags.tokens,
    "bad_option",
    "--clamp needs --word: whose probability is looked at",
  );
  ensure(!flags.picture || flags.picture.endsWith(".svg"), "bad_option", `--picture ${flags.picture}: it is an .svg`);
  const checkpoint = await openFlagged(flags.model);
  try {
    await interruptible(async (signal) => {
      const wanted = flags.word === undefined ? flags.tokens : neurons.conceptTokens(checkpoint.tokenizer, flags.word);
      const text = (token: number) => tokenText(checkpoint.tokenizer, token) || `#${token}`;
      if (flags.clamp) return sweep(checkpoint, flags, wanted!, signal, text);
      if (flags.neuron) return showNeuron(checkpoint, flags, flags.neuron, signal, text);
      if (flags.compare !== undefined) return compare(checkpoint, flags, signal);
      const map = await mapOf(checkpoint, flags, signal, wanted);
      if (flags.out) await writeAll(flags.out, map, text);
      if (flags.picture) {
        const title = `${basename(flags.model)}: ${map.settings.matrix} neurons of ${plural(map.layers.length, "layer")}`;
        await writeFileAtomically(flags.picture, neurons.neuronPicture(map, text, title));
        say(`drawn: ${flags.picture}`);
      }
      const order = wanted ? "wanted" : "specialised";
      const found = neurons.rankNeurons(map, order, flags.limit);
      const speed = speedOf(map);
      if (flags.json) {
        const readings = found.map((reading) => withTexts(reading, text));
        printJson({ model: flags.model, ...facts(map), ...speed, wanted: wanted ?? [], neurons: readings });
        return;
      }
      print(
        tableOf(found, text, wanted !== undefined && flags.word !== undefined ? flags.word : wanted && "asked for"),
      );
      say(
        `${plural(map.normaliser.length, "neuron")} in ${map.seconds.toFixed(1)} s: ${Math.round(speed.neuronsPerSecond)} a second, ${speed.neuronsPerGflop.toFixed(1)} per GFLOP, ${speed.gflopPerSecond.toFixed(1)} GFLOP/s`,
      );
    });
  } finally {
    await checkpoint.close();
  }
}

async function openFlagged(model: string): Promise<neurons.NeuronCheckpoint> {
  const path = await resolveModel(model, { onProgress: progressOfOpening(model) });
  endProgress();
  return neurons.openNeurons(path);
}

async function mapOf(
  checkpoint: neurons.NeuronCheckpoint,
  { matrix, metric, norm, input, sign, top, layers, work, threads }: NeuronFlags,
  signal: AbortSignal,
  wanted?: readonly number[],
): Promise<neurons.NeuronMap> {
  const onProgress = (done: number, total: number): void => showProgress(`${done} of ${plural(total, "neuron")}`);
  const options = { matrix, metric, norm, input, sign, top, layers, work, threads, wanted, signal, onProgress };
  const map = await neurons.mapNeurons(checkpoint, options);
  endProgress();
  return map;
}

const facts = ({ settings, layers, neurons, vocabulary, seconds }: neurons.NeuronMap): object => ({
  settings,
  layers: layers.length,
  neuronsPerLayer: neurons,
  vocabulary,
  seconds,
});

const speedOf = ({ normaliser, seconds, operations }: neurons.NeuronMap) => ({
  neuronsPerSecond: normaliser.length / seconds,
  neuronsPerGflop: normaliser.length / (operations / 1e9),
  gflopPerSecond: operations / 1e9 / seconds,
});

const withTexts = (reading: neurons.NeuronReading, text: (token: number) => string): object => ({
  ...reading,
  tokens: reading.tokens.map((entry) => ({ ...entry, text: text(entry.token) })),
});

const shown = (text: string): string => JSON.stringify(text).slice(1, -1);
const percent = (share: number): string => `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %`;

function tableOf(
  found: readonly neurons.NeuronReading[],
  text: (token: number) => string,
  wanted: string | undefined,
): string {
  const figure = (score: number, probability?: number): string =>
    probability === undefined ? score.toFixed(3) : percent(probability);
  const softmax = found[0]?.tokens[0].probability !== undefined;
  return formatTable(
    ["neuron", ...(wanted === undefined ? [] : [wanted]), "best", "tokens"],
    found.map(({ layer, neuron, tokens, wanted: own }) => [
      `${layer}.${neuron}`,
      ...(own === undefined ? [] : [softmax ? percent(own) : own.toFixed(3)]),
      figure(tokens[0].score, tokens[0].probability),
      tokens.map(({ token }) => shown(text(token)).trim()).join(" "),
    ]),
  );
}

/** All of the neuron's vectors, in both directions. */
async function showNeuron(
  checkpoint: neurons.NeuronCheckpoint,
  flags: NeuronFlags,
  { layer, neuron }: Place,
  signal: AbortSignal,
  text: (token: number) => string,
): Promise<void> {
  neurons.checkNeuron(checkpoint.config, layer, neuron);
  const sides: (neurons.NeuronReading & { matrix: string; sign: string })[] = [];
  for (const matrix of checkpoint.matrices) {
    for (const sign of neurons.signs) {
      const input = matrix === "down" ? "raw" : flags.input;
      const map = await mapOf(checkpoint, { ...flags, matrix, sign, input, layers: [layer] }, signal);
      sides.push({ matrix, sign, ...neurons.neuronAt(map, neuron) });
    }
  }
  if (flags.json) {
    printJson({ model: flags.model, layer, neuron, sides: sides.map((side) => withTexts(side, text)) });
    return;
  }
  print(
    formatTable(
      ["vector", "best", "tokens"],
      sides.map(({ matrix, sign, tokens }) => [
        `${sign}${matrix}`,
        tokens[0].probability === undefined ? tokens[0].score.toFixed(3) : percent(tokens[0].probability),
        tokens.map(({ token }) => shown(text(token)).trim()).join(" "),
      ]),
    ),
  );
}

async function compare(one: neurons.NeuronCheckpoint, flags: NeuronFlags, signal: AbortSignal): Promise<void> {
  const other = await openFlagged(flags.compare!);
  try {
    neurons.checkComparable(one, other);
    const map = await mapOf(one, flags, signal);
    const result = neurons.compareNeurons(map, await mapOf(other, flags, signal));
    if (flags.json) {
      printJson({ model: flags.model, other: flags.compare, ...facts(map), ...result });
      return;
    }
    const row = (name: string, { agreement, withinTop }: { agreement: number; withinTop: number }): string[] => [
      name,
      percent(agreement),
      percent(withinTop),
    ];
    print(
      formatTable(
        ["layer", "same token", `among ${flags.top}`],
        [...result.byLayer.map((entry) => row(String(entry.layer), entry)), row("all", result)],
      ),
    );
    say(`by chance ${percent(result.expected)} (neurons shuffled: ${percent(result.shuffled)})`);
  } finally {
    await other.close();
  }
}

/** How many texts the neuron's spread is measured on, and their tokens. */
const ownTexts = { count: 8, tokens: 64 };

async function sweep(
  checkpoint: neurons.NeuronCheckpoint,
  { model: name, clamp, drive, prompt, threads, word, json }: NeuronFlags,
  wanted: readonly number[],
  signal: AbortSignal,
  text: (token: number) => string,
): Promise<void> {
  neurons.checkNeuron(checkpoint.config, clamp!.layer, clamp!.neuron);
  await using model = await openShown(name, { threads });
  ensure(model.capabilities.has("forest"), "bad_option", () => {
    return `--clamp looks at what follows a text, which takes ${capabilityWords.forest}; ${model.name} is none`;
  });
  showProgress("letting the model write, to measure the neuron on");
  const tokens = [...model.tokenizer!.encode(prompt)];
  const runs = Array.from({ length: ownTexts.count }, (_, request) =>
    model.decode(tokens, { temperature: 1, maxTokens: ownTexts.tokens, request, signal }),
  );
  const texts = (await Promise.all(runs.map((run) => run.final))).map((result) => [...tokens, ...result.tokens]);
  const response = await neurons.doseResponse(model, {
    ...clamp!,
    drive,
    prompts: [tokens],
    concept: wanted,
    texts,
    signal,
  });
  endProgress();
  if (json) {
    printJson({ model: name, ...clamp, drive, prompt, tokens: wanted, ...response });
    return;
  }
  const rows = [...response.doses, { multiple: undefined, value: undefined, ...response.unclamped }].sort(
    (a, b) => (a.multiple ?? 0) - (b.multiple ?? 0),
  );
  print(
    formatTable(
      ["held at", "value", word ?? wanted.map(text).join(" "), "perplexity"],
      rows.map(({ multiple, value, probability, perplexity }) => [
        multiple === undefined ? "free" : `${multiple} × spread`,
        value?.toFixed(3) ?? "-",
        percent(probability),
        perplexity < 1e6 ? perplexity.toFixed(1) : perplexity.toExponential(1),
      ]),
    ),
  );
}

async function writeAll(path: string, map: neurons.NeuronMap, text: (token: number) => string): Promise<void> {
  await writeFileAtomically(path, async (write) => {
    const encoder = new TextEncoder();
    for (let l = 0; l < map.layers.length; l++) {
      const lines = Array.from({ length: map.neurons }, (_, i) =>
        JSON.stringify(withTexts(neurons.neuronAt(map, l * map.neurons + i), text)),
      );
      await write(encoder.encode(`${lines.join("\n")}\n`));
    }
  });
  say(`written: ${path}`);
}
