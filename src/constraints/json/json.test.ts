import { Ajv, type ValidateFunction } from "ajv";
import formats from "ajv-formats";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isValid, pushAll } from "../contract.ts";
import { obeysTheLaws } from "../laws.fixture.ts";
import { jsonSchemaConstraint } from "./index.ts";

/** Written like this, no linter takes the schemas for promises. */
const THEN = "then";

const judge = (schema: unknown): ValidateFunction => {
  const ajv = new Ajv({ strict: false, logger: false });
  (formats as unknown as (ajv: Ajv) => void)(ajv);
  return ajv.compile(schema as object);
};
const accepts = (schema: unknown, value: unknown): boolean => {
  const constraint = jsonSchemaConstraint(schema);
  const compact = isValid(constraint, JSON.stringify(value));
  expect(isValid(constraint, ` ${JSON.stringify(value, null, 2)}\n`)).toBe(compact);
  return compact;
};

describe("JSON Schema", () => {
  const person = {
    type: "object",
    properties: {
      name: { type: "string", pattern: "^[A-Z]", maxLength: 12 },
      age: { type: "integer", minimum: 0, maximum: 150 },
      tags: { type: "array", items: { enum: ["a", "b", 3, null] }, minItems: 1, uniqueItems: true },
      born: { format: "date" },
    },
    required: ["name", "age"],
    additionalProperties: false,
  };
  obeysTheLaws("an object", {
    constraint: () => jsonSchemaConstraint(person),
    valid: [
      '{"name":"Ann","age":7}',
      '{ "age" : 150, "name":"\\u0041nn\\n" ,"tags":["b",3,null]}',
      '{"name":"B","age":0.0,"born":"2024-02-29"}',
    ],
    invalid: [
      '{"name":"ann","age":7}',
      '{"age":7}',
      '{"name":"Ann","age":151}',
      '{"name":"Ann","age":7,"tags":[3,3.0]}',
      '{"name":"Ann","age":7,"born":"2023-02-29"}',
      '{"name":"Ann","age":7,"name":"Bob"}',
      '{"name":"Ann","age":7,"other":1}',
      '{"name":"Ann","age":7,}',
    ],
    alphabet: '{}[]":,0123456789.-',
  });
  obeysTheLaws("other names, needs and counts", {
    constraint: () =>
      jsonSchemaConstraint({
        patternProperties: { "^n": { type: "number" }, "^[ab]$": { type: "null" } },
        additionalProperties: { type: "array", contains: { const: 1 }, maxContains: 2, items: { enum: [0, 1] } },
        propertyNames: { maxLength: 3 },
        not: { patternProperties: { "^n": { maximum: 5 } } },
        maxProperties: 3,
        type: "object",
      }),
    valid: ['{"n":6}', '{"x":[1,0,1],"nn":100,"a":null}', '{"n":1,"n2":7.5}'],
    invalid: ["{}", '{"n":5}', '{"n":6,"x":[0]}', '{"n":6,"x":[1,1,1]}', '{"nnnn":6}', '{"a":null,"b":null,"x":[1]}'],
    alphabet: '{}[]":,0123456789.-nax',
  });
  obeysTheLaws("recursion", {
    constraint: () =>
      jsonSchemaConstraint({
        $ref: "#/$defs/tree",
        $defs: {
          tree: {
            oneOf: [
              { type: "boolean" },
              {
                type: "object",
                properties: { left: { $ref: "#/$defs/tree" }, right: { $ref: "#/$defs/tree" } },
                required: ["left"],
                additionalProperties: false,
              },
            ],
          },
        },
      }),
    valid: ["true", '{"left":{"left":false,"right":true}}'],
    invalid: ["null", "{}", '{"right":true}'],
    alphabet: '{}":,leftrightruefalse',
  });
  obeysTheLaws("numbers", {
    constraint: () => jsonSchemaConstraint({ exclusiveMinimum: -2.5, maximum: 1000, multipleOf: 0.25, type: "number" }),
    valid: ["-2.25", "0", "-0", "0.75", "1000", "999.750", "12.5"],
    invalid: ["-2.5", "0.3", "1000.25", "1001", "01", "1.", "12.55"],
    alphabet: "-0123456789.",
  });
  obeysTheLaws("numbers without needless zeros", {
    constraint: () =>
      jsonSchemaConstraint(
        {
          type: "array",
          prefixItems: [
            { type: "integer" },
            { type: "integer", minimum: 1, maximum: 2000, not: { multipleOf: 7 } },
            { type: "number", multipleOf: 0.25, exclusiveMinimum: -2.5 },
            { enum: [1, 2.5, 1e21, 1.5e22] },
            { type: "integer", minimum: 1e21 },
          ],
          items: false,
          minItems: 3,
        },
        { zeros: 0 },
      ),
    valid: [
      "[-12,10,0.75]",
      "[0,2000,-2.25,2.5]",
      "[1e+21,1,0,1,1.5e+22]",
      "[1.5e+22,1,12,1.5e+22,1000000000000000000000]",
    ],
    invalid: ["[1.0,1,0]", "[1,1.0,0]", "[1,1,0.750]", "[1,1,0,2.50]", "[1,7,0]", "[1,1,0,1,1]"],
    alphabet: "-0123456789.e+,[]",
  });
  obeysTheLaws("strings in all spellings", {
    constraint: () => jsonSchemaConstraint({ enum: ["a😀é", "b/\\", "\ud800", "\ud800x"] }),
    valid: ['"a😀é"', '"\\u0061\\ud83d\\ude00\\u00E9"', '"b\\/\\\\"', '"\\ud800"', '"\\uD800x"'],
    invalid: ['"a\\ud83d"', '"a"', '"\\ud83d\\ude00"', '"\\ud800\\udc00"'],
    alphabet: '\\ud830e"',
  });

  const schemas = fc.letrec<{ schema: object | boolean }>((tie) => ({
    schema: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      fc.constantFrom<object | boolean>(true, false, {}, { type: "string" }, { type: ["integer", "null"] }),
      fc.record({
        enum: fc.uniqueArray(fc.constantFrom<unknown>(0, 1, "a", "ab", null, [1], { a: 1 }), { minLength: 1 }),
      }),
      fc.record({ minLength: fc.nat(2), maxLength: fc.nat(4) }),
      fc.record({ pattern: fc.constantFrom("a", "^a", "b$", "^[ab]*$", "^(ab)+$") }),
      fc.record({ minimum: fc.nat(3), exclusiveMaximum: fc.nat(9), multipleOf: fc.constantFrom(1, 2, 3) }),
      fc.record({ not: tie("schema") }),
      fc.record({ anyOf: fc.array(tie("schema"), { minLength: 1, maxLength: 3 }) }),
      fc.record({ oneOf: fc.array(tie("schema"), { minLength: 1, maxLength: 3 }) }),
      fc.record({ allOf: fc.array(tie("schema"), { minLength: 1, maxLength: 3 }) }),
      fc.record({ if: tie("schema"), [THEN]: tie("schema"), else: tie("schema") }),
      fc.record(
        {
          items: tie("schema"),
          contains: tie("schema"),
          minItems: fc.nat(2),
          maxItems: fc.nat(3),
        },
        { requiredKeys: [] },
      ),
      fc.record({ items: fc.array(tie("schema"), { minLength: 1, maxLength: 2 }), additionalItems: tie("schema") }),
      fc.record(
        {
          properties: fc.dictionary(fc.constantFrom("a", "ab", "b"), tie("schema"), { maxKeys: 2 }),
          patternProperties: fc.dictionary(fc.constantFrom("a", "b$", "^c"), tie("schema"), { maxKeys: 2 }),
          additionalProperties: tie("schema"),
          required: fc.uniqueArray(fc.constantFrom("a", "ab", "c"), { maxLength: 2 }),
          propertyNames: tie("schema"),
          minProperties: fc.nat(2),
          maxProperties: fc.nat(3),
        },
        { requiredKeys: [] },
      ),
      fc.record({ dependencies: fc.dictionary(fc.constantFrom("a", "b"), tie("schema"), { maxKeys: 1 }) }),
    ),
  })).schema;
  const values = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { depthSize: "small" },
      fc.constantFrom<unknown>(null, true, 0, 1, 2, 3, 6, 1.5, "", "a", "ab", "b", "abab"),
      fc.array(tie("value"), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom("a", "ab", "b", "c", "ca", "d"), tie("value"), { maxKeys: 3 }),
    ),
  })).value;

  it("agrees with ajv on schemas of all keywords together, and says so when nothing is valid", {
    timeout: 300_000,
  }, () => {
    let refused = 0;
    const run = fc.property(schemas, fc.array(values, { minLength: 8, maxLength: 8 }), (schema, samples) => {
      const validate = judge(schema);
      let constraint: ReturnType<typeof jsonSchemaConstraint> | undefined;
      try {
        constraint = jsonSchemaConstraint(schema);
      } catch (error) {
        const { message } = error as Error;
        expect(message).toMatch(/contradict|nothing|false allows|multiply|empty|at once/);
        if (/multiply|at once/.test(message)) refused += 1;
        else for (const value of samples) expect(validate(value), `${JSON.stringify(value)}: ${message}`).toBe(false);
        return;
      }
      for (const value of samples) {
        expect(isValid(constraint, JSON.stringify(value)), JSON.stringify(value)).toBe(validate(value));
      }
    });
    fc.assert(run, { numRuns: 400, seed: 12 });
    expect(refused).toBeLessThan(30);
  });

  it("takes numbers as JavaScript writes them, however large or small", () => {
    for (const [schema, valid, invalid] of [
      [{ type: "integer" }, [1e21, 1.2345678910111214e52, -3e300], [1e-7]],
      [{ minimum: 0, maximum: 1 }, [1e-7, 9.99e-300], [1e21, -1e-7]],
      [{ exclusiveMaximum: 9.727837981879871e26 }, [9.72783797e26, -1e30], [9.727837981879871e26, 1e27]],
      [{ minimum: 1e22, maximum: 3e22 }, [2.5e22, 3e22], [3.5e22, 9e21, 1e-7]],
      [{ multipleOf: 3 }, [1.2e21], [1e21]],
      [{ multipleOf: 1e-8 }, [1e-7, 12391239123], [1.5e-8]],
      [{ const: [1e30, 1e-9] }, [[1e30, 1e-9]], [[1e31, 1e-9]]],
      [{ not: { minimum: 5 } }, [1e-7, -1e21], [1e21]],
    ] as const) {
      for (const value of valid) expect(accepts(schema, value), `${JSON.stringify(schema)} ${value}`).toBe(true);
      for (const value of invalid) expect(accepts(schema, value), `${JSON.stringify(schema)} ${value}`).toBe(false);
    }
    // What JavaScript reads as infinite is no number.
    const any = jsonSchemaConstraint({ type: "number" });
    for (const [text, valid] of [
      ["1E-5", true],
      ["12.5e+08", true],
      ["1e300", true],
      ["1e999", false],
    ] as const) {
      expect(isValid(any, text), text).toBe(valid);
    }
    for (const schema of [{ type: "number" }, { type: "integer" }, { minimum: 2 }, { multipleOf: 7 }, {}]) {
      const { start } = jsonSchemaConstraint(schema, { zeros: 0 });
      let [at, text] = [start, ""];
      // Digits as long as there may be more.
      for (const digit of "7".repeat(400)) {
        const next = at.push(digit.charCodeAt(0));
        if (!next) break;
        [at, text] = [next, text + digit];
      }
      expect(Number.isFinite(Number(text)) && text.length > 300, `${JSON.stringify(schema)} ${text.length}`).toBe(true);
      expect(at.complete, JSON.stringify(schema)).toBe(true);
    }
    for (const text of [`${"9".repeat(300)}e12`, `${"9".repeat(320)}e-5`, `1${"0".repeat(309)}.5`]) {
      expect(isValid(any, text), text).toBe(false);
    }
    expect(isValid(any, `${"9".repeat(208)}e99`)).toBe(true);
  });
  obeysTheLaws("numbers with exponents", {
    constraint: () => jsonSchemaConstraint({ type: "array", items: { minimum: 1e21, maximum: 2e22 }, maxItems: 1 }),
    valid: ["[1e+21]", "[1.5e+22]", "[1000000000000000000000]", "[1.0e+21]"],
    invalid: ["[1e21]", "[2.5e+22]", "[9e+20]", "[1e+210]"],
    alphabet: "[]0123456789.e+-",
  });

  it("knows formats as their standards do", () => {
    for (const [format, valid, invalid] of [
      ["date", ["2024-02-29", "2000-02-29", "1999-12-31"], ["1900-02-29", "2023-04-31", "2023-13-01", "23-01-01"]],
      [
        "time",
        ["12:00:00Z", "23:59:60Z", "01:02:03.45+02:30", "15:59:60-08:00", "01:29:60+01:30"],
        ["24:00:00Z", "12:00:60Z", "12:00:00", "01:29:60+01:31"],
      ],
      ["date-time", ["2024-01-01T00:00:00Z", "2024-01-01t00:00:00.1-01:00"], ["2024-01-01", "2024-02-30T00:00:00Z"]],
      ["email", ["a.b+c@example.com"], ["a@b@c", "a..b@c.de", "@c.de"]],
      ["uri", ["https://a.b/c?d=e#f", "urn:x:y", "mailto:a@b"], ["a b", "//a", "http://a b", "%"]],
      ["uuid", ["123e4567-e89b-12d3-a456-426614174000"], ["123e4567e89b12d3a456426614174000"]],
      ["ipv4", ["0.0.0.0", "255.10.1.9"], ["256.0.0.1", "01.2.3.4", "1.2.3"]],
      ["ipv6", ["::", "::1", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4"], [":::", "1::2::3", "12345::"]],
      [
        "hostname",
        ["a.b-c.de", "localhost", "localhost.", `${"a.".repeat(126)}a`, `${"a.".repeat(126)}a.`],
        ["-a.b", "a_b", "a..b", "x".repeat(64), `${"a.".repeat(126)}ab`, `${"a.".repeat(127)}a.`, "."],
      ],
      ["duration", ["P1Y2M", "PT5S", "P3W", "P1DT2H"], ["P", "PT", "P1S", "P1Y2W"]],
      ["json-pointer", ["", "/a/~0~1b"], ["a", "/~2"]],
    ] as const) {
      for (const value of valid) expect(accepts({ type: "string", format }, value), `${format} ${value}`).toBe(true);
      for (const value of invalid) expect(accepts({ type: "string", format }, value), `${format} ${value}`).toBe(false);
      expect(accepts({ format }, 5)).toBe(true);
    }
  });

  it("leaves annotations of others, which are near to short keywords", () => {
    for (const name of ["types", "note", "name", "tip", "label", "elsewhere", "x-order", "titel", "enums", "_type"])
      expect(accepts({ [name]: "x" }, 5)).toBe(true);
  });

  it("names keyword and place of what it refuses", () => {
    for (const [schema, message] of [
      ["{}", /object or a boolean/],
      [{ type: "strng" }, /#: type: there is no type "strng"; did you mean "string"/],
      [{ properties: { a: { minimum: "1" } } }, /#\/properties\/a: minimum: must be a number/],
      [{ propertis: { a: true } }, /#: propertis: there is no such keyword; did you mean "properties"/],
      ...[
        ...[
          ["tpye", "type"],
          ["typ", "type"],
          ["enmu", "enum"],
          ["enm", "enum"],
          ["cosnt", "const"],
          ["itmes", "items"],
        ],
        ...[
          ["fromat", "format"],
          ["thne", "then"],
          ["ref", "$ref"],
          ["anyfO", "anyOf"],
          ["maxLenght", "maxLength"],
        ],
      ].map(([given, meant]): [object, RegExp] => [
        { [given]: "x" },
        new RegExp(`#: ${given}: there is no such keyword; did you mean "${meant.replace("$", "\\$")}"`),
      ]),
      [{ items: { reqired: ["a"] } }, /#\/items: reqired: .*did you mean "required"/],
      [{ unevaluatedProperties: false }, /unevaluatedProperties: is not supported/],
      [{ $ref: "#/$defs/x", $defs: { y: {} } }, /\$ref "#\/\$defs\/x" leads nowhere/],
      [{ $ref: "https://example.com/other.json" }, /leads out of the document/],
      [{ $ref: "#" }, /leads back to the same schema/],
      [{ pattern: "(?=a)b" }, /pattern: regular expression .* look-ahead/],
      [{ format: "colour" }, /format: "colour" is not known/],
      [{ enum: [] }, /enum: the list is empty/],
      [{ minContains: -1 }, /minContains: must be a whole number/],
      [{ if: 1 }, /#\/if: a schema is an object/],
      [{ else: "x" }, /#\/else: a schema is an object/],
      [{ dependentRequired: { a: {} } }, /dependentRequired: must list texts/],
      [{ dependentSchemas: { a: ["b"] } }, /dependentSchemas: must hold schemas/],
      [{ $schema: "http://example.com/s" }, /\$schema names/],
      [{ $schema: "http://json-schema.org/draft-07/schema#", prefixItems: [true] }, /prefixItems: draft 7/],
      [{ items: { uniqueItems: true, items: { type: "object" } } }, /uniqueItems is supported for/],
      [{ type: "string", maxLength: 3, minLength: 4 }, /"minLength" and "maxLength" contradict/],
      [{ type: "integer", minimum: 3, exclusiveMaximum: 3 }, /"minimum" and "exclusiveMaximum" contradict/],
      [{ type: "object", required: ["a"], properties: { a: false } }, /"required" and "properties" contradict/],
      [{ type: "object", required: ["a"], properties: { a: { $ref: "#" } } }, /nothing/],
      [false, /allows nothing/],
    ] as const) {
      expect(() => jsonSchemaConstraint(schema), JSON.stringify(schema)).toThrow(message);
    }
  });

  it("names the place of what turns out to be too much or undecidable", () => {
    const pets = { items: { type: "object", properties: { "a/b": { uniqueItems: true } } } };
    const many = (kind: string) => Array.from({ length: 9 }, (_, i) => ({ contains: { [kind]: i } }));
    const patterns = Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`^${i}`, { type: "integer" }]));
    for (const [schema, message] of [
      [pets, /^JSON schema #\/items\/properties\/a~1b: uniqueItems is supported for/],
      [
        { $defs: { x: { not: { uniqueItems: true } } }, items: { $ref: "#/$defs/x" } },
        /^JSON schema #\/\$defs\/x\S*: uniqueI/,
      ],
      [{ properties: { x: { allOf: many("const") } } }, /^JSON schema #\/properties\/x: more than 8 contains/],
      [{ items: [true, { patternProperties: patterns }] }, /^JSON schema #\/items\/1: more than 10 patterns/],
      [
        { properties: { x: { $ref: "#/properties/y" }, y: { $ref: "#/properties/x" } } },
        /#\/properties\/[xy]: \$ref leads back/,
      ],
      [{ $schema: "http://example.com/s" }, /^JSON schema #: \$schema/],
      [false, /^JSON schema #: /],
    ] as const) {
      expect(() => jsonSchemaConstraint(schema), JSON.stringify(schema)).toThrow(message);
    }
  });

  const kinds = (count: number) =>
    Array.from({ length: count }, (_, i) => ({
      type: "object",
      properties: { kind: { const: `kind ${i}` }, text: { type: "string", description: "x".repeat(180) } },
      required: ["kind"],
      additionalProperties: false,
    }));

  it("tells many alternatives apart by what each requires", () => {
    const started = performance.now();
    const constraint = jsonSchemaConstraint({ oneOf: kinds(300) });
    expect(performance.now() - started).toBeLessThan(10_000);
    expect(isValid(constraint, '{"kind":"kind 299","text":"a"}')).toBe(true);
    expect(isValid(constraint, '{"kind":"kind 300"}')).toBe(false);
    expect(isValid(constraint, '{"text":"a"}')).toBe(false);
    // The ways to an alternative's traits, and alternatives that share them all.
    const dog = { allOf: [{ $ref: "#/$defs/pet" }, { properties: { kind: { const: "dog" } } }] };
    const both = { $ref: "#/$defs/pet", properties: { kind: { enum: ["cat", "dog"] }, old: { const: true } } };
    const pet = { type: "object", required: ["kind"], properties: { next: { oneOf: [dog, { type: "null" }] } } };
    const schema = {
      $defs: { pet },
      oneOf: [dog, { ...both, required: ["kind", "old"] }, { type: ["null", "integer"] }],
    };
    for (const text of [
      '{"kind":"dog"}',
      '{"kind":"dog","old":true}',
      '{"kind":"cat"}',
      '{"kind":"cat","old":true}',
      '{"kind":"dog","next":{"kind":"dog","next":null}}',
      "null",
      "1.5",
    ]) {
      expect(isValid(jsonSchemaConstraint(schema), text), text).toBe(judge(schema)(JSON.parse(text)));
    }
  });

  it("refuses a megabyte of alternatives at once, and says where they stand", () => {
    const alike = Array.from({ length: 4_000 }, (_, i) => ({ required: [`p${i}`], description: "x".repeat(200) }));
    for (const [alternatives, message] of [
      [kinds(4_000), /^JSON schema #\/items: alternatives \(anyOf, oneOf, not\) multiply to more than 2000 cases/],
      [alike, /^JSON schema #\/items: oneOf: of its 4000 alternatives too many/],
    ] as const) {
      const schema = { items: { oneOf: alternatives } };
      expect(JSON.stringify(schema).length).toBeGreaterThan(0.9e6);
      expect(() => jsonSchemaConstraint(schema)).toThrow(message);
    }
  });

  it("takes what no draft knows as an annotation", () => {
    for (const name of ["example", "note", "nullable", "x-items", "optional", "types", "_format", "_uniqueItems"])
      expect(jsonSchemaConstraint({ type: "integer", minimum: 0, maximum: 9, [name]: "any" })).toBeDefined();
  });

  it("stands deep nesting, large schemas and large counts", () => {
    let deep: object = { type: "integer" };
    for (let i = 0; i < 100; i++) deep = { type: "array", items: deep, minItems: 1 };
    expect(isValid(jsonSchemaConstraint(deep), `${"[".repeat(100)}1${"]".repeat(100)}`)).toBe(true);
    const any = jsonSchemaConstraint(true);
    expect(isValid(any, `${'{"a":['.repeat(500)}${"]}".repeat(500)}`)).toBe(true);
    const names = Array.from({ length: 12_000 }, (_, i) => `property ${i} of the many that a schema may have`);
    const large = {
      type: "object",
      additionalProperties: false,
      properties: Object.fromEntries(names.map((name) => [name, { type: "integer", description: "x".repeat(20) }])),
    };
    expect(JSON.stringify(large).length).toBeGreaterThan(1e6);
    const started = performance.now();
    const constraint = jsonSchemaConstraint(large);
    expect(isValid(constraint, JSON.stringify({ [names[11_999]]: 1, [names[5]]: 2 }))).toBe(true);
    expect(performance.now() - started).toBeLessThan(20_000);
    const long = jsonSchemaConstraint({ type: "string", minLength: 3_000, pattern: "^(?:a|b)*$" });
    expect(isValid(long, JSON.stringify("ab".repeat(1_500)))).toBe(true);
    expect(isValid(jsonSchemaConstraint({ type: "array", minItems: 1e6 }), "[1]")).toBe(false);
  });

  it("takes no number that reading rounds to what it must not be a multiple of", () => {
    const accepts = (schema: object, text: string): boolean => isValid(jsonSchemaConstraint(schema), text);
    const long = { type: "integer", not: { multipleOf: 123456789012345680 } };
    for (const text of ["123456789012345678", "123456789012345677", "123456789012345680", "0", "246913578024691360"])
      expect(accepts(long, text), text).toBe(false);
    for (const text of ["1", "-9007199254740991", "9007199254740992", "123456789012345"])
      expect(accepts(long, text), text).toBe(true);
    const five = { not: { multipleOf: 5 } };
    for (const text of ["5.00000000000000001", "4.9999999999999999", "45035996273704961", "1e22"])
      expect(accepts(five, text), text).toBe(false);
    for (const text of ["0.30000000000000004", "51.50735091234567", "4.999", "9007199254740991", "1e-7"])
      expect(accepts(five, text), text).toBe(true);
    // Beyond what doubles can tell apart all are multiples, on both sides of a not.
    expect(accepts({ not: five }, "1e+22")).toBe(true);
  });

  it("zeros behind the last place can be bounded", () => {
    const says = (schema: unknown, zeros: number, texts: readonly string[]) => {
      const constraint = jsonSchemaConstraint(schema, { zeros });
      return texts.filter((text) => isValid(constraint, text));
    };
    const texts = ["1", "1.0", "1.00", "10", "-3", "0", "0.0", "2.5", "2.50", "2.5000", "1e+21", "1.5e+22"];
    const integer = { type: "integer" };
    expect(says(integer, 0, texts)).toEqual(["1", "10", "-3", "0", "1e+21", "1.5e+22"]);
    expect(says({ ...integer, minimum: 0 }, 0, texts)).toEqual(["1", "10", "0", "1e+21", "1.5e+22"]);
    expect(says({ ...integer, minimum: 1, maximum: 10 }, 0, texts)).toEqual(["1", "10"]);
    expect(says({ ...integer, minimum: 1, maximum: 10 }, 1, texts)).toEqual(["1", "1.0", "10"]);
    expect(says({ enum: [1, 2.5] }, 0, texts)).toEqual(expect.arrayContaining(["1", "2.5"]));
    expect(says({ enum: [1, 2.5] }, 0, texts)).not.toContain("2.50");
    expect(says({ type: "number", multipleOf: 0.5 }, 0, texts)).not.toContain("2.50");
    expect(says({ type: "number", multipleOf: 0.5 }, 2, texts)).toContain("2.50");
    expect(says({ type: "number", multipleOf: 0.5 }, 2, texts)).not.toContain("2.5000");
    expect(says({ type: "number" }, 0, ["2.5000"])).toEqual(["2.5000"]);
    expect(says(integer, Infinity, ["1.000000"])).toEqual(["1.000000"]);
    expect(() => jsonSchemaConstraint(integer, { zeros: -1 })).toThrow(/zeros must be a whole number from 0/);
  });

  it("digits that an exponent follows are only those that some exponent suits", () => {
    const { start } = jsonSchemaConstraint({ multipleOf: 7 });
    const last = [..."0123456789"].filter((digit) => pushAll(start, Buffer.from(`6.193079240910519${digit}`)));
    expect(last.map((digit) => 6193079240910519n * 10n + BigInt(digit)).every((value) => value % 7n === 0n)).toBe(true);
    expect(last.length).toBeGreaterThan(0);
    for (const digit of last) {
      expect(isValid(jsonSchemaConstraint({ multipleOf: 7 }), `6.193079240910519${digit}e+21`)).toBe(true);
    }
  });

  it("items that must differ are as many as there are different values", () => {
    const unique = (items: object, minItems: number) => () =>
      jsonSchemaConstraint({ type: "array", uniqueItems: true, items, minItems });
    const letters = { type: "string", pattern: "^[ab]{1,3}$" };
    const overlapping = { anyOf: [{ enum: [1, 2, null] }, { type: "integer", minimum: 2, maximum: 3 }] };
    const odd = { type: "integer", minimum: 1, maximum: 9, not: { multipleOf: 2 } };
    for (const [items, most] of [
      [letters, 14],
      [overlapping, 4],
      [odd, 5],
      [{ type: "number", minimum: 1, exclusiveMaximum: 1.0000000000000004 }, 2],
    ] as const) {
      expect(unique(items, most)).not.toThrow();
      expect(unique(items, most + 1)).toThrow(/"minItems", "uniqueItems" and "items" contradict each other/);
    }
    for (const items of [{ type: "string" }, { type: "integer", minimum: 5 }, { pattern: "^(ab)*c", type: "string" }]) {
      expect(unique(items, 100_000)).not.toThrow();
    }
    expect(() => jsonSchemaConstraint({ uniqueItems: true, maxItems: 1 })).not.toThrow();
    expect(() => jsonSchemaConstraint({ uniqueItems: true, maxItems: 2 })).toThrow(
      /uniqueItems is supported for items/,
    );
  });

  it("whitespace can be bounded", () => {
    const compact = jsonSchemaConstraint({ type: "array" }, { whitespace: 0 });
    expect(isValid(compact, "[1,2]")).toBe(true);
    expect(pushAll(compact.start, Buffer.from("[1, "))).toBeUndefined();
    const wide = jsonSchemaConstraint({ type: "array" }, { whitespace: 2 });
    expect(isValid(wide, "[1,  2]")).toBe(true);
    expect(isValid(wide, "[1,   2]")).toBe(false);
  });
});
