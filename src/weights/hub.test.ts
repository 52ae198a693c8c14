import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { VentrisError } from "../errors.ts";
import { useFiles } from "../files.ts";
import { nodeFiles } from "../node-files.ts";
import { isSaid } from "../wrong.fixture.ts";
import { type DownloadProgress, downloadModel } from "./hub.ts";

const commit = "0123456789abcdef0123456789abcdef01234567";
const weights = Buffer.from(Uint8Array.from({ length: 100_000 }, (_, i) => i * 7 + (i >> 8)));

/** What the server holds, how it misbehaves, and what it was asked. */
let files: Record<string, Buffer>;
let lies: {
  hash?: boolean;
  noRanges?: boolean;
  stall?: boolean;
  cutAfter?: number;
  troubles?: number;
  extra?: boolean;
};
let requests: { url: string; range?: string; token?: string }[];
/** Where weights are sent for, as the hub sends to its stores. */
let elsewhere: string | undefined;
let server: Server;
let endpoint: string;
let folder: string;

beforeAll(async () => {
  server = createServer((request, response) => {
    const url = request.url!;
    requests.push({ url, range: request.headers.range, token: request.headers.authorization });
    if (url.startsWith("/api/models/closed/"))
      return void response.writeHead(401, { "x-error-code": "GatedRepo" }).end("{}");
    if (url.startsWith("/api/models/someone/model/revision/") && !url.includes("/main"))
      return void response.writeHead(404, { "x-error-code": "RevisionNotFound" }).end("{}");
    if (url.startsWith("/api/models/someone/model/revision/main")) {
      const siblings = Object.entries(files).map(([rfilename, content]) => {
        const blobId = createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
        const sha256 = createHash("sha256")
          .update(lies.hash ? "other" : content)
          .digest("hex");
        return { rfilename, size: content.length, blobId, ...(rfilename.endsWith(".json") ? {} : { lfs: { sha256 } }) };
      });
      response.end(JSON.stringify({ sha: commit, siblings }));
      return;
    }
    if (elsewhere && url.includes("/resolve/") && url.endsWith(".safetensors"))
      return void response.writeHead(302, { location: `${elsewhere}${url}` }).end();
    if (lies.troubles && lies.troubles-- > 0) return void response.writeHead(503).end();
    const content = files[url.replace(`/someone/model/resolve/${commit}/`, "")];
    if (!content) return void response.writeHead(404).end();
    const start = lies.noRanges ? 0 : Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const rest = content.subarray(start);
    response.writeHead(start ? 206 : 200, {
      "content-length": rest.length + (lies.extra ? 5 : 0),
      ...(start && { "content-range": `bytes ${start}-${content.length - 1}/${content.length}` }),
    });
    if (lies.stall) return void response.flushHeaders();
    if (lies.cutAfter === undefined || rest.length <= lies.cutAfter)
      return void response.end(lies.extra ? Buffer.concat([rest, Buffer.alloc(5)]) : rest);
    response.write(rest.subarray(0, lies.cutAfter), () => setTimeout(() => response.destroy(), 20));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ventris-hub-"));
  vi.stubEnv("VENTRIS_CACHE", folder);
  files = {
    "config.json": Buffer.from("{}"),
    "tokenizer.json": Buffer.from('{"a":1}'),
    "model.safetensors": weights,
    "README.md": Buffer.from("not wanted"),
  };
  lies = {};
  requests = [];
  elsewhere = undefined;
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

const download = (options = {}) => downloadModel("someone/model", { endpoint, ...options });
const failure = async (promise: Promise<unknown>): Promise<VentrisError> => {
  const error = await promise.then(
    () => undefined,
    (reason) => reason,
  );
  expect(error).toBeInstanceOf(VentrisError);
  return error as VentrisError;
};

test("fetches config, tokenizer and weights into the cache, with progress, once", async () => {
  const heard: DownloadProgress[] = [];
  const own = await download({ onProgress: (progress: DownloadProgress) => heard.push(progress) });
  expect(own).toBe(join(folder, "hub", "someone", "model", commit));
  expect((await readdir(own)).sort()).toEqual([
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "ventris-download.json",
  ]);
  expect(await readFile(join(own, "model.safetensors"))).toEqual(weights);
  const total = weights.length + 2 + 7;
  expect(heard.at(-1)).toEqual({ file: "model.safetensors", received: total, total });
  expect(heard.every(({ received }, i) => i === 0 || received >= heard[i - 1].received)).toBe(true);
  requests = [];
  expect(await download()).toBe(own);
  expect(requests.length).toBe(1); // the question for the commit
});

test("what onProgress throws ends the download, and is no failure of the network to be tried again", async () => {
  vi.stubEnv("HF_ENDPOINT", endpoint);
  const boo = new Error("boo");
  const onProgress = (): never => {
    throw boo;
  };
  const { resolveModel } = await import("../references.ts");
  requests = [];
  await expect(resolveModel("someone/model", { onProgress })).rejects.toThrow(
    isSaid("bad_option", /^resolveModel: onProgress failed: boo$/, boo),
  );
  expect(requests.filter(({ url }) => url.endsWith("config.json")).length).toBe(1);
});

test("uses HF_ENDPOINT, and a folder of the caller's", async () => {
  vi.stubEnv("HF_ENDPOINT", `${endpoint}/`);
  const own = join(folder, "own");
  expect(await downloadModel("someone/model", { folder: own })).toBe(own);
  expect(await readFile(join(own, "model.safetensors"))).toEqual(weights);
});

describe("cut connections", () => {
  test("are resumed where they ended", async () => {
    lies.cutAfter = 40_000;
    const own = await download();
    expect(await readFile(join(own, "model.safetensors"))).toEqual(weights);
    const ranges = requests.filter(({ url }) => url.endsWith("model.safetensors")).map(({ range }) => range);
    expect(ranges).toEqual([undefined, "bytes=40000-", "bytes=80000-"]);
  }, 20_000);

  test("are resumed by a later call", async () => {
    const own = join(folder, "hub", "someone", "model", commit);
    const controller = new AbortController();
    const onProgress = ({ file }: DownloadProgress) => file === "model.safetensors" && controller.abort();
    lies.cutAfter = 40_000;
    expect((await failure(download({ signal: controller.signal, onProgress }))).code).toBe("aborted");
    expect(existsSync(join(own, "model.safetensors"))).toBe(false);
    await writeFile(join(own, "model.safetensors.part"), weights.subarray(0, 70_000));
    requests = [];
    lies = {};
    await download();
    expect(await readFile(join(own, "model.safetensors"))).toEqual(weights);
    expect(requests.find(({ url }) => url.endsWith("model.safetensors"))?.range).toBe("bytes=70000-");
  }, 20_000);

  test("are tried again when the server is in trouble, and not when it refuses", async () => {
    lies.troubles = 2;
    expect(await readFile(join(await download(), "model.safetensors"))).toEqual(weights);
    requests = [];
    await failure(downloadModel("no/body", { endpoint }));
    expect(requests.length).toBe(1);
  }, 20_000);

  test("start over where the server knows no ranges", async () => {
    const own = join(folder, "own");
    lies = { noRanges: true };
    await download({ folder: own });
    await rm(join(own, "ventris-download.json"));
    await rm(join(own, "model.safetensors"));
    await writeFile(join(own, "model.safetensors.part"), "rubbish");
    await download({ folder: own });
    expect(await readFile(join(own, "model.safetensors"))).toEqual(weights);
  });

  test("end with a clear error when nothing comes any more", async () => {
    lies.stall = true;
    files = { "model.safetensors": weights };
    for (const stallTimeout of [Number.NaN, 0, -1, Number.POSITIVE_INFINITY])
      expect(await failure(download({ stallTimeout }))).toMatchObject({
        code: "bad_option",
        message: expect.stringMatching(`stallTimeout must be .* not ${stallTimeout}`),
      });
    const error = await failure(download({ stallTimeout: 700 }));
    expect(error.code).toBe("unavailable");
    expect(error.message).toMatch(/model.safetensors: nothing arrived for 700 ms/);
  }, 60_000);
});

describe("a disk that is full", () => {
  const { keeping } = nodeFiles;
  afterEach(() => useFiles(nodeFiles));

  /** The disk as it is, but that weights find room for so many bytes. */
  const limited = (room: number, code: string): void =>
    useFiles({
      ...nodeFiles,
      keeping: {
        ...keeping!,
        async write(path, options) {
          const file = await keeping!.write(path, options);
          const write = async (bytes: Uint8Array, position: number) => {
            const fits = path.includes("model") ? Math.max(0, room - position) : bytes.length;
            await file.write(bytes.subarray(0, fits), position);
            if (fits < bytes.length)
              throw Object.assign(new Error(`${code}: it is full, write`), { code, syscall: "write" });
          };
          return { ...file, write };
        },
      },
    });

  test.each([
    ["ENOSPC", /^no space is left on the disk, while writing .*model.safetensors.part; free some and repeat$/],
    ["EDQUOT", /^your quota on this disk is used up, while writing .*model.safetensors.part; free some and repeat$/],
  ])("%s in the middle: what has come is kept, and goes on", async (code, message) => {
    limited(61_000, code);
    const error = await failure(download());
    expect([error.code, error.message]).toEqual(["disk_full", expect.stringMatching(message)]);
    const own = join(folder, "hub", "someone", "model", commit);
    expect(await readFile(join(own, "model.safetensors.part"))).toEqual(weights.subarray(0, 61_000));
    useFiles(nodeFiles);
    requests = [];
    expect(await readFile(join(await download(), "model.safetensors"))).toEqual(weights);
    expect(requests.find(({ url }) => url.endsWith("model.safetensors"))?.range).toBe("bytes=61000-");
  });

  test("too little room is said before a byte is fetched; what is there already needs none", async () => {
    const own = join(folder, "own");
    const free = (bytes: number) => useFiles({ ...nodeFiles, keeping: { ...keeping!, free: async () => bytes } });
    free(50_000);
    const error = await failure(download({ folder: own }));
    expect(error.code).toBe("disk_full");
    expect(error.message).toBe(`${own}: 0.1 MB are to be downloaded, and the disk has 0.1 MB left`);
    expect(requests.length).toBe(1); // the question for the commit
    await writeFile(join(own, "model.safetensors.part"), weights.subarray(0, 60_000));
    expect(await download({ folder: own })).toBe(own);
  });
});

test("a token goes to the hub with every request, and nowhere else", async () => {
  const strangers: (string | undefined)[] = [];
  const store = createServer((request, response) => {
    strangers.push(request.headers.authorization);
    response.end(weights);
  });
  await new Promise<void>((resolve) => store.listen(0, "127.0.0.1", resolve));
  elsewhere = `http://localhost:${(store.address() as AddressInfo).port}`;
  vi.stubEnv("HF_TOKEN", "secret");
  try {
    await download();
  } finally {
    store.closeAllConnections();
    store.close();
    elsewhere = undefined;
  }
  expect(requests.map(({ token }) => token)).toEqual(requests.map(() => "Bearer secret"));
  expect(strangers).toEqual([undefined]);
  requests = [];
  await download({ token: "", folder: join(folder, "own"), endpoint: `${endpoint}/` });
  expect(requests[0].token).toBeUndefined();
});

describe("what arrives is checked", () => {
  test("a wrong hash is refused and nothing stays", async () => {
    lies.hash = true;
    const error = await failure(download());
    expect(error.code).toBe("bad_file");
    expect(error.message).toMatch(/model.safetensors: what arrived does not match/);
    const own = join(folder, "hub", "someone", "model", commit);
    expect((await readdir(own)).filter((name) => name.startsWith("model"))).toEqual([]);
  });

  test("more bytes than announced are refused", async () => {
    lies.extra = true;
    expect((await failure(download())).message).toMatch(/sends more than the 2 bytes it announced/);
  });
});

describe("which weights", () => {
  const index = (...shards: string[]) =>
    Buffer.from(JSON.stringify({ weight_map: Object.fromEntries(shards.map((shard, i) => [`t${i}`, shard])) }));

  test("shards of an index", async () => {
    files = {
      "config.json": Buffer.from("{}"),
      "model.safetensors.index.json": index("a.safetensors", "b.safetensors"),
      "a.safetensors": Buffer.from("a"),
      "b.safetensors": Buffer.from("b"),
    };
    expect((await readdir(await download())).sort()).toEqual([
      "a.safetensors",
      "b.safetensors",
      "config.json",
      "model.safetensors.index.json",
      "ventris-download.json",
    ]);
  });

  test("an index that points outside, or at nothing", async () => {
    files = { "model.safetensors.index.json": index("../../a.safetensors") };
    expect((await failure(download())).code).toBe("bad_file");
    files = { "model.safetensors.index.json": index("missing.safetensors") };
    expect((await failure(download({ folder: join(folder, "own") }))).message).toMatch(
      /lists missing.safetensors, which the repository does not hold/,
    );
  });

  test("one GGUF file, or the one that is named", async () => {
    files = { "a.gguf": Buffer.from("a"), "b.gguf": Buffer.from("b") };
    expect((await failure(download())).message).toMatch(/several GGUF files; choose one with file: a.gguf, b.gguf/);
    expect(await readdir(await download({ file: "b.gguf" }))).toContain("b.gguf");
    expect(await readdir(await download({ file: "a.gguf" }))).toContain("a.gguf");
    expect((await failure(download({ file: "c.gguf" }))).code).toBe("bad_option");
    const part = (i: number) => `big-0000${i}-of-00002.gguf`;
    files = { "a.gguf": Buffer.from("a"), [part(1)]: Buffer.from("b"), [part(2)]: Buffer.from("c") };
    const names = await readdir(await download({ file: part(2) }));
    expect(names).toEqual(expect.arrayContaining([part(1), part(2)]));
  });

  test("none", async () => {
    files = { "config.json": Buffer.from("{}"), "../model.safetensors": weights };
    expect((await failure(download())).message).toMatch(/holds no model.safetensors/);
    files = { "config.json": Buffer.from("{}"), "pytorch_model.bin": weights };
    expect((await failure(download())).message).toMatch(
      /; pytorch_model.bin is not read, for such a file may run code/,
    );
    expect(existsSync(join(folder, "hub"))).toBe(false); // nothing was written for them
  });
});

describe("without a network", () => {
  /** A port that nobody listens on any more. */
  let nowhere: string;
  beforeAll(async () => {
    const gone = createServer();
    await new Promise<void>((resolve) => gone.listen(0, "127.0.0.1", resolve));
    nowhere = `http://127.0.0.1:${(gone.address() as AddressInfo).port}`;
    await new Promise((resolve) => gone.close(resolve));
  });

  test("an earlier download serves; otherwise the error says what was tried", async () => {
    const error = await failure(download({ endpoint: nowhere }));
    expect(error.code).toBe("unavailable");
    expect(error.message).toMatch(/cannot reach http:\/\/127.0.0.1:\d+\/api\/models\/someone\/model\/.*ECONNREFUSED/);
    const own = await download();
    const heard: string[] = [];
    const onEarlier = ({ message }: Error) => heard.push(message);
    expect(await download({ endpoint: nowhere, onEarlier })).toBe(own);
    expect(heard).toEqual([expect.stringMatching(/cannot reach/)]);
    await download({ onEarlier });
    expect(heard).toHaveLength(1);
    await writeFile(join(own, "model.safetensors"), "damaged");
    expect((await failure(download({ endpoint: nowhere }))).code).toBe("unavailable");
  });

  test("no such repository, no such revision, one that is closed", async () => {
    expect((await failure(downloadModel("no/body", { endpoint }))).message).toMatch(/404 \(no such repository/);
    expect((await failure(download({ revision: "v9" }))).message).toMatch(/404 \(no such revision\)/);
    expect((await failure(downloadModel("closed/model", { endpoint }))).message).toMatch(
      /401 \(its owner lets in only/,
    );
  });
});

test.each(["../model", "a/../b", "a/b/c", "model", "a/..", "/a/b", "a/b\0", "a\\b/c", "a/.b", "a/b."])(
  "refuses the repository name %j",
  async (name) => {
    expect((await failure(downloadModel(name, { endpoint }))).code).toBe("bad_option");
    expect(requests).toEqual([]);
  },
);

test.each(["../main", "a/../b", "", "a b", ".."])("refuses the revision %j", async (revision) => {
  expect((await failure(download({ revision }))).code).toBe("bad_option");
});
