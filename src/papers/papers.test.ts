import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it, vi } from "vitest";
import { VentrisError } from "../errors.ts";
import { methods } from "../methods/index.ts";
import { findPaper, papers } from "./index.ts";
import { judge, meets } from "./judge.ts";
import type { Paper } from "./paper.ts";
import { recordState, weightsOf } from "./record-state.ts";
import { readRecord } from "./records.ts";
import { defineReproduction } from "./reproduction.ts";
import { reproduce } from "./run.ts";
import { bootstrap, meanOf, ratioOf } from "./statistics.ts";

describe("the list of papers", () => {
  it("is complete, in the order of numbers, and no name comes twice", () => {
    const numbers = papers.map(({ number }) => number);
    expect(numbers).toEqual(Array.from({ length: 24 }, (_, i) => i + 1));
    expect(new Set(papers.map(({ name }) => name)).size).toBe(papers.length);
  });

  it.each(papers.map((paper) => [paper.name, paper] as const))("%s is whole", (_, paper) => {
    expect(existsSync(fileURLToPath(new URL(`../${paper.lives.folder}/paper.ts`, import.meta.url)))).toBe(true);
    expect(paper.what.every((sentence) => sentence.endsWith("."))).toBe(true);
    expect(paper.line).not.toMatch(/\.$/);
    expect(paper.claims.length).toBeGreaterThan(0);
    expect(new Set(paper.claims.map(({ id }) => id)).size).toBe(paper.claims.length);
    for (const { id, says, holds } of paper.claims) {
      expect(id).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/);
      expect(says).toMatch(/\.$/);
      expect(Object.keys(holds).filter((key) => key !== "surely").length).toBeGreaterThan(0);
    }
    const { method } = paper.lives;
    if (method !== undefined && paper.reproduction) expect(methods.map(({ name }) => name)).toContain(method);
  });

  it.each(papers.map((paper) => [paper.name, paper] as const))("%s has a run to show", async (_, paper) => {
    const { showcase, lives } = paper;
    expect(showcase).toBeDefined();
    if ("prompt" in showcase!) expect(lives.method ?? showcase.shapers?.[0].name).toBe(paper.name);
    if (!("live" in showcase!)) return;
    expect(showcase.live).toMatch(/\.$/);
    const { live, trace } = (await paper.reproduction!())!;
    expect(live ?? trace).toBeDefined();
  });

  it.each(papers.map((paper) => [paper.name, paper] as const))(
    "%s says that its data is missing before its first step",
    async (_, paper) => {
      const reproduction = await paper.reproduction!();
      const source = readFileSync(new URL(`../${paper.lives.folder}/reproduce.ts`, import.meta.url), "utf8");
      const files = reproduction.data?.(reproduction.sizes.quick) ?? [];
      expect(files.length > 0).toBe(/\bdata\(|\bdata,|storyPrompts\(/.test(source));
      if (files.length === 0) return;
      const steps: string[] = [];
      const folder = await mkdtemp(join(tmpdir(), "reproduce-"));
      vi.stubEnv("VENTRIS_DATA", join(folder, "none"));
      try {
        const run = reproduce(paper, { size: "quick", folder, onProgress: ({ step }) => steps.push(step) });
        await expect(run).rejects.toThrow(files[0]);
        expect(steps).toEqual([]);
      } finally {
        vi.unstubAllEnvs();
        await rm(folder, { recursive: true });
      }
    },
  );

  it("names the nearest for an unknown name", () => {
    expect(() => findPaper("dispec")).toThrow('did you mean "dyspec"?');
  });
});

describe("judging", () => {
  it.each([
    [{ above: 1 }, 1, undefined, false],
    [{ above: 1 }, 1.1, undefined, true],
    [{ atLeast: 1 }, 1, undefined, true],
    [{ below: 0.5, above: 0.1 }, 0.6, undefined, false],
    [{ above: 0, surely: true }, 0.2, undefined, false],
    [{ above: 0, surely: true }, 0.2, [-0.1, 0.5], false],
    [{ above: 0, surely: true }, 0.2, [0.1, 0.5], true],
    [{ above: 0 }, 0.2, [-0.1, 0.5], true],
    [{ atMost: 1 }, Number.NaN, undefined, false],
  ] as const)("%o of %d in %o is %s", (condition, value, interval, expected) => {
    expect(meets({ claim: "a", value, interval }, condition)).toBe(expected);
  });
});

describe("intervals", () => {
  it("hold the mean of a normal sample about 95 times in 100", () => {
    let covered = 0;
    for (let trial = 0; trial < 60; trial++) {
      const values = Array.from({ length: 40 }, (_, i) => Math.sin(trial * 1000 + i * 7919) * 3);
      const [low, high] = meanOf(values, trial).interval!;
      if (low <= 0 && high >= 0) covered += 1;
    }
    expect(covered).toBeGreaterThan(50);
  });

  it("are repeated by their seed, and a ratio of proportional pairs is exact", () => {
    expect(meanOf([1, 2, 3, 4], 5)).toEqual(meanOf([1, 2, 3, 4], 5));
    expect(
      ratioOf([
        [2, 1],
        [4, 2],
        [6, 3],
      ]),
    ).toEqual({ value: 2, interval: [2, 2], count: 3 });
    expect(meanOf([3])).toEqual({ value: 3, count: 1 });
    expect(() => bootstrap([], () => 0)).toThrow("no units");
  });
});

describe("running a reproduction", () => {
  const ran: string[] = [];
  const paper = (fail?: string): Paper => ({
    ...findPaper("dyspec"),
    name: "example",
    claims: [
      { id: "sum", says: "It adds.", paper: { setting: "none" }, ours: "a sum", holds: { atLeast: 3 } },
      { id: "other", says: "It is left out.", paper: { setting: "none" }, ours: "nothing", holds: { above: 0 } },
    ],
    reproduction: async () =>
      defineReproduction({
        sizes: { tiny: { items: 2 }, quick: { items: 3 }, full: { items: 4 } },
        steps: ({ items }) => items,
        async measure({ step }, { items }) {
          let sum = 0;
          for (let i = 0; i < items; i++) {
            sum += await step(`item ${i}`, async () => {
              ran.push(`item ${i}`);
              if (fail === `item ${i}`) throw new VentrisError("runtime_failed", "broken");
              return i;
            });
          }
          return [{ claim: "sum", value: sum }];
        },
      }),
  });

  it("keeps finished steps over a failure, and leaves nothing once done", async () => {
    const folder = await mkdtemp(join(tmpdir(), "reproduce-"));
    try {
      ran.length = 0;
      await expect(reproduce(paper("item 2"), { size: "quick", folder })).rejects.toThrow("broken");
      const seen: string[] = [];
      const record = await reproduce(paper(), {
        size: "quick",
        folder,
        onProgress: ({ done, total, step }) => seen.push(`${done}/${total} ${step}`),
      });
      expect(ran).toEqual(["item 0", "item 1", "item 2", "item 2"]);
      expect(seen.at(-1)).toBe("3/3 item 2");
      expect(record).toMatchObject({ format: 1, name: "example", size: "quick", options: { items: 3 } });
      expect(record.versions.onnxruntime).toMatch(/^\d/);
      expect(judge(paper(), record).map(({ holds }) => holds)).toEqual([true, undefined]);
      await reproduce(paper(), { size: "quick", folder });
      expect(ran.slice(4)).toEqual(["item 0", "item 1", "item 2"]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("says where the steps are when it is stopped, and does not keep the step that was cut short", async () => {
    const folder = await mkdtemp(join(tmpdir(), "reproduce-"));
    const stop = new AbortController();
    try {
      ran.length = 0;
      const stopped = reproduce(paper(), {
        size: "quick",
        folder,
        signal: stop.signal,
        onProgress: ({ step, done }) => step === "item 1" && done < 2 && stop.abort(),
      });
      await expect(stopped).rejects.toMatchObject({ code: "aborted" });
      await reproduce(paper(), { size: "quick", folder });
      expect(ran).toEqual(["item 0", "item 1", "item 1", "item 2"]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("says the time left within the first step, too, by the share that is done", async () => {
    const folder = await mkdtemp(join(tmpdir(), "reproduce-"));
    const long: Paper = {
      ...paper(),
      reproduction: async () =>
        defineReproduction({
          sizes: { tiny: {}, quick: {}, full: {} },
          steps: () => 2,
          async measure({ step }) {
            const work = async ({ progress }: { progress(share: number): void }) => {
              await new Promise((resolve) => setTimeout(resolve, 60));
              progress(0.25);
              return 1;
            };
            return [{ claim: "sum", value: (await step("one", work)) + (await step("two", work)) }];
          },
        }),
    };
    try {
      const left: (number | undefined)[] = [];
      await reproduce(long, { size: "tiny", folder, onProgress: ({ secondsLeft }) => left.push(secondsLeft) });
      // Began, a quarter of the first, the first; then the second.
      expect(left[0]).toBeUndefined();
      expect(left[1]).toBeGreaterThan(1.75 * 4 * 0.055);
      expect(left[2]).toBeLessThan(left[1]!);
      expect(left.at(-1)).toBe(0);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("a record is missing, partial, current or stale, and says why", async () => {
    const folder = await mkdtemp(join(tmpdir(), "records-"));
    const write = (record: object) => writeFile(join(folder, "example.json"), JSON.stringify(record));
    try {
      expect(await recordState(paper(), folder)).toMatchObject({ state: "missing", claims: 2, measured: 0 });
      const record = await reproduce(paper(), { size: "full", folder: join(folder, "steps") });
      await write(record);
      expect(await recordState(paper(), folder)).toMatchObject({
        state: "current",
        size: "full",
        measured: 1,
        reasons: [],
      });
      await write({ ...record, size: "quick", options: { items: 3 } });
      expect(await recordState(paper(), folder)).toMatchObject({ state: "partial", reasons: [] });
      await write({
        ...record,
        options: { items: 5 },
        weights: { knossos: "other" },
        measurements: [{ claim: "old", value: 1 }],
      });
      expect(await recordState(paper(), folder)).toMatchObject({
        state: "stale",
        reasons: [
          "measured with other options: items",
          "claims that are no more: old",
          "knossos has other weights now",
        ],
      });
      await write({ ...record, weights: await weightsOf(["knossos", "org/other", "../models/knossos"]) });
      expect(Object.keys(readRecord("example", folder)!.weights!)).toEqual(["knossos"]);
      expect(await recordState(paper(), folder)).toMatchObject({ state: "current" });
      expect(await recordState({ ...paper(), reproduction: undefined }, folder)).toMatchObject({ state: "planned" });
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("names the models that it was given, not paths of this machine", async () => {
    const folder = await mkdtemp(join(tmpdir(), "reproduce-"));
    const knossos = fileURLToPath(new URL("../../models/knossos", import.meta.url));
    const opening: Paper = {
      ...paper(),
      reproduction: async () =>
        defineReproduction({
          sizes: { tiny: {}, quick: {}, full: {} },
          steps: () => 0,
          async measure({ open }) {
            for (const reference of ["pylos", knossos]) await open(reference);
            return [];
          },
        }),
    };
    try {
      expect(await reproduce(opening, { size: "tiny", folder })).toMatchObject({ models: ["pylos"] });
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it.each(papers.map(({ name }) => name))("the record that is kept of %s holds no path of a machine", (name) => {
    const strings: string[] = [];
    JSON.stringify(readRecord(name) ?? null, (_, value) => {
      if (typeof value === "string") strings.push(value);
      return value;
    });
    expect(strings.filter((text) => /(^|[\s"'(=])(\/|[A-Za-z]:[\\/])[\w.-]+[\\/]/.test(text))).toEqual([]);
  });

  it("refuses a planned system", async () => {
    await expect(reproduce({ ...paper(), reproduction: undefined }, { size: "tiny" })).rejects.toThrow("planned");
  });
});
