/**
 * The key-value arena: one row of keys and values for every slot, in host memory. The runtime takes the arrays as inputs without
 * copying them; a pass returns only its new rows, which are written here. Where a device has memory of its own, copies of the arrays lie
 * there, and what changed is sent before a pass, by pages.
 *
 * Slots lie in pages. A page whose slots hold as many positions of one text, in order, serves passes as it lies.
 */
import { ensure } from "../errors.ts";
import type { ModelConfig } from "../models/family.ts";
import type { DeviceMemory } from "../runtime/device-memory.ts";
import type { OnnxValue, ValueMaker } from "../runtime/program.ts";
import { float16Value } from "../weights/half.ts";

/** How keys and values are stored. Halves take half the memory, and half the time where memory limits. */
export type StoredType = "float32" | "float16";
/** Stored values; halves as their 16 bits. */
export type Stored = Float32Array | Uint16Array;

/** Positions in a page. Attention sums page by page: another size gives other last bits. */
export const pageSize = 64;

export const allocateStored = (type: StoredType, length: number): Stored =>
  type === "float16" ? new Uint16Array(length) : new Float32Array(length);

/** Bytes of a token's keys and values in all layers; the ones beside the values come on top. */
export const bytesPerToken = ({ layers, keyValueHeads, headDimension }: ModelConfig, type: StoredType): number =>
  2 * layers * keyValueHeads * headDimension * (type === "float16" ? 2 : 4);

/** A layer's pages: keys [pages, lanes, key-value heads, page, dimension], and values with one column more, of ones. */
export interface Planes {
  readonly keys: Stored;
  readonly values: Stored;
}

/** Planes of so many pages; the arena has one lane. */
export const allocatePlanes = (config: ModelConfig, type: StoredType, pages: number, lanes: number): Planes[] => {
  const rows = pages * lanes * config.keyValueHeads * pageSize;
  return Array.from({ length: config.layers }, () => ({
    keys: allocateStored(type, rows * config.headDimension),
    values: allocateStored(type, rows * (config.headDimension + 1)),
  }));
};

export interface PlaneDescription {
  readonly type: StoredType;
  readonly pages: number;
  readonly lanes: number;
  /** What a layer's inputs are called, before its number. */
  readonly names: readonly [keys: string, values: string];
}

/** The first pages of planes, as arguments of a pass. */
export function planeInputs(
  planes: readonly Planes[],
  { keyValueHeads: heads, headDimension: dimension }: ModelConfig,
  { type, pages, lanes, names }: PlaneDescription,
  value: ValueMaker,
): Record<string, OnnxValue> {
  const result: Record<string, OnnxValue> = {};
  const rows = pages * lanes * heads * pageSize;
  planes.forEach(({ keys, values }, layer) => {
    const dims = (width: number) => [pages, lanes, heads, pageSize, width];
    result[`${names[0]}.${layer}`] = value(type, keys.subarray(0, rows * dimension), dims(dimension));
    result[`${names[1]}.${layer}`] = value(type, values.subarray(0, rows * (dimension + 1)), dims(dimension + 1));
  });
  return result;
}

export const fullPageNames = ["keys", "values"] as const;

export interface Arena {
  readonly type: StoredType;
  readonly capacity: number;
  readonly used: number;
  /** Each layer's pages. */
  readonly planes: readonly Planes[];
  /** Arguments for a pass over the first pages: `keys.N` and `values.N`, with one lane. */
  inputs(pages: number): Readonly<Record<string, OnnxValue>>;
  /** Takes a free slot, the preferred one if it is free. Undefined: full. */
  allocate(preferred: number): number | undefined;
  free(slot: number): void;
  /** The first page after a page (-1: of all) that has no slot taken. */
  freePage(after: number): number | undefined;
  /** Makes room for at least this many slots in all; contents stay. Errors: `out_of_memory` beyond the limit. */
  grow(capacity: number): void;
  /** Forgets all capacity that an empty arena does not need. */
  shrink(): void;
  /** Sets aside memory for copies of so many rows, instead of what was set aside before. False: the limit does not allow it. */
  lend(slots: number): boolean;
  /** Writes one row of what a pass computed to a slot. */
  write(entry: Entry, slot: number): void;
  /** Copies a slot's row to another slot. */
  copy(from: number, to: number): void;
  /** Copies a slot's row to planes in float32: that of the first head to row `at` of all their rows. */
  read(slot: number, targets: readonly Planes[], at: number): void;
  /** Gives back what it holds of a device. No pass may follow. */
  release(): void;
}

/** One row of what a pass computed: keys [layers, lanes, heads, rows, dimension], and values with one column more, of ones. */
export interface Entry {
  readonly keys: Stored;
  readonly values: Stored;
  readonly lanes: number;
  readonly lane: number;
  readonly rows: number;
  readonly row: number;
}

const smallest = 128;

/** `device`: where the arrays are to have copies. */
export function createArena(
  config: ModelConfig,
  type: StoredType,
  value: ValueMaker,
  limitBytes: number,
  device?: DeviceMemory,
): Arena {
  const { keyValueHeads: heads, headDimension: dimension } = config;
  const bytesPerSlot = bytesPerToken(config, type);
  const limit = Math.floor(limitBytes / bytesPerSlot);
  ensure(limit >= 1, "bad_option", `a memory limit of ${limitBytes} bytes holds no token: one takes ${bytesPerSlot}`);
  let capacity = 0;
  let lent = 0;
  let taken = new Uint8Array(0);
  /** Slots taken in each page. */
  let filled = new Uint8Array(0);
  let used = 0;
  let lowestFree = 0;
  let planes: Planes[] = [];
  /** Pages that the device has not as they are. */
  const stale = new Set<number>();
  const known = new Map<number, Readonly<Record<string, OnnxValue>>>();

  function resize(next: number, keep: boolean): void {
    // The last page has its full size, whatever part of it the limit lets be used.
    const pages = Math.ceil(next / pageSize);
    const fresh = allocatePlanes(config, type, pages, 1);
    if (keep) {
      fresh.forEach(({ keys, values }, layer) => {
        keys.set(planes[layer].keys);
        values.set(planes[layer].values);
      });
    }
    const [marks, counts] = [new Uint8Array(next), new Uint8Array(pages)];
    if (keep) {
      marks.set(taken);
      counts.set(filled);
    }
    for (const array of planes.flatMap(({ keys, values }) => [keys, values])) device?.drop(array);
    known.clear();
    stale.clear();
    [planes, taken, filled, capacity] = [fresh, marks, counts, next];
  }
  resize(Math.min(smallest, limit), false);

  function send(page: number): void {
    const [from, to] = [page, page + 1].map((count) => count * heads * pageSize);
    for (const { keys, values } of planes) {
      device?.renew(keys.subarray(from * dimension, to * dimension));
      device?.renew(values.subarray(from * (dimension + 1), to * (dimension + 1)));
    }
    stale.delete(page);
  }

  /** Number of a slot's first row, over all heads of its page. */
  const rowOf = (slot: number): number => Math.floor(slot / pageSize) * heads * pageSize + (slot % pageSize);

  return {
    type,
    get capacity() {
      return capacity;
    },
    get used() {
      return used;
    },
    get planes() {
      return planes;
    },
    inputs(pages) {
      for (const page of [...stale]) if (page < pages) send(page);
      let made = known.get(pages);
      if (!made) {
        made = planeInputs(planes, config, { type, pages, lanes: 1, names: fullPageNames }, device?.value ?? value);
        known.set(pages, made);
      }
      return made;
    },
    allocate(preferred) {
      let slot = preferred;
      if (slot >= capacity || taken[slot]) {
        while (lowestFree < capacity && taken[lowestFree]) lowestFree += 1;
        slot = lowestFree;
        if (slot >= capacity) return undefined;
      }
      taken[slot] = 1;
      filled[Math.floor(slot / pageSize)] += 1;
      used += 1;
      return slot;
    },
    free(slot) {
      ensure(taken[slot], "internal", `slot ${slot} was freed twice`);
      taken[slot] = 0;
      filled[Math.floor(slot / pageSize)] -= 1;
      used -= 1;
      if (slot < lowestFree) lowestFree = slot;
    },
    freePage(after) {
      for (let page = after + 1; (page + 1) * pageSize <= capacity; page++) if (filled[page] === 0) return page;
      return undefined;
    },
    grow(wanted) {
      if (wanted <= capacity) return;
      ensure(
        wanted <= limit - lent,
        "out_of_memory",
        () => `the key-value arena needs ${wanted} slots, but its memory limit of ${limitBytes} bytes allows ${limit}`,
      );
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
    write({ keys, values, lanes, lane, rows, row }, slot) {
      if (device) stale.add(Math.floor(slot / pageSize));
      planes.forEach((plane, layer) => {
        for (let head = 0; head < heads; head++) {
          const from = ((layer * lanes + lane) * heads + head) * rows + row;
          const to = rowOf(slot) + head * pageSize;
          copyRow(keys, from, plane.keys, to, dimension);
          copyRow(values, from, plane.values, to, dimension + 1);
        }
      });
    },
    copy(from, to) {
      if (device) stale.add(Math.floor(to / pageSize));
      for (const { keys, values } of planes) {
        for (let head = 0; head < heads; head++) {
          const [source, target] = [rowOf(from) + head * pageSize, rowOf(to) + head * pageSize];
          keys.copyWithin(target * dimension, source * dimension, (source + 1) * dimension);
          values.copyWithin(target * (dimension + 1), source * (dimension + 1), (source + 1) * (dimension + 1));
        }
      }
    },
    read(slot, targets, at) {
      const copy = type === "float16" ? widenRow : copyRow;
      planes.forEach(({ keys, values }, layer) => {
        for (let head = 0; head < heads; head++) {
          const [from, to] = [rowOf(slot) + head * pageSize, at + head * pageSize];
          copy(keys, from, targets[layer].keys, to, dimension);
          copy(values, from, targets[layer].values, to, dimension + 1);
        }
      });
    },
    release() {
      known.clear();
      device?.close();
    },
  };
}

/** Row by row in a loop: a call of `set` costs more than so few numbers. */
function copyRow(source: Stored, from: number, target: Stored, to: number, width: number): void {
  const [start, end] = [from * width, to * width];
  for (let i = 0; i < width; i++) target[end + i] = source[start + i];
}

function widenRow(source: Stored, from: number, target: Stored, to: number, width: number): void {
  const [start, end] = [from * width, to * width];
  for (let i = 0; i < width; i++) target[end + i] = float16Value(source[start + i]);
}
