/** Says which keywords make a schema impossible. */
import type { Condition, Conditions } from "./conditions.ts";
import { isObject, type Schema } from "./document.ts";
import type { Courses } from "./possible.ts";
import type { Part } from "./read.ts";
import { SchemaError } from "./refusals.ts";

/** Names the first keyword that leaves nothing, alone or together with an earlier one, as deep in the schema as it can be found. */
export function explainContradiction(
  root: Schema,
  conditions: Conditions,
  courses: Courses,
  reader: { parts(schema: { readonly [keyword: string]: unknown }, where: string): Part[] },
): SchemaError {
  if (!isObject(root)) return new SchemaError("#", "the schema false allows nothing");
  const seen = new Set<object>();
  const explain = (schema: object, where: string): SchemaError => {
    seen.add(schema);
    const parts = reader.parts(schema as never, where);
    const alone = parts.find(({ condition }) => !courses.possible(condition));
    if (alone) {
      const inner = deeper(alone.condition);
      return inner ?? new SchemaError(where, `nothing satisfies "${alone.keyword}"`);
    }
    for (let end = 1; end <= parts.length; end++) {
      const upTo = parts.slice(0, end);
      const canHold = (some: readonly Part[]): boolean =>
        courses.possible(conditions.and(some.map(({ condition }) => condition)));
      if (canHold(upTo)) continue;
      const last = parts[end - 1];
      // The culprits are earlier keywords without which the rest could hold; a type is seldom what was meant wrongly.
      const others = upTo.slice(0, -1).filter((part) => canHold(upTo.filter((one) => one !== part)));
      const meant = others.filter(({ keyword }) => keyword !== "type");
      const culprits = (meant.length > 0 ? meant : others).map(({ keyword }) => `"${keyword}"`);
      if (culprits.length === 0) culprits.push("what comes before it");
      const all = culprits.length === 1 ? "both" : "them all";
      const names = `${culprits.join(", ")} and "${last.keyword}"`;
      return new SchemaError(where, `${names} contradict each other: nothing satisfies ${all}`);
    }
    return new SchemaError(where, "nothing satisfies it");
  };
  const deeper = (condition: Condition): SchemaError | undefined =>
    condition.kind === "schema" && !seen.has(condition.schema) ? explain(condition.schema, condition.where) : undefined;
  return explain(root, "#");
}
