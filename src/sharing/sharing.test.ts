/** Exchange between replicas: what adds up, what replaces, and what is not to be believed; by the store alone, which is a map here. */
import { expect, it } from "vitest";
import { VentrisError } from "../errors.ts";
import { type Additive, createDifferences, piecesKept, type Traffic } from "./differences.ts";
import { createSharing } from "./sharing.ts";
import { firstNumber, readNumber, type Store } from "./store.ts";
import { createVersions, type Versioned } from "./versions.ts";

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytes = (value: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(value);

function mapStore() {
  const values = new Map<string, Uint8Array>();
  const store: Store = {
    get: async (key, most) => values.get(key)?.subarray(0, most),
    async put(key, value, { absent }) {
      if (absent && values.has(key)) return false;
      values.set(key, value);
      return true;
    },
    async next(key) {
      const number = (readNumber(values.get(key)) || firstNumber()) + 1;
      values.set(key, bytes(String(number)));
      return number;
    },
    close: () => {},
  };
  return { values, store };
}

/** Learns words: tells its own, and counts what it was told. */
function pupil() {
  const heard: string[] = [];
  let own: string[] = [];
  const learner: Additive = {
    take() {
      if (own.length === 0) return undefined;
      const piece = bytes(own.join(" "));
      own = [];
      return piece;
    },
    merge(piece) {
      const words = text(piece);
      if (words.includes("!")) throw new VentrisError("bad_file", "it shouts");
      heard.push(...words.split(" "));
    },
  };
  return { heard, learner, learn: (...words: string[]) => void own.push(...words) };
}

const counting = (): Traffic & { refusals: string[] } => {
  const refusals: string[] = [];
  return { refusals, sent: () => {}, received: () => {}, refused: (why) => void refusals.push(why) };
};
const topic = { kind: "words", fingerprint: "f" };
const place = "words:f";
const name = (digit: string): string => digit.repeat(16);

it("tells every other replica every piece once, also one that comes later, and never its own", async () => {
  const { store } = mapStore();
  const traffic = counting();
  const pupils = ["a", "b", "c"].map((digit) => {
    const one = pupil();
    return { ...one, exchanges: createDifferences(one.learner, { replica: name(digit), position: 0 }) };
  });
  const [a, b, c] = pupils;
  a.learn("alpha");
  await a.exchanges.exchange(store, topic, place, traffic);
  b.learn("beta", "bravo");
  for (let round = 0; round < 3; round++) {
    await b.exchanges.exchange(store, topic, place, traffic);
    await a.exchanges.exchange(store, topic, place, traffic);
  }
  a.learn("again");
  await a.exchanges.exchange(store, topic, place, traffic);
  for (let round = 0; round < 3; round++) await c.exchanges.exchange(store, topic, place, traffic);
  await b.exchanges.exchange(store, topic, place, traffic);
  expect([a.heard, b.heard, c.heard]).toEqual([
    ["beta", "bravo"],
    ["alpha", "again"],
    ["alpha", "beta", "bravo", "again"],
  ]);
  expect(traffic.refusals).toEqual([]);

  // One that kept what it learned goes on where it stood.
  const later = pupil();
  const standing = JSON.parse(JSON.stringify(b.exchanges.standing));
  a.learn("new");
  await a.exchanges.exchange(store, topic, place, traffic);
  await createDifferences(later.learner, standing).exchange(store, topic, place, traffic);
  expect(later.heard).toEqual(["new"]);
});

it("waits for a piece whose number was taken, and goes on without one that does not come", async () => {
  const { store } = mapStore();
  const [a, c] = [pupil(), pupil()];
  const telling = createDifferences(a.learner, { replica: name("a"), position: 0 });
  const hearing = createDifferences(c.learner, { replica: name("c"), position: 0 });
  const exchange = async (): Promise<void> => hearing.exchange(store, topic, place, counting());
  a.learn("one");
  await telling.exchange(store, topic, place, counting());
  await exchange();
  await store.next(`${place}:count`); // its writer was stopped here
  a.learn("two");
  await telling.exchange(store, topic, place, counting());
  await exchange();
  expect(c.heard).toEqual(["one"]);
  await exchange();
  expect(c.heard).toEqual(["one", "two"]);
});

it("holds a ring and no more, and whoever was away too long hears what is in it", async () => {
  const { store, values } = mapStore();
  const [a, c] = [pupil(), pupil()];
  const telling = createDifferences(a.learner, { replica: name("a"), position: 0 });
  for (let i = 0; i < piecesKept + 100; i++) {
    a.learn(String(i));
    await telling.exchange(store, topic, place, counting());
  }
  expect(values.size).toBe(piecesKept + 1);
  const hearing = createDifferences(c.learner, { replica: name("c"), position: 0 });
  for (let i = 0; i < 8; i++) await hearing.exchange(store, topic, place, counting());
  expect(c.heard).toEqual(Array.from({ length: piecesKept }, (_, i) => String(i + 100)));
});

it("believes no value that is damaged, too long, of another model or no piece, and goes on behind it", async () => {
  const { store, values } = mapStore();
  const [a, c] = [pupil(), pupil()];
  const telling = createDifferences(a.learner, { replica: name("a"), position: 0 });
  const other = createDifferences(a.learner, { replica: name("b"), position: 0 });
  const damage = async (how: (value: Uint8Array) => Uint8Array): Promise<void> => {
    a.learn("good");
    await telling.exchange(store, topic, place, counting());
    const key = `${place}:${readNumber(values.get(`${place}:count`)) % piecesKept}`;
    values.set(key, how(values.get(key)!));
  };
  await damage((value) => value.with(-1, 65));
  await damage((value) => value.subarray(0, -2));
  await damage(() => bytes("nothing of ours"));
  await damage(() => bytes(`${"[".repeat(1000)}\n`));
  await damage((value) => bytes(text(value).replace('"words"', '"worse"')));
  await damage(() => new Uint8Array(2 ** 20).fill(32));
  a.learn("from elsewhere");
  await other.exchange(store, { ...topic, fingerprint: "g" }, place, counting());
  a.learn("loud!");
  await telling.exchange(store, topic, place, counting());
  a.learn("good");
  await telling.exchange(store, topic, place, counting());
  const hearing = createDifferences(c.learner, { replica: name("c"), position: 0 });
  const traffic = counting();
  await hearing.exchange(store, topic, place, traffic);
  await hearing.exchange(store, topic, place, traffic);
  expect(c.heard).toEqual(["good"]);
  expect(traffic.refusals).toHaveLength(8);
  expect(traffic.refusals).toContain("it belongs to another model or other settings");
  expect(traffic.refusals).toContain("it shouts");
});

it("writes no piece twice when nobody knows whether it was written, and one that was refused again", async () => {
  const { store, values } = mapStore();
  const [a, c] = [pupil(), pupil()];
  const telling = createDifferences(a.learner, { replica: name("a"), position: 0 });
  const failing = (code: "unavailable" | "runtime_failed", written: boolean): Store => ({
    ...store,
    async put(...given) {
      if (written) await store.put(...given);
      throw new VentrisError(code, "no");
    },
  });
  a.learn("doubtful");
  await expect(telling.exchange(failing("unavailable", true), topic, place, counting())).rejects.toThrow("no");
  a.learn("refused");
  await expect(telling.exchange(failing("runtime_failed", false), topic, place, counting())).rejects.toThrow("no");
  await telling.exchange(store, topic, place, counting());
  await telling.exchange(store, topic, place, counting());
  const hearing = createDifferences(c.learner, { replica: name("c"), position: 0 });
  for (let i = 0; i < 3; i++) await hearing.exchange(store, topic, place, counting());
  expect(c.heard).toEqual(["doubtful", "refused"]);

  // A store that forgot everything counts on from the clock, above what was known.
  values.clear();
  a.learn("after");
  await telling.exchange(store, topic, place, counting());
  for (let i = 0; i < 2; i++) await hearing.exchange(store, topic, place, counting());
  expect(c.heard).toEqual(["doubtful", "refused", "after"]);
});

it("one replica trains at a time, the others take over what is newer, and the next one goes on from there", async () => {
  const { store, values } = mapStore();
  const traffic = counting();
  const replica = (digit: string) => {
    const state = { value: "base", adopted: 0 };
    const learner: Versioned = {
      most: 100,
      current: () => bytes(state.value),
      adopt(version) {
        if (text(version).includes("!")) throw new VentrisError("bad_file", "it shouts");
        state.value = text(version);
        state.adopted += 1;
      },
    };
    const versions = createVersions(learner, name(digit), 0);
    const exchange = async (): Promise<void> => versions.exchange(store, topic, place, traffic);
    return { state, versions, exchange };
  };
  const [a, b, c] = [replica("a"), replica("b"), replica("c")];
  expect([await a.versions.lead(store, place), await b.versions.lead(store, place)]).toEqual([true, false]);
  a.state.value = "first";
  a.versions.changed();
  await a.exchange();
  b.state.value = "of its own, while the store was away";
  b.versions.changed();
  await b.exchange();
  await b.exchange();
  await a.exchange();
  expect([a.state, b.state]).toEqual([
    { value: "first", adopted: 0 },
    { value: "first", adopted: 1 },
  ]);
  await a.versions.leave(store, topic, place, traffic);
  values.delete(`${place}:trainer`); // a second later
  expect(await b.versions.lead(store, place)).toBe(true);
  b.state.value = "second";
  b.versions.changed();
  await b.exchange();
  await c.exchange();
  expect(c.state).toEqual({ value: "second", adopted: 1 });
  expect(traffic.refusals).toEqual([]);

  b.state.value = "x".repeat(200); // longer than such a version can be
  b.versions.changed();
  await b.exchange();
  await c.exchange();
  await c.exchange();
  expect(c.state).toEqual({ value: "second", adopted: 1 });
  expect(traffic.refusals).toHaveLength(1);
});

it("goes on alone while the store is slow or gone, says why, and shares again when it is back", async () => {
  const { store } = mapStore();
  let how: "gone" | "slow" | "well" = "gone";
  const connect = async (): Promise<Store> => {
    if (how === "gone") throw new VentrisError("unavailable", "nobody there");
    return { ...store, get: (key, most) => (how === "slow" ? new Promise(() => {}) : store.get(key, most)) };
  };
  const told: (string | undefined)[] = [];
  const sharing = createSharing(connect, { pause: 10, patience: 50, rest: 20 });
  sharing.onChange = ({ alone }) => void told.push(alone);
  const one = pupil();
  one.learn("word");
  const subject = { kind: "words", fingerprint: async () => "f" };
  const channel = sharing.differences(subject, one.learner);
  await expect.poll(() => told, { timeout: 9000 }).toEqual(["nobody there"]);
  how = "slow";
  await expect.poll(() => told.at(-1), { timeout: 9000 }).toMatch(/within 0.05 s/);
  how = "well";
  await expect.poll(() => sharing.status.alone, { timeout: 8000 }).toBeUndefined();
  expect(sharing.status).toMatchObject({ refused: 0 });
  expect(sharing.status.failures).toBeGreaterThanOrEqual(2);
  expect(sharing.status.sent).toBeGreaterThan(100);
  await channel.close();
  await sharing.close();
});
