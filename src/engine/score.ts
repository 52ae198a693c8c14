/** Log-probabilities of a given text under a model, in bounded memory. */
import { ensure, plural } from "../errors.ts";
import { topKSoftmax } from "./distribution.ts";
import type { ForestNode } from "./forest.ts";
import type { DecodingModel } from "./model.ts";
import { logSoftmaxAt, logSumExp } from "./shapers/logprobs.ts";
import { tokenText } from "./token-text.ts";

/** A token and how likely it was there. */
export interface ScoredToken {
  readonly token: number;
  readonly text: string;
  /** Natural log of its probability after all tokens before it (within the window); undefined for the first, which follows nothing. */
  readonly logprob: number | undefined;
  /** The most likely tokens there, as many as were asked for. */
  readonly top?: readonly { readonly token: number; readonly text: string; readonly logprob: number }[];
}

/** A text's tokens with their log-probabilities. */
export interface ScoredText {
  readonly tokens: readonly ScoredToken[];
  /** Sum over all tokens but the first, nats. */
  readonly logprob: number;
  /** exp of the mean negative log-probability over all tokens but the first. */
  readonly perplexity: number;
}

/** In a template literal a score is its figures. */
export const describedScore = (score: ScoredText): ScoredText =>
  Object.defineProperty(score, "toString", {
    value: () =>
      `${plural(score.tokens.length, "token")}, log-probability ${score.logprob.toFixed(3)}, perplexity ${score.perplexity.toFixed(3)}`,
  });

/** Rows whose logits are held at once. */
const rowsHeld = 32;

/** Errors: `bad_option` for fewer than two tokens, `aborted`, and those of passes. */
export async function scoreTokens(
  model: DecodingModel,
  tokens: readonly number[],
  { top = 0, signal }: { top?: number; signal?: AbortSignal },
): Promise<ScoredText> {
  ensure(tokens.length >= 2, "bad_option", `score: the text has ${tokens.length} token, and the first follows nothing`);
  const { forest, tokenizer } = model;
  const textOf = (token: number): string => tokenText(tokenizer, token);
  const scored: ScoredToken[] = [{ token: tokens[0], text: textOf(tokens[0]), logprob: undefined }];
  const window = forest.contextLength;
  const release = model.use();
  try {
    while (scored.length < tokens.length) {
      // Of a later window the first half is context alone: its tokens were scored in the one before.
      const start = scored.length < window ? 0 : scored.length - Math.floor(window / 2);
      await scoreWindow(start, Math.min(tokens.length, start + window));
    }
  } finally {
    release();
  }
  const logprob = scored.reduce((sum, one) => sum + (one.logprob ?? 0), 0);
  return describedScore({ tokens: scored, logprob, perplexity: Math.exp(-logprob / (tokens.length - 1)) });

  async function scoreWindow(start: number, end: number): Promise<void> {
    const lease = forest.lease();
    let tip: ForestNode | undefined;
    try {
      // The last token needs no row: nothing is asked about what follows it.
      for (let at = start; at < end - 1; at += rowsHeld) {
        ensure(!signal?.aborted, "aborted", "scoring was aborted");
        const part = tokens.slice(at, Math.min(end - 1, at + rowsHeld));
        const nodes = await lease.extend(
          part.map((token, i) => ({ parent: i === 0 ? tip : i - 1, token, logits: at + i + 1 >= scored.length })),
        );
        for (const [i, node] of nodes.entries()) if (at + i + 1 >= scored.length) enter(tokens[at + i + 1], node);
        if (tip) lease.release([tip]);
        tip = nodes[nodes.length - 1];
        lease.release(nodes.slice(0, -1));
      }
    } finally {
      lease.close();
    }
  }

  function enter(token: number, { logits }: ForestNode): void {
    ensure(logits, "internal", "a scored row has no logits");
    const normaliser = logSumExp(logits);
    scored.push({
      token,
      text: textOf(token),
      logprob: logSoftmaxAt(logits, token, normaliser),
      ...(top > 0 && {
        top: Array.from(topKSoftmax(logits, 1, top).tokens, (id) => ({
          token: id,
          text: textOf(id),
          logprob: logits[id] - normaliser,
        })),
      }),
    });
  }
}
