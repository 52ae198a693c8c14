/** The serving side of the learner's thread. */
import type { ModelConfig } from "../../../models/family.ts";
import { startThread } from "../../../runtime/thread.ts";
import type { Learner, LearnerOptions } from "./learner.ts";

/** A learner in a thread of its own. Calls under way when the thread dies, and later ones, fail; `onDeath` is called once. */
export function startLearnerThread(
  config: ModelConfig,
  options: LearnerOptions,
  onDeath: (cause: Error) => void,
): Learner {
  const entry = { name: "thread", from: import.meta.url, what: "the learner's thread" };
  const { call, close } = startThread<Learner>(entry, { config, options }, onDeath);
  return {
    begin: (draft, state) => call("begin", draft, state),
    learn: (draft, examples) => call("learn", draft, examples),
    save: (draft, folder, record) => call("save", draft, folder, record),
    close,
  };
}
