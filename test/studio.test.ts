/** The studio's server: what it answers, what it refuses, and that a client that goes away leaves nothing behind. */
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { type Listening, listen, studioGroups } from "../src/server/listen.ts";
import { parseTrace } from "../studio/src/lib/trace.ts";
import { ensureBuilt } from "./build.ts";

/** The name of a system whose record is damaged. */
const damaged = vi.hoisted(() => ({ name: "" }));
vi.mock(import("../src/papers/records.ts"), async (original) => {
  const actual = await original();
  const readRecord: typeof actual.readRecord = (name, folder) => {
    if (name === damaged.name) throw new Error("a damaged record");
    return actual.readRecord(name, folder);
  };
  return { ...actual, readRecord };
});

let server: Listening;
beforeAll(async () => {
  await ensureBuilt();
  server = await listen({ port: 0, groups: studioGroups() });
}, 300_000);
afterAll(() => server?.close());

const get = (path: string, init?: RequestInit): Promise<Response> => fetch(new URL(path, server.url), init);
const post = (path: string, body: unknown, init: RequestInit = {}): Promise<Response> =>
  get(path, { method: "POST", body: typeof body === "string" ? body : JSON.stringify(body), ...init });
/** biome-ignore lint/suspicious/noExplicitAny: answers are looked at field by field */
const json = async (response: Response | Promise<Response>): Promise<any> => (await response).json();
const request = { model: "knossos", prompt: "Once upon a time", method: { name: "greedy" }, options: { maxTokens: 8 } };

/** Events of a stream, and what failed. */
function eventsOf(text: string): {
  events: { type: string }[];
  failure?: { code: string; message: string; fields?: object[] };
} {
  const blocks = text.split("\n\n").filter(Boolean);
  const data = (block: string) => JSON.parse(block.slice(block.indexOf("data: ") + 6));
  const failed = blocks.find((block) => block.startsWith("event: failure"));
  return {
    events: blocks.filter((block) => !block.startsWith("event:")).map(data),
    ...(failed && { failure: data(failed) }),
  };
}

describe("routes", () => {
  it("serves the page with a policy that lets nothing else in, compressed where it may be", async () => {
    const page = await get("/");
    expect(page.status).toBe(200);
    expect(page.headers.get("content-security-policy")).toContain("default-src 'none'");
    const html = await page.text();
    expect(html).not.toMatch(/https?:\/\//);
    const [, script] = /src="\.(\/assets\/[^"]+\.js)"/.exec(html)!; // relative: a static site may lie below a path
    const code = await get(script);
    expect(code.headers.get("content-encoding")).toBe("gzip");
    expect(code.headers.get("cache-control")).toContain("immutable");
  });

  it("maps the neurons of a model, and ranks those that stand for a word", async () => {
    const { map, neurons, found } = await json(post("/api/models/knossos/neurons", { word: "dog" }));
    expect(map).toHaveLength(6);
    expect(map.flat().every((strength: number) => strength >= 0 && strength <= 1)).toBe(true);
    for (const { layer, neuron } of found) expect(layer < 6 && neuron < neurons).toBe(true);
    expect(found[0].share).toBeGreaterThanOrEqual(found.at(-1).share);
    const surest = await json(post("/api/models/knossos/neurons", {}));
    expect(surest.found[0].tokens.length).toBe(6);
    expect((await post("/api/models/knossos/neurons", { word: "☃☃☃" })).status).toBe(400);
    expect((await post("/api/models/nothing/neurons", {})).status).toBe(404);
  });

  it("shows a model's codes: by frequency, at work, of a text, by an expression, and forced while it writes", {
    timeout: 240_000,
  }, async () => {
    const { sites } = await json(get("/api/models/knossos/codebooks"));
    expect(sites[2]).toEqual({ site: "layers.2.attention.heads", groups: 8, codes: 1024, k: 8 });
    const place = { site: "layers.2.attention.heads", group: 1 };
    const { codes, tokens } = await json(post("/api/models/knossos/codes", place));
    expect(codes[0].count).toBeGreaterThanOrEqual(codes[1].count);
    const { fired, examples } = await json(post("/api/models/knossos/codes/one", { ...place, code: codes[0].code }));
    expect(fired).toBe(codes[0].count);
    expect(examples[0].pieces.some((piece: { fired: boolean }) => piece.fired)).toBe(true);
    const pieces = await json(post("/api/models/knossos/codes/text", { ...place, text: "The king ran." }));
    expect(pieces.map(({ text }: { text: string }) => text).join("")).toBe("The king ran.");
    for (const piece of pieces) expect(new Set(piece.codes).size).toBe(8);
    const found = await json(post("/api/models/knossos/codes/find", { expression: "\\b(was)\\b" }));
    expect(found.matched).toBeGreaterThan(20);
    expect(found.tokens).toBe(tokens);
    expect(found.codes[0].precision).toBeGreaterThanOrEqual(found.codes.at(-1).precision);
    const run = (shapers: object[]) =>
      post("/api/runs", {
        model: "knossos",
        prompt: "Once",
        method: { name: "greedy" },
        options: { maxTokens: 12 },
        shapers,
      });
    // All heads of all layers: a story's first words are sure enough to stand those of one.
    const changes = sites.flatMap(({ site, groups }: { site: string; groups: number }) =>
      Array.from({ length: groups }, (_, group) => ({ site, group, ids: [1, 2, 3, 4, 5, 6, 7, 8] })),
    );
    const texts = await Promise.all(
      [[{ name: "codebook" }], [{ name: "codebook", changes }]].map(async (shapers) =>
        (await (await run(shapers)).text()).match(/"text":"[^"]*"/g)?.join(""),
      ),
    );
    expect(texts[0]).toContain("upon");
    expect(texts[1]).not.toBe(texts[0]);
  });

  it.each<[string, string, object, number, RegExp]>([
    [
      "knossos",
      "codes",
      { site: "layers.2.attention.head", group: 0 },
      400,
      /did you mean "layers\.2\.attention\.heads/,
    ],
    ["knossos", "codes", { site: "layers.2.attention.heads", group: 8 }, 400, /no codebook 8/],
    ["knossos", "codes/one", { site: "layers.2.attention.heads", group: 0, code: 1024 }, 400, /no code 1024/],
    ["knossos", "codes/one", { site: "layers.2.attention.heads", group: 0, code: -1 }, 400, /code/],
    ["knossos", "codes/text", { site: "layers.2.attention.heads", group: 0, text: "" }, 400, /text/],
    ["knossos", "codes/find", { expression: "(" }, 400, /cannot be read/],
    ["knossos", "codes/find", { expression: "(([a-z ]+)+)+$" }, 400, /takes longer/],
    ["phaistos", "codes", { site: "layers.2.attention.heads", group: 0 }, 404, /knossos-codebook\.json/],
    ["nothing", "codes", { site: "layers.2.attention.heads", group: 0 }, 404, /no model/],
    ["knossos", "markov", { what: ["colour"] }, 400, /what/],
    ["knossos", "markov", { what: ["alignment"], reference: "nothing" }, 404, /no model/],
  ])("%s, %s: %o is refused", { timeout: 240_000 }, async (model, path, body, status, message) => {
    const answer = await post(`/api/models/${model}/${path}`, body);
    expect(answer.status).toBe(status);
    expect((await json(answer)).error.message).toMatch(message);
  });

  it("measures how states of every layer lie to what comes next", { timeout: 240_000 }, async () => {
    const { layers } = await json(post("/api/models/knossos/markov", { what: ["entropy"] }));
    expect(layers.map(({ layer }: { layer: number }) => layer)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(layers[5].loss).toBeLessThan(layers[0].loss);
    expect(layers[0].alignment).toBeUndefined();
  });

  it("computes the own run of a system that decodes no text, and says so of one that does", async () => {
    const answer = await post("/api/papers/dkf/live", {});
    expect(answer.headers.get("content-type")).toContain("application/jsonl");
    const { events } = parseTrace(await answer.text());
    expect(new Set(events.map(({ type }) => type))).toEqual(new Set(["posterior"]));
    const refused = await post("/api/papers/dyspec/live", {});
    expect((await json(refused)).error.message).toMatch(/dyspec has no run of its own/);
    expect((await json(post("/api/papers/dkff/live", {}))).error.message).toContain('did you mean "dkf"?');
  });

  it("gives up a run that nobody waits for any more", async () => {
    const gone = new AbortController();
    const asked = post("/api/papers/glim/live", {}, { signal: gone.signal });
    await delay(1500);
    gone.abort();
    await expect(asked).rejects.toThrow();
    // The engine answers others at once: it is not training for nobody.
    const started = performance.now();
    expect((await post("/api/papers/neural-bandit/live", {})).status).toBe(200);
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  it("refuses shapers of a run that are none, or that only the host decides", async () => {
    const run = (shapers: unknown) =>
      post("/api/runs", { model: "knossos", prompt: "a", method: { name: "greedy" }, shapers });
    for (const shapers of ["codebook", [{ name: "nothing" }], [{ name: "codebook", part: "/etc" }], [7]])
      expect((await run(shapers)).status).toBe(400);
  });

  it("marks a system whose record is damaged, and shows the others", async () => {
    const said = vi.spyOn(console, "error").mockImplementation(() => undefined);
    damaged.name = "a-star";
    try {
      const papers: { name: string; unreadable?: true; record?: object }[] = await json(get("/api/papers"));
      const { records } = await json(get("/api/measurements"));
      expect(papers.filter(({ unreadable }) => unreadable).map(({ name }) => name)).toEqual(["a-star"]);
      expect(papers.filter(({ record }) => record)).toHaveLength(records.length);
      expect(records.length).toBeGreaterThan(20);
      expect(said).toHaveBeenCalledWith("ventris: a damaged record");
    } finally {
      damaged.name = "";
      said.mockRestore();
    }
  });

  it("lists 24 papers with claims, methods with schemas, models, measurements", async () => {
    const papers = await json(get("/api/papers"));
    expect(papers).toHaveLength(24);
    expect(papers.filter(({ state }: { state: string }) => state === "runs").length).toBeGreaterThanOrEqual(3);
    const { methods, request: options } = await json(get("/api/methods"));
    expect(methods.map(({ name }: { name: string }) => name)).toContain("dyspec");
    expect(options.properties.temperature.minimum).toBe(0);
    // What lets a form leave out the methods that a model cannot run.
    const { capabilities } = await json(get("/api/models/knossos/facts"));
    const fitting = methods.filter(({ needs }: { needs: string[] }) =>
      needs.every((need) => capabilities.includes(need)),
    );
    const families = new Set(fitting.map(({ family }: { family: string }) => family));
    expect(families).toContain("speculative");
    expect(families).not.toContain("diffusion");
    const models = await json(get("/api/models"));
    expect(models.map(({ name }: { name: string }) => name)).toContain("knossos");
    expect(JSON.stringify(models)).not.toContain(process.cwd()); // no paths of this machine
    expect(await json(get("/api/measurements"))).toHaveProperty("records");
    expect((await get("/api/models/knossos/card")).status).toBe(200);
    const ids = await json(post("/api/models/knossos/tokens", { text: "the king" }));
    const vocabulary = await json(get("/api/models/knossos/vocabulary"));
    expect(ids.map((id: number) => vocabulary[id]).join("")).toContain("the king");
  });

  it.each([
    ["/../package.json", 404],
    ["/%2e%2e/%2e%2e/package.json", 404],
    ["/assets/%00", 404],
    ["/nothing", 404],
    ["/api/papers/..%2f..%2fpackage/trace", 404],
    ["/api/models/..%2f..%2fetc/card", 404],
  ])("%s is %d", async (path, status) => {
    const response = await get(path);
    expect(response.status).toBe(status);
    expect(await response.text()).not.toContain('"dependencies"');
  });

  it("answers to loopback's names alone, and not to other origins", async () => {
    const { hostname, port } = new URL(server.url);
    const { request: ask } = await import("node:http");
    const status = (headers: Record<string, string>): Promise<number> =>
      new Promise((resolve) =>
        ask({ hostname, port, path: "/health", headers }, (response) => resolve(response.resume().statusCode!)).end(),
      );
    expect(await status({ host: `localhost:${port}` })).toBe(200);
    expect(await status({ host: "attacker.example" })).toBe(403);
    expect(await status({ host: `127.0.0.1.attacker.example:${port}` })).toBe(403);
    expect(await status({ host: `127.0.0.1:${port}`, origin: "http://attacker.example" })).toBe(403);
    expect(await status({ host: `127.0.0.1:${port}`, origin: `http://127.0.0.1:${port}` })).toBe(200);
  });
});

describe("runs", () => {
  it("streams the same tokens as the library gives", async () => {
    const { open } = await import("../src/open.ts");
    await using model = await open("knossos");
    const expected = await model.decode(request.prompt, { method: "greedy", maxTokens: 8 }).final;
    const { events } = eventsOf(await (await post("/api/runs", request)).text());
    const tokens = events.flatMap((event) =>
      event.type === "tokens" ? (event as unknown as { tokens: number[] }).tokens : [],
    );
    expect(tokens).toEqual(expected.tokens);
    expect(events[0].type).toBe("start");
    expect(events.at(-1)!.type).toBe("finish");
  });

  it("says a prompt in the model's chat form where that is asked for", async () => {
    const { open } = await import("../src/open.ts");
    await using model = await open("phaistos");
    const content = "Tom has 9 books. Tom finds 8 more. How many books does Tom have now?";
    const expected = await model.generate([{ role: "user", content }], { method: "greedy" });
    const said = { model: "phaistos", prompt: content, chat: true, method: { name: "greedy" } };
    const { events } = eventsOf(await (await post("/api/runs", said)).text());
    expect(events.map((event) => (event as { text?: string }).text ?? "").join("")).toBe(expected.text);
    const ids = await post("/api/runs", { ...said, prompt: [1, 2] });
    expect([ids.status, await ids.text()]).toEqual([400, expect.stringMatching(/prompt: .*a text/)]);
    const { failure } = eventsOf(await (await post("/api/runs", { ...request, chat: true })).text());
    expect(failure?.message).toContain("no chat template");
  });

  it("takes a constraint as data, and says which tokens it forced and what is wrong with a bad one", async () => {
    const run = async (constraint: object) =>
      eventsOf(await (await post("/api/runs", { ...request, options: { constraint } })).text());
    const { events } = await run({ regex: "Q[0-9]!" });
    expect(events.some((event) => event.type === "tokens" && (event as { forced?: number[] }).forced?.[0] === 0)).toBe(
      true,
    );
    const { failure } = await run({ regex: "(?=a)" });
    expect(failure?.message).toContain("look-ahead");
    expect(failure?.fields).toEqual([{ where: "request", option: "constraint", message: failure?.message }]);
  });

  it("gives two clients at once what each gets alone", async () => {
    const body = {
      ...request,
      method: { name: "dyspec", draft: "pylos", budget: 8 },
      options: { maxTokens: 24, seed: 5 },
    };
    const both = await Promise.all([post("/api/runs", body), post("/api/runs", { ...body, prompt: "The fox" })]);
    const texts = await Promise.all(both.map((response) => response.text()));
    const alone = await (await post("/api/runs", body)).text();
    const tokensOf = (text: string) =>
      JSON.stringify(
        eventsOf(text)
          .events.filter(({ type }) => type === "tokens")
          .flatMap((event) => (event as unknown as { tokens: number[] }).tokens),
      );
    expect(tokensOf(texts[0])).toBe(tokensOf(alone));
  });

  it.each([
    ["an option out of range, by its name", { ...request, method: { name: "dyspec", budget: -1 } }, 400, "budget"],
    ["an unknown option", { ...request, options: { temprature: 1 } }, 400, "temprature"],
    ["an unknown method", { ...request, method: { name: "dispec" } }, 400, 'did you mean "dyspec"'],
    ["a model that is not here", { ...request, model: "minos" }, 404, 'no model "minos"'],
    ["a path as a model", { ...request, model: "/etc/passwd" }, 404, "no model"],
    ["an empty prompt", { ...request, prompt: "" }, 400, "prompt"],
    ["a field of another kind", { ...request, prompt: { a: 1 } }, 400, "prompt"],
    ["what is no JSON", "{", 400, "not valid JSON"],
    ["a body beyond the limit", { ...request, prompt: "x".repeat(2 ** 20) }, 413, "bytes"],
  ])("refuses %s", async (_, body, status, says) => {
    const response = await post("/api/runs", body);
    expect(response.status).toBe(status);
    const { error } = await json(response);
    expect(error.message).toContain(says);
  });

  it("says a failure within the stream", async () => {
    const body = { ...request, prompt: "word ".repeat(3000) };
    const { failure } = eventsOf(await (await post("/api/runs", body)).text());
    expect(failure?.code).toBe("context_full");
  });

  it("frees a run's nodes when its client goes away", async () => {
    const stop = new AbortController();
    const body = { ...request, method: { name: "sample" }, options: { maxTokens: 900, minTokens: 900 } };
    const response = await post("/api/runs", body, { signal: stop.signal });
    const reader = response.body!.getReader();
    await reader.read();
    expect(await server.engine.call("held")).toBeGreaterThan(0);
    stop.abort();
    const deadline = Date.now() + 2000;
    while ((await server.engine.call("held")) > 0 && Date.now() < deadline) await delay(20);
    expect(await server.engine.call("held")).toBe(0);
    expect(server.engine.active).toBe(0);
  });
});
