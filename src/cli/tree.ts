/** Drafted trees as text: what was proposed in a round, what verification kept, and why. */
import type { TraceEvent } from "../engine/trace.ts";
import { plural } from "./table.ts";

type DraftEvent = Extract<TraceEvent, { type: "draft" }>;
type VerifyEvent = Extract<TraceEvent, { type: "verify" }>;

export interface DraftedRound {
  readonly draft: DraftEvent;
  readonly verify: VerifyEvent;
}

/** The rounds of a speculative run's trace, in order; empty for other methods. */
export function roundsOf(events: readonly TraceEvent[]): DraftedRound[] {
  const rounds: DraftedRound[] = [];
  let draft: DraftEvent | undefined;
  for (const event of events) {
    if (event.type === "draft") draft = event;
    if (event.type === "verify" && draft) {
      rounds.push({ draft, verify: event });
      draft = undefined;
    }
  }
  return rounds;
}

/** What the signs of a drawn tree mean. */
export const treeLegend = `How to read a tree: every line is a drafted token, below the one that it follows. The number is the drafter's own
estimate of the chance that the token is kept. ✓ kept, and why; ✗ rejected: the model wrote another token here;
· not looked at, because what it follows was rejected. The last line is the token that the model added itself.`;

/** One line a node, `nameOf` giving a token's text. */
export function drawRound({ draft, verify }: DraftedRound, nameOf: (token: number) => string): string {
  const { tokens, parents, values } = draft;
  const children: number[][] = Array.from({ length: tokens.length + 1 }, () => []);
  parents.forEach((parent, i) => {
    children[parent].push(i + 1);
  });
  const cost = draft.passes > 0 ? ` in ${plural(draft.passes, "pass", "passes")} of the draft model` : "";
  const drafted = `${plural(tokens.length, "token")} drafted${cost}`;
  const lines = [`${drafted}, ${verify.path.length} kept`];
  const reasonAt = new Map(verify.path.map((node, i) => [node, verify.reasons[i]]));
  const looked = new Set([0, ...verify.path]);
  // Trees may be as deep as their budget: a stack of our own instead of recursion.
  const pending = children[0].map((node, i) => ({ node, indent: "", last: i === children[0].length - 1 })).reverse();
  for (let next = pending.pop(); next; next = pending.pop()) {
    const { node, indent, last } = next;
    const value = values === undefined ? "" : ` ${values[node - 1].toFixed(3)}`;
    const reason = reasonAt.get(node);
    const verdict = reason !== undefined ? `✓ ${reason}` : looked.has(parents[node - 1]) ? "✗" : "·";
    lines.push(`${indent}${last ? "└─" : "├─"} ${nameOf(tokens[node - 1])}${value}  ${verdict}`);
    const below = children[node].map((child, i) => ({
      node: child,
      indent: `${indent}${last ? "   " : "│  "}`,
      last: i === children[node].length - 1,
    }));
    pending.push(...below.reverse());
  }
  lines.push(`then ${nameOf(verify.token)}: ${verify.reasons[verify.path.length]}`);
  return lines.join("\n");
}
