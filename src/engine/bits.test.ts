/** What a row computes is the same, bit for bit, whatever shares its pass: logits of one text, decoded in every way there is. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadForest } from "../../test/fixtures/load-forest.ts";
import { gpt2Config, removeModel, type TinyModel, writeTinyModel } from "../../test/fixtures/tiny-model.ts";
import type { Edit } from "../models/edits.ts";
import { sitesOf } from "../models/sites.ts";
import { linear } from "../tensor/index.ts";
import type { Extension, Forest, ForestNode, Lease } from "./forest.ts";
import type { LoadOptions } from "./load.ts";
import { applyEdits, readyEdit } from "./sites/ready.ts";
import { leaseSites } from "./sites/request.ts";
import type { LeaseSites } from "./sites/rows.ts";

const knossos = join(fileURLToPath(new URL("../..", import.meta.url)), "models", "knossos");
const length = 150;

let alone: TinyModel;
let gpt2: TinyModel;
beforeAll(async () => {
  gpt2 = await writeTinyModel({ config: gpt2Config });
  // A key head for every head: a step is a product of a single row.
  alone = await writeTinyModel({ config: { num_key_value_heads: 4, max_position_embeddings: 200 } });
});
afterAll(() => Promise.all([alone, gpt2].map(removeModel)));

type Play = (lease: Lease, tokens: readonly number[], keep: (node: ForestNode) => void) => Promise<ForestNode>;

/** The text in calls of these sizes, over and over. */
const inCallsOf =
  (...sizes: number[]): Play =>
  async (lease, tokens, keep) => {
    let tip: ForestNode | undefined;
    for (let at = 0, call = 0; at < tokens.length; call++) {
      const part = tokens.slice(at, at + sizes[call % sizes.length]);
      const nodes = await lease.extend(part.map((token, i) => ({ parent: i > 0 ? i - 1 : tip, token })));
      nodes.forEach(keep);
      tip = nodes[nodes.length - 1];
      at += part.length;
    }
    return tip!;
  };

/** The text as a branch among others: `width` siblings at each of `depth` positions, of which another one is right each time. */
const amongBranches =
  (width: number, depth: number): Play =>
  async (lease, tokens, keep) => {
    let [tip] = await lease.extend([{ parent: undefined, token: tokens[0] }]);
    keep(tip);
    for (let at = 1; at < tokens.length; ) {
      const tree: Extension[] = [];
      const path: number[] = [];
      for (const token of tokens.slice(at, at + depth)) {
        const parent = path.length > 0 ? path[path.length - 1] : tip;
        const right = (at + 5 * path.length) % width;
        for (let i = 0; i < width; i++) tree.push({ parent, token: i === right ? token : (token + 1 + i) % 64 });
        path.push(tree.length - width + right);
      }
      const nodes = await lease.extend(tree);
      for (const i of path) keep(nodes[i]);
      tip = nodes[path[path.length - 1]];
      at += path.length;
      lease.release(
        nodes.filter((_, i) => !path.includes(i)),
        { discard: true },
      );
    }
    return tip;
  };

const ways: Record<string, Play> = {
  "one by one": inCallsOf(1),
  "in calls of all sizes": inCallsOf(7, 1, 30, 2, 64, 3),
  "among few branches": amongBranches(3, 4),
  "among many": amongBranches(15, 8),
  "among long ones": amongBranches(2, 60),
};

/** Logits after each token of the text, and nothing of it left in the forest. */
async function logitsOf(
  forest: Forest,
  tokens: readonly number[],
  play: Play,
  sites?: LeaseSites,
): Promise<Float32Array[]> {
  const lease = forest.lease(sites);
  const logits: Float32Array[] = [];
  const last = await play(lease, tokens, (node) => {
    logits[node.depth] = node.logits!.slice();
  });
  const nodes: ForestNode[] = [];
  for (let at: ForestNode | undefined = last; at; at = at.parent) nodes.push(at);
  lease.release(nodes, { discard: true });
  lease.close();
  return logits;
}

/** The text beside others of several lengths, each in passes that they share. */
async function besideOthers(forest: Forest, tokens: readonly number[], others: number): Promise<Float32Array[]> {
  const leases = Array.from({ length: others + 1 }, () => forest.lease());
  const tips: (ForestNode | undefined)[] = leases.map(() => undefined);
  const logits: Float32Array[] = [];
  for (const [at, token] of tokens.entries()) {
    await Promise.all(
      leases.map(async (lease, i) => {
        if (at < 9 * i) return; // comes later
        const own = i === 0 ? token : (token * (i + 1) + i) % 64;
        [tips[i]] = await lease.extend([{ parent: tips[i], token: own }]);
      }),
    );
    logits.push(tips[0]!.logits!.slice());
  }
  for (const lease of leases) lease.close();
  return logits;
}

const tokensOf = (vocabularySize: number): number[] =>
  Array.from({ length }, (_, i) => (i * i * 7 + 31 * i + 5) % vocabularySize);

/** Rows of the first in which the second differs in any bit. */
const differing = (a: readonly Float32Array[], b: readonly Float32Array[]): number[] =>
  a.flatMap((row, i) => (row.every((x, j) => x === b[i][j]) ? [] : [i]));

describe("logits of one text are the same bits", () => {
  test.each<[string, LoadOptions]>([
    ["float32", { weights: "f32" }],
    ["8 bits, halves", { weights: "int8", keyValues: "f16" }],
    ["4 bits", { weights: "int4" }],
  ])("%s", async (_, options) => {
    let wanted: Float32Array[] | undefined;
    for (const threads of [1, 2]) {
      const { forest, config } = await loadForest(knossos, "knossos", { ...options, threads });
      const tokens = tokensOf(config.vocabularySize);
      wanted ??= await logitsOf(forest, tokens, inCallsOf(128));
      expect(wanted).toHaveLength(length);
      for (const [name, play] of Object.entries(ways)) {
        if (threads === 2 && name !== "in calls of all sizes") continue;
        expect({ [name]: differing(wanted, await logitsOf(forest, tokens, play)) }).toEqual({ [name]: [] });
      }
      expect(differing(wanted, await besideOthers(forest, tokens, 7))).toEqual([]);
      await forest.close();
    }
  });

  test.each<[string, string, LoadOptions]>([
    ["knossos", "layers.2.", { weights: "int8" }],
    ["a GPT-2", "layers.0.", { weights: "f32" }],
  ])("%s %s beside requests that edit and tap any site of a layer, with %o", async (name, layer, options) => {
    const path = name === "knossos" ? knossos : gpt2.folder;
    const { forest, config, family } = await loadForest(path, name, { ...options, threads: 1 });
    const sites = sitesOf(family, config);
    const tokens = tokensOf(config.vocabularySize).slice(0, 24);
    const wanted = await logitsOf(forest, tokens, inCallsOf(1));
    for (const { name: site } of sites) {
      if (site.startsWith("layers.") && !site.startsWith(layer)) continue;
      const [edited, clean] = await Promise.all([
        logitsOf(
          forest,
          tokens,
          inCallsOf(1),
          leaseSites(sites, [site], applyEdits(sites, [readyEdit.parse({ site, scale: 1.1 })])),
        ),
        logitsOf(forest, tokens, inCallsOf(1)),
      ]);
      expect({ [site]: differing(wanted, clean) }).toEqual({ [site]: [] });
      expect(differing(wanted, edited).length).toBeGreaterThan(20);
    }
    await forest.close();
  });

  test("under an edit with a matrix of its own", async () => {
    const { forest, config, family } = await loadForest(knossos, "knossos", { weights: "int8", threads: 1 });
    const tokens = tokensOf(config.vocabularySize);
    const width = config.hiddenSize;
    const values = Float32Array.from(
      { length: width * width },
      (_, i) => 0.05 * Math.sin(i * 1.7) + (i % (width + 1) === 0 ? 1 : 0),
    );
    const turn: Edit = {
      name: "turn",
      site: "layers.1.residual",
      parameters: { weight: { shape: [width, width], values } },
      apply: (value, { parameters }) => ({ value: linear(value, parameters.weight) }),
    };
    const sites = leaseSites(sitesOf(family, config), [], [{ edit: turn, key: "" }]);
    const wanted = await logitsOf(forest, tokens, inCallsOf(128), sites);
    for (const [name, play] of Object.entries(ways))
      expect({ [name]: differing(wanted, await logitsOf(forest, tokens, play, sites)) }).toEqual({ [name]: [] });
    await forest.close();
  });

  test("a key head for every head, and cached prefixes that parted in the middle of pages", async () => {
    const { forest, config } = await loadForest(alone.folder, "tiny", { threads: 1, cacheSlots: 256 });
    const tokens = tokensOf(config.vocabularySize);
    const wanted = await logitsOf(forest, tokens, inCallsOf(128));
    for (const [name, play] of Object.entries(ways)) {
      expect({ [name]: differing(wanted, await logitsOf(forest, tokens, play)) }).toEqual({ [name]: [] });
    }
    for (const shared of [10, 64, 70, 100, 128, 140]) {
      const lease = forest.lease();
      const prompt = [...tokens.slice(0, shared), ...Array.from({ length: 40 }, (_, i) => (shared + i) % 64)];
      await lease.prefill(prompt);
      lease.close();
    }
    for (const count of [length, 20, 65, 127, 129]) {
      const lease = forest.lease();
      const { node } = await lease.prefill(tokens.slice(0, count));
      expect(differing([node.logits!], [wanted[count - 1]])).toEqual([]);
      lease.close();
    }
    expect(forest.held).toBe(0);
    await forest.close();
  });
});
