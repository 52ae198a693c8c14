/** `ventris filter`: fits filters to recordings, decodes with them, offline or line by line, and compares them. */
import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure, plural } from "../errors.ts";
import * as signals from "../methods/signals.ts";
import { writeFileAtomically } from "../weights/cache.ts";
import {
  addDataFlags,
  addPairing,
  type DataFlags,
  type Paired,
  range,
  readPaired,
  slice,
  splitData,
  stillStates,
} from "./filter-data.ts";
import { openModel, stream } from "./filter-stream.ts";
import { describeOption, parseAssignments, parseValue, placeholder, refuseFlags } from "./flags.ts";
import { examples, helpWidth } from "./help.ts";
import { interruptible } from "./interruptible.ts";
import { print, printJson, say, showProgress } from "./output.ts";
import { formatTable } from "./table.ts";
import { wrap } from "./terminal.ts";
import { writeTrace } from "./trace-file.ts";

interface FitFlags extends DataFlags {
  method: string;
  set: string[];
  features: signals.Features;
  keepOffset?: true;
  seed: number;
  out: string;
  json?: true;
}

interface RunFlags extends Omit<DataFlags, "train" | "test"> {
  rows?: [number, number];
  smooth?: true;
  stream?: true;
  svg?: string;
  stateFile?: string;
  trace?: string;
  json?: true;
}

interface CompareFlags extends Omit<FitFlags, "method" | "out"> {
  methods: string[];
  svg?: string;
}

/** Filters whose estimates can be smoothed. */
const smoothing = signals.filters.filter(({ smooths }) => smooths).map(({ name }) => name);

export function define(command: Command): void {
  command.addHelpText(
    "after",
    `\nFilters, with what --set can set:\n${listing()}

Data is read from .csv, .tsv, .txt, .npy, .npz#ARRAY, .h5#DATASET, .edf, .bdf
and .vhdr files, from raw .f32, .u8 and .i16 files with a NAME.json beside them,
and from spike trains as .json, which --bin counts. Most of them may be
compressed (.gz).
${examples("ventris filter fit spikes.csv --states hand.csv --out hand.filter", "ventris filter run hand.filter later.csv --svg path.svg", "ventris filter compare spikes.csv --states hand.csv")}`,
  );
  const fit = command
    .command("fit")
    .description("fit a filter to recorded states and observations")
    .argument("<data>", "the observations: a row for each time bin");
  addDataFlags(fit);
  addFitFlags(fit)
    .requiredOption("--out <file>", "file for the fitted filter")
    .addOption(
      new Option("--method <name>", "the filter to fit; they are listed by ventris filter --help").default("dkf"),
    )
    .addHelpText(
      "after",
      examples(
        "ventris filter fit spikes.csv --states hand.csv --out hand.filter",
        "ventris filter fit table.csv --state x,y --method kalman --out hand.filter",
      ),
    )
    .action(runFit);
  const run = command
    .command("run")
    .description("decode a recording with a fitted filter, or standard input line by line")
    .argument("<filter>", "a fitted filter, as ventris filter fit writes it")
    .argument("[data]", "the observations: a row for each time bin");
  addPairing(run)
    .addOption(range("--rows", "decode only these rows"))
    .option("--smooth", `use what later bins say, too; with the filters ${smoothing.join(", ")}`)
    .option(
      "--stream",
      "read an observation a line from standard input and answer each with a line; an empty line stands for a missing bin",
    )
    .option(
      "--state-file <file>",
      "with --stream: go on from the state in this file, if it exists, and save it there at the end, or when Ctrl-C ends it",
    )
    .option(
      "--svg <file>",
      "draw the decoded trajectory into this file, beside the true one where --states or --state name it",
    )
    .option("--trace <file>", "write every step to a file as JSON lines, which the studio replays")
    .option("--json", "print JSON: one object; with --stream one for each line, and the latencies at the end")
    .addHelpText(
      "after",
      examples(
        "ventris filter run hand.filter later.csv --svg path.svg",
        "tail -f bins.csv | ventris filter run hand.filter --stream",
      ),
    )
    .action(runFilter);
  const compare = command
    .command("compare")
    .description("fit several filters and compare them on held-out bins")
    .argument("<data>", "the observations: a row for each time bin");
  addDataFlags(compare);
  addFitFlags(compare)
    .addOption(
      new Option("--methods <names>", "filters to compare, between commas")
        .argParser((text) => text.split(","))
        .default(["kalman", "dkf", "unfiltered", "zero"]),
    )
    .option("--svg <file>", "draw the best filter's trajectory into this file")
    .addHelpText(
      "after",
      examples(
        "ventris filter compare spikes.csv --states hand.csv",
        "ventris filter compare table.csv --state x,y --methods kalman,dkf",
      ),
    )
    .action(runCompare);
}

function listing(): string {
  const indented = (text: string, by: string): string =>
    wrap(text, helpWidth() - by.length)
      .map((line) => by + line)
      .join("\n");
  return signals.filters
    .flatMap((method) => [
      indented(`${method.name}: ${method.summary}`, "  "),
      ...Object.entries(method.options.shape as Record<string, z.ZodType>).map(([name, schema]) =>
        indented(`${name} <${placeholder(schema)}>: ${describeOption(schema)}`, "      "),
      ),
    ])
    .join("\n");
}

function addFitFlags(command: Command): Command {
  return command
    .addOption(
      new Option("--set <name=value>", "set an option of the filter. May be given several times.")
        .argParser((text: string, before: string[] = []) => [...before, text])
        .default([]),
    )
    .addOption(
      new Option(
        "--features <kind>",
        "how observations are prepared: as-is, centred, standardised, or a number of principal components",
      )
        .argParser((text) =>
          parseValue(z.union([z.enum(["as-is", "centred", "standardised"]), z.int().min(1)]), "--features", text),
        )
        .default("standardised"),
    )
    .option("--keep-offset", "do not subtract the mean from the states")
    .addOption(
      new Option("--seed <number>", "seed of all random choices")
        .argParser((text) => parseValue(z.int().min(0), "--seed", text))
        .default(0),
    )
    .option("--json", "print one JSON object");
}

async function fitOne(
  name: string,
  data: Paired,
  train: { states: signals.Matrix; observations: signals.Matrix },
  flags: Omit<FitFlags, "method" | "out">,
  options: Record<string, unknown>,
) {
  const method = signals.findFilter(name);
  let shown = 0;
  const model = await interruptible((signal) =>
    signals.fitFilter(method, train, {
      options,
      features: flags.features,
      centreStates: !flags.keepOffset,
      seed: flags.seed,
      signal,
      stateNames: data.stateNames,
      observationNames: data.observationNames,
      rate: data.rate,
      onProgress(stage, done, total) {
        if (performance.now() - shown < 2000 && done < total) return;
        shown = performance.now();
        showProgress(`${name}: ${stage} ${done} of ${total}`);
      },
    }),
  );
  return { method, model };
}

async function runFit(path: string, flags: FitFlags): Promise<void> {
  const method = signals.findFilter(flags.method);
  const options = parseAssignments(
    method.options.shape as Record<string, z.ZodType>,
    flags.set,
    `the filter ${flags.method}`,
  );
  const data = await readPaired(path, flags);
  const { train, test } = splitData(data, flags);
  const { model } = await fitOne(flags.method, data, train, flags, options);
  await signals.saveFilter(flags.out, model);
  const scores =
    test && signals.score(signals.filterAll(signals.openFilter(method, model), test.observations).means, test.states);
  const { notes } = model.parameters;
  if (flags.json)
    printJson({
      out: flags.out,
      method: model.method,
      options: model.options,
      bins: model.bins,
      skippedBins: model.skippedBins,
      notes,
      scores,
    });
  else {
    for (const [name, value] of Object.entries(notes))
      say(`${name}: ${typeof value === "number" ? Number(value.toPrecision(5)) : value}`);
    if (model.skippedBins > 0) say(`left out, as its values are not finite: ${plural(model.skippedBins, "bin")}`);
    const found = scores
      ? `${describeScores(scores)} on ${plural(scores.bins, "held-out bin")}`
      : "no bins are left to score on";
    print(`${model.method}: ${found}, written to ${flags.out}`);
  }
}

const describeScores = ({ nrmse, angularError, correlation, r2, classes }: signals.Scores): string =>
  [
    ...(classes ? [`balanced accuracy ${classes.balancedAccuracy.toFixed(3)}`] : []),
    `nRMSE ${nrmse.toFixed(3)}`,
    ...(angularError === undefined ? [] : [`angular error ${angularError.toFixed(3)} rad`]),
    `correlation ${correlation.toFixed(3)}`,
    `R² ${r2.toFixed(3)}`,
  ].join(", ");

/** Flags of what is read as a whole. */
const ofRecordings = [
  ...["states", "state", "channels", "without", "lag", "bin", "moving", "outliers", "rows"],
  ...["smooth", "svg", "trace"],
];

async function runFilter(path: string, dataPath: string | undefined, flags: RunFlags, command: Command): Promise<void> {
  const opened = await openModel(path);
  if (flags.stream) {
    const why = "and --stream exclude each other: a stream is decoded as it comes";
    ensure(dataPath === undefined, "bad_option", `DATA ${why}`);
    refuseFlags(command, ofRecordings, why);
    await stream(opened, flags);
    return;
  }
  ensure(dataPath, "bad_option", "what is to be decoded? give a recording, or --stream");
  ensure(!flags.stateFile, "bad_option", "--state-file goes with --stream");
  const { model, method, filter } = opened;
  const data = await readPaired(dataPath, flags, model);
  if (data.stateNames && model.stateNames && `${data.stateNames}` !== `${model.stateNames}`)
    say(`scored against ${data.stateNames}; the filter was fitted to ${model.stateNames}`);
  ensure(
    !model.rate || !data.rate || Math.abs(model.rate - data.rate) <= 1e-6 * model.rate,
    "bad_option",
    `${path} was fitted to ${model.rate} bins a second, and ${dataPath} has ${data.rate}: its dynamics are those of other steps; bring the recording to that rate`,
  );
  const [from, to] = flags.rows ?? [0, data.observations.rows];
  ensure(
    to <= data.observations.rows,
    "bad_option",
    `--rows ${from}:${to} does not lie in the ${plural(data.observations.rows, "bin")}`,
  );
  const observations = slice(data.observations, from, to);
  const truth = data.states && slice(data.states, from, to);
  const trajectory = flags.smooth
    ? signals.smoothAll(method, model, observations)
    : signals.filterAll(filter, observations);
  const still = truth ? stillStates(truth, data.stateNames) : [];
  if (still.length > 0) say(`not scored: ${still} never changes in these bins`);
  const scores = truth && still.length === 0 ? signals.score(trajectory.means, truth) : undefined;
  const names = model.stateNames ?? Array.from({ length: model.stateDimension }, (_, k) => `z${k + 1}`);
  if (flags.svg)
    await writeFileAtomically(
      flags.svg,
      signals.trajectorySvg({
        trajectory,
        truth,
        names,
        title: `${model.method}${flags.smooth ? ", smoothed" : ""}`,
        binSeconds: data.rate && 1 / data.rate,
      }),
    );
  const d = model.stateDimension;
  if (flags.trace) await writeTrace(flags.trace, signals.posteriorEvents(trajectory, truth));
  if (flags.json) {
    printJson({
      method: model.method,
      names,
      means: rowsOf(trajectory.means),
      deviations: rowsOf(trajectory.covariances).map((row) => names.map((_, k) => Math.sqrt(row[k * (d + 1)]))),
      counters: flags.smooth ? undefined : filter.counters,
      scores,
    });
    return;
  }
  print([...names, ...names.map((name) => `${name} deviation`)].join(","));
  for (let t = 0; t < trajectory.means.rows; t++) {
    const mean = trajectory.means.data.subarray(t * d, (t + 1) * d);
    const deviations = names.map((_, k) => Math.sqrt(trajectory.covariances.data[t * d * d + k * (d + 1)]));
    print([...mean, ...deviations].map((v) => Number(v.toPrecision(7))).join(","));
  }
  if (scores) say(describeScores(scores));
}

const rowsOf = ({ rows, columns, data }: signals.Matrix): number[][] =>
  Array.from({ length: rows }, (_, t) => [...data.subarray(t * columns, (t + 1) * columns)]);

async function runCompare(path: string, flags: CompareFlags): Promise<void> {
  const assigned = optionsByMethod(flags.methods, flags.set);
  const data = await readPaired(path, flags);
  const { train, test } = splitData(data, flags);
  ensure(test, "bad_option", "--train takes all bins: a comparison needs others to score on");
  const results = [];
  for (const name of flags.methods) {
    const started = performance.now();
    const { method, model } = await fitOne(name, data, train, flags, assigned.get(name)!);
    const seconds = (performance.now() - started) / 1000;
    const filter = signals.openFilter(method, model);
    const trajectory = signals.filterAll(filter, test.observations);
    results.push({
      name,
      seconds,
      trajectory,
      scores: signals.score(trajectory.means, test.states),
      counters: { ...filter.counters }, // of the trajectory: timing filters anew
      microseconds: stepTimes(filter, test.observations),
    });
  }
  const best = results.reduce((a, b) => (b.scores.nrmse < a.scores.nrmse ? b : a));
  if (flags.svg)
    await writeFileAtomically(
      flags.svg,
      signals.trajectorySvg({
        trajectory: best.trajectory,
        truth: test.states,
        names: data.stateNames,
        title: `${best.name} on held-out bins`,
        binSeconds: data.rate && 1 / data.rate,
      }),
    );
  if (flags.json) {
    printJson({
      train: train.states.rows,
      test: test.states.rows,
      results: results.map(({ trajectory: _, ...rest }) => rest),
    });
    return;
  }
  const planar = results[0].scores.angularError !== undefined;
  const classed = results[0].scores.classes !== undefined;
  print(
    formatTable(
      [
        "filter",
        "nRMSE",
        ...(planar ? ["angle, rad"] : []),
        ...(classed ? ["balanced"] : []),
        "correlation",
        "R²",
        "fit, s",
        "median µs",
        "p99 µs",
      ],
      results.map(({ name, scores, seconds, microseconds }) => [
        name,
        scores.nrmse.toFixed(3),
        ...(planar ? [scores.angularError!.toFixed(3)] : []),
        ...(classed ? [scores.classes!.balancedAccuracy.toFixed(3)] : []),
        scores.correlation.toFixed(3),
        scores.r2.toFixed(3),
        seconds.toFixed(1),
        microseconds.median.toFixed(0),
        microseconds.p99.toFixed(0),
      ]),
    ),
  );
}

/** `name=value` goes to every filter that has the option; one that none has is refused. */
function optionsByMethod(names: readonly string[], pairs: readonly string[]): Map<string, Record<string, unknown>> {
  const shapes = new Map(
    names.map((name) => [name, signals.findFilter(name).options.shape as Record<string, z.ZodType>]),
  );
  const all = Object.assign({}, ...shapes.values());
  parseAssignments(all, pairs, names.length === 1 ? `the filter ${names[0]}` : "none of the filters");
  return new Map(
    [...shapes].map(([name, shape]) => [
      name,
      parseAssignments(
        shape,
        pairs.filter((pair) => Object.hasOwn(shape, pair.split("=")[0])),
        `the filter ${name}`,
      ),
    ]),
  );
}

/** Microseconds of single steps, after the code has warmed up. */
function stepTimes(filter: signals.Filter, observations: signals.Matrix): { median: number; p99: number } {
  filter.reset();
  const n = observations.columns;
  const times: number[] = [];
  for (let t = 0; t < Math.min(observations.rows, 2000); t++) {
    const x = observations.data.subarray(t * n, (t + 1) * n);
    const started = performance.now();
    filter.step(x);
    times.push(1000 * (performance.now() - started));
  }
  times.sort((a, b) => a - b);
  return { median: times[Math.floor(times.length / 2)], p99: times[Math.floor(0.99 * (times.length - 1))] };
}
