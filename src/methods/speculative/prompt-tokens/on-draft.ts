/**
 * Prompt tokens on a draft model (Chen et al. 2024, section 5.4): the draft says its own continuation in fewer passes, and the target verifies it as it
 * would any chain. What is drafted is what the draft alone would say, token by token.
 */

import { createDecoding, type Decoding, emptyCounters, requestOptions } from "../../../engine/decoding.ts";
import type { DecodingModel } from "../../../engine/model.ts";
import { ofOption } from "../../../errors.ts";
import { openDraft } from "../draft-model.ts";
import { foresightDrafter } from "../foresight.ts";
import { type Drafter, speculate } from "../speculate.ts";
import { addNode, createTree } from "../tree.ts";
import { openPromptTokens, promptForesight } from "./vectors.ts";

export interface OnDraft {
  readonly draft: string;
  /** Of the draft: a part beside it. */
  readonly prompts: string;
  readonly length: number;
  readonly levels?: number;
  readonly budget?: number;
  readonly topK: number;
  readonly estimate: "measured" | "draft";
}

/** Errors: as `openDraft`, and those of the draft's part. */
export async function draftDrafter(decoding: Decoding, options: OnDraft): Promise<Drafter> {
  const { model, stream, signal, settings } = decoding;
  const draft: DecodingModel = await openDraft(model, options.draft);
  const tokens = await ofOption("prompts", () => openPromptTokens(draft, options.prompts));
  const foresight = promptForesight(tokens, Math.min(options.levels ?? tokens.count, tokens.count));
  const release = draft.use();
  let passes = 0;
  return {
    get passes() {
      return passes;
    },
    async propose({ text, depth }) {
      const tree = createTree("chosen", { valued: false });
      const wanted = Math.min(options.length, depth, draft.forest.contextLength - text.length);
      if (wanted < 1) return tree;
      const own = createDecoding({
        model: draft,
        prompt: text,
        settings: requestOptions.parse({
          temperature: settings.temperature,
          seed: stream.seed,
          request: stream.request,
          maxTokens: wanted,
        }),
        signal,
        emit: () => {},
        shapers: [],
        counters: emptyCounters(),
      });
      try {
        const { budget, topK, estimate } = options;
        const drafter = await foresightDrafter(own, foresight, { budget, by: "probability", topK, estimate });
        await speculate(own, drafter);
        passes += own.lease.passes;
        let parent = 0;
        for (const token of own.output) parent = addNode(tree, parent, token);
      } finally {
        own.close();
      }
      return tree;
    },
    close: release,
  };
}
