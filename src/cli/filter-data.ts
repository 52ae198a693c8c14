/** The recordings of `ventris filter`: which columns are states and which observations, paired bin by bin, to learn from and to score on. */
import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure, plural } from "../errors.ts";
import * as signals from "../methods/signals.ts";
import { parseValue } from "./flags.ts";
import { say } from "./output.ts";

/** What says which columns of a recording are states, which are observed, and which rows are used. */
export interface DataFlags {
  states?: string;
  state?: string;
  channels?: string;
  without?: string;
  lag: number;
  bin?: number;
  moving?: number;
  outliers?: number;
  train?: [number, number];
  test?: [number, number];
}

export function addPairing(command: Command): Command {
  return command
    .option("--states <file>", "the true states, in a file of their own with a row for each bin")
    .option(
      "--state <columns>",
      "the true states, as columns of the data, or of --states: names as x,y or numbers from 1 as 1-2",
    )
    .option("--channels <columns>", "the columns that are observations; default: all that are not states")
    .option("--without <columns>", "columns that are left out of the observations, such as channels that never change")
    .addOption(
      new Option("--lag <bins>", "pair each observation with the state this many bins later")
        .argParser((text) => parseValue(z.int().min(-10_000).max(10_000), "--lag", text))
        .default(0),
    )
    .addOption(
      new Option("--bin <seconds>", "count the spikes of spike trains (.json) in bins of this length").argParser(
        (text) => parseValue(z.number().positive().max(3600), "--bin", text),
      ),
    )
    .addOption(
      new Option(
        "--moving <speed>",
        "use only bins in which the true state moves faster than this, in its units per second (per bin where no rate is known)",
      ).argParser((text) => parseValue(z.number().min(0), "--moving", text)),
    )
    .addOption(
      new Option(
        "--outliers <deviations>",
        "treat an observation as missing where a channel lies more than this many deviations from its median; a deviation is 1.48 times the median distance from it",
      ).argParser((text) => parseValue(z.number().positive(), "--outliers", text)),
    );
}

export function addDataFlags(command: Command): Command {
  return addPairing(command)
    .addOption(range("--train", "rows to learn from; default: the first four fifths of those with a true state"))
    .addOption(range("--test", "rows to score on; default: the rest"));
}

/** `from:to`, from inclusive and to exclusive, counted from 0. */
export const range = (flag: string, description: string) =>
  new Option(`${flag} <from:to>`, description).argParser((text): [number, number] => {
    const [, from, to] = /^(\d+):(\d+)$/.exec(text) ?? [];
    ensure(
      from !== undefined && Number(to) > Number(from),
      "bad_option",
      `${flag}: ${text} is no range of rows; write it as 0:5000`,
    );
    return [Number(from), Number(to)];
  });

export interface Paired {
  observations: signals.Matrix;
  states?: signals.Matrix;
  observationNames: string[];
  stateNames?: string[];
  rate?: number;
}

/** `fitted`: the columns that a filter was fitted to, which are taken by their names where no others are asked for. */
export async function readPaired(
  path: string,
  flags: DataFlags,
  fitted: { readonly stateNames?: readonly string[]; readonly observationNames?: readonly string[] } = {},
): Promise<Paired> {
  const table = await signals.readTable(path, { bin: flags.bin });
  for (const remark of table.remarks) say(`${path}: ${remark}`);
  let states: { names: string[]; values: signals.Matrix } | undefined;
  let [rest, rate] = [table.names.map((_, i) => i), table.rate];
  if (flags.state && !flags.states) {
    const { places, ...picked } = signals.pickColumns(table, flags.state, path);
    states = picked;
    rest = rest.filter((i) => !places.includes(i));
  } else if (flags.states) {
    const other = await signals.readTable(flags.states);
    for (const remark of other.remarks) say(`${flags.states}: ${remark}`);
    const known = fitted.stateNames?.every((name) => other.names.includes(name));
    const wanted = flags.state ?? (known ? signals.placesByName(other, fitted.stateNames!, flags.states) : undefined);
    states = wanted
      ? signals.pickColumns(other, wanted, flags.states)
      : { names: [...other.names], values: other.values };
    rate ??= other.rate;
    ensure(
      other.values.rows === table.values.rows,
      "bad_option",
      `${path} has ${plural(table.values.rows, "row")} and ${flags.states} ${other.values.rows}: they must pair one by one`,
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
  const learnt = fitted.observationNames && signals.placesByName(table, fitted.observationNames, path);
  const asked = signals.pickColumns(table, flags.channels ?? learnt ?? rest, path);
  const left = flags.without ? signals.pickColumns(table, flags.without, path).places : [];
  const unused = left.filter((place) => !asked.places.includes(place)).map((place) => table.names[place]);
  ensure(unused.length === 0, "bad_option", () => `--without ${unused.join(",")}: no such channel is observed`);
  const kept = asked.places.filter((place) => !left.includes(place));
  ensure(kept.length > 0, "bad_option", `--without ${flags.without} leaves no channel to observe`);
  const chosen = left.length > 0 ? signals.pickColumns(table, kept, path) : asked;
  const bins = table.values.rows - Math.abs(flags.lag);
  ensure(bins > 0, "bad_option", `--lag ${flags.lag} leaves none of ${plural(table.values.rows, "bin")}`);
  if (flags.outliers !== undefined) {
    const missing = forgetOutliers(chosen.values, flags.outliers);
    say(
      `taken as missing, since a channel lies far from its median: ${plural(missing, "bin")} of ${chosen.values.rows}`,
    );
  }
  const cut = (m: signals.Matrix, from: number) => slice(m, from, from + bins);
  const paired = states && cut(states.values, Math.max(0, flags.lag));
  if (flags.moving !== undefined) {
    ensure(paired, "bad_option", "--moving needs the true states: give --states FILE or --state COLUMNS");
    forgetRest(paired, flags.moving / (rate ?? 1));
  }
  return {
    observations: cut(chosen.values, Math.max(0, -flags.lag)),
    observationNames: chosen.names,
    states: paired,
    stateNames: states?.names,
    rate,
  };
}

/** Makes gaps of the bins with a value far from its channel's median over the whole recording; how many. */
function forgetOutliers({ rows, columns, data }: signals.Matrix, deviations: number): number {
  const middle = (values: Float64Array): number => values.sort()[Math.floor((values.length - 1) / 2)];
  const far = new Uint8Array(rows);
  for (let k = 0; k < columns; k++) {
    const channel = Float64Array.from({ length: rows }, (_, t) => data[t * columns + k]).filter(Number.isFinite);
    const median = middle(channel.slice());
    // 1.48: what makes it the standard deviation of Gaussian values. A channel that hardly moves has no outliers.
    const reach = deviations * 1.4826 * middle(channel.map((v) => Math.abs(v - median)));
    for (let t = 0; reach > 0 && t < rows; t++) if (Math.abs(data[t * columns + k] - median) > reach) far[t] = 1;
  }
  for (let t = 0; t < rows; t++) if (far[t]) data.fill(Number.NaN, t * columns, (t + 1) * columns);
  return far.reduce((a, b) => a + b, 0);
}

/** Makes gaps of the bins about which the state moves by less than `step` a bin. */
function forgetRest({ rows, columns, data }: signals.Matrix, step: number): void {
  const whole = data.slice();
  for (let t = 0; t < rows; t++) {
    let squared = t === 0 || t === rows - 1 ? 0 : 1e-300;
    for (let k = 0; squared > 0 && k < columns; k++)
      squared += ((whole[(t + 1) * columns + k] - whole[(t - 1) * columns + k]) / 2) ** 2;
    if (!(Math.sqrt(squared) > step)) data.fill(Number.NaN, t * columns, (t + 1) * columns);
  }
}

export const slice = ({ columns, data }: signals.Matrix, from: number, to: number): signals.Matrix =>
  signals.matrix(to - from, columns, data.slice(from * columns, to * columns));

/** The states that have one value in all bins in which they are known: they have no variance that an estimate could explain. */
export function stillStates({ rows, columns, data }: signals.Matrix, names: readonly string[] = []): string[] {
  return Array.from({ length: columns }, (_, k) => k)
    .filter((k) => {
      const values = new Set<number>();
      for (let t = 0; t < rows && values.size < 2; t++)
        if (Number.isFinite(data[t * columns + k])) values.add(data[t * columns + k]);
      return values.size < 2;
    })
    .map((k) => names[k] ?? `${k + 1}`);
}

/** What to learn from, and what to score on; nothing is left for that where all is learnt from. */
export function splitData({ observations, states, stateNames }: Paired, { train, test }: DataFlags) {
  ensure(states, "bad_option", "which columns are states? give --states FILE or --state COLUMNS");
  const bins = observations.rows;
  const d = states.columns;
  const known = Array.from({ length: bins }, (_, t) => t).filter((t) =>
    states.data.subarray(t * d, (t + 1) * d).every(Number.isFinite),
  );
  // Of the bins with a true state: where a recording ends in rest or a gap, the last fifth of all bins has none.
  const learn = train ?? [0, test?.[0] ?? known[Math.floor(0.8 * known.length)] ?? bins];
  const held = test ?? (learn[1] === bins ? undefined : [learn[1], bins]);
  for (const [name, [from, to]] of [["--train", learn] as const, ...(held ? [["--test", held] as const] : [])]) {
    ensure(to <= bins && from < to, "bad_option", `${name} ${from}:${to} does not lie in the ${plural(bins, "bin")}`);
  }
  const part = ([from, to]: readonly number[]) => ({
    states: slice(states, from, to),
    observations: slice(observations, from, to),
  });
  if (!held) return { train: part(learn) };
  ensure(learn[1] <= held[0] || held[1] <= learn[0], "bad_option", "--train and --test overlap");
  ensure(
    known.some((t) => t >= held[0] && t < held[1]),
    "bad_option",
    `none of the bins ${held[0]}:${held[1]} has a true state to score on; give others with --test`,
  );
  const scored = part(held);
  // What never changes at all is refused where it is learnt.
  const ever = stillStates(states, stateNames);
  const still = stillStates(scored.states, stateNames).filter((name) => !ever.includes(name));
  ensure(
    still.length === 0,
    "bad_option",
    `${still} never changes in the bins ${held[0]}:${held[1]}, so that nothing can be scored there; give others with --test`,
  );
  return { train: part(learn), test: scored };
}
