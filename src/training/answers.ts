/** Which targets count where only answers are trained on: a question's words are drawn, not said by the model. */
import { ensure } from "../errors.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { TokenBatch } from "./objective.ts";

/** Ids of the tokens that part documents and turns. */
export interface TurnTokens {
  readonly begin: number;
  readonly ends: readonly number[];
  readonly user: number;
  readonly assistant: number;
}

/** Errors: `bad_option` for a name that is no special token of the tokenizer, or where none begins a document. */
export function turnTokens(
  { beginToken: begin, endTokens: ends, specialTokens }: Tokenizer,
  { user, assistant }: { user: string; assistant: string },
): TurnTokens {
  ensure(begin !== undefined, "bad_option", "answers: the tokenizer has no token that begins a document");
  const idOf = (role: string, name: string): number => {
    const id = specialTokens?.get(name);
    ensure(id !== undefined, "bad_option", `answers.${role}: the tokenizer has no special token ${name}`);
    return id;
  };
  return { begin, ends, user: idOf("user", user), assistant: idOf("assistant", assistant) };
}

/**
 * The batch with weights of its targets, whose mean is 1: of a document with turns only what follows the assistant's token counts, its
 * end token included; of one without them all. What stands before a row's first document does not count: its question may be cut off.
 */
export function answersAlone(batch: TokenBatch, { begin, ends, user, assistant }: TurnTokens): TokenBatch {
  const { tokens, rows, length } = batch;
  const weights = new Float32Array(rows * length);
  let counted = 0;
  for (let row = 0; row < rows; row++) {
    let counts = false;
    for (let i = 0; i < length; i++) {
      const token = tokens[row * (length + 1) + i];
      if (token === begin || token === assistant) counts = true;
      else if (token === user || ends.includes(token)) counts = false;
      if (!counts) continue;
      weights[row * length + i] = 1;
      counted++;
    }
  }
  if (counted > 0) for (let i = 0; i < weights.length; i++) weights[i] *= weights.length / counted;
  return { ...batch, weights };
}
