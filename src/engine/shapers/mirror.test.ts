import { expect, test } from "vitest";
import type { Forest } from "../forest.ts";
import { createMirror, type MirrorOptions } from "./mirror.ts";

test.each<[options: MirrorOptions, message: RegExp]>([
  [{ before: [1, Number.NaN] }, /before has NaN, which is no token's number/],
  [{ before: [-1] }, /before has -1/],
  [{ instead: 0.5 }, /instead must be a whole number from 0 on, not 0\.5/],
  [{ instead: Number.NaN }, /instead must be .* not NaN/],
])("a mirror of %o is refused before anything is leased", (options, message) => {
  const forest = { lease: () => expect.fail("leased") } as unknown as Forest;
  expect(() => createMirror(forest, options)).toThrow(
    expect.objectContaining({ code: "bad_option", message: expect.stringMatching(message) }),
  );
});
