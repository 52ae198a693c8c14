/**
 * How claims are measured. A system's `reproduce.ts` exports one `Reproduction`; the runner (run.ts) gives it models, data, progress
 * and steps that survive an interruption, and makes the record.
 */
import type { TimedEvent } from "../engine/trace.ts";
import type { Model, OpenOptions } from "../open.ts";

/** For reproductions, which import nothing of the public face. */
export type { Model };

export const sizes = ["tiny", "quick", "full"] as const;
/** tiny: seconds, what tests run. quick: about three minutes on two cores. full: an hour at most. */
export type Size = (typeof sizes)[number];

export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };

export interface Reproduction<Options extends Record<string, Json> = Record<string, Json>> {
  /** What a size means for this system: how many prompts, tokens, seeds. Goes into the record. */
  readonly sizes: Readonly<Record<Size, Options>>;
  /** Steps that `measure` will ask for, for progress and time left. */
  steps(options: Options): number;
  /**
   * Files of the evaluation data that the sizes quick and full read, as "folder/file"; tiny reads none. They are looked for before the first
   * step, so that nobody waits for what cannot end.
   */
  data?(options: Options): readonly string[];
  /** One measurement a claim; a claim that a size cannot measure may be left out of it. */
  measure(context: ReproductionContext, options: Options): Promise<Measurement[]>;
  /**
   * For systems that `decode` does not run by a name and options alone: the events of a short run, drawn as the picture of the gallery's card.
   * Models that it opens, it closes. `data` as in the context.
   */
  trace?(
    signal: AbortSignal,
    open: (reference: string) => Promise<Model>,
    data: ReproductionContext["data"],
  ): Promise<TimedEvent[]>;
  /** In place of `trace` where somebody waits for it, without data: for a trace that takes minutes. */
  live?(signal: AbortSignal, open: (reference: string) => Promise<Model>): Promise<TimedEvent[]>;
}

/** Keeps the options' type while a reproduction is defined. */
export const defineReproduction = <Options extends Record<string, Json>>(
  reproduction: Reproduction<Options>,
): Reproduction => reproduction as unknown as Reproduction;

export interface ReproductionContext {
  readonly size: Size;
  /** Of all random choices. */
  readonly seed: number;
  readonly signal: AbortSignal;
  /** Opens a model, which is closed when the reproduction ends; the same one for the same arguments. */
  open(reference: string, options?: OpenOptions): Promise<Model>;
  /** Path of a file of the evaluation data (`VENTRIS_DATA`). Errors: `unavailable`. */
  data(...names: string[]): string;
  /**
   * One unit of work, worth its place in a progress line and small enough to lose. Its result is kept on disk: an interrupted run that
   * is started again takes what it had. Keys are unique within a run. Errors: `aborted` before it begins.
   */
  step<Result extends Json>(key: string, work: (step: Step) => Promise<Result>): Promise<Result>;
}

export interface Step {
  /** An empty folder of this step, kept until the step is done: for checkpoints of a training. */
  readonly folder: string;
  /** Share of this step that is done, 0 to 1, for steps that take minutes. */
  progress(share: number): void;
}

export interface Measurement {
  /** Of the claim. */
  readonly claim: string;
  readonly value: number;
  /** 95 % unless `note` says otherwise. */
  readonly interval?: readonly [number, number];
  /** How many independent units (prompts, seeds, runs) the value rests on. */
  readonly count?: number;
  readonly note?: string;
  /** Where the claim is a curve. */
  readonly plot?: Plot;
  /** Further figures for readers, by name. */
  readonly details?: Readonly<Record<string, Json>>;
}

export interface Plot {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly Series[];
}

export interface Axis {
  readonly label: string;
  readonly scale?: "linear" | "log";
}

export interface Series {
  readonly name: string;
  /** "paper" for published points, which are drawn apart. */
  readonly from?: "ours" | "paper";
  /** x, y, and where there are: lower and upper end of y. */
  readonly points: readonly (readonly [number, number] | readonly [number, number, number, number])[];
}

/** What a run leaves behind: `reproductions/NAME.json` holds the one of the full size. */
export interface ReproductionRecord {
  readonly format: 1;
  readonly name: string;
  readonly size: Size;
  readonly seed: number;
  readonly options: Readonly<Record<string, Json>>;
  /** ISO date and time of the end, and seconds of work over all sessions. */
  readonly date: string;
  readonly seconds: number;
  /** Names of the models that it was given, as anybody opens them; those that it trained itself are left out. */
  readonly models: readonly string[];
  /** SHA-256 of the weight files of those models that ship, by name: a model that was trained further makes its records stale. */
  readonly weights?: Readonly<Record<string, string>>;
  readonly machine: {
    readonly processor: string;
    readonly cores: number;
    readonly memoryGiB: number;
    readonly system: string;
  };
  readonly versions: Readonly<Record<string, string>>;
  readonly measurements: readonly Measurement[];
}
