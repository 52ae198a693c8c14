/** Redis, or Valkey, as the store: plain values with a time to live, one counter a log. Loaded when it is first asked for. */
import { ensure, shown, VentrisError } from "../errors.ts";
import { delay } from "../turn.ts";
import { firstNumber, readNumber, type Store } from "./store.ts";

/** Counters and values of replicas that all ended are gone after this. Seconds. */
const counterSeconds = 30 * 86_400;
/** Milliseconds to connect in. */
const connectTimeout = 2000;
/** Commands that wait to be sent; more means that it does not answer. */
const mostWaiting = 1000;

const schemes: Readonly<Record<string, string>> = {
  "redis:": "redis:",
  "rediss:": "rediss:",
  "valkey:": "redis:",
  "valkeys:": "rediss:",
};

/** The address as the client takes it, and as a message may show it, without a password. Errors: `bad_option`. */
export function redisAddress(reference: string): { readonly url: string; readonly shown: string } {
  const advice = "write redis://host:6379, rediss:// for TLS, with user:password@ and /database where there are any";
  const address = URL.canParse(reference) ? new URL(reference) : undefined;
  // What is no address may be a mistyped one, with the password in it.
  ensure(address, "bad_option", `share: this is no address of a Redis or Valkey server: ${advice}`);
  const { protocol, hostname, port, pathname, search, hash } = address;
  ensure(
    schemes[protocol] && hostname,
    "bad_option",
    `share: ${shown(protocol)} is no Redis or Valkey server: ${advice}`,
  );
  ensure(/^\/?\d*$/.test(pathname) && search === "" && hash === "", "bad_option", () => {
    return `share: behind ${hostname} there can be the number of a database and nothing else: ${advice}`;
  });
  return {
    url: reference.replace(/^[a-z]+:/i, schemes[protocol]),
    shown: `${protocol}//${hostname}${port ? `:${port}` : ""}${pathname.length > 1 ? pathname : ""}`,
  };
}

async function client() {
  try {
    return await import("@redis/client");
  } catch (cause) {
    throw new VentrisError(
      "unavailable",
      "share: the package @redis/client is not installed, and Redis is reached through it: npm install @redis/client",
      { cause },
    );
  }
}

/** Errors: `unavailable` for a package that is not there. */
export const requireRedis = async (): Promise<void> => void (await client());

/** Errors: `unavailable` for a server that cannot be reached or lets nobody in. */
export async function connectRedis({ url, shown: where }: { url: string; shown: string }): Promise<Store> {
  const { createClient, RESP_TYPES, ErrorReply } = await client();
  const redis = createClient({
    url,
    disableOfflineQueue: true,
    commandsQueueMaxLength: mostWaiting,
    socket: { connectTimeout, reconnectStrategy: false }, // when to try again is decided for all of sharing
  });
  redis.on("error", () => {}); // told by the command that fails
  const failure = (error: unknown): VentrisError => {
    const words = error instanceof Error ? error.message || error.name : String(error);
    const refused = error instanceof ErrorReply && redis.isReady;
    return new VentrisError(refused ? "runtime_failed" : "unavailable", `${where}: ${words.slice(0, 300)}`, {
      cause: error,
    });
  };
  const asBytes = { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } };
  const say = async (words: (string | Buffer)[]): Promise<unknown> => {
    try {
      return await redis.sendCommand(words, asBytes);
    } catch (error) {
      throw failure(error);
    }
  };
  // What listens there may be no such server, and say nothing or nonsense.
  const silent = new AbortController();
  try {
    const late = delay(2 * connectTimeout, silent.signal).then(() => {
      throw new Error("it says nothing that a Redis or Valkey server says");
    });
    late.catch(() => {}); // once it has said something
    await Promise.race([redis.connect(), late]);
  } catch (error) {
    const told = failure(error);
    if (redis.isOpen) redis.destroy();
    throw told;
  } finally {
    silent.abort();
  }
  return {
    async get(key, most) {
      const value = await say(["GETRANGE", key, "0", String(most - 1)]);
      return Buffer.isBuffer(value) && value.length > 0 ? value : undefined;
    },
    async put(key, value, { seconds, absent = false }) {
      const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
      const only = absent ? ["NX"] : [];
      return (await say(["SET", key, bytes, "EX", String(seconds), ...only])) !== null;
    },
    async next(key) {
      await say(["SET", key, String(firstNumber()), "EX", String(counterSeconds), "NX"]);
      const counted = String(await say(["INCR", key]));
      const number = readNumber(new TextEncoder().encode(counted));
      ensure(
        number > 0,
        "runtime_failed",
        () => `${where}: ${key} counts ${counted}, which is no number of ours: delete it`,
      );
      return number;
    },
    close() {
      if (redis.isOpen) redis.destroy();
    },
  };
}
