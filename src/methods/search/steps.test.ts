/** Searches over steps, on toy models whose every law is known, and on a real forest. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { removeModel, type TinyModel, writeTinyModel } from "../../../test/fixtures/tiny-model.ts";
import type { OwnMethod } from "../../calls.ts";
import { createConstraint } from "../../constraints/index.ts";
import type { Method } from "../../engine/method.ts";
import { uniform } from "../../engine/random.ts";
import { type Model, open } from "../../open.ts";
import { arithmeticProblem } from "../../training/skills/arithmetic.ts";
import { skillItem, skills } from "../../training/skills/index.ts";
import { runToy, type Toy } from "../constrained/toy.ts";
import { edgeCost, edgeCosts } from "./a-star/costs.ts";
import { aStar } from "./a-star/index.ts";
import { bestOfN } from "./best-of-n/index.ts";
import { particleFiltering } from "./particle-filtering/index.ts";
import { rewardBeam } from "./reward-beam/index.ts";
import type { Reward, Solution } from "./rewards.ts";
import { selfConsistency } from "./self-consistency/index.ts";

const letters = ["a", "b", "\n"];
/** Lines of one letter each, a or b with the given chances, `lines` of them, then the end. */
const toy = (lines: number, [a, b] = [0.5, 0.5]): Toy => ({
  letters,
  maxTokens: 2 * lines + 1,
  law(prefix) {
    if (prefix.length >= 2 * lines) return [1, 0, 0, 0];
    return prefix.length % 2 === 1 ? [0, 0, 0, 1] : [0, a, b, 0];
  },
});

const run = <Options>(
  method: { options: { parse(value: unknown): Options } } & Pick<Method, "name">,
  options: object,
  model: Toy,
  seed = 1,
) => runToy(method as never, method.options.parse({ delimiters: ["\n"], ...options }), model, seed);

const right = "abbab";
/** 1 as long as nothing is wrong. */
const oracle: Reward = ({ text }) => ([...text.replaceAll("\n", "")].every((x, i) => x === right[i]) ? 1 : 0);
const solved = right.split("").join("\n").concat("\n");

type Explored = { node: number; parent: number; score: number; tokens?: number[]; reward?: number; solution?: boolean };
const explored = (events: readonly { type: string }[]): Explored[] =>
  events.filter(({ type }) => type === "explore") as unknown as Explored[];

describe("a-star", () => {
  test.each(["rise", "drop", "zero"])("with a perfect reward it never turns back (%s)", async (edge) => {
    const options = { reward: oracle, children: 16, edgeCost: edge };
    const { text, counters, events, finish } = await run(aStar, options, toy(5));
    expect(text).toBe(solved);
    // Five lines and the end.
    expect(counters.search!.expansions).toBe(6);
    const made = explored(events).filter(({ tokens }) => tokens);
    const drawn = made.reduce((sum, { tokens }) => sum + tokens!.length, 0);
    // Those drawn twice are counted, too: a line has two tokens, the end has one.
    expect(counters.search!.tokens).toBe(5 * 16 * 2 + 16);
    expect(counters.search!.rewardCalls).toBe(made.length);
    expect(drawn).toBe(counters.search!.tokens - (counters.search!.duplicates - 15) * 2 - 15);
    expect(finish).toBeUndefined(); // the end token ended it
  });

  test("a reward that knows nothing gives one chain and its siblings, and an end", async () => {
    const { counters, text } = await run(aStar, { reward: () => 0.5, children: 4 }, toy(4));
    expect(counters.search!.expansions).toBe(5);
    expect(text).toHaveLength(8);
  });

  test("f is what its closed forms say, for every cost", async () => {
    const values = new Map<string, number>();
    const random: Reward = ({ text }) => {
      if (!values.has(text)) values.set(text, uniform({ seed: 9, request: values.size }, 0, "data"));
      return values.get(text)!;
    };
    for (const edge of edgeCosts) {
      const { events } = await run(aStar, { reward: random, children: 6, edgeCost: edge }, toy(5), 3);
      const nodes = new Map<number, Explored>();
      let popped: number[] = [];
      for (const one of explored(events)) {
        if (one.tokens) nodes.set(one.node, one);
        else popped = [...popped, one.score];
      }
      expect(nodes.size).toBeGreaterThan(8);
      for (const { node, score } of nodes.values()) {
        const h: number[] = [];
        for (let at = nodes.get(node); at; at = nodes.get(at.parent)) h.unshift(1 - at.reward!);
        const rises = h.slice(1).map((x, i) => Math.max(0, x - h[i]));
        const sum = (list: number[]): number => list.reduce((a, b) => a + b, 0);
        const wanted = {
          rise: h.at(-1)! + sum(rises),
          drop: h[0] + sum(rises),
          abs: h.at(-1)! + sum(h.slice(1).map((x, i) => Math.abs(x - h[i]))),
          zero: h.at(-1)!,
        }[edge];
        expect(Math.abs(score - wanted)).toBeLessThan(1e-12);
      }
      if (edge === "drop")
        for (const [i, f] of popped.slice(1).entries()) expect(f).toBeGreaterThanOrEqual(popped[i] - 1e-12);
    }
  });

  test("costs by definition, and nothing for the first step", () => {
    expect(edgeCosts.map((kind) => edgeCost(kind, 0.2, 0.5))).toEqual(
      [0.3, 0, 0.3, 0].map((x) => expect.closeTo(x, 12)),
    );
    expect(edgeCosts.map((kind) => edgeCost(kind, 0.5, 0.2))).toEqual(
      [0, 0.3, 0.3, 0].map((x) => expect.closeTo(x, 12)),
    );
    expect(edgeCosts.map((kind) => edgeCost(kind, undefined, 0.2))).toEqual([0, 0, 0, 0]);
  });

  /** The first letter a looks best and leads nowhere; b looks a little worse and stays. */
  const trap: Reward = ({ text }) => (text[0] === "b" ? 0.8 : text.length <= 2 ? 0.9 : 0.1);

  test("it leaves a branch that turned out badly, which a search among the last steps alone cannot", async () => {
    const options = { reward: trap, children: 8 };
    for (const edge of ["rise", "drop", "zero"]) {
      expect((await run(aStar, { ...options, edgeCost: edge }, toy(3))).text[0]).toBe("b");
    }
    expect((await run(aStar, { ...options, scope: "children" }, toy(3))).text[0]).toBe("a");
  });

  test("steps drawn one at a time are those of all at once, and fewer where the first will do", async () => {
    const options = { reward: oracle, children: 16 };
    const all = await run(aStar, options, toy(5));
    const few = await run(aStar, { ...options, atOnce: 1 }, toy(5));
    expect(few.text).toBe(solved);
    expect(few.counters.search!.tokens).toBeLessThan(all.counters.search!.tokens / 4);
    expect(few.counters.search!.rewardCalls).toBeLessThan(all.counters.search!.rewardCalls);
    // What the first node gets one by one, it would have got together.
    const texts = ({ events }: { events: readonly { type: string }[] }) =>
      explored(events)
        .filter(({ tokens, parent }) => tokens && parent === 0)
        .map(({ tokens }) => tokens!.join());
    expect(texts(all).slice(0, texts(few).length)).toEqual(texts(few));
    const limited = await run(aStar, { ...options, atOnce: 1, maxOpen: 2 }, toy(5));
    expect(limited.text).toBe(solved);
    await expect(run(aStar, { ...options, atOnce: 17 }, toy(5))).rejects.toThrow(/atOnce: 17/);
    await expect(run(aStar, { ...options, atOnce: 1, scope: "children" }, toy(5))).rejects.toThrow(/scope/);
  });

  test("slack goes on deeper as long as the best that waits is not better by more", async () => {
    // Every line costs a little, which alone would send the search back to the lines before.
    const falling: Reward = ({ steps }) => 0.9 - 0.05 * steps.length;
    const options = { reward: falling, children: 8, atOnce: 1, edgeCost: "zero" };
    const back = await run(aStar, options, toy(4));
    const on = await run(aStar, { ...options, slack: 0.5 }, toy(4));
    expect(on.counters.search!.expansions).toBe(5);
    expect(back.counters.search!.expansions).toBeGreaterThan(8);
    // Where it is more, it turns back.
    const trapped = { reward: trap, children: 8, edgeCost: "zero" };
    expect((await run(aStar, { ...trapped, slack: 0.2 }, toy(3))).text[0]).toBe("b");
    expect((await run(aStar, { ...trapped, slack: 1 }, toy(3))).text[0]).toBe("a");
  });

  test("a seed repeats its tree, and another has another", async () => {
    const options = { reward: trap, children: 3 };
    const one = await run(aStar, options, toy(5), 4);
    expect((await run(aStar, options, toy(5), 4)).events).toEqual(one.events);
    expect((await run(aStar, options, toy(5), 5)).events).not.toEqual(one.events);
  });

  test.each([1, 2, 3, 7, 9])("a budget of %i tokens is never passed", async (budget) => {
    const { counters, text, finish } = await run(aStar, { reward: oracle, children: 4, budget }, toy(9));
    expect(counters.search!.tokens).toBeLessThanOrEqual(budget);
    expect([text.length > 0, finish]).toEqual([true, "length"]);
    const unkept = await run(aStar, { reward: oracle, children: 4, budget, reserve: 0 }, toy(9));
    expect(unkept.counters.search!.tokens).toBeLessThanOrEqual(budget);
  });

  test("a budget is kept, and what was kept of it completes the best", async () => {
    const options = { reward: oracle, children: 4, budget: 20, reserve: 8 };
    const { counters, text, events, hypotheses } = await run(aStar, options, toy(5));
    expect(counters.search!.tokens).toBeLessThanOrEqual(20);
    expect(text.length).toBeGreaterThan(4);
    expect(hypotheses[0].text).toBe(text);
    expect(JSON.stringify(events)).toContain("completed greedily");
    const tiny = await run(aStar, { reward: oracle, children: 64, budget: 12, reserve: 11 }, toy(5, [0.4, 0.6]));
    expect(JSON.stringify(tiny.events)).toContain("smaller than one step");
    expect(tiny.text).toBe("b\nb\nb\nb\nb\n");
  });

  test("few may wait", async () => {
    const { counters, text } = await run(aStar, { reward: oracle, children: 8, maxOpen: 2 }, toy(5));
    expect(text).toBe(solved);
    expect(counters.search!.peakOpen).toBeLessThanOrEqual(4);
  });

  test("the answer by reward and by vote, among all that were finished", async () => {
    const ends: Reward = ({ text, finished }) => (finished ? (text === "a\n" ? 0.6 : 0.5) : 0.5);
    const options = { reward: ends, children: 16, answer: "^(.)\n$", until: "popped" };
    const { hypotheses, text } = await run(aStar, { ...options, answerBy: "reward" }, toy(1));
    expect(hypotheses.map(({ score }) => score)).toEqual(
      [...hypotheses.map(({ score }) => score)].sort((a, b) => b - a),
    );
    expect(text).toBe("a\n");
    expect((await run(aStar, { ...options, answerBy: "vote" }, toy(1))).text).toBe("a\n");
  });

  test("until generated ends as soon as nothing that waits is better", async () => {
    const options = { reward: (s: Solution) => (s.finished ? 1 : 0.5), children: 2 };
    const popped = await run(aStar, options, toy(2));
    const made = await run(aStar, { ...options, until: "generated" }, toy(2));
    expect(made.text).toBe(popped.text);
    expect(explored(made.events).length).toBeLessThan(explored(popped.events).length);
  });

  test("a reward that gives NaN rejects, and one that fails or is out of range ends the run", async () => {
    const options = { children: 8 };
    const picky: Reward = ({ text }) => (text.includes("a") ? Number.NaN : 0.5);
    const { text, counters } = await run(aStar, { ...options, reward: picky }, toy(3));
    expect(text).toBe("b\nb\nb\n");
    expect(counters.search!.rejected).toBeGreaterThan(0);
    const all = run(aStar, { ...options, reward: () => Number.NaN }, toy(3));
    await expect(all).rejects.toMatchObject({
      code: "constraint_dead_end",
      message: expect.stringMatching(
        /^a-star: nothing is left .*: the reward gave NaN, which rejects, for "[ab]\\n" \(the first of 2/,
      ),
    });
    const late: Reward = ({ text }) => (text.length > 2 ? Number.NaN : 0.5);
    const judges = [aStar, bestOfN, rewardBeam, particleFiltering] as unknown as [typeof aStar];
    const stuck = { ...toy(3), constraint: createConstraint((text: string) => (text.length < 3 ? false : "never")) };
    for (const method of judges) {
      const every = method.name === "best-of-n" ? { aggregate: "min" } : {};
      await expect(run(method, { ...every, reward: late }, toy(3)), method.name).rejects.toThrow(
        /left.*: the reward gave NaN, which rejects, for "[ab]\\n[ab]\\n" \(/,
      );
      await expect(run(method, { reward: () => 0.5 }, stuck), method.name).rejects.toThrow(
        /left.*: constraint function: no token of this model can follow "[ab]\\n" \(/,
      );
    }
    const failing: Reward = () => {
      throw new Error("no critic today");
    };
    await expect(run(aStar, { ...options, reward: failing }, toy(3))).rejects.toThrow(/no critic today/);
    for (const bad of [-0.1, 1.1, Number.POSITIVE_INFINITY, "0.5", undefined]) {
      const odd = run(aStar, { ...options, reward: () => bad as number }, toy(3));
      await expect(odd).rejects.toThrow(/from 0 to 1, and was .* for "[ab]\\n"$/);
    }
    expect((await run(aStar, { ...options, reward: () => 1 + 1e-9 }, toy(3))).text).toHaveLength(6);
    const later: Reward = async ({ text }) => oracle({ text, prompt: "", steps: [], finished: false });
    expect((await run(aStar, { reward: later, children: 16 }, toy(5))).text).toBe(solved);
  });

  test("steps that are empty, never end, or do not fit", async () => {
    const blank: Toy = { letters, maxTokens: 6, law: () => [0, 0, 0, 1] };
    await expect(run(aStar, { reward: () => 0.5 }, blank)).rejects.toMatchObject({
      code: "constraint_dead_end",
      message: expect.stringMatching(/: steps of white space alone were drawn after "", three times over/),
    });
    const endless: Toy = { letters, maxTokens: 10, law: () => [0, 0.5, 0.5, 0] };
    const { text, finish, hypotheses } = await run(aStar, { reward: () => 0.5, maxStepTokens: 3 }, endless);
    expect(text).toHaveLength(10);
    expect(hypotheses[0].finished).toBe(false);
    expect(finish).toBeUndefined(); // the output was full
  });

  test("options that mean nothing are refused", async () => {
    await expect(run(aStar, { reward: oracle, budget: 10, reserve: 10 }, toy(2))).rejects.toThrow(/reserve/);
    await expect(run(aStar, { reward: oracle, answer: "(" }, toy(2))).rejects.toThrow(/answer/);
    expect(() => aStar.options.parse({ reward: 7 })).toThrow();
  });
});

describe("its baselines", () => {
  test("best-of-n takes the best of n whole texts, each as plain sampling draws it", async () => {
    const options = { reward: oracle, samples: 64 };
    const { text, counters, hypotheses } = await run(bestOfN, options, toy(5));
    expect(hypotheses).toHaveLength(64);
    expect(counters.search!.tokens).toBe(64 * 11);
    expect(counters.search!.rewardCalls).toBe(64);
    expect(oracle({ text, prompt: "", steps: [], finished: true })).toBe(
      Math.max(...hypotheses.map(({ score }) => score)),
    );
    const every = await run(bestOfN, { ...options, aggregate: "min" }, toy(5));
    expect(every.counters.search!.rewardCalls).toBe(64 * 6);
    // Draws of whole texts follow the model: of 64 about half begin with a.
    const share = hypotheses.filter((one) => one.text[0] === "a").length / 64;
    expect(Math.abs(share - 0.5)).toBeLessThan(0.25);
  });

  test("self-consistency takes the answer of the majority", async () => {
    const options = { samples: 60, answer: "^(.)\n" };
    const { text } = await run(selfConsistency, options, toy(2, [0.3, 0.7]));
    expect(text[0]).toBe("b");
  });

  test("particle filtering resamples towards what is rewarded", async () => {
    let found = 0;
    for (let seed = 0; seed < 10; seed++) {
      const { text } = await run(particleFiltering, { reward: oracle, particles: 8 }, toy(5), seed);
      if (text === solved) found += 1;
    }
    expect(found).toBeGreaterThanOrEqual(8);
    await expect(run(particleFiltering, { reward: oracle, aggregate: "min" }, toy(5))).rejects.toThrow(/aggregate/);
  });

  test("beams by reward, merged and as subtrees", async () => {
    const { text, counters } = await run(rewardBeam, { reward: oracle, samples: 16, children: 8 }, toy(5));
    expect(text).toBe(solved);
    expect(counters.search!.tokens).toBeLessThanOrEqual(6 * 16 * 2);
    const apart = await run(rewardBeam, { reward: () => 0.5, samples: 8, children: 2, subtrees: true }, toy(4), 2);
    expect(apart.hypotheses).toHaveLength(4);
    await expect(run(rewardBeam, { reward: oracle, samples: 7, children: 4 }, toy(5))).rejects.toThrow(/divided/);
  });
});

test("problems are read from their prompts", () => {
  const skill = skills.find(({ name }) => name === "arithmetic")!;
  for (let i = 0; i < 300; i++) {
    const item = skillItem(skill, "train", 2, i);
    expect(arithmeticProblem(`Solve this.\n${item.prompt}\n`)?.facts).toEqual(item.facts);
  }
  expect(arithmeticProblem("Once upon a time")).toBeUndefined();
});

describe("on a forest", () => {
  let tiny: TinyModel;
  let model: Model;
  beforeAll(async () => {
    tiny = await writeTinyModel({ tokenizer: true, config: { eos_token_id: undefined } });
    model = await open(tiny.folder, { threads: 1, maxRows: 6 });
  });
  afterAll(async () => {
    await model.close();
    await removeModel(tiny);
  });
  const prompt = "the cat and the";
  const method = (one: unknown, options: object): OwnMethod => ({ method: one, options }) as OwnMethod;
  const vowels: Reward = ({ text }) => [...text].filter((x) => "aeiou".includes(x)).length / Math.max(1, text.length);
  const search = { reward: vowels, delimiters: ["a", "e", "t"], maxStepTokens: 6 };

  test("shared prefixes are computed once, and everything is let go", async () => {
    const options = { ...search, children: 5, budget: 300 };
    const { counters, tokens } = await model.decode(prompt, { method: method(aStar, options), maxTokens: 24 }).final;
    expect(tokens.length).toBeGreaterThan(0);
    expect(counters.search!.tokens).toBeLessThanOrEqual(300);
    expect(counters.rows).toBeLessThanOrEqual(counters.prefillTokens + counters.search!.tokens);
    expect(model.forest.held).toBe(0);
  });

  test("one child, and one sample, are plain sampling's own text", async () => {
    const plain = await model.decode(prompt, { seed: 5, maxTokens: 20 }).final;
    const chains: [unknown, object][] = [
      [aStar, { ...search, children: 1, budget: 1000 }],
      [bestOfN, { ...search, samples: 1 }],
    ];
    for (const [one, options] of chains) {
      const run = await model.decode(prompt, { seed: 5, maxTokens: 20, method: method(one, options), logprobs: 0 })
        .final;
      expect(run.tokens).toEqual(plain.tokens);
      expect(run.logprobs).toHaveLength(plain.tokens.length);
    }
  });

  test("beside other requests it is what it is alone, and an abort ends it", async () => {
    const options = { method: method(aStar, { ...search, children: 4, budget: 200 }), maxTokens: 20, seed: 3 };
    const alone = await model.decode(prompt, options).final;
    const runs = [1, 2, 3].map((seed) => model.decode(prompt, { ...options, seed }));
    const all = await Promise.all([...runs, model.decode("a hat", { maxTokens: 20 })].map((one) => one.final));
    expect(all[2].tokens).toEqual(alone.tokens);
    const run = model.decode(prompt, options);
    for await (const { type } of run) if (type === "explore") break;
    expect((await run.final).finish).toBe("aborted");
    expect(model.forest.held).toBe(0);
  });

  test("every step obeys the constraint, and a contrast works inside", async () => {
    const { text } = await model.decode(prompt, {
      method: method(aStar, { ...search, children: 4 }),
      maxTokens: 30,
      constraint: { regex: "([a-d]{1,3} ){2,4}[e-h]" },
      shapers: [{ name: "dola", alpha: 0.01 }],
    }).final;
    expect(text).toMatch(/^([a-d]{1,3} ){2,4}[e-h]$/);
  });

  test("temperature 0 has one next step", async () => {
    const greedy = { temperature: 0, maxTokens: 12 };
    await expect(model.decode(prompt, { ...greedy, method: method(aStar, search) }).final).rejects.toThrow(
      /children=1/,
    );
    const { tokens } = await model.decode(prompt, { ...greedy, method: method(aStar, { ...search, children: 1 }) })
      .final;
    expect(tokens).toEqual((await model.decode(prompt, greedy).final).tokens);
  });

  test("a missing head and a prompt that is no problem are told", async () => {
    const missing = model.decode(prompt, { method: method(aStar, {}) }).final;
    await expect(missing).rejects.toMatchObject({ code: "unavailable" });
    const none = model.decode(prompt, { method: method(aStar, { reward: "arithmetic" }) }).final;
    await expect(none).rejects.toThrow(/arithmetic/);
  });
});
