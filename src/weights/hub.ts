/**
 * Downloads checkpoints from the Hugging Face hub (https://huggingface.co/docs/hub/api) or a mirror with the same
 * interface. Every file belongs to one commit, is checked against the hub's own hash, and resumes where it was cut off.
 */
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ensure, VentrisError } from "../errors.ts";
import { cacheFolder, withFileLock, writeError, writeFileAtomically } from "./cache.ts";
import { isRecord, parseJsonObject } from "./layout.ts";
import { readIndex } from "./safetensors.ts";

export interface DownloadProgress {
  readonly file: string;
  /** Bytes of the whole download that are here, and all that it needs. */
  readonly received: number;
  readonly total: number;
}

export interface DownloadOptions {
  /** Branch, tag or commit; default `main`. */
  revision?: string;
  /** Where the files go; default a folder per commit in the cache folder. */
  folder?: string;
  /** The GGUF file to take, where a repository holds several. */
  file?: string;
  signal?: AbortSignal;
  onProgress?: (progress: DownloadProgress) => void;
  /** Default `HF_ENDPOINT`, else https://huggingface.co. */
  endpoint?: string;
  /** Milliseconds without a byte after which a connection counts as cut; default 30 s. */
  stallTimeout?: number;
}

interface RemoteFile {
  readonly name: string;
  readonly size: number;
  /** SHA-256 of large files, git's blob SHA-1 of the others. */
  readonly hash: { readonly algorithm: "sha256" | "blob"; readonly hex: string };
}

/** One repository at one commit, and how to reach it. */
interface Remote {
  readonly repository: string;
  readonly base: string;
  readonly commit: string;
  readonly files: ReadonlyMap<string, RemoteFile>;
}

type Connection = Pick<DownloadOptions, "signal"> & { readonly stallTimeout: number };

/** Small files that describe the model or its tokenizer. */
const descriptions =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template)\.json$|^(merges\.txt|chat_template\.jinja)$/;

/** Written last: its presence says that the folder is complete. */
const completeName = "ventris-download.json";
const [attempts, maximumListBytes] = [5, 20_000_000];

/**
 * Downloads config, tokenizer and weights of `owner/name` and returns their folder. What is there already is not fetched
 * again; without a network, a complete earlier download of the same revision is used.
 * Errors: `unavailable` (offline, no such repository, no weights in a known format), `bad_option` (name, revision, file),
 * `bad_file` (a file that does not match its hash), `disk_full`, `aborted`.
 */
export async function downloadModel(repository: string, options: DownloadOptions = {}): Promise<string> {
  const {
    revision = "main",
    endpoint = process.env.HF_ENDPOINT || "https://huggingface.co",
    signal,
    stallTimeout = 30_000,
  } = options;
  checkName(repository, revision);
  const own = join(cacheFolder(), "hub", repository);
  const reference = join(own, "revisions", `${encodeURIComponent(revision)}.txt`);
  const connection = { signal, stallTimeout };
  const remote = await openRemote(repository, revision, endpoint, connection).catch(async (error) => {
    const folder = options.folder ?? (await earlierDownload(own, reference));
    if (error.code === "unavailable" && folder && (await isComplete(folder, repository, revision))) return folder;
    throw error;
  });
  if (typeof remote === "string") return remote;
  const folder = options.folder ?? join(own, remote.commit);
  await mkdir(folder, { recursive: true }).catch((error) => {
    throw writeError(error, folder);
  });
  await withFileLock(join(folder, completeName), () => downloadAll(remote, folder, revision, options, connection), {
    signal,
    timeout: Infinity,
  });
  if (!options.folder) await writeFileAtomically(reference, remote.commit);
  return folder;
}

function checkName(repository: string, revision: string): void {
  const part = "[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?";
  const sound =
    new RegExp(`^${part}/${part}$`).test(repository) && !repository.includes("..") && repository.length <= 200;
  ensure(sound, "bad_option", `model ${JSON.stringify(repository)} is not a repository name such as "owner/name"`);
  const soundRevision = /^[A-Za-z0-9._/-]{1,200}$/.test(revision) && !/(^|\/)\.{1,2}(\/|$)/.test(revision);
  ensure(soundRevision, "bad_option", `revision ${JSON.stringify(revision)} is not a branch, tag or commit`);
}

async function earlierDownload(own: string, reference: string): Promise<string | undefined> {
  const commit = await readFile(reference, "utf8").catch(() => undefined);
  return commit && /^[0-9a-f]{40}$/.test(commit) ? join(own, commit) : undefined;
}

async function isComplete(folder: string, repository: string, revision: string): Promise<boolean> {
  const text = await readFile(join(folder, completeName), "utf8").catch(() => undefined);
  if (text === undefined) return false;
  const note = parseJsonObject(text, join(folder, completeName));
  return note.repository === repository && note.revision === revision;
}

async function openRemote(
  repository: string,
  revision: string,
  endpoint: string,
  connection: Connection,
): Promise<Remote> {
  const base = endpoint.replace(/\/+$/, "");
  ensure(/^https?:\/\//.test(base), "bad_option", `endpoint ${endpoint} is not an http or https address`);
  const url = `${base}/api/models/${repository}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const info = parseJsonObject(await fetchText(url, repository, connection), url);
  const { sha: commit, siblings } = info;
  const sound = typeof commit === "string" && /^[0-9a-f]{40}$/.test(commit) && Array.isArray(siblings);
  ensure(sound, "unavailable", `${url} does not answer as the hub does`);
  const files = siblings.map(readSibling).filter((file) => file !== undefined);
  return { repository, base, commit, files: new Map(files.map((file) => [file.name, file])) };
}

/** A file of the repository's top folder; undefined for entries of other forms, which nothing asks for. */
function readSibling(entry: unknown): RemoteFile | undefined {
  if (!isRecord(entry)) return undefined;
  const { rfilename: name, size, blobId, lfs } = entry;
  const plain = typeof name === "string" && /^[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(name);
  if (!plain || !Number.isSafeInteger(size) || (size as number) < 0) return undefined;
  const sha256 = isRecord(lfs) ? lfs.sha256 : undefined;
  if (typeof sha256 === "string") return { name, size: size as number, hash: { algorithm: "sha256", hex: sha256 } };
  return typeof blobId === "string"
    ? { name, size: size as number, hash: { algorithm: "blob", hex: blobId } }
    : undefined;
}

async function downloadAll(
  remote: Remote,
  folder: string,
  revision: string,
  options: DownloadOptions,
  connection: Connection,
) {
  const described = [...remote.files.values()].filter(({ name }) => descriptions.test(name));
  const take = async (names: readonly RemoteFile[], before = 0, total = before + bytesOf(names)) => {
    let received = before;
    for (const file of names) {
      await downloadFile(remote, file, folder, connection, (bytes) => {
        options.onProgress?.({ file: file.name, received: received + bytes, total });
      });
      received += file.size;
    }
  };
  const weights = await weightFiles(remote, folder, options.file, (index) => take([index]));
  await take([...described, ...weights]);
  const note = {
    repository: remote.repository,
    revision,
    commit: remote.commit,
    files: [...described, ...weights].map(({ name }) => name),
  };
  await writeFileAtomically(join(folder, completeName), `${JSON.stringify(note, undefined, 2)}\n`);
}

const bytesOf = (files: readonly RemoteFile[]) => files.reduce((sum, file) => sum + file.size, 0);

/** The weights to fetch: one safetensors file, or the shards of an index (fetched by `takeIndex` first), or a GGUF file. */
async function weightFiles(
  remote: Remote,
  folder: string,
  wanted: string | undefined,
  takeIndex: (index: RemoteFile) => Promise<void>,
): Promise<RemoteFile[]> {
  const { repository, files } = remote;
  if (wanted !== undefined) {
    const file = files.get(wanted);
    ensure(file && wanted.endsWith(".gguf"), "bad_option", `${repository} has no GGUF file ${wanted}`);
    return [file];
  }
  const whole = files.get("model.safetensors");
  if (whole) return [whole];
  const index = files.get("model.safetensors.index.json");
  if (index) {
    await takeIndex(index);
    const shards = new Set((await readIndex(join(folder, index.name))).values());
    return [
      index,
      ...[...shards].map((name) => {
        const shard = files.get(name);
        ensure(shard, "bad_file", `${repository}: ${index.name} lists ${name}, which the repository does not hold`);
        return shard;
      }),
    ];
  }
  const ggufs = [...files.values()].filter(({ name }) => name.endsWith(".gguf"));
  ensure(
    ggufs.length <= 1,
    "bad_option",
    () => `${repository} holds several GGUF files; choose one with file: ${ggufs.map(({ name }) => name).join(", ")}`,
  );
  ensure(
    ggufs.length === 1,
    "unavailable",
    `${repository} holds no model.safetensors, model.safetensors.index.json or *.gguf`,
  );
  return ggufs;
}

/** Fetches one file unless it is there; `onBytes` hears how many of its bytes are. */
async function downloadFile(
  remote: Remote,
  file: RemoteFile,
  folder: string,
  connection: Connection,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const path = join(folder, file.name);
  const part = `${path}.part`;
  if ((await sizeOf(path)) === file.size && (await matches(path, file))) return onBytes(file.size);
  const url = `${remote.base}/${remote.repository}/resolve/${remote.commit}/${file.name}`;
  for (let failures = 0; ((await sizeOf(part)) ?? -1) !== file.size; ) {
    const before = (await sizeOf(part)) ?? 0;
    try {
      await fetchRest(url, part, file, connection, onBytes);
    } catch (error) {
      if (!(error instanceof VentrisError) || error.code !== "unavailable") throw error;
      // Whoever makes progress may go on for ever; a server that gives nothing is asked a few times.
      failures = ((await sizeOf(part)) ?? 0) > before ? 1 : failures + 1;
      if (failures >= attempts) throw error;
      await delay(Math.min(250 * 2 ** failures, 5_000), undefined, { signal: connection.signal }).catch((cause) => {
        throw aborted(url, cause);
      });
    }
  }
  if (!(await matches(part, file))) {
    await rm(part, { force: true });
    throw new VentrisError(
      "bad_file",
      `${url}: what arrived does not match the hub's hash of the file; it was deleted, repeat the download`,
    );
  }
  await rename(part, path).catch((error) => {
    throw writeError(error, path);
  });
}

async function sizeOf(path: string): Promise<number | undefined> {
  return stat(path).then(
    ({ size }) => size,
    () => undefined,
  );
}

/** Appends what is missing of a file to its part. A cut connection is `unavailable`; what came before it is kept. */
async function fetchRest(
  url: string,
  part: string,
  file: RemoteFile,
  connection: Connection,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const there = (await sizeOf(part)) ?? 0;
  const start = there < file.size ? there : 0;
  await withResponse(url, connection, start > 0 ? { Range: `bytes=${start}-` } : {}, async (response, body) => {
    const range = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "");
    // A server without ranges sends the whole file, which then replaces the part.
    const resumes = response.status === 206 && Number(range?.[1]) === start;
    ensure(
      resumes || response.status === 200,
      "unavailable",
      `${url}: the server answered a request for the rest with other bytes`,
    );
    let position = resumes ? start : 0;
    const output = await open(part, resumes ? "r+" : "w").catch((error) => {
      throw writeError(error, part);
    });
    try {
      for await (const bytes of body) {
        ensure(
          position + bytes.length <= file.size,
          "bad_file",
          `${url}: the server sends more than the ${file.size} bytes it announced`,
        );
        await output.writev([bytes], position);
        position += bytes.length;
        onBytes(position);
      }
      await output.sync();
    } catch (error) {
      const known = writeError(error, part);
      // A part that filled the disk would keep it full.
      if (known instanceof VentrisError && known.code === "disk_full") await rm(part, { force: true });
      throw known;
    } finally {
      await output.close();
    }
    ensure(position === file.size, "unavailable", `${url}: the connection ended at byte ${position} of ${file.size}`);
  });
}

async function matches(path: string, file: RemoteFile): Promise<boolean> {
  const { algorithm, hex } = file.hash;
  const hash: Hash = algorithm === "sha256" ? createHash("sha256") : createHash("sha1").update(`blob ${file.size}\0`);
  for await (const bytes of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(bytes);
  return hash.digest("hex") === hex;
}

async function fetchText(url: string, what: string, connection: Connection): Promise<string> {
  return withResponse(url, connection, {}, async (_, body) => {
    const parts: Uint8Array[] = [];
    let size = 0;
    for await (const bytes of body) {
      size += bytes.length;
      ensure(
        size <= maximumListBytes,
        "unavailable",
        `${what}: ${url} answers with more than ${maximumListBytes} bytes`,
      );
      parts.push(bytes);
    }
    return Buffer.concat(parts).toString("utf8");
  });
}

/**
 * Runs `use` on a successful response and its body. Network failures, refusals and stalls become `unavailable`, an abort
 * by the caller `aborted`; errors of ours pass through.
 */
async function withResponse<T>(
  url: string,
  { signal, stallTimeout }: Connection,
  headers: Record<string, string>,
  use: (response: Response, body: AsyncIterable<Uint8Array>) => Promise<T>,
): Promise<T> {
  const stalled = new AbortController();
  const timer = setTimeout(() => stalled.abort(), stallTimeout);
  const signals = signal ? [signal, stalled.signal] : [stalled.signal];
  async function* read(response: Response): AsyncIterable<Uint8Array> {
    for await (const bytes of response.body ?? []) {
      timer.refresh();
      yield bytes;
    }
  }
  try {
    const response = await fetch(url, { headers, signal: AbortSignal.any(signals) });
    timer.refresh();
    if (!response.ok) throw refusal(url, response.status);
    return await use(response, read(response));
  } catch (error) {
    if (error instanceof VentrisError) throw error;
    if (signal?.aborted) throw aborted(url, error);
    const { message, cause } = error as Error;
    const reason = stalled.signal.aborted
      ? `nothing arrived for ${stallTimeout} ms`
      : cause instanceof Error
        ? cause.message
        : message;
    throw new VentrisError("unavailable", `cannot reach ${url}: ${reason}`, { cause: error });
  } finally {
    clearTimeout(timer);
    stalled.abort(); // a body that was not read to its end would keep its connection
  }
}

function refusal(url: string, status: number): VentrisError {
  const reasons: Record<number, string> = {
    401: "no such repository, or one that needs a login",
    403: "access to this repository is restricted",
    404: "no such repository, revision or file",
    429: "too many requests; wait a little",
  };
  return new VentrisError("unavailable", `${url} answers ${status}${reasons[status] ? ` (${reasons[status]})` : ""}`);
}

const aborted = (url: string, cause: unknown) =>
  new VentrisError("aborted", `the download of ${url} was aborted`, { cause });
