/**
 * Learn2PD (Bao et al. 2025, arXiv 2509.25188): a small filter, trained once, tells from the confidences of a block which predictions are final
 * already. With it goes end-of-text prediction (EoTP): once the end is predicted, what lies behind it leaves the canvas.
 */
import { z } from "zod";
import { defineUnmasking } from "../../../engine/canvas/method.ts";
import { requireBlocks } from "../../../engine/canvas/options.ts";
import type { CanvasView, Policy, PolicyRequest } from "../../../engine/canvas/policy.ts";
import { hostOnly } from "../../../engine/method.ts";
import { ensure, ofOption } from "../../../errors.ts";
import { evenSchedule, highest, stepsOptions } from "../ranking.ts";
import { type Filter, filterKind, filterOfPart } from "./filter.ts";

export const learn2pdOptions = z.strictObject({
  filter: hostOnly(
    z
      .string()
      .min(1)
      .max(4096)
      .default("learn2pd")
      .describe(
        "the trained filter: a part of the model by its name or folder; none works by end-of-text prediction alone",
      ),
  ),
  threshold: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe(
      "a position is final when the filter's probability exceeds this: lower is faster and less careful; 1 is never exceeded, so that each pass fills one position; default: the filter's own, or 0.96",
    ),
  eotp: z
    .enum(["repo", "filter_only", "off"])
    .default("repo")
    .describe(
      "where the answer is cut at a predicted end of the text: where the filter is sure of it, else at any masked position that predicts it (repo, the authors' program); only where the filter is sure (filter_only), which is more careful; or nowhere (off)",
    ),
  steps: stepsOptions.shape.steps,
});

/** The last position to keep, or none: the first end that the filter accepts, else the surest end that is predicted anywhere behind. */
export function endOfText(
  { masked, later, token, confidence }: Pick<CanvasView, "masked" | "later" | "token" | "confidence">,
  accepted: readonly number[],
  mode: "repo" | "filter_only" | "off",
  ends: ReadonlySet<number>,
): number | undefined {
  if (mode === "off") return undefined;
  const sure = accepted.filter((position) => ends.has(token(position)));
  if (sure.length > 0) return Math.min(...sure);
  if (mode === "filter_only") return undefined;
  const predicted = [...masked, ...later].filter((position) => ends.has(token(position)));
  return highest(predicted, 1, confidence)[0];
}

/** The rule, for a filter that is at hand. */
export function learnedPolicy(
  request: Pick<PolicyRequest, "length" | "blocks" | "endTokens">,
  filter: Filter | undefined,
  { threshold, eotp, steps }: z.output<typeof learn2pdOptions>,
): Policy {
  const countFor = evenSchedule(request, steps, { whole: true });
  return {
    looksAt: eotp === "repo" ? "rest" : "block",
    decide(view) {
      const { block, masked, confidence } = view;
      const accepted = filter ? acceptedBy(filter, view, threshold ?? filter.threshold) : [];
      const always = highest(masked, countFor(view), confidence); // beside the filter's, not instead of them
      const chosen = new Set([...accepted, ...always]);
      const positions = masked.filter((position) => chosen.has(position));
      const last = endOfText(view, accepted, eotp, request.endTokens);
      ensure(last === undefined || last >= block.start, "internal", "the end lies among masked positions");
      return {
        positions,
        reasons: positions.map((position) => (accepted.includes(position) ? "final" : "best")),
        last,
      };
    },
  };
}

/** Masked positions whose probability of being final exceeds the threshold. Errors: `runtime_failed`. */
function acceptedBy(filter: Filter, { block, masked, confidence }: CanvasView, threshold: number): number[] {
  const confidences = Array.from({ length: block.end - block.start }, (_, i) => confidence(block.start + i));
  ensure(confidences.every(Number.isFinite), "runtime_failed", "the model gave confidences that are not finite");
  const logits = filter.logits(confidences);
  return masked.filter((position) => 1 / (1 + Math.exp(-logits[position - block.start])) > threshold);
}

export const learn2pd = defineUnmasking({
  name: "learn2pd",
  summary: "a trained filter says which predictions are final already, and the end of the text cuts the canvas",
  source: "Bao et al. 2025, Learning to Parallel",
  options: learn2pdOptions,
  async policy(request, options) {
    const { model, canvas, template } = request;
    ensure(!template, "bad_option", "learn2pd: its filter looks at blocks of an answer, which a template has not");
    const unused = options.filter === "none" && options.threshold !== undefined;
    ensure(!unused, "bad_option", "threshold: means nothing without a filter, of whose probability it is a bound");
    if (options.filter === "none") return learnedPolicy(request, undefined, options);
    const filter = filterOfPart(await ofOption("filter", () => model.part(options.filter, filterKind)));
    // Where the answer itself must be longer, a block length alone would be the next error.
    requireBlocks(request.length, filter.blockLength, {
      because: `, on which the filter ${options.filter} was trained`,
      otherwise: "train a filter for it",
    });
    ensure(filter.blockLength === canvas.blockLength, "bad_option", () => {
      return `learn2pd: the filter ${options.filter} was trained on blocks of ${filter.blockLength}, but blockLength is ${canvas.blockLength}: give blockLength ${filter.blockLength}, or train a filter for it`;
    });
    return learnedPolicy(request, filter, options);
  },
});
