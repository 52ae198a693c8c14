/**
 * Which rows a pass computes, and which stand in from an earlier one. Nothing of it is exact but "none" and a refresh at every pass: keys and values
 * of a bidirectional model change with every token that is filled in, wherever it stands.
 *
 * `prefix` and `dual`: Fast-dLLM (Wu et al. 2025, arXiv 2505.22618). A block's first pass computes all; later ones everything from the block on,
 * or the block alone. `delayed`: dKV-Cache-Decode (Ma et al. 2025, arXiv 2505.15781). A token's keys and values are kept from
 * the pass after the one that filled it; the others are computed in every pass.
 */
import { ensure } from "../../errors.ts";
import type { CanvasSettings } from "./options.ts";

export interface Moment {
  readonly length: number;
  readonly block: { readonly start: number; readonly end: number };
  /** First pass of its block. */
  readonly first: boolean;
  /** The row in which the prediction for a position stands is this many before it. */
  readonly shift: 0 | 1;
  isMasked(position: number): boolean;
}

export interface RowPlan {
  readonly rows: readonly number[] | "all";
  readonly keep: boolean;
  /** All of it is computed although there is a cache: it begins anew. */
  readonly refreshed: boolean;
}

export interface Caching {
  plan(moment: Moment): RowPlan;
}

/** Errors: `bad_option` for a refresh without a cache. */
export function createCaching({ cache, refresh }: Pick<CanvasSettings, "cache" | "refresh">): Caching {
  ensure(
    refresh === undefined || cache !== "none",
    "bad_option",
    'refresh: there is nothing to refresh with cache "none"',
  );
  if (cache === "none") return { plan: () => ({ rows: "all", keep: false, refreshed: false }) };
  const every = refresh ?? (cache === "delayed" ? 8 : Infinity);
  let sinceRefresh = Infinity;
  /** Of `delayed`: whose keys and values were computed with their token in place. */
  let settled = new Set<number>();

  return {
    plan(moment) {
      const { length, block, first, shift, isMasked } = moment;
      sinceRefresh += 1;
      const refreshed = sinceRefresh >= every || sinceRefresh === Infinity || (first && cache !== "delayed");
      if (refreshed) sinceRefresh = 0;
      const positions = (from: number, to: number): number[] => {
        const start = Math.max(0, from - shift);
        return Array.from({ length: Math.max(0, to - start) }, (_, i) => start + i);
      };
      if (cache !== "delayed") {
        const rows = positions(block.start, cache === "prefix" ? length : block.end);
        return { rows: refreshed ? "all" : rows, keep: true, refreshed };
      }
      const all = Array.from({ length }, (_, i) => i);
      const stale = new Set(refreshed ? all : all.filter((position) => !settled.has(position)));
      settled = new Set(all.filter((position) => !isMasked(position))); // filled before this pass, which computes them
      for (const position of [...stale]) if (shift && position > 0) stale.add(position - shift);
      const rows = [...stale].sort((a, b) => a - b);
      return { rows: rows.length === length ? "all" : rows, keep: true, refreshed };
    },
  };
}
