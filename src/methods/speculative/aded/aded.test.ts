import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { VentrisError } from "../../../errors.ts";
import { createDraws } from "../draws.ts";
import { depthsOf } from "../tree.ts";
import { verify } from "../verify.ts";
import {
  createTable,
  createTableBuilder,
  decodeTable,
  draftFromTable,
  encodeTable,
  type TrigramTable,
  updateTable,
} from "./index.ts";
import { searchTable } from "./search.ts";

const tokenizer = { vocabularySize: 10, fingerprint: "abc" };
const draws = (position = 0) => createDraws({ seed: 1, request: 0 }, position);
const rowOf = (table: TrigramTable, first: number, second: number) => {
  const row = table.find(first, second);
  return row && Array.from(row.tokens, (token, i) => [token, Number(row.weights[i].toFixed(6))]);
};

/** (1,2) -> 3: 0.6, 4: 0.4;  (2,3) -> 5: 1;  (3,5) -> 2: 0.5 */
function threeKeys(): TrigramTable {
  const table = createTable(tokenizer);
  for (const [first, second, third, weight] of [
    [1, 2, 3, 0.6],
    [1, 2, 4, 0.4],
    [2, 3, 5, 1],
    [3, 5, 2, 0.5],
  ]) {
    table.credit(first, second, third, weight, 3);
  }
  return table;
}

describe("search, against an example worked out by hand", () => {
  test("visits and rewards of four iterations", () => {
    const { count, tokens, parents, visits, rewards } = searchTable(
      threeKeys(),
      1,
      2,
      { iterations: 4, c1: 1 },
      draws(),
    );
    expect(count).toBe(5);
    expect([...tokens.slice(0, 5)]).toEqual([2, 3, 4, 5, 2]);
    expect([...parents.slice(0, 5)]).toEqual([-1, 0, 0, 1, 3]);
    expect([...visits.slice(0, 5)]).toEqual([4, 3, 1, 3, 2]);
    [10.7, 9.3, 1.4, 9.3, 6.2].forEach((reward, node) => {
      expect(rewards[node]).toBeCloseTo(reward, 5);
    });
  });

  test.each([
    { c1: 1.814, c2: 8 },
    { c1: 32, c2: 8 },
    { c1: 0.3, c2: 40 },
  ])("two leaves share the visits by the published score, %o", ({ c1, c2 }) => {
    const table = createTable(tokenizer);
    table.credit(1, 2, 3, 0.6, 3);
    table.credit(1, 2, 4, 0.4, 3);
    const leaves = [0.6, 0.4].map((prior) => ({ prior: Math.fround(prior), visits: 0 }));
    leaves[1].visits = 1; // the first expansion goes on with the last child, the second iteration to the unvisited one
    leaves[0].visits = 1;
    for (let N = 2; N < 150; N++) {
      const [a, b] = leaves.map(({ prior, visits: n }) => {
        return 1 + prior + (c1 + Math.log((N + c2 + 1) / c2)) * prior * (Math.sqrt(N) / (1 + n));
      });
      leaves[b > a ? 1 : 0].visits++;
    }
    const { visits } = searchTable(table, 1, 2, { c1, c2 }, draws());
    expect([...visits.slice(0, 3)]).toEqual([150, leaves[0].visits, leaves[1].visits]);
  });

  test("the authors' reward looks up the wrong token, so that each rollout counts 1", () => {
    const { visits, rewards } = searchTable(threeKeys(), 1, 2, { iterations: 50, reward: "repo" }, draws());
    expect([...rewards]).toEqual([...visits]);
  });

  test("the draft is the tree of the visited paths, level by level", async () => {
    const tree = await draftFromTable(threeKeys(), [9, 1, 2], { iterations: 4, c1: 1 }, draws());
    expect(tree).toMatchObject({ kind: "chosen", tokens: [3, 4, 5, 2], parents: [0, 0, 1, 3] });
    [0.75, 0.25, 0.75, 0.5].forEach((value, i) => {
      expect(tree.values![i]).toBeCloseTo(value, 6);
    });
    expect(depthsOf(tree)).toEqual([0, 1, 1, 2, 3]);
  });

  test.each([
    ["budget, least visited leaves first", { budget: 2 }, [3, 5], [0, 1]],
    ["budget, the authors' way", { budget: 4, cut: "repo" as const }, [3, 4, 5], [0, 0, 1]],
    ["depth", { depth: 1 }, [3, 4], [0, 0]],
    ["end token", { endTokens: new Set([5]) }, [3, 4, 5], [0, 0, 1]],
    ["paths, the root counted, each with its heaviest successor", { paths: 2 }, [3, 5], [0, 1]],
    ["no search", { search: "best-first" as const }, [3, 4, 5, 2], [0, 0, 1, 3]],
  ])("cut by %s", async (_, options, tokens, parents) => {
    const tree = await draftFromTable(threeKeys(), [1, 2], { iterations: 4, c1: 1, ...options }, draws());
    const order = tree.tokens.map((__, i) => i).sort((a, b) => depthsOf(tree)[a + 1] - depthsOf(tree)[b + 1] || a - b);
    expect(order.map((i) => tree.tokens[i])).toEqual(tokens);
    expect(order.map((i) => (tree.parents[i] === 0 ? 0 : order.indexOf(tree.parents[i] - 1) + 1))).toEqual(parents);
  });

  test.each([[[]], [[1]], [[5, 5]]])("nothing is drafted after %j", async (context) => {
    expect((await draftFromTable(threeKeys(), context, {}, draws())).tokens).toEqual([]);
  });

  test("drafts repeat for a seed and stay within the budget on a full table", async () => {
    const table = createTable({ ...tokenizer, successors: 10 });
    for (let i = 0; i < 1000; i++)
      table.credit(i % 10, Math.floor(i / 10) % 10, Math.floor(i / 100), 0.1 + (i % 7) / 10, 3);
    for (const cut of ["trie", "repo"] as const) {
      const draft = () => draftFromTable(table, [1, 2], { cut, budget: 16, paths: 40 }, draws(3));
      const tree = await draft();
      expect(tree.tokens.length).toBeGreaterThan(0);
      expect(tree.tokens.length).toBeLessThanOrEqual(16);
      expect(await draft()).toEqual(tree);
    }
  });

  test("bad options are refused", () => {
    for (const options of [{ iterations: 0 }, { iterations: 1e9 }, { pathLength: 1 }, { c1: -1 }, { c2: 0 }]) {
      expect(() => searchTable(threeKeys(), 1, 2, options, draws())).toThrow(VentrisError);
    }
  });
});

describe("table", () => {
  test("counting gives probabilities of the likeliest successors, not renormalised", () => {
    const builder = createTableBuilder({ ...tokenizer, successors: 2 });
    builder.add([1, 2, 3, 1, 2, 3, 1, 2, 9, 1, 2, 4]);
    builder.add([1, 2, 9]);
    builder.add([7, 7]);
    const table = builder.finish();
    expect(rowOf(table, 1, 2)).toEqual([
      [3, 0.4],
      [9, 0.4],
    ]);
    expect(rowOf(table, 2, 9)).toEqual([[1, 1]]);
    expect(rowOf(table, 7, 7)).toBeUndefined();
    expect([...table.keys()]).toEqual([12, 23, 29, 31, 91]);
    expect(() => builder.add([1, 10, 2])).toThrow(/outside the vocabulary/);
  });

  test("the most frequent pairs are kept, and too much text is refused", () => {
    const builder = createTableBuilder({ ...tokenizer, maximumPairs: 1, maximumTokens: 8 });
    builder.add([5, 6, 7]);
    builder.add([1, 2, 3]);
    expect(() => builder.add([1, 2, 4])).toThrow(/more than 8 tokens/);
    expect([...builder.finish().keys()]).toEqual([12]); // equal counts: the lower pair
  });

  test("credit adds up to the cap, in order, and the lightest successor makes room", () => {
    const table = createTable({ ...tokenizer, successors: 2 });
    table.credit(1, 2, 3, 0.04, 3);
    table.credit(1, 2, 4, 0.04, 3);
    table.credit(1, 2, 4, 0.04, 3);
    expect(rowOf(table, 1, 2)).toEqual([
      [4, 0.08],
      [3, 0.04],
    ]);
    for (let i = 0; i < 100; i++) table.credit(1, 2, 3, 0.04, 3);
    expect(rowOf(table, 1, 2)![0]).toEqual([3, 3]);
    table.credit(1, 2, 9, 0.04, 3);
    expect(rowOf(table, 1, 2)).toEqual([
      [3, 3],
      [9, 0.04],
    ]);
    expect(table.evicted).toEqual({ rows: 0, successors: 1 });
    expect(() => table.credit(1, 2, 10, 1, 3)).toThrow(/outside the vocabulary/);
  });

  test("the row that was not updated for longest is forgotten", () => {
    const table = createTable({ ...tokenizer, maximumRows: 2 });
    for (const first of [1, 2, 1, 3]) table.credit(first, 0, 5, 0.04, 3);
    expect([...table.keys()]).toEqual([10, 30]);
    expect(table.evicted.rows).toBe(1);
  });

  test("a conversation's layer keeps its updates to itself", () => {
    const shared = threeKeys();
    const own = createTable(tokenizer, shared);
    own.credit(1, 2, 4, 1, 3);
    own.credit(8, 8, 8, 1, 3);
    expect(rowOf(own, 1, 2)![0]).toEqual([4, 1.4]);
    expect(rowOf(shared, 1, 2)![0]).toEqual([3, 0.6]);
    expect(shared.find(8, 8)).toBeUndefined();
    expect([...own.keys()]).toEqual([12, 23, 35, 88]);
  });

  test("the update credits the tri-grams of the last tokens", () => {
    const table = createTable(tokenizer);
    updateTable(table, [1, 2, 3, 4, 5], { window: 4 });
    expect([...table.keys()]).toEqual([23, 34]);
    expect(rowOf(table, 2, 3)).toEqual([[4, 0.04]]);
    updateTable(table, [1, 2]);
    updateTable(table, [1, 2, 3], { step: 0 });
    expect([...table.keys()]).toEqual([23, 34]);
  });
});

describe("file", () => {
  const read = (bytes: Uint8Array) => decodeTable(bytes, "chat.trigrams", tokenizer);

  test("round trips to the same bytes, with updates and layers folded in", () => {
    const table = createTable(tokenizer, threeKeys());
    updateTable(table, [1, 2, 3, 5, 2, 4, 4, 4, 4]);
    const bytes = encodeTable(table);
    const again = read(bytes);
    expect(encodeTable(again)).toEqual(bytes);
    for (const key of table.keys()) {
      expect(rowOf(again, Math.floor(key / 10), key % 10)).toEqual(rowOf(table, Math.floor(key / 10), key % 10));
    }
    expect(encodeTable(read(encodeTable(createTable(tokenizer))))).toHaveLength(39);
  });

  test("a cut or changed file is refused, wherever it is cut or changed", () => {
    const bytes = encodeTable(threeKeys());
    for (let length = 0; length < bytes.length; length++) {
      expect(() => read(bytes.slice(0, length))).toThrow(/chat\.trigrams: at byte \d+/);
    }
    for (let bit = 0; bit < 8 * bytes.length; bit++) {
      const changed = bytes.slice();
      changed[bit >> 3] ^= 1 << (bit & 7);
      expect(() => read(changed), `bit ${bit}`).toThrow(VentrisError);
    }
    expect(() => read(Uint8Array.of(...bytes, 0))).toThrow(/1 bytes follow/);
  });

  test("a weight that is no number is refused with its offset", () => {
    for (const weight of [Number.NaN, Infinity, -1, 0]) {
      const bytes = encodeTable(threeKeys());
      new DataView(bytes.buffer).setFloat32(bytes.length - 4, weight, true);
      expect(() => read(bytes)).toThrow(new RegExp(`at byte ${bytes.length - 4}, the weight`));
    }
  });

  test("another tokenizer's table is refused", () => {
    const bytes = encodeTable(threeKeys());
    expect(() => decodeTable(bytes, "x", { ...tokenizer, fingerprint: "abd" })).toThrow(/another tokenizer/);
    expect(() => decodeTable(bytes, "x", { ...tokenizer, vocabularySize: 11 })).toThrow(/10 tokens .* has 11/);
  });

  test("random bytes behind a true header never crash the reader", () => {
    const header = encodeTable(threeKeys()).slice(0, 8);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (rest) => {
        expect(() => read(Uint8Array.of(...header, ...rest))).toThrow(VentrisError);
      }),
    );
  });
});

test("from an empty table, repetitive text is soon drafted: adaptation, and none without the update", async () => {
  const text = Array.from({ length: 400 }, (_, i) => [1, 2, 3, 4, 5, 6, 7, 1, 3, 5, 2][i % 11]);
  async function passes(step: number): Promise<number> {
    const table = createTable(tokenizer);
    let at = 2;
    let count = 0;
    while (at < text.length - 10) {
      const context = text.slice(0, at);
      updateTable(table, context, { step });
      const tree = await draftFromTable(table, context, { iterations: 50 }, draws(at));
      const depths = depthsOf(tree);
      const { path } = verify(tree, { sampleAt: (node) => text[at + depths[node]] }, draws(at));
      at += path.length + 1;
      count++;
    }
    return count;
  }
  expect(await passes(0)).toBe(388);
  expect(await passes(0.04)).toBeLessThan(388 / 3);
});
