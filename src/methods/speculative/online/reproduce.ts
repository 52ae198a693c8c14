/** The claims of online speculative decoding: acceptance on a stream, recovery after a change, speed, the target's own output. */
import {
  defineReproduction,
  type Json,
  type Measurement,
  type Model,
  type ReproductionContext,
} from "../../../papers/reproduction.ts";
import { bootstrap, mean, ratioOf } from "../../../papers/statistics.ts";
import { documents } from "../../../text/text-files.ts";
import { serve, spread, storyData, storyPrompts } from "../measuring.ts";

const draft = "pylos";
const method = { name: "online" as const, draft };
/** A draft that has not learned yet is otherwise the shipped one in 8 bits, a learned one has float32 weights: like with like. */
const inFloat32 = { afterSwap: "keep" as const };

/** What one request showed: draft positions asked and their exact acceptance, and the speed. */
type Shown = { positions: number; exact: number; tokensPerSecond: number };

async function request(model: Model, prompt: readonly number[], options: object): Promise<Shown> {
  const { events, tokensPerSecond } = await serve(model, prompt, { minTokens: 0, ...options });
  const seen = events.findLast((event) => event.type === "learn" && event.acceptance !== undefined);
  const { positions = 0, exact = 0 } = (seen?.type === "learn" && seen.acceptance) || {};
  return { positions, exact, tokensPerSecond };
}

/** Acceptance over requests, each position counted once. */
const acceptance = (shown: readonly Shown[]): number =>
  shown.reduce((sum, { exact, positions }) => sum + exact * positions, 0) /
  Math.max(
    1,
    shown.reduce((sum, { positions }) => sum + positions, 0),
  );

/** Questions about tables and their queries, three solved before each: the paper's stream of the largest gain. */
async function tableQuestions({ size, data }: ReproductionContext): Promise<string[]> {
  const pairs: { question: string; query: string }[] = [];
  if (size === "tiny") {
    for (const name of ["singers", "pets", "schools", "ships", "books", "cities"]) {
      pairs.push({ question: `How many ${name} are there?`, query: `SELECT count(*) FROM ${name}` });
      pairs.push({ question: `Name all ${name}.`, query: `SELECT name FROM ${name}` });
    }
  } else {
    const fields = ["question", "query"] as const;
    const path = data("spider", "dev.jsonl");
    const read = fields.map(async (field) => {
      const texts: string[] = [];
      for await (const text of documents({ path, field })) texts.push(text);
      return texts;
    });
    const [questions, queries] = await Promise.all(read);
    questions.forEach((question, i) => {
      pairs.push({ question, query: queries[i] });
    });
  }
  return pairs.map(({ question }, i) => {
    const solved = [1, 38, 75].map((offset) => pairs[(i + offset) % pairs.length]);
    const shots = solved.map((other) => `Question: ${other.question}\nSQL: ${other.query}\n\n`).join("");
    return `${shots}Question: ${question}\nSQL:`;
  });
}

/** Paragraphs of speeches, another kind of text. */
async function speeches({ size, data }: ReproductionContext): Promise<string[]> {
  if (size === "tiny")
    return ["Fellow citizens of the Senate and of the House of Representatives, the state of the Union is strong, and"];
  const found: string[] = [];
  for await (const text of documents({ path: data("us-speeches", "state_union.jsonl.gz") })) {
    found.push(...text.split(/\n+/).filter((paragraph) => paragraph.length > 300));
  }
  return found;
}

export const reproduction = defineReproduction({
  sizes: {
    tiny: { requests: 6, tokens: 16, further: 2, after: 2, prompts: 1 },
    quick: { requests: 80, tokens: 64, further: 12, after: 40, prompts: 4 },
    full: { requests: 240, tokens: 96, further: 48, after: 160, prompts: 24 },
  },
  steps: () => 2,
  data: () => [...storyData, "spider/dev.jsonl", "us-speeches/state_union.jsonl.gz"],
  async measure(context, { requests, tokens, further, after, prompts: count }): Promise<Measurement[]> {
    const { open, step, signal, seed } = context;
    const settings = { maxTokens: tokens, temperature: 0.8, seed, signal };
    // Each side has a model of its own, with a draft and a learner of its own.
    const model = await open("knossos", { threads: 1 });
    const still = await open("knossos", { threads: 1, device: "cpu" });
    const encode = (text: string): number[] => [...model.tokenizer!.encode(text)].slice(-160);
    const questions = spread(await tableQuestions(context), requests + further).map(encode);
    const others = spread(await speeches(context), after).map((text) => encode(text).slice(0, 96));
    const stories = await storyPrompts(context, model, count, 64);

    // The learner lives in the open model, so that a stream is one step; both sides take turns within it.
    const stream = (await step("the stream", async ({ progress }) => {
      const served: {
        learning: Shown[];
        fixed: Shown[];
        speeds: [number, number][];
        learningAfter: Shown[];
        fixedAfter: Shown[];
      } = { learning: [], fixed: [], speeds: [], learningAfter: [], fixedAfter: [] };
      const total = requests + further + others.length;
      const both = async (prompt: readonly number[], i: number, learn: boolean): Promise<[Shown, Shown]> => {
        progress(i / total);
        const own = await request(model, prompt, { ...settings, request: i, method: { ...method, learn } });
        const unlearned = { ...method, learn: false, ...inFloat32 };
        return [own, await request(still, prompt, { ...settings, request: i, method: unlearned })];
      };
      await both(questions[0], 0, false); // opens the drafts
      for (const [i, prompt] of questions.slice(0, requests).entries()) {
        const [own, other] = await both(prompt, i, true);
        served.learning.push(own);
        served.fixed.push(other);
      }
      for (const [i, prompt] of questions.slice(requests).entries()) {
        const [own, other] = await both(prompt, requests + i, false);
        // An answer that ends at once has no speed.
        if (own.tokensPerSecond > 0 && other.tokensPerSecond > 0)
          served.speeds.push([own.tokensPerSecond, other.tokensPerSecond]);
      }
      for (const [i, prompt] of others.entries()) {
        const [own, other] = await both(prompt, requests + further + i, true);
        served.learningAfter.push(own);
        served.fixedAfter.push(other);
      }
      return served as unknown as Json;
    })) as unknown as Record<"learning" | "fixed" | "learningAfter" | "fixedAfter", Shown[]> & {
      speeds: [number, number][];
    };

    const same = await step("greedy output while the draft learns", async () => {
      const found: number[] = [];
      for (const prompt of stories) {
        const greedy = { temperature: 0, maxTokens: tokens, signal };
        const plain = await serve(still, prompt, { ...greedy, method: "greedy" });
        const online = await serve(model, prompt, { ...greedy, method: { ...method, interval: 1 } });
        found.push(plain.tokens.join() === online.tokens.join() ? 1 : 0);
      }
      return found;
    });

    const gain = (learning: readonly Shown[], fixed: readonly Shown[]) => {
      const fifth = Math.max(1, Math.floor(learning.length / 5));
      const pairs = learning
        .slice(-fifth)
        .map((own, i) => ({ own, other: fixed[fixed.length - Math.min(fifth, fixed.length) + i] }));
      return {
        ...bootstrap(
          pairs,
          (sample) => acceptance(sample.map(({ own }) => own)) - acceptance(sample.map(({ other }) => other)),
          seed,
        ),
        details: {
          learning: acceptance(pairs.map(({ own }) => own)),
          fixed: acceptance(pairs.map(({ other }) => other)),
        },
      };
    };
    const width = Math.max(1, Math.floor((requests + others.length) / 12));
    const curve = (shown: readonly Shown[]): [number, number][] =>
      Array.from({ length: Math.floor(shown.length / width) }, (_, i): [number, number] => [
        (i + 1) * width,
        acceptance(shown.slice(i * width, (i + 1) * width)),
      ]);
    return [
      {
        claim: "acceptance-rises",
        ...gain(stream.learning, stream.fixed),
        plot: {
          title: "Acceptance over requests served: questions about tables, then speeches",
          x: { label: "requests served" },
          y: { label: "exact acceptance" },
          series: [
            { name: "learning", points: curve([...stream.learning, ...stream.learningAfter]) },
            { name: "static", points: curve([...stream.fixed, ...stream.fixedAfter]) },
          ],
        },
      },
      { claim: "gain-published", ...gain(stream.learning, stream.fixed) },
      { claim: "recovers", ...gain(stream.learningAfter, stream.fixedAfter) },
      { claim: "latency", ...ratioOf(stream.speeds, seed) },
      { claim: "lossless", value: mean(same), count: same.length },
    ];
  },
});
