/** The forest under leases that come, grow, share, fail and go: every node's logits are those of its own text. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadForest } from "../../test/fixtures/load-forest.ts";
import { removeModel, type TinyModel, vocabularySize, writeTinyModel } from "../../test/fixtures/tiny-model.ts";
import type { VentrisError } from "../errors.ts";
import type { Extension, Forest, ForestNode, Lease } from "./forest.ts";
import { type LoadOptions, loadModel } from "./load.ts";

let llama: TinyModel;
let mistral: TinyModel;
let long: TinyModel;
beforeAll(async () => {
  [llama, mistral, long] = await Promise.all([
    writeTinyModel(),
    writeTinyModel({ config: { architectures: ["MistralForCausalLM"], model_type: "mistral", sliding_window: 5 } }),
    writeTinyModel({ config: { max_position_embeddings: 600 } }),
  ]);
});
afterAll(() => Promise.all([llama, mistral, long].map(removeModel)));

/** A forest of its own, checked for leaks when the test is done with it. */
async function withForest(
  model: TinyModel,
  options: LoadOptions,
  use: (forest: Forest) => Promise<void>,
): Promise<void> {
  const { forest } = await loadForest(model.folder, "tiny", { threads: 1, ...options });
  try {
    await use(forest);
    expect(forest.held).toBe(0);
  } finally {
    await forest.close();
  }
}

const textOf = (node: ForestNode): number[] => {
  const tokens: number[] = [];
  for (let at: ForestNode | undefined = node; at; at = at.parent) tokens.unshift(at.token);
  return tokens;
};

/** Largest difference from the reference's logits after the node's text. */
function error(model: TinyModel, node: ForestNode): number {
  const wanted = model.logits(textOf(node)).at(-1)!;
  return wanted.reduce((worst, x, i) => Math.max(worst, Math.abs(x - node.logits![i])), 0);
}

const tokensOf = (length: number, seed = 0): number[] =>
  Array.from({ length }, (_, i) => (i * i * 7 + 3 * i + 5 + seed * (i + 11)) % vocabularySize);

const failure = async (promise: Promise<unknown>): Promise<VentrisError> => {
  try {
    await promise;
  } catch (error) {
    return error as VentrisError;
  }
  throw new Error("did not fail");
};

const slotBytes = 2 * 2 * 2 * 8 * 4; // keys and values, layers, key-value heads, dimension, float32

/** Holds as many different tokens as the memory limit allows: that works only when not one slot is leaked. */
async function fillCompletely(forest: Forest, slots: number): Promise<void> {
  const lease = forest.lease();
  for (let i = 0; i < slots / 80; i++) await lease.prefill([40 + i, ...tokensOf(79)]);
  expect(forest.size).toBe(slots);
  // Only the last token of each prompt is held; the rest stays for its sake.
  expect(forest.held).toBe(slots / 80);
  const more = await failure(lease.extend([{ parent: undefined, token: 3 }]));
  expect(more.code).toBe("out_of_memory");
  lease.close();
}

describe("random interleavings of leases", () => {
  type Step =
    | { do: "extend"; lease: number; picks: { from: number; token: number; logits: boolean }[] }
    | { do: "prefill"; lease: number; length: number; seed: number }
    | { do: "release"; lease: number; share: number; discard: boolean }
    | { do: "close"; lease: number }
    | { do: "breathe" };
  const lease = fc.nat(3);
  const steps = fc.array(
    fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({
          do: fc.constant("extend" as const),
          lease,
          picks: fc.array(fc.record({ from: fc.nat(40), token: fc.nat(5), logits: fc.boolean() }), {
            minLength: 1,
            maxLength: 6,
          }),
        }),
      },
      {
        weight: 3,
        arbitrary: fc.record({
          do: fc.constant("prefill" as const),
          lease,
          length: fc.integer({ min: 1, max: 30 }),
          seed: fc.nat(2),
        }),
      },
      {
        weight: 2,
        arbitrary: fc.record({ do: fc.constant("release" as const), lease, share: fc.nat(3), discard: fc.boolean() }),
      },
      { weight: 2, arbitrary: fc.record({ do: fc.constant("close" as const), lease }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant("breathe" as const) }) },
    ),
    { minLength: 5, maxLength: 30 },
  );

  /** Runs the steps without waiting for what they start; returns the largest error of any node's logits. */
  async function play(model: TinyModel, forest: Forest, script: readonly Step[]): Promise<number> {
    const open = (): { lease: Lease; nodes: ForestNode[] } => ({ lease: forest.lease(), nodes: [] });
    const hands = Array.from({ length: 4 }, open);
    const underWay: Promise<void>[] = [];
    let worst = 0;
    const check = (node: ForestNode): void => {
      worst = Math.max(worst, error(model, node));
    };
    for (const step of script) {
      if (step.do === "breathe") {
        await new Promise(setImmediate);
        continue;
      }
      const hand = hands[step.lease];
      if (step.do === "close") {
        hand.lease.close();
        hands[step.lease] = open();
      } else if (step.do === "release") {
        const gone = hand.nodes.filter((_, i) => i % 4 === step.share);
        // Released nodes, and those below them, may leave the forest: the hand forgets them.
        hand.nodes = hand.nodes.filter((node) => !gone.some((g) => isAncestor(g, node)));
        hand.lease.release(gone, { discard: step.discard });
      } else {
        const asked =
          step.do === "prefill"
            ? hand.lease.prefill(tokensOf(step.length, step.seed)).then(({ node }) => [node])
            : hand.lease.extend(extensions(step.picks, hand.nodes));
        const wanted = step.do === "prefill" ? [true] : step.picks.map(({ logits }) => logits);
        underWay.push(
          asked.then(
            (nodes) => {
              if (hands[step.lease] !== hand) return;
              for (const [i, node] of nodes.entries()) if (wanted[i]) check(node);
              hand.nodes.push(...nodes);
            },
            (reason: VentrisError) => {
              // Only a lease that was closed, or whose nodes were released, may see its call fail.
              expect(["aborted", "context_full"]).toContain(reason.code);
              if (reason.code === "aborted") expect(hands[step.lease]).not.toBe(hand);
            },
          ),
        );
      }
    }
    await Promise.all(underWay);
    for (const hand of hands) hand.lease.close();
    return worst;
  }

  const isAncestor = (above: ForestNode, node: ForestNode): boolean => {
    for (let at: ForestNode | undefined = node; at; at = at.parent) if (at === above) return true;
    return false;
  };

  function extensions(picks: readonly { from: number; token: number; logits: boolean }[], nodes: ForestNode[]) {
    return picks.map(({ from, token, logits }, i): Extension => {
      const choice = from % (nodes.length + i + 1);
      const parent =
        choice < nodes.length ? nodes[choice] : choice < nodes.length + i ? choice - nodes.length : undefined;
      return { parent, token, logits };
    });
  }

  test.each<[string, () => TinyModel, LoadOptions]>([
    ["small passes, small cache", () => llama, { maxRows: 7, cacheSlots: 128, memoryLimit: 400 * slotBytes }],
    ["a sliding window", () => mistral, { maxRows: 16, memoryLimit: 400 * slotBytes }],
  ])("%s", async (_, model, options) => {
    await withForest(model(), options, async (forest) => {
      await fc.assert(
        fc.asyncProperty(steps, async (script) => {
          expect(await play(model(), forest, script)).toBeLessThan(1e-4);
          expect(forest.held).toBe(0);
          await new Promise(setImmediate);
        }),
        { numRuns: 25, seed: 7 },
      );
      await fillCompletely(forest, 400);
    });
  });
});

describe("prefill", () => {
  test("in chunks of any size gives the same logits, and passes are counted", async () => {
    const prompt = tokensOf(50);
    for (const maxRows of [1, 7, 50, 128]) {
      await withForest(llama, { maxRows }, async (forest) => {
        const lease = forest.lease();
        const { node, computed, cached, passes } = await lease.prefill(prompt);
        expect([computed, cached, passes]).toEqual([50, 0, Math.ceil(50 / maxRows)]);
        expect(forest.counters).toMatchObject({ passes, rows: 50 });
        expect(error(llama, node)).toBeLessThan(1e-4);
        lease.close();
      });
    }
  });

  test("reuses the longest cached prefix and counts it", async () => {
    await withForest(llama, {}, async (forest) => {
      const prompt = tokensOf(40);
      const first = forest.lease();
      await first.prefill(prompt);
      first.close();
      const second = forest.lease();
      expect(await second.prefill([...prompt.slice(0, 25), 9, 9, 9])).toMatchObject({ computed: 3, cached: 25 });
      // The whole prompt is there, but nobody held its logits: its last row runs again.
      const again = await second.prefill(prompt);
      expect(again).toMatchObject({ computed: 1, cached: 39, passes: 1 });
      expect(error(llama, again.node)).toBeLessThan(1e-4);
      expect((await second.prefill(prompt)).passes).toBe(0);
      expect(forest.size).toBe(43);
      second.close();
    });
  });

  test("sixteen samples of one prompt compute its rows once", async () => {
    await withForest(long, {}, async (forest) => {
      const prompt = tokensOf(512);
      const leases = Array.from({ length: 16 }, () => forest.lease());
      const nodes = await Promise.all(leases.map((lease) => lease.prefill(prompt)));
      expect(new Set(nodes.map(({ node }) => node)).size).toBe(1);
      expect(forest.counters.rows).toBe(512);
      expect(nodes.reduce((sum, { computed }) => sum + computed, 0)).toBe(512);
      const rowsBefore = forest.counters.rows;
      await Promise.all(leases.map((lease, token) => lease.extend([{ parent: nodes[token].node, token }])));
      expect(forest.counters.rows - rowsBefore).toBe(16);
      expect(forest.size).toBe(528);
      for (const lease of leases) lease.close();
    });
  });

  test("an empty prompt and one longer than the context are refused", async () => {
    await withForest(llama, {}, async (forest) => {
      const lease = forest.lease();
      expect((await failure(lease.prefill([]))).code).toBe("bad_option");
      const tooLong = await failure(lease.prefill(tokensOf(97)));
      expect(tooLong).toMatchObject({ code: "context_full" });
      expect(tooLong.message).toMatch(/97 tokens.*context of 96/);
      expect((await lease.prefill(tokensOf(96))).computed).toBe(96);
      lease.close();
    });
  });
});

describe("passes", () => {
  test("concurrent calls share one, and what comes while one runs shares the next", async () => {
    await withForest(llama, {}, async (forest) => {
      const leases = Array.from({ length: 8 }, () => forest.lease());
      const roots = await Promise.all(
        leases.map(async (lease, token) => (await lease.extend([{ parent: undefined, token }]))[0]),
      );
      expect(forest.counters).toMatchObject({ passes: 1, rows: 8 });
      const early = leases[0].extend([{ parent: roots[0], token: 5 }]);
      while (forest.size === 8) await new Promise(setImmediate); // until the pass of that call has its slot
      const late = leases.slice(1).map((lease, i) => lease.extend([{ parent: roots[i + 1], token: 5 }]));
      const nodes = (await Promise.all([early, ...late])).flat();
      expect(forest.counters).toMatchObject({ passes: 3, rows: 16 });
      expect(leases.map((lease) => [lease.passes, lease.rows])).toEqual(Array(8).fill([2, 2]));
      for (const node of nodes) expect(error(llama, node)).toBeLessThan(1e-4);
      for (const lease of leases) lease.close();
    });
  });

  test("logits asked for while the pass of that node runs without them come from a pass of their own", async () => {
    await withForest(llama, {}, async (forest) => {
      const [one, two] = [forest.lease(), forest.lease()];
      const silent = one.extend([{ parent: undefined, token: 4, logits: false }]);
      while (forest.size === 0) await new Promise(setImmediate);
      const [node] = await two.extend([{ parent: undefined, token: 4 }]);
      await silent;
      expect(error(llama, node)).toBeLessThan(1e-4);
      expect(forest.size).toBe(1);
      one.close();
      two.close();
    });
  });

  test("more nodes than rows are refused", async () => {
    await withForest(llama, { maxRows: 4 }, async (forest) => {
      const lease = forest.lease();
      const five = Array.from({ length: 5 }, (_, token) => ({ parent: undefined, token }));
      expect(await failure(lease.extend(five))).toMatchObject({ code: "bad_option" });
      lease.close();
    });
  });
});

describe("memory", () => {
  test("the arena grows while texts stay what they were", async () => {
    await withForest(long, { maxRows: 32 }, async (forest) => {
      const lease = forest.lease();
      const start = forest.capacity;
      const { node } = await lease.prefill(tokensOf(100));
      await lease.prefill([1, ...tokensOf(300)]);
      expect(forest.capacity).toBeGreaterThan(start);
      const [next] = await lease.extend([{ parent: node, token: 8 }]);
      expect(error(long, next)).toBeLessThan(1e-4);
      lease.close();
    });
  });

  test("the limit is an error that says so, and everything is usable afterwards", async () => {
    await withForest(llama, { memoryLimit: 100 * slotBytes, maxRows: 16 }, async (forest) => {
      const [one, two] = [forest.lease(), forest.lease()];
      const { node } = await one.prefill(tokensOf(80));
      const refused = await failure(two.prefill([63, ...tokensOf(40)]));
      expect(refused.code).toBe("out_of_memory");
      expect(refused.message).toMatch(/memory limit of 25600 bytes allows 100/);
      const [next] = await one.extend([{ parent: node, token: 8 }]);
      expect(error(llama, next)).toBeLessThan(1e-4);
      const short = await two.prefill([62, ...tokensOf(10)]);
      expect(error(llama, short.node)).toBeLessThan(1e-4);
      one.close();
      // What one held is only cached now, and gives way.
      const long = await two.prefill([63, ...tokensOf(80)]);
      expect(error(llama, long.node)).toBeLessThan(1e-4);
      two.close();
    });
  });

  test("does not grow with what was cached before", async () => {
    await withForest(long, { cacheSlots: 256 }, async (forest) => {
      for (let round = 0; round < 40; round++) {
        const leases = [forest.lease(), forest.lease()];
        await Promise.all(
          leases.map(async (lease, i) => {
            let { node } = await lease.prefill(tokensOf(50 + ((7 * round) % 60), 2 * round + i));
            for (let step = 0; step < 30; step++) [node] = await lease.extend([{ parent: node, token: step }]);
          }),
        );
        for (const lease of leases) lease.close();
      }
      expect(forest.capacity).toBeLessThanOrEqual(1024);
    });
  });

  test("of calls that share a pass only those fail that do not fit, and what goes on from them", async () => {
    await withForest(llama, { memoryLimit: 100 * slotBytes }, async (forest) => {
      const leases = Array.from({ length: 4 }, () => forest.lease());
      const { node } = await leases[0].prefill(tokensOf(80));
      const large = Array.from({ length: 30 }, (_, i) => ({ parent: i > 0 ? i - 1 : undefined, token: 30 + (i % 9) }));
      const before = forest.counters.passes;
      const first = leases[1].extend([{ parent: node, token: 5 }]);
      const refused = failure(leases[2].extend(large));
      const below = failure(leases[3].extend([...large, { parent: 29, token: 1 }]));
      const last = leases[1].extend([{ parent: undefined, token: 7 }]);
      for (const [fits] of await Promise.all([first, last])) expect(error(llama, fits)).toBeLessThan(1e-4);
      expect(await refused).toMatchObject({ code: "out_of_memory" });
      expect(await below).toMatchObject({ code: "out_of_memory" });
      expect(forest.counters.passes - before).toBe(1);
      expect(forest.size).toBe(82);
      for (const lease of leases) lease.close();
    });
  });

  test("prefixes nobody holds go beyond cacheSlots, the longest unheld first", async () => {
    await withForest(long, { cacheSlots: 128 }, async (forest) => {
      for (let i = 0; i < 6; i++) {
        const lease = forest.lease();
        await lease.prefill([i, ...tokensOf(59)]);
        lease.close();
      }
      expect(forest.capacity).toBe(128);
      const lease = forest.lease();
      expect((await lease.prefill([5, ...tokensOf(59)])).cached).toBe(59);
      expect((await lease.prefill([0, ...tokensOf(59)])).cached).toBe(0);
      lease.close();
    });
  });

  test("discarded branches free their slots at once, shared stems stay", async () => {
    await withForest(llama, {}, async (forest) => {
      const lease = forest.lease();
      const { node } = await lease.prefill(tokensOf(10));
      const branch = await lease.extend([
        { parent: node, token: 1 },
        { parent: 0, token: 2 },
        { parent: 1, token: 3 },
        { parent: node, token: 4 },
      ]);
      expect(forest.size).toBe(14);
      lease.release(branch.slice(0, 3), { discard: true });
      expect(forest.size).toBe(11);
      lease.release([branch[3]]);
      expect([forest.size, forest.held]).toEqual([11, 1]);
      lease.close();
    });
  });
});

describe("calls that fail leave nothing behind", () => {
  test.each<[string, Extension, string]>([
    ["a token outside the vocabulary", { parent: 0, token: 64 }, "bad_option"],
    ["a parent that does not precede its child", { parent: 5, token: 1 }, "bad_option"],
    ["a parent before the first", { parent: -1, token: 1 }, "bad_option"],
    ["a vector without a name", { parent: 0, token: { values: new Float32Array(32) } as never }, "bad_option"],
    ["a vector that is a plain list", { parent: 0, token: { id: "a", values: [1] } as never }, "bad_option"],
    ["nothing in place of a token", { parent: 0, token: null as never }, "bad_option"],
    [
      "a look-ahead vector of another width",
      { parent: 0, token: 1, ahead: { vector: new Float32Array(3) } },
      "bad_option",
    ],
  ])("%s", async (_, wrong, code) => {
    await withForest(llama, {}, async (forest) => {
      const [one, two] = [forest.lease(), forest.lease()];
      expect((await failure(one.extend([{ parent: undefined, token: 7 }, wrong]))).code).toBe(code);
      expect([forest.held, forest.size]).toEqual([0, 0]);
      // The first node of the failed call must not be waited for.
      const [node] = await two.extend([{ parent: undefined, token: 7 }]);
      expect(error(llama, node)).toBeLessThan(1e-4);
      one.close();
      two.close();
    });
  });

  test("a tree that reaches beyond the context", async () => {
    await withForest(llama, {}, async (forest) => {
      const lease = forest.lease();
      const { node } = await lease.prefill(tokensOf(95));
      const beyond = await failure(
        lease.extend([
          { parent: node, token: 1 },
          { parent: 0, token: 1 },
        ]),
      );
      expect(beyond.code).toBe("context_full");
      const [last] = await lease.extend([{ parent: node, token: 1 }]);
      expect(error(llama, last)).toBeLessThan(1e-4);
      lease.close();
    });
  });

  test("a closed lease and a closed forest refuse", async () => {
    const { forest } = await loadForest(llama.folder, "tiny", { threads: 1 });
    const lease = forest.lease();
    const underWay = failure(lease.prefill(tokensOf(20)));
    lease.close();
    lease.close();
    expect((await underWay).code).toBe("aborted");
    expect((await failure(lease.extend([{ parent: undefined, token: 1 }]))).code).toBe("aborted");
    expect((await failure(lease.prefill([1]))).code).toBe("aborted");
    expect(forest.held).toBe(0);
    const late = forest.lease();
    await forest.close();
    expect(() => forest.lease()).toThrow(/closed/);
    expect(await failure(late.prefill([1]))).toMatchObject({ code: "aborted", message: "the model was closed" });
  });

  test("whoever joins nodes of a lease that closes gets them all the same", async () => {
    await withForest(llama, {}, async (forest) => {
      const [busy, one, two] = [forest.lease(), forest.lease(), forest.lease()];
      const running = busy.prefill([9, 9, 9]);
      while (forest.size === 0) await new Promise(setImmediate);
      const prompt = tokensOf(12);
      const lost = failure(one.prefill(prompt)); // waits for the pass that runs
      one.close();
      const { node } = await two.prefill(prompt);
      expect(error(llama, node)).toBeLessThan(1e-4);
      expect((await lost).code).toBe("aborted");
      await running;
      busy.close();
      two.close();
    });
  });

  test("a lease that closes while its prompt is computed keeps neither holds nor values", async () => {
    await withForest(llama, { maxRows: 4 }, async (forest) => {
      const lease = forest.lease();
      const lost = failure(lease.prefill(tokensOf(12)));
      while (forest.size < 8) await new Promise(setImmediate);
      lease.close();
      expect((await lost).code).toBe("aborted");
      expect(forest.held).toBe(0);
      expect(forest.counters.passes).toBeLessThanOrEqual(2);
    });
    await withForest(llama, {}, async (forest) => {
      const [one, two] = [forest.lease(), forest.lease()];
      const lost = failure(one.extend([{ parent: undefined, token: 4 }]));
      while (forest.size < 1) await new Promise(setImmediate);
      one.close();
      await lost;
      const [node] = await two.extend([{ parent: undefined, token: 4, logits: false }]);
      expect(node.logits).toBeUndefined();
      two.close();
    });
  });
});

test("options out of range are refused", async () => {
  expect(await failure(loadModel(llama.folder, "tiny", { maxRows: 0 }))).toMatchObject({ code: "bad_option" });
  expect(await failure(loadModel(llama.folder, "tiny", { memoryLimit: 10 }))).toMatchObject({ code: "bad_option" });
});

test("drafted branches: what is accepted is written before it is looked at, whatever else was rejected", async () => {
  await withForest(llama, {}, async (forest) => {
    const lease = forest.lease();
    let { node: tip } = await lease.prefill(tokensOf(9));
    for (let round = 0; round < 6; round++) {
      const tree: Extension[] = [{ parent: tip, token: 1 + round }];
      for (let i = 0; i < 12; i++) tree.push({ parent: i >> 1, token: 3 + i });
      const nodes = await lease.extend(tree);
      for (const node of nodes) expect(error(llama, node)).toBeLessThan(1e-4);
      const accepted = new Set([nodes[0], nodes[2], nodes[6]]);
      lease.release(
        nodes.filter((node) => !accepted.has(node)),
        { discard: true },
      );
      lease.release([tip, nodes[0], nodes[2]]);
      tip = nodes[6];
    }
    lease.close();
    // Kept prefixes outlive their lease: another one goes on from them without computing them again.
    const other = forest.lease();
    const again = await other.prefill([...textOf(tip), 2]);
    expect(again.computed).toBe(1);
    expect(error(llama, again.node)).toBeLessThan(1e-4);
    other.close();
  });
});

/** Each lease decodes a text of its own for some steps, drafting two branches a step, all in shared passes. */
async function decodeTogether(forest: Forest, model: TinyModel, count: number, tolerance = 1e-4): Promise<number> {
  const leases = Array.from({ length: count }, () => forest.lease());
  let tips = await Promise.all(leases.map(async (lease, i) => (await lease.prefill(tokensOf(70 + 3 * i, i))).node));
  const before = forest.counters.attended;
  for (let step = 0; step < 6; step++) {
    const drafted = await Promise.all(
      leases.map((lease, i) =>
        lease.extend([
          { parent: tips[i], token: (step + i) % vocabularySize },
          { parent: 0, token: (step + 2 * i + 1) % vocabularySize },
          { parent: tips[i], token: (step + i + 5) % vocabularySize },
          { parent: 2, token: 3 },
        ]),
      ),
    );
    // Texts are long and the reference slow: of many requests only some nodes are looked at.
    const looked = count <= 3 || step === 4 ? drafted.flat().filter((_, i) => count <= 8 || i % 5 === 0) : [];
    for (const node of looked) expect(error(model, node)).toBeLessThan(tolerance);
    // The branch that is kept changes from step to step, and with it what the lane holds.
    tips = drafted.map((nodes, i) => {
      const kept = step % 2 === 0 ? 1 : 3;
      leases[i].release(
        nodes.filter((_, n) => n !== kept),
        { discard: true },
      );
      return nodes[kept];
    });
  }
  const attended = forest.counters.attended - before;
  for (const lease of leases) lease.close();
  return attended / (6 * 4 * count);
}

describe("keys and values kept as halves", () => {
  test("are what every row reads, of its own pass and of earlier ones", async () => {
    await withForest(llama, { keyValues: "f16" }, async (forest) => {
      const [whole, stepwise] = [forest.lease(), forest.lease()];
      const text = tokensOf(60);
      const { node: together } = await whole.prefill(text);
      // The same rows one pass each: below another first token they would be other nodes, so the first ones must go.
      const apart = together.logits!.slice();
      whole.release([together], { discard: true });
      whole.close();
      let tip: ForestNode | undefined;
      for (const token of text) [tip] = await stepwise.extend([{ parent: tip, token }]);
      expect(stepwise.passes).toBe(60);
      const parting = Math.max(...apart.map((x, i) => Math.abs(x - tip!.logits![i])));
      expect(parting).toBeLessThan(1e-5);
      expect(error(llama, tip!)).toBeGreaterThan(1e-5); // halves are not floats
      expect(error(llama, tip!)).toBeLessThan(2e-2);
      stepwise.close();
    });
  });

  test("take half the memory, also in lanes", async () => {
    await withForest(llama, { keyValues: "f16", memoryLimit: 200 * slotBytes }, (forest) =>
      fillCompletely(forest, 400),
    );
    await withForest(long, { keyValues: "f16" }, async (forest) => {
      expect(await decodeTogether(forest, long, 8, 2e-2)).toBeLessThanOrEqual(128);
    });
  });
});

describe("requests side by side", () => {
  test("look over their own text and not over each other's", async () => {
    await withForest(long, {}, async (forest) => {
      expect(await decodeTogether(forest, long, 8)).toBeLessThanOrEqual(128);
      expect(forest.capacity).toBeGreaterThanOrEqual(512);
      expect(await decodeTogether(forest, long, 1)).toBeLessThanOrEqual(128); // the others' texts are still cached
    });
  });

  test("a window, lanes that grow, and lanes that others had before", async () => {
    await withForest(mistral, { maxRows: 256 }, (forest) => decodeTogether(forest, mistral, 3).then(() => {}));
    await withForest(long, { maxRows: 256 }, async (forest) => {
      await decodeTogether(forest, long, 3);
      await decodeTogether(forest, long, 24); // texts of up to 139 tokens: 256 places a lane, 32 lanes
      await decodeTogether(forest, long, 5);
    });
  });

  test("lanes give way when the arena needs their memory", async () => {
    await withForest(long, { memoryLimit: 2100 * slotBytes }, async (forest) => {
      const leases = Array.from({ length: 8 }, () => forest.lease());
      const tips = await Promise.all(leases.map(async (lease, i) => (await lease.prefill(tokensOf(70, i))).node));
      const step = async () => {
        const before = forest.counters.attended;
        const grown = await Promise.all(leases.map((lease, i) => lease.extend([{ parent: tips[i], token: i }])));
        grown.forEach(([node], i) => {
          expect(error(long, node)).toBeLessThan(1e-4);
          tips[i] = node;
        });
        return (forest.counters.attended - before) / 8;
      };
      expect(await step()).toBe(128);
      const other = forest.lease();
      const { node } = await other.prefill(tokensOf(560, 9)); // 1136 slots in all, of which 1024 are there
      expect(error(long, node)).toBeLessThan(1e-4);
      expect(await step()).toBeGreaterThan(128);
      for (const lease of [...leases, other]) lease.close();
    });
  });

  test("rows of a lease that ended, which another waits for, use no lane that is another's by now", async () => {
    await withForest(long, {}, async (forest) => {
      const leases = Array.from({ length: 9 }, () => forest.lease());
      const tips = await Promise.all(leases.map(async (lease, i) => (await lease.prefill(tokensOf(70, i))).node));
      const extend = (lease: number, text = lease, token = 1) =>
        leases[lease].extend([{ parent: tips[text], token }]).then(([node]) => node);
      await Promise.all(Array.from({ length: 8 }, (_, i) => extend(i))); // eight have lanes, the ninth has none
      const running = extend(7, 7, 2);
      await new Promise(setImmediate);
      const lost = failure(extend(0, 0, 3)); // waits for the pass that runs
      const joined = extend(1, 0, 3);
      leases[0].close();
      const others = [2, 3, 4, 5, 6, 8].map((i) => extend(i, i, 3));
      for (const node of await Promise.all([running, joined, ...others])) expect(error(long, node)).toBeLessThan(1e-4);
      expect((await lost).code).toBe("aborted");
      for (const lease of leases) lease.close();
    });
  });

  test("without memory for lanes they share the arena, with the same results", async () => {
    await withForest(long, { memoryLimit: 1024 * slotBytes }, async (forest) => {
      expect(await decodeTogether(forest, long, 8)).toBeGreaterThan(500);
    });
  });
});
