/**
 * The loop of all methods over a canvas: block by block, pass by pass, positions are scored and those that the policy names are filled. A filled
 * position never changes again (LLaDA, Nie et al. 2025, section 2.4: what is not filled simply stays masked).
 */
import { ensure } from "../../errors.ts";
import { requireReturned } from "../hooks.ts";
import { createCaching } from "./caching.ts";
import type { Canvas, Sheet } from "./canvas.ts";
import type { CanvasSettings } from "./options.ts";
import type { CanvasView, Policy } from "./policy.ts";
import { type ChooseToken, createScores, type Scores } from "./scoring.ts";

export interface Block {
  readonly start: number;
  readonly end: number;
}

export interface FillParts {
  readonly canvas: Canvas;
  /** The sequence, masks where it is to be filled; filled in place. */
  readonly tokens: Int32Array;
  /** Filled one after another; they hold every mask. */
  readonly blocks: readonly Block[];
  readonly settings: CanvasSettings;
  readonly policy: Policy;
  readonly choose: (pass: number) => ChooseToken;
  readonly shapedLogprob: (pass: number) => (logits: Float32Array, position: number, token: number) => number;
  /** Asked before every pass. */
  readonly stopped: () => boolean;
  readonly onPass?: (report: PassReport) => void;
  /** Called when the run is aborted: lets go of what is kept, and with it of calls that wait. */
  readonly closers: Set<() => void>;
}

export interface PassReport {
  /** Passes so far, this one included, and rows that it computed. */
  readonly pass: number;
  readonly rows: number;
  /** How many positions were computed anew because the cache began anew; undefined: they were not. */
  readonly refreshed: number | undefined;
  readonly positions: readonly number[];
  readonly tokens: readonly number[];
  readonly reasons: readonly string[] | undefined;
  readonly scores: Scores;
  /** Length of the sequence from now on. */
  readonly length: number;
  readonly truncated: boolean;
  /** Steps around this pass that would have filled nothing. */
  readonly skippedSteps: number;
}

export interface Filled {
  /** As it was left: masks where the loop was stopped. */
  readonly tokens: Int32Array;
  readonly passes: number;
}

/** Errors: `aborted`, `runtime_failed`, `out_of_memory`; `bad_option` for a policy that fills nothing. */
export async function fill(parts: FillParts): Promise<Filled> {
  const { canvas, blocks, settings, policy, closers } = parts;
  const { maskToken, shift } = canvas;
  let { tokens } = parts;
  const isMasked = (position: number): boolean => tokens[position] === maskToken;
  const given = Uint8Array.from(tokens, (token) => (token === maskToken ? 0 : 1));
  const caching = createCaching(settings);
  const guided = settings.guidance > 0;
  const sheets = guided ? [canvas.open(), canvas.open()] : [canvas.open()];
  const close = (): void => {
    for (const sheet of sheets) sheet.close();
  };
  closers.add(close);
  const back = shift ? 1 : 0;
  const rowFor = (position: number): number => Math.max(0, position - back);
  let pass = 0;

  /** Logits [wanted, vocabulary]: with guidance away from those without what was given. */
  async function logitsOf(rows: readonly number[] | "all", wanted: readonly number[], keep: boolean) {
    const scored = wanted.map(rowFor);
    const calls = sheets.map((sheet: Sheet, i) =>
      sheet.compute({
        tokens: i === 0 ? tokens : tokens.map((token, position) => (given[position] ? maskToken : token)),
        rows,
        scored,
        keep,
      }),
    );
    const [conditional, unconditional] = await Promise.all(calls);
    if (!unconditional) return conditional;
    const strength = settings.guidance + 1;
    return conditional.map((value, i) => unconditional[i] + strength * (value - unconditional[i]));
  }

  try {
    for (const [index, whole] of blocks.entries()) {
      let idle = 0;
      for (let step = 0; ; step++) {
        const block = { index, start: whole.start, end: Math.min(whole.end, tokens.length) };
        const masked = range(block.start, block.end).filter(isMasked);
        if (masked.length === 0 || parts.stopped()) break;
        const before = tokens.length;
        const plan = caching.plan({ length: tokens.length, block, first: step === 0, shift: back, isMasked });
        const looksAt = policy.looksAt ?? "masked";
        const own = looksAt === "masked" ? masked : range(block.start, block.end);
        const rows =
          plan.rows === "all" ? plan.rows : [...new Set([...plan.rows, ...own.map(rowFor)])].sort((a, b) => a - b);
        const computed = rows === "all" ? undefined : new Set(rows);
        const later =
          looksAt === "rest"
            ? range(block.end, tokens.length).filter((at) => isMasked(at) && (computed?.has(rowFor(at)) ?? true))
            : [];
        const wanted = [...own, ...later];
        const logits = await logitsOf(rows, wanted, plan.keep);
        const scores = createScores(wanted, logits, parts.choose(pass), parts.shapedLogprob(pass));
        const view: CanvasView = { pass, step, block, masked, later, ...scores };
        const decision = policy.decide(view);
        requireReturned(
          Array.isArray(decision?.positions),
          decision,
          "the policy: decide",
          "{ positions }, a list of those to fill",
        );
        const { positions, reasons, tokens: other, last } = decision;
        ensure(
          positions.every((at) => at >= block.start && at < block.end && isMasked(at)),
          "internal",
          "a policy fills masked positions of its block alone",
        );
        idle = positions.length === 0 && last === undefined ? idle + 1 : 0;
        ensure(
          idle <= (policy.patience ?? 0),
          "bad_option",
          "the policy filled nothing in a pass, and the next would find the same",
        );
        const filled = positions.map((position, i) => other?.[i] ?? scores.token(position));
        positions.forEach((position, i) => {
          tokens[position] = filled[i];
        });
        const truncated = last !== undefined && last + 1 < tokens.length;
        ensure(last === undefined || last >= block.start, "internal", "a canvas is never cut before its block");
        if (truncated) tokens = tokens.slice(0, last + 1);
        pass += 1;
        parts.onPass?.({
          pass,
          rows: sheets.length * (rows === "all" ? before : rows.length),
          refreshed: plan.refreshed ? before : undefined,
          positions,
          tokens: filled,
          reasons,
          scores,
          length: tokens.length,
          truncated,
          skippedSteps: decision.skippedSteps ?? 0,
        });
      }
      if (parts.stopped()) break;
    }
    return { tokens, passes: pass };
  } finally {
    closers.delete(close);
    close();
  }
}

const range = (start: number, end: number): number[] =>
  Array.from({ length: Math.max(0, end - start) }, (_, i) => start + i);
