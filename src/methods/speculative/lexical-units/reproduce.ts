/** Lexical unit decoding's claims, on a copy of knossos that is trained for it here: passes, agreement with its own greedy text, code, the dial. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { methodChoice } from "../../../calls.ts";
import { defineReproduction, type Json, type OpenModel } from "../../../papers/reproduction.ts";
import { mean, meanOf, ratioOf } from "../../../papers/statistics.ts";
import { documents } from "../../../text/text-files.ts";
import { isHeldOut } from "../../../training/data.ts";
import { runRecipe } from "../../../training/recipe.ts";
import { readConfig } from "../../../weights/index.ts";
import { rankCorrelation, serve, spread, storyPrompts } from "../measuring.ts";

const betas = [0.5, 0.7, 0.8, 0.9, 0.95, 0.99];
const usual = 0.9;
/** Short structured texts, for the tiny size. */
const structured = [
  "one cat, two cats, three cats, four cats. one dog, two dogs, three dogs, four dogs. one hen, two hens,",
  "The red ball is red. The blue ball is blue. The green ball is green. The yellow ball is yellow. The black",
];

interface Dial {
  /** Tokens a pass, and share of tokens that are the model's own choice after the text before them, by beta. */
  readonly tokensPerPass: number[];
  readonly agreement: number[];
}

async function dialOf(model: OpenModel, prompt: readonly number[], tokens: number, signal: AbortSignal): Promise<Dial> {
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

export const reproduction = defineReproduction({
  sizes: {
    tiny: { prompts: 2, promptTokens: 24, tokens: 16, steps: 2, minutes: 1 },
    quick: { prompts: 6, promptTokens: 64, tokens: 48, steps: 40, minutes: 2 },
    full: { prompts: 40, promptTokens: 128, tokens: 128, steps: 600, minutes: 45 },
  },
  steps: () => 1,
  async measure(context, { prompts: count, promptTokens, tokens, steps, minutes }) {
    const { open, step, signal, seed, size, data } = context;
    const base = await open("knossos");
    // What is trained lives as long as its step: all is measured there.
    const measured = await step("training and measuring", async ({ folder, progress }) => {
      const texts: string[] = [];
      if (size === "tiny") texts.push(...Array.from({ length: 60 }, (_, i) => `${structured[i % 2]} ${i} `.repeat(8)));
      else
        for await (const text of documents({ path: data("gutenberg-stories", "tales.jsonl.gz") }))
          if (!isHeldOut(text)) texts.push(text);
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
        schedule: { kind: "cosine", peak: 3e-4, warmup: Math.min(20, steps - 1) },
        clip: 1,
        continues: { model: base.folder, tokens: 0, minutes: 0 },
        units: { pad: "<|pad|>", threshold: 0.8, longest: 4, most: 12 },
      };
      const path = join(folder, "recipe.json");
      await writeFile(path, JSON.stringify(recipe));
      const out = join(folder, "model");
      const result = await runRecipe(path, {
        dataFolder: folder,
        runFolder: join(folder, "run"),
        out,
        maxSeconds: 60 * minutes,
        signal,
        onProgress: ({ step: at }) => progress(at / steps / 2),
      });
      const model = await open(out);
      const prose = await storyPrompts(context, model, count, promptTokens);
      const encode = (text: string): number[] => [...model.tokenizer!.encode(text)].slice(0, promptTokens);
      const code =
        size === "tiny"
          ? structured.slice(0, count).map(encode)
          : spread(await sqlOf(data("spider", "dev.jsonl")), count).map(encode);
      const dials: { prose: Dial; code: Dial }[] = [];
      for (let i = 0; i < Math.min(prose.length, code.length); i++) {
        dials.push({
          prose: await dialOf(model, prose[i], tokens, signal),
          code: await dialOf(model, code[i], tokens, signal),
        });
        progress(0.5 + (i + 1) / prose.length / 2);
      }
      return { done: result.step, dials } as unknown as Json;
    });
    const { done, dials } = measured as unknown as { done: number; dials: { prose: Dial; code: Dial }[] };
    const at = betas.indexOf(usual);
    const dial = betas.map((beta, i): [number, number] => [
      beta,
      mean(dials.map(({ prose }) => prose.tokensPerPass[i])),
    ]);
    const note = `${done} steps of training`;
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
