/** SMILES, judged by OpenChemLib and by real molecules. */
import { readFileSync } from "node:fs";
import { Command } from "commander";
import { Molecule } from "openchemlib";
import { describe, expect, it } from "vitest";
import { dataPath, noData } from "../../../test/data.ts";
import { addConstraintFlags } from "../../cli/constraint.ts";
import { isValid, pushAll } from "../contract.ts";
import { obeysTheLaws } from "../laws.fixture.ts";
import { elements, mostBonds } from "./elements.ts";
import { type SmilesState, smilesConstraint } from "./index.ts";

/** What so many random walks over letters have written after each that was allowed; `tried` counts a walk's letters, refused ones too. */
function* walks(letters: string, seed: number, count: number) {
  const draw = random(seed);
  for (let walk = 0; walk < count; walk++) {
    let at: SmilesState = smilesConstraint().start;
    let text = "";
    for (let tried = 0; tried < 40; tried++) {
      const letter = letters[Math.floor(draw() * letters.length)];
      const next = at.push(letter.charCodeAt(0));
      if (!next) continue;
      at = next;
      text += letter;
      yield { at, text, tried };
    }
  }
}

describe("SMILES", () => {
  obeysTheLaws("molecules", {
    constraint: smilesConstraint,
    valid: ["C", "CC(=O)Oc1ccccc1C(=O)O", "Cn1cnc2c1c(=O)n(C)c(=O)n2C", "[NH4+].[Cl-]", "F/C=C/Br", "C1CC%10CC1CC%10"],
    invalid: [
      "",
      "C(",
      "C1CC",
      "C(C)(C)(C)(C)C",
      "c1cccc1",
      "cc",
      "c1ccccc1=O",
      "F=F",
      "C.",
      "C()C",
      "C=1CC#1",
      "[Xx]",
      "C11",
    ],
    endsElsewhere: true,
  });

  it.each([
    ["c1ccc2c(c1)[nH]c1ccccc12", true],
    ["c1ccc2cccc2cc1", true],
    ["O=c1cc[nH]cc1", true],
    ["n1cccc1", false], // five electrons: it wants [nH]
    ["o1cccc1", true],
    ["C[n+]1ccccc1", true],
    ["c1ccccc1-c1ccccc1", true],
    ["c1ccc1", false],
    ["N(C)(C)(C)C", false],
    ["C[N+](C)(C)C", true],
    ["O=S(=O)(O)CCl", true],
    ["C1C1", false],
    ["C1.C1", false],
    ["[13CH4]", true],
    ["C[C@@H](N)C(=O)O", true],
  ])("%s", (text, valid) => {
    expect(isValid(smilesConstraint(), text)).toBe(valid);
  });

  it.each([
    ["aromatic p, b and te", ["p1cccc1", "b1ccccc1", "[te]1cccc1"]],
    ["N(=O)=O without charges", ["CN(=O)=O"]],
    ["the bonds $ and :", ["C$C", "C:C"]],
    ["the atom *", ["*C"]],
    ["stereo classes beyond @@", ["C[C@TH1](N)C(=O)O"]],
    ["rings that go on after a dot", ["C1CC.C1"]],
  ])("%s are not taken, as the command line's help says", (what, texts) => {
    for (const text of texts) expect(isValid(smilesConstraint(), text), text).toBe(false);
    const command = new Command();
    addConstraintFlags(command);
    expect(command.options.find(({ long }) => long === "--smiles")?.description).toContain(what);
  });

  it("what random walks write is a molecule", () => {
    const letters = "CCCCNOSFcccccnos[[]]()()==#112233HBrlI+-@.";
    let molecules = 0;
    for (const { at, text } of walks(letters, 5, 60)) {
      if (!at.complete) continue;
      molecules += 1;
      expect(problemOf(text), text).toBeUndefined();
    }
    expect(molecules).toBeGreaterThan(30);
  });

  it("whatever random walks begin can be ended, and is a molecule then", () => {
    const letters = "CCNOScccccccnnnos[[]]()()==#-12345678%0HBrl+@";
    const encoder = new TextEncoder();
    let aromatic = 0;
    for (const { at, text, tried } of walks(letters, 11, 120)) {
      expect(pushAll(at, encoder.encode(at.ending))?.complete, `${text} and ${at.ending}`).toBe(true);
      if (tried % 8 !== 0) continue;
      if (/[cn]/.test(at.ending)) aromatic += 1;
      expect(problemOf(text + at.ending), `${text} and ${at.ending}`).toBeUndefined();
    }
    expect(aromatic).toBeGreaterThan(100);
  });

  it("gives no element of any charge more bonds than the judge does", () => {
    for (const element of elements)
      for (let charge = -2; charge <= 3; charge++) {
        const most = mostBonds(element, charge);
        if (most < 0) continue;
        const atom = `[${element}${charge === 0 ? "" : charge > 0 ? `+${charge}` : charge}]`;
        const text = most === 0 ? atom : `C${atom}${"(C)".repeat(most - 1)}`;
        expect(problemOf(text), text).toBeUndefined();
      }
  });

  it.skipIf(!dataPath("smiles"))(
    `takes real molecules ${dataPath("smiles") ? "" : noData}`,
    { timeout: 60_000 },
    () => {
      const lines = readFileSync(dataPath("smiles", "esol.csv")!, "utf8").trim().split("\n").slice(1);
      const molecules = lines
        .filter((line) => !/N\(=O\)=O|O=N\(=O\)/.test(line)) // left out: nitro groups without charges
        .filter((_, i) => i % 4 === 0)
        .map((line) => line.slice(line.lastIndexOf(",") + 1).trim());
      const refused = molecules.filter((text) => !isValid(smilesConstraint(), text) && problemOf(text) === undefined);
      expect(refused.length).toBeLessThanOrEqual(molecules.length / 100);
    },
  );
});

/** What the judge says against a molecule. Charges need not add up to nothing: ions are written alone, too. */
function problemOf(text: string): string | undefined {
  try {
    const molecule = Molecule.fromSmiles(text);
    molecule.validate();
    return undefined;
  } catch (error) {
    const { message } = error as Error;
    return /valence|SmilesParser|aromatic/.test(message) ? message : undefined;
  }
}

const random = (state: number) => (): number => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
