/** All that a forest keeps of its rows' keys and values. */
import type { ModelConfig } from "../models/family.ts";
import type { DeviceMemory } from "../runtime/device-memory.ts";
import type { ValueMaker } from "../runtime/program.ts";
import { type Arena, createArena, type StoredType } from "./arena.ts";
import { createLanes, type Lanes } from "./lanes.ts";
import { createOpenRows, type OpenRows } from "./open-rows.ts";

export interface Memory {
  readonly arena: Arena;
  readonly lanes: Lanes;
  /** Open rows of passes over the arena, and of passes over lanes. */
  readonly openRows: { readonly arena: OpenRows; readonly lanes: OpenRows };
}

/** Errors: `bad_option` for a limit that holds no token. */
export function createMemory(
  config: ModelConfig,
  type: StoredType,
  value: ValueMaker,
  limitBytes: number,
  device?: DeviceMemory,
): Memory {
  const arena = createArena(config, type, value, limitBytes, device);
  return {
    arena,
    lanes: createLanes(config, value, arena),
    openRows: { arena: createOpenRows(config, value, arena), lanes: createOpenRows(config, value, arena) },
  };
}
