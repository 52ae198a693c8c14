/** Nearest-neighbour language model (Khandelwal et al. 2020): what followed the most similar states of a datastore, mixed into the model. */
import { z } from "zod";
import { defineShaper, hostOnly } from "../../../engine/method.ts";
import type { ShaperHost } from "../../../engine/shapers/shaper.ts";
import type { MemoryPassage } from "../../../engine/trace.ts";
import { ensure, ofOption, plural } from "../../../errors.ts";
import { baseOf } from "../building.ts";
import { type Datastore, openDatastore } from "../datastore.ts";
import { invertedSearch, usualLists } from "../inverted.ts";
import { neighbourRecollection, sharesOf } from "../neighbours.ts";
import { lambdaOption, recallingShaper } from "../recalling.ts";
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
    datastore: hostOnly(
      z.string().min(1).max(4096).describe("folder of the datastore, which ventris memory build wrote"),
    ),
    k: z
      .int()
      .min(1)
      .max(65536)
      .default(256)
      .describe(
        "how many similar places of the datastore are looked up for each token: more give a smoother memory and take longer",
      ),
    temperature: z
      .number()
      .positive()
      .max(1e6)
      .default(16)
      .describe(
        "divides the squared distances: small lets the nearest neighbour decide, large lets all k count alike; compare values with ventris memory evaluate",
      ),
    lambda: lambdaOption,
    search: z
      .enum(["exact", "inverted"])
      .default("exact")
      .describe(
        "exact looks at all keys; inverted looks only at the lists nearest to the state, which is faster in large datastores and misses some neighbours",
      ),
    probes: z
      .int()
      .min(1)
      .max(65536)
      .default(16)
      .describe("how many lists the search inverted looks at: more miss fewer neighbours and take longer"),
  }),
  async create(host, { datastore: folder, k, temperature, lambda, search: kind, probes }) {
    const { datastore, search } = await openSearch(host, folder, kind === "exact" ? undefined : probes);
    const { card, values, width } = datastore;
    return recallingShaper(host, {
      name: "knn-lm",
      site: card.keySite,
      width,
      lambda,
      async recall(states) {
        const found = await search.find(states, k);
        return found.map((hits) => ({
          ...neighbourRecollection(hits, values, temperature),
          passages: () => passagesOf(host, datastore, hits, temperature),
        }));
      },
    });
  },
});

/** The datastore is read once for a model, and each kind of search prepared once. Without `probes` it is exact. */
async function openSearch({ model }: ShaperHost, folder: string, probes: number | undefined): Promise<Open> {
  const { datastore } = await model.state(`datastore ${folder}`, async () => {
    const datastore = await ofOption("datastore", async () => openDatastore(folder, await baseOf(model)));
    return { datastore, close: () => {} };
  });
  return model.state(`datastore ${folder} ${probes ?? "exact"}`, async () => {
    const lists = usualLists(datastore.entries);
    ensure(
      probes === undefined || probes <= lists,
      "bad_option",
      `probes: the inverted file of ${folder} has ${plural(lists, "list")}, fewer than ${probes}`,
    );
    const search = probes === undefined ? await exactSearch(datastore) : await invertedSearch(datastore, { probes });
    return { datastore, search, close: search.close };
  });
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
