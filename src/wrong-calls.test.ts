/** What callers without types may give by mistake: each call says what is wrong, as a VentrisError and never as the language's own. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { shown, VentrisError } from "./errors.ts";
import { doubledSigns } from "./wrong.fixture.ts";

/** A package's name where nothing is, for what is a text and may be a path. */
const folder = await mkdtemp(join(tmpdir(), "ventris-wrong-"));
const nowhere = join(folder, "nowhere");
beforeAll(() => {
  vi.stubEnv("VENTRIS_CACHE", join(folder, "cache"));
  vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:9");
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

type Call = (...values: unknown[]) => unknown;

const { exports } = JSON.parse(await readFile(new URL("../package.json", import.meta.url), "utf8"));
const subpaths = Object.entries<string | { default: string }>(exports).flatMap(([subpath, entry]) =>
  typeof entry === "string" ? [] : [[subpath, entry.default.replace("./dist/", "./").replace(/\.js$/, ".ts")]],
);

/** What is exported, and what lies in objects that are. */
function callsOf(area: object): [name: string, call: Call][] {
  const { z: _, ...own } = area as Record<string, unknown>; // zod's own
  const isCall = (value: unknown): value is Call => typeof value === "function" && !/^class\b/.test(`${value}`);
  const within = (name: string, value: unknown, depth: number): [string, Call][] => {
    if (isCall(value)) return [[name, value]];
    if (typeof value !== "object" || value === null || Array.isArray(value) || depth === deepest) return [];
    return Object.entries(value).flatMap(([inner, one]) => within(`${name}.${inner}`, one, depth + 1));
  };
  return Object.entries(own).flatMap(([name, value]) => within(name, value, 0));
}

/** Objects in objects: tasks by their names. */
const deepest = 2;

const cyclic: Record<string, unknown> = { name: "x" };
cyclic.path = cyclic;

/** What a caller's function throws is told with its name; what it gives instead of what it must is refused. */
const boo = (): never => {
  throw new Error("boo");
};
const constraint = { name: "x", tight: true };

const values: unknown[] = [
  Number.POSITIVE_INFINITY,
  10n,
  Symbol("x"),
  Object.create(null),
  cyclic,
  new Array(2),
  new DataView(new ArrayBuffer(2)),
  /x/,
  "a\0b",
  undefined,
  null,
  true,
  nowhere,
  7,
  -1.5,
  Number.NaN,
  {},
  { path: null, options: 7, name: [], files: {}, points: "x" },
  [],
  [{}],
  [[null]],
  [1, 2, 3],
  Float32Array.of(1, 2),
  new Map(),
  () => {},
  () => null,
  async () => 7,
  boo,
  { ...constraint, start: { push: () => null, complete: false } },
  { ...constraint, start: { push: boo, complete: false, allowed: () => 7 } },
  { ...constraint, regex: "x" },
  { onProgress: boo, options: boo, texts: ["x"], size: 300 },
  Object.assign([], { 1: 1 }),
  Object.assign([], { 1: "x" }),
  [Symbol("x")],
  new BigInt64Array(2),
  transferred(),
  new URL("file:///x"),
  new Proxy({}, { get: boo }),
  new Proxy({}, { ownKeys: boo, getPrototypeOf: boo }),
  Object.defineProperty({ width: 2 }, "path", { enumerable: true, get: boo }),
  Object.create({ path: nowhere, width: 2 }),
];

/** An array whose memory another has now. */
function transferred(): Float32Array {
  const values = new Float32Array(2);
  structuredClone(values.buffer, { transfer: [values.buffer] });
  return values;
}

/** What came of a call, of its promise, or of what it gives to iterate. */
async function failureOf(call: Call, given: readonly unknown[]): Promise<unknown> {
  try {
    const made = call(...given);
    if (given.includes(made)) return undefined; // reading it may fail
    const result = await made;
    if (typeof (result as AsyncIterator<unknown>)?.next === "function") await (result as AsyncIterator<unknown>).next();
    return undefined;
  } catch (error) {
    return error;
  }
}

const isTold = (failure: unknown): boolean =>
  failure instanceof VentrisError &&
  !/undefined is not|cannot read properties|is not a function|expected \w+, received/i.test(failure.message) &&
  !doubledSigns.test(failure.message);

describe("a wrong call of anything that is exported is a VentrisError", () => {
  test.each(subpaths)("%s", async (_, file) => {
    const calls = callsOf(await import(file));
    expect(calls.length).toBeGreaterThan(0);
    const others: string[] = [];
    for (const [name, call] of calls)
      for (const value of values)
        for (const count of [1, 2, 4]) {
          const failure = await failureOf(call, Array(count).fill(value));
          if (failure !== undefined && !isTold(failure)) others.push(`${name}(${count} x ${shown(value)}): ${failure}`);
        }
    expect(others).toEqual([]);
  });
});

describe("what a caller's function gives in place of what it must is a VentrisError, and so is what it throws", () => {
  const answers: [string, () => unknown][] = [
    ["null", () => null],
    ["a number", () => 7],
    ["a text", () => "x"],
    ["an object", () => ({})],
    ["a list", () => [1]],
    ["a promise", async () => true],
    ["a promise that fails", async () => boo()],
    ["nothing, but an error", boo],
  ];
  const state = { push: () => undefined, complete: false };
  const own = (wrong: object) => ({ ...constraint, start: { ...state, ...wrong } }) as never;

  test.each(answers)("%s", async (_, answer) => {
    const { createConstraint, createVocabulary, isValid, pushAll, tryTokens } = await import(
      "./entrances/constraints.ts"
    );
    const vocabulary = createVocabulary(2, (token) => Uint8Array.of(0x61 + token));
    const computed = Object.defineProperty({ ...state }, "complete", { get: answer });
    const calls: Record<string, () => unknown> = {
      "a predicate": () => createConstraint(answer as never),
      "push, pushed": () => pushAll({ ...state, push: answer } as never, [0x61]),
      "push, in a text": () => isValid(own({ push: answer }), "a"),
      "push, for a mask": () => tryTokens({ push: answer } as never, vocabulary),
      "push, of a request": () => createConstraint(own({ push: answer })).start.push(0x61),
      complete: () => createConstraint({ ...constraint, start: computed } as never),
      allowed: () => createConstraint(own({ allowed: answer })).start.allowed?.(vocabulary),
      bytesOf: () => createVocabulary(2, answer as never),
    };
    const others: string[] = [];
    for (const [name, call] of Object.entries(calls)) {
      const failure = await failureOf(call, []);
      if (!isTold(failure)) others.push(`${name}: ${failure}`);
    }
    expect(others).toEqual([]);
  });
});

test("where an opened thing is due and its file is given, the function that opens it is named", async () => {
  const { point, shippedNetwork } = await import("./entrances/pointing.ts");
  await expect(point(shippedNetwork("hull") as never, [])).rejects.toThrow(
    /must be an object, not ".*"; openPointing gives one/,
  );
});
