/**
 * Lanes: a contiguous copy of one text's keys and values for each request. In the arena every row looks over the slots of all requests
 * and of cached prefixes, so that attention grows with the square of their number; in a lane it looks at its own text.
 */
import type { Tensor as OnnxValue } from "onnxruntime-common";
import type { ModelConfig } from "../models/family.ts";
import type { ValueMaker } from "../runtime/program.ts";
import { type Arena, allocateStored, planeInputs, type Stored } from "./arena.ts";

export interface Lanes {
  /** Positions that every lane has room for. */
  readonly length: number;
  /** Makes room for so many lanes of such a length; contents stay. False: the memory limit does not allow it. */
  reserve(count: number, length: number): boolean;
  /** Copies a slot of the arena to a position of a lane. */
  copy(slot: number, lane: number, position: number): void;
  /** Arguments for a pass over the first lanes: `keys.N` and `values.N`, [count, key-value heads, length, head dimension]. */
  inputs(count: number): Readonly<Record<string, OnnxValue>>;
  clear(): void;
}

const shortest = 128;
const powerOfTwo = (atLeast: number): number => 2 ** Math.ceil(Math.log2(atLeast));

export function createLanes(config: ModelConfig, value: ValueMaker, arena: Arena): Lanes {
  const { layers, keyValueHeads: heads, headDimension: dimension } = config;
  let [count, length] = [0, 0];
  let planes: Stored[] = [];
  const known = new Map<number, Readonly<Record<string, OnnxValue>>>();

  return {
    get length() {
      return length;
    },
    reserve(wantedCount, wantedLength) {
      if (wantedCount <= count && wantedLength <= length) return true;
      const nextCount = Math.max(count, powerOfTwo(wantedCount));
      const nextLength = Math.max(length, shortest, powerOfTwo(wantedLength));
      if (!arena.lend(nextCount * nextLength)) return false;
      const fresh = planes.map(() => allocateStored(arena.type, 0));
      for (let p = 0; p < 2 * layers; p++) {
        const plane = allocateStored(arena.type, nextCount * heads * nextLength * dimension);
        for (let row = 0; row < count * heads; row++) {
          const from = planes[p].subarray(row * length * dimension, (row + 1) * length * dimension);
          plane.set(from, row * nextLength * dimension);
        }
        fresh[p] = plane;
      }
      [planes, count, length] = [fresh, nextCount, nextLength];
      known.clear();
      return true;
    },
    copy(slot, lane, position) {
      arena.read(slot, planes, (lane * heads * length + position) * dimension, length * dimension);
    },
    inputs(wanted) {
      let made = known.get(wanted);
      if (!made) {
        const parts = planes.map((plane) => plane.subarray(0, wanted * heads * length * dimension));
        made = planeInputs(parts, arena.type, [wanted, heads, length, dimension], value);
        known.set(wanted, made);
      }
      return made;
    },
    clear() {
      arena.lend(0);
      [planes, count, length] = [[], 0, 0];
      known.clear();
    },
  };
}
