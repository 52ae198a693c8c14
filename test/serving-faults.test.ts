/** What `ventris serve` stands: strangers' bodies, clients that go away, too many of them, a worker that is killed, an end in order. */
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import OpenAI from "openai";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { type Listening, type ListenOptions, listen, serveGroups } from "../src/server/listen.ts";
import { ensureBuilt } from "./build.ts";

let server: Listening;
beforeAll(async () => {
  ensureBuilt();
  server = await listen({ port: 0, groups: serveGroups(false), maxConcurrent: 64, maxQueue: 2000 });
  await post("/v1/completions", { model: "knossos", prompt: "The", max_tokens: 1 });
}, 300_000);
const others: Listening[] = [];
afterEach(async () => {
  for (const other of others.splice(0)) await other.close();
});
afterAll(() => server?.close());

async function another(options: Partial<ListenOptions>): Promise<Listening> {
  const made = await listen({ port: 0, groups: serveGroups(false), ...options });
  others.push(made);
  return made;
}

const at = (path: string, { url } = server): string => new URL(path, url).href;
const post = (path: string, body: unknown, init: RequestInit = {}, to = server): Promise<Response> =>
  fetch(at(path, to), { method: "POST", body: typeof body === "string" ? body : JSON.stringify(body), ...init });
const story = { model: "knossos", prompt: "Once upon a time", max_tokens: 8 };
const long = { ...story, max_tokens: 900, decoding: { minTokens: 900 } };

async function until(holds: () => boolean | Promise<boolean>, milliseconds = 10_000): Promise<void> {
  const deadline = Date.now() + milliseconds;
  while (!(await holds()) && Date.now() < deadline) await delay(20);
  expect(await holds()).toBe(true);
}

/** A generator of numbers that repeats itself (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe("strangers' bodies", () => {
  const routes = ["/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/v1/responses", "/api/runs"];
  const random = randomFrom(19);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)];
  /** Never a value that one of the fields below may have. */
  const wrong = (): unknown =>
    pick<unknown>([
      {},
      [],
      -1e300,
      "\u0000\uffff",
      [[]],
      { a: { b: [] } },
      true,
      "x".repeat(5000),
      [null],
      Number.MAX_VALUE,
      -0.5,
    ]);
  const fields = [
    "model",
    "prompt",
    "messages",
    "input",
    "max_tokens",
    "n",
    "stop",
    "seed",
    "stream_options",
    "response_format",
    "tools",
  ];
  const mutated = (): string => {
    const kind = random();
    if (kind < 0.15) return pick(["", "{", "[]", "null", "5", '"text"', "[[[[", "{}}", "\u0000", "{'a': 1}", "NaN"]);
    if (kind < 0.25) return `{"model": ${'{"a":'.repeat(2000)}1${"}".repeat(2000)}}`;
    const body: Record<string, unknown> = {
      model: "knossos",
      prompt: "a",
      messages: [{ role: "user", content: "a" }],
      input: "a",
    };
    for (let i = 0; i < 1 + random() * 3; i++) body[pick(fields)] = wrong();
    if (random() < 0.3) body[`field${Math.floor(random() * 1000)}`] = wrong();
    if (random() < 0.2) body.decoding = wrong();
    return JSON.stringify(body);
  };

  it("get 4xx and a JSON error, 200 of 200", { timeout: 120_000 }, async () => {
    for (let i = 0; i < 200; i++) {
      const [route, body] = [routes[i % routes.length], mutated()];
      const response = await post(route, body);
      const said = `${route} ${body.slice(0, 300)} -> ${response.status}`;
      expect(response.status >= 400 && response.status < 500, said).toBe(true);
      const { error } = (await response.json()) as {
        error: { message: string; code: string; type: string; param: unknown };
      };
      expect(error.message, said).toBeTypeOf("string");
      expect(error.message.length, said).toBeGreaterThan(0);
      expect(
        [error.code, error.type].every((text) => typeof text === "string"),
        said,
      ).toBe(true);
      expect(error, said).toHaveProperty("param");
    }
    expect(server.admission.active).toBe(0);
    expect(await (await post("/v1/completions", story)).json()).toHaveProperty("choices");
  });

  it("are refused when they nest so deep that reading them would fill a stack", async () => {
    const deep = (depth: number): string =>
      `{"model":"knossos","prompt":"a","decoding":{"constraint":${'{"a":'.repeat(depth)}1${"}".repeat(depth)}}}`;
    for (const body of [deep(5000), deep(500), `${"[".repeat(200_000)}${"]".repeat(200_000)}`]) {
      const response = await post("/v1/completions", body);
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({
        error: { code: "bad_option", message: expect.stringContaining("nests deeper") },
      });
    }
    expect((await post("/v1/completions", deep(100))).status).toBe(400);
  });

  it.each([
    ["larger than the limit", "x".repeat(2 ** 20 + 1), 413],
    ["larger than the limit, in chunks", new Blob(["x".repeat(2 ** 20 + 1)]).stream(), 413],
  ])("are refused when %s", async (_, body, status) => {
    const response = await fetch(at("/v1/completions"), { method: "POST", body, duplex: "half" } as RequestInit);
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ error: { code: "bad_option" } });
  });

  it("are refused where a key would be passed over, and with it what a schema says of it", async () => {
    const schema = '{"properties":{"a":{"properties":{"__proto__":{"type":"integer"}}}}}';
    const response = await post(
      "/v1/completions",
      `{"model":"knossos","prompt":"a","decoding":{"constraint":{"jsonSchema":${schema}}}}`,
    );
    expect(response.status).toBe(400);
    const param = "decoding.constraint.jsonSchema.properties.a.properties.__proto__";
    expect(await response.json()).toMatchObject({ error: { param, message: expect.stringMatching(`^${param}: `) } });
  });

  it.each([
    ["/v1/completions", '{"model":"knossos","prompt":"a \\ud800 b"}', "prompt"],
    ["/v1/completions", '{"model":"knossos","prompt":["a","\\udc00"]}', "prompt"],
    ["/v1/chat/completions", '{"model":"phaistos","messages":[{"role":"user","content":"\\ud800"}]}', "messages"],
    ["/v1/embeddings", '{"model":"knossos","input":"\\udfff"}', "input"],
  ])("are refused where half of a character would become another: %s %s", async (path, body, param) => {
    const response = await post(path, body);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      error: { param, message: `${param}: a text has half a surrogate pair` },
    });
    const whole = await post("/v1/completions", '{"model":"knossos","prompt":"a \\ud83d\\ude00","max_tokens":1}');
    expect(whole.status).toBe(200);
  });

  it("that name a model by a path hear which models are here", async () => {
    for (const name of [process.cwd(), "/etc/passwd", "../models/knossos", "~/models/x", "C:\\models"]) {
      const response = await post("/v1/completions", { model: name, prompt: "a" });
      expect(response.status).toBe(404);
      const { error } = (await response.json()) as { error: { message: string } };
      expect(error.message).toMatch(/^no model .*; the models here: .*knossos/);
      expect(error.message).not.toContain(process.cwd());
    }
  });

  it("hold nobody up and fill no memory, however often a prompt of megabytes is to be read", {
    timeout: 60_000,
  }, async () => {
    const wide = await another({ bodyBytes: 2 ** 22 });
    const text = "word ".repeat(780_000);
    const ids = Array.from({ length: 1_900_000 }, () => 7);
    const cases = [
      ["/v1/completions", "prompt", { model: "knossos", prompt: text, n: 128 }],
      ["/v1/completions", "prompt", { model: "knossos", prompt: "w".repeat(3_900_000), n: 128, stream: true }],
      ["/v1/completions", "prompt", { model: "knossos", prompt: ids, n: 128 }],
      ["/v1/completions", "prompt", { model: "knossos", prompt: text, echo: true, max_tokens: 0 }],
      ["/v1/chat/completions", "messages", { model: "phaistos", messages: [{ role: "user", content: text }], n: 128 }],
      ["/v1/embeddings", "input", { model: "knossos", input: text }],
    ] as const;
    await post("/v1/chat/completions", { model: "phaistos", messages: [{ role: "user", content: "Hello" }] }, {}, wide);
    const began = performance.now();
    for (const [path, field, body] of cases) {
      const response = await post(path, body, {}, wide);
      const { error } = (await response.json()) as { error: { param: string; code: string } };
      expect([response.status, error.param, error.code], `${path} ${field}`).toEqual([400, field, "context_full"]);
    }
    expect(wide.engine.restarts).toBe(0);
    // Read for every choice, the first alone takes longer.
    expect(performance.now() - began).toBeLessThan(8000);
  });

  it("are refused when they are no UTF-8: other characters would stand for what was sent", async () => {
    const [before, after] = JSON.stringify({ ...story, prompt: "caf|" }).split("|");
    const body = Buffer.concat([Buffer.from(before), Buffer.from([0xe9]), Buffer.from(after)]);
    const response = await fetch(at("/v1/completions"), { method: "POST", body });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { message: "the body is not UTF-8" } });
  });

  it.each([
    ["in one piece", "Content-Length: 500\r\n\r\n{"],
    ["in chunks", "Transfer-Encoding: chunked\r\n\r\n10\r\n{"],
  ])("that break off, %s, are no fault of the server", async (_, rest) => {
    const said = vi.spyOn(console, "error").mockImplementation(() => {});
    try {
      const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
      socket.write(`POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n${rest}`);
      await delay(200);
      socket.destroy();
      await delay(200);
      expect(said).not.toHaveBeenCalled();
    } finally {
      said.mockRestore();
    }
  });
});

describe("clients that go away", () => {
  it("leave no held node behind: 1,000 requests, a third aborted at random", { timeout: 400_000 }, async () => {
    const random = randomFrom(7);
    let [answered, aborted] = [0, 0];
    const one = async (i: number): Promise<void> => {
      const leaves = i % 3 === 0;
      const stop = new AbortController();
      const body = {
        ...story,
        prompt: `The ${["king", "fox", "old map", "river"][i % 4]} ${i % 50}`,
        max_tokens: leaves ? 200 : 4,
        stream: i % 2 === 0,
        n: i % 5 === 0 ? 2 : 1,
        seed: i,
      };
      if (leaves) setTimeout(() => stop.abort(), random() * 120);
      try {
        const response = await post("/v1/completions", body, { signal: stop.signal });
        const text = await response.text();
        expect(response.status, text).toBe(200);
        answered += 1;
      } catch (error) {
        if (!stop.signal.aborted) throw error;
        aborted += 1;
      }
    };
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < 1000) await one(next++);
    };
    await Promise.all(Array.from({ length: 24 }, worker));
    expect(answered + aborted).toBe(1000);
    expect(aborted).toBeGreaterThan(150);
    await until(
      async () =>
        (await server.engine.call("held")) === 0 && server.engine.active === 0 && server.admission.active === 0,
    );
    expect(server.admission.waiting).toBe(0);
  });

  it.each([
    ["a whole answer", "/v1/completions", { ...long, stream: false }],
    ["a stream", "/v1/completions", { ...long, stream: true }],
    [
      "a chat",
      "/v1/chat/completions",
      { model: "phaistos", messages: [{ role: "user", content: "Hi" }], decoding: { minTokens: 800 }, stream: true },
    ],
    [
      "the studio's run",
      "/api/runs",
      { model: "knossos", prompt: "The", method: { name: "sample" }, options: { maxTokens: 900, minTokens: 900 } },
    ],
  ])("free the nodes of %s", async (_, path, body) => {
    const stop = new AbortController();
    const asked = post(path, body, { signal: stop.signal }).then((response) => response.text());
    await until(async () => (await server.engine.call("held")) > 0);
    stop.abort();
    await expect(asked).rejects.toThrow();
    await until(async () => (await server.engine.call("held")) === 0 && server.admission.active === 0, 3000);
  });
});

describe("options of the host", () => {
  const run = (draft: string, to: Listening): Promise<Response> =>
    post(
      "/api/runs",
      { model: "knossos", prompt: "The", method: { name: "dyspec", draft }, options: { maxTokens: 2 } },
      {},
      to,
    );

  it("are the names of listed models on the host itself, and as they are anyway elsewhere", async () => {
    expect(await (await run("/etc/passwd", server)).json()).toMatchObject({ error: { fields: [{ option: "draft" }] } });
    expect((await run("knossos", server)).status).toBe(200);
    const everywhere = await another({ host: "0.0.0.0" });
    expect((await run("pylos", everywhere)).status).toBe(200);
    expect((await run("knossos", everywhere)).status).toBe(400);
  });
});

describe("limits", () => {
  it("tell a client that comes to a full queue when to come back", async () => {
    const small = await another({ maxConcurrent: 1, maxQueue: 1 });
    const stop = new AbortController();
    const first = post("/v1/completions", long, { signal: stop.signal }, small).catch(() => {});
    await until(() => small.admission.active === 1);
    const second = post("/v1/completions", story, {}, small);
    await until(() => small.admission.waiting === 1);
    const third = await post("/v1/completions", story, {}, small);
    expect(third.status).toBe(429);
    expect(Number(third.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
    expect(await third.json()).toMatchObject({ error: { type: "rate_limit_error" } });
    expect((await (await fetch(at("/health", small))).json()) as object).toMatchObject({ active: 1, waiting: 1 });
    stop.abort();
    await first;
    expect((await second).status).toBe(200);
    // More choices than there may be at once have the server to themselves.
    const several = await post("/v1/completions", { ...story, n: 3 }, {}, small);
    expect(((await several.json()) as { choices: unknown[] }).choices).toHaveLength(3);
    const many = await post("/v1/completions", { ...story, prompt: ["a", "b"], n: 100 }, {}, small);
    expect(await many.json()).toMatchObject({ error: { param: "n" } });
  });

  it("end a request that takes too long", async () => {
    const hasty = await another({ requestSeconds: 0.5 });
    await hasty.engine.call("open", "knossos");
    const response = await post("/v1/completions", { ...long, max_tokens: 1000, n: 16 }, {}, hasty);
    expect(response.status).toBe(408);
    expect(response.headers.get("x-should-retry")).toBe("false");
    await until(async () => (await hasty.engine.call("held")) === 0);
  });

  it("ask for the key, in either form, of everything but health", async () => {
    const closed = await another({ apiKey: "knossos-1900" });
    const ask = async (path: string, authorization?: string): Promise<number> =>
      (await fetch(at(path, closed), { headers: authorization ? { authorization } : {} })).status;
    for (const path of ["/v1/models", "/api/models", "/metrics"]) {
      expect(await ask(path)).toBe(401);
      expect(await ask(path, "Bearer knossos-1901")).toBe(401);
      expect(await ask(path, "Bearer knossos-1900")).toBe(200);
      expect(await ask(path, `Basic ${btoa("anybody:knossos-1900")}`)).toBe(200);
    }
    expect(await ask("/health")).toBe(200);
    const wrong = new OpenAI({ baseURL: at("v1", closed), apiKey: "wrong", maxRetries: 0 });
    await expect(wrong.models.list()).rejects.toMatchObject({ status: 401 });
  });

  it("let pages of the origins in that were named, and no others", async () => {
    const origin = "http://localhost:3000";
    const open = await another({ origins: [origin] });
    const ask = (from: string, method = "GET"): Promise<Response> =>
      fetch(at("/v1/models", open), { method, headers: { origin: from, "access-control-request-method": "POST" } });
    const allowed = await ask(origin);
    expect(allowed.status).toBe(200);
    expect(allowed.headers.get("access-control-allow-origin")).toBe(origin);
    expect((await ask(origin, "OPTIONS")).status).toBe(204);
    expect((await ask("http://localhost:3001")).status).toBe(403);
    expect((await fetch(at("/v1/models"), { headers: { origin } })).status).toBe(403);
  });

  it("serve the models that the server was started for, and no others", async () => {
    const one = await another({ serve: ["phaistos"] });
    expect(await (await fetch(at("/v1/models", one))).json()).toMatchObject({ data: [{ id: "phaistos" }] });
    expect((await post("/v1/completions", story, {}, one)).status).toBe(404);
  });
});

/** What a connection gives back on these words, until it is quiet. */
async function spoken(words: string, { url } = server, quiet = 500): Promise<{ head: string; body: string }> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  let said = "";
  let heard = Date.now();
  socket.on("data", (bytes) => {
    said += bytes;
    heard = Date.now();
  });
  socket.on("error", () => {});
  socket.write(words);
  while (!socket.closed && (said === "" || Date.now() - heard < quiet)) await delay(20);
  socket.destroy();
  const [head, body = ""] = said.split("\r\n\r\n");
  return { head, body };
}

describe("what HTTP itself refuses", () => {
  const host = "Host: 127.0.0.1\r\n";
  const chunked = (body: string) =>
    `POST /v1/completions HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n${body}\r\n0\r\n\r\n`;
  it.each<[what: string, words: string, status: number, message: RegExp]>([
    ["a Host that is none", "GET /health HTTP/1.1\r\nHost: a b\r\n\r\n", 400, /Host/],
    ["a port that is none", "GET /health HTTP/1.1\r\nHost: 127.0.0.1:99999\r\n\r\n", 400, /Host/],
    ["a user before the Host", "GET /health HTTP/1.1\r\nHost: x@127.0.0.1\r\n\r\n", 400, /Host/],
    ["no Host", "GET /health HTTP/1.1\r\n\r\n", 403, /Host \(none\)/],
    ["another server's name", "GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403, /Host evil\.example/],
    ["no path", `OPTIONS * HTTP/1.1\r\n${host}\r\n`, 400, /Host/],
    ["no HTTP", "\x16\x03\x01\x02\r\n\r\n", 400, /cannot be read/],
    ["endless headers", `GET /health HTTP/1.1\r\n${host}X: ${"a".repeat(20_000)}\r\n\r\n`, 431, /cannot be read/],
    ["chunks of another length", chunked("5\r\n{123456789}"), 400, /./],
    ["chunks of no length", chunked("zz\r\n{}"), 400, /./],
    [
      "a body of two lengths",
      `POST /v1/completions HTTP/1.1\r\n${host}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`,
      400,
      /./,
    ],
    ["another expectation", `GET /health HTTP/1.1\r\n${host}Expect: coffee\r\n\r\n`, 417, /Expect/],
    [
      "a packed body",
      `POST /v1/completions HTTP/1.1\r\n${host}Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}`,
      415,
      /Content-Encoding gzip/,
    ],
  ])("is told as JSON: %s", async (_, words, status, message) => {
    const { head, body } = await spoken(words);
    expect(head).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    const { error } = JSON.parse(body) as { error: { message: string; type: string; code: string } };
    expect(error).toMatchObject({ type: "invalid_request_error", code: "bad_option" });
    expect(error.message).toMatch(message);
  });

  it("a path that is nearly one of ours is told with that, and a body that is no JSON by where it goes wrong", async () => {
    const told = async (path: string, body: string): Promise<string> =>
      ((await (await post(path, body)).json()) as { error: { message: string } }).error.message;
    expect(await told("/v1/completons", "{}")).toMatch(/^nothing at POST .*; did you mean "\/v1\/completions"\?$/);
    expect(await told("/v1/nothing", "{}")).toMatch(/^nothing at POST [^;]*$/);
    expect(await told("/v1/completions", '{"n": 1 "x"}')).toBe("the body is not valid JSON: it goes wrong at column 9");
  });

  it("disturbs no stream that has begun on the same connection", async () => {
    const body = JSON.stringify({ ...story, stream: true });
    const post = `POST /v1/completions HTTP/1.1\r\n${host}Content-Length: ${body.length}\r\n\r\n${body}`;
    const { head, body: begun } = await spoken(`${post}\x16\x03\r\n\r\n`);
    expect(`${head}${begun}`.match(/HTTP\/1\.1/g) ?? []).toHaveLength(1);
    await until(() => server.engine.active === 0 && server.admission.active === 0);
  });

  it("answers requests that follow one another on a connection, each with its own", async () => {
    const get = (path: string) => `GET ${path} HTTP/1.1\r\n${host}\r\n`;
    const body = JSON.stringify({ ...story, max_tokens: 1 });
    const post = `POST /v1/completions HTTP/1.1\r\n${host}Content-Length: ${body.length}\r\n\r\n${body}`;
    const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
    let said = "";
    socket.on("data", (bytes) => {
      said += bytes;
    });
    socket.write(`${post}${get("/health")}${get("/nowhere")}${post}`);
    await until(() => (said.match(/HTTP\/1\.1 /g) ?? []).length === 4);
    socket.destroy();
    expect(said.match(/HTTP\/1\.1 \d+/g)).toEqual([200, 200, 404, 200].map((status) => `HTTP/1.1 ${status}`));
  });
});

describe("the worker", () => {
  it("may be killed: 503 for what was under way, and another one for what comes", { timeout: 60_000 }, async () => {
    const other = await another({ serve: ["knossos"] });
    await other.engine.call("open", "knossos");
    const pid = other.engine.pid!;
    const whole = post("/v1/completions", long, {}, other);
    const stream = await post("/v1/completions", { ...long, stream: true }, {}, other);
    await until(() => other.engine.active === 2);
    process.kill(pid, "SIGKILL");
    const failed = await whole;
    expect(failed.status).toBe(503);
    expect(await failed.json()).toMatchObject({ error: { type: "server_error", code: "runtime_failed" } });
    expect(await stream.text()).toContain('"code":"runtime_failed"');
    expect((await fetch(at("/health", other))).status).toBe(200);
    const after = await post("/v1/completions", story, {}, other);
    expect(after.status).toBe(200);
    expect(other.engine.pid).not.toBe(pid);
    expect(other.engine.restarts).toBe(1);
    expect(other.admission.active).toBe(0);
  });
});

describe("an end in order", () => {
  it("lets what is under way finish, takes nothing new, and says how many there were", async () => {
    const other = await listen({ port: 0, groups: serveGroups(false) });
    await other.engine.call("open", "knossos");
    const under = post("/v1/completions", { ...story, max_tokens: 60, n: 4 }, {}, other);
    await until(() => other.engine.active > 0);
    const closing = other.close(10);
    const late = await post("/v1/completions", story, {}, other).then(
      ({ status }) => status,
      () => "refused",
    );
    expect([503, "refused"]).toContain(late);
    expect((await under).status).toBe(200);
    const { finished, aborted } = await closing;
    expect(finished).toBeGreaterThan(0);
    expect(aborted).toBe(0);
  });

  it("aborts what does not end in time", async () => {
    const other = await listen({ port: 0, groups: serveGroups(false) });
    await other.engine.call("open", "knossos");
    const under = post("/v1/completions", { ...long, n: 8 }, {}, other);
    await until(() => other.engine.active > 0);
    const { aborted } = await other.close(0.1);
    expect(aborted).toBeGreaterThan(0);
    expect((await under).status).toBe(503);
  });
});

it("counts requests by their routes, those of clients that went away apart", async () => {
  const one = await another({});
  await (await post("/v1/chat/completions", { model: "minos", messages: [] }, {}, one)).text();
  await (await post("/v1/completions", { ...story, model: "minos" }, {}, one)).text();
  await (await fetch(at("/v1/models/knossos", one))).text();
  await (await fetch(at("/stranger/1", one))).text();
  const leaving = new AbortController();
  const left = post("/v1/completions", long, { signal: leaving.signal }, one).catch(() => "gone");
  await until(() => one.engine.active > 0);
  leaving.abort();
  expect(await left).toBe("gone");
  const page = async () => (await fetch(at("/metrics", one))).text();
  await until(async () => (await page()).includes('status="499"'));
  const text = await page();
  for (const [method, route, status] of [
    ["POST", "/v1/chat/completions", 400],
    ["POST", "/v1/completions", 404],
    ["POST", "/v1/completions", 499],
    ["GET", "/v1/models/:name", 200],
    ["GET", "other", 404],
  ])
    expect(text).toContain(`ventris_requests_total{method="${method}",route="${route}",status="${status}"} 1\n`);
});

it("tells Prometheus what it did", async () => {
  await (await post("/v1/completions", { ...story, decoding: { method: "prompt-lookup" } })).text();
  const text = await (await fetch(at("/metrics"))).text();
  for (const name of [
    ...["requests_total", "prompt_tokens_total", "generated_tokens_total", "time_to_first_token_seconds_bucket"],
    ...[
      "sequences_active",
      "requests_waiting",
      "engine_passes",
      "engine_rows",
      "engine_slots_held",
      "acceptance_ratio",
    ],
    ...["engine_resident_memory_bytes", "server_resident_memory_bytes", "engine_restarts", "engine_up"],
  ]) {
    expect(text).toMatch(new RegExp(`^ventris_${name}(\\{[^}]*\\})? [\\d.e+-]+$`, "m"));
  }
  expect(Number(/^ventris_generated_tokens_total\{model="knossos"\} (\d+)/m.exec(text)![1])).toBeGreaterThan(8);
});
