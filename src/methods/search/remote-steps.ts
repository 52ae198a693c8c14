/**
 * Steps of texts that an engine behind a network draws: a request for each step, read until the step's delimiter has come; or, for whole
 * solutions, one that is read on. The engine cuts a text that goes on into tokens anew, so that a step's law is that of the text as it
 * would cut it.
 */
import type { Drawn, RemoteDecoding, RemoteNode } from "../../engine/remote/decoding.ts";
import { VentrisError } from "../../errors.ts";
import { createRefusals, emptyAfter, emptyLedger, type State, type StepSettings, type Steps } from "./partial.ts";

export function createRemoteSteps(decoding: RemoteDecoding, settings: StepSettings): Steps {
  const ledger = emptyLedger();
  const refusals = createRefusals(ledger);
  const { stop } = decoding.settings;
  const longest = decoding.remaining;
  /** Of solutions that were drawn whole: the step behind each. */
  const behind = new WeakMap<State, State>();

  interface Asked {
    readonly draws: number;
    /** Tokens of the request. */
    readonly most: number;
    /** Whether steps end, or the text alone does. */
    readonly divided: boolean;
  }

  /** Steps of one request, as far as they are wanted. */
  async function* stepsAfter(start: State, { draws, most, divided }: Asked): AsyncGenerator<State, void> {
    const temperature = divided ? {} : { temperature: 0 };
    const from = start.tip as RemoteNode;
    let state = start;
    let drawn: Drawn[] = [];
    let step = "";
    const take = (how: "step" | "end" | "cut"): State => {
      const text = state.text + step;
      const length = state.length + drawn.length;
      const ends = how === "end" || (how === "step" && settings.answer?.test(text));
      state = {
        ...{ parent: state, depth: state.depth + 1, draws, step, text, length },
        tokens: drawn.map(({ token }) => token),
        from: drawn.map((one) => one.from),
        tip: { ...drawn[drawn.length - 1].from, next: undefined } as RemoteNode,
        logprob: drawn.reduce((sum, one) => sum + one.logprob, state.logprob),
        ended: ends ? "end" : how === "cut" || length >= longest ? "full" : undefined,
      };
      [drawn, step] = [[], ""];
      return state;
    };
    for await (const one of decoding.draw({ text: start.text, from, maxTokens: most, draws, ...temperature })) {
      if (decoding.finished) throw new VentrisError("aborted", "the request was aborted");
      drawn.push(one);
      ledger.tokens += 1;
      step += one.text;
      if (one.ends || stop.some((text) => (state.text + step).includes(text))) return yield take("end");
      const full = drawn.length >= settings.maxStepTokens;
      if (!divided || !(full || settings.delimiters.some((text) => step.includes(text)))) continue;
      const next = take("step");
      yield next;
      if (next.ended) return;
    }
    // The request's own limit: of the step, or of the whole text.
    if (drawn.length > 0)
      yield take(divided && state.length + drawn.length < longest && most < longest - start.length ? "step" : "cut");
  }

  /** Undefined: nothing more may be drawn, or nothing came. */
  async function oneStep(state: State, draws: number, budget: number): Promise<State | undefined> {
    const most = Math.min(longest - state.length, settings.maxStepTokens, budget);
    if (most <= 0) return undefined;
    for await (const next of stepsAfter(state, { draws, most, divided: true })) return next;
    return undefined;
  }

  /** The whole solution is drawn at once, and told step by step. */
  async function stepOfChain(state: State, draws: number): Promise<State | undefined> {
    if (state.depth === 0) {
      let last = state;
      let first: State | undefined;
      for await (const next of stepsAfter(state, { draws, most: longest, divided: true })) {
        if (first) behind.set(last, next);
        first ??= next;
        last = next;
      }
      return first;
    }
    const next = behind.get(state);
    behind.delete(state);
    return next;
  }

  return {
    settings,
    ledger,
    refusals,
    async grow(wanted, budget = Infinity) {
      // Each step has a share of its own: what it is must not depend on whose tokens come first.
      const share = Math.ceil(budget / wanted.length);
      return Promise.all(
        wanted.map(async ({ state, draws, goesOn }) => {
          if (goesOn) return stepOfChain(state, draws);
          let left = share;
          for (const number of [draws, draws + anew, draws + 2 * anew]) {
            const grown = await oneStep(state, number, left);
            if (!grown || grown.ended || grown.step.trim() !== "") return grown;
            left -= grown.tokens.length;
          }
          refusals.add("empty", emptyAfter(state.text));
          return undefined;
        }),
      );
    },
    async complete(state, tokens) {
      if (state.ended || tokens <= 0) return state;
      const most = Math.min(longest - state.length, tokens);
      for await (const next of stepsAfter(state, { draws: state.draws, most, divided: false })) return next;
      return { ...state, ended: "full" };
    },
    forget: (state) => void behind.delete(state),
  };
}

/** What separates the draws of a step that is drawn anew from all others. */
const anew = 2 ** 30;
