/** What diverse beam search claims against beam search of the same width, on openings of held-out stories. */
import { defineReproduction, type Model } from "../../../papers/reproduction.ts";
import { meanOf, ratioOf } from "../../../papers/statistics.ts";
import { storyData, storyPrompts } from "../../speculative/measuring.ts";

const width = 12;
const groups = 6;

/** Distinct n-grams of a list of texts, over its words. */
function distinct(texts: readonly string[], n: number): number {
  const seen = new Set<string>();
  let words = 0;
  for (const text of texts) {
    const list = text.split(/\s+/).filter((word) => word !== "");
    words += list.length;
    for (let i = 0; i + n <= list.length; i++) seen.add(list.slice(i, i + n).join(" "));
  }
  return words === 0 ? 0 : seen.size / words;
}

/** Share of a reference's words, in order, that a text has: the longest common subsequence over the reference's length. */
export function overlap(text: string, reference: string): number {
  const [a, b] = [text, reference].map((one) => one.toLowerCase().match(/[a-z']+/g) ?? []);
  let row = new Array<number>(b.length + 1).fill(0);
  for (const word of a) {
    const next = [0];
    for (let j = 0; j < b.length; j++) next.push(word === b[j] ? row[j] + 1 : Math.max(row[j + 1], next[j]));
    row = next;
  }
  return b.length === 0 ? 0 : row[b.length] / b.length;
}

interface Texts {
  readonly texts: readonly string[];
  readonly best: number;
  readonly first: readonly string[];
}

async function list(
  model: Model,
  prompt: readonly number[],
  method: object,
  maxTokens: number,
  signal: AbortSignal,
): Promise<Texts> {
  const { hypotheses = [] } = await model.decode(prompt, { method, maxTokens, signal } as never).final;
  return {
    texts: hypotheses.map(({ text }) => text),
    best: Math.max(...hypotheses.map(({ logprob }) => logprob)),
    first: hypotheses.filter(({ group }) => group === 0).map(({ text }) => text),
  };
}

export const reproduction = defineReproduction({
  sizes: {
    tiny: { prompts: 4, promptTokens: 24, tokens: 16 },
    quick: { prompts: 12, promptTokens: 64, tokens: 24 },
    full: { prompts: 100, promptTokens: 64, tokens: 32 },
  },
  steps: ({ prompts }) => prompts,
  data: () => storyData,
  async measure(context, { prompts: count, promptTokens, tokens }) {
    const { open, step, signal, seed } = context;
    const model = await open("knossos");
    const prompts = await storyPrompts(context, model, count, promptTokens + tokens);
    const distincts: [number, number][] = [];
    const oracles: [number, number][] = [];
    const scores: [number, number][] = [];
    const same: number[] = [];
    for (const [i, whole] of prompts.entries()) {
      const measured = await step(`prompt ${i + 1}`, async () => {
        const prompt = whole.slice(0, promptTokens);
        const reference = model.tokenizer!.decode(whole.slice(promptTokens), { continued: true });
        const options = { name: "diverse-beam", beams: width, groups, strength: 0.5 };
        const diverse = await list(model, prompt, options, tokens, signal);
        const plain = await list(model, prompt, { name: "beam", beams: width }, tokens, signal);
        const narrow = await list(model, prompt, { name: "beam", beams: width / groups }, tokens, signal);
        const best = (texts: readonly string[]): number => Math.max(...texts.map((text) => overlap(text, reference)));
        return [
          distinct(diverse.texts, 4),
          distinct(plain.texts, 4),
          best(diverse.texts),
          best(plain.texts),
          diverse.best,
          plain.best,
          diverse.first.join("\n") === narrow.texts.join("\n") ? 1 : 0,
        ];
      });
      distincts.push([measured[0], measured[1]]);
      oracles.push([measured[2], measured[3]]);
      scores.push([measured[4], measured[5]]);
      same.push(measured[6]);
    }
    return [
      { claim: "distinct", ...ratioOf(distincts, seed) },
      { claim: "oracle", ...ratioOf(oracles, seed) },
      {
        claim: "score",
        ...meanOf(
          scores.map(([ours, plain]) => ours - plain),
          seed,
        ),
      },
      { claim: "first-group", value: same.reduce((a, b) => a + b, 0) / same.length, count: same.length },
    ];
  },
});
