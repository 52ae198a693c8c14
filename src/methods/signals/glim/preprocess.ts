/** One sentence's recording, made ready as the authors do: no filtering, no re-referencing, no change of amplitude. */
import { ensure, plural } from "../../../errors.ts";

export interface InputShape {
  /** Samples a second after resampling, time points and channels that the encoder takes. */
  readonly rate: number;
  readonly points: number;
  readonly channels: number;
}

export const publishedShape: InputShape = { rate: 128, points: 1280, channels: 128 };

export interface RawSentence {
  /** One array a channel, in microvolts. */
  readonly channels: readonly Float64Array[];
  readonly rate: number;
  /** ZuCo's last channel, the reference, is all zeros and goes. */
  readonly dropLast?: boolean;
}

/** What a reason says of one recording stands in brackets at its end. */
export const kindOf = (reason: string): string => reason.replace(/ \([^()]*\)$/, "");

export type Prepared =
  | { readonly eeg: Float32Array<ArrayBuffer>; readonly length: number; readonly zeroed: number }
  | { readonly rejected: string };

/** Shortest and longest sentence, seconds. */
const shortest = 0.5;
const longest = 10;

/**
 * The recording as [points, channels], zero-padded, and how many points are real; or why it is left out: values that are not finite, silence,
 * too short or too long, amplitudes that look like volts. A channel that is all NaN is set to zero and counted. Errors:
 * `bad_option` for more channels than the encoder takes, or a rate below its own.
 */
export function prepareSentence({ channels: given, rate, dropLast = false }: RawSentence, shape: InputShape): Prepared {
  ensure(
    rate >= shape.rate,
    "bad_option",
    `the recording has ${rate} samples a second, fewer than the ${shape.rate} that the encoder takes: what was not recorded cannot be resampled into being`,
  );
  const last = given[given.length - 1];
  if (dropLast && last.some((v) => v !== 0))
    return { rejected: "the last channel, which should be the silent reference, is not all zeros" };
  const channels = dropLast ? given.slice(0, -1) : given;
  ensure(
    channels.length <= shape.channels,
    "bad_option",
    `the recording has ${plural(channels.length, "channel")} and the encoder takes ${shape.channels}: choose some of them (a reading has the field channels for that), or prepare the data for more`,
  );
  const samples = channels[0]?.length ?? 0;
  if (samples < shortest * rate)
    return { rejected: `it is shorter than ${shortest} s (${(samples / rate).toFixed(2)} s)` };
  if (samples > longest * rate)
    return { rejected: `it is longer than ${longest} s (${(samples / rate).toFixed(2)} s)` };
  const length = Math.floor((samples * shape.rate) / rate);
  if (length > shape.points) return { rejected: `it has more points than the encoder's ${shape.points} (${length})` };
  const dead = channels.map((channel) => channel.every((v) => Number.isNaN(v)));
  if (dead.every(Boolean)) return { rejected: "all values are NaN" };
  const bad = channels.findIndex((channel, k) => !dead[k] && !channel.every(Number.isFinite));
  if (bad >= 0) return { rejected: `channel ${bad + 1} has values that are not finite` };
  const alive = channels.filter((_, k) => !dead[k]);
  if (alive.every((channel) => channel.every((v) => v === 0))) return { rejected: "all values are zero" };
  const middle = medianMagnitude(alive);
  if (middle < 0.01)
    return {
      rejected: `its median amplitude looks like volts, and microvolts are expected (${middle.toExponential(1)})`,
    };
  if (middle > 1e5)
    return {
      rejected: `its median amplitude is that of no scalp recording in microvolts (${middle.toExponential(1)})`,
    };
  const eeg = new Float32Array(shape.points * shape.channels);
  for (const [k, channel] of channels.entries()) {
    if (dead[k]) continue;
    const resampled = fourierResample(channel, length);
    for (let t = 0; t < length; t++) eeg[t * shape.channels + k] = resampled[t];
  }
  return { eeg, length, zeroed: dead.filter(Boolean).length };
}

function medianMagnitude(channels: readonly Float64Array[]): number {
  const sample: number[] = [];
  for (const channel of channels)
    for (let t = 0; t < channel.length; t += 1 + (channel.length >> 7))
      if (channel[t] !== 0) sample.push(Math.abs(channel[t]));
  return sample.sort((a, b) => a - b)[sample.length >> 1] ?? 0;
}

/** `count` samples of the same span, by cutting or padding the spectrum; the Nyquist term is shared between both of its ends. */
export function fourierResample(x: Float64Array, count: number): Float64Array {
  const n = x.length;
  if (n === count) return Float64Array.from(x);
  const re = Float64Array.from(x);
  const im = new Float64Array(n);
  fourier(re, im, false);
  const [outRe, outIm] = [new Float64Array(count), new Float64Array(count)];
  const kept = Math.min(n, count);
  const half = kept >> 1;
  for (let k = 0; k <= half; k++) {
    outRe[k] = re[k];
    outIm[k] = im[k];
    if (k > 0) {
      outRe[count - k] = re[n - k];
      outIm[count - k] = im[n - k];
    }
  }
  if (kept % 2 === 0) {
    if (count < n) {
      outRe[half] = re[half] + re[n - half];
      outIm[half] = im[half] + im[n - half];
    } else {
      for (const at of [half, count - half]) {
        outRe[at] = re[half] / 2;
        outIm[at] = (at === half ? 1 : -1) * (im[half] / 2);
      }
    }
  }
  fourier(outRe, outIm, true);
  return outRe.map((v) => v / n);
}

/** Discrete Fourier transform in place, of any length: radix two, and Bluestein's chirps for the rest. Unscaled both ways. */
export function fourier(re: Float64Array, im: Float64Array, inverse: boolean): void {
  const n = re.length;
  if ((n & (n - 1)) === 0) {
    radixTwo(re, im, inverse);
    return;
  }
  let size = 1;
  while (size < 2 * n - 1) size *= 2;
  const sign = inverse ? 1 : -1;
  const [chirpRe, chirpIm] = [new Float64Array(n), new Float64Array(n)];
  for (let k = 0; k < n; k++) {
    // k² mod 2n, so that the angle keeps its digits.
    const angle = (sign * Math.PI * ((k * k) % (2 * n))) / n;
    chirpRe[k] = Math.cos(angle);
    chirpIm[k] = Math.sin(angle);
  }
  const [aRe, aIm, bRe, bIm] = [0, 0, 0, 0].map(() => new Float64Array(size));
  for (let k = 0; k < n; k++) {
    aRe[k] = re[k] * chirpRe[k] - im[k] * chirpIm[k];
    aIm[k] = re[k] * chirpIm[k] + im[k] * chirpRe[k];
    for (const at of k === 0 ? [0] : [k, size - k]) {
      bRe[at] = chirpRe[k];
      bIm[at] = -chirpIm[k];
    }
  }
  radixTwo(aRe, aIm, false);
  radixTwo(bRe, bIm, false);
  for (let k = 0; k < size; k++) {
    const product = aRe[k] * bRe[k] - aIm[k] * bIm[k];
    aIm[k] = aRe[k] * bIm[k] + aIm[k] * bRe[k];
    aRe[k] = product;
  }
  radixTwo(aRe, aIm, true);
  for (let k = 0; k < n; k++) {
    const [x, y] = [aRe[k] / size, aIm[k] / size];
    re[k] = x * chirpRe[k] - y * chirpIm[k];
    im[k] = x * chirpIm[k] + y * chirpRe[k];
  }
}

function radixTwo(re: Float64Array, im: Float64Array, inverse: boolean): void {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let span = 2; span <= n; span *= 2) {
    const step = ((inverse ? 2 : -2) * Math.PI) / span;
    for (let k = 0; k < span / 2; k++) {
      const [c, s] = [Math.cos(step * k), Math.sin(step * k)];
      for (let i = k; i < n; i += span) {
        const j = i + span / 2;
        const [x, y] = [re[j] * c - im[j] * s, re[j] * s + im[j] * c];
        re[j] = re[i] - x;
        im[j] = im[i] - y;
        re[i] += x;
        im[i] += y;
      }
    }
  }
}
