import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { blockLayouts, dequantizeBlocks } from "./gguf-blocks.ts";
import type { GgufBlockType } from "./source.ts";

/** Random blocks and what the `gguf` package (0.19, NumPy), ggml's own reference in Python, makes of them; base64. */
const reference: Record<string, { bytes: string; values: string; elements: number }> = JSON.parse(
  readFileSync(fileURLToPath(new URL("gguf-blocks.reference.json", import.meta.url)), "utf8"),
);

const decoded = (base64: string): Uint8Array<ArrayBuffer> => Uint8Array.from(Buffer.from(base64, "base64"));

describe("values of GGUF's blocks", () => {
  it("are known to the reference for every type that is read", () => {
    expect(Object.keys(reference).sort()).toEqual(Object.keys(blockLayouts).sort());
  });

  it.each(Object.entries(reference))("%s", (type, { bytes, values, elements }) => {
    const expected = new Float32Array(decoded(values).buffer);
    const found = dequantizeBlocks(type as GgufBlockType, decoded(bytes));
    expect(blockLayouts[type as GgufBlockType].elements).toBe(elements);
    expect(found.length).toBe(expected.length);
    for (let i = 0; i < found.length; i++) {
      expect(Math.abs(found[i] - expected[i])).toBeLessThanOrEqual(1e-6 * Math.max(1, Math.abs(expected[i])));
    }
  });
});
