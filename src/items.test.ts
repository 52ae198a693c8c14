import { expect, test } from "vitest";
import { VentrisError } from "./errors.ts";
import { itemsOf, textItems } from "./items.ts";

const read = async (given: unknown): Promise<string[]> => {
  const items: string[] = [];
  for await (const item of itemsOf(given as string[], "texts", textItems)) items.push(item);
  return items;
};
const failure = (message: RegExp) =>
  expect.objectContaining({ name: "VentrisError", code: "bad_option", message: expect.stringMatching(message) });

test("gives what lists, sets and generators of both kinds give, and what they promise", async () => {
  async function* later() {
    yield* ["a", "b"];
  }
  for (const given of [["a", "b"], new Set(["a", "b"]), later(), [Promise.resolve("a"), "b"]])
    expect(await read(given)).toEqual(["a", "b"]);
});

test("refuses what is nothing to iterate, iterators that are none, and items of another kind by their place", async () => {
  const wrong: [unknown, RegExp][] = [
    ["a text", /texts must be something to iterate, not "a text"/],
    [null, /texts must be something to iterate, not null/],
    [{ [Symbol.iterator]: 5 }, /something to iterate/],
    [{ [Symbol.iterator]: () => 5 }, /texts: its iterator gave 5, and must give an object with the function next/],
    [{ [Symbol.asyncIterator]: () => null }, /its iterator gave null/],
    [{ [Symbol.asyncIterator]: async () => ({}) }, /its iterator gave a Promise/],
    [{ [Symbol.asyncIterator]: () => ({ next: () => 5 }) }, /texts: next of its iterator gave 5/],
    [{ [Symbol.iterator]: () => ({ next: () => null }) }, /next of its iterator gave null, and must give { value/],
    [["a", 5], /texts\[1\] must be a text, not 5/],
    [[undefined], /texts\[0\] must be a text, not undefined/],
    [new Map([["a", "b"]]), /texts\[0\] must be a text, not \["a","b"\]/],
  ];
  for (const [given, message] of wrong) await expect(read(given), String(message)).rejects.toEqual(failure(message));
});

test("an iterator is closed where reading ends early, and not where it ended or failed itself", async () => {
  const closed: string[] = [];
  const counted = (name: string, next: () => unknown) => ({
    [Symbol.iterator]: () => ({ next, return: () => closed.push(name) }),
  });
  await expect(read(counted("wrong item", () => ({ value: 5, done: false })))).rejects.toThrow(/texts\[0\]/);
  await read(counted("ended", () => ({ done: true })));
  const fails = () => {
    throw new Error("its own");
  };
  await expect(read(counted("failed", fails))).rejects.toThrow("texts failed: its own");
  for await (const _ of itemsOf(counted("left", () => ({ value: "a" })) as unknown as string[], "texts", textItems))
    break;
  expect(closed).toEqual(["wrong item", "left"]);
});

test("what an iterable throws is told with its name, and is the cause, wherever in it; an error of ours as it is", async () => {
  const boo = new Error("boo");
  const fail = (): never => {
    throw boo;
  };
  const next = { done: false, value: "a" };
  const throwing: [string, () => unknown][] = [
    [
      "a generator",
      function* () {
        yield "a";
        fail();
      },
    ],
    [
      "an asynchronous generator",
      async function* () {
        yield "a";
        fail();
      },
    ],
    ["its iterator", () => ({ [Symbol.iterator]: fail })],
    ["next", () => ({ [Symbol.iterator]: () => ({ next: fail }) })],
    ["a promise of next", () => ({ [Symbol.asyncIterator]: () => ({ next: async () => fail() }) })],
    ["a promised item", () => ["a", Promise.reject(boo)]],
    ["return", () => ({ [Symbol.iterator]: () => ({ next: () => ({ ...next, value: 5 }), return: fail }) })],
  ];
  for (const [what, make] of throwing) {
    const told = await read(make()).catch((error: unknown) => error);
    expect(told, what).toEqual(failure(/^texts failed: boo$/));
    expect((told as Error).cause, what).toBe(boo);
  }
  const ours = new VentrisError("bad_file", "x");
  const failing = {
    [Symbol.iterator]() {
      throw ours;
    },
  };
  await expect(read(failing)).rejects.toBe(ours);
});
