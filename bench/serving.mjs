/** `ventris serve` beside the library alone: what HTTP and the second process cost, how soon first tokens come, and what stays behind. */
import { spawn } from "node:child_process";
import { Agent, request as httpRequest } from "node:http";
import { performance } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { alternate, format, median, quantile, ratio } from "./harness/measure.mjs";
import { atLeast, atMost } from "./harness/report.mjs";

const main = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
const model = "knossos";
const tokens = 200;
const openings = [
  "Once upon a time",
  "The old king",
  "A fox and a crow",
  "In the harbour",
  "One winter morning",
  "The map showed",
];
/** No two requests of a run have the same prompt. @param {number} i */
const promptOf = (i) => `${openings[i % openings.length]}, on day ${i} of the year, there was a letter.`;

/** A server in a process of its own, as people start it, and what it says of itself. */
async function started() {
  const child = spawn(
    process.execPath,
    [main, "serve", "--model", model, "--port", "0", "--max-queue", "1000", "--quiet"],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  const lines = child.stdout[Symbol.asyncIterator]();
  const url = new URL(String((await lines.next()).value).trim());
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  return {
    /**
     * A completion; seconds to its first text and to its end. Rejects when it is aborted.
     * @param {Record<string, unknown>} body
     * @param {AbortSignal} [signal]
     * @returns {Promise<{ first: number, whole: number, text: string }>}
     */
    complete: function complete(body, signal) {
      return new Promise((resolve, reject) => {
        const began = performance.now();
        const asked = httpRequest(
          { host: url.hostname, port: url.port, path: "/v1/completions", method: "POST", agent, signal },
          (response) => {
            let first = 0;
            let text = "";
            response.setEncoding("utf8");
            response.on("data", (piece) => {
              if (!first) first = (performance.now() - began) / 1000;
              text += piece;
            });
            response.on("error", reject);
            response.on("end", () => {
              if (response.statusCode === 200) resolve({ first, whole: (performance.now() - began) / 1000, text });
              else reject(new Error(`${response.statusCode}: ${text.slice(0, 300)}`));
            });
          },
        );
        asked.on("error", (/** @type {NodeJS.ErrnoException} */ error) => {
          // A kept connection that the server ended meanwhile, as Node's documentation has it: nothing was asked yet.
          if (asked.reusedSocket && error.code === "ECONNRESET") resolve(complete(body, signal));
          else reject(error);
        });
        asked.end(JSON.stringify({ model, ...body }));
      });
    },
    health: async () => {
      const began = performance.now();
      await (await fetch(new URL("/health", url))).text();
      return performance.now() - began;
    },
    /** @param {string} name */
    metric: async (name) => {
      const text = await (await fetch(new URL("/metrics", url))).text();
      return Number(new RegExp(`^ventris_${name} (\\S+)$`, "m").exec(text)?.[1]);
    },
    async close() {
      agent.destroy();
      child.kill("SIGTERM");
      await new Promise((resolve) => child.once("exit", resolve));
    },
  };
}

/** @typedef {Awaited<ReturnType<typeof started>>} Server */

/** A text of exactly so many tokens, streamed. @param {number} i @param {number} count */
const streamed = (i, count = tokens) => ({
  prompt: promptOf(i),
  max_tokens: count,
  seed: i,
  temperature: 0.8,
  stream: true,
  decoding: { minTokens: count },
});

/** @param {number} clients @returns {import("./harness/report.mjs").RowDefinition} */
const throughput = (clients) => ({
  what: `tokens a second at ${clients} ${clients === 1 ? "client" : "clients"} through HTTP, over the library alone`,
  target: atLeast(0.9),
  measure: async ({ runs, progress }) => {
    const { open } = await import("../dist/index.js");
    let seed = 0;
    // One client asks for several texts, one after the other: a single one takes a third of a second, which a busy moment of the machine doubles.
    const texts = Math.max(clients, 8);
    /** @param {(i: number) => Promise<unknown>} decode */
    const rate = async (decode) => {
      let next = seed;
      const client = async () => {
        while (next < seed + texts) await decode(next++);
      };
      const began = performance.now();
      await Promise.all(Array.from({ length: clients }, client));
      return (texts * tokens) / ((performance.now() - began) / 1000);
    };
    /** @type {{ a: number[], b: number[] }} */
    const measured = { a: [], b: [] };
    // Each time with processes of its own: two that do the same differ by several percent for as long as they live.
    for (let start = 0; start < runs; start++) {
      const server = await started();
      const library = await open(model);
      try {
        const { a, b } = await alternate(
          () => rate((i) => server.complete(streamed(i))),
          async () => {
            const result = await rate((i) =>
              library.generate(promptOf(i), { maxTokens: tokens, minTokens: tokens, seed: i, temperature: 0.8 }),
            );
            seed += texts;
            return result;
          },
          3,
          (line) => progress(`start ${start + 1} of ${runs}, ${line}`),
        );
        measured.a.push(...a);
        measured.b.push(...b);
      } finally {
        await library.close();
        await server.close();
      }
    }
    return { ...ratio(measured), note: `${format(median(measured.a))} and ${format(median(measured.b))} tokens/s` };
  },
});

/**
 * Seconds to each first text, of clients that ask for texts of 30 to 90 tokens one after the other, once they are out of step.
 * @param {Server} server @param {number} clients @param {number} count
 */
async function firstTexts(server, clients, count) {
  /** @type {number[]} */
  const times = [];
  let next = 0;
  const client = async () => {
    while (next < 2 * clients + count) {
      const i = next++;
      const { first } = await server.complete(streamed(i, 30 + ((i * 37) % 61)));
      if (i >= 2 * clients) times.push(first);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return times;
}

/** One that asks alone, and sixteen that ask in the same moment, by turns. @param {Server} server @param {number} rounds */
async function firstTextsTogether(server, rounds) {
  /** @type {number[]} */
  const one = [];
  /** @type {number[]} */
  const many = [];
  let next = 1000;
  const ask = async () => (await server.complete(streamed(next++, 8))).first;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < 4; i++) one.push(await ask());
    many.push(...(await Promise.all(Array.from({ length: 16 }, ask))));
  }
  return { one, many };
}

/** Of the 95th percentiles. @param {number[]} one @param {number[]} many */
function overOne(one, many) {
  const [alone, among] = [one, many].map((times) => quantile(times, 0.95));
  const ms = (/** @type {number} */ seconds) => format(seconds * 1000);
  const note = `${ms(alone)} and ${ms(among)} ms; medians ${ms(median(one))} and ${ms(median(many))} ms`;
  return { value: among / alone, runs: [among / alone], note };
}

/** @type {import("./harness/report.mjs").RowDefinition[]} */
export const rows = [
  throughput(1),
  throughput(4),
  throughput(16),
  {
    what: "time to first token at 16 clients, 95th percentile, over that of one",
    target: atMost(6),
    measure: async ({ quick }) => {
      const server = await started();
      try {
        await firstTexts(server, 16, 32); // the arena grows, code is compiled
        const one = await firstTexts(server, 1, quick ? 20 : 60);
        const many = await firstTexts(server, 16, quick ? 64 : 240);
        return overOne(one, many);
      } finally {
        await server.close();
      }
    },
  },
  {
    what: "the same where all 16 ask in the same instant, and one by turns",
    target: atMost(6),
    measure: async ({ quick }) => {
      const server = await started();
      try {
        await firstTextsTogether(server, 4); // the arena grows, code is compiled
        const { one, many } = await firstTextsTogether(server, quick ? 5 : 30);
        return overOne(one, many);
      } finally {
        await server.close();
      }
    },
  },
  {
    what: "/health while 16 clients stream, 99th percentile",
    target: atMost(50, " ms"),
    measure: async ({ quick }) => {
      const server = await started();
      let over = false;
      try {
        let next = 0;
        const client = async () => {
          while (!over) await server.complete(streamed(next++));
        };
        const clients = Promise.all(Array.from({ length: 16 }, client));
        await delay(1000);
        /** @type {number[]} */
        const times = [];
        for (let i = 0; i < (quick ? 200 : 1000); i++) {
          times.push(await server.health());
          await delay(5);
        }
        over = true;
        await clients;
        const value = quantile(times, 0.99);
        return { value, runs: [value], note: `median ${format(median(times))} ms of ${times.length}` };
      } finally {
        over = true;
        await server.close();
      }
    },
  },
  {
    what: "memory after 10,000 requests with a third aborted, last half over first",
    target: atMost(1.05),
    measure: async ({ quick, progress }) => {
      const server = await started();
      const count = quick ? 2000 : 10_000;
      let next = 0;
      let aborted = 0;
      /** @type {number[]} */
      const bytes = [];
      const measure = async () =>
        (await server.metric("engine_resident_memory_bytes")) + (await server.metric("server_resident_memory_bytes"));
      /** @param {number} i */
      const one = async (i) => {
        const leaves = i % 3 === 0;
        const stop = new AbortController();
        if (leaves) setTimeout(() => stop.abort(), (i * 7919) % 40);
        const body = { ...streamed(i, leaves ? 100 : 4), stream: i % 2 === 0, n: i % 10 === 0 ? 2 : 1 };
        try {
          await server.complete(body, stop.signal);
        } catch (error) {
          if (!stop.signal.aborted) throw error;
          aborted += 1;
        }
        if (i % (count / 100) === 0) bytes.push(await measure());
      };
      const client = async () => {
        while (next < count) await one(next++);
      };
      try {
        await Promise.all(Array.from({ length: 16 }, client));
        await delay(500);
        const held = await server.metric("engine_slots_held");
        if (held !== 0) throw new Error(`${held} slots are still held`);
        const half = bytes.length >> 1;
        const [first, last] = [median(bytes.slice(0, half)), median(bytes.slice(half))];
        progress(
          `  MB, every tenth: ${bytes
            .filter((_, i) => i % 10 === 0)
            .map((value) => Math.round(value / 1e6))
            .join(" ")}`,
        );
        const note = `${format(first / 1e6)} and ${format(last / 1e6)} MB; ${aborted} of ${count} aborted; 0 slots held`;
        return { value: last / first, runs: [last / first], note };
      } finally {
        await server.close();
      }
    },
  },
];
