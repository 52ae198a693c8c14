/**
 * Skills that can be checked: tasks generated from seeded grammars, with a checker for each, to fine-tune on and to measure
 * with. An item is a function of skill, split, seed and number; training and test never share a prompt.
 */
import { type Stream, uniform } from "../../engine/random.ts";
import { ensure } from "../../errors.ts";
import { sha } from "../../sha.ts";

export interface SkillItem {
  /** What the user says. */
  prompt: string;
  /** A right answer; others may pass the check too. */
  answer: string;
  /** What the checker needs beyond the answer (the table's schema, the pattern, the steps …), as JSON. */
  facts: Readonly<Record<string, unknown>>;
}

export interface Skill {
  name: string;
  summary: string;
  /** An item from these choices. Some prompts may come twice; `skillItem` sees to the split. */
  make(choose: Choices): SkillItem;
  /** Whether a text that a model wrote answers the item. White space around it means nothing. */
  check(item: SkillItem, text: string): boolean;
}

/** Draws in order; everything an item holds comes from here. */
export interface Choices {
  /** An integer from `low` to `high`, both included. */
  integer(low: number, high: number): number;
  one<Value>(values: readonly Value[]): Value;
  /** Distinct values in random order. */
  several<Value>(values: readonly Value[], count: number): Value[];
  /** True with this probability. */
  chance(probability: number): boolean;
}

export type Split = "train" | "test";

export function choices(stream: Stream, position: number): Choices {
  let index = 0;
  const next = (): number => uniform(stream, position, "data", index++);
  const integer = (low: number, high: number): number => low + Math.floor(next() * (high - low + 1));
  const one = <Value>(values: readonly Value[]): Value => values[integer(0, values.length - 1)];
  return {
    integer,
    one,
    several(values, count) {
      const rest = [...values];
      return Array.from({ length: count }, () => rest.splice(integer(0, rest.length - 1), 1)[0]);
    },
    chance: (probability) => next() < probability,
  };
}

/** Which side a prompt belongs to: a tenth of all prompts is for testing, decided by the prompt alone. */
export const splitOf = (prompt: string): Split => (leading(prompt, 1) < 26 ? "test" : "train");

/** The first bytes of a text's SHA-256, as a number. */
const leading = (text: string, bytes: number): number =>
  Number.parseInt(
    sha("sha256")
      .update(text)
      .hex()
      .slice(0, 2 * bytes),
    16,
  );

/** The item number `index` of a split: the first draw whose prompt lies in it. Errors: `internal` when 10,000 draws do not. */
export function skillItem(skill: Skill, split: Split, seed: number, index: number): SkillItem {
  const request = leading(skill.name, 4);
  for (let attempt = 0; attempt < 10_000; attempt++) {
    const item = skill.make(choices({ seed, request: request * 2 ** 16 + attempt }, index));
    if (splitOf(item.prompt) === split) return item;
  }
  ensure(false, "internal", `skill ${skill.name}: no item for the split ${split}`);
}
