/** The real recordings that the claims are measured on, as pairs of states and observations. */
import { parseJsonObject } from "../../../json.ts";
import type { FilterData } from "../filter.ts";
import { readBytes } from "../formats/bytes.ts";
import { readTable } from "../formats/table.ts";
import { type Matrix, matrix } from "../matrix.ts";

export interface Recorded {
  readonly train: FilterData;
  readonly test: FilterData;
}

const rowsOf = ({ columns, data }: Matrix, from: number, to: number): Matrix =>
  matrix(to - from, columns, data.slice(from * columns, to * columns));

/** Hand velocity and ten neural features of the published run; it learns from `learn` bins before bin 5000 and scores the next 1000. */
export async function handVelocity(features: string, velocity: string, learn: number): Promise<Recorded> {
  const [x, z] = [(await readTable(features)).values, (await readTable(velocity)).values];
  const part = (from: number, to: number) => ({ states: rowsOf(z, from, to), observations: rowsOf(x, from, to) });
  return { train: part(5000 - learn, 5000), test: part(5000, 6000) };
}

/**
 * A rat on a track: position [x, y] in pixels and spike counts of its units in bins of a quarter of a second, where it runs. It learns
 * before `split` and scores until `end`, in seconds; units without a spike in those bins are left out.
 */
export async function trackPosition(path: string, split: number, end: number): Promise<Recorded> {
  const { units, position } = parseJsonObject(await readBytes(path), path) as {
    units: number[][];
    position: { t: number[]; x: number[]; y: number[] };
  };
  const width = 0.25;
  const bins = Math.floor(end / width);
  const counts = units.map((spikes) => {
    const out = new Float64Array(bins);
    for (const at of spikes) if (at >= 0 && at < bins * width) out[Math.floor(at / width)]++;
    return out;
  });
  const sums = { x: new Float64Array(bins), y: new Float64Array(bins), samples: new Float64Array(bins) };
  for (const [i, at] of position.t.entries()) {
    const bin = Math.floor(at / width);
    if (bin < 0 || bin >= bins || !Number.isFinite(position.x[i]) || !Number.isFinite(position.y[i])) continue;
    sums.x[bin] += position.x[i];
    sums.y[bin] += position.y[i];
    sums.samples[bin]++;
  }
  const at = (bin: number): [number, number] => [sums.x[bin] / sums.samples[bin], sums.y[bin] / sums.samples[bin]];
  const running = (bin: number) => {
    if (bin === 0 || bin === bins - 1) return false;
    const [a, b] = [at(bin - 1), at(bin + 1)];
    return Math.hypot(b[0] - a[0], b[1] - a[1]) / (2 * width) > 20; // pixels a second
  };
  const learning = Array.from({ length: Math.floor(split / width) }, (_, bin) => bin).filter(running);
  const heard = counts.filter((unit) => learning.some((bin) => unit[bin] > 0));
  const cut = (from: number, to: number): FilterData => {
    const first = Math.ceil(from / width);
    const kept = Array.from({ length: Math.floor(to / width) - first }, (_, i) => first + i);
    // Bins at rest stay as gaps, so that nothing is learnt across them.
    const states = kept.flatMap((bin) => (running(bin) ? at(bin) : [Number.NaN, Number.NaN]));
    const observations = kept.flatMap((bin) => heard.map((unit) => unit[bin]));
    return {
      states: matrix(kept.length, 2, Float64Array.from(states)),
      observations: matrix(kept.length, heard.length, Float64Array.from(observations)),
    };
  };
  return { train: cut(0, split), test: cut(split, end) };
}
