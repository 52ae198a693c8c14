/**
 * What replicas learn, exchanged through a store in the background. Nobody waits for it: learners leave what they have to tell and are
 * given what others told, once a second, each exchange bounded in time and size. Where the store is down, slow, full or closed to this
 * replica, it goes on alone, says so once, and tries again ever more rarely.
 */
import { VentrisError } from "../errors.ts";
import { nextTurn } from "../turn.ts";
import { warnOnce } from "../warnings.ts";
import { type Additive, createDifferences, type Standing, type Traffic } from "./differences.ts";
import { digest, type Topic } from "./envelope.ts";
import type { Store } from "./store.ts";
import { createVersions, type Versioned } from "./versions.ts";

export interface SharingStatus {
  /** Undefined while what is learned is exchanged; else why it is not. */
  readonly alone: string | undefined;
  readonly exchanges: number;
  readonly failures: number;
  /** Bytes of shared values. */
  readonly sent: number;
  readonly received: number;
  /** Values that were not believed. */
  readonly refused: number;
}

/** What belongs together: its kind, and a fingerprint, which may take a while to find out. */
export interface Subject {
  readonly kind: string;
  fingerprint(): Promise<string>;
}

export interface SharedDifferences {
  /** To be kept where what was learned is kept. */
  readonly standing: Standing;
  close(): Promise<void>;
}

export interface SharedVersions {
  /** Whether this replica may train now: not while another one does. True where nobody can be asked. */
  lead(): Promise<boolean>;
  /** The state changed. */
  changed(): void;
  close(): Promise<void>;
}

export interface Sharing {
  /** Differences that add up. `standing`: of a learner that goes on with what it kept. */
  differences(subject: Subject, learner: Additive, standing?: Standing): SharedDifferences;
  /** Versions that replace one another. */
  versions(subject: Subject, learner: Versioned): SharedVersions;
  readonly status: SharingStatus;
  /** Called whenever it begins or ends to be alone. */
  onChange: (status: SharingStatus) => void;
  /** Exchanges now. Resolves when that is done, or given up. */
  exchange(): Promise<void>;
  close(): Promise<void>;
}

export interface SharingOptions {
  /** Milliseconds between exchanges, and between versions. */
  readonly pause?: number;
  readonly versionPause?: number;
  /** Milliseconds that an exchange may take for one learner. */
  readonly patience?: number;
  /** Milliseconds after a failure, which double with each further one. */
  readonly rest?: number;
}

interface Channel {
  readonly subject: Subject;
  /** Once known. */
  at?: { readonly topic: Topic; readonly place: string };
  exchange(store: Store, topic: Topic, place: string): Promise<void>;
}

/** Milliseconds between tries, at most. */
const longestRest = 60_000;

export const replicaName = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** `connect` gives a store whenever there is none. */
export function createSharing(connect: () => Promise<Store>, options: SharingOptions = {}): Sharing {
  const { pause = 1000, versionPause = 15_000, patience = 10_000, rest: firstRest = 2000 } = options;
  const channels = new Set<Channel>();
  const counts = { exchanges: 0, failures: 0, sent: 0, received: 0, refused: 0 };
  let alone: string | undefined = "nothing was exchanged yet";
  let store: Store | undefined;
  let [rest, restsUntil] = [firstRest, 0];
  let timer: ReturnType<typeof setTimeout> | undefined;
  let running: Promise<void> | undefined;
  let closed = false;

  const traffic = (kind: string): Traffic => ({
    sent: (bytes) => {
      counts.sent += bytes;
    },
    received: (bytes) => {
      counts.received += bytes;
    },
    refused(why) {
      counts.refused += 1;
      warnOnce(`a value that another replica shared about ${kind} is not taken: ${why}`);
    },
  });

  function become(why: string | undefined): void {
    if (why === alone) return;
    alone = why;
    if (why !== undefined) warnOnce(`what is learned is not shared: ${why}; this replica goes on alone`);
    sharing.onChange(sharing.status);
  }

  async function within<T>(milliseconds: number, action: Promise<T>): Promise<T> {
    let late: ReturnType<typeof setTimeout> | undefined;
    const expired = new Promise<never>((_, reject) => {
      const why = `the store did not answer within ${milliseconds / 1000} s`;
      // After a long pass the timer comes first, and the answer may lie there: it is given its turn.
      late = setTimeout(() => void nextTurn().then(() => reject(new VentrisError("unavailable", why))), milliseconds);
    });
    try {
      return await Promise.race([action, expired]);
    } finally {
      clearTimeout(late);
      action.catch(() => {}); // of one that was given up
    }
  }

  const isRefusal = (error: unknown): boolean => error instanceof VentrisError && error.code === "runtime_failed";

  /** Runs with the store; without one, or with one that fails, `without`. */
  async function withStore<T>(action: (store: Store) => Promise<T>, without: T): Promise<T> {
    if (performance.now() < restsUntil) return without;
    try {
      store ??= await within(patience, connect());
      return await within(patience, action(store));
    } catch (error) {
      failed(error);
      return without;
    }
  }

  function failed(error: unknown): void {
    counts.failures += 1;
    restsUntil = performance.now() + rest;
    rest = Math.min(longestRest, 2 * rest);
    // What answers keeps its connection; of one that does not, nothing is awaited any more.
    if (!isRefusal(error)) {
      store?.close();
      store = undefined;
    }
    become((error as Error).message);
  }

  async function placeOf(channel: Channel): Promise<NonNullable<Channel["at"]>> {
    if (!channel.at) {
      const { kind } = channel.subject;
      const fingerprint = await channel.subject.fingerprint();
      channel.at = {
        topic: { kind, fingerprint },
        place: `ventris:1:${kind}:${(await digest(fingerprint)).slice(0, 24)}`,
      };
    }
    return channel.at;
  }

  async function exchangeAll(): Promise<void> {
    if (channels.size === 0 || performance.now() < restsUntil) return;
    let refusal: unknown;
    const done = await withStore(async () => true, false);
    if (!done) return;
    for (const channel of [...channels]) {
      try {
        const { topic, place } = await placeOf(channel);
        await within(patience, channel.exchange(store!, topic, place));
      } catch (error) {
        if (!isRefusal(error)) return failed(error);
        refusal ??= error; // the other learners may have more luck
      }
    }
    if (refusal) return failed(refusal);
    counts.exchanges += 1;
    [rest, restsUntil] = [firstRest, 0];
    become(undefined);
  }

  function exchange(): Promise<void> {
    running ??= exchangeAll().finally(() => {
      running = undefined;
    });
    return running;
  }

  /** Not all replicas at once. */
  function schedule(): void {
    if (closed || timer || channels.size === 0) return;
    timer = setTimeout(
      () => {
        timer = undefined;
        void exchange().finally(schedule);
      },
      pause * (0.75 + Math.random() / 2),
    );
    (timer as { unref?(): void }).unref?.(); // a program that has nothing else to do may end
  }

  function add(channel: Channel): void {
    channels.add(channel);
    schedule();
  }

  /** A last exchange, where the store is at hand. */
  async function remove(channel: Channel, last: (store: Store, topic: Topic, place: string) => Promise<void>) {
    if (!channels.has(channel)) return;
    await running;
    channels.delete(channel);
    if (!store || !channel.at) return;
    const { topic, place } = channel.at;
    await withStore((open) => last(open, topic, place), undefined);
  }

  const sharing: Sharing = {
    differences(subject, learner, standing = { replica: replicaName(), position: 0 }) {
      const one = createDifferences(learner, standing);
      const channel: Channel = {
        subject,
        exchange: (open, topic, place) => one.exchange(open, topic, place, traffic(subject.kind)),
      };
      add(channel);
      return {
        get standing() {
          return one.standing;
        },
        close: () => remove(channel, channel.exchange),
      };
    },
    versions(subject, learner) {
      const one = createVersions(learner, replicaName(), versionPause);
      const told = traffic(subject.kind);
      const channel: Channel = {
        subject,
        exchange: (open, topic, place) => one.exchange(open, topic, place, told),
      };
      add(channel);
      return {
        async lead() {
          const { place } = await placeOf(channel);
          return withStore((open) => one.lead(open, place), true);
        },
        changed: one.changed,
        close: () => remove(channel, (open, topic, place) => one.leave(open, topic, place, told)),
      };
    },
    get status() {
      return { alone, ...counts };
    },
    onChange: () => {},
    exchange,
    async close() {
      closed = true;
      clearTimeout(timer);
      await running;
      store?.close();
      store = undefined;
    },
  };
  return sharing;
}
