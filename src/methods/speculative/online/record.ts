/**
 * What serving shows for free: where the draft was wrong and what the target thinks there. The token at index j of a text is predicted
 * at index j - 1, so a proposal rejected at j is an error of the distributions after the token at j - 1: that index is recorded.
 */
import type { Decoding } from "../../../engine/decoding.ts";
import { topKSoftmax } from "../../../engine/distribution.ts";
import type { ForestNode } from "../../../engine/forest.ts";
import { logSumExp } from "../../../engine/shapers/logprobs.ts";
import type { Acceptance } from "../../../engine/trace.ts";
import { classCount } from "../../../training/distillation.ts";
import { childrenOf, type DraftTree } from "../tree.ts";
import type { Verdict } from "../verify.ts";

/** Where the loss applies: rejected proposals (the paper), every round's last position (its code), or every position visited. */
export const lossPlaces = ["errors", "round-ends", "all"] as const;
export type LossPlace = (typeof lossPlaces)[number];

/** A stretch of served text and the target's temperature-1 distributions at some of its positions. */
export interface Example {
  readonly tokens: Int32Array;
  /** Indices into `tokens`, ascending, [n]: what follows the token at that index was recorded. */
  readonly positions: Int32Array;
  /** [n, listed] tokens and [n, classes] log-probabilities, the last class being all other tokens. */
  readonly listed: Int32Array;
  readonly logs: Float32Array;
}

export const exampleBytes = ({ tokens, positions, listed, logs }: Example): number =>
  tokens.byteLength + positions.byteLength + listed.byteLength + logs.byteLength;

/**
 * Tokens recorded one by one: all of a small vocabulary, else the likeliest. They are looked for while a request waits, which takes
 * several times as long for 256 of them, and those teach hardly more than 64: a draft proposes from its 32 likeliest.
 */
export const listedTokens = (vocabularySize: number): number => (vocabularySize <= 512 ? vocabularySize : 64);

/** Positions kept of one request; the oldest go first. */
const mostPositions = 1024;
/** Logs are bounded from below, so that a distribution with empty tokens stays finite in every divergence. */
const lowestLog = -50;

interface Recorded {
  position: number;
  listed: Int32Array;
  logs: Float32Array;
}

export interface Recorder {
  /** After a verification: `rootIndex` is the index in the text of the tree's root. */
  observe(rootIndex: number, tree: DraftTree, verdict: Verdict, nodeOf: (node: number) => ForestNode | undefined): void;
  /** What was recorded over the request's text, in stretches of at most `length` tokens. */
  examples(text: readonly number[], length: number): Example[];
  acceptance(): Acceptance;
}

/** `lossOn` undefined: nothing is recorded, and only the acceptance is measured. */
export function createRecorder(decoding: Decoding, lossOn: LossPlace | undefined): Recorder {
  const listed = listedTokens(decoding.model.config.vocabularySize);
  const rows: Recorded[] = [];
  let [visited, overlap, tested, accepted] = [0, 0, 0, 0];

  function measure(tree: DraftTree, node: number, next: number, forestNode: ForestNode): void {
    const draft = tree.distributions[node]!;
    visited += 1;
    if (decoding.greedy) {
      // The target is one-hot at the token it chose, and so is a draft that proposes its likeliest.
      const at = draft.tokens.indexOf(next);
      if (tree.kind === "chosen") overlap += at === 0 ? 1 : 0;
      else overlap += at < 0 ? 0 : draft.probabilities[at];
      return;
    }
    const target = decoding.shape(forestNode);
    draft.tokens.forEach((token, i) => {
      overlap += Math.min(target[token], draft.probabilities[i]);
    });
  }

  return {
    observe(rootIndex, tree, { path, token }, nodeOf) {
      const children = childrenOf(tree);
      const nodes = [0, ...path];
      nodes.forEach((node, level) => {
        const forestNode = nodeOf(node)!;
        const last = level === path.length;
        const rejected = last && children[node].length > 0;
        if (children[node].length > 0) {
          tested += 1;
          if (!last) accepted += 1;
          measure(tree, node, last ? token : tree.tokens[path[level] - 1], forestNode);
        }
        const wanted = lossOn === "all" || (lossOn === "round-ends" && last) || (lossOn === "errors" && rejected);
        if (wanted) rows.push({ position: rootIndex + level, ...recordDistribution(forestNode.logits!, listed) });
      });
      if (rows.length > mostPositions) rows.splice(0, rows.length - mostPositions);
    },
    examples(text, length) {
      const examples: Example[] = [];
      const rest = [...rows];
      while (rest.length > 0) {
        const end = rest[rest.length - 1].position + 1;
        const start = Math.max(0, end - length);
        // Cut from the left; rows that would be left with little context wait for the stretch before.
        const first = start === 0 ? 0 : rest.findIndex(({ position }) => position >= end - Math.ceil(length / 2));
        examples.push(exampleOf(text.slice(start, end), start, rest.splice(first)));
      }
      return examples.reverse();
    },
    acceptance: () => ({
      positions: visited,
      exact: visited > 0 ? overlap / visited : 0,
      empirical: tested > 0 ? accepted / tested : 0,
    }),
  };
}

function exampleOf(tokens: readonly number[], start: number, rows: readonly Recorded[]): Example {
  const [{ listed, logs }] = rows;
  const example: Example = {
    tokens: Int32Array.from(tokens),
    positions: Int32Array.from(rows, ({ position }) => position - start),
    listed: new Int32Array(rows.length * listed.length),
    logs: new Float32Array(rows.length * logs.length),
  };
  rows.forEach((row, i) => {
    example.listed.set(row.listed, i * listed.length);
    example.logs.set(row.logs, i * logs.length);
  });
  return example;
}

/** The distribution of these logits [vocabulary] at temperature 1, whatever temperature is served: else it would be one-hot under greedy. */
export function recordDistribution(
  logits: Float32Array,
  listed: number,
): { listed: Int32Array<ArrayBuffer>; logs: Float32Array<ArrayBuffer> } {
  const everything = listed === logits.length;
  const tokens = everything ? Int32Array.from(logits, (_, i) => i) : topKSoftmax(logits, 1, listed).tokens.slice();
  const normaliser = logSumExp(logits);
  const logs = new Float32Array(classCount(listed, logits.length));
  let mass = 0;
  tokens.forEach((token, i) => {
    logs[i] = Math.max(logits[token] - normaliser, lowestLog);
    mass += Math.exp(logs[i]);
  });
  if (!everything) logs[listed] = Math.log(Math.max(1 - mass, 1e-9)); // below, the sum's own rounding is larger
  return { listed: tokens, logs };
}
