/** Diverse beam search (Vijayakumar et al. 2016): beams in groups, each penalised for repeating what the groups before it chose. */
import { z } from "zod";
import { defineMethod } from "../../../engine/method.ts";
import { ensure } from "../../../errors.ts";
import { beamOptions } from "../beam/index.ts";
import { concludeBeams, searchBeams } from "../beams.ts";
import { diversities, needsEmbeddings } from "../diversity.ts";
import { embeddingsOf } from "../embeddings.ts";

export const diverseBeam = defineMethod({
  name: "diverse-beam",
  family: "search",
  summary: "beams in groups that keep away from one another",
  source: "Vijayakumar et al. 2016, Diverse Beam Search (arXiv 1610.02424)",
  lossless: false,
  options: beamOptions.extend({
    beams: z
      .int()
      .min(1)
      .max(512)
      .default(6)
      .describe("how many texts are grown side by side, over all groups together; each costs a row of every pass"),
    groups: z
      .int()
      .min(1)
      .max(512)
      .default(3)
      .describe(
        "groups that the beams are split into; each keeps away from those before it; beams is a multiple of it; 1 is plain beam search",
      ),
    strength: z
      .number()
      .min(0)
      .max(1e9)
      .default(0.5)
      .describe(
        "what a token costs that an earlier group has chosen at this place, in nats: larger makes texts more different and less likely",
      ),
    diversity: z
      .enum(diversities)
      .default("hamming")
      .describe(
        "what counts as a repetition: the same token at the same place (hamming), the more alike the texts so far (cumulative), the same few tokens anywhere (ngram), or, by the cosine of the model's embeddings, a token like it at the same place (embedding) and a few like them anywhere (embedding-ngram)",
      ),
    ngram: z
      .int()
      .min(1)
      .max(16)
      .default(2)
      .describe(
        "how many tokens in a row count as a repetition for the diversities ngram and embedding-ngram: fewer punish more often",
      ),
    diversityTemperature: z
      .number()
      .min(1e-3)
      .max(1e6)
      .default(1)
      .describe(
        "of diversity cumulative: the larger, the longer texts that have parted still count as alike, and are kept away from one another",
      ),
    penalizeEnd: z
      .boolean()
      .default(true)
      .describe(
        "whether ending a text where an earlier group ended one counts as a repetition, too; false leaves the lengths of texts alone",
      ),
    rankBy: z
      .enum(["raw", "augmented"])
      .default("raw")
      .describe(
        "what finished texts are ranked by: raw is their log-probability, so that the likeliest is first; augmented takes off the penalties they paid, as the search itself did",
      ),
  }),
  varies: () => false,
  async decode(decoding, options) {
    const { beams, groups, strength, diversity: kind, ngram, diversityTemperature, penalizeEnd, rankBy } = options;
    const { lengthPenalty, earlyStopping } = options;
    ensure(
      groups === 1 || strength > 0,
      "bad_option",
      "strength: with 0 all groups would be the same; use the method beam, or one group",
    );
    const embeddings = needsEmbeddings(kind) ? await embeddingsOf(decoding.model) : undefined;
    const diversity = { kind, strength, length: ngram, temperature: diversityTemperature, penalizeEnd, embeddings };
    const settings = { beams, groups, diversity, lengthPenalty, earlyStopping, rankBy };
    concludeBeams(decoding, await searchBeams(decoding, settings), lengthPenalty, rankBy);
  },
});
