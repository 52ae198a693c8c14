/** The learner of one model: a bandit over ways of decoding, what each way took so far, and the file where both are kept. */
import { VentrisError } from "../../../errors.ts";
import { within } from "../../../files.ts";
import type { Sharing } from "../../../sharing/index.ts";
import { cacheKey, holdLock } from "../../../weights/index.ts";
import { lossOf } from "../arms.ts";
import { createPolicyByName } from "../policies.ts";
import type { Policy } from "../policy.ts";
import { type Circumstances, contextsOf, featureNames, featuresOf } from "./features.ts";
import { shareExperience } from "./share.ts";
import { type ArmRecord, type Learnt, readLearnt, writeLearnt } from "./state.ts";

export interface ChooserSettings {
  /** Names of the arms, options beside them. */
  readonly arms: readonly string[];
  readonly policy: string;
  readonly policyOptions: Readonly<Record<string, unknown>>;
  readonly fingerprint: string;
  readonly tokenizer?: string;
  /** Seconds of a plain token on this machine: what measured seconds are compared with. */
  readonly pace: number;
  /** Undefined: nothing is kept. */
  readonly path?: string;
  /** Whether a path that cannot be held or written is an error rather than a note. */
  readonly insist: boolean;
  /** With replicas that choose among the same arms by the same policy. */
  readonly sharing?: Sharing;
}

export interface Chosen {
  readonly arm: number;
  readonly predicted: readonly number[];
  readonly probabilities: readonly number[];
  /** Seconds that `tokens` tokens after the first took; too few of them teach nothing. */
  served(tokens: number, seconds: number, tokensPerPass: number): void;
  /** The arm could not serve: the worst loss. */
  failed(): void;
  /** The request ended without telling anything. */
  dropped(): void;
}

export interface Chooser {
  choose(circumstances: Omit<Circumstances, "others">): Chosen;
  readonly learnt: number;
  /** What happened since the last call, in words. */
  takeNotes(): string[];
  /** Saves what was learnt. */
  close(): Promise<void>;
}

/** Fewer tokens than these say more about the clock than about the method. */
const leastTokens = 4;
const millisecondsBetweenSaves = 1000;
const recentKept = 500;
/** Of the newest request in the running mean of agreement. */
const newest = 0.2;

/** Where the state of these arms and this policy lies in a folder. */
export const statePath = async (
  folder: string,
  { arms, policy, policyOptions }: Pick<ChooserSettings, "arms" | "policy" | "policyOptions">,
): Promise<string> =>
  within(folder, `auto-${(await cacheKey(JSON.stringify([arms, policy, policyOptions]))).slice(0, 12)}.json`);

/** Errors: `bad_option` of the policy's options, `bad_file` of a state, `unavailable` where a state folder that was asked for is in use. */
export async function openChooser(settings: ChooserSettings): Promise<Chooser> {
  const { arms: names, path, insist, fingerprint, tokenizer } = settings;
  const notes: string[] = [];
  let release: (() => Promise<void>) | undefined;
  if (path !== undefined) {
    try {
      release = await holdLock(path);
    } catch (error) {
      const beside = !insist && error instanceof VentrisError && error.code === "unavailable";
      if (!beside) throw error;
      notes.push(`what is learnt is not kept: ${error.message}`);
    }
  }
  try {
    const saved = path === undefined ? undefined : await readLearnt(path, { fingerprint, tokenizer, arms: names });
    const width = names.length * featureNames.length;
    const policy = createPolicyByName(settings.policy, { ...settings.policyOptions, width }, saved?.policy);
    return serve(settings, policy, saved, notes, release);
  } catch (error) {
    await release?.();
    throw error;
  }
}

function serve(
  settings: ChooserSettings,
  policy: Policy,
  saved: Learnt | undefined,
  notes: string[],
  release: (() => Promise<void>) | undefined,
): Chooser {
  const { arms: names, path, pace, fingerprint, tokenizer, insist } = settings;
  const unused = (name: string): ArmRecord => ({ name, requests: 0, tokens: 0, seconds: 0, failures: 0, agreement: 0 });
  const arms = saved?.arms ?? names.map(unused);
  const recent = saved?.recent ?? [];
  let [active, savedAt, changed] = [0, performance.now(), false];
  let saving = Promise.resolve();
  const shared = settings.sharing && shareExperience(policy, settings.sharing, settings, saved?.shared);

  function save(): Promise<void> {
    if (!release || path === undefined || !changed) return saving;
    [savedAt, changed] = [performance.now(), false];
    const now: Learnt = structuredClone({
      ...{ fingerprint, tokenizer, arms, recent, policy: policy.save() },
      ...(shared && { shared: shared.standing }),
    });
    saving = saving.then(() => writeLearnt(path, now));
    return saving;
  }

  function learn(round: number, loss: number, context: Float64Array): void {
    policy.learn(round, loss);
    shared?.tell(context, loss);
    changed = true;
    if (performance.now() - savedAt < millisecondsBetweenSaves) return;
    save().catch((error) => notes.push(`the state was not saved: ${error.message}`));
  }

  return {
    get learnt() {
      return policy.counters.learnt;
    },
    choose(circumstances) {
      const features = featuresOf({ ...circumstances, others: active });
      const contexts = contextsOf(
        features,
        arms.map(({ agreement }) => agreement),
      );
      const { round, arm, probabilities, predictions } = policy.choose(contexts);
      changed = true; // rounds that teach nothing count, too: what is drawn next depends on their number
      const record = arms[arm];
      recent.push([arm, probabilities[arm]]);
      if (recent.length > recentKept) recent.shift();
      active += 1;
      let open = true;
      const once = (action: () => void): void => {
        if (!open) return;
        open = false;
        active -= 1;
        action();
      };
      return {
        arm,
        probabilities,
        predicted: predictions,
        served: (tokens, seconds, tokensPerPass) =>
          once(() => {
            if (tokens < leastTokens || !(seconds > 0)) {
              policy.forget(round);
              return;
            }
            record.requests += 1;
            record.tokens += tokens;
            record.seconds += seconds;
            record.agreement += newest * (1 - 1 / Math.max(1, tokensPerPass) - record.agreement);
            learn(round, lossOf(seconds / tokens, pace), contexts[arm]);
          }),
        failed: () =>
          once(() => {
            record.failures += 1;
            learn(round, 1, contexts[arm]);
          }),
        dropped: () => once(() => policy.forget(round)),
      };
    },
    takeNotes: () => notes.splice(0),
    async close() {
      try {
        await shared?.close();
        await save();
      } catch (error) {
        if (insist) throw error;
      } finally {
        await release?.();
      }
    },
  };
}
