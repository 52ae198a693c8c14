/**
 * A*-decoding (Chatziveroglou 2025): partial solutions wait in a queue, ordered by f = g + h: what was paid for the steps so far, and what the
 * reward still expects to be paid. The first is taken up, a few next steps are drawn for it, and these wait in turn; a finished solution
 * that comes first is the answer.
 */
import { z } from "zod";
import { defineMethod } from "../../../engine/method.ts";
import { ensure } from "../../../errors.ts";
import { createHeap } from "../../../heap.ts";
import { rejectByReward, rootState, type State } from "../partial.ts";
import { aggregated, rewarding, rewardOptions } from "../rewards.ts";
import { conclude, createSteps, stepOptions, stepSettings, voted } from "../steps.ts";
import { edgeCost, edgeCosts } from "./costs.ts";

const options = z.strictObject({
  ...rewardOptions,
  ...stepOptions,
  children: z
    .int()
    .min(1)
    .max(64)
    .default(4)
    .describe("how many next steps are drawn for a partial solution that is taken up: more look wider, fewer deeper"),
  atOnce: z
    .int()
    .min(1)
    .max(64)
    .optional()
    .describe(
      "how many of the children are drawn when a solution is taken up; the others follow where the search comes back to it: 1 with some slack spends fewest tokens, in more passes; default: all of them, as published",
    ),
  slack: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe(
      "how much worse in f than the best that waits a solution may be and still be gone on with where it is deeper: more turns back less often, which spends fewer tokens and trusts the reward's small differences less",
    ),
  edgeCost: z
    .enum(edgeCosts)
    .default("rise")
    .describe(
      "what a step costs, from h = 1 - reward before and after it: rise where it became worse, drop where it became better, abs for any change, zero for nothing, which makes the search greedy",
    ),
  scope: z
    .enum(["open", "children"])
    .default("open")
    .describe(
      "where the search goes on: from the best of all partial solutions that wait (open), or from the best of the steps just drawn (children), which never goes back",
    ),
  until: z
    .enum(["popped", "generated"])
    .default("popped")
    .describe(
      "when a finished solution ends the search: when its turn comes (popped), or already when it is drawn and none that waits is better (generated), which is sooner",
    ),
  answerBy: z
    .enum(["first", "reward", "vote"])
    .default("first")
    .describe(
      "which finished solution is the result: the first by the search's own order, the one with the best reward, or the answer that has most reward over all solutions (vote)",
    ),
  budget: z
    .int()
    .min(1)
    .max(10_000_000)
    .default(4096)
    .describe("tokens that the whole search may draw, over all solutions: more find better ones and take longer"),
  reserve: z
    .int()
    .min(0)
    .max(1_000_000)
    .optional()
    .describe(
      "tokens of the budget kept to complete the best solution where none is finished; raise it where solutions are long; default: an eighth of it, from 1 to 128",
    ),
  maxOpen: z
    .int()
    .min(1)
    .max(100_000)
    .default(4096)
    .describe(
      "most partial solutions that wait; the worst beyond them are forgotten, which bounds memory in long searches",
    ),
});

interface Node {
  readonly id: number;
  readonly state: State;
  readonly g: number;
  /** Undefined at the root. */
  readonly h: number | undefined;
  readonly f: number;
  readonly reward: number;
  /** How many of its children have been drawn, and which. */
  drawn: number;
  readonly seen: Set<string>;
}

/** A total order: f, then the deeper, the better by reward, the older. */
const comesFirst = (a: Node, b: Node): boolean =>
  a.f !== b.f
    ? a.f < b.f
    : a.state.depth !== b.state.depth
      ? a.state.depth > b.state.depth
      : a.reward !== b.reward
        ? a.reward > b.reward
        : a.id < b.id;

export const aStar = defineMethod({
  name: "a-star",
  family: "search",
  summary: "searches over steps, best partial solution first, by a reward for each step",
  source: "Chatziveroglou 2025, A*-Decoding (arXiv 2505.13672)",
  lossless: false,
  suffices: ["remote"],
  options,
  async decode(decoding, settings) {
    const { children, slack, edgeCost: kind, scope, until, answerBy, budget, maxOpen } = settings;
    const atOnce = settings.atOnce ?? children;
    ensure(atOnce <= children, "bad_option", `atOnce: ${atOnce} at a time are more than the ${children} children`);
    ensure(
      scope === "open" || (slack === 0 && atOnce === children),
      "bad_option",
      "scope: children leaves nothing to come back to, which slack and atOnce are about: leave them out, or take scope open",
    );
    // At least one, so that there is a text, and never more than the budget has.
    const reserve = settings.reserve ?? Math.min(128, Math.max(1, Math.floor(budget / 8)));
    ensure(
      reserve < budget || settings.reserve === undefined,
      "bad_option",
      `reserve: ${reserve} tokens kept of a budget of ${budget} leave nothing to search with`,
    );
    ensure(
      !decoding.greedy || children === 1,
      "bad_option",
      "a-star draws several next steps, which temperature 0 makes the same: give a temperature, or children=1",
    );
    const rewards = await rewarding(decoding, settings);
    decoding.instrument({ taps: rewards.taps });
    const steps = createSteps(decoding, stepSettings(settings, rewards.preferred));
    const { ledger } = steps;
    let made = 0;
    let open = createHeap<Node>(comesFirst);
    const root = { state: rootState(await decoding.prefill()), g: 0, h: undefined, f: 0, reward: 1 };
    open.push({ id: made++, ...root, drawn: 0, seen: new Set() });
    decoding.emit({ type: "explore", node: 0, parent: -1, score: 0 });
    const goals: Node[] = [];
    let popped: Node | undefined;
    let lastF = Number.NEGATIVE_INFINITY;
    let spent = false;
    let current: Node | undefined;
    let cutOff: Node | undefined;

    while (open.size > 0 && !spent) {
      const node = take();
      current = node;
      decoding.emit({ type: "explore", node: node.id, parent: -1, score: node.f });
      ensure(
        kind !== "drop" || scope === "children" || slack > 0 || node.f >= lastF - 1e-9,
        "internal",
        "a-star: f fell from one node to the next, which a consistent cost rules out",
      );
      lastF = node.f;
      if (node.state.ended === "end") {
        popped = node;
        break;
      }
      if (node.state.ended === "full") {
        cutOff ??= node; // no solution, and nothing can follow it
        continue;
      }
      const drawn = await expand(node);
      if (scope === "children" && drawn.length > 0) open = createHeap<Node>(comesFirst);
      for (const child of drawn) open.push(child);
      if (node.drawn < children) open.push(node);
      ledger.peakOpen = Math.max(ledger.peakOpen, open.size);
      if (open.size > maxOpen) trim();
      const best = goals.reduce<Node | undefined>((a, b) => (a && comesFirst(a, b) ? a : b), undefined);
      if (until === "generated" && best && isBest(best)) {
        popped = best;
        break;
      }
      spent = ledger.tokens >= budget - reserve;
    }
    await answer();

    /** The first that waits, or the deepest of those that are worse by no more than the slack (a focal list: Pearl and Kim 1982). */
    function take(): Node {
      let chosen = open.pop()!;
      const most = chosen.f + slack;
      const passed: Node[] = [];
      for (let next = slack > 0 ? open.pop() : undefined; next; next = open.pop()) {
        const deeper = next.f <= most && next.state.depth > chosen.state.depth;
        passed.push(deeper ? chosen : next);
        if (deeper) chosen = next;
        if (next.f > most) break;
      }
      for (const node of passed) open.push(node);
      return chosen;
    }

    /** The next children of a node: as many steps as are drawn, differ, and get a reward. */
    async function expand(node: Node): Promise<Node[]> {
      ledger.expansions += 1;
      const wanted = Array.from({ length: Math.min(atOnce, children - node.drawn) }, () => {
        const j = node.drawn++;
        return { state: node.state, draws: j === 0 && node.state.draws === 0 ? 0 : 1 + node.id * children + j };
      });
      const { seen } = node;
      const states = (await steps.grow(wanted, budget - reserve - ledger.tokens)).filter((state) => {
        if (!state) return false;
        const isNew = !seen.has(state.tokens.join());
        seen.add(state.tokens.join());
        if (!isNew) {
          ledger.duplicates += 1;
          steps.forget(state);
        }
        return isNew;
      }) as State[];
      const values = await rewards.score(states, ledger);
      const result: Node[] = [];
      for (const [i, state] of states.entries()) {
        if (Number.isNaN(values[i])) {
          rejectByReward(steps, state);
          steps.forget(state);
          continue;
        }
        const reward = aggregated(settings.aggregate, node.h === undefined ? undefined : 1 - node.h, values[i]);
        const h = 1 - reward;
        const g = node.g + edgeCost(kind, node.h, h);
        const child: Node = { id: made++, state, g, h, f: g + h, reward, drawn: 0, seen: new Set() };
        const solution = state.ended === "end";
        if (solution) goals.push(child);
        result.push(child);
        decoding.emit({
          type: "explore",
          node: child.id,
          parent: node.id,
          score: child.f,
          tokens: [...state.tokens],
          reward,
          ...(solution && { solution }),
        });
      }
      return result;
    }

    function isBest(goal: Node): boolean {
      const first = open.pop();
      if (!first) return true;
      open.push(first);
      return goal.f <= first.f + slack;
    }

    /** Keeps the best half, so that this is not done again at every step. */
    function trim(): void {
      const kept: Node[] = [];
      while (kept.length < Math.ceil(maxOpen / 2)) kept.push(open.pop()!);
      for (let rest = open.pop(); rest; rest = open.pop()) {
        if (rest.drawn === 0) steps.forget(rest.state); // others have children
      }
      open = createHeap<Node>(comesFirst, kept);
    }

    async function answer(): Promise<void> {
      const list = goals.map((node) => ({ node, state: node.state, score: node.reward, weight: node.reward }));
      const byF = [...goals].sort((a, b) => (comesFirst(a, b) ? -1 : 1));
      let chosen = popped ?? byF[0];
      if (answerBy === "reward") chosen = goals.reduce((a, b) => (a && a.reward >= b.reward ? a : b), chosen);
      if (answerBy === "vote") chosen = voted(list, steps.settings)?.node ?? chosen;
      if (chosen) {
        decoding.emit({ type: "explore", node: chosen.id, parent: -1, score: chosen.f, chosen: true });
        conclude(
          decoding,
          chosen.state,
          list.sort((a, b) => b.score - a.score),
          ledger,
        );
        return;
      }
      // Nothing is finished: the best of what waits is completed with what was kept for that.
      let best = open.pop();
      if (cutOff && (!best || comesFirst(cutOff, best))) best = cutOff;
      if (spent) best ??= current; // the budget ended within its expansion
      ensure(best, "constraint_dead_end", () => {
        return `a-star: nothing is left to go on from: ${steps.refusals.told()}`;
      });
      const note =
        made === 1
          ? "the budget is smaller than one step: completed greedily"
          : "none is finished: the best completed greedily";
      decoding.emit({ type: "explore", node: best.id, parent: -1, score: best.f, chosen: true, note });
      const completed = await steps.complete(best.state, budget - ledger.tokens);
      conclude(decoding, completed, [{ state: completed, score: best.reward }], ledger);
    }
  },
});
