/**
 * Where the rows of a pass stand and what they look over: the pages of the arena, or, where that leaves much less, a lane for each
 * request, which holds its own full pages instead of everybody's and of what is kept as cached prefixes. The last pages of texts
 * stand behind them in either.
 */

import { hidden } from "../models/attention.ts";
import type { OnnxValue } from "../runtime/program.ts";
import { pageSize } from "./arena.ts";
import { type Column, type LastPages, seat } from "./last-pages.ts";
import type { Memory } from "./memory.ts";
import type { Job, Node, Path, Row } from "./node.ts";
import type { OpenRows } from "./open-rows.ts";
import { createScratch } from "./scratch.ts";

/** Rows in the places that they have in a pass: one lane over the whole arena, or a lane for each job. */
export interface Layout {
  readonly rows: readonly { readonly row: Row; readonly at: number }[];
  /** Rows of the pass in all, `lanes` times as many as of a lane. */
  readonly count: number;
  readonly lanes: number;
  /** Rows of a lane in every stage: see `Stages`. */
  readonly stages: readonly number[];
  /** Rows, and selected rows, are even in number. */
  readonly pairs: boolean;
  /** Pages that every row looks over. */
  readonly pages: number;
  /** Where each row goes in the last pages of its lane: its page's number times the size of a page, and the column. */
  readonly places: Int32Array;
  /** Additive [pages, lanes, rows, page], one for each window. */
  readonly masks: readonly Float32Array[];
  readonly inputs: Readonly<Record<string, OnnxValue>>;
}

/** Copying into lanes pays when they leave at most this part of what rows would look over in the arena. */
const worthwhile = 0.7;
/** Lanes have equally many rows; rows of nobody may make up this part of a pass, as they are computed like others. */
const mostPadding = 1 / 3;

/** After how many layers the rows begin, in order, 0 among them. */
const byBeginning = (placed: readonly (readonly PlacedRow[])[]): number[] => {
  const found = new Set([0]);
  for (const rows of placed) for (const { row } of rows) found.add(row.node.begins);
  return found.size === 1 ? [0] : [...found].sort((a, b) => a - b);
};

/** As many rows of a lane as the fullest has, stage by stage; the program takes no empty tensors. */
function stagesOf(placed: readonly (readonly PlacedRow[])[], evened: (rows: number) => number): number[] {
  let rows = 0;
  return byBeginning(placed).map((begins) => {
    const most = placed.reduce(
      (max, own) => Math.max(max, own.filter(({ row }) => row.node.begins === begins).length),
      0,
    );
    rows += evened(begins === 0 ? Math.max(1, most) : most);
    return rows;
  });
}

/** Few different counts: the runtime keeps memory for every shape it has seen. `steps` of them between powers of two. */
function rounded(atLeast: number, steps: number): number {
  const step = Math.max(1, 2 ** Math.floor(Math.log2(Math.max(1, atLeast))) / steps);
  return Math.ceil(atLeast / step) * step;
}

export interface Layouts {
  /** Old ancestors of the rows must be in the arena. The masks are valid until the next call. */
  layOut(jobs: readonly Job[]): Layout;
  /** A lease that ends gives its lane back. */
  leave(path: Path): void;
  /** Gives the memory of all lanes back, which are made anew when they are needed. False: there are none. */
  drop(): boolean;
}

/** The nearest ancestor up to which the text's pages are full in the arena. */
function fullAbove({ above }: Node): Node | undefined {
  let end = above;
  while (end && end.page < 0) end = end.above;
  return end;
}

/** Rows of one lane, with what they look at. */
interface LaneRows {
  readonly rows: readonly Row[];
  readonly last: LastPages;
  /** The page, among those of the lane, that ends with a node. */
  pageOf(end: Node): number;
}

/** A row's part of a mask. */
interface Shown {
  readonly lane: LaneRows;
  readonly fullPages: number;
  startOf(page: number): number;
  readonly mask: Float32Array;
  readonly window: number;
}

interface PlacedRow {
  readonly row: Row;
  readonly place: number;
}

const placeOf = ({ page, column }: Column): number => page * pageSize + column;

type Arguments = Readonly<Record<string, OnnxValue>>;

/** The arguments of full and of last pages in one object, made once for each two that come together: they are some hundred, and mostly the same from step to step. */
function createJoin(): (full: Arguments, last: Arguments) => Arguments {
  const made = new WeakMap<Arguments, { readonly last: Arguments; readonly both: Arguments }>();
  return (full, last) => {
    const known = made.get(full);
    if (known?.last === last) return known.both;
    const both = { ...full, ...last };
    made.set(full, { last, both });
    return both;
  };
}

/** `windows`: how far back a position sees, its own included, in layers of each kind. `evenRows`: a row of nobody makes the rows of a pass even in number. */
export function createLayouts(
  { arena, lanes, openRows }: Memory,
  { windows, evenRows }: { windows: readonly (number | undefined)[]; evenRows: boolean },
): Layouts {
  const maskBuffers = windows.map(createScratch);
  const joined = createJoin();
  /** Who has which lane. */
  const taken: (Path | undefined)[] = [];

  /** Products with matrices that edits bring sum the row of a pass of one row in another order. */
  const inPairs = (rows: readonly Row[]): boolean =>
    evenRows || rows.some(({ edits }) => edits.some(({ edit }) => edit.parameters));

  const seatRows = (rows: readonly Row[]): LastPages => seat(rows.map(({ node }) => node));

  /** All rows look over the arena: where that holds little else, and for rows whose full pages are not of one text. */
  function layOutInArena(jobs: readonly Job[]): Layout {
    const rows = jobs.flatMap((job) => job.rows);
    const all = { rows, last: seatRows(rows), pageOf: (end: Node) => end.page };
    return assemble([all], arenaPages(rows), (pages) => arena.inputs(pages), openRows.arena);
  }

  /** Pages up to the last that some row looks at; at least one, as the program takes no empty tensors. */
  function arenaPages(rows: readonly Row[]): number {
    const last = rows.reduce((max, { node }) => Math.max(max, fullAbove(node)?.page ?? 0), 0);
    return Math.min(rounded(last + 1, 4), Math.ceil(arena.capacity / pageSize));
  }

  /** Every job in a lane of its own, where that leaves much less to look over; undefined where it does not. */
  function layOutInLanes(jobs: readonly Job[]): Layout | undefined {
    // A lease with several calls under way has but one lane.
    if (new Set(jobs.map(({ path }) => path)).size < jobs.length) return undefined;
    if (jobs.some(({ path }) => path.left)) return undefined;
    const ends: (Node | undefined)[] = [];
    let [total, most, longest] = [0, 0, 1];
    for (const job of jobs) {
      const end = commonEnd(job);
      if (end === "none") return undefined;
      ends.push(end);
      total += job.rows.length;
      most = Math.max(most, job.rows.length);
      if (end) longest = Math.max(longest, (end.depth + 1) / pageSize);
    }
    const inArena = arenaPages(jobs.flatMap(({ rows }) => rows)) + jobs.length;
    if (rounded(jobs.length, 2) * most * (longest + 1) > worthwhile * total * inArena) return undefined;
    for (const { path } of jobs) {
      if (path.lane >= 0) continue;
      const free = taken.indexOf(undefined);
      path.lane = free < 0 ? taken.length : free;
      taken[path.lane] = path;
    }
    const count = rounded(taken.length, 2);
    const pages = rounded(longest, 4);
    if (total < (1 - mostPadding) * count * most || count * most * (pages + 1) > worthwhile * total * inArena) {
      return undefined;
    }
    if (!lanes.reserve(count, pages)) return undefined;
    const laneRows: LaneRows[] = Array.from({ length: count }, () => nobody);
    jobs.forEach(({ path, rows }, i) => {
      follow(path, ends[i]);
      laneRows[path.lane] = { rows, last: seatRows(rows), pageOf: (end) => Math.floor(end.depth / pageSize) };
    });
    return assemble(laneRows, pages, (wanted) => lanes.inputs(wanted), openRows.lanes);
  }

  const nobody: LaneRows = { rows: [], last: seat([]), pageOf: () => 0 };

  /** The end of the full pages of the one text that all rows of a job stand below; undefined: there are none yet. */
  function commonEnd({ rows }: Job): Node | undefined | "none" {
    const inside = new Set(rows.map(({ node }) => node));
    const ends = new Set<Node>();
    for (const { node } of rows) {
      const { parent } = node;
      if (parent?.pending && !inside.has(parent)) return "none"; // another job of this pass computes it
      const end = fullAbove(node);
      if (end) ends.add(end);
    }
    let deepest: Node | undefined;
    for (const end of ends) if (!deepest || end.depth > deepest.depth) deepest = end;
    let met = 0;
    for (let at = deepest; at && met < ends.size; at = at.above) if (ends.has(at)) met += 1;
    return met === ends.size ? deepest : "none";
  }

  /** Brings a lane's copy up to the page that ends with this node. */
  function follow({ lane, pages }: Path, end: Node | undefined): void {
    for (let at = end; at; at = at.above) {
      const page = Math.floor(at.depth / pageSize);
      if (pages[page] === at) break;
      lanes.copy(at.page, lane, page);
      pages[page] = at;
    }
    pages.length = end ? (end.depth + 1) / pageSize : 0;
  }

  /** Puts open rows, columns and mask together. */
  function assemble(
    laneRows: readonly LaneRows[],
    fullPages: number,
    inputs: (pages: number) => Readonly<Record<string, OnnxValue>>,
    open: OpenRows,
  ): Layout {
    const count = laneRows.length;
    const isNew = laneRows.map(({ rows }) => new Map(rows.map((row) => [row.node, row])));
    const placed = laneRows.map(({ rows, last }, lane): PlacedRow[] => {
      return [
        ...rows.map((row) => ({ row, place: placeOf(last.seatOf(row.node)) })),
        // Where a page is begun again, the pass computes its own rows in it again.
        ...last.again.flatMap((column) => {
          const row = isNew[lane].get(column.node);
          return row ? [{ row: { ...row, logits: false, store: false, taps: [] }, place: placeOf(column) }] : [];
        }),
      ];
    });
    const pairs = inPairs(laneRows.flatMap(({ rows }) => rows));
    const stages = stagesOf(placed, (most) => (pairs && (count * most) % 2 === 1 ? most + 1 : most));
    const most = stages[stages.length - 1];
    const needed = laneRows.map(({ last: { sizes } }, lane) => {
      // Rows of nobody need a column where they do no harm.
      const full = placed[lane].length < most && sizes.every((size) => size === pageSize);
      return sizes.length + (full ? 1 : 0);
    });
    const lastPages = rounded(Math.max(...needed), 2);
    const earlier = laneRows.map(({ last: { first, again } }, lane) =>
      (again.length > 0 ? [...first, ...again] : first).filter(({ node }) => !isNew[lane].has(node)),
    );
    const pages = fullPages + lastPages;
    const masks = maskBuffers.map((buffer) => buffer(pages * count * most * pageSize).fill(hidden));
    const places = new Int32Array(count * most);
    const rows: { row: Row; at: number }[] = [];
    laneRows.forEach((lane, index) => {
      const roomy = lane.last.sizes.findIndex((size) => size < pageSize);
      const spare = roomy >= 0 ? roomy * pageSize + pageSize - 1 : lane.last.sizes.length * pageSize;
      places.fill(spare, index * most, (index + 1) * most);
      const beginnings = stages.length > 1 ? byBeginning(placed) : undefined;
      const next = [0, ...stages];
      placed[index].forEach(({ row, place }) => {
        const r = next[beginnings ? beginnings.indexOf(row.node.begins) : 0]++;
        const at = index * most + r;
        rows.push({ row, at });
        places[at] = place;
        const startOf = (page: number): number => ((page * count + index) * most + r) * pageSize;
        masks.forEach((mask, kind) => {
          show(row.node, { lane, fullPages, startOf, mask, window: windows[kind] ?? Infinity });
        });
      });
    });
    const arrays = joined(inputs(fullPages), open.arrange(earlier, lastPages));
    return { rows, count: count * most, lanes: count, stages, pairs, pages, places, masks, inputs: arrays };
  }

  /** Lets a row look at itself and its ancestors within the window: `startOf` says where the row begins in a page's mask. */
  function show(node: Node, { lane, fullPages, startOf, mask, window }: Shown) {
    const earliest = Math.max(0, node.depth - window + 1);
    let at: Node | undefined = node;
    for (; at && at.depth >= earliest; at = at.above) {
      if (at !== node && at.page >= 0) break;
      const { page } = lane.last.seatOf(at);
      const start = startOf(fullPages + page);
      const from = Math.max(earliest, at.depth - (at.depth % pageSize));
      for (let a: Node | undefined = at; a && a.depth >= from; a = a.parent)
        mask[start + lane.last.columnIn(page, a)] = 0;
    }
    for (; at && at.depth >= earliest; at = at.above) {
      const start = startOf(lane.pageOf(at));
      const hidden = Math.max(0, earliest - (at.depth + 1 - pageSize));
      mask.fill(0, start + hidden, start + pageSize);
    }
  }

  function leave(path: Path): void {
    path.left = true;
    if (path.lane < 0) return;
    taken[path.lane] = undefined;
    while (taken.length > 0 && !taken[taken.length - 1]) taken.pop();
    if (taken.length === 0) clear();
  }

  function clear(): void {
    lanes.clear();
    openRows.lanes.clear();
  }

  function drop(): boolean {
    if (lanes.count === 0) return false;
    clear();
    for (const path of taken) if (path) path.pages.length = 0;
    return true;
  }

  return { layOut: (jobs) => layOutInLanes(jobs) ?? layOutInArena(jobs), leave, drop };
}
