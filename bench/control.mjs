/**
 * Constraints, particles and beams: what is exact is checked against enumeration, what is fast is timed, and what is promised to be valid is
 * given to judges of its own (ajv, SQLite, OpenChemLib). `--model` names the model that writes; knossos unless given. Answers to
 * questions are phaistos's.
 */
import { Ajv } from "ajv";
import ajvFormats from "ajv-formats";
import sqlParser from "node-sql-parser";
import { Molecule } from "openchemlib";
import initSqlJs from "sql.js";
import { median, quantile } from "./harness/measure.mjs";
import { atLeast, atMost, reported } from "./harness/report.mjs";
import { heldOutItems, meanOf, openModel, ourControl, ratioOf, shippedModel } from "./ours.mjs";
import { rows as solving } from "./solving.mjs";
import { dataMissing, gpt2Tokens, promptsOf, records, schemaGroups, textsMissing } from "./texts.mjs";
import { rows as truthful } from "./truthful.mjs";

/** @typedef {import("./harness/report.mjs").Settings} Settings */
/** @typedef {import("./harness/report.mjs").Measurement} Measurement */

let modelName = "knossos";

/** Before the rows are measured: the model that writes, a shipped one or a path. @param {string} name */
export function useModel(name) {
  modelName = name;
}

/** @type {Map<string, Promise<any>>} */
const opened = new Map();
/** @param {string} [name] @returns {Promise<any>} */
function model(name = modelName) {
  const known = opened.get(name) ?? openModel(shippedModel(name) ?? name, { threads: 2 }).then(({ model }) => model);
  opened.set(name, known);
  return known;
}

/** @param {string} data @param {(settings: Settings) => Promise<Measurement>} measure @returns {(settings: Settings) => Promise<Measurement>} */
const needing = (data, measure) => async (settings) => {
  const skipped = dataMissing(data);
  return skipped ? { skipped } : measure(settings);
};

// Exactness on toys.

/** @returns {Promise<Measurement>} */
async function weights() {
  const { awrsReproduction } = await ourControl();
  const worst = await awrsReproduction.largestBias();
  return { value: worst, runs: [worst], note: "adaptive, recursive and masking over every outcome of every draw" };
}

/** Languages small enough to write down all their texts. Letters, law by prefix, and the texts that are valid. */
const toys = [
  {
    letters: ["a", "b", "x", "y"],
    /** @param {string} prefix */
    law: (prefix) =>
      prefix === ""
        ? [0, 0.5, 0.5, 0, 0]
        : prefix.length > 1
          ? [1, 0, 0, 0, 0]
          : prefix === "a"
            ? [0, 0, 0, 0.01, 0.99]
            : [0, 0, 0, 0.99, 0.01],
    valid: ["ax", "bx"],
  },
  {
    letters: ["a", "b", "c"],
    /** @param {string} prefix */
    law: (prefix) =>
      prefix.length >= 3 ? [1, 0, 0, 0] : prefix.endsWith("a") ? [0.1, 0.2, 0.6, 0.1] : [0.2, 0.5, 0.1, 0.2],
    valid: ["abc", "aab", "bca", "c", "bb"],
  },
  {
    letters: ["0", "1"],
    /** @param {string} prefix */
    law: (prefix) => (prefix.length >= 6 ? [1, 0, 0] : prefix.endsWith("1") ? [0.05, 0.9, 0.05] : [0.05, 0.35, 0.6]),
    valid: ["010101", "111111", "0110", "000000", "10"],
  },
];

/** @param {(typeof toys)[number]} toy the model's law given that the text is valid */
function posteriorOf({ letters, law, valid }) {
  const masses = valid.map((text) => {
    let mass = 1;
    for (let i = 0; i <= text.length; i++) {
      mass *= law(text.slice(0, i))[i === text.length ? 0 : letters.indexOf(text[i]) + 1];
    }
    return mass;
  });
  const total = masses.reduce((a, b) => a + b, 0);
  return new Map(valid.map((text, i) => [text, masses[i] / total]));
}

/** @param {ReadonlyMap<string, number>} a @param {ReadonlyMap<string, number>} b */
const distance = (a, b) =>
  [...new Set([...a.keys(), ...b.keys()])].reduce(
    (sum, key) => sum + Math.abs((a.get(key) ?? 0) - (b.get(key) ?? 0)),
    0,
  ) / 2;

/** Largest distance in total variation over the toys. @param {"smc" | "awrs" | "masking"} way @returns {(settings: Settings) => Promise<Measurement>} */
const posterior =
  (way) =>
  async ({ quick }) => {
    const { runToy, smc, awrs, choices } = await ourControl();
    const [particles, rounds] = way === "masking" ? [1, quick ? 2_000 : 8_000] : [512, quick ? 20 : 120];
    const distances = [];
    for (const toy of toys) {
      const ours = new Map();
      for (let seed = 0; seed < rounds; seed++) {
        const full = { ...toy, constraint: choices(toy.valid), maxTokens: 8 };
        const run =
          way === "masking"
            ? await runToy(awrs, awrs.options.parse({ estimator: "improper" }), full, seed)
            : await runToy(smc, smc.options.parse({ particles, threshold: way === "smc" ? 0.5 : 0 }), full, seed);
        const found = way === "masking" ? new Map([[run.text, 1]]) : run.posterior;
        // Runs are weighed by the mass that they found: their mean is then unbiased.
        const evidence = way === "masking" ? 1 : Math.exp(run.logEvidence);
        for (const [text, share] of found) ours.set(text, (ours.get(text) ?? 0) + share * evidence);
      }
      const total = [...ours.values()].reduce((a, b) => a + b, 0);
      distances.push(distance(new Map([...ours].map(([text, mass]) => [text, mass / total])), posteriorOf(toy)));
    }
    return {
      value: Math.max(...distances),
      runs: distances,
      note: `${rounds} × ${particles} particles, ${toys.length} languages`,
    };
  };

// Numbers of checks.

/** Tokens of the vocabulary over checks a token. @param {any} opened @param {any} prompt @param {object} options */
async function checkRatio(opened, prompt, options) {
  const { counters } = await opened.decode(prompt, { method: "awrs", maxTokens: 80, ...options }).final;
  return (counters.generated * opened.config.vocabularySize) / counters.constraintChecks;
}

/** A model that knows what JSON is; the cost falls with that. @param {Settings} settings @returns {Promise<Measurement>} */
async function checksOfClerk({ quick }) {
  const opened = await model("phaistos");
  const runs = [];
  for (const { prompt, facts } of heldOutItems("json", quick ? 3 : 20)) {
    const messages = [{ role: "user", content: prompt }];
    runs.push(await checkRatio(opened, messages, { constraint: constraintOf.json(facts) }));
  }
  return { value: median(runs), runs, note: `phaistos, ${opened.config.vocabularySize} tokens, its JSON questions` };
}

/** @param {Settings} settings @returns {Promise<Measurement>} */
async function checks({ quick }) {
  const opened = await model();
  const { awrsReproduction } = await ourControl();
  const { opening, jsonSchema } = awrsReproduction;
  const runs = [];
  for (let request = 0; request < (quick ? 3 : 20); request++) {
    runs.push(await checkRatio(opened, opening, { request, constraint: { jsonSchema } }));
  }
  return { value: median(runs), runs, note: `${modelName}, ${opened.config.vocabularySize} tokens` };
}

// JSON schemas: costs and judgements.

/** @type {Promise<ReturnType<typeof readBench>> | undefined} */
let bench;
/** Everything over the collection at once: compiling, masks along valid instances, judgements. @param {Settings} settings */
async function readBench({ quick, progress }) {
  const { jsonSchema, isValid, createVocabulary } = await ourControl();
  const tokens = gpt2Tokens();
  const vocabulary = tokens && createVocabulary(tokens.length, (token) => tokens[token]);
  const result = {
    schemas: 0,
    compile: /** @type {number[]} */ ([]),
    masks: /** @type {number[]} */ ([]),
    judged: 0,
    wrong: /** @type {string[]} */ ([]),
    disputed: /** @type {string[]} */ ([]),
    refused: /** @type {Map<string, number>} */ (new Map()),
    keywords: /** @type {Map<string, [number, number]>} */ (new Map()),
  };
  const encoder = new TextEncoder();
  for (const group of schemaGroups()) {
    const lines = records(`json-schema-bench/${group}`).filter((_, i) => !quick || i % 25 === 0);
    progress(`  ${group}: ${lines.length} schemas`);
    for (const { name, schema, tests } of lines) {
      result.schemas += 1;
      const used = keywordsOf(schema);
      let constraint;
      const started = performance.now();
      try {
        constraint = jsonSchema(schema);
      } catch (error) {
        if (/** @type {any} */ (error).code !== "bad_option") throw error;
        const reason = reasonOf(/** @type {Error} */ (error).message);
        result.refused.set(reason, (result.refused.get(reason) ?? 0) + 1);
        count(used, 1);
        continue;
      }
      result.compile.push(performance.now() - started);
      count(used, 0);
      const validate = judgeOf(schema);
      for (const { valid, data } of tests) {
        const text = JSON.stringify(data);
        result.judged += 1;
        const ours = isValid(constraint, text);
        const judgement = validate ? validate(data) : valid;
        if (ours === judgement) continue;
        // Where judge and collection are not of one mind, as on formats that ajv only samples, both must be against it.
        if (ours === valid) result.disputed.push(`${name}: ${text.slice(0, 120)}`);
        else result.wrong.push(`${name}: ${text.slice(0, 120)}`);
      }
      const sample = tests.find((/** @type {any} */ { valid }) => valid);
      // Of all schemas, an eighth tells costs well enough.
      if (sample && vocabulary && (quick || result.schemas % 8 === 0)) {
        let state = constraint.start;
        const bytes = encoder.encode(JSON.stringify(sample.data));
        for (let at = 0, count = 0; at < bytes.length && count < 200 && state; count++) {
          const before = performance.now();
          state.allowed(vocabulary);
          result.masks.push((performance.now() - before) * 1000);
          const end = at + longest(vocabulary, bytes.subarray(at));
          for (; at < end; at++) state = state?.push(bytes[at]);
        }
      }
    }
  }
  return result;

  /** @param {ReadonlySet<string>} used @param {0 | 1} place */
  function count(used, place) {
    for (const keyword of used) {
      const counts = result.keywords.get(keyword) ?? [0, 0];
      counts[place] += 1;
      result.keywords.set(keyword, counts);
    }
  }
}

/** Bytes of the longest token that the bytes begin with: as good a way through a text as any. @param {any} vocabulary @param {Uint8Array} bytes */
function longest({ byte, after, first }, bytes) {
  let node = 0;
  let best = 1;
  for (const [i, wanted] of bytes.entries()) {
    let child = node + 1;
    while (child < after[node] && byte[child] !== wanted) child = after[child];
    if (child >= after[node]) break;
    node = child;
    if (first[node + 1] > first[node]) best = i + 1;
  }
  return best;
}

const known =
  "type enum const properties required additionalProperties patternProperties propertyNames minProperties maxProperties items prefixItems additionalItems contains minContains maxContains minItems maxItems uniqueItems minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength pattern format $ref $defs definitions allOf anyOf oneOf not if dependencies dependentRequired dependentSchemas unevaluatedProperties unevaluatedItems".split(
    " ",
  );
/** @type {readonly [string, RegExp][]} */
const reasons = [
  ["a format that is not known", /format: ".*" is not known/],
  ["a misspelt keyword", /there is no such keyword/],
  ["uniqueItems", /uniqueItems is supported|uniqueItems together|uniqueItems: cannot/],
  ["nothing satisfies it", /nothing satisfies/],
  ["too many cases", /multiply to more|too many|more than \d+ (patterns|contains)/],
  ["a pattern with look-around or back-references", /look-ahead|look-behind|back-reference/],
  ["a pattern that JavaScript's u flag refuses", /: regular expression/],
  ["$ref that leads back to itself", /leads back/],
];
/** Why a schema is refused, in few words, or else what is said. @param {string} message */
const reasonOf = (message) =>
  reasons.find(([, said]) => said.test(message))?.[0] ?? message.replace(/".*"|\d+/g, "…").slice(0, 60);

/** @param {unknown} schema @returns {Set<string>} */
function keywordsOf(schema) {
  const found = new Set();
  const visit = (/** @type {unknown} */ value) => {
    if (typeof value !== "object" || value === null) return;
    if (!Array.isArray(value)) for (const key of Object.keys(value)) if (known.includes(key)) found.add(key);
    for (const inner of Object.values(value)) visit(inner);
  };
  visit(schema);
  return found;
}

/**
 * ajv where it takes the schema and answers at once; otherwise the collection's own marks stand. Draft 4 is read as draft 7, where exclusive bounds are
 * numbers. @param {any} schema
 */
function judgeOf(schema) {
  const { $schema: dialect, ...rest } = schema;
  const older = /draft-04/.test(dialect ?? "");
  if ((dialect && !older && !/draft-0[67]/.test(dialect)) || JSON.stringify(schema).includes('"$async"'))
    return undefined;
  try {
    const ajv = new Ajv({ strict: false, logger: false });
    /** @type {any} */ (ajvFormats)(ajv);
    return ajv.compile(older ? newer(rest) : rest);
  } catch {
    return undefined;
  }
}

/** A schema of draft 4 with its exclusive bounds as numbers, and names by $id. @param {any} schema @returns {any} */
function newer(schema) {
  if (typeof schema !== "object" || schema === null) return schema;
  if (Array.isArray(schema)) return schema.map(newer);
  const result = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, newer(value)]));
  for (const [limit, exclusive] of [
    ["minimum", "exclusiveMinimum"],
    ["maximum", "exclusiveMaximum"],
  ]) {
    if (typeof result[exclusive] !== "boolean") continue;
    if (result[exclusive] && typeof result[limit] === "number") {
      result[exclusive] = result[limit];
      delete result[limit];
    } else delete result[exclusive];
  }
  if (typeof result.id === "string") {
    result.$id = result.id;
    delete result.id;
  }
  return result;
}

/** @param {(found: Awaited<ReturnType<typeof readBench>>) => Measurement} pick */
const ofSchemas = (pick) =>
  needing("json-schema-bench", async (settings) => {
    bench ??= readBench(settings);
    return pick(await bench);
  });

/** @param {Awaited<ReturnType<typeof readBench>>} found */
const coverageText = ({ refused, keywords, schemas }) => {
  const reasons = [...refused].sort((a, b) => b[1] - a[1]).map(([reason, count]) => `${reason} ${count}`);
  const table = [...keywords]
    .sort((a, b) => b[1][0] + b[1][1] - a[1][0] - a[1][1])
    .map(([name, [taken, left]]) => `${name} ${taken}/${taken + left}`);
  return `${schemas} schemas; refused for: ${reasons.join(", ") || "nothing"}; taken by keyword: ${table.join(", ")}`;
};

// Texts of a model.

/** @param {object} options @param {number} count @param {(text: string) => boolean} judge */
async function shareOf(options, count, judge) {
  const opened = await model();
  let good = 0;
  let ended = 0;
  let deadEnds = 0;
  for (let request = 0; request < count; request++) {
    const { prompt, ...rest } = /** @type {any} */ ({ prompt: "Once upon a time", ...options });
    const { text, finish } = await opened
      .decode(prompt, { request, maxTokens: 160, ...rest })
      .final.catch((/** @type {any} */ error) => {
        if (error.code !== "constraint_dead_end") throw error;
        deadEnds += 1;
        return { text: "", finish: "incomplete" };
      });
    if (finish === "incomplete") continue;
    ended += 1;
    if (judge(text.trim())) good += 1;
  }
  return {
    // A dead end is no valid output, though it is said; a text that maxTokens cut off is neither.
    value: ended + deadEnds === 0 ? 0 : good / (ended + deadEnds),
    runs: [ended / count],
    note: `${modelName}: ${ended} of ${count} came to an end, ${deadEnds} into a dead end`,
  };
}

/** @param {string} text */
function isMolecule(text) {
  try {
    Molecule.fromSmiles(text).validate();
    return text !== "";
  } catch (error) {
    // Ions are written alone, too: a charge of the whole is no mistake.
    return /charge|too close|stereo/.test(/** @type {Error} */ (error).message);
  }
}

/**
 * Held-out questions answered under a constraint at a temperature that leaves little of what phaistos knows; each answer goes to judges with the
 * question's own table. @param {Settings} settings @returns {Promise<Measurement>}
 */
async function queries({ quick, progress }) {
  const [opened, sqlite, parser] = [await model("phaistos"), await initSqlJs(), new sqlParser.Parser()];
  const items = heldOutItems("sql", quick ? 8 : 200);
  let [ended, good, parsed] = [0, 0, 0];
  /** @param {string} text */
  const parses = (text) => {
    try {
      return Boolean(parser.astify(text, { database: "sqlite" }));
    } catch (error) {
      progress(`  SQLite takes it, node-sql-parser does not: ${text} (${error})`);
      return false;
    }
  };
  for (const [request, { prompt, facts }] of items.entries()) {
    const constraint = constraintOf.sql(facts);
    const asked = { request, temperature: 1.5, maxTokens: 160, constraint };
    const { text, finish } = await opened.decode([{ role: "user", content: prompt }], asked).final;
    if (finish === "incomplete") continue;
    ended += 1;
    const database = new sqlite.Database();
    database.run(`CREATE TABLE ${facts.table} (${facts.columns.join(", ")})`);
    try {
      database.prepare(text).free();
      good += 1;
      parsed += parses(text) ? 1 : 0;
    } catch (error) {
      progress(`  not valid: ${text} (${error})`);
    } finally {
      database.close();
    }
  }
  const note = `phaistos at temperature 1.5: ${ended} of ${items.length} came to an end, and no dead end; node-sql-parser, which has not all of SQLite's language, takes ${parsed}`;
  return { value: ended === 0 ? 0 : good / ended, runs: [ended / items.length], note };
}

/** The constraint that an item's own facts give. @type {Readonly<Record<string, (facts: any) => object>>} */
const constraintOf = {
  sql: ({ table, columns }) => ({ sqlSchema: { [table]: columns } }),
  json: ({ schema }) => ({ jsonSchema: schema, whitespace: 1 }),
  pattern: ({ pattern }) => ({ regex: pattern }),
};

/** @typedef {[valid: number, right: number, cut: number]} Judged shares: a text that maxTokens cut off is neither valid nor not, and not right */
/** @typedef {{ none: Judged[], masking: Judged[], smc: Judged[] }} Answers of each item, by way */
/** @type {Map<string, Promise<Answers>>} */
const answered = new Map();

/**
 * Held-out items of a skill at temperature 1, answered without a constraint, under a mask, and by particles, whose share of weight on right
 * texts counts (as the paper's accuracy). @param {string} skill @param {Settings} settings @returns {Promise<Answers>}
 */
async function answer(skill, { quick, progress }) {
  const opened = await model("phaistos");
  const { createConstraint, isValid } = await ourControl();
  const maxTokens = 96;
  const result = /** @type {Answers} */ ({ none: [], masking: [], smc: [] });
  const items = heldOutItems(skill, quick ? 8 : 60);
  for (const [i, { prompt, facts, check }] of items.entries()) {
    if (i % 10 === 0) progress(`  ${skill}: ${i} of ${items.length}`);
    const constraint = constraintOf[skill](facts);
    const recogniser = createConstraint(/** @type {any} */ (constraint));
    /** @param {object} options */
    const decode = (options) => opened.decode([{ role: "user", content: prompt }], { maxTokens, ...options }).final;
    /** @param {{ text: string, tokens: readonly number[], score?: number }} one */
    const judged = ({ text, tokens, score = 1 }) => ({
      score,
      cut: tokens.length >= maxTokens,
      valid: isValid(recogniser, text.trim()),
      right: check(text),
    });
    /** @param {ReturnType<typeof judged>[]} list @returns {Judged} */
    const means = (list) => {
      const weight = (/** @type {(one: ReturnType<typeof judged>) => boolean} */ counts) =>
        list.reduce((sum, one) => sum + (counts(one) ? one.score : 0), 0);
      const all = weight(() => true);
      const ended = weight(({ cut }) => !cut);
      return [
        ended === 0 ? 1 : weight(({ cut, valid }) => !cut && valid) / ended,
        weight(({ right }) => right) / all,
        1 - ended / all,
      ];
    };
    const requests = Array.from({ length: quick ? 2 : 16 }, (_, i) => i);
    const plain = await Promise.all(requests.map((request) => decode({ request })));
    result.none.push(means(plain.map(judged)));
    const masked = await Promise.all(requests.map((request) => decode({ request, constraint })));
    result.masking.push(means(masked.map(judged)));
    const { hypotheses } = await decode({ constraint, method: { name: "smc", particles: requests.length } });
    result.smc.push(means(hypotheses.map(judged)));
  }
  return result;
}

/** @param {string} skill @param {(answers: Answers) => Measurement} pick @returns {(settings: Settings) => Promise<Measurement>} */
const ofSkill = (skill, pick) => async (settings) => {
  const known = answered.get(skill) ?? answer(skill, settings);
  answered.set(skill, known);
  return pick(await known);
};

/** @param {readonly Judged[]} list @param {0 | 1 | 2} which */
const share = (list, which) => list.reduce((sum, one) => sum + one[which], 0) / list.length;

/** @param {string} skill @param {string} name @returns {import("./harness/report.mjs").RowDefinition[]} */
const skillRows = (skill, name) => [
  {
    what: `${name}, phaistos: valid with a constraint`,
    target: atLeast(1, ""),
    measure: ofSkill(skill, ({ none, masking, smc }) => ({
      value: Math.min(share(masking, 0), share(smc, 0)),
      runs: [share(none, 0), share(masking, 0), share(smc, 0)],
      note: `${none.length} items; without a constraint ${share(none, 0).toFixed(3)}; cut off by maxTokens: ${share(masking, 2).toFixed(4)} of the masked, ${share(smc, 2).toFixed(4)} of the particles' weight`,
    })),
  },
  ...[
    /** @type {const} */ (["awrs with smc", "smc", "masking", "masking"]),
    /** @type {const} */ (["masking", "masking", "none", "no constraint"]),
  ].map(
    ([more, way, less, than]) =>
      /** @type {import("./harness/report.mjs").RowDefinition} */ ({
        // Where a constraint decides little, two ways are equally right: what is asked is that the first is not behind.
        what: `${name}, phaistos: points of exact match by ${more} less those by ${than}, upper end of the 95 % interval`,
        target: atLeast(0, ""),
        measure: ofSkill(skill, (answers) => {
          const { value, interval } = meanOf(answers[way].map(([, right], i) => 100 * (right - answers[less][i][1])));
          // Weights sum to 1 but for the last bits.
          const [low, mid, high] = [interval?.[0] ?? value, value, interval?.[1] ?? value].map(
            (points) => Math.round(points * 1e6) / 1e6 + 0,
          );
          return {
            value: high,
            runs: [low, mid, high],
            note: `${mid.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]; exact: ${Object.entries(answers)
              .map(([name, list]) => `${name} ${share(list, 1).toFixed(3)}`)
              .join(", ")}`,
          };
        }),
      }),
  ),
];

// Beams, and drafts.

/** @typedef {{ distinct: number, oracle: number, first: number, best: number }} List of a search: distinct 4-grams a word, overlaps, log-probability */
/** @type {Promise<[List, List][]> | undefined} */
let lists;

/** Lists of diverse beams and of beams of the same width, after beginnings of held-out stories. @param {Settings} settings @returns {Promise<[List, List][]>} */
async function beamLists({ quick, progress }) {
  const opened = await model();
  const { overlap } = await ourControl();
  const [length, tokens] = [64, 24];
  const texts = promptsOf("stories", quick ? 4 : 24, length + tokens, (text) => [...opened.tokenizer.encode(text)]);
  const result = /** @type {[List, List][]} */ ([]);
  for (const [i, whole] of texts.entries()) {
    progress(`  story ${i + 1} of ${texts.length}`);
    const reference = opened.tokenizer.decode(whole.slice(length), { continued: true });
    const ways = [
      { name: "diverse-beam", beams: 12, groups: 6, strength: 0.5 },
      { name: "beam", beams: 12 },
    ];
    /** @param {object} method @returns {Promise<List>} */
    const listOf = async (method) => {
      const { hypotheses } = await opened.decode(whole.slice(0, length), { method, maxTokens: tokens }).final;
      const grams = new Set();
      let words = 0;
      for (const { text } of hypotheses) {
        const list = text.split(/\s+/).filter(Boolean);
        words += list.length;
        for (let k = 0; k + 4 <= list.length; k++) grams.add(list.slice(k, k + 4).join(" "));
      }
      const overlaps = hypotheses.map((/** @type {any} */ { text }) => overlap(text, reference));
      const best = Math.max(...hypotheses.map((/** @type {any} */ { logprob }) => logprob));
      return { distinct: grams.size / Math.max(1, words), oracle: Math.max(...overlaps), first: overlaps[0], best };
    };
    result.push([await listOf(ways[0]), await listOf(ways[1])]);
  }
  return result;
}

/** @param {keyof List} what @param {"ratio" | "difference"} how @returns {(settings: Settings) => Promise<Measurement>} */
const beams = (what, how) => async (settings) => {
  const skipped = textsMissing();
  if (skipped) return { skipped };
  lists ??= beamLists(settings);
  const pairs = (await lists).map(([diverse, plain]) => /** @type {[number, number]} */ ([diverse[what], plain[what]]));
  const { value, interval } = how === "ratio" ? ratioOf(pairs) : meanOf(pairs.map(([ours, plain]) => ours - plain));
  const equal = pairs.filter(([ours, plain]) => ours >= plain).length;
  return {
    value,
    runs: [...(interval ?? [])],
    note: `95 % interval; not worse on ${equal} of ${pairs.length} stories`,
  };
};

/** @param {Settings} settings @returns {Promise<Measurement>} */
async function dyspecExact({ quick }) {
  const opened = await model();
  const { awrsReproduction } = await ourControl();
  const constraint = { jsonSchema: awrsReproduction.jsonSchema };
  let same = 0;
  const seeds = quick ? 2 : 10;
  for (let seed = 0; seed < seeds; seed++) {
    const options = { seed, maxTokens: 60, constraint };
    const plain = await opened.decode(awrsReproduction.opening, options).final;
    const drafted = await opened.decode(awrsReproduction.opening, {
      ...options,
      method: { name: "dyspec", draft: "pylos", budget: 16 },
    }).final;
    if (plain.text === drafted.text) same += 1;
  }
  return { value: same / seeds, runs: [same, seeds] };
}

/** @type {readonly import("./harness/report.mjs").RowDefinition[]} */
export const rows = [
  {
    what: "AWRS weights: largest difference from the exact mass, enumerated",
    target: atMost(1e-9, ""),
    measure: weights,
  },
  {
    what: "AWRS (importance sampling) against exact posteriors: total variation",
    target: atMost(0.01, ""),
    measure: posterior("awrs"),
  },
  {
    what: "AWRS with SMC against exact posteriors: total variation",
    target: atMost(0.01, ""),
    measure: posterior("smc"),
  },
  { what: "masking against exact posteriors: total variation", target: reported(""), measure: posterior("masking") },
  {
    what: "constraint checks: whole vocabulary over AWRS, per token, phaistos",
    target: atLeast(50),
    measure: checksOfClerk,
  },
  {
    what: "constraint checks: whole vocabulary over AWRS, per token, a model that does not know JSON",
    target: reported(),
    measure: checks,
  },
  {
    what: "JSON Schema: compile, median",
    target: atMost(50, " ms"),
    measure: ofSchemas(({ compile }) => ({
      value: median(compile),
      runs: [quantile(compile, 0.5), quantile(compile, 0.99)],
    })),
  },
  {
    what: "JSON Schema: masking cost per token with 50k tokens, median",
    target: atMost(200, " µs"),
    measure: ofSchemas(({ masks }) =>
      masks.length === 0 ? { skipped: "gpt2-tokenizer is absent" } : { value: median(masks), runs: [masks.length] },
    ),
  },
  {
    what: "JSON Schema: masking cost per token with 50k tokens, 99th percentile",
    target: atMost(5_000, " µs"),
    measure: ofSchemas(({ masks }) =>
      masks.length === 0
        ? { skipped: "gpt2-tokenizer is absent" }
        : { value: quantile(masks, 0.99), runs: [quantile(masks, 0.9), quantile(masks, 0.99)] },
    ),
  },
  {
    what: "JSON Schema: instances judged otherwise than by ajv",
    target: atMost(0, ""),
    measure: ofSchemas(({ wrong, judged, disputed }) => ({
      value: wrong.length,
      runs: [judged],
      note: `${wrong.slice(0, 5).join("; ")}${disputed.length} more as the collection has it, against ajv`,
    })),
  },
  {
    what: "JSON Schema: share of schemas taken",
    target: reported(""),
    measure: ofSchemas((found) => ({
      value: found.compile.length / found.schemas,
      runs: [found.compile.length, found.schemas],
      note: coverageText(found),
    })),
  },
  {
    what: "SMILES: valid by OpenChemLib",
    target: atLeast(1, ""),
    measure: ({ quick }) => shareOf({ constraint: { smiles: true } }, quick ? 5 : 100, isMolecule),
  },
  {
    what: "SQL: valid by SQLite",
    target: atLeast(1, ""),
    measure: queries,
  },
  {
    what: "a pattern: valid",
    target: atLeast(1, ""),
    measure: ({ quick }) =>
      shareOf({ constraint: { regex: "[A-Z][a-z]{1,8} is [0-9]{1,2} years old\\." } }, quick ? 5 : 50, (text) =>
        /^[A-Z][a-z]{1,8} is [0-9]{1,2} years old\.$/.test(text),
      ),
  },
  ...skillRows("sql", "text-to-SQL"),
  ...skillRows("json", "JSON"),
  ...skillRows("pattern", "pattern"),
  {
    what: "diverse beam over beam, same width: distinct 4-grams",
    target: atLeast(1),
    measure: beams("distinct", "ratio"),
  },
  {
    what: "diverse beam over beam, same width: oracle, overlap of the best of the list with the true continuation",
    target: atLeast(1),
    measure: beams("oracle", "ratio"),
  },
  {
    // The paper's best of a list is its first by the task's own score; the likeliest text is what a plain beam looks for.
    what: "diverse beam less beam, same width: overlap of the first of the list",
    target: atLeast(0, ""),
    measure: beams("first", "difference"),
  },
  {
    what: "diverse beam less beam, same width: log-probability of the best of the list",
    target: reported(" nats"),
    measure: beams("best", "difference"),
  },
  { what: "dyspec under a schema: texts that are plain sampling's", target: atLeast(1, ""), measure: dyspecExact },
  ...solving,
  ...truthful,
];
