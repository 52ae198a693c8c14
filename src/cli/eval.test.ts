import { expect, it } from "vitest";
import { estimateRows } from "./eval.ts";

it("an estimate over one document has no interval", () => {
  const estimate = { value: 3, interval: [2.5, 3.5] } as const;
  expect(estimateRows(2)("token", 33, estimate)).toEqual(["token", "33", "3.000", "2.500 to 3.500"]);
  expect(estimateRows(1)("token", 33, estimate)).toEqual(["token", "33", "3.000", "one document"]);
});
