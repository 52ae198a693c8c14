/** The claims about codebook features that the finite-state task can measure; steering of stories waits for a codebook of a language model. */
import { join } from "node:path";
import { defineReproduction, type Measurement } from "../../../papers/reproduction.ts";
import { meanOf, ratioOf } from "../../../papers/statistics.ts";
import { automatonEntropy, randomAutomaton, walkTokens } from "./automaton.ts";
import { automatonScale, trainAutomatonModel } from "./automaton-model.ts";
import { idsReading } from "./bottleneck.ts";
import { codebookEdits, openCodebooks } from "./index.ts";
import type { Codebook } from "./part.ts";
import { patchingOf } from "./patching.ts";
import { bestNeuron, type CachedSite, type Reading, searchCodes } from "./search.ts";

type Sizes = { states: number; plainSteps: number; steps: number; pairs: number; walks: number };

export const reproduction = defineReproduction<Sizes>({
  sizes: {
    tiny: { states: 10, plainSteps: 20, steps: 20, pairs: 4, walks: 4 },
    quick: { states: 100, plainSteps: 4000, steps: 2000, pairs: 100, walks: 100 },
    full: { states: 100, plainSteps: 12_000, steps: 6000, pairs: 400, walks: 400 },
  },
  steps: () => 2,
  async measure({ open, step, signal, seed }, { states, plainSteps, steps, pairs, walks }): Promise<Measurement[]> {
    const automaton = randomAutomaton({ states, branches: Math.min(10, states - 1) });
    let folder = "";
    const trained = await step("training", async ({ folder: own, progress }) => {
      folder = join(own, "model");
      const total = plainSteps + steps;
      const result = await trainAutomatonModel(automaton, folder, {
        ...automatonScale,
        sites: "both",
        plainSteps,
        steps,
        seed,
        signal,
        onProgress: ({ step: done, totalSteps }) => progress((done + (totalSteps === steps ? plainSteps : 0)) / total),
      });
      const model = await open(folder);
      const codebooks = await openCodebooks(model, "codebook");
      const patching = await patchingOf(model, codebooks, automaton, pairs, seed);
      const texts = Array.from({ length: walks }, (_, i) => walkTokens(automaton, automatonScale.length, seed + 1, i));
      const precision = await precisionOf(model, codebooks, texts, states);
      return {
        loss: result.loss,
        plain: result.plain ?? 0,
        patching: { ...patching, pairs: patching.pairs.map((pair) => [...pair]) },
        precision: precision.map((pair) => [...pair]),
      };
    });
    const { patching } = trained;
    await step("done", async () => true);
    return [
      {
        claim: "loss",
        value: trained.loss - trained.plain,
        count: 1,
        note: `${trained.loss.toFixed(3)} against ${trained.plain.toFixed(3)}; no model is below ${automatonEntropy(automaton, automatonScale.length).toFixed(3)}`,
      },
      {
        claim: "precision",
        ...meanOf(
          trained.precision.map(([code, neuron]) => 100 * (code - neuron)),
          seed,
        ),
      },
      {
        claim: "patching",
        ...ratioOf(
          patching.pairs.map(([a, b]) => [a, b] as const),
          seed,
        ),
        details: {
          "feed-forward alone": patching.mlp,
          "attention alone": patching.attention,
          "random codes": patching.random,
        },
      },
    ];
  },
});

/** For each state that the walks visit: precision of its best code, and of the best feed-forward neuron at that code's recall. */
async function precisionOf(
  model: Pick<Reading, "forward">,
  codebooks: readonly Codebook[],
  texts: readonly (readonly number[])[],
  states: number,
): Promise<[number, number][]> {
  const sites = codebooks.map(({ bottleneck }) => bottleneck.site);
  const neuronSites = sites.flatMap((site) => (site.endsWith("mlp.output") ? [site.replace("output", "neurons")] : []));
  const results = await model.forward(
    texts.map((tokens) => ({ tokens, logits: "none" as const })),
    { taps: [...sites.map(idsReading), ...neuronSites], edits: codebookEdits(codebooks) },
  );
  const joined = (tap: string): { width: number; values: Float32Array } => ({
    width: results[0].taps[tap].width,
    values: Float32Array.from(results.flatMap(({ taps }) => Array.from(taps[tap].values))),
  });
  const cached = codebooks.map(({ bottleneck: { site, groups, codes, k } }): CachedSite => {
    const ids = Uint32Array.from(joined(idsReading(site)).values);
    const counts = new Uint32Array(groups * codes);
    for (let i = 0; i < ids.length; i++) counts[Math.floor((i % (groups * k)) / k) * codes + ids[i]]++;
    return { site, groups, codes, k, ids, counts };
  });
  const neurons = neuronSites.map(joined);
  const pairs: [number, number][] = [];
  for (let state = 0; state < states; state++) {
    const places: number[] = [];
    let from = 0;
    for (const tokens of texts) {
      for (let at = 2; at < tokens.length; at += 2)
        if (10 * tokens[at - 1] + tokens[at] === state) places.push(from + at);
      from += tokens.length;
    }
    if (places.length < 2) continue;
    const [best] = searchCodes({ sites: cached }, places, { precision: 0, limit: 1 }).sort(
      (a, b) => b.precision - a.precision || b.recall - a.recall,
    );
    if (!best) continue;
    pairs.push([
      best.precision,
      Math.max(...neurons.map((values) => bestNeuron(values, places, best.recall).precision)),
    ]);
  }
  return pairs;
}
