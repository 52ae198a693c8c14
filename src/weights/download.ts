/** HTTP downloads that resume where they were cut off and keep nothing that does not match its hash. */
import { ensure, VentrisError } from "../errors.ts";
import { keeping, readPieces, storage, writeError } from "../files.ts";
import { delay } from "../turn.ts";

export interface Connection {
  readonly signal?: AbortSignal;
  /** Milliseconds without a byte after which a connection counts as cut. */
  readonly stallTimeout: number;
  /** Goes with every request to the server that is asked; what it points to elsewhere is not told. */
  readonly token?: string;
}

/** What is known of a file: its bytes, and their SHA-256 or git's blob SHA-1. Without a size it cannot be resumed. */
export interface Expected {
  readonly size?: number;
  readonly hash?: { readonly algorithm: "sha256" | "blob"; readonly hex: string };
}

/** A connection that failed in a way that the next one may not. */
class Interrupted extends Error {}

/**
 * Repeats what is interrupted, at growing distances, until `attempts` in a row brought nothing: as long as `progress`
 * grows, it may go on for ever.
 */
async function persist<T>(
  action: () => Promise<T>,
  attempts: number,
  { signal }: Connection,
  progress: () => Promise<number> = async () => 0,
): Promise<T> {
  let reached = await progress();
  for (let failures = 1; ; failures++) {
    try {
      return await action();
    } catch (error) {
      if (!(error instanceof Interrupted)) throw error;
      const now = await progress();
      if (now > reached) [failures, reached] = [1, now];
      if (failures >= attempts) throw new VentrisError("unavailable", error.message, { cause: error.cause });
      await delay(100 * 2 ** failures, signal).catch((cause) => {
        throw new VentrisError("aborted", `aborted after: ${error.message}`, { cause });
      });
    }
  }
}

/**
 * Fetches a file unless it is there; `onBytes` hears how many of its bytes are. Until it is whole and checked it is called
 * `path`.part, which a later call goes on with.
 * Errors: `unavailable` when the server cannot be reached, `bad_file` for a wrong hash, `disk_full`, `aborted`.
 */
export async function downloadFile(
  url: string,
  path: string,
  file: Expected,
  connection: Connection,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const part = `${path}.part`;
  const files = await keeping();
  const here = await sizeOf(path);
  if (here !== undefined && here === file.size && (await matches(path, file))) return onBytes(here);
  const there = async () => (file.size === undefined ? 0 : ((await sizeOf(part)) ?? 0));
  if (file.size === undefined || (await there()) !== file.size) {
    await persist(() => fetchRest(url, part, file, connection, onBytes), 5, connection, there);
  }
  if (!(await matches(part, file))) {
    await files.remove(part);
    throw new VentrisError(
      "bad_file",
      `${url}: what arrived does not match the hash that was announced for it; it was deleted, repeat the download`,
    );
  }
  await files.rename(part, path).catch((error) => {
    throw writeError(error, path);
  });
}

/** Bytes of a file; undefined when there is none. */
export async function sizeOf(path: string): Promise<number | undefined> {
  const found = await (await storage()).find(path).catch(() => undefined);
  return found?.size;
}

/** Appends what is missing of a file to its part. What came before a cut is kept. */
async function fetchRest(
  url: string,
  part: string,
  file: Expected,
  connection: Connection,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const there = (await sizeOf(part)) ?? 0;
  const { size = Infinity } = file;
  const start = size !== Infinity && there < size ? there : 0;
  const headers: Record<string, string> = start > 0 ? { Range: `bytes=${start}-` } : {};
  await withResponse(url, connection, { headers, cache: "no-store" }, async (response, body) => {
    const range = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "");
    // A server without ranges sends the whole file, which then replaces the part.
    // A page is told where the bytes begin only where the server lets it; how many there are it may always know.
    const begins = range ? Number(range[1]) === start : Number(response.headers.get("content-length")) === size - start;
    const resumes = response.status === 206 && begins;
    ensure(
      resumes || response.status === 200,
      "unavailable",
      `${url}: the server answered a request for the rest with other bytes`,
    );
    let position = resumes ? start : 0;
    const files = await keeping();
    const output = await files.write(part, { keep: resumes }).catch((error) => {
      throw writeError(error, part);
    });
    try {
      for await (const bytes of body) {
        ensure(
          position + bytes.length <= size,
          "bad_file",
          `${url}: the server sends more than the ${size} bytes it announced`,
        );
        await output.write(bytes, position).catch((error) => refuseWrite(error, part));
        position += bytes.length;
        onBytes(position);
      }
      await output.sync().catch((error) => refuseWrite(error, part));
    } finally {
      await output.close();
    }
    if (position < size && size !== Infinity)
      throw new Interrupted(`${url}: the connection ended at byte ${position} of ${size}`);
  });
}

/** What came before the disk was full is kept, as before a cut; a page, in which nobody can look after files, would keep its site full by it. */
async function refuseWrite(error: unknown, part: string): Promise<never> {
  const known = writeError(error, part);
  const files = await keeping();
  const full = known instanceof VentrisError && known.code === "disk_full";
  if (full && !files.onDisk) await files.remove(part);
  throw known;
}

async function matches(path: string, file: Expected): Promise<boolean> {
  if (!file.hash) return true;
  const { algorithm, hex } = file.hash;
  const { hash: hasher } = await storage();
  const hash = algorithm === "sha256" ? hasher("sha256") : hasher("sha1").update(`blob ${file.size}\0`);
  for await (const bytes of readPieces(path, 2 ** 20)) hash.update(bytes);
  return hash.hex() === hex;
}

/** The body of a response of at most `limit` bytes. Errors: `unavailable`, `aborted`. */
export async function fetchText(url: string, limit: number, connection: Connection): Promise<string> {
  const read = async (_: Response, body: AsyncIterable<Uint8Array>) => {
    const decoder = new TextDecoder();
    let [text, size] = ["", 0];
    for await (const bytes of body) {
      size += bytes.length;
      ensure(size <= limit, "unavailable", `${url} answers with more than ${limit} bytes`);
      text += decoder.decode(bytes, { stream: true });
    }
    return text + decoder.decode();
  };
  return persist(() => withResponse(url, connection, {}, read), 2, connection);
}

/** `cache` is a browser's, which keeps what it sends beside what we keep. */
interface Asked {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly cache?: "no-cache" | "no-store";
}

/** What a server says of a file without sending it, and a mark that changes with its contents. */
export interface Announced {
  readonly size?: number;
  readonly tag?: string;
}

/** Asks for a file's size; undefined: there is none of that name. Errors: `unavailable`, `aborted`. */
export async function announced(url: string, connection: Connection): Promise<Announced | undefined> {
  const read = async ({ headers }: Response): Promise<Announced | undefined> => {
    // Many sites answer whatever they do not have with their page.
    if (/^text\/html/.test(headers.get("content-type") ?? "")) return undefined;
    const length = headers.get("content-encoding") ? null : headers.get("content-length"); // of what is sent, not of the file
    const tag = headers.get("etag") ?? headers.get("last-modified") ?? undefined;
    return { ...(length && { size: Number(length) }), ...(tag && { tag }) };
  };
  try {
    return await persist(
      () => withResponse(url, connection, { method: "HEAD", cache: "no-cache" }, read),
      2,
      connection,
    );
  } catch (error) {
    const { status } = ((error as VentrisError).cause as { status?: number } | undefined) ?? {};
    if (status === 404 || status === 410) return undefined;
    if (status !== 405 && status !== 501) throw error;
    return persist(() => withResponse(url, connection, { cache: "no-cache" }, read), 2, connection);
  }
}

/**
 * Runs `use` on a successful response and its body. Network failures, stalls and a server's own troubles are interruptions,
 * refusals `unavailable`, an abort by the caller `aborted`; errors of ours pass through.
 */
async function withResponse<T>(
  url: string,
  { signal, stallTimeout, token }: Connection,
  { headers, ...request }: Asked,
  use: (response: Response, body: AsyncIterable<Uint8Array>) => Promise<T>,
): Promise<T> {
  const stalled = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const wind = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => stalled.abort(), stallTimeout);
  };
  wind();
  const signals = signal ? [signal, stalled.signal] : [stalled.signal];
  async function* read(response: Response): AsyncIterable<Uint8Array> {
    const reader = response.body?.getReader(); // not every browser can iterate over a stream
    for (let next = await reader?.read(); next && !next.done; next = await reader!.read()) {
      wind();
      yield next.value;
    }
  }
  try {
    const response = await fetch(url, {
      ...(request as RequestInit),
      headers: { ...headers, ...(token && { Authorization: `Bearer ${token}` }) },
      signal: AbortSignal.any(signals),
    });
    wind();
    if (!response.ok) throw refusal(url, response);
    return await use(response, read(response));
  } catch (error) {
    if (error instanceof VentrisError || error instanceof Interrupted) throw error;
    if (signal?.aborted) throw new VentrisError("aborted", `the download of ${url} was aborted`, { cause: error });
    const { message, cause } = error as Error;
    const reason = stalled.signal.aborted
      ? `nothing arrived for ${stallTimeout} ms`
      : cause instanceof Error
        ? cause.message
        : message;
    throw new Interrupted(`cannot reach ${url}: ${reason}`, { cause: error });
  } finally {
    clearTimeout(timer);
    stalled.abort(); // a body that was not read to its end would keep its connection
  }
}

/** What the hub says beside the status. */
const hubReasons: Readonly<Record<string, string>> = {
  RepoNotFound: "no such repository, or a private one",
  GatedRepo: "its owner lets in only whom they know",
  RevisionNotFound: "no such revision",
  EntryNotFound: "no such file",
};
const reasons: Readonly<Record<number, string>> = {
  401: "no such repository, or one that needs a login",
  403: "access to this repository is restricted",
  404: "no such repository, revision or file",
  429: "too many requests; wait a little",
};

function refusal(url: string, { status, headers }: Response): Error {
  const told = hubReasons[headers.get("x-error-code") ?? ""];
  const reason = told ?? reasons[status] ?? (status >= 500 ? "the server is in trouble; try again later" : undefined);
  const message = `${url} answers ${status}${reason ? ` (${reason})` : ""}`;
  return (status >= 500 && status !== 501) || status === 429
    ? new Interrupted(message)
    : new VentrisError("unavailable", message, { cause: { status } });
}
