/**
 * Several tokens in one pass without a second model, on knossos: tokens a pass and speed of each method at one tree budget, how often guesses are right,
 * what was expected, whether texts are plain decoding's, and what the same acceptance would give where rows are free.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { alternate, format, median, ratio } from "./harness/measure.mjs";
import { atLeast, atMost, reported } from "./harness/report.mjs";
import { lawRow } from "./law.mjs";
import { sweepRows } from "./layer-sweep.mjs";
import { guessAccuracies, openModel, rowCost, shippedModel } from "./ours.mjs";
import { needing, withDraft, withoutDraft } from "./speculation.mjs";
import { kinds, promptsOf, textsMissing } from "./texts.mjs";

/** @typedef {import("./harness/report.mjs").Settings} Settings */
/** @typedef {import("./texts.mjs").Kind} Kind */
/** @typedef {{ name: string } & Record<string, unknown>} Method */

const threads = 2;
/**
 * Nodes of a tree, and nodes and look-ahead rows where a method has such rows. Self-speculative drafts 8 rather than 16: each of a chain's nodes costs a pass of
 * its draft, nearly as dear as one of the model.
 */
const budget = 16;
/** @type {readonly Method[]} */
const family = [
  { name: "medusa", budget },
  { name: "prompt-tokens", budget: 2 * budget },
  { name: "hidden-transfer", budget: 2 * budget },
  { name: "eagle", budget },
  { name: "self-speculative", budget: 8 },
];
/** Lexical units as drafts that are verified, and prompt tokens on the draft model. */
const verifiedUnits = { name: "lexical-units", verify: true };
const onPylos = { name: "prompt-tokens", draft: "pylos", length: 5 };
/** As each would be used: what is worth its cost on this machine. */
const open = family.map(({ name }) => ({ name }));
/** A folder with a model that `recipes/knossos-units.json` made: the one in the repository unless another is named. */
const units = process.env.VENTRIS_BENCH_UNITS ?? shippedModel("knossos-units");

/** @param {string} name */
const named = (name) => /** @type {Method} */ (family.find((method) => method.name === name));

/** @param {Kind} kind @param {Method} method @param {number} temperature */
const tokensPerPass = (kind, method, temperature) =>
  needing(async ({ against }) => {
    const { tokensPerPass, perPrompt } = await against(kind, method, temperature);
    return { value: tokensPerPass, runs: perPrompt };
  });

/** @param {Method} method @param {Method} other */
const overOther = (method, other) =>
  needing(async ({ against }) => {
    const [ours, theirs] = [await against("stories", method), await against("stories", other)];
    return {
      value: ours.tokensPerPass / theirs.tokensPerPass,
      runs: ours.perPrompt.map((value, i) => value / theirs.perPrompt[i]),
      note: `${format(ours.tokensPerPass)} and ${format(theirs.tokensPerPass)} tokens a pass`,
    };
  });

/** EAGLE over the best of the others: of those with a trained part, or of all; self-speculative's draft passes cost most of a pass of the model. */
const eagleOver = (/** @type {readonly Method[]} */ others) =>
  needing(async ({ against }) => {
    const ours = (await against("stories", named("eagle"))).tokensPerPass;
    const figures = [];
    for (const method of others) figures.push((await against("stories", method)).tokensPerPass);
    const value = ours / Math.max(...figures);
    const note = [`eagle ${format(ours)}`, ...others.map(({ name }, i) => `${name} ${format(figures[i])}`)].join(", ");
    return { value, runs: [value], note };
  });
const others = family.filter(({ name }) => name !== "eagle");

/** Rows of a usual tree, whose cost limits what more tokens a pass can gain. */
const limitRows = 8;
/** The fastest of some methods against plain greedy decoding. @param {readonly Method[]} methods */
const fastest = (methods) =>
  needing(async ({ against }, { quick, progress }) => {
    const results = [];
    const cost = await rowCost((await target(quick)).model, limitRows);
    for (const method of methods) {
      const { speeds, tokensPerPass, otherShares } = await against("stories", method);
      const limits = [
        `${format(tokensPerPass)} tokens a pass`,
        `${(100 * (1 - median(otherShares))).toFixed(0)} % of the time in passes of models`,
        `a pass of ${limitRows} rows ${format(cost)} times as long as one of one`,
      ];
      results.push({ ...ratio(speeds), name: `${method.name}: ${limits.join(", ")}` });
      progress(`  ${method.name}: ${format(ratio(speeds).value)}× at ${format(tokensPerPass)} tokens a pass`);
    }
    const best = results.reduce((a, b) => (b.value > a.value ? b : a));
    return { value: best.value, runs: best.runs, note: best.name };
  });

/** Seconds of drafting a draft pass, over those of the model's pass of one row; 0 where drafts take no pass. @param {Method} method */
const draftShare = async (method, /** @type {boolean} */ quick) => {
  const { model, prompts } = await target(quick);
  const inPasses = () => model.forest.counters.secondsInPasses;
  let [drafting, drafts, plainSeconds, plainPasses] = [0, 0, 0, 0];
  await model.decode(prompts[0], { temperature: 0, maxTokens: 16, method }).final; // opens what drafts
  for (const prompt of prompts.slice(0, quick ? 2 : 8)) {
    const options = { temperature: 0, maxTokens: 48, minTokens: 48 };
    const run = model.decode(prompt, { ...options, method });
    for await (const event of run) {
      if (event.type === "draft") [drafting, drafts] = [drafting + event.seconds, drafts + event.passes];
    }
    const before = inPasses();
    plainPasses += (await model.decode(prompt, options).final).counters.passes;
    plainSeconds += inPasses() - before;
  }
  return drafts === 0 ? 0 : drafting / drafts / (plainSeconds / plainPasses);
};

/**
 * What the counters give where a pass of the model costs the same for any number of rows, and a draft pass its measured share of one: not a
 * measurement.
 * @param {Method} method
 */
const flat = (method) =>
  needing(async ({ against }, { quick }) => {
    const { tokensPerPass, draftPassesPerRound } = await against("stories", method);
    const share = await draftShare(method, quick);
    const value = tokensPerPass / (1 + draftPassesPerRound * share);
    const drafts =
      share === 0
        ? "drafts take no pass"
        : `${format(draftPassesPerRound)} draft passes a round, each ${format(share)} of a pass of one row`;
    return { value, runs: [value], note: `${format(tokensPerPass)} tokens a pass, ${drafts}` };
  });

/** @type {Promise<{ model: any, prompts: number[][], plain: (prompt: number[], options: object) => Promise<any> }> | undefined} */
let opened;
/** @param {boolean} quick */
function target(quick) {
  opened ??= (async () => {
    const { model } = await openModel("knossos", { threads });
    const prompts = promptsOf("stories", quick ? 4 : 24, 96, (text) => model.tokenizer.encode(text));
    return { model, prompts, plain: (prompt, options) => model.decode(prompt, options).final };
  })();
  return opened;
}
/** @param {(given: Awaited<NonNullable<typeof opened>>, settings: Settings) => Promise<import("./harness/report.mjs").Measurement>} measure */
const onTarget = (measure) => async (/** @type {Settings} */ settings) => {
  const skipped = shippedModel("knossos") ? textsMissing() : "models/knossos is absent";
  return skipped ? { skipped } : measure(await target(settings.quick), settings);
};

/** Share of the guesses' likeliest `top` tokens that hold the model's own, level by level, on held-out stories. @param {string} name */
const accuracies = (name, top = 1) =>
  onTarget(async ({ model, prompts }) => {
    const byLevel = await guessAccuracies(model, name, prompts, top);
    return {
      value: byLevel[0],
      runs: byLevel,
      note: byLevel.map((share, i) => `${i + 2} ahead ${share.toFixed(3)}`).join(", "),
    };
  });

/** @param {string} name @param {string} other @param {number} top @param {readonly number[]} levels from 0 */
const accuracyOver = (name, other, top, levels) =>
  onTarget(async ({ model, prompts }) => {
    const [ours, theirs] = [
      await guessAccuracies(model, name, prompts, top),
      await guessAccuracies(model, other, prompts, top),
    ];
    const runs = levels.map((level) => ours[level] - theirs[level]);
    const note = levels
      .map((level) => `${level + 2} ahead ${ours[level].toFixed(3)} and ${theirs[level].toFixed(3)}`)
      .join(", ");
    return { value: Math.min(...runs), runs, note };
  });

const parameters = onTarget(async ({ model }) => {
  const { tensors, card } = await model.part("prompt-tokens");
  const count = [...tensors.values()].reduce((sum, { values }) => sum + values.length, 0);
  const wanted = card.settings.tokens * (card.settings.ensemble ?? 1) * model.config.hiddenSize;
  return { value: count / wanted, runs: [count], note: `${count} numbers` };
});

const checksum = onTarget(async ({ model }) => {
  const names = ["medusa", "prompt-tokens", "hidden-transfer", "eagle"];
  const fingerprint = await model.fingerprint();
  const same = [];
  for (const name of names) same.push((await model.part(name)).card.base.fingerprint === fingerprint ? 1 : 0);
  return { value: Math.min(...same), runs: same };
});

const expected = onTarget(async ({ model, prompts }) => {
  let [tokens, passes, predicted] = [0, 0, 0];
  const begin = [model.tokenizer.beginToken ?? 0];
  for (const request of prompts.keys()) {
    // On texts like those that the accuracies are of: the model's own, from openings that it draws.
    const opening = await model.decode(begin, { temperature: 1, seed: 7, request, maxTokens: 48, minTokens: 48 }).final;
    const prompt = [...begin, ...opening.tokens];
    const method = { name: "prompt-tokens", tree: "published", budget: 2 * budget };
    const run = model.decode(prompt, { temperature: 0, maxTokens: 96, minTokens: 96, request, method });
    for await (const event of run) {
      if (event.type === "draft" && /expected/.test(event.note ?? "")) predicted = Number.parseFloat(event.note);
    }
    const { counters } = await run.final;
    tokens += counters.generated - 1;
    passes += (counters.generated - 1) / counters.tokensPerPass;
  }
  const measured = tokens / passes;
  return {
    value: Math.abs(predicted / measured - 1),
    runs: [predicted, measured],
    note: `${format(predicted)} expected, ${format(measured)} measured`,
  };
});

const onDraft = onTarget(async ({ model, prompts }) => {
  const draft = "pylos";
  const ours = onPylos;
  const chain = { name: "chain", draft, length: 5 };
  const sum = async (/** @type {Method} */ method) => {
    let [passes, same] = [0, 0];
    for (const prompt of prompts) {
      const options = { temperature: 0, maxTokens: 64, minTokens: 64 };
      const run = await model.decode(prompt, { ...options, method }).final;
      const plain = await model.decode(prompt, options).final;
      passes += run.counters.draftPasses;
      same += run.tokens.join() === plain.tokens.join() ? 1 : 0;
    }
    return { passes, same };
  };
  if (!existsSync(join(/** @type {string} */ (shippedModel(draft)), "parts", "prompt-tokens"))) {
    return { skipped: "models/pylos has no prompt tokens" };
  }
  const [mine, plain] = [await sum(ours), await sum(chain)];
  const other = prompts.length - Math.min(mine.same, plain.same);
  if (other > 0) throw new Error(`${other} of ${prompts.length} texts are not plain decoding's`);
  return {
    value: mine.passes / plain.passes,
    runs: [mine.passes, plain.passes],
    note: `${mine.same} of ${prompts.length} texts the same`,
  };
});

/** Prompts of all kinds: of code what there is, of stories and questions the rest in equal parts. @param {any} model @param {number} count */
function mixedPrompts(model, count) {
  /** @param {Kind} kind @param {number} most */
  const of = (kind, most) => promptsOf(kind, most, 96, (text) => model.tokenizer.encode(text));
  const code = of("code", Math.ceil(count / 3));
  const stories = of("stories", Math.ceil((count - code.length) / 2));
  return [...code, ...stories, ...of("questions", count - code.length - stories.length)];
}

/**
 * Share of prompts whose text is plain decoding's with every method, in eights, and alone where the budget is fixed.
 * @param {number} temperature
 */
const identity = (temperature) =>
  onTarget(async ({ model, plain }, { quick, progress }) => {
    const fixed = [...family, { name: "prompt-tokens", tree: "published", budget: 12 }, verifiedUnits, onPylos];
    const methods = [
      ...fixed.map((method) => ({ method, alone: true })),
      ...open.map((method) => ({ method, alone: false })),
    ];
    const prompts = mixedPrompts(model, quick ? 8 : 200);
    const options = (/** @type {number} */ request) => ({ temperature, seed: 1, request, maxTokens: 32 });
    const wanted = [];
    for (const [i, prompt] of prompts.entries()) wanted.push((await plain(prompt, options(i))).tokens.join());
    const runs = [];
    for (const { method, alone } of methods) {
      const same = prompts.map(() => true);
      const text = async (/** @type {number} */ i) =>
        (await model.decode(prompts[i], { ...options(i), method }).final).tokens.join();
      for (let first = 0; first < prompts.length; first += 8) {
        const eight = [...prompts.keys()].slice(first, first + 8);
        const together = await Promise.all(eight.map(text));
        for (const i of eight) same[i] = together[i - first] === wanted[i] && (!alone || (await text(i)) === wanted[i]);
      }
      const count = same.filter(Boolean).length;
      progress(`  ${JSON.stringify(method)}: ${count} of ${prompts.length}`);
      runs.push(count / prompts.length);
    }
    const note = `${prompts.length} prompts of stories, questions and code, ${methods.length} methods and settings`;
    return { value: Math.min(...runs), runs, note };
  });

/** @param {(units: Awaited<ReturnType<typeof openModel>>["model"], prompts: number[][]) => Promise<import("./harness/report.mjs").Measurement>} measure */
const onUnits = (measure) =>
  onTarget(async ({ prompts }) => {
    if (!units) {
      const skipped = "models/knossos-units is absent, and VENTRIS_BENCH_UNITS names no other";
      return { skipped: `${skipped} (recipes/knossos-units.json makes one)` };
    }
    const { model } = await openModel(units, { threads });
    try {
      return await measure(model, prompts);
    } finally {
      await model.close();
    }
  });

/** Lexical units against plain greedy decoding of the same model, in turns. @param {Method} method @param {"tokens" | "speed"} what */
const unitsAgainstPlain = (method, what) =>
  onUnits(async (model, prompts) => {
    let [tokens, passes, mine, theirs] = [0, 0, 0, 0];
    const speedOf = async (/** @type {number} */ at, /** @type {object} */ more) => {
      const options = { temperature: 0, maxTokens: 64, minTokens: 64, ...more };
      const { counters, seconds } = await model.decode(prompts[at % prompts.length], options).final;
      return { counters, speed: (counters.generated - 1) / seconds.decode };
    };
    const speeds = await alternate(
      async () => {
        const { counters, speed } = await speedOf(mine++, { method });
        tokens += counters.generated - 1;
        passes += (counters.generated - 1) / counters.tokensPerPass;
        return speed;
      },
      async () => (await speedOf(theirs++, {})).speed,
      prompts.length,
    );
    const perPass = tokens / passes;
    if (what === "tokens") return { value: perPass, runs: [perPass] };
    return { ...ratio(speeds), note: `${format(perPass)} tokens a pass` };
  });

/** Tokens a pass of a units model at the smallest beta whose texts lose at most 3 % of agreement with its own greedy ones. */
const lexicalUnits = (/** @type {(line: string) => void} */ progress) =>
  onUnits(async (model, prompts) => {
    let best = 1;
    for (const beta of [0.5, 0.7, 0.8, 0.9, 0.95, 0.99]) {
      let [tokens, passes, agreed, all] = [0, 0, 0, 0];
      for (const prompt of prompts) {
        const options = { temperature: 0, maxTokens: 64, minTokens: 64 };
        const run = await model.decode(prompt, { ...options, method: { name: "lexical-units", beta } }).final;
        tokens += run.counters.generated - 1;
        passes += (run.counters.generated - 1) / run.counters.tokensPerPass;
        const { tokens: scored } = await model.score([...prompt, ...run.tokens], { top: 1 });
        for (const { token, top } of scored.slice(prompt.length)) {
          agreed += top?.[0].token === token ? 1 : 0;
          all += 1;
        }
      }
      progress(
        `  beta ${beta}: ${format(tokens / passes)} tokens a pass, ${((100 * agreed) / all).toFixed(1)} % the model's own choice`,
      );
      if (agreed / all >= 0.97) best = Math.max(best, tokens / passes);
    }
    return { value: best, runs: [best] };
  });

export const rows = [
  { what: "prompt tokens: numbers trained over m · e · d", target: atMost(1), measure: parameters },
  { what: "parts: the base's checksum is unchanged (1: of all)", target: atLeast(1), measure: checksum },
  ...kinds.flatMap((kind) =>
    [0, 0.8].flatMap((temperature) =>
      family.map((method) => ({
        what: `tokens a pass: ${method.name}, ${kind}, temperature ${temperature}`,
        target:
          method.name === "prompt-tokens" && kind === "stories" && temperature === 0
            ? atLeast(2, " tokens")
            : reported("tokens"),
        measure: tokensPerPass(kind, method, temperature),
      })),
    ),
  ),
  {
    what: "tokens a pass: prompt-tokens over medusa at equal nodes, stories",
    target: atLeast(1),
    measure: overOther(named("prompt-tokens"), named("medusa")),
  },
  // Not at equal training: the shipped heads have seen 1.0 million tokens, the transfers 2.0 million, drawn from the same files.
  {
    what: "tokens a pass: hidden-transfer over medusa at equal nodes, stories",
    target: atLeast(1),
    measure: overOther(named("hidden-transfer"), named("medusa")),
  },
  ...["medusa", "prompt-tokens", "hidden-transfer"].map((name) => ({
    what: `guesses that are the model's choice: ${name}, by distance`,
    target: reported(""),
    measure: accuracies(name),
  })),
  {
    what: "guesses: prompt-tokens minus medusa, distances 2 and 3 of the guesses",
    target: atLeast(0, ""),
    measure: accuracyOver("prompt-tokens", "medusa", 1, [1, 2]),
  },
  {
    what: "guesses among the first three: hidden-transfer minus medusa, steps 2 and 3",
    target: atLeast(0, ""),
    measure: accuracyOver("hidden-transfer", "medusa", 3, [1, 2]),
  },
  {
    what: "tokens a pass: eagle over the best of the other trained parts, stories",
    target: atLeast(1),
    measure: eagleOver(others.filter(({ name }) => name !== "self-speculative")),
  },
  {
    what: "tokens a pass: eagle over the best of the others, self-speculative with them, stories",
    target: atLeast(1),
    measure: eagleOver(others),
  },
  {
    what: "speed: the fastest without a second model over plain greedy, stories",
    target: atLeast(1.6),
    measure: fastest(open),
  },
  { what: "speed: the fastest with pylos over plain greedy, stories", target: reported(), measure: fastest(withDraft) },
  {
    what: "speed: the faster of prompt-lookup and aded over plain greedy, stories",
    target: reported(),
    measure: fastest(withoutDraft),
  },
  {
    what: "prompt tokens: expected tokens a pass against measured ones, relative difference",
    target: atMost(0.1, ""),
    measure: expected,
  },
  {
    what: "prompt tokens on pylos: draft passes over plain drafting's, same texts",
    target: atMost(1),
    measure: onDraft,
  },
  {
    what: "prompt tokens on pylos: tokens a pass, stories",
    target: reported("tokens"),
    measure: tokensPerPass("stories", onPylos, 0),
  },
  {
    what: "prompt tokens on pylos: speed over plain greedy, stories",
    target: reported(),
    measure: fastest([onPylos]),
  },
  {
    what: "lexical units: tokens a pass where at least 97 % are the model's own choice",
    target: atLeast(1.3, " tokens"),
    measure: (settings) => lexicalUnits(settings.progress)(settings),
  },
  {
    what: "lexical units, beta 0.8: tokens a pass, stories",
    target: reported("tokens"),
    measure: unitsAgainstPlain({ name: "lexical-units" }, "tokens"),
  },
  {
    what: "lexical units, beta 0.8: speed over plain greedy of the same model, stories",
    target: reported(),
    measure: unitsAgainstPlain({ name: "lexical-units" }, "speed"),
  },
  {
    what: "lexical units, verified: tokens a pass, stories",
    target: reported("tokens"),
    measure: unitsAgainstPlain(verifiedUnits, "tokens"),
  },
  {
    what: "lexical units, verified: speed over plain greedy of the same model, stories",
    target: reported(),
    measure: unitsAgainstPlain(verifiedUnits, "speed"),
  },
  ...["medusa", "prompt-tokens", "hidden-transfer", "eagle", "self-speculative", "lexical-units"].map(lawRow),
  {
    what: "texts that are plain decoding's, alone and in eights, temperature 0",
    target: atLeast(1, ""),
    measure: identity(0),
  },
  {
    what: "texts that are plain sampling's of the seed, alone and in eights, temperature 0.8",
    target: atLeast(1, ""),
    measure: identity(0.8),
  },
  ...family.map((method) => ({
    what: `simulated, passes of equal cost: ${method.name} over plain greedy, stories`,
    target: reported(),
    measure: flat(method),
  })),
  ...sweepRows,
];
