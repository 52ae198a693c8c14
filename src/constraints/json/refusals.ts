/** Errors of a schema, each with its place: what is found wrong below a schema, by whatever finds it, is said of the innermost one. */
import { VentrisError } from "../../errors.ts";
import type { Condition } from "./conditions.ts";

export class SchemaError extends VentrisError {
  constructor(where: string, what: string, options?: { cause?: unknown }) {
    super("bad_option", `JSON schema ${where}: ${what}`, options);
  }
}

/** Does something for the schema at a place; errors that name no place get this one. Without a place, whoever asked gives theirs. */
export function placed<Result>(where: string | undefined, action: () => Result): Result {
  try {
    return action();
  } catch (error) {
    if (where === undefined || error instanceof SchemaError || !(error instanceof VentrisError)) throw error;
    throw new SchemaError(where, error.message, { cause: error });
  }
}

/** The place of the first schema that a condition is made of; undefined for what comes from a keyword alone. */
export function placeOf(condition: Condition): string | undefined {
  switch (condition.kind) {
    case "schema":
      return condition.where;
    case "not":
      return placeOf(condition.item);
    case "and":
    case "or":
      for (const item of condition.items) {
        const where = placeOf(item);
        if (where !== undefined) return where;
      }
  }
  return undefined;
}
