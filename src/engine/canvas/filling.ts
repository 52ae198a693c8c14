/**
 * One request over a canvas: a prompt with an answer of fixed length behind it, or a template with blanks. It is to a method over a canvas
 * what `Decoding` is to one over the forest, and leaves the same outcome: output streams as far as the text is whole from its beginning.
 */
import { ensure, plural } from "../../errors.ts";
import { type DecodingParts, type Outcome, type RequestSettings, requestOptions } from "../decoding.ts";
import { hasFunctions, requireReturned } from "../hooks.ts";
import { createOutput } from "../output.ts";
import type { Stream } from "../random.ts";
import { drop } from "../shapers/candidates.ts";
import { createShaperChain } from "../shapers/chain.ts";
import { shapingOptions } from "../shapers/options.ts";
import type { StageDefinition, StageFunction } from "../shapers/stages.ts";
import { stoppingOptions } from "../stopping.ts";
import type { FinishReason } from "../trace.ts";
import type { Canvas } from "./canvas.ts";
import { type Block, fill, type PassReport } from "./fill.ts";
import { blockLengthFor, type CanvasSettings, fittingLength } from "./options.ts";
import type { Policy, PolicyRequest } from "./policy.ts";
import { chooseLengths, type FoundLength, templateTokens } from "./template.ts";

export interface Filling {
  /** Fills the canvas as a policy says; made anew for each attempt where lengths are to be found. */
  run(make: (request: PolicyRequest) => Policy | Promise<Policy>, settings: CanvasSettings): Promise<void>;
  finish(reason: FinishReason): void;
  outcome(): Outcome;
  close(): void;
}

/** Options of a request that mean nothing where text does not grow to the right, or are not there yet. */
const refused = [
  "constraint",
  "taps",
  "edits",
  "mirostat",
  "repetitionPenalty",
  "frequencyPenalty",
  "presencePenalty",
  "dry",
  "noRepeatNgram",
] as const;

/** Those that say where an answer ends. */
const endings = ["maxTokens", "minTokens", "stop", "stopTokens"] as const;

function refuseOptions({ settings, given, template, shapers: { length: shapers } }: DecodingParts): void {
  const usual = requestOptions.parse({});
  const isUsual = (name: keyof RequestSettings): boolean =>
    JSON.stringify(settings[name]) === JSON.stringify(usual[name]);
  for (const name of refused)
    ensure(isUsual(name), "bad_option", `${name}: a canvas is filled in any order, and cannot honour it`);
  for (const name of template ? endings : []) {
    const says = name === "maxTokens" ? given?.has(name) : !isUsual(name);
    ensure(!says, "bad_option", `${name}: a template ends where its text ends; the lengths of its blanks are its own`);
  }
  ensure(shapers === 0, "bad_option", "shapers: they act at the nodes of a tree, and a canvas has none");
}

/** Errors: `bad_option` for what a canvas cannot honour, a prompt that holds the mask token; `context_full`. */
export function createFilling(parts: DecodingParts): Filling {
  const { model, prompt: rows, template, settings, signal, emit, counters } = parts;
  const canvas = model.ability<Canvas>("canvas");
  const { tokenizer, config } = model;
  const { maskToken, contextLength } = canvas;
  const stream: Stream = { seed: settings.seed, request: settings.request };
  const endTokens = tokenizer?.endTokens.length ? tokenizer.endTokens : config.endTokens;
  const ending = new Set([...endTokens, ...settings.stopTokens]);
  refuseOptions(parts);
  const prompt = rows.map((row) => {
    ensure(typeof row === "number", "bad_option", "prompt: a canvas takes tokens alone, no vectors");
    ensure(template || row !== maskToken, "bad_option", () => {
      return `prompt: it contains the mask token ${maskToken}, which stands for what is to be filled: give a template instead`;
    });
    return row;
  });

  /** Everything but what lies behind the text's begin token is output where a template is filled. */
  const start = template ? (prompt[0] === tokenizer?.beginToken ? 1 : 0) : prompt.length;
  const output = createOutput<{ token: number; position: number }>({
    ...Object.fromEntries(Object.keys(stoppingOptions.shape).map((key) => [key, settings[key as "stop"]])),
    stop: settings.stop,
    stopTokens: settings.stopTokens,
    minTokens: settings.minTokens,
    maxTokens: Number.MAX_SAFE_INTEGER, // the canvas has no more positions than that
    tokenizer,
    endTokens: template ? [] : endTokens, // given ones are text like the rest
    promptLength: template ? 0 : start,
    contextLength: Number.MAX_SAFE_INTEGER,
    describe:
      settings.logprobs === undefined ? undefined : ({ position, token }) => described.get(position) ?? known(token),
    emit,
  });
  const described = new Map<number, ReturnType<PassReport["scores"]["describe"]>>();
  const known = (token: number) => ({ token, raw: 0, shaped: 0 }); // what is given is certain

  let position = 0;
  const bans: StageDefinition = {
    changes: "scores",
    keepsBest: false,
    readsHistory: false,
    create: () => {
      // A blank is a place for text, which special tokens have not.
      const always = new Set([
        maskToken,
        ...(template ? [...endTokens, ...(tokenizer?.specialTokens?.values() ?? [])] : []),
      ]);
      const early = new Set([...always, ...ending]);
      const banned = () => (position - start < settings.minTokens ? early : always);
      const run: StageFunction = (candidates) => drop(candidates, banned());
      run.keeps = (token) => !banned().has(token);
      return run;
    },
  };
  const shaping = Object.fromEntries(
    Object.keys(shapingOptions.shape).map((key) => [key, settings[key as keyof RequestSettings]]),
  );
  const chain = createShaperChain(shaping, config.vocabularySize, tokenizer, { bans });

  const closers = new Set<() => void>();
  let sequence = Int32Array.from(prompt);
  let spoken = start;
  let started = performance.now();
  let ended = started;
  const aborted = (): boolean => signal?.aborted === true;

  /** Makes output of what is whole from the beginning. */
  function speak(): void {
    const fresh: { token: number; position: number }[] = [];
    for (; spoken < sequence.length && sequence[spoken] !== maskToken; spoken++)
      fresh.push({ token: sequence[spoken], position: spoken });
    output.commit(fresh);
  }

  /** Positions to fill behind the prompt. Errors: `context_full`. */
  function answerLength({ blockLength }: CanvasSettings): number {
    const room = contextLength - start;
    const asked = parts.given?.has("maxTokens");
    const length = asked ? settings.maxTokens : fittingLength({ blockLength }, settings.maxTokens, room);
    ensure(length > 0 && length <= room, "context_full", () => {
      const wanted = asked
        ? `an answer of ${plural(length, "position")}`
        : blockLength === undefined
          ? "an answer"
          : `a block of ${plural(blockLength, "position")}`;
      const most = asked && room > 0 ? `: give maxTokens of at most ${room}` : "";
      return `${wanted} behind a prompt of ${plural(start, "token")} does not fit into the context of ${contextLength}${most}`;
    });
    return length;
  }

  async function attempt(
    tokens: Int32Array,
    make: (request: PolicyRequest) => Policy | Promise<Policy>,
    canvasSettings: CanvasSettings,
    more: { onPass?: (report: PassReport) => void; stopped: () => boolean },
  ) {
    const { blocks, blockLength } = layOut(tokens, canvasSettings);
    const size = tokens.length;
    const place = (pass: number, at: number): number => pass * size + at;
    const policy = await make({
      model,
      settings: template ? settings : { ...settings, maxTokens: size - start },
      canvas: { ...canvasSettings, blockLength },
      stream,
      length: blocks.reduce((sum, block) => sum + block.end - block.start, 0),
      blocks: blocks.length,
      start,
      template: template !== undefined,
      endTokens: ending,
      place,
    });
    requireReturned(hasFunctions(policy, ["decide"]), policy, "the method's policy", "{ decide(view) { … } }");
    const contextOf = (pass: number, at: number) => {
      position = at;
      return { history: [], promptLength: start, position: place(pass, at), stream };
    };
    return fill({
      canvas,
      tokens,
      blocks,
      settings: canvasSettings,
      policy,
      choose: (pass) => (logits, at) => chain.choose(logits, contextOf(pass, at)),
      shapedLogprob: (pass) => (logits, at, token) => Math.log(chain.shape(logits, contextOf(pass, at))[token]),
      closers,
      ...more,
    });
  }

  /** Blocks of an answer; of a template one, from its first blank to its last. */
  function layOut(tokens: Int32Array, canvasSettings: CanvasSettings): { blocks: Block[]; blockLength: number } {
    if (!template) {
      const length = tokens.length - start;
      const blockLength = blockLengthFor(canvasSettings, length);
      const blocks = Array.from({ length: length / blockLength }, (_, i) => {
        const from = start + i * blockLength;
        return { start: from, end: from + blockLength };
      });
      return { blocks, blockLength };
    }
    ensure(canvasSettings.blockLength === undefined, "bad_option", "blockLength: a template is filled as one block");
    const [first, end] = [tokens.indexOf(maskToken), tokens.lastIndexOf(maskToken) + 1];
    return { blocks: first < 0 ? [] : [{ start: first, end }], blockLength: end - first };
  }

  function takeLengths(found: FoundLength): void {
    counters.passes += found.passes;
    emit({ type: "lengths", ...found });
  }

  function take(report: PassReport): void {
    const { pass, rows: computed, refreshed, positions, tokens, reasons, scores, length, truncated } = report;
    counters.passes += 1;
    counters.rows += computed;
    if (report.skippedSteps > 0) counters.skippedSteps = (counters.skippedSteps ?? 0) + report.skippedSteps;
    if (refreshed !== undefined) emit({ type: "refresh", pass, positions: refreshed });
    const kept = positions.flatMap((at, i) => (at < length ? [i] : []));
    emit({
      type: "unmask",
      pass,
      positions: kept.map((i) => positions[i] - start),
      tokens: kept.map((i) => tokens[i]),
      confidences: kept.map((i) => scores.confidence(positions[i])),
      ...(reasons && { reasons: kept.map((i) => reasons[i]) }),
    });
    for (const i of settings.logprobs === undefined ? [] : kept) {
      const found = scores.describe(positions[i], tokens[i], settings.logprobs!);
      const own = tokens[i] === scores.token(positions[i]);
      described.set(positions[i], own ? found : { ...found, shaped: 0 }); // a policy's own token is given, not chosen
    }
    if (truncated) {
      emit({ type: "truncate", pass, length: length - start });
      sequence = sequence.slice(0, length);
    }
    for (const i of kept) sequence[positions[i]] = tokens[i];
    speak();
  }

  return {
    async run(make, canvasSettings) {
      started = performance.now();
      if (template) {
        const lengths = await chooseLengths(template, canvas, contextLength, takeLengths, async (tokens) => {
          const scores: number[] = [];
          const onPass = (report: PassReport): void => {
            counters.rows += report.rows;
            report.positions.forEach((at, i) => {
              scores.push(report.scores.describe(at, report.tokens[i], 0).raw);
            });
          };
          const { passes } = await attempt(tokens, make, canvasSettings, { onPass, stopped: aborted });
          return { scores, passes };
        });
        sequence = templateTokens(template, lengths, maskToken);
      } else {
        sequence = new Int32Array(start + answerLength(canvasSettings)).fill(maskToken);
        sequence.set(prompt);
      }
      const { length } = sequence;
      const standing = Array.from(sequence.keys()).filter((at) => at >= start && sequence[at] !== maskToken);
      emit({
        type: "canvas",
        length: length - start,
        positions: standing.map((at) => at - start),
        tokens: standing.map((at) => sequence[at]),
      });
      counters.prefillTokens = sequence.reduce((sum, token) => sum + (token === maskToken ? 0 : 1), 0);
      if (template) speak();
      const stopped = (): boolean => aborted() || (canvasSettings.earlyStop && output.reason !== undefined);
      await attempt(sequence.slice(), make, canvasSettings, { onPass: take, stopped });
      ended = performance.now();
      if (aborted()) output.end("aborted");
      // Unless it ended before: a template is whole, or a canvas was cut at its end; another that has no end was too short for one.
      else if (template || sequence.length < length) output.end("end");
      else {
        const usual = fittingLength(canvasSettings, settings.maxTokens, Number.MAX_SAFE_INTEGER);
        output.end(!parts.given?.has("maxTokens") && length - start < usual ? "context" : "length");
      }
    },
    finish: (reason) => output.end(reason),
    outcome() {
      const { reason, stop, text, tokens, logprobs, ending } = output;
      ensure(reason, "internal", "the method returned before its run was finished");
      counters.generated = output.generated;
      counters.tokensPerPass = counters.passes > 0 ? counters.generated / counters.passes : counters.generated;
      return {
        reason,
        stop,
        text,
        tokens,
        logprobs: settings.logprobs === undefined ? undefined : logprobs,
        ending,
        taps: undefined,
        hypotheses: undefined,
        canvas: Array.from(sequence.subarray(start)),
        counters,
        seconds: { prefill: 0, decode: (ended - started) / 1000 },
      };
    },
    close() {
      for (const close of closers) close();
    },
  };
}
