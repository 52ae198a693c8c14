/** Factors that weigh texts beside a constraint. */
import { ensure, leaveUnheard, reasonOf, shown, shownEnd, VentrisError } from "../../../errors.ts";

/** A factor for a text, 0 or more. `finished` says whether the text has ended. */
export type Critic = (text: string, finished: boolean) => number;

/**
 * The critic on tokens, held to numbers from 0; `textOf`: of models that have texts. Errors: `bad_option` for anything else, and where it
 * throws.
 */
export function guardCritic(critic: Critic | undefined, textOf: ((tokens: readonly number[]) => string) | undefined) {
  if (!critic) return undefined;
  ensure(textOf, "bad_option", "critic: it reads texts, and this model has no tokenizer");
  return (tokens: readonly number[], finished: boolean): number => {
    const text = textOf(tokens);
    let factor: unknown;
    try {
      factor = critic(text, finished);
    } catch (cause) {
      throw new VentrisError("bad_option", `critic: it failed on ${shownEnd(text)}: ${reasonOf(cause)}`, { cause });
    }
    if (typeof factor !== "number" || !(factor >= 0) || factor === Infinity) {
      leaveUnheard(factor);
      throw new VentrisError(
        "bad_option",
        `critic: must give a finite number from 0, and gave ${shown(factor)} for ${shownEnd(text)}`,
      );
    }
    return factor;
  };
}
