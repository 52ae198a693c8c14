/** `ventris memory bottleneck`: classes learned one after another from a stream of labelled features or texts, without losing the earlier ones. */
import { basename } from "node:path";
import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure, plural } from "../errors.ts";
import { ratioOfSums } from "../evaluation/bootstrap.ts";
import { exists } from "../files.ts";
import { memory } from "../methods/index.ts";
import { writeFileAtomically } from "../weights/index.ts";
import { numberFlag, threadsFlag } from "./flags.ts";
import { examples } from "./help.ts";
import { interruptible } from "./interruptible.ts";
import {
  joined,
  labelled,
  namesOf,
  openLearner,
  readParts,
  type SourceFlags,
  usualModel,
} from "./memory-bottleneck-data.ts";
import { print, printJson, say, showProgress } from "./output.ts";
import { modelHelp } from "./request.ts";
import { formatTable } from "./table.ts";

const { bottleneck: library } = memory;

/** Undefined where a flag was not given: of a bottleneck that goes on they are what it was begun with. */
interface SizeFlags {
  codebooks?: number;
  pairs?: number;
  keyWidth?: number;
}

interface TrainFlags extends SourceFlags, SizeFlags {
  out: string;
  classes?: string[];
  keys?: string[];
  passes: number;
  batch: number;
  rate: number;
  seed: number;
  svg?: string;
}

interface EvaluateFlags extends Omit<SourceFlags, "site"> {
  bottleneck: string;
  seed: number;
}

interface CompareFlags extends SourceFlags, SizeFlags {
  passes: number;
  rate: number;
  split: number;
  seed: number;
}

const usual = { codebooks: 64, pairs: 256, keyWidth: 14 } as const;

export function addBottleneck(command: Command): void {
  const group = command
    .command("bottleneck")
    .description("learn classes one after another without forgetting: the discrete key-value bottleneck")
    .addHelpText(
      "after",
      examples(
        "ventris memory bottleneck train mon.csv tue.csv --out week.safetensors",
        "ventris memory bottleneck evaluate later.csv --bottleneck week.safetensors",
        "ventris memory bottleneck compare topics.jsonl --label topic",
      ),
    );
  addSizes(
    addSource(group.command("train"))
      .description("learn the classes of labelled rows or texts, file after file, and show what is kept of each")
      .requiredOption(
        "--out <file>",
        "file for the bottleneck (.safetensors); one that exists goes on learning, and keeps what it knows",
      )
      .addOption(
        list("--classes <names>", "every class that will ever come, between commas; default: those of the files"),
      )
      .addOption(
        list(
          "--keys <files>",
          "files whose rows say where keys are placed, between commas; their labels are not used; default: the data",
        ),
      ),
  )
    .addOption(
      numberFlag("--batch", z.int().min(1).max(65536), "how many rows a training step learns from").default(64),
    )
    .option("--svg <file>", "draw which class is decided where, after each file; for tables of two columns and a label")
    .addHelpText(
      "after",
      `
The files are learned in their order: what a later one teaches does not take
away what was learned from the earlier ones. A table has a header line, columns
of numbers, and a column with the label. Texts are lines of JSON with the fields
text and label; their features are the mean state of a language model.

Examples:
  ventris memory bottleneck train mon.csv tue.csv --out week.safetensors
  ventris memory bottleneck train a.jsonl --label topic --out a.safetensors`,
    )
    .action(train);
  addSource(group.command("evaluate"), false)
    .description("count how many rows or texts a bottleneck gets right, class by class")
    .requiredOption("--bottleneck <file>", "the file that ventris memory bottleneck train wrote")
    .addOption(numberFlag("--seed", z.int().min(0), "seed of the random draws behind the intervals").default(0))
    .addHelpText("after", "\nExample:\n  ventris memory bottleneck evaluate later.csv --bottleneck week.safetensors")
    .action(evaluate);
  addSizes(
    addSource(group.command("compare")).description(
      "learn the classes of labelled rows or texts a few at a time (--split), and compare what is kept with classifiers that are trained on the same rows; every fifth row is kept for the test",
    ),
  )
    .addOption(numberFlag("--split", z.int().min(1).max(1000), "how many classes come at a time").default(2))
    .addHelpText("after", "\nExample:\n  ventris memory bottleneck compare topics.jsonl --label topic")
    .action(compare);
}

const list = (flags: string, description: string): Option =>
  new Option(flags, description).argParser((text: string) => text.split(",").map((name) => name.trim()));

const addSource = (command: Command, chooses = true): Command => {
  command
    .argument("<data...>", "tables (.csv, .tsv) or texts (.jsonl), which may be compressed (.gz); all of one kind")
    .option(
      "--label <name>",
      "the column or field that has the label; default: the last column of a table, the field label of texts",
    )
    .option(
      "-m, --model <name>",
      `the model that reads texts (tables need none): ${modelHelp}. Default: ${usualModel}.`,
    );
  if (chooses)
    command.option(
      "--site <site>",
      "the place in the model whose state, averaged over a text, is what is learnt from; default: the input of the feed-forward block, seven tenths of the way through the layers",
    );
  return command.addOption(threadsFlag()).option("--json", "print one JSON object");
};

const addSizes = (command: Command): Command =>
  command
    .addOption(
      numberFlag(
        "--codebooks",
        z.int().min(1).max(4096),
        `how many tables of keys and values decide together; default: ${usual.codebooks}`,
      ),
    )
    .addOption(
      numberFlag(
        "--pairs",
        z.int().min(1).max(65536),
        `how many pairs of a key and a value each table has; default: ${usual.pairs}`,
      ),
    )
    .addOption(
      numberFlag(
        "--key-width",
        z.int().min(1).max(4096),
        `how many numbers a key has; default: as many as features, at most ${usual.keyWidth}`,
      ),
    )
    .addOption(numberFlag("--passes", z.int().min(1).max(100_000), "how often every row is seen").default(20))
    .addOption(
      numberFlag("--rate", z.number().positive().max(1e6), "learning rate of plain gradient steps").default(20),
    )
    .addOption(numberFlag("--seed", z.int().min(0), "seed of all random choices").default(0));

function requireSizes(path: string, known: memory.bottleneck.Bottleneck, flags: SizeFlags): void {
  for (const [name, flag] of [
    ["codebooks", "--codebooks"],
    ["pairs", "--pairs"],
    ["keyWidth", "--key-width"],
  ] as const) {
    const wanted = flags[name];
    ensure(
      wanted === undefined || wanted === known[name],
      "bad_option",
      `${flag} ${wanted}: ${path} was begun with ${known[name]}; leave it out, or give another file`,
    );
  }
}

function requireNames(flag: string, names: readonly string[]): void {
  ensure(!names.includes(""), "bad_option", `${flag} ${names.join(",")}: a name is empty`);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  ensure(twice === undefined, "bad_option", `${flag} ${names.join(",")}: ${twice} stands there twice`);
}

const shareRight = (bottleneck: memory.bottleneck.Bottleneck, rows: memory.bottleneck.Labelled): number =>
  library.accuracy(library.classesOf(library.decide(bottleneck, rows), bottleneck.valueWidth), rows);

async function train(files: string[], flags: TrainFlags): Promise<void> {
  const { out, passes, batch, rate, seed, svg, keys = [] } = flags;
  ensure(out.endsWith(".safetensors"), "bad_option", `--out ${out}: the bottleneck is a .safetensors file`);
  ensure(svg?.endsWith(".svg") ?? true, "bad_option", `--svg ${svg}: it is an .svg`);
  requireNames("--classes", flags.classes ?? []);
  requireNames("--keys", keys);
  const before = (await exists(out)) ? await openLearner(out) : undefined;
  if (before) {
    requireSizes(out, before.bottleneck, flags);
    ensure(
      !flags.classes && keys.length === 0,
      "bad_option",
      `${flags.classes ? "--classes" : "--keys"}: ${out} exists, and goes on with its own`,
    );
  }
  await interruptible(async (signal) => {
    const { parts: all, encoder } = await readParts([...files, ...keys], flags, before?.encoder, signal);
    const [parts, others] = [all.slice(0, files.length), all.slice(files.length)];
    const classes = before?.classes ?? flags.classes ?? namesOf(parts);
    ensure(
      classes.length >= 2,
      "bad_option",
      `one class (${classes[0]}) leaves nothing to decide: --classes names those to come`,
    );
    const stream = parts.map((part) => labelled(part, classes));
    const { width } = stream[0];
    const planar = svg === undefined ? undefined : library.planeOf(joined(stream));
    ensure(!planar || width === 2, "bad_option", `--svg draws the plane of two features, and there are ${width}`);
    const { codebooks = usual.codebooks, pairs = usual.pairs, keyWidth = Math.min(width, usual.keyWidth) } = flags;
    showProgress("placing the keys");
    const bottleneck =
      before?.bottleneck ??
      (await library.beginLearner(joined(others.length > 0 ? others : stream), classes.length, {
        codebooks,
        pairs,
        keyWidth,
        seed,
        signal,
      }));
    const panels: memory.bottleneck.RegionsPanel[] = [];
    const then: number[] = [];
    for (const [i, rows] of stream.entries()) {
      for (let pass = 0; pass < passes; pass++) {
        showProgress(`${parts[i].file}: pass ${pass + 1} of ${passes}`);
        await library.learn(bottleneck, rows, { epochs: 1, batch, learningRate: rate, seed: seed + pass, signal });
      }
      then.push(shareRight(bottleneck, rows));
      // Whole after each part: a stop loses no more than the part that was being learned.
      await library.writeBottleneck(out, bottleneck, JSON.stringify(encoder), classes);
      if (!planar) continue;
      const cells = library.classesOf(library.decide(bottleneck, library.gridOf(planar)), classes.length);
      panels.push({ title: `after ${basename(parts[i].file)}`, cells: [...cells], samples: rows });
    }
    if (svg !== undefined && planar) {
      const axes = (encoder as { columns: [string, string] }).columns;
      await writeFileAtomically(svg, new TextEncoder().encode(library.regionsSvg(panels, planar, { classes, axes })));
    }
    const rows = stream.map((one, i) => ({
      file: parts[i].file,
      rows: one.count,
      rightThen: then[i],
      rightNow: shareRight(bottleneck, one),
    }));
    if (flags.json) printJson({ bottleneck: out, classes, encoder, parts: rows, ...(svg !== undefined && { svg }) });
    else {
      print(
        formatTable(
          ["learned", "rows", "right then", "right now"],
          rows.map(({ file, rows: count, rightThen, rightNow }) => [
            file,
            String(count),
            percent(rightThen),
            percent(rightNow),
          ]),
        ),
      );
      say(
        `${out}: ${plural(classes.length, "class", "classes")}, ${codebookText(bottleneck)}${svg === undefined ? "" : `; drawn: ${svg}`}`,
      );
    }
  });
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
const codebookText = ({ codebooks, pairs }: memory.bottleneck.Bottleneck): string =>
  `${plural(codebooks, "codebook")} of ${plural(pairs, "pair")}`;

async function evaluate(files: string[], flags: EvaluateFlags): Promise<void> {
  const { bottleneck, classes, encoder } = await openLearner(flags.bottleneck);
  const { parts } = await interruptible((signal) => readParts(files, flags, encoder, signal));
  const stream = parts.map((part) => labelled(part, classes));
  const labels = stream.flatMap((rows) => [...rows.labels]);
  const found = stream.flatMap((rows) => [...library.classesOf(library.decide(bottleneck, rows), classes.length)]);
  const rowOf = (name: string, chosen: readonly number[]) => {
    const right = chosen.map((i) => (found[i] === labels[i] ? 1 : 0));
    const { value, interval } = ratioOfSums(
      right,
      chosen.map(() => 1),
      flags.seed,
    );
    return {
      class: name,
      rows: chosen.length,
      right: value,
      interval,
      undecided: chosen.filter((i) => found[i] < 0).length,
    };
  };
  const all = [...labels.keys()];
  const rows = [
    ...classes.flatMap((name, label) => {
      const own = all.filter((i) => labels[i] === label);
      return own.length > 0 ? [rowOf(name, own)] : [];
    }),
    rowOf("all", all),
  ];
  if (flags.json) printJson({ rows: rows.slice(0, -1), all: rows.at(-1) });
  else
    print(
      formatTable(
        ["class", "rows", "right", "95 % interval", "undecided"],
        rows.map(({ class: name, rows: count, right, interval, undecided }) => [
          name,
          String(count),
          percent(right),
          interval.map(percent).join(" to "),
          String(undecided),
        ]),
      ),
    );
}

async function compare(files: string[], flags: CompareFlags): Promise<void> {
  const { passes, rate, seed, split } = flags;
  const { parts, encoder } = await interruptible((signal) => readParts(files, flags, undefined, signal));
  const classes = namesOf(parts);
  ensure(
    classes.length > split,
    "bad_option",
    `--split ${split}: ${plural(classes.length, "class", "classes")} would come at once, and nothing could be forgotten`,
  );
  const stream = parts.map((part) => labelled(part, classes));
  const whole = { ...joined(stream), labels: Int32Array.from(stream.flatMap((rows) => [...rows.labels])) };
  const counts = classes.map(() => 0);
  const [kept, held]: number[][] = [[], []];
  for (const [i, label] of whole.labels.entries()) (counts[label]++ % 5 === 4 ? held : kept).push(i);
  const least = counts.findIndex((count) => count < 5);
  ensure(
    least < 0,
    "bad_option",
    () =>
      `the class ${classes[least]} has ${plural(counts[least], "row")}: five are the least, one of them for the test`,
  );
  const [learned, tests] = [library.rowsOf(whole, kept), library.rowsOf(whole, held)];
  const rows = library.standardise(learned, learned);
  const data = { train: rows, test: library.standardise(tests, learned), drawings: rows };
  const { codebooks = usual.codebooks, pairs = usual.pairs, keyWidth = Math.min(whole.width, usual.keyWidth) } = flags;
  const says = `learning ${plural(classes.length, "class", "classes")}, ${split} at a time`;
  showProgress(says);
  const found = await interruptible((signal) =>
    library.runStream(data, classes.length, {
      ...{ codebooks, pairs, keyWidth, seed, perSplit: split, signal },
      epochs: passes,
      headEpochs: passes,
      learningRate: rate,
      onProgress: (share) => showProgress(`${says}: ${Math.floor(100 * share)} %`),
    }),
  );
  if (flags.json) {
    printJson({ classes, encoder, rows: kept.length, tests: held.length, ...found });
    return;
  }
  print(
    formatTable(
      ["learner", "right of all classes"],
      [
        ["bottleneck, split by split", percent(found.incremental)],
        ["bottleneck, all at once", percent(found.shuffled)],
        ["linear head, split by split", percent(found.linear)],
        ["linear head with weight decay, split by split", percent(found.ridge)],
        ["network of 128 units, split by split", percent(found.network)],
        ["linear head, all at once", percent(found.replay)],
        ["nearest class mean", percent(found.nearestMean)],
        ["five nearest neighbours", percent(found.neighbours)],
      ],
    ),
  );
  say(
    `${plural(kept.length, "row")} learned, ${plural(held.length, "row")} tested; of the first split the bottleneck knew ${percent(found.firstThen)} then and knows ${percent(found.firstNow)} now, the linear head ${percent(found.linearFirst)}`,
  );
}
