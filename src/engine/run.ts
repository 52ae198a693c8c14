/** A run: one request under way. Its trace can be iterated, its text streamed, its result awaited; leaving a loop early aborts it. */
import { whenAborted } from "../aborts.ts";
import { describeConstraint } from "../constraints/index.ts";
import { describedRun, readAsText } from "../described.ts";
import { VentrisError } from "../errors.ts";
import type { Template } from "./canvas/template.ts";
import { createDecoding, emptyCounters, type Outcome, type RequestSettings, tokensOfRows } from "./decoding.ts";
import type { VectorRow } from "./forest.ts";
import { hasFunctions, requireReturned } from "./hooks.ts";
import type { Method } from "./method.ts";
import type { DecodingModel } from "./model.ts";
import type { Hypothesis } from "./output.ts";
import type { Stream } from "./random.ts";
import { createRemoteDecoding } from "./remote/decoding.ts";
import { type MakeShaper, makeShaper, type Shaper } from "./shapers/shaper.ts";
import type { TapRows } from "./sites/delivery.ts";
import { annotate } from "./token-text.ts";
import type { Counters, FinishReason, TokenLogprob, TraceEvent } from "./trace.ts";

/** What a run came to. */
export interface RunResult {
  /** What was written, without the prompt. */
  readonly text: string;
  /** Its token ids. */
  readonly tokens: readonly number[];
  /** Log-probabilities of its tokens, where they were asked for. */
  readonly logprobs?: readonly TokenLogprob[];
  /** Of the token that ended the text, which is none of `tokens`; where log-probabilities were asked for. */
  readonly ending?: TokenLogprob;
  /** What the request's taps read: row i is position i of the text. The last token's row is absent where nothing needed it. */
  readonly taps?: Readonly<Record<string, TapRows>>;
  /** Of searches: the texts found, best first. */
  readonly hypotheses?: readonly Hypothesis[];
  /** Of a canvas: everything behind the prompt as it was left, end tokens and masks included. */
  readonly canvas?: readonly number[];
  /** Why it ended. */
  readonly finish: FinishReason;
  /** The stop string that ended the text. */
  readonly stop?: string;
  /** What the run took: forward passes, tokens drafted and accepted, checks of constraints. */
  readonly counters: Counters;
  /** Where its time went. */
  readonly seconds: {
    /** Seconds that opening the model took. */
    readonly load: number;
    /** Seconds until the prompt was read. */
    readonly prefill: number;
    /** Seconds from there to the end. */
    readonly decode: number;
  };
}

/** A request under way: its text as a stream, its events, its result. */
export interface Run extends AsyncIterable<TraceEvent> {
  /** Pieces of text as they become final; joined they are `final.text`. */
  readonly text: AsyncIterable<string>;
  /** Rejects with what went wrong. An aborted run resolves with what it had, `finish` being "aborted". */
  readonly final: Promise<RunResult>;
  abort(): void;
  /** What it is, and how its text is had: what a template literal shows that should have had the text. */
  toString(): string;
}

export interface RunParts {
  model: DecodingModel;
  method: Method;
  /** Already checked. */
  methodOptions: Record<string, unknown>;
  /** Rows, or what makes them: pictures are read and seen first. */
  prompt: readonly (number | VectorRow)[] | (() => Promise<readonly (number | VectorRow)[]>);
  template?: Template;
  settings: RequestSettings;
  /** Names of the settings that the request says itself; the others are defaults. */
  given?: ReadonlySet<string>;
  /** What else has a say in the distributions, in order. */
  shapers?: readonly MakeShaper[];
  signal?: AbortSignal;
}

/** An edit as the trace tells of it: modules by name and site. */
const described = (edit: NonNullable<RequestSettings["edits"]>[number]): unknown =>
  "edit" in edit ? { name: edit.edit.name, site: edit.edit.site } : edit;

/** Each is closed, whatever another throws. Errors: the first of theirs. */
async function closeAll(shapers: readonly Shaper[]): Promise<void> {
  const failures: unknown[] = [];
  for (const shaper of shapers) {
    try {
      await shaper.close?.();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

export function startRun({ model, method, methodOptions, prompt: given, settings, signal, ...parts }: RunParts): Run {
  const { shapers: makeShapers = [], template, given: said } = parts;
  const begin = method.begin ?? (model.capabilities.has("remote") ? createRemoteDecoding : createDecoding);
  const own = new AbortController();
  const abort = (): void => own.abort();
  const heard = whenAborted(signal, abort);

  const events: TraceEvent[] = [];
  let finished = false;
  let failure: unknown;
  let wake: () => void = () => {};
  let changed = new Promise<void>((resolve) => {
    wake = resolve;
  });
  const notify = (): void => {
    wake();
    changed = new Promise<void>((resolve) => {
      wake = resolve;
    });
  };
  const emit = (event: TraceEvent): void => {
    events.push(annotate(event, settings.request, model.tokenizer));
    notify();
  };

  const final = decode()
    .catch((error) => {
      failure = error; // before `finished`, or an iteration would end as if nothing had happened
      throw error;
    })
    .finally(() => {
      finished = true;
      heard();
      notify();
    });
  final.catch(() => {}); // whoever only iterates sees it there

  async function decode(): Promise<RunResult> {
    const prompt = typeof given === "function" ? await given() : given;
    const options = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
    emit({
      type: "start",
      method: method.name,
      model: model.name,
      prompt: tokensOfRows(prompt),
      seed: settings.seed,
      options: {
        ...options,
        ...(settings.constraint && { constraint: describeConstraint(settings.constraint) }),
        ...(settings.edits && { edits: settings.edits.map(described) }),
        ...methodOptions,
      },
    });
    const counters = emptyCounters();
    const stream: Stream = { seed: settings.seed, request: settings.request };
    const release = model.use();
    const shapers: Shaper[] = [];
    let decoding: ReturnType<typeof createDecoding>;
    try {
      for (const make of makeShapers)
        shapers.push(
          await makeShaper(make, { model, prompt: tokensOfRows(prompt), stream, signal: own.signal, counters, emit }),
        );
      decoding = begin({ model, prompt, template, settings, given: said, signal: own.signal, emit, shapers, counters });
      const whole = hasFunctions(decoding, ["outcome", "finish", "close"]);
      requireReturned(whole, decoding, `the method ${method.name}: begin`, "a decoding, as createDecoding gives it");
    } catch (error) {
      await closeAll(shapers).catch(() => {}); // the first failure is what the run is told
      release();
      throw error;
    }
    const closeNow = (): void => {
      decoding.close();
      closeAll(shapers).catch(() => {}); // the end of the run closes them again, and tells
    };
    const closed = whenAborted(own.signal, closeNow);
    try {
      const done: unknown = await method.decode(decoding, methodOptions);
      const must = "nothing: tokens become output by decoding.commit";
      requireReturned(done === undefined, done, `the method ${method.name}: decode`, must);
    } catch (error) {
      const aborted = own.signal.aborted && error instanceof VentrisError && error.code === "aborted";
      if (!aborted) throw error;
      decoding.finish("aborted");
    } finally {
      closed();
      decoding.close();
      // Whoever closes the model waits for the release.
      await closeAll(shapers).finally(release);
    }
    if (own.signal.aborted) decoding.finish("aborted");
    return conclude(decoding.outcome());
  }

  function conclude(outcome: Outcome): RunResult {
    const { reason, stop, text, tokens, logprobs, ending, taps, hypotheses, canvas, counters, seconds } = outcome;
    const times = { load: model.secondsToLoad, ...seconds };
    const ended = { ...(stop !== undefined && { stop }), ...(ending && { ending }) };
    emit({ type: "finish", reason, ...ended, counters: { ...counters }, seconds: times });
    const result: RunResult = {
      text,
      tokens,
      ...(logprobs && { logprobs }),
      ...(taps && { taps }),
      ...(hypotheses && { hypotheses }),
      ...(canvas && { canvas }),
      finish: reason,
      ...ended,
      counters,
      seconds: times,
    };
    return readAsText(result);
  }

  async function* iterate(): AsyncGenerator<TraceEvent, void> {
    let next = 0;
    try {
      for (;;) {
        while (next < events.length) yield events[next++];
        if (failure) throw failure;
        if (finished) return;
        await changed;
      }
    } finally {
      if (!finished) {
        abort();
        await final.catch(() => {});
      }
    }
  }

  const text: AsyncIterable<string> = {
    async *[Symbol.asyncIterator]() {
      for await (const event of iterate()) if (event.type === "tokens" && event.text) yield event.text;
    },
  };
  return describedRun(
    { [Symbol.asyncIterator]: iterate, text, final, abort },
    `a run of ${method.name} on ${model.name}: iterate it or its text, or await its final result`,
  );
}
