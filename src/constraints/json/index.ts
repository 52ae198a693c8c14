/** JSON that a schema allows (drafts 2020-12 and 7, and what these share with 2019-09, 6 and 4). */
import { ensure, shown } from "../../errors.ts";
import { withAllowance } from "../automaton.ts";
import type { Constraint } from "../contract.ts";
import { machineConstraint } from "../machine.ts";
import { createConditions } from "./conditions.ts";
import { explainContradiction } from "./contradiction.ts";
import { openDocument } from "./document.ts";
import { createGrammar } from "./grammar.ts";
import { createCourses, readAll } from "./possible.ts";
import { createReader, type ReaderOptions } from "./read.ts";
import { placed } from "./refusals.ts";

/** How a schema is read and its output written. */
export interface JsonSchemaOptions extends ReaderOptions {
  /** Longest run of blanks and line ends between the tokens of JSON. Default: any. 0 gives compact JSON. */
  readonly whitespace?: number;
  /** Longest run of zeros that end a number behind its last possible place, as in 1.00 for an integer. Default: any. 0: integers have no point. */
  readonly zeros?: number;
}

const formatsTreated: readonly string[] = ["refuse", "ignore"];

/** States of automata that making a constraint may look at: seconds at most. */
const mostVisited = 250_000;

/**
 * Errors: `bad_option` for what is no schema, for keywords that are not supported, and for schemas that nothing satisfies; each names
 * keyword and place.
 */
export function jsonSchemaConstraint(schema: unknown, options: JsonSchemaOptions = {}): Constraint {
  const { whitespace = Infinity, zeros = Infinity } = options;
  for (const [name, run] of Object.entries({ whitespace, zeros })) {
    const sound = run === Infinity || (Number.isInteger(run) && run >= 0);
    ensure(sound, "bad_option", `${name} must be a whole number from 0, not ${shown(run)}`);
  }
  const { unknownFormats = "refuse" } = options;
  ensure(formatsTreated.includes(unknownFormats), "bad_option", () => {
    return `unknownFormats must be "refuse" or "ignore", not ${shown(unknownFormats)}`;
  });
  return placed("#", () => {
    const document = openDocument(schema);
    const reader = createReader(document, () => tools, options);
    const tools = createConditions(reader.read);
    const { conditions, shapes } = tools;
    const courses = createCourses(conditions, shapes);
    reader.setOverlap((a, b) => courses.possible(conditions.and([a, b])));
    const { root } = document;
    const top =
      root === true ? conditions.all : root === false ? conditions.none : conditions.schema(root as object, "#");
    return withAllowance(mostVisited, () => {
      if (!courses.possible(top)) throw explainContradiction(root, conditions, courses, reader);
      // What is refused is refused at once, wherever in the schema it stands, and not within a text.
      readAll(top, courses);
      const grammar = createGrammar(conditions, shapes, courses, { whitespace, zeros });
      return machineConstraint("json-schema", grammar(top));
    });
  });
}
