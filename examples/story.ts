import { type ChatMessage, open, type TraceEvent, VentrisError } from "ventris";
import { openTokenizer } from "ventris/text";

await using model = await open("knossos", { onProgress: ({ stage }) => console.error(stage) });
const run = model.decode("Once upon a time", {
  method: { name: "prompt-lookup", length: 4 },
  temperature: 0.8,
  topP: 0.95,
  seed: 7,
  maxTokens: 40,
  logprobs: 2,
});
for await (const piece of run.text) process.stdout.write(piece);
const { text, finish, logprobs = [], counters } = await run.final;
console.log(`\n${finish}: ${counters.generated} tokens in ${counters.passes} passes`);

const plain = await model.generate("Once upon a time", { temperature: 0.8, topP: 0.95, seed: 7, maxTokens: 40 });
console.log(plain.text === text ? "the same text without drafts" : "another text");
const unsure = logprobs.reduce((worst, one) => (one.raw < worst.raw ? one : worst));
console.log(`least expected: ${JSON.stringify(unsure.text)}, instead of ${JSON.stringify(unsure.top?.[0].text)}`);
const kinds = new Set<TraceEvent["type"]>();
for await (const event of run) kinds.add(event.type);
console.log(`events: ${[...kinds].join(" ")}`);

const { tokens, perplexity } = await model.score("The dog ran home.");
console.log(
  `${tokens.length} tokens at perplexity ${perplexity.toFixed(1)}, ids ${(await openTokenizer(model.folder)).encode("The dog")}`,
);
const messages: ChatMessage[] = [{ role: "user", content: "Hello" }];
try {
  model.decode(messages);
} catch (error) {
  if (error instanceof VentrisError) console.log(`${error.code}: ${error.message}`);
}
