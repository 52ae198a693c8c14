/** Cutting a text where something is found, in the ways that tokenizer files know. */
import { forEachMatch } from "./pattern.ts";

/** Gets the pieces of a text in order, empty ones left out; `first` where a piece begins with the whole text that is encoded. */
export type VisitPiece = (piece: string, first: boolean) => void;

/** Cuts one piece into smaller ones. */
export type Cut = (piece: string, first: boolean, visit: VisitPiece) => void;

/** What becomes of what was found. */
export const behaviors = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"] as const;
export type Behavior = (typeof behaviors)[number];

interface Range {
  start: number;
  end: number;
  found: boolean;
}

/** Cuts at what `pattern` finds, or with `invert` at what lies between. */
export function cutAt(pattern: RegExp, behavior: Behavior, invert = false): Cut {
  return (piece, first, visit) => {
    const ranges: Range[] = [];
    let end = 0;
    forEachMatch(pattern, piece, (from, to) => {
      if (from > end) ranges.push({ start: end, end: from, found: invert });
      ranges.push({ start: from, end: to, found: !invert });
      end = to;
    });
    if (end < piece.length) ranges.push({ start: end, end: piece.length, found: invert });
    for (const range of arrange(ranges, behavior)) {
      if (range.end > range.start) visit(piece.slice(range.start, range.end), first && range.start === 0);
    }
  };
}

function arrange(ranges: Range[], behavior: Behavior): Range[] {
  if (behavior === "Isolated") return ranges;
  if (behavior === "Removed") return ranges.filter(({ found }) => !found);
  const result: Range[] = [];
  if (behavior === "Contiguous") {
    for (const range of ranges) {
      const last = result.at(-1);
      if (last?.found === range.found) last.end = range.end;
      else result.push({ ...range });
    }
    return result;
  }
  // What is found joins its neighbour; of several in a row, only the one beside it.
  const backwards = behavior === "MergedWithNext";
  let foundBefore = false;
  for (const range of backwards ? ranges.reverse() : ranges) {
    const last = result.at(-1);
    if (range.found && !foundBefore && last) {
      if (backwards) last.start = range.start;
      else last.end = range.end;
    } else result.push({ ...range });
    foundBefore = range.found;
  }
  return backwards ? result.reverse() : result;
}
