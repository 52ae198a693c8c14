/** Arithmetic with up to three steps, written out a step a line, as a little story or as a bare chain; steps can be checked one by one. */
import type { Choices, Skill, SkillItem } from "./skill.ts";

type Operator = "+" | "-" | "*";
export interface Step {
  left: number;
  operator: Operator;
  right: number;
  result: number;
}

const compute: Record<Operator, (a: number, b: number) => number> = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
};
const largest = 99;

function drawSteps(choose: Choices): Step[] {
  const steps: Step[] = [];
  let value = choose.integer(2, 20);
  for (let left = choose.integer(1, 3); left > 0; left--) {
    const possible: Operator[] = [];
    if (value <= largest - 2) possible.push("+", "+");
    if (value >= 3) possible.push("-", "-");
    if (2 * value <= largest) possible.push("*");
    const operator = choose.one(possible);
    const limit = operator === "+" ? largest - value : operator === "-" ? value - 1 : Math.floor(largest / value);
    const right = choose.integer(2, Math.max(2, Math.min(operator === "*" ? 5 : 20, limit)));
    const result = compute[operator](value, right);
    steps.push({ left: value, operator, right, result });
    value = result;
  }
  return steps;
}

const names = ["Tom", "Lily", "Ben", "Mia", "Sam", "Anna", "Max", "Lucy", "Jack", "Sara"];
const things = ["apples", "balls", "shells", "coins", "books", "eggs", "toys", "pens", "stones", "cakes"];
const sentences: Record<Operator, readonly ((who: string, count: number) => string)[]> = {
  "+": [(who, n) => `${who} finds ${n} more.`, (who, n) => `Then ${who} gets ${n} more.`],
  "-": [(who, n) => `${who} gives away ${n}.`, (who, n) => `Then ${who} loses ${n}.`],
  "*": [(who, n) => `Then ${who} has ${n} times as many.`],
};

export const arithmetic: Skill = {
  name: "arithmetic",
  summary: "one to three steps of +, - and *, a step a line, the answer marked",
  make(choose) {
    const steps = drawSteps(choose);
    const who = choose.one(names);
    const what = choose.one(things);
    const happened = steps.map(({ operator, right }) => choose.one(sentences[operator])(who, right));
    const chain = `Start with ${steps[0].left}. ${steps.map(({ operator, right }) => `${operator} ${right}`).join(", ")}. What is the result?`;
    const story = `${who} has ${steps[0].left} ${what}. ${happened.join(" ")} How many ${what} does ${who} have now?`;
    const answer = `${steps.map(writeStep).join("\n")}\nAnswer: ${steps[steps.length - 1].result}`;
    return { prompt: choose.chance(0.3) ? chain : story, answer, facts: { steps } };
  },
  check: (item, text) => finalAnswer(text) === stepsOf(item).at(-1)?.result,
};

// Without spaces: a vocabulary may hold " 1" but not " 4", and so every digit is the same token wherever it stands.
/** Operators by the words of a story, as `sentences` writes them. */
const told: readonly [RegExp, Operator][] = [
  [/\b(?:finds|gets) (\d{1,6}) more\b/, "+"],
  [/\b(?:gives away|loses) (\d{1,6})\b/, "-"],
  [/\bhas (\d{1,6}) times as many\b/, "*"],
];

/** The problem of this skill that a text ends with or consists of, to check solutions by; undefined where there is none. */
export function arithmeticProblem(text: string): SkillItem | undefined {
  const operations: { operator: Operator; right: number }[] = [];
  const chain = /Start with (\d{1,6})\. ((?:[-+*] \d{1,6}(?:, )?)+)\. What is the result\?/.exec(text);
  const story = /\bhas (\d{1,6}) [a-z]+\. (.*) How many [a-z]+ does \w+ have now\?/s.exec(text);
  const found = chain ?? story;
  if (!found) return undefined;
  for (const part of found[2].split(chain ? ", " : /(?<=\.)\s+/)) {
    const bare = /^([-+*]) (\d{1,6})$/.exec(part);
    if (chain && bare) operations.push({ operator: bare[1] as Operator, right: Number(bare[2]) });
    for (const [words, operator] of chain ? [] : told) {
      const said = words.exec(part);
      if (said) operations.push({ operator, right: Number(said[1]) });
    }
  }
  if (operations.length === 0) return undefined;
  let left = Number(found[1]);
  const steps = operations.map(({ operator, right }): Step => {
    const step = { left, operator, right, result: compute[operator](left, right) };
    left = step.result;
    return step;
  });
  return { prompt: found[0], answer: `${steps.map(writeStep).join("\n")}\nAnswer: ${left}`, facts: { steps } };
}

export const writeStep = ({ left, operator, right, result }: Step): string => `${left}${operator}${right}=${result}`;
const stepsOf = (item: SkillItem): readonly Step[] => item.facts.steps as Step[];

/** The number behind the last "Answer:"; undefined where there is none. */
export function finalAnswer(text: string): number | undefined {
  const found = /^Answer: (-?\d{1,9})\s*$/m.exec(text.slice(text.lastIndexOf("Answer:")));
  return found ? Number(found[1]) : undefined;
}

/**
 * For each line written so far: true when it is the step that the problem asks for there, worked out rightly. A line
 * "Answer: n" is right when it repeats the last result. Spaces mean nothing; lines that are still incomplete are not judged.
 */
export function checkSteps(item: SkillItem, text: string): boolean[] {
  const steps = stepsOf(item);
  const lines = text.trimStart().split("\n");
  const complete = lines.slice(0, text.endsWith("\n") || /^Answer:/.test(lines[lines.length - 1]) ? undefined : -1);
  return complete
    .filter((line) => line.trim() !== "")
    .map(
      (line, i) =>
        line.replace(/ +/g, "") ===
        (i < steps.length ? writeStep(steps[i]) : `Answer:${steps[steps.length - 1].result}`),
    );
}
