/** The same texts in another forest: a second model, or the same one behind other words, scored node for node in as few passes as the first. */
import { ensure } from "../../errors.ts";
import type { Forest, ForestNode } from "../forest.ts";
import type { LeaseSites } from "../sites/rows.ts";

/** Which model, behind which words. */
export interface MirrorOptions {
  /** What is read and rewritten in the mirror. Default: nothing. */
  readonly sites?: LeaseSites;
  /** Tokens that stand before every text in the mirror alone. Default: none. */
  readonly before?: readonly number[];
  /** How many tokens at the beginning of every text they stand in the place of (its begin token); default: none. */
  readonly instead?: number;
}

/** The texts of a run in a second model, or in the same one with other instruments. */
export interface Mirror {
  /**
   * The twins of nodes, with logits, in their order; texts that are not there are computed. Twins off the paths to these nodes are let go,
   * with their logits. Errors: those of `extend`; `context_full` as soon as a text does not fit with what stands before it.
   */
  follow(nodes: readonly ForestNode[]): Promise<ForestNode[]>;
  close(): void;
}

/** Both models must have one vocabulary. Errors: `bad_option` for what is no token, and for numbers of tokens that there cannot be. */
export function createMirror(forest: Forest, { sites, before = [], instead = 0 }: MirrorOptions = {}): Mirror {
  const isCount = (number: number): boolean => Number.isSafeInteger(number) && number >= 0;
  const strange = before.find((token) => !isCount(token));
  ensure(strange === undefined, "bad_option", `createMirror: before has ${strange}, which is no token's number`);
  ensure(isCount(instead), "bad_option", `createMirror: instead must be a whole number from 0 on, not ${instead}`);
  const lease = forest.lease(sites);
  let twins = new Map<ForestNode, ForestNode>();
  let stem: Promise<ForestNode> | undefined;

  /** The last token that stands before every text. */
  const root = async (): Promise<ForestNode | undefined> => {
    if (before.length === 0) return undefined;
    stem ??= lease.prefill(before).then(({ node }) => node);
    return stem;
  };

  /** The first text, as a prompt: in chunks, and with its cached prefix. */
  async function begin(node: ForestNode): Promise<void> {
    const tokens: number[] = [];
    for (let at: ForestNode | undefined = node; at && at.depth >= instead; at = at.parent) tokens.unshift(at.token);
    let twin: ForestNode | undefined = (await lease.prefill([...before, ...tokens])).node;
    // Only the last is held; the others stay for its sake. What stands in the place of first tokens is the twin of the last of them.
    for (let at: ForestNode | undefined = node; at && twin; [at, twin] = [at.parent, twin.parent]) {
      if (at.depth >= instead - 1) twins.set(at, twin);
    }
  }

  /** Twins of the given nodes, whose parents have twins or are among them, as many in a pass as fit. */
  async function extend(nodes: readonly ForestNode[], top: ForestNode | undefined): Promise<void> {
    for (let start = 0; start < nodes.length; start += forest.maxRows) {
      const part = nodes.slice(start, start + forest.maxRows);
      const numbers = new Map(part.map((node, i) => [node, i]));
      const wanted = part.map(({ parent, token }) => ({
        parent: parent ? (numbers.get(parent) ?? twins.get(parent)) : top,
        token,
      }));
      const made = await lease.extend(wanted);
      for (const [i, node] of part.entries()) twins.set(node, made[i]);
    }
  }

  return {
    async follow(nodes) {
      const top = await root();
      if (nodes.length > 0 && twins.size === 0) await begin(nodes[0]);
      const missing = new Set(nodes.filter((node) => !twins.get(node)?.logits));
      const path = new Set<ForestNode>();
      for (const node of nodes) {
        for (let at: ForestNode | undefined = node; at && !path.has(at); at = at.parent) {
          path.add(at);
          if (!twins.has(at) && at.depth >= instead) missing.add(at);
        }
      }
      await extend(
        [...missing].sort((a, b) => a.depth - b.depth),
        top,
      );
      const kept = new Map([...twins].filter(([node]) => path.has(node)));
      lease.release([...twins].flatMap(([node, twin]) => (path.has(node) ? [] : [twin])));
      twins = kept;
      return nodes.map((node) => twins.get(node)!);
    },
    close: () => lease.close(),
  };
}
