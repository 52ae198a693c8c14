/**
 * What happens from pass to pass, for what the methods' papers say of it: how long final predictions wait, where predictions are right, what a
 * neighbourhood is worth beside a random one, and what keys and values do. Texts are those of the held-out tasks in 64 positions, until they are
 * there; nothing is timed.
 */
import {
  allOneTokenSeen,
  blockLength,
  heldOut,
  leaping,
  meanPasses,
  onTasks,
  onThese,
  pairs,
  pointsOf,
  sameShare,
  score,
  scores,
  watch,
  within,
} from "./canvas-tasks.mjs";
import { atLeast, atMost, reported } from "./harness/report.mjs";
import { bootstrap, meanOf, ourUnmasking, ratioOf } from "./ours.mjs";

/** @typedef {import("./canvas-tasks.mjs").Found} Found */
/** @typedef {import("./canvas-tasks.mjs").Watched} Watched */
/** @typedef {{ anchor: number, relaxed: number, radius: number }} Bars */

const length = 64;
/** Ten of each skill. @param {any} model @param {boolean} quick */
const tasksOf = (model, quick) => heldOut(model, quick, 70);
/** @param {any} model @param {boolean} quick */
const oneTokenOf = (model, quick) => allOneTokenSeen(model, tasksOf(model, quick));
/** @type {readonly (readonly [string, Bars])[]} */
const settings = [
  ["the published bars, 0.9 and 0.75", { anchor: 0.9, relaxed: 0.75, radius: 4 }],
  [`bars of ${leaping.anchor} and ${leaping.relaxed}`, { ...leaping, radius: 4 }],
];

/** Of the control: within a radius of 4 hardly any mask has no anchor near, so that a smaller one is compared as well. @type {readonly (readonly [string, Bars])[]} */
const controlled = [settings[0], ["the same within a radius of 1", { anchor: 0.9, relaxed: 0.75, radius: 1 }]];

/** @type {Map<string, Promise<Watched[]>>} */
const known = new Map();
/** A way to fill, on the tasks. @param {any} model @param {boolean} quick @param {string} name @param {(task: number) => (view: any) => { positions: number[] }} decideOf */
function onTasksBy(model, quick, name, decideOf) {
  const key = `${name} ${quick}`;
  const found = known.get(key) ?? run();
  known.set(key, found);
  return found;

  async function run() {
    const results = [];
    for (const [i, task] of tasksOf(model, quick).entries())
      results.push(await watch(model, task, length, decideOf(i)));
    return results;
  }
}

/** @param {any} model @param {boolean} quick @param {Bars} bars */
async function leapt(model, quick, bars) {
  const { leap } = await ourUnmasking();
  return onTasksBy(model, quick, `leap ${JSON.stringify(bars)}`, () => (view) => leap(view, bars));
}

/**
 * LocalLeap with the lower bar at as many positions as have an anchor near, but at others, drawn by the seed. Where fewer are far from all
 * anchors than near one, the rest is drawn of the near ones, or fewer would have the lower bar.
 * @param {any} model @param {boolean} quick @param {Bars} bars @param {number} seed
 */
async function scattered(model, quick, { anchor, relaxed, radius }, seed) {
  const { highest, permutation } = await ourUnmasking();
  const drawn = { all: 0, near: 0 };
  const found = await onTasksBy(model, quick, `scattered ${anchor} ${relaxed} ${radius} ${seed}`, (task) => (view) => {
    const { pass, masked, confidence } = view;
    const anchors = masked.filter((/** @type {number} */ at) => confidence(at) >= anchor);
    const others = masked.filter((/** @type {number} */ at) => confidence(at) < anchor);
    const isNear = (/** @type {number} */ at) =>
      anchors.some((/** @type {number} */ one) => Math.abs(one - at) <= radius);
    const near = others.filter(isNear);
    const shuffled = permutation(others.length, { seed, request: 1000 * task + pass }).map((i) => others[i]);
    const far = shuffled.filter((at) => !isNear(at));
    const lower = new Set([...far, ...shuffled.filter(isNear)].slice(0, near.length));
    drawn.all += lower.size;
    drawn.near += [...lower].filter(isNear).length;
    const [best] = highest(masked, 1, confidence);
    return {
      positions: masked.filter(
        (/** @type {number} */ at) => at === best || confidence(at) >= (lower.has(at) ? relaxed : anchor),
      ),
    };
  });
  return { found, drawn };
}

const seeds = [1, 2, 3];
/** Both rows of one setting. @param {string} name @param {Bars} bars */
function againstScattered(name, bars) {
  /** Mean over the seeds, task by task. @param {any} model @param {boolean} quick */
  async function both(model, quick) {
    const ours = await leapt(model, quick, bars);
    const runs = [];
    for (const seed of seeds) runs.push(await scattered(model, quick, bars, seed));
    const theirs = ours.map((each, i) => ({
      ...each,
      passes: meanPasses(runs.map(({ found }) => found[i])),
      right: score(runs.map(({ found }) => found[i])) / 100,
    }));
    const [all, near] = [
      runs.reduce((n, { drawn }) => n + drawn.all, 0),
      runs.reduce((n, { drawn }) => n + drawn.near, 0),
    ];
    return { ours, theirs, near: (100 * near) / Math.max(1, all) };
  }
  const what = `LocalLeap against random neighbourhoods of the same size, ${name}`;
  return [
    onTasks(`${what}: passes over theirs, G = ${length}`, reported(), async (model, quick) => {
      const { ours, theirs, near } = await both(model, quick);
      const found = ratioOf(pairs(ours, theirs));
      const note = `${within(found, 3)}: ${meanPasses(ours).toFixed(2)} and ${meanPasses(theirs).toFixed(2)} passes; ${near.toFixed(0)} % of the drawn are neighbours, as nothing else was left`;
      return { value: found.value, runs: [found.value], note };
    }),
    onTasks(`${what}: right answers less theirs, G = ${length}`, atLeast(0, " points"), async (model, quick) => {
      const { ours, theirs } = await both(model, quick);
      const found = pointsOf(ours, theirs);
      const note = `${within(found)} points: ${score(ours).toFixed(1)} and ${score(theirs).toFixed(1)} % right, ${seeds.length} seeds`;
      return { value: found.value, runs: [found.value], note };
    }),
  ];
}

/** For each position of the text, how many passes it waited although its prediction was, and stayed, what it became. @param {Watched} watched */
function waits({ seen, text }) {
  /** @type {Map<number, number[]>} */
  const predicted = new Map();
  for (const { masked, tokens } of seen)
    for (const [i, at] of masked.entries()) predicted.set(at, [...(predicted.get(at) ?? []), tokens[i]]);
  return text.map((token, at) => {
    const tokens = predicted.get(at) ?? [];
    return tokens.length - 2 - tokens.findLastIndex((one) => one !== token);
  });
}

/** Upper ends of a histogram's classes; the last is open. */
const waitClasses = [0, 1, 3, 7, 15, Infinity];
/** Shares of a list by class. @param {readonly number[]} values @param {readonly number[]} ends */
const shares = (values, ends) =>
  ends
    .map((end, i) => {
      const from = i === 0 ? 0 : ends[i - 1] + 1;
      const count = values.filter((value) => value >= from && value <= end).length;
      const name = end === Infinity ? `${from} or more` : from === end ? `${end}` : `${from} to ${end}`;
      return `${name}: ${((100 * count) / Math.max(1, values.length)).toFixed(0)} %`;
    })
    .join(", ");

/** A prediction that was not yet to be filled: how far the nearest anchor of its pass is, and whether it became final. @typedef {{ distance: number, confidence: number, right: boolean }} Prediction */
/** Those of the text in one-token decoding. @param {Watched} watched @param {number} anchor @returns {Prediction[]} */
const predictionsOf = ({ seen, text }, anchor) =>
  seen.flatMap(({ masked, tokens, confidences }) => {
    const anchors = masked.filter((_, i) => confidences[i] >= anchor);
    return masked.flatMap((at, i) => {
      if (at >= text.length || confidences[i] >= anchor) return [];
      const distance = Math.min(...anchors.map((one) => Math.abs(one - at))); // of no anchor infinite
      return [{ distance, confidence: confidences[i], right: tokens[i] === text[at] }];
    });
  });

/** @param {readonly Prediction[]} predictions */
const rightShare = (predictions) =>
  (100 * predictions.filter(({ right }) => right).length) / Math.max(1, predictions.length);

/** Share of right predictions near an anchor less that of the others. @param {readonly Prediction[][]} units one list for each task */
const locality = (units) =>
  bootstrap(units, (sample) => {
    const all = sample.flat();
    return (
      rightShare(all.filter(({ distance }) => distance <= 4)) - rightShare(all.filter(({ distance }) => distance > 4))
    );
  });

const distances = /** @type {const} */ ([
  ["1", 1, 1],
  ["2", 2, 2],
  ["3 or 4", 3, 4],
  ["5 to 8", 5, 8],
  ["more", 9, 1e9],
  ["no anchor", Infinity, Infinity],
]);
/** @param {readonly Prediction[]} all */
const byDistance = (all) =>
  distances
    .map(([name, from, to]) => {
      const some = all.filter(({ distance }) => distance >= from && distance <= to);
      return `${name}: ${rightShare(some).toFixed(0)} % of ${some.length}`;
    })
    .join(", ");

/**
 * One setting of LocalLeap after another, the others as published.
 * @param {string} name @param {readonly number[]} values from the most careful
 */
const ablation = (name, values) =>
  onTasks(
    `LocalLeap, ${name} ${values[values.length - 1]} over ${values[0]}, otherwise the published setting: passes, G = ${length}`,
    atMost(1),
    async (model, quick) => {
      const found = [];
      for (const value of values)
        found.push(await onThese(model, tasksOf(model, quick), length, { name: "localleap", [name]: value }, false));
      const ratio = ratioOf(pairs(found[found.length - 1], found[0]));
      const each = values.map(
        (value, i) => `${value}: ${meanPasses(found[i]).toFixed(2)}, ${score(found[i]).toFixed(1)} %`,
      );
      const note = `${within(ratio, 2)}; passes and right answers, ${name} ${each.join("; ")}`;
      return { value: ratio.value, runs: [ratio.value], note };
    },
  );

/**
 * One token a pass with keys and values of filled tokens kept from the pass that filled them ("immediate": there the token was a mask yet) or from
 * the one after ("delayed"), all computed anew after every `refresh` passes. A row that is computed only because the prediction of the next
 * position stands in it shows its new keys and values to nobody, or its token would not be cached at all.
 * @param {any} model @param {readonly number[]} ids @param {{ keeps: "immediate" | "delayed", refresh: number }} options
 */
async function cachedText(model, ids, { keeps, refresh }) {
  const { maskToken, shift } = model.ability("canvas");
  const { keyValueHeads: heads, headDimension: width, endTokens } = model.config;
  const tokens = [...ids, ...Array(length).fill(maskToken)];
  const all = tokens.map((_, at) => at);
  const rowFor = (/** @type {number} */ at) => at - (shift ? 1 : 0);
  /** By layer [heads, positions, width]. @type {{ keys: Float32Array[], values: Float32Array[] } | undefined} */
  let planes;
  /** @param {Float32Array} plane @param {number} size its positions @param {readonly number[]} wanted */
  const taken = (plane, size, wanted) => {
    const out = new Float32Array(heads * wanted.length * width);
    for (let head = 0; head < heads; head++)
      wanted.forEach((at, i) => {
        const from = (head * size + at) * width;
        out.set(plane.subarray(from, from + width), (head * wanted.length + i) * width);
      });
    return out;
  };
  let settled = new Set();
  for (let pass = 0; ; pass++) {
    const open = tokens.indexOf(maskToken);
    const answer = tokens.slice(ids.length, open < 0 ? undefined : open);
    const end = answer.findIndex((token) => endTokens.includes(token));
    if (end >= 0 || open < 0) return end < 0 ? answer : answer.slice(0, end + 1);
    const from = ids.length + blockLength * Math.floor((open - ids.length) / blockLength);
    const masked = all.slice(from, from + blockLength).filter((at) => tokens[at] === maskToken);
    if (pass % refresh === 0) settled = new Set();
    const past = all.filter((at) => settled.has(at));
    const fresh = all.filter((at) => !settled.has(at));
    const rows = [...fresh, ...masked.map(rowFor).filter((at) => settled.has(at))];
    const columns = [...past.map(() => 1), ...rows.map((_, i) => (i < fresh.length ? 1 : 0))];
    const { logits, kept } = await model.forward(
      rows.map((at) => tokens[at]),
      {
        positions: rows,
        mask: rows.flatMap(() => columns),
        logits: masked.map((at) => rows.indexOf(rowFor(at))),
        keep: true,
        ...(planes &&
          past.length > 0 && {
            past: {
              length: past.length,
              keys: planes.keys.map((plane) => taken(plane, tokens.length, past)),
              values: planes.values.map((plane) => taken(plane, tokens.length, past)),
            },
          }),
      },
    );
    planes ??= { keys: kept.keys.map(blank), values: kept.values.map(blank) };
    for (const kind of /** @type {const} */ (["keys", "values"]))
      planes[kind].forEach((plane, layer) => {
        for (let head = 0; head < heads; head++)
          fresh.forEach((at, i) => {
            const start = (head * rows.length + i) * width;
            plane.set(kept[kind][layer].subarray(start, start + width), (head * tokens.length + at) * width);
          });
      });
    const before = all.filter((at) => tokens[at] !== maskToken);
    const { at, token } = surest(logits, masked, maskToken);
    tokens[at] = token;
    settled = new Set(keeps === "immediate" ? [...before, at] : before);
  }

  function blank() {
    return new Float32Array(heads * tokens.length * width);
  }
}

/** The position whose likeliest token is the likeliest. @param {Float32Array} logits @param {readonly number[]} masked @param {number} maskToken */
function surest(logits, masked, maskToken) {
  const size = logits.length / masked.length;
  let best = { at: -1, token: -1, confidence: -1 };
  masked.forEach((at, row) => {
    const own = logits.subarray(row * size, (row + 1) * size);
    let token = maskToken === 0 ? 1 : 0;
    for (let i = 0; i < size; i++) if (i !== maskToken && own[i] > own[token]) token = i;
    const confidence = 1 / own.reduce((sum, x) => sum + Math.exp(x - own[token]), 0);
    if (confidence > best.confidence) best = { at, token, confidence };
  });
  return best;
}

/** @param {number} refresh */
const delayed = (refresh) =>
  onTasks(
    `tokens of a text as without a cache: kept from the pass after they were filled, less from that pass itself, refreshed every ${refresh} passes, G = ${length}`,
    atLeast(0, " points"),
    async (model, quick) => {
      const tasks = tasksOf(model, quick).slice(0, 35);
      const plain = await allOneTokenSeen(model, tasks);
      /** @type {Record<string, number[]>} */
      const same = { delayed: [], immediate: [] };
      for (const [i, { ids }] of tasks.entries())
        for (const keeps of /** @type {const} */ (["delayed", "immediate"]))
          same[keeps].push(100 * sameShare(await cachedText(model, ids, { keeps, refresh }), plain[i].text));
      const gain = meanOf(same.delayed.map((share, i) => share - same.immediate[i]));
      const note = `${within(gain)} points: ${within(meanOf(same.delayed))} % and ${within(meanOf(same.immediate))} %, ${tasks.length} tasks`;
      return { value: gain.value, runs: [gain.value], note };
    },
  );

/** What a position was before and after the pass between. */
const kinds = /** @type {const} */ (["filled before", "just filled", "still masked"]);
/** @type {Map<boolean, Promise<Record<string, { keys: number[], values: number[] }>>>} */
const likeness = new Map();
/** Cosines of neighbouring passes' keys and values, means over layers and positions of the answer, by task. @param {any} model @param {boolean} quick */
function cosines(model, quick) {
  const found = likeness.get(quick) ?? run();
  likeness.set(quick, found);
  return found;

  async function run() {
    const { maskToken } = model.ability("canvas");
    const { keyValueHeads: heads, headDimension: width } = model.config;
    /** @type {Record<string, { keys: number[], values: number[] }>} */
    const results = Object.fromEntries(kinds.map((kind) => [kind, { keys: [], values: [] }]));
    const tasks = tasksOf(model, quick).slice(0, 21);
    const watched = await allOneTokenSeen(model, tasks);
    for (const [i, { ids }] of tasks.entries()) {
      /** @type {Record<string, { keys: number[], values: number[] }>} */
      const own = Object.fromEntries(kinds.map((kind) => [kind, { keys: [], values: [] }]));
      const tokens = [...ids, ...Array(length).fill(maskToken)];
      /** @type {any} */
      let last;
      for (const { masked, tokens: predicted, filled } of watched[i].seen) {
        const { kept } = await model.forward(tokens, { keep: true, logits: "none" });
        for (let place = 0; last && place < length; place++) {
          const at = ids.length + place;
          const kind = tokens[at] === maskToken ? "still masked" : last.masks.has(at) ? "just filled" : "filled before";
          for (const side of /** @type {const} */ (["keys", "values"]))
            own[kind][side].push(
              meanOver(
                kept[side].map((/** @type {Float32Array} */ plane, /** @type {number} */ layer) =>
                  cosine(plane, last.kept[side][layer], at),
                ),
              ),
            );
        }
        last = { kept, masks: new Set(tokens.flatMap((token, at) => (token === maskToken ? [at] : []))) };
        for (const place of filled) tokens[ids.length + place] = predicted[masked.indexOf(place)];
      }
      for (const kind of kinds)
        for (const side of /** @type {const} */ (["keys", "values"]))
          if (own[kind][side].length > 0) results[kind][side].push(meanOver(own[kind][side]));
    }
    return results;

    /** Of one position's vectors, heads side by side. @param {Float32Array} a @param {Float32Array} b @param {number} at */
    function cosine(a, b, at) {
      const size = a.length / heads;
      let [product, first, second] = [0, 0, 0];
      for (let head = 0; head < heads; head++)
        for (let i = head * size + at * width; i < head * size + (at + 1) * width; i++) {
          product += a[i] * b[i];
          first += a[i] * a[i];
          second += b[i] * b[i];
        }
      return product / Math.sqrt(first * second);
    }
  }
}

/** @param {readonly number[]} values */
const meanOver = (values) => values.reduce((sum, x) => sum + x, 0) / values.length;

export const rows = [
  ...controlled.flatMap(([name, bars]) => againstScattered(name, bars)),
  ...settings.map(([name, bars]) =>
    onTasks(
      `passes that a position waits with its final prediction, LocalLeap over one token a pass, ${name}, G = ${length}`,
      atMost(1),
      async (model, quick) => {
        const [plain, ours] = [await oneTokenOf(model, quick), await leapt(model, quick, bars)];
        const [before, after] = [plain.map(waits), ours.map(waits)];
        const ratio = ratioOf(before.map((list, i) => [meanOver(after[i]), meanOver(list)]));
        const note = `${within(ratio, 2)}; one token a pass ${shares(before.flat(), waitClasses)}; LocalLeap ${shares(after.flat(), waitClasses)}; ${scores(ours, plain)}`;
        return { value: ratio.value, runs: [ratio.value], note };
      },
    ),
  ),
  onTasks(
    `predictions up to 4 positions from an anchor of 0.9 that became final, less those elsewhere, one token a pass, G = ${length}`,
    atLeast(0, " points"),
    async (model, quick) => {
      const units = (await oneTokenOf(model, quick)).map((watched) => predictionsOf(watched, 0.9));
      const found = locality(units);
      return {
        value: found.value,
        runs: [found.value],
        note: `${within(found)} points; by distance ${byDistance(units.flat())}`,
      };
    },
  ),
  onTasks(
    `predictions with a confidence of 0.75 to 0.9 up to 4 positions from an anchor that became final, less those elsewhere, G = ${length}`,
    atLeast(0, " points"),
    async (model, quick) => {
      const units = (await oneTokenOf(model, quick)).map((watched) =>
        predictionsOf(watched, 0.9).filter(({ confidence }) => confidence >= 0.75),
      );
      const found = locality(units);
      return {
        value: found.value,
        runs: [found.value],
        note: `${within(found)} points; by distance ${byDistance(units.flat())}`,
      };
    },
  ),
  ablation("radius", [0, 1, 2, 4, 8, 16]),
  ablation("relaxed", [0.9, 0.85, 0.75, 0.6, 0.5]),
  delayed(8),
  ...kinds.map((kind) =>
    onTasks(
      `cosine of a token's keys and values between neighbouring passes, ${kind}, one token a pass, G = ${length}`,
      kind === "filled before" ? atLeast(0.95, "") : reported(""),
      async (model, quick) => {
        const { keys, values } = (await cosines(model, quick))[kind];
        const value = meanOver([...keys, ...values]);
        return {
          value,
          runs: [value],
          note: `keys ${within(meanOf(keys), 3)}, values ${within(meanOf(values), 3)}, ${keys.length} tasks`,
        };
      },
    ),
  ),
];
