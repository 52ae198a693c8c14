/** A draft model beside the target: follows the committed text in its own forest and scores the nodes of draft trees. */
import { z } from "zod";
import type { Decoding } from "../../engine/decoding.ts";
import type { SparseDistribution } from "../../engine/distribution.ts";
import type { Extension, ForestNode, Lease } from "../../engine/forest.ts";
import type { Model } from "../../engine/model.ts";
import { ensure } from "../../errors.ts";
import { createDrafting, type Drafting } from "./drafting.ts";
import type { Drafter, Round } from "./speculate.ts";
import type { DraftTree } from "./tree.ts";
import type { Verdict } from "./verify.ts";

/** Options that every method with a draft model has. */
export const draftModelOptions = {
  draft: z.string().default("pylos").describe("the draft model: a shipped model, a folder, or one pulled from the hub"),
  draftTemperature: z
    .number()
    .min(0)
    .max(10)
    .optional()
    .describe("temperature of the draft; default: the target's, or 0.6 where the target's is 0"),
  draftTopK: z.int().min(1).max(1024).default(32).describe("most likely tokens of the draft that can be drawn"),
};

export interface DraftModelSettings {
  draft: string;
  draftTemperature?: number;
  draftTopK: number;
}

/** Opens a draft and checks that it can serve the target. Errors: `bad_option` naming both. */
export async function openDraft(target: Model, reference: string): Promise<Model> {
  const draft = await target.companion(reference);
  const sameVocabulary = draft.config.vocabularySize === target.config.vocabularySize;
  const sameTokenizer = draft.tokenizer?.fingerprint === target.tokenizer?.fingerprint;
  ensure(
    sameVocabulary && sameTokenizer,
    "bad_option",
    `draft: ${reference} has another vocabulary than ${target.name} (${draft.config.vocabularySize} and ${target.config.vocabularySize} tokens${sameVocabulary ? ", other merges" : ""}); a draft must share its target's tokenizer`,
  );
  ensure(
    draft.parameterCount <= target.parameterCount,
    "bad_option",
    `draft: ${reference} (${draft.parameterCount} parameters) is larger than its target ${target.name} (${target.parameterCount}); it could only slow it down`,
  );
  return draft;
}

export interface DraftModelDrafterOptions {
  kind: "chosen" | "sampled";
  replacement?: boolean;
  grow(drafting: Drafting, round: Round): Promise<unknown>;
  /** What verification should see of the grown tree; default: all of it. */
  finish?(tree: DraftTree, grown: unknown): DraftTree;
  observe?(tree: DraftTree, verdict: Verdict): void;
}

/** A drafter that grows trees with a draft model by the given rule. */
export async function draftModelDrafter(
  decoding: Decoding,
  settings: DraftModelSettings,
  { kind, replacement, grow, finish, observe }: DraftModelDrafterOptions,
): Promise<Drafter> {
  const draft = await openDraft(decoding.model, settings.draft);
  const { temperature } = decoding.settings;
  const draftTemperature = settings.draftTemperature ?? (temperature === 0 ? 0.6 : temperature);
  ensure(
    kind === "chosen" || draftTemperature > 0,
    "bad_option",
    "draftTemperature: 0 leaves nothing to draw; use the method top-k, which chooses its tokens",
  );
  const follower = followText(draft);
  const endTokens = new Set(decoding.model.tokenizer?.endTokens ?? decoding.model.config.endTokens);
  let passes = 0;
  return {
    get passes() {
      return passes;
    },
    async propose(round) {
      // The draft's own context may be shorter than the target's.
      const depth = Math.min(round.depth, draft.forest.contextLength - round.text.length);
      const drafting = createDrafting({
        kind,
        replacement,
        draws: round.draws,
        depth,
        endTokens,
        score: (tree, nodes) => follower.score(round.text, tree, nodes, draftTemperature || 1, settings.draftTopK),
      });
      if (depth > 0) {
        const grown = await grow(drafting, round);
        passes += drafting.passes;
        if (finish) return finish(drafting.tree, grown);
      }
      return drafting.tree;
    },
    observe(round, tree, verdict) {
      follower.settle(tree, verdict.path);
      observe?.(tree, verdict);
      void round;
    },
    close: follower.close,
  };
}

/** Keeps a lease on the draft's forest in step with the text. */
export function followText(draft: Model): {
  score(
    text: readonly number[],
    tree: DraftTree,
    nodes: readonly number[],
    temperature: number,
    topK: number,
  ): Promise<SparseDistribution[]>;
  settle(tree: DraftTree, path: readonly number[]): void;
  close(): void;
} {
  const lease: Lease = draft.forest.lease();
  const release = draft.use();
  /** The deepest node of committed text. */
  let tip: ForestNode | undefined;
  /** Forest nodes of the round's tree nodes, 0 = root. */
  let nodes: (ForestNode | undefined)[] = [];

  async function reachRoot(text: readonly number[]): Promise<ForestNode> {
    const missing = text.slice(tip ? tip.depth + 1 : 0);
    const { maxRows } = draft.forest;
    if (!tip || missing.length > maxRows) {
      const { node } = await lease.prefill(text);
      if (tip) lease.release([tip]);
      return node;
    }
    if (missing.length === 0) return tip;
    const chain: Extension[] = missing.map((token, i) => ({
      parent: i === 0 ? tip : i - 1,
      token,
      logits: i === missing.length - 1,
    }));
    const added = await lease.extend(chain);
    lease.release([tip, ...added.slice(0, -1)]);
    return added[added.length - 1];
  }

  return {
    async score(text, tree, wanted, temperature, topK) {
      const extensions: Extension[] = [];
      for (const node of wanted) {
        if (node === 0) continue;
        const parent = nodes[tree.parents[node - 1]];
        ensure(parent, "internal", `draft node ${node} was scored before its parent`);
        extensions.push({ parent, token: tree.tokens[node - 1] });
      }
      if (wanted.includes(0)) {
        ensure(extensions.length === 0, "internal", "the root is scored alone");
        tip = await reachRoot(text);
        nodes = [tip];
      } else {
        const added = await lease.extend(extensions);
        wanted.forEach((node, i) => {
          nodes[node] = added[i];
        });
      }
      return wanted.map((node) => topKSoftmax(nodes[node]!.logits!, temperature, topK));
    },
    settle(_tree, path) {
      // The accepted nodes that were scored stay as the new tip; the others leave.
      let last = 0;
      for (const node of path) {
        if (!nodes[node]) break;
        last = node;
      }
      const kept = new Set([0, ...path]);
      lease.release(
        nodes.flatMap((node, i) => (node && !kept.has(i) ? [node] : [])),
        { discard: true },
      );
      const inner = [0, ...path].filter((node) => node !== last && nodes[node]);
      lease.release(inner.map((node) => nodes[node]!));
      tip = nodes[last] ?? tip;
      nodes = [];
    },
    close() {
      lease.close();
      release();
    },
  };
}

/** The k most likely tokens at a temperature, renormalised, most likely first; the lowest id first among equals. */
export function topKSoftmax(logits: Float32Array, temperature: number, k: number): SparseDistribution {
  const size = Math.min(k, logits.length);
  const tokens = new Int32Array(size);
  const values = new Float64Array(size).fill(-Infinity);
  let count = 0;
  let threshold = -Infinity;
  for (let token = 0; token < logits.length; token++) {
    const logit = logits[token];
    if (logit <= threshold && count === size) continue;
    let place = count < size ? count++ : size - 1;
    for (; place > 0 && values[place - 1] < logit; place--) {
      values[place] = values[place - 1];
      tokens[place] = tokens[place - 1];
    }
    values[place] = logit;
    tokens[place] = token;
    if (count === size) threshold = values[size - 1];
  }
  const probabilities = new Float64Array(size);
  let total = 0;
  for (let i = 0; i < size; i++) total += probabilities[i] = Math.exp((values[i] - values[0]) / temperature);
  ensure(
    total >= 1 && total < Infinity,
    "runtime_failed",
    "the draft model produced logits that are NaN or have no finite entry",
  );
  for (let i = 0; i < size; i++) probabilities[i] /= total;
  return { tokens, probabilities };
}
