/** Replicas that share what they learn through a real Redis or Valkey server, and go on alone without it. */
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { type Model, open } from "../src/open.ts";
import { connectRedis, redisAddress } from "../src/sharing/redis.ts";
import { freePort, noRedis, type RedisServer, startRedis } from "./fixtures/redis.ts";
import { removeModel, type TinyModel, writeTinyModel } from "./fixtures/tiny-model.ts";

vi.setConfig({ testTimeout: 180_000 });

const prompt = "once upon a time";
const passesOf = async (model: Model, method: object, request = {}): Promise<{ text: string; passes: number }> => {
  const options = { maxTokens: 60, temperature: 0, ...request, method: method as never };
  const { text, counters } = await model.generate(prompt, options);
  return { text, passes: counters.passes };
};
/** As long as it takes two replicas to exchange. */
const shared = (model: Model, least: number) =>
  expect.poll(() => model.sharing!.status.received, { timeout: 30_000 }).toBeGreaterThan(least);

describe.skipIf(noRedis)(`a Redis or Valkey server${noRedis ? ` (${noRedis})` : ""}`, () => {
  const servers: RedisServer[] = [];
  const models: Model[] = [];
  afterEach(async () => {
    for (const model of models.splice(0)) await model.close();
    for (const server of servers.splice(0)) await server.stop();
  });
  // Models of one process share one connection, and its counts, unless their addresses differ.
  const redis = async (...given: Parameters<typeof startRedis>): Promise<RedisServer> => {
    const server = await startRedis(...given);
    servers.push(server);
    return server;
  };
  let tiny: TinyModel;
  beforeAll(async () => {
    tiny = await writeTinyModel({ tokenizer: true });
  });
  afterAll(() => removeModel(tiny));
  const replica = async (share?: string, name = tiny.folder): Promise<Model> => {
    const model = await open(name, { share, threads: 1 });
    models.push(model);
    return model;
  };

  it("gives one replica's table to the other, which drafts better at once and says the same", async () => {
    const { url } = await redis();
    const [teacher, pupil, alone] = [
      await replica(url, "knossos"),
      await replica(`${url}/0`, "knossos"),
      await replica(undefined, "knossos"),
    ];
    const method = { name: "aded", table: "empty" };
    await passesOf(pupil, method, { maxTokens: 4 }); // its table is there
    const first = await passesOf(teacher, method);
    await shared(pupil, 100);
    const [after, without] = [await passesOf(pupil, method), await passesOf(alone, method)];
    expect(after.text).toBe(first.text);
    expect(without.text).toBe(first.text);
    expect(after.passes).toBeLessThan(0.75 * without.passes);
    expect(pupil.sharing!.status).toMatchObject({ alone: undefined, refused: 0 });
  });

  it("tells nothing of a request that is kept apart", async () => {
    const { url } = await redis();
    const teacher = await replica(url);
    await passesOf(teacher, { name: "aded", table: "empty", isolate: true });
    await teacher.sharing!.exchange();
    expect(teacher.sharing!.status.sent).toBe(0);
  });

  it("gives the experience of auto to the other, whose choices then are those of one that served both", async () => {
    const { url } = await redis();
    const [teacher, pupil] = [await replica(url), await replica(`${url}/0`)];
    const method = { name: "auto", state: "none", arms: ["sample", { name: "prompt-lookup", length: 4 }] };
    const learnt = async (model: Model): Promise<number> => {
      const run = model.decode(prompt, { maxTokens: 12, method: method as never });
      let updates = 0;
      for await (const event of run) if (event.type === "learn") ({ updates } = event);
      return updates;
    };
    expect([await learnt(pupil), await learnt(teacher), await learnt(teacher), await learnt(teacher)].slice(1)).toEqual(
      [1, 2, 3],
    );
    await shared(pupil, 100);
    await shared(teacher, 100);
    expect(await learnt(pupil)).toBe(5);
    expect([5, 6]).toContain(await learnt(teacher)); // the last one of the other may have come meanwhile
  });

  it("gives a draft that one replica trained to the other, which then drafts as well and says the same", async () => {
    const { url } = await redis();
    const draft = await writeTinyModel({
      seed: 2,
      tokenizer: true,
      config: { num_hidden_layers: 1, tie_word_embeddings: false },
    });
    const [teacher, pupil, alone] = [await replica(url), await replica(`${url}/0`), await replica()];
    const method = { name: "online", draft: draft.folder, interval: 1, learningRate: 5e-3, length: 3 };
    /** `learn: false` measures a draft and teaches it nothing. */
    const served = async (model: Model, learn: boolean) => {
      const request = { maxTokens: 24, temperature: 1, seed: 3, method: { ...method, learn } as never };
      const run = model.decode(prompt, request);
      const learned: { updates: number; acceptance?: { exact: number } }[] = [];
      for await (const event of run) if (event.type === "learn") learned.push(event);
      return { ...learned.at(-1)!, exact: learned.at(-1)!.acceptance!.exact, text: (await run.final).text };
    };
    const before = await served(pupil, false);
    for (let i = 0; i < 60; i++) await served(teacher, true);
    const taught = await served(teacher, false);
    models.splice(models.indexOf(teacher), 1);
    await teacher.close(); // which publishes what it did not have the time to
    await shared(pupil, 1000);
    await pupil.sharing!.exchange();
    const [after, without] = [await served(pupil, false), await served(alone, false)];
    expect([before.updates, without.updates]).toEqual([0, 0]);
    expect(after.updates).toBeGreaterThan(0);
    expect(taught.exact).toBeGreaterThan(before.exact + 0.1);
    expect(Math.abs(after.exact - taught.exact)).toBeLessThan(0.05);
    expect(without.exact).toBeCloseTo(before.exact, 6);
    expect(new Set([before, taught, after, without].map(({ text }) => text)).size).toBe(1);
    expect(pupil.sharing!.status).toMatchObject({ alone: undefined, refused: 0 });
    await removeModel(draft);
  });

  it("goes on alone when the server dies in the middle, and shares again when it is back", async () => {
    const port = await freePort();
    const first = await startRedis([], port);
    const model = await replica(first.url);
    const method = { name: "aded", table: "empty" };
    const before = await passesOf(model, method);
    await expect.poll(() => model.sharing!.status.alone, { timeout: 30_000 }).toBeUndefined();
    await first.stop();
    const during = await passesOf(model, method);
    expect(during.text).toBe(before.text);
    await expect.poll(() => model.sharing!.status.alone, { timeout: 30_000 }).toMatch(/127.0.0.1/);
    await redis([], port);
    await expect.poll(() => model.sharing!.status.alone, { timeout: 60_000 }).toBeUndefined();
  });

  it.each<[string, readonly string[], string, RegExp]>([
    ["asks for a password", ["--requirepass", "secret"], "", /NOAUTH|password/i],
    ["asks for another password", ["--requirepass", "secret"], ":wrong@", /WRONGPASS|invalid/i],
    ["is full", ["--maxmemory", "1", "--maxmemory-policy", "noeviction"], "", /OOM/],
  ])("goes on alone where the server %s", async (_, settings, user, message) => {
    const { url } = await redis(settings);
    const model = await replica(url.replace("//", `//${user}`));
    const { text } = await passesOf(model, { name: "aded", table: "empty" });
    await expect.poll(() => model.sharing!.status.alone, { timeout: 30_000 }).toMatch(message);
    expect(model.sharing!.status.alone).not.toMatch(/wrong@/);
    expect((await passesOf(model, { name: "aded", table: "empty" })).text).toBe(text);
  });

  it("is let in with the right password", async () => {
    const { url } = await redis(["--requirepass", "secret"]);
    const store = await connectRedis(redisAddress(url.replace("//", "//:secret@")));
    expect(await store.put("a", Buffer.from([0, 255, 13, 10]), { seconds: 9 })).toBe(true);
    expect(await store.put("a", Buffer.from([1]), { seconds: 9, absent: true })).toBe(false);
    expect([...(await store.get("a", 3))!]).toEqual([0, 255, 13]);
    expect(await store.get("b", 3)).toBeUndefined();
    const [one, two] = [await store.next("n"), await store.next("n")];
    expect(two).toBe(one + 1);
    expect(Math.abs(one / 1000 - Date.now())).toBeLessThan(60_000);
    store.close();
  });

  it("believes nothing that others wrote there, and keys of another kind, and says so", async () => {
    const { url } = await redis();
    const [teacher, pupil] = [await replica(url), await replica(`${url}/0`)];
    const method = { name: "aded", table: "empty" };
    await passesOf(teacher, method, { maxTokens: 8 });
    await teacher.sharing!.exchange();
    const keys = await command(url, "KEYS *");
    const piece = keys.find((key) => /^ventris:1:aded:[0-9a-f]{24}:\d+$/.test(key))!;
    expect(piece).toBeDefined();
    await command(url, `SETRANGE ${piece} 300 nonsense`);
    await passesOf(pupil, method, { maxTokens: 8 });
    await expect.poll(() => pupil.sharing!.status.refused, { timeout: 30_000 }).toBe(1);
    await command(url, `SET ${piece.replace(/\d+$/, "count")} banana`);
    await passesOf(pupil, method, { maxTokens: 30 });
    await expect.poll(() => pupil.sharing!.status.alone, { timeout: 30_000 }).toMatch(/integer/);
  });
});

/** Words of one command's answer. */
async function command(url: string, words: string): Promise<string[]> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.write(`${words}\r\n`);
  const [answer] = await once(socket.setEncoding("utf8"), "data");
  socket.destroy();
  return String(answer).split("\r\n");
}

it("refuses an address that is none, without showing a password", async () => {
  for (const [share, message] of [
    ["localhost:6379", /no Redis or Valkey/],
    ["http://127.0.0.1", /no Redis or Valkey/],
    ["redis://:secret@host/notes", /number of a database/],
    ["redis//:secret@host", /no address/],
  ] as const) {
    const error = await open("knossos", { share }).catch((reason) => reason);
    expect(error).toMatchObject({ code: "bad_option", message: expect.stringMatching(message) });
    expect(error.message).not.toMatch(/secret/);
  }
  await expect(open("http://127.0.0.1:9/v1", { share: "redis://127.0.0.1" })).rejects.toMatchObject({
    code: "bad_option",
    message: expect.stringMatching(/^share/),
  });
});

describe("what is no Redis server", () => {
  const sockets = createServer((socket) => socket.on("error", () => {}).write("HTTP/1.1 400 Bad Request\r\n\r\n"));
  beforeAll(async () => {
    sockets.listen(0, "127.0.0.1");
    await once(sockets, "listening");
  });
  afterAll(() => sockets.close());

  it("is one that cannot be reached", async () => {
    const { port } = sockets.address() as { port: number };
    await expect(connectRedis(redisAddress(`redis://127.0.0.1:${port}`))).rejects.toMatchObject({
      code: "unavailable",
    });
  });
});
