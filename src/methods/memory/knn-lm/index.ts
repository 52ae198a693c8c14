/** Nearest-neighbour language model (Khandelwal et al. 2020): what followed the most similar states of a datastore, mixed into the model. */
import { totalmem } from "node:os";
import { z } from "zod";
import { defineShaper, hostOnly } from "../../../engine/method.ts";
import type { ShaperHost } from "../../../engine/shapers/shaper.ts";
import type { MemoryPassage } from "../../../engine/trace.ts";
import { baseOf } from "../building.ts";
import { type Datastore, openDatastore } from "../datastore.ts";
import { neighbourLaw, sharesOf } from "../neighbours.ts";
import { lambdaOption, type Recollection, recallingShaper } from "../recalling.ts";
import { exactSearch, type Hits, type Search } from "../search.ts";

/** A datastore with its search, kept with the model until it is closed. */
interface Open {
  readonly datastore: Datastore;
  readonly search: Search;
  close(): Promise<void>;
}

export const knnLm = defineShaper({
  name: "knn-lm",
  summary: "mixes in what followed the most similar states of a datastore of texts",
  source: "Khandelwal et al. 2020, kNN-LM (arXiv 1911.00172)",
  options: z.strictObject({
    datastore: hostOnly(z.string().min(1).max(4096).describe("folder that ventris memory build wrote")),
    k: z.int().min(1).max(65536).default(256).describe("neighbours that are looked up"),
    temperature: z
      .number()
      .positive()
      .max(1e6)
      .default(16)
      .describe("divides squared distances: small, the nearest neighbour decides; large, all k count alike"),
    lambda: lambdaOption,
  }),
  async create(host, { datastore: folder, k, temperature, lambda }) {
    const { datastore, search } = await host.model.state(`datastore ${folder}`, () => openSearch(host, folder));
    const { card, values, width } = datastore;
    return recallingShaper(host, {
      name: "knn-lm",
      site: card.keySite,
      width,
      lambda,
      async recall(states) {
        const found = await search.find(states, k);
        return found.map((hits): Recollection => {
          const { tokens, probabilities } = neighbourLaw(hits, values, temperature);
          const known = new Map(Array.from(tokens, (token, i) => [token, probabilities[i]]));
          return {
            tokens,
            probability: (token) => known.get(token) ?? 0,
            passages: () => passagesOf(host, datastore, hits, temperature),
          };
        });
      },
    });
  },
});

async function openSearch(host: ShaperHost, folder: string): Promise<Open> {
  const datastore = await openDatastore(folder, await baseOf(host.model), { memoryLimit: totalmem() / 2 });
  const search = await exactSearch(datastore);
  return { datastore, search, close: search.close };
}

const [mostPassages, tokensBefore] = [4, 12];

/** The nearest entries with the words that stand before them. */
function passagesOf(
  { model: { tokenizer } }: ShaperHost,
  { values, places }: Datastore,
  { indices, distances }: Hits,
  temperature: number,
): MemoryPassage[] {
  const shares = sharesOf(distances, temperature);
  const text = (tokens: Int32Array): string =>
    tokenizer?.decode([...tokens], { continued: true }) ?? [...tokens].join(" ");
  return Array.from(indices.subarray(0, mostPassages), (entry, i) => {
    // Entries of a document follow one another: the token before place p is the value of the entry before.
    const [document, at] = [places[2 * entry], places[2 * entry + 1]];
    const from = Math.max(0, entry - Math.min(tokensBefore, at - 1));
    return {
      document,
      at,
      before: text(values.subarray(from, entry)),
      next: text(values.subarray(entry, entry + 1)),
      share: shares[i],
      distance: distances[i],
    };
  });
}
