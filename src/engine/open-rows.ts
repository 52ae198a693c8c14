/**
 * Rows whose page is not full yet: contiguous copies that a pass takes beside the full pages. A row keeps its place from pass to
 * pass while its text goes on, so that a step copies only what it added.
 */
import type { Tensor as OnnxValue } from "onnxruntime-common";
import type { ModelConfig } from "../models/family.ts";
import type { ValueMaker } from "../runtime/program.ts";
import { type Arena, allocateStored, pageSize, type Stored } from "./arena.ts";
import type { Node } from "./node.ts";

export interface OpenRows {
  /** Rows of each lane. */
  readonly size: number;
  /** Brings in what each lane needs; nodes must be in the arena. Returns where each is among its lane's rows. */
  gather(needed: readonly ReadonlySet<Node>[]): Map<Node, number>[];
  /** Arguments for a pass: `open.N`, [lanes, key-value heads, size, 2 * dimension + 1]. */
  readonly inputs: Readonly<Record<string, OnnxValue>>;
  clear(): void;
}

/** 64, 128, 192, 256, 384, 512, …: the runtime keeps memory for every shape it has seen, so that there should not be too many. */
function roundedSize(atLeast: number): number {
  const pages = Math.max(1, Math.ceil(atLeast / pageSize));
  const power = 2 ** Math.floor(Math.log2(pages));
  return pageSize * (pages <= power ? power : pages <= 1.5 * power ? 1.5 * power : 2 * power);
}

export function createOpenRows(config: ModelConfig, value: ValueMaker, arena: Arena): OpenRows {
  const { layers, keyValueHeads: heads, headDimension } = config;
  const width = 2 * headDimension + 1;
  let lanes: { places: Map<Node, number>; free: number[] }[] = [];
  let size = 0;
  let planes: Stored[] = [];
  let inputs: Readonly<Record<string, OnnxValue>> = {};

  function resize(laneCount: number, atLeast: number): void {
    size = roundedSize(atLeast);
    planes = Array.from({ length: layers }, () => allocateStored(arena.type, laneCount * heads * size * width));
    lanes = Array.from({ length: laneCount }, () => emptyLane());
    const dims = [laneCount, heads, size, width];
    inputs = Object.fromEntries(planes.map((plane, layer) => [`open.${layer}`, value(arena.type, plane, dims)]));
  }

  const emptyLane = () => ({
    places: new Map<Node, number>(),
    free: Array.from({ length: size }, (_, i) => size - 1 - i),
  });

  return {
    get size() {
      return size;
    },
    gather(needed) {
      const most = needed.reduce((max, nodes) => Math.max(max, nodes.size), 1);
      // What was needed once, for a long prompt or many branches, is not kept for good.
      if (needed.length !== lanes.length || most > size || 4 * roundedSize(most) < size) resize(needed.length, most);
      return needed.map((nodes, lane) => {
        const { places, free } = lanes[lane];
        const missing = [...nodes].filter((node) => !places.has(node));
        if (missing.length > free.length) {
          for (const [node, place] of places) {
            if (nodes.has(node)) continue;
            places.delete(node);
            free.push(place);
          }
        }
        for (const node of missing) {
          const place = free.pop()!;
          places.set(node, place);
          arena.read(node.slot, planes, (lane * heads * size + place) * width, size * width);
        }
        return places;
      });
    },
    get inputs() {
      return inputs;
    },
    clear() {
      [lanes, size, planes, inputs] = [[], 0, [], {}];
    },
  };
}
