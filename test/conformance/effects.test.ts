/**
 * No option is ignored in silence: set to another value than its default, each has an effect on what a run tells, or is refused by its name.
 * An option without an entry here is a failing test.
 */

import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { methodChoice } from "../../src/calls.ts";
import type { TraceEvent } from "../../src/engine/trace.ts";
import { type DecodeOptions, type Model, methods, open } from "../../src/index.ts";
import { type TinyDiffusion, writeTinyDiffusion } from "../fixtures/tiny-diffusion.ts";
import { removeModel, type TinyModel, writeTinyModel } from "../fixtures/tiny-model.ts";
import { entries } from "./entries.ts";
import { traceOf } from "./suite.ts";

interface Change {
  readonly to: unknown;
  /** Other options, before and after the change. */
  readonly beside?: Readonly<Record<string, unknown>>;
  readonly request?: DecodeOptions;
}

/** The file and title of the test that shows it, where one short request cannot. */
type Elsewhere = readonly [file: string, title: string];

type Changes = Readonly<Record<string, Change | Elsewhere>>;

const to = (value: unknown, beside?: Change["beside"], request?: DecodeOptions): Change => ({
  to: value,
  beside,
  request,
});

/** Draws of the draft follow a distribution of its own under the published rule; the race expects winners of it. */
const ofDraft: Changes = {
  draft: to("the model itself"),
  draftTemperature: to(0.2),
  draftTopK: to(1),
};
const verification = { verification: to("published") };
const foresight: Changes = {
  levels: to(1),
  budget: to(2),
  by: to("rank"),
  estimate: to("measured"),
  topK: to(1),
};
const acceptance: Changes = {
  acceptance: to("typical"),
  epsilon: to(0.0001, { acceptance: "typical", alpha: 1 }),
  alpha: to(0.0001, { acceptance: "typical", epsilon: 0.9 }),
};
const rewarded = { delimiters: ["t", "e"], maxStepTokens: 4, reward: ({ text }: { text: string }) => lettersA(text) };
const lettersA = (text: string): number => (1 + [...text].filter((letter) => letter < "k").length) / (2 + text.length);
const otherReward = ({ text }: { text: string }): number => 1 / (1 + text.length);
const steps: Changes = { delimiters: to(["a"]), maxStepTokens: to(2) };
const rewards: Changes = {
  ...steps,
  reward: to(otherReward),
  rewardHead: to("nowhere", { reward: undefined }),
  aggregate: to("product"),
};
const answer = "([a-h])";
const loose = { regex: "[^q]{1,60}" };
const ending = { regex: "[a-h]{1,4}" };
const canvas: Changes = {
  blockLength: to(4),
  cache: to("dual"),
  refresh: to(2, { cache: "delayed" }),
  guidance: to(2),
  earlyStop: to(false, {}, { stop: ["a", "e", "t", " "] }),
};

const changes: Readonly<Record<string, Changes>> = {
  greedy: {},
  sample: {},
  chain: { ...ofDraft, ...verification, length: to(5), minimumReach: to(0.99) },
  "prompt-lookup": {
    length: to(1),
    occurrences: [
      "src/methods/speculative/prompt-lookup/prompt-lookup.test.ts",
      "merges several occurrences into a tree",
    ],
    budget: to(1),
    minimum: to(4),
    maximum: [
      "src/methods/speculative/prompt-lookup/prompt-lookup.test.ts",
      "finds what a search of the whole context finds",
    ],
  },
  "spec-infer": {
    ...ofDraft,
    ...verification,
    branches: to([1, 1]),
    budget: to(1),
    replacement: to(false, { verification: "published" }),
  },
  sequoia: { ...ofDraft, ...verification, budget: to(3), depth: to(1) },
  dyspec: {
    ...ofDraft,
    ...verification,
    budget: to(3),
    algorithm: to("threshold"),
    estimate: to("draft"),
    threshold: to(0.9, { algorithm: "threshold" }),
    width: to(1, { budget: 24 }),
    maximumPasses: to(1, { width: 1 }),
  },
  "top-k": { ...ofDraft, budget: to(2), width: to(1), maximumPasses: to(1) },
  aded: {
    table: to("nowhere"),
    isolate: ["src/methods/speculative/aded/aded.test.ts", "a conversation's layer keeps its updates to itself"],
    primePrompt: ["src/methods/speculative/options.test.ts", "primePrompt: a tri-gram far above is known"],
    ...verification,
    contexts: to([1, 2]),
    budget: to(1),
    iterations: ["src/methods/speculative/aded/aded.test.ts", '["iterations", { iterations: 1 }'],
    pathLength: to(2),
    paths: to(1),
    c1: ["src/methods/speculative/aded/aded.test.ts", "visits and rewards of four iterations"],
    c2: ["src/methods/speculative/aded/aded.test.ts", "{ c1: 0.3, c2: 40 }"],
    search: [
      "src/methods/speculative/aded/aded.test.ts",
      "search and no search draft the same where the search may end by itself",
    ],
    reward: ["src/methods/speculative/aded/aded.test.ts", "the authors' reward looks up the wrong token"],
    cut: to("repo", { paths: 4 }),
    step: to(0.1),
    forget: ["src/methods/speculative/aded/aded.test.ts", "credit adds up to the cap"],
    maximumWeight: ["src/methods/speculative/aded/aded.test.ts", "credit adds up to the cap"],
    window: [
      "src/methods/speculative/aded/aded.test.ts",
      "with a window, the update credits the tri-grams of the last tokens anew",
    ],
  },
  medusa: { heads: to("nowhere"), ...foresight, ...acceptance },
  "prompt-tokens": {
    prompts: to("nowhere"),
    ...foresight,
    ...acceptance,
    draft: to("nowhere"),
    length: to(2),
    tree: to("published"),
    expectation: to("published", { tree: "published", budget: 40 }),
  },
  "hidden-transfer": {
    transfers: to("nowhere"),
    ...foresight,
    ...acceptance,
    tree: to("published"),
    expectation: to("published", { tree: "published", budget: 40 }),
  },
  eagle: { layer: to("nowhere"), budget: to(2), width: to(1), depth: to(1), topK: to(1) },
  multimodal: { layer: to("nowhere"), budget: to(2), width: to(1), depth: to(1), topK: to(1) },
  "self-speculative": {
    skip: to(["mlp.1"]),
    budget: to(1),
    width: to(3, { budget: 12 }),
    depth: to(1),
    topK: to(1, { width: 3 }),
  },
  "lexical-units": {
    beta: to(2),
    lookAhead: to(2),
    guard: to(false),
    verify: to(true, { beta: undefined }),
    pad: to(9),
  },
  awrs: {
    estimator: to("geometric"),
    loops: ["src/methods/constrained/constrained.test.ts", "with %d loops and at most %d rejections"],
    maxRejects: to(2),
    mostMissed: [
      "src/methods/constrained/listed.test.ts",
      "refuses by option what is not exact, and says how much it is",
    ],
  },
  smc: {
    estimator: to("geometric"),
    loops: ["src/methods/constrained/constrained.test.ts", "with %d loops and at most %d rejections"],
    maxRejects: to(2),
    mostMissed: [
      "src/methods/constrained/listed.test.ts",
      "refuses by option what is not exact, and says how much it is",
    ],
    particles: to(3),
    threshold: to(0),
    proposal: to("model", { particles: 60 }, { constraint: loose }),
    verify: to("end", { proposal: "model", particles: 60 }, { constraint: loose }),
    answer: to("heaviest", { particles: 12 }, { constraint: loose, maxTokens: 6 }),
    critic: to(() => 0.5),
  },
  beam: {
    beams: to(2),
    lengthPenalty: to(3),
    earlyStopping: ["src/methods/search/beams.test.ts", "the bound on live beams changes nothing but the work"],
    stochastic: to(true),
  },
  "diverse-beam": {
    beams: to(3),
    lengthPenalty: to(3),
    earlyStopping: ["src/methods/search/beams.test.ts", "the bound on live beams changes nothing but the work"],
    groups: to(2),
    strength: to(9),
    diversity: to("cumulative"),
    ngram: to(1, { diversity: "ngram" }),
    diversityTemperature: to(0.01, { diversity: "cumulative", strength: 5 }),
    penalizeEnd: to(false, { strength: 5 }, { constraint: ending }),
    rankBy: to("augmented"),
  },
  "a-star": {
    ...rewards,
    answer: to(answer, { answerBy: "vote" }),
    children: to(2),
    atOnce: to(1),
    slack: to(1),
    edgeCost: ["src/methods/search/steps.test.ts", "f is what its closed forms say, for every cost"],
    scope: to("children"),
    until: ["src/methods/search/steps.test.ts", "until generated ends as soon as nothing that waits is better"],
    answerBy: ["src/methods/search/steps.test.ts", "the answer by reward and by vote, among all that were finished"],
    budget: to(20),
    reserve: ["src/methods/search/steps.test.ts", "a budget is kept, and what was kept of it completes the best"],
    maxOpen: to(2),
  },
  "best-of-n": {
    ...rewards,
    samples: to(2),
    answerBy: to("vote", { answer: "(.)", samples: 12, reward: () => 0.5 }, { constraint: ending }),
    answer: to(answer, { answerBy: "vote" }),
  },
  "self-consistency": { ...steps, samples: to(2), answer: to(answer) },
  "particle-filtering": {
    ...rewards,
    particles: to(2),
    weightTemperature: to(0.05),
    resampleFinished: to(false),
    answer: to(answer),
  },
  "reward-beam": { ...rewards, samples: to(8), children: to(4), subtrees: to(true), answer: to(answer) },
  "low-confidence": { ...canvas, steps: to(3) },
  "fixed-k": { ...canvas, k: to(1) },
  random: { ...canvas, steps: to(3), schedule: to("time") },
  entropy: { ...canvas, steps: to(3), schedule: to("time"), orderTemperature: to(1) },
  margin: { ...canvas, steps: to(3), schedule: to("time"), orderTemperature: to(1) },
  threshold: {
    ...canvas,
    earlyStop: ["src/methods/diffusion/bad-input.test.ts", "without it the whole canvas is filled"],
    threshold: to(0.9),
  },
  localleap: { ...canvas, anchor: to(0.9), relaxed: to(0.05), radius: to(1, { anchor: 0.1, relaxed: 0.01 }) },
  learn2pd: {
    ...canvas,
    filter: to("nowhere"),
    threshold: to(0.1),
    eotp: [
      "src/methods/diffusion/learn2pd/learn2pd.test.ts",
      "an end that is predicted cuts the canvas, for good, and saves passes",
    ],
    steps: to(3),
  },
  oracle: {
    ...canvas,
    earlyStop: ["src/methods/diffusion/bad-input.test.ts", "without it the whole canvas is filled"],
    reference: to([1, 2, 3]),
  },
};

const prompt = "the cat sat. the hat and the cat met the bat. the c";
const constraint = { regex: "[a-c ]{3,20}" };
const growing: DecodeOptions = { temperature: 0.8, seed: 5, maxTokens: 24 };
/** Methods whose entry elsewhere leaves something to show: their options before the change, and the request. */
const bases: Readonly<Record<string, { options?: Record<string, unknown>; request?: DecodeOptions }>> = {
  "prompt-lookup": { request: { ...growing, temperature: 0, frequencyPenalty: 2 } },
  aded: {
    options: { table: "empty", isolate: true, primePrompt: true, contexts: [], budget: 8 },
    request: { ...growing, temperature: 0.4, maxTokens: 40 },
  },
  "lexical-units": { options: { pad: 7, beta: 0 } },
  awrs: { request: { ...growing, constraint } },
  smc: { options: { particles: 4 }, request: { ...growing, constraint } },
  beam: { options: { beams: 4 } },
  "diverse-beam": { options: { beams: 6, groups: 3, strength: 1 } },
  "a-star": { options: { ...rewarded, children: 3 } },
  "best-of-n": { options: { ...rewarded, samples: 4 } },
  "self-consistency": { options: { delimiters: ["t", "e"], maxStepTokens: 4, samples: 4 } },
  "particle-filtering": { options: { ...rewarded, particles: 4 } },
  "reward-beam": { options: { ...rewarded, samples: 4, children: 2 } },
  "fixed-k": { options: { k: 3 } },
  threshold: { options: { threshold: 0.3 } },
  localleap: { options: { anchor: 0.4, relaxed: 0.2 } },
  learn2pd: { options: { filter: "none", eotp: "repo" } },
};
/** Their options act over several requests, or choose among methods: tests of their own show them. */
const apart = ["online", "auto"];

test("every option of every method has an entry", () => {
  for (const { name, options } of methods) {
    if (apart.includes(name)) continue;
    expect([name, Object.keys(changes[name] ?? {}).sort()]).toEqual([name, Object.keys(options.shape).sort()]);
  }
});

test("what is shown elsewhere is shown there", () => {
  const elsewhere = Object.values(changes)
    .flatMap((of) => Object.values(of))
    .filter((one) => Array.isArray(one));
  for (const [file, title] of elsewhere as Elsewhere[]) expect(readFileSync(file, "utf8")).toContain(title);
});

/** Prompts may be cached; the settings of a run are no effect of theirs, and the end repeats what was counted. */
const ofMethod = ({ type }: TraceEvent): boolean => !["start", "prefill", "end", "done", "finish"].includes(type);

/** What a run told and gave, but for times and for what was cached before; or the error that it ended with. */
async function account(model: Model, method: Record<string, unknown>, request: DecodeOptions): Promise<string> {
  try {
    const run = model.decode(prompt, { ...request, method: methodChoice(method as { name: string }) });
    const told = await traceOf(run);
    const { counters, tokens, hypotheses, finish } = await run.final;
    const { generated, drafted, accepted, draftPasses, tokensPerPass, constraintChecks } = counters;
    const counted = { generated, drafted, accepted, draftPasses, tokensPerPass, constraintChecks };
    const untimed = (key: string, value: unknown) => (/seconds/i.test(key) ? undefined : value);
    return JSON.stringify({ told: told.filter(ofMethod), counted, tokens, hypotheses, finish }, untimed);
  } catch (error) {
    return `${(error as { code?: string }).code}: ${(error as Error).message}`;
  }
}

describe.each(
  methods
    .filter(({ name, options }) => !apart.includes(name) && Object.keys(options.shape).length > 0)
    .map(({ name, needs }) => [name, needs ?? []] as const),
)("%s", (name, needs) => {
  const files: (TinyModel | TinyDiffusion)[] = [];
  let model: Model;
  let base: Record<string, unknown>;
  let request: DecodeOptions;
  beforeAll(async () => {
    const overCanvas = needs.includes("canvas" as never);
    const smaller = { num_hidden_layers: 1, intermediate_size: 32 };
    if (overCanvas) files.push(await writeTinyDiffusion({ tokenizer: true }));
    else
      files.push(await writeTinyModel({ tokenizer: true }), await writeTinyModel({ tokenizer: true, config: smaller }));
    const [{ folder }, draft] = files;
    model = await open(folder, { threads: 1 });
    await entries[name]?.prepare?.(model, folder);
    const given = bases[name]?.options ?? (overCanvas ? {} : entries[name]?.options?.(draft.folder));
    base = { name, ...(overCanvas && { blockLength: 8 }), ...given };
    request = bases[name]?.request ?? growing;
    if (name !== "oracle") return;
    const lowConfidence = { name: "low-confidence", blockLength: 8, earlyStop: false };
    const { canvas: reference } = await model.decode(prompt, { maxTokens: 24, method: methodChoice(lowConfidence) })
      .final;
    [base, request] = [
      { ...base, reference },
      { temperature: 0, maxTokens: 24 },
    ];
  });
  afterAll(async () => {
    await model?.close();
    for (const file of files) {
      if ("vectors" in file || files.length === 1) await rm(file.folder, { recursive: true, force: true });
      else await removeModel(file as TinyModel);
    }
  });

  const shown = Object.entries(changes[name] ?? {}).filter(
    (entry): entry is [string, Change] => !Array.isArray(entry[1]),
  );
  test.each(shown)("%s", async (option, change) => {
    const before: Record<string, unknown> = { ...base, ...change.beside };
    const value = change.to === "the model itself" ? files[0].folder : change.to;
    const given = { ...request, ...change.request };
    const plain = await account(model, before, given);
    const changed = await account(model, { ...before, [option]: value }, given);
    const again = await account(model, before, given);
    if (/^(bad_option|unavailable): /.test(changed)) expect(changed).toMatch(new RegExp(`${option}|${value}`));
    else {
      expect(plain.startsWith("{")).toBe(true);
      expect(again).toBe(plain);
      expect(changed).not.toBe(plain);
    }
  });
});
