/** Another reading of the same text beside the one that decodes: another model, or the same one behind other words. */

import { z } from "zod";
import type { ForestNode } from "../../engine/forest.ts";
import { hostOnly } from "../../engine/method.ts";
import type { DecodingModel } from "../../engine/model.ts";
import { createMirror } from "../../engine/shapers/mirror.ts";
import type { ShaperHost } from "../../engine/shapers/shaper.ts";
import { leaseSites } from "../../engine/sites/request.ts";
import { ensure, ofOption, plural } from "../../errors.ts";
import { exitReadings, exitView } from "./exits.ts";
import { type View, viewOf } from "./view.ts";

const amateurName = z.string().min(1).max(4096);
const whatAmateur = "a shipped model, a folder, the folder of a LoRA adapter on this model, or one pulled from the hub";

/** The option that names an amateur. */
export const amateurOption = hostOnly(amateurName.describe(`the amateur that is contrasted with: ${whatAmateur}`));

/** The same where the model itself can be the amateur. */
export const possibleAmateurOption = hostOnly(
  amateurName
    .optional()
    .describe(`the amateur: ${whatAmateur}; default: the model itself behind the words of inducing`),
);

export interface Beside {
  /** Computes the twins of nodes, in one pass. */
  prepare(nodes: readonly ForestNode[]): Promise<void>;
  /** What it says after a node's text: at its output, or at a lower exit. */
  view(node: ForestNode, exit?: number): View;
  /** Longest text that it can follow. */
  readonly contextLength: number;
  close(): void;
}

export interface BesideOptions {
  /** For messages: "the amateur". */
  readonly role: string;
  /** Default: the model that decodes. */
  readonly model?: string;
  /** Words that stand before every text here. */
  readonly words?: string;
  /** Lower exits to be read. */
  readonly exits?: readonly number[];
}

/** Errors: `bad_option` for a model of another vocabulary or without these exits; those of opening it. */
export async function besideOf(
  host: ShaperHost,
  { role, model: reference, words, exits = [] }: BesideOptions,
): Promise<Beside> {
  const model =
    reference === undefined
      ? host.model
      : await ofOption("amateur", async () => {
          const found = await host.model.companion(reference, "peer");
          found.ability("forest");
          return found;
        });
  requireSameVocabulary(host.model, model, role);
  const wrong = exits.find((exit) => exit >= model.config.layers);
  ensure(
    wrong === undefined,
    "bad_option",
    `layers: ${role} ${model.name} has ${plural(model.config.layers, "layer")}, and so no lower exit ${wrong}`,
  );
  const { before, instead } = words === undefined ? { before: [], instead: 0 } : opening(host, words);
  const { taps, edits } = exitReadings(exits);
  const sites = leaseSites(model.sites(), [], edits, taps);
  const mirror = createMirror(model.forest, { sites, before, instead });
  const twins = new WeakMap<ForestNode, Pick<ForestNode, "logits" | "taps">>();
  return {
    async prepare(nodes) {
      const found = await mirror.follow(nodes);
      // A twin may be let go before anyone asks; what its row gave stays.
      for (const [i, node] of nodes.entries()) twins.set(node, { logits: found[i].logits, taps: found[i].taps });
    },
    view(node, exit) {
      const twin = twins.get(node);
      ensure(twin?.logits, "internal", `${role} was not asked about a node before its distribution was wanted`);
      return exit === undefined ? viewOf(twin.logits, role) : exitView(twin, exit, role);
    },
    contextLength: model.forest.contextLength - before.length + instead,
    close: () => mirror.close(),
  };
}

/** Words as tokens. A text's own begin token comes before them, not after: a model takes what stands before it for another text. */
function opening(
  { model: { tokenizer, name }, prompt }: ShaperHost,
  words: string,
): { before: number[]; instead: number } {
  ensure(tokenizer, "bad_option", `an instruction needs a tokenizer, and ${name} has none`);
  const before = tokenizer.encode(words);
  ensure(before.length > 0, "bad_option", "the instruction has no tokens");
  const begins = tokenizer.beginToken !== undefined && prompt[0] === tokenizer.beginToken;
  return { before, instead: begins && before[0] === tokenizer.beginToken ? 1 : 0 };
}

function requireSameVocabulary(model: DecodingModel, other: DecodingModel, role: string): void {
  const sizes = [model.config.vocabularySize, other.config.vocabularySize];
  const same = sizes[0] === sizes[1] && model.tokenizer?.fingerprint === other.tokenizer?.fingerprint;
  ensure(
    same,
    "bad_option",
    `${role}: ${other.name} has another vocabulary than ${model.name} (${sizes[1]} and ${sizes[0]} tokens${sizes[0] === sizes[1] ? ", other merges" : ""}); what is contrasted must share a tokenizer`,
  );
}
