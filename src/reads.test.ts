/** What code of a caller's throws where it is read: told with the place, and costing nothing where nothing fails. */
import { describe, expect, test } from "vitest";
import { VentrisError } from "./errors.ts";
import { tellingReads } from "./reads.ts";
import { isSaid } from "./wrong.fixture.ts";

const boo = new Error("boo");
const fail = (): never => {
  throw boo;
};
const failing = (field: string) => Object.defineProperty({}, field, { enumerable: true, get: fail });
class Blade {
  get edge(): number {
    return fail();
  }
}

/** Reads all that there is. */
const readAll = (value: unknown): void => {
  if (typeof value !== "object" || value === null) return;
  for (const field of [...Object.keys(value), "edge"]) readAll((value as Record<string, unknown>)[field]);
};
const cut = tellingReads("cut", ["blade", "options"], (...given: unknown[]) => given.forEach(readAll));

describe("what a getter or a proxy throws is told with its place, and is the cause", () => {
  test.each<[string, unknown[], RegExp]>([
    ["a field", [failing("edge")], /^cut: blade\.edge failed: boo$/],
    ["an option", [{}, failing("speed")], /^cut: speed failed: boo$/],
    ["one further in", [{ all: [1, { at: failing("edge") }] }], /^cut: blade\.all\[1\]\.at\.edge failed: boo$/],
    ["one of a class", [[new Blade()]], /^cut: blade\[0\]\.edge failed: boo$/],
    ["a proxy that gives nothing", [new Proxy({ a: 1 }, { get: fail })], /^cut: blade failed: boo$/],
    ["a proxy that names nothing", [{ in: new Proxy({}, { ownKeys: fail }) }], /^cut: blade\.in failed: boo$/],
  ])("%s", (_, given, message) => {
    expect(() => cut(...given)).toThrow(isSaid("bad_option", message, boo));
  });

  test("a function that is no more, too", () => {
    const { proxy, revoke } = Proxy.revocable(() => {}, {});
    revoke();
    const look = tellingReads("look", ["at"], (at: unknown) => Array.isArray(at));
    expect(() => look(proxy)).toThrow(isSaid("bad_option", /^look: at failed: /));
    const lookIn = tellingReads("look", ["at"], ({ all }: { all: unknown[] }) => all.map(Array.isArray));
    expect(() => lookIn({ all: [1, proxy] })).toThrow(isSaid("bad_option", /^look: at\.all\[1\] failed: /));
  });

  test("also later, by a promise", async () => {
    const later = tellingReads("cut", ["blade"], async (blade: unknown) => {
      await Promise.resolve();
      readAll(blade);
    });
    await expect(later({ a: failing("edge") })).rejects.toThrow(
      isSaid("bad_option", /^cut: blade\.a\.edge failed/, boo),
    );
  });

  test("what something else threw, and errors of ours, stay as they are", () => {
    const own = new VentrisError("disk_full", "no room");
    const throwing = (thrown: unknown) => () => {
      tellingReads("cut", ["blade"], (_: unknown) => {
        throw thrown;
      })(failing("edge"));
    };
    const other = new TypeError("of another reason");
    expect(throwing(own)).toThrow(own);
    expect(throwing(other)).toThrow(other);
  });

  test("what holds itself, and lists without number, are looked through to an end", () => {
    const ring: { next?: unknown; many: number[] } = { many: Array.from({ length: 1000 }, () => 0) };
    ring.next = [ring, failing("edge")];
    const read = tellingReads("cut", ["blade"], (blade: typeof ring) => readAll((blade.next as unknown[])[1]));
    expect(() => read(ring)).toThrow(isSaid("bad_option", /^cut: blade\.next\[1\]\.edge failed: boo$/, boo));
  });
});

test("a call is called as before", () => {
  const half = tellingReads("half", ["of"], function (this: { share: number }, of: number) {
    return of * this.share;
  });
  expect([half.name, half.length]).toEqual(["half", 1]);
  expect(half.call({ share: 0.5 }, 4)).toBe(2);
});
