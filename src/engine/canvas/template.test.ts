/** Blanks anywhere in a text, of given and of found lengths. */
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TinyDiffusion, writeTinyDiffusion } from "../../../test/fixtures/tiny-diffusion.ts";
import { traceEvent } from "../../../test/trace-schema.ts";
import { type DecodeOptions, type Model, open } from "../../index.ts";
import type { TraceEvent } from "../trace.ts";

let tiny: TinyDiffusion;
let model: Model;
beforeAll(async () => {
  tiny = await writeTinyDiffusion({ tokenizer: true });
  model = await open(tiny.folder, { threads: 1 });
});
afterAll(async () => {
  await model.close();
  await rm(tiny.folder, { recursive: true, force: true });
});

test("what is given stays, blanks have the lengths that were asked for, and streamed text is the final text", async () => {
  const run = model.decode({ fill: "the ___ and ___.", lengths: [3, 2] });
  let streamed = "";
  for await (const piece of run.text) streamed += piece;
  const { text, tokens, finish } = await run.final;
  expect(streamed).toBe(text);
  expect(finish).toBe("end");
  const [first, second, last] = [
    model.tokenizer!.encode("the", { special: false }),
    model.tokenizer!.encode(" and", { special: false }),
    model.tokenizer!.encode(".", { special: false }),
  ];
  expect(tokens.slice(0, first.length)).toEqual(first);
  expect(tokens.slice(first.length + 3, first.length + 3 + second.length)).toEqual(second);
  expect(tokens.slice(first.length + 5 + second.length)).toEqual(last);
});

test("a length that is to be found is the one whose tokens are the surest, and a seed finds it again", async () => {
  const fill = "the ___ and";
  const found = await model.decode({ fill, longest: 4 }).final;
  const tried = await Promise.all(
    [1, 2, 3, 4].map(async (length) => {
      const { logprobs, text } = await model.decode({ fill, lengths: [length] }, { logprobs: 0 }).final;
      const own = logprobs!.filter(({ raw }) => raw < 0);
      return { text, mean: own.reduce((sum, { raw }) => sum + raw, 0) / own.length };
    }),
  );
  expect(found.text).toBe(tried.reduce((a, b) => (b.mean > a.mean ? b : a)).text);
  expect(await model.decode({ fill, longest: 4 }).final).toMatchObject({ text: found.text });
});

test("a blank is filled with text: special tokens have none", async () => {
  const special = new Set(model.tokenizer!.specialTokens!.values());
  expect(special.size).toBeGreaterThan(0);
  for (const seed of [1, 2, 3]) {
    // So hot that any token may win.
    const request = { temperature: 50, seed } as const;
    const { canvas, tokens } = await model.decode({ fill: "___ the ___", lengths: [24, 24] }, request).final;
    expect(canvas!.filter((token) => special.has(token))).toEqual([]);
    expect(tokens).toHaveLength(canvas!.length);
  }
});

test("the trace tells the lengths that were tried, what stands on the canvas, and every pass", async () => {
  const run = model.decode({ fill: "the ___ and ___.", lengths: [3, "found"], longest: 5 });
  const trace: TraceEvent[] = [];
  for await (const event of run) trace.push(event);
  for (const event of trace) traceEvent.parse(JSON.parse(JSON.stringify(event)));
  const { tokens, counters } = await run.final;
  const of = <Type extends TraceEvent["type"]>(type: Type) =>
    trace.filter((event): event is Extract<TraceEvent, { type: Type }> => event.type === type);
  const [[found, ...others], [canvas]] = [of("lengths"), of("canvas")];
  expect(others).toEqual([]);
  expect(found).toMatchObject({ blank: 1, tried: [1, 2, 3, 4, 5] });
  expect(found.chosen).toBe(found.tried[found.scores.indexOf(Math.max(...found.scores))]);
  expect(trace.indexOf(found)).toBeLessThan(trace.indexOf(canvas));
  const cells: (number | undefined)[] = Array.from({ length: canvas.length });
  for (const { positions, tokens: filled } of [canvas, ...of("unmask")])
    for (const [i, at] of positions.entries()) {
      expect(cells[at]).toBeUndefined();
      cells[at] = filled[i];
    }
  expect(cells).toEqual(tokens);
  expect(cells.length - canvas.positions.length).toBe(3 + found.chosen);
  expect(of("unmask").map(({ pass }) => pass)).toEqual(of("unmask").map((_, i) => i + 1));
  expect(counters.passes).toBe(found.passes + of("unmask").length);
});

test.each<[DecodeOptions]>([[{ maxTokens: 256 }], [{ minTokens: 2 }], [{ stop: "and" }], [{ stopTokens: [5] }]])(
  "what says where an answer ends is refused by name: %j",
  async (options) => {
    const [name] = Object.keys(options);
    const refused = model.decode({ fill: "the ___ and ___.", lengths: [3, 2] }, options).final;
    await expect(refused).rejects.toMatchObject({
      code: "bad_option",
      message: expect.stringMatching(new RegExp(`^${name}: a template ends where its text ends`)),
    });
  },
);

test.each([
  [{ fill: "no blank" }, /no blank/],
  [{ fill: "a ___ b", lengths: [1, 2] }, /it has 1 blank,/],
  [{ fill: "a ___ b", lengths: [0] }, /whole number from 1/],
  [{ fill: "a ___ b ___ c", lengths: [3, undefined] }, /lengths\[1\] must be .*, not undefined$/],
  [
    { fill: "a ___ b ___ c", lengths: Object.assign(new Array(2), { 1: 3 }) },
    /lengths\[0\] must be .*, not undefined$/,
  ],
  [{ fill: "a ___ b", lengths: ["find"] }, /"found", not "find"; did you mean "found"\?$/],
  [{ fill: "a ___ b", longest: 1000 }, /longest/],
  [{ fill: "a ___ b", nonsense: 1 }, /no option "nonsense" \(known: fill, lengths, longest\)/],
  [{ fill: "a ___ b", fil: "a ___" }, /no option "fil"; did you mean "fill"\?/],
  [{ fill: "a ___ b", lenghts: [3] }, /no option "lenghts"; did you mean "lengths"\?/],
  [{ fil: "a ___ b" }, /did you mean "fill" for "fil"\?/],
  [[undefined], /undefined is not a token id/],
])("refused: %o", (template, message) => {
  expect(() => model.decode(template as unknown as { fill: string })).toThrow(message);
});

test("methods that need blocks of an answer refuse a template, as do blocks themselves and too small a context", async () => {
  const template = { fill: "a ___ b", lengths: [2] } as const;
  await expect(model.decode(template, { method: { name: "oracle", reference: [3, 4] } }).final).rejects.toThrow(
    /template/,
  );
  const method = { name: "threshold", blockLength: 1 } as const;
  await expect(model.decode(template, { method }).final).rejects.toThrow(/as one block/);
  await expect(model.decode({ fill: "a ___ b", lengths: [200] }).final).rejects.toMatchObject({ code: "context_full" });
});
