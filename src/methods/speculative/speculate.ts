/**
 * The one speculative loop: a drafter proposes a tree below the last committed token, the target scores that token and the tree
 * in one pass, the verifier keeps a path and adds a token of the target's own. (Leviathan et al. 2023, algorithm 1, for trees.)
 */
import type { Decoding } from "../../engine/decoding.ts";
import type { Extension, ForestNode, LookAhead } from "../../engine/forest.ts";
import { requireReturned, requireRun } from "../../engine/hooks.ts";
import type { Commitment } from "../../engine/output.ts";
import type { Race } from "../../engine/race.ts";
import { ensure } from "../../errors.ts";
import { createDraws, type Draws } from "./draws.ts";
import { createTree, type DraftTree, repeatsOf } from "./tree.ts";
import { type Verdict, verify } from "./verify.ts";

/** What a drafter is asked for in a round. */
export interface Round {
  /** Prompt and output; the last token is the root of the tree to draft. */
  readonly text: readonly number[];
  /** The target's node before the root, with what was read there. */
  readonly tip: ForestNode;
  /** Levels below the root that can still become output. */
  readonly depth: number;
  readonly draws: Draws;
  /** The race for the token so many levels below the root. */
  race(depth: number): Race;
}

/** Look-ahead rows in the pass that scores a tree: a chain of them below one of its nodes (0: the root). */
export interface AheadChain {
  readonly node: number;
  readonly rows: readonly LookAhead[];
}

/** Proposes a tree of tokens below the last one, and learns what became of it. */
export interface Drafter {
  propose(round: Round): Promise<DraftTree> | DraftTree;
  /** Draft passes so far, of all rounds. */
  readonly passes?: number;
  /** What else the target's pass should carry beside the tree. Rows that would stand beyond the context are left out. */
  ahead?(round: Round, tree: DraftTree): readonly AheadChain[];
  /**
   * Told after the verification of what it proposed; `nodeOf` gives the target's forest node of a tree node (0 = root), `chains` those of
   * its look-ahead rows.
   */
  observe?(
    round: Round,
    tree: DraftTree,
    verdict: Verdict,
    nodeOf: (node: number) => ForestNode | undefined,
    chains: readonly (readonly ForestNode[])[],
  ): void;
  close?(): void;
}

/** Decides which drafted tokens become output. */
export type Verifier = typeof verify;

const isTree = (tree: DraftTree): boolean =>
  Array.isArray(tree?.tokens) && Array.isArray(tree.parents) && tree.tokens.length === tree.parents.length;

/** Decodes until the run is finished. `verifier` exists for methods whose published verification is not the exact one. */
export async function speculate(decoding: Decoding, drafter: Drafter, verifier: Verifier = verify): Promise<void> {
  const { lease, counters, greedy, forest } = decoding;
  try {
    let tip = await decoding.prefill();
    let token = decoding.choose(tip);
    decoding.commit([{ token, from: tip }]);
    const text = [...decoding.prompt, token];
    while (!decoding.finished) {
      const depth = decoding.remaining - 1; // the target adds one token whatever is accepted
      const root = text.length - 1;
      const round: Round = {
        text,
        tip,
        depth,
        draws: createDraws(decoding.stream, root),
        race: (level) => ({ stream: decoding.stream, position: root + level }),
      };
      const started = performance.now();
      const passesBefore = drafter.passes ?? 0;
      const asked = depth > 0;
      const tree = asked ? await drafter.propose(round) : createTree("chosen");
      requireReturned(isTree(tree), tree, "the drafter: propose", "a tree, as createTree gives it");
      const drafted = performance.now();
      const ahead = asked ? (drafter.ahead?.(round, tree) ?? []) : [];
      requireReturned(Array.isArray(ahead), ahead, "the drafter: ahead", "a list of chains of look-ahead rows");
      const { nodes, chains } = await score(decoding, round, tree, ahead);
      const scored = performance.now();

      const target = {
        sampleAt: (node: number) => decoding.choose(nodes[node]!),
        ...(!greedy && { probabilitiesAt: (node: number) => decoding.shape(nodes[node]!) }),
      };
      const verdict = verifier(tree, target, round.draws);
      const { path } = verdict;
      const last = path.length > 0 ? path[path.length - 1] : 0;
      const commitments: Commitment[] = path.map((node) => ({
        token: tree.tokens[node - 1],
        from: nodes[tree.parents[node - 1]]!,
      }));
      commitments.push({ token: verdict.token, from: nodes[last]! });
      const verified = performance.now();

      counters.drafted += tree.tokens.length;
      counters.accepted += path.length;
      counters.draftPasses = drafter.passes ?? 0;
      decoding.emit({
        type: "draft",
        tokens: tree.tokens,
        parents: tree.parents,
        ...(tree.values && { values: tree.values }),
        ...noteOf(tree, asked),
        passes: (drafter.passes ?? 0) - passesBefore,
        seconds: (drafted - started) / 1000,
      });
      decoding.emit({ type: "verify", ...verdict, seconds: (verified - scored) / 1000 });
      if (asked)
        requireRun(
          drafter.observe?.(round, tree, verdict, (node) => nodes[node], chains),
          "the drafter: observe",
        );
      decoding.commit(commitments);
      for (const commitment of commitments) text.push(commitment.token);

      const kept = new Set([0, ...path]);
      lease.release(
        nodes.flatMap((node, i) => (node && !kept.has(i) ? [node] : [])),
        { discard: true },
      );
      lease.release([tip, ...[0, ...path].filter((node) => node !== last).map((node) => nodes[node]!)]);
      tip = nodes[last]!;
      token = verdict.token;
      ensure(token < forest.vocabularySize, "internal", "the verifier emitted a token outside the vocabulary");
    }
  } finally {
    drafter.close?.();
  }
}

/** What is said of a draft; of an empty one always why it is empty. */
function noteOf({ tokens, note }: DraftTree, asked: boolean): { note?: string } {
  if (note !== undefined) return { note };
  if (tokens.length > 0) return {};
  return { note: asked ? "the drafter proposed nothing" : "one more token may follow, and the model adds it itself" };
}

/**
 * One target pass over the root, the tree and look-ahead rows: the forest nodes by tree node, and by chain. Repeated draws need no row of
 * their own.
 */
async function score(
  { lease, forest }: Decoding,
  { text, tip, depth }: Round,
  tree: DraftTree,
  ahead: readonly AheadChain[],
): Promise<{ nodes: (ForestNode | undefined)[]; chains: ForestNode[][] }> {
  const extensions: Extension[] = [{ parent: tip, token: text[text.length - 1] }];
  const places: (number | undefined)[] = [0];
  const depths = [0];
  const repeats = tree.replacement ? repeatsOf(tree) : [];
  for (let i = 0; i < tree.tokens.length; i++) {
    const parent = places[tree.parents[i]];
    depths.push(depths[tree.parents[i]] + 1);
    ensure(
      depths[i + 1] <= depth,
      "internal",
      () => `a drafter went ${depths[i + 1]} levels deep where ${depth} were left`,
    );
    if (repeats[i + 1] || parent === undefined) {
      places.push(undefined);
      continue;
    }
    places.push(extensions.length);
    extensions.push({ parent, token: tree.tokens[i] });
  }
  const chained = ahead.map(({ node, rows }) => {
    let parent = places[node];
    ensure(parent !== undefined, "internal", () => `look-ahead rows stand below draft node ${node}, which has no row`);
    const room = forest.contextLength - text.length - depths[node];
    return rows.slice(0, Math.max(0, room)).map((row) => {
      extensions.push({ parent, token: 0, ahead: row });
      parent = extensions.length - 1;
      return parent;
    });
  });
  const nodes = await lease.extend(extensions);
  return {
    nodes: places.map((place) => (place === undefined ? undefined : nodes[place])),
    chains: chained.map((chain) => chain.map((place) => nodes[place])),
  };
}
