/** How a setting is chosen on validation prompts. */
import { expect, test } from "vitest";
import { chooseSetting, type Tasks } from "./measuring.ts";

/** Right as a method's options say; one-token decoding, which is no method of the registry, always. */
function tasksOf(right: (options: Record<string, unknown>) => boolean): { tasks: Tasks; runs: { plain: number } } {
  const runs = { plain: 0 };
  const decode = (_: unknown, { method }: { method: Record<string, unknown> }) => {
    const plain = typeof method.method === "object";
    if (plain) runs.plain += 1;
    const text = plain || right(method) ? "right" : "wrong";
    const passes = plain ? 40 : 10 * Number(method.threshold);
    return { final: Promise.resolve({ counters: { passes }, canvas: [], tokens: [], text }) };
  };
  const prompt = { tokens: [1], right: ({ text }: { text: string }) => text === "right" };
  const none = { prompts: [], length: 32, blockLength: 32, filter: async () => "learn2pd" };
  return { tasks: { ...none, model: { decode } as unknown as Tasks["model"], validation: [prompt, prompt] }, runs };
}

test("each way to decode chooses a threshold of its own: what is good enough with end-of-text prediction need not be without", async () => {
  const { tasks, runs } = tasksOf(({ eotp, threshold }) => eotp !== "off" || threshold === 0.9);
  const keys: string[] = [];
  const context = {
    signal: new AbortController().signal,
    step: async <T>(key: string, work: (step: never) => Promise<T>): Promise<T> => {
      keys.push(key);
      return work(undefined as never);
    },
  };
  const settings = [0.5, 0.9].map((threshold) => ({ name: "learn2pd", filter: "none", threshold }));
  const both = await chooseSetting(tasks, context, settings);
  expect(both).toMatchObject({ index: 0, plain: [1, 1] });
  const alone = settings.map((setting) => ({ ...setting, eotp: "off" }));
  const { index, note } = await chooseSetting(tasks, context, alone, { called: "filter alone", plain: both.plain });
  expect(index).toBe(1);
  expect(note).toMatch(/100.0 % right there, one token a pass 100.0 %/);
  expect(runs.plain).toBe(2); // what one token a pass does is known by then
  expect(keys).toEqual(["validation 1", "validation 2", "filter alone, validation 1", "filter alone, validation 2"]);
});
