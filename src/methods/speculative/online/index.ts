/**
 * Online speculative decoding (Liu et al. 2024): the draft is distilled from the target while serving, on exactly the positions where
 * verification showed it to be wrong. The output's distribution is the target's at every moment, whatever the draft has learned.
 */
import { z } from "zod";
import type { Decoding } from "../../../engine/decoding.ts";
import { defineMethod, hostOnly } from "../../../engine/method.ts";
import type { DecodingModel } from "../../../engine/model.ts";
import { notAToken } from "../../../engine/node.ts";
import { ensure } from "../../../errors.ts";
import { divergences } from "../../../training/distillation.ts";
import { nodesOf } from "../budget.ts";
import { growChain } from "../chain/index.ts";
import {
  draftModelOptions,
  followText,
  openDraft,
  proposalOf,
  repeatsText,
  verificationOption,
} from "../draft-model.ts";
import { createDrafting, type Drafting } from "../drafting.ts";
import { growByHeap } from "../dyspec/index.ts";
import { refuseOptions } from "../options.ts";
import { draftModelOutlook } from "../outlook.ts";
import { type Drafter, speculate } from "../speculate.ts";
import { type Drafts, type LearningDraft, openDrafts } from "./drafts.ts";
import { createRecorder, lossPlaces, type Recorder } from "./record.ts";
import { shareDrafts } from "./share.ts";

const options = z.strictObject({
  ...draftModelOptions,
  length: z
    .int()
    .min(1)
    .max(64)
    .default(5)
    .describe("tokens to draft in each round; more pay off when the draft has learnt to be right"),
  grow: z
    .enum(["chain", "dyspec"])
    .default("chain")
    .describe(
      "shape of the draft: a chain, which costs least, or a tree grown as dyspec does, which is right more often",
    ),
  verification: verificationOption,
  route: z
    .string()
    .max(64)
    .default("")
    .describe(
      "a name for the topic or language of the request: each has a draft of its own, made when first used, which fits it better than one for all",
    ),
  learn: z
    .boolean()
    .default(true)
    .describe(
      "whether the draft may learn from this request; false only uses what it has learnt, for private texts or a fair comparison",
    ),
  lossOn: z
    .enum(lossPlaces)
    .default("all")
    .describe(
      "positions that the draft learns from: errors are those where a proposal was rejected (published), round-ends those where a round stopped, all every one that was visited, which learns most from a text",
    ),
  loss: z
    .enum(divergences)
    .default("forward-kl")
    .describe(
      "what the draft learns to make small: forward-kl covers all that the target says, reverse-kl keeps to what it says most, jsd lies between, total-variation is what acceptance itself is made of",
    ),
  interval: z
    .int()
    .min(1)
    .max(10_000)
    .default(2)
    .describe(
      "an update follows after so many requests: fewer adapt sooner and spend more time on learning; published: 8",
    ),
  learningRate: z
    .number()
    .gt(0)
    .max(1)
    .default(1e-3)
    .describe(
      "how far an update moves the draft (AdamW's learning rate): larger adapts sooner and forgets more; published: 1e-4 for one kind of text, 1e-5 for a mix",
    ),
  clip: z
    .number()
    .gt(0)
    .max(1000)
    .default(1)
    .describe(
      "gradients of an update that are longer than this are scaled down to it, so that one odd text cannot spoil the draft",
    ),
  trainLength: z
    .int()
    .min(8)
    .max(4096)
    .default(256)
    .describe(
      "how many tokens of a text an update looks at: more learn more from long texts, and cost time and memory",
    ),
  bufferBytes: hostOnly(
    z
      .int()
      .min(2 ** 16)
      .max(2 ** 32)
      .default(64 * 2 ** 20)
      .describe(
        "most bytes of recorded positions kept until the next update; beyond it the oldest are forgotten, which bounds memory",
      ),
  ),
  afterSwap: z
    .enum(["rebuild", "keep"])
    .default("rebuild")
    .describe(
      "what becomes of the draft's cache when an update changes its weights: rebuild computes it anew, so that drafts are as good as they can be; keep leaves it, which saves that time",
    ),
  maxDrafts: hostOnly(
    z
      .int()
      .min(1)
      .max(64)
      .default(8)
      .describe("most drafts that are kept in memory, over all routes; a request for a further route is an error"),
  ),
  window: z
    .int()
    .min(1)
    .max(10_000)
    .default(16)
    .describe(
      "over how many requests acceptance is averaged to guard it: a fall of more than 0.1 undoes the last updates; fewer notice sooner and are misled more often",
    ),
  state: hostOnly(
    z
      .string()
      .min(1)
      .optional()
      .describe(
        "folder where drafts and optimisers are kept across restarts; default: none, and what was learnt ends with the program",
      ),
  ),
  saveBuffer: hostOnly(
    z
      .boolean()
      .optional()
      .describe(
        "of state: keep the recorded positions there too, with the texts they belong to, so that a restart loses nothing; default: no, as texts may be private",
      ),
  ),
});

export type OnlineOptions = z.output<typeof options>;

export const online = defineMethod({
  name: "online",
  family: "speculative",
  summary: "a draft model that is distilled from the target while serving, where it was wrong",
  source: "Liu et al. 2024, Online Speculative Decoding, arXiv 2310.07177",
  lossless: true,
  repeats: repeatsText,
  outlook: draftModelOutlook({ levels: ({ length }) => Array(length).fill(1) }),
  options,
  async decode(decoding, options) {
    ensure(!decoding.prompt.includes(notAToken), "bad_option", () => {
      return "online: a row that is a vector cannot be given to a draft that learns from texts of tokens; chain and dyspec draft without such rows";
    });
    const draft = await (await draftsOf(decoding.model, options)).route(options.route);
    await decodeOnline(decoding, draft, options);
  },
});

/** One request with one learning draft. */
export async function decodeOnline(decoding: Decoding, draft: LearningDraft, options: OnlineOptions): Promise<void> {
  const recorder = createRecorder(decoding, options.learn ? options.lossOn : undefined);
  nodesOf(decoding, options.length, options.length, "length");
  const drafter = learningDrafter(decoding, draft, recorder, options);
  await speculate(decoding, drafter);
  if (decoding.signal?.aborted) return; // what a cancelled request showed is dropped as a whole
  const acceptance = recorder.acceptance();
  draft.served(acceptance, recorder.examples(drafter.text, Math.min(options.trainLength, draft.contextLength)));
  report(decoding, draft, acceptance);
}

function report(decoding: Decoding, draft: LearningDraft, acceptance?: ReturnType<Recorder["acceptance"]>): void {
  const { updates, loss } = draft;
  const note = draft.takeNotes().join("; ");
  decoding.emit({
    type: "learn",
    updates,
    ...(loss !== undefined && { loss }),
    ...(acceptance && { acceptance }),
    ...(note && { note }),
  });
}

/** Learners of one target: each takes a thread, so that requests with ever new options must not make ever more. */
const mostLearners = 4;

/** The learner with these options, shared by all requests that ask for the same. */
export async function draftsOf(target: DecodingModel, options: OnlineOptions): Promise<Drafts> {
  const learners = await target.state("online speculative decoding", () => {
    const opened = new Map<string, Promise<Drafts>>();
    return {
      opened,
      close: async () => {
        for (const drafts of await Promise.allSettled(opened.values())) {
          if (drafts.status === "fulfilled") await drafts.value.close();
        }
      },
    };
  });
  const { draft, loss, interval, learningRate, clip, bufferBytes, afterSwap, maxDrafts, window, state, saveBuffer } =
    options;
  if (state === undefined) refuseOptions(options, ["saveBuffer"], "no state folder to keep them in");
  const shared = { loss, interval, learningRate, clip, bufferBytes, afterSwap, maxDrafts, window, state };
  const settings = { ...shared, saveBuffer: saveBuffer ?? false };
  const key = JSON.stringify([draft, settings]);
  const known = learners.opened.get(key);
  if (known) return known;
  ensure(
    learners.opened.size < mostLearners,
    "bad_option",
    `online: ${mostLearners} learners with other options run for ${target.name} already; use the options of one of them`,
  );
  const made = openDraft(target, draft).then((base) => {
    return openDrafts(base, settings, { share: shareDrafts(target, base, settings) });
  });
  learners.opened.set(key, made);
  made.catch(() => learners.opened.delete(key));
  return made;
}

/** Drafts with the weights that are in use when a round begins. */
function learningDrafter(
  decoding: Decoding,
  draft: LearningDraft,
  recorder: Recorder,
  settings: OnlineOptions,
): Drafter & { readonly text: readonly number[] } {
  const proposal = proposalOf(decoding.settings.temperature, settings, settings.verification);
  const { endTokens } = decoding;
  const grow = (drafting: Drafting) =>
    settings.grow === "chain"
      ? growChain(drafting, { length: settings.length })
      : growByHeap(drafting, { budget: settings.length, width: 8 });
  let followed: DecodingModel | undefined;
  let follower: ReturnType<typeof followText> | undefined;
  /** Tokens left out on the left, where the text outgrows the draft's context. */
  let cut = 0;
  let seen = draft.updates;
  let passes = 0;
  let text: readonly number[] = decoding.prompt;

  function follow(model: DecodingModel): ReturnType<typeof followText> {
    const room = model.forest.contextLength - settings.length;
    const outgrown = text.length - cut > room;
    if (outgrown) cut = text.length - Math.floor(room / 2);
    if (follower && followed === model && !outgrown) return follower;
    follower?.close();
    follower = followText(model, decoding.signal);
    followed = model;
    return follower;
  }

  return {
    get passes() {
      return passes;
    },
    get text() {
      return text;
    },
    propose: (round) =>
      draft.round(async (model) => {
        if (draft.updates !== seen) {
          seen = draft.updates;
          report(decoding, draft);
        }
        text = round.text;
        const current = follow(model);
        const drafting = createDrafting({
          kind: proposal.kind,
          draws: round.draws,
          expect: proposal.expect(round),
          depth: round.depth,
          endTokens,
          score: (tree, nodes) =>
            current.score(cut === 0 ? text : text.slice(cut), tree, nodes, proposal.draftTemperature, proposal.topK),
        });
        await grow(drafting);
        passes += drafting.passes;
        return drafting.tree;
      }),
    observe(round, tree, verdict, nodeOf) {
      follower?.settle(verdict.path);
      text = round.text;
      recorder.observe(round.text.length - 1, tree, verdict, nodeOf);
    },
    close: () => follower?.close(),
  };
}
