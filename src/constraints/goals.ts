/**
 * Languages whose words depend on what was read before, such as names that must have been declared. A language is goals: tokens,
 * rules that become other goals, and acts; an environment goes through them from left to right. Where several ways fit, all are followed
 * (`machine.ts`). Whoever writes goals sees to it that whatever is offered can be finished.
 */
import type { TextState } from "./automaton.ts";
import { type GrammarSymbol, type Link, rule, type Sequence, sequence, terminal } from "./machine.ts";
import { utf8 } from "./position.ts";

export interface Token<Env> {
  readonly kind: "token";
  /** Undefined where none fits. */
  readonly texts: (env: Env) => TextState | undefined;
  /** What the text changes; undefined refuses it. Only for tokens whose text matters. */
  readonly read?: (env: Env, text: string) => Env | undefined;
  /** Of such a token, where many texts change the same: their key, as `Terminal.alike` has it. */
  readonly alike?: { readonly key: (env: Env, text: string) => unknown; readonly reach: number };
  /** How the text begins and ends, which says what may or must stand between two tokens. */
  readonly begins: string;
  readonly ends: string;
}

export type Goal<Env> =
  | Token<Env>
  | { readonly kind: "rule"; readonly expand: (env: Env) => readonly (readonly Goal<Env>[])[] }
  | { readonly kind: "act"; readonly act: (env: Env) => Env | undefined };

/** Goals still to come. */
interface Stack<Env> {
  readonly id: number;
  readonly goal: Goal<Env>;
  readonly rest: Stack<Env> | undefined;
}

/** Situations kept; beyond, all are forgotten, which costs only time. */
const mostKept = 50_000;

export interface Language<Env> {
  readonly goals: readonly Goal<Env>[];
  readonly start: Env;
  /** Equal for environments that are alike. */
  readonly keyOf: (env: Env) => string;
  /**
   * What may stand between two tokens, of which one ends and the other begins like this (the first one of all follows "", and "" begins
   * after the last one); undefined for nothing at all.
   */
  readonly between: (ends: string, begins: string) => TextState | undefined;
}

/** The machine's sequence of a language. */
export function goalSequence<Env>({ goals, start, keyOf, between }: Language<Env>): Sequence {
  let ids = 0;
  const goalIds = new WeakMap<Goal<Env>, number>();
  const stacks = new Map<string, Stack<Env>>();
  const situations = new Map<string, Link>();
  const decoder = new TextDecoder();

  function push(goal: Goal<Env>, rest: Stack<Env> | undefined): Stack<Env> {
    let id = goalIds.get(goal);
    if (id === undefined) {
      id = ids++;
      goalIds.set(goal, id);
    }
    const key = `${id}:${rest?.id}`;
    let stack = stacks.get(key);
    if (!stack) {
      stack = { id: ids++, goal, rest };
      stacks.set(key, stack);
    }
    return stack;
  }

  const pushAll = (list: readonly Goal<Env>[], rest: Stack<Env> | undefined): Stack<Env> | undefined =>
    list.reduceRight<Stack<Env> | undefined>((below, goal) => push(goal, below), rest);

  /** The one link for a situation. */
  function follow(stack: Stack<Env> | undefined, env: Env, ends: string): Link {
    const key = `${stack?.id}|${ends}|${keyOf(env)}`;
    let link = situations.get(key);
    if (!link) {
      if (situations.size >= mostKept) situations.clear();
      link = sequence(rule("situation", () => waysOn(stack, env, ends))) as Link;
      situations.set(key, link);
    }
    return link;
  }

  function waysOn(stack: Stack<Env> | undefined, env: Env, ends: string): Sequence[] {
    const ways: Sequence[] = [];
    const waiting: [Stack<Env> | undefined, Env][] = [[stack, env]];
    for (let item = waiting.pop(); item; item = waiting.pop()) {
      const [top, at] = item;
      if (!top) ways.push(sequence(...gap(ends, "")));
      else if (top.goal.kind === "act") {
        const next = top.goal.act(at);
        if (next) waiting.push([top.rest, next]);
      } else if (top.goal.kind === "rule") {
        for (const list of top.goal.expand(at)) waiting.push([pushAll(list, top.rest), at]);
      } else {
        const way = read(top.goal, top.rest, at, ends);
        if (way) ways.push(way);
      }
    }
    return ways;
  }

  function read(token: Token<Env>, rest: Stack<Env> | undefined, env: Env, ends: string): Sequence {
    const texts = token.texts(env);
    if (!texts) return undefined;
    const before = gap(ends, token.begins);
    const { read, alike } = token;
    if (!read)
      return sequence(
        ...before,
        terminal(utf8(texts)),
        rule("next", () => [follow(rest, env, token.ends)]),
      );
    const then = (bytes: Uint8Array): Link | undefined => {
      const next = read(env, decoder.decode(bytes));
      return next && follow(rest, next, token.ends);
    };
    const keyOfText = alike && {
      key: (bytes: Uint8Array): unknown => alike.key(env, decoder.decode(bytes)),
      reach: alike.reach,
    };
    return sequence(...before, { kind: "terminal", start: utf8(texts), then, ...(keyOfText && { alike: keyOfText }) });
  }

  function gap(ends: string, begins: string): GrammarSymbol[] {
    const texts = between(ends, begins);
    return texts ? [terminal(utf8(texts))] : [];
  }

  return follow(pushAll(goals, undefined), start, "");
}
