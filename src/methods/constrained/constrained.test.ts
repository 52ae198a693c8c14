import { describe, expect, test } from "vitest";
import { createConstraint } from "../../constraints/index.ts";
import { choicesConstraint, regexConstraint } from "../../constraints/regex/index.ts";
import type { Decoding } from "../../engine/decoding.ts";
import { uniform } from "../../engine/random.ts";
import type { ShapingOptions } from "../../engine/shapers/options.ts";
import { enumerateOutcomes } from "../speculative/enumerate.ts";
import { awrs } from "./awrs/index.ts";
import { drawLocally, type Estimator, estimators, type LocalOptions, type Source } from "./local.ts";
import { lawAt, sourceOf } from "./sampling.ts";
import { smc } from "./smc/index.ts";
import { runToy, type Toy } from "./toy.ts";

const options = (estimator: Estimator, more: Partial<LocalOptions> = {}): LocalOptions => ({
  estimator,
  loops: 2,
  maxRejects: Number.MAX_SAFE_INTEGER,
  ...more,
});

const smcOptions = (more: object) => smc.options.parse(more);

const cases = [
  { law: [0.9, 0.02, 0.02, 0.02, 0.02, 0.02], valid: [0], adaptive: [0.04327, 2.215], recursive: [0, 2.109] },
  {
    law: [0.9, 0.02, 0.02, 0.02, 0.02, 0.02],
    valid: [1, 2, 3, 4, 5],
    adaptive: [0.02475, 2.99],
    recursive: [0.0072, 2.9],
  },
  { law: [0.2, 0.2, 0.2, 0.2, 0.2], valid: [0, 1], adaptive: [0.08233, 3.667], recursive: [0.08, 3] },
  { law: [0.5, 0.3, 0.1, 0.1], valid: [0, 2], adaptive: [0.0967, 2.821], recursive: [0.04762, 2.476] },
] as const;

describe("weights by enumeration", () => {
  for (const { law, valid, ...golden } of cases) {
    for (const estimator of ["adaptive", "recursive"] as const) {
      for (const maxRejects of estimator === "recursive"
        ? [Number.MAX_SAFE_INTEGER, 2, 3, 4]
        : [Number.MAX_SAFE_INTEGER]) {
        test(`${estimator}, at most ${maxRejects} rejections, ${law} with ${valid}`, async () => {
          const p = Float64Array.from(law);
          const mean = new Float64Array(p.length);
          let square = 0;
          let tested = 0;
          const outcomes = enumerateOutcomes((draws) => {
            let checks = 0;
            const source: Source = {
              law: p,
              pick: (_, weights) => {
                const total = weights.reduce((a, b) => a + b, 0);
                return total > 1e-12 ? draws.choose("draft", weights, total) : -1;
              },
              geometric: () => 1,
            };
            const seen = new Set<number>();
            const draw = drawLocally(
              source,
              (token) => {
                checks += 1;
                seen.add(token);
                return (valid as readonly number[]).includes(token);
              },
              options(estimator, { maxRejects }),
            );
            return { draw, checks };
          });
          for await (const { probability, result } of outcomes) {
            const { token, weight } = result.draw;
            if (token >= 0) mean[token] += probability * weight;
            square += probability * weight * weight;
            tested += probability * result.checks;
          }
          p.forEach((mass, token) => {
            expect(mean[token]).toBeCloseTo((valid as readonly number[]).includes(token) ? mass : 0, 12);
          });
          const mass = valid.reduce<number>((total, token) => total + law[token]!, 0);
          if (maxRejects > 10) expect(square - mass * mass).toBeCloseTo(golden[estimator][0], 4);
          // The published counts of the two-loop form include a second test of the accepted token, which is remembered here.
          expect(tested).toBeLessThanOrEqual(golden[estimator][1] + 1e-3);
        });
      }
    }
  }
});

describe("weights by simulation", () => {
  const law = Float64Array.from([0.4, 0.25, 0.15, 0.1, 0.1]);
  const valid = (token: number): boolean => token === 0 || token === 2;
  const runs = 40_000;
  test.each([
    ["geometric", 2, Number.MAX_SAFE_INTEGER, 0.1],
    ["geometric", 4, Number.MAX_SAFE_INTEGER, 0.042],
    ["geometric", 2, 2, undefined],
    ["geometric", 3, 3, undefined],
    ["with-replacement", 1, Number.MAX_SAFE_INTEGER, undefined],
    ["with-replacement", 3, Number.MAX_SAFE_INTEGER, undefined],
  ] as const)("%s with %d loops and at most %d rejections", (estimator, loops, maxRejects, variance) => {
    const sums = new Float64Array(law.length);
    let square = 0;
    for (let seed = 0; seed < runs; seed++) {
      const source = sourceOf({ seed, request: 1 }, 3, law);
      const { token, weight } = drawLocally(source, valid, options(estimator, { loops, maxRejects }));
      if (token >= 0) sums[token] += weight;
      square += weight * weight;
    }
    const mean = (sums[0] + sums[2]) / runs;
    const spread = square / runs - mean * mean;
    expect(Math.abs(mean - 0.55)).toBeLessThan(4 * Math.sqrt(spread / runs));
    expect(Math.abs(sums[0] / runs - 0.4)).toBeLessThan(0.02);
    if (variance) expect(spread).toBeCloseTo(variance, 2);
  });

  test("every estimator takes the first valid token of the race, and bad budgets are refused", () => {
    for (let seed = 0; seed < 300; seed++) {
      const source = sourceOf({ seed, request: 0 }, 5, law);
      const first = source.pick(
        0,
        law.map((p, token) => (valid(token) ? p : 0)),
      );
      for (const estimator of estimators) {
        if (estimator === "with-replacement") continue; // its loops are draws of their own
        expect(drawLocally(source, valid, options(estimator)).token).toBe(first);
      }
    }
    const source = sourceOf({ seed: 1, request: 0 }, 5, law);
    expect(() => drawLocally(source, valid, options("recursive", { maxRejects: 1 }))).toThrow(/at least 2/);
    for (const estimator of estimators) {
      expect(drawLocally(source, () => false, options(estimator))).toMatchObject({ token: -1, weight: 0 });
      expect(drawLocally(source, () => true, options(estimator)).weight).toBeCloseTo(1, 12);
    }
    const broken = () => {
      throw new Error("broken checker");
    };
    expect(() => drawLocally(source, broken, options("adaptive"))).toThrow("broken checker");
  });
});

describe("options that compare tokens look at the allowed ones, as under a mask", () => {
  // The likeliest may not follow; of the others topK and topP leave what they would not leave of all.
  const law = [0.02, 0.4, 0.25, 0.15, 0.1, 0.06, 0.02];
  const valid = (token: number): boolean => [2, 4, 5].includes(token);
  const toy = (shaping: ShapingOptions): Toy => ({
    letters: [..."abcdef"],
    law: () => law,
    constraint: choicesConstraint(["b", "d", "e"]),
    maxTokens: 2,
    shaping,
  });
  /** By hand: what each leaves of 0.25, 0.1 and 0.06. */
  test.each<[ShapingOptions, number[]]>([
    [{ topK: 1 }, [2]],
    [{ topK: 2 }, [2, 4]],
    [{ topP: 0.6 }, [2]],
    [{ topP: 0.7 }, [2, 4]],
    [{ minP: 0.3 }, [2, 4]],
    [{ minP: 0.5 }, [2]],
    [{ topK: 2, topP: 0.99, temperature: 2, order: "llamacpp" }, [2, 4]],
    [{ temperature: 1.5 }, [2, 4, 5]],
    [{ logitBias: { 2: -1 }, repetitionPenalty: 1.2 }, [2, 4, 5]],
  ])("%o", async (shaping, left) => {
    const lookAt = async (decoding: Decoding): Promise<void> => {
      const root = await decoding.prefill();
      const wanted = decoding.shape(root);
      expect([...wanted.keys()].filter((token) => wanted[token] > 0)).toEqual(left);
      for (const estimator of ["adaptive", "recursive", "improper", "masking"] as const) {
        const { law: p, mass } = lawAt(decoding, root, { mostMissed: 1 });
        const drawn = new Float64Array(p.length);
        const weighed = new Float64Array(p.length);
        const outcomes = enumerateOutcomes((draws) => {
          const pick = (_: number, weights: Float64Array): number => {
            const total = weights.reduce((a, b) => a + b, 0);
            return total > 1e-12 ? draws.choose("draft", weights, total) : -1;
          };
          return drawLocally({ law: p, pick, geometric: () => 1 }, valid, options(estimator));
        });
        for await (const { probability, result } of outcomes) {
          drawn[result.token] += probability;
          weighed[result.token] += probability * result.weight * mass;
        }
        const whole = decoding.shapeApart(root);
        wanted.forEach((mass, token) => {
          expect(drawn[token]).toBeCloseTo(mass, 6);
          // Properly weighted: by the law before those options, of what they leave.
          if (estimator !== "improper" && shaping.order === undefined)
            expect(weighed[token]).toBeCloseTo(left.includes(token) ? whole[token] : 0, 6);
        });
      }
      decoding.finish("end");
    };
    await runToy({ decode: lookAt }, {}, toy(shaping), 1);
  });

  test("no draw fails where a mask leaves something, and particles follow the law of what is left", async () => {
    for (const shaping of [{ topK: 1 }, { topP: 0.3 }, { minP: 0.9 }]) {
      for (let seed = 0; seed < 10; seed++) {
        const ended = { ...toy(shaping), law: (text: string) => (text ? [1, 0, 0, 0, 0, 0, 0] : law) };
        expect((await runToy(awrs, awrs.options.parse({}), ended, seed)).text).toBe("b");
        expect((await runToy(smc, smcOptions({ proposal: "constrained" }), ended, seed)).text).toBe("b");
      }
    }
    const two = { ...toy({ topK: 2 }), law: (text: string) => (text ? [1, 0, 0, 0, 0, 0, 0] : law) };
    const { posterior, logEvidence } = await runToy(smc, smcOptions({ particles: 500 }), two, 1);
    expect(Math.abs(posterior.get("b")! - 0.25 / 0.35)).toBeLessThan(0.06);
    expect(Math.exp(logEvidence)).toBeCloseTo(0.35, 6);
  });
});

/** a and b are equally likely; what may follow a is rare. */
const deadEnd: Toy = {
  letters: ["a", "b", "x", "y"],
  law: (prefix) =>
    prefix === ""
      ? [0, 0.5, 0.5, 0, 0]
      : prefix === "a"
        ? [0, 0, 0, 0.01, 0.99]
        : prefix === "b"
          ? [0, 0, 0, 0.99, 0.01]
          : [1, 0, 0, 0, 0],
  constraint: choicesConstraint(["ax", "bx"]),
  maxTokens: 4,
};

describe("particles", () => {
  test("the dead-end toy: locally 50 %, conditioned on the constraint 1 %", async () => {
    let local = 0;
    for (let seed = 0; seed < 400; seed++)
      if ((await runToy(awrs, awrs.options.parse({}), deadEnd, seed)).text === "ax") local += 1;
    expect(local / 400).toBeGreaterThan(0.4);
    let share = 0;
    let evidence = 0;
    for (let seed = 0; seed < 300; seed++) {
      const run = await runToy(smc, smcOptions({ particles: 64, threshold: 0 }), deadEnd, seed);
      share += (run.posterior.get("ax") ?? 0) / 300;
      evidence += Math.exp(run.logEvidence) / 300;
    }
    expect(Math.abs(share - 0.01)).toBeLessThan(0.005);
    expect(evidence).toBeCloseTo(0.5, 1);
  });

  /** A random model over two letters, and everything that it can say within four tokens. */
  const random: Toy = {
    letters: ["a", "b"],
    law: (prefix) => {
      const position = [...prefix].reduce((hash, letter) => hash * 3 + letter.charCodeAt(0), 7);
      const weights = [0, 1, 2].map((token) => uniform({ seed: 5, request: 0 }, position, "data", token) + 0.05);
      const total = weights.reduce((a, b) => a + b, 0);
      return weights.map((weight) => weight / total);
    },
    constraint: regexConstraint("a?(ba|bb)*a{0,1}"),
    maxTokens: 5,
  };
  const exact = new Map<string, number>();
  const matches = /^a?(ba|bb)*a{0,1}$/;
  const visit = (prefix: string, mass: number): void => {
    const [end, a, b] = random.law(prefix);
    if (matches.test(prefix)) exact.set(prefix, mass * end);
    if (prefix.length === random.maxTokens - 1) return;
    visit(`${prefix}a`, mass * a);
    visit(`${prefix}b`, mass * b);
  };
  visit("", 1);
  const evidence = [...exact.values()].reduce((a, b) => a + b, 0);
  const distance = (found: ReadonlyMap<string, number>): number =>
    [...new Set([...exact.keys(), ...found.keys()])].reduce(
      (sum, text) => sum + Math.abs((exact.get(text) ?? 0) / evidence - (found.get(text) ?? 0)) / 2,
      0,
    );

  const pooled = async (settings: object, seeds: number): Promise<{ distance: number; evidence: number }> => {
    const pool = new Map<string, number>();
    let total = 0;
    for (let seed = 0; seed < seeds; seed++) {
      const run = await runToy(smc, smcOptions(settings), random, seed);
      const weight = Math.exp(run.logEvidence);
      total += weight;
      for (const [text, share] of run.posterior) pool.set(text, (pool.get(text) ?? 0) + weight * share);
    }
    for (const [text, share] of pool) pool.set(text, share / total);
    return { distance: distance(pool), evidence: total / seeds };
  };

  test.each([
    [{ particles: 256 }],
    [{ particles: 256, estimator: "recursive", threshold: 0.9 }],
    [{ particles: 256, estimator: "geometric", loops: 4 }],
    [{ particles: 256, estimator: "masking", threshold: 0 }],
    [{ particles: 512, proposal: "model", threshold: 0.9 }],
    [{ particles: 512, proposal: "model", verify: "end", threshold: 0 }],
  ])("follow the exact posterior: %o", { timeout: 120_000 }, async (settings) => {
    const found = await pooled(settings, 120);
    expect(found.distance).toBeLessThan(0.015);
    expect(Math.abs(found.evidence / evidence - 1)).toBeLessThan(0.03);
    // What masking alone draws is visibly off.
    const local = new Map<string, number>();
    for (let seed = 0; seed < 3_000; seed++) {
      const { text } = await runToy(awrs, awrs.options.parse({ estimator: "improper" }), random, seed);
      local.set(text, (local.get(text) ?? 0) + 1 / 3_000);
    }
    expect(distance(local)).toBeGreaterThan(3 * found.distance);
  });

  test("a critic twists the weights and must be sane", async () => {
    const liking = (text: string): number => (text.includes("a") ? 3 : 1);
    const free = { ...random, constraint: undefined, maxTokens: 2 };
    let share = 0;
    for (let seed = 0; seed < 60; seed++) {
      share +=
        ((await runToy(smc, smcOptions({ particles: 200, critic: liking }), free, seed)).posterior.get("a") ?? 0) / 60;
    }
    const [end, a, b] = free.law("");
    const ends = { a: free.law("a")[0], b: free.law("b")[0] };
    const total = end + 3 * a * ends.a + b * ends.b;
    expect(share).toBeCloseTo((3 * a * ends.a) / total, 1);
    // A promise that fails later has nobody to hear it: unheard, it would end the process.
    const later = (): number => Promise.reject(new Error("late")) as unknown as number;
    const bare = (): number => Object.create(null);
    for (const critic of [() => Number.NaN, () => -1, () => "yes" as unknown as number, later, bare]) {
      await expect(runToy(smc, smcOptions({ critic }), free, 0)).rejects.toThrow(/critic/);
    }
    const failing = (): number => {
      throw new Error("no opinion today");
    };
    await expect(runToy(smc, smcOptions({ critic: failing }), free, 0)).rejects.toMatchObject({
      code: "bad_option",
      message: expect.stringMatching(/^critic: it failed on ".*": no opinion today/),
    });
  });

  test("the posterior is offered: each finished text once, by its share of the weight", async () => {
    const { hypotheses, posterior } = await runToy(smc, smcOptions({ particles: 64 }), deadEnd, 3);
    expect(new Map(hypotheses.map(({ text, score }) => [text, score]))).toEqual(posterior);
    expect(hypotheses.reduce((sum, { score }) => sum + score, 0)).toBeCloseTo(1, 12);
    for (const { text, logprob } of hypotheses) {
      const wanted = Math.log(0.5) + Math.log(text === "ax" ? 0.01 : 0.99);
      expect(logprob).toBeCloseTo(wanted, 10);
    }
  });

  test("when all particles die, that is said", async () => {
    const hopeless = {
      ...deadEnd,
      constraint: choicesConstraint(["ay", "bxx"]),
      law: (prefix: string) => (prefix === "" ? [0, 0, 1, 0, 0] : [1, 0, 0, 0, 0]),
    };
    await expect(runToy(smc, smcOptions({}), hopeless, 1)).rejects.toMatchObject({
      code: "constraint_dead_end",
      message: expect.stringMatching(
        /^constraint choices: all 5 particles died: 5 of them found nothing that may follow, the first after "b"; more/,
      ),
    });
    await expect(runToy(awrs, awrs.options.parse({}), hopeless, 1)).rejects.toMatchObject({
      code: "constraint_dead_end",
      message: expect.stringMatching(/awrs found no token that can follow "[a-z]*" after \d+ rejections/),
    });
    const failing = (): never => {
      throw new Error("no opinion today");
    };
    expect(() => createConstraint(failing)).toThrow(/^constraint: the function failed on "": no opinion today$/);
  });

  test.each([
    [{}],
    [{ threshold: 0 }],
    [{ proposal: "model", particles: 40 }],
    [{ proposal: "model", verify: "end", particles: 40, threshold: 0 }],
  ])("where no particle can end within maxTokens, valid beginnings are cut off: %o", async (settings) => {
    const { text, hypotheses, posterior } = await runToy(smc, smcOptions(settings), { ...deadEnd, maxTokens: 2 }, 1);
    expect(["ax", "bx"]).toContain(text);
    expect([...posterior.keys()].filter((key) => posterior.get(key)! > 0).every((key) => /^[ab]x$/.test(key))).toBe(
      true,
    );
    expect(hypotheses.every(({ finished }) => !finished)).toBe(true);
    // What can end in time is what is taken, as ever.
    const room = await runToy(
      smc,
      smcOptions(settings),
      {
        ...deadEnd,
        constraint: regexConstraint("[ab]x?"),
        maxTokens: 2,
        law: (prefix) => (prefix ? [0.01, 0, 0, 0.99, 0] : [0, 0.5, 0.5, 0, 0]),
      },
      1,
    );
    expect(room.hypotheses.every(({ finished }) => finished)).toBe(true);
  });

  test("who killed all particles is said: the critic is not the constraint", async () => {
    const refusing = { critic: () => 0 };
    for (const toy of [deadEnd, { ...deadEnd, maxTokens: 1 }, { ...deadEnd, constraint: undefined }]) {
      for (const threshold of [0.5, 0]) {
        await expect(runToy(smc, smcOptions({ ...refusing, threshold }), toy, 1)).rejects.toMatchObject({
          code: "constraint_dead_end",
          message: expect.stringMatching(
            /^critic: all 5 particles died: the critic gave 5 of them 0, the first at "[abxy]*"; a factor of 0/,
          ),
        });
      }
    }
    const late = { critic: (text: string) => (text.startsWith("a") ? 0 : 1), particles: 20 };
    const stuck = {
      ...deadEnd,
      constraint: choicesConstraint(["ax", "by"]),
      law: (prefix: string) => (prefix === "b" ? [0, 0, 0, 1, 0] : deadEnd.law(prefix)),
    };
    await expect(runToy(smc, smcOptions({ ...late, threshold: 0 }), stuck, 1)).rejects.toMatchObject({
      message: expect.stringMatching(
        /^constraint choices: all 20 .* found nothing that may follow, the first after "b"; the critic gave \d+ of them 0, the first at "ax"/,
      ),
    });
    const odd = { critic: () => Number.NaN };
    await expect(runToy(smc, smcOptions(odd), deadEnd, 1)).rejects.toThrow(/gave NaN for "[ab]"$/);
  });

  test("what was refused before each token of the output is told, as awrs tells it", async () => {
    for (let seed = 0; seed < 5; seed++) {
      const { events, text } = await runToy(smc, smcOptions({ particles: 8 }), deadEnd, seed);
      const told = events.filter((event) => event.type === "constraint");
      expect(told.map(({ token }) => deadEnd.letters[token! - 1] ?? "").join("")).toBe(text);
      for (const { rejected, token, checks } of told) {
        expect(rejected).not.toContain(token);
        expect(checks).toBeGreaterThan(rejected.length);
      }
      // Behind a or b the law prefers y, which nothing allows, or x.
      const after = told[1].rejected.map((token) => deadEnd.letters[token - 1]);
      expect([[], ["y"]]).toContainEqual(after);
    }
  });

  test("the same seed gives the same particles, weights and number of checks", async () => {
    const once = await runToy(smc, smcOptions({}), random, 9);
    expect(await runToy(smc, smcOptions({}), random, 9)).toEqual(once);
  });

  test("a refusal answers for every token that begins with the same bytes", async () => {
    const letters = [..."abcdefgh"].flatMap((letter) => [..."stuvwxyz"].map((end) => `n${letter}${end}`));
    const toy: Toy = {
      letters: [...letters, "yes"],
      law: (prefix) => (prefix === "" ? [0, ...letters.map(() => 0.99 / 64), 0.01] : [1, ...letters.map(() => 0), 0]),
      constraint: choicesConstraint(["yes", "nbs"]),
      maxTokens: 3,
    };
    for (let seed = 0; seed < 20; seed++) {
      const { text, checks } = await runToy(awrs, awrs.options.parse({ estimator: "improper" }), toy, seed);
      expect(["yes", "nbs"]).toContain(text);
      // Seven other letters, seven other ends of "nb", what is drawn, and the end of the text: not 65.
      expect(checks).toBeLessThanOrEqual(7 + 7 + 1 + 1);
    }
  });
});
