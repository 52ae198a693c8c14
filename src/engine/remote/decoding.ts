/**
 * One request to a model behind a network, as its method sees it: no tree and no distributions, but texts that go on as the engine there
 * draws them. What the engine cannot be told is refused. A pass is a request over the network.
 */
import { ensure, VentrisError } from "../../errors.ts";
import type { Decoding, DecodingParts, Outcome, RequestSettings } from "../decoding.ts";
import { reasonUnder, requestOptions, tokensOfRows } from "../decoding.ts";
import type { ForestNode } from "../forest.ts";
import type { DecodingModel } from "../model.ts";
import { createOutput, type Hypothesis } from "../output.ts";
import { type Stream, uniform } from "../random.ts";
import type { BareLogprob, FinishReason } from "../trace.ts";
import type { EndpointChoice } from "./endpoints.ts";
import { createListing, type ListingDecoding, refuseShaping } from "./listing.ts";
import type { Remote } from "./model.ts";
import { type Piece, readEvent } from "./pieces.ts";
import { createRemoteVocabulary, type RemoteVocabulary, remoteEnd } from "./vocabulary.ts";

/** A place in a text: what it says of the token that follows, where that is known. */
export interface RemoteNode extends ForestNode {
  readonly next: Piece | undefined;
}

/** The model as one request has it: with a vocabulary of its own, made of what the engine says. */
export const forRequest = (model: DecodingModel): DecodingModel =>
  Object.create(model, { tokenizer: { value: createRemoteVocabulary(model.name), enumerable: true } });

/** A token drawn, or the end. */
export interface Drawn {
  readonly token: number;
  readonly from: RemoteNode;
  readonly text: string;
  readonly logprob: number;
  readonly ends: boolean;
}

/** How a text is to go on. */
export interface Drawing {
  /** What stands between the prompt and what is drawn. */
  readonly text: string;
  readonly from: RemoteNode;
  readonly maxTokens: number;
  /** Number of the draw; 0 is the request's own, so that it is the engine's text for the seed. */
  readonly draws: number;
  /** Instead of the request's. */
  readonly temperature?: number;
}

export interface RemoteDecoding extends Decoding {
  /** The same request over what the engine lists of next tokens. Errors: `bad_option` for what such laws cannot honour. */
  listing(): ListingDecoding;
  /**
   * Tokens as the engine draws them, the end among them; without an end it was cut off at `maxTokens`. Leaving the loop ends the request
   * there. Errors: those of the client; `bad_option` for a chat whose answer is to be continued.
   */
  draw(drawing: Drawing): AsyncGenerator<Drawn, void>;
}

export const isRemoteDecoding = (decoding: Decoding): decoding is RemoteDecoding => "draw" in decoding;

/** What can be said in OpenAI's terms, or is done here. */
const honoured = new Set<keyof RequestSettings>([
  ...(["temperature", "topP", "frequencyPenalty", "presencePenalty", "maxTokens", "stop"] as const),
  ...(["seed", "request", "logprobs", "constraint"] as const),
]);

const inside = "it is about the inside of a model, which stays with the engine behind the network";
const told =
  "an engine behind a network is told what OpenAI's interface has a field for, and this is none (the option body of open gives it fields of its own)";
const whyNot: Readonly<Record<string, string>> = {
  taps: inside,
  edits: inside,
};

function refuseSettings(settings: RequestSettings, remote: Remote, shapers: number): void {
  const usual = requestOptions.parse({});
  for (const name of Object.keys(usual).concat(Object.keys(settings)) as (keyof RequestSettings)[]) {
    if (honoured.has(name)) continue;
    const same = JSON.stringify(settings[name]) === JSON.stringify(usual[name]);
    ensure(same, "bad_option", () => `${name}: ${whyNot[name] ?? told}`);
  }
  ensure(
    shapers === 0,
    "bad_option",
    "shapers: they change distributions, which stay with the engine behind the network",
  );
  ensure(
    settings.logprobs === undefined || remote.logprobs,
    "bad_option",
    "logprobs: the model was opened with logprobs: false",
  );
}

/** Errors: `bad_option` for what the engine cannot honour. */
export function createRemoteDecoding(parts: DecodingParts): RemoteDecoding & { outcome(): Outcome; close(): void } {
  const { model, prompt: rows, template, settings, signal, emit, shapers, counters } = parts;
  ensure(
    !template,
    "bad_option",
    "a template is filled by methods over a canvas; an engine behind a network continues texts",
  );
  const remote = model.ability<Remote>("remote");
  refuseSettings(settings, remote, shapers.length);
  const tokenizer = model.tokenizer as RemoteVocabulary;
  const prompt = tokensOfRows(rows);
  const given = tokenizer.promptOf(prompt[0]);
  const stream: Stream = { seed: settings.seed, request: settings.request };
  const own = new AbortController();
  const signals = AbortSignal.any([own.signal, ...(signal ? [signal] : [])]);
  const began = performance.now();
  let first: number | undefined;
  let hypotheses: readonly Hypothesis[] | undefined;
  let listing: ListingDecoding | undefined;
  const output = createOutput({
    stop: settings.stop,
    stopTokens: [],
    maxTokens: settings.maxTokens,
    minTokens: 0,
    tokenizer,
    endTokens: [remoteEnd],
    promptLength: prompt.length,
    contextLength: Infinity,
    describe: settings.logprobs === undefined ? undefined : ({ token, from }) => described(token, from as RemoteNode),
    emit,
  });

  /** `shaped` is known where nothing shapes. */
  function described(token: number, { next }: RemoteNode): BareLogprob {
    const raw = next?.logprob ?? Number.NaN;
    const shapes = settings.temperature !== 1 || settings.topP !== 1 || settings.frequencyPenalty !== 0;
    const top = (next?.top ?? []).slice(0, settings.logprobs);
    return {
      token,
      raw,
      shaped: shapes || settings.presencePenalty !== 0 ? Number.NaN : raw,
      ...(settings.logprobs! > 0 && { top: top.map((one) => ({ token: tokenizer.idOf(one.text), raw: one.logprob })) }),
    };
  }

  /** Engines take seeds of 32 bits; the request's own where it is one. */
  function seedOf(draws: number, text: string): number {
    const plain = draws === 0 && text === "" && settings.request === 0 && settings.seed < 2 ** 31;
    return plain ? settings.seed : Math.floor(uniform(stream, text.length, "search", draws) * 2 ** 31);
  }

  function bodyOf({ text, maxTokens, draws, temperature = settings.temperature }: Drawing): [string, object] {
    const { topP, frequencyPenalty, presencePenalty, logprobs = 0 } = settings;
    const common = {
      ...{ model: remote.model, max_tokens: maxTokens, temperature, seed: seedOf(draws, text), stream: true },
      ...(topP !== 1 && { top_p: topP }),
      ...(frequencyPenalty !== 0 && { frequency_penalty: frequencyPenalty }),
      ...(presencePenalty !== 0 && { presence_penalty: presencePenalty }),
    };
    if (typeof given === "string") {
      const scores = remote.logprobs && { logprobs };
      return ["/completions", { ...common, ...scores, prompt: given + text, ...remote.body }];
    }
    ensure(text === "", "bad_option", notFromItsMiddle);
    const scores = remote.logprobs && { logprobs: true, ...(logprobs > 0 && { top_logprobs: logprobs }) };
    return ["/chat/completions", { ...common, ...scores, messages: given, ...remote.body }];
  }

  const tell = ({ urls, predicted, probabilities, chosen }: EndpointChoice): void => {
    emit({ type: "choice", arms: [...urls], predicted: [...predicted], probabilities: [...probabilities], chosen });
  };

  async function* draw(drawing: Drawing): AsyncGenerator<Drawn, void> {
    ensure(
      !settings.constraint,
      "bad_option",
      "constraint: each token would have to be chosen here, and an engine behind a network chooses them there, but for the methods awrs and smc, which draw from what it lists",
    );
    const [path, body] = bodyOf(drawing);
    const kind = typeof given === "string" ? "completion" : "chat";
    let { from } = drawing;
    let [count, finish]: [number, "end" | "length" | undefined] = [0, undefined];
    let last: Piece | undefined;
    counters.passes += 1;
    for await (const event of remote.client.stream(path, body, signals, tell)) {
      first ??= performance.now();
      const answered = readEvent(event, kind);
      finish ??= answered.finish;
      last ??= answered.ending;
      for (const piece of answered.pieces) {
        count += piece.tokens;
        remote.client.count(piece.tokens);
        ensure(count <= drawing.maxTokens, "runtime_failed", () => {
          return `${remote.client.url} gave more than the ${drawing.maxTokens} tokens that it was asked for`;
        });
        const token = tokenizer.idOf(piece.text);
        const told: RemoteNode = { ...from, next: piece };
        yield { token, from: told, text: piece.text, logprob: piece.logprob ?? Number.NaN, ends: false };
        from = nodeAfter(told, token);
      }
    }
    ensure(finish, "runtime_failed", `${remote.client.url}${path}: the answer broke off`);
    if (finish === "end")
      yield { token: remoteEnd, from: { ...from, next: last }, text: "", logprob: last?.logprob ?? 0, ends: true };
  }

  const root: RemoteNode = {
    ...{ parent: undefined, token: prompt[0], depth: prompt.length - 1, logits: undefined, taps: undefined },
    next: undefined,
  };
  const absent = (what: string) => (): never => {
    throw new VentrisError("unavailable", `the model ${model.name} is behind a network: it has no ${what}`);
  };
  const update = (): void => {
    counters.generated = output.generated;
    counters.tokensPerPass = counters.passes > 0 ? counters.generated / counters.passes : 0;
  };

  return {
    model,
    get forest() {
      return absent("forest")();
    },
    get lease() {
      return absent("forest")();
    },
    prompt,
    rows: prompt,
    output: output.tokens,
    settings,
    stream,
    signal,
    endTokens: new Set([remoteEnd]),
    greedy: settings.temperature === 0,
    constraining: undefined,
    counters,
    get finished() {
      if (signals.aborted) output.end("aborted");
      return output.reason !== undefined;
    },
    get remaining() {
      return output.remaining;
    },
    instrument({ taps = [], edits = [] }) {
      if (taps.length + edits.length > 0) absent("sites")();
    },
    prefill: async () => root,
    shape: absent("distributions"),
    shapeFreely: absent("distributions"),
    compares: false,
    shapeApart: absent("distributions"),
    choose: absent("distributions"),
    standIn: absent("distributions"),
    draw,
    listing() {
      ensure(typeof given === "string", "bad_option", notFromItsMiddle);
      refuseShaping(settings);
      listing = createListing({ base: this, remote, prompt: given, signal: signals, tell });
      return listing;
    },
    commit(commitments) {
      const taken = output.commit(commitments);
      update();
      return taken;
    },
    offer(found) {
      hypotheses = found;
    },
    emit,
    finish: (reason: FinishReason) => output.end(reason),
    outcome() {
      const { reason, stop, text, tokens, logprobs, ending, endedAt } = output;
      ensure(reason && endedAt, "internal", "the method returned before its run was finished");
      update();
      const start = first ?? endedAt;
      return {
        ...{ stop, text, tokens, hypotheses, counters, taps: undefined },
        reason: listing?.constraining ? reasonUnder(listing.constraining, tokens, reason) : reason,
        logprobs: settings.logprobs === undefined ? undefined : logprobs,
        // Not every engine says how likely the end was.
        ending: Number.isNaN(ending?.raw) ? undefined : ending,
        seconds: { prefill: (start - began) / 1000, decode: (endedAt - start) / 1000 },
      };
    },
    close: () => own.abort(),
  };
}

const notFromItsMiddle =
  "the answer of a chat cannot be continued from its middle over the network: give the prompt as a text, or use a method that draws whole answers (best-of-n, self-consistency)";

const nodeAfter = (parent: RemoteNode, token: number): RemoteNode => ({
  ...{ parent, token, depth: parent.depth + 1, logits: undefined, taps: undefined },
  next: undefined,
});

/** Plain decoding: the engine's own text, as it comes. */
export async function decodeAsDrawn(decoding: RemoteDecoding): Promise<void> {
  const from = (await decoding.prefill()) as RemoteNode;
  for await (const drawn of decoding.draw({ text: "", from, maxTokens: decoding.remaining, draws: 0 })) {
    decoding.commit([drawn]);
    if (decoding.finished) return;
  }
  decoding.finish("length");
}
