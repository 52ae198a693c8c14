/** Objects that callers get: wrong calls of their methods are told by the declared types, and the engine's own calls go past the checks. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import type { Decoding } from "./engine/decoding.ts";
import { defineMethod } from "./engine/method.ts";
import { shown, VentrisError } from "./errors.ts";
import { findMethod } from "./methods/index.ts";
import { engineModel, type Model, open } from "./open.ts";
import { isSaid } from "./wrong.fixture.ts";

let [writer, filler]: Model[] = [];
beforeAll(async () => {
  [writer, filler] = await Promise.all([open("pylos", { threads: 1 }), open("mycenae", { threads: 1 })]);
}, 120_000);
afterAll(() => Promise.all([writer.close(), filler.close()]));

const values: unknown[] = [null, true, "x", 7, Number.NaN, {}, [{}], [[null]], Float32Array.of(1), new Map(), () => {}];

/** What calls of an object's methods throw or reject with, and is no error of ours. */
async function othersOf(object: object, names: readonly string[]): Promise<string[]> {
  const others: string[] = [];
  for (const name of names)
    for (const value of values)
      for (const count of [0, 1, 2])
        try {
          await (object as Record<string, (...all: unknown[]) => unknown>)[name](...Array(count).fill(value));
        } catch (error) {
          const told = error instanceof VentrisError && !/undefined is not|cannot read|is not a/i.test(error.message);
          if (!told) others.push(`${name}(${count} x ${shown(value)}): ${error}`);
        }
  return others;
}

describe("a wrong call is a VentrisError", () => {
  test("of the forest, and of its leases", async () => {
    expect(await othersOf(writer.forest, ["lease"])).toEqual([]);
    expect(await othersOf(writer.ability("forest"), ["lease"])).toEqual([]);
    const lease = writer.forest.lease();
    expect(await othersOf(lease, ["extend", "prefill", "use", "release"])).toEqual([]);
    expect(() => lease.release(7 as never)).toThrow("release: nodes must be something to iterate, not 7");
    await expect(lease.extend([{ token: "a" }] as never)).rejects.toThrow("extend: extensions[0].token must be");
    lease.close();
  });

  test("of the decoding that an own method gets", async () => {
    let found: string[] = [];
    const method = defineMethod({
      name: "wrong",
      family: "plain",
      summary: "calls everything wrongly",
      lossless: false,
      options: z.strictObject({}),
      async decode(decoding) {
        const names = ["instrument", "shape", "shapeFreely", "choose", "commit", "offer", "finish"];
        found = [
          ...(await othersOf(decoding, names)),
          ...(await othersOf(decoding.lease, ["extend", "use", "release"])),
        ];
        if (!decoding.finished) decoding.finish("length");
      },
    });
    await writer.decode("Once upon", { method, maxTokens: 3 }).final;
    expect(found).toEqual([]);
  });

  test("of a canvas", async () => {
    expect(await othersOf(filler.ability("canvas"), ["open"])).toEqual([]);
  });

  test("of what a model keeps and writes", async () => {
    expect(await othersOf(writer, ["state", "writePart"])).toEqual([]);
  });
});

test("lengths of blanks that throw are told with their place", () => {
  const boo = new Error("boo");
  const template = {
    fill: "The old king ___.",
    get lengths(): number[] {
      throw boo;
    },
  };
  expect(() => filler.decode(template)).toThrow(isSaid("bad_option", /^decode: prompt\.lengths failed: boo$/, boo));
});

test("the right calls work, and who gets an object twice gets the same", async () => {
  expect(writer.forest).toBe(writer.ability("forest"));
  expect(writer.forest).not.toBe(engineModel(writer).forest);
  expect(writer.forest.contextLength).toBe(engineModel(writer).forest.contextLength);
  const lease = writer.forest.lease();
  const { node } = await lease.prefill([1, 2, 3]);
  const [next] = await lease.extend([{ parent: node, token: 4 }]);
  expect([next.depth, lease.passes > 0]).toEqual([3, true]);
  lease.release([next]);
  lease.close();
});

test("a method of the registry gets what the engine has, and pays for no check", async () => {
  const greedy = findMethod("greedy");
  const seen: Decoding[] = [];
  const watched = vi.spyOn(greedy, "decode").mockImplementation(async (decoding) => {
    seen.push(decoding);
    decoding.finish("length");
  });
  const options = { maxTokens: 1, temperature: 0 };
  await writer.decode("Once", { ...options, method: { ...greedy, name: "mine" } as never }).final;
  await writer.decode("Once", { ...options, method: "greedy" }).final;
  watched.mockRestore();
  expect(seen.map(({ forest }) => forest === engineModel(writer).forest)).toEqual([false, true]);
});
