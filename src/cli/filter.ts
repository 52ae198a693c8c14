/** `ventris filter`: fits filters to recordings, decodes with them, offline or line by line, and compares them. */
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure } from "../errors.ts";
import * as signals from "../methods/signals.ts";
import { writeFileAtomically } from "../weights/cache.ts";
import { describeOption, parseAssignments, parseValue, placeholder } from "./flags.ts";
import { helpWidth } from "./help.ts";
import { interruptible } from "./interruptible.ts";
import { print, printJson, say, showProgress } from "./output.ts";
import { formatTable, plural } from "./table.ts";
import { wrap } from "./terminal.ts";

interface DataFlags {
  states?: string;
  state?: string;
  channels?: string;
  lag: number;
  train?: [number, number];
  test?: [number, number];
}

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

export function define(command: Command): void {
  command.addHelpText(
    "after",
    `\nFilters, with what --set can set:\n${listing()}

Data: .csv .tsv .txt .npy .npz#ARRAY .h5#DATASET .edf .bdf .vhdr, or raw
.f32 .u8 .i16 with a NAME.json beside it; most of them also compressed (.gz).`,
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
    .action(runFit);
  const run = command
    .command("run")
    .description("decode a recording with a fitted filter, or standard input line by line")
    .argument("<filter>", "a fitted filter, as ventris filter fit writes it")
    .argument("[data]", "the observations: a row for each time bin");
  addPairing(run)
    .addOption(range("--rows", "decode only these rows"))
    .option("--smooth", "use later bins, too, for filters that can")
    .option(
      "--stream",
      "read an observation a line from standard input and answer each with a line; an empty line stands for a missing bin",
    )
    .option(
      "--state-file <file>",
      "with --stream: go on from the state in this file, if it exists, and save it there at the end",
    )
    .option(
      "--svg <file>",
      "draw the decoded trajectory into this file, beside the true one where --states or --state name it",
    )
    .option("--trace <file>", "write every step to a file as JSON lines, which the studio replays")
    .option("--json", "print JSON: one object; with --stream one for each line, and the latencies at the end")
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

function addPairing(command: Command): Command {
  return command
    .option("--states <file>", "the true states, in a file of their own with a row for each bin")
    .option("--state <columns>", "the true states, as columns of the data: names as x,y or numbers from 1 as 1-2")
    .option("--channels <columns>", "the columns that are observations; default: all that are not states")
    .addOption(
      new Option("--lag <bins>", "pair each observation with the state this many bins later")
        .argParser((text) => parseValue(z.int().min(-10_000).max(10_000), "--lag", text))
        .default(0),
    );
}

function addDataFlags(command: Command): Command {
  return addPairing(command)
    .addOption(range("--train", "rows to learn from; default: the first four fifths"))
    .addOption(range("--test", "rows to score on; default: the rest"));
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

/** `from:to`, from inclusive and to exclusive, counted from 0. */
const range = (flag: string, description: string) =>
  new Option(`${flag} <from:to>`, description).argParser((text): [number, number] => {
    const [, from, to] = /^(\d+):(\d+)$/.exec(text) ?? [];
    ensure(
      from !== undefined && Number(to) > Number(from),
      "bad_option",
      `${flag}: ${text} is no range of rows; write it as 0:5000`,
    );
    return [Number(from), Number(to)];
  });

interface Paired {
  observations: signals.Matrix;
  states?: signals.Matrix;
  observationNames: string[];
  stateNames?: string[];
  rate?: number;
}

async function readPaired(path: string, flags: DataFlags | RunFlags): Promise<Paired> {
  const table = await signals.readTable(path);
  for (const remark of table.remarks) say(`${path}: ${remark}`);
  ensure(!(flags.states && flags.state), "bad_option", "--states and --state: give one of them");
  let states: { names: string[]; values: signals.Matrix } | undefined;
  let rest = table.names.map((_, i) => i + 1);
  if (flags.state) {
    states = signals.pickColumns(table, flags.state, path);
    const taken = new Set(states.names);
    rest = rest.filter((i) => !taken.has(table.names[i - 1]));
  } else if (flags.states) {
    const other = await signals.readTable(flags.states);
    for (const remark of other.remarks) say(`${flags.states}: ${remark}`);
    states = { names: [...other.names], values: other.values };
    ensure(
      other.values.rows === table.values.rows,
      "bad_option",
      `${path} has ${table.values.rows} rows and ${flags.states} ${other.values.rows}: they must pair one by one`,
    );
    ensure(
      !table.rate || !other.rate || table.rate === other.rate,
      "bad_option",
      `${path} has ${table.rate} rows a second and ${flags.states} ${other.rate}: resample one of them first`,
    );
  }
  ensure(
    flags.channels !== undefined || rest.length > 0,
    "bad_option",
    `${path}: all columns are states; what is observed?`,
  );
  const chosen = signals.pickColumns(table, flags.channels ?? rest.join(","), path);
  const bins = table.values.rows - Math.abs(flags.lag);
  ensure(bins > 0, "bad_option", `--lag ${flags.lag} leaves none of ${table.values.rows} bins`);
  const cut = (m: signals.Matrix, from: number) => slice(m, from, from + bins);
  return {
    observations: cut(chosen.values, Math.max(0, -flags.lag)),
    observationNames: chosen.names,
    states: states && cut(states.values, Math.max(0, flags.lag)),
    stateNames: states?.names,
    rate: table.rate,
  };
}

const slice = ({ columns, data }: signals.Matrix, from: number, to: number): signals.Matrix =>
  signals.matrix(to - from, columns, data.slice(from * columns, to * columns));

function splitData({ observations, states }: Paired, { train, test }: DataFlags) {
  ensure(states, "bad_option", "which columns are states? give --states FILE or --state COLUMNS");
  const bins = observations.rows;
  const learn = train ?? [0, Math.floor((test?.[0] ?? bins) * (test ? 1 : 0.8))];
  const held = test ?? [learn[1], bins];
  for (const [name, [from, to]] of [
    ["--train", learn],
    ["--test", held],
  ] as const) {
    ensure(to <= bins && from < to, "bad_option", `${name} ${from}:${to} does not lie in the ${bins} bins`);
  }
  ensure(learn[1] <= held[0] || held[1] <= learn[0], "bad_option", "--train and --test overlap");
  const part = ([from, to]: readonly [number, number]) => ({
    states: slice(states, from, to),
    observations: slice(observations, from, to),
  });
  return { train: part(learn), test: part(held) };
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
  const data = await readPaired(path, flags);
  const { train, test } = splitData(data, flags);
  const method = signals.findFilter(flags.method);
  const options = parseAssignments(
    method.options.shape as Record<string, z.ZodType>,
    flags.set,
    `the filter ${flags.method}`,
  );
  const { model } = await fitOne(flags.method, data, train, flags, options);
  await signals.saveFilter(flags.out, model);
  const scores = signals.score(
    signals.filterAll(signals.openFilter(method, model), test.observations).means,
    test.states,
  );
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
    print(`${model.method}: ${describeScores(scores)} on ${scores.bins} held-out bins, written to ${flags.out}`);
  }
}

const describeScores = ({ nrmse, angularError, correlation, r2 }: signals.Scores): string =>
  [
    `nRMSE ${nrmse.toFixed(3)}`,
    ...(angularError === undefined ? [] : [`angular error ${angularError.toFixed(3)} rad`]),
    `correlation ${correlation.toFixed(3)}`,
    `R² ${r2.toFixed(3)}`,
  ].join(", ");

async function openModel(path: string) {
  ensure(existsSync(path), "bad_option", `there is no filter ${path}; ventris filter fit makes one`);
  const model = await signals.loadFilter(path);
  const method = signals.findFilter(model.method);
  return { model, method, filter: signals.openFilter(method, model) };
}

async function runFilter(path: string, dataPath: string | undefined, flags: RunFlags): Promise<void> {
  const opened = await openModel(path);
  if (flags.stream) {
    for (const [name, given] of Object.entries({
      DATA: dataPath,
      "--smooth": flags.smooth,
      "--svg": flags.svg,
      "--trace": flags.trace,
      "--rows": flags.rows,
      "--states": flags.states,
      "--state": flags.state,
    })) {
      ensure(
        given === undefined,
        "bad_option",
        `${name} and --stream exclude each other: a stream is decoded as it comes`,
      );
    }
    await stream(opened, flags);
    return;
  }
  ensure(dataPath, "bad_option", "what is to be decoded? give a recording, or --stream");
  ensure(!flags.stateFile, "bad_option", "--state-file goes with --stream");
  const { model, method, filter } = opened;
  const data = await readPaired(dataPath, flags);
  const [from, to] = flags.rows ?? [0, data.observations.rows];
  ensure(
    to <= data.observations.rows,
    "bad_option",
    `--rows ${from}:${to} does not lie in the ${data.observations.rows} bins`,
  );
  const observations = slice(data.observations, from, to);
  const truth = data.states && slice(data.states, from, to);
  const trajectory = flags.smooth
    ? signals.smoothAll(method, model, observations)
    : signals.filterAll(filter, observations);
  const scores = truth && signals.score(trajectory.means, truth);
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
  if (flags.trace)
    await writeFileAtomically(
      flags.trace,
      signals
        .posteriorEvents(trajectory, truth)
        .map((event) => `${JSON.stringify(event)}\n`)
        .join(""),
    );
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

/** One line in, one line out. A line that is no observation is answered by an error on stderr and ends the run, after the state is saved. */
async function stream(
  { model, filter }: Awaited<ReturnType<typeof openModel>>,
  { json, stateFile }: RunFlags,
): Promise<void> {
  if (stateFile && existsSync(stateFile)) await signals.loadState(stateFile, filter, model);
  const latencies: number[] = [];
  const observation = new Float64Array(filter.observationDimension);
  let line = 0;
  try {
    for await (const text of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
      line++;
      const started = performance.now();
      let given: Float64Array | undefined;
      if (text.trim() !== "") {
        const fields = text.trim().split(/[,;\s]\s*/);
        ensure(
          fields.length === observation.length,
          "bad_file",
          `standard input, line ${line}: ${fields.length} values, but the filter was fitted to ${observation.length} channels`,
        );
        for (const [k, field] of fields.entries()) {
          const value = signals.readNumber(field);
          ensure(
            value !== undefined,
            "bad_file",
            `standard input, line ${line}: ${JSON.stringify(field)} is not a number`,
          );
          observation[k] = value;
        }
        given = observation;
      }
      const estimate = filter.step(given);
      const answer = json
        ? JSON.stringify({ mean: [...estimate.mean], covariance: [...estimate.covariance], missing: estimate.missing })
        : Array.from(estimate.mean, (v) => Number(v.toPrecision(7))).join(",");
      // Microseconds from the line to its answer.
      if (latencies.length < 1_000_000) latencies.push(1000 * (performance.now() - started));
      print(answer);
    }
  } finally {
    if (stateFile) await signals.saveState(stateFile, filter, model);
  }
  const sorted = latencies.sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  const summary = {
    steps: line,
    latencyMicroseconds: { median: at(0.5), p99: at(0.99), largest: at(1) },
    counters: filter.counters,
  };
  if (json) printJson(summary);
  else say(`${plural(line, "bin")} · ${at(0.5).toFixed(0)} µs a bin, 99 of 100 within ${at(0.99).toFixed(0)} µs`);
}

async function runCompare(path: string, flags: CompareFlags): Promise<void> {
  const data = await readPaired(path, flags);
  const { train, test } = splitData(data, flags);
  const assigned = optionsByMethod(flags.methods, flags.set);
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
      microseconds: stepTimes(filter, test.observations),
      counters: { ...filter.counters },
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
  print(
    formatTable(
      ["filter", "nRMSE", ...(planar ? ["angle, rad"] : []), "correlation", "R²", "fit, s", "median µs", "p99 µs"],
      results.map(({ name, scores, seconds, microseconds }) => [
        name,
        scores.nrmse.toFixed(3),
        ...(planar ? [scores.angularError!.toFixed(3)] : []),
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
