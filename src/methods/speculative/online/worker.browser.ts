/** The learner of a page: in the thread that decodes, between its passes, since a page's workers are its own to start. */
import type { ModelConfig } from "../../../models/family.ts";
import { createLearner, type Learner, type LearnerOptions } from "./learner.ts";

export const startLearnerThread = (config: ModelConfig, options: LearnerOptions): Learner =>
  createLearner(config, options);
