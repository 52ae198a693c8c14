import { describe, expect, it } from "vitest";
import { displayWidth } from "./terminal.ts";
import { type DraftedRound, drawRound } from "./tree.ts";

const best = "the target's most likely token";

/** A tree from the parents of its nodes, whose first ones are kept. */
function roundOf(parents: readonly number[], path: readonly number[]): DraftedRound {
  const tokens = parents.map((_, i) => i + 1);
  return {
    draft: { type: "draft", tokens, parents, values: tokens.map(() => 0.5), passes: 1 },
    verify: { type: "verify", path, token: 0, reasons: [...path.map(() => best), `${best}, which was not drafted`] },
  } as unknown as DraftedRound;
}
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
