/** A stream of domains behind a language model: values at zero are the model, learning lowers the nats, and nothing unfetched moves. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { logSoftmax } from "../../../../test/fixtures/reference.ts";
import { type MemoryFixture, memoryFixture, tinyTexts } from "../memory.fixture.ts";
import { bottleneckLearner, headLearner, readPositions, twoDomains } from "./domains.ts";

const settings = {
  codebooks: 4,
  pairs: 24,
  keyWidth: 6,
  epochs: 6,
  batch: 8,
  learningRate: 40,
  headRate: 0.05,
  seed: 1,
};
let fixture: MemoryFixture;
beforeAll(async () => {
  fixture = await memoryFixture();
});
afterAll(() => fixture.remove());

test("positions hold what the model says of every token, up to as many as are wanted", async () => {
  const { model, tiny } = fixture;
  const { count, labels, logits } = await readPositions(model, tinyTexts, { tokens: 20 });
  const { beginToken, encode } = model.tokenizer!;
  const tokens = [...(beginToken === undefined ? [] : [beginToken]), ...encode(tinyTexts[0], { special: false })];
  const own = tiny.logits(tokens.slice(0, -1));
  const first = Math.min(20, own.length);
  expect([...labels.subarray(0, first)]).toEqual(tokens.slice(1, first + 1));
  expect(count).toBe(20);
  for (let v = 0; v < 64; v++) expect(logits[5 * 64 + v]).toBeCloseTo(own[5][v], 3);
  await expect(readPositions(model, [""], { tokens: 20 })).rejects.toThrow(/nothing to predict/);
});

test("both learn a domain, from the model as it is; the bottleneck's other values stay where they were", async () => {
  const read = (text: string) => readPositions(fixture.model, [text], { tokens: 200 });
  const streams = [await read(tinyTexts[0]), await read(tinyTexts[1])] as const;
  const size = 64;
  const alone = streams[0].labels.reduce((sum, label, n) => {
    return (
      sum -
      logSoftmax(Float64Array.from(streams[0].logits.subarray(n * size, (n + 1) * size)))[label] / streams[0].count
    );
  }, 0);
  const learner = await bottleneckLearner(streams[0], size, settings);
  for (const one of [learner, await headLearner(32, size, settings)]) {
    const { alone: before, learned, second } = await twoDomains(one, streams, streams);
    expect(before).toBeCloseTo(alone, 4);
    expect(learned).toBeLessThan(before - 0.1);
    expect(second.learned).toBeLessThan(second.alone - 0.1);
  }
  const { usage, values } = learner.bottleneck;
  expect(usage.some((count) => count === 0)).toBe(true);
  for (const [pair, count] of usage.entries()) {
    if (count === 0) expect(values.subarray(pair * size, (pair + 1) * size).every((x) => x === 0)).toBe(true);
  }
});
