/**
 * What speculation can gain with a model on this machine, from its measured pass times and the measured acceptance of a draft: for those
 * who wonder why a method is no faster here. It is an estimate for texts like those that the model writes itself, not a promise.
 */
import type { Outlook } from "../../engine/method.ts";
import type { DecodingModel } from "../../engine/model.ts";
import { type PassCurve, passCurve, passSeconds, underLoad } from "../../engine/pass-curve.ts";
import { type AcceptanceCounts, createAcceptanceEstimate } from "./acceptance.ts";
import { most } from "./budget.ts";
import { type DraftModelSettings, openDraft, proposalOf, type Verification } from "./draft-model.ts";
import { acceptanceCurve } from "./judge.ts";
import type { DraftTree } from "./tree.ts";

interface Conditions {
  readonly temperature: number;
  readonly signal?: AbortSignal;
}

type Settings = DraftModelSettings & { verification?: Verification };

interface Shape<Options> {
  /** Children a node may get, where the method decides itself what is worth drafting. */
  readonly siblings?: number;
  /** Children of every node, level by level, where these options fix them; undefined: the method decides. */
  levels?(options: Options): readonly number[] | undefined;
}

/** Outlook of a method that drafts with a draft model. */
export const draftModelOutlook =
  <Options extends Settings>({ siblings = 1, levels }: Shape<Options> = {}) =>
  async (model: DecodingModel, options: Options, { temperature, signal }: Conditions): Promise<Outlook> => {
    const draft = await openDraft(model, options.draft);
    const { kind, draftTemperature, topK } = proposalOf(temperature, options, options.verification ?? "race");
    if (await isSame(draft, model))
      return {
        most: 1,
        because: `the draft ${draft.name} is the model itself, of which a draft takes as long as the text does`,
        advice: "a smaller model would help (the option draft)",
      };
    const target = await passCurve(model, signal);
    const draftCurve = await passCurve(draft, signal);
    const draftPass = passSeconds(draftCurve, 1);
    const conditions = { temperature, draftTemperature, topK };
    const measured = (await acceptanceCurve(model, draft, conditions, signal))[kind];
    const fixed = levels?.(options);
    const chances = chancesOf(kind, measured, fixed ? Math.max(...fixed) : siblings);
    const hits = chances.map((classes) => classes.reduce((sum, { share, hit }) => sum + share * hit, 0));
    const speedUp = fixed ? fixedSpeedUp(target, draftPass, hits, fixed) : expectedSpeedUp(target, draftPass, chances);
    const ideal = fixed
      ? fixedSpeedUp(
          target,
          draftPass,
          [1],
          fixed.map(() => 1),
        )
      : idealSpeedUp(target, draftPass);
    return {
      speedUp,
      most: ideal,
      disturbed: [target, draftCurve].some((curve) => underLoad(curve) !== ""),
      because: `a pass of ${model.name} takes ${milliseconds(passSeconds(target, 1))}, one of the draft ${draft.name} ${milliseconds(draftPass)}${underLoad(target) || underLoad(draftCurve)}, and ${percent(hits[0])} of its guesses are right`,
      advice:
        idealSpeedUp(target, draftPass) < worthwhile
          ? "even if all were right that would cost more than it saves: a draft that is faster beside its model would help (the option draft), or a larger model"
          : fixed && expectedSpeedUp(target, draftPass, chances) >= worthwhile
            ? "it drafts more in every round than that is worth: fewer tokens, or a method that decides itself (chain, dyspec), would help"
            : "a draft that is right more often, or faster beside its model, would help (the option draft)",
    };
  };

/** Measured beside itself, a model would differ by chance and seem to gain. */
const isSame = async (draft: DecodingModel, model: DecodingModel): Promise<boolean> =>
  draft.parameterCount === model.parameterCount && (await draft.fingerprint()) === (await model.fingerprint());

/** What decides how many drafts are right, and where they gain most: of copies from the text, and of guesses that a trained part makes. */
const ofCopies = ["how much the text repeats itself", "texts that repeat names, phrases or code gain most"] as const;
const ofGuesses = [
  "the text and on how well the model, or a part of it, was trained to guess",
  "guesses gain most where a pass over several tokens costs little more than over one, as with a large model",
] as const;

/** Outlook of a method whose drafts cost next to nothing: up to `longest` tokens at once, copied from the text or guessed by a trained part. */
export const freeDraftOutlook =
  (longestOf: (options: { length?: number }) => number, [depends, advice]: readonly [string, string] = ofCopies) =>
  async (model: DecodingModel, options: object, { signal }: Conditions): Promise<Outlook> => {
    const target = await passCurve(model, signal);
    const longest = longestOf(options);
    return {
      most: idealSpeedUp(target, 0, longest),
      disturbed: underLoad(target) !== "",
      because: `a pass of ${model.name} over 1 token takes ${milliseconds(passSeconds(target, 1))}, over ${longest + 1} tokens ${milliseconds(passSeconds(target, longest + 1))}${underLoad(target)}; how many drafts are right depends on ${depends}`,
      advice,
    };
  };

/** The same of tokens ahead that heads, prompt vectors or the model itself guess in the pass that checks the last ones. */
export const guessedOutlook = (longest: number) => freeDraftOutlook(() => longest, ofGuesses);

/** Outlook of a method that drafts with a small network beside its model, whose passes take so many seconds. */
export const networkOutlook =
  <Options>(secondsOf: (model: DecodingModel, options: Options, signal?: AbortSignal) => Promise<number>) =>
  async (model: DecodingModel, options: Options, { signal }: Conditions): Promise<Outlook> => {
    const target = await passCurve(model, signal);
    const seconds = await secondsOf(model, options, signal);
    return {
      most: idealSpeedUp(target, seconds),
      disturbed: underLoad(target) !== "",
      because: `a pass of ${model.name} takes ${milliseconds(passSeconds(target, 1))}${underLoad(target)}, one of its draft ${milliseconds(seconds)}; how many drafts are right depends on the text`,
      advice: "a draft gains most where its model is large beside it",
    };
  };

/** Below this it is not worth speaking of. */
const worthwhile = 1.05;

/** How often a draft's best guess falls into a class of confidence, and how often one of the node's children is then right. */
interface Chance {
  readonly share: number;
  readonly hit: number;
}

/** By how many children a node has: 1, 2, … up to `siblings`. */
function chancesOf(kind: DraftTree["kind"], counts: AcceptanceCounts, siblings: number): Chance[][] {
  const [first] = counts.byProbability;
  const tried = first.tried.reduce((a, b) => a + b, 0);
  const estimate = createAcceptanceEstimate(kind, { [kind]: counts } as never);
  return Array.from({ length: siblings }, (_, more) =>
    first.tried.flatMap((count, i) => {
      if (count === 0) return [];
      let missed = 1 - first.accepted[i] / count;
      // Of chosen children, ranks are chances of the same draw; of drawn ones, each is tried after the one before failed.
      for (let rank = 1; rank <= more; rank++) {
        const chance = estimate.ofRank(rank);
        missed *= 1 - Math.min(1, kind === "chosen" ? chance / Math.max(1e-9, 1 - estimate.ofRank(0)) : chance);
      }
      return [{ share: count / tried, hit: 1 - missed }];
    }),
  );
}

/**
 * The best speed-up of drafting level by level, up to a depth, while the draft is sure enough: tokens a round over its seconds, in the unit
 * of plain decoding. Levels are taken as independent draws of a class of confidence. Never below 1: a method may leave drafting alone.
 */
export function expectedSpeedUp(target: PassCurve, draftPass: number, chances: readonly (readonly Chance[])[]): number {
  const plain = passSeconds(target, 1);
  let best = 1;
  for (const [more, classes] of chances.entries()) {
    for (const { hit: floor } of classes) {
      const sure = classes.filter(({ hit }) => hit >= floor);
      const drafted = sure.reduce((sum, { share }) => sum + share, 0);
      const right = sure.reduce((sum, { share, hit }) => sum + share * hit, 0);
      let [tokens, seconds] = [1, 0];
      for (let depth = 1; depth <= most / (more + 1); depth++) {
        tokens += right ** depth;
        // The draft looks before it leaves a token out: a level that is not drafted has cost its pass, too.
        const stopped = drafted ** (depth - 1) * (1 - drafted);
        seconds += stopped * (depth * draftPass + passSeconds(target, 1 + (depth - 1) * (more + 1)));
        const full = drafted ** depth * (depth * draftPass + passSeconds(target, 1 + depth * (more + 1)));
        best = Math.max(best, (tokens * plain) / (seconds + full));
      }
    }
  }
  return best;
}

/** Of a tree that has the same shape in every round: children of every node, level by level; `hits` by how many children a node has. */
export function fixedSpeedUp(
  target: PassCurve,
  draftPass: number,
  hits: readonly number[],
  levels: readonly number[],
): number {
  let [tokens, reached, nodes, width] = [1, 1, 0, 1];
  for (const children of levels) {
    reached *= hits[Math.min(children, hits.length) - 1];
    tokens += reached;
    width *= children;
    nodes += width;
  }
  return (tokens * passSeconds(target, 1)) / (levels.length * draftPass + passSeconds(target, nodes + 1));
}

/** Of the best chain, were every draft right. */
export function idealSpeedUp(target: PassCurve, draftPass: number, longest: number = most): number {
  const plain = passSeconds(target, 1);
  const speeds = Array.from(
    { length: longest + 1 },
    (_, k) => ((k + 1) * plain) / (k * draftPass + passSeconds(target, k + 1)),
  );
  return Math.max(...speeds);
}

/** `0.34 ms`, `57 ms`. */
const milliseconds = (seconds: number): string =>
  `${seconds < 0.01 ? (1000 * seconds).toPrecision(2) : (1000 * seconds).toFixed(0)} ms`;
const percent = (share: number): string => `${Math.round(100 * share)} %`;
