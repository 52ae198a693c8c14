import { Command } from "commander";
import { afterEach, expect, it, vi } from "vitest";
import { findMethod } from "../methods/index.ts";
import { hadElsewhere } from "./flags.ts";
import { addMethodHints, requireNoOptions } from "./method-choice.ts";

afterEach(() => vi.restoreAllMocks());

/** What is said of a prompt; an error's message behind an exclamation mark. */
function told(word: string, ...names: string[]): string {
  const written = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  written.mockClear();
  try {
    requireNoOptions(
      [word],
      names.map((name) => ({ method: findMethod(name), options: {} })),
      "--set",
    );
  } catch (error) {
    return `!${(error as Error).message}`;
  }
  return written.mock.calls.map(([text]) => text).join("");
}

it("an option where the prompt stands is refused where it is spelt so, in whatever style", () => {
  expect(told("length=2", "chain")).toMatch(/^!length=2 stands where the prompt is.*write --set length=2\./);
  expect(told("max_tokens=3")).toMatch(/^!max_tokens=3 stands.*write --max-tokens 3\./);
  expect(told("max-tokens=3")).toMatch(/^!max-tokens=3 stands.*write --max-tokens 3\./);
});

it("one that is nearly an option is said, and continued", () => {
  expect(told("lenght=2", "chain")).toBe(
    "lenght=2 is taken for the prompt; the method chain has an option length: if that is meant, write --set length=2\n",
  );
  expect(told("maxTokns=3")).toMatch(/^maxTokns=3 is taken for the prompt; .* write --max-tokens 3\n$/);
  expect(told("max_new_tokens=3", "greedy")).toMatch(/write --max-tokens 3\n$/);
  expect(told("length=2")).toMatch(/write --method \w+ --set length=2\n$/);
  expect(told("length=2", "greedy")).toBe("");
});

it("names of methods alone are continued, and what chooses methods is said", () => {
  expect(told("greedy")).toBe(
    "greedy is taken for the prompt; a method has this name: if that is meant, write --method greedy\n",
  );
  expect(told("greedy", "chain")).toBe("");
  const written = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  requireNoOptions(["greedy", "chain"], [], "--methods");
  expect(written.mock.calls.join("")).toContain("write --methods greedy,chain\n");
  written.mockClear();
  requireNoOptions(["greedy", "people"], [], "--methods");
  expect(written).not.toHaveBeenCalled();
});

it("texts that look so are prompts", () => {
  for (const word of ["x=5", "name=John", "foo=bar", "total=12", "year=2020", "e=mc2", "a==b", "y=sin(x)"])
    expect(told(word, "chain") + told(word), word).toBe("");
});

it("an option of a method that is given as a flag is told with the way that sets it", () => {
  const said = (method: string | undefined, flag: string): string => {
    const command = new Command()
      .option("--method <name>")
      .option("--budget <json>")
      .option("--max-tokens <number>")
      .option("--top-k <number>");
    addMethodHints(command);
    command.parse(method === undefined ? [] : ["--method", method], { from: "user" });
    return hadElsewhere(command, `--${flag}`, "4");
  };
  expect(said("dyspec", "draft-top-k")).toBe("; draftTopK is an option of the method dyspec: --set draftTopK=4");
  expect(said('{"name": "dyspec"}', "budget")).toBe("; budget is an option of the method dyspec: --set budget=4");
  expect(said(undefined, "drafts")).toBe("");
  expect(said(undefined, "draft")).toMatch(/of methods such as chain: --method chain --set draft=4$/);
  expect(said(undefined, "budget")).toBe("");
  // Other spellings of a flag that there is, and what others call an option that no flag is.
  for (const flag of ["top_k", "topK", "topk"]) expect(said(undefined, flag), flag).toBe("");
  expect(said(undefined, "num-beams")).toMatch(
    /^; beams is an option of methods such as beam: --method beam --set beams=4$/,
  );
  expect(said("dyspec", "max-toks")).toBe("");
  expect(said("./mine.ts", "least")).toMatch(/^; options of \.\/mine\.ts are given by --set, as --set least=4; /);
  expect(said("./mine.ts", "max-toks")).toBe("");
});
