/** What is said of values that a caller's own schema refuses: words of ours, whatever the schema library calls it. */
import { expect, it } from "vitest";
import { z } from "zod";
import { describeIssues } from "./issues.ts";

const told = (schema: z.ZodType, a: unknown): string => {
  const object = z.strictObject({ a: schema });
  return describeIssues(object.safeParse({ a }, { reportInput: true }).error!.issues, object);
};

it("forms of texts are said as one would say them", () => {
  const cases: [z.ZodType, unknown, string][] = [
    [z.string().startsWith("q"), "b", 'a must be a text that begins with "q", not "b"'],
    [z.string().endsWith("q"), "b", 'a must be a text that ends with "q", not "b"'],
    [z.string().includes("q"), "b", 'a must be a text with "q" in it, not "b"'],
    [z.string().lowercase(), "B", 'a must be a text in lowercase letters, not "B"'],
    [z.string().uppercase(), "b", 'a must be a text in uppercase letters, not "b"'],
    [z.string().regex(/^q/), "b", 'a must be a text like /^q/, not "b"'],
    [z.email(), "b", 'a must be an email, not "b"'],
    [z.email("must be an address"), "b", 'a must be an address, not "b"'],
    [z.never(), "b", 'a must be left out, not "b"'],
    [z.void(), "b", 'a must be left out, not "b"'],
  ];
  for (const [schema, value, message] of cases) expect(told(schema, value)).toBe(message);
  expect(told(z.templateLiteral(["a", z.number()]), "b")).toMatch(/^a must be a text like .*, not "b"$/);
});

it("of two bounds the narrower is said, and a long list of wrong values is counted in its own time", () => {
  expect(told(z.number().max(9).max(3).min(1), 12)).toBe("a must be at most 3, not 12");
  expect(told(z.number().min(1).min(5), 0)).toBe("a must be at least 5, not 0");
  const count = 50_000;
  for (const [schema, value] of [
    [z.number(), "x"],
    [z.number().max(3), 9],
  ] as const)
    expect(told(z.array(schema), Array(count).fill(value))).toMatch(new RegExp(`; and ${count - 8} more like these$`));
});

it("a name that an object does not know gets its nearest, wherever the object lies", () => {
  const size = z.strictObject({ width: z.number(), height: z.number().optional() });
  const tree: z.ZodType = z.lazy(() => z.strictObject({ width: z.number(), below: tree.optional() }));
  const wrong = { width: 1, hieght: 2 };
  const names = z.enum(["alpha", "beta"]);
  const cases: [z.ZodType, unknown, string][] = [
    [z.record(names, z.number()), { alpha: 1, bta: 2 }, '"bta" in a; did you mean "beta"?'],
    [z.partialRecord(names, z.number()), { bta: 2 }, '"bta" in a; did you mean "beta"?'],
    [z.record(z.literal("alpha").or(z.literal("beta")), z.number()), { alpha: 1, bta: 2 }, '"beta"?'],
    [z.tuple([z.number(), size]), [1, wrong], '"hieght" in a[1]; did you mean "height"?'],
    [z.tuple([z.number()], size), [1, wrong], '"hieght" in a[1]; did you mean "height"?'],
    [tree, { width: 1, below: { width: 1, belwo: {} } }, '"belwo" in a.below; did you mean "below"?'],
    [size.transform(({ width }) => width), wrong, '"hieght" in a; did you mean "height"?'],
    [z.map(z.string(), size), new Map([["x", wrong]]), '"hieght" in a.x; did you mean "height"?'],
    [
      z.discriminatedUnion("kind", [size.extend({ kind: z.literal("size") }), z.strictObject({ kind: z.literal("") })]),
      { kind: "size", ...wrong },
      '"hieght" in a; did you mean "height"?',
    ],
  ];
  for (const [schema, value, message] of cases) expect(told(schema, value)).toContain(message);
});

it("of several kinds the fields of the chosen one are known, and those of others are told with the kind that has them", () => {
  const schedule = z.discriminatedUnion("kind", [
    z.strictObject({ kind: z.literal("constant"), peak: z.number() }),
    z.strictObject({ kind: z.literal("linear"), peak: z.number(), final: z.number() }),
    z.strictObject({ kind: z.literal("cosine"), peak: z.number(), final: z.number(), decay: z.number() }),
  ]);
  const cases: [z.ZodType, unknown, string][] = [
    [
      schedule,
      { kind: "constant", peak: 1, decay: 3 },
      'there is no option "decay" in a of kind "constant" (known: kind, peak): it is one of kind "cosine"',
    ],
    [
      schedule,
      { kind: "constant", peak: 1, final: 3 },
      'there is no option "final" in a of kind "constant" (known: kind, peak): it is one of kind "linear" or "cosine"',
    ],
    [
      schedule,
      { kind: "constant", peak: 1, decya: 3 },
      'there is no option "decya" in a of kind "constant" (known: kind, peak); did you mean "decay", one of kind "cosine"?',
    ],
    [
      schedule,
      { kind: "linear", peak: 1, final: 0, zzz: 3 },
      'there is no option "zzz" in a of kind "linear" (known: kind, peak, final)',
    ],
    [
      z.array(schedule),
      [{ kind: "constant", peak: 1, decay: 3 }],
      'in a[0] of kind "constant" (known: kind, peak): it is',
    ],
    [
      z.discriminatedUnion("kind", [
        z.strictObject({ kind: z.literal("one"), size: z.strictObject({ width: z.number() }) }),
        z.strictObject({ kind: z.literal("two"), size: z.strictObject({ radius: z.number() }) }),
      ]),
      { kind: "one", size: { width: 1, zzz: 2 } },
      'there is no option "zzz" in a.size (known: width)',
    ],
  ];
  for (const [schema, value, message] of cases) expect(told(schema, value)).toContain(message);
});
