/** How states of every layer lie to what comes next, as the studio draws it: few contexts, of texts that the model writes itself. */
import { ensure } from "../errors.ts";
import { markov, ownTexts } from "../methods/index.ts";
import type { Model } from "../open.ts";
import type { MarkovReport, MarkovRequest } from "./protocol.ts";

/** Bounds of a request: contexts, many more than a state has numbers (few flatter every linear reading), and what a probe of the surplus is trained for. */
const [contexts, steps, distances] = [2000, 150, [1]];
/** Numbers of the largest arrays: predictions of all contexts, and an output matrix. */
const mostNumbers = 2 ** 26;

/** Errors: `bad_option` for a model that is too large for this, or a reference of another vocabulary; `aborted`. */
export async function servedMarkov(
  model: Model,
  { what, reference }: Pick<MarkovRequest, "what"> & { readonly reference?: Model },
  signal: AbortSignal,
): Promise<MarkovReport> {
  const { vocabularySize, hiddenSize } = model.config;
  ensure(
    vocabularySize * Math.max(contexts, hiddenSize) <= mostNumbers,
    "bad_option",
    `${model.name} is too large for this page, which measures while others wait; use ventris inspect markov --model ${model.name}`,
  );
  const same = !reference || reference.tokenizer?.fingerprint === model.tokenizer?.fingerprint;
  ensure(same, "bad_option", () => `${model.name} and ${reference!.name} do not share a tokenizer`);
  const texts = await ownTexts(model, { count: 48, tokens: 64 });
  const head = await markov.headOf(model);
  return markov.measureMarkov({ model, texts, head, what, reference, contexts, steps, distances, signal });
}
