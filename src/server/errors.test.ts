import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { VentrisError } from "../errors.ts";
import { answerOf } from "./errors.ts";

let said: unknown[] = [];
beforeEach(() => {
  said = [];
  vi.spyOn(console, "error").mockImplementation((text) => void said.push(text));
});
afterEach(() => vi.restoreAllMocks());

const here = join(process.cwd(), "models", "mine");

it.each([
  ["bad_file", `${here}/config.json: truncated`],
  ["bad_config", `C:\\models\\mine\\config.json: no architecture`],
  ["unavailable", `cannot read ${here}/tokenizer.json`],
  ["runtime_failed", `loading ${here}/graph.onnx failed`],
] as const)("tells the host, and no client, which place %s is about", (code, message) => {
  const { body } = answerOf(new VentrisError(code, message));
  expect(body.error).toMatchObject({ code, message: expect.stringContaining("see the server's output") });
  expect(JSON.stringify(body)).not.toMatch(/mine|tokenizer|graph/);
  expect(said).toEqual([`${code}: ${message}`]);
});

it.each([
  ["bad_file", "tokenizer_config.json: the chat template failed: no such filter"],
  ["unavailable", "the model knossos has no tokenizer"],
  // What it asked for itself: whether such a place is here shows in neither.
  ["bad_option", `a request has no such option: ${here}`],
] as const)("tells a client what it can mend or needs to know: %s", (code, message) => {
  expect(answerOf(new VentrisError(code, message)).body.error).toMatchObject({ code, message });
  expect(said).toEqual([]);
});
