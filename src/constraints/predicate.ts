/** A user's own function as a constraint. */
import { ensure, leaveUnheard, reasonOf, shown, shownEnd, VentrisError } from "../errors.ts";
import type { Constraint, ConstraintState } from "./contract.ts";

/** true: the text is valid as it stands; false: not yet; "never": no text that begins so is valid. */
export type Predicate = (text: string) => boolean | "never";

/**
 * Asks the function about every text; where a text ends within a character, U+FFFD stands for the character to come, and "never" then refuses
 * its beginning. What the function throws, or gives instead of its three answers, ends the run: nothing goes on unconstrained.
 */
export function predicateConstraint(judge: Predicate): Constraint {
  const ask = (text: string): boolean | "never" => {
    let answer: unknown;
    try {
      answer = judge(text);
    } catch (cause) {
      const where = shownEnd(text);
      const code = cause instanceof VentrisError ? cause.code : "bad_option";
      throw new VentrisError(code, `constraint: the function failed on ${where}: ${reasonOf(cause)}`, { cause });
    }
    leaveUnheard(answer);
    ensure(
      answer === true || answer === false || answer === "never",
      "bad_option",
      () =>
        `constraint: the function must give true, false or "never", and gave ${shown(answer)} for ${shownEnd(text)}`,
    );
    return answer;
  };
  function stateAfter(text: string, pending: readonly number[]): ConstraintState | undefined {
    const answer = ask(pending.length > 0 ? `${text}\ufffd` : text);
    if (answer === "never") return undefined;
    return {
      complete: answer && pending.length === 0,
      push(byte) {
        const bytes = [...pending, byte];
        const missing = missingBytes(bytes);
        if (missing === undefined) return undefined;
        return missing > 0 ? stateAfter(text, bytes) : stateAfter(text + decode(bytes), []);
      },
    };
  }
  const start = stateAfter("", []);
  ensure(start, "bad_option", 'constraint: the function says "never" to the empty text');
  return { name: "function", tight: false, start };
}

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const decode = (bytes: readonly number[]): string => decoder.decode(Uint8Array.from(bytes));

/** How many bytes of a character are still to come; undefined where these begin none. */
function missingBytes(bytes: readonly number[]): number | undefined {
  const [first] = bytes;
  const length = first < 0x80 ? 1 : first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3 : 4;
  if ((first >= 0x80 && first < 0xc2) || first > 0xf4) return undefined;
  if (bytes.slice(1).some((byte) => (byte & 0xc0) !== 0x80)) return undefined;
  if (bytes.length < length) return length - bytes.length;
  return decode(bytes).includes("\ufffd") && !isReplacement(bytes) ? undefined : 0;
}

const isReplacement = ([a, b, c]: readonly number[]): boolean => a === 0xef && b === 0xbf && c === 0xbd;
