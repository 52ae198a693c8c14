/** Runs passes over the calls that wait: what arrives while a pass runs joins the next. */
import { ensure, VentrisError } from "../errors.ts";
import { nextTurn } from "../turn.ts";
import { pageSize } from "./arena.ts";
import type { ForestCounters } from "./forest.ts";
import type { Layouts } from "./layout.ts";
import type { Job, Node, Path } from "./node.ts";
import type { Pass } from "./pass.ts";
import { asks, joinParts, keepReadings, type Parts, sitesOfRows } from "./sites/readings.ts";
import type { Trees } from "./trees.ts";

export interface Pump {
  readonly counters: Readonly<ForestCounters>;
  enqueue(job: Job): void;
  /** A job that will not run: its new nodes leave the forest, and with them whatever waited below them. */
  abandon(job: Job, error: unknown): void;
  /** When nothing waits any more. */
  idle(): Promise<void>;
}

export function createJob(path: Path): Job {
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

export function createPump(pass: Pass, trees: Trees, layouts: Layouts, maxRows: number): Pump {
  const counters: ForestCounters = { passes: 0, rows: 0, attended: 0, secondsInPasses: 0 };
  const queue: Job[] = [];
  let pumping: Promise<void> | undefined;

  /** Runs passes while jobs wait. Between passes everything that became runnable gets to queue, so that it joins the next one. */
  async function pump(): Promise<void> {
    while (queue.length > 0) {
      await nextTurn();
      const jobs: Job[] = [];
      const parts: Parts = new Map();
      let rows = 0;
      while (queue.length > 0 && (rows === 0 || rows + queue[0].rows.length <= maxRows)) {
        if (!joinParts(parts, queue[0].rows)) break; // edits that no one program has: it begins the next pass
        const job = queue.shift()!;
        if (job.cancelled || job.rows.some(({ node }) => node.parent?.gone)) {
          abandon(job, new VentrisError("aborted", "the request was aborted"));
          continue;
        }
        jobs.push(job);
        rows += job.rows.length;
      }
      const admitted = admit(jobs);
      if (admitted.length > 0) await runJobs(admitted);
    }
    pumping = undefined; // in the same turn as the last look at the queue: a job that comes later starts it again
  }

  /** What a pass fails of may be one job's edits: each then has a pass of its own, in their order, as some go on from others' rows. */
  async function runJobs(jobs: readonly Job[]): Promise<void> {
    try {
      await runPass(jobs);
    } catch (error) {
      const apart = jobs.length > 1 && jobs.some(({ rows }) => rows.some(asks));
      for (const job of jobs) {
        if (!apart || job.rows.some(({ node }) => node.parent?.gone)) abandon(job, error);
        else await runJobs([job]);
      }
      return;
    }
    for (const job of jobs) {
      for (const { node } of job.rows) settle(node, job);
      job.finish();
    }
  }

  function abandon(job: Job, error: unknown): void {
    for (const { node, store } of [...job.rows].reverse()) {
      settle(node, job);
      if (store && !node.gone) trees.remove(node);
    }
    job.finish(error);
  }

  function settle(node: Node, job: Job): void {
    if (node.pending === job) node.pending = undefined;
    // Its lease may have let go while the pass ran: nobody else would drop what the pass gave it.
    trees.settle(node);
  }

  /** Gives each job its slots. One that does not fit fails by itself, and with it those that go on from it. */
  function admit(jobs: readonly Job[]): Job[] {
    return jobs.filter((job) => {
      try {
        ensure(
          !job.rows.some(({ node }) => node.parent?.gone),
          "out_of_memory",
          "the text that this one continues did not fit into the key-value arena",
        );
        for (const { node, store } of job.rows) {
          trees.writeThrough(node.parent);
          if (store) trees.place(node);
        }
        return true;
      } catch (error) {
        abandon(job, error);
        return false;
      }
    });
  }

  async function runPass(jobs: readonly Job[]): Promise<void> {
    for (const { rows } of jobs) for (const { node } of rows) trees.settlePages(node);
    const { rows, count, lanes: laneCount, stages, pairs, ...layout } = layouts.layOut(jobs);
    const tokens = new Array<number>(count).fill(0);
    const depths = new Array<number>(count).fill(0);
    const select: number[] = [];
    const scored: Node[] = [];
    for (const { row, at } of rows) {
      tokens[at] = Math.max(0, row.node.token); // a vector takes the token's place: see `applyVector`
      depths[at] = row.node.position;
      if (!row.logits) continue;
      select.push(at);
      scored.push(row.node);
    }
    if (select.length === 0) select.push(0);
    if (pairs && select.length % 2 === 1) select.push(select[0]);
    const started = performance.now();
    const sites = sitesOfRows(rows);
    const outputs = await pass.run({ ...layout, tokens, depths, select, lanes: laneCount, stages, sites });
    counters.secondsInPasses += (performance.now() - started) / 1000;
    counters.passes += 1;
    counters.rows += jobs.reduce((sum, job) => sum + job.rows.length, 0);
    counters.attended += count * layout.pages * pageSize;
    scored.forEach((node, row) => {
      node.scored = { values: outputs.logits, row, rows: select.length };
    });
    const perLane = count / laneCount;
    const selectedAt = new Map(select.slice(0, scored.length).map((at, index) => [at, index])); // without what only fills up
    for (const { row, at } of rows) {
      const { node, store } = row;
      const lane = Math.floor(at / perLane);
      if (store && !node.gone) {
        const { keys, values } = outputs;
        node.unwritten = { keys, values, lanes: laneCount, lane, rows: stages[0], row: at - lane * perLane };
      }
      node.broken = sites?.failed.get(at);
      keepReadings(row, outputs, { at, selected: selectedAt.get(at), stages: { lanes: laneCount, rows: stages } });
    }
  }

  return {
    counters,
    enqueue(job) {
      queue.push(job);
      pumping ??= pump();
    },
    abandon,
    async idle() {
      await pumping;
    },
  };
}
