/**
 * Extremely greedy parallel decoding (Bao et al. 2025, arXiv 2509.25188): fills every position whose prediction is already that of a
 * given answer. It needs the answer, so it is a bound on what any rule could do, and the source of labels for those that learn.
 */
import { z } from "zod";
import { defineUnmasking } from "../../../engine/canvas/method.ts";
import type { CanvasView, Policy } from "../../../engine/canvas/policy.ts";
import { ensure } from "../../../errors.ts";

/**
 * The rule: what is predicted rightly is filled. Where a block's predictions are those of a pass since which nothing was filled, nothing will change
 * any more, and the answer is given: without a cache that is the pass before, and with one that is computed anew in turns an earlier one. `onPass` is shown every pass, before anything is filled.
 */
export function greedyParallel(answer: (position: number) => number, onPass?: (view: CanvasView) => void): Policy {
  let seen = new Set<string>();
  return {
    looksAt: "block",
    patience: Number.POSITIVE_INFINITY, // the answer ends it
    decide(view) {
      const { step, block, masked, token } = view;
      onPass?.(view);
      const all = Array.from({ length: block.end - block.start }, (_, i) => token(block.start + i)).join();
      const stalled = step > 0 && seen.has(all);
      const right = (position: number): boolean => token(position) === answer(position);
      const positions = stalled ? masked : masked.filter(right);
      if (step === 0 || positions.length > 0) seen = new Set();
      seen.add(all);
      const reasons = positions.map((position) => (right(position) ? "right" : "given"));
      return { positions, reasons, tokens: positions.map(answer) };
    },
  };
}

export const oracle = defineUnmasking({
  name: "oracle",
  summary: "fills what already agrees with a given answer: the bound for all other rules",
  source: "Bao et al. 2025, Learning to Parallel",
  options: z.strictObject({
    reference: z
      .array(z.int().min(0))
      .min(1)
      .max(2 ** 16)
      .optional()
      .describe(
        "the answer that is agreed with, as token ids, one for each position: the field canvas of another run's result, usually of low-confidence with earlyStop: false, as one that ends early may leave masks; without it the method cannot run",
      ),
  }),
  policy({ settings, start, length, template, model }, { reference }) {
    ensure(
      reference,
      "bad_option",
      "oracle needs the answer: give reference, the canvas of a run of low-confidence with earlyStop: false",
    );
    ensure(!template, "bad_option", "oracle: its reference is an answer behind a prompt; a template has none");
    ensure(
      settings.temperature === 0,
      "bad_option",
      `oracle: temperature is ${settings.temperature}, but only at 0 can predictions be compared with an answer`,
    );
    ensure(reference.length === length, "bad_option", () => {
      return `oracle: the reference has ${reference.length} tokens, but the canvas ${length} positions (maxTokens)`;
    });
    const { vocabularySize, diffusion } = model.config;
    ensure(
      !reference.includes(diffusion!.maskToken),
      "bad_option",
      "oracle: the reference has masks, which a run leaves that ends early: take the canvas of one with earlyStop: false",
    );
    const wrong = reference.find((token) => token >= vocabularySize);
    ensure(wrong === undefined, "bad_option", `oracle: the reference has the token ${wrong}, which the model has not`);
    return greedyParallel((position) => reference[position - start]);
  },
});
