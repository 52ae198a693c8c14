/** A draft model beside the target: follows the committed text in its own forest and scores the nodes of draft trees. */

import { z } from "zod";
import { whenAborted } from "../../aborts.ts";
import type { Decoding } from "../../engine/decoding.ts";
import { type SparseDistribution, topKSoftmax } from "../../engine/distribution.ts";
import type { Extension, ForestNode, Lease } from "../../engine/forest.ts";
import { hostOnly } from "../../engine/method.ts";
import type { DecodingModel } from "../../engine/model.ts";
import { notAToken } from "../../engine/node.ts";
import { ensure, ofOption, VentrisError } from "../../errors.ts";
import { shippedDrafts } from "../../models/shipping.ts";
import { type AcceptanceEstimate, createAcceptanceEstimate } from "./acceptance.ts";
import { type Economy, economy } from "./budget.ts";
import { createDrafting, type Drafting, type DraftingOptions } from "./drafting.ts";
import { expectedWinners, logitError } from "./expectation.ts";
import { acceptanceCurve } from "./judge.ts";
import type { Drafter, Round } from "./speculate.ts";
import type { DraftTree } from "./tree.ts";

/** Options that every method with a draft model has. */
export const draftModelOptions = {
  draft: hostOnly(
    z
      .string()
      .default("pylos")
      .describe(
        "the smaller model that proposes tokens: the name of a shipped model, a checkpoint folder, or a name on the hub; it must have the target's vocabulary",
      ),
  ),
  draftTemperature: z
    .number()
    .min(0)
    .max(10)
    .optional()
    .describe(
      "temperature at which the draft proposes; lower drafts what it is surest of; default: that of the request",
    ),
  draftTopK: z
    .int()
    .min(1)
    .max(1024)
    .default(64)
    .describe(
      "the draft proposes only from so many of its most likely tokens; fewer cost less time, and the output does not depend on it",
    ),
};

/**
 * How drafts whose paper samples are verified. The race: the draft proposes the tokens that it expects to win the position's race, and
 * what the target's own race is won by is emitted, so that a seed gives one text with every method. Published: the draft draws with
 * random numbers of its own, and the paper's rule accepts or corrects; the distribution is the same, the text of a seed is another.
 */
export const verifications = ["race", "published"] as const;
export type Verification = (typeof verifications)[number];
export const verificationOption = z
  .enum(verifications)
  .default("race")
  .describe(
    "race: emit plain sampling's own tokens, one text per seed; published: the paper's accept-or-correct rule, same distribution, other text (the draft's temperature is then 0.6 where the target's is 0)",
  );

/** Whether a method with this option gives a seed's one text: `repeats` of its definition. */
export const repeatsText = ({ verification }: { verification: Verification }): boolean => verification === "race";

export interface DraftModelSettings {
  draft: string;
  draftTemperature?: number;
  draftTopK: number;
}

/** Opens a draft and checks that it can serve the target. Errors: `bad_option` naming both. */
export async function openDraft(target: DecodingModel, reference: string): Promise<DecodingModel> {
  const draft = await ofOption("draft", () => target.companion(reference));
  const sameVocabulary = draft.config.vocabularySize === target.config.vocabularySize;
  const sameTokenizer = draft.tokenizer?.fingerprint === target.tokenizer?.fingerprint;
  const fault =
    !sameVocabulary || !sameTokenizer
      ? `has another vocabulary than ${target.name} (${draft.config.vocabularySize} and ${target.config.vocabularySize} tokens${sameVocabulary ? ", other merges" : ""}); a draft must share its target's tokenizer`
      : draft.parameterCount > target.parameterCount
        ? `(${draft.parameterCount} parameters) is larger than its target ${target.name} (${target.parameterCount}); it could only slow it down`
        : undefined;
  if (fault === undefined) return draft;
  const fitting = await shippedDrafts(target);
  const others =
    fitting.length > 0
      ? `shipped models that can draft for it: ${fitting.join(", ")}`
      : "no shipped model can draft for it: give a smaller model of its family";
  throw new VentrisError("bad_option", `draft: ${reference} ${fault}; ${others}`);
}

/** What a growth rule decides by. */
export interface Guidance {
  readonly economy: Economy;
  /** Of children of this tree's kind; the draft's own word where nothing is measured. */
  readonly estimate: AcceptanceEstimate;
}

export interface DraftModelDrafterOptions {
  verification: Verification;
  /** Of published draws. */
  replacement?: boolean;
  /** Nodes to draft; undefined: what is worth its cost. */
  budget: number | undefined;
  /** Whether acceptance is estimated from measurements (default where the budget is open) or from the draft's own probabilities. */
  measured?: boolean;
  grow(drafting: Drafting, guidance: Guidance): Promise<unknown>;
  /** What verification should see of the grown tree; default: all of it. */
  finish?(tree: DraftTree, grown: unknown): DraftTree;
}

/** A drafter that grows trees with a draft model by the given rule. */
export async function draftModelDrafter(
  decoding: Decoding,
  settings: DraftModelSettings,
  { verification, replacement, budget, measured = budget === undefined, grow, finish }: DraftModelDrafterOptions,
): Promise<Drafter> {
  const draft = await openDraft(decoding.model, settings.draft);
  const proposal = proposalOf(decoding.settings.temperature, settings, verification);
  const { kind, draftTemperature, topK } = proposal;
  const conditions = { temperature: decoding.settings.temperature, draftTemperature, topK };
  const curve = measured ? await acceptanceCurve(decoding.model, draft, conditions, decoding.signal) : undefined;
  const estimate = createAcceptanceEstimate(kind, curve);
  const guidance: Guidance = { estimate, economy: await economy(decoding, { budget, draft }) };
  const follower = followText(draft, decoding.signal);
  const { endTokens } = decoding;
  let passes = 0;
  let drafting: Drafting | undefined;
  return {
    get passes() {
      return passes;
    },
    async propose(round) {
      // The draft's own context may be shorter than the target's.
      const depth = Math.min(round.depth, draft.forest.contextLength - round.text.length);
      drafting = createDrafting({
        kind,
        replacement,
        draws: round.draws,
        depth,
        endTokens,
        chances: measured ? estimate : undefined,
        expect: proposal.expect(round),
        score: (tree, nodes) => follower.score(words(round.text), tree, nodes, draftTemperature, topK),
      });
      if (depth > 0) {
        const grown = await grow(drafting, guidance);
        passes += drafting.passes;
        if (finish) return finish(drafting.tree, grown);
      }
      return drafting.tree;
    },
    observe(_, tree, { path }) {
      follower.settle(tree.origins ? path.map((node) => tree.origins![node - 1]) : path);
      estimate.observe(tree, path);
      guidance.economy.settle(path.length + 1, tree.tokens.length, drafting!.passes);
    },
    close: follower.close,
  };
}

/** A draft that reads tokens does without rows that are vectors, as those of pictures: what it then drafts is verified all the same. */
const words = (text: readonly number[]): readonly number[] =>
  text.includes(notAToken) ? text.filter((token) => token !== notAToken) : text;

/** In which way a draft's distributions become proposals, at the target's temperature. Errors: `bad_option` where nothing could be drawn. */
export function proposalOf(
  temperature: number,
  { draftTemperature: wanted, draftTopK: topK }: DraftModelSettings,
  verification: Verification,
): {
  kind: DraftTree["kind"];
  /** Above 0. */
  draftTemperature: number;
  topK: number;
  /** For the drafting of a round. */
  expect(round: Round): DraftingOptions["expect"];
} {
  if (verification === "published") {
    const draftTemperature = wanted ?? (temperature === 0 ? 0.6 : temperature);
    ensure(
      draftTemperature > 0,
      "bad_option",
      'draftTemperature: 0 leaves nothing to draw by the published rule; take verification "race", or the method top-k',
    );
    return { kind: "sampled", draftTemperature, topK, expect: () => undefined };
  }
  const draftTemperature = wanted ?? temperature;
  // Without noise on one side there is no race to look into: what remains is how far the draft's logits can be trusted.
  if (draftTemperature === 0 || temperature === 0) {
    return { kind: "chosen", draftTemperature: draftTemperature || logitError, topK, expect: () => undefined };
  }
  return {
    kind: "chosen",
    draftTemperature,
    topK,
    expect: (round) => (law, depth) => expectedWinners(law, draftTemperature / logitError, round.race(depth)),
  };
}

/** Keeps a lease on the draft's forest in step with the text. Its passes end with the signal, as `aborted`. */
export function followText(
  draft: DecodingModel,
  signal: AbortSignal | undefined,
): {
  score(
    text: readonly number[],
    tree: DraftTree,
    nodes: readonly number[],
    temperature: number,
    topK: number,
  ): Promise<(() => SparseDistribution)[]>;
  /** The accepted path, by the numbers that nodes were scored under. */
  settle(path: readonly number[]): void;
  close(): void;
} {
  const lease: Lease = draft.forest.lease();
  const release = draft.use();
  const abort = (): void => lease.close();
  const heard = whenAborted(signal, abort);
  /** The deepest node of committed text. */
  let tip: ForestNode | undefined;
  /** Forest nodes of the round's tree nodes, 0 = root. */
  let nodes: (ForestNode | undefined)[] = [];

  async function reachRoot(text: readonly number[]): Promise<ForestNode> {
    ensure(!tip || tip.token === text[tip.depth], "internal", "the draft model follows another text than the target");
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
        ensure(parent, "internal", () => `draft node ${node} was scored before its parent`);
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
      return wanted.map((node) => {
        const forestNode = nodes[node]!;
        return () => topKSoftmax(forestNode.logits!, temperature, topK);
      });
    },
    settle(path) {
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
      heard();
      lease.close();
      release();
    },
  };
}
