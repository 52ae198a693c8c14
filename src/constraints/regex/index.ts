/** Constraints whose texts are a regular language: regular expressions and lists of choices. */
import { ensure } from "../../errors.ts";
import { oneOf } from "../automaton.ts";
import type { Constraint } from "../contract.ts";
import { machineConstraint, sequence, terminal } from "../machine.ts";
import { utf8 } from "../position.ts";
import { compileRegex } from "./compile.ts";
import type { Flags } from "./parse.ts";

/**
 * Texts that a regular expression matches from beginning to end. Flags of a RegExp object: `i`, `s`, `u`; `g`, `y` and `d` change nothing.
 * Errors: `bad_option` for what is not supported and for expressions that no text matches.
 */
export function regexConstraint(pattern: string | RegExp): Constraint {
  const [source, flags] =
    typeof pattern === "string" ? [pattern, readFlags("")] : [pattern.source, readFlags(pattern.flags)];
  const automaton = compileRegex(source, flags);
  ensure(automaton, "bad_option", () => `regular expression /${source.slice(0, 80)}/: no text matches it`);
  return machineConstraint("regex", sequence(terminal(utf8(automaton))));
}

function readFlags(flags: string): Flags {
  const refused = [...flags].find((flag) => !"isugyd".includes(flag));
  ensure(refused === undefined, "bad_option", `regular expression: the flag ${refused} is not supported`);
  return { ignoreCase: flags.includes("i"), dotAll: flags.includes("s") };
}

/** Exactly one of some texts. Errors: `bad_option` for none, or for an empty text alone. */
export function choicesConstraint(choices: readonly string[]): Constraint {
  ensure(choices.length > 0, "bad_option", "choices: the list is empty");
  const wrong = choices.findIndex((choice) => typeof choice !== "string");
  ensure(wrong < 0, "bad_option", () => `choices: number ${wrong + 1} is no text`);
  ensure(
    choices.every((choice) => !/\p{Surrogate}/u.test(choice)),
    "bad_option",
    "choices: a text with half a character in it",
  );
  return machineConstraint("choices", sequence(terminal(utf8(oneOf(choices)!))));
}
