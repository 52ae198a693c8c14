import { expect, test } from "vitest";
import type { Tokenizer } from "../text/index.ts";
import type { ForestNode } from "./forest.ts";
import { createOutput, type Output } from "./output.ts";
import type { TraceEvent } from "./trace.ts";

const end = 256;
/** One token a byte, and one that ends a text. */
const tokenizer = {
  vocabularySize: 257,
  endTokens: [end],
  tokenBytes: (id: number) => (id < 256 ? Uint8Array.of(id) : new Uint8Array(0)),
} as Partial<Tokenizer> as Tokenizer;

function start(options: Partial<Parameters<typeof createOutput>[0]> = {}): { output: Output; events: TraceEvent[] } {
  const events: TraceEvent[] = [];
  const output = createOutput({
    tokenizer,
    endTokens: [end],
    promptLength: 3,
    contextLength: 100,
    stop: [],
    stopTokens: [],
    maxTokens: 50,
    minTokens: 0,
    describe: undefined,
    emit: (event) => events.push(event),
    ...options,
  });
  return { output, events };
}
const from = {} as ForestNode;
const bytes = (text: string) => [...new TextEncoder().encode(text)].map((token) => ({ token, from }));
const streamed = (events: readonly TraceEvent[]) =>
  events.map((event) => (event.type === "tokens" ? event.text : "")).join("");

/** Every way of cutting the same tokens into rounds must give the same text, tokens and ending. */
function inAllCuts(commitments: ReturnType<typeof bytes>, options: Parameters<typeof start>[0]): Output {
  const results: Output[] = [];
  for (let cuts = 0; cuts < 2 ** (commitments.length - 1); cuts++) {
    const { output, events } = start(options);
    for (let i = 0; i < commitments.length; ) {
      let next = i + 1;
      while (next < commitments.length && !(cuts & (1 << (next - 1)))) next += 1;
      output.commit(commitments.slice(i, next));
      i = next;
    }
    expect(streamed(events)).toBe(output.text);
    results.push(output);
  }
  const { text, tokens, reason, stop, generated } = results[0];
  for (const result of results) expect(result).toMatchObject({ text, tokens, reason, stop, generated });
  return results[0];
}

test("what was held back for a stop string comes after the tokens of the round that ends the text", () => {
  const output = inAllCuts([...bytes("friend."), { token: end, from }], { stop: [".\n"] });
  expect(output).toMatchObject({ text: "friend.", reason: "end", generated: 8 });
  expect(output.tokens).toHaveLength(7);
});

test("so does an unfinished character, and what a limit cuts", () => {
  expect(inAllCuts([...bytes("ab"), { token: 0xc3, from }, { token: end, from }], {}).text).toBe("ab\ufffd");
  expect(inAllCuts(bytes("ab.cd"), { stop: [".\n"], maxTokens: 3 })).toMatchObject({ text: "ab.", reason: "length" });
  expect(inAllCuts(bytes("abcdef"), { contextLength: 6 })).toMatchObject({ text: "abcd", reason: "context" });
});

test("a stop string ends the text, whatever comes behind it in the round", () => {
  expect(inAllCuts(bytes("one. two"), { stop: [". "] })).toMatchObject({ text: "one", reason: "stop", stop: ". " });
  expect(inAllCuts([...bytes("ab"), { token: 0x63, from }], { stopTokens: [0x63] })).toMatchObject({
    text: "ab",
    reason: "stop",
    stop: undefined,
  });
});

test("nothing is taken after the end", () => {
  const { output } = start();
  expect(output.commit([...bytes("a"), { token: end, from }, ...bytes("b")])).toBe(2);
  expect(output.commit(bytes("c"))).toBe(0);
  expect(output.text).toBe("a");
});
