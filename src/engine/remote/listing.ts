/**
 * A model behind a network as one that says which tokens may follow: the likeliest after a text, by name, with their log-probabilities, a request
 * each. Nodes are texts then, and the law at one is what the engine lists; what it does not list is bounded. The engine cuts a text into tokens
 * anew each time, so that the law at a node is that of its text as it is cut there.
 */
import { type ConstraintState, createConstraint, pushAll, type Vocabulary } from "../../constraints/index.ts";
import { ensure, VentrisError } from "../../errors.ts";
import { type Constraining, createConstraining } from "../constraining.ts";
import type { Decoding, RequestSettings } from "../decoding.ts";
import type { ForestNode, Lease } from "../forest.ts";
import { winnerOf } from "../race.ts";
import type { EndpointChoice } from "./endpoints.ts";
import type { Remote } from "./model.ts";
import { type Listing, readListing } from "./pieces.ts";
import { type RemoteVocabulary, remoteEnd } from "./vocabulary.ts";

/** What is known of the token after a text. */
export interface Listed {
  /** The end, and tokens that are texts, likeliest first; their probabilities, and the sum of these. */
  readonly tokens: readonly number[];
  readonly probabilities: readonly number[];
  readonly mass: number;
  /** Tokens that no text can be continued by here: parts of characters, and what has no text. `bytes` where they are known. */
  readonly unsayable: readonly { readonly bytes: Uint8Array | undefined; readonly probability: number }[];
  /** The probability of all that is not listed, and what none of these tokens exceeds. */
  readonly unlisted: number;
  readonly least: number;
}

interface ListedNode extends ForestNode {
  readonly text: string;
  readonly listed: Listed;
}

/** A request over listed laws. */
export interface ListingDecoding extends Decoding {
  /** What the engine lists after a node. */
  listedAt(node: ForestNode): Listed;
  /** A bound on the probability of tokens that might follow a node under the constraint and are not in its law; `last`: of the end alone. */
  missedAt(node: ForestNode, last: boolean): number;
}

export const isListing = (decoding: Decoding): decoding is ListingDecoding => "listedAt" in decoding;

/** Below this a missing probability is rounding: engines compute these numbers in 32 bits. */
const rounding = 1e-6;
/** Above 1 by more than this, a sum of probabilities is none, whatever they were rounded to on the way. */
const roundingOfSums = 0.02;
/** Valid texts that are looked for among the unlisted tokens, at most; where there are more, all of these may be valid. */
const mostTexts = 64;
/**
 * No standard field says that a text is not to end at once, and most engines list nothing where it does. The first that works is kept: nothing,
 * then the field of vLLM and SGLang, then that of `ventris serve`.
 */
const persuasions: readonly object[] = [{}, { min_tokens: 1 }, { decoding: { minTokens: 1 } }];
const persuaded = new WeakMap<Remote, number>();

export interface ListingParts {
  readonly base: Decoding;
  readonly remote: Remote;
  readonly prompt: string;
  readonly signal: AbortSignal;
  tell(choice: EndpointChoice): void;
}

export function createListing({ base, remote, prompt, signal, tell }: ListingParts): ListingDecoding {
  const { settings, counters, stream } = base;
  const tokenizer = base.model.tokenizer as RemoteVocabulary;
  const asked = new Map<string, Promise<Listing>>();
  const constraining = settings.constraint && constrainingOf();

  function constrainingOf(): Constraining {
    // No more than this is known: masks over a whole vocabulary cannot be made.
    const vocabulary = { bytes: (token: number) => tokenizer.tokenBytes(token) } as Vocabulary;
    return createConstraining({
      constraint: createConstraint(settings.constraint!),
      ...{ tokenizer, vocabulary, vocabularySize: Number.MAX_SAFE_INTEGER },
      ...{ promptLength: base.prompt.length, endTokens: base.endTokens },
    });
  }

  async function ask(text: string): Promise<Listing> {
    const body = {
      ...{ model: remote.model, prompt: prompt + text, max_tokens: 1, temperature: 1, seed: 0 },
      ...{ logprobs: remote.topLogprobs, ...remote.body },
    };
    let refusal: unknown;
    for (let i = persuaded.get(remote) ?? 0; i < persuasions.length; i++) {
      try {
        counters.passes += 1;
        const answer = await remote.client.ask("/completions", { ...body, ...persuasions[i] }, signal, tell);
        remote.client.count(1);
        const listing = readListing(answer);
        if (!listing) continue;
        persuaded.set(remote, i);
        return listing;
      } catch (error) {
        if (i === 0 || !(error instanceof VentrisError && error.code === "bad_option")) throw error;
        refusal = error;
      }
    }
    throw new VentrisError(
      "unavailable",
      `${remote.client.url} lists no log-probabilities of the tokens after ${JSON.stringify(text.slice(-50))}: it may end the text there, and have to be told not to (the option body of open), or give none at all`,
      { cause: refusal },
    );
  }

  const after = (text: string): Promise<Listing> => {
    let listing = asked.get(text);
    if (!listing) {
      listing = ask(text);
      asked.set(text, listing);
    }
    return listing;
  };

  /** Tokens are numbered here, once all rows are answered: numbers must not depend on which came first. */
  async function nodesOf(rows: readonly { readonly node: ForestNode; readonly text: string }[]): Promise<ListedNode[]> {
    const listings = await Promise.all(rows.map(({ text }) => after(text)));
    return rows.map(({ node, text }, i) => ({ ...node, text, listed: listedOf(listings[i], tokenizer, remote.ends) }));
  }

  let root: Promise<ListedNode> | undefined;
  const lease = {
    extend: (rows: readonly { parent: ListedNode; token: number }[]) =>
      nodesOf(
        rows.map(({ parent, token }) => ({
          text: parent.text + tokenizer.decode([token]),
          node: { parent, token, depth: parent.depth + 1, logits: undefined, taps: undefined },
        })),
      ),
    release: () => {},
  } as unknown as Lease;
  const at = (node: ForestNode): Listed => (node as ListedNode).listed;
  function shapeFreely(node: ForestNode): Float64Array {
    const { tokens, probabilities, mass } = at(node);
    const law = new Float64Array(tokenizer.vocabularySize);
    tokens.forEach((token, i) => {
      law[token] = mass > 0 ? probabilities[i] / mass : 0;
    });
    return law;
  }

  const own = {
    constraining,
    lease,
    forest: { maxRows: Number.MAX_SAFE_INTEGER },
    async prefill() {
      root ??= base.prefill().then(async (node) => (await nodesOf([{ node, text: "" }]))[0]);
      return root;
    },
    shapeFreely,
    choose(node: ForestNode) {
      const law = shapeFreely(node);
      return winnerOf({ stream, position: node.depth + 1 }, Int32Array.from(law.keys()), law.length, law);
    },
    commit(commitments: readonly { token: number; from: ForestNode }[]) {
      const taken = base.commit(
        commitments.map(({ token, from }) => {
          const { tokens, probabilities } = at(from);
          const top = tokens.map((one, i) => ({ text: tokenizer.decode([one]), logprob: Math.log(probabilities[i]) }));
          const logprob = Math.log(probabilities[tokens.indexOf(token)] ?? 0);
          return { token, from: { ...from, next: { text: tokenizer.decode([token]), logprob, top, tokens: 1 } } };
        }),
      );
      const last = commitments[taken - 1];
      const state = last && constraining?.stateAt(last.from);
      const next = state && constraining?.after(state, last.token);
      if (next?.complete && !canGoOn(next)) base.finish("end"); // no request is needed to find that out
      return taken;
    },
    listedAt: at,
    missedAt(node: ForestNode, last: boolean) {
      const state = constraining?.stateAt(node);
      if (constraining && !state) return 0;
      return last ? missedEnd(at(node), state) : missed(at(node), state, tokenizer);
    },
  };
  return Object.create(base, Object.getOwnPropertyDescriptors(own)) as ListingDecoding;
}

/** Names as tokens of the request's vocabulary. */
function listedOf({ drawn, top: sorted }: Listing, tokenizer: RemoteVocabulary, ends: ReadonlySet<string>): Listed {
  const known = new Map<number, number>();
  const unsayable: { bytes: Uint8Array | undefined; probability: number }[] = [];
  let all = 0;
  for (const { text, logprob } of sorted) {
    const probability = Math.exp(logprob);
    all += probability;
    const isEnd = ends.has(text);
    if (!isEnd && (text === "" || text.includes("\ufffd") || text.startsWith("bytes:"))) {
      unsayable.push({ bytes: bytesOfName(text), probability });
      continue;
    }
    // Several tokens may say the same.
    const token = isEnd ? remoteEnd : tokenizer.idOf(text);
    known.set(token, (known.get(token) ?? 0) + probability);
  }
  ensure(all < 1 + roundingOfSums, "runtime_failed", () => {
    return `the engine's answer: the probabilities that it lists after a text sum to ${all.toPrecision(4)}`;
  });
  // Engines add the drawn token to the likeliest: where it is the last, it says nothing about what is not listed.
  const last = sorted.at(-1);
  const least = last && last.text === drawn && sorted.length > 1 ? sorted[sorted.length - 2] : last;
  const probabilities = [...known.values()];
  return {
    ...{ tokens: [...known.keys()], probabilities, unsayable },
    mass: probabilities.reduce((sum, p) => sum + p, 0),
    unlisted: Math.max(0, 1 - all),
    least: least ? Math.exp(least.logprob) : 1,
  };
}

/** `bytes:\xe2\x82`, as OpenAI's interface names a token that is no character by itself. */
function bytesOfName(name: string): Uint8Array | undefined {
  if (!/^bytes:(\\x[0-9a-f]{2})+$/i.test(name)) return undefined;
  return Uint8Array.from(name.slice(6).match(/[0-9a-f]{2}/gi)!, (hex) => Number.parseInt(hex, 16));
}

/**
 * Of what is not in the law, the probability of what may be valid: all of it, but no more than so many tokens as there are valid texts that
 * are not listed, each at most as likely as the least of the listed ones. Without a state there is no constraint, and everything is valid.
 */
function missed(
  { tokens, unsayable, unlisted, least }: Listed,
  state: ConstraintState | undefined,
  tokenizer: RemoteVocabulary,
): number {
  const bytesMayFollow = (bytes: Uint8Array | undefined): boolean => !state || !bytes || !!pushAll(state, bytes);
  const partial = unsayable.reduce((sum, one) => sum + (bytesMayFollow(one.bytes) ? one.probability : 0), 0);
  if (unlisted <= rounding) return partial > rounding ? partial : 0;
  if (!state) return unlisted + partial;
  const enough = Math.min(mostTexts, Math.ceil(unlisted / least));
  const known = new Set(tokens.map((token) => String.fromCharCode(...tokenizer.tokenBytes(token))));
  const texts = unlistedTexts(state, known, tokens.includes(remoteEnd), enough);
  return partial + (texts < enough ? Math.min(unlisted, texts * least) : unlisted);
}

/** The same of the end alone. A model has one token that ends its texts, as far as is known here. */
function missedEnd({ tokens, unlisted, least }: Listed, state: ConstraintState | undefined): number {
  const may = !tokens.includes(remoteEnd) && (!state || state.complete);
  return may && unlisted > rounding ? Math.min(unlisted, least) : 0;
}

/** How many texts that are not `known` may follow, the end among them; counted up to `enough`. */
function unlistedTexts(state: ConstraintState, known: ReadonlySet<string>, endKnown: boolean, enough: number): number {
  let count = state.complete && !endKnown ? 1 : 0;
  const visit = (at: ConstraintState, before: string): void => {
    for (let byte = 0; byte < 256 && count < enough; byte++) {
      const next = at.push(byte);
      if (!next) continue;
      const text = before + String.fromCharCode(byte);
      if (!known.has(text)) count += 1;
      visit(next, text);
    }
  };
  visit(state, "");
  return count;
}

function canGoOn(state: ConstraintState): boolean {
  for (let byte = 0; byte < 256; byte++) if (state.push(byte)) return true;
  return false;
}

/** What runs over listed laws cannot honour. Errors: `bad_option` by name. */
export function refuseShaping(settings: RequestSettings): void {
  const { temperature, topP, frequencyPenalty, presencePenalty } = settings;
  const given = { temperature, topP, frequencyPenalty, presencePenalty };
  const usual = { temperature: 1, topP: 1, frequencyPenalty: 0, presencePenalty: 0 };
  for (const name of Object.keys(usual) as (keyof typeof usual)[])
    ensure(given[name] === usual[name], "bad_option", () => {
      return `${name}: an engine behind a network lists the log-probabilities of its own distribution, and how another one sums up is not known: leave it at ${usual[name]}`;
    });
}
