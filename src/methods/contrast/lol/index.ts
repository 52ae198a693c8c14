/**
 * LOL (Chen et al. 2024): contrast with an amateur that says falsehoods, at the output and at lower exits, both fused; and a term for what an
 * instruction to be truthful raises.
 *
 *     F_L = log p − amateurWeight · log a                              at the output
 *     F_k = log p^k − amateurWeightLow · log a^k                       at a lower exit k
 *     F   = F_L + fusionWeight · mean_k F_k + refocusWeight · (log p(·|u, x) − log p(·|x))
 *
 * among the tokens that the model itself finds plausible.
 */
import { z } from "zod";
import { defineShaper } from "../../../engine/method.ts";
import { ensure } from "../../../errors.ts";
import { besideOf, possibleAmateurOption } from "../beside.ts";
import { alphaOption, contrastShaper, weight } from "../contrast.ts";
import { exitsOf, exitsOption, exitView, mostDifferent } from "../exits.ts";
import { inducedBy, inducingOption } from "../icd/index.ts";
import { divergences, flooredLogProbability, logProbability } from "../view.ts";

const truthfulWords =
  "Answer only with what is true and can be verified. Where nothing is known for certain, say so.\n\n";

export const lol = defineShaper({
  name: "lol",
  summary:
    "contrasts the model with one that says falsehoods, at the output and lower exits, refocused on truthfulness",
  source: "Chen et al. 2024, Lower Layers Matter (arXiv 2408.08769)",
  options: z.strictObject({
    amateur: possibleAmateurOption,
    inducing: inducingOption,
    alpha: alphaOption,
    amateurWeight: weight(1).describe(
      "how strongly what the amateur says is taken away at the output: the factor of its log-probabilities; 0 turns it off",
    ),
    amateurWeightLow: weight(1).describe(
      "how strongly what the amateur says is taken away at the lower exits: larger moves further from it; 0 turns it off",
    ),
    layers: exitsOption
      .optional()
      .describe(
        "lower exits that take part: a list of layers, or every second of the lower or upper half, or all; more cost time at each token; default: the middle one",
      ),
    dynamic: z
      .enum(divergences)
      .optional()
      .describe(
        "take for each token only that exit which differs most from the output, by this divergence (see the option of dola), instead of the mean over all; layers is then all by default; default: off",
      ),
    fusion: z
      .enum(["add", "convex", "logsumexp"])
      .default("add")
      .describe(
        "how the contrasts at the output, F_L, and at lower exits, F_k, become one score with w = fusionWeight: add is F_L + w mean F_k; convex is (1 - w) F_L + w mean F_k; logsumexp is ln(exp F_L + w mean exp F_k), in which the larger one decides",
      ),
    fusionWeight: weight(0.5).describe(
      "how much the contrast at lower exits counts beside that at the output: raise it where the lower layers know better; 0 leaves it out",
    ),
    refocus: z
      .enum(["delta", "replace"])
      .default("delta")
      .describe(
        "what the instruction does: delta adds what it raises to the score, as much as refocusWeight says; replace puts the instructed model in the model's place",
      ),
    refocusWeight: z
      .number()
      .min(0)
      .max(1000)
      .optional()
      .describe(
        "of refocus delta: how much of what the instruction raises is added; 0 leaves the instruction out; default: 0.5",
      ),
    instruction: z
      .string()
      .min(1)
      .max(10_000)
      .default(truthfulWords)
      .describe("words put before the model's text alone, never the amateur's, to turn it to what is true"),
  }),
  async create(host, options) {
    const { alpha, amateurWeight, amateurWeightLow, dynamic, fusion, fusionWeight, refocus } = options;
    const { model } = host;
    ensure(
      fusion !== "convex" || fusionWeight <= 1,
      "bad_option",
      `fusionWeight: a convex fusion needs a weight up to 1, not ${fusionWeight}`,
    );
    ensure(
      refocus === "delta" || options.refocusWeight === undefined,
      "bad_option",
      "refocusWeight: belongs to refocus delta; replace takes the instructed model as it is",
    );
    const refocusWeight = refocus === "delta" ? (options.refocusWeight ?? 0.5) : 0;
    const middle = [Math.floor(model.config.layers / 2)];
    const exits = fusionWeight === 0 ? [] : exitsOf(options.layers ?? (dynamic ? "all" : middle), model);
    const amateur = await inducedBy(host, options, exits);
    const instructed =
      refocus === "replace" || refocusWeight > 0
        ? await besideOf(host, { role: "the instructed model", words: options.instruction })
        : undefined;

    return contrastShaper(host, {
      name: "lol",
      alpha,
      exits,
      beside: instructed ? [amateur, instructed] : [amateur],
      scoring(node, expert) {
        const read = (exit: number) => exitView(node, exit, model.name);
        const taken = dynamic && exits.length > 0 ? [mostDifferent(expert, exits, read, dynamic).exit] : exits;
        const lower = taken.map((exit) => ({ own: read(exit), other: amateur.view(node, exit) }));
        const other = amateur.view(node);
        const told = instructed?.view(node);
        const base = refocus === "replace" ? told! : expert;

        const last = (token: number) =>
          logProbability(base, token) - amateurWeight * flooredLogProbability(other, token);
        const low = (token: number) =>
          lower.map(
            ({ own, other: theirs }) =>
              logProbability(own, token) - amateurWeightLow * flooredLogProbability(theirs, token),
          );
        const raised = (token: number) =>
          refocusWeight === 0 ? 0 : refocusWeight * (logProbability(told!, token) - logProbability(expert, token));
        return {
          exits: taken,
          score: (token) => fuse(fusion, last(token), low(token), fusionWeight) + raised(token),
        };
      },
    });
  },
});

function fuse(how: "add" | "convex" | "logsumexp", last: number, lower: readonly number[], share: number): number {
  if (lower.length === 0) return last;
  const mean = lower.reduce((a, b) => a + b, 0) / lower.length;
  if (how === "add") return last + share * mean;
  if (how === "convex") return (1 - share) * last + share * mean;
  const terms = [last, ...lower.map((value) => value + Math.log(share / lower.length))];
  const largest = Math.max(...terms);
  return largest + Math.log(terms.reduce((sum, term) => sum + Math.exp(term - largest), 0));
}
