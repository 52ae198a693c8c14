/** What may follow a node: the shaped distribution there, the token that plain decoding chooses, and its log-probabilities. */
import { ensure, shownEnd, VentrisError } from "../errors.ts";
import type { Tokenizer } from "../text/index.ts";
import { textTo } from "./constraining.ts";
import type { ForestNode } from "./forest.ts";
import type { Commitment } from "./output.ts";
import type { Stream } from "./random.ts";
import { createShaperChain } from "./shapers/chain.ts";
import { logSoftmaxAt, logSumExp, topLogprobs } from "./shapers/logprobs.ts";
import type { ShapingOptions } from "./shapers/options.ts";
import type { Shaped } from "./shapers/shaper.ts";
import type { ShapingContext, StageDefinition } from "./shapers/stages.ts";
import type { BareLogprob } from "./trace.ts";

export interface Choosing {
  /** Temperature 0. */
  readonly greedy: boolean;
  /** Whether some option compares tokens with one another. */
  readonly compares: boolean;
  /** The shaped next-token distribution after a node, [vocabulary]. Computed at each call: keep it. */
  shape(node: ForestNode): Float64Array;
  /** The same without the options that compare tokens. */
  shapeApart(node: ForestNode): Float64Array;
  /** The token that plain decoding emits after a node. */
  choose(node: ForestNode): number;
  /** A token's log-probabilities, and those of so many alternatives. */
  describe(commitment: Commitment, alternatives: number): BareLogprob;
}

export interface ChoosingParts {
  shaping: ShapingOptions;
  vocabularySize: number;
  tokenizer: Tokenizer | undefined;
  /** Stages beside the standard ones. */
  stages: Readonly<Record<string, StageDefinition>>;
  /** What else has a say. */
  shaped: Pick<Shaped, "logits" | "allowed">;
  promptLength: number;
  stream: Stream;
}

/** Errors: `bad_option`. */
export function createChoosing(parts: ChoosingParts): Choosing {
  const { promptLength, stream, shaped, tokenizer } = parts;
  const chain = createShaperChain(parts.shaping, parts.vocabularySize, parts.tokenizer, parts.stages);

  /** What stages with a state left at nodes, for those below them. */
  const memories = new WeakMap<ForestNode, NonNullable<ShapingContext["memory"]>>();

  function contextOf(node: ForestNode): ShapingContext {
    const position = node.depth + 1;
    const allowed = shaped.allowed(node);
    if (!chain.needsHistory) return { history: [], promptLength, position, stream, allowed };
    const history = new Array<number>(position);
    for (let at: ForestNode | undefined = node; at; at = at.parent) history[at.depth] = at.token;
    const memory = { before: node.parent && memories.get(node.parent)?.after };
    memories.set(node, memory);
    return { history, promptLength, position, stream, allowed, memory };
  }

  const logitsFor = (node: ForestNode): Float32Array => present(shaped.logits(node));
  /** What the chain makes of a node; where it leaves nothing, the error says of which text. */
  function made<Result>(node: ForestNode, make: (logits: Float32Array, context: ShapingContext) => Result): Result {
    const logits = logitsFor(node);
    const context = contextOf(node);
    try {
      return make(logits, context);
    } catch (cause) {
      if (!(cause instanceof VentrisError) || cause.code !== "constraint_dead_end" || !tokenizer) throw cause;
      const text = shownEnd(textTo(tokenizer, promptLength, node));
      throw new VentrisError(cause.code, `${cause.message}; the text so far is ${text}`, { cause });
    }
  }
  const shape = (node: ForestNode): Float64Array => made(node, chain.shape);

  return {
    greedy: chain.greedy,
    compares: chain.compares,
    shape,
    shapeApart: (node) => made(node, chain.shapeApart),
    choose: (node) => made(node, chain.choose),
    describe({ token, from }, alternatives) {
      const logits = present(from.logits);
      const normaliser = logSumExp(logits);
      const shaped = Math.log(shape(from)[token]);
      const top = alternatives > 0 ? { top: topLogprobs(logits, alternatives, normaliser) } : {};
      return { token, raw: logSoftmaxAt(logits, token, normaliser), shaped, ...top };
    },
  };
}

function present(logits: Float32Array | undefined): Float32Array {
  ensure(logits, "internal", "a distribution was asked for at a node without logits");
  return logits;
}
