/** docs/traces.md: an example of every event, each as the format has it; and a real trace, too. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { open } from "../src/index.ts";
import { traceEvent } from "./trace-schema.ts";

const page = readFileSync(new URL("../docs/traces.md", import.meta.url), "utf8");
const lines = [...page.matchAll(/```jsonl\n([\s\S]*?)```/g)].flatMap(([, block]) => block.trim().split("\n"));

it("has a valid example of every kind of event, and of nothing else", () => {
  const kinds = lines.map((line) => traceEvent.parse(JSON.parse(line)).type);
  const known = traceEvent.options.map(({ shape }) => shape.type.value);
  expect([...kinds].sort()).toEqual([...known].sort());
});

it("describes what a run emits: numbers of requests, texts of tokens", async () => {
  await using model = await open("knossos", { threads: 1 });
  const run = model.decode("Once upon a time", { maxTokens: 8, logprobs: 1, request: 5, method: "prompt-lookup" });
  for await (const event of run) {
    expect(traceEvent.parse(JSON.parse(JSON.stringify(event))).request).toBe(5);
    if (event.type === "start") expect(event.texts!.join("")).toContain("Once upon a time");
  }
});
