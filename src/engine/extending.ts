/** More rows than a pass holds. */
import type { Decoding } from "./decoding.ts";
import type { ForestNode } from "./forest.ts";

/** A node below each tip, in as many passes as the rows need. Errors: those of `Lease.extend`. */
export async function extendTips(
  { lease, forest }: Pick<Decoding, "lease" | "forest">,
  rows: readonly { readonly parent: ForestNode; readonly token: number }[],
): Promise<ForestNode[]> {
  const nodes: ForestNode[] = [];
  for (let start = 0; start < rows.length; start += forest.maxRows)
    nodes.push(...(await lease.extend(rows.slice(start, start + forest.maxRows))));
  return nodes;
}
