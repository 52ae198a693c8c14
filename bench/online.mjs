/**
 * Acceptance of a draft that learns while it serves, beside the same draft that does not, on a stream of requests in a style the
 * draft was not trained on: `node bench/online.mjs [--requests N]`. Prints JSON {curve, static, …}; draws docs/online-acceptance.svg.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { gunzipSync } from "node:zlib";
import { open } from "../dist/index.js";

const dataFolder = process.env.VENTRIS_DATA ?? fileURLToPath(new URL("../../shared/data", import.meta.url));
const svgPath = fileURLToPath(new URL("../docs/online-acceptance.svg", import.meta.url));
const promptTokens = 48;

/** SQL, one narrow form: the gold queries of Spider, as few-token openings. @param {number} count */
function queryPrompts(count) {
  const path = join(dataFolder, "spider", "dev.jsonl");
  if (!existsSync(path)) throw new Error(`no evaluation data at ${path} (set VENTRIS_DATA)`);
  const lines = readFileSync(path, "utf8").trim().split("\n");
  const texts = lines.map((line) => JSON.parse(line)).map(({ question, query }) => `${question}\n${query}\n`);
  const stride = Math.max(1, Math.floor(texts.length / count));
  return texts.filter((_, i) => i % stride === 0).slice(0, count);
}

/** Openings of paragraphs of presidential speeches, in the order of the years. @param {number} count */
function speechPrompts(count) {
  const path = join(dataFolder, "us-speeches", "state_union.jsonl.gz");
  if (!existsSync(path)) throw new Error(`no evaluation data at ${path} (set VENTRIS_DATA)`);
  const texts = gunzipSync(readFileSync(path)).toString("utf8").trim().split("\n");
  const paragraphs = texts.flatMap((line) =>
    JSON.parse(line)
      .text.split(/\n+/)
      .filter((text) => text.length > 300),
  );
  const stride = Math.max(1, Math.floor(paragraphs.length / count));
  return paragraphs.filter((_, i) => i % stride === 0).slice(0, count);
}

const streams = { speeches: speechPrompts, sql: queryPrompts };

/**
 * Serves one stream; one acceptance rate per request (mean over drafted positions of sum min(target, draft)).
 * @param {Awaited<ReturnType<typeof open>>} model @param {readonly (readonly number[])[]} prompts
 * @param {object} method @param {{ maxTokens: number, temperature: number }} request
 */
async function serve(model, prompts, method, request) {
  const rates = [];
  const started = performance.now();
  let [updates, tokens, passes] = [0, 0, 0];
  for (const [i, prompt] of prompts.entries()) {
    const run = model.decode(prompt, { ...request, seed: 1, request: i, method });
    for await (const event of run) {
      if (event.type !== "learn") continue;
      updates = event.updates;
      if (event.acceptance) rates.push(event.acceptance);
      if (event.note) console.error(`online: ${event.note}`);
    }
    const { counters } = await run.final;
    tokens += counters.generated;
    passes += counters.passes;
  }
  return { rates, updates, tokens, passes, seconds: (performance.now() - started) / 1000 };
}

/** Mean rate of every `width` requests, each position counted once. */
function windows(rates, width) {
  const result = [];
  for (let from = 0; from + width <= rates.length; from += width) {
    const part = rates.slice(from, from + width);
    const positions = part.reduce((sum, rate) => sum + rate.positions, 0);
    result.push(part.reduce((sum, rate) => sum + rate.exact * rate.positions, 0) / positions);
  }
  return result;
}

/**
 * @param {{ target?: string, draft?: string, requests?: number, maxTokens?: number, temperature?: number, learn?: object, svg?: string, stream?: "speeches" | "sql" }} [options]
 *   `learn`: options of the method `online`; `svg`: where to draw, "" for nowhere.
 */
export async function onlineAcceptance({
  target = "knossos",
  draft = "pylos",
  requests = 120,
  maxTokens = 48,
  temperature = 0.8,
  learn = { interval: 2, learningRate: 4e-4, lossOn: "all" },
  svg = svgPath,
  stream = "speeches",
} = {}) {
  const perPoint = Math.max(1, Math.min(20, Math.floor(requests / 5)));
  const method = { name: "online", draft, ...learn };
  const results = {};
  for (const [name, options] of Object.entries({ static: { ...method, learn: false }, curve: method })) {
    const model = await open(target);
    const prompts = streams[stream](requests).map((text) => model.tokenizer.encode(text).slice(0, promptTokens));
    results[name] = await serve(model, prompts, options, { maxTokens, temperature });
    await model.close();
  }
  const [curve, fixed] = [windows(results.curve.rates, perPoint), windows(results.static.rates, perPoint)];
  if (svg) {
    mkdirSync(fileURLToPath(new URL("../docs/", import.meta.url)), { recursive: true });
    writeFileSync(svg, draw(curve, fixed, perPoint, `${draft} for ${target}`));
  }
  const speed = ({ tokens, passes, seconds }) => ({
    tokensPerPass: tokens / passes,
    tokensPerSecond: tokens / seconds,
  });
  return {
    target,
    draft,
    stream,
    requests,
    requestsPerPoint: perPoint,
    maxTokens,
    temperature,
    learn,
    updates: results.curve.updates,
    curve,
    static: fixed,
    speed: { learning: speed(results.curve), static: speed(results.static) },
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
    `<text x="${left}" y="18">Acceptance rate on presidential speeches over requests served (${title})</text>`,
    ...marks,
    ...counts,
    line(fixed, "#888888", "static"),
    line(curve, "#1d4ed8", "learning"),
    "</svg>\n",
  ].join("\n");
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const at = process.argv.indexOf("--requests");
  const result = await onlineAcceptance(at > 0 ? { requests: Number(process.argv[at + 1]) } : {});
  console.log(JSON.stringify(result, null, 2));
}
