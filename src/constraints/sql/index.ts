/** SELECT statements over a given schema, as SQLite reads them: only names that exist, each where it means one thing. */
import type { Constraint } from "../contract.ts";
import { goalSequence } from "../goals.ts";
import { machineConstraint } from "../machine.ts";
import { selectStatement } from "./grammar.ts";
import { readSchema, type SqlSchema } from "./schema.ts";
import { beginQuery, queryKey } from "./scope.ts";
import { between } from "./tokens.ts";

export type { SqlSchema } from "./schema.ts";

/** Errors: `bad_option` for what is no schema. */
export function sqlConstraint(schema: SqlSchema): Constraint {
  const goals = selectStatement(readSchema(schema));
  return machineConstraint("sql", goalSequence({ goals, start: beginQuery(undefined, {}), keyOf: queryKey, between }));
}
