/** A request on a toy language model: a law for every prefix, letters as tokens, token 0 as the end. */

import type { Constraint } from "../../constraints/index.ts";
import { createConstraining } from "../../engine/constraining.ts";
import type { Decoding } from "../../engine/decoding.ts";
import type { ForestNode } from "../../engine/forest.ts";
import type { Hypothesis } from "../../engine/output.ts";
import { winnerOf } from "../../engine/race.ts";
import { createShaperChain } from "../../engine/shapers/chain.ts";
import type { ShapingOptions } from "../../engine/shapers/options.ts";
import type { Counters, FinishReason, TraceEvent } from "../../engine/trace.ts";
import { ensure } from "../../errors.ts";
import type { Tokenizer } from "../../text/index.ts";

export interface Toy {
  /** Token 0 ends; token i is `letters[i - 1]`. */
  readonly letters: readonly string[];
  readonly law: (prefix: string) => readonly number[];
  readonly constraint?: Constraint;
  readonly maxTokens: number;
  /** Options of sampling, through the chain that real requests go through. */
  readonly shaping?: ShapingOptions;
  /** Of a pass. Default 400. */
  readonly maxRows?: number;
}

export interface ToyRun {
  readonly text: string;
  readonly logEvidence: number;
  readonly checks: number;
  /** Final particles: their texts and normalised weights. */
  readonly posterior: ReadonlyMap<string, number>;
  /** Of searches. */
  readonly hypotheses: readonly Hypothesis[];
  readonly events: readonly TraceEvent[];
  readonly counters: Partial<Counters>;
  readonly finish: FinishReason | undefined;
}

type Body<Options> = { decode(decoding: Decoding, options: Options): Promise<void> };

export async function runToy<Options>(
  method: Body<Options>,
  options: Options,
  toy: Toy,
  seed: number,
): Promise<ToyRun> {
  const { letters, law, constraint, maxTokens, shaping, maxRows = 400 } = toy;
  const encoder = new TextEncoder();
  const textOf = (tokens: readonly number[]): string => tokens.map((token) => letters[token - 1] ?? "").join("");
  const tokenizer = {
    vocabularySize: letters.length + 1,
    tokenBytes: (token: number) => encoder.encode(token === 0 ? "" : letters[token - 1]),
    decode: (tokens: number[]) => textOf(tokens),
  } as unknown as Tokenizer;
  const endTokens = new Set([0]);
  const size = letters.length + 1;
  const constraining =
    constraint && createConstraining({ constraint, tokenizer, vocabularySize: size, promptLength: 1, endTokens });
  const root: ForestNode = { parent: undefined, token: 0, depth: 0, logits: undefined, taps: undefined };
  const below = (node: ForestNode): number[] => (node.parent ? [...below(node.parent), node.token] : []);
  const lawAt = (node: ForestNode): Float64Array => Float64Array.from(law(textOf(below(node))));
  const chain = shaping && createShaperChain(shaping, size);
  /** What the chain makes of a law. */
  const shaped = (how: "shape" | "shapeApart", node: ForestNode, allowed?: Uint32Array): Float64Array => {
    const context = { history: [], promptLength: 1, position: node.depth + 1, stream, allowed };
    return chain![how](Float32Array.from(lawAt(node), Math.log), context);
  };
  let finished = false;
  const output: number[] = [];
  let logEvidence = 0;
  let texts: string[] = [];
  let posterior = new Map<string, number>();
  let hypotheses: readonly Hypothesis[] = [];
  const stream = { seed, request: 0 };
  const counters: Partial<Counters> & { constraintChecks: number } = { constraintChecks: 0 };
  const events: TraceEvent[] = [];
  let finish: FinishReason | undefined;
  const decoding = {
    model: { tokenizer },
    prompt: [],
    instrument: () => {},
    forest: { maxRows },
    lease: {
      async extend(extensions: readonly { parent: ForestNode; token: number }[]) {
        ensure(extensions.length <= maxRows, "bad_option", "more rows than a pass holds");
        return extensions.map(({ parent, token }) => ({ ...root, parent, token, depth: parent.depth + 1 }));
      },
      release: () => {},
    },
    greedy: false,
    stream,
    endTokens,
    constraining,
    counters,
    get finished() {
      return finished;
    },
    remaining: maxTokens,
    prefill: async () => root,
    compares: chain?.compares ?? false,
    shapeFreely: (node: ForestNode) => (chain ? shaped("shape", node) : lawAt(node)),
    shapeApart: (node: ForestNode) => (chain ? shaped("shapeApart", node) : lawAt(node)),
    shape(node: ForestNode) {
      const allowed = constraining?.allowedAt(node);
      if (chain) return shaped("shape", node, allowed);
      const masked = lawAt(node).map((p, token) => (!allowed || (allowed[0] >>> token) & 1 ? p : 0));
      const mass = masked.reduce((a, b) => a + b, 0);
      return masked.map((p) => p / mass);
    },
    settings: { stop: [], minTokens: 0 },
    offer(found: readonly Hypothesis[]) {
      hypotheses = found;
    },
    choose(node: ForestNode) {
      const allowed = constraining?.allowedAt(node);
      const weights = lawAt(node).map((p, token) => (!allowed || (allowed[0] >>> token) & 1 ? p : 0));
      return winnerOf({ stream, position: node.depth + 1 }, Int32Array.from(weights.keys()), size, weights);
    },
    commit(commitments: readonly { token: number }[]) {
      for (const { token } of commitments) {
        if (token === 0) finished = true;
        else output.push(token);
      }
      if (output.length >= maxTokens) finished = true;
      return commitments.length;
    },
    finish(reason: FinishReason) {
      finished = true;
      finish = reason;
    },
    emit(event: { type: string; tokens?: number[]; weights?: number[]; parents?: number[]; logEvidence?: number }) {
      events.push(event as TraceEvent);
      if (event.type !== "particles") return;
      logEvidence = event.logEvidence!;
      const { tokens, weights, parents } = event as { tokens: number[]; weights: number[]; parents?: number[] };
      texts = tokens.map((token, i) => (texts[i] ?? "") + (token > 0 ? letters[token - 1] : ""));
      posterior = new Map();
      texts.forEach((text, i) => {
        posterior.set(text, (posterior.get(text) ?? 0) + weights[i]);
      });
      if (parents) texts = parents.map((parent) => texts[parent]);
    },
  } as unknown as Decoding;
  await method.decode(decoding, options);
  return {
    text: textOf(output),
    logEvidence,
    checks: counters.constraintChecks,
    posterior,
    hypotheses,
    events,
    counters,
    finish,
  };
}
