/**
 * Downloads checkpoints from the Hugging Face hub (https://huggingface.co/docs/hub/api) or a mirror with the same
 * interface. Every file belongs to one commit, is checked against the hub's own hash, and resumes where it was cut off.
 */
import { ensure, requireOptions } from "../errors.ts";
import { keeping, readWhole, within, writeError } from "../files.ts";
import { isObject, parseJsonObject } from "../json.ts";
import { cacheFolder, withFileLock, writeFileAtomically } from "./cache.ts";
import { type Connection, downloadFile, type Expected, fetchText, sizeOf } from "./download.ts";
import { partEnding } from "./gguf.ts";
import { readIndex } from "./safetensors.ts";

/** How far a download is. */
export interface DownloadProgress {
  /** The file that has just grown. */
  readonly file: string;
  /** Bytes of the whole download that are here. */
  readonly received: number;
  /** Bytes of the whole download. */
  readonly total: number;
}

/** What is downloaded of a model, and where to. */
export interface DownloadOptions {
  /** Branch, tag or commit; default `main`. */
  revision?: string;
  /** Where the files go; default a folder per commit in the cache folder. */
  folder?: string;
  /** The GGUF file to take, where a repository holds several. Default: none, and a repository of several is refused. */
  file?: string;
  /** Ends the download with the error `aborted`; the next one goes on where it was. Default: nothing ends it. */
  signal?: AbortSignal;
  /** Told of each file how much of it has come. Default: nobody is told. */
  onProgress?: (progress: DownloadProgress) => void;
  /** Default `HF_ENDPOINT`, else https://huggingface.co. */
  endpoint?: string;
  /** Of models that need a login. Default `HF_TOKEN`. It is told to the endpoint alone. */
  token?: string;
  /** Hears why the hub could not be asked, where an earlier download is taken instead. Default: nobody is told. */
  onEarlier?: (reason: Error) => void;
  /** Milliseconds without a byte after which a connection counts as cut; default 30 s. */
  stallTimeout?: number;
}

interface RemoteFile extends Required<Expected> {
  readonly name: string;
}

/** One repository at one commit, and how to reach it. */
interface Remote {
  readonly repository: string;
  readonly base: string;
  readonly commit: string;
  readonly files: ReadonlyMap<string, RemoteFile>;
}

/** Small files that describe the model or its tokenizer. */
const descriptions =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template)\.json$|^(merges\.txt|chat_template\.jinja)$/;

/** Written last: its presence says that the folder is complete. */
const completeName = "ventris-download.json";
/** The answer that lists a repository; the largest ones have some thousands of files. */
const maximumListBytes = 20_000_000;

/**
 * Downloads config, tokenizer and weights of `owner/name` and returns their folder. What is there already is not fetched
 * again; without a network, a complete earlier download of the same revision is used.
 * Errors: `unavailable` (offline, no such repository, no weights in a known format), `bad_option` (name, revision, file),
 * `bad_file` (a file that does not match its hash), `disk_full`, `aborted`.
 */
export async function downloadModel(repository: string, options: DownloadOptions = {}): Promise<string> {
  requireOptions(options, "downloadModel");
  const {
    revision = "main",
    endpoint = globalThis.process?.env.HF_ENDPOINT || "https://huggingface.co",
    token = globalThis.process?.env.HF_TOKEN || undefined,
    signal,
    stallTimeout = 30_000,
  } = options;
  checkName(repository, revision);
  // A timer of more milliseconds fires at once.
  ensure(stallTimeout >= 1 && stallTimeout < 2 ** 31, "bad_option", () => {
    return `downloadModel: stallTimeout must be milliseconds from 1 to ${2 ** 31 - 1}, not ${stallTimeout}`;
  });
  const own = within(await cacheFolder(), "hub", repository);
  const reference = within(own, "revisions", `${encodeURIComponent(revision)}.txt`);
  const connection = { signal, stallTimeout, token };
  const remote = await openRemote(repository, revision, endpoint, connection).catch(async (error) => {
    const folder = options.folder ?? (await earlierDownload(own, reference));
    const note = error.code === "unavailable" && folder ? await readNote(folder, repository, options.file) : undefined;
    if (note?.revision !== revision) throw error;
    options.onEarlier?.(error);
    return folder!;
  });
  if (typeof remote === "string") return remote;
  weightFiles(remote, options.file); // what has none is refused before anything is written
  const folder = options.folder ?? within(own, remote.commit);
  await (await keeping()).makeFolder(folder).catch((error) => {
    throw writeError(error, folder);
  });
  await withFileLock(within(folder, completeName), () => downloadAll(remote, folder, revision, options, connection), {
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
  const commit = await readText(reference).catch(() => undefined);
  return commit && /^[0-9a-f]{40}$/.test(commit) ? within(own, commit) : undefined;
}

/** Of files that the download itself wrote. */
const readText = async (path: string): Promise<string> =>
  new TextDecoder().decode(await readWhole(path, maximumListBytes));

/** What the last complete download into a folder fetched. */
interface Note {
  readonly repository: string;
  readonly revision: string;
  readonly commit: string;
  readonly files: readonly { readonly name: string; readonly size: number }[];
}

/** The note of a folder that holds all it says, and the file that is asked for; undefined otherwise. */
async function readNote(folder: string, repository: string, wanted: string | undefined): Promise<Note | undefined> {
  try {
    const note = (await noteOf(folder))!;
    const whole = await Promise.all(
      note.files.map(async ({ name, size }) => (await sizeOf(within(folder, name))) === size),
    );
    const hasWanted = wanted === undefined || note.files.some(({ name }) => name === wanted);
    return note.repository === repository && hasWanted && whole.every(Boolean) ? note : undefined;
  } catch {
    return undefined; // absent or damaged: the download is done again, and every file is checked
  }
}

/** Of a folder in the cache; undefined where no download has come to its end. */
export const noteOf = (folder: string): Promise<Note | undefined> =>
  readText(within(folder, completeName)).then(
    (text) => JSON.parse(text) as Note,
    () => undefined,
  );

async function openRemote(
  repository: string,
  revision: string,
  endpoint: string,
  connection: Connection,
): Promise<Remote> {
  const base = endpoint.replace(/\/+$/, "");
  ensure(/^https?:\/\//.test(base), "bad_option", `endpoint ${endpoint} is not an http or https address`);
  const url = `${base}/api/models/${repository}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const info = parseJsonObject(await fetchText(url, maximumListBytes, connection), url);
  const { sha: commit, siblings } = info;
  const sound = typeof commit === "string" && /^[0-9a-f]{40}$/.test(commit) && Array.isArray(siblings);
  ensure(sound, "unavailable", `${url} does not answer as the hub does`);
  const files = siblings.map(readSibling).filter((file) => file !== undefined);
  return { repository, base, commit, files: new Map(files.map((file) => [file.name, file])) };
}

/** A file of the repository's top folder; undefined for entries of other forms, which nothing asks for. */
function readSibling(entry: unknown): RemoteFile | undefined {
  if (!isObject(entry)) return undefined;
  const { rfilename: name, size, blobId, lfs } = entry;
  const plain = typeof name === "string" && /^[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(name);
  if (!plain || !Number.isSafeInteger(size) || (size as number) < 0) return undefined;
  const sha256 = isObject(lfs) ? lfs.sha256 : undefined;
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
  // Hashing gigabytes anew at every start would take longer than reading them.
  if ((await readNote(folder, remote.repository, options.file))?.commit === remote.commit) return;
  const described = [...remote.files.values()].filter(({ name }) => descriptions.test(name));
  const take = async (names: readonly RemoteFile[]) => {
    const total = bytesOf(names);
    await requireRoom(folder, names);
    let received = 0;
    for (const file of names) {
      const url = `${remote.base}/${remote.repository}/resolve/${remote.commit}/${file.name}`;
      await downloadFile(url, within(folder, file.name), file, connection, (bytes) => {
        options.onProgress?.({ file: file.name, received: received + bytes, total });
      });
      received += file.size;
    }
  };
  const weights = weightFiles(remote, options.file);
  const [index] = weights;
  if (index.name === indexName) {
    await take([index]);
    weights.push(...(await shardsOf(remote, within(folder, indexName))));
  }
  await take([...described, ...weights]);
  const files = [...described, ...weights].map(({ name, size }) => ({ name, size }));
  const note: Note = { repository: remote.repository, revision, commit: remote.commit, files };
  await writeFileAtomically(within(folder, completeName), `${JSON.stringify(note, undefined, 2)}\n`);
}

/** Errors: `disk_full` before a byte is fetched where the rest cannot find room; a quota shows only when it is used up. */
async function requireRoom(folder: string, files: readonly RemoteFile[]): Promise<void> {
  const here = async ({ name, size }: RemoteFile): Promise<number> => {
    const [whole, part] = [await sizeOf(within(folder, name)), await sizeOf(within(folder, `${name}.part`))];
    return whole === size ? size : Math.min(size, part ?? 0);
  };
  const sizes = await Promise.all(files.map(here));
  const lacking = bytesOf(files) - sizes.reduce((sum, size) => sum + size, 0);
  const free = await (await keeping()).free(folder);
  ensure(free === undefined || lacking <= free, "disk_full", () => {
    return `${folder}: ${megabytes(lacking)} are to be downloaded, and the disk has ${megabytes(free!)} left`;
  });
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

/** The same for all parts of a split GGUF file. */
const wholeName = (name: string): string => name.replace(partEnding, "-of-$2.gguf");

const bytesOf = (files: readonly RemoteFile[]) => files.reduce((sum, file) => sum + file.size, 0);

const indexName = "model.safetensors.index.json";

/** The weights to fetch: one safetensors file, or the index of several, or a GGUF file with all its parts. Errors: `bad_option`, `unavailable`. */
function weightFiles({ repository, files }: Remote, wanted: string | undefined): RemoteFile[] {
  if (wanted !== undefined) {
    const file = files.get(wanted);
    ensure(file && wanted.endsWith(".gguf"), "bad_option", `${repository} has no GGUF file ${wanted}`);
    return [...files.values()].filter(({ name }) => wholeName(name) === wholeName(wanted));
  }
  const whole = files.get("model.safetensors");
  if (whole) return [whole];
  const index = files.get(indexName);
  if (index) return [index];
  const ggufs = [...files.values()].filter(({ name }) => name.endsWith(".gguf"));
  const wholes = new Set(ggufs.map(({ name }) => wholeName(name)));
  ensure(
    wholes.size <= 1,
    "bad_option",
    () => `${repository} holds several GGUF files; choose one with file: ${ggufs.map(({ name }) => name).join(", ")}`,
  );
  const pickles = [...files.keys()].filter((name) => /\.(bin|pt|pth|ckpt)$/.test(name));
  ensure(wholes.size === 1, "unavailable", () => {
    const instead =
      pickles.length > 0 ? `; ${pickles[0]} is not read, for such a file may run code as it is opened` : "";
    return `${repository} holds no model.safetensors, ${indexName} or *.gguf${instead}`;
  });
  return ggufs;
}

/** Errors: `bad_file`. */
async function shardsOf({ repository, files }: Remote, index: string): Promise<RemoteFile[]> {
  const names = new Set((await readIndex(index)).values());
  return [...names].map((name) => {
    const shard = files.get(name);
    ensure(shard, "bad_file", `${repository}: ${indexName} lists ${name}, which the repository does not hold`);
    return shard;
  });
}
