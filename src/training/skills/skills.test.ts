import { expect, test } from "vitest";
import { checkSteps, finalAnswer, type SkillItem, skillItem, skills, splitOf, worldStatements } from "./index.ts";

const skill = (name: string) => skills.find((one) => one.name === name)!;

test.each(skills)("$name: items repeat by seed, differ by number, and pass their own check", (one) => {
  const prompts = new Set<string>();
  for (let i = 0; i < 200; i++) {
    const item = skillItem(one, "train", 1, i);
    expect(skillItem(one, "train", 1, i)).toEqual(item);
    expect(one.check(item, item.answer)).toBe(true);
    expect(one.check(item, ` ${item.answer}\n`)).toBe(true);
    expect(one.check(item, "")).toBe(false);
    expect(one.check(item, "I do not know.")).toBe(false);
    prompts.add(item.prompt);
  }
  expect(prompts.size).toBeGreaterThan(one.name === "chat" ? 60 : 100);
});

test.each(skills)("$name: no prompt of the test split is among the training prompts, whatever the seed", (one) => {
  for (let i = 0; i < 100; i++) {
    expect(splitOf(skillItem(one, "test", 1, i).prompt)).toBe("test");
    expect(splitOf(skillItem(one, "train", 1, i).prompt)).toBe("train");
  }
});

test("an answer to one item hardly ever answers another", () => {
  for (const one of skills.filter(({ name }) => !["chat", "pattern"].includes(name))) {
    let passed = 0;
    for (let i = 0; i < 200; i++) {
      const item = skillItem(one, "test", 3, i);
      if (one.check(item, skillItem(one, "test", 4, i).answer)) passed++;
    }
    expect(passed).toBeLessThan(50); // a sixth by chance for a word out of six
  }
});

test("arithmetic: steps are worked out by the rules, and each line is judged", () => {
  for (let i = 0; i < 300; i++) {
    const item = skillItem(skill("arithmetic"), "train", 2, i);
    const steps = item.facts.steps as { left: number; operator: string; right: number; result: number }[];
    let value = steps[0].left;
    for (const { left, operator, right, result } of steps) {
      expect(left).toBe(value);
      value = operator === "+" ? left + right : operator === "-" ? left - right : left * right;
      expect(result).toBe(value);
      expect(value).toBeGreaterThan(0);
      expect(value).toBeLessThan(100);
    }
    expect(checkSteps(item, item.answer)).toEqual(Array(steps.length + 1).fill(true));
  }
  const item: SkillItem = {
    prompt: "",
    answer: "",
    facts: {
      steps: [
        { left: 5, operator: "+", right: 3, result: 8 },
        { left: 8, operator: "*", right: 2, result: 16 },
      ],
    },
  };
  expect(checkSteps(item, "5 + 3 = 9\n9 * 2")).toEqual([false]);
  expect(checkSteps(item, "5 + 3 = 8\n8 * 2 = 16\nAnswer: 16")).toEqual([true, true, true]);
  expect(checkSteps(item, "5 + 3 = 8\n8 * 2 = 15\n")).toEqual([true, false]);
  expect(checkSteps(item, "5+3=8\n8*2=16\nAnswer: 16")).toEqual([true, true, true]);
  expect(finalAnswer("Answer: 3\nAnswer: 16\n")).toBe(16);
  expect(finalAnswer("5 + 3 = 8")).toBeUndefined();
});

test("sql, json and pattern: other right answers pass, near misses do not", () => {
  const question = skillItem(skill("sql"), "test", 1, 0);
  const loose = question.answer.replace("SELECT", "select").replace(" FROM ", "\n from ");
  expect(skill("sql").check(question, `${loose};`)).toBe(true);
  expect(skill("sql").check(question, question.answer.replace(/ AND .*| WHERE .*/, ""))).toBe(false);
  const object = skillItem(skill("json"), "test", 1, 0);
  const reversed = JSON.stringify(Object.fromEntries(Object.entries(object.facts.object as object).reverse()));
  expect(skill("json").check(object, reversed)).toBe(true);
  expect(skill("json").check(object, reversed.replace("}", ',"more":1}'))).toBe(false);
  const strings = skillItem(skill("pattern"), "test", 1, 0);
  expect(skill("pattern").check(strings, `${strings.answer}x`)).toBe(false);
});

test("the closed world states each fact once, and recall asks for no other", () => {
  const statements = worldStatements();
  expect(new Set(statements).size).toBe(80);
  for (let i = 0; i < 100; i++) {
    const { facts, prompt } = skillItem(skill("recall"), "test", 1, i);
    const who =
      /\b(Arvid|Berta|Corin|Delia|Emil|Freya|Goran|Hilda|Ivan|Jutta|Karl|Linnea|Milo|Nadia|Olga|Pavel|Quinn|Rosa|Stig|Tilda)\b/.exec(
        prompt,
      )![0];
    expect(statements.some((line) => line.includes(who) && line.includes(facts.value as string))).toBe(true);
  }
});

test("passage: a rival has another thing of the kind asked for, and the further questions are answered by the passage", () => {
  let rivals = 0;
  for (let i = 0; i < 300; i++) {
    const { prompt, answer, facts } = skillItem(skill("passage"), "train", 5, i);
    const sentences = prompt.split(". ").slice(0, -1);
    const kind = ["lives in", "has a", "is a", "likes"].find((words) =>
      sentences.some((sentence) => sentence.includes(words) && sentence.includes(answer.slice(0, -1))),
    )!;
    const values = new Set(sentences.filter((sentence) => sentence.includes(kind)).map((s) => s.split(kind)[1]));
    expect(facts.rival).toBe(values.size > 1);
    rivals += Number(facts.rival);
    const further = facts.further as { prompt: string; answer: string }[];
    expect(further).toHaveLength(sentences.length - 1);
    for (const next of further) {
      const who = next.prompt.match(/[A-Z][a-z]+/g)!.at(-1)!;
      const told = sentences.filter((sentence) => sentence.startsWith(who)).join(" ");
      expect(told).toContain(next.answer.slice(0, -1));
    }
  }
  expect(rivals).toBeGreaterThan(60);
});
