/**
 * Spike trains and what was recorded beside them, as JSON, counted in bins: row = bin, column = unit or track.
 *
 *     { units: [[seconds …] …] }  or  { spike_times…: [seconds …] }     one column of counts for each train
 *     { position: { t: [seconds …], x: […], y: […] } }                  tracks sampled at times: the mean of a bin, a gap where there is none
 *     { sample_seconds, t0?, NAME: [values …] }                         tracks sampled evenly, likewise
 *     { gap_s: [from, to] }                                             bins that touch it are gaps
 *     { spike_index: [[sample …] …], dt or t_ms: [first, last], NAME: [one value a trial, or one list of values] }
 *                                                                       trials, one after the other with a row of gaps between
 *     { dt, NAME: [values …] }                                          no trains: rows are the samples themselves
 */
import { ensure } from "../../../errors.ts";
import { isObject } from "../../../json.ts";
import { type Matrix, matrix } from "../matrix.ts";
import { mostValues } from "./columns.ts";

export interface Counted {
  readonly names: string[];
  readonly values: Matrix;
  readonly rate: number;
}

/** Bounds of a file: JSON.parse holds tens of bytes for each bracket. */
export const mostJsonBytes = 2 ** 28;
const mostLists = 2 ** 20;
const deepest = 64;
type Json = Readonly<Record<string, unknown>>;

const isNumbers = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((v) => typeof v === "number" || v === null);
/** Seconds between samples, so many that there is a rate. */
const isPeriod = (value: unknown): value is number =>
  typeof value === "number" && value > 0 && Number.isFinite(value) && Number.isFinite(1 / value);
const isLists = (value: unknown): value is number[][] => Array.isArray(value) && value.every(isNumbers);

/** Refuses, before it is parsed, JSON of so many or so deep lists that it would take far more room than its text. Errors: `bad_file`. */
export function checkLists(bytes: Uint8Array, origin: string): void {
  let [depth, lists, commas, quoted] = [0, 0, 0, false];
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (quoted) {
      if (byte === 0x5c) i++;
      else if (byte === 0x22) quoted = false;
    } else if (byte === 0x22) quoted = true;
    else if (byte === 0x5b || byte === 0x7b) {
      lists++;
      if (++depth > deepest || lists > mostLists) break;
    } else if (byte === 0x5d || byte === 0x7d) depth--;
    else if (byte === 0x2c) commas++;
  }
  ensure(commas < mostValues, "bad_file", `${origin} has ${commas} values; fewer than ${mostValues} are read`);
  ensure(
    depth <= deepest && lists <= mostLists,
    "bad_file",
    `${origin} has more lists than recordings have: at most ${mostLists}, ${deepest} deep, are read`,
  );
}

/** Errors: `bad_option` where spikes are to be counted and `bin`, in seconds, is not given; `bad_file` for JSON of another form. */
export function countTrains(json: Json, bin: number | undefined, origin: string): Counted {
  if (isLists(json.spike_index)) return countTrials(json, json.spike_index, bin, origin);
  const trains = new Map<string, number[]>();
  if (isLists(json.units)) for (const [i, unit] of json.units.entries()) trains.set(`${i + 1}`, unit);
  for (const [name, list] of Object.entries(json))
    if (name.startsWith("spike_times") && isNumbers(list))
      trains.set(name.replace(/^spike_times_?/, "") || "spikes", list);
  const tracks = tracksOf(json, origin);
  if (trains.size === 0) return samples(json, tracks, bin, origin);
  const width = widthOf(bin, origin);
  let end = 0;
  for (const list of [...trains.values(), ...tracks.map(({ times }) => times)])
    for (const at of list) if (at > end) end = at;
  // The last bin is a whole one.
  const bins = Math.floor(end / width);
  const names = [...trains.keys(), ...tracks.map(({ name }) => name)];
  const values = emptyRows(bins, names.length, origin);
  for (const [k, list] of [...trains.values()].entries())
    count(list, width, bins, (row) => values.data[row * names.length + k]++);
  for (const [k, track] of tracks.entries()) {
    const means = binMeans(track.times, track.values, width, bins);
    for (let row = 0; row < bins; row++) values.data[row * names.length + trains.size + k] = means[row];
  }
  const { gap_s: gap } = json;
  if (isNumbers(gap) && gap.length === 2)
    for (let row = Math.max(0, Math.floor(gap[0] / width)); row < bins && row * width < gap[1]; row++)
      values.data.fill(Number.NaN, row * names.length, (row + 1) * names.length);
  return { names, values, rate: 1 / width };
}

function widthOf(bin: number | undefined, origin: string): number {
  ensure(
    bin !== undefined,
    "bad_option",
    `${origin} has spike trains: --bin says in how many seconds they are counted`,
  );
  return bin;
}

function emptyRows(rows: number, columns: number, origin: string): Matrix {
  ensure(rows >= 1, "bad_file", `${origin} is shorter than one bin`);
  ensure(
    rows * columns <= mostValues,
    "bad_option",
    `${origin}: ${rows} bins of ${columns} columns are more than can be held; use wider bins`,
  );
  return matrix(rows, columns);
}

function count(times: readonly number[], width: number, bins: number, add: (row: number) => void): void {
  for (const at of times) {
    const row = Math.floor((at ?? Number.NaN) / width); // a time that is null is none
    if (row >= 0 && row < bins) add(row);
  }
}

function binMeans(times: readonly number[], values: readonly number[], width: number, bins: number): Float64Array {
  const [sums, found] = [new Float64Array(bins), new Float64Array(bins)];
  for (const [i, at] of times.entries()) {
    const row = Math.floor((at ?? Number.NaN) / width);
    if (!(row >= 0 && row < bins) || !Number.isFinite(values[i])) continue;
    sums[row] += values[i];
    found[row]++;
  }
  return sums.map((sum, row) => sum / found[row]); // 0 / 0, a gap, where a bin has no sample
}

interface Track {
  readonly name: string;
  readonly times: readonly number[];
  readonly values: readonly number[];
}

function tracksOf(json: Json, origin: string): Track[] {
  const { position, sample_seconds: step, t0 = 0 } = json;
  if (isObject(position)) {
    const { t, ...rest } = position;
    ensure(isNumbers(t), "bad_file", `${origin}: position has no list of times t`);
    return Object.entries(rest).map(([name, values]) => {
      ensure(
        isNumbers(values) && values.length === t.length,
        "bad_file",
        `${origin}: position.${name} and position.t must be lists of one length`,
      );
      return { name, times: t, values };
    });
  }
  if (typeof step !== "number") return [];
  ensure(isPeriod(step) && typeof t0 === "number", "bad_file", `${origin}: sample_seconds or t0 is no time`);
  return Object.entries(json).flatMap(([name, values]) =>
    isNumbers(values) && !name.startsWith("spike_times") && name !== "gap_s"
      ? [{ name, values, times: values.map((_, i) => t0 + i * step) }]
      : [],
  );
}

/** Evenly sampled columns, where nothing is to be counted. */
function samples(json: Json, tracks: readonly Track[], bin: number | undefined, origin: string): Counted {
  const { dt = json.sample_seconds } = json;
  const columns =
    tracks.length > 0
      ? tracks
      : Object.entries(json).flatMap(([name, values]) => (isNumbers(values) ? [{ name, values }] : []));
  ensure(
    isPeriod(dt) && columns.length > 0,
    "bad_file",
    `${origin}: neither spike trains (units, spike_times, spike_index) nor samples (dt and a list) are in it`,
  );
  const rows = columns[0].values.length;
  for (const { name, values } of columns)
    ensure(
      values.length === rows,
      "bad_file",
      `${origin}: ${name} has ${values.length} samples, ${columns[0].name} ${rows}`,
    );
  ensure(bin === undefined, "bad_option", `--bin: ${origin} has samples, and no spikes that could be counted`);
  const values = emptyRows(rows, columns.length, origin);
  for (const [k, column] of columns.entries())
    for (let row = 0; row < rows; row++) values.data[row * columns.length + k] = column.values[row] ?? Number.NaN;
  return { names: columns.map(({ name }) => name), values, rate: 1 / dt };
}

/** 0 of none. Lists of strangers are too long to be arguments. */
const largest = (values: readonly number[]): number => values.reduce((most, value) => Math.max(most, value), 0);

function countTrials(json: Json, trials: readonly number[][], bin: number | undefined, origin: string): Counted {
  const { dt = 0.001, t_ms: span } = json;
  ensure(isPeriod(dt), "bad_file", `${origin}: dt is no time`);
  const beside = Object.entries(json).flatMap(([name, value]) =>
    name !== "spike_index" &&
    name !== "t_ms" &&
    Array.isArray(value) &&
    value.length === trials.length &&
    (isNumbers(value) || isLists(value))
      ? [{ name, value }]
      : [],
  );
  const sampled = beside.find(({ value }) => isLists(value))?.value as number[][] | undefined;
  const length =
    isNumbers(span) && span.length === 2
      ? (span[1] - span[0]) / (1000 * dt) + 1
      : sampled
        ? largest(sampled.map((list) => list.length))
        : largest(trials.map(largest)) + 1;
  const width = widthOf(bin, origin) / dt; // in samples
  const bins = Math.floor(length / width);
  const names = ["spikes", ...beside.map(({ name }) => name)];
  const values = emptyRows(trials.length * (bins + 1), names.length, origin);
  values.data.fill(Number.NaN);
  for (const [trial, spikes] of trials.entries()) {
    const at = (row: number, column: number): number => (trial * (bins + 1) + row) * names.length + column;
    for (let row = 0; row < bins; row++) values.data[at(row, 0)] = 0;
    count(spikes, width, bins, (row) => values.data[at(row, 0)]++);
    for (const [k, { value }] of beside.entries()) {
      const own = value[trial] as number | number[];
      const means = Array.isArray(own)
        ? binMeans([...own.keys()], own, width, bins)
        : new Float64Array(Math.max(0, bins)).fill(own ?? Number.NaN);
      for (let row = 0; row < bins; row++) values.data[at(row, k + 1)] = means[row];
    }
  }
  return { names, values, rate: 1 / (width * dt) };
}
