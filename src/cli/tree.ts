/** Drafted trees as text: what was proposed in a round, what verification kept, and why. */

import type { TraceEvent } from "../engine/trace.ts";
import { plural } from "../errors.ts";
import { displayWidth, wrap } from "./terminal.ts";

type DraftEvent = Extract<TraceEvent, { type: "draft" }>;
type VerifyEvent = Extract<TraceEvent, { type: "verify" }>;

export interface DraftedRound {
  readonly draft: DraftEvent;
  readonly verify: VerifyEvent;
}

/** The rounds of a speculative run's trace, in order; empty for other methods. */
function roundsOf(events: readonly TraceEvent[]): DraftedRound[] {
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

/** The first rounds in which something was drafted, with their numbers from 1; `empty` of the rounds up to the last of them drafted nothing. */
export function draftedRounds(
  events: readonly TraceEvent[],
  most: number,
): { shown: { number: number; round: DraftedRound }[]; empty: number } {
  const rounds = roundsOf(events).map((round, i) => ({ number: i + 1, round }));
  const shown = rounds.filter(({ round }) => round.draft.tokens.length > 0).slice(0, most);
  return { shown, empty: (shown.at(-1)?.number ?? rounds.length) - shown.length };
}

/** What the signs of a drawn tree mean. */
export const treeLegend = `How to read a tree: every line is a drafted token, below the one that it follows; branches are drafted for the same
place. The number is the drafter's own estimate of the chance that the token is kept. ✓ kept, and why; ✗ rejected:
the model wrote another token here; · not looked at, because what it follows was rejected. The last line is the token
that the model added itself.`;

/** What a branch and what is below it begin with, by the columns that they may take. */
const widthsOfBranches = [
  { other: "├─ ", last: "└─ ", beside: "│  ", below: "   " },
  { other: "├ ", last: "└ ", beside: "│ ", below: "  " },
  { other: "├", last: "└", beside: "│", below: " " },
] as const;

interface Line {
  readonly indent: string;
  readonly text: string;
  readonly reason: string;
}

/** One line a node, `nameOf` giving a token's text; none wider than `width`. */
export function drawRound(
  { draft, verify }: DraftedRound,
  nameOf: (token: number) => string,
  width = Number.POSITIVE_INFINITY,
  title = "",
): string {
  const cost = draft.passes > 0 ? ` in ${plural(draft.passes, "pass", "passes")} of the draft model` : "";
  const drafted = `${title}${plural(draft.tokens.length, "token")} drafted${cost}, ${verify.path.length} kept`;
  const drawings = widthsOfBranches.map((signs) => linesOf({ draft, verify }, nameOf, signs));
  const fits = ({ indent, text }: Line): boolean => displayWidth(indent + text) <= width;
  const lines = drawings.find((drawing) => drawing.every(fits)) ?? drawings[drawings.length - 1];
  const then = `then ${cut(nameOf(verify.token), width - 6)}: ${verify.reasons[verify.path.length]}`;
  return [...wrap(drafted, width), ...lines.flatMap((line) => fitted(line, width)), ...wrap(then, width)].join("\n");
}

/** Depth first. An only child stands straight below what it follows, so that chains need no room to the right. */
function linesOf(
  { draft: { tokens, parents, values }, verify }: DraftedRound,
  nameOf: (token: number) => string,
  signs: (typeof widthsOfBranches)[number],
): Line[] {
  const children: number[][] = Array.from({ length: tokens.length + 1 }, () => []);
  parents.forEach((parent, i) => {
    children[parent].push(i + 1);
  });
  const reasonAt = new Map(verify.path.map((node, i) => [node, verify.reasons[i]]));
  const looked = new Set([0, ...verify.path]);
  const lines: Line[] = [];
  const branches = (parent: number, indent: string) =>
    children[parent].map((node, i, all) => {
      if (parent > 0 && all.length === 1) return { node, indent, under: indent };
      const last = i === all.length - 1;
      return {
        node,
        indent: indent + (last ? signs.last : signs.other),
        under: indent + (last ? signs.below : signs.beside),
      };
    });
  // Trees may be as deep as their budget: a stack of our own instead of recursion.
  const pending = branches(0, "").reverse();
  for (let next = pending.pop(); next; next = pending.pop()) {
    const { node, indent, under } = next;
    const value = values === undefined ? "" : ` ${values[node - 1].toFixed(3)}`;
    const reason = reasonAt.get(node);
    const sign = reason !== undefined ? "✓" : looked.has(parents[node - 1]) ? "✗" : "·";
    lines.push({ indent, text: `${nameOf(tokens[node - 1])}${value}  ${sign}`, reason: reason ?? "" });
    pending.push(...branches(node, under).reverse());
  }
  return lines;
}

/** A line, with its reason below where there is no room beside it; of what is still too wide, the ends that matter least are cut. */
function fitted({ indent, text, reason }: Line, width: number): string[] {
  const whole = `${indent}${text}${reason && ` ${reason}`}`;
  if (displayWidth(whole) <= width) return [whole];
  const most = Math.floor(width / 2);
  const shortened = indent.length > most ? `…${indent.slice(1 - most)}` : indent;
  const room = width - shortened.length;
  const [, name, sign] = /^(.*?)((?: \d\.\d+)? {2}.)$/su.exec(text)!;
  const below = shortened.replaceAll("├", "│").replace(/[└─…]/g, " ");
  const head = shortened + cut(name, room - displayWidth(sign)) + sign;
  return [head, ...(reason ? wrap(reason, room - 2).map((line) => `${below}  ${line}`) : [])];
}

/** A token's text of at most so many columns. */
function cut(text: string, width: number): string {
  if (displayWidth(text) <= width) return text;
  let kept = "";
  for (const character of text) {
    if (displayWidth(kept + character) > width - 1) break;
    kept += character;
  }
  return `${kept}…`;
}
