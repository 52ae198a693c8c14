/**
 * Molecules in SMILES, as OpenSMILES describes them: atoms with no more bonds than they can have, rings that close, aromatic rings that
 * have five to seven atoms and a Kekulé form. Every state knows a text that ends it: the rest of the one that the state before it knew, or
 * one found and read for it (`completion.ts`); where none is found, the text may not go on so. Left out: aromatic p, b and te, nitro groups
 * without charges (N(=O)=O), bonds `$` and `:`, `*`, stereo classes beyond `@@`, rings that go on after a dot, and some systems of aromatic
 * rings that hang on four or more open numbers.
 */
import type { TextState } from "../automaton.ts";
import { step } from "../automaton.ts";
import type { Constraint, ConstraintState } from "../contract.ts";
import { compileRegex } from "../regex/compile.ts";
import { completions } from "./completion.ts";
import { aromaticSymbols, bracketAromatic, elements, mostBonds, organic } from "./elements.ts";
import { type Atom, addAtom, emptyMolecule, isWhole, type Molecule, turnRing } from "./molecule.ts";

const mostAtoms = 256;
const mostBranches = 100;
const orders: Readonly<Record<string, number>> = { "-": 1, "/": 1, "\\": 1, "=": 2, "#": 3 };

/** Between brackets: isotope, element, stereo, hydrogens, charge, class. */
const symbols = [...elements, ...bracketAromatic].sort((a, b) => b.length - a.length).join("|");
const bracketed = `([1-9][0-9]{0,2})?(${symbols})(@@?)?(H[1-4]?)?(\\+\\+?\\+?|--?|[+-][1-4])?(:[0-9]{1,3})?`;
const bracketText = compileRegex(bracketed) as TextState;
const bracket = new RegExp(`^${bracketed}$`);
/** What an atom in brackets may be completed by, so that a bond finds room. */
const bracketEndings = ["C", "", "i", "l", "a", "e", "u", "r", "n", "H", "+", "-", "H+", "1", "Si", "Fe"];

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

/** `ending`: a text that ends it. */
export interface SmilesState extends ConstraintState {
  readonly ending: string;
  push(byte: number): SmilesState | undefined;
}

export const smilesConstraint = (): Constraint & { readonly start: SmilesState } => constraint;

const constraint: Constraint & { readonly start: SmilesState } = {
  name: "smiles",
  tight: true,
  start: stateOf({ molecule: emptyMolecule, place: "atom" }, "C"),
};

function stateOf(reading: Reading, ending: string): SmilesState {
  const next = new Map<number, SmilesState | undefined>();
  let complete: boolean | undefined;
  return {
    ending,
    get complete() {
      complete ??= isDone(reading);
      return complete;
    },
    push(byte) {
      if (!next.has(byte)) {
        const character = String.fromCharCode(byte);
        const after = byte < 0x80 ? read(reading, character) : undefined;
        const ends = after && (ending.startsWith(character) ? ending.slice(1) : endingOf(after));
        next.set(byte, ends === undefined ? undefined : stateOf(after!, ends));
      }
      return next.get(byte);
    },
  };
}

const isDone = ({ molecule, place, bracket: inner, percent }: Reading): boolean =>
  place !== "atom" && !inner && percent === undefined && isWhole(molecule);

/** A text that ends what was read; undefined where none is found. */
function endingOf({ molecule, place, bracket: inner, percent }: Reading): string | undefined {
  if (inner) {
    for (const rest of bracketEndings) {
      if (!bracket.test(inner.text + rest)) continue;
      const after = bracketAtom(molecule, inner.text + rest);
      const ending = after && endingOf(after);
      if (ending !== undefined) return `${rest}]${ending}`;
    }
    return undefined;
  }
  if (percent !== undefined) {
    for (const number of ringNumbers(molecule, percent)) {
      const after = ring(molecule, number);
      const ending = after && endingOf(after);
      if (ending !== undefined) return `${number}`.slice(percent.length) + ending;
    }
    return undefined;
  }
  let tried = 0;
  for (const text of completions(molecule, place === "atom" || molecule.order !== undefined, place === "fresh")) {
    if (ends({ molecule, place }, text)) return text;
    if (++tried >= mostReadings) return undefined;
  }
  return undefined;
}

const mostReadings = 6;

/** Whether a text ends what was read. */
function ends(reading: Reading, text: string): boolean {
  let at: Reading | undefined = reading;
  for (const character of text) {
    at = read(at, character);
    if (!at) return false;
  }
  return isDone(at);
}

/** Numbers of two digits, beginning with those given: the open rings, and one that is not in use, which stands for all of them. */
function ringNumbers({ rings }: Molecule, digits: string): number[] {
  const all = Array.from({ length: 90 }, (_, i) => i + 10).filter((number) => `${number}`.startsWith(digits));
  const unused = all.find((number) => !rings.has(number));
  return all.filter((number) => number === unused || rings.has(number));
}

/** After one more character, whether or not what was read can then be ended. */
function read(reading: Reading, character: string): Reading | undefined {
  const { molecule, place, before, bracket: inner, percent } = reading;
  if (inner) return inBracket(reading, character);
  if (percent !== undefined) return ringNumber(molecule, place, percent + character);
  if (before && Object.hasOwn(organic, before.letter + character)) {
    return withAtom(before.molecule, organicAtom(before.letter + character));
  }
  if (Object.hasOwn(organic, character)) {
    const made = withAtom(molecule, organicAtom(character));
    return made && { ...made, before: { molecule, letter: character } };
  }
  if (aromaticSymbols.includes(character)) return withAtom(molecule, aromaticAtom(character, 0, 0, false));
  if (character === "[") return { molecule, place, bracket: { text: "", state: bracketText } };
  const { current, order, branches } = molecule;
  if (current === undefined) return undefined;
  if (Object.hasOwn(orders, character)) {
    return order === undefined ? { molecule: { ...molecule, order: orders[character] }, place } : undefined;
  }
  if (place === "fresh" && character >= "0" && character <= "9") return ring(molecule, Number(character));
  if (place === "fresh" && character === "%") return { molecule, place, percent: "" };
  if (place === "atom" || order !== undefined) return undefined;
  if (character === "(") {
    if (molecule.atoms[current].free < 1 || branches.length >= mostBranches) return undefined;
    return { molecule: { ...molecule, branches: [...branches, current] }, place: "atom" };
  }
  if (character === ")") {
    const outer = branches.at(-1);
    if (outer === undefined) return undefined;
    return { molecule: { ...molecule, branches: branches.slice(0, -1), current: outer }, place: "branched" };
  }
  if (character === "." && isWhole(molecule)) {
    return { molecule: { ...emptyMolecule, before: molecule.before + molecule.atoms.length }, place: "atom" };
  }
  return undefined;
}

function withAtom(molecule: Molecule, atom: Atom | undefined): Reading | undefined {
  if (!atom || molecule.before + molecule.atoms.length >= mostAtoms) return undefined;
  const made = addAtom(molecule, atom);
  return made && { molecule: made, place: "fresh" };
}

const unbound = { boundTo: [], aromaticTo: [], ringedWith: [] };

const plainAtom = (free: number): Atom => ({
  aromatic: false,
  least: 0,
  free,
  neighbours: 0,
  exocyclic: false,
  mayExocyclic: false,
  ...unbound,
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
          ...unbound,
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
  if (character === "]") return state.accepts ? bracketAtom(molecule, text) : undefined;
  const next = step(state, character.charCodeAt(0));
  return next && { molecule, place, bracket: { text: text + character, state: next } };
}

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

function ring(molecule: Molecule, number: number): Reading | undefined {
  const turned = turnRing(molecule, number);
  return turned && { molecule: turned, place: "fresh" };
}

function ringNumber(molecule: Molecule, place: Reading["place"], digits: string): Reading | undefined {
  if (!/^[1-9][0-9]?$/.test(digits)) return undefined;
  return digits.length === 2 ? ring(molecule, Number(digits)) : { molecule, place, percent: digits };
}
