/** The arena's copies on a device with memory of its own. */
import { expect, it } from "vitest";
import type { ModelConfig } from "../models/family.ts";
import type { DeviceMemory } from "../runtime/device-memory.ts";
import type { OnnxValue } from "../runtime/program.ts";
import { createArena, type Entry, pageSize, type StoredType } from "./arena.ts";
import { uniform } from "./random.ts";

const config = { layers: 2, keyValueHeads: 2, headDimension: 4 } as ModelConfig;

/** A device whose memory can be looked at. */
function device() {
  const copies = new Map<ArrayBufferLike, Uint8Array>();
  const sent = { bytes: 0, closed: false };
  const put = (buffer: ArrayBufferLike, from: number, length: number): void => {
    copies.get(buffer)!.set(new Uint8Array(buffer, from, length), from);
    sent.bytes += length;
  };
  const memory: DeviceMemory = {
    value(type, data, dims) {
      const { buffer } = data as Uint8Array;
      if (!copies.has(buffer)) {
        copies.set(buffer, new Uint8Array(buffer.byteLength));
        put(buffer, 0, buffer.byteLength);
      }
      return { type, dims, data: copies.get(buffer), dispose() {} };
    },
    renew({ buffer, byteOffset, byteLength }) {
      if (copies.has(buffer)) put(buffer, byteOffset, byteLength);
    },
    drop: ({ buffer }) => void copies.delete(buffer),
    close: () => {
      copies.clear();
      sent.closed = true;
    },
  };
  return { memory, copies, sent };
}

it.each<StoredType>(["float32", "float16"])("are what the arena holds (%s), and only what changed is sent", (type) => {
  const { memory, copies, sent } = device();
  const none = (): OnnxValue => {
    throw new Error("the host's arrays are no arguments");
  };
  const arena = createArena(config, type, none, 1e6, memory);
  const made = type === "float16" ? Uint16Array : Float32Array;
  const entry = (seed: number): Entry => {
    const drawn = (width: number): number[] =>
      Array.from({ length: 2 * 2 * width }, (_, i) => 1000 * uniform({ seed, request: 0 }, i, "data"));
    const some = (width: number) => made.from(drawn(width));
    return { keys: some(4), values: some(5), lanes: 1, lane: 0, rows: 1, row: 0 };
  };
  const check = (pages: number): void => {
    const inputs = arena.inputs(pages);
    for (const [layer, { keys, values }] of arena.planes.entries()) {
      for (const [name, array] of [["keys", keys] as const, ["values", values] as const]) {
        const { data, dims } = inputs[`${name}.${layer}`];
        const bytes = dims.reduce((a, b) => a * b, 1) * array.BYTES_PER_ELEMENT;
        expect((data as Uint8Array).subarray(0, bytes)).toEqual(new Uint8Array(array.buffer, 0, bytes));
      }
    }
  };
  for (let slot = 0; slot < 70; slot++) arena.write(entry(slot), arena.allocate(slot)!);
  check(2);
  const before = sent.bytes;
  check(2);
  expect(sent.bytes).toBe(before);
  arena.write(entry(500), 3);
  arena.copy(3, 100);
  check(1); // the second page is not asked for, and not sent
  expect(sent.bytes - before).toBe(2 * 2 * pageSize * (4 + 5) * (type === "float16" ? 2 : 4));
  check(2);
  arena.grow(300);
  expect(copies.size).toBe(0);
  arena.write(entry(501), arena.allocate(290)!);
  check(5);
  expect(copies.size).toBe(4);
  arena.release();
  expect(sent.closed).toBe(true);
});
