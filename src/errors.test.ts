import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { requireOptions, shown, VentrisError } from "./errors.ts";
import { isSaid } from "./wrong.fixture.ts";

const fail = (): never => {
  throw new Error("boo");
};

/** An array whose memory another has. */
function transferred(): Float32Array {
  const values = new Float32Array(2);
  structuredClone(values.buffer, { transfer: [values.buffer] });
  return values;
}

test("an error that a program without types throws without words is one all the same", () => {
  const bare = VentrisError as new (...given: unknown[]) => VentrisError;
  expect(new bare("bad_option")).toMatchObject({ code: "bad_option", message: "bad_option" });
  expect(new bare("bad_option", 5).message).toBe("5");
});

test.each<[unknown, string]>([
  [10n, "10n"],
  [[1, 2n], '[1,"2n"]'],
  [new Int32Array(2), "an Int32Array of 2"],
  [new Uint8Array(2), "a Uint8Array of 2"],
  [new ArrayBuffer(2), "an ArrayBuffer"],
  [new Map(), "a Map"],
  [Object.defineProperty({}, "a", { enumerable: true, get: fail }), "a value that cannot be read"],
])("%#", (value, words) => {
  expect(shown(value)).toBe(words);
});

test("what cannot be looked at is shown in words", () => {
  expect(shown(transferred())).toBe("a Float32Array whose memory was transferred");
  expect(shown(new Proxy({}, { getPrototypeOf: fail }))).toBe("a value that cannot be read");
});

describe("options are plain objects", () => {
  class Options {
    get most() {
      return 2;
    }
  }
  const lent = Object.create({ most: 2 });
  test.each<[string, unknown, RegExp]>([
    [
      "of a class",
      new Options(),
      /^cut: options must be a plain object, such as \{ most: 2 \}; an object of the class Op/,
    ],
    [
      "over another",
      lent,
      /^cut: options must be a plain object, such as .*; what an object takes from another is not/,
    ],
    ["over another, with fields of its own", Object.assign(Object.create(lent), { a: 1 }), /must be a plain object/],
    ["a promise", Promise.resolve({}), /^cut: options must be an object, not a Promise that was not awaited: await/],
    ["unseen", Object.defineProperty({}, "most", { value: 2 }), /^cut: most of options is not enumerable/],
  ])("%s", (_, value, message) => {
    expect(() => requireOptions(value, "cut", "options", "{ most: 2 }")).toThrow(isSaid("bad_option", message));
  });

  test.each([{}, { most: 2 }, Object.create(null), runInNewContext("({ most: 2 })"), { [Symbol.toStringTag]: "mine" }])(
    "%# is one",
    (value) => {
      expect(() => requireOptions(value, "cut")).not.toThrow();
    },
  );
});
