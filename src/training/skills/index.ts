/** The checkable skills in one list; `ventris eval skills` measures them, and phaistos is trained on them. */

import { chat, passage, recall } from "./answers.ts";
import { arithmetic } from "./arithmetic.ts";
import type { Skill } from "./skill.ts";
import { json, pattern, sql } from "./structured.ts";

export { worldStatements } from "./answers.ts";
export { arithmeticProblem, checkSteps, finalAnswer, type Step, writeStep } from "./arithmetic.ts";
export { type Skill, type SkillItem, type Split, skillItem, splitOf } from "./skill.ts";

export const skills: readonly Skill[] = [arithmetic, sql, json, pattern, passage, recall, chat];
