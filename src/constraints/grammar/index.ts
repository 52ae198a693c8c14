/** Context-free grammars as constraints. */
import { ensure, shown } from "../../errors.ts";
import { listed } from "../../forms.ts";
import { suggestion } from "../../names.ts";
import type { Constraint } from "../contract.ts";
import { machineConstraint } from "../machine.ts";
import { compileGrammar } from "./compile.ts";
import { parseGbnf } from "./gbnf.ts";
import { parseLark } from "./lark.ts";

export const grammarSyntaxes = ["gbnf", "lark"] as const;

const largest = 2 ** 20;

/**
 * The texts of a grammar in GBNF or in Lark's style, told apart by "::=" unless `syntax` says. Ambiguous grammars and left recursion work;
 * left recursion behind a part that may be empty is refused. Errors: `bad_option` with line and rule.
 */
export function grammarConstraint(text: string, syntax?: (typeof grammarSyntaxes)[number]): Constraint {
  ensure(typeof text === "string", "bad_option", "grammar: a grammar is a text");
  ensure(text.length <= largest, "bad_option", `grammar: longer than ${largest} characters`);
  ensure(syntax === undefined || grammarSyntaxes.includes(syntax), "bad_option", () => {
    return `grammar: constraint.syntax must be ${listed(grammarSyntaxes.map(shown))}, not ${shown(syntax)}${typeof syntax === "string" ? suggestion(syntax, grammarSyntaxes) : ""}`;
  });
  const isGbnf = syntax ? syntax === "gbnf" : text.includes("::=");
  return machineConstraint("grammar", compileGrammar(isGbnf ? parseGbnf(text) : parseLark(text)));
}
