/**
 * What does not add up: weights. One replica at a time trains, which a lease says, and the others take over what it publishes; newer is
 * what has the larger number, and numbers come from the store.
 *
 * Why not all at once: the means of weights that were trained apart are no weights that anybody tried, and all replicas see requests of
 * one stream, dealt out among them, so that what one sees is a sample of what all see, and an update takes a few requests only. What one
 * trainer misses where replicas serve different kinds of texts, a draft for each kind has, each with a lease of its own. Should a lease be
 * lost in the middle (a stopped process), two may publish: the later number wins everywhere, and what the other did is dropped.
 */

import type { Traffic } from "./differences.ts";
import { longestHeader, seal, type Topic, unseal } from "./envelope.ts";
import { longestNumber, readNumber, type Store } from "./store.ts";

export interface Versioned {
  /** Bytes of a version at most. */
  readonly most: number;
  /** The state as it is now. */
  current(): Uint8Array<ArrayBuffer>;
  /** Another's newer version, to be taken over when no request is in the way. Errors: `bad_file` for what is none. */
  adopt(version: Uint8Array<ArrayBuffer>): void;
}

export interface VersionExchange {
  /** Whether this replica is the one that trains; the lease is taken or prolonged. */
  lead(store: Store, place: string): Promise<boolean>;
  /** The state changed: publish it when its time has come. */
  changed(): void;
  exchange(store: Store, topic: Topic, place: string, traffic: Traffic): Promise<void>;
  /** Publishes what is left to be, and gives the lease up. */
  leave(store: Store, topic: Topic, place: string, traffic: Traffic): Promise<void>;
}

/** A trainer that says nothing for so long has lost the lease. Seconds. */
const leaseSeconds = 60;
const versionSeconds = 30 * 86_400;

/** `pause`: milliseconds between two versions of one trainer. */
export function createVersions(learner: Versioned, replica: string, pause: number): VersionExchange {
  let known = 0;
  let dirty = false;
  let leads = false;
  let publishedAt = Number.NEGATIVE_INFINITY;

  async function read(store: Store, topic: Topic, place: string, { received, refused }: Traffic): Promise<void> {
    const newest = readNumber(await store.get(`${place}:version`, longestNumber));
    if (newest <= known) return;
    const bytes = await store.get(`${place}:value`, longestHeader + learner.most + 1);
    if (!bytes) return;
    received(bytes.length);
    const found = await unseal(topic, bytes, learner.most);
    if (typeof found === "string") {
      known = newest; // read once, not at every exchange
      refused(found);
      return;
    }
    if (found.number <= known) return; // its number was taken, and it is on its way
    known = found.number;
    if (found.from === replica) return;
    try {
      learner.adopt(found.payload);
      dirty = false;
    } catch (error) {
      refused((error as Error).message);
    }
  }

  async function publish(store: Store, topic: Topic, place: string, { sent }: Traffic): Promise<void> {
    publishedAt = performance.now();
    dirty = false;
    const payload = learner.current();
    known = await store.next(`${place}:version`);
    const value = await seal(topic, { from: replica, number: known, payload });
    try {
      await store.put(`${place}:value`, value, { seconds: versionSeconds });
    } catch (error) {
      dirty = true;
      throw error;
    }
    sent(value.length);
  }

  const name = new TextEncoder().encode(replica);
  async function lead(store: Store, place: string): Promise<boolean> {
    const holder = await store.get(`${place}:trainer`, replica.length + 1);
    const own = holder && new TextDecoder().decode(holder) === replica;
    leads =
      own || holder === undefined
        ? await store.put(`${place}:trainer`, name, { seconds: leaseSeconds, absent: !own })
        : false;
    return leads;
  }

  return {
    lead,
    changed() {
      dirty = true;
    },
    async exchange(store, topic, place, traffic) {
      await read(store, topic, place, traffic);
      if (dirty && performance.now() - publishedAt >= pause && (await lead(store, place)))
        await publish(store, topic, place, traffic);
    },
    async leave(store, topic, place, traffic) {
      if (!leads || !(await lead(store, place))) return;
      if (dirty) await publish(store, topic, place, traffic);
      await store.put(`${place}:trainer`, name, { seconds: 1 });
    },
  };
}
