/** Multimodal speculative decoding's claims: tokens a pass over a coupled draft's, with pictures and of texts; what drafts see; speed; identity. */
import { methodChoice } from "../../../calls.ts";
import { defineReproduction, type Json, type Model } from "../../../papers/reproduction.ts";
import { bootstrap, mean, meanOf, ratioOf } from "../../../papers/statistics.ts";
import { draftAgreement, sceneQuestions, textQuestions, visionQuestions } from "./measuring.ts";

type Prompt = Parameters<Model["decode"]>[0];

/** Tokens after the first, and target passes for them. */
type Counted = readonly [tokens: number, passes: number];

interface Row {
  readonly same: number;
  readonly counted: Counted;
  readonly coupled: Counted;
  /** Tokens a second, drafted and plain. */
  readonly speeds: readonly [number, number];
}

/** First choices of a draft that agree with the model's answer, with the picture that was asked about and with another's. */
type Agreement = Awaited<ReturnType<typeof draftAgreement>>;
const seers = ["multimodal", "text-only"] as const;

const perPass = (counted: readonly Counted[]): number =>
  counted.reduce((sum, [tokens]) => sum + tokens, 0) / counted.reduce((sum, [, passes]) => sum + passes, 0);

/** Over prompts, which are drawn anew for the interval. */
const overCoupled = (rows: readonly Row[], seed: number) =>
  bootstrap(
    rows.filter(({ counted: [tokens] }) => tokens > 0),
    (sample) => perPass(sample.map(({ counted }) => counted)) / perPass(sample.map(({ coupled }) => coupled)),
    seed,
  );

export const reproduction = defineReproduction({
  sizes: {
    tiny: { prompts: 2, tokens: 12, budget: 8 },
    quick: { prompts: 24, tokens: 48, budget: 24 },
    full: { prompts: 200, tokens: 64, budget: 24 },
  },
  steps: ({ prompts }) => 3 * prompts,
  async measure({ open, step, signal, seed }, { prompts: count, tokens: maxTokens, budget }) {
    const model = await open("argos");
    const size = model.config.vision!.imageSize;
    const drafted = (layer: string) => methodChoice({ name: "multimodal", layer, budget, depth: 5, width: 8 });
    async function rowOf(prompt: Prompt, request: number): Promise<Row> {
      const settings = { temperature: 0, maxTokens, seed, request, signal };
      const run = async (method?: ReturnType<typeof drafted>) => {
        const { tokens, counters, seconds } = await model.decode(prompt, { ...settings, method: method ?? "greedy" })
          .final;
        const after = counters.generated - 1;
        const counted: Counted = after > 0 ? [after, after / counters.tokensPerPass] : [0, 0];
        return { tokens, counted, speed: after / Math.max(seconds.decode, 1e-9) };
      };
      const plain = await run();
      const [own, coupled] = [await run(drafted("multimodal")), await run(drafted("coupled"))];
      const same = [own, coupled].every(({ tokens }) => tokens.join() === plain.tokens.join());
      return { same: same ? 1 : 0, counted: own.counted, coupled: coupled.counted, speeds: [own.speed, plain.speed] };
    }
    const kept = async <T>(key: string, work: () => Promise<T>): Promise<T> =>
      (await step(key, async () => (await work()) as unknown as Json)) as unknown as T;

    const shown: Row[] = [];
    for (const [i, { prompt }] of sceneQuestions(count, { size, seed: seed + 500 }).entries())
      shown.push(await kept(`picture ${i + 1}`, () => rowOf(prompt, i)));
    const scenes = sceneQuestions(count + 1, { size, seed: seed + 700, kinds: visionQuestions });
    const swapped: Agreement[][] = [];
    for (let i = 0; i < count; i++) {
      const [{ prompt }, { prompt: other }] = [scenes[i], scenes[i + 1]];
      const both = async (): Promise<Agreement[]> => {
        const agreements: Agreement[] = [];
        for (const layer of seers) agreements.push(await draftAgreement(model, layer, { prompt, other, maxTokens }));
        return agreements;
      };
      swapped.push(await kept(`swapped ${i + 1}`, both));
    }
    const texts: Row[] = [];
    for (const [i, { content }] of textQuestions(count, seed + 500).entries())
      texts.push(await kept(`text ${i + 1}`, () => rowOf([{ role: "user", content }], count + i)));

    const looking = (draft: number) => {
      const agreements = swapped.map((each) => each[draft]).filter(({ count }) => count > 0);
      const falls = agreements.map(({ own, swapped, count }) => (own - swapped) / count);
      const details = { right: mean(agreements.map(({ own, count }) => own / count)) };
      return { ...meanOf(falls.length > 0 ? falls : [0], seed), ...(falls.length > 0 && { details }) };
    };
    const rates = (rows: readonly Row[], side: "counted" | "coupled") =>
      perPass(rows.map((row) => row[side]).filter(([tokens]) => tokens > 0));
    return [
      {
        claim: "accepted",
        ...overCoupled(shown, seed),
        details: { decoupled: rates(shown, "counted"), coupled: rates(shown, "coupled") },
      },
      {
        claim: "text",
        ...overCoupled(texts, seed),
        details: { decoupled: rates(texts, "counted"), coupled: rates(texts, "coupled") },
      },
      { claim: "looks", ...looking(0) },
      { claim: "blind", ...looking(1) },
      {
        claim: "speed",
        ...ratioOf(
          shown.map(({ speeds }) => speeds),
          seed,
        ),
      },
      { claim: "lossless", value: mean([...shown, ...texts].map(({ same }) => same)), count: 2 * count },
    ];
  },
});
