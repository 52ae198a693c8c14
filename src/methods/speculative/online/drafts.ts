/**
 * Drafts that learn while they serve: for each route weights, a buffer of what was recorded and a place in the learner's thread.
 * Serving never waits for learning: new weights are taken over between rounds, when they have come.
 */
import type { Learnable, OpenForest, ParameterValues } from "../../../engine/learnable.ts";
import { createModel, type DecodingModel } from "../../../engine/model.ts";
import type { Acceptance } from "../../../engine/trace.ts";
import { ensure } from "../../../errors.ts";
import { loadCheckpoint } from "../../../training/checkpoint.ts";
import type { Divergence } from "../../../training/distillation.ts";
import type { Learner, Update } from "./learner.ts";
import { type Example, exampleBytes } from "./record.ts";
import { largestShared, packed, type ShareDraft, sizeOf, unpacked } from "./share.ts";
import { draftFolder, holdState, readBuffer, removeBuffer, writeBuffer } from "./state.ts";
import { startLearnerThread } from "./worker.ts";

export interface DraftsSettings {
  readonly loss: Divergence;
  readonly learningRate: number;
  readonly clip: number;
  /** Requests between updates. */
  readonly interval: number;
  readonly bufferBytes: number;
  readonly afterSwap: "rebuild" | "keep";
  readonly maxDrafts: number;
  /** Requests over which acceptance is averaged before it is compared. */
  readonly window: number;
  readonly state?: string;
  readonly saveBuffer: boolean;
}

/** One draft and what it learns. */
export interface LearningDraft {
  readonly contextLength: number;
  /** Updates in use, and those that were undone or never taken over. */
  readonly updates: number;
  readonly discarded: number;
  /** Of the last update. */
  readonly loss: number | undefined;
  /** Drafts a round: the model, and with it the weights, stays the same until the action is done. */
  round<Result>(action: (draft: DecodingModel) => Promise<Result>): Promise<Result>;
  /** Takes in a served request. */
  served(acceptance: Acceptance, examples: readonly Example[]): void;
  /** What happened since the last call, in words. */
  takeNotes(): string[];
  /** Resolves when no update is under way. */
  idle(): Promise<void>;
}

export interface Drafts {
  /** Errors: `bad_option` beyond the number of drafts, `bad_checkpoint`. */
  route(label: string): Promise<LearningDraft>;
  close(): Promise<void>;
}

/** A fall of acceptance by more than this undoes the updates since the last comparison. */
const largestFall = 0.1;
const millisecondsBetweenSaves = 60_000;

/** `share`: with other replicas; `start` exists for tests. Errors: `unavailable` when the state folder is in use. */
export async function openDrafts(
  base: DecodingModel,
  settings: DraftsSettings,
  { share, start = startLearnerThread }: { share?: ShareDraft; start?: typeof startLearnerThread } = {},
): Promise<Drafts> {
  const releaseState = settings.state === undefined ? async () => {} : await holdState(settings.state);
  let learnable: Learnable | undefined;
  try {
    learnable = await base.learnable();
    return serveDrafts(base, learnable, settings, start, releaseState, share);
  } catch (error) {
    await learnable?.release();
    await releaseState(); // another try must find the folder free
    throw error;
  }
}

function serveDrafts(
  base: DecodingModel,
  learnable: Learnable,
  settings: DraftsSettings,
  start: typeof startLearnerThread,
  releaseState: () => Promise<void>,
  share: ShareDraft | undefined,
): Drafts {
  const names = learnable.family.parameters(base.config).map(({ name }) => name);
  const drafts = new Map<string, Promise<Served>>();
  const { loss: divergence, learningRate, clip } = settings;
  let deaths = 0;
  let learner: Learner | undefined = startLearner();

  function startLearner(): Learner {
    return start(base.config, { divergence, learningRate, clip, threads: 1 }, (cause) => void replace(cause));
  }

  /** A dead learner is replaced once; serving goes on with the last weights in any case. */
  async function replace(cause: Error): Promise<void> {
    deaths += 1;
    learner = deaths === 1 ? startLearner() : undefined;
    const then = learner ? "it was started again" : "no more updates are done";
    for (const draft of await Promise.allSettled(drafts.values())) {
      if (draft.status === "fulfilled") draft.value.learnerChanged(`the learner stopped (${cause.message}): ${then}`);
    }
  }

  return {
    route(label) {
      const known = drafts.get(label);
      if (known) {
        return known.then((draft) => {
          draft.takeOver();
          return draft;
        });
      }
      ensure(
        drafts.size < settings.maxDrafts,
        "bad_option",
        `route: "${label}" would be draft number ${drafts.size + 1}, and maxDrafts is ${settings.maxDrafts} (there are ${[...drafts.keys()].join(", ")})`,
      );
      const made = createLearningDraft(label, base, learnable, names, settings, () => learner, share);
      drafts.set(label, made);
      made.catch(() => drafts.delete(label)); // a damaged file may be moved away
      return made;
    },
    async close() {
      const open = await Promise.allSettled(drafts.values());
      const closed: PromiseSettledResult<void>[] = [];
      for (const draft of open) {
        if (draft.status === "fulfilled") closed.push(...(await Promise.allSettled([draft.value.close()])));
      }
      await learner?.close();
      await learnable.release();
      await releaseState();
      for (const result of closed) if (result.status === "rejected") throw result.reason; // a state that was not saved
    },
  };
}

type Served = LearningDraft & { learnerChanged(note: string): void; takeOver(): void; close(): Promise<void> };

async function createLearningDraft(
  label: string,
  base: DecodingModel,
  learnable: Learnable,
  names: readonly string[],
  settings: DraftsSettings,
  learner: () => Learner | undefined,
  share: ShareDraft | undefined,
): Promise<Served> {
  const { interval, afterSwap, window, bufferBytes, state, saveBuffer } = settings;
  const folder = state === undefined ? undefined : draftFolder(state, label);
  const notes: string[] = [];
  const buffer: Example[] = [];
  let values: ParameterValues = learnable.values;
  let model = base;
  let openForest: OpenForest | undefined;
  /** `turns`: how often weights came that the learner had not made of those before. */
  let [updates, discarded, bytes, requests, rounds, turns] = [0, 0, 0, 0, 0, 0];
  let loss: number | undefined;
  let learning: Promise<void> | undefined;
  let savedAt = performance.now();
  let waiting: ParameterValues | undefined;
  /** Another replica's, until no request is in the way. */
  let arrived: ParameterValues | undefined;
  /** Weights that served a whole window, and the acceptance they had. */
  let proven: { values: ParameterValues; exact: number | undefined } = { values, exact: undefined };
  let recent = { requests: 0, positions: 0, overlap: 0 };
  const closings = new Set<Promise<void>>();

  const copies = (of: ParameterValues) => names.map((name) => of.get(name)!.slice());
  const named = (arrays: readonly Float32Array<ArrayBuffer>[]): ParameterValues =>
    new Map(names.map((name, i) => [name, arrays[i]]));

  /** Weights for the rounds that start from now on. */
  function use(next: ParameterValues): void {
    values = next;
    if (openForest && afterSwap === "keep") {
      waiting = next;
      exchange();
      return;
    }
    const old = model;
    openForest = learnable.grow(next);
    // Beside its forest it shares the base's parts, and what would be closed with it is left out.
    model = createModel({
      ...base,
      forest: openForest.forest,
      forward: undefined,
      openCompanion: (name) => base.companion(name),
    });
    if (old === base) return;
    const closing = old.close(); // waits for the requests that still use it
    closings.add(closing);
    closing.finally(() => closings.delete(closing));
  }

  /** Weights under a cache that stays are exchanged when no round is under way. */
  function exchange(): void {
    if (!waiting || rounds > 0) return;
    openForest!.setWeights(waiting);
    waiting = undefined;
  }

  function add(example: Example): void {
    buffer.push(example);
    bytes += exampleBytes(example);
    while (bytes > bufferBytes) bytes -= exampleBytes(buffer.shift()!);
  }

  function learnWhenDue(): void {
    const teacher = learner();
    if (!teacher || learning || requests < interval || buffer.length === 0) return;
    requests = 0;
    const learn = async (): Promise<void> => {
      if (shared && !(await shared.lead())) return; // what was recorded waits, as far as it fits, for this replica's turn
      bytes = 0;
      await update(teacher, buffer.splice(0));
    };
    learning = learn().finally(() => {
      learning = undefined;
      learnWhenDue();
    });
  }

  async function update(teacher: Learner, examples: readonly Example[]): Promise<void> {
    const turnsBefore = turns;
    let result: Update;
    try {
      result = await teacher.learn(label, examples);
    } catch (error) {
      discarded += 1;
      if (teacher === learner()) notes.push(`an update failed: ${(error as Error).message}`);
      return;
    }
    if ("diverged" in result) {
      discarded += 1;
      notes.push(`an update was discarded: ${result.diverged}`);
      return;
    }
    if (turns !== turnsBefore) return; // it started from weights that are no longer in use
    updates += 1;
    loss = result.loss;
    use(named(result.values));
    shared?.changed();
    if (folder === undefined || performance.now() - savedAt < millisecondsBetweenSaves) return;
    await save(teacher).catch((error) => notes.push(`the state was not saved: ${error.message}`));
  }

  /** After every window: weights that made acceptance fall give way to those before; all others are the new measure. */
  function judge({ positions, exact }: Acceptance): void {
    recent = {
      requests: recent.requests + 1,
      positions: recent.positions + positions,
      overlap: recent.overlap + positions * exact,
    };
    if (recent.requests < window || recent.positions === 0) return;
    const now = recent.overlap / recent.positions;
    recent = { requests: 0, positions: 0, overlap: 0 };
    const fell = proven.exact !== undefined && proven.exact - now > largestFall && proven.values !== values;
    if (!fell) {
      proven = { values, exact: now };
      return;
    }
    turns += 1;
    discarded += 1;
    notes.push(`acceptance fell from ${proven.exact!.toFixed(3)} to ${now.toFixed(3)}: the earlier weights are back`);
    use(proven.values);
    // Should the text have changed rather than the draft have spoilt, the new level is what to compare with.
    proven = { values, exact: now };
    shared?.changed();
    begin();
  }

  /** What another replica learned, as a request begins or ends; one that is under way drafts with it from its next round on. */
  function takeOver(): void {
    if (!arrived) return;
    const next = arrived;
    arrived = undefined;
    turns += 1;
    updates += 1;
    notes.push("weights that another replica learned were taken over");
    use(next);
    begin();
  }

  /** The learner goes on from the weights in use, with a fresh optimiser. */
  function begin(): void {
    learner()
      ?.begin(label, { values: copies(values) })
      .catch(() => {}); // a thread that died has said so already
  }

  async function save(teacher: Learner): Promise<void> {
    savedAt = performance.now();
    await teacher.save(label, folder!, { updates, discarded, loss, requests, tokenizer: base.tokenizer?.fingerprint });
  }

  async function restore(): Promise<void> {
    const { family } = learnable;
    const parameters = family.parameters(base.config).map(({ name, shape }) => ({
      name,
      shape,
      values: values.get(name)!,
      decay: false,
    }));
    const checkpoint = folder === undefined ? undefined : await loadCheckpoint(folder, parameters);
    if (!checkpoint) {
      await learner()?.begin(label, { values: copies(values) });
      return;
    }
    const record = checkpoint.config as {
      updates: number;
      discarded: number;
      loss?: number;
      requests: number;
      tokenizer?: string;
    };
    ensure(
      record.tokenizer === base.tokenizer?.fingerprint,
      "bad_checkpoint",
      `state: ${folder} was learned with another tokenizer than ${base.name} has; give another folder`,
    );
    for (const example of await readBuffer(folder!, base.config.vocabularySize)) add(example);
    ({ updates, discarded, loss, requests } = { loss: undefined, ...record });
    use(named(checkpoint.values));
    proven = { values, exact: undefined };
    await learner()?.begin(label, { values: copies(values), optimiser: checkpoint.optimiser });
  }
  await restore();
  const shareable = sizeOf(values) <= largestShared;
  if (share && !shareable) notes.push(`the draft is not shared: it has more than ${largestShared} bytes`);
  const shared = shareable
    ? share?.(label, {
        most: sizeOf(values),
        current: () => packed(values, names),
        adopt(version) {
          arrived = unpacked(version, values, names);
        },
      })
    : undefined;
  if (afterSwap === "keep" && !openForest) use(values);

  return {
    contextLength: base.config.contextLength,
    get updates() {
      return updates;
    },
    get discarded() {
      return discarded;
    },
    get loss() {
      return loss;
    },
    async round(action) {
      exchange();
      rounds += 1;
      try {
        return await action(model);
      } finally {
        rounds -= 1;
        exchange();
      }
    },
    served(acceptance, examples) {
      requests += 1;
      if (learner()) for (const example of examples) add(example);
      judge(acceptance);
      takeOver();
      learnWhenDue();
    },
    takeOver,
    takeNotes: () => notes.splice(0),
    async idle() {
      while (learning) await learning;
    },
    learnerChanged(note) {
      notes.push(note);
      begin();
      if (learner()) return;
      buffer.length = 0;
      bytes = 0;
    },
    async close() {
      while (learning) await learning;
      await shared?.close();
      try {
        const teacher = learner();
        if (!teacher || folder === undefined) return;
        await save(teacher);
        await (saveBuffer ? writeBuffer(folder, buffer) : removeBuffer(folder));
      } finally {
        if (model !== base) await model.close();
        await Promise.all(closings);
      }
    },
  };
}
