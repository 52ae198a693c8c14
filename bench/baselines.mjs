/**
 * The methods that other papers measure themselves against: tokens a target pass beside what was published of them, in the same units. Counts,
 * not times: a busy machine gives the same. Speeds are rows of other benchmarks. scripts/tables.mjs writes the READMEs' tables from both.
 */
import { reported } from "./harness/report.mjs";
import { openModel, shippedModel } from "./ours.mjs";
import { needing } from "./speculation.mjs";

/**
 * A published figure, and the row of a record that stands beside it.
 * @typedef {{ value: number | string, setting: string }} Published
 * @typedef {{ unit: string, published: Published, ours: string, benchmark?: string, what: string, measure?: Measure }} Figure
 * @typedef {import("./harness/report.mjs").RowDefinition["measure"]} Measure
 * @typedef {{ name: string } & Record<string, unknown>} Method
 */

const specBench = "Spec-Bench, Vicuna-7B in FP16 on an A100, greedy";
const dyspecPaper = "table of DySpec's paper, 68M draft for Llama-2-7B, C4, budget 64";

/** @type {Promise<any> | undefined} */
let opened;
const target = () =>
  (opened ??= openModel(/** @type {string} */ (shippedModel("knossos")), { threads: 2 }).then(({ model }) => model));

/**
 * Tokens that requests got for each of their rounds, one request after another.
 * @param {readonly (readonly number[])[]} prompts one a request @param {Method} method @param {number} temperature @param {number} tokens of each
 */
async function perRound(prompts, method, temperature, tokens) {
  const model = await target();
  const requests = [];
  for (const [request, prompt] of prompts.entries()) {
    const options = { method, temperature, request, maxTokens: tokens, minTokens: tokens };
    const { counters } = await model.decode(prompt, options).final;
    requests.push({ tokens: counters.generated - 1, perPass: counters.tokensPerPass });
  }
  return requests;
}

/** @param {readonly { tokens: number, perPass: number }[]} requests */
const summed = (requests) => ({
  value:
    requests.reduce((sum, { tokens }) => sum + tokens, 0) /
    requests.reduce((sum, { tokens, perPass }) => sum + tokens / perPass, 0),
  runs: requests.map(({ perPass }) => perPass),
});

/** @param {Method} method @param {number} [temperature] @returns {Measure} */
const perPass = (method, temperature = 0) =>
  needing(async ({ prompts, tokens }) => summed(await perRound(prompts("questions"), method, temperature, tokens)));

/**
 * Tokens a pass on Spec-Bench's questions beside a published figure.
 * @param {Method} method @param {Published} published @param {string} how @param {number} [temperature]
 * @returns {Figure}
 */
const counted = (method, published, how, temperature = 0) => ({
  unit: "tokens a pass",
  published,
  ours: `knossos${method.draft ? ` with ${method.draft}` : ""}, ${how}, ${temperature === 0 ? "greedy" : `temperature ${temperature}`}, Spec-Bench's questions`,
  what: `${method.name}${temperature === 0 ? "" : `, temperature ${temperature}`}: tokens a target pass on Spec-Bench's questions`,
  measure: perPass(method, temperature),
});

/** @param {string} name @param {Published} published @returns {Figure} */
const speed = (name, published) => ({
  unit: "× plain decoding",
  published,
  ours: "knossos, greedy, as the method comes, Spec-Bench's questions",
  benchmark: "speculation",
  what: `${name}, questions: speed over plain greedy`,
});

const draft = "pylos";
/** The published shapes at 64 drafted tokens. */
const tree = { draft, verification: "published", budget: 64 };

/** How many requests `auto` learns from before those that are counted. */
const lessons = 60;

/** Tokens a pass of what the bandit chooses once it has learnt. @type {Measure} */
const chosen = needing(async ({ prompts, tokens }, { quick }) => {
  const texts = prompts("questions");
  // The same prompts come several times, and a table must not know their answers.
  const arms = ["sample", "prompt-lookup", { name: "aded", isolate: true }, { name: "dyspec", draft }];
  const method = { name: "auto", state: "none", arms };
  const count = texts.length + (quick ? 0 : lessons);
  const requests = Array.from({ length: count }, (_, request) => texts[request % texts.length]);
  return summed((await perRound(requests, method, 0, tokens)).slice(-texts.length));
});

/** By method, in the order of its table. @type {Readonly<Record<string, readonly Figure[]>>} */
export const figures = {
  chain: [
    counted(
      { name: "chain", draft, length: 5 },
      { value: 2.28, setting: `draft model, ${specBench}` },
      "5 drafted tokens",
    ),
    speed("chain", { value: 1.52, setting: `draft model, ${specBench}` }),
  ],
  "spec-infer": [
    counted(
      { name: "spec-infer", ...tree, branches: [4, 2, 2, 1, 1, 1] },
      { value: 3.32, setting: `${dyspecPaper}, temperature 0` },
      "budget 64",
    ),
    counted(
      { name: "spec-infer", ...tree, branches: [4, 2, 2, 1, 1, 1] },
      { value: 3.44, setting: `${dyspecPaper}, temperature 0.6` },
      "budget 64",
      0.6,
    ),
    speed("spec-infer", { value: 1.79, setting: `${dyspecPaper}, temperature 0, on an A100` }),
  ],
  sequoia: [
    counted({ name: "sequoia", ...tree }, { value: 4.99, setting: `${dyspecPaper}, temperature 0` }, "budget 64"),
    counted(
      { name: "sequoia", ...tree },
      { value: 3.45, setting: `${dyspecPaper}, temperature 0.6` },
      "budget 64",
      0.6,
    ),
    speed("sequoia", { value: 2.64, setting: `${dyspecPaper}, temperature 0, on an A100` }),
  ],
  "top-k": [
    counted(
      { name: "top-k", draft, budget: 60, width: 10 },
      { value: 4.34, setting: `EAGLE-2, whose trees these are, with a draft layer of its own; ${specBench}` },
      "60 drafted tokens, 10 a pass",
    ),
    speed("top-k", { value: 2.36, setting: `EAGLE-2, ${specBench}` }),
  ],
  eagle: [
    counted(
      { name: "eagle", budget: 60, width: 10, depth: 5 },
      { value: 4.34, setting: `EAGLE-2, ${specBench}; EAGLE with its fixed tree 3.58` },
      "60 drafted tokens in at most 5 passes of 10",
    ),
  ],
  medusa: [
    counted(
      { name: "medusa", budget: 63 },
      { value: 2.31, setting: `5 heads, ${specBench}` },
      "4 heads, 63 drafted tokens",
    ),
  ],
  "prompt-lookup": [
    counted({ name: "prompt-lookup" }, { value: 1.75, setting: specBench }, "as it comes"),
    speed("prompt-lookup", { value: 1.66, setting: specBench }),
  ],
  "self-speculative": [
    counted(
      { name: "self-speculative", budget: 8 },
      {
        value: "none stated in what we could read; up to 1.99× plain decoding",
        setting: "LLaMA-2 and its variants, the paper's abstract",
      },
      "8 drafted tokens",
    ),
  ],
  auto: [
    {
      unit: "tokens a pass",
      published: {
        value: 3.98,
        setting: "UCBSpec of BanditSpec's paper, LLaMA-3-8B on an A100, Spec-Bench; its best arm alone, EAGLE-2, 3.94",
      },
      ours: `knossos, greedy, among plain, prompt-lookup, aded (each request alone) and dyspec, after ${lessons} requests; it looks for the fastest, not for most tokens a pass`,
      what: "auto: tokens a target pass on Spec-Bench's questions",
      measure: chosen,
    },
  ],
};

export const rows = Object.values(figures)
  .flat()
  .flatMap(({ what, measure }) => (measure ? [{ what, target: reported(""), measure }] : []));
