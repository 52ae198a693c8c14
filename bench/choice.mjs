/**
 * What it costs to choose, and what choosing gains: every prompt is decoded three times in each way, of which the last two count, and the
 * method `auto`'s learner then plays requests against the measured seconds ("simulated": the same requests in every way, without an hour of
 * decoding for each). One row decodes with `auto` itself and compares texts, of stories, which come first. Then the bandits on synthetic
 * losses and public tables (choice-sets.mjs).
 */
import { performance } from "node:perf_hooks";
import { setRows } from "./choice-sets.mjs";
import { median } from "./harness/measure.mjs";
import { atMost, reported } from "./harness/report.mjs";
import { openModel, ourChoice, shippedModel } from "./ours.mjs";
import { promptsOf, specBench, textsMissing } from "./texts.mjs";

/** @typedef {import("./harness/report.mjs").Settings} Settings */
/** @typedef {import("./harness/report.mjs").Measurement} Measurement */

const kinds = /** @type {const} */ (["stories", ...Object.keys(specBench)]);
const arms = [
  { name: "sample" },
  { name: "prompt-lookup", length: 4 },
  { name: "prompt-lookup", length: 12 },
  { name: "aded", isolate: true }, // a prompt runs several times, and a table must not know its answer
  { name: "chain", draft: "pylos" },
  { name: "dyspec", draft: "pylos" },
];
const names = arms.map(({ name, ...options }) =>
  Object.keys(options).length > 0 ? `${name} ${JSON.stringify(options)}` : name,
);
const [promptLength, tokens, requests] = [192, 64, 300];

/** @typedef {{ kind: string, greedy: boolean, prompt: readonly number[], seconds: number[], perPass: number[] }} Case of one prompt, by arm */
/** Requests that are sampled at 0.8, and the same with as many greedy ones among them. @typedef {"sampled" | "half of them greedy"} Mix */

/** @type {Promise<{ cases: Case[], pace: number, model: any }> | undefined} measured once, for all rows */
let table;

/** @param {Settings} settings */
async function measureTable({ quick, progress }) {
  const { model } = await openModel(/** @type {string} */ (shippedModel("knossos")), { threads: 2 });
  const { passCurve, passSeconds } = await ourChoice();
  const pace = passSeconds(await passCurve(model), 1);
  /** @type {Case[]} */
  const cases = [];
  for (const kind of kinds) {
    progress(`  ${kind}`);
    const prompts = promptsOf(kind, quick ? 4 : 16, promptLength, (text) => model.tokenizer.encode(text));
    for (const [prompt, greedy] of prompts.flatMap((prompt) =>
      [false, true].map((greedy) => /** @type {const} */ ([prompt, greedy])),
    )) {
      /** @type {Case} */
      const one = { kind, greedy, prompt, seconds: [], perPass: [] };
      for (const method of arms) {
        /** @type {number[]} */
        const times = [];
        // The first run of each is not counted: drafts are opened and programs warmed up in it.
        for (let run = 0; run < (quick ? 2 : 3); run++) {
          const { counters, seconds } = await model.decode(prompt, {
            method: greedy && method.name === "sample" ? { name: "greedy" } : method,
            temperature: greedy ? 0 : 0.8,
            maxTokens: tokens,
            minTokens: tokens,
          }).final;
          if (run > 0) times.push(seconds.decode);
          one.perPass[arms.indexOf(method)] = counters.tokensPerPass;
        }
        one.seconds.push(median(times));
      }
      cases.push(one);
    }
  }
  return { cases, pace, model };
}

/** @param {readonly Case[]} cases @param {Mix} mix */
const ofMix = (cases, mix) => cases.filter(({ greedy }) => mix !== "sampled" || !greedy);

/**
 * The requests of one seed, chosen by `auto`'s learner: seconds of the choices, and of each arm, by kind.
 * @param {{ cases: Case[], pace: number }} measured @param {Mix} mix @param {string} policy @param {number} seed
 */
async function replay({ cases: all, pace }, mix, policy, seed) {
  const cases = ofMix(all, mix);
  const { openChooser, suited, uniform } = await ourChoice();
  const settings = { arms: names, policy, policyOptions: suited[policy] ?? {}, fingerprint: "", pace, insist: true };
  const chooser = await openChooser(settings);
  const chosen = Object.fromEntries(kinds.map((kind) => [kind, 0]));
  const fixed = Object.fromEntries(kinds.map((kind) => [kind, names.map(() => 0)]));
  for (let i = 0; i < requests; i++) {
    const one = cases[Math.floor(uniform({ seed, request: 0 }, i, "data") * cases.length)];
    const choice = chooser.choose({ prompt: one.prompt, greedy: one.greedy, constrained: false });
    const seconds = one.seconds[choice.arm];
    choice.served(tokens - 1, seconds, one.perPass[choice.arm]);
    chosen[one.kind] += seconds;
    for (const [arm, each] of one.seconds.entries()) fixed[one.kind][arm] += each;
  }
  await chooser.close();
  return { chosen, fixed };
}

/** @param {readonly number[]} values */
const sum = (values) => values.reduce((a, b) => a + b, 0);

/** Why nothing can be measured here, or undefined. */
const missing = () =>
  textsMissing() ?? ["knossos", "pylos"].flatMap((name) => (shippedModel(name) ? [] : [`models/${name} is absent`]))[0];

/** @param {(measured: { cases: Case[], pace: number, model: any }, settings: Settings) => Promise<Measurement>} measure */
const needing = (measure) => async (/** @type {Settings} */ settings) => {
  const skipped = missing();
  if (skipped) return { skipped };
  table ??= measureTable(settings);
  return measure(await table, settings);
};

/** @param {Mix} mix @param {string} policy @param {(one: Awaited<ReturnType<typeof replay>>) => number} ratioOf */
const simulated = (mix, policy, ratioOf) =>
  needing(async (measured, { runs }) => {
    /** @type {number[]} */
    const values = [];
    for (let seed = 1; seed <= 2 * runs; seed++) values.push(ratioOf(await replay(measured, mix, policy, seed)));
    return { value: median(values), runs: values };
  });

/** @param {Awaited<ReturnType<typeof replay>>} one */
const overSingle = ({ chosen, fixed }) => {
  const totals = names.map((_, arm) => sum(kinds.map((kind) => fixed[kind][arm])));
  return sum(Object.values(chosen)) / Math.min(...totals);
};

/** What choosing could gain at most: seconds of the fastest method of every group of prompts, over those of the best single one. @param {Mix} mix @param {(one: Case) => unknown} groupOf */
const bestOf = (mix, groupOf) =>
  needing(async (measured) => {
    const cases = ofMix(measured.cases, mix);
    /** @type {Map<unknown, Case[]>} */
    const groups = new Map();
    for (const one of cases) groups.set(groupOf(one), [...(groups.get(groupOf(one)) ?? []), one]);
    const secondsOf = (/** @type {readonly Case[]} */ some) =>
      names.map((_, arm) => sum(some.map((one) => one.seconds[arm])));
    const single = secondsOf(cases);
    const best = sum([...groups.values()].map((some) => Math.min(...secondsOf(some))));
    const value = best / Math.min(...single);
    return { value, runs: [value], note: `the best single one: ${names[single.indexOf(Math.min(...single))]}` };
  });

export const rows = [
  ...kinds.map((kind) => ({
    what: `simulated: seconds of auto in ${requests} sampled requests of all kinds, over the best fixed method's: ${kind}`,
    target: atMost(1.05),
    measure: simulated("sampled", "LinUCB", ({ chosen, fixed }) => chosen[kind] / Math.min(...fixed[kind])),
  })),
  .../** @type {const} */ (["sampled", "half of them greedy"]).flatMap((mix) => [
    {
      what: `simulated: seconds of auto over the best single method's, all kinds, ${mix}`,
      target: atMost(0.9),
      measure: simulated(mix, "LinUCB", overSingle),
    },
    {
      what: `what limits it: who knew the fastest method of each kind and temperature, over the best single one, ${mix}`,
      target: reported(),
      measure: bestOf(mix, ({ kind, greedy }) => `${kind} ${greedy}`),
    },
    {
      what: `who knew the fastest method of each prompt, over the best single one, ${mix}`,
      target: reported(),
      measure: bestOf(mix, (one) => one),
    },
  ]),
  ...["NeuSquareCB", "NeuFastCB", "LinearSquareCB"].map((policy) => ({
    what: `simulated: the same with ${policy}, sampled`,
    target: reported(),
    measure: simulated("sampled", policy, overSingle),
  })),
  {
    what: "texts of auto that differ from plain decoding's, sampled and greedy",
    target: atMost(0, ""),
    measure: needing(async ({ cases, model }, { runs }) => {
      let different = 0;
      for (const [i, { prompt }] of cases.slice(0, 4 * runs).entries()) {
        const request = { temperature: i % 2 === 0 ? 0.8 : 0, seed: i, maxTokens: 32 };
        const plain = await model.decode(prompt, { ...request, method: "sample" }).final;
        const method = { name: "auto", state: "none" };
        const { tokens: own } = await model.decode(prompt, { ...request, method }).final;
        if (own.join() !== plain.tokens.join()) different += 1;
      }
      return { value: different, runs: [different] };
    }),
  },
  ...["LinUCB", "NeuSquareCB", "NeuFastCB"].map((policy) => ({
    what: `a choice and its lesson, six arms and a prompt of 512 tokens, ${policy}`,
    target: reported(" µs"),
    /** @param {Settings} settings */
    async measure({ runs }) {
      const { openChooser, suited } = await ourChoice();
      const settings = { arms: names, policy, policyOptions: suited[policy], fingerprint: "", pace: 1, insist: true };
      const prompt = Array.from({ length: 512 }, (_, i) => (i * i) % 97);
      const chooser = await openChooser(settings);
      const round = () => chooser.choose({ prompt, greedy: false, constrained: false }).served(64, 50, 1);
      for (let i = 0; i < 200; i++) round();
      const values = Array.from({ length: runs }, () => {
        const started = performance.now();
        for (let i = 0; i < 200; i++) round();
        return (1000 * (performance.now() - started)) / 200;
      });
      return { value: median(values), runs: values };
    },
  })),
  ...setRows,
];
