/**
 * Information surplus: S_k = I(H_t; w_(t+k) | w_t … w_(t+k-1)), what a state knows of a token k further on when the tokens in between are known; k = 1 is the setting of heads that
 * read a feature and the sampled token. Estimated as the difference of two held-out cross entropies, of probes of one shape and training: one sees the tokens alone, the other the state, too.
 */
import { normal, permutation, uniform } from "../../../engine/random.ts";
import { ensure, VentrisError } from "../../../errors.ts";
import { requireCounts, requireIndices, requirePositive, requireWhole } from "../../../numbers.ts";
import { bootstrap, mean } from "../../../papers/statistics.ts";
import { add, crossEntropy, input, linear, matmul, parameter, reduceMean, silu } from "../../../tensor/index.ts";
import { adamwState, adamwUpdate } from "../../../training/adamw.ts";
import { graphObjective } from "../../../training/graph-objective.ts";
import type { Parameter } from "../../../training/objective.ts";
import { requireFinite, requireLength, requireRows, requireSameTokens, requireShares } from "./checks.ts";
import { lawOf } from "./entropy.ts";
import { type Rows, rowOf } from "./rows.ts";

/** Contexts with their states, and the tokens from w_t on: the one that the state predicts, and those after it. */
export interface ProbeExamples {
  readonly states: Rows;
  /** [contexts][distance + 1]: w_t … w_(t+k). */
  readonly tokens: readonly (readonly number[])[];
  /** The document of each: none is in two of the parts for training, choosing and measuring. */
  readonly documents: readonly number[];
}

/** How probes are trained. */
export interface ProbeSettings {
  /** Of the largest distance that will be asked for. */
  readonly distance: number;
  /** Tokens that a probe tells apart. */
  readonly vocabulary: number;
  /** Numbers of each state. */
  readonly stateWidth: number;
  /** Vectors of tokens [vocabulary, width] as probes see them. Default: one-hot. */
  readonly embedding?: Rows;
  /** Output vectors [vocabulary, width] that probes end in, frozen: a model's own make much of few examples. Default: learned. */
  readonly head?: Rows;
  /** Units of the hidden layer. Default 128. */
  readonly hidden?: number;
  /** Examples of a step. Default 128. */
  readonly batch?: number;
  /** Steps at most; the weights with the least loss on the documents for choosing are kept. Default 400, looked at every 40. */
  readonly steps?: number;
  /** Highest learning rate; it falls to 0. Default 0.002. */
  readonly rate?: number;
  /** Of the first weights and of the order. Default 0. */
  readonly seed?: number;
  /** Threads within an operator. Default: those of `CompileOptions`. */
  readonly threads?: number;
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
}

/** What a probe reached. */
export interface ProbeOutcome {
  /** Cross entropy of each measured context, in nats. */
  readonly losses: readonly number[];
  /** Numbers of those contexts among the examples. */
  readonly measured: readonly number[];
  /** The probe's distribution at one of them. */
  law(place: number): Float64Array;
}

/** Probes that foretell later tokens from states. */
export interface Probes {
  /** Trains a probe for w_(t+k) on what it may see. Errors: `bad_option` for fewer than ten documents, states of another width, tokens that the vocabulary has not, and lists of other lengths; `aborted`. */
  train(examples: ProbeExamples, k: number, sees: "tokens" | "state"): Promise<ProbeOutcome>;
  release(): Promise<void>;
}

/** Of documents: trained on, chosen by, measured on. */
const shares = [0.7, 0.1, 0.2];
/** So many give two to measure on, without which there is no interval. */
const leastDocuments = 10;

/** Probes of one shape, compiled once: one hidden layer over the state and the tokens, of which those that it may not see are zeros. Errors: `bad_option` for numbers that there cannot be, and for vectors that are none of the vocabulary. */
export async function openProbes(settings: ProbeSettings): Promise<Probes> {
  const { distance, vocabulary, stateWidth, embedding, head, seed = 0, threads, signal } = settings;
  const { hidden = 128, batch = 128, steps = 400, rate = 2e-3 } = settings;
  requireCounts({ distance, vocabulary, stateWidth, hidden, batch, steps });
  requireWhole({ seed }, 0);
  requirePositive({ rate });
  for (const [name, rows] of Object.entries({ embedding, head })) {
    if (!rows) continue;
    requireRows(name, rows);
    ensure(rows.count === vocabulary, "bad_option", `${name}.count is ${rows.count}, and the vocabulary ${vocabulary}`);
  }
  const tokenWidth = embedding?.width ?? vocabulary;
  const [inside, outside] = [stateWidth + distance * tokenWidth, head?.width ?? hidden];
  const shapes: Record<string, number[]> = {
    "in.weight": [hidden, inside],
    "in.bias": [hidden],
    "middle.weight": [outside, hidden],
    "middle.bias": [outside],
    ...(!head && { head: [vocabulary, outside] }),
    "out.bias": [vocabulary],
  };
  const trained: Parameter[] = Object.entries(shapes).map(([name, shape]) => ({
    name,
    shape,
    values: new Float32Array(shape.reduce((a, b) => a * b, 1)),
    decay: shape.length > 1,
  }));
  const begin = (counts: Float64Array): void => {
    for (const [request, { name, shape, values }] of trained.entries()) {
      const deviation = 1 / Math.sqrt(shape[1] ?? 1);
      for (let i = 0; i < values.length; i++)
        values[i] =
          name === "out.bias"
            ? Math.log(counts[i])
            : shape.length > 1
              ? deviation * normal({ seed, request }, i, "initialise")
              : 0;
      // The last step begins at nothing: the first guess is how often tokens are.
      if (name === (head ? "middle.weight" : "head")) values.fill(0);
    }
  };
  const of = (name: string) => parameter(name, shapes[name]);
  const first = silu(linear(input("x", [batch, inside]), of("in.weight"), of("in.bias")));
  const turned = linear(first, of("middle.weight"), of("middle.bias"));
  const last = head ? parameter("head", [vocabulary, outside]) : of("head");
  const logits = add(matmul(head ? turned : silu(turned), last, { transposeB: true }), of("out.bias"));
  interface Batch {
    readonly x: Float32Array;
    readonly targets: BigInt64Array;
  }
  const objective = await graphObjective<Batch>({
    loss: reduceMean(crossEntropy(logits, input("targets", [batch], "int64"))),
    outputs: { logits },
    trained,
    fixed: head ? new Map([["head", Float32Array.from(head.values)]]) : new Map(),
    threads,
    feeds: ({ x, targets }) => ({ x: { data: x, dims: [batch, inside] }, targets: { data: targets, dims: [batch] } }),
  });
  const scale = embedding ? 1 / Math.sqrt(meanSquare(embedding.values)) : 1;

  async function trainOne({ states, tokens, documents }: ProbeExamples, k: number, sees: "tokens" | "state") {
    ensure(
      Number.isInteger(k) && k >= 1 && k <= distance,
      "bad_option",
      `probes for distances up to ${distance} were opened, not ${k}`,
    );
    requireRows("states", states);
    ensure(
      states.width === stateWidth,
      "bad_option",
      `states.width is ${states.width}, and stateWidth was ${stateWidth}`,
    );
    for (const [name, list] of Object.entries({ tokens, documents }))
      requireLength(name, list, states.count, () => "one for each state");
    for (const [at, own] of tokens.entries()) {
      ensure(own.length > k, "bad_option", `tokens[${at}] has ${own.length} entries, and ${k + 1} are looked at`);
      requireIndices(`tokens[${at}]`, own, vocabulary);
    }
    const parts = documentParts(documents, seed);
    const { means, spreads } = standard(states, parts[0]);
    const draw = (places: readonly number[]): Batch => {
      const x = new Float32Array(batch * inside);
      const targets = new BigInt64Array(batch);
      for (const [row, place] of places.entries()) {
        const from = row * inside;
        if (sees === "state") {
          const own = rowOf(states, place);
          for (let i = 0; i < stateWidth; i++) x[from + i] = (own[i] - means[i]) / spreads[i];
        }
        for (let j = 0; j < k; j++) {
          const at = from + stateWidth + j * tokenWidth;
          const token = tokens[place][j];
          if (!embedding) x[at + token] = 1;
          else for (let i = 0; i < tokenWidth; i++) x[at + i] = scale * embedding.values[token * tokenWidth + i];
        }
        targets[row] = BigInt(tokens[place][k]);
      }
      return { x, targets };
    };
    const lossesOf = async (places: readonly number[], laws?: Float64Array[]): Promise<number[]> => {
      const losses: number[] = [];
      for (let at = 0; at < places.length; at += batch) {
        const own = places.slice(at, at + batch);
        const { outputs } = await objective.evaluate(draw(own));
        const found = outputs.logits.data as Float32Array;
        for (const [row, place] of own.entries()) {
          const law = lawOf(found.subarray(row * vocabulary, (row + 1) * vocabulary));
          losses.push(-Math.log(law[tokens[place][k]]));
          laws?.push(law);
        }
      }
      return losses;
    };
    const counts = new Float64Array(vocabulary).fill(1);
    for (const place of parts[0]) counts[tokens[place][k]]++;
    begin(counts);
    const optimiser = adamwState(trained);
    let best = { loss: Number.POSITIVE_INFINITY, values: trained.map(({ values }) => values.slice()) };
    for (let step = 0; step <= steps; step++) {
      if (signal?.aborted) throw new VentrisError("aborted", "probing states was aborted");
      if (step % 40 === 0 || step === steps) {
        const losses = await lossesOf(parts[1]);
        const loss = losses.reduce((a, b) => a + b, 0) / losses.length;
        if (loss < best.loss) best = { loss, values: trained.map(({ values }) => values.slice()) };
        if (step === steps) break;
      }
      const places = Array.from(
        { length: batch },
        (_, i) => parts[0][Math.floor(uniform({ seed, request: step }, i, "data", k) * parts[0].length)],
      );
      const { gradients } = await objective.gradients(draw(places));
      adamwUpdate(trained, gradients, optimiser, rate * (1 - step / steps), { weightDecay: 0.01 }, 1);
    }
    for (const [i, { values }] of trained.entries()) values.set(best.values[i]);
    const laws: Float64Array[] = [];
    const losses = await lossesOf(parts[2], laws);
    return { losses, measured: parts[2], law: (place: number) => laws[parts[2].indexOf(place)] };
  }
  return { train: trainOne, release: () => objective.release() };
}

/** Contexts by their documents, which are shuffled by the seed. Errors: `bad_option` for fewer than ten documents, and a seed that is none. */
export function documentParts(documents: readonly number[], seed: number): [number[], number[], number[]] {
  requireWhole({ seed }, 0);
  const names = [...new Set(documents)];
  ensure(
    names.length >= leastDocuments,
    "bad_option",
    () =>
      `the surplus is of probes that are trained on some texts, chosen by others and measured on others, for which ${names.length} ${names.length === 1 ? "is" : "are"} too few: give ten or more (pieces of one text are one), or leave the surplus out of what is measured`,
  );
  const order = permutation(names.length, { seed, request: 3 });
  const part = new Map<number, number>();
  for (const [at, i] of order.entries()) {
    const share = at / names.length;
    part.set(names[i], share < shares[0] ? 0 : share < shares[0] + shares[1] ? 1 : 2);
  }
  const parts: [number[], number[], number[]] = [[], [], []];
  for (const [place, document] of documents.entries()) parts[part.get(document)!].push(place);
  return parts;
}

function standard(states: Rows, places: readonly number[]): { means: Float64Array; spreads: Float64Array } {
  const [means, squares] = [new Float64Array(states.width), new Float64Array(states.width)];
  for (const place of places) {
    const own = rowOf(states, place);
    for (let i = 0; i < states.width; i++) {
      means[i] += own[i] / places.length;
      squares[i] += own[i] ** 2 / places.length;
    }
  }
  return { means, spreads: squares.map((x, i) => Math.sqrt(Math.max(1e-12, x - means[i] ** 2))) };
}

const meanSquare = (values: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] ** 2;
  return Math.max(1e-12, sum / values.length);
};

/** How much states know of a token further ahead, in nats. */
export interface Surplus {
  readonly k: number;
  /** Nats; slightly negative where there is none. */
  readonly value: number;
  /** 95 %, by resampling documents. */
  readonly interval: readonly [number, number];
  /** Cross entropies of both probes: what the state makes usable at all is in the second. */
  readonly tokens: number;
  readonly state: number;
}

/** The difference of two probes' losses over the same contexts, with an interval over their documents. Errors: `bad_option` where they are of one document, and for losses that are not one finite number for each measured context. */
export function surplusOf(
  k: number,
  tokens: Pick<ProbeOutcome, "losses" | "measured">,
  state: Pick<ProbeOutcome, "losses" | "measured">,
  documents: readonly number[],
  seed = 0,
): Surplus {
  requireCounts({ k });
  requireWhole({ seed }, 0);
  for (const [name, { losses, measured }] of Object.entries({ tokens, state })) {
    requireIndices(`${name}.measured`, measured, documents.length);
    requireLength(`${name}.measured`, measured, tokens.measured.length, () => "tokens.measured");
    requireLength(`${name}.losses`, losses, measured.length, () => `${name}.measured`);
    requireFinite(`${name}.losses`, losses);
  }
  const groups = new Map<number, number[]>();
  for (const [i, place] of tokens.measured.entries()) {
    const own = groups.get(documents[place]) ?? [];
    groups.set(documents[place], own);
    own.push(tokens.losses[i] - state.losses[i]);
  }
  const { value, interval } = bootstrap([...groups.values()], (sample) => mean(sample.flat()), seed);
  ensure(
    interval,
    "bad_option",
    "surplusOf: what was measured is of one document, which says nothing about its spread",
  );
  return { k, value, interval, tokens: mean(tokens.losses), state: mean(state.losses) };
}

/** Share of a draft's tokens that exact speculative sampling accepts: Σ min(p, q) = 1 - TV. At least 1 - √(KL / 2). Errors: `bad_shape` for distributions of different lengths, and for entries that are no shares. */
export function acceptanceOf(target: ArrayLike<number>, draft: ArrayLike<number>): number {
  requireSameTokens(target, draft);
  requireShares(target);
  requireShares(draft);
  let sum = 0;
  for (let v = 0; v < target.length; v++) sum += Math.min(target[v], draft[v]);
  return sum;
}
