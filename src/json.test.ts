import fc from "fast-check";
import { expect, it } from "vitest";
import { repeatedName } from "./json.ts";

it.each<[string, string | undefined]>([
  ['{"a":1,"b":{"a":2},"c":[{"a":1},{"a":1}]}', undefined],
  ['{"a":1,"a":1}', "a"],
  ['{"a":{"b":[1,{"c":1,"d":"c","c":2}]}}', "c"],
  ['{"a":"a","b":"\\"a\\":{","c":["a","a"]}', undefined],
  ['{"a\\\\":1,"a":2,"a\\\\":3}', "a\\"],
  ['{"\\u0061":1,"a":2}', "a"],
  ['{"__proto__":1,"__proto__":2}', "__proto__"],
  ['["a","a"]', undefined],
])("finds the name that an object has twice: %s", (text, name) => {
  expect(repeatedName(text)?.name).toBe(name);
});

it("says its line, and finds none in what JSON.stringify writes", () => {
  expect(repeatedName('{\n "type": "object",\n "type": "array"\n}')).toEqual({ name: "type", line: 3 });
  fc.assert(
    fc.property(fc.jsonValue(), fc.integer({ min: 0, max: 2 }), (value, indent) => {
      expect(repeatedName(JSON.stringify(value, null, indent))).toBeUndefined();
    }),
    { numRuns: 500, seed: 1 },
  );
});
