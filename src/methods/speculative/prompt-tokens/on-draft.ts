/**
 * Prompt tokens on a draft model (Chen et al. 2024, section 5.4): the draft says its own continuation in fewer passes, and the target verifies it as it
 * would any chain. What is drafted is what the draft alone would say, token by token.
 */

import { createDecoding, type Decoding, emptyCounters, requestOptions } from "../../../engine/decoding.ts";
import type { DecodingModel } from "../../../engine/model.ts";
import { ofOption } from "../../../errors.ts";
import { openDraft } from "../draft-model.ts";
import { foresightDrafter } from "../foresight.ts";
import { levelsOf } from "../foresight-options.ts";
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
  readonly by: "probability" | "rank";
  readonly estimate: "measured" | "draft";
}

/** Errors: as `openDraft`, those of the draft's part, and `bad_option` for more levels than it has. */
export async function draftDrafter(decoding: Decoding, options: OnDraft): Promise<Drafter> {
  const { model, stream, signal, settings, counters } = decoding;
  const draft: DecodingModel = await openDraft(model, options.draft);
  const tokens = await ofOption("prompts", () => openPromptTokens(draft, options.prompts));
  const levels = levelsOf(options.levels, tokens.count, `prompts ${options.prompts} of ${draft.name}`);
  const foresight = promptForesight(tokens, levels);
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
      /** What is said of rounds of the draft's in which its guesses failed. */
      let note: string | undefined;
      const failed = (): number => own.counters.failedDrafts ?? 0;
      let told = 0;
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
        emit(event) {
          if (event.type !== "draft" || failed() === told) return;
          told = failed();
          note ??= `${draft.name}: ${event.note}`;
        },
        shapers: [],
        counters: emptyCounters(),
      });
      try {
        const drafter = await foresightDrafter(own, foresight, options);
        await speculate(own, drafter);
        passes += own.lease.passes;
        let parent = 0;
        for (const token of own.output) parent = addNode(tree, parent, token);
        if (told > 0) counters.failedDrafts = (counters.failedDrafts ?? 0) + told;
      } finally {
        own.close();
      }
      return note === undefined ? tree : { ...tree, note };
    },
    close: release,
  };
}
