/** Taps and edits of leases against the float64 reference: alone, in one pass with others, in lanes, after others cached their text. */
import { afterAll, beforeAll, describe, expect, expectTypeOf, test } from "vitest";
import type { z } from "zod";
import { gpt2Config, removeModel, type TinyModel, writeTinyModel } from "../../../test/fixtures/tiny-model.ts";
import { type Model, open } from "../../open.ts";
import type { ForestNode } from "../forest.ts";
import { applyEdits, type ReadyEdit, readyEdit } from "./ready.ts";
import { leaseSites } from "./request.ts";

const models: Record<string, TinyModel> = {};
const opened: Record<string, Model> = {};
beforeAll(async () => {
  models.llama = await writeTinyModel();
  models.qwen3 = await writeTinyModel({
    config: { architectures: ["Qwen3ForCausalLM"], model_type: "qwen3", head_dim: 8 },
  });
  models.gpt2 = await writeTinyModel({ config: gpt2Config });
  models.long = await writeTinyModel({ config: { max_position_embeddings: 600 } });
  for (const [name, { folder }] of Object.entries(models)) opened[name] = await open(folder, { threads: 1 });
});
afterAll(async () => {
  for (const model of Object.values(opened)) await model.close();
  for (const model of Object.values(models)) await removeModel(model);
});

const tokensOf = (length: number, seed = 0): number[] =>
  Array.from({ length }, (_, i) => (i * i * 7 + 3 * i + 5 + seed * (i + 11)) % 64);

/** What the reference has at every site and position. */
function valuesOf(model: TinyModel, tokens: readonly number[]): Map<string, Float64Array[]> {
  const values = new Map<string, Float64Array[]>();
  model.logits(tokens, (site, position, value) => {
    const rows = values.get(site) ?? [];
    rows[position] = value.slice();
    values.set(site, rows);
  });
  return values;
}

const difference = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce((worst, x, i) => Math.max(worst, Math.abs(x - b[i])), 0);
};

const sitesFor = (name: string, taps: readonly string[], edits: ReadyEdit[] = []) =>
  leaseSites(
    opened[name].sites(),
    taps,
    applyEdits(
      opened[name].sites(),
      edits.map((edit) => readyEdit.parse(edit)),
    ),
  );

test.each(["llama", "qwen3", "gpt2"])("%s: every site of every row is the reference's", async (name) => {
  const model = opened[name];
  const sites = model.sites();
  expect(sites.find((site) => site.name === "final")).toEqual({ name: "final", width: 32, rows: "selected" });
  expect(sites.find((site) => site.name === "layers.1.mlp.up")!.rows).toBe("all");
  const tokens = tokensOf(9);
  const reference = valuesOf(models[name], tokens);
  expect(sites.map((site) => site.name).sort()).toEqual([...reference.keys()].sort());
  const plain = model.forest.lease();
  await plain.prefill(tokens); // the text is cached, without taps
  const lease = model.forest.lease(
    sitesFor(
      name,
      sites.map((site) => site.name),
    ),
  );
  const rows = await lease.extend(tokens.map((token, i) => ({ parent: i === 0 ? undefined : i - 1, token })));
  for (const { name: site, width } of sites) {
    for (const [position, node] of rows.entries()) {
      expect(node.taps![site].length).toBe(width);
      expect(difference(node.taps![site], reference.get(site)![position])).toBeLessThan(1e-4);
    }
  }
  plain.close();
  lease.close();
});

test("in lanes, a tap after the selection of rows is that of its own node", async () => {
  const { forest } = opened.long;
  const sites = sitesFor("long", ["final", "layers.0.mlp.gate"]);
  // Many texts make the arena large, so that requests get lanes; some rows of a pass are not selected.
  const leases = Array.from({ length: 8 }, (_, i) => forest.lease(i % 2 === 0 ? sites : undefined));
  const tips = await Promise.all(leases.map(async (lease, i) => (await lease.prefill(tokensOf(70, i))).node));
  const before = forest.counters.attended;
  const nodes = await Promise.all(
    leases.map((lease, i) =>
      lease.extend([
        { parent: tips[i], token: 3 },
        { parent: 0, token: 4 + i, logits: i % 4 !== 1 },
      ]),
    ),
  );
  expect(forest.counters.attended - before).toBeLessThanOrEqual(16 * 128); // they were in lanes
  for (const [i, [, second]] of nodes.entries()) {
    if (i % 2 === 1) {
      expect(second.taps).toBeUndefined();
      continue;
    }
    const reference = valuesOf(models.long, [...tokensOf(70, i), 3, 4 + i]);
    for (const site of ["final", "layers.0.mlp.gate"]) {
      expect(difference(second.taps![site], reference.get(site)![71])).toBeLessThan(1e-4);
    }
  }
  for (const lease of leases) lease.close();
});

test("what is looked at beside logits is read, and selected, only where logits are wanted", async () => {
  const model = opened.llama;
  const tokens = tokensOf(7);
  const final = valuesOf(models.llama, tokens).get("final")!;
  const lease = model.forest.lease(leaseSites(model.sites(), ["layers.0.residual"], [], ["final"]));
  const seen: unknown[] = [];
  const look = ({ taps, logits }: ForestNode) => seen.push([Object.keys(taps ?? {}), logits !== undefined]);
  const { node } = await lease.prefill(tokens, (nodes) => nodes.forEach(look));
  expect(seen).toEqual([
    ...tokens.slice(1).map(() => [["layers.0.residual"], false]),
    [["layers.0.residual", "final"], true],
  ]);
  expect(difference(node.taps!.final, final[6])).toBeLessThan(1e-4);
  lease.close();
  // A row that has been computed without is computed again for both; those before it are not.
  const other = model.forest.lease(leaseSites(model.sites(), [], [], ["final"]));
  const inner = await other.extend(
    tokens.slice(0, 3).map((token, i) => ({ parent: i === 0 ? undefined : i - 1, token, logits: i === 2 })),
  );
  expect(other.rows).toBe(1);
  expect(inner[2].logits).toBeDefined();
  expect(difference(inner[2].taps!.final, final[2])).toBeLessThan(1e-4);
  other.close();
});

describe("ready edits", () => {
  const tokens = tokensOf(7);
  const direction = Array.from({ length: 32 }, (_, i) => Math.sin(i));
  const cases: [string, ReadyEdit, (value: Float64Array, position: number) => void][] = [
    [
      "set one neuron",
      { site: "layers.0.mlp.up", entries: [17], set: 3 },
      (value) => {
        value[17] = 3;
      },
    ],
    [
      "add at two positions",
      { site: "layers.0.residual", at: [1, 4], add: direction },
      (value, position) => {
        if (position === 1 || position === 4) for (const [i, x] of direction.entries()) value[i] += x;
      },
    ],
    ["scale", { site: "layers.1.attention.heads", scale: 0.25 }, (value) => value.set(value.map((x) => x * 0.25))],
    [
      "clamp",
      { site: "layers.1.mlp.neurons", clamp: { min: -0.01, max: 0.02 } },
      (value) => value.set(value.map((x) => Math.min(Math.max(x, -0.01), 0.02))),
    ],
    [
      "project",
      { site: "layers.0.residual", project: { direction } },
      (value) => {
        const squares = direction.reduce((sum, x) => sum + x * x, 0);
        const dot = direction.reduce((sum, x, i) => sum + x * value[i], 0) / squares;
        for (const [i, x] of direction.entries()) value[i] -= dot * x;
      },
    ],
    [
      "ablate a head",
      { site: "layers.1.attention.heads", heads: [2], set: 0 },
      (value) => {
        value.fill(0, 16, 24);
      },
    ],
    [
      "other values at each position, as a tap gave them",
      { site: "layers.0.residual", at: [4, 1], set: [Float32Array.from(direction), direction.map((x) => -x)] },
      (value, position) => {
        if (position === 4 || position === 1)
          for (const [i, x] of direction.entries()) value[i] = position === 4 ? Math.fround(x) : -x;
      },
    ],
    [
      "a vector as a tap gave it",
      { site: "layers.0.residual", add: Float32Array.from(direction) },
      (value) => {
        for (const [i, x] of direction.entries()) value[i] += Math.fround(x);
      },
    ],
    [
      "set a site after the selection",
      { site: "final", entries: [2], set: -1 },
      (value) => {
        value[2] = -1;
      },
    ],
  ];

  test.each(cases)("%s, in one pass with a request that has none", async (_, edit, change) => {
    const { forest } = opened.llama;
    const wanted = models.llama.logits(tokens, (site, position, value) => {
      if (site === edit.site) change(value, position);
    });
    const plain = models.llama.logits(tokens).at(-1)!;
    const alone = forest.lease();
    const before = (await alone.prefill(tokens)).node.logits!.slice();
    alone.close();
    const [edited, other] = [forest.lease(sitesFor("llama", [], [edit])), forest.lease()];
    const passes = forest.counters.passes;
    const [a, b] = await Promise.all([edited.prefill(tokens), other.prefill([...tokens.slice(0, -1), 63])]);
    expect(forest.counters.passes - passes).toBeLessThanOrEqual(2);
    expect(difference(a.node.logits!, wanted.at(-1)!)).toBeLessThan(1e-4);
    expect(difference(a.node.logits!, plain)).toBeGreaterThan(1e-3);
    const untouched = models.llama.logits([...tokens.slice(0, -1), 63]).at(-1)!;
    expect(difference(b.node.logits!, untouched)).toBeLessThan(1e-4);
    edited.close();
    other.close();
    // The edit is gone, bit for bit: of another world, its keys and values are nobody else's.
    const again = forest.lease();
    expect((await again.prefill(tokens)).node.logits).toEqual(before);
    again.close();
  });

  test("two at one site act in their order, and texts of the same edits are shared", async () => {
    const { forest } = opened.llama;
    const edits: ReadyEdit[] = [
      { site: "layers.0.residual", add: 1 },
      { site: "layers.0.residual", scale: 0.5 },
    ];
    const wanted = models.llama.logits(tokens, (site, _, value) => {
      if (site === "layers.0.residual") value.set(value.map((x) => (x + 1) * 0.5));
    });
    const [first, second] = [forest.lease(sitesFor("llama", [], edits)), forest.lease(sitesFor("llama", [], edits))];
    const a = await first.prefill(tokens);
    expect(difference(a.node.logits!, wanted.at(-1)!)).toBeLessThan(1e-4);
    expect(a.cached).toBe(0);
    expect((await second.prefill(tokens)).cached).toBe(tokens.length);
    first.close();
    second.close();
  });

  test("values that are not finite end the call that has them, by name, and nobody else's", async () => {
    const { forest } = opened.llama;
    const huge = { site: "layers.0.mlp.up", scale: 1e15 };
    const further = { site: "layers.0.mlp.up", scale: 1e15 };
    const [edited, other] = [forest.lease(sitesFor("llama", [], [huge, further])), forest.lease()];
    const [a, b] = await Promise.allSettled([edited.prefill(tokens), other.prefill([9, ...tokens])]);
    expect(a).toMatchObject({ status: "rejected", reason: { code: "runtime_failed" } });
    expect((a as PromiseRejectedResult).reason.message).toMatch(/layers\.0\.mlp\.up.*not finite.*position 0/);
    const node = (b as PromiseFulfilledResult<{ node: ForestNode }>).value.node;
    expect(difference(node.logits!, models.llama.logits([9, ...tokens]).at(-1)!)).toBeLessThan(1e-4);
    edited.close();
    other.close();
    expect(forest.held).toBe(0);
  });

  test.each([
    [{ site: "layers.0.mlp.upp", set: 1 }, /no site layers.0.mlp.upp; did you mean "layers.0.mlp.up/],
    [{ site: "layers.0.mlp.up", entries: [64], set: 1 }, /64 entries.*no entry 64/],
    [{ site: "layers.0.mlp.up", entries: [1, 2], set: [1, 2, 3] }, /3 values for 2 entries/],
    [{ site: "layers.0.mlp.up", entries: [1, 1], add: 1 }, /entry 1 of layers.0.mlp.up is given twice/],
    [{ site: "layers.0.mlp.up", at: [3, 2, 3], add: 1 }, /position 3 at layers.0.mlp.up is given twice/],
    [{ site: "", add: 1 }, /named by an empty text: it must be one of the model's; it has \d+, such as embed\.tokens/],
    [{ site: "layers.1", add: 1 }, /no site layers\.1, but layers\.1\.attention\.norm, .*layers\.1\.residual/],
    [{ site: "layers.9.mlp.up", add: 1 }, /no site layers.9.mlp.up: it has 2 layers, layers.0 to layers.1/],
    [{ site: "layers.0.mlp.up", heads: [0], set: 0 }, /layers.0.mlp.up has no heads/],
    [{ site: "layers.0.attention.keys", heads: [2], set: 0 }, /keys has 2 heads, so that there is no head 2/],
    [
      [
        { site: "layers.1.mlp.up", entries: [3, 7], set: [1, 2] },
        { site: "layers.1.mlp.up", entries: [7, 9], set: 4 },
      ],
      /entry 7 of layers\.1\.mlp\.up \(neuron 1\.7\) is set to 2 and to 4: give it one value/,
    ],
    [
      [
        { site: "final", at: [1, 4], set: 1 },
        { site: "final", at: [4, 5], entries: [0, 2], set: 2 },
      ],
      /entry 0 of final is set to 1 and to 2 at position 4/,
    ],
    [{ site: "layers.0.residual", set: [direction, direction] }, /2 lists of values for all positions; say at which/],
    [{ site: "layers.0.residual", at: [1], set: [direction, direction] }, /2 lists of values for 1 positions/],
    [{ site: "layers.0.residual", project: { direction: [1, 2] } }, /direction of 2 numbers.*32/],
    [{ site: "layers.0.residual", project: { direction: new Array(32).fill(0) } }, /direction.*is zero/],
  ] as [ReadyEdit | ReadyEdit[], RegExp][])("%j is refused", (edits, message) => {
    expect(() => sitesFor("llama", [], [edits].flat())).toThrow(message);
  });

  test("a narrower value after a wider is an exception from it, and the same value twice is no contradiction", () => {
    const up = "layers.0.mlp.up";
    for (const edits of [
      [
        { site: up, set: 0 },
        { site: up, entries: [3], set: 8 },
      ],
      [
        { site: up, entries: [3], set: 0 },
        { site: up, entries: [3], at: [2], set: 8 },
      ],
      [
        { site: up, entries: [3], set: 8 },
        { site: up, entries: [3], set: 8 },
      ],
    ])
      expect(() => sitesFor("llama", [], edits)).not.toThrow();
    expect(() =>
      sitesFor(
        "llama",
        [],
        [
          { site: up, entries: [3], set: 8 },
          { site: up, set: 0 },
        ],
      ),
    ).toThrow(/neuron 0\.3/);
  });

  test("neither or both of two kinds is refused", () => {
    expect(readyEdit.safeParse({ site: "final" }).success).toBe(false);
    expect(readyEdit.safeParse({ site: "final", set: 1, add: 1 }).success).toBe(false);
    expect(readyEdit.safeParse({ site: "final", set: Number.NaN }).success).toBe(false);
  });
});

test("unknown taps are refused with the nearest name", () => {
  expect(() => sitesFor("llama", ["layers.0.mlp.neuron"])).toThrow(/did you mean "layers.0.mlp.neurons/);
  expect(() => sitesFor("llama", ["layers.2.residual"])).toThrow(/no site layers.2.residual/);
});

test("the interface of ready edits is what their schema takes", () => {
  expectTypeOf<ReadyEdit>().toEqualTypeOf<z.input<typeof readyEdit>>();
});
