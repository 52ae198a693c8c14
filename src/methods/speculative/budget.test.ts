import { describe, expect, test } from "vitest";
import { uniform } from "../../engine/random.ts";
import { createAcceptanceEstimate } from "./acceptance.ts";
import { measuredEconomy } from "./budget.ts";
import { addNode, createTree } from "./tree.ts";

const curve = (rows: number[], seconds: number[]) => ({ model: "test", rows, seconds });

describe("what a node costs", () => {
  const flat = curve([1, 8, 64], [1, 1, 8]);
  test("nothing where further rows take no time, more where they do, and a draft pass on top", () => {
    const { price } = measuredEconomy(flat, 0.25, 32);
    expect(price(0)).toBe(0);
    expect(price(6)).toBe(0);
    expect(price(20)).toBeCloseTo(1 / 8, 10); // plain decoding makes one token a second
    expect(price(20, 1)).toBeCloseTo(1 / 8 + 0.25, 10);
    expect(price(32)).toBe(Infinity);
  });

  test("time is dearer the more tokens a second are made, and never cheaper than in plain decoding", () => {
    const steep = curve([1, 64], [1, 7.3]); // 0.1 s a row
    const good = measuredEconomy(steep, 0, 64);
    for (let round = 0; round < 200; round++) good.settle(3, 4, 0);
    expect(good.price(4)).toBeCloseTo((3 / 1.4) * 0.1, 3);
    const bad = measuredEconomy(steep, 0, 64);
    for (let round = 0; round < 200; round++) bad.settle(1, 4, 0);
    expect(bad.price(4)).toBeCloseTo(0.1, 10);
  });

  test("never less for a further node, even where a measured curve flattens", () => {
    const { price } = measuredEconomy(curve([1, 4, 8, 16, 64], [1, 2, 2.1, 5, 6]), 0, 63);
    const prices = Array.from({ length: 63 }, (_, drafted) => price(drafted));
    expect(prices).toEqual([...prices].sort((a, b) => a - b));
    expect(prices.reduce((a, b) => a + b, 0)).toBeCloseTo(5, 10); // all rows together cost what was measured
  });

  test("after many rounds without a draft a little is drafted again", () => {
    const { price, settle } = measuredEconomy(curve([1, 64], [1, 64]), 1, 64);
    const free: number[] = [];
    for (let round = 1; round <= 60; round++) {
      settle(1, 0, 0);
      if (price(0, 1) === 0) free.push(round);
    }
    expect(free).toEqual([24, 48]);
  });

  test("what is chosen by the price is at least as fast as any fixed number of nodes", () => {
    const steep = curve([1, 64], [1, 5]);
    const second = (nodes: number) => 1 + (4 * nodes) / 63;
    // Every round has chances 0.8^i or 0.1^i: rounds that deserve long drafts and rounds that deserve none.
    const chance = (round: number, i: number) =>
      (uniform({ seed: 1, request: 0 }, round, "data") < 0.5 ? 0.8 : 0.1) ** i;
    const tokensOf = (round: number, nodes: number) => {
      let tokens = 1;
      for (let i = 1; i <= nodes; i++) tokens += chance(round, i);
      return tokens;
    };
    const rate = (choose: (round: number) => number, learn: (tokens: number, nodes: number) => void = () => {}) => {
      let [tokens, time] = [0, 0];
      for (let round = 0; round < 2000; round++) {
        const nodes = choose(round);
        tokens += tokensOf(round, nodes);
        time += second(nodes);
        learn(tokensOf(round, nodes), nodes);
      }
      return tokens / time;
    };
    const { price, settle } = measuredEconomy(steep, 0, 40);
    const adaptive = rate(
      (round) => {
        let nodes = 0;
        while (chance(round, nodes + 1) >= price(nodes)) nodes++;
        return nodes;
      },
      (tokens, nodes) => settle(tokens, nodes, 0),
    );
    const fixed = Math.max(...Array.from({ length: 30 }, (_, nodes) => rate(() => nodes)));
    expect(adaptive).toBeGreaterThan(1.1 * fixed);
  });
});

describe("estimates of acceptance", () => {
  test("are learned from verification and never fall as the probability rises", () => {
    const estimate = createAcceptanceEstimate("chosen");
    expect(estimate.ofProbability(0.5, 0)).toBeLessThan(0.75);
    for (let round = 0; round < 500; round++) {
      const tree = createTree("chosen");
      addNode(tree, 0, 1, 0.5, 0.5);
      addNode(tree, 0, 2, 0.1, 0.1);
      estimate.observe(tree, round % 10 < 9 ? [1] : []);
    }
    expect(estimate.ofProbability(0.5, 0)).toBeCloseTo(0.9, 1);
    expect(estimate.ofProbability(0.1, 1)).toBeLessThan(0.02);
    const grid = Array.from({ length: 100 }, (_, i) => estimate.ofProbability((i + 1) / 100, 0));
    expect(grid).toEqual([...grid].sort((a, b) => a - b));
    expect(estimate.ofProbability(0, 0)).toBe(0);
  });

  test("of drawn siblings count only those that were tried", () => {
    const estimate = createAcceptanceEstimate("sampled");
    for (let round = 0; round < 400; round++) {
      const tree = createTree("sampled");
      for (let i = 0; i < 3; i++) addNode(tree, 0, i, 0.3, 0.3);
      estimate.observe(tree, round % 2 === 0 ? [1] : [2]);
    }
    expect(estimate.ofRank(0)).toBeCloseTo(0.5, 1);
    expect(estimate.ofRank(1)).toBeGreaterThan(0.97); // tried only where the first one failed
    expect(estimate.ofRank(2)).toBeCloseTo(0.2, 6); // never tried: the guess it started from
  });
});
