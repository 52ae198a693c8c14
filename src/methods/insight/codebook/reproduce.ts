/** The claims about codebook features on the finite-state task, and on stories where knossos has its codebooks. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { TimedEvent } from "../../../engine/trace.ts";
import { defineReproduction, type Measurement } from "../../../papers/reproduction.ts";
import { meanOf, ratioOf } from "../../../papers/statistics.ts";
import { readTexts } from "../../../text/text-files.ts";
import { automatonEntropy, randomAutomaton, walkTokens } from "./automaton.ts";
import { automatonScale, trainAutomatonModel } from "./automaton-model.ts";
import { idsReading } from "./bottleneck.ts";
import { codebookEdits, openCodebooks } from "./index.ts";
import { type Codebook, codebookKind } from "./part.ts";
import { patchingOf } from "./patching.ts";
import { bestNeuron, type CachedSite, type Reading, searchCodes } from "./search.ts";
import { steerStories } from "./steering.ts";

type Sizes = {
  /** Of the finite-state task and its model. */
  states: number;
  width: number;
  layers: number;
  codes: number;
  plainSteps: number;
  steps: number;
  pairs: number;
  walks: number;
  /** Of steering: stories that codes are looked for in, and texts written for each topic. */
  stories: number;
  samples: number;
};

const { width, layers, codes } = automatonScale;

export const reproduction = defineReproduction<Sizes>({
  sizes: {
    tiny: {
      ...{ states: 10, width: 16, layers: 1, codes: 16, plainSteps: 10, steps: 10, pairs: 3, walks: 4 },
      ...{ stories: 0, samples: 0 },
    },
    quick: {
      ...{ states: 100, width, layers, codes, plainSteps: 4000, steps: 2000, pairs: 100, walks: 100 },
      ...{ stories: 300, samples: 4 },
    },
    full: {
      ...{ states: 100, width, layers, codes, plainSteps: 12_000, steps: 6000, pairs: 400, walks: 400 },
      ...{ stories: 1000, samples: 40 },
    },
  },
  steps: () => 2,
  data: ({ stories }) => (stories > 0 ? ["tinystories/tinystories-1000.jsonl.gz"] : []),
  async measure(
    { open, step, signal, seed, data },
    { states, plainSteps, steps, pairs, walks, stories, samples, ...shape },
  ): Promise<Measurement[]> {
    const automaton = randomAutomaton({ states, branches: Math.min(10, states - 1) });
    let folder = "";
    const trained = await step("training", async ({ folder: own, progress }) => {
      folder = join(own, "model");
      const total = plainSteps + steps;
      const result = await trainAutomatonModel(automaton, folder, {
        ...automatonScale,
        ...shape,
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
    const steered = await step("steering", async ({ progress }) => {
      const model = await open("knossos");
      if (stories === 0 || !existsSync(join(model.folder, "parts", codebookKind))) return [];
      const texts: string[] = [];
      for await (const text of readTexts([data("tinystories", "tinystories-1000.jsonl.gz")]))
        if (texts.push(text) >= stories) break;
      const options = { texts, samples, seed, signal, onProgress: progress };
      return (await steerStories(model, await openCodebooks(model, codebookKind), options)).map((one) => ({ ...one }));
    });
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
      ...(steered.length > 0
        ? [
            {
              claim: "steering",
              ...meanOf(
                steered.map(({ free, patched }) => 100 * (patched - free)),
                seed,
              ),
              details: Object.fromEntries(
                steered.map(({ topic, free, patched, random }) => [
                  topic,
                  `${(100 * free).toFixed(1)} % free, ${(100 * patched).toFixed(1)} % patched, ${(100 * random).toFixed(1)} % with random codes`,
                ]),
              ),
            },
          ]
        : []),
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
  /** A text that the model writes through its codebooks, and the codes that fire in its last layer at every token. */
  async trace(signal, open) {
    await using model = await open("knossos");
    const codebooks = await openCodebooks(model, codebookKind);
    const { site } = codebooks[codebooks.length - 1].bottleneck;
    const run = model.decode("Once upon a time there was a", {
      temperature: 0,
      maxTokens: 32,
      taps: [idsReading(site)],
      shapers: [{ name: "codebook" }],
      signal,
    });
    const events: TimedEvent[] = [];
    const started = performance.now();
    for await (const event of run) events.push({ ...event, at: (performance.now() - started) / 1000 });
    return events;
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
