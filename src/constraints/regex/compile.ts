/**
 * From an expression to the automaton of its texts: a nondeterministic machine over code points (Thompson 1968), made deterministic as it
 * is walked. One byte costs at most one pass over the machine, whatever the expression: there is no backtracking.
 */
import { ensure } from "../../errors.ts";
import { build, type Edge, LAST_CODE_POINT, type TextState } from "../automaton.ts";
import { type CodePoints, complement, contains, wordsOf } from "./code-points.ts";
import { type Expression, type Flags, parseRegex, shorten } from "./parse.ts";

type Instruction =
  | { readonly kind: "set"; readonly points: CodePoints; to: number }
  | { readonly kind: "split"; readonly to: number[] }
  | { readonly kind: "assert"; readonly what: "start" | "end" | "boundary" | "no boundary"; to: number }
  | { readonly kind: "accept" };

/** Most instructions of one machine: counted repetitions are written out. */
const largestMachine = 100_000;

/** Most places of a machine that one text may lead to: each byte costs as much, and each state takes as much room. */
const mostAtOnce = 2_000;

/** So many steps of a large machine are tried when it is made, so that one that spreads is refused before anything is decoded. */
const triedSteps = 64;

export interface RegexOptions extends Flags {
  /** Texts that contain a match, as JavaScript's `test` finds them; otherwise the whole text must match. */
  readonly search?: boolean;
}

/** The texts that a regular expression allows; undefined when there are none. Errors: `bad_option`. */
export function compileRegex(source: string, { search = false, ...flags }: RegexOptions = {}): TextState | undefined {
  const expression = parseRegex(source, flags);
  const anything: Expression = { kind: "set", points: [[0, LAST_CODE_POINT]] };
  const rest: Expression = { kind: "repeat", item: anything, least: 0, most: Infinity };
  const whole: Expression = search ? { kind: "sequence", items: [rest, expression, rest] } : expression;
  return automatonOf(whole, source, flags);
}

/** The automaton of an expression; `subject` names it in errors. */
export function automatonOf(expression: Expression, subject: string, flags: Flags = {}): TextState | undefined {
  const { program, start } = assemble(expression, subject);
  const boundaries = program.some((i) => i.kind === "assert" && (i.what === "boundary" || i.what === "no boundary"));
  const words = wordsOf(flags);
  const others = complement(words);
  // Once a character has been read, the start is behind.
  const useful = coreachable(program, (what) => what !== "start");
  // From here acceptance is reached whatever comes before and behind: nothing needs searching for.
  const sure = coreachable(program, () => false);

  interface Node {
    /** Instructions before anything that consumes nothing has been followed. */
    readonly at: readonly number[];
    readonly atStart: boolean;
    readonly afterWord: boolean;
    readonly key: string;
  }
  const node = (at: Iterable<number>, atStart: boolean, afterWord: boolean): Node => {
    const kept = [...new Set(at)].filter((i) => useful[i] || atStart).sort((a, b) => a - b);
    ensure(kept.length <= mostAtOnce, "bad_option", () => {
      const what = `repetitions within repetitions or behind one another read one text in more than ${mostAtOnce} ways`;
      return `regular expression /${shorten(subject)}/: its ${what}; give one repetition for them`;
    });
    return { at: kept, atStart, afterWord, key: `${atStart ? "^" : ""}${afterWord && boundaries ? "w" : ""}${kept}` };
  };

  /** Instructions that consume or accept, as reached before a character that is of a word, of none, or missing. */
  function follow({ at, atStart, afterWord }: Node, next: "word" | "other" | "end"): number[] {
    const seen = new Set<number>();
    const stack = [...at];
    const found: number[] = [];
    for (let i = stack.pop(); i !== undefined; i = stack.pop()) {
      if (seen.has(i)) continue;
      seen.add(i);
      const instruction = program[i];
      if (instruction.kind === "split") stack.push(...instruction.to);
      else if (instruction.kind !== "assert") found.push(i);
      else {
        const { what } = instruction;
        const changes = afterWord !== (next === "word");
        const holds =
          what === "start" ? atStart : what === "end" ? next === "end" : what === "boundary" ? changes : !changes;
        if (holds) stack.push(instruction.to);
      }
    }
    return found;
  }

  function edges(from: Node): Edge<Node>[] {
    if (!boundaries) return edgesOver(follow(from, "other"), undefined, false);
    return [...edgesOver(follow(from, "word"), words, true), ...edgesOver(follow(from, "other"), others, false)].sort(
      (a, b) => a.low - b.low,
    );
  }

  function edgesOver(found: readonly number[], only: CodePoints | undefined, word: boolean): Edge<Node>[] {
    const sets = found.flatMap((i) => {
      const instruction = program[i];
      return instruction.kind === "set" && useful[instruction.to] ? [instruction] : [];
    });
    const cuts = new Set<number>();
    for (const [low, high] of [...sets.flatMap(({ points }) => points), ...(only ?? [])]) cuts.add(low).add(high + 1);
    const sorted = [...cuts].sort((a, b) => a - b);
    const result: Edge<Node>[] = [];
    const nodes = new Map<string, Node>();
    sorted.slice(0, -1).forEach((low, k) => {
      if (only && !contains(only, low)) return;
      const signature: number[] = [];
      for (const { points, to } of sets) if (contains(points, low)) signature.push(to);
      if (signature.length === 0) return;
      const key = `${signature}`;
      let to = nodes.get(key);
      if (!to) {
        to = node(signature, false, word);
        nodes.set(key, to);
      }
      result.push({ low, high: sorted[k + 1] - 1, to });
    });
    return result;
  }

  const first = node([start], true, false);
  if (program.length > mostAtOnce) {
    let widest: Node | undefined = first;
    for (let i = 0; i < triedSteps && widest; i++) {
      widest = edges(widest).reduce<Node | undefined>(
        (a, { to }) => (a && a.at.length >= to.at.length ? a : to),
        undefined,
      );
    }
  }
  return build<Node>(
    {
      live: ({ at }) => at.some((i) => sure[i]),
      subject: `regular expression /${shorten(subject)}/`,
      key: ({ key }) => key,
      accepts: (at) => follow(at, "end").some((i) => program[i].kind === "accept"),
      edges,
    },
    first,
  );
}

function assemble(expression: Expression, subject: string): { program: Instruction[]; start: number } {
  const program: Instruction[] = [{ kind: "accept" }];
  const add = (instruction: Instruction): number => {
    ensure(
      program.length < largestMachine,
      "bad_option",
      () => `regular expression /${shorten(subject)}/: its repetitions make it larger than ${largestMachine} places`,
    );
    return program.push(instruction) - 1;
  };
  /** Instructions for an expression that go on at `next`; the first of them. */
  function emit(part: Expression, next: number): number {
    if (part.kind === "set") return add({ kind: "set", points: part.points, to: next });
    if (part.kind === "assert") return add({ kind: "assert", what: part.what, to: next });
    if (part.kind === "sequence") return part.items.reduceRight((after, one) => emit(one, after), next);
    if (part.kind !== "repeat") return add({ kind: "split", to: part.items.map((one) => emit(one, next)) });
    const { item, least, most } = joined(part);
    ensure(
      least < largestMachine && (most < largestMachine || most === Infinity),
      "bad_option",
      () => `regular expression /${shorten(subject)}/: more than ${largestMachine} repetitions`,
    );
    let after = next;
    if (most === Infinity) {
      const loop: Instruction = { kind: "split", to: [next] };
      after = add(loop);
      loop.to.push(emit(item, after));
    } else for (let i = least; i < most; i++) after = add({ kind: "split", to: [emit(item, after), next] });
    for (let i = 0; i < least; i++) after = emit(item, after);
    return after;
  }
  const start = emit(expression, 0);
  return { program, start };
}

type Repeat = Expression & { readonly kind: "repeat" };

/** A repetition of a repetition as one, where no number of items between its bounds is left out: written out, both have places for it. */
function joined({ item, least, most }: Repeat): Repeat {
  const here: Repeat = { kind: "repeat", item, least, most };
  if (item.kind !== "repeat" || most === 0) return here;
  const inner = joined(item);
  if (inner.most === 0) return inner;
  // The gap, if there is one, is behind the fewest rounds.
  const longest = least === 0 ? 0 : least * inner.most;
  if (least !== most && (least + 1) * inner.least > longest + 1) return { ...here, item: inner };
  const [fewest, all] = [least * inner.least, most * inner.most];
  return { kind: "repeat", item: inner.item, least: fewest, most: all };
}

type Assertion = (Instruction & { readonly kind: "assert" })["what"];

/** Instructions from which acceptance can be reached if the given assertions hold. */
function coreachable(program: readonly Instruction[], holds: (what: Assertion) => boolean): boolean[] {
  const before: number[][] = program.map(() => []);
  program.forEach((instruction, i) => {
    if (instruction.kind === "accept") return;
    if (instruction.kind === "assert" && !holds(instruction.what)) return;
    if (instruction.kind === "set" && instruction.points.length === 0) return;
    for (const to of instruction.kind === "split" ? instruction.to : [instruction.to]) before[to].push(i);
  });
  const useful = program.map(() => false);
  const stack = [0];
  for (let i = stack.pop(); i !== undefined; i = stack.pop()) {
    if (useful[i]) continue;
    useful[i] = true;
    stack.push(...before[i]);
  }
  return useful;
}
