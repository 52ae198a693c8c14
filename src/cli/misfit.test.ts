/** Why a method is skipped, as sentences that say what to pass. */
import { expect, it } from "vitest";
import { VentrisError } from "../errors.ts";
import { findMethod } from "../methods/index.ts";
import { misfitOf } from "./misfit.ts";

const reasonOf = (
  name: string,
  message: string,
  temperature = 0,
  capability = "forest",
  options: Readonly<Record<string, unknown>> = {},
): string | undefined =>
  misfitOf(new VentrisError("unavailable", message), {
    method: findMethod(name),
    options,
    model: { name: "tiny", capabilities: new Set([capability]) as never },
    temperature,
  })?.reason;

it("no reason begins with the bare name of an option, and each says what to pass", () => {
  const lacking = 'no part "medusa": the model has no parts, and no folder of this name holds one';
  const given = { heads: "medusa" };
  expect(
    reasonOf("medusa", `heads: ${lacking}; of the shipped models kydonia and zakros have one`, 0, "forest", given),
  ).toBe(
    `its option heads cannot be honoured: ${lacking}; pass --model MODEL to open another model: of the shipped models kydonia and zakros can be passed`,
  );
  expect(reasonOf("medusa", `heads: ${lacking}; no shipped model has one`, 0, "forest", given)).toBe(
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

it("a length that is no number of blocks is told with the flag and the lengths that work", () => {
  const said = "maxTokens: 40 positions cannot be cut into blocks of 32: give 32 or 64, or another blockLength";
  expect(reasonOf("fixed-k", said, 0, "canvas")).toBe(
    "40 positions cannot be cut into blocks of 32; pass -n 32 or -n 64, or another blockLength",
  );
});

it("an option that nobody gave is not spoken of: the method needs its part", () => {
  const lacking = 'no part "medusa": the model has the parts codebook and eagle, and no folder of this name holds one';
  const needs = "this needs the part medusa, which tiny has not, and ";
  for (const begin of ["", "heads: "]) {
    expect(reasonOf("medusa", `${begin}${lacking}; of the shipped models argos has one`)).toBe(
      `${needs}--model argos has it`,
    );
    expect(reasonOf("medusa", `${begin}${lacking}; of the shipped models argos, ithaca and zakros have one`)).toBe(
      `${needs}--model argos or --model ithaca or --model zakros has it`,
    );
    expect(reasonOf("medusa", `${begin}${lacking}; no shipped model has one`)).toBe(
      `${needs}no shipped model has it; pass --model MODEL to open another model`,
    );
  }
  // One of its kind is there under another name, which is an option's to say.
  expect(reasonOf("medusa", `heads: ${lacking}; did you mean "mine"?`)).toContain('did you mean "mine"?');
});

it("a model that was given and is not there is an error of its own, a default that is not there a reason to skip", () => {
  const message = 'draft: no model "pylis": it is neither a shipped model (pylos), nor a file or folder here';
  expect(reasonOf("chain", message, 0, "forest", { draft: "pylis" })).toBeUndefined();
  expect(reasonOf("chain", message)).toContain("pass --draft MODEL");
});

it("a default draft of another vocabulary is no option that someone gave, and what would help is said once", () => {
  const begin =
    "draft: pylos has another vocabulary than mine/model (4096 and 512 tokens); a draft must share its target's tokenizer";
  const none = `${begin}; no shipped model can draft for it: give a smaller model of its family`;
  expect(reasonOf("chain", none)).toBe(
    "the default draft, pylos, has another vocabulary than mine/model; pass --draft MODEL with a smaller model of the same tokenizer",
  );
  expect(reasonOf("chain", `${begin}; shipped models that can draft for it: argos, ithaca`)).toBe(
    "the default draft, pylos, has another vocabulary than mine/model; pass --draft MODEL with one of argos, ithaca",
  );
  expect(reasonOf("chain", none, 0, "forest", { draft: "pylos" })).toContain("option draft cannot be honoured");
});

it("the temperature that would help is said once, as the flag", () => {
  expect(reasonOf("beam", "beams rank texts by probability, which temperature 0 takes away; give temperature 1")).toBe(
    "beams rank texts by probability, which temperature 0 takes away; pass --temperature 1 to let it run",
  );
});
