/**
 * A draft that learns while it serves, beside the same draft that does not, on one stream of requests sent one after the other:
 * `node bench/online.mjs [--stream NAME] [--requests N]`. Prints JSON; draws docs/online-acceptance.svg for the stream `sql`.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { gunzipSync } from "node:zlib";
import { open } from "../dist/index.js";

const dataFolder = process.env.VENTRIS_DATA ?? fileURLToPath(new URL("../../shared/data", import.meta.url));
const svgPath = fileURLToPath(new URL("../docs/online-acceptance.svg", import.meta.url));

/** @param {string} name */
function read(name) {
  const path = join(dataFolder, name);
  if (!existsSync(path)) throw new Error(`no evaluation data at ${path} (set VENTRIS_DATA)`);
  const bytes = readFileSync(path);
  return (name.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8").trim();
}

/** @param {string} name @returns {any[]} */
const readLines = (name) =>
  read(name)
    .split("\n")
    .map((line) => JSON.parse(line));

/** `count` of these, evenly spread. @template T @param {readonly T[]} all @param {number} count @returns {T[]} */
function spread(all, count) {
  const stride = Math.max(1, Math.floor(all.length / count));
  return all.filter((_, i) => i % stride === 0).slice(0, count);
}

/** Every task behind `shots` solved ones. @param {{ task: string, solution: string }[]} all @param {number} shots */
const fewShot = (all, shots) =>
  all.map(({ task }, i) => {
    const solved = Array.from({ length: shots }, (_, j) => all[(i + 1 + j * 37) % all.length]);
    return solved.map((other) => `${other.task}${other.solution}\n\n`).join("") + task;
  });

/** Texts of one topic and style, by name. The models were trained on tales. */
export const streams = {
  /** Questions about tables and their queries (Spider), three solved before each: the stream of the paper's largest gain. */
  sql: () =>
    fewShot(
      readLines("spider/dev.jsonl").map(({ question, query }) => ({
        task: `Question: ${question}\nSQL:`,
        solution: ` ${query}`,
      })),
      3,
    ),
  mathematics: () =>
    fewShot(
      readLines("gsm8k/train.jsonl.gz").map(({ question, answer }) => ({
        task: `Question: ${question}\nAnswer:`,
        solution: ` ${answer}`,
      })),
      1,
    ),
  code: () => readLines("humaneval/HumanEval.jsonl").map(({ prompt }) => prompt),
  molecules: () => {
    const lines = read("smiles/hiv.csv.gz").split("\n").slice(1);
    const formulas = lines.map((line) => line.split(",")[0]).filter((text) => text.length < 60);
    return formulas.map((_, i) => `${formulas.slice(i, i + 4).join("\n")}\n`);
  },
  speeches: () =>
    readLines("us-speeches/state_union.jsonl.gz").flatMap(({ text }) =>
      text.split(/\n+/).filter((paragraph) => paragraph.length > 300),
    ),
  plays: () => {
    const turns = read("tiny-shakespeare/input.txt.gz").split("\n\n");
    return turns.map((_, i) => `${turns.slice(i, i + 4).join("\n\n")}\n\n`);
  },
  articles: () =>
    read("wikitext-2/wikitext-2-test.txt.gz")
      .split("\n")
      .filter((paragraph) => paragraph.length > 300),
  tales: () =>
    readLines("tinystories/tinystories-1000.jsonl.gz").map((tale) => tale.text ?? tale.story ?? Object.values(tale)[0]),
};

/** What one request showed. @typedef {{ exact: number, positions: number, tokens: number, passes: number, seconds: number }} Served */

/**
 * @param {Awaited<ReturnType<typeof open>>} model @param {readonly (readonly number[])[]} prompts
 * @param {object} method @param {{ maxTokens: number, temperature: number }} request
 */
async function serve(model, prompts, method, request) {
  /** @type {Served[]} */
  const served = [];
  let updates = 0;
  for (const [i, prompt] of prompts.entries()) {
    let acceptance = { exact: 0, positions: 0 };
    const started = performance.now();
    const run = model.decode(prompt, { ...request, seed: 1, request: i, method });
    for await (const event of run) {
      if (event.type !== "learn") continue;
      updates = event.updates;
      acceptance = event.acceptance ?? acceptance;
      if (event.note) console.error(`online: ${event.note}`);
    }
    const { generated: tokens, passes } = (await run.final).counters;
    served.push({ ...acceptance, tokens, passes, seconds: (performance.now() - started) / 1000 });
  }
  return { served, updates };
}

/** Acceptance with each drafted position counted once, and speed, over these requests. @param {readonly Served[]} served */
function summary(served) {
  const total = (of) => served.reduce((sum, request) => sum + of(request), 0);
  return {
    acceptance: total(({ exact, positions }) => exact * positions) / total(({ positions }) => positions),
    tokensPerPass: total(({ tokens }) => tokens) / total(({ passes }) => passes),
    tokensPerSecond: total(({ tokens }) => tokens) / total(({ seconds }) => seconds),
    millisecondsPerToken: (1000 * total(({ seconds }) => seconds)) / total(({ tokens }) => tokens),
  };
}

/** @template T @param {readonly T[]} all @param {number} width @returns {T[][]} */
const parts = (all, width) =>
  Array.from({ length: Math.floor(all.length / width) }, (_, i) => all.slice(i * width, (i + 1) * width));

/**
 * @param {{ target?: string, draft?: string, requests?: number, maxTokens?: number, promptTokens?: number, temperature?: number, learn?: object, svg?: string, stream?: keyof typeof streams }} [options]
 *   `learn`: options of the method `online` other than its defaults; `svg`: where to draw, "" for nowhere; `promptTokens`: a longer
 *   prompt keeps its end.
 */
export async function onlineAcceptance({
  target = "knossos",
  draft = "pylos",
  requests = 120,
  maxTokens = 128,
  promptTokens = 160,
  temperature = 0.8,
  learn = {},
  stream = "sql",
  svg = stream === "sql" ? svgPath : "",
} = {}) {
  const method = { name: "online", draft, ...learn };
  const request = { maxTokens, temperature };
  const further = Math.max(1, Math.floor(requests / 5));
  const results = {};
  /** What is left to serve with drafts that learn no more. */
  const sides = [];
  for (const [name, options] of Object.entries({
    static: { ...method, learn: false, afterSwap: "keep" },
    learning: method,
  })) {
    const model = await open(target);
    const texts = spread(streams[stream](), requests + 1 + further);
    const [warmUp, ...prompts] = texts.map((text) => model.tokenizer.encode(text).slice(-promptTokens));
    const paused = { ...options, learn: false };
    await serve(model, [warmUp], paused, request); // opens the draft, and compiles
    results[name] = await serve(model, prompts.slice(0, requests), options, request);
    sides.push({ name, model, paused, rest: prompts.slice(requests), served: [] });
  }
  // In turns, so that whatever else the machine does hits both alike.
  for (const number of sides[0].rest.keys()) {
    for (const { model, paused, rest, served } of sides) {
      served.push(...(await serve(model, [rest[number]], paused, request)).served);
    }
  }
  for (const { model } of sides) await model.close();
  const width = Math.max(1, Math.floor(requests / 10));
  const curves = Object.fromEntries(
    Object.entries(results).map(([name, { served }]) => [
      name,
      parts(served, width).map((part) => summary(part).acceptance),
    ]),
  );
  if (svg) {
    mkdirSync(fileURLToPath(new URL("../docs/", import.meta.url)), { recursive: true });
    writeFileSync(svg, draw(curves.learning, curves.static, width, `${stream}, ${draft} for ${target}`));
  }
  const fifth = Math.max(1, Math.floor(requests / 5));
  const ends = ({ served }) => ({ first: summary(served.slice(0, fifth)), last: summary(served.slice(-fifth)) });
  const [fixed, learning] = [ends(results.static), ends(results.learning)];
  return {
    ...{ target, draft, stream, requests, maxTokens, temperature, learn },
    updates: results.learning.updates,
    /** On the same last requests, so that it cannot come from requests that are easier. */
    gain: learning.last.acceptance - fixed.last.acceptance,
    static: fixed,
    learning,
    /** Further requests of the stream, on which neither draft learns. */
    paused: Object.fromEntries(sides.map(({ name, served }) => [name, summary(served)])),
    requestsPerPoint: width,
    curves,
  };
}

/** Two lines over the number of requests served. */
function draw(curve, fixed, perPoint, title) {
  const [width, height, left, right, top, bottom] = [640, 320, 48, 150, 32, 40];
  const all = [...curve, ...fixed];
  const low = Math.floor(Math.min(...all) * 20 - 0.5) / 20;
  const high = Math.ceil(Math.max(...all) * 20 + 0.5) / 20;
  const x = (i) => left + ((width - left - right) * (i + 1)) / curve.length;
  const y = (rate) => top + ((height - top - bottom) * (high - rate)) / (high - low);
  const line = (points, colour, name) => {
    const path = points.map((rate, i) => `${x(i).toFixed(1)},${y(rate).toFixed(1)}`).join(" ");
    const end = points[points.length - 1];
    return (
      `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>` +
      `<text x="${width - right + 6}" y="${(y(end) + 4).toFixed(1)}" fill="${colour}">${name} ${end.toFixed(3)}</text>`
    );
  };
  const marks = Array.from({ length: Math.round((high - low) * 20) + 1 }, (_, i) => low + i / 20).map(
    (rate) =>
      `<path d="M${left} ${y(rate).toFixed(1)}H${width - right}" stroke="#ddd"/>` +
      `<text x="${left - 6}" y="${(y(rate) + 4).toFixed(1)}" text-anchor="end">${rate.toFixed(2)}</text>`,
  );
  const counts = curve.map(
    (_, i) =>
      `<text x="${x(i).toFixed(1)}" y="${height - bottom + 18}" text-anchor="middle">${(i + 1) * perPoint}</text>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11" fill="#444">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="${left}" y="18">Acceptance rate over requests served (${title})</text>`,
    ...marks,
    ...counts,
    line(fixed, "#888888", "static"),
    line(curve, "#1d4ed8", "learning"),
    "</svg>\n",
  ].join("\n");
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const given = (name) => {
    const at = process.argv.indexOf(`--${name}`);
    return at > 0 ? process.argv[at + 1] : undefined;
  };
  const stream = given("stream") ?? "sql";
  if (!Object.hasOwn(streams, stream)) throw new Error(`--stream: one of ${Object.keys(streams).join(", ")}`);
  const requests = Number(given("requests") ?? 120);
  const learn = JSON.parse(given("learn") ?? "{}");
  console.log(JSON.stringify(await onlineAcceptance({ stream, requests, learn }), null, 2));
}
