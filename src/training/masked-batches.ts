/**
 * Batches of masked diffusion, as functions of seed and number: which texts, which of their tokens are masked, and what each counts. A
 * text is a window of a stream, every token of which may be masked; or, of files whose documents are chats, a document of its own: what stands
 * before the answer is (mostly) never masked, and the answer is padded with end tokens that are learned, too (LLaDA, section 2.3).
 */
import { type Stream, uniform } from "../engine/random.ts";
import { ensure, plural } from "../errors.ts";
import type { BatchShape, TokenIds } from "./data.ts";
import type { TokenBatch } from "./objective.ts";

export interface MaskedStream {
  readonly tokens: TokenIds;
  /** How often rows are drawn from it, against the others' weights. */
  readonly weight: number;
  /** Of chats: where its documents begin. */
  readonly documents?: readonly number[];
}

export interface MaskedTokens {
  readonly begin: number;
  readonly end: number;
  /** Begins an answer. */
  readonly assistant: number;
}

export interface MaskingOptions {
  readonly tokens: MaskedTokens;
  /** Share of chats whose question is never masked. */
  readonly promptShare: number;
  /**
   * Masks answers as decoding in blocks of so many tokens finds them (Arriola et al. 2025, Block Diffusion): of one block, drawn evenly, tokens
   * are masked like those of a text, what stands before it is there, and all behind it is masked. Without it masks are spread over the whole
   * answer, and padding that is left tells where it ends.
   */
  readonly blockLength?: number;
  /**
   * Share of rows whose masked tokens are the last ones of block or text: what decoding from left to right leaves. Half of what such a row counts is
   * its first masked token. It keeps what a model that wrote from left to right knows already. Default 0.
   */
  readonly orderedShare?: number;
  /** No token is masked with less than this probability. */
  readonly epsilon?: number;
  /** The first position has no row before it, in which its prediction would stand. */
  readonly shift: boolean;
}

/** Where documents begin. Errors: `bad_option` for a stream without one. */
export function documentStarts(tokens: TokenIds, begin: number): number[] {
  const starts: number[] = [];
  for (let i = 0; i < tokens.length; i++) if (tokens[i] === begin) starts.push(i);
  ensure(starts.length > 0, "bad_option", "masked diffusion: no document begins in the texts");
  return starts;
}

/**
 * Batch number `index`. The rows' masking probabilities are spread evenly over (epsilon, 1] from one draw, so that each is uniform and a
 * batch has of all of them. Errors: `bad_option` for a stream shorter than a row.
 */
export function drawMaskedBatch(
  streams: readonly MaskedStream[],
  { rows, length }: BatchShape,
  options: MaskingOptions,
  seed: number,
  index: number,
): TokenBatch {
  const { epsilon = 1e-3, shift, promptShare, blockLength, orderedShare = 0, tokens: ids } = options;
  const stream: Stream = { seed, request: index };
  const draw = (row: number, what: number): number => uniform(stream, row, "data", what);
  const tokens = new Int32Array(rows * (length + 1));
  const weights = new Float32Array(rows * length);
  let total = 0;
  const ends = streams.map(({ weight }) => {
    total += weight;
    return total;
  });
  const first = draw(0, 0);
  for (let row = 0; row < rows; row++) {
    const place = draw(row, 1) * total;
    const chosen = streams[ends.findIndex((end) => place < end)] ?? streams.findLast(({ weight }) => weight > 0)!;
    const text = chosen.documents
      ? documentRow(chosen.tokens, chosen.documents, draw(row, 2), length, ids, draw(row, 3) < promptShare)
      : windowRow(chosen.tokens, draw(row, 2), length);
    tokens.set(text.tokens, row * (length + 1));
    const time = (first + row / rows) % 1;
    const probability = (1 - epsilon) * time + epsilon;
    const asDecoded = text.isAnswer && blockLength !== undefined;
    const blocks = asDecoded ? Math.ceil((text.end - text.from) / blockLength) : 1;
    const from = Math.max(
      asDecoded ? text.from + Math.floor(draw(row, 4) * blocks) * blockLength : text.from,
      shift ? 1 : 0,
    );
    const until = asDecoded ? Math.min(length, from + blockLength) : length;
    // Of rows in order the last tokens of block or text are masked; padding has no order.
    const last = Math.min(until, text.end);
    const count = Math.max(1, Math.ceil(probability * (last - from)));
    const cut = draw(row, 5) < orderedShare ? Math.max(from, last - count) : undefined;
    for (let i = from; i < length; i++) {
      const [behind, padding] = [i >= until, i >= text.end];
      const share = behind
        ? paddingShare / (length - until)
        : padding
          ? paddingShare / (length - text.end)
          : blocks / (text.end - text.from);
      let weight = behind ? share : draw(row, 8 + i) < probability ? share / probability : 0;
      if (cut !== undefined && !behind) {
        const next = i === cut ? last - from : 0;
        weight = i < cut ? 0 : padding ? share : (share * (next + (last - from) / (last - cut))) / 2;
      }
      weights[row * length + i] = length * weight;
    }
  }
  return { tokens, weights, rows, length };
}

interface Row {
  readonly tokens: ArrayLike<number>;
  /** From here on tokens may be masked. */
  readonly from: number;
  /** Here padding begins. */
  readonly end: number;
  /** It is an answer to what stands before `from`. */
  readonly isAnswer: boolean;
}

/**
 * What all padding of a row counts beside its answer, and again all that stands behind the block that is decoded. It is learned soon: counted like other tokens, as published, it would be most of the
 * loss where answers are short, and the shorter they are the more.
 */
const paddingShare = 0.25;

function windowRow(tokens: TokenIds, u: number, length: number): Row {
  ensure(tokens.length > length, "bad_option", () => {
    return `batches: a row takes ${plural(length, "token")}, but a text has ${tokens.length}: give more text, or shorter rows`;
  });
  const start = Math.floor(u * (tokens.length - length));
  return { tokens: tokens.subarray(start, start + length), from: 0, end: length, isAnswer: false };
}

/** A chat, cut off or padded with its end token to the row's length. */
function documentRow(
  tokens: TokenIds,
  starts: readonly number[],
  u: number,
  length: number,
  { begin, end, assistant }: MaskedTokens,
  fixed: boolean,
): Row {
  const start = starts[Math.floor(u * starts.length)];
  const row = new Int32Array(length).fill(end);
  let size = 0;
  for (; size < length && start + size < tokens.length; size++) {
    if (size > 0 && tokens[start + size] === begin) break;
    row[size] = tokens[start + size];
  }
  const answer = row.subarray(0, size).lastIndexOf(assistant) + 1; // 0 of a text without one: all of it
  const from = fixed ? Math.min(answer, length - 1) : 0;
  return { tokens: row, from, end: Math.max(size, from + 1), isAnswer: from > 0 };
}
