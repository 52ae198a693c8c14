/** Beam search, and stochastic beams: sequences sampled without replacement (Kool, van Hoof and Welling 2019). */
import { z } from "zod";
import { defineMethod } from "../../../engine/method.ts";
import { ensure } from "../../../errors.ts";
import { concludeBeams, searchBeams } from "../beams.ts";
import { sampleBeams } from "../stochastic.ts";

export const beamOptions = z.strictObject({
  beams: z
    .int()
    .min(1)
    .max(512)
    .default(4)
    .describe("how many texts are grown side by side: more find likelier texts, and cost a row of every pass each"),
  lengthPenalty: z
    .number()
    .min(-8)
    .max(8)
    .default(0)
    .describe(
      "a finished text's score is its log-probability over its length to this power: 0 favours short texts, 1 compares the mean of a token, larger favours long texts",
    ),
  earlyStopping: z
    .boolean()
    .default(false)
    .describe(
      "stop as soon as there are as many finished texts as beams, though one still growing could become better: faster, and sometimes a worse text",
    ),
});

export const beam = defineMethod({
  name: "beam",
  family: "search",
  summary: "keeps the likeliest texts side by side; n-best with scores",
  source: "beam search; stochastic: Kool et al. 2019 (arXiv 1903.06059)",
  lossless: false,
  options: beamOptions.extend({
    stochastic: z
      .boolean()
      .default(false)
      .describe(
        "draw different texts at random, as often as the model would say them, instead of keeping the likeliest; for samples without repeats",
      ),
  }),
  varies: ({ stochastic }) => stochastic,
  async decode(decoding, { beams, lengthPenalty, earlyStopping, stochastic }) {
    if (stochastic) {
      ensure(lengthPenalty === 0, "bad_option", "lengthPenalty: stochastic beams are a sample, which it would distort");
      concludeBeams(decoding, await sampleBeams(decoding, beams), 0, "augmented");
      return;
    }
    const diversity = { kind: "hamming", strength: 0, length: 2, temperature: 1, penalizeEnd: true } as const;
    const settings = { beams, groups: 1, diversity, lengthPenalty, earlyStopping, rankBy: "raw" } as const;
    concludeBeams(decoding, await searchBeams(decoding, settings), lengthPenalty, "raw");
  },
});
