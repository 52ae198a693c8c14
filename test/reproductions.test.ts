/** Every system that runs measures its claims at the tiny size, and every claim it measures gets a verdict. */
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { papers } from "../src/papers/index.ts";
import { judge } from "../src/papers/judge.ts";
import { reproduce } from "../src/papers/run.ts";
import { root } from "./build.ts";

/** Measured on a model that is in the repository and not in the package. */
const absent = new Set(existsSync(join(root, "models/argos/model.safetensors")) ? [] : ["multimodal"]);

describe("reproductions", () => {
  it.each(
    papers
      .filter(({ reproduction, name }) => reproduction && !absent.has(name))
      .map((paper) => [paper.name, paper] as const),
  )("%s, tiny", { timeout: 120_000 }, async (_, paper) => {
    const folder = await mkdtemp(join(tmpdir(), "ventris-reproduction-"));
    try {
      let steps = 0;
      const record = await reproduce(paper, {
        size: "tiny",
        folder,
        onProgress: ({ done, total }) => {
          expect(done).toBeLessThanOrEqual(total);
          steps = Math.max(steps, done / total);
        },
      });
      expect(steps).toBe(1);
      for (const { value, interval } of record.measurements) {
        expect(Number.isFinite(value)).toBe(true);
        if (interval) expect(interval[0] <= value && value <= interval[1]).toBe(true);
      }
      expect(judge(paper, record).some(({ holds }) => holds !== undefined)).toBe(true);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
