import { describe, expect, it } from "vitest";
import { z } from "zod";
import { readBy, strictly } from "./strict.ts";
import { isSaid } from "./wrong.fixture.ts";

const codesOf = (schema: z.ZodType, value: unknown): string[] => {
  const { success, error } = strictly(schema).safeParse(value);
  return success ? [] : error!.issues.map(({ code, path }) => `${code} ${path.join(".")}`.trim());
};
const point = z.object({ x: z.number(), y: z.number().optional() });

describe("schemas of others, made strict", () => {
  it.each([
    ["an object", point, { x: 1 }, { x: 1, z: 2 }, ""],
    ["a field", z.object({ at: point }), { at: { x: 1 } }, { at: { x: 1, z: 2 } }, "at"],
    ["a list", z.object({ all: z.array(point) }), { all: [{ x: 1 }] }, { all: [{ x: 1, z: 2 }] }, "all.0"],
    ["a tuple", z.tuple([z.number(), point]), [1, { x: 1 }], [1, { x: 1, z: 2 }], "1"],
    ["a record", z.record(z.string(), point), { a: { x: 1 } }, { a: { x: 1, z: 2 } }, "a"],
    ["a default", z.object({ at: point.default({ x: 1 }) }), {}, { at: { x: 1, z: 2 } }, "at"],
    ["a nullable", z.object({ at: point.nullable().optional() }), { at: null }, { at: { x: 1, z: 2 } }, "at"],
    ["what is transformed", point.transform(({ x }) => x), { x: 1 }, { x: 1, z: 2 }, ""],
    [
      "kinds by name",
      z.discriminatedUnion("kind", [
        z.object({ kind: z.literal("a"), x: z.number() }),
        z.object({ kind: z.literal("b") }),
      ]),
      { kind: "a", x: 1 },
      { kind: "b", x: 1 },
      "",
    ],
  ] as [string, z.ZodType, unknown, unknown, string][])("%s", (_, schema, right, wrong, place) => {
    expect(codesOf(schema, right)).toEqual([]);
    expect(schema.safeParse(wrong).success).toBe(true);
    expect(codesOf(schema, wrong)).toEqual([`unrecognized_keys ${place}`.trim()]);
  });

  it("one that holds itself", () => {
    const tree = z.object({
      name: z.string(),
      get below() {
        return z.array(tree).optional();
      },
    });
    const lazy: z.ZodType = z.lazy(() => z.object({ next: lazy.optional() }));
    expect(codesOf(tree, { name: "a", below: [{ name: "b", below: [] }] })).toEqual([]);
    expect(codesOf(tree, { name: "a", below: [{ name: "b", belw: [] }] })).toEqual(["unrecognized_keys below.0"]);
    expect(codesOf(lazy, { next: { next: {} } })).toEqual([]);
    expect(codesOf(lazy, { next: { nxt: {} } })).toEqual(["unrecognized_keys next"]);
  });

  it("leaves what says itself how it takes further names, intersections, and what comes out of a program", () => {
    expect(codesOf(z.looseObject({ x: z.number() }), { x: 1, z: 2 })).toEqual([]);
    expect(codesOf(z.object({}).catchall(z.number()), { z: 2 })).toEqual([]);
    expect(codesOf(point.and(z.object({ z: z.number() })), { x: 1, z: 2 })).toEqual([]);
    const read = z.preprocess(() => ({ x: 1, more: true }), point);
    expect(codesOf(read, "anything")).toEqual([]);
  });

  const late = (async () => {
    throw new Error("late");
  }) as never;
  it.each([
    ["an overwrite", z.string().overwrite(late)],
    ["one behind a check", z.string().min(1).overwrite(late)],
    ["one in a pipe", z.string().transform(String).pipe(z.string().overwrite(late))],
    ["one in a list", z.array(z.string().overwrite(late)).or(z.string().overwrite(late))],
    ["a condition", z.string().refine(() => true, { when: late })],
    ["a default", z.number().default(late).or(z.string().transform(late))],
    ["what stands in for an error", z.number().catch(late)],
    ["an error's words", z.number({ error: late })],
    ["those of a check", z.string().refine(() => false, { error: late })],
    ["those of one that the library has", z.string().min(5, { error: late })],
    ["those of a form", z.string().email({ error: late })],
    [
      "those of an issue",
      z.string().superRefine((_, context) => context.addIssue({ code: "custom", message: (late as () => never)() })),
    ],
    ["a key", z.record(z.string().overwrite(late), z.any()).or(z.string().refine(late))],
  ] as [string, z.ZodType][])("refuses an asynchronous function: %s", async (_, schema) => {
    const own = strictly(z.object({ at: schema }));
    for (const at of ["x", ["x"], { x: 1 }, undefined]) {
      try {
        expect(readBy(own, { at }, "own").issues).toBeDefined();
      } catch (error) {
        expect(error).toMatchObject({ code: "bad_option", message: expect.stringContaining("write it without async") });
      }
    }
    expect(() => readBy(own, { at: "x" }, "own")).toThrow(/asynchronous/);
    await new Promise((resolve) => setTimeout(resolve, 0)); // one that nobody heard would fail the test
  });

  it("keeps checks, titles and defaults that are computed", () => {
    let count = 0;
    const counted = z.object({ at: z.number().default(() => ++count) }).refine(({ at }) => at !== 3, "not three");
    const own = strictly(counted.meta({ title: "a count" }));
    expect([own.parse({}), own.parse({})]).toEqual([{ at: 1 }, { at: 2 }]);
    expect(own.safeParse({}).error!.issues[0].message).toBe("not three");
    expect(own.meta()?.title).toBe("a count");
  });

  const boo = new Error("boo");
  const fail = (): never => {
    throw boo;
  };
  it.each<[string, z.ZodType, unknown, RegExp]>([
    [
      "a getter",
      z.any(),
      Object.defineProperty({}, "x", { enumerable: true, get: fail }),
      /^mine options: at\.x failed: boo$/,
    ],
    ["a refinement", z.number().refine(fail), 1, /^mine options: at failed: boo$/],
    ["a transformation", z.number().transform(fail), 1, /^mine options: at failed: boo$/],
  ])("names the option, and no schema, where %s throws", (_, schema, at, message) => {
    const read = z.object({ at: z.union([point, schema]).or(schema) });
    expect(() => readBy(read, { at }, "mine")).toThrow(isSaid("bad_option", message, boo));
  });

  it.each<[string, z.ZodType]>([
    ["a check", z.string().refine(() => false, { error: 5 as never })],
    ["a check that the library has", z.string().min(5, { error: (() => ({ message: 5 })) as never })],
    ["an issue", z.string().superRefine((_, { addIssue }) => addIssue({ code: "custom", message: 5 as never }))],
  ])("says of %s whose words are none that they must be a text", (_, at) => {
    const own = strictly(z.object({ at }));
    const message = /^mine options: at failed: what it says of an error must be a text, not /;
    expect(() => readBy(own, { at: "no" }, "mine")).toThrow(isSaid("bad_option", message));
  });

  it("keeps the words of checks", () => {
    const wordsOf = (at: z.ZodType) => strictly(z.object({ at })).safeParse({ at: "no" }).error!.issues[0].message;
    const words = ({ input }: { input?: unknown }): string => `${input} of mine`;
    for (const error of [words, (issue: object) => ({ message: words(issue) })])
      for (const schema of [
        z.string().refine(() => false, { error }),
        z.string().min(5, { error }),
        z.email({ error }),
      ])
        expect(wordsOf(schema)).toBe("no of mine");
    expect(wordsOf(z.string().min(5, { error: () => undefined }))).toMatch(/^Too small/);
  });

  it("says of a check of the whole that it failed", () => {
    expect(() => readBy(z.object({}).refine(fail), {}, "mine")).toThrow(
      isSaid("bad_option", /^mine options failed: boo$/, boo),
    );
  });

  class Point {
    x = 1;
  }
  it.each<[string, z.ZodType, unknown, RegExp]>([
    [
      "options",
      z.object({ x: z.number() }),
      new Point(),
      /^mine: options must be a plain object; an object of the class P/,
    ],
    ["one of them", z.object({ at: point }), { at: new Point() }, /^mine: at must be a plain object/],
    [
      "one that may be left out",
      z.object({ at: point.optional() }),
      { at: Object.create({ x: 1 }) },
      /^mine: at must be a pl/,
    ],
    [
      "one in a list",
      z.object({ all: z.array(point) }),
      { all: [{ x: 1 }, new Point()] },
      /^mine: all\[1\] must be a plain/,
    ],
    [
      "one of several kinds",
      z.object({ at: z.union([z.string(), point]) }),
      { at: new Point() },
      /^mine: at must be a plain/,
    ],
    ["one by its name", z.record(z.string(), point), { a: new Point() }, /^mine: a must be a plain object/],
    [
      "one that is made into something",
      z.object({ at: point.transform(({ x }) => x) }),
      { at: new Point() },
      /^mine: at/,
    ],
  ])("refuses what is no plain object: %s", (_, schema, given, message) => {
    expect(() => readBy(schema, given, "mine")).toThrow(isSaid("bad_option", message));
  });

  it("leaves what may be of a caller's own class", () => {
    for (const schema of [z.any(), z.instanceof(Point), z.custom<Point>(() => true), point.or(z.instanceof(Point))])
      expect(readBy(z.object({ at: schema }), { at: new Point() }, "mine").issues).toBeUndefined();
  });
});
