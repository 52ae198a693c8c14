/** Speculative methods on knossos and its draft: tokens per pass, speed over plain decoding, costs, and the peer's own ones. */
import { alternate, format, median, ratio } from "./harness/measure.mjs";
import { atLeast, atMost, reported } from "./harness/report.mjs";
import { onlineAcceptance } from "./online.mjs";
import { openModel, shippedModel } from "./ours.mjs";
import { describeSettings, fastestSettings, startLlamaCpp } from "./peers/llama-cpp.mjs";
import { kinds, promptsOf, textsMissing } from "./texts.mjs";
import { ggufInCache, ggufOf } from "./weights/gguf.mjs";
import { grownCheckpoint } from "./weights/grown.mjs";

/** @typedef {import("./harness/report.mjs").Settings} Settings */
/** @typedef {import("./harness/report.mjs").Measurement} Measurement */
/** @typedef {import("./texts.mjs").Kind} Kind */
/** @typedef {{ name: string } & Record<string, unknown>} Method */

const threads = 2;
const [target, draft] = ["knossos", process.env.VENTRIS_BENCH_DRAFT ?? "pylos"];
const promptLength = 128;

/** Requests of one method leave nothing to the next: the same prompt runs several times, and a table must not know its answer. */
export const withoutDraft = [{ name: "prompt-lookup" }, { name: "aded", isolate: true }];
export const withDraft = ["chain", "spec-infer", "sequoia", "dyspec", "top-k"].map((name) => ({ name, draft }));
/** @type {readonly Method[]} */
const methods = [...withDraft, ...withoutDraft];

/** SpecInfer's trees are given by their branches: the largest of the usual shapes within each budget. */
const branches = { 16: [2, 2, 1, 1], 32: [2, 2, 2, 1, 1], 64: [4, 2, 2, 1, 1, 1] };
const budgets = /** @type {(16 | 32 | 64)[]} */ ([16, 32, 64]);

/**
 * A method held to a number of drafted nodes, in the race or as published: then DySpec has its paper's estimate, too.
 * @param {string} name @param {16 | 32 | 64} budget @param {"race" | "published"} verification @returns {Method}
 */
function atBudget(name, budget, verification = "race") {
  const shared = { name, draft, verification };
  if (name === "chain") return { ...shared, length: budget };
  if (name === "spec-infer") return { ...shared, branches: branches[budget], budget };
  const estimate = name === "dyspec" && verification === "published" ? { estimate: "draft" } : {};
  return { ...shared, budget, ...estimate };
}

/**
 * What speculates: knossos as it is, or grown to a larger model's cost (`weights/grown.mjs`), then in 4 bits.
 * @typedef {{ name: string, path: () => string, weights?: "int4", gguf: () => string }} Subject
 */
const shipped = () => /** @type {string} */ (shippedModel(target));
/** @type {Subject} */
const small = { name: target, path: () => target, gguf: () => ggufInCache(shipped(), "Q4_0") };
/** @param {import("./weights/grown.mjs").GrownShape} shape @returns {Subject} */
const grown = (shape) => ({
  name: `knossos grown to the ${shape === "1b" ? "1B" : "135M"} shape`,
  path: () => grownCheckpoint(shipped(), shape),
  weights: "int4",
  gguf: () => ggufOf(grownCheckpoint(shipped(), shape), "Q4_0"),
});

/** Why nothing can be measured here, or undefined. */
function missing() {
  const absent = [target, draft].find((name) => !shippedModel(name));
  return absent ? `models/${absent} is absent` : textsMissing();
}

/**
 * Runs the measurement with everything it needs, or says what is missing.
 * @param {(bench: ReturnType<typeof start> extends Promise<infer B> ? B : never, settings: Settings) => Promise<Measurement>} measure
 * @param {Subject} [subject]
 * @returns {(settings: Settings) => Promise<Measurement>}
 */
export const needing =
  (measure, subject = small) =>
  async (settings) => {
    const skipped = missing();
    return skipped ? { skipped } : measure(await started(settings.quick, subject), settings);
  };

/** @type {Map<string, ReturnType<typeof start>>} one model for all rows about it, open until the process ends */
const shared = new Map();
/** @param {boolean} quick @param {Subject} subject */
function started(quick, subject) {
  const known = shared.get(subject.name) ?? start(quick, subject);
  shared.set(subject.name, known);
  return known;
}

/** @param {boolean} quick @param {Subject} subject */
async function start(quick, { name, path, weights }) {
  const { model } = await openModel(path(), { threads, weights });
  const { tokenizer } = model;
  if (!tokenizer) throw new Error(`${name} has no tokenizer`);
  const [promptCount, tokens] = quick ? [2, 32] : [6, 96];
  /** @param {Kind} kind */
  const prompts = (kind) => promptsOf(kind, promptCount, promptLength, (text) => tokenizer.encode(text));

  /**
   * One generation: its counters, seconds a token, and the share of its time that target and draft passes took.
   * @param {readonly number[]} prompt @param {Method | undefined} method undefined: plain decoding @param {number} temperature
   * @param {number} request the number of its random draws
   */
  async function generate(prompt, method, temperature, request) {
    const forests = [model.forest, ...(method?.draft ? [(await model.companion(draft)).forest] : [])];
    const inPasses = () => forests.map(({ counters }) => counters.secondsInPasses);
    const [targetBefore, draftBefore = 0] = inPasses();
    const started = performance.now();
    const run = model.decode(prompt, { method, temperature, request, maxTokens: tokens, minTokens: tokens });
    const { counters, seconds } = await run.final;
    const wall = (performance.now() - started) / 1000;
    const [targetAfter, draftAfter = 0] = inPasses();
    return {
      counters,
      tokensPerSecond: (counters.generated - 1) / seconds.decode,
      targetShare: (targetAfter - targetBefore) / wall,
      draftShare: (draftAfter - draftBefore) / wall,
    };
  }

  /** @type {Map<string, ReturnType<typeof measure>>} rows share measurements */
  const known = new Map();
  /** @param {Kind} kind @param {Method} method @param {number} [temperature] */
  function against(kind, method, temperature = 0) {
    const key = JSON.stringify([kind, method, temperature]);
    const existing = known.get(key) ?? measure(kind, method, temperature);
    known.set(key, existing);
    return existing;
  }

  /**
   * A method and plain decoding in turns, over the prompts of a kind; the speeds are pairs by prompt.
   * @param {Kind} kind @param {Method} method @param {number} temperature
   */
  async function measure(kind, method, temperature) {
    const texts = prompts(kind);
    const rounds = quick ? 1 : 2;
    /** @type {Awaited<ReturnType<typeof generate>>[]} */
    const results = [];
    let [mine, plain] = [0, 0];
    const speeds = await alternate(
      async () => {
        const result = await generate(texts[mine % texts.length], method, temperature, mine++);
        results.push(result);
        return result.tokensPerSecond;
      },
      async () => (await generate(texts[plain % texts.length], undefined, temperature, plain++)).tokensPerSecond,
      texts.length * rounds,
    );
    const counted = results.slice(1); // the first pair warms up
    const sum = (/** @type {(result: typeof counted[number]) => number} */ of) =>
      counted.reduce((s, r) => s + of(r), 0);
    const allRounds = sum(({ counters }) => (counters.generated - 1) / counters.tokensPerPass);
    return {
      speeds,
      tokensPerPass: sum(({ counters }) => counters.generated - 1) / allRounds,
      perPrompt: counted.map(({ counters }) => counters.tokensPerPass),
      draftPassesPerRound: sum(({ counters }) => counters.draftPasses) / allRounds,
      draftShares: counted.map(({ draftShare }) => draftShare),
      otherShares: counted.map(({ targetShare, draftShare }) => 1 - targetShare - draftShare),
    };
  }

  return { against, prompts, tokens };
}

/** @param {number} temperature @param {Subject} [subject] @param {readonly Method[]} [candidates] */
const bestOf = (temperature, subject, candidates = methods) =>
  needing(async ({ against }, { progress }) => {
    const results = [];
    for (const method of candidates) {
      const { speeds, tokensPerPass } = await against("stories", method, temperature);
      results.push({ ...ratio(speeds), name: method.name });
      progress(`  ${method.name}: ${format(ratio(speeds).value)}× at ${format(tokensPerPass)} tokens a pass`);
    }
    const best = results.reduce((a, b) => (b.value > a.value ? b : a));
    return { value: best.value, runs: best.runs, note: best.name };
  }, subject);

/** @param {Kind} kind @param {Method} method */
const speedUp = (kind, method) =>
  needing(async ({ against }) => {
    const { speeds, tokensPerPass } = await against(kind, method);
    return { ...ratio(speeds), note: `${format(tokensPerPass)} tokens a pass` };
  });

/** @param {Kind} kind @param {Method} method */
const tokensPerPass = (kind, method) =>
  needing(async ({ against }) => {
    const { tokensPerPass, perPrompt } = await against(kind, method);
    return { value: tokensPerPass, runs: perPrompt };
  });

/** @param {Method} method */
const draftCost = (method) =>
  needing(async ({ against }) => {
    const { draftShares } = await against("stories", method);
    return { value: median(draftShares), runs: draftShares };
  });

/**
 * Tokens per pass over all kinds of text; `runs` has one ratio a kind.
 * @param {string} other @param {16 | 32 | 64} budget @param {number} temperature @param {"race" | "published"} rule
 */
const dyspecAgainst = (other, budget, temperature, rule) =>
  needing(async ({ against }) => {
    const figures = [];
    for (const kind of kinds) {
      const ours = (await against(kind, atBudget("dyspec", budget, rule), temperature)).tokensPerPass;
      const theirs = (await against(kind, atBudget(other, budget, rule), temperature)).tokensPerPass;
      figures.push({ kind, ours, theirs });
    }
    const total = (/** @type {"ours" | "theirs"} */ side) => figures.reduce((sum, figure) => sum + figure[side], 0);
    return {
      value: total("ours") / total("theirs"),
      runs: figures.map(({ ours, theirs }) => ours / theirs),
      note: figures.map(({ kind, ours, theirs }) => `${kind} ${format(ours)} and ${format(theirs)}`).join(", "),
    };
  });

/** @param {Kind} kind */
const adedAgainstLookup = (kind) =>
  needing(async ({ against }) => {
    const [lookup, aded] = [await against(kind, withoutDraft[0]), await against(kind, withoutDraft[1])];
    const [ours, theirs] = [ratio(aded.speeds), ratio(lookup.speeds)];
    return {
      value: ours.value / theirs.value,
      runs: ours.runs.map((value, run) => value / theirs.runs[run]),
      note: `${format(ours.value)}× and ${format(theirs.value)}× plain decoding`,
    };
  });

const outsidePasses = needing(async ({ against }) => {
  const { otherShares } = await against("stories", atBudget("dyspec", 64));
  return { value: median(otherShares), runs: otherShares };
});

/**
 * What a tree's counters give where a pass costs the same for any number of rows, as on a GPU with a large model: rounds
 * cost one target pass and their draft passes, each a fixed part of it. Not a measurement.
 * @param {Method} method @param {number} draftCost a draft pass over a target pass
 */
const simulated = (method, draftCost) =>
  needing(async ({ against }) => {
    const { tokensPerPass, draftPassesPerRound } = await against("stories", method);
    const value = tokensPerPass / (1 + draftPassesPerRound * draftCost);
    return {
      value,
      runs: [value],
      note: `${format(tokensPerPass)} tokens, ${format(draftPassesPerRound)} draft passes a round`,
    };
  });

/** @type {ReturnType<typeof onlineAcceptance> | undefined} both online rows read one stream */
let stream;

/** A stream in another style than the draft knows, served by a draft that learns and by one that does not. @param {boolean} quick */
function shiftedStream(quick) {
  stream ??= onlineAcceptance({ target, draft, requests: quick ? 20 : 120, svg: "" });
  return stream;
}

const onlineGain = needing(async (_, { quick }) => {
  const { gain, static: fixed, learning, updates } = await shiftedStream(quick);
  const last = [fixed, learning].map((side) => side.last.acceptance.toFixed(3));
  return { value: gain, runs: [gain], note: `${last[0]} without and ${last[1]} with learning, ${updates} updates` };
});

const onlineSpeed = needing(async (_, { quick }) => {
  const { static: fixed, learning } = await shiftedStream(quick);
  return speedOver(learning.last, fixed.last);
});

const learnedSpeed = needing(async (_, { quick }) => {
  const { paused } = await shiftedStream(quick);
  return speedOver(paused.learning, paused.static);
});

/** @typedef {{ tokensPerSecond: number, tokensPerPass: number, acceptance: number }} Summary @param {Summary} a @param {Summary} b */
function speedOver(a, b) {
  const value = a.tokensPerSecond / b.tokensPerSecond;
  const note = `tokens per pass ${format(a.tokensPerPass / b.tokensPerPass)}×, acceptance ${b.acceptance.toFixed(3)} and ${a.acceptance.toFixed(3)}`;
  return { value, runs: [value], note };
}

/** @typedef {import("./peers/llama-cpp.mjs").Predictor} Predictor */

/**
 * Settings of the peer's predictors that are tried; the first of each are its defaults. Its own loop takes one predicted
 * token a pass at most, so that short drafts suit it best; the corrected one wants longer ones.
 * @param {"draft" | "lookup"} kind @param {boolean} verified @param {string} gguf of the draft @returns {Predictor[]}
 */
function predictors(kind, verified, gguf) {
  if (kind === "lookup") {
    const longer = { patternLength: { min: 2 }, predictionLength: { max: 8 } };
    return [{}, { predictionLength: { max: 1 } }, longer].map((options) => ({ kind, verified, options }));
  }
  const lengths = verified ? [3, 6, 10] : [1, 2, 6];
  const tuned = lengths.flatMap((length) =>
    [0, 0.4].map((minConfidence) => ({ minTokens: length, maxTokens: length, minConfidence })),
  );
  return [{}, ...tuned].map((options) => ({ kind, verified, gguf, options }));
}

/**
 * Our fastest method of a list against the peer's predictor in its fastest setting, both from the same Q4_0 files.
 * @param {Kind} kind @param {readonly Method[]} candidates @param {"draft" | "lookup"} side
 * @param {boolean} verified the peer in a loop that verifies whole drafts, instead of its own
 * @param {Subject} [subject]
 */
const againstPredictor = (kind, candidates, side, verified, subject = small) =>
  needing(async ({ prompts, tokens, against }, { quick, progress }) => {
    const [ggufs, texts] = [
      [subject.gguf(), ggufInCache(/** @type {string} */ (shippedModel(draft)), "Q4_0")],
      prompts(kind),
    ];
    const speeds = [];
    for (const method of candidates) speeds.push(ratio((await against(kind, method)).speeds).value);
    const chosen = candidates[speeds.indexOf(Math.max(...speeds))];
    const method = chosen.draft ? { ...chosen, draft: ggufs[1] } : chosen;
    const ours = await openModel(ggufs[0], { threads });
    const peer = startLlamaCpp(ggufs[0], { contextSize: 512 });
    try {
      const { settings, tried } = await fastestSettings(peer, [1, threads], texts[0], tokens / 2);
      const peerSpeed = async (/** @type {readonly number[]} */ text) =>
        tokens / (await peer.generate(text, tokens)).seconds;
      const options = [];
      for (const predictor of predictors(side, verified, ggufs[1]).slice(0, quick ? 2 : undefined)) {
        await peer.open({ ...settings, predictor });
        await peerSpeed(texts[0]);
        options.push({ predictor, speed: median([await peerSpeed(texts[0]), await peerSpeed(texts[1])]) });
      }
      const { predictor } = options.reduce((a, b) => (b.speed > a.speed ? b : a));
      const setting = JSON.stringify(predictor.options);
      progress(`  node-llama-cpp: plain ${tried.map(describeSettings).join("; ")}; its fastest predictor: ${setting}`);
      await peer.open({ ...settings, predictor });
      let [mine, theirs] = [0, 0];
      const measured = await alternate(
        async () => {
          const run = ours.model.decode(texts[mine++ % texts.length], {
            method,
            temperature: 0,
            maxTokens: tokens + 1,
            minTokens: tokens,
          });
          const { counters, seconds } = await run.final;
          return (counters.generated - 1) / seconds.decode;
        },
        () => peerSpeed(texts[theirs++ % texts.length]),
        texts.length,
        (line) => progress(`  ${line} tokens/s`),
      );
      const figures = [measured.a, measured.b].map((values) => median(values).toFixed(0));
      const plain = Math.max(...tried.map(({ tokensPerSecond }) => tokensPerSecond));
      return {
        ...ratio(measured),
        note: `${chosen.name} ${figures[0]}/s, node-llama-cpp ${figures[1]}/s with ${setting}, ${plain.toFixed(0)}/s without`,
      };
    } finally {
      await ours.close();
      await peer.close();
    }
  }, subject);

/** What drafts for the grown models: a tree, a chain, and tables without a model. @type {readonly Method[]} */
const drafting = [...withDraft.filter(({ name }) => name === "dyspec" || name === "chain"), withoutDraft[1]];
const grownRows = /** @type {const} */ ([
  ["135m", 2, 1.5],
  ["1b", 2.5, 1.8],
]).flatMap(([shape, greedy, sampled]) => {
  const subject = grown(shape);
  const what = `${subject.name}, 4 bits, stories: best method`;
  return [
    { what: `${what} over plain greedy`, target: atLeast(greedy), measure: bestOf(0, subject, drafting) },
    {
      what: `${what} over plain sampling at temperature 0.8`,
      target: atLeast(sampled),
      measure: bestOf(0.8, subject, drafting),
    },
    {
      what: `${what} with a draft against node-llama-cpp's corrected draft speculation`,
      target: atLeast(1.3),
      measure: againstPredictor("stories", drafting.slice(0, 2), "draft", true, subject),
    },
  ];
});

/** @type {import("./harness/report.mjs").RowDefinition[]} */
export const rows = [
  { what: "best method over plain greedy, stories", target: atLeast(2.5), measure: bestOf(0) },
  { what: "best method over plain sampling at temperature 0.8, stories", target: atLeast(1.8), measure: bestOf(0.8) },
  ...kinds.flatMap((kind) =>
    methods.flatMap((method) => [
      { what: `${method.name}, ${kind}: speed over plain greedy`, target: reported(), measure: speedUp(kind, method) },
      {
        what: `${method.name}, ${kind}: tokens per target pass`,
        target: reported(""),
        measure: tokensPerPass(kind, method),
      },
    ]),
  ),
  ...withDraft.map((method) => ({
    what: `${method.name}, stories: share of time in draft passes`,
    target: reported(""),
    measure: draftCost(method),
  })),
  .../** @type {const} */ (["published", "race"]).flatMap((rule) =>
    [0, 0.6].flatMap((temperature) =>
      budgets.flatMap((budget) =>
        ["chain", "sequoia", "spec-infer"].map((other) => ({
          what: `dyspec against ${other}, ${rule}, budget ${budget}, temperature ${temperature}: tokens per target pass`,
          target: rule === "published" ? atLeast(1) : reported(),
          measure: dyspecAgainst(other, budget, temperature, rule),
        })),
      ),
    ),
  ),
  { what: "aded against prompt-lookup, stories", target: atLeast(1.3), measure: adedAgainstLookup("stories") },
  { what: "aded against prompt-lookup, code, SQL and JSON", target: atLeast(2), measure: adedAgainstLookup("code") },
  {
    what: "share of a round outside model passes, dyspec at budget 64",
    target: atMost(0.1, ""),
    measure: outsidePasses,
  },
  {
    what: "online: acceptance on a stream of SQL questions, last 24 of 120 requests, learning minus not",
    target: atLeast(0.1, ""),
    measure: onlineGain,
  },
  { what: "online: tokens/s on the same requests, while learning over not", target: reported(), measure: onlineSpeed },
  {
    what: "online: tokens/s on 24 further requests on which no draft learns, learned draft over the unlearned one, both in float32",
    target: reported(),
    measure: learnedSpeed,
  },
  ...[false, true].flatMap((verified) => {
    const peer = `node-llama-cpp's ${verified ? "corrected " : ""}`;
    return [
      {
        what: `best method with a draft against ${peer}draft speculation, stories`,
        target: atLeast(1),
        measure: againstPredictor("stories", withDraft, "draft", verified),
      },
      {
        what: `best method without a draft against ${peer}lookup speculation, code, SQL and JSON`,
        target: atLeast(1),
        measure: againstPredictor("code", withoutDraft, "lookup", verified),
      },
    ];
  }),
  ...grownRows,
  ...budgets.map((budget) => ({
    what: `simulated, not measured: dyspec at budget ${budget}, stories, pass time flat over rows, a draft pass costs 1/50`,
    target: reported(),
    measure: simulated(atBudget("dyspec", budget), 1 / 50),
  })),
];
