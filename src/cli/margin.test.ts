import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { defineMethod } from "../engine/method.ts";
import { arrival } from "../engine/race.ts";
import { type Model, open } from "../open.ts";
import { marginNote, marginOf } from "./margin.ts";

let model: Model;
beforeAll(async () => {
  model = await open("knossos", { threads: 1, weights: "int8" });
});
afterAll(() => model.close());

const prompts = ["Once upon a time", "The fox said"];

test("greedy: the smallest lead of the best logit over the next, and the bits of other passes", async () => {
  const request = { temperature: 0, maxTokens: 40 };
  const leads: number[] = [];
  for (const prompt of prompts) {
    const { logprobs = [] } = await model.generate(prompt, { ...request, logprobs: 2 });
    for (const { top = [] } of logprobs) leads.push(top[0].raw - top[1].raw);
  }
  const margin = (await marginOf(model, prompts, request))!;
  expect(margin.decisions).toBe(leads.length);
  expect(margin.nearest).toBeCloseTo(Math.min(...leads), 4);
  expect(margin.moved).toBe(0);
  expect(model.forest.held).toBe(0);
});

test("sampled: the smallest lead in the race, as sorting all arrivals gives it", async () => {
  const request = { temperature: 0.7, topP: 0.9, seed: 5, maxTokens: 24 };
  const leads: number[] = [];
  const sorting = defineMethod({
    name: "sorting",
    family: "plain",
    lossless: true,
    summary: "plain decoding that sorts",
    options: z.strictObject({}),
    async decode(decoding) {
      for (let tip = await decoding.prefill(); !decoding.finished; ) {
        const race = { stream: decoding.stream, position: tip.depth + 1 };
        const times = [...decoding.shape(tip)].flatMap((p, token) =>
          p > 0 ? [Math.log(arrival(race, token) / p)] : [],
        );
        const [first, second] = times.sort((a, b) => a - b);
        if (second !== undefined) leads.push(0.7 * (second - first));
        const token = decoding.choose(tip);
        decoding.commit([{ token, from: tip }]);
        if (!decoding.finished) [tip] = await decoding.lease.extend([{ parent: tip, token }]);
      }
    },
  });
  await model.generate(prompts[0], { ...request, method: sorting });
  const margin = (await marginOf(model, prompts.slice(0, 1), request))!;
  expect(margin.decisions).toBe(leads.length);
  expect(margin.nearest).toBeCloseTo(Math.min(...leads), 9);
  expect(margin.moved).toBe(0);
});

test("is a sentence", () => {
  const figures = { decisions: 200, nearest: 0.01234, moved: 0 };
  expect(marginNote(figures)).toMatch(
    /^the closest of 200 choices between tokens was won by 0\.0123 logits; .* the same logits, bit for bit$/,
  );
  expect(marginNote({ ...figures, moved: 0.001 })).toMatch(
    /differ by up to 0\.00100, which is too little to turn any$/,
  );
  expect(marginNote({ ...figures, moved: 0.01 })).toMatch(/which can turn it$/);
});
