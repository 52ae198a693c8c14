/**
 * The bottleneck (Tamkin, Taufeeque and Goodman 2023): at a site, each of `groups` equal slices of a row is replaced by the sum of the `k` codes of its
 * own codebook that are most like it. One definition serves training, decoding and `forward`: an edit.
 *
 *     x = LN(a),   s_j = x · E_j / |E_j|,   ids = the k largest,   out = Σ E_id   (or their mean)
 */
import { ensure } from "../../../errors.ts";
import type { Edit, EditParameter } from "../../../models/edits.ts";
import {
  add,
  cast,
  concat,
  constant,
  divide,
  equal,
  gather,
  greater,
  layerNorm,
  less,
  matmul,
  maximum,
  multiply,
  reduceSum,
  reshape,
  scatterLast,
  sqrt,
  square,
  stopGradient,
  subtract,
  type Tensor,
  topK,
  transpose,
  where,
} from "../../../tensor/index.ts";

/** `inner`: by the product with codes scaled to length 1, which orders codes as the cosine does. `euclidean`: by distance. */
export const similarities = ["inner", "euclidean"] as const;
/** The paper adds the fired codes, the authors' later code takes their mean. A codebook is trained for one of them. */
export const aggregates = ["sum", "mean"] as const;

export interface Bottleneck {
  readonly site: string;
  /** Codebooks side by side: one for each attention head, or a single one. */
  readonly groups: number;
  /** Codes in each. */
  readonly codes: number;
  /** Codes that fire in each at every token. */
  readonly k: number;
  readonly similarity: (typeof similarities)[number];
  readonly aggregate: (typeof aggregates)[number];
}

/** Its parameters: `codes` [groups * codes, dimension], and the norm before the lookup, `gain` and `bias` [groups, dimension]. */
export type BottleneckParameters = Readonly<Record<"codes" | "gain" | "bias", EditParameter>>;

/** What trains the codes beside, or instead of, the model's loss; see `bottleneckEdit`. */
export const losses = ["aeloss", "base", "vqvae", "fullaeloss"] as const;
export type CodebookLoss = (typeof losses)[number];

/** Codes that one request may force, add or forbid in a codebook. */
export const mostChanges = 8;

export const editName = (site: string): string => `codebook@${site}`;
/** The reading with the fired codes of every row: [groups * k], best first; numbers of codes within their codebook. */
export const idsReading = (site: string): string => `${editName(site)}.ids`;
export const reconstructionReading = (site: string): string => `${editName(site)}.reconstruction`;

const epsilon = 1e-5;
const shortest = 1e-12;
const never = 1e30;

/**
 * Errors: `bad_option` naming the site for a width that the codebooks do not share evenly, no codes, more fired ones than there are, parameters of
 * another size, or a codebook whose codes are all zero.
 */
export function checkBottleneck(bottleneck: Bottleneck, width: number, parameters?: BottleneckParameters): void {
  const { site, groups, codes, k } = bottleneck;
  const where = `codebook at ${site}`;
  ensure(Number.isInteger(groups) && groups >= 1 && width % groups === 0, "bad_option", () => {
    return `${where}: ${width} numbers cannot be shared by ${groups} codebooks evenly`;
  });
  ensure(Number.isInteger(codes) && codes >= 1, "bad_option", `${where}: it has ${codes} codes; it needs one at least`);
  ensure(Number.isInteger(k) && k >= 1 && k <= codes, "bad_option", () => {
    return `${where}: ${k} of ${codes} codes cannot fire: k must be a whole number from 1 to ${codes}`;
  });
  if (!parameters) return;
  const dimension = width / groups;
  const shapes = { codes: [groups * codes, dimension], gain: [groups, dimension], bias: [groups, dimension] };
  for (const [name, shape] of Object.entries(shapes)) {
    const found = parameters[name as keyof typeof shapes].shape;
    ensure(found.join() === shape.join(), "bad_option", `${where}: ${name} is [${found}], but must be [${shape}]`);
  }
  const { values } = parameters.codes;
  for (let group = 0; group < groups; group++) {
    const own = values.subarray(group * codes * dimension, (group + 1) * codes * dimension);
    const alive = own.some((x) => x !== 0);
    ensure(alive, "bad_option", `${where}: all codes of codebook ${group} are zero: nothing could pass through it`);
  }
}

export interface BottleneckEditOptions {
  /**
   * In training: gradients go straight through to what was replaced, and there is a reading "reconstruction" [rows], the sum over codebooks of
   * |out - x|². `base`: codes learn from the model's loss alone. `aeloss`: and from the reconstruction, which leaves x alone. `vqvae`: from the
   * reconstruction alone, with `beta` times its pull on x. `fullaeloss`: from both, with the pull.
   */
  readonly training?: { readonly loss: CodebookLoss; readonly beta?: number };
  /** In decoding: inputs that force, add and forbid codes in each row; see `interventions.ts`. */
  readonly changes?: true;
}

/** The bottleneck as an edit named after its site. Errors: as `checkBottleneck`. */
export function bottleneckEdit(
  bottleneck: Bottleneck,
  parameters: BottleneckParameters,
  { training, changes }: BottleneckEditOptions = {},
): Edit {
  const { site, groups, codes, k, similarity, aggregate } = bottleneck;
  const dimension = parameters.gain.shape[1];
  checkBottleneck(bottleneck, groups * dimension, parameters);
  const list = { type: "int64" as const, shape: [groups * mostChanges] };
  return {
    name: editName(site),
    site,
    parameters,
    ...(changes && {
      inputs: { forced: { type: "int64", shape: [groups * k] }, added: list, banned: list, silenced: list },
    }),
    apply(value, { parameters: { codes: table, gain, bias }, inputs }) {
      const rows = value.shape[0];
      const ones = constant(new Float32Array(dimension).fill(1), [dimension]);
      const zeros = constant(new Float32Array(dimension), [dimension]);
      const sliced = reshape(value, [rows, groups, dimension]);
      const x = add(multiply(layerNorm(sliced, ones, zeros, epsilon), gain), bias);
      const byGroup = transpose(x, [1, 0, 2]);
      const change = changes && changesOf(inputs, rows, groups, k);

      let scores = similarityOf(
        stopGradient(byGroup),
        stopGradient(reshape(table, [groups, codes, dimension])),
        similarity,
      );
      if (change)
        scores = scatterLast(scores, notBelowZero(change.banned), where(less(change.banned, int(0)), 0, -never));
      let ids = topK(scores, k).indices;
      if (change) ids = where(less(change.forced, int(0)), ids, change.forced);
      const fired = change ? concat([ids, change.added], 2) : ids;

      const each = gather(table, add(notBelowZero(fired), firstCodes(groups, codes)));
      const kept = change ? multiply(each, present(fired, change.silenced)) : each;
      const total = reduceSum(kept, 2);
      const counted = change ? maximum(reduceSum(present(fired, change.silenced), 2), 1) : undefined;
      const byRow = transpose(
        aggregate === "sum" ? total : counted ? divide(total, counted) : multiply(total, 1 / k),
        [1, 0, 2],
      );
      const readings = { ids: reshape(transpose(ids, [1, 0, 2]), [rows, groups * k]) };
      if (!training) return { value: reshape(byRow, value.shape), readings };

      const { loss, beta = 0.25 } = training;
      const ofCodes = reduceSum(square(subtract(byRow, stopGradient(x))), [1, 2]);
      const ofModel = reduceSum(square(subtract(stopGradient(byRow), x)), [1, 2]);
      const pull = loss === "vqvae" || loss === "fullaeloss";
      const straight = add(loss === "vqvae" ? stopGradient(byRow) : byRow, subtract(x, stopGradient(x)));
      return {
        value: reshape(straight, value.shape),
        readings: { ...readings, reconstruction: pull ? add(ofCodes, multiply(ofModel, beta)) : ofCodes },
      };
    },
  };
}

/** [groups, rows, codes] of x [groups, rows, dimension]: larger is more alike. A code of zeros is like nothing. */
function similarityOf(x: Tensor, codes: Tensor, similarity: Bottleneck["similarity"]): Tensor {
  const products = matmul(x, codes, { transposeB: true });
  const squares = reduceSum(square(codes), 2);
  const [groups, count] = squares.shape;
  const perCode = (value: Tensor): Tensor => reshape(value, [groups, 1, count]);
  // |x - E|² orders as -(x · E - |E|² / 2): what is of x alone changes no order.
  if (similarity === "euclidean") return subtract(products, perCode(multiply(squares, 0.5)));
  return divide(products, perCode(maximum(sqrt(squares), shortest)));
}

/** Where each codebook begins in the joined table: [groups, 1, 1]. */
const firstCodes = (groups: number, codes: number): Tensor =>
  constant(
    BigInt64Array.from({ length: groups }, (_, group) => BigInt(group * codes)),
    [groups, 1, 1],
  );

const int = (value: number): Tensor => constant(BigInt64Array.of(BigInt(value)), []);

const notBelowZero = (ids: Tensor): Tensor => where(less(ids, int(0)), int(0), ids);

/** The inputs as [groups, rows, …]; -1 stands for no code. */
function changesOf(inputs: Readonly<Record<string, Tensor>>, rows: Tensor["shape"][number], groups: number, k: number) {
  const shaped = (name: string, count: number): Tensor =>
    transpose(reshape(inputs[name], [rows, groups, count]), [1, 0, 2]);
  return {
    forced: shaped("forced", k),
    added: shaped("added", mostChanges),
    banned: shaped("banned", mostChanges),
    silenced: shaped("silenced", mostChanges),
  };
}

/** 1 for a code that counts, 0 where there is none or it is silenced: [groups, rows, fired, 1]. */
function present(fired: Tensor, silenced: Tensor): Tensor {
  const [groups, rows, count] = fired.shape;
  const same = equal(reshape(fired, [groups, rows, count, 1]), reshape(silenced, [groups, rows, 1, mostChanges]));
  const silent = reduceSum(cast(same, "float32"), 3, true);
  const there = reshape(where(less(fired, int(0)), 0, 1), [groups, rows, count, 1]);
  return where(greater(silent, 0), 0, there);
}
