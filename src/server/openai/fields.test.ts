import { expect, it } from "vitest";
import { z } from "zod";
import { readFields, samplingFields, textsField } from "./fields.ts";

const fields = z.strictObject({ ...samplingFields, prompt: textsField(z.string().max(100), 128) });
const read = (body: object) => readFields(fields, { model: "m", prompt: "a", ...body });

it.each([["a"], [[1, 2]], [["a", "b"]], [[[1], [2, 3]]]])("takes the prompt %j", (prompt) =>
  expect(read({ prompt }).prompt).toEqual(prompt),
);

it.each<[object, string, string]>([
  [{ prompt: 5 }, "prompt", "prompt must be a text, not 5"],
  [{ prompt: null }, "prompt", "prompt is missing: it must be a text"],
  [{ prompt: [] }, "prompt", "prompt must have at least 1 entry"],
  [{ prompt: [1, -1, 2.5] }, "prompt[1]", "prompt[1] must be at least 0, not -1"],
  [{ prompt: ["a", 3] }, "prompt[1]", "prompt[1] must be a text, not 3"],
  [{ prompt: [[1], ["x"]] }, "prompt[1][0]", 'prompt[1][0] must be a number, not "x"'],
  [{ prompt: Array(200).fill("a") }, "prompt", "prompt must have at most 128 entries"],
  [{ stop: [1] }, "stop", "stop[0] must be a text, not 1"],
  [{ stop: Array(10_000).fill("x") }, "stop", "stop must have at most 64 entries"],
  [{ stop: 5 }, "stop", "stop must be a text or a list of texts, not 5"],
  [{ temperature: Infinity }, "temperature", "temperature must be a number from 0 to 1000, not Infinity"],
  [{ stream: "yes" }, "stream", 'stream must be true or false, not "yes"'],
])("says of %j what it must be, and once", (body, param, message) => {
  expect(() => read(body)).toThrow(expect.objectContaining({ param, message }));
});

it("is not held up by long lists of wrong values", () => {
  const began = process.cpuUsage();
  for (const prompt of [Array(300_000).fill(-1), Array(300_000).fill("a"), [Array(300_000).fill("x")]])
    expect(() => read({ prompt })).toThrow(/^prompt/);
  expect(() => read({ stop: Array(300_000).fill(1) })).toThrow(/more like these|at most 64/);
  const { user, system } = process.cpuUsage(began);
  expect((user + system) / 1e6).toBeLessThan(3);
});
