import { describe, expect, it } from "vitest";
import type { Entry } from "./comparison.ts";
import { treesOf } from "./comparison-report.ts";
import { displayWidth } from "./terminal.ts";
import { type DraftedRound, draftedRounds, drawRound } from "./tree.ts";

const best = "the target's most likely token";

/** A tree from the parents of its nodes, whose first ones are kept. */
function roundOf(parents: readonly number[], path: readonly number[]): DraftedRound {
  const tokens = parents.map((_, i) => i + 1);
  return {
    draft: { type: "draft", tokens, parents, values: tokens.map(() => 0.5), passes: 1 },
    verify: { type: "verify", path, token: 0, reasons: [...path.map(() => best), `${best}, which was not drafted`] },
  } as unknown as DraftedRound;
}
/** A trace whose rounds draft so many tokens each. */
const traceOf = (counts: readonly number[]) =>
  counts.flatMap((count) => {
    const { draft, verify } = roundOf(
      Array.from({ length: count }, (_, i) => i),
      [],
    );
    return [draft, verify];
  });
const name = (token: number): string => `" word${token}"`;

describe("a drawn tree", () => {
  it("shows chains straight below each other, and branches where several are drafted for one place", () => {
    expect(drawRound(roundOf([0, 1, 2, 2], [1, 2, 4]), name)).toBe(
      [
        "4 tokens drafted in 1 pass of the draft model, 3 kept",
        `└─ " word1" 0.500  ✓ ${best}`,
        `   " word2" 0.500  ✓ ${best}`,
        '   ├─ " word3" 0.500  ✗',
        `   └─ " word4" 0.500  ✓ ${best}`,
        `then " word0": ${best}, which was not drafted`,
      ].join("\n"),
    );
  });

  const depth = 40;
  const shapes = {
    "a long chain": roundOf(
      Array.from({ length: depth }, (_, i) => i),
      Array.from({ length: depth }, (_, i) => i + 1),
    ),
    "branches all the way down": roundOf(
      Array.from({ length: 2 * depth }, (_, i) => 2 * Math.floor(i / 2)),
      Array.from({ length: depth }, (_, i) => 2 * i + 2),
    ),
  };
  it.each(Object.entries(shapes))("fits the width, with every token in it: %s", (_, round) => {
    for (const width of [120, 80, 60]) {
      const text = drawRound(round, name, width, "a method with options of some length=12, round 1: ");
      const lines = text.split("\n");
      for (const line of lines) expect(displayWidth(line), line).toBeLessThanOrEqual(width);
      for (const token of round.draft.tokens) expect(text).toContain(`" word${token}"`);
      expect(text.replace(/[\s│]+/g, " ").split(best)).toHaveLength(round.verify.reasons.length + 1);
    }
  });

  it("cuts a token that is wider than the terminal", () => {
    const lines = drawRound(roundOf([0], []), () => JSON.stringify("=".repeat(300)), 60).split("\n");
    for (const line of lines) expect(displayWidth(line)).toBeLessThanOrEqual(60);
    expect(lines[1]).toMatch(/=… 0\.500 {2}✗$/);
  });
});

describe("rounds that are shown", () => {
  const shownOf = (counts: readonly number[], most: number) => {
    const { shown, empty } = draftedRounds(traceOf(counts), most);
    return { numbers: shown.map(({ number }) => number), empty };
  };

  it("are the first in which something was drafted, and the others up to them are counted", () => {
    expect(shownOf([0, 0, 3, 0, 1, 2, 0, 4], 3)).toEqual({ numbers: [3, 5, 6], empty: 3 });
    expect(shownOf([2, 1], 3)).toEqual({ numbers: [1, 2], empty: 0 });
    expect(shownOf([0, 0], 3)).toEqual({ numbers: [], empty: 2 });
    expect(shownOf([], 3)).toEqual({ numbers: [], empty: 0 });
  });

  it("stand beside a line for what drafted nothing", () => {
    const entries = (
      [
        ["dyspec", [0, 2, 0, 1]],
        ["aded", [0, 0]],
        ["chain", [1, 0]],
        ["greedy", []],
      ] as const
    ).map(([label, counts]) => ({ label, events: [traceOf(counts)] }) as unknown as Entry);
    const { trees, without } = treesOf({ entries }, 2, name);
    expect(trees.map((tree) => tree.split(":")[0])).toEqual(["dyspec, round 2", "dyspec, round 4", "chain, round 1"]);
    expect(trees.join()).not.toContain("0 tokens drafted");
    expect(without).toEqual([
      "dyspec drafted nothing in 2 of its first 4 rounds",
      "aded drafted nothing in any of its 2 rounds",
    ]);
    expect(treesOf({ entries }, 0, name)).toEqual({ trees: [], without: [] });
  });
});
