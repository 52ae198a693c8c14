import fc from "fast-check";
import { expect, test } from "vitest";
import { createPolicyByName, neuFastCB, neuSquareCB, policies } from "./index.ts";
import { createNetwork, projectedStep } from "./network.ts";
import { rademacher } from "./neural-bandit/index.ts";
import { inverseGap, type PolicyState } from "./policy.ts";
import { classificationTask, cosineTask, play, playInTurns, readTable } from "./tasks.ts";

const small = { width: 10, hidden: 64, members: 3, seed: 1 };

test("inverse gaps: a distribution with at least 1/K on the best; uniform for equals; greedy in the limit", () => {
  const losses = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(
      losses,
      fc.double({ min: 0, max: 1e6, noNaN: true }),
      fc.constantFrom("square", "fast"),
      (values, gamma, rule) => {
        const probabilities = inverseGap(values, gamma, rule as "square" | "fast");
        expect(probabilities.every((p) => p >= 0)).toBe(true);
        expect(probabilities.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12);
        expect(probabilities[values.indexOf(Math.min(...values))]).toBeGreaterThanOrEqual(1 / values.length - 1e-12);
      },
    ),
  );
  for (const rule of ["square", "fast"] as const) {
    expect(inverseGap([0.3, 0.3, 0.3], 100, rule)).toEqual([1 / 3, 1 / 3, 1 / 3].map((p) => expect.closeTo(p, 12)));
    expect(inverseGap([0.2, 0.5], 0, rule)[0]).toBeCloseTo(0.5, 12);
    expect(inverseGap([0.2, 0.5], 1e12, rule)[0]).toBeCloseTo(1, 9);
    expect(inverseGap([0, 0, 0, 0], 100, rule)).toEqual(Array(4).fill(expect.closeTo(0.25, 12)));
  }
  expect(inverseGap([0.1, 0.3], 10, "square")).toEqual([expect.closeTo(0.75, 12), expect.closeTo(1 / (2 + 2), 12)]);
  expect(inverseGap([0.1, 0.3], 10, "fast")[1]).toBeCloseTo(0.1 / (0.2 + 2), 12);
});

test("FastCB explores less as the best loss falls at fixed gaps, SquareCB does not", () => {
  const explored = (best: number, rule: "square" | "fast") =>
    1 - inverseGap([best, best + 0.3, best + 0.5], 50, rule)[0];
  expect(explored(0.3, "fast")).toBeGreaterThan(1.5 * explored(0.1, "fast"));
  expect(explored(0.01, "fast")).toBeGreaterThan(5 * explored(0.001, "fast"));
  expect(explored(0.3, "square")).toBeCloseTo(explored(0.001, "square"), 12);
});

test.each([
  ["standard", 1],
  ["standard", 2],
  ["paper", 1],
  ["paper", 3],
] as const)("gradients agree with finite differences: %s scale, %i hidden layers", (parameterisation, depth) => {
  const network = createNetwork({ width: 5, hidden: 7, depth, parameterisation, seed: 3 });
  const context = Float64Array.from([0.3, -0.2, 0.5, 0.1, -0.7]);
  const gradient = new Float64Array(network.weights.length);
  network.backward(context, gradient);
  for (let j = 0; j < gradient.length; j++) {
    const before = network.weights[j];
    network.weights[j] = before + 1e-6;
    const above = network.forward(context);
    network.weights[j] = before - 1e-6;
    const below = network.forward(context);
    network.weights[j] = before;
    expect(gradient[j]).toBeCloseTo((above - below) / 2e-6, 6);
  }
});

test("projection keeps each layer in its ball and leaves what lies inside", () => {
  const network = createNetwork({ width: 5, hidden: 7, depth: 2, parameterisation: "standard", seed: 3 });
  const gradient = Float64Array.from(network.weights, (_, j) => Math.sin(j));
  projectedStep(network, gradient, 1e-3, 10);
  for (const [j, weight] of network.weights.entries()) expect(weight).toBe(network.initial[j] - 1e-3 * gradient[j]);
  projectedStep(network, gradient, 100, 0.5);
  for (let layer = 0; layer < 3; layer++) {
    let squares = 0;
    for (let j = network.layers[layer]; j < network.layers[layer + 1]; j++)
      squares += (network.weights[j] - network.initial[j]) ** 2;
    expect(Math.sqrt(squares)).toBeCloseTo(0.5, 9);
  }
});

test("descending by a context of few entries is the step along its whole gradient", () => {
  const shape = { width: 9, hidden: 6, depth: 2, parameterisation: "standard", seed: 4 } as const;
  const [one, other] = [createNetwork(shape), createNetwork(shape)];
  const gradient = new Float64Array(other.weights.length);
  for (const [round, longest] of [10, 10, 1e-3].entries()) {
    const context = Float64Array.from({ length: 9 }, (_, i) => (i % 3 === round ? Math.sin(i + 1) : 0));
    const output = one.descend(context, (value) => value - 0.3, 0.1, longest);
    expect(output).toBe(other.backward(context, gradient));
    for (let j = 0; j < gradient.length; j++) gradient[j] *= output - 0.3;
    projectedStep(other, gradient, 0.1, Number.POSITIVE_INFINITY, longest);
    for (const [j, weight] of one.weights.entries()) expect(weight).toBeCloseTo(other.weights[j], 12);
  }
});

test("the perturbed square loss is the ridge form in expectation", () => {
  const network = createNetwork({ width: 4, hidden: 6, depth: 1, parameterisation: "standard", seed: 2 });
  for (let j = 0; j < network.weights.length; j++) network.weights[j] += 0.3 * Math.sin(3 * j + 1);
  const f = network.forward(Float64Array.from([0.5, 0.5, -0.5, 0.5]));
  const scale = 1 * 6 ** -0.25;
  const moved = network.weights.map((weight, j) => weight - network.initial[j]);
  const draws = rademacher(9, 40_000, moved.length);
  let sum = 0;
  for (const eps of draws) sum += (0.4 - f - scale * moved.reduce((s, value, j) => s + value * eps[j], 0)) ** 2;
  const exact = (0.4 - f) ** 2 + 6 ** -0.5 * moved.reduce((s, value) => s + value * value, 0);
  expect(sum / draws.length / exact).toBeGreaterThan(0.98);
  expect(sum / draws.length / exact).toBeLessThan(1.02);
});

test("the step of a round is the gradient of the mean loss over the perturbed predictions", () => {
  const context = Float64Array.from([0.6, -0.3, 0.5, 0.2]);
  for (const [make, loss] of [
    [neuSquareCB, (g: number) => (0.7 - g) ** 2 / 2],
    [neuFastCB, (g: number) => 0.7 * Math.log(1 + Math.exp(-g)) + 0.3 * Math.log(1 + Math.exp(g))],
  ] as const) {
    const options = {
      width: 4,
      hidden: 5,
      members: 3,
      strength: 0.8,
      rate: 1e-4,
      seed: 4,
      radius: 1e6,
      longestStep: 1e6,
    };
    const policy = make(options);
    // A few rounds first, so that the weights have moved and the perturbations act.
    for (let i = 0; i < 5; i++) policy.learn(policy.choose([context]).round, i % 2);
    const before = policy.save().arrays.weights;
    policy.learn(policy.choose([context]).round, 0.7);
    const after = policy.save().arrays.weights;
    const network = createNetwork({ ...options, depth: 1, parameterisation: "standard" });
    const signs = rademacher(4, 3, before.length);
    const objective = (weights: Float64Array) => {
      network.weights.set(network.initial);
      const centre = network.forward(context);
      network.weights.set(weights);
      const f = network.forward(context) - centre;
      const shift = (eps: Int8Array) => weights.reduce((s, w, j) => s + (w - network.initial[j]) * eps[j], 0);
      return signs.reduce((s, eps) => s + loss(f + 0.8 * 5 ** -0.25 * shift(eps)), 0) / 3;
    };
    for (let j = 0; j < before.length; j += 3) {
      const [up, down] = [before.slice(), before.slice()];
      up[j] += 1e-5;
      down[j] -= 1e-5;
      const slope = (objective(up) - objective(down)) / 2e-5;
      expect((before[j] - after[j]) / 1e-4).toBeCloseTo(slope, 4);
    }
  }
});

test("on the cosine task the neural policies leave uniform and linear ones behind, and get better", () => {
  const regrets = (name: string, options: object = {}) => {
    const plays = [1, 2].map((seed) =>
      play(createPolicyByName(name, { width: 10, seed, ...options }), cosineTask({ seed }), 4000),
    );
    return [plays[0].regret + plays[1].regret, plays[0].secondHalf + plays[1].secondHalf];
  };
  const [uniform] = regrets("Uniform");
  const [square, squareSecond] = regrets("NeuSquareCB", { hidden: 64, members: 3 });
  const [fast, fastSecond] = regrets("NeuFastCB", { hidden: 64, members: 3 });
  const [linear] = regrets("LinUCB");
  expect(square / uniform).toBeLessThan(0.65);
  expect(fast / uniform).toBeLessThan(0.55);
  expect(linear / uniform).toBeGreaterThan(0.85);
  expect(squareSecond).toBeLessThan(square / 2);
  expect(fastSecond).toBeLessThan(fast / 2);
});

test.each(Object.keys(policies))(
  "%s: saved and opened again it goes on as it would have; late losses are taken",
  (name) => {
    const base = { width: 10, seed: 5 };
    const extra =
      name.startsWith("Neu") || name === "EENet"
        ? { ...base, hidden: 32 }
        : name === "Fixed"
          ? { ...base, arm: 2 }
          : base;
    const task = cosineTask({ seed: 7 });
    const one = createPolicyByName(name, extra);
    play(one, task, 60);
    const late = one.choose(task.round(60).contexts);
    const two = createPolicyByName(name, extra, structuredClone(one.save()));
    for (const policy of [one, two]) policy.learn(late.round, 1);
    for (let i = 61; i < 130; i++) {
      const decisions = [one, two].map((policy) => policy.choose(task.round(i).contexts));
      expect(decisions[1]).toEqual(decisions[0]);
      for (const policy of [one, two]) policy.learn(decisions[0].round, task.round(i).loss(decisions[0].arm));
    }
  },
);

test("DiscountedLinUCB is its definition, LinUCB without discount, and follows losses that change", () => {
  const [width, ridge, alpha, discount] = [3, 0.5, 0.7, 0.9];
  const context = (i: number): Float64Array => Float64Array.from([1, Math.sin(i), Math.cos(3 * i)], (x) => x / 2);
  const policy = createPolicyByName("DiscountedLinUCB", { width, ridge, alpha, discount });
  const plain = createPolicyByName("LinUCB", { width, ridge, alpha });
  const same = createPolicyByName("DiscountedLinUCB", { width, ridge, alpha, discount: 1 });
  const losses = Array.from({ length: 12 }, (_, i) => 0.5 + 0.4 * Math.sin(5 * i));
  for (const [i, loss] of losses.entries()) for (const one of [policy, plain, same]) one.observe(context(i), loss);
  // Weighted least squares by their normal equations, and Cramer's rule.
  const weighted = (by: number): number[][] =>
    [0, 1, 2].map((a) =>
      [0, 1, 2].map((b) =>
        losses.reduce((sum, _, i) => sum + by ** (11 - i) * context(i)[a] * context(i)[b], a === b ? ridge : 0),
      ),
    );
  const sums = [0, 1, 2].map((a) => losses.reduce((sum, y, i) => sum + discount ** (11 - i) * y * context(i)[a], 0));
  const determinant = ([a, b, c]: number[][]): number =>
    a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0]);
  const solved = (m: number[][], v: ArrayLike<number>): number[] =>
    [0, 1, 2].map((k) => determinant(m.map((row, i) => row.map((x, j) => (j === k ? v[i] : x)))) / determinant(m));
  const contexts = [20, 21, 22].map(context);
  const [once, twice] = [weighted(discount), weighted(discount ** 2)];
  const { predictions } = policy.choose(contexts);
  for (const [arm, x] of contexts.entries()) {
    const theta = solved(once, sums);
    const along = solved(once, x);
    const spread = along.reduce((sum, a, i) => sum + a * along.reduce((s, b, j) => s + twice[i][j] * b, 0), 0);
    const foretold = x.reduce((sum, value, i) => sum + value * theta[i], 0);
    expect(predictions[arm]).toBeCloseTo(foretold - alpha * Math.sqrt(spread), 10);
  }
  const [a, b] = [plain, same].map((one) => one.choose(contexts).predictions);
  for (const [arm, value] of a.entries()) expect(b[arm]).toBeCloseTo(value, 10);

  // Two arms that change places: what is lost afterwards.
  const lost = (name: string): number => {
    const chooser = createPolicyByName(name, { width: 2, alpha: 0.2, ridge: 0.1 });
    let sum = 0;
    for (let i = 0; i < 400; i++) {
      const { arm, round } = chooser.choose([Float64Array.of(1, 0), Float64Array.of(0, 1)]);
      const loss = (arm === 0) === i < 200 ? 0.2 : 0.6;
      chooser.learn(round, loss);
      if (i >= 200) sum += loss - 0.2;
    }
    return sum;
  };
  expect(lost("DiscountedLinUCB")).toBeLessThan(0.4 * lost("LinUCB"));
});

test("bad input is refused by name and changes nothing; odd input is handled", () => {
  const policy = neuSquareCB(small);
  const contexts = cosineTask().round(0).contexts;
  expect(() => policy.choose([])).toThrow(/0 arms/);
  expect(() => policy.choose([new Float64Array(3)])).toThrow(/3 features, not 10/);
  expect(() => policy.choose([new Float64Array(10).fill(Number.NaN)])).toThrow(/feature 0 of arm 0 is NaN/);
  for (const [given, words] of [
    [undefined, /choose takes a list of contexts, one of 10 numbers an arm, not undefined/],
    [7, /choose takes a list .* not 7/],
    [[undefined], /arm 0 is undefined, not 10 numbers/],
    [Object.assign(new Array(3), { 0: contexts[0], 2: contexts[2] }), /arm 1 is undefined, not 10 numbers/],
    [[contexts[0], "0123456789"], /arm 1 is "0123456789", not 10 numbers/],
    [[{}], /arm 0 has undefined features, not 10/],
  ] as const)
    expect(() => policy.choose(given as never)).toThrow(
      expect.objectContaining({ code: "bad_option", message: expect.stringMatching(words) }),
    );
  expect(() => policy.observe(undefined as never, 0)).toThrow(/arm 0 is undefined, not 10 numbers/);
  expect(() => policy.observe(contexts[0], "0.5" as never)).toThrow(/the loss "0.5" is not 0 to 1/);
  expect(policy.counters.rounds).toBe(0);
  const { round } = policy.choose(contexts);
  const before = policy.save();
  expect(() => policy.learn(round, Number.NaN)).toThrow(/loss of round 0 is NaN/);
  expect(() => policy.learn(99, 0)).toThrow(/round 99/);
  expect(policy.save()).toEqual(before);
  policy.learn(round, 7);
  expect(policy.counters).toMatchObject({ rounds: 1, learnt: 1, clipped: 1 });
  expect(() => policy.learn(round, 0)).toThrow(/round 0/);
  expect(policy.choose([contexts[0]])).toMatchObject({ arm: 0, probabilities: [1] });
  expect(policy.choose([contexts[0], contexts[0], contexts[0]]).probabilities).toEqual(
    Array(3).fill(expect.closeTo(1 / 3, 12)),
  );
  expect(() => neuFastCB({ ...small, perturbation: "expected-ridge" })).toThrow(/expected-ridge/);
  expect(() => neuFastCB({ ...small, gamma: -1 })).toThrow(/gamma/);
  expect(() => createPolicyByName("NeuSqareCB", small)).toThrow(/did you mean "NeuSquareCB"/);
  expect(() => createPolicyByName("NeuSquareCB", { ...small, gama: 3 })).toThrow(/gama.*gamma/);
  expect(() => createPolicyByName("Fixed", { width: 10 })).toThrow(/Fixed has no arm/);
  expect(() => createPolicyByName("Uniform", { width: 10, arm: 1 })).toThrow(/Uniform has no option arm/);
});

test("a state of another policy, option or width, a truncated or damaged one, is refused by name", () => {
  const state = neuSquareCB(small).save();
  expect(() => neuFastCB(small, state)).toThrow(/NeuSquareCB, not NeuFastCB/);
  expect(() => neuSquareCB({ ...small, width: 12 }, state)).toThrow(/width 10, not 12/);
  const bigint = { ...state, options: { ...state.options, width: 10n } };
  expect(() => neuSquareCB(small, bigint)).toThrow(/saved with width 10n, not 10$/);
  const broken = (weights: Float64Array<ArrayBuffer>) => ({ ...state, arrays: { weights } });
  expect(() => neuSquareCB(small, broken(new Float64Array(3)))).toThrow(/weights has 3 numbers/);
  const bad = state.arrays.weights.slice();
  bad[5] = Number.NaN;
  expect(() => neuSquareCB(small, broken(bad))).toThrow(/not finite/);
});

/** Every policy by name, with what keeps it small, ready to be made again from a state. */
const smallPolicies = Object.keys(policies).map((name) => {
  const neural = name.startsWith("Neu") || name === "EENet";
  return [name, { width: 10, ...(neural && { hidden: 8 }), ...(name === "Fixed" && { arm: 1 }) }] as const;
});

test.each(smallPolicies)("%s: a damaged state is refused, whatever of it is damaged", (name, options) => {
  const policy = createPolicyByName(name, options);
  const task = cosineTask();
  for (let i = 0; i < 25; i++) policy.learn(policy.choose(task.round(i).contexts).round, i % 2);
  policy.choose(task.round(25).contexts);
  const state = policy.save();
  const refused = (change: object, words: RegExp) =>
    expect(() => createPolicyByName(name, options, { ...state, ...change } as PolicyState), String(words)).toThrow(
      expect.objectContaining({ code: "bad_file", message: expect.stringMatching(words) }),
    );
  for (const [key, values] of Object.entries(state.arrays)) {
    const broken = (array: unknown, words: RegExp) => refused({ arrays: { ...state.arrays, [key]: array } }, words);
    broken(undefined, new RegExp(`no ${key}`));
    broken(JSON.parse(JSON.stringify(values)), new RegExp(`${key} is no Float64Array`));
    broken(values.with(0, Number.NaN), new RegExp(`${key} holds a number that is not finite`));
    // As many rounds as the other arrays hold, or of a length that is no multiple.
    for (const length of [values.length - 5, Math.floor(values.length / 5), 0])
      broken(values.slice(0, length), /has \d+ numbers|holds \d+ rounds?/);
  }
  const [round, context] = state.pending[0];
  const waiting = (...pending: unknown[]) => ({ pending });
  refused(waiting([round, context.slice(0, 9)]), /waiting round 25 has 9 features, not 10/);
  refused(waiting([round, context.with(3, Number.NaN)]), /feature 3 of the waiting round 25 is NaN/);
  refused(waiting([round, context.with(3, 1e200)]), /feature 3 of the waiting round 25 is 1e\+200/);
  refused(waiting([round]), /waiting round 25 is undefined/);
  refused(waiting([26, context]), /26 among the rounds that wait/);
  refused(waiting([round, context], [round, context]), /25 among the rounds that wait/);
  refused(waiting(null), /undefined among the rounds that wait/);
  refused({ pending: undefined }, /pending/);
  refused({ counters: { ...state.counters, rounds: -1 } }, /-1 rounds/);
  refused({ counters: { ...state.counters, learnt: Number.NaN } }, /NaN learnt/);
  for (const part of ["counters", "arrays", "options"]) refused({ [part]: null }, new RegExp(`no ${part}`));
  expect(createPolicyByName(name, options, state).save()).toEqual(state);
});

test.each(smallPolicies)("%s: numbers of any size end in an answer or an error that names them", (name, options) => {
  const policy = createPolicyByName(name, options);
  const filled = (value: number) => new Float64Array(10).fill(value);
  for (const value of [1e200, -1e308, 1e7]) {
    expect(() => policy.choose([filled(0.1), filled(value)])).toThrow(/feature 0 of arm 1 is .* within ±1000000/);
    expect(() => policy.observe(filled(value), 0.5)).toThrow(/feature 0 of arm 0 is .* within ±1000000/);
  }
  expect(policy.counters).toMatchObject({ rounds: 0, learnt: 0 });
  for (const value of [1e6, -1e6, 5e-324, 0, 1e6, 1e-160]) {
    for (const loss of [1e308, -1e308, 5e-324, 0.5]) {
      const { round, predictions, probabilities } = policy.choose([filled(value), filled(-value / 3)]);
      expect(predictions.every(Number.isFinite)).toBe(true);
      expect(probabilities.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 9);
      policy.learn(round, loss);
    }
    for (const values of Object.values(policy.save().arrays)) expect(values.every(Number.isFinite)).toBe(true);
  }
});

test("a step that is too long for numbers moves nothing", () => {
  const network = createNetwork({ width: 1, hidden: 2, depth: 1, parameterisation: "standard", seed: 1 });
  network.weights.fill(1e160);
  const before = network.weights.slice();
  for (const slope of [1e10, Number.POSITIVE_INFINITY]) network.descend(Float64Array.of(1), () => slope, 1, 1);
  for (const longest of [1, undefined])
    projectedStep(network, new Float64Array(before.length).fill(1e200), 1, 1e300, longest);
  expect(network.weights).toEqual(before);
});

test("rounds whose losses never come are bounded, and counted", () => {
  const policy = createPolicyByName("Uniform", { width: 1 });
  for (let i = 0; i < 10_005; i++) policy.choose([new Float64Array(1), new Float64Array(1)]);
  expect(policy.counters).toMatchObject({ rounds: 10_005, forgotten: 5 });
  expect(() => policy.learn(0, 0)).toThrow(/forgotten/);
  policy.learn(10_004, 0);
});

test("a table becomes one arm a class, and policies learn it", () => {
  const lines = Array.from({ length: 300 }, (_, i) => {
    const [x, word] = [Math.sin(i * 1.7), ["a", "b"][i % 2]];
    return `${x.toFixed(3)},${word},${i % 50 === 0 ? "?" : i % 7},${x > 0 === (word === "a") ? "yes" : "no"}`;
  });
  const table = readTable("toy", `x,word,n,label\n${lines.join("\n")}`);
  expect(table).toMatchObject({ classes: 2 });
  expect(table.rows[0].length).toBe(1 + 2 + 1 + 1);
  const task = classificationTask(table, 1);
  const learnt = play(neuSquareCB({ width: task.width, hidden: 32, rate: 0.05, seed: 1 }), task, 3000);
  expect(learnt.secondHalf).toBeLessThan(0.35 * 1500);
  expect(() => readTable("toy", "x,label\n1,a\n2")).toThrow(/line 3: 1 column, not 2/);
});

test("plays in turns are the same plays, and let a signal and timers in", async () => {
  const task = cosineTask({ seed: 3 });
  const policy = () => neuSquareCB({ ...small, hidden: 16 });
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  expect(await playInTurns(policy(), task, 2000)).toEqual(play(policy(), task, 2000));
  clearInterval(timer);
  expect(turns).toBeGreaterThan(1);
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 20);
  await expect(playInTurns(policy(), task, 1e9, controller.signal)).rejects.toMatchObject({ code: "aborted" });
  await expect(playInTurns(policy(), task, 0)).rejects.toMatchObject({ code: "bad_option" });
});

test("a play knows the best fixed arm in hindsight", () => {
  const task = cosineTask({ seed: 3 });
  for (const rounds of [1, 2, 501]) {
    const { fixed } = play(createPolicyByName("Uniform", { width: 10 }), task, rounds);
    const each = [0, 1, 2, 3].map((arm) => play(createPolicyByName("Fixed", { width: 10, arm }), task, rounds));
    const regrets = each.map(({ regret }) => regret);
    expect(fixed.regret).toBeCloseTo(Math.min(...regrets), 9);
    expect(regrets[fixed.arm]).toBeCloseTo(fixed.regret, 9);
    expect(each[fixed.arm].secondHalf).toBeCloseTo(fixed.secondHalf, 9);
    const means = Array.from({ length: rounds }, (_, i) => task.round(i).means[fixed.arm]);
    expect(fixed.loss).toBeCloseTo(
      means.reduce((a, b) => a + b),
      9,
    );
  }
  // Of arms that are not there in every round none could have been taken in every round.
  const fewer = (i: number) => (i === 5 ? 2 : 4);
  const varying = {
    ...task,
    round: (i: number) => ({
      contexts: task.round(i).contexts.slice(0, fewer(i)),
      means: [0.5, 0.4, 0.1, 0.1].slice(0, fewer(i)),
      loss: () => 0,
    }),
  };
  expect(play(createPolicyByName("Uniform", { width: 10 }), varying, 9).fixed.arm).toBe(1);
});

const table = { name: "t", rows: [Float64Array.of(1, 2), Float64Array.of(3, 4)], labels: [0, 1], classes: 2 };
const uniformly = () => createPolicyByName("Uniform", { width: 10 });
const boo = (): never => {
  throw new Error("boo");
};
/** A task of one's own, whose rounds are not as they should be. */
const played = (round: object) =>
  play(uniformly(), { ...cosineTask(), round: (index) => ({ ...cosineTask().round(index), ...round }) }, 3);

test.each<[name: string, call: () => unknown, message: RegExp]>([
  ["play", () => play(uniformly(), cosineTask(), Number.POSITIVE_INFINITY), /rounds must be .* not Infinity/],
  ["play", () => play(uniformly(), cosineTask(), Number.NaN), /rounds must be .* not NaN/],
  ["play", () => played({ means: [Number.NaN, 0, 0, 0] }), /the means of round 0 are \[null,0,0,0\]/],
  ["play", () => played({ means: [0] }), /a finite number for each of 4 arms/],
  [
    "play",
    () => played({ loss: () => Number.NaN }),
    /cosine: loss\(\d\) of round 0 gave NaN, and must give a finite number/,
  ],
  ["play", () => played({ loss: () => "0" }), /of round 0 gave "0"/],
  ["play", () => played({ loss: null }), /cosine: round\(0\) gave .*, and must give { contexts, means, loss }/],
  ["play", () => played({ contexts: 7 }), /cosine: round\(0\) gave/],
  ["play", () => played({ contexts: [null, null, null, null] }), /cosine: round\(0\) gave/],
  ["play", () => play(uniformly(), { ...cosineTask(), round: () => null as never }, 3), /round\(0\) gave null/],
  ["play", () => play({ ...uniformly(), choose: () => null as never }, cosineTask(), 3), /Uniform: choose gave null/],
  ["play", () => play({ ...uniformly(), choose: (() => 5) as never }, cosineTask(), 3), /Uniform: choose gave 5/],
  ["play", () => played({ loss: boo }), /cosine: loss\(\d\) of round 0 failed: boo$/],
  ["play", () => play(uniformly(), { ...cosineTask(), round: boo }, 3), /cosine: round\(0\) failed: boo$/],
  ["play", () => play({ ...uniformly(), choose: boo }, cosineTask(), 3), /Uniform: choose failed: boo$/],
  ["play", () => play({ ...uniformly(), learn: boo }, cosineTask(), 3), /Uniform: learn failed: boo$/],
  [
    "play",
    () =>
      play(
        { ...uniformly(), choose: () => ({ ...uniformly().choose(cosineTask().round(0).contexts), arm: 9 }) },
        cosineTask(),
        3,
      ),
    /Uniform: arm of its decision must be a whole number from 0 to 3, not 9/,
  ],
  ["cosineTask", () => cosineTask({ arms: -1 }), /arms must be .* not -1/],
  ["cosineTask", () => cosineTask({ width: Number.POSITIVE_INFINITY }), /width must be .* not Infinity/],
  ["cosineTask", () => cosineTask({ seed: 0.5 }), /seed must be .* not 0\.5/],
  ["cosineTask", () => cosineTask({ switchEvery: 0 }), /switchEvery must be .* not 0/],
  ["cosineTask's round", () => cosineTask().round(Number.NaN), /index must be .* not NaN/],
  ["cosineTask's loss", () => cosineTask().round(0).loss(4), /arm must be a whole number from 0 to 3, not 4/],
  ["classificationTask", () => classificationTask({ ...table, rows: [] }), /0 rows with 2 labels/],
  ["classificationTask", () => classificationTask({ ...table, labels: [0, 9] }), /labels\[1\] is 9/],
  ["classificationTask", () => classificationTask({ ...table, classes: -1 }), /classes must be .* not -1/],
  [
    "classificationTask",
    () => classificationTask({ ...table, rows: [table.rows[0], new Float64Array(1)] }),
    /rows\[1\]/,
  ],
  ["classificationTask", () => classificationTask(table, Number.NaN), /seed must be .* not NaN/],
  ["classificationTask's round", () => classificationTask(table).round(-1), /index must be .* not -1/],
  ["classificationTask's loss", () => classificationTask(table).round(0).loss(2), /arm must be .* not 2/],
])("%s refuses a number that is none of its own (%#)", (_, call, message) => {
  expect(call).toThrow(expect.objectContaining({ code: "bad_option", message: expect.stringMatching(message) }));
});

/** Of each option, values that no option has. */
const optionsOf = Object.keys(policies).flatMap((name) =>
  Object.keys(createPolicyByName(name, { width: 4, ...(name === "Fixed" && { arm: 0 }) }).save().options).map(
    (option) => [name, option] as const,
  ),
);
test.each(optionsOf)("%s refuses for %s what is none of its values", (name, option) => {
  expect(optionsOf.length).toBeGreaterThan(40);
  const wrong = [Number.NaN, -1, "none such", null, [], {}, true];
  const counts = ["width", "seed", "hidden", "depth", "members", "pool", "buffer", "arm"];
  for (const value of [...wrong, ...(counts.includes(option) ? [0.5, Number.POSITIVE_INFINITY] : [])])
    expect(
      () => createPolicyByName(name, { width: 4, ...(name === "Fixed" && { arm: 0 }), [option]: value }),
      `${name} ${option} ${value}`,
    ).toThrow(expect.objectContaining({ code: "bad_option", message: expect.stringContaining(option) }));
});
