/** Why a method is skipped, as sentences that say what to pass. */
import { expect, it } from "vitest";
import { VentrisError } from "../errors.ts";
import { findMethod } from "../methods/index.ts";
import { misfitOf } from "./misfit.ts";

const reasonOf = (name: string, message: string, temperature = 0, capability = "forest"): string | undefined =>
  misfitOf(new VentrisError("unavailable", message), {
    method: findMethod(name),
    model: { name: "tiny", capabilities: new Set([capability]) as never },
    temperature,
  })?.reason;

it("no reason begins with the bare name of an option, and each says what to pass", () => {
  const lacking = 'no part "medusa": the model has no parts, and no folder of this name holds one';
  expect(reasonOf("medusa", `heads: ${lacking}; of the shipped models kydonia and zakros have one`)).toBe(
    `its option heads cannot be honoured: ${lacking}; pass --model MODEL to open another model: of the shipped models kydonia and zakros can be passed`,
  );
  expect(reasonOf("medusa", `heads: ${lacking}; no shipped model has one`)).toBe(
    `its option heads cannot be honoured: ${lacking}; no shipped model has one; pass --model MODEL to open another model`,
  );
  expect(reasonOf("chain", "draft: big is larger than its target")).toBe(
    "its option draft cannot be honoured: big is larger than its target; pass --draft MODEL to name another draft",
  );
  expect(reasonOf("beam", "beam: temperature 0 leaves one text")).toBe(
    "temperature 0 leaves one text; pass --temperature 1 to let it run",
  );
  expect(reasonOf("greedy", "the model tiny lacks a forest; of the shipped models ithaca has one", 0, "canvas")).toBe(
    "this takes a model that writes from left to right; pass --model MODEL: of the shipped models ithaca can be passed",
  );
});
