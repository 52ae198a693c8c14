/** A model that sees and its drafts: exactness, accepted tokens, speed, what it sees, and what a picture costs. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { alternate, format, median, ratio, seconds } from "./harness/measure.mjs";
import { atLeast, atMost, reported } from "./harness/report.mjs";
import { openModel, seeing, shippedModel } from "./ours.mjs";

/** @typedef {import("./harness/report.mjs").Settings} Settings */
/** @typedef {import("./harness/report.mjs").Measurement} Measurement */

const threads = 2;
let modelName = "argos";

/** Before the rows are measured: the model that sees, a shipped one or a path. @param {string} name */
export function useModel(name) {
  modelName = name;
}

const folderOf = () => shippedModel(modelName) ?? modelName;
/** Its drafts: beside it, or in the folder that VENTRIS_BENCH_DRAFTS names. @param {string} name */
const draftOf = (name) => {
  const folders = [process.env.VENTRIS_BENCH_DRAFTS, join(folderOf(), "parts"), folderOf()];
  const found = folders.flatMap((folder) => (folder ? [join(folder, name)] : []));
  return found.find((folder) => ["part.json", "model.safetensors"].some((file) => existsSync(join(folder, file))));
};
const data = process.env.VENTRIS_DATA;

/** @type {Promise<any> | undefined} */
let opened;
const model = () => (opened ??= openModel(folderOf(), { threads }).then(({ model }) => model));

/** A part's own method, or the small model as a chain. @param {string} name */
const methodOf = (name) => {
  if (name === "prompt-lookup") return { name };
  const folder = draftOf(name);
  return name === "small" ? { name: "chain", draft: folder } : { name: "multimodal", layer: folder };
};
const drafters = ["multimodal", "coupled", "text-only", "small", "prompt-lookup"];
const there = (/** @type {string} */ name) => name === "prompt-lookup" || draftOf(name) !== undefined;

/**
 * With a model, or says that there is none.
 * @param {readonly string[]} drafts that are needed beside it
 * @param {(model: any, settings: Settings) => Promise<Measurement>} measure
 * @returns {(settings: Settings) => Promise<Measurement>}
 */
const needing = (drafts, measure) => async (settings) => {
  if (!existsSync(join(folderOf(), "model.safetensors"))) return { skipped: `there is no model ${modelName}` };
  const absent = drafts.filter((name) => !there(name));
  if (absent.length > 0)
    return { skipped: `${modelName} has no drafts ${absent.join(", ")} (recipes/argos-draft.mjs)` };
  return measure(await model(), settings);
};

/** @param {any} model @param {"pictures" | "texts"} kind @param {number} count @returns {any[]} */
function promptsOf(model, kind, count) {
  const size = model.config.vision.imageSize;
  if (kind === "pictures") return seeing.sceneQuestions(count, { size, seed: 500 }).map(({ prompt }) => prompt);
  return seeing.textQuestions(count, 500).map(({ content }) => [{ role: "user", content }]);
}

/** Texts that are plain greedy decoding's, with one draft. @param {"pictures" | "texts"} kind @param {string} name */
const identity = (kind, name) =>
  needing([name], async (model, { quick }) => {
    const prompts = promptsOf(model, kind, quick ? 12 : 100);
    const options = { temperature: 0, maxTokens: 64 };
    const plain = await plainTexts(model, kind, prompts, options);
    let same = 0;
    for (const [i, prompt] of prompts.entries()) {
      const { tokens } = await model.decode(prompt, { ...options, method: methodOf(name) }).final;
      same += tokens.join() === plain[i] ? 1 : 0;
    }
    return { value: same / prompts.length, runs: [], note: `${prompts.length} prompts` };
  });

/** @type {Map<string, Promise<string[]>>} plain greedy tokens by kind, the same for every draft */
const plainly = new Map();
/** @param {any} model @param {"pictures" | "texts"} kind @param {any[]} prompts @param {object} options */
function plainTexts(model, kind, prompts, options) {
  const decoded = async () => {
    const texts = [];
    for (const prompt of prompts) texts.push((await model.decode(prompt, options).final).tokens.join());
    return texts;
  };
  const existing = plainly.get(kind) ?? decoded();
  plainly.set(kind, existing);
  return existing;
}

/** A picture of nothing and a request for anything: questions that a model knows the answer of would show no difference of laws. @param {any} model */
function unsurePrompts(model) {
  const size = model.config.vision.imageSize;
  const pixels = Uint8Array.from({ length: 3 * size * size }, (_, i) => {
    const [channel, x, y] = [i % 3, Math.floor(i / 3) % size, Math.floor(i / 3 / size)];
    return Math.round(128 + 127 * Math.sin(x / (5 + 3 * channel) + y / (7 - channel)));
  });
  const image = { width: size, height: size, pixels };
  return [
    {
      type: "picture",
      content: [
        { type: "image", image },
        { type: "text", text: "What is in the picture?" },
      ],
    },
    { type: "text", content: "Write down what you like." },
  ].map(({ type, content }) => ({ type, prompt: [{ role: "user", content }] }));
}

/**
 * Tokens of many draws by drafting against those of plain sampling with other draws: chi-square over its 99.9 % bound; at most 1 holds.
 * @param {number} temperature @param {number} draftedAt another one is a control: it must not hold
 */
const sameLaw = (temperature, draftedAt = temperature) =>
  needing(["multimodal"], async (model, { quick }) => {
    const draws = quick ? 200 : 1500;
    const runs = [];
    const notes = [];
    for (const { type, prompt } of unsurePrompts(model)) {
      /** @param {number} first @param {object} more */
      const drawn = async (first, more) => {
        const outcomes = [];
        for (let from = 0; from < draws; from += 16) {
          const many = Array.from({ length: Math.min(16, draws - from) }, async (_, j) => {
            const options = { temperature, maxTokens: 8, seed: 9, request: first + from + j, ...more };
            return (await model.decode(prompt, options).final).tokens.join();
          });
          outcomes.push(...(await Promise.all(many)));
        }
        return outcomes;
      };
      const plain = await drawn(1_000_000, {});
      const drafted = await drawn(0, { method: methodOf("multimodal"), temperature: draftedAt });
      const { statistic, freedom } = seeing.twoSampleChiSquare(drafted, plain);
      runs.push(statistic / chiSquareBound(freedom));
      notes.push(`${type}: ${format(statistic)} at ${freedom} degrees of freedom`);
    }
    const value = draftedAt === temperature ? Math.max(...runs) : Math.min(...runs);
    return { value, runs, note: `${notes.join("; ")}; ${draws} draws` };
  });

/** The 99.9 % quantile (Wilson and Hilferty). @param {number} freedom */
const chiSquareBound = (freedom) => freedom * (1 - 2 / (9 * freedom) + 3.09 * Math.sqrt(2 / (9 * freedom))) ** 3;

/** @type {Map<string, Promise<[number, number][]>>} tokens after the first, and passes, by prompt */
const known = new Map();
/** @param {any} model @param {string} name @param {"pictures" | "texts"} kind @param {boolean} quick @param {number} temperature */
function acceptedOf(model, name, kind, quick, temperature = 0) {
  const key = [name, kind, temperature].join();
  const measured = async () => {
    /** @type {[number, number][]} */
    const result = [];
    for (const [request, prompt] of promptsOf(model, kind, quick ? 16 : 100).entries()) {
      const method = methodOf(name);
      // The same budget for all: what a tree of this size finds.
      const held = method.name === "multimodal" ? { ...method, budget: 24, depth: 5, width: 8 } : method;
      const { counters } = await model.decode(prompt, { temperature, maxTokens: 64, method: held, seed: 4, request })
        .final;
      const after = counters.generated - 1;
      if (after > 0) result.push([after, after / counters.tokensPerPass]);
    }
    return result;
  };
  const existing = known.get(key) ?? measured();
  known.set(key, existing);
  return existing;
}

/** @param {readonly (readonly [number, number])[]} counted */
const perPass = (counted) => counted.reduce((s, [t]) => s + t, 0) / counted.reduce((s, [, p]) => s + p, 0);

/** Tokens a pass of the decoupled draft over the coupled one's: prompts drawn anew for the interval, seeds together. @param {"pictures" | "texts"} kind */
const overCoupled = (kind) =>
  needing(["multimodal", "coupled"], async (model, { quick }) => {
    const seeds = ["", "-2", "-3"].filter((seed) => there(`multimodal${seed}`) && there(`coupled${seed}`));
    const runs = [];
    /** @type {{ own: [number, number], other: [number, number] }[]} */
    let units = [];
    for (const seed of seeds) {
      const [own, other] = [
        await acceptedOf(model, `multimodal${seed}`, kind, quick),
        await acceptedOf(model, `coupled${seed}`, kind, quick),
      ];
      runs.push(perPass(own) / perPass(other));
      if (units.length === 0) units = own.map(() => ({ own: [0, 0], other: [0, 0] }));
      for (const [i, unit] of units.entries())
        for (const side of [0, 1]) {
          unit.own[side] += own[i][side];
          unit.other[side] += other[i][side];
        }
    }
    const { value, interval } = seeing.bootstrap(
      units,
      (sample) => perPass(sample.map(({ own }) => own)) / perPass(sample.map(({ other }) => other)),
    );
    const own = perPass(units.map((unit) => unit.own));
    const range = interval?.map((x) => format(x)).join(" to ");
    return { value, runs, note: `${format(own)} tokens a pass; 95 % ${range}; ${seeds.length} seeds` };
  });

/** @param {string} name @param {"pictures" | "texts"} kind @param {number} temperature */
const accepted = (name, kind, temperature = 0) =>
  needing([name], async (model, { quick }) => {
    const counted = await acceptedOf(model, name, kind, quick, temperature);
    return { value: perPass(counted), runs: counted.map(([tokens, passes]) => tokens / passes) };
  });

/** Speed of a method with its own budget over plain decoding, in turns. @param {"pictures" | "texts"} kind @param {string} name */
const speed = (kind, name) =>
  needing([name], async (model, { quick }) => {
    const prompts = promptsOf(model, kind, quick ? 4 : 20);
    const shares = [];
    let [mine, plain] = [0, 0];
    const one = async (/** @type {any} */ prompt, /** @type {any} */ method) => {
      const before = model.forest.counters.secondsInPasses;
      const run = await model.decode(prompt, { temperature: 0, maxTokens: 64, method }).final;
      const inPasses = model.forest.counters.secondsInPasses - before;
      return { run, share: inPasses / (run.seconds.prefill + run.seconds.decode) };
    };
    const speeds = await alternate(
      async () => {
        const { run, share } = await one(prompts[mine++ % prompts.length], methodOf(name));
        shares.push(share);
        return (run.counters.generated - 1) / run.seconds.decode;
      },
      async () => {
        const { run } = await one(prompts[plain++ % prompts.length], "greedy");
        return (run.counters.generated - 1) / run.seconds.decode;
      },
      prompts.length * (quick ? 1 : 2),
    );
    const pass = await passMilliseconds(model);
    return {
      ...ratio(speeds),
      note: `${format(100 * median(shares))} % of the time in the model's own passes; a pass of 1, 8 and 24 rows takes ${pass.map(format).join(", ")} ms`,
    };
  });

/** @param {any} model */
async function passMilliseconds(model) {
  const lease = model.forest.lease();
  try {
    const { node: parent } = await lease.prefill(Array.from({ length: 64 }, (_, i) => 100 + i));
    const result = [];
    for (const rows of [1, 8, 24]) {
      const times = [];
      for (let time = 0; time < 8; time++) {
        /** @type {any[]} */
        let nodes = [];
        const extensions = Array.from({ length: rows }, (_, token) => ({ parent, token: 200 + token }));
        const extend = async () => {
          nodes = await lease.extend(extensions);
        };
        times.push(await seconds(extend));
        lease.release(nodes, { discard: true });
      }
      result.push(1000 * median(times));
    }
    return result;
  } finally {
    lease.close();
  }
}

/** Share of held-out scenes whose question is answered to the letter. @param {string} kind */
const scenes = (kind) =>
  needing([], async (model, { quick }) => {
    const items = seeing.sceneQuestions(quick ? 40 : 200, {
      size: model.config.vision.imageSize,
      seed: 77,
      kinds: [kind],
    });
    const right = [];
    for (let first = 0; first < items.length; first += 16) {
      const some = items.slice(first, first + 16);
      const texts = await Promise.all(
        some.map(({ prompt }) => model.decode(prompt, { temperature: 0, maxTokens: 64 }).final),
      );
      right.push(...some.map(({ check }, i) => (check(texts[i].text) ? 1 : 0)));
    }
    const { value, interval } = seeing.meanOf(right);
    return { value, runs: right, note: `95 % ${interval?.map((x) => format(x)).join(" to ")} of ${right.length}` };
  });

/** Share of held-out pictures of known names whose name is among the five likeliest. @param {"emoji" | "drawings"} kind */
const named = (kind) =>
  needing([], async (model, { quick }) => {
    if (!data || !existsSync(join(data, "emoji-pictures")))
      return { skipped: "VENTRIS_DATA names no folder with emoji-pictures" };
    const own = await seeing.openEmoji(join(data, "emoji-pictures"), "twemoji");
    const drawn = await seeing.openDrawings(join(data, "quickdraw"), "test");
    const names = [...new Set([...own, ...drawn].map(({ name }) => name))];
    const all = kind === "emoji" ? await seeing.openEmoji(join(data, "emoji-pictures"), "noto") : drawn;
    const count = quick ? 24 : 200;
    const some = Array.from({ length: count }, (_, i) => all[Math.floor((i * all.length) / count)]);
    const ranks = [];
    for (const { picture, name } of some) {
      const found = await seeing.likeliestNames(model, [{ image: picture }, "What is this?"], names, 5);
      ranks.push(found.indexOf(name));
    }
    const { value, interval } = seeing.meanOf(ranks.map((rank) => (rank >= 0 ? 1 : 0)));
    const first = ranks.filter((rank) => rank === 0).length / count;
    const chance = 5 / names.length;
    return {
      value,
      runs: [first, chance],
      note: `95 % ${interval?.map((x) => format(x)).join(" to ")}; first ${format(first)}; chance ${format(chance)} of ${names.length} names; ${count} pictures`,
    };
  });

/** Time to the first token of a question with a picture over that of as many rows of text, neither seen before. */
const firstToken = needing([], async (model, { quick }) => {
  const count = quick ? 8 : 40;
  const prompts = seeing.sceneQuestions(count + 2, { size: model.config.vision.imageSize, seed: 900 });
  let [shown, read] = [0, 0];
  const first = async (/** @type {any} */ prompt) => {
    const taken = await seconds(() => model.decode(prompt, { temperature: 0, maxTokens: 1 }).final);
    return 1000 * taken;
  };
  const rows = (await seeing.rowsOf(model, prompts[0].prompt)).length;
  const times = await alternate(
    () => first(prompts[shown++ % prompts.length].prompt),
    () => {
      read += 1;
      return first(Array.from({ length: rows }, (_, i) => 300 + ((i * 7919 + read * 104_729) % 3500)));
    },
    count,
  );
  return { ...ratio(times), note: `${format(median(times.a))} and ${format(median(times.b))} ms, ${rows} rows` };
});

/** Time of the draft's own pass over a prompt, with the picture's rows in it over the same without them. */
const draftPrefill = needing(["multimodal"], async (model, { quick }) => {
  const size = model.config.vision.imageSize;
  const prompts = seeing.sceneQuestions(quick ? 8 : 40, { size, seed: 900 });
  /** @type {{ rows: any[], words: any[] }[]} */
  const given = [];
  for (const { prompt } of prompts) given.push(await seeing.draftPrompt(model, prompt));
  const draft = await seeing.openMultimodal(model, draftOf("multimodal"));
  const milliseconds = async (/** @type {any[]} */ rows) => 1000 * (await seconds(() => draft.cache().run(rows)));
  for (const { rows, words } of given.slice(0, 2)) await milliseconds(rows).then(() => milliseconds(words)); // warm
  let [shown, read] = [0, 0];
  const times = await alternate(
    () => milliseconds(given[shown++ % given.length].rows),
    () => milliseconds(given[read++ % given.length].words),
    given.length,
  );
  const [{ rows, words }] = given;
  const took = `${format(median(times.a))} and ${format(median(times.b))} ms`;
  return { ...ratio(times), note: `${took}; ${rows.length} and ${words.length} rows` };
});

const furtherSeeds = ["multimodal-2", "multimodal-3", "coupled-2", "coupled-3"];
const ablations = ["without-texts", "without-pictures", "abrupt", "constant"];

export const rows = [
  ...[...drafters, ...furtherSeeds, ...ablations].flatMap((name) =>
    /** @type {const} */ (["pictures", "texts"]).map((kind) => ({
      what: `greedy texts that are plain decoding's, ${kind}: ${name}`,
      target: atLeast(1, ""),
      measure: identity(kind, name),
    })),
  ),
  ...[0.7, 1].map((temperature) => ({
    what: `drafted and plain samples, temperature ${temperature}: chi-square over its 99.9 % bound`,
    target: atMost(1, ""),
    measure: sameLaw(temperature),
  })),
  {
    what: "a control that must be above 1: drafted samples of temperature 1 against plain ones of 0.7",
    target: atLeast(1, ""),
    measure: sameLaw(0.7, 1),
  },
  { what: "tokens a pass with pictures: decoupled over coupled", target: atLeast(1), measure: overCoupled("pictures") },
  { what: "tokens a pass of texts: decoupled over coupled", target: atLeast(0.98), measure: overCoupled("texts") },
  ...[...drafters, ...ablations].flatMap((name) =>
    /** @type {const} */ (["pictures", "texts"]).map((kind) => ({
      what: `tokens a pass, ${kind}: ${name}`,
      target: reported("tokens"),
      measure: accepted(name, kind),
    })),
  ),
  {
    what: "tokens a pass, pictures, temperature 1: multimodal",
    target: reported("tokens"),
    measure: accepted("multimodal", "pictures", 1),
  },
  {
    what: "speed over plain decoding, questions with pictures: multimodal",
    target: atLeast(1.5),
    measure: speed("pictures", "multimodal"),
  },
  {
    what: "speed over plain decoding, questions with pictures: prompt-lookup",
    target: reported(),
    measure: speed("pictures", "prompt-lookup"),
  },
  {
    what: "speed over plain decoding, questions without: multimodal",
    target: reported(),
    measure: speed("texts", "multimodal"),
  },
  ...["count", "colour", "position"].map((kind) => ({
    what: `held-out scenes: ${kind} questions answered to the letter`,
    target: atLeast(0.85, ""),
    measure: scenes(kind),
  })),
  ...["caption", "what", "whether"].map((kind) => ({
    what: `held-out scenes: ${kind} questions answered to the letter`,
    target: reported(""),
    measure: scenes(kind),
  })),
  {
    what: "named pictures, another artist's: right name among the first five",
    target: reported(""),
    measure: named("emoji"),
  },
  {
    what: "named pictures, held-out drawings: right name among the first five",
    target: reported(""),
    measure: named("drawings"),
  },
  {
    what: "the draft's pass over a prompt with the picture's rows, over that without",
    target: reported(),
    measure: draftPrefill,
  },
  { what: "picture to first token over a text of as many rows", target: atMost(1.3), measure: firstToken },
];
