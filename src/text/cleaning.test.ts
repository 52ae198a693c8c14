import fc from "fast-check";
import { expect, test } from "vitest";
import {
  cleanTexts,
  collectNames,
  emptyReport,
  isEnglish,
  normaliseCharacters,
  prosePart,
  repairDoubleDecoding,
  restoreCase,
  seenTexts,
  splitAtOpenings,
  withoutBoilerplate,
} from "./cleaning.ts";

const high = "€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ";
const latin1 = (text: string) => Buffer.from(text, "utf8").toString("latin1");
/** UTF-8 bytes read as Windows-1252. */
const decodedTwice = (text: string) =>
  latin1(text).replace(/[\x80-\x9f]/g, (character) => high[character.charCodeAt(0) - 128]);

test("text decoded twice is repaired: quotes, dashes, letters with accents", () => {
  for (const text of ["don’t", "“Hi,” she said…", "a – b — c", "café, señor, Ægir", "¿Qué? ¡No! 5 × 3"])
    for (const damaged of [decodedTwice(text), latin1(text)]) expect(repairDoubleDecoding(damaged)).toBe(text);
});

test("any letters of Latin-1 and any typographic marks survive being decoded twice", () => {
  const characters = fc.constantFrom(..."abc é ü ñ à Ö ß ’ “ ” – — … ™ €".split(" "), " ");
  fc.assert(
    fc.property(fc.array(characters), (parts) => {
      const text = parts.join("x");
      expect(repairDoubleDecoding(decodedTwice(text))).toBe(text);
    }),
  );
});

test("a lost last byte of a closing quote, and lower-cased damage, are understood", () => {
  expect(repairDoubleDecoding("â€œHi!â€ he said")).toBe("“Hi!” he said");
  expect(repairDoubleDecoding("el niã±o")).toBe("el niño");
});

test("letters that stand for themselves stay", () => {
  for (const text of ["château", "São Paulo", "pâté and âge", "Ângela", "mãe"])
    expect(repairDoubleDecoding(text)).toBe(text);
});

test("quotes, dashes and white space are made uniform", () => {
  expect(normaliseCharacters("“Don’t—” she\u00a0said…\r\n\r\n\r\n\r\nThe  end")).toBe(
    `"Don't - " she said...\n\nThe end`,
  );
  expect(normaliseCharacters("1914–18, e\u0301te\u0301, zero\u200bwidth, well--known")).toBe(
    "1914-18, été, zerowidth, well - known",
  );
});

test("normalising twice changes nothing more", () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(..."ab ’“”—–-…\u00a0\n\r\t'.\"\u2028") }), (text) => {
      const once = normaliseCharacters(text);
      expect(normaliseCharacters(once)).toBe(once);
    }),
  );
});

test("boilerplate, headings and contents go, stories stay", () => {
  const story = "Tom had a ball. He threw it far, and the dog ran after it.";
  expect(withoutBoilerplate(`### Page 1\nCopyright 1896, by A. B.\n[Illustration: a dog]\n${story}`)).toBe(story);
  expect(
    prosePart(`CONTENTS.\n\nKing Alfred and the Cakes\n\nI. THE CAKES\n\n${story}\n\ncat hat mat rat sat fat bat pat`),
  ).toBe(story);
  expect(prosePart('"Go on," said Tom.')).toBe('"Go on," said Tom.');
});

test("joined stories are split where a story begins", () => {
  expect(splitAtOpenings("One. Once upon a time in it.\nOnce upon a time two.\n\nOnce there was three.")).toEqual([
    "One. Once upon a time in it.",
    "Once upon a time two.",
    "Once there was three.",
  ]);
});

test("English is told from its neighbours", () => {
  const english =
    "The little dog ran to the river and it was so happy that it jumped in and swam for a long time with you";
  const german =
    "Der kleine Hund lief zum Fluss und war so froh dass er hinein sprang und lange Zeit darin schwamm mit dir heute";
  const french =
    "Le petit chien courut vers la rivière et il était si content de sauter dedans et de nager longtemps avec toi";
  expect([english, german, french].map(isEnglish)).toEqual([true, false, false]);
});

test("capitals come back: sentences, speeches, I and names", async () => {
  const names = await collectNames(
    Array(3).fill("Then Lily and Tom saw a red ball, and Tom ran. The lily was red."),
    3,
  );
  expect(names).toEqual(new Set(["tom"])); // Lily follows "Then", but lily stands small as well
  expect(
    restoreCase('tom said, "i think it\'s here! look." "why?" she asked. a cat named puff came. puff purred.', names),
  ).toBe('Tom said, "I think it\'s here! Look." "Why?" she asked. A cat named Puff came. Puff purred.');
});

test("what is there twice is kept once, whatever its case and marks; the report counts each step", async () => {
  const story =
    "Once upon a time, there was a dog called Rex who liked to run in the park with his friend, and every day they ran and played until the sun went down and it was time to go home to bed.";
  const report = emptyReport();
  const texts = [story, story.toLowerCase().replace(/,/g, ""), "Kurz.", decodedTwice(`“${story}” It’s another end.`)];
  const kept: string[] = [];
  for await (const text of cleanTexts(texts, { seen: seenTexts(), minimumCharacters: 20 }, report)) kept.push(text);
  expect(kept).toEqual([story]);
  expect(report).toMatchObject({
    read: 4,
    kept: 1,
    duplicates: 2,
    short: 1,
    repaired: 1,
    charactersKept: story.length,
  });
});

test("different texts are no duplicates, short ones are compared whole", () => {
  const seen = seenTexts();
  expect([seen.add("a b c"), seen.add("a b d"), seen.add("A, b; c!")]).toEqual([true, true, false]);
});

test("hostile texts take linear time", () => {
  const started = performance.now();
  for (const text of [
    "â€".repeat(200_000),
    "-".repeat(400_000),
    "[".repeat(400_000),
    '"'.repeat(400_000),
    "\n ".repeat(200_000),
  ])
    withoutBoilerplate(normaliseCharacters(repairDoubleDecoding(text)));
  expect(performance.now() - started).toBeLessThan(5000);
});
