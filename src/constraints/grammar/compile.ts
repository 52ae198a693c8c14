/**
 * From a grammar to the machine. What is regular becomes one lexeme, so that most of a text is read by automata; the rest becomes rules
 * without left recursion (Paull's transformation, which keeps the language; trees are nobody's concern here).
 */

import { ensure, VentrisError } from "../../errors.ts";
import { suggestion } from "../../names.ts";
import type { TextState } from "../automaton.ts";
import { type GrammarSymbol, type Rule, rule, type Sequence, sequence, terminal } from "../machine.ts";
import { utf8 } from "../position.ts";
import { automatonOf } from "../regex/compile.ts";
import type { Expression } from "../regex/parse.ts";
import type { Grammar, Part } from "./source.ts";

/** A symbol of a production: a regular expression, or the name of a rule. */
type Item = Expression | string;
type Production = readonly Item[];

/** Largest regular part, in nodes of its expression, and most productions that removing left recursion may make. */
const largestLexeme = 20_000;
const mostProductions = 20_000;
/** Deepest nesting of a regular part, by groups and by rules; and of rules within rules, which are looked at by recursion. */
const deepestLexeme = 300;
const deepestRules = 1_000;

const automata = new WeakMap<Expression, { state: TextState | undefined }>();

/** The texts of an expression, worked out once. */
function textsOf(expression: Expression): TextState | undefined {
  let known = automata.get(expression);
  if (!known) {
    known = { state: automatonOf(expression, "grammar") };
    automata.set(expression, known);
  }
  return known.state;
}

/** Errors: `bad_option` for rules that are not there, never end, or are left-recursive behind something that may be empty. */
export function compileGrammar({ start, rules }: Grammar): Sequence {
  checkNames(rules);
  const recursive = recursiveRules(rules);
  const expressions = new Map<string, Expression>();
  const productions = new Map<string, Production[]>();
  let helpers = 0;

  const expressionOf = (name: string): Expression => {
    let known = expressions.get(name);
    if (!known) {
      known = regular(rules.get(name)!)!;
      expressions.set(name, known);
    }
    return known;
  };

  /** A part without recursion as one expression. */
  function regular(part: Part): Expression | undefined {
    if (part.kind === "text") return part.expression;
    if (part.kind === "rule") return recursive.has(part.name) ? undefined : expressionOf(part.name);
    if (part.kind === "repeat") {
      const item = regular(part.item);
      return item && { kind: "repeat", item, least: part.least, most: part.most };
    }
    const items = part.items.map(regular);
    return items.every((item) => item !== undefined) ? { kind: part.kind, items } : undefined;
  }

  /** Ways to write a part, as items in order. Recursive repetitions become rules of their own. */
  function flatten(part: Part): Production[] {
    const whole = regular(part);
    if (whole) return [[whole]];
    if (part.kind === "rule") return [[part.name]];
    if (part.kind === "choice") return part.items.flatMap(flatten);
    if (part.kind === "sequence") return [part.items.flatMap((item) => asItems(item))];
    if (part.kind !== "repeat") return [];
    const { item, least, most } = part;
    const once = asItems(item);
    const required: Item[] = Array.from({ length: least }, () => once).flat();
    if (most === Infinity) {
      const loop = helper((name) => [[], [...once, name]]);
      return [[...required, loop]];
    }
    let rest: Item[] = [];
    for (let i = least; i < most; i++) {
      const inner = [...once, ...rest];
      rest = [helper(() => [[], inner])];
    }
    return [[...required, ...rest]];
  }

  function asItems(part: Part): Item[] {
    const ways = flatten(part);
    return ways.length === 1 ? [...ways[0]] : [helper(() => ways)];
  }

  function helper(make: (name: string) => Production[]): string {
    const name = `part ${helpers++}`;
    productions.set(name, make(name));
    ensure(productions.size <= mostProductions, "bad_option", `grammar: more than ${mostProductions} rules`);
    return name;
  }

  for (const name of rules.keys()) if (recursive.has(name)) productions.set(name, flatten(rules.get(name)!));
  if (!recursive.has(start)) productions.set(start, [[expressionOf(start)]]);
  for (const [name, list] of productions) productions.set(name, list.map(joinRegular));
  const productive = keepProductive(productions);
  ensure(productive.has(start), "bad_option", `grammar: ${start} never ends: every way to write it needs itself`);
  removeLeftRecursion(productive);
  return toMachine(productive, start);
}

function checkNames(rules: Grammar["rules"]): void {
  const visit = (part: Part): void => {
    if (part.kind === "rule" && !rules.has(part.name)) {
      throw new VentrisError(
        "bad_option",
        `grammar, line ${part.line}: there is no rule ${part.name}${suggestion(part.name, [...rules.keys()])}`,
      );
    }
    if (part.kind === "repeat") visit(part.item);
    if (part.kind === "sequence" || part.kind === "choice") part.items.forEach(visit);
  };
  for (const part of rules.values()) visit(part);
}

/** Rules that lead back to themselves, to one that does, or whose expression would be too large or too deep. */
function recursiveRules(rules: Grammar["rules"]): Set<string> {
  const uses = (part: Part): string[] =>
    part.kind === "rule"
      ? [part.name]
      : part.kind === "repeat"
        ? uses(part.item)
        : part.kind === "text"
          ? []
          : part.items.flatMap(uses);
  const below = new Map([...rules].map(([name, part]) => [name, [...new Set(uses(part))]] as const));
  const result = new Set<string>();
  const state = new Map<string, "open" | number>();
  const sizeOf = (part: Part): number => {
    if (part.kind === "rule") return (state.get(part.name) as number) ?? 0;
    if (part.kind === "repeat") {
      return sizeOf(part.item) * Math.max(1, part.most === Infinity ? part.least + 1 : part.most);
    }
    if (part.kind === "text") return expressionSize(part.expression);
    return part.items.reduce((sum, item) => sum + sizeOf(item), 1);
  };
  const depths = new Map<string, number>();
  const depthOf = (part: Part): number => {
    if (part.kind === "rule") return depths.get(part.name) ?? 0;
    if (part.kind === "text") return 1;
    if (part.kind === "repeat") return 1 + depthOf(part.item);
    return 1 + part.items.reduce((most, item) => Math.max(most, depthOf(item)), 0);
  };
  const visit = (name: string, within: number): void => {
    ensure(within < deepestRules, "bad_option", `grammar: ${name} stands within more than ${deepestRules} other rules`);
    state.set(name, "open");
    for (const next of below.get(name)!) {
      if (state.get(next) === "open") result.add(next);
      else if (!state.has(next)) visit(next, within + 1);
      if (result.has(next)) result.add(name);
    }
    const part = rules.get(name)!;
    if (!result.has(name) && (sizeOf(part) > largestLexeme || depthOf(part) > deepestLexeme)) result.add(name);
    const own = result.has(name);
    state.set(name, own ? 0 : sizeOf(part));
    depths.set(name, own ? 0 : depthOf(part));
  };
  for (const name of rules.keys()) if (!state.has(name)) visit(name, 0);
  // A rule found recursive after one that uses it had been looked at.
  for (let grown = true; grown; ) {
    grown = false;
    for (const [name, used] of below) {
      if (result.has(name) || !used.some((next) => result.has(next))) continue;
      result.add(name);
      grown = true;
    }
  }
  return result;
}

function expressionSize(expression: Expression): number {
  if (expression.kind === "repeat") {
    const { item, least, most } = expression;
    return expressionSize(item) * Math.max(1, most === Infinity ? least + 1 : most);
  }
  if (expression.kind === "sequence" || expression.kind === "choice") {
    return expression.items.reduce((sum, item) => sum + expressionSize(item), 1);
  }
  return 1;
}

/** Neighbouring expressions are one lexeme. */
function joinRegular(production: Production): Production {
  const result: Item[] = [];
  for (const item of production) {
    const last = result.at(-1);
    if (typeof item === "string" || last === undefined || typeof last === "string") result.push(item);
    else result[result.length - 1] = { kind: "sequence", items: [last, item] };
  }
  return result;
}

/** Rules and productions from which some text can be made. */
function keepProductive(productions: ReadonlyMap<string, Production[]>): Map<string, Production[]> {
  const good = new Set<string>();
  const fits = (production: Production): boolean =>
    production.every((item) => (typeof item === "string" ? good.has(item) : textsOf(item) !== undefined));
  for (let grown = true; grown; ) {
    grown = false;
    for (const [name, list] of productions) {
      if (good.has(name) || !list.some(fits)) continue;
      good.add(name);
      grown = true;
    }
  }
  return new Map([...productions].filter(([name]) => good.has(name)).map(([name, list]) => [name, list.filter(fits)]));
}

function nullableRules(productions: ReadonlyMap<string, Production[]>): Set<string> {
  const result = new Set<string>();
  const empty = (item: Item): boolean =>
    typeof item === "string" ? result.has(item) : (textsOf(item)?.accepts ?? false);
  for (let grown = true; grown; ) {
    grown = false;
    for (const [name, list] of productions) {
      if (result.has(name) || !list.some((production) => production.every(empty))) continue;
      result.add(name);
      grown = true;
    }
  }
  return result;
}

/** Rewrites rules in place so that none begins with itself. */
function removeLeftRecursion(productions: Map<string, Production[]>): void {
  const nullable = nullableRules(productions);
  const isNullable = (item: Item): boolean =>
    typeof item === "string" ? nullable.has(item) : (textsOf(item)?.accepts ?? false);
  /** Rules that a rule may begin with; `hidden`: behind something that may be empty. */
  const first = (name: string): { name: string; hidden: boolean }[] =>
    productions.get(name)!.flatMap((production) => {
      const found: { name: string; hidden: boolean }[] = [];
      for (const [i, item] of production.entries()) {
        if (typeof item === "string") found.push({ name: item, hidden: i > 0 });
        if (!isNullable(item)) break;
      }
      return found;
    });
  const cycle = leftCycles(productions, (name) => first(name).map((one) => one.name));
  for (const name of cycle.keys()) {
    for (const next of first(name)) {
      ensure(
        !next.hidden || cycle.get(next.name) !== cycle.get(name),
        "bad_option",
        `grammar: ${name} is left-recursive behind a part that may be empty; write that part's empty case as an alternative of its own`,
      );
    }
  }
  const groups = new Map<number, string[]>();
  for (const [name, number] of cycle) groups.set(number, [...(groups.get(number) ?? []), name]);
  for (const names of groups.values()) {
    names.forEach((name, i) => {
      let list = productions.get(name)!;
      for (const earlier of names.slice(0, i)) {
        list = list.flatMap((production) =>
          production[0] === earlier
            ? productions.get(earlier)!.map((start) => joinRegular([...start, ...production.slice(1)]))
            : [production],
        );
        ensure(
          list.length <= mostProductions,
          "bad_option",
          `grammar: removing the left recursion of ${name} makes more than ${mostProductions} productions`,
        );
      }
      const loops = list.filter((production) => production[0] === name && production.length > 1);
      const rest = list.filter((production) => production[0] !== name);
      if (loops.length === 0) {
        productions.set(name, rest);
        return;
      }
      const tail = `rest of ${name}`;
      productions.set(
        name,
        rest.map((production) => [...production, tail]),
      );
      productions.set(tail, [[], ...loops.map((production) => [...production.slice(1), tail])]);
    });
  }
}

/** For rules that can begin with themselves: a number of their group. */
function leftCycles(
  productions: ReadonlyMap<string, Production[]>,
  next: (name: string) => string[],
): Map<string, number> {
  const reach = new Map<string, Set<string>>();
  for (const name of productions.keys()) {
    const seen = new Set<string>();
    const stack = next(name);
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      if (seen.has(at)) continue;
      seen.add(at);
      stack.push(...next(at));
    }
    reach.set(name, seen);
  }
  const result = new Map<string, number>();
  let groups = 0;
  for (const [name, seen] of reach) {
    if (!seen.has(name) || result.has(name)) continue;
    groups += 1;
    result.set(name, groups);
    for (const other of seen) if (reach.get(other)!.has(name)) result.set(other, groups);
  }
  return result;
}

function toMachine(productions: ReadonlyMap<string, Production[]>, start: string): Sequence {
  const made = new Map<string, Rule>();
  const symbolOf = (item: Item): GrammarSymbol => {
    if (typeof item !== "string") return terminal(utf8(textsOf(item)!));
    let known = made.get(item);
    if (!known) {
      known = rule(item, () => productions.get(item)!.map((production) => sequence(...production.map(symbolOf))));
      made.set(item, known);
    }
    return known;
  };
  return sequence(symbolOf(start));
}
