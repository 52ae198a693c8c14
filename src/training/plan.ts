/** Sizes of a model that a machine can train on given texts in a given time: what `ventris train --init` proposes. */
import { ensure } from "../errors.ts";
import { compile, valueMaker } from "../runtime/program.ts";
import { input, lower, matmul, reduceSum } from "../tensor/index.ts";

export interface Plan {
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly feedForward: number;
  readonly parameters: number;
  readonly rows: number;
  readonly length: number;
  readonly steps: number;
  /** Share of the text that is held out. */
  readonly heldOut: number;
  /** Times that training sees the rest. */
  readonly epochs: number;
  readonly minutes: number;
}

/** Layers, width and heads, from small to large. */
const ladder = [
  [2, 64, 4],
  [3, 96, 4],
  [4, 128, 4],
  [4, 192, 6],
  [6, 256, 8],
  [8, 320, 10],
  [8, 384, 12],
  [12, 512, 16],
  [12, 768, 12],
] as const;

/** A share of the product rate that training reaches, attention and all else included. */
const efficiency = 0.5;
/** Tokens a parameter at which compute is spent best (Hoffmann et al. 2022), and passes over a text that are nearly as good as new text
 * (Muennighoff et al. 2023). */
const [tokensPerParameter, mostEpochs] = [20, 4];

/** From so many tokens of text on: rows of a batch, and their length. */
const batches = [
  [2000, 4, 32],
  [10_000, 8, 64],
  [200_000, 8, 128],
  [2_000_000, 8, 256],
] as const;

/** A small text holds out more of itself, so that there are a few batches, of so many tokens each, to measure on. */
export const heldOutShare = (tokens: number, batch: number): number =>
  Math.min(0.2, Math.max(0.01, Number(((6 * batch) / tokens).toFixed(3))));

/** What a model needs that is trained from scratch. */
export const leastTokens = batches[0][0];

/** `rate`: products in GFLOP/s, see `productRate`. Errors: `bad_option` for texts shorter than a few batches. */
export function planTraining(tokens: number, vocabularySize: number, rate: number, minutes: number): Plan {
  const operations = efficiency * rate * 1e9 * minutes * 60;
  const affordable = Math.sqrt(operations / (6 * tokensPerParameter));
  const fed = (mostEpochs * tokens) / tokensPerParameter;
  const sizes = ladder.map(([layers, width, heads]) => {
    const feedForward = Math.round((8 * width) / 3 / 32) * 32;
    const parameters = vocabularySize * width + layers * (3 * width * width + 3 * width * feedForward);
    return { layers, width, heads, keyValueHeads: heads / 2, feedForward, parameters };
  });
  const chosen = sizes.findLast(({ parameters }) => parameters <= Math.min(affordable, fed)) ?? sizes[0];
  const [rows, length] = batches.findLast(([least]) => tokens >= least)?.slice(1) ?? [];
  ensure(
    rows !== undefined && length !== undefined,
    "bad_option",
    `the texts have about ${tokens} tokens, and a model of their own needs ${leastTokens} or more: give more text`,
  );
  const heldOut = heldOutShare(tokens, rows * length);
  const read = tokens * (1 - heldOut);
  const most = Math.min(operations / (6 * chosen.parameters), mostEpochs * read);
  const steps = Math.max(20, Math.floor(most / (rows * length)));
  const trained = steps * rows * length;
  return {
    ...chosen,
    rows,
    length,
    steps,
    heldOut,
    epochs: trained / read,
    minutes: (6 * chosen.parameters * trained) / (efficiency * rate * 1e9 * 60),
  };
}

/** Products of the size that training makes, in GFLOP/s: the best of a few. */
export async function productRate(threads?: number): Promise<number> {
  const [rows, inner, columns] = [1024, 256, 704];
  const [a, b] = [input("a", [rows, inner]), input("b", [inner, columns])];
  const program = await compile(lower({ y: reduceSum(matmul(a, b)) }, { parameters: "inputs" }), { threads });
  const make = await valueMaker();
  const fed = {
    a: make("float32", new Float32Array(rows * inner).fill(0.5), [rows, inner]),
    b: make("float32", new Float32Array(inner * columns).fill(0.5), [inner, columns]),
  };
  let best = Infinity;
  for (let run = 0; run < 12; run++) {
    const started = performance.now();
    await program.run(fed);
    best = Math.min(best, performance.now() - started);
  }
  await program.release();
  return (2 * rows * inner * columns) / best / 1e6;
}
