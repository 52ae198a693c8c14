/** Lexical unit decoding's claims, on the copy of knossos that was trained for it: passes, agreement with its own greedy text, code, the dial. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { methodChoice } from "../../../calls.ts";
import { defineReproduction, type Json, type Model } from "../../../papers/reproduction.ts";
import { mean, meanOf, ratioOf } from "../../../papers/statistics.ts";
import { documents } from "../../../text/text-files.ts";
import { runRecipe } from "../../../training/recipe.ts";
import { readConfig } from "../../../weights/index.ts";
import { rankCorrelation, serve, spread, storyData, storyPrompts } from "../measuring.ts";

const betas = [0.5, 0.7, 0.8, 0.9, 0.95, 0.99];
const usual = 0.8;
/** Short structured texts, for the tiny size. */
const structured = [
  "one cat, two cats, three cats, four cats. one dog, two dogs, three dogs, four dogs. one hen, two hens,",
  "The red ball is red. The blue ball is blue. The green ball is green. The yellow ball is yellow. The black",
];

type Dial = {
  /** Tokens a pass, and share of tokens that are the model's own choice after the text before them, by beta. */
  readonly tokensPerPass: number[];
  readonly agreement: number[];
};

async function dialOf(model: Model, prompt: readonly number[], tokens: number, signal: AbortSignal): Promise<Dial> {
  const dial: Dial = { tokensPerPass: [], agreement: [] };
  for (const beta of betas) {
    const method = methodChoice({ name: "lexical-units", beta });
    const served = await serve(model, prompt, { temperature: 0, maxTokens: tokens, signal, method });
    dial.tokensPerPass.push(served.tokensPerPass);
    const scored = await model.score([...prompt, ...served.tokens], { top: 1 });
    dial.agreement.push(
      mean(scored.tokens.slice(prompt.length).map(({ token, top }) => (top![0].token === token ? 1 : 0))),
    );
  }
  return dial;
}

/** A model that is taught units in so many steps: too few to be good, enough to see that all of it works. */
async function train(base: Model, steps: number, seed: number, folder: string, signal: AbortSignal): Promise<string> {
  const texts = Array.from({ length: 60 }, (_, i) => `${structured[i % 2]} ${i} `.repeat(8));
  await writeFile(join(folder, "texts.jsonl"), texts.map((text) => `${JSON.stringify({ text })}\n`).join(""));
  const recipe = {
    name: "knossos-units",
    description: "knossos, trained further for lexical units.",
    licence: "Apache-2.0",
    config: await readConfig(base.folder),
    tokenizer: base.folder,
    data: [{ path: "./texts.jsonl" }],
    heldOut: 0.05,
    rows: 4,
    length: 96,
    steps,
    seed,
    schedule: { kind: "cosine", peak: 3e-4, warmup: 1 },
    clip: 1,
    continues: { model: base.folder, tokens: 0, minutes: 0 },
    units: { pad: "<|pad|>", threshold: 0.8, longest: 4, most: 12 },
  };
  const path = join(folder, "recipe.json");
  await writeFile(path, JSON.stringify(recipe));
  const out = join(folder, "model");
  await runRecipe(path, { dataFolder: folder, runFolder: join(folder, "run"), out, signal });
  return out;
}

export const reproduction = defineReproduction({
  sizes: {
    tiny: { prompts: 2, promptTokens: 24, tokens: 16, trainingSteps: 2 },
    quick: { prompts: 6, promptTokens: 64, tokens: 48, trainingSteps: 0 },
    full: { prompts: 40, promptTokens: 128, tokens: 128, trainingSteps: 0 },
  },
  steps: ({ prompts, trainingSteps }) => (trainingSteps > 0 ? 1 : prompts),
  data: () => [...storyData, "spider/dev.jsonl"],
  async measure(context, { prompts: count, promptTokens, tokens, trainingSteps }) {
    const { open, step, signal, seed, size, data } = context;
    const encode = ({ tokenizer }: Model, text: string): number[] =>
      [...tokenizer!.encode(text)].slice(0, promptTokens);
    const code = size === "tiny" ? structured : spread(await sqlOf(data("spider", "dev.jsonl")), count);
    interface Dials {
      readonly prose: Dial;
      readonly code: Dial;
    }
    const dials: Dials[] = [];
    const measureText = async (model: Model, prose: readonly number[], i: number): Promise<Json> => ({
      prose: await dialOf(model, prose, tokens, signal),
      code: await dialOf(model, encode(model, code[i]), tokens, signal),
    });
    if (trainingSteps > 0) {
      const base = await open("knossos");
      // What is trained lives as long as its step: all is measured there.
      const measured = await step("training and measuring", async ({ folder }) => {
        const model = await open(await train(base, trainingSteps, seed, folder, signal));
        const all: Json[] = [];
        for (const [i, text] of (await storyPrompts(context, model, count, promptTokens)).entries())
          all.push(await measureText(model, text, i));
        return all;
      });
      dials.push(...(measured as unknown as Dials[]));
    } else {
      const model = await open("knossos-units");
      const texts = await storyPrompts(context, model, Math.min(count, code.length), promptTokens);
      for (const [i, text] of texts.entries())
        dials.push((await step(`text ${i + 1}`, () => measureText(model, text, i))) as unknown as Dials);
    }
    const at = betas.indexOf(usual);
    const dial = betas.map((beta, i): [number, number] => [
      beta,
      mean(dials.map(({ prose }) => prose.tokensPerPass[i])),
    ]);
    const note = trainingSteps > 0 ? `${trainingSteps} steps of training` : "the model in the repository";
    return [
      {
        claim: "prose-speed",
        ...meanOf(
          dials.map(({ prose }) => 100 * (1 - 1 / prose.tokensPerPass[at])),
          seed,
        ),
        note,
      },
      {
        claim: "prose-quality",
        ...meanOf(
          dials.map(({ prose }) => 100 * (prose.agreement[at] - 1)),
          seed,
        ),
        note,
      },
      {
        claim: "code-longer",
        ...ratioOf(
          dials.map(({ prose, code }): [number, number] => [code.tokensPerPass[at], prose.tokensPerPass[at]]),
          seed,
        ),
        note,
      },
      {
        claim: "dial",
        value: rankCorrelation(dial),
        count: dials.length,
        note,
        plot: {
          title: "Tokens a pass by the threshold of acceptance",
          x: { label: "beta" },
          y: { label: "tokens a pass" },
          series: [
            { name: "prose", points: dial },
            {
              name: "code",
              points: betas.map((beta, i) => [beta, mean(dials.map(({ code }) => code.tokensPerPass[i]))] as const),
            },
          ],
        },
      },
    ];
  },
});

/** Queries, twelve to a text. */
async function sqlOf(path: string): Promise<string[]> {
  const queries: string[] = [];
  for await (const query of documents({ path, field: "query" })) queries.push(query);
  return Array.from({ length: Math.floor(queries.length / 12) }, (_, i) =>
    queries.slice(12 * i, 12 * i + 12).join("\n"),
  );
}
