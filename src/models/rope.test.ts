import { expect, test } from "vitest";
import { rotaryFrequencies, rotationTables } from "./rope.ts";

test("rotation tables reach past every position asked for, and are the same object until they grow", () => {
  const frequencies = rotaryFrequencies(8, 10000, undefined);
  const tablesFor = rotationTables(frequencies);
  const first = tablesFor([0, 3]);
  expect(tablesFor([first.positions - 1])).toBe(first);
  const position = first.positions;
  const grown = tablesFor([2, position, 1]);
  expect(grown.positions).toBeGreaterThan(position);
  expect(tablesFor([5])).toBe(grown);
  frequencies.forEach((frequency, i) => {
    expect(grown.cosines[position * 4 + i]).toBe(Math.fround(Math.cos(position * frequency)));
    expect(grown.sines[position * 4 + i]).toBe(Math.fround(Math.sin(position * frequency)));
  });
  expect(grown.cosines.subarray(0, first.cosines.length)).toEqual(first.cosines);
});
