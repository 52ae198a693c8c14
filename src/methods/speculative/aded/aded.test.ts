import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { VentrisError } from "../../../errors.ts";
import { createDraws } from "../draws.ts";
import { depthsOf } from "../tree.ts";
import { verify } from "../verify.ts";
import { createContexts } from "./contexts.ts";
import {
  type AdedOptions,
  createTable,
  createTableBuilder,
  decodeTable,
  draftFromTable,
  encodeTable,
  type TrigramTable,
  type UpdateOptions,
  updateTable,
} from "./index.ts";
import { followTable, type SearchOptions, searchTree } from "./search.ts";

const tokenizer = { vocabularySize: 10, fingerprint: "abc" };
const draws = (position = 0) => createDraws({ seed: 1, request: 0 }, position);
const row = (token: number, probability: number) => ({ tokens: [token], weights: [probability], total: 1 });
const rowOf = (table: TrigramTable, first: number, second: number) => {
  const row = table.find(first, second);
  return row && Array.from(row.tokens, (token, i) => [token, Number(row.weights[i].toFixed(6))]);
};

const searchTable = (table: TrigramTable, first: number, second: number, options: SearchOptions) =>
  searchTree(followTable(table, first, second), second, options, draws());

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
    const { tokens, parents, visits, rewards } = searchTable(threeKeys(), 1, 2, { iterations: 4, c1: 1 });
    expect(tokens).toEqual([2, 3, 4, 5, 2]);
    expect(parents).toEqual([-1, 0, 0, 1, 3]);
    expect(visits).toEqual([4, 3, 1, 3, 2]);
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
    const { visits } = searchTable(table, 1, 2, { c1, c2 });
    expect(visits).toEqual([150, leaves[0].visits, leaves[1].visits]);
  });

  test("the authors' reward looks up the wrong token, so that each rollout counts 1", () => {
    const { visits, rewards } = searchTable(threeKeys(), 1, 2, { iterations: 50, reward: "repo" });
    expect([...rewards]).toEqual([...visits]);
  });

  test("the published draft is the tree of the visited paths", () => {
    const tree = draftFromTable(threeKeys(), [9, 1, 2], { iterations: 4, c1: 1, paths: 24 }, draws());
    expect(tree).toMatchObject({ kind: "chosen", tokens: [3, 5, 2, 4], parents: [0, 1, 2, 0] });
    [0.75, 0.75, 0.5, 0.25].forEach((value, i) => {
      expect(tree.values![i]).toBeCloseTo(value, 6);
    });
    [0.75, 1, 2 / 3, 0.25].forEach((score, i) => {
      expect(tree.probabilities![i]).toBeCloseTo(score, 6);
    });
  });

  test.each([
    ["budget, least visited leaves first", { budget: 2 }, [3, 5], [0, 1]],
    ["budget, the authors' way", { budget: 4, cut: "repo" as const }, [3, 5, 4], [0, 1, 0]],
    ["depth", { depth: 1 }, [3, 4], [0, 0]],
    ["end token", { endTokens: new Set([5]) }, [3, 5, 4], [0, 1, 0]],
    ["paths, the root counted, each with its heaviest successor", { paths: 2 }, [3, 5], [0, 1]],
  ])("the published draft is cut by %s", (_, options, tokens, parents) => {
    const tree = draftFromTable(threeKeys(), [1, 2], { iterations: 4, c1: 1, paths: 24, ...options }, draws());
    expect(tree.tokens).toEqual(tokens);
    expect(tree.parents).toEqual(parents);
  });

  describe.each(["puct", "best-first"] as const)("what is worth its row, found by %s", (search) => {
    const draft = (options: AdedOptions) => draftFromTable(threeKeys(), [1, 2], { search, ...options }, draws());

    test("is what the products of shares say, to any depth and no further than the table goes", () => {
      // 3 (0.6) and 4 (0.4); after (2,3) surely 5, after (3,5) surely 2
      const tree = draft({});
      expect(tree).toMatchObject({ kind: "chosen", tokens: [3, 5, 2, 4], parents: [0, 1, 2, 0] });
      expect(tree.probabilities!.map((share) => Number(share.toFixed(6)))).toEqual([0.6, 1, 1, 0.4]);
    });

    test.each([
      ["price", { price: () => 0.5 }, [3, 5, 2]],
      ["a price that rises", { price: (n: number) => 0.3 + 0.2 * n }, [3, 5]],
      ["what may follow", { follow: ([first]: readonly number[]) => (first ? undefined : row(7, 0.9)) }, [7]],
      ["budget", { budget: 2 }, [3, 5]],
      ["depth", { depth: 2 }, [3, 5, 4]],
      ["path length", { pathLength: 2 }, [3, 4]],
      ["end token", { endTokens: new Set([5]) }, [3, 5, 4]],
      ["iterations", { iterations: 1 }, [3, 4]],
    ])("is cut by %s", (_, options, tokens) => {
      expect(draft(options).tokens).toEqual(tokens);
    });

    test("is a whole loop, as long as it is allowed to be", () => {
      const table = createTable(tokenizer);
      updateTable(table, [1, 2, 3, 1, 2, 3]);
      const tree = draftFromTable(table, [1, 2, 3], { search, budget: 30 }, draws());
      expect(tree.tokens).toEqual(Array.from({ length: 30 }, (_, i) => 1 + (i % 3)));
      expect(tree.parents).toEqual(Array.from({ length: 30 }, (_, i) => i));
    });
  });

  test("search and no search draft the same where the search may end by itself", () => {
    const table = createTable({ ...tokenizer, successors: 10 });
    for (let i = 0; i < 1000; i++)
      table.credit(i % 10, Math.floor(i / 10) % 10, Math.floor(i / 100), 2 ** -((i * 7) % 11), 3);
    for (let pair = 0; pair < 100; pair++) {
      const options = { budget: 40, price: () => 0.08 };
      const [searched, expanded] = (["puct", "best-first"] as const).map((search) => {
        const context = [pair % 10, Math.floor(pair / 10)];
        const tree = draftFromTable(table, context, { ...options, search, iterations: 1000 }, draws());
        return tree.values!.map((value) => value.toFixed(9));
      });
      expect(searched.length).toBeGreaterThan(3);
      expect(searched).toEqual(expanded);
    }
  });

  test.each([[[]], [[1]], [[5, 5]]])("nothing is drafted after %j", (context) => {
    expect(draftFromTable(threeKeys(), context, {}, draws()).tokens).toEqual([]);
  });

  test("drafts repeat for a seed and stay within the budget on a full table", () => {
    const table = createTable({ ...tokenizer, successors: 10 });
    for (let i = 0; i < 1000; i++)
      table.credit(i % 10, Math.floor(i / 10) % 10, Math.floor(i / 100), 0.1 + (i % 7) / 10, 3);
    for (const options of [{ cut: "trie" as const, paths: 40 }, { cut: "repo" as const, paths: 40 }, {}]) {
      const draft = () => draftFromTable(table, [1, 2], { budget: 16, ...options }, draws(3));
      const tree = draft();
      expect(tree.tokens.length).toBeGreaterThan(0);
      expect(tree.tokens.length).toBeLessThanOrEqual(16);
      expect(draft()).toEqual(tree);
    }
  });

  test("bad options are refused", () => {
    for (const options of [{ iterations: 0 }, { iterations: 1e9 }, { pathLength: 1 }, { c1: -1 }, { c2: 0 }]) {
      expect(() => searchTable(threeKeys(), 1, 2, options)).toThrow(VentrisError);
    }
    const draft = (options: AdedOptions) => draftFromTable(threeKeys(), [1, 2], options, draws());
    expect(() => draft({ cut: "repo" })).toThrow(/give paths too/);
    expect(() => draft({ search: "best-first", paths: 24 })).toThrow(/no visits/);
    expect(() => updateTable(threeKeys(), [1, 2, 3], { forget: 1.5 })).toThrow(/forget/);
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

  test("what forgetting has halved to nothing is no successor any more", () => {
    const table = createTable(tokenizer);
    table.credit(1, 2, 3, 1, 3);
    const { after, append } = createContexts([1], (first, second) => table.find(first, second));
    for (const token of [1, 2, 4, 1, 2]) append(token, false);
    for (let i = 0; i < 140; i++) table.credit(1, 2, 4, 1, 3, 0.5);
    expect(rowOf(table, 1, 2)!.map(([token]) => token)).toEqual([4, 3]);
    for (let i = 0; i < 20; i++) table.credit(1, 2, 4, 1, 3, 0.5);
    expect(rowOf(table, 1, 2)!.map(([token]) => token)).toEqual([4]);
    // Where the text knows 4 already, the table's rest would be shared out among a sum of 0.
    expect(Array.from(after([])!.weights).every((share) => share > 0 && share < 1)).toBe(true);
    expect(rowOf(decodeTable(encodeTable(table), "table", tokenizer), 1, 2)).toEqual(rowOf(table, 1, 2));
    table.credit(5, 6, 7, 1e-50, 3);
    expect(table.find(5, 6)).toBeUndefined();
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

  test("the latest continuation wins over what was counted and credited before", () => {
    const table = createTable(tokenizer, threeKeys());
    updateTable(table, [1, 2, 4]);
    expect(rowOf(table, 1, 2)).toEqual([
      [4, 1.2],
      [3, 0.3],
    ]);
    updateTable(table, [1, 2, 9]);
    expect(rowOf(table, 1, 2)).toEqual([
      [9, 1],
      [4, 0.6],
      [3, 0.15],
    ]);
  });

  test("the update credits each tri-gram once, from where the last one ended", () => {
    const table = createTable(tokenizer);
    expect(updateTable(table, [1, 2, 3, 4, 5], {}, 1)).toBe(3);
    expect([...table.keys()]).toEqual([23, 34]);
    expect(updateTable(table, [1, 2, 3, 4, 5], {}, 3)).toBe(3);
    expect(updateTable(table, [1, 2, 3, 4, 5, 6], {}, 3)).toBe(4);
    expect(rowOf(table, 4, 5)).toEqual([[6, 1]]);
    expect(rowOf(table, 2, 3)).toEqual([[4, 1]]);
    expect(updateTable(table, [1, 2])).toBe(0);
    expect(updateTable(table, [1, 2, 3], { step: 0 })).toBe(1);
    expect([...table.keys()]).toEqual([23, 34, 45]);
  });

  test("with a window, the update credits the tri-grams of the last tokens anew, as published", () => {
    const table = createTable(tokenizer);
    const published = { step: 0.04, forget: 0, window: 4 };
    updateTable(table, [1, 2, 3, 4, 5], published);
    expect([...table.keys()]).toEqual([23, 34]);
    expect(rowOf(table, 2, 3)).toEqual([[4, 0.04]]);
    updateTable(table, [1, 2, 3, 4, 5, 6], published);
    expect(rowOf(table, 3, 4)).toEqual([[5, 0.08]]);
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

test.each([
  ["learns", {}, 388 / 12],
  ["as published", { step: 0.04, forget: 0, window: 16, paths: 24, pathLength: 4 }, 388 / 3],
])(
  "from an empty table, repetitive text is soon drafted by a table that %s; and never without the update",
  (_, options, most) => {
    const text = Array.from({ length: 400 }, (__, i) => [1, 2, 3, 4, 5, 6, 7, 1, 3, 5, 2][i % 11]);
    function passes(update: UpdateOptions): number {
      const table = createTable(tokenizer);
      let at = 2;
      let count = 0;
      let credited = 0;
      while (at < text.length - 10) {
        const context = text.slice(0, at);
        credited = updateTable(table, context, update, credited);
        const tree = draftFromTable(table, context, options, draws(at));
        const depths = depthsOf(tree);
        const { path } = verify(tree, { sampleAt: (node) => text[at + depths[node]] }, draws(at));
        at += path.length + 1;
        count++;
      }
      return count;
    }
    expect(passes({ ...options, step: 0 })).toBe(388);
    expect(passes(options)).toBeLessThan(most);
  },
);
