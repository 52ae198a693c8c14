/**
 * Molecules in SMILES, as OpenSMILES describes them: atoms with no more bonds than they can have, rings that close, aromatic rings that
 * have five to seven atoms and a Kekulé form. Not tight: a few open aromatic rings can get in each other's way. Left out: aromatic p, b and te, nitro groups without charges (N(=O)=O), bonds `$` and `:`, `*`, stereo classes beyond `@@`, rings that go on after a dot.
 */
import type { TextState } from "../automaton.ts";
import { step } from "../automaton.ts";
import type { Constraint, ConstraintState } from "../contract.ts";
import { compileRegex } from "../regex/compile.ts";
import { aromaticSymbols, bracketAromatic, elements, mostBonds, organic } from "./elements.ts";
import { type Atom, addAtom, canBeWhole, emptyMolecule, isWhole, type Molecule, turnRing } from "./molecule.ts";

const mostAtoms = 256;
const orders: Readonly<Record<string, number>> = { "-": 1, "/": 1, "\\": 1, "=": 2, "#": 3 };

/** Between brackets: isotope, element, stereo, hydrogens, charge, class. */
const symbols = [...elements, ...bracketAromatic].sort((a, b) => b.length - a.length).join("|");
const bracketed = `([1-9][0-9]{0,2})?(${symbols})(@@?)?(H[1-4]?)?(\\+\\+?\\+?|--?|[+-][1-4])?(:[0-9]{1,3})?`;
const bracketText = compileRegex(bracketed) as TextState;
const bracket = new RegExp(`^${bracketed}$`);
/** What an atom in brackets may be completed by, so that a bond finds room. */
const completions = ["", "i", "l", "a", "e", "u", "r", "n", "H", "+", "-", "H+", "1", "C", "Si", "Fe"];

interface Reading {
  readonly molecule: Molecule;
  /** Rings and branches, and which atoms may follow: after an atom, after a branch, where an atom must come. */
  readonly place: "atom" | "fresh" | "branched";
  /** The molecule before a one-letter atom that may become one of two letters. */
  readonly before?: { readonly molecule: Molecule; readonly letter: string };
  readonly bracket?: { readonly text: string; readonly state: TextState };
  /** Digits of a ring's number after %. */
  readonly percent?: string;
}

export const smilesConstraint = (): Constraint => constraint;

const constraint: Constraint = {
  name: "smiles",
  tight: false,
  start: stateOf({ molecule: emptyMolecule, place: "atom" }),
};

function stateOf(reading: Reading): ConstraintState {
  const next = new Map<number, ConstraintState | undefined>();
  let complete: boolean | undefined;
  return {
    get complete() {
      complete ??=
        reading.place !== "atom" && !reading.bracket && reading.percent === undefined && isWhole(reading.molecule);
      return complete;
    },
    push(byte) {
      if (!next.has(byte)) {
        const after = byte < 0x80 ? read(reading, String.fromCharCode(byte)) : undefined;
        next.set(byte, after && stateOf(after));
      }
      return next.get(byte);
    },
  };
}

const viable = (reading: Reading | undefined): Reading | undefined =>
  reading && canBeWhole(reading.molecule, reading.place === "fresh") ? reading : undefined;

function read(reading: Reading, character: string): Reading | undefined {
  const { molecule, place, before, bracket: inner, percent } = reading;
  if (inner) return inBracket(reading, character);
  if (percent !== undefined) return ringNumber(reading, percent + character);
  if (before && Object.hasOwn(organic, before.letter + character)) {
    return viable(withAtom(before.molecule, organicAtom(before.letter + character)));
  }
  if (/[A-Z]/.test(character) && Object.hasOwn(organic, character)) {
    const made = viable(withAtom(molecule, organicAtom(character)));
    return made && { ...made, before: { molecule, letter: character } };
  }
  if (aromaticSymbols.includes(character)) return viable(withAtom(molecule, aromaticAtom(character, 0, 0, false)));
  if (character === "[") {
    const start = { molecule, place, bracket: { text: "", state: bracketText } };
    return canFinishBracket(start) ? start : undefined;
  }
  if (place === "atom") {
    // A bond, or a bond of a branch.
    return molecule.current !== undefined && molecule.order === undefined ? bond(reading, character) : undefined;
  }
  if (molecule.order === undefined && character in orders) return bond(reading, character);
  if (/[0-9]/.test(character)) return place === "fresh" ? viable(ring(reading, Number(character))) : undefined;
  if (character === "%") {
    const started = { molecule, place, percent: "" };
    return place === "fresh" && anyRing(started) ? started : undefined;
  }
  if (molecule.order !== undefined) return undefined;
  if (character === "(") {
    const { current, atoms, branches } = molecule;
    if (atoms[current!].free < 1 || branches.length >= 100) return undefined;
    const opened: Reading = { molecule: { ...molecule, branches: [...branches, current!] }, place: "atom" };
    return canGoOn(opened) ? opened : undefined;
  }
  if (character === ")") {
    const { branches } = molecule;
    const current = branches.at(-1);
    if (current === undefined) return undefined;
    return viable({ molecule: { ...molecule, branches: branches.slice(0, -1), current }, place: "branched" });
  }
  if (character === ".") {
    const { current: _, ...rest } = molecule;
    return isWhole(molecule) && molecule.atoms.length < mostAtoms ? { molecule: rest, place: "atom" } : undefined;
  }
  return undefined;
}

function bond(reading: Reading, character: string): Reading | undefined {
  const order = orders[character];
  if (order === undefined) return undefined;
  const bound: Reading = { ...reading, molecule: { ...reading.molecule, order } };
  const { place, molecule } = { ...bound };
  const after: Reading = { molecule, place: place === "fresh" ? "fresh" : place };
  return canGoOn(after) ? after : undefined;
}

/** Whether an atom of some kind may come next. */
const canGoOn = ({ molecule }: Reading): boolean =>
  molecule.atoms.length < mostAtoms - molecule.rings.size &&
  [organicAtom("C"), aromaticAtom("c", 0, 0, false), organicAtom("O")].some((atom) => viable(withAtom(molecule, atom)));

function withAtom(molecule: Molecule, atom: Atom | undefined): Reading | undefined {
  if (!atom || molecule.atoms.length >= mostAtoms) return undefined;
  const made = addAtom(molecule, atom);
  return made && { molecule: made, place: "fresh" };
}

const plainAtom = (free: number): Atom => ({
  aromatic: false,
  least: 0,
  free,
  neighbours: 0,
  exocyclic: false,
  mayExocyclic: false,
});
const organicAtom = (symbol: string): Atom => plainAtom(organic[symbol]);

/** An aromatic atom and when it needs a double bond in its ring; undefined where it cannot be aromatic. */
function aromaticAtom(symbol: string, hydrogens: number, charge: number, inBrackets: boolean): Atom | undefined {
  const atom = (most: number, doubleAt?: readonly number[], least = 2): Atom | undefined =>
    hydrogens > most - 2
      ? undefined
      : {
          aromatic: true,
          free: most - hydrogens,
          neighbours: hydrogens,
          ...(doubleAt && { doubleAt }),
          least,
          exocyclic: false,
          mayExocyclic: symbol === "c" && charge === 0 && hydrogens === 0,
        };
  // Without implicit hydrogens: all three neighbours are written.
  if (symbol === "c" && charge === 0) return atom(3, [0, 1, 2, 3], inBrackets ? 3 : 2);
  if (symbol === "n" && charge === 0) return atom(3, [0, 1, 2]);
  if (symbol === "n" && charge === 1) return atom(3, [0, 1, 2, 3], 3);
  if (symbol === "n" && charge === -1) return atom(2);
  if (["o", "s", "se"].includes(symbol) && charge === 0) return atom(2);
  if (["o", "s", "se"].includes(symbol) && charge === 1) return atom(2, [0, 1, 2]);
  return undefined;
}

function inBracket({ molecule, place, bracket: inner }: Reading, character: string): Reading | undefined {
  const { text, state } = inner!;
  if (character === "]") return state.accepts ? viable(bracketAtom(molecule, text)) : undefined;
  const next = step(state, character.charCodeAt(0));
  if (!next) return undefined;
  const after = { molecule, place, bracket: { text: text + character, state: next } };
  return canFinishBracket(after) ? after : undefined;
}

const canFinishBracket = ({ molecule, bracket: inner }: Reading): boolean =>
  completions.some((rest) => bracket.test(inner!.text + rest) && viable(bracketAtom(molecule, inner!.text + rest)));

function bracketAtom(molecule: Molecule, text: string): Reading | undefined {
  const [, , symbol, , hydrogen, charged] = bracket.exec(text)!;
  const hydrogens = hydrogen ? Number(hydrogen.slice(1) || 1) : 0;
  const charge = chargeOf(charged ?? "");
  if (bracketAromatic.includes(symbol)) return withAtom(molecule, aromaticAtom(symbol, hydrogens, charge, true));
  const free = mostBonds(symbol, charge) - hydrogens;
  return free < 0 ? undefined : withAtom(molecule, plainAtom(free));
}

function chargeOf(written: string): number {
  const sign = written.startsWith("-") ? -1 : 1;
  const number = /[1-4]/.exec(written);
  return sign * (number ? Number(number[0]) : written.length);
}

function ring({ molecule }: Reading, number: number): Reading | undefined {
  const turned = turnRing(molecule, number);
  return turned && { molecule: turned, place: "fresh" };
}

function ringNumber(reading: Reading, digits: string): Reading | undefined {
  if (!/^[1-9][0-9]?$/.test(digits)) return undefined;
  if (digits.length === 2) return viable(ring(reading, Number(digits)));
  const after = { molecule: reading.molecule, place: reading.place, percent: digits };
  return anyRing(after) ? after : undefined;
}

/** Whether some number that begins so works. */
function anyRing(reading: Reading): boolean {
  for (let number = 10; number < 100; number++) {
    if (`${number}`.startsWith(reading.percent!) && viable(ring(reading, number))) return true;
  }
  return false;
}
