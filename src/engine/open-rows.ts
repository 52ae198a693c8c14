/**
 * Rows of pages that are not full yet, laid out as the last pages of passes. A row stays in its column from pass to pass while its
 * text goes on, so that a step copies only what it added.
 */
import type { ModelConfig } from "../models/family.ts";
import type { OnnxValue, ValueMaker } from "../runtime/program.ts";
import { type Arena, allocatePlanes, type Planes, pageSize, planeInputs } from "./arena.ts";
import type { Column } from "./last-pages.ts";
import type { Node } from "./node.ts";

export interface OpenRows {
  /**
   * Brings rows of the arena to columns of each lane's pages. Returns arguments for a pass over so many pages: `lastKeys.N` and
   * `lastValues.N`, as `planeInputs` describes them, in float32.
   */
  arrange(lanes: readonly (readonly Column[])[], pages: number): Readonly<Record<string, OnnxValue>>;
  clear(): void;
}

export function createOpenRows(config: ModelConfig, value: ValueMaker, arena: Arena): OpenRows {
  let [count, size] = [0, 0];
  let planes: Planes[] = [];
  /** What each column of each page holds, as rows of the planes are numbered. */
  let held: (Node | undefined)[] = [];
  const known = new Map<number, Readonly<Record<string, OnnxValue>>>();

  function resize(lanes: number, pages: number): void {
    [count, size] = [lanes, pages];
    planes = allocatePlanes(config, "float32", pages, lanes);
    held = new Array(pages * lanes * pageSize).fill(undefined);
    known.clear();
  }

  return {
    arrange(lanes, pages) {
      // What was needed once, for a long prompt or many branches, is not kept for good.
      if (lanes.length !== count || pages > size || 8 * pages < size) resize(lanes.length, pages);
      lanes.forEach((columns, lane) => {
        for (const { node, page, column } of columns) {
          const block = page * count + lane;
          const at = block * pageSize + column;
          if (held[at] === node) continue;
          held[at] = node;
          arena.read(node.slot, planes, block * config.keyValueHeads * pageSize + column);
        }
      });
      let inputs = known.get(pages);
      if (!inputs) {
        inputs = planeInputs(
          planes,
          config,
          { type: "float32", pages, lanes: count, names: ["lastKeys", "lastValues"] },
          value,
        );
        known.set(pages, inputs);
      }
      return inputs;
    },
    clear() {
      resize(0, 0);
    },
  };
}
