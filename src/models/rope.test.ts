import { expect, test } from "vitest";
import { plainRotation, rotaryFeeds } from "./rope.ts";

test("rotation tables reach past every position asked for, and are the same object until they grow", () => {
  const rotation = { ...plainRotation(8, 10000), amplitude: 1.25 };
  const feeds = rotaryFeeds({ rotations: [plainRotation(4, 10), rotation] }, (data, dims) => ({ data, dims }));
  const first = feeds([0, 3]);
  const reach = first.cosines.dims[0];
  expect(feeds([reach - 1])).toBe(first);
  const grown = feeds([2, reach, 1]);
  expect(grown.cosines.dims[0]).toBeGreaterThan(reach);
  expect(feeds([5])).toBe(grown);
  rotation.frequencies.forEach((frequency, i) => {
    expect(grown["cosines.1"].data[reach * 4 + i]).toBe(Math.fround(1.25 * Math.cos(reach * frequency)));
    expect(grown["sines.1"].data[reach * 4 + i]).toBe(Math.fround(1.25 * Math.sin(reach * frequency)));
  });
  expect(grown["sines.1"].dims).toEqual([grown.cosines.dims[0], 4]);
  expect(grown.sines.data.subarray(0, first.sines.data.length)).toEqual(first.sines.data);
});
