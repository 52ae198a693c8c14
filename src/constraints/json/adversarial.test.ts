/**
 * Schemas of draft 2020-12 that try to be awkward, judged by ajv: none of them may let an invalid instance through or block a valid one,
 * byte by byte and token by token; what is refused is refused by name.
 */
import { Ajv2020 } from "ajv/dist/2020.js";
import fc from "fast-check";
import { expect, it } from "vitest";
import { type ConstraintState, isValid } from "../contract.ts";
import { pieces } from "../laws.fixture.ts";
import { tryTokens } from "../mask.ts";
import { jsonSchemaConstraint } from "./index.ts";

/** Written like this, no linter takes the schemas for promises. */
const THEN = "then";
const name = fc.constantFrom("a", "ab", "b", 'q"', "é", "__proto__x", "");
const scalar = fc.constantFrom<unknown>(null, true, false, 0, 1, -1, 2, 1.5, 1e3, "", "a", "ab", "é😀", '"\\', "a\nb");

const schemas = fc.letrec<{ schema: object | boolean; list: (object | boolean)[] }>((tie) => ({
  list: fc.array(tie("schema"), { minLength: 1, maxLength: 3 }),
  schema: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom<object | boolean>(
      true,
      false,
      {},
      { $ref: "#/$defs/tree" },
      { $ref: "#/$defs/list" },
      { type: "number" },
      { type: ["string", "boolean"] },
    ),
    fc.record({
      const: fc.oneof(scalar, fc.array(scalar, { maxLength: 2 }), fc.dictionary(name, scalar, { maxKeys: 2 })),
    }),
    fc.record({ enum: fc.array(fc.oneof(scalar, fc.array(scalar, { maxLength: 2 })), { minLength: 1, maxLength: 4 }) }),
    fc.record(
      {
        minLength: fc.nat(3),
        maxLength: fc.nat(4),
        pattern: fc.constantFrom("^a", "b$", "[^a]", "é", "^.{2}$", "a|^$"),
      },
      { requiredKeys: [] },
    ),
    fc.record(
      {
        minimum: fc.constantFrom(-1, 0, 0.5, 1),
        exclusiveMinimum: fc.constantFrom(-2, 0, 1),
        maximum: fc.constantFrom(0, 1, 1.5, 1000),
        multipleOf: fc.constantFrom(0.5, 1, 3, 500),
      },
      { requiredKeys: [] },
    ),
    fc.record(
      {
        prefixItems: tie("list"),
        items: tie("schema"),
        minItems: fc.nat(2),
        maxItems: fc.nat(3),
      },
      { requiredKeys: [] },
    ),
    // Apart: beside prefixItems, ajv lets an empty array contain anything.
    fc.record(
      {
        items: tie("schema"),
        contains: tie("schema"),
        minContains: fc.nat(2),
        maxContains: fc.nat(3),
        minItems: fc.nat(2),
        maxItems: fc.nat(3),
        uniqueItems: fc.boolean(),
      },
      { requiredKeys: [] },
    ),
    fc.record(
      {
        properties: fc.dictionary(name, tie("schema"), { maxKeys: 3 }),
        patternProperties: fc.dictionary(fc.constantFrom("a", "^b", "[^ab]"), tie("schema"), { maxKeys: 2 }),
        additionalProperties: tie("schema"),
        propertyNames: tie("schema"),
        required: fc.uniqueArray(name, { maxLength: 2 }),
        minProperties: fc.nat(2),
        maxProperties: fc.nat(3),
        dependentRequired: fc.dictionary(name, fc.uniqueArray(name, { maxLength: 2 }), { maxKeys: 1 }),
        dependentSchemas: fc.dictionary(name, tie("schema"), { maxKeys: 1 }),
      },
      { requiredKeys: [] },
    ),
    fc.record({ not: tie("schema") }),
    fc.record({ allOf: tie("list"), anyOf: tie("list") }, { requiredKeys: [] }),
    fc.record({ oneOf: tie("list") }),
    fc.record({ if: tie("schema"), [THEN]: tie("schema"), else: tie("schema") }, { requiredKeys: ["if"] }),
  ),
})).schema;

const instances = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    scalar,
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(name, tie("value"), { maxKeys: 3 }),
  ),
})).value;

const $defs = {
  tree: { type: "object", properties: { a: { $ref: "#/$defs/tree" }, b: true }, additionalProperties: false },
  list: {
    oneOf: [
      { type: "null" },
      { type: "array", prefixItems: [true, { $ref: "#/$defs/list" }], minItems: 2, maxItems: 2 },
    ],
  },
};

it("agrees with ajv on awkward schemas, and its masks with what can be pushed", { timeout: 300_000 }, () => {
  let refused = 0;
  let valid = 0;
  const property = fc.property(schemas, fc.array(instances, { minLength: 6, maxLength: 6 }), (...drawn) => {
    // As JSON has them: ajv stumbles over objects without a prototype.
    const [inner, samples] = JSON.parse(JSON.stringify(drawn)) as [object | boolean, unknown[]];
    const schema = { ...(typeof inner === "boolean" ? { allOf: [inner] } : inner), $defs };
    const validate = new Ajv2020({ strict: false, logger: false }).compile(schema);
    let constraint: ReturnType<typeof jsonSchemaConstraint>;
    try {
      constraint = jsonSchemaConstraint(schema);
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      expect(code, message).toBe("bad_option");
      // Nothing satisfies it, which ajv must find too; or it is too much, which is said by name.
      if (/contradict|nothing|false allows/.test(message)) {
        for (const one of samples) expect(validate(one), `${JSON.stringify(one)}: ${message}`).toBe(false);
      } else {
        expect(message).toMatch(/uniqueItems|multiply|at once|too many|too long|contains|leads back/);
        refused += 1;
      }
      return;
    }
    for (const one of samples) {
      const text = JSON.stringify(one);
      const right = validate(one) as boolean;
      expect(isValid(constraint, text), text).toBe(right);
      if (!right || ++valid % 8 !== 0) continue;
      const vocabulary = pieces([text, '{"ab":[1,"a"],"é":null}', JSON.stringify(samples)]);
      let at: ConstraintState | undefined = constraint.start;
      for (const byte of Buffer.from(text)) {
        expect(at!.allowed!(vocabulary)).toEqual(tryTokens(at!, vocabulary));
        at = at!.push(byte);
      }
    }
  });
  fc.assert(property, { numRuns: 250, seed: 2020 });
  expect(refused).toBeLessThan(60);
  expect(valid).toBeGreaterThan(100);
});
