/** Who decides what follows in one request: its shaping and stages, the shapers of its method, and its constraint. */
import { createConstraint } from "../constraints/index.ts";
import { type Choosing, createChoosing } from "./choosing.ts";
import { type Constraining, createConstraining } from "./constraining.ts";
import type { DecodingParts, RequestSettings } from "./decoding.ts";
import type { Stream } from "./random.ts";
import { type requestStages, shapingOptions } from "./shapers/options.ts";
import { joinShapers, type Shaped, type Shaper } from "./shapers/shaper.ts";
import type { StageDefinition } from "./shapers/stages.ts";
import { minTokensStage } from "./stopping.ts";

export interface Choices {
  /** The request's constraint over the nodes. */
  readonly constraining: Constraining | undefined;
  readonly shaped: Shaped;
  readonly choosing: Choosing;
  /** The same without the constraint. */
  readonly unconstrained: Choosing;
}

interface ChoiceParts extends Pick<DecodingParts, "model" | "settings" | "shapers"> {
  promptLength: number;
  endTokens: ReadonlySet<number>;
  stream: Stream;
}

/** Errors: `bad_option`. */
export function createChoices(parts: ChoiceParts): Choices {
  const { model, settings, shapers, promptLength, endTokens, stream } = parts;
  const { tokenizer, config } = model;
  const { vocabularySize } = config;
  const choosingFrom = (shaped: Pick<Shaped, "logits" | "allowed">): Choosing =>
    createChoosing({
      shaping: pick(settings, shapingOptions.shape),
      vocabularySize,
      tokenizer,
      stages: Object.assign(
        { minTokens: minTokensStage(settings.minTokens, endTokens) } satisfies Readonly<
          Record<(typeof requestStages)[number], StageDefinition>
        >,
        ...shapers.map(stagesOf),
      ),
      shaped,
      promptLength,
      stream,
    });
  const free = joinShapers(shapers);
  if (!settings.constraint) {
    const choosing = choosingFrom(free);
    return { constraining: undefined, shaped: free, choosing, unconstrained: choosing };
  }
  const constraint = createConstraint(settings.constraint);
  const constraining = createConstraining({ constraint, tokenizer, vocabularySize, promptLength, endTokens });
  const shaped = joinShapers([...shapers, { name: "constraint", allowed: constraining.allowedAt }]);
  const unconstrained = choosingFrom({ logits: shaped.logits, allowed: free.allowed });
  return { constraining, shaped, choosing: choosingFrom(shaped), unconstrained };
}

/** Named by the shaper, so that no two shapers' stages share a name. */
const stagesOf = ({ name, stages = {} }: Shaper): Readonly<Record<string, StageDefinition>> =>
  Object.fromEntries(Object.entries(stages).map(([stage, definition]) => [`${name}.${stage}`, definition]));

/** The settings that a schema has. */
export const pick = <Shape extends object>(settings: RequestSettings, shape: Shape) =>
  Object.fromEntries(Object.keys(shape).map((key) => [key, settings[key as keyof RequestSettings]])) as Pick<
    RequestSettings,
    keyof Shape & keyof RequestSettings
  >;
