/** Every measurement against its definition in float64 or a source whose information is known; baselines; a model's report; bad input. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { removeModel, type TinyModel, writeTinyModel } from "../../../../test/fixtures/tiny-model.ts";
import { normal, uniform } from "../../../engine/random.ts";
import { type Model, open } from "../../../open.ts";
import { openNeurons } from "../neurons/index.ts";
import {
  acceptanceOf,
  alignmentOf,
  averageFisher,
  blindShare,
  calibrationGap,
  categoricalEntropy,
  centred,
  checkAlike,
  columnMeans,
  crossMoment,
  dirichletEnergy,
  documentParts,
  drawSymbols,
  explainedShare,
  fisherMetric,
  fisherProduct,
  jensenShannon,
  kernelMatrix,
  klDivergence,
  lawOf,
  leastStates,
  markovSource,
  measureMarkov,
  openProbes,
  predictiveFeatures,
  predictiveOperator,
  prepareStates,
  type Rows,
  rayleighQuotient,
  representationDivergence,
  rowOf as rowIn,
  separation,
  sourceEntropy,
  sourceSurplus,
  spectrumOf,
  splitLoss,
  statePredictionInformation,
  surplusOf,
  temporalCoherence,
  whitened,
  withProducts,
} from "./index.ts";
import { measuredRun } from "./picture.ts";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 }); // seconds of work, but the machine may be busy

const draw = (count: number, width: number, seed: number): Rows => ({
  count,
  width,
  values: Float64Array.from({ length: count * width }, (_, i) => normal({ seed, request: 0 }, i, "data")),
});

const rowOf = (rows: Rows, at: number): number[] => [...rowIn(rows, at)];

/** Distributions, some with exact zeros. */
const laws = (count: number, width: number, seed: number, sharpness = 2): Rows => ({
  count,
  width,
  values: Float64Array.from(
    Array.from({ length: count }, (_, row) =>
      Array.from(
        lawOf(
          Array.from({ length: width }, (_, v) =>
            v > 0 && uniform({ seed, request: row }, v, "data") < 0.1
              ? Number.NEGATIVE_INFINITY
              : sharpness * normal({ seed, request: row }, v, "data", 1),
          ),
        ),
      ),
    ).flat(),
  ),
});

describe("categorical entropy", () => {
  test("closed forms are the divergences of their definition", () => {
    const all = laws(20, 6, 1);
    for (let row = 0; row < all.count; row++) {
      const q = rowOf(all, row);
      // diag(q) and q ⊗ q over pairs.
      const pairs = [...q].flatMap((a, i) => [...q].map((b, j) => [i === j ? a : 0, a * b] as const));
      const kl = pairs.reduce((sum, [p, r]) => sum + (p > 0 ? p * Math.log(p / r) : 0), 0);
      const variation = pairs.reduce((sum, [p, r]) => sum + Math.abs(p - r) / 2, 0);
      expect(Math.abs(categoricalEntropy(q) - kl)).toBeLessThan(1e-12);
      expect(Math.abs(categoricalEntropy(q, "total-variation") - variation)).toBeLessThan(1e-12);
      for (const alpha of [0.5, 1.5, 1.9]) {
        const sum = pairs.reduce((total, [p, r]) => total + (p > 0 ? p ** alpha * r ** (1 - alpha) : 0), 0);
        expect(Math.abs(categoricalEntropy(q, { renyi: alpha }) - Math.log(sum) / (alpha - 1))).toBeLessThan(1e-12);
      }
    }
  });

  test("is 0 for what is certain, ln V at most, and refuses Rényi's order 1", () => {
    for (const kind of ["kl", "total-variation", { renyi: 0.5 }] as const)
      expect(categoricalEntropy([0, 1, 0], kind)).toBe(0);
    expect(categoricalEntropy([1])).toBe(0);
    expect(categoricalEntropy([0.25, 0.25, 0.25, 0.25])).toBeCloseTo(Math.log(4), 12);
    expect(() => categoricalEntropy([0.5, 0.5], { renyi: 1 })).toThrow(/order.*1/);
    expect(() => lawOf([Number.NaN, 1])).toThrow(/not a number/);
  });
});

test("information of a state is the mean divergence from the mean, in that direction", () => {
  const q = laws(30, 5, 2);
  const mean = Array.from(
    { length: 5 },
    (_, v) => Array.from({ length: 30 }, (_, c) => q.values[c * 5 + v]).reduce((a, b) => a + b, 0) / 30,
  );
  const wanted = Array.from({ length: 30 }, (_, c) => klDivergence(rowOf(q, c), mean)).reduce((a, b) => a + b, 0) / 30;
  expect(Math.abs(statePredictionInformation(q) - wanted)).toBeLessThan(1e-12);
  expect(statePredictionInformation({ ...q, count: 1, values: q.values.slice(0, 5) })).toBe(0);
});

test("a loss splits into the source's entropy and the divergence; the gap tells who is too sure", () => {
  const p = laws(40, 6, 3, 1);
  const uniformLaw = { ...p, values: new Float64Array(40 * 6).fill(1 / 6) };
  const { loss, entropy, divergence } = splitLoss(p, uniformLaw);
  expect(loss).toBeCloseTo(Math.log(6), 10);
  expect(Math.abs(entropy + divergence - loss)).toBeLessThan(1e-6);
  const source = markovSource(5, 1, 1);
  const symbols = drawSymbols(source, 4000, 1);
  const stated = (power: number): Rows => ({
    count: 3999,
    width: 5,
    values: Float64Array.from(
      symbols.slice(0, -1).flatMap((context) => {
        const row = [...source.table.subarray(context * 5, context * 5 + 5)].map((x) => x ** power);
        const total = row.reduce((a, b) => a + b, 0);
        return row.map((x) => x / total);
      }),
    ),
  });
  const next = symbols.slice(1);
  expect(Math.abs(calibrationGap(stated(1), next))).toBeLessThan(0.05);
  expect(calibrationGap(stated(3), next)).toBeGreaterThan(0.2);
  expect(calibrationGap(stated(0.3), next)).toBeLessThan(-0.1);
});

describe("the head's metric", () => {
  const head = draw(7, 4, 4);
  const q = rowOf(laws(1, 7, 5), 0);

  test("is the variance of logits: symmetric, positive, of rank V - 1 at most, and products agree", () => {
    const g = fisherMetric(head, q);
    const x = [0.3, -1, 2, 0.5];
    const product = fisherProduct(head, q, x);
    for (let i = 0; i < 4; i++) {
      expect(product[i]).toBeCloseTo(
        x.reduce((sum, v, j) => sum + g[i * 4 + j] * v, 0),
        10,
      );
      for (let j = 0; j < 4; j++) expect(g[i * 4 + j]).toBe(g[j * 4 + i]);
    }
    const small = spectrumOf(
      fisherMetric({ count: 3, width: 4, values: head.values.slice(0, 12) }, [0.2, 0.5, 0.3]),
      4,
    );
    expect(small.values[1]).toBeGreaterThan(1e-3);
    for (const at of [2, 3]) expect(Math.abs(small.values[at])).toBeLessThan(1e-12);
    expect(small.effectiveRank).toBeLessThanOrEqual(2);
  });

  test("½ δᵀ g δ is the divergence of a small step", () => {
    const h = [0.2, -0.4, 1, 0.1];
    const logits = (at: readonly number[]) =>
      Array.from({ length: 7 }, (_, v) => rowOf(head, v).reduce((sum, w, i) => sum + w * at[i], 0));
    const law = lawOf(logits(h));
    const delta = [0.6, -0.2, 0.3, 0.9];
    const g = fisherProduct(head, law, delta);
    const form = 0.5 * delta.reduce((sum, d, i) => sum + d * g[i], 0);
    for (const [size, tolerance] of [
      [1e-2, 3e-2],
      [1e-3, 3e-3],
    ]) {
      const moved = lawOf(logits(h.map((x, i) => x + size * delta[i])));
      expect(Math.abs(klDivergence(moved, law) / (size * size * form) - 1)).toBeLessThan(tolerance);
    }
  });

  test("its mean over contexts is the mean of metrics; what no prediction depends on is blind", () => {
    const many = laws(6, 7, 6);
    const vectors: Rows = {
      count: 6,
      width: 4,
      values: Float64Array.from({ length: 24 }, (_, at) =>
        rowOf(many, Math.floor(at / 4)).reduce((sum, p, v) => sum + p * head.values[v * 4 + (at % 4)], 0),
      ),
    };
    const mean = Array.from(
      { length: 7 },
      (_, v) => Array.from({ length: 6 }, (_, c) => many.values[c * 7 + v]).reduce((a, b) => a + b, 0) / 6,
    );
    const average = averageFisher(head, mean, vectors);
    const wanted = Array.from({ length: 6 }, (_, c) => fisherMetric(head, rowOf(many, c)));
    for (let i = 0; i < 16; i++) expect(average[i]).toBeCloseTo(wanted.reduce((sum, g) => sum + g[i], 0) / 6, 10);
    const flat: Rows = { ...head, values: head.values.map((x, i) => (i % 4 === 3 ? 0 : x)) };
    const identity = Float64Array.from({ length: 16 }, (_, i) => (i % 5 === 0 ? 1 : 0));
    expect(blindShare(spectrumOf(fisherMetric(flat, q), 4), identity, 1e-6)).toBeCloseTo(0.25, 6);
  });

  test("the integral over a segment is 0 for one state, and more for predictions further apart", () => {
    const a = [1, 0, -1, 2];
    expect(separation(head, a, a).integral).toBeCloseTo(0, 12);
    const near = separation(
      head,
      a,
      a.map((x) => x + 0.1),
    );
    const far = separation(
      head,
      a,
      a.map((x) => x + 1),
    );
    expect(far.integral).toBeGreaterThan(near.integral);
    expect(far.divergence).toBeGreaterThan(near.divergence);
    // A fine rule in place of Simpson's sixteen parts.
    expect(
      separation(
        head,
        a,
        a.map((x) => x + 1),
        { steps: 400 },
      ).integral,
    ).toBeCloseTo(far.integral, 3);
    expect(() => separation(head, a, a, { steps: 3 })).toThrow(/even/);
  });
});

describe("the predictive kernel", () => {
  const q = laws(24, 9, 7);
  const states = draw(24, 3, 8);

  test.each(["linear", "chi-square", "bhattacharyya"] as const)(
    "%s: gain, captured share and overlap by their definition",
    async (kernel) => {
      const features = predictiveFeatures(q, { kernel });
      const matrix = kernelMatrix(q, { kernel });
      const spectrum = spectrumOf(
        matrix.map((x) => x / 24),
        24,
      );
      const own = whitened(states, 1e-9);
      // gain = (1 / N²) Σ K(c, c') <h̃_c, h̃_c'>, from C Cᵀ = Hᵀ K H / N with K over N.
      let gain = 0;
      for (let a = 0; a < 24; a++)
        for (let b = 0; b < 24; b++)
          gain += (matrix[a * 24 + b] * rowOf(own, a).reduce((sum, x, i) => sum + x * rowOf(own, b)[i], 0)) / 24 ** 2;
      const found = await withProducts(async (products) => {
        const operator = await predictiveOperator(features, 5, products);
        for (let i = 0; i < 5; i++)
          expect(Math.abs(operator.eigenvalues[i] - spectrum.values[i])).toBeLessThan(1e-5 * spectrum.values[0]);
        return alignmentOf(states, operator, products, { leading: [2], ridge: 1e-9 });
      }, 1);
      expect(found.gain).toBeCloseTo(gain, 6);
      expect(found.captured).toBeCloseTo(gain / spectrum.values.slice(0, 3).reduce((a, b) => a + b, 0), 5);
      let overlap = 0;
      for (let k = 0; k < 2; k++)
        for (let i = 0; i < 3; i++) {
          let along = 0;
          for (let c = 0; c < 24; c++) along += (own.values[c * 3 + i] / Math.sqrt(24)) * spectrum.vectors[c * 24 + k];
          overlap += along ** 2 / 2;
        }
      expect(found.overlap[2]).toBeCloseTo(overlap, 4);
      const gram = crossMoment(centred(states), centred(states));
      expect(found.similarity).toBeGreaterThan(0);
      expect(found.similarity).toBeLessThanOrEqual(1);
      expect(Number.isFinite(gram[0])).toBe(true);
    },
  );

  test("states that are its leading eigenvectors capture all, random ones little, and none more than all", async () => {
    const many = laws(200, 12, 9);
    const features = predictiveFeatures(many);
    const spectrum = spectrumOf(
      kernelMatrix(many).map((x) => x / 200),
      200,
    );
    const best: Rows = {
      count: 200,
      width: 3,
      values: Float64Array.from({ length: 600 }, (_, at) => spectrum.vectors[Math.floor(at / 3) * 200 + (at % 3)]),
    };
    await withProducts(async (products) => {
      const operator = await predictiveOperator(features, 8, products);
      expect((await alignmentOf(best, operator, products, { ridge: 1e-9 })).captured).toBeCloseTo(1, 3);
      const random = await alignmentOf(draw(200, 3, 10), operator, products);
      expect(random.captured).toBeLessThan(0.15);
      await expect(alignmentOf(draw(10, 3, 1), operator, products)).rejects.toMatchObject({ code: "bad_shape" });
      await expect(
        alignmentOf({ count: 200, width: 2, values: new Float64Array(400) }, operator, products),
      ).rejects.toThrow(/all the same/);
    }, 1);
  });

  test("exponential kernels by definition; energies fall and quotients rise where states follow predictions", () => {
    const hellinger = kernelMatrix(q, { kernel: "hellinger", beta: 2 });
    const js = kernelMatrix(q, { kernel: "jensen-shannon" });
    const near = kernelMatrix(q, { kernel: "jensen-shannon", beta: 12 });
    const bc = rowOf(q, 1).reduce((sum, x, v) => sum + Math.sqrt(x * rowOf(q, 4)[v]), 0);
    expect(hellinger[1 * 24 + 4]).toBeCloseTo(Math.exp(-4 * (1 - bc)), 12);
    expect(js[1 * 24 + 4]).toBeCloseTo(Math.exp(-jensenShannon(rowOf(q, 1), rowOf(q, 4))), 12);
    const uncentred = kernelMatrix(q, { centre: false });
    expect(uncentred[24 + 4]).toBeCloseTo(
      rowOf(q, 1).reduce((sum, x, v) => sum + x * rowOf(q, 4)[v], 0),
      10,
    );
    const following: Rows = {
      count: 24,
      width: 3,
      values: Float64Array.from({ length: 72 }, (_, at) => q.values[Math.floor(at / 3) * 9 + (at % 3)]),
    };
    expect(dirichletEnergy(following, near)).toBeLessThan(dirichletEnergy(states, near));
    expect(rayleighQuotient(following, kernelMatrix(q))).toBeGreaterThan(rayleighQuotient(states, kernelMatrix(q)));
    expect(() => predictiveFeatures(q, { kernel: "output-embedding" })).toThrow(/output vectors/);
    const head = draw(9, 4, 2);
    const embedded = predictiveFeatures(q, { kernel: "output-embedding", head, centre: false });
    const wanted = rowOf(q, 3).reduce((sum, p, v) => sum + (p * head.values[v * 4]) / Math.hypot(...rowOf(head, v)), 0);
    expect(embedded.values[3 * 4]).toBeCloseTo(wanted, 5);
  });

  test("of tokens that came: states that decide them explain nearly all, states that do not none", () => {
    const tokens = Array.from({ length: 600 }, (_, i) => Math.floor(uniform({ seed: 1, request: i }, 0, "data") * 3));
    const telling: Rows = {
      count: 600,
      width: 3,
      values: Float64Array.from(tokens.flatMap((t) => [0, 1, 2].map((v) => (v === t ? 1 : 0) + 1e-3 * v))),
    };
    expect(explainedShare(telling, tokens, 3)).toBeGreaterThan(0.95);
    expect(Math.abs(explainedShare(draw(600, 3, 3), tokens, 3))).toBeLessThan(0.05);
  });
});

describe("coherence", () => {
  test("of Gaussian states with known correlations; the bound stays below, and unrelated ones have none", () => {
    const rho = [0.9, 0.6, 0];
    const now = draw(3000, 3, 11);
    const noise = draw(3000, 3, 12);
    const next: Rows = {
      ...now,
      values: now.values.map(
        (x, i) => rho[i % 3] * x + Math.sqrt(1 - rho[i % 3] ** 2) * noise.values[i],
      ) as Float64Array,
    };
    const exact = -0.5 * rho.reduce((sum, r) => sum + Math.log(1 - r * r), 0);
    const found = temporalCoherence(now, next);
    expect(Math.abs(found.gaussian - exact)).toBeLessThan(0.08);
    expect(found.contrastive).toBeLessThan(exact + 0.05);
    expect(found.contrastive).toBeGreaterThan(exact - 0.3);
    expect(temporalCoherence(now, noise).gaussian).toBeLessThan(0.02);
    expect(() => temporalCoherence(draw(8, 3, 1), draw(8, 3, 1))).toThrow(/too few/);
  });
});

test("two topics are further apart than each within itself", () => {
  const shifted = (seed: number, by: number) => {
    const own = draw(20, 3, seed);
    return { q: laws(20, 5, seed, by), states: { ...own, values: own.values.map((x) => x + by) as Float64Array } };
  };
  const [one, other] = [shifted(1, 1), shifted(2, 5)];
  const apart = representationDivergence(one, other);
  const alike = representationDivergence(one, shifted(3, 1));
  expect(apart.distance).toBeGreaterThan(1.5);
  expect(alike.distance).toBeLessThan(1.2);
  expect(apart.divergence).toBeGreaterThan(0);
  expect(() => representationDivergence(one, { q: laws(20, 6, 1), states: one.states })).toThrow(/same contexts/);
});

describe("sources and surplus", () => {
  test("entropies and surpluses of a chain of order two by counting; order one has none", () => {
    expect(sourceSurplus(markovSource(4, 1, 1), 1)).toBeCloseTo(0, 12);
    const source = markovSource(3, 2, 2);
    expect(sourceSurplus(source, 1)).toBeGreaterThan(0.05);
    expect(sourceSurplus(source, 2)).toBeCloseTo(0, 12);
    const symbols = drawSymbols(source, 60_000, 3);
    const conditional = (width: number): number => {
      const counts = new Map<string, number[]>();
      for (let i = 2; i < symbols.length; i++) {
        const key = symbols.slice(i - width, i).join();
        const row = counts.get(key) ?? [0, 0, 0];
        counts.set(key, row);
        row[symbols[i]]++;
      }
      let entropy = 0;
      for (const row of counts.values()) {
        const total = row.reduce((a, b) => a + b, 0);
        for (const count of row) if (count > 0) entropy -= (count * Math.log(count / total)) / (symbols.length - 2);
      }
      return entropy;
    };
    expect(Math.abs(conditional(2) - sourceEntropy(source))).toBeLessThan(0.01);
    expect(Math.abs(conditional(1) - conditional(2) - sourceSurplus(source, 1))).toBeLessThan(0.01);
    expect(() => markovSource(200, 3)).toThrow(/tabulated/);
  });

  test("the surplus is what a better draft gains: E KL of the bigram draft, and a bound on its acceptance", () => {
    const source = markovSource(4, 2, 5);
    const { table, stationary } = source;
    let [kl, accepted] = [0, 0];
    for (let context = 0; context < 16; context++) {
      const law = table.subarray(context * 4, context * 4 + 4);
      const draft = new Float64Array(4);
      let weight = 0;
      for (let before = 0; before < 4; before++) {
        const other = before * 4 + (context % 4);
        weight += stationary[other];
        for (let v = 0; v < 4; v++) draft[v] += stationary[other] * table[other * 4 + v];
      }
      const own = draft.map((x) => x / weight);
      kl += stationary[context] * klDivergence(law, own);
      accepted += stationary[context] * acceptanceOf(law, own);
    }
    expect(kl).toBeCloseTo(sourceSurplus(source, 1), 10);
    expect(accepted).toBeGreaterThanOrEqual(1 - Math.sqrt(kl / 2));
  });

  test("probes find it within 0.03 nats, none where there is none, and none in shuffled states", async () => {
    const probes = await openProbes({
      distance: 1,
      vocabulary: 4,
      stateWidth: 16,
      hidden: 48,
      steps: 600,
      rate: 5e-3,
      threads: 1,
    });
    try {
      const surplus = async (order: number, shuffle = false): Promise<[number, number]> => {
        const source = markovSource(4, order, 7);
        const symbols = drawSymbols(source, 8002, 8);
        const count = 8000;
        const values = new Float32Array(count * 16);
        for (let i = 0; i < count; i++) {
          const at = shuffle ? (i * 7919) % count : i;
          values[i * 16 + (at === 0 ? 0 : symbols[at - 1] * 4 + symbols[at])] = 1;
        }
        const tokens = Array.from({ length: count }, (_, i) => [symbols[i + 1], symbols[i + 2] ?? 0]);
        const documents = tokens.map((_, i) => Math.floor(i / 200));
        const examples = { states: { count, width: 16, values }, tokens, documents };
        const alone = await probes.train(examples, 1, "tokens");
        const seen = await probes.train(examples, 1, "state");
        const found = surplusOf(1, alone, seen, documents);
        expect(found.interval[0]).toBeLessThanOrEqual(found.value);
        return [found.value, sourceSurplus(source, 1)];
      };
      const [two, exact] = await surplus(2);
      expect(exact).toBeGreaterThan(0.1);
      expect(Math.abs(two - exact)).toBeLessThan(0.03);
      expect(Math.abs((await surplus(1))[0])).toBeLessThan(0.03);
      expect((await surplus(2, true))[0]).toBeLessThan(0.03);
      const few = {
        states: draw(3, 16, 1),
        tokens: [
          [0, 1],
          [1, 2],
          [2, 3],
        ],
        documents: [0, 0, 0],
      };
      await expect(probes.train(few, 1, "state")).rejects.toThrow(/1 is too few: give ten/);
      const lone = { losses: [1, 2], measured: [0, 1] };
      expect(() => surplusOf(1, lone, lone, few.documents)).toThrow(/of one document/);
      await expect(probes.train(few, 2, "state")).rejects.toThrow(/up to 1 were opened/);
    } finally {
      await probes.release();
    }
  });
});

test("what is no distribution, matrix or length is refused", () => {
  const refused: [() => unknown, RegExp][] = [
    [() => categoricalEntropy([Number.NaN, 1]), /has NaN at token 0/],
    [() => categoricalEntropy([1, -1]), /has -1 at token 1/],
    [() => klDivergence([0.5, 0.5], [1]), /2 and 1 tokens cannot be compared/],
    [() => jensenShannon([1], [0.5, 0.5]), /1 and 2 tokens/],
    [() => spectrumOf(new Float64Array(5), 2), /5 numbers is none of 2 by 2/],
    [() => spectrumOf(new Float64Array(4).fill(Number.NaN), 2), /not finite/],
    [() => drawSymbols(markovSource(3, 1, 1), Number.NaN, 1), /length must be a whole number/],
  ];
  for (const [call, message] of refused) expect(call).toThrow(message);
});

describe("a number, matrix or distribution that is none", () => {
  const { NaN: notANumber, POSITIVE_INFINITY: endless } = Number;
  const sound = draw(6, 3, 1);
  const law = laws(6, 3, 2);
  const source = markovSource(2, 1, 1);
  const unsound: Rows[] = [
    { ...sound, count: endless },
    { ...sound, count: 7 },
    { ...sound, count: 1.5, width: 12 },
    { ...sound, count: 0 },
    { ...sound, width: -1 },
    { ...sound, width: notANumber },
    { ...sound, count: -6, width: -3 },
    { ...sound, values: sound.values.slice(1) },
  ];
  const thin: Rows = { count: 100_000, width: 1, values: new Float32Array(100_000) };
  const wide: Rows = { count: 1, width: 100_000, values: new Float32Array(100_000) };
  const spectrum = spectrumOf(Float64Array.of(1, 0, 0, 1), 2);
  const prepared = prepareStates(sound);
  const alone = { losses: [1, 2], measured: [0, 1] };

  test.each<[name: string, call: (rows: Rows) => unknown]>([
    ["rowOf", (rows) => rowIn(rows, 0)],
    ["columnMeans", columnMeans],
    ["centred", centred],
    ["crossMoment", (rows) => crossMoment(rows, rows)],
    ["predictiveFeatures", (rows) => predictiveFeatures(rows)],
    [
      "predictiveFeatures' head",
      (rows) => predictiveFeatures(law, { kernel: "output-embedding", head: { ...rows, count: 3 } }),
    ],
    ["kernelMatrix", (rows) => kernelMatrix(rows, { kernel: "hellinger" })],
    ["whitened", (rows) => whitened(rows)],
    ["prepareStates", (rows) => prepareStates(rows)],
    ["explainedShare", (rows) => explainedShare(rows, [0, 1, 2, 0, 1, 2], 3)],
    ["explainedShare, prepared", (rows) => explainedShare(rows, [0, 1, 2, 0, 1, 2], 3, prepared)],
    ["dirichletEnergy", (rows) => dirichletEnergy(rows, new Float64Array(36))],
    ["rayleighQuotient", (rows) => rayleighQuotient(rows, new Float64Array(36))],
    ["temporalCoherence", (rows) => temporalCoherence(rows, rows)],
    ["statePredictionInformation", statePredictionInformation],
    ["splitLoss", (rows) => splitLoss(rows, rows)],
    ["calibrationGap", (rows) => calibrationGap(rows, [0, 1, 2, 0, 1, 2])],
    [
      "representationDivergence",
      (rows) => representationDivergence({ q: rows, states: rows }, { q: rows, states: rows }),
    ],
    ["checkAlike", (rows) => checkAlike(rows, rows)],
    ["fisherMetric", (rows) => fisherMetric(rows, [0.5, 0.5])],
    ["fisherProduct", (rows) => fisherProduct(rows, [0.5, 0.5], [1, 1, 1])],
    ["averageFisher", (rows) => averageFisher(sound, [1, 0, 0, 0, 0, 0], rows)],
    ["separation", (rows) => separation(rows, [1, 2, 3], [1, 2, 3])],
  ])("%s refuses rows that are no matrix", (_, call) => {
    for (const rows of unsound)
      expect(() => call(rows)).toThrow(
        expect.objectContaining({
          code: "bad_option",
          message: expect.stringMatching(/(count|width) must be|values has \d+ entries/),
        }),
      );
  });

  test.each<[name: string, call: () => unknown, message: RegExp]>([
    ["rowOf", () => rowIn(sound, 6), /row must be a whole number from 0 to 5, not 6/],
    ["rowOf", () => rowIn(sound, notANumber), /row must be .* not NaN/],
    ["crossMoment", () => crossMoment(wide, wide), /100000 by 100000 has more than/],
    ["kernelMatrix", () => kernelMatrix(thin), /100000 by 100000 has more than/],
    ["kernelMatrix", () => kernelMatrix(law, { kernel: "hellinger", beta: notANumber }), /beta must be .* not NaN/],
    ["fisherMetric", () => fisherMetric(wide, [1]), /100000 by 100000/],
    ["whitened", () => whitened(sound, -1), /ridge must be a number from 0 on, not -1/],
    ["prepareStates", () => prepareStates(sound, notANumber), /ridge must be/],
    ["explainedShare", () => explainedShare(sound, [0, 1], 3), /tokens has 2 entries, and one for each state has 6/],
    ["explainedShare", () => explainedShare(sound, [0, 1, 2, 0, 1, 9], 3), /tokens\[5\] is 9/],
    ["explainedShare", () => explainedShare(sound, [0, 1, 2, 0, 1, 2], endless), /vocabulary must be .* not Infinity/],
    ["explainedShare", () => explainedShare(draw(5, 3, 1), [0, 1, 2, 0, 1], 3, prepared), /prepared\.own is \[6, 3\]/],
    ["dirichletEnergy", () => dirichletEnergy(sound, new Float64Array(5)), /kernel has 5 entries/],
    ["rayleighQuotient", () => rayleighQuotient(sound, new Float64Array(36).fill(notANumber)), /kernel\[0\] is NaN/],
    [
      "temporalCoherence",
      () => temporalCoherence(draw(40, 3, 1), draw(40, 3, 2), { batch: 0 }),
      /batch must be .* not 0/,
    ],
    ["temporalCoherence", () => temporalCoherence(sound, sound, { components: -1 }), /components must be .* not -1/],
    ["leastStates", () => leastStates(notANumber), /width must be/],
    ["calibrationGap", () => calibrationGap(law, [0]), /tokens has 1 entries/],
    ["calibrationGap", () => calibrationGap(law, [0, 1, 2, 0, 1, 3]), /tokens\[5\] is 3/],
    [
      "representationDivergence",
      () => representationDivergence({ q: law, states: draw(1, 3, 1) }, { q: law, states: sound }),
      /one state has no distance/,
    ],
    ["fisherProduct", () => fisherProduct(sound, rowOf(laws(1, 6, 1), 0), [1, notANumber, 0]), /x\[1\] is NaN/],
    ["fisherProduct", () => fisherProduct(sound, rowOf(laws(1, 6, 1), 0), [1]), /x has 1 entries, and the head has 3/],
    ["averageFisher", () => averageFisher(sound, [1, 0, 0, 0, 0, 0], draw(2, 4, 1)), /vectors\.width is 4/],
    ["spectrumOf", () => spectrumOf(new Float64Array(4), -2), /width must be .* not -2/],
    ["blindShare", () => blindShare(spectrum, new Float64Array(3)), /covariance has 3 entries/],
    ["blindShare", () => blindShare(spectrum, new Float64Array(4), notANumber), /below must be/],
    ["separation", () => separation(sound, [1, 2], [1, 2, 3]), /a has 2 entries/],
    ["separation", () => separation(sound, [1, 2, 3], [1, 2, 3], { steps: 1e9 }), /steps must be .* not 1000000000/],
    ["separation", () => separation(sound, [1, 2, 3], [1, 2, 3], { bias: [1] }), /bias has 1 entries/],
    ["markovSource", () => markovSource(1, 1e9), /order must be .* not 1000000000/],
    ["markovSource", () => markovSource(2, 1, notANumber), /seed must be/],
    ["markovSource", () => markovSource(2, 1, 0, notANumber), /sharpness must be a number in \[0, 16\], not NaN/],
    ["drawSymbols", () => drawSymbols(source, endless, 0), /length must be .* not Infinity/],
    ["drawSymbols", () => drawSymbols({ ...source, symbols: 3 }, 4, 0), /stationary has 2 entries/],
    ["sourceEntropy", () => sourceEntropy({ ...source, order: notANumber }), /order must be/],
    ["sourceSurplus", () => sourceSurplus(markovSource(1, 1), 1e6), /k must be .* not 1000000/],
    [
      "documentParts",
      () =>
        documentParts(
          Array.from({ length: 12 }, (_, i) => i),
          notANumber,
        ),
      /seed must be/,
    ],
    ["surplusOf", () => surplusOf(1, alone, alone, [0]), /tokens\.measured\[1\] is 1/],
    ["surplusOf", () => surplusOf(1, alone, { ...alone, losses: [1] }, [0, 1]), /state\.losses has 1 entries/],
    [
      "surplusOf",
      () => surplusOf(1, { ...alone, losses: [1, notANumber] }, alone, [0, 1]),
      /tokens\.losses\[1\] is NaN/,
    ],
  ])("%s refuses it by name (%#)", (_, call, message) => {
    expect(call).toThrow(expect.objectContaining({ code: "bad_option", message: expect.stringMatching(message) }));
  });

  test.each<[name: string, call: () => unknown]>([
    ["categoricalEntropy", () => categoricalEntropy([endless, 0])],
    ["klDivergence", () => klDivergence([notANumber, 1], [0.5, 0.5])],
    ["klDivergence", () => klDivergence([0.5, 0.5], [-1, 1])],
    ["jensenShannon", () => jensenShannon([notANumber, 1], [0, 1])],
    ["acceptanceOf", () => acceptanceOf([notANumber, 1], [0.5, 0.5])],
    ["acceptanceOf", () => acceptanceOf([1], [0.5, 0.5])],
    ["fisherMetric", () => fisherMetric(sound, [notANumber, 0, 0, 0, 0, 0])],
    ["predictiveFeatures", () => predictiveFeatures({ ...law, values: law.values.map((x) => -x) as Float64Array })],
  ])("%s refuses what is no distribution (%#)", (_, call) => {
    expect(call).toThrow(expect.objectContaining({ code: "bad_shape" }));
  });

  test("products, operators and alignments refuse it before anything is computed", async () => {
    await withProducts(async (products) => {
      const features = predictiveFeatures(law);
      const operator = await predictiveOperator(features, 2, products);
      const attempts: [Promise<unknown>, RegExp][] = [
        [products.times(unsound[4], sound), /a\.width must be .* not -1/],
        [products.times(sound, sound), /times: rows of \[6, 3\] and of \[6, 3\] have no product/],
        [products.transposedTimes(sound, draw(5, 3, 1)), /transposedTimes: .* have no product/],
        [predictiveOperator(features, notANumber, products), /rank must be .* not NaN/],
        [predictiveOperator(unsound[0], 2, products), /features\.count must be .* not Infinity/],
        [alignmentOf(sound, operator, products, { leading: [0.5] }), /leading eigenvectors must be .* not 0\.5/],
        [alignmentOf(unsound[4], operator, products), /states\.width must be/],
        [alignmentOf(draw(6, 2, 1), operator, products, { prepared }), /prepared\.own is \[6, 3\]/],
        [alignmentOf(sound, { ...operator, eigenvalues: new Float64Array(1) }, products), /there are 1 eigenvalues/],
      ];
      for (const [attempt, message] of attempts) await expect(attempt, `${message}`).rejects.toThrow(message);
    }, 1);
  });

  test("probes refuse it when they are opened, and what does not fit them when they are trained", async () => {
    const settings = { distance: 1, vocabulary: 3, stateWidth: 3, hidden: 4, batch: 2, steps: 1, threads: 1 };
    const wrong: [object, RegExp][] = [
      [{ distance: notANumber }, /distance must be/],
      [{ vocabulary: -1 }, /vocabulary must be/],
      [{ batch: 0 }, /batch must be/],
      [{ steps: endless }, /steps must be .* not Infinity/],
      [{ rate: notANumber }, /rate must be .* not NaN/],
      [{ seed: 0.5 }, /seed must be/],
      [{ embedding: sound }, /embedding\.count is 6, and the vocabulary 3/],
      [{ head: unsound[4] }, /head\.width must be/],
    ];
    for (const [change, message] of wrong)
      await expect(openProbes({ ...settings, ...change }), `${message}`).rejects.toThrow(message);
    const examples = {
      states: draw(12, 3, 1),
      tokens: Array.from({ length: 12 }, (_, i) => [i % 3, (i + 1) % 3]),
      documents: Array.from({ length: 12 }, (_, i) => i),
    };
    const probes = await openProbes(settings);
    try {
      const unfit: [object, RegExp][] = [
        [{ states: draw(12, 2, 1) }, /states\.width is 2, and stateWidth was 3/],
        [{ tokens: examples.tokens.slice(1) }, /tokens has 11 entries/],
        [{ tokens: examples.tokens.map(() => [0]) }, /tokens\[0\] has 1 entries, and 2 are looked at/],
        [{ tokens: examples.tokens.map(() => [0, 9]) }, /tokens\[0\]\[1\] is 9/],
        [{ documents: [1] }, /documents has 1 entries/],
      ];
      for (const [change, message] of unfit)
        await expect(probes.train({ ...examples, ...change }, 1, "state"), `${message}`).rejects.toThrow(message);
      await expect(probes.train(examples, 0.5, "state")).rejects.toThrow(/not 0\.5/);
    } finally {
      await probes.release();
    }
  });
});

describe("a model", () => {
  let written: TinyModel;
  let model: Model;
  let head: Rows;
  beforeAll(async () => {
    written = await writeTinyModel();
    model = await open(written.folder, { threads: 1 });
    const checkpoint = await openNeurons(written.folder);
    const { vocabularySize: count, hiddenSize: width } = model.config;
    head = { count, width, values: await checkpoint.output(0, count) };
    await checkpoint.close();
  });
  afterAll(async () => {
    await model.close();
    await removeModel(written);
  });
  const texts = Array.from({ length: 14 }, (_, text) =>
    Array.from({ length: 40 }, (_, i) => Math.floor(uniform({ seed: 5, request: text }, i, "data") * 50)),
  );

  test("is measured at every layer; the last one's entropy is that of its own predictions", async () => {
    const steps: number[] = [];
    const report = await measureMarkov({
      model,
      texts,
      head,
      contexts: 300,
      distances: [1, 2],
      steps: 20,
      reference: model,
      threads: 1,
      onProgress: (done) => steps.push(done),
    });
    expect(report.layers.map(({ layer }) => layer)).toEqual(Array.from({ length: model.config.layers }, (_, i) => i));
    expect(steps).toEqual([...steps].sort((a, b) => a - b));
    let [entropy, loss, count] = [0, 0, 0];
    for (const text of texts) {
      const { logits } = await model.forward(text, { logits: "all" });
      const { vocabularySize } = model.config;
      for (let i = 4; i < 40 - 3; i++) {
        const law = lawOf(logits.subarray(i * vocabularySize, (i + 1) * vocabularySize));
        entropy += categoricalEntropy(law);
        loss -= Math.log(law[text[i + 1]]);
        count++;
      }
    }
    const last = report.layers.at(-1)!;
    // All contexts there are, or nearly: 300 of them were asked for.
    expect(Math.abs(last.entropy!.kl - entropy / count)).toBeLessThan(0.05);
    expect(Math.abs(last.loss! - loss / count)).toBeLessThan(0.3);
    expect(last.gap).toBeCloseTo(last.loss! - last.entropy!.kl, 12);
    expect(last.surplus!.map(({ k }) => k)).toEqual([1, 2]);
    expect(last.total![1]).toBeCloseTo(last.surplus![0].value + last.surplus![1].value, 12);
    for (const { alignment } of report.layers) expect(alignment!.captured).toBeLessThanOrEqual(1.0001);
    expect(report.fisher!.eigenvalues).toHaveLength(model.config.hiddenSize);
    expect(report.fisher!.effectiveRank).toBeGreaterThan(1);
  });

  test("as many contexts are looked at as were asked for, of short texts as well", async () => {
    // Three contexts to a text, of which a fifth is wanted.
    const short = texts.map((text) => text.slice(0, 9));
    const report = await measureMarkov({
      model,
      texts: short,
      head,
      layers: [0],
      contexts: 8,
      distances: [1],
      what: ["entropy"],
      threads: 1,
    });
    expect([report.contexts, report.documents]).toEqual([8, 8]);
  });

  test("pieces of one document are trained on, or measured on, together", async () => {
    const documents = texts.map((_, i) => i % 10);
    const measure = (options: object) =>
      measureMarkov({
        model,
        texts,
        head,
        layers: [0],
        distances: [1],
        steps: 20,
        what: ["surplus"],
        threads: 1,
        ...options,
      });
    const [apart, joined] = [await measure({}), await measure({ documents })];
    expect([apart.documents, joined.documents]).toEqual([14, 10]);
    // Other texts are measured on.
    expect(joined.layers[0].surplus![0].tokens).not.toBe(apart.layers[0].surplus![0].tokens);
  });

  test("its picture has of every token what a forward pass over the text measures", async () => {
    const events = await measuredRun(model, {
      prompt: [3, 4, 5],
      maxTokens: 6,
      seed: 1,
      signal: new AbortController().signal,
    });
    const prompt = events.flatMap((event) => (event.type === "start" ? event.prompt : []));
    const written = events.flatMap((event) => (event.type === "tokens" ? event.tokens : []));
    const { vocabularySize, layers } = model.config;
    const { logits } = await model.forward([...prompt, ...written], { logits: "all" });
    const laws = written.map((_, i) => {
      const at = prompt.length - 1 + i;
      return lawOf(logits.subarray(at * vocabularySize, (at + 1) * vocabularySize));
    });
    const mean = laws[0].map((_, v) => laws.reduce((sum, law) => sum + law[v] / laws.length, 0));
    const taps = events.flatMap((event) => (event.type === "taps" ? [event] : []));
    expect(taps.map(({ position }) => position)).toEqual(written.map((_, i) => prompt.length - 1 + i));
    for (const [i, { rows, values }] of taps.entries()) {
      expect(rows).toBe(1);
      expect(values["entropy by layer"]).toHaveLength(layers);
      expect(values["entropy by layer"][layers - 1]).toBeCloseTo(categoricalEntropy(laws[i]), 3);
      expect(values.information[0]).toBeCloseTo(klDivergence(laws[i], mean), 3);
      expect(values.loss[0]).toBeCloseTo(-Math.log(laws[i][written[i]]), 3);
    }
  });

  test("what it has not is refused by name", async () => {
    const attempt = (change: object) => measureMarkov({ model, texts, head, steps: 1, ...change });
    const cases: [object, RegExp][] = [
      [{ layers: [9] }, /no layer 9/],
      [{ contexts: Number.NaN }, /contexts must be a whole number from 1 on, not NaN/],
      [{ steps: Number.POSITIVE_INFINITY }, /steps must be .* not Infinity/],
      [{ seed: -1 }, /seed must be .* not -1/],
      [{ head: { ...head, values: head.values.slice(1) } }, /head\.values has \d+ entries/],
      [{ contexts: 20, what: ["coherence"] }, /coherence needs \d+ contexts, and there are \d+: give more/],
      [{ model: { ...model, config: { ...model.config, diffusion: {} } } }, /a masked diffusion model/],
      [{ layers: [0, 0] }, /layer 0 is asked for twice/],
      [{ distances: [0] }, /1 to 16, not 0/],
      [{ distances: [2, 2] }, /the distance 2 is asked for twice/],
      [
        { texts: texts.slice(0, 1), what: ["surplus"], model: { ...model, forward: () => expect.fail("read") } },
        /1 is too few: give ten/,
      ],
      [{ texts: [[1, 2, 3]] }, /no context/],
      [{ documents: [0, 1] }, /documents: 2 numbers for 14 texts/],
      [{ documents: texts.map((_, i) => i % 9), what: ["surplus"] }, /9 are too few: give ten or more \(pieces of one/],
      [{ head: { ...head, width: 3 } }, /the model's would be/],
      [{ reference: { ...model, config: { ...model.config, vocabularySize: 3 } } }, /the reference has 3 tokens/],
      [{ texts: texts.slice(0, 2), what: ["surplus"] }, /give ten or more/],
    ];
    for (const [change, message] of cases) await expect(attempt(change), String(message)).rejects.toThrow(message);
    await expect(attempt({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "aborted" });
  });
});
