/**
 * The key-value arena: one row of keys and values for every slot, in host memory. The runtime takes the arrays as inputs without
 * copying them; a pass returns only its new rows, which are written here. A device form would keep the same interface.
 */
import type { Tensor as OnnxValue } from "onnxruntime-common";
import { ensure } from "../errors.ts";
import type { ModelConfig } from "../models/family.ts";
import type { ValueMaker } from "../runtime/program.ts";

/** How keys and values are stored. Halves take half the memory, and half the time where memory limits. */
export type StoredType = "float32" | "float16";
/** Stored values; halves as their 16 bits. */
export type Stored = Float32Array | Uint16Array;

export const allocateStored = (type: StoredType, length: number): Stored =>
  type === "float16" ? new Uint16Array(length) : new Float32Array(length);

/** Bytes of a token's keys and values in all layers. */
export const bytesPerToken = ({ layers, keyValueHeads, headDimension }: ModelConfig, type: StoredType): number =>
  2 * layers * keyValueHeads * headDimension * (type === "float16" ? 2 : 4);

/** Planes as a pass takes them: keys of layer 0, values of layer 0, keys of layer 1, … become `keys.0`, `values.0`, `keys.1`, … */
export const planeInputs = (
  planes: readonly Stored[],
  type: StoredType,
  dims: readonly number[],
  value: ValueMaker,
): Record<string, OnnxValue> =>
  Object.fromEntries(
    planes.map((plane, p) => [`${p % 2 === 0 ? "keys" : "values"}.${p >> 1}`, value(type, plane, dims)]),
  );

export interface Arena {
  readonly type: StoredType;
  readonly capacity: number;
  readonly used: number;
  /** Arguments for a pass: `keys.N` and `values.N`. The same objects until the capacity changes. */
  readonly inputs: Readonly<Record<string, OnnxValue>>;
  /** Takes a free slot, the preferred one if it is free. Undefined: full. */
  allocate(preferred: number): number | undefined;
  free(slot: number): void;
  /** Makes room for at least this many slots in all; contents stay. Errors: `out_of_memory` beyond the limit. */
  grow(capacity: number): void;
  /** Forgets all capacity that an empty arena does not need. */
  shrink(): void;
  /** Sets aside memory for copies of so many rows, instead of what was set aside before. False: the limit does not allow it. */
  lend(slots: number): boolean;
  /** Writes one row of what a pass computed to a slot. */
  write(entry: Entry, slot: number): void;
  /** Copies a slot's row to planes like its own: of each plane, head h goes to `at + h * headStride`. */
  read(slot: number, planes: readonly Stored[], at: number, headStride: number): void;
}

/** One row of a pass's entries [2 * layers, lanes, heads, rows, dimension]. */
export interface Entry {
  readonly values: Stored;
  readonly lanes: number;
  readonly lane: number;
  readonly rows: number;
  readonly row: number;
}

const smallest = 128;

export function createArena(config: ModelConfig, type: StoredType, value: ValueMaker, limitBytes: number): Arena {
  const { layers, keyValueHeads: heads, headDimension: dimension } = config;
  const bytesPerSlot = bytesPerToken(config, type);
  const limit = Math.floor(limitBytes / bytesPerSlot);
  ensure(limit >= 1, "bad_option", `a memory limit of ${limitBytes} bytes holds no token: one takes ${bytesPerSlot}`);
  let capacity = 0;
  let lent = 0;
  let taken = new Uint8Array(0);
  let used = 0;
  let lowestFree = 0;
  let planes: Stored[] = [];
  let inputs: Record<string, OnnxValue> = {};

  function resize(next: number, keep: boolean): void {
    const fresh = Array.from({ length: 2 * layers }, () => allocateStored(type, heads * next * dimension));
    if (keep) {
      planes.forEach((plane, p) => {
        for (let head = 0; head < heads; head++) {
          const rows = plane.subarray(head * capacity * dimension, (head + 1) * capacity * dimension);
          fresh[p].set(rows, head * next * dimension);
        }
      });
    }
    const marks = new Uint8Array(next);
    if (keep) marks.set(taken);
    [planes, taken, capacity] = [fresh, marks, next];
    inputs = planeInputs(planes, type, [1, heads, capacity, dimension], value);
  }
  resize(Math.min(smallest, limit), false);

  return {
    type,
    get capacity() {
      return capacity;
    },
    get used() {
      return used;
    },
    get inputs() {
      return inputs;
    },
    allocate(preferred) {
      let slot = preferred;
      if (slot >= capacity || taken[slot]) {
        while (lowestFree < capacity && taken[lowestFree]) lowestFree += 1;
        slot = lowestFree;
        if (slot >= capacity) return undefined;
      }
      taken[slot] = 1;
      used += 1;
      return slot;
    },
    free(slot) {
      ensure(taken[slot], "internal", `slot ${slot} was freed twice`);
      taken[slot] = 0;
      used -= 1;
      if (slot < lowestFree) lowestFree = slot;
    },
    grow(wanted) {
      if (wanted <= capacity) return;
      ensure(
        wanted <= limit - lent,
        "out_of_memory",
        () => `the key-value arena needs ${wanted} slots, but its memory limit of ${limitBytes} bytes allows ${limit}`,
      );
      // Every pass looks at the whole capacity, so a large arena grows by a quarter only.
      const next = capacity < 1024 ? capacity * 2 : Math.ceil((capacity * 1.25) / 256) * 256;
      resize(Math.min(limit - lent, Math.max(wanted, next)), true);
    },
    shrink() {
      if (used > 0 || capacity <= smallest) return;
      lowestFree = 0;
      resize(Math.min(smallest, limit), false);
    },
    lend(slots) {
      if (slots > 0 && capacity + slots > limit) return false;
      lent = slots;
      return true;
    },
    write({ values, lanes, lane, rows, row }, slot) {
      for (let p = 0; p < planes.length; p++) {
        const plane = planes[p];
        for (let head = 0; head < heads; head++) {
          const from = (((p * lanes + lane) * heads + head) * rows + row) * dimension;
          const to = (head * capacity + slot) * dimension;
          for (let i = 0; i < dimension; i++) plane[to + i] = values[from + i];
        }
      }
    },
    read(slot, targets, at, headStride) {
      for (let p = 0; p < planes.length; p++) {
        const [plane, target] = [planes[p], targets[p]];
        for (let head = 0; head < heads; head++) {
          const from = (head * capacity + slot) * dimension;
          const to = at + head * headStride;
          for (let i = 0; i < dimension; i++) target[to + i] = plane[from + i];
        }
      }
    },
  };
}
