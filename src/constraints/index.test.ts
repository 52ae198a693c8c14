import { describe, expect, it } from "vitest";
import * as entrance from "../entrances/constraints.ts";
import { type ConstraintChoice, createConstraint, createVocabulary, isValid, wordsFor } from "./index.ts";

const inItself: Record<string, unknown> = { type: "object" };
inItself.properties = { next: inItself };

const nested = (levels: number, below: (inner: object) => object): object => {
  let schema: object = { type: "integer" };
  for (let level = 0; level < levels; level++) schema = below(schema);
  return schema;
};

describe("what names a constraint is JSON", () => {
  it.each<[string, unknown, RegExp]>([
    ["in itself", inItself, /nested deeper than 2000, or in itself/],
    ["very deep", nested(20_000, (inner) => ({ allOf: [inner] })), /nested deeper than 2000/],
    [
      "the same schemas many times over",
      nested(100, (inner) => ({ anyOf: [inner, inner] })),
      /more than 2000000 values/,
    ],
    ["a bound that is no number", { type: "number", minimum: Number.NaN }, /must be JSON, and has NaN in it/],
    ["a bound that is none", { type: "number", maximum: Infinity }, /has Infinity in it/],
    ["a big integer", { const: 10n }, /has 10n in it/],
    ["a function", { const: () => 1 }, /has a function in it/],
    ["a date", { enum: [new Date(0)] }, /has a Date in it/],
    [
      "a list with a gap",
      { anyOf: Object.assign([{ type: "string" }], { length: 2 }) },
      /must be JSON, and has a list with a gap/,
    ],
    ["a map", new Map([["type", "string"]]), /has a Map in it/],
  ])("%s is refused by name", (_, jsonSchema, message) => {
    expect(() => createConstraint({ jsonSchema })).toThrow(expect.objectContaining({ code: "bad_option" }));
    expect(() => createConstraint({ jsonSchema })).toThrow(message);
  });

  it("of other kinds too", () => {
    expect(() => createConstraint({ sqlSchema: inItself } as unknown as ConstraintChoice)).toThrow(
      /sqlSchema is nested/,
    );
    expect(() => createConstraint({ choices: [10n] } as unknown as ConstraintChoice)).toThrow(/choices must be JSON/);
  });

  it("fields that are undefined are fields not given", () => {
    expect(createConstraint({ jsonSchema: { type: "string", pattern: undefined } }).name).toBe("json-schema");
  });
});

it.each<[string, ConstraintChoice]>([
  ["choices", { choices: [""] }],
  ["regex", { regex: "" }],
  ["regex", { regex: "^(?:|$){3}" }],
  ["grammar", { grammar: 'root ::= ""\n' }],
])("%s: the empty text alone is nothing to decode: %o", (name, choice) => {
  expect(() => createConstraint(choice)).toThrow(new RegExp(`^${name}: the empty text alone is valid`));
  expect(isValid(createConstraint({ choices: ["yes", ""] }), "")).toBe(true);
});

it.each(["__proto__", "constructor", "toString", "http://json-schema.org/draft-08/schema"])(
  "no draft is called %s",
  ($schema) => {
    expect(() => createConstraint({ jsonSchema: { $schema } })).toThrow(/\$schema names/);
  },
);

it("a property may be called __proto__, or anything else that every object has", () => {
  const names = ["__proto__", "constructor", "toString", "hasOwnProperty"];
  for (const name of names) {
    const schema = JSON.parse(
      `{"type":"object","properties":{"${name}":{"type":"integer"}},"required":["${name}"],"additionalProperties":false}`,
    );
    const constraint = createConstraint({ jsonSchema: schema });
    for (const other of names) expect(isValid(constraint, `{"${other}": 1}`)).toBe(other === name);
    expect(isValid(constraint, `{"${name}": "1"}`)).toBe(false);
  }
});

describe("a function that is no constraint", () => {
  it.each<[string, () => unknown, RegExp]>([
    // Unheard, its failure would end the process.
    [
      "promises an answer, and fails later",
      () => Promise.reject(new Error("late")),
      /and gave a Promise that was not awaited for ""/,
    ],
    ["gives what has no text", () => Object.create(null), /must give true, false or "never"/],
    [
      "throws what has no text",
      () => {
        throw Object.create(null);
      },
      /the function failed on "": /,
    ],
    [
      "throws a symbol",
      () => {
        throw Symbol("q");
      },
      /the function failed on "": Symbol\(q\)/,
    ],
  ])("%s: refused by name", async (_, judge, message) => {
    expect(() => createConstraint(judge as () => boolean)).toThrow(message);
    await new Promise((resolve) => setTimeout(resolve, 0));
  });
});

describe("vocabularies of one's own", () => {
  it.each([Number.POSITIVE_INFINITY, Number.NaN, -1, 1.5, 2 ** 25])("have a size: %d is none", (size) => {
    expect(() => createVocabulary(size, () => Uint8Array.of(97))).toThrow(/size must be a whole number/);
  });

  it("have bytes for every token, and masks of as many words as hold them", () => {
    expect(() => createVocabulary(2, (() => undefined) as never)).toThrow(/bytesOf\(0\) gives undefined/);
    expect([0, 1, 32, 33].map(wordsFor)).toEqual([0, 1, 1, 2]);
    for (const size of [-1, Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => wordsFor(size)).toThrow(/wordsFor: size/);
  });
});

describe("the entrance reads a choice as requests do", () => {
  it.each<[object, RegExp]>([
    [
      { jsonSchema: { type: "object" }, whitspace: 1 },
      /^constraint: jsonSchema: .*"whitspace"; did you mean "whitespace"\?/,
    ],
    [{ jsonSchema: {}, zeroes: 1 }, /^constraint: jsonSchema: .*"zeroes"; did you mean "zeros"\?/],
    [{ jsonschema: {} }, /given: jsonschema; did you mean "jsonSchema"\?$/],
    [{ schema: {} }, /given: schema; did you mean "jsonSchema"\?$/],
    [{ pattern: "a" }, /given: pattern; did you mean "regex"\?$/],
    [{ type: "json" }, /given: type; it is written \{ jsonSchema: … \}$/],
    [{ type: "object", properties: {} }, /; a JSON Schema stands beside its name, as in \{ jsonSchema: \{ … \} \}$/],
    [{ regex: "a", flags: "i" }, /no option "flags": a RegExp has them, as in \{ regex: \/\[a-z\]\+\/i \}/],
    [{ regex: "a", whitespace: 2 }, /no option "whitespace": it is an option of \{ jsonSchema \}/],
    [{ jsonSchemaa: {} }, /given: jsonSchemaa; did you mean "jsonSchema"\?$/],
    [{ jsonSchema: {}, whitespace: "x" }, /whitespace must be a whole number/],
    [{ jsonSchema: {}, unknownFormats: "x" }, /unknownFormats/],
    [{ grammar: 7 }, /grammar/],
    [{ grammar: "root ::= [a]", syntax: "x" }, /syntax/],
    [{ sqlSchema: 7 }, /SQL schema/],
    [{ choices: "ab" }, /choices must be a list of texts, not "ab"/],
  ])("%j", (choice, message) => {
    for (const call of [entrance.createConstraint, createConstraint])
      expect(() => call(choice as never)).toThrow(
        expect.objectContaining({ code: "bad_option", message: expect.stringMatching(message) }),
      );
  });
});
