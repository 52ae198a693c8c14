/** One caller's hold on a forest: what it asks for, and what it lets go of. */
import { ensure, plural, shown } from "../errors.ts";
import { layerEndedBy } from "../models/sites.ts";
import { fingerprintOf } from "../text/fingerprint.ts";
import { breathe } from "../turn.ts";
import type { Extension, ForestNode, Lease, LookAhead, VectorRow } from "./forest.ts";
import type { Layouts } from "./layout.ts";
import { type Job, Node, type NodeKey, notAToken, type Path } from "./node.ts";
import type { Pass } from "./pass.ts";
import { createJob, type Pump } from "./pump.ts";
import { type AppliedEdit, instrumentsOf, type LeaseSites, noSites } from "./sites/rows.ts";
import { applyVector } from "./sites/vectors.ts";
import type { Trees } from "./trees.ts";

export interface LeaseParts {
  readonly pass: Pass;
  readonly trees: Trees;
  readonly layouts: Layouts;
  readonly pump: Pump;
  readonly maxRows: number;
  /** Whether the forest was closed. */
  isClosed(): boolean;
}

export function createLease({ pass, trees, layouts, pump, maxRows, isClosed }: LeaseParts, wanted: LeaseSites): Lease {
  const { contextLength, vocabularySize, hiddenSize } = pass.config;
  let sites = noSites;
  let prepared: Promise<void> | undefined;
  const has = (node: Node, logits = false): boolean =>
    (!logits || node.scored !== undefined) && tapsOf(logits).every((tap) => node.taps?.[tap]);
  const tapsOf = (logits: boolean): readonly string[] => (logits ? sites.scored : sites.taps);
  const mine = new Map<Node, number>();
  const account = { jobs: new Set<Job>(), path: { lane: -1, left: false, pages: [] } as Path, passes: 0, rows: 0 };
  let open = true;

  const keep = (node: Node): void => {
    trees.hold(node);
    mine.set(node, (mine.get(node) ?? 0) + 1);
  };

  /** Errors: `bad_option`. */
  function keyOf(token: number | VectorRow): NodeKey {
    if (typeof token !== "number") {
      const known = typeof token?.id === "string" && token.values instanceof Float32Array;
      ensure(known, "bad_option", () => `a row is a token id, or a vector { id, values }, not ${shown(token)}`);
      const { length } = token.values;
      ensure(
        length === hiddenSize,
        "bad_option",
        () => `the vector ${token.id} has ${plural(length, "number")}, and the model's width is ${hiddenSize}`,
      );
      // Not the id alone: one that is given to other values later must not find what the first ones left.
      const { buffer, byteOffset } = token.values;
      return `vector ${token.id} ${fingerprintOf([new Uint32Array(buffer, byteOffset, length)])}`;
    }
    ensure(token !== notAToken, "bad_option", "a row that is a vector cannot be given to another model as a token");
    ensure(
      Number.isInteger(token) && token >= 0 && token < vocabularySize,
      "bad_option",
      () => `token ${token} is outside the vocabulary of ${vocabularySize}`,
    );
    return token;
  }

  /** What acts in a row: a vector first, then what the lease has, then what the row brings. */
  function editsOf(token: number | VectorRow, ahead: LookAhead | undefined): readonly AppliedEdit[] {
    const vector = typeof token === "number" ? ahead?.vector : token.values;
    if (!vector && !ahead?.edits) return sites.edits;
    return [...(vector ? [applyVector(vector)] : []), ...sites.edits, ...(ahead?.edits ?? [])];
  }

  /** The layers below a look-ahead row. Errors: `bad_option`. */
  function beginOf({ edits = [], vector, position }: LookAhead, parent: Node | undefined): number {
    const starts = edits.filter(({ edit }) => edit.begins);
    const [start] = starts;
    const begins = start ? layerEndedBy(start.edit.site)! + 1 : 0;
    ensure(starts.length < 2, "bad_option", "a look-ahead row begins once: two of its edits begin rows");
    ensure(!vector || vector.length === hiddenSize, "bad_option", () => {
      return `the vector of a look-ahead row has ${plural(vector!.length, "number")}, and the model's width is ${hiddenSize}`;
    });
    ensure(!start || !vector, "bad_option", "a look-ahead row begins as a vector or after a layer, not both");
    ensure(start?.at?.(position ?? (parent ? parent.depth + 1 : 0)) !== false, "bad_option", () => {
      return `the edit ${start!.edit.name} does not act at the position of the row that it is to begin`;
    });
    ensure(!parent?.ahead || parent.begins <= begins, "bad_option", () => {
      return `a look-ahead row that begins after ${begins} layers cannot stand below one that begins after ${parent!.begins}`;
    });
    return begins;
  }

  async function extend(extensions: readonly Extension[]): Promise<ForestNode[]> {
    ensure(open, "aborted", "the request was aborted");
    ensure(!isClosed(), "aborted", "the model was closed");
    ensure(
      extensions.length <= maxRows,
      "bad_option",
      () => `${extensions.length} nodes at once exceed the ${maxRows} rows of a pass`,
    );
    if (prepared) await prepared;
    ensure(open, "aborted", "the request was aborted");
    const job = createJob(account.path);
    const nodes: Node[] = [];
    const waits = new Set<Promise<void>>();
    try {
      for (const [i, { parent: under, token, ahead, logits: asked = true }] of extensions.entries()) {
        const logits = asked || sites.selected;
        const parent = typeof under === "number" ? nodes[under] : (under as Node | undefined);
        ensure(typeof under !== "number" || parent, "bad_option", () => {
          return `extend: extensions[${i}].parent is ${under}, and must be a node, or the place of an extension before this one, from 0`;
        });
        ensure(!parent?.gone, "bad_option", `extend: extensions[${i}].parent was released before`);
        const key = keyOf(token);
        const inRoom = (position: number): void =>
          ensure(
            position < contextLength,
            "context_full",
            () => `the context of ${plural(contextLength, "token")} is full`,
          );
        const row = { logits, taps: tapsOf(logits), edits: editsOf(token, ahead) };
        if (ahead) {
          const node = new Node(parent, key, { position: ahead.position, begins: beginOf(ahead, parent) });
          inRoom(node.position);
          node.pending = job;
          job.rows.push({ ...row, node, store: false });
          nodes.push(node);
          continue;
        }
        ensure(!parent?.ahead, "bad_option", () => {
          return `extend: extensions[${i}].parent is a look-ahead row, and only such rows can stand below it`;
        });
        let node = trees.childOf(parent, key, sites.world);
        if (!node) {
          inRoom((parent?.depth ?? -1) + 1);
          node = trees.addChild(parent, key, sites.world);
          node.pending = job;
          job.rows.push({ ...row, node, store: true });
        } else if (node.pending) {
          node.pending.cancelled = false; // the lease that asked first may have closed; now it is wanted again
          waits.add(node.pending.done);
          const known = node.pending.rows.find((r) => r.node === node)!;
          known.logits ||= logits;
          if (row.taps.length > 0) known.taps = [...known.taps, ...row.taps];
        } else if (!has(node, logits)) {
          job.rows.push({ ...row, node, store: false });
        }
        keep(node);
        nodes.push(node);
      }
      if (job.rows.length > 0) {
        account.jobs.add(job);
        waits.add(job.done);
        pump.enqueue(job);
      }
      for (const wait of waits) await wait;
      if (waits.size === 0) await breathe();
    } catch (error) {
      // A call that fails leaves nothing behind, or others would wait for rows that never run.
      if (!account.jobs.has(job)) pump.abandon(job, error);
      for (const node of nodes) drop(node);
      throw error;
    } finally {
      account.jobs.delete(job);
    }
    ensure(open, "aborted", "the request was aborted");
    account.passes += waits.size > 0 ? 1 : 0;
    account.rows += job.rows.length;
    // A shared pass may have failed for its owner's reasons after we joined it.
    ensure(!nodes.some((node) => node.gone), "aborted", "the pass that was to compute this node was aborted");
    // Look-ahead rows are guesses: one that failed has no logits, and whoever asked for it sees that.
    for (const node of nodes) if (node.ahead && node.broken !== undefined) node.scored = undefined;
    const broken = nodes.find((node) => node.broken !== undefined && !node.ahead);
    if (broken) throw broken.broken;
    const lacking = extensions.flatMap(({ token, ahead, logits = true }, i) =>
      !ahead && !has(nodes[i], logits) ? [{ node: nodes[i], token, logits }] : [],
    );
    if (lacking.length > 0) {
      // The pass that computed them had started before we asked for logits or taps.
      await extend(lacking.map(({ node: { parent }, token, logits }) => ({ parent, token, logits })));
      for (const { node } of lacking) drop(node);
    }
    return nodes;
  }

  function use(next: LeaseSites): void {
    const begins = next.edits.find(({ edit }) => edit.begins)?.edit;
    ensure(
      !begins,
      "bad_option",
      () => `the edit ${begins!.name} begins look-ahead rows: a whole request cannot have it`,
    );
    ensure(
      next.world === sites.world || account.rows === 0,
      "internal",
      "edits came to a lease after its first rows: texts of one lease have the same edits",
    );
    sites = next;
    prepared = sites === noSites ? undefined : pass.prepare?.(instrumentsOf(sites));
    prepared?.catch(() => {}); // the first call reports it
  }
  use(wanted);

  return {
    extend,
    use,
    async prefill(tokens, visit) {
      ensure(tokens.length > 0, "bad_option", "the prompt is empty");
      ensure(
        tokens.length <= contextLength,
        "context_full",
        `the prompt of ${plural(tokens.length, "token")} is longer than the context of ${contextLength}`,
      );
      const passesBefore = account.passes;
      let computed = 0;
      let node: Node | undefined;
      for (let start = 0; start < tokens.length; ) {
        ensure(open, "aborted", "the request was aborted");
        // Nodes in the forest cost nothing: walk them, then compute a chunk of new ones.
        const next: Extension[] = [];
        let end = start;
        let at: Node | undefined = node;
        while (end < tokens.length - 1) {
          const known: Node | undefined = trees.childOf(at, keyOf(tokens[end]), sites.world);
          if (!known || known.pending || known.broken || !has(known)) break;
          visit?.([known]);
          at = known;
          end += 1;
        }
        if (at && at !== node) {
          keep(at);
          if (node) drop(node);
          node = at;
        }
        const chunk = tokens.slice(end, end + maxRows);
        const rowsBefore = account.rows;
        chunk.forEach((token, i) => {
          next.push({ parent: i === 0 ? node : i - 1, token, logits: end + i === tokens.length - 1 });
        });
        const nodes = (await extend(next).catch((error) => {
          if (node) drop(node);
          throw error;
        })) as Node[];
        computed += account.rows - rowsBefore;
        visit?.(nodes);
        if (node) drop(node);
        for (const inner of nodes.slice(0, -1)) drop(inner);
        node = nodes[nodes.length - 1];
        start = end + chunk.length;
      }
      ensure(open, "aborted", "the request was aborted");
      return { node: node!, computed, cached: tokens.length - computed, passes: account.passes - passesBefore };
    },
    release(nodes, { discard = false } = {}) {
      // Children before parents, so that a discarded branch goes as a whole.
      const all = [...nodes];
      for (const [i, node] of all.entries())
        ensure(node instanceof Node, "bad_option", () => {
          return `release: nodes[${i}] must be a node that extend or prefill gave, not ${shown(node)}`;
        });
      const deepestFirst = (all as Node[]).sort((a, b) => b.depth - a.depth);
      for (const node of deepestFirst) if (mine.has(node)) drop(node, discard);
    },
    close() {
      if (!open) return;
      open = false;
      for (const job of account.jobs) job.cancelled = !isShared(job);
      for (const [node, times] of mine) for (let i = 0; i < times; i++) trees.letGo(node, false);
      mine.clear();
      layouts.leave(account.path);
    },
    get passes() {
      return account.passes;
    },
    get rows() {
      return account.rows;
    },
  };

  function drop(node: Node, discard = false): void {
    const times = mine.get(node);
    if (times === undefined) return; // the lease was closed meanwhile
    if (times === 1) mine.delete(node);
    else mine.set(node, times - 1);
    trees.letGo(node, discard);
  }

  /** Another lease needs a node of this job, or one below. */
  function isShared(job: Job): boolean {
    const stack = job.rows.map(({ node }) => node);
    for (let node = stack.pop(); node; node = stack.pop()) {
      if (node.holds > (mine.get(node) ?? 0)) return true;
      if (node.children) stack.push(...node.children.values());
    }
    return false;
  }
}
