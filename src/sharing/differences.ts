/**
 * What adds up: each replica tells what it learned since it last told, and takes in what the others told, each piece once. The pieces lie
 * in a ring of numbered places, so that the store holds no more than the ring, and whoever comes later reads what is in it.
 *
 * Once, and never twice: a replica's position only rises, its own pieces are passed over, and a piece whose writing may or may not have
 * succeeded is not written again. What this can lose is a piece, at a fault of the store; drafts are then a little worse for a while.
 */
import { ensure, VentrisError } from "../errors.ts";
import { longestHeader, seal, type Topic, unseal } from "./envelope.ts";
import { longestNumber, readNumber, type Store } from "./store.ts";

export interface Additive {
  /** What was learned since the last call, at most `longestPiece` bytes; undefined: nothing. */
  take(): Uint8Array<ArrayBuffer> | undefined;
  /** Adds what another replica took. Errors: `bad_file` for what is none; nothing of it is added then. */
  merge(piece: Uint8Array<ArrayBuffer>): void;
}

/** Where a replica stands; whoever keeps what it learned keeps this with it. */
export interface Standing {
  readonly replica: string;
  /** Everything up to here was taken in. */
  readonly position: number;
}

export const longestPiece = 32 * 1024;
/** Places of the ring. */
export const piecesKept = 2048;
/** A ring that nobody adds to is gone after this. Seconds. */
const pieceSeconds = 7 * 86_400;
/** Places that are read at once, and bytes after which an exchange reads no more. */
const [atOnce, mostBytes] = [32, 4 * 2 ** 20];

/** Told by an exchange. */
export interface Traffic {
  sent(bytes: number): void;
  received(bytes: number): void;
  /** A value that could not be believed. */
  refused(why: string): void;
}

export interface Exchange {
  readonly standing: Standing;
  exchange(store: Store, topic: Topic, place: string, traffic: Traffic): Promise<void>;
}

export function createDifferences(learner: Additive, standing: Standing): Exchange {
  const { replica } = standing;
  let { position } = standing;
  /** The newest number of the last exchange: what was missing up to there will not come any more. */
  let seen: number | undefined;
  let waiting: Uint8Array<ArrayBuffer> | undefined;
  let turn = 0;
  /** Numbers of its own pieces that lie ahead of its position. */
  const own = new Set<number>();

  async function read(store: Store, topic: Topic, place: string, { received, refused }: Traffic): Promise<void> {
    const mine = ++turn; // one that was given up and goes on all the same must take nothing in
    const newest = readNumber(await store.get(`${place}:count`, longestNumber));
    const settled = seen ?? newest - atOnce;
    let next = Math.max(position, newest - piecesKept) + 1;
    let length = 0;
    while (next <= newest && length < mostBytes) {
      const numbers = Array.from({ length: Math.min(atOnce, newest - next + 1) }, (_, i) => next + i);
      const values = await Promise.all(
        numbers.map(async (number) =>
          own.has(number) ? undefined : store.get(`${place}:${number % piecesKept}`, longestHeader + longestPiece + 1),
        ),
      );
      for (const [i, bytes] of values.entries()) {
        const found = bytes && (await unseal(topic, bytes, longestPiece));
        ensure(mine === turn, "unavailable", "this exchange was given up");
        const late = found === undefined || (typeof found === "object" && found.number < numbers[i]);
        if (late && numbers[i] > settled && !own.delete(numbers[i])) {
          seen = newest; // its number was taken, and it is on its way: the next exchange finds it, or goes on without it
          return;
        }
        if (bytes) received(bytes.length);
        length += bytes?.length ?? 0;
        if (typeof found === "string") refused(found);
        else if (found?.number === numbers[i] && found.from !== replica) accept(found.payload, refused);
        position = next = numbers[i];
      }
      next += 1;
    }
    if (next <= newest) return;
    seen = newest;
    own.clear();
  }

  function accept(payload: Uint8Array<ArrayBuffer>, refused: Traffic["refused"]): void {
    try {
      learner.merge(payload);
    } catch (error) {
      if (!(error instanceof VentrisError)) throw error;
      refused(error.message);
    }
  }

  async function write(store: Store, topic: Topic, place: string, { sent }: Traffic): Promise<void> {
    waiting ??= learner.take();
    if (!waiting) return;
    const number = await store.next(`${place}:count`);
    own.add(number);
    const value = await seal(topic, { from: replica, number, payload: waiting });
    const piece = waiting;
    waiting = undefined;
    try {
      await store.put(`${place}:${number % piecesKept}`, value, { seconds: pieceSeconds });
      sent(value.length);
    } catch (error) {
      // A refusal says that nothing was written.
      if (error instanceof VentrisError && error.code === "runtime_failed") waiting = piece;
      throw error;
    }
  }

  return {
    get standing() {
      return { replica, position };
    },
    async exchange(store, topic, place, traffic) {
      await read(store, topic, place, traffic);
      await write(store, topic, place, traffic);
    },
  };
}
