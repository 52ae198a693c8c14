/**
 * Lanes: a copy of one text's full pages for each request. In the arena every row looks over the pages of all requests and of cached
 * prefixes, so that attention grows with the square of their number; in a lane it looks at its own text.
 */
import type { ModelConfig } from "../models/family.ts";
import type { OnnxValue, ValueMaker } from "../runtime/program.ts";
import { type Arena, allocatePlanes, fullPageNames, type Planes, pageSize, planeInputs } from "./arena.ts";

export interface Lanes {
  /** Lanes of a pass over them. */
  readonly count: number;
  /** Pages that every lane has room for. */
  readonly pages: number;
  /** Makes exactly so many lanes, of at least such a length; contents stay. False: the memory limit does not allow it. */
  reserve(count: number, pages: number): boolean;
  /** Copies a page of the arena to a page of a lane. */
  copy(from: number, lane: number, to: number): void;
  /** Arguments for a pass over the first pages: `keys.N` and `values.N`. */
  inputs(pages: number): Readonly<Record<string, OnnxValue>>;
  clear(): void;
}

const powerOfTwo = (atLeast: number): number => 2 ** Math.ceil(Math.log2(atLeast));

export function createLanes(config: ModelConfig, value: ValueMaker, arena: Arena): Lanes {
  const { keyValueHeads: heads, headDimension: dimension } = config;
  /** Rows of a page in one lane. */
  const rows = heads * pageSize;
  let [count, pages] = [0, 0];
  let planes: Planes[] = [];
  const known = new Map<number, Readonly<Record<string, OnnxValue>>>();

  return {
    get count() {
      return count;
    },
    get pages() {
      return pages;
    },
    reserve(nextCount, wantedPages) {
      if (nextCount === count && wantedPages <= pages) return true;
      const nextPages = Math.max(pages, powerOfTwo(wantedPages));
      // A page for the rows of each lane that are not in full pages.
      if (!arena.lend(nextCount * (nextPages + 1) * pageSize)) return false;
      const fresh = allocatePlanes(config, arena.type, nextPages, nextCount);
      const kept = Math.min(count, nextCount);
      for (const [layer, plane] of planes.entries()) {
        for (let page = 0; page < pages; page++) {
          const [from, to] = [page * count * rows, page * nextCount * rows];
          const copied = (width: number) => [from * width, (from + kept * rows) * width] as const;
          fresh[layer].keys.set(plane.keys.subarray(...copied(dimension)), to * dimension);
          fresh[layer].values.set(plane.values.subarray(...copied(dimension + 1)), to * (dimension + 1));
        }
      }
      [planes, count, pages] = [fresh, nextCount, nextPages];
      known.clear();
      return true;
    },
    copy(from, lane, to) {
      const target = (to * count + lane) * rows;
      for (const [layer, { keys, values }] of arena.planes.entries()) {
        const part = (width: number) => [from * rows * width, (from + 1) * rows * width] as const;
        planes[layer].keys.set(keys.subarray(...part(dimension)), target * dimension);
        planes[layer].values.set(values.subarray(...part(dimension + 1)), target * (dimension + 1));
      }
    },
    inputs(wanted) {
      let made = known.get(wanted);
      if (!made) {
        made = planeInputs(
          planes,
          config,
          { type: arena.type, pages: wanted, lanes: count, names: fullPageNames },
          value,
        );
        known.set(wanted, made);
      }
      return made;
    },
    clear() {
      arena.lend(0);
      [planes, count, pages] = [[], 0, 0];
      known.clear();
    },
  };
}
