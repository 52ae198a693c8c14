/** The samplers against their definitions in float64, and the identities between methods and caches, token for token. */

import { rm } from "node:fs/promises";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { logSoftmax } from "../../../test/fixtures/reference.ts";
import { maskToken, type TinyDiffusion, writeTinyDiffusion } from "../../../test/fixtures/tiny-diffusion.ts";
import { vocabularySize } from "../../../test/fixtures/tiny-model.ts";
import { methodChoice } from "../../calls.ts";
import type { TraceEvent } from "../../engine/trace.ts";
import { type DecodeOptions, type Model, open } from "../../index.ts";
import { mean } from "../../papers/statistics.ts";
import { skillItem, skills } from "../../training/skills/index.ts";
import { timedCount } from "./dream.ts";
import { leap } from "./localleap/index.ts";
import { agreement } from "./measuring.ts";

const prompt = [0, 5, 9, 22, 14, 31];
const [length, blockLength] = [16, 8];

interface Kept {
  readonly canvas: readonly number[];
  readonly passes: number;
  readonly confidences: readonly number[];
}

describe.each(["llada", "dream"] as const)("%s", (naming) => {
  let tiny: TinyDiffusion;
  let model: Model;
  beforeAll(async () => {
    tiny = await writeTinyDiffusion({ naming });
    model = await open(tiny.folder, { threads: 1 });
  });
  afterAll(async () => {
    await model.close();
    await rm(tiny.folder, { recursive: true, force: true });
  });

  async function run(name: string, options: object = {}, more: DecodeOptions = {}): Promise<Kept> {
    const method = methodChoice({ name, blockLength, earlyStop: false, ...options });
    const trace: TraceEvent[] = [];
    const decoding = model.decode(prompt, { method, maxTokens: length, ...more });
    for await (const event of decoding) trace.push(event);
    const { canvas, counters } = await decoding.final;
    const confidences = trace.flatMap((event) => (event.type === "unmask" ? (event.confidences ?? []) : []));
    return { canvas: canvas!, passes: counters.passes, confidences };
  }
  const plain = (): Promise<Kept> => run("low-confidence");

  /** Logits of the prediction for every position: Dream's stand one row before. */
  const predictions = (state: readonly number[]): Float64Array[] => {
    const rows = tiny.logits(state);
    return naming === "dream" ? [rows[0], ...rows.slice(0, -1)] : rows;
  };

  /** LLaDA's sampler as published: blocks, a schedule, the surest predictions; with guidance if asked. */
  function reference(steps: number, guidance = 0): number[] {
    const state = [...prompt, ...Array<number>(length).fill(maskToken)];
    const blocks = length / blockLength;
    for (let b = 0; b < blocks; b++) {
      const [lo, hi] = [prompt.length + b * blockLength, prompt.length + (b + 1) * blockLength];
      const perBlock = steps / blocks;
      for (let s = 0; s < perBlock; s++) {
        const count = Math.floor(blockLength / perBlock) + (s < blockLength % perBlock ? 1 : 0);
        let logits = predictions(state);
        if (guidance > 0) {
          const without = predictions(state.map((token, i) => (i < prompt.length ? maskToken : token)));
          logits = logits.map((row, i) => row.map((x, v) => without[i][v] + (guidance + 1) * (x - without[i][v])));
        }
        const scored = state.flatMap((token, i) => {
          if (token !== maskToken || i < lo || i >= hi) return [];
          const log = logSoftmax(logits[i]);
          let best = 0;
          for (let v = 1; v < vocabularySize; v++) if (v !== maskToken && log[v] > log[best]) best = v;
          return [{ i, token: best, confidence: log[best] }];
        });
        scored.sort((a, b) => b.confidence - a.confidence || a.i - b.i);
        for (const { i, token } of scored.slice(0, count)) state[i] = token;
      }
    }
    return state.slice(prompt.length);
  }

  test.each([16, 8, 6, 2])("low confidence is LLaDA's sampler, in %d steps", async (steps) => {
    const { canvas, passes } = await run("low-confidence", { steps });
    expect(canvas).toEqual(reference(steps));
    expect(canvas).not.toContain(maskToken);
    expect(passes).toBe(steps);
  });

  test("steps that have nothing to fill are no passes, and are counted beside them where a request says how many", async () => {
    const counted = async (name: string, options: object) => {
      const method = methodChoice({ name, blockLength, earlyStop: false, ...options });
      const { passes, skippedSteps } = (await model.decode(prompt, { method, maxTokens: length }).final).counters;
      return [passes, skippedSteps];
    };
    expect(await counted("low-confidence", { steps: 2 * length })).toEqual([length, length]);
    expect(await counted("low-confidence", { steps: length })).toEqual([length, undefined]);
    expect(await counted("low-confidence", {})).toEqual([length, undefined]);
    for (const [name, schedule] of [
      ["entropy", "even"],
      ["entropy", "time"],
      ["random", "even"],
      ["random", "time"],
      ["random", "flip"],
    ]) {
      const [passes, skipped] = await counted(name, { schedule, steps: 4 * length });
      expect(passes! + skipped!).toBe(4 * length);
      expect(passes).toBeLessThan(4 * length);
    }
    // Nobody said how many steps there are to be.
    expect((await counted("entropy", { schedule: "time" }))[1]).toBe(undefined);
  });

  test("classifier-free guidance moves away from the prediction without the prompt", async () => {
    const guided = await run("low-confidence", { guidance: 1.5 });
    expect(guided.canvas).toEqual(reference(16, 1.5));
    expect(guided.canvas).not.toEqual((await plain()).canvas);
    expect(await run("low-confidence", { guidance: 0 })).toEqual(await plain());
  });

  test("one token a pass, however it is said", async () => {
    const wanted = await plain();
    expect(wanted.passes).toBe(length);
    expect(await run("fixed-k", { k: 1 })).toEqual(wanted);
    expect(await run("threshold", { threshold: 1.01 })).toEqual(wanted);
    expect(await run("localleap", { anchor: 1.01, relaxed: 0.01 })).toEqual(wanted);
    const warm = { temperature: 0.8, seed: 3 };
    expect(await run("threshold", { threshold: 1.01 }, warm)).toEqual(await run("low-confidence", {}, warm));
  });

  test("many tokens a pass, however it is said", async () => {
    expect(await run("fixed-k", { k: 4 })).toEqual(await run("low-confidence", { steps: 4 }));
    const all = await run("threshold", { threshold: 0 });
    expect(all.passes).toBe(length / blockLength);
    expect(all).toEqual(await run("fixed-k", { k: blockLength }));
    expect(all).toEqual(await run("localleap", { anchor: 0, relaxed: 0 }));
  });

  test("LocalLeap without radius, or with one bar, is the threshold; with a wide one the lower threshold once there is an anchor", async () => {
    const sorted = [...(await plain()).confidences].sort((a, b) => a - b);
    const bars = [0.25, 0.5, 0.75].map((share) => sorted[Math.floor(share * sorted.length)]);
    for (const bar of bars) {
      const wanted = await run("threshold", { threshold: bar });
      expect(await run("localleap", { anchor: bar, relaxed: bars[0] / 2, radius: 0 })).toEqual(wanted);
      expect(await run("localleap", { anchor: bar, relaxed: bar, radius: 4 })).toEqual(wanted);
    }
    const few = await run("localleap", { anchor: bars[2], relaxed: bars[0], radius: blockLength });
    expect(few.passes).toBeLessThan((await run("threshold", { threshold: bars[2] })).passes);
  });

  test.each(["prefix", "dual", "delayed"])(
    "a %s cache that begins anew at every pass is no cache, to the last bit",
    async (cache) => {
      for (const [name, options] of [
        ["low-confidence", {}],
        ["threshold", { threshold: 0.15 }],
        ["localleap", { anchor: 0.2, relaxed: 0.1 }],
        ["fixed-k", { k: 3, guidance: 0.5 }],
      ] as const) {
        const wanted = await run(name, options);
        expect(await run(name, { ...options, cache, refresh: 1 })).toEqual(wanted);
      }
    },
  );

  test("caches that are kept compute fewer rows", async () => {
    const whole = await model.decode(prompt, {
      maxTokens: length,
      method: methodChoice({ name: "low-confidence", blockLength }),
    }).final;
    for (const cache of ["prefix", "dual", "delayed"]) {
      const method = methodChoice({ name: "low-confidence", blockLength, cache, earlyStop: false });
      const kept = await model.decode(prompt, { maxTokens: length, method }).final;
      expect(kept.canvas).not.toContain(maskToken);
      expect(kept.counters.rows).toBeLessThan(0.9 * whole.counters.rows);
    }
  });

  test("the oracle gives the answer in fewer passes, whatever the answer", async () => {
    const wanted = await plain();
    const found = await run("oracle", { reference: wanted.canvas });
    expect(found.canvas).toEqual(wanted.canvas);
    expect(found.passes).toBeLessThan(wanted.passes);
    const nonsense = Array.from({ length }, (_, i) => 3 + ((i * 13) % 40));
    const forced = await run("oracle", { reference: nonsense });
    expect(forced.canvas).toEqual(nonsense); // by the rule for what does not change any more
    // Where a cache is computed anew in turns, predictions change although nothing was filled.
    for (const cache of ["prefix", "dual", "delayed"])
      for (const refresh of [2, 3, 5])
        for (const answer of [wanted.canvas, nonsense])
          expect((await run("oracle", { reference: answer, cache, refresh })).canvas).toEqual(answer);
  });

  test("Dream's measures choose what they say, and its times fill everything", async () => {
    for (const name of ["entropy", "margin"]) {
      const state = [...prompt, ...Array<number>(length).fill(maskToken)];
      const first = predictions(state).slice(prompt.length, prompt.length + blockLength);
      const values = first.map((row) => {
        const p = [...logSoftmax(row)].map(Math.exp).sort((a, b) => b - a);
        return name === "margin" ? p[0] - p[1] : p.reduce((sum, x) => sum + (x > 0 ? x * Math.log(x) : 0), 0);
      });
      const best = values.indexOf(Math.max(...values));
      const decoding = model.decode(prompt, { maxTokens: length, method: methodChoice({ name, blockLength }) });
      for await (const event of decoding)
        if (event.type === "unmask") {
          expect(event.positions).toEqual([best]);
          break;
        }
      const timed = await run(name, { schedule: "time", steps: 8 });
      expect(timed.canvas).not.toContain(maskToken);
      expect(timed.passes).toBeLessThanOrEqual(8);
      expect(await run(name, { orderTemperature: 1 }, { seed: 1 })).not.toEqual(
        await run(name, { orderTemperature: 1 }, { seed: 2 }),
      );
    }
    for (const schedule of ["even", "time", "flip"])
      expect((await run("random", { schedule, steps: 8 })).canvas).not.toContain(maskToken);
    expect(await run("random", {}, { seed: 1 })).not.toEqual(await run("random", {}, { seed: 2 }));
  });
});

describe("a trained model", () => {
  let trained: Model;
  beforeAll(async () => {
    trained = await open("mycenae", { threads: 1 });
  });
  afterAll(() => trained.close());

  // Blocks are short, so that a text has several of them, at each of which prefix and dual begin anew.
  const blocks = { name: "low-confidence", blockLength: 8 };
  const answers = (item: number) => {
    const { prompt } = skillItem(skills[item % skills.length], "test", 0, item);
    return trained.tokenizer!.encodeChat!([{ role: "user", content: prompt }]);
  };
  const canvasOf = async (tokens: readonly number[], options: object): Promise<readonly number[]> => {
    const method = methodChoice({ ...blocks, ...options } as Parameters<typeof methodChoice>[0]);
    return (await trained.decode([...tokens], { method, maxTokens: 48 }).final).canvas!;
  };

  test.each([
    ["prefix", 0.95],
    ["dual", 0.95],
    ["delayed", 0.95],
  ])("says the same with a %s cache as without in most tokens of the text", async (cache, least) => {
    const shares: number[] = [];
    for (let item = 0; item < 6; item++) {
      const tokens = answers(item);
      const [whole, kept] = [await canvasOf(tokens, {}), await canvasOf(tokens, { cache })];
      shares.push(agreement(whole, kept, trained.config.endTokens));
    }
    expect(mean(shares)).toBeGreaterThanOrEqual(least);
  });
});

test("Dream's times fill everything once: a share 1 - s/t of what is left, rounded down, and the rest at the end", () => {
  for (const [masked, steps] of [
    [512, 512],
    [64, 16],
    [10, 40],
  ]) {
    let left = masked;
    for (let step = 0; step < steps; step++) {
      const [t, s] = [step, step + 1].map((k) => 1 + (k / steps) * (1e-3 - 1));
      const wanted = step === steps - 1 ? left : Math.floor(left * (1 - s / t));
      expect(timedCount(step, steps, left)).toBe(wanted);
      left -= wanted;
    }
    expect(left).toBe(0);
  }
});

test("from one state LocalLeap fills what the threshold fills, and nothing that the lower one does not", () => {
  const share = fc.double({ min: 0, max: 1, noNaN: true });
  fc.assert(
    fc.property(
      fc.array(fc.tuple(share, fc.boolean()), { minLength: 1, maxLength: 40 }),
      share,
      share,
      fc.nat(40),
      (cells, a, b, radius) => {
        const [relaxed, anchor] = [a, b].sort((x, y) => x - y);
        const masked = cells.flatMap(([, open], i) => (open || i === 0 ? [i] : []));
        const confidence = (i: number): number => cells[i][0];
        const { positions } = leap({ masked, confidence }, { anchor, relaxed, radius });
        const best = masked.reduce((x, y) => (confidence(y) > confidence(x) ? y : x));
        const anchors = masked.filter((i) => confidence(i) >= anchor);
        // The definition, written out.
        const wanted = masked.filter(
          (i) =>
            i === best ||
            confidence(i) >= anchor ||
            (confidence(i) >= relaxed && anchors.some((j) => Math.abs(i - j) <= radius)),
        );
        expect(positions).toEqual(wanted);
        for (const i of anchors) expect(positions).toContain(i);
        for (const i of positions) expect(i === best || confidence(i) >= relaxed).toBe(true);
        if (radius >= 40 && anchors.length > 0)
          expect(positions).toEqual(masked.filter((i) => i === best || confidence(i) >= relaxed));
      },
    ),
    { seed: 1, numRuns: 500 },
  );
});
