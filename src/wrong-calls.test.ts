/** What callers without types may give by mistake: each call says what is wrong, as a VentrisError and never as the language's own. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { shown, VentrisError } from "./errors.ts";

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
  return Object.entries(own).flatMap(([name, value]): [string, Call][] => {
    if (isCall(value)) return [[name, value]];
    if (typeof value !== "object" || value === null || Array.isArray(value)) return [];
    return Object.entries(value).flatMap(([inner, one]) => (isCall(one) ? [[`${name}.${inner}`, one]] : []));
  });
}

const cyclic: Record<string, unknown> = { name: "x" };
cyclic.path = cyclic;

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
];

/** What came of a call, of its promise, or of what it gives to iterate. */
async function failureOf(call: Call, given: readonly unknown[]): Promise<unknown> {
  try {
    const result = await call(...given);
    if (typeof (result as AsyncIterator<unknown>)?.next === "function") await (result as AsyncIterator<unknown>).next();
    return undefined;
  } catch (error) {
    return error;
  }
}

const isTold = (failure: unknown): boolean =>
  failure instanceof VentrisError &&
  !/undefined is not|cannot read properties|is not a function|expected \w+, received/i.test(failure.message);

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

test("where an opened thing is due and its file is given, the function that opens it is named", async () => {
  const { point, shippedNetwork } = await import("./entrances/pointing.ts");
  expect(() => point(shippedNetwork("hull") as never, [])).toThrow(
    /must be an object, not ".*"; openPointing gives one/,
  );
});
