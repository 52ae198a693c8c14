/**
 * One request as its method sees it: the prompt in the forest, the shaped distribution at any node, and `commit`, which turns
 * tokens into output and says when to stop.
 */
import { z } from "zod";
import type { ConstraintChoice, ConstraintState } from "../constraints/index.ts";
import { ensure } from "../errors.ts";
import type { Template } from "./canvas/template.ts";
import { createChoices, pick } from "./choices.ts";
import { type Constraining, checkAllowed } from "./constraining.ts";
import type { Forest, ForestNode, Lease, VectorRow } from "./forest.ts";
import { requireRun } from "./hooks.ts";
import type { DecodingModel } from "./model.ts";
import { notAToken } from "./node.ts";
import { type Commitment, createOutput, type Hypothesis } from "./output.ts";
import type { Stream } from "./random.ts";
import { createReading, type Instrumenting } from "./reading.ts";
import { shapingOptions } from "./shapers/options.ts";
import type { Shaper } from "./shapers/shaper.ts";
import { checkTokens } from "./shapers/stages.ts";
import type { TapRows } from "./sites/delivery.ts";
import { requestEdit } from "./sites/ready.ts";
import { StandIn } from "./stand-in.ts";
import { stoppingOptions } from "./stopping.ts";
import type { Counters, FinishReason, TokenLogprob, TraceEvent } from "./trace.ts";

const isChoice = (value: unknown): value is ConstraintChoice =>
  typeof value === "function" || (typeof value === "object" && value !== null && !Array.isArray(value));

/** Of an output: far beyond any context, which then ends it. */
export const mostTokens = 1_000_000;

export const requestOptions = z.strictObject({
  ...shapingOptions.shape,
  ...stoppingOptions.shape,
  maxTokens: z
    .int()
    .min(1)
    .max(mostTokens)
    .default(256)
    .describe(
      "stop after this many tokens; a diffusion model fills so many positions, or fewer where it is not given and not all fit",
    ),
  seed: z
    .int()
    .min(0)
    .max(Number.MAX_SAFE_INTEGER)
    .default(0)
    .describe("seed of all random choices: the same seed gives the same output"),
  request: z
    .int()
    .min(0)
    .default(0)
    .describe("number of the request under its seed: each number gives an output of its own"),
  logprobs: z
    .int()
    .min(0)
    .max(100)
    .optional()
    .describe("report the log-probability of every token, and of this many alternatives to it"),
  constraint: z
    .custom<ConstraintChoice>(isChoice, 'must name a constraint, as { regex: "[0-9]{4}" }, or be a function')
    .optional()
    .describe("form that the output must have: an object with jsonSchema, regex, grammar, choices, sqlSchema or smiles")
    .meta({ examples: [{ regex: "[0-9]{4}" }] }),
  taps: z
    .array(z.string().max(200))
    .max(256)
    .optional()
    .describe("places inside the model to read at every position, prompt included (docs/engine.md lists the sites)"),
  edits: z
    .array(requestEdit)
    .max(64)
    .default([])
    .describe(
      "changes to values inside the model: a list of objects. Each needs site and one of set, add, scale, clamp and project; at (positions, or all), entries and heads may be left out",
    )
    .meta({ examples: [[{ site: "layers.2.residual", scale: 0.5 }]] }),
});
/** What a request may say, whatever its method: sampling, stopping, length, seed, constraint, taps and edits. */
export type RequestOptions = z.input<typeof requestOptions>;
/** The same with defaults filled in. */
export type RequestSettings = z.output<typeof requestOptions>;

/** A request as its method sees it: the prompt, the tree, what is drawn and what becomes output. */
export interface Decoding {
  readonly model: DecodingModel;
  readonly forest: Forest;
  readonly lease: Lease;
  /** The prompt's rows: tokens, and vectors that stand for some. */
  readonly rows: readonly (number | VectorRow)[];
  /** Its tokens; -1 where a row is a vector. */
  readonly prompt: readonly number[];
  /** Committed output so far, end token excluded. */
  readonly output: readonly number[];
  readonly settings: RequestSettings;
  readonly stream: Stream;
  readonly signal: AbortSignal | undefined;
  /** Tokens that end the text: the model's own and those of `stopTokens`. */
  readonly endTokens: ReadonlySet<number>;
  /** Temperature 0. */
  readonly greedy: boolean;
  /** The request's constraint over the nodes; `shape` and `choose` honour it. */
  readonly constraining: Constraining | undefined;
  readonly finished: boolean;
  /** Tokens that may still be committed: by maxTokens and by the context, and none once the run has ended. */
  readonly remaining: number;
  readonly counters: Counters;
  /**
   * Has every row of this request read and rewritten further, beside what the request asks for: `node.taps` then has these sites and
   * readings. To be called before the prefill. Errors: `bad_option`.
   */
  instrument(further: Instrumenting): void;
  /**
   * The node of the last prompt token, with logits. Runs the prefill when first called; `visit` of that call is shown every node of the
   * prompt, in order, with what was read there.
   */
  prefill(visit?: (nodes: readonly ForestNode[]) => void): Promise<ForestNode>;
  /** The shaped next-token distribution after a node, [vocabulary]. Computed at each call: keep it. */
  shape(node: ForestNode): Float64Array;
  /** The same without the request's constraint: for methods that honour it in their own way. */
  shapeFreely(node: ForestNode): Float64Array;
  /**
   * Whether options compare tokens with one another (topK, topP, minP …). What these leave depends on what is allowed, so that `shape` is not
   * `shapeFreely` cut down to the allowed tokens, as it is otherwise.
   */
  readonly compares: boolean;
  /** The distribution without those options and without the constraint. */
  shapeApart(node: ForestNode): Float64Array;
  /**
   * The token that plain decoding emits after a node: the most likely one, or the winner of the position's race. Lossless methods that
   * only choose where to look call this too, and so emit the very tokens of plain decoding.
   */
  choose(node: ForestNode): number;
  /**
   * A row as the node of a token that turned out to stand in its place, behind the node that this token was said by: what is shaped and chosen
   * there then knows the text before it, as with a placeholder's row below tokens of the same pass. Its logits are there until the next
   * `commit`; the row itself where nothing stands otherwise.
   */
  standIn(row: ForestNode, parent: ForestNode, token: number): Promise<ForestNode>;
  /** Makes tokens output, in order. Stops at the first that finishes the run; returns how many were taken. */
  commit(tokens: readonly Commitment[]): number;
  /** Of searches: the texts found, best first, beside the one that becomes the output. */
  offer(hypotheses: readonly Hypothesis[]): void;
  emit(event: TraceEvent): void;
  /** Ends the run, for a method that has nothing more to say. */
  finish(reason: FinishReason): void;
}

/** What a decoding is made of. */
export interface DecodingParts {
  model: DecodingModel;
  prompt: readonly (number | VectorRow)[];
  /** A text with blanks, whose tokens are then the prompt. */
  template?: Template;
  settings: RequestSettings;
  /** Names of the settings that the request says itself; the others are defaults. */
  given?: ReadonlySet<string>;
  signal: AbortSignal | undefined;
  emit(event: TraceEvent): void;
  /** What else has a say in the distributions, in order. */
  shapers: readonly Shaper[];
  counters: Counters;
}

/** What a decoding came to. */
export interface Outcome {
  reason: FinishReason;
  stop: string | undefined;
  text: string;
  tokens: readonly number[];
  logprobs: readonly TokenLogprob[] | undefined;
  /** Of the token that ended the text. */
  ending?: TokenLogprob;
  taps: Readonly<Record<string, TapRows>> | undefined;
  hypotheses: readonly Hypothesis[] | undefined;
  /** Of a canvas: everything behind the prompt, end tokens and masks that are left included. */
  canvas?: readonly number[];
  counters: Counters;
  seconds: { prefill: number; decode: number };
}

export function createDecoding(parts: DecodingParts): Decoding & { outcome(): Outcome; close(): void } {
  const { model, prompt: rows, template, settings, signal, emit, shapers, counters } = parts;
  ensure(!template, "bad_option", "a template is filled by methods over a canvas; this one continues a text");
  const prompt = tokensOfRows(rows);
  const { forest, tokenizer, config } = model;
  const promptLength = prompt.length;
  const stream: Stream = { seed: settings.seed, request: settings.request };
  checkTokens("stopTokens", settings.stopTokens, config.vocabularySize);
  const ownEnds = tokenizer?.endTokens.length ? tokenizer.endTokens : config.endTokens;
  const endTokens = new Set([...ownEnds, ...settings.stopTokens]);
  const choices = createChoices({ model, settings, shapers, promptLength, endTokens, stream });
  const { constraining, shaped, choosing, unconstrained } = choices;
  const { logprobs: alternatives } = settings;
  const output = createOutput({
    ...pick(settings, stoppingOptions.shape),
    tokenizer,
    endTokens: ownEnds,
    promptLength,
    contextLength: Math.min(forest.contextLength, ...shapers.map((shaper) => shaper.contextLength ?? Infinity)),
    describe: alternatives === undefined ? undefined : (commitment) => choosing.describe(commitment, alternatives),
    forced: constraining && (({ from }) => constraining.forcedAt(from)),
    emit,
  });
  const reading = createReading(parts, shaped);
  const { lease, delivery } = reading;
  let hypotheses: readonly Hypothesis[] | undefined;
  let counted = 0;
  let standIns: StandIn[] = [];

  function updateCounters(): void {
    // Methods that ask the constraint themselves have counted that.
    const asked = constraining?.checks ?? 0;
    counters.constraintChecks += asked - counted;
    counted = asked;
    counters.generated = output.generated;
    counters.passes = lease.passes;
    counters.rows = lease.rows;
    const decodePasses = lease.passes - reading.prefill.passes;
    // The first token comes from the prefill's last pass, so that plain decoding has exactly one token a pass.
    counters.tokensPerPass = decodePasses > 0 ? Math.max(0, counters.generated - 1) / decodePasses : counters.generated;
  }

  return {
    model,
    forest,
    lease,
    rows,
    prompt,
    output: output.tokens,
    settings,
    stream,
    signal,
    endTokens,
    greedy: choosing.greedy,
    constraining,
    counters,
    get finished() {
      if (signal?.aborted) output.end("aborted");
      return output.reason !== undefined;
    },
    get remaining() {
      return output.remaining;
    },
    instrument: reading.instrument,
    prefill: reading.readPrompt,
    shape: choosing.shape,
    shapeFreely: unconstrained.shape,
    compares: choosing.compares,
    shapeApart: unconstrained.shapeApart,
    choose: choosing.choose,
    async standIn(row, parent, token) {
      if (row.parent === parent && row.token === token) return row;
      const node = new StandIn(row, parent, token);
      standIns.push(node);
      await shaped.prepare([node]);
      return node;
    },
    commit(commitments) {
      delivery.take(commitments.map(({ from }) => from));
      for (const { from, token } of constraining ? commitments : []) {
        checkAllowed(constraining!, from, token, endTokens.has(token));
        if (endTokens.has(token)) break; // what stands behind it is no output
      }
      const taken = output.commit(commitments);
      for (const { from, token } of commitments.slice(0, taken)) {
        for (const shaper of shapers) requireRun(shaper.chosen?.(from, token), `the shaper ${shaper.name}: chosen`);
      }
      for (const node of standIns) node.forget();
      standIns = [];
      updateCounters();
      const last = commitments[taken - 1];
      // Where nothing but the end may follow, no pass is needed to find that out.
      const mayEnd = !output.reason && output.generated >= settings.minTokens;
      if (last && mayEnd && constraining?.mustEnd(last.from, last.token)) output.end("end");
      return taken;
    },
    offer(found) {
      hypotheses = found;
    },
    emit,
    finish: output.end,
    outcome() {
      const { reason, stop, text, tokens, logprobs, ending, endedAt } = output;
      ensure(
        reason && endedAt,
        "bad_option",
        'the method returned before its run was finished: it goes on while decoding.remaining is above 0, or says decoding.finish("stop")',
      );
      updateCounters();
      return {
        reason: constraining ? reasonUnder(constraining, tokens, reason) : reason,
        stop,
        text,
        tokens,
        logprobs: alternatives === undefined ? undefined : logprobs,
        ending,
        taps: settings.taps && delivery.result(),
        hypotheses,
        counters,
        seconds: { prefill: reading.prefill.seconds, decode: (endedAt - reading.decodeStarted) / 1000 },
      };
    },
    close: () => lease.close(),
  };
}

/** Cut off before the constraint was satisfied, an output is not what it had to be: that must show. */
export function reasonUnder(constraining: Constraining, tokens: readonly number[], reason: FinishReason): FinishReason {
  if (reason === "aborted" || reason === "end") return reason;
  const state = tokens.reduce<ConstraintState | undefined>(
    (at, token) => at && constraining.after(at, token),
    constraining.constraint.start,
  );
  return state?.complete ? reason : "incomplete";
}

/** The tokens of a prompt; `notAToken` for vectors. */
export const tokensOfRows = (rows: readonly (number | VectorRow)[]): number[] =>
  rows.map((row) => (typeof row === "number" ? row : notAToken));

export const emptyCounters = (): Counters => ({
  passes: 0,
  rows: 0,
  prefillTokens: 0,
  cachedTokens: 0,
  generated: 0,
  tokensPerPass: 0,
  drafted: 0,
  accepted: 0,
  draftPasses: 0,
  constraintChecks: 0,
});
