/**
 * The forest: every autoregressive method grows a tree of tokens over one shared key-value arena. Its one primitive, `extend`,
 * scores any set of new nodes, of any trees, in one forward pass; calls that arrive while a pass runs join the next.
 *
 * A node is a token after its parent's text. The same token below the same parent is the same node, so prompts that share a prefix
 * share its rows, and branches of a tree share their stem. Callers hold nodes through a lease; what nobody holds is kept
 * as a cached prefix while there is room, or freed at once when it was rejected.
 */
import { ensure, VentrisError } from "../errors.ts";
import { pageSize } from "./arena.ts";
import { settlePagesAbove } from "./full-pages.ts";
import { createLayouts } from "./layout.ts";
import type { Memory } from "./memory.ts";
import { type Job, Node, type Path } from "./node.ts";
import type { Pass } from "./pass.ts";
import { keepReadings, sitesOfRows } from "./sites/readings.ts";
import { instrumentsOf, type LeaseSites, noSites } from "./sites/rows.ts";

export interface ForestNode {
  readonly parent: ForestNode | undefined;
  readonly token: number;
  /** Number of tokens before this one: its position. A tree's first token has depth 0. */
  readonly depth: number;
  /** Next-token logits [vocabulary], where they were asked for and while the node is held. */
  readonly logits: Float32Array | undefined;
  /** Values of the model's taps at this token. */
  readonly taps: Readonly<Record<string, Float32Array>> | undefined;
}

/** A node to add: below an existing node, below node number `parent` of the same call, or (undefined) a first token. */
export interface Extension {
  readonly parent: ForestNode | number | undefined;
  readonly token: number;
  /** Default true. */
  readonly logits?: boolean;
}

export interface ForestCounters {
  passes: number;
  rows: number;
  /** Slots looked over, summed over the rows of all passes: what attention costs. */
  attended: number;
  secondsInPasses: number;
}

export interface Prefill {
  readonly node: ForestNode;
  readonly computed: number;
  readonly cached: number;
  readonly passes: number;
}

/** One caller's hold on nodes. Everything it got from `extend` and `prefill` is held until released or closed. */
export interface Lease {
  /** The nodes in the order asked for. Errors: `context_full`, `out_of_memory`, `aborted`, `runtime_failed`. */
  extend(extensions: readonly Extension[]): Promise<ForestNode[]>;
  /**
   * The node of the last token, with logits; the longest cached prefix is reused. `visit` is shown every node of the text, in order, while
   * it is held and, where this lease has taps, with what they read. Errors: as `extend`, and `bad_option` for no tokens.
   */
  prefill(tokens: readonly number[], visit?: (nodes: readonly ForestNode[]) => void): Promise<Prefill>;
  /** What its rows have read and rewritten from now on. Edits are for whole texts: they come before the first row. */
  use(sites: LeaseSites): void;
  /** Lets go of nodes. `discard` frees those that nothing else needs; otherwise they stay as cached prefixes. */
  release(nodes: Iterable<ForestNode>, options?: { discard?: boolean }): void;
  /** Lets go of everything and refuses further calls; calls under way fail with `aborted` within one pass. */
  close(): void;
  /** Passes and rows this lease took part in. */
  readonly passes: number;
  readonly rows: number;
}

export interface Forest {
  readonly contextLength: number;
  readonly vocabularySize: number;
  /** Most nodes in one `extend`. */
  readonly maxRows: number;
  readonly counters: Readonly<ForestCounters>;
  /** Slots in use, and those held by some lease. */
  readonly size: number;
  readonly held: number;
  readonly capacity: number;
  /** `sites`: what is read and rewritten in the rows of this lease. */
  lease(sites?: LeaseSites): Lease;
  close(): Promise<void>;
}

export interface ForestOptions {
  /** Most rows in a pass; longer prompts go in chunks. Default 128. */
  maxRows?: number;
  /** Up to this many slots the arena grows rather than drop a cached prefix; beyond, prefixes nobody holds go first. Default 512. */
  cacheSlots?: number;
}

export function createForest(
  pass: Pass,
  memory: Memory,
  { maxRows = 128, cacheSlots = 512 }: ForestOptions = {},
): Forest {
  const { contextLength, vocabularySize, window } = pass.config;
  const { evenRows } = pass;
  const { arena } = memory;
  ensure(
    Number.isInteger(maxRows) && maxRows >= 1,
    "bad_option",
    `maxRows must be a positive whole number, not ${maxRows}`,
  );
  /** First tokens of texts, of each world. */
  const worlds = new Map<string, Map<number, Node>>();
  const counters: ForestCounters = { passes: 0, rows: 0, attended: 0, secondsInPasses: 0 };
  const queue: Job[] = [];
  const layouts = createLayouts(memory, { window, evenRows });
  /** Leaves nobody holds, the longest unheld first. */
  const evictable = new Set<Node>();
  let pumping: Promise<void> | undefined;
  let held = 0;
  let closed = false;

  const isIdle = (node: Node): boolean => node.holds === 0 && !node.pending && !node.gone && !node.children?.size;

  function hold(node: Node): void {
    if (node.holds === 0) held += 1;
    node.holds += 1;
    evictable.delete(node);
  }

  function letGo(node: Node, discard: boolean): void {
    node.holds -= 1;
    if (node.holds > 0) return;
    held -= 1;
    forget(node);
    if (discard && isIdle(node)) remove(node);
    else keepAsPrefix(node);
  }

  function forget(node: Node): void {
    node.scored = undefined;
    node.taps = undefined;
  }

  function keepAsPrefix(node: Node): void {
    writeThrough(node);
    if (isIdle(node)) evictable.add(node);
  }

  /**
   * Writes a node and its ancestors to the arena, where a pass is to look at them or nobody holds them any more. Most drafted
   * nodes are rejected before, and cost no copying. A node that is written has only ancestors that are.
   */
  function writeThrough(node: Node | undefined): void {
    for (let at = node; at?.unwritten; at = at.parent) {
      arena.write(at.unwritten, at.slot);
      at.unwritten = undefined;
    }
  }

  function remove(node: Node): void {
    const { parent } = node;
    (parent ? parent.children! : node.roots!).delete(node.token);
    evictable.delete(node);
    node.gone = true;
    if (node.slot >= 0) arena.free(node.slot);
    node.slot = -1;
    for (const slot of node.copies) arena.free(slot);
    node.unwritten = undefined;
    if (parent && isIdle(parent)) evictable.add(parent);
    if (arena.used === 0) arena.shrink();
  }

  /** First tokens of one world; worlds that hold nothing are forgotten. */
  function rootsOf(world: string): Map<number, Node> {
    const known = worlds.get(world);
    if (known) return known;
    for (const [name, texts] of worlds) if (texts.size === 0) worlds.delete(name);
    const roots = new Map<number, Node>();
    worlds.set(world, roots);
    return roots;
  }

  function childOf(parent: Node | undefined, token: number, world: string): Node | undefined {
    return (parent ? parent.children : worlds.get(world))?.get(token);
  }

  function addChild(parent: Node | undefined, token: number, world: string): Node {
    const roots = parent ? undefined : rootsOf(world);
    const node = new Node(parent, token, roots);
    roots?.set(token, node);
    if (parent) {
      if (parent.children) parent.children.set(token, node);
      else parent.children = new Map([[token, node]]);
      evictable.delete(parent);
    }
    return node;
  }

  function createJob(path: Path): Job {
    let resolve: () => void = () => {};
    let reject: (error: unknown) => void = () => {};
    const done = new Promise<void>((yes, no) => {
      [resolve, reject] = [yes, no];
    });
    done.catch(() => {}); // every waiter handles it; a job whose waiters are gone must not bring the process down
    return {
      rows: [],
      path,
      done,
      cancelled: false,
      finish: (error) => (error === undefined ? resolve() : reject(error)),
    };
  }

  /** Runs passes while jobs wait. Between passes everything that became runnable gets to queue, so that it joins the next one. */
  async function pump(): Promise<void> {
    while (queue.length > 0) {
      await new Promise(setImmediate);
      const jobs: Job[] = [];
      let rows = 0;
      while (queue.length > 0 && (rows === 0 || rows + queue[0].rows.length <= maxRows)) {
        const job = queue.shift()!;
        if (job.cancelled || job.rows.some(({ node }) => node.parent?.gone)) {
          abandon(job, new VentrisError("aborted", "the request was aborted"));
          continue;
        }
        jobs.push(job);
        rows += job.rows.length;
      }
      if (rows === 0) continue;
      try {
        await runPass(jobs);
        for (const job of jobs) {
          for (const { node } of job.rows) settle(node, job);
          job.finish();
        }
      } catch (error) {
        for (const job of jobs) abandon(job, error);
      }
    }
    pumping = undefined; // in the same turn as the last look at the queue: a job that comes later starts it again
  }

  /** A job that will not run: its new nodes leave the forest, and with them whatever waited below them. */
  function abandon(job: Job, error: unknown): void {
    for (const { node, store } of [...job.rows].reverse()) {
      settle(node, job);
      if (store && !node.gone) remove(node);
    }
    job.finish(error);
  }

  function settle(node: Node, job: Job): void {
    if (node.pending === job) node.pending = undefined;
    if (node.holds > 0) return;
    // Its lease let go while the pass ran: nobody would drop what the pass gave it.
    forget(node);
    keepAsPrefix(node);
  }

  async function runPass(jobs: readonly Job[]): Promise<void> {
    for (const { rows } of jobs) {
      for (const { node, store } of rows) {
        writeThrough(node.parent);
        if (store) place(node);
      }
    }
    for (const { rows } of jobs) for (const { node } of rows) settlePagesAbove(node, arena, freePage);
    const { rows, count, lanes: laneCount, ...layout } = layouts.layOut(jobs);
    const tokens = new Array<number>(count).fill(0);
    const depths = new Array<number>(count).fill(0);
    const select: number[] = [];
    const scored: Node[] = [];
    for (const { row, at } of rows) {
      tokens[at] = row.node.token;
      depths[at] = row.node.depth;
      if (!row.logits) continue;
      select.push(at);
      scored.push(row.node);
    }
    if (select.length === 0) select.push(0);
    if (evenRows && select.length % 2 === 1) select.push(select[0]);
    const started = performance.now();
    const sites = sitesOfRows(rows);
    const outputs = await pass.run({ ...layout, tokens, depths, select, lanes: laneCount, sites });
    counters.secondsInPasses += (performance.now() - started) / 1000;
    counters.passes += 1;
    counters.rows += jobs.reduce((sum, job) => sum + job.rows.length, 0);
    counters.attended += count * layout.pages * pageSize;
    scored.forEach((node, row) => {
      node.scored = { values: outputs.logits, row, rows: select.length };
    });
    const perLane = count / laneCount;
    const selectedAt = new Map(select.map((at, index) => [at, index]));
    for (const { row, at } of rows) {
      const { node, store } = row;
      const lane = Math.floor(at / perLane);
      if (store && !node.gone) {
        const { keys, values } = outputs;
        node.unwritten = { keys, values, lanes: laneCount, lane, rows: perLane, row: at - lane * perLane };
      }
      keepReadings(row, outputs, at, selectedAt.get(at));
    }
  }

  /** Gives a node its slot, next to its parent's where that is free. Errors: `out_of_memory`. */
  function place(node: Node): void {
    const preferred = preferredSlot(node);
    let slot = arena.allocate(preferred);
    if (slot === undefined) {
      const [oldest] = evictable;
      if (oldest && arena.capacity >= cacheSlots) remove(oldest);
      else {
        try {
          arena.grow(arena.capacity + 1);
        } catch (error) {
          if (layouts.drop()) {
            place(node);
            return;
          }
          if (!oldest) throw error;
          remove(oldest);
        }
      }
      slot = arena.allocate(preferred);
      ensure(slot !== undefined, "internal", "room was made in the arena, and it is still full");
    }
    node.slot = slot;
  }

  /** Where a text's rows would lie in order, page by page: then no page of it has to be put together. */
  function preferredSlot({ parent, depth }: Node): number {
    const next = parent ? parent.slot + 1 : 0;
    if (depth % pageSize > 0 || (parent && next % pageSize === 0)) return next;
    const page = arena.freePage(parent ? Math.floor(parent.slot / pageSize) : -1);
    return page === undefined ? next : page * pageSize;
  }

  /** A page of the arena for rows that are to lie together. Like single slots, cached prefixes give way to it where the arena is large. */
  function freePage(after: number): number | undefined {
    const found = arena.freePage(after);
    if (found !== undefined) return found;
    if (arena.capacity >= cacheSlots) {
      let removed = 0;
      for (const node of evictable) {
        if (removed >= 4 * pageSize) break;
        for (let at: Node | undefined = node; at && evictable.has(at); at = at.parent) {
          remove(at);
          removed += 1;
        }
        const freed = arena.freePage(after);
        if (freed !== undefined) return freed;
      }
    }
    try {
      arena.grow((Math.ceil(arena.capacity / pageSize) + 1) * pageSize);
    } catch {
      return undefined;
    }
    return arena.freePage(after);
  }

  function enqueue(job: Job): void {
    queue.push(job);
    pumping ??= pump();
  }

  function lease(wanted: LeaseSites = noSites): Lease {
    ensure(!closed, "aborted", "the model was closed");
    let sites = noSites;
    let prepared: Promise<void> | undefined;
    const has = (node: Node): boolean => sites.taps.every((tap) => node.taps?.[tap]);
    const mine = new Map<Node, number>();
    const account = { jobs: new Set<Job>(), path: { lane: -1, left: false, pages: [] } as Path, passes: 0, rows: 0 };
    let open = true;

    const keep = (node: Node): void => {
      hold(node);
      mine.set(node, (mine.get(node) ?? 0) + 1);
    };

    async function extend(extensions: readonly Extension[]): Promise<ForestNode[]> {
      ensure(open, "aborted", "the request was aborted");
      ensure(!closed, "aborted", "the model was closed");
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
        for (const { parent: under, token, logits: asked = true } of extensions) {
          const logits = asked || sites.selected;
          const parent = typeof under === "number" ? nodes[under] : (under as Node | undefined);
          ensure(typeof under !== "number" || parent, "internal", () => `node ${under} does not precede its child`);
          ensure(!parent?.gone, "internal", "a node was extended after it had been released");
          ensure(
            Number.isInteger(token) && token >= 0 && token < vocabularySize,
            "bad_option",
            () => `token ${token} is outside the vocabulary of ${vocabularySize}`,
          );
          let node = childOf(parent, token, sites.world);
          if (!node) {
            ensure(
              (parent?.depth ?? -1) + 1 < contextLength,
              "context_full",
              () => `the context of ${contextLength} tokens is full`,
            );
            node = addChild(parent, token, sites.world);
            node.pending = job;
            job.rows.push({ node, logits, store: true, taps: sites.taps, edits: sites.edits });
          } else if (node.pending) {
            node.pending.cancelled = false; // the lease that asked first may have closed; now it is wanted again
            waits.add(node.pending.done);
            const row = node.pending.rows.find((r) => r.node === node)!;
            row.logits ||= logits;
            if (sites.taps.length > 0) row.taps = [...row.taps, ...sites.taps];
          } else if ((logits && !node.scored) || !has(node)) {
            job.rows.push({ node, logits, store: false, taps: sites.taps, edits: sites.edits });
          }
          keep(node);
          nodes.push(node);
        }
        if (job.rows.length > 0) {
          account.jobs.add(job);
          waits.add(job.done);
          enqueue(job);
        }
        for (const wait of waits) await wait;
      } catch (error) {
        // A call that fails leaves nothing behind, or others would wait for rows that never run.
        if (!account.jobs.has(job)) abandon(job, error);
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
      const broken = nodes.find((node) => node.broken !== undefined);
      ensure(!broken, "runtime_failed", () => {
        return `the edit ${broken!.broken} gave values that are not finite, or beyond 1e15, at position ${broken!.depth}`;
      });
      const lacking = extensions.flatMap(({ logits = true }, i) =>
        (logits && !nodes[i].scored) || !has(nodes[i]) ? [nodes[i]] : [],
      );
      if (lacking.length > 0) {
        // The pass that computed them had started before we asked for logits or taps.
        await extend(lacking.map(({ parent, token }) => ({ parent, token })));
        for (const node of lacking) drop(node);
      }
      return nodes;
    }

    function use(next: LeaseSites): void {
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
          `the prompt of ${tokens.length} tokens is longer than the context of ${contextLength}`,
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
            const known: Node | undefined = childOf(at, tokens[end], sites.world);
            if (!known || known.pending || !has(known)) break;
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
        const deepestFirst = [...nodes].sort((a, b) => b.depth - a.depth);
        for (const node of deepestFirst) if (mine.has(node as Node)) drop(node as Node, discard);
      },
      close() {
        if (!open) return;
        open = false;
        for (const job of account.jobs) job.cancelled = !isShared(job);
        for (const [node, times] of mine) for (let i = 0; i < times; i++) letGo(node, false);
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
      letGo(node, discard);
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

  return {
    contextLength,
    vocabularySize,
    maxRows,
    counters,
    get size() {
      return arena.used;
    },
    get held() {
      return held;
    },
    get capacity() {
      return arena.capacity;
    },
    lease,
    async close() {
      closed = true;
      await pumping;
      await pass.release();
    },
  };
}
