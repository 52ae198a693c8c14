/**
 * Where the rows of a pass stand and what they look over: the arena, or, where that leaves much less, a lane for each request, which
 * holds its own text instead of everybody's and of what is kept as cached prefixes.
 */
import type { Arena } from "./arena.ts";
import type { Lanes } from "./lanes.ts";
import type { Job, Node, Path, Row } from "./node.ts";
import { createScratch } from "./pass.ts";

/** Rows in the places that they have in a pass: one lane over the whole arena, or a lane for each job. */
export interface Layout {
  readonly rows: readonly { readonly row: Row; readonly at: number }[];
  /** Rows of the pass in all, `lanes` times as many as of a lane. */
  readonly count: number;
  readonly lanes: number;
  readonly slots: number;
  readonly arena: ReturnType<Lanes["inputs"]>;
  readonly mask: Float32Array;
}

const minusInfinity = -1e9; // finite: a row of -Infinity alone would give NaN
/** Copying into lanes pays when they leave at most this part of what rows would look over in the arena. */
const worthwhile = 0.7;
/** Lanes have equally many rows; rows of nobody may make up this part of a pass, as they are computed like others. */
const mostPadding = 1 / 3;

/** 2, 3, 4, 6, 8, 12, …: the runtime keeps memory for every shape it has seen, so that there should not be too many. */
function roundLaneCount(atLeast: number): number {
  const power = 2 ** Math.floor(Math.log2(atLeast));
  return atLeast <= power ? power : atLeast <= 1.5 * power ? 1.5 * power : 2 * power;
}

export interface Layouts {
  /** `arena` must hold all ancestors of the rows. The mask is valid until the next call. */
  layOut(jobs: readonly Job[]): Layout;
  /** A lease that ends gives its lane back. */
  leave(path: Path): void;
  /** Gives the memory of all lanes back, which are made anew when they are needed. False: there are none. */
  drop(): boolean;
}

/** `window`: how far back a position sees, its own included. */
export function createLayouts(arena: Arena, lanes: Lanes, window: number): Layouts {
  const maskBuffer = createScratch();
  /** Who has which lane. */
  const taken: (Path | undefined)[] = [];

  /** All rows look over the whole arena: where that holds little else, and for rows whose ancestors are not one text. */
  function layOutInArena(jobs: readonly Job[]): Layout {
    const rows = jobs.flatMap((job) => job.rows);
    const slots = arena.capacity;
    return {
      rows: rows.map((row, at) => ({ row, at })),
      count: rows.length,
      lanes: 1,
      slots,
      arena: arena.inputs,
      mask: buildMask(rows, slots),
    };
  }

  /** Every job in a lane of its own, where that leaves much less to look over; undefined where it does not. */
  function layOutInLanes(jobs: readonly Job[]): Layout | undefined {
    // A lease with several calls under way has but one lane.
    if (new Set(jobs.map(({ path }) => path)).size < jobs.length) return undefined;
    if (jobs.some(({ path }) => path.left)) return undefined;
    const tips: (Node | undefined)[] = [];
    let [total, most, longest] = [0, 0, 1];
    for (const job of jobs) {
      const tip = commonText(job);
      if (tip === "none") return undefined;
      tips.push(tip);
      total += job.rows.length;
      most = Math.max(most, job.rows.length);
      if (tip) longest = Math.max(longest, tip.depth + 1);
    }
    const free = () => {
      const at = taken.indexOf(undefined);
      return at < 0 ? taken.length : at;
    };
    for (const { path } of jobs) {
      if (path.lane >= 0) continue;
      path.lane = free();
      taken[path.lane] = path;
    }
    const indices = jobs.map(({ path }) => path.lane);
    const laneCount = roundLaneCount(Math.max(...indices) + 1);
    const count = laneCount * most;
    const looked = count * Math.max(longest, lanes.length);
    if (total < (1 - mostPadding) * count || looked > worthwhile * total * arena.capacity) return undefined;
    if (!lanes.reserve(laneCount, longest)) return undefined;
    jobs.forEach(({ path }, i) => {
      follow(path, tips[i]);
    });
    const slots = lanes.length;
    const width = slots + most;
    const mask = maskBuffer(count * width).fill(minusInfinity);
    for (let row = 0; row < count; row++) mask[row * width + slots + (row % most)] = 0; // rows of nobody, too
    const rows: { row: Row; at: number }[] = [];
    jobs.forEach((job, i) => {
      const start = indices[i] * most;
      const rowOf = new Map(job.rows.map(({ node }, row) => [node, row]));
      job.rows.forEach((row, r) => {
        rows.push({ row, at: start + r });
        const base = (start + r) * width;
        const earliest = Math.max(0, row.node.depth - window + 1);
        let ancestor = row.node.parent;
        for (; ancestor && rowOf.has(ancestor) && ancestor.depth >= earliest; ancestor = ancestor.parent) {
          mask[base + slots + rowOf.get(ancestor)!] = 0;
        }
        if (ancestor && ancestor.depth >= earliest) mask.fill(0, base + earliest, base + ancestor.depth + 1);
      });
    });
    return { rows, count, lanes: laneCount, slots, arena: lanes.inputs(laneCount), mask };
  }

  /** The last token of the one text that all rows of a job stand below; undefined for a job of first tokens. */
  function commonText({ rows }: Job): Node | undefined | "none" {
    const inside = new Set(rows.map(({ node }) => node));
    const stems = new Set<Node>();
    for (const { node } of rows) {
      const { parent } = node;
      if (!parent || inside.has(parent)) continue;
      if (parent.pending) return "none"; // another job of this pass computes it
      stems.add(parent);
    }
    let tip: Node | undefined;
    for (const stem of stems) if (!tip || stem.depth > tip.depth) tip = stem;
    let met = 0;
    for (let at = tip; at && met < stems.size; at = at.parent) if (stems.has(at)) met += 1;
    return met === stems.size ? tip : "none";
  }

  /** Brings a lane's copy up to the text that ends with this node. */
  function follow({ lane, nodes }: Path, tip: Node | undefined): void {
    for (let at = tip; at && nodes[at.depth] !== at; at = at.parent) {
      lanes.copy(at.slot, lane, at.depth);
      nodes[at.depth] = at;
    }
    nodes.length = tip ? tip.depth + 1 : 0;
  }

  function leave(path: Path): void {
    path.left = true;
    if (path.lane < 0) return;
    taken[path.lane] = undefined;
    while (taken.length > 0 && !taken[taken.length - 1]) taken.pop();
    if (taken.length === 0) lanes.clear();
  }

  /** Additive [rows, slots + rows]: 0 at ancestors within the window and at the row itself. */
  function buildMask(rows: readonly Row[], slots: number): Float32Array {
    const count = rows.length;
    const width = slots + count;
    const mask = maskBuffer(count * width).fill(minusInfinity);
    const rowOf = new Map<Node, number>(rows.map(({ node }, i) => [node, i]));
    const filled = new Map<Node, number>();
    rows.forEach(({ node }, row) => {
      const base = row * width;
      const earliest = node.depth - window + 1;
      mask[base + slots + row] = 0;
      let ancestor = node.parent;
      while (ancestor && rowOf.has(ancestor) && ancestor.depth >= earliest) {
        mask[base + slots + rowOf.get(ancestor)!] = 0;
        ancestor = ancestor.parent;
      }
      if (!ancestor) return;
      const before = window === Infinity ? filled.get(ancestor) : undefined;
      if (before !== undefined) {
        mask.copyWithin(base, before * width, before * width + slots);
        return;
      }
      filled.set(ancestor, row);
      for (let last: Node | undefined = ancestor; last && last.depth >= earliest; last = last.stretch.parent) {
        const first = Math.max(last.stretch.slot, last.slot - (last.depth - Math.max(earliest, 0)));
        mask.fill(0, base + first, base + last.slot + 1);
      }
    });
    return mask;
  }

  function drop(): boolean {
    if (lanes.length === 0) return false;
    lanes.clear();
    for (const path of taken) if (path) path.nodes.length = 0;
    return true;
  }

  return { layOut: (jobs) => layOutInLanes(jobs) ?? layOutInArena(jobs), leave, drop };
}
