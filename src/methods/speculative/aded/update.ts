/** How a table learns: the tri-grams of what was said are credited. */

import { notAToken } from "../../../engine/node.ts";
import { ensure } from "../../../errors.ts";
import { requireWhole } from "../../../numbers.ts";
import type { TrigramTable } from "./table.ts";

export interface UpdateOptions {
  /** Added to the weight of a tri-gram; 0: the table does not learn. */
  step?: number;
  /** Part of a pair's weights that is lost before one of its tri-grams is credited, so that the latest continuation wins. */
  forget?: number;
  /** No weight is raised above this. */
  maximumWeight?: number;
  /** Credit the tri-grams among this many last tokens again in every call; without it each tri-gram is credited once. */
  window?: number;
}

/**
 * Section 3, run first in every round: credits the tri-grams of the text from position `from` on, or those in the window.
 * Returns where the next call should go on.
 */
export function updateTable(
  table: TrigramTable,
  context: ArrayLike<number>,
  options: UpdateOptions = {},
  from = 0,
): number {
  const { step = 1, forget = 0.5, maximumWeight = 3, window } = options;
  ensure(
    step >= 0 && forget >= 0 && forget <= 1 && maximumWeight > 0,
    "bad_option",
    `step and maximumWeight must be positive and forget a part of 1, not ${step}, ${maximumWeight}, ${forget}`,
  );
  if (window !== undefined) requireWhole({ window }, 0);
  const end = Math.max(from, context.length - 2);
  if (step === 0) return end;
  for (let i = window === undefined ? from : Math.max(0, context.length - window); i < context.length - 2; i++) {
    // Rows of a prompt that are vectors are in no table.
    if (context[i] === notAToken || context[i + 1] === notAToken || context[i + 2] === notAToken) continue;
    table.credit(context[i], context[i + 1], context[i + 2], step, maximumWeight, 1 - forget);
  }
  return end;
}
