/** What `ventris run` says of an output when it is done. */
import { expect, it } from "vitest";
import { emptyCounters } from "../engine/decoding.ts";
import type { RunResult } from "../engine/run.ts";
import { figuresOf } from "./run.ts";

const result = (fields: Partial<RunResult>): RunResult => ({
  text: "",
  tokens: [],
  finish: "end",
  counters: emptyCounters(),
  seconds: { load: 0, prefill: 0, decode: 0 },
  ...fields,
});

it("says of an output that was stopped what is true: a stop text is named only where there was one", () => {
  expect(figuresOf([result({ finish: "stop", stop: "." })])).toMatch(/ · ended by a stop text$/);
  expect(figuresOf([result({ finish: "stop" })])).toMatch(/ · ended by a stop token or by the method$/);
  expect(figuresOf([result({ finish: "stop", stop: "." }), result({ finish: "length" })])).toMatch(
    / · ended by a stop text, ended by --max-tokens$/,
  );
});
