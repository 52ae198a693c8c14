/** One line of progress for people: rewritten in place on a terminal, now and then in a log. */
import { requireAnswer, telling } from "../errors.ts";
import { requireWithin } from "../numbers.ts";
import type { TrainProgress } from "./loop.ts";

/** Where progress is written: `process.stderr`, or anything like it. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  /** 0 where a terminal does not know. */
  readonly columns?: number;
  write(text: string): unknown;
}

/** Writes progress as one line that changes, or as lines of a log. */
export interface ProgressWriter {
  update(progress: TrainProgress): void;
  /** Takes the line off a terminal, whose place the outcome then has; a log gets the last state. */
  done(): void;
}

const terminalIntervalSeconds = 0.1;

/** Writes what training tells of itself. */
export function progressWriter(
  options: {
    /** Where it is written. Default: `process.stderr`. */
    stream?: ProgressStream;
    /** Seconds between lines where that is no terminal. Default: 30. */
    logInterval?: number;
    /** The time, in seconds. Default: a clock of the machine. */
    now?: () => number;
  } = {},
): ProgressWriter {
  const { stream = process.stderr, logInterval = 30, now = () => performance.now() / 1000 } = options;
  requireWithin({ "progressWriter: logInterval": logInterval }, 0, Infinity);
  const terminal = stream.isTTY === true;
  const interval = terminal ? terminalIntervalSeconds : logInterval;
  const write = telling("progressWriter: stream.write", (text: string): unknown => stream.write(text));
  let last = -Infinity;
  let waiting: string | undefined;
  let heldOutLoss: number | undefined;
  const clock = (): number => {
    const seconds = now();
    requireAnswer(Number.isFinite(seconds), seconds, "progressWriter: now", "seconds, a number");
    return seconds;
  };
  const show = (line: string) => {
    last = clock();
    waiting = undefined;
    // Cut to the width: a wrapped line cannot be rewritten in place.
    write(terminal ? `\r${line.slice(0, (stream.columns || 80) - 1)}\x1b[K` : `${line}\n`);
  };
  return {
    update(progress) {
      heldOutLoss = progress.heldOutLoss ?? heldOutLoss;
      waiting = progressLine({ ...progress, heldOutLoss });
      if (clock() - last >= interval) show(waiting);
    },
    done() {
      if (terminal) write(last > -Infinity ? "\r\x1b[K" : "");
      else if (waiting !== undefined) show(waiting);
    },
  };
}

/** For instance `step 1200/9000 · loss 3.214 · held-out 3.402 · rate 9.8e-4 · 5120 tokens/s · 1 h 12 min left`. */
export function progressLine(progress: TrainProgress): string {
  const { step, totalSteps, smoothedLoss, heldOutLoss, learningRate, tokensPerSecond, secondsLeft } = progress;
  return [
    totalSteps === undefined ? `step ${step}` : `step ${step}/${totalSteps}`,
    `loss ${smoothedLoss.toFixed(3)}`,
    ...(heldOutLoss === undefined ? [] : [`held-out ${heldOutLoss.toFixed(3)}`]),
    `rate ${learningRate.toExponential(1)}`,
    ...(tokensPerSecond > 0 ? [`${Math.round(tokensPerSecond)} tokens/s`] : []),
    `${duration(secondsLeft)} left`,
  ].join(" · ");
}

/** A count for people: `9216`, `46.1 thousand`, `1.25 million`. */
export function amount(count: number): string {
  if (count < 10_000) return String(count);
  return count < 999_500 ? `${(count / 1e3).toPrecision(3)} thousand` : `${(count / 1e6).toPrecision(3)} million`;
}

/** For people: `40 s`, `12 min`, `1 h 5 min`. */
export function duration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
