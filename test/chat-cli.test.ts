/** `ventris chat`, `pull` and `models --remove` as people call them, in a pipe and in a terminal. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { ensureBuilt, root } from "./build.ts";

vi.setConfig({ testTimeout: 180_000 });

const main = join(root, "dist", "cli", "main.js");
let folder: string;
beforeAll(async () => {
  ensureBuilt();
  folder = await mkdtemp(join(tmpdir(), "ventris-chat-"));
}, 300_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

function start(words: readonly string[], env: Record<string, string> = {}): ChildProcess {
  return spawn(process.execPath, [main, ...words], {
    cwd: folder,
    env: { ...process.env, NO_COLOR: "1", VENTRIS_CACHE: join(folder, "cache"), ...env },
  });
}

function outcome(child: ChildProcess): Promise<Outcome> {
  const texts = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name]!.setEncoding("utf8").on("data", (text: string) => {
      texts[name] += text;
    });
  }
  return new Promise((resolve) => child.on("close", (status) => resolve({ status, ...texts })));
}

function ventris(words: readonly string[], input = "", env: Record<string, string> = {}): Promise<Outcome> {
  const child = start(words, env);
  child.stdin!.on("error", () => {});
  child.stdin!.end(input);
  return outcome(child);
}

describe("chat in a pipe", () => {
  it("with a diffusion model needs no limit", async () => {
    const { status, stdout, stderr } = await ventris(
      ["chat", "--model", "mycenae", "--method", "threshold"],
      "Hello\n",
    );
    expect({ status, stderr: /context/.test(stderr) }).toEqual({ status: 0, stderr: false });
    expect(stdout.trim()).not.toBe("");
  });

  const sum = "Lily has 4 toys. Then Lily gets 18 more. How many toys does Lily have now?";

  it("gives a JSON object for each answer, and for the conversation", async () => {
    const { status, stdout } = await ventris(["chat", "--temperature", "0", "-n", "8", "--json"], `${sum}\n/history\n`);
    expect(status).toBe(0);
    const [answer, history] = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(answer).toMatchObject({ model: "phaistos", finish: expect.any(String), tokens: expect.any(Array) });
    expect(answer.text).toContain(answer.reply);
    expect(history.messages).toEqual([
      { role: "user", content: sum },
      { role: "assistant", content: answer.reply },
    ]);
  });

  it("answers each line, obeys commands, and keeps what is asked for", async () => {
    const lines = [
      sum,
      "/undo",
      "/set temperature=0",
      "/method prompt-lookup",
      "Hello\\",
      "there",
      "/retry",
      "/trace trace.jsonl",
      "/save talk.json",
    ];
    const { status, stdout, stderr } = await ventris(["chat", "--temperature", "0"], lines.join("\n"));
    expect(status).toBe(0);
    expect(stdout).toMatch(/^4\+18=22\nAnswer: 22\n/);
    expect(stderr).toContain("method: prompt-lookup");
    const { messages } = JSON.parse(await readFile(join(folder, "talk.json"), "utf8"));
    expect(messages.map(({ role }: { role: string }) => role)).toEqual(["user", "assistant"]);
    expect(messages[0].content).toBe("Hello\nthere");
    const events = (await readFile(join(folder, "trace.jsonl"), "utf8"))
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(events[0]).toMatchObject({ type: "start", method: "prompt-lookup" });
    expect(events.at(-1).type).toBe("finish");

    const again = await ventris(["chat", "--load", "talk.json", "--system", "Be kind."], "/history\n");
    expect(again.stdout).toBe(`system: Be kind.\nuser: Hello\nthere\nassistant: ${messages[1].content}\n`);
  });

  it("writes a transcript to a model without a template, and says so once", async () => {
    const words = ["chat", "--model", "knossos", "--temperature", "0", "-n", "30"];
    const { status, stdout, stderr } = await ventris(words, "Tell me a story.\nAnd then?\n");
    expect(status).toBe(0);
    expect(stdout.trim().length).toBeGreaterThan(10);
    expect(stdout).not.toContain("User:");
    expect(stderr.match(/plain transcript/g)).toHaveLength(1);
  });

  it("takes no message that does not fit, says how to make room, and goes on when there is some", async () => {
    const long = "cats and dogs ".repeat(170);
    const lines = [sum, long, long, "/history", "/forget 7", "/forget", sum, "/forget 1", "/history"];
    const { status, stdout, stderr } = await ventris(
      ["chat", "--temperature", "0", "-n", "20", "--json"],
      lines.join("\n"),
    );
    expect(status).toBe(2); // of the last that was wrong
    expect(stderr).toMatch(
      /longer than the context of 1024\nthe conversation stays as it was: \/forget N takes your first N/,
    );
    const told = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    const [before, after] = told.filter(({ messages }) => messages).map(({ messages }) => messages);
    const said = (messages: { role: string; content: string }[]) =>
      messages.filter(({ role }) => role === "user").map(({ content }) => content);
    expect(said(before)).toEqual([sum, long.trim()]);
    expect(said(after)).toEqual([sum]);
    expect(stderr).toContain("there are 2 messages of yours: /forget takes 1 to 2");
    expect(stderr).toContain("forgotten: 1 message of yours, with what was answered");
  });

  it("says what is wrong and goes on", async () => {
    const lines = ["/nope", "/set temprature=1", "/load missing.json", "/trace t.jsonl", "/retry", "Hello"];
    const { status, stdout, stderr } = await ventris(["chat", "--temperature", "0"], lines.join("\n"));
    for (const part of [
      "no command /nope",
      'did you mean "temperature"',
      "missing.json",
      "nothing was answered yet",
      "nothing was said yet",
    ])
      expect(stderr).toContain(part);
    expect(stdout.trim().length).toBeGreaterThan(2);
    expect(status).not.toBe(0);
  });
});

/** util-linux's `script` makes a pseudo-terminal. */
const has =
  process.platform === "linux" &&
  spawnSync("script", ["--version"], { encoding: "utf8" }).stdout?.includes("util-linux");

describe.skipIf(!has)("chat in a terminal", () => {
  it("stops an answer at Ctrl-C, and leaves at the second", async () => {
    const command = `'${process.execPath}' '${main}' chat --model knossos -n 1000 --min-tokens 1000`;
    const child = spawn("script", ["-qec", command, "/dev/null"], {
      cwd: folder,
      env: { ...process.env, TERM: "xterm", VENTRIS_CACHE: join(folder, "cache") },
    });
    let seen = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      seen += text;
    });
    const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
    const until = async (holds: () => boolean): Promise<void> => {
      const deadline = Date.now() + 60_000;
      while (!holds() && Date.now() < deadline) await delay(50);
      expect(holds(), seen.slice(-500)).toBe(true);
    };
    await until(() => seen.includes("> "));
    child.stdin.write("Hello\r");
    const before = seen.length;
    await until(() => seen.length > before + 100);
    child.stdin.write("\x03");
    await until(() => seen.includes("interrupted"));
    child.stdin.write("\x03");
    await until(() => seen.trimEnd().endsWith(">") || child.exitCode !== null || seen.includes("again leaves"));
    child.stdin.write("\x03");
    await Promise.race([ended, delay(20_000)]);
    expect(child.exitCode).not.toBeNull();
  });
});

describe("pull", () => {
  const commit = "0123456789abcdef0123456789abcdef01234567";
  const other = "fedcba9876543210fedcba9876543210fedcba98";
  const files = new Map<string, Buffer>();
  let hub: Server;
  let endpoint: string;
  let asked: { url: string; range?: string }[] = [];
  /** Bytes after which a file's connection hangs. */
  let hangAfter: number | undefined;

  beforeAll(async () => {
    for (const name of ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
      files.set(name, await readFile(join(root, "models", "pylos", name)).catch(() => Buffer.from("{}")));
    hub = createServer((request, response) => {
      const url = request.url!;
      asked.push({ url, range: request.headers.range });
      const [, revision] = /^\/api\/models\/someone\/story\/revision\/(main|v2)\b/.exec(url) ?? [];
      if (revision) {
        const siblings = [...files].map(([rfilename, content]) => ({
          rfilename,
          size: content.length,
          blobId: createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex"),
        }));
        const sha = revision === "v2" ? other : commit;
        return void response.end(JSON.stringify({ sha, siblings }));
      }
      const content = files.get(url.replace(/^\/someone\/story\/resolve\/\w+\//, ""));
      if (!content) return void response.writeHead(404).end();
      const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
      response.writeHead(from ? 206 : 200, {
        "content-length": content.length - from,
        ...(from && { "content-range": `bytes ${from}-${content.length - 1}/${content.length}` }),
      });
      if (hangAfter === undefined || content.length < hangAfter) return void response.end(content.subarray(from));
      response.write(content.subarray(from, hangAfter));
    });
    await new Promise<void>((resolve) => hub.listen(0, "127.0.0.1", resolve));
    endpoint = `http://127.0.0.1:${(hub.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    hub.closeAllConnections();
    hub.close();
  });

  it("goes on where it was interrupted; then the model is listed, decodes offline, and can be removed", async () => {
    hangAfter = 200_000;
    const child = start(["pull", "someone/story"], { HF_ENDPOINT: endpoint });
    const interrupted = outcome(child);
    const part = join(folder, "cache", "hub", "someone", "story", commit, "model.safetensors.part");
    const deadline = Date.now() + 60_000;
    while (!existsSync(part) && Date.now() < deadline) await delay(50);
    await delay(300);
    child.kill("SIGINT");
    const first = await interrupted;
    expect(first.status).toBe(130);
    expect(first.stderr).toContain("the same command goes on from there");
    const partly = await ventris(["models"]);
    expect(partly.stderr).toContain(
      "someone/story cannot be used: its download was cut off: ventris pull someone/story",
    );

    hangAfter = undefined;
    asked = [];
    const second = await ventris(["pull", "someone/story", "--json"], "", { HF_ENDPOINT: endpoint });
    expect(second.stderr).toBe("");
    const { folder: path, bytes } = JSON.parse(second.stdout);
    expect(bytes).toBeGreaterThan(files.get("model.safetensors")!.length);
    expect(asked.some(({ url, range }) => url.endsWith("model.safetensors") && /^bytes=[1-9]/.test(range ?? ""))).toBe(
      true,
    );
    expect((await readFile(join(path, "model.safetensors"))).equals(files.get("model.safetensors")!)).toBe(true);

    const nowhere = { HF_ENDPOINT: "http://127.0.0.1:9" };
    const listed = await ventris(["models", "--json"], "", nowhere);
    expect(JSON.parse(listed.stdout)).toContainEqual(
      expect.objectContaining({ name: "someone/story", origin: "cached" }),
    );
    const run = await ventris(["run", "--model", "someone/story", "-n", "4", "--json", "Once"], "", nowhere);
    expect(run.status, run.stderr).toBe(0);
    const earlier = await ventris(["pull", "someone/story"], "", nowhere);
    expect([earlier.status, earlier.stdout]).toEqual([0, `${path}\n`]);
    expect(earlier.stderr).toContain("whether there is a newer one cannot be told: cannot reach");
    expect((await ventris(["models"])).stdout).toMatch(/^someone\/story +downloaded +Llama/m);

    await ventris(["pull", "someone/story", "--revision", "v2"], "", { HF_ENDPOINT: endpoint });
    const both = (await ventris(["models"])).stdout;
    expect(both).toMatch(/^someone\/story +downloaded, main 0123456 /m);
    expect(both).toMatch(/^someone\/story +downloaded, v2 fedcba9 /m);

    const unasked = await ventris(["models", "--remove", "someone/story"]);
    expect([unasked.status, unasked.stderr]).toEqual([2, expect.stringContaining("say --yes")]);
    const removed = await ventris(["models", "--remove", "someone/story", "--yes"]);
    expect([removed.status, removed.stderr]).toEqual([0, expect.stringContaining("removed someone/story")]);
    expect(await readdir(join(folder, "cache", "hub"))).toEqual([]);
    const ours = await ventris(["models", "--remove", "knossos", "--yes"]);
    expect([ours.status, ours.stderr]).toEqual([2, expect.stringContaining("ships with the package")]);
    const none = await ventris(["models", "--remove", "someone/story", "--yes"]);
    expect([none.status, none.stderr]).toEqual([
      1,
      expect.stringContaining('no downloaded model "someone/story": none was downloaded'),
    ]);
  });

  it("says what to do without a connection, and for a name that is not there", async () => {
    const offline = await ventris(["pull", "someone/story"], "", { HF_ENDPOINT: "http://127.0.0.1:9" });
    expect(offline.status).toBe(1);
    expect(offline.stderr).toContain("cannot reach http://127.0.0.1:9");
    expect(offline.stderr).toContain("check the connection");
    const missing = await ventris(["pull", "someone/other"], "", { HF_ENDPOINT: endpoint });
    expect([missing.status, missing.stderr]).toEqual([1, expect.stringContaining("spelt as on the hub")]);
    expect(missing.stderr).toContain("needs a token of the hub in HF_TOKEN");
    const misspelt = await ventris(["pull", "story"], "", { HF_ENDPOINT: endpoint });
    expect(misspelt.status).toBe(2);
    await writeFile(join(folder, "empty"), "");
  });
});
