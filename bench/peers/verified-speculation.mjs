/**
 * Speculation on llama.cpp through node-llama-cpp's public low-level calls, greedy. Its own loop (3.22) never accepts more
 * than one predicted token a pass (`validatedTokens` in LlamaContext.js is read and never filled), and its draft predictor
 * loses step with the text after a stop by confidence; this is what the same library can do without the two faults.
 */

/** @typedef {import("node-llama-cpp").LlamaContextSequence} Sequence */
/** @typedef {import("node-llama-cpp").Token} Token */
/** @typedef {(text: readonly Token[]) => Promise<Token[]>} Propose tokens that may follow the text */

/**
 * Continues a text; the sequence has evaluated all of it but the last token.
 * @param {Sequence} sequence @param {readonly Token[]} prompt @param {Propose} propose
 * @returns {AsyncGenerator<{ tokens: Token[], drafted: number }>} what each pass added: accepted tokens and one of the model's own
 */
export async function* speculate(sequence, prompt, propose) {
  const text = prompt.slice();
  const generateNext = { token: true, options: { temperature: 0 } };
  for (;;) {
    const drafted = await propose(text);
    const inputs = [text[text.length - 1], ...drafted];
    const results = await sequence.controlledEvaluate(inputs.map((token) => [token, { generateNext }]));
    const chosen = results.map((result) => /** @type {Token} */ (result?.next.token));
    const parting = drafted.findIndex((token, i) => token !== chosen[i]);
    const accepted = parting < 0 ? drafted.length : parting;
    const end = sequence.nextTokenIndex;
    if (accepted < drafted.length) {
      await sequence.eraseContextTokenRanges([{ start: end - (drafted.length - accepted), end }]);
    }
    const tokens = chosen.slice(0, accepted + 1);
    text.push(...tokens);
    yield { tokens, drafted: drafted.length };
  }
}

/**
 * Drafts with a smaller model, always from the true text, until it is less sure than `minConfidence`.
 * @param {Sequence} draft @param {{ maxTokens?: number, minConfidence?: number }} [options] @returns {Propose}
 */
export function draftFrom(draft, { maxTokens = 8, minConfidence = 0.4 } = {}) {
  return async (text) => {
    await draft.adaptStateToTokens(text.slice(0, -1), false);
    /** @type {Token[]} */
    const drafted = [];
    const missing = text.slice(draft.nextTokenIndex);
    for await (const { token, confidence } of draft.evaluateWithMetadata(
      missing,
      { confidence: true },
      { temperature: 0, yieldEogToken: true },
    )) {
      if (confidence < minConfidence) break;
      drafted.push(token);
      if (drafted.length >= maxTokens) break;
    }
    return drafted;
  };
}

/** Looks up with the library's own predictor. @param {import("node-llama-cpp").InputLookupTokenPredictor} predictor @returns {Propose} */
export function lookUpWith(predictor) {
  return async (text) => {
    predictor.updateInputTokens(text.slice(0, -1));
    predictor.reset({ stateTokens: text.slice() });
    return predictor.predictTokens();
  };
}
