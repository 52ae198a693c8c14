/**
 * DySpec (Xiong et al. 2024): while drafting, put the next sample where it is worth most. A slot is "the next sample at this
 * node"; its value v estimates the probability that verification reaches it: all ancestors accepted, all earlier siblings
 * rejected. By the paper's appendix D, v = reach(node) * remaining(node): the product of the draft's probabilities down
 * to the node, times the mass that the siblings drawn so far have left. Decisions look at v alone, before the token is known.
 */
import { ensure } from "../../../errors.ts";
import { createHeap } from "../../../text/heap.ts";
import type { Drafting } from "../drafting.ts";

export interface HeapOptions {
  /** Nodes to draft, at most. */
  budget: number;
  /** Slots of smaller value are not drawn. */
  minimumValue?: number;
  /** Rows of a draft pass: the node that needs it, and the likeliest next ones. Changes the passes, never the tree. */
  width?: number;
  /** Draft passes, at most; slots that would need another are then left out. */
  maximumPasses?: number;
}

/** Algorithm 1: the best slot first. A node's draft pass is run when its first slot is taken, so that leaves cost none. */
export async function growByHeap(drafting: Drafting, options: HeapOptions): Promise<void> {
  const { budget, minimumValue = 0, width = 1, maximumPasses = Infinity } = options;
  ensure(
    minimumValue >= 0 && minimumValue <= 1,
    "bad_option",
    `minimumValue must be between 0 and 1, not ${minimumValue}`,
  );
  type Slot = { node: number; value: number; age: number };
  // The older slot wins a tie, so that a run can be repeated.
  const slots = createHeap<Slot>((a, b) => a.value > b.value || (a.value === b.value && a.age < b.age));
  let age = 0;
  const push = (node: number) => {
    const value = drafting.reach(node) * drafting.remaining(node);
    if (value > 0 && value >= minimumValue) slots.push({ node, value, age: age++ });
  };

  if (drafting.canGrow(0)) push(0);
  while (drafting.tree.tokens.length < budget) {
    const slot = slots.pop();
    if (!slot) break;
    if (!drafting.isScored(slot.node)) {
      if (drafting.passes >= maximumPasses) continue;
      await scoreAhead(drafting, slot.node, width);
    }
    const child = drafting.draw(slot.node);
    if (child === undefined) continue;
    push(slot.node); // the sibling's slot: this child is rejected
    if (drafting.canGrow(child)) push(child); // the child's own first slot: it is accepted
  }
}

/**
 * One draft pass for `first` and, as it costs little more, for the nodes most likely to be asked for next, up to `width`
 * in all. A node's distribution does not depend on when it is computed, so this changes the passes and never the tree.
 */
function scoreAhead(drafting: Drafting, first: number, width: number): Promise<void> {
  const waiting: number[] = [];
  for (let node = 1; node <= drafting.tree.tokens.length && width > 1; node++) {
    if (node !== first && !drafting.isScored(node) && drafting.canGrow(node)) waiting.push(node);
  }
  waiting.sort((a, b) => drafting.reach(b) - drafting.reach(a) || a - b);
  return drafting.score([first, ...waiting.slice(0, width - 1)]);
}

export interface ThresholdOptions {
  /** Slots of at least this value are drawn; about 1 / budget. */
  threshold: number;
  /** Nodes to draft, at most. */
  budget: number;
}

/** Algorithm 2: all slots above a threshold, level by level, with one draft pass per level. */
export async function growByThreshold(drafting: Drafting, { threshold, budget }: ThresholdOptions): Promise<void> {
  ensure(threshold > 0 && threshold <= 1, "bad_option", `threshold must be above 0 and at most 1, not ${threshold}`);
  const { tree, reach, remaining } = drafting;
  let frontier = [0].filter(drafting.canGrow);
  while (frontier.length > 0 && tree.tokens.length < budget) {
    // Every node of the frontier draws at least once, so more nodes than the budget has left need no pass.
    frontier = frontier.slice(0, budget - tree.tokens.length);
    await drafting.score(frontier);
    const next: number[] = [];
    for (const node of frontier) {
      while (reach(node) * remaining(node) >= threshold && tree.tokens.length < budget) {
        const child = drafting.draw(node)!;
        if (reach(child) >= threshold && drafting.canGrow(child)) next.push(child);
      }
    }
    // The order in which the budget is spent is fixed before the next level is drawn.
    frontier = next.sort((a, b) => reach(b) - reach(a) || a - b);
  }
}
