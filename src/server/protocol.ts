/** What the serving process and the engine's process say to each other. */

import type { DecodeOptions } from "../calls.ts";
import type { Counters, FinishReason, TimedEvent } from "../engine/trace.ts";
import type { ErrorCode } from "../errors.ts";
import type { codebooks, markov } from "../methods/index.ts";
import type { SharingStatus } from "../sharing/index.ts";
import type { Tool, ToolRules } from "../tool-calls.ts";

/** The messages of a chat, and the tools that its template may write. */
export interface ChatPrompt {
  readonly messages: readonly { readonly role: string; readonly [field: string]: unknown }[];
  readonly tools?: readonly Tool[];
}

/** An object, as the others are: runs that begin with one and the same are told of it once, and it is read once for all of them. */
export interface TextPrompt {
  readonly text: string;
}

/** A request to decode, as plain data. */
export interface RunRequest {
  readonly model: string;
  readonly prompt: TextPrompt | readonly number[] | ChatPrompt;
  readonly options: Omit<DecodeOptions, "signal">;
  /** An answer without a limit of its own. */
  readonly unlimited?: boolean;
  /** Calls of tools that the answer may or must be, in place of a constraint; or tools that are to be sound. */
  readonly tools?: ToolRules;
}

/** A token's log-probabilities as they are answered: natural logs under the model's own distribution. */
export interface ServedLogprob {
  readonly text: string;
  /** Absent of special tokens, which stand for no bytes. */
  readonly bytes?: readonly number[];
  /** Undefined for the first token of a scored text, which follows nothing. */
  readonly logprob: number | undefined;
  readonly top: readonly { readonly text: string; readonly bytes?: readonly number[]; readonly logprob: number }[];
}

/** What a client that wants text is told of a run. */
export type OutputEvent =
  | { readonly type: "begin"; readonly promptTokens: number }
  | { readonly type: "text"; readonly text: string; readonly tokens: number; readonly logprobs?: ServedLogprob[] }
  | {
      readonly type: "done";
      readonly reason: FinishReason;
      readonly counters: Counters;
      /** The token that ended the text, where log-probabilities were asked for. */
      readonly ending?: ServedLogprob;
    };

/** Texts under the model's own distribution. */
export interface ScoreRequest {
  readonly model: string;
  readonly prompts: readonly (string | readonly number[])[];
  /** Alternatives at each token; undefined: the tokens alone. */
  readonly top: number | undefined;
}

/** Calls that have one answer. */
export interface Calls {
  /** Opens a model ahead of its first request. */
  open(model: string): ModelFacts;
  vocabulary(model: string): string[];
  /** Undefined for a model without a tokenizer. */
  tokens(model: string): FlatTokens | undefined;
  tokenize(model: string, text: string): number[];
  /** All neurons of a model, and those that stand out, or that stand for a word. */
  neurons(model: string, word: string | undefined): ServedNeurons;
  /** The codebooks beside a model. */
  codebooks(model: string): ServedCodebooks;
  /** Codes of one codebook, by how often they fire in texts that the model writes. */
  codes(model: string, place: CodebookPlace): ServedCodes;
  /** Where a code fires in them. */
  code(model: string, place: CodebookPlace & { readonly code: number }): ServedCode;
  /** A text token by token, with the codes of one codebook. */
  codedText(model: string, place: CodebookPlace, text: string): ServedPiece[];
  /** Codes that fire where a regular expression matches in those texts. */
  findCodes(model: string, expression: string): FoundCodes;
  /** States of every layer against what comes next. */
  markov(model: string, options: MarkovRequest): MarkovReport;
  /** A paper's own short run, computed anew. */
  live(paper: string): TimedEvent[];
  score(request: ScoreRequest): ServedLogprob[][];
  /** Rows of `width` numbers, one after the other, and the tokens of all texts. */
  embed(model: string, texts: readonly (string | readonly number[])[]): EmbeddedTexts;
  /** For tests and health: nodes held by runs, over all open models. */
  held(): number;
  statistics(): EngineStatistics;
}

type Bottleneck = codebooks.Bottleneck;
type CommonCode = codebooks.CommonCode;
type CodeExample = codebooks.CodeExample;
type FoundCode = codebooks.FoundCode;
export type MarkovReport = markov.MarkovReport;

export interface ServedNeurons {
  /** By layer: how sure the surest neuron of each of so many equal parts is of its token, 0 to 1 among all. */
  readonly map: readonly (readonly number[])[];
  /** Of each layer. */
  readonly neurons: number;
  /** Best first. `share`: of the word's tokens, or of its own best one, among all tokens. */
  readonly found: readonly {
    readonly layer: number;
    readonly neuron: number;
    readonly share: number;
    readonly tokens: readonly string[];
  }[];
}

/** One codebook: of a site that may have several side by side, one for each attention head. */
export interface CodebookPlace {
  readonly site: string;
  readonly group: number;
}

export interface ServedCodebooks {
  readonly sites: readonly Pick<Bottleneck, "site" | "groups" | "codes" | "k">[];
}

export interface ServedCodes {
  /** Of the texts that were looked at. */
  readonly texts: number;
  readonly tokens: number;
  /** Codes that fire at all. */
  readonly alive: number;
  readonly codes: readonly CommonCode[];
}

export interface ServedCode {
  readonly fired: number;
  readonly examples: readonly CodeExample[];
}

export interface ServedPiece {
  readonly text: string;
  /** Best first. */
  readonly codes: readonly number[];
}

export interface FoundCodes {
  /** Tokens that the expression matches, of so many. */
  readonly matched: number;
  readonly tokens: number;
  readonly codes: readonly FoundCode[];
  /** What forces them while the model writes, as the shaper `codebook` takes it; empty where none is precise enough. */
  readonly forcing: readonly codebooks.CodeChange[];
}

/** Measurements that take seconds; a surplus at one distance takes some more. */
export const markovChoices = ["entropy", "alignment", "coherence", "fisher", "surplus"] as const;

export interface MarkovRequest {
  readonly what: readonly (typeof markovChoices)[number][];
  /** A model of the same vocabulary, whose predictions the states are compared with. */
  readonly reference?: string;
}

/** Bytes of a model's tokens, one after the other, and how many each has. */
export interface FlatTokens {
  readonly bytes: Uint8Array;
  readonly lengths: Uint16Array;
}

export interface EmbeddedTexts {
  readonly vectors: readonly Float32Array[];
  readonly tokens: number;
}

/** Since the engine started, over the models that are open. */
export interface EngineStatistics {
  readonly passes: number;
  readonly rows: number;
  readonly secondsInPasses: number;
  /** Slots of the key-value arenas: held by requests, in use (cached prefixes included), and there. */
  readonly held: number;
  readonly size: number;
  readonly capacity: number;
  readonly residentBytes: number;
  /** Of what is shared with other replicas: bytes, exchanges that failed, values that were not believed. */
  readonly sharingSent: number;
  readonly sharingReceived: number;
  readonly sharingFailures: number;
  readonly sharingRefused: number;
}

export interface ModelFacts {
  readonly name: string;
  readonly vocabularySize: number;
  readonly contextLength: number;
  readonly parameters: number;
  /** Whether it has a chat template. */
  readonly chats: boolean;
  /** What methods may need of it. */
  readonly capabilities: readonly string[];
  readonly secondsToLoad: number;
}

/** `trace`: every event as it happens; `stream`: text as it comes; `whole`: the same in one piece. */
export type Detail = "trace" | "stream" | "whole";

export interface RunMessage {
  readonly id: number;
  readonly request: RunRequest;
  readonly detail: Detail;
}

export type ToEngine =
  | { type: "call"; id: number; name: keyof Calls; values: readonly unknown[] }
  | { type: "runs"; runs: readonly RunMessage[] }
  | { type: "abort"; id: number }
  | { type: "close" };

export type Told = TimedEvent | OutputEvent;

export type FromEngine =
  | { type: "answer"; id: number; result?: unknown; error?: PlainError }
  /** Of several runs, for what one pass gives to many travels together. */
  | { type: "events"; runs: (readonly [id: number, events: Told[]])[] }
  | { type: "end"; id: number; error?: PlainError }
  /** Whenever it begins or ends to share what it learns. */
  | { type: "sharing"; status: SharingStatus };

export interface PlainError {
  readonly code: ErrorCode | "unexpected";
  readonly message: string;
}
