import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { createConstraint, isValid } from "./constraints/index.ts";
import { createPolicyByName, policies } from "./methods/choice/index.ts";
import { constant } from "./tensor/index.ts";
import { givenFields, isInstance } from "./values.ts";

test("what another realm made is of the class of that name", () => {
  for (const name of ["Map", "RegExp", "Float64Array"]) {
    expect(isInstance(name, runInNewContext(`new ${name}()`)), name).toBe(true);
    expect(isInstance(name, {}), name).toBe(false);
  }
  expect(isInstance("AbortSignal", new AbortController())).toBe(false);
  expect(constant(runInNewContext("Int32Array.of(1)"), [1]).type).toBe("int32");
  const [a, b] = ["/a/", "/b/"].map((regex) => createConstraint({ regex: runInNewContext(regex) }));
  expect([isValid(a, "a"), isValid(b, "a"), isValid(b, "b")]).toEqual([true, false, true]);
});

test("a field that is undefined does not hide a default", () => {
  expect(givenFields({ a: 1, b: undefined, c: null })).toEqual({ a: 1, c: null });
  for (const name of Object.keys(policies)) {
    const needed = { width: 4, ...(name === "Fixed" && { arm: 0 }) };
    const { options } = createPolicyByName(name, { ...needed, seed: undefined }).save();
    expect(options, name).toEqual(createPolicyByName(name, needed).save().options);
  }
});
