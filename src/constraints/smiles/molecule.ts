/**
 * A molecule while its SMILES is read: atoms, bonds, open rings and open branches, and whether it is whole: bonds left where bonds are
 * needed, every aromatic atom in an aromatic ring, and double bonds for all aromatic atoms that need one (Kekulé).
 */

export interface Atom {
  readonly aromatic: boolean;
  /** Bonds that may still be made; of aromatic atoms their neighbours are counted, of others the orders of their bonds. */
  readonly free: number;
  /** Of aromatic atoms: needs one double bond within the ring, with so many neighbours; undefined for any number. */
  readonly doubleAt?: readonly number[];
  readonly neighbours: number;
  /** Of aromatic atoms: the fewest neighbours. */
  readonly least: number;
  /** Has a double bond out of the ring. */
  readonly exocyclic: boolean;
  /** Whether it may have that. */
  readonly mayExocyclic: boolean;
  /** The atoms it is bound to. */
  readonly boundTo: readonly number[];
  /** Those of them to which the bond may be part of an aromatic ring. */
  readonly aromaticTo: readonly number[];
  /** Those of them to which the bond is part of one: a double bond may be there. */
  readonly ringedWith: readonly number[];
}

export interface OpenRing {
  readonly atom: number;
  /** Undefined: as it comes. */
  readonly order?: number;
}

export interface Molecule {
  /** Those of the part that is read: parts before the last dot are whole, and nothing is bound to them any more. */
  readonly atoms: readonly Atom[];
  /** How many atoms the parts before have. */
  readonly before: number;
  readonly rings: ReadonlyMap<number, OpenRing>;
  /** Atoms at which a branch is open, the innermost last. */
  readonly branches: readonly number[];
  /** The atom that the next one is bound to; undefined at the start of a part. */
  readonly current?: number;
  /** Order of the bond that was written; undefined for none. */
  readonly order?: number;
}

export const emptyMolecule: Molecule = { atoms: [], before: 0, rings: new Map(), branches: [] };

/** Aromatic rings have so many atoms: beyond, hardly a molecule is known, and programs disagree on what is aromatic. */
export const smallestRing = 5;
export const largestRing = 7;

/** One bond more among atoms, a copy of a molecule's; undefined where one has no room. `reserved`: a place at `a` was kept for an order of so much. */
function bind(atoms: Atom[], a: number, b: number, order: number | undefined, reserved = 0): Atom[] | undefined {
  const [from, to] = [atoms[a], atoms[b]];
  const both = from.aromatic && to.aromatic;
  const strength = order ?? 1;
  if (both && strength > 1) return undefined;
  if (from.boundTo.includes(b)) return undefined;
  const first = take(from, strength, reserved);
  const second = take(to, strength, 0);
  if (!first || !second) return undefined;
  const aromatic = both && order === undefined;
  atoms[a] = bound(first, b, aromatic);
  atoms[b] = bound(second, a, aromatic);
  return aromatic && !markRings(atoms, a, b) ? undefined : atoms;
}

const bound = (atom: Atom, to: number, aromatic: boolean): Atom => ({
  ...atom,
  boundTo: [...atom.boundTo, to],
  ...(aromatic && { aromaticTo: [...atom.aromaticTo, to] }),
});

/** Marks the bonds of all rings that a bond closes; false where one is too small: it stays, whatever comes. */
function markRings(atoms: Atom[], a: number, b: number): boolean {
  // A new atom closes none.
  if (atoms[b].boundTo.length === 1) return true;
  const mark = (from: number, to: number): void => {
    const { ringedWith } = atoms[from];
    if (!ringedWith.includes(to)) atoms[from] = { ...atoms[from], ringedWith: [...ringedWith, to] };
  };
  for (const way of waysBetween(atoms, a, b, largestRing)) {
    if (way.length === 2) continue;
    if (way.length < smallestRing) return false;
    way.forEach((one, i) => {
      const next = way[(i + 1) % way.length];
      mark(one, next);
      mark(next, one);
    });
  }
  return true;
}

/** All ways over aromatic bonds between two atoms that are at most so long, in atoms, and come by none twice. */
export function waysBetween(atoms: readonly Atom[], from: number, to: number, most: number): number[][] {
  const distances = distancesFrom(atoms, to, most - 1);
  const ways: number[][] = [];
  const way = [from];
  const follow = (at: number): void => {
    if (at === to) {
      ways.push(way.slice());
      return;
    }
    for (const next of atoms[at].aromaticTo) {
      const left = distances.get(next);
      if (left === undefined || way.length + 1 + left > most || way.includes(next)) continue;
      way.push(next);
      follow(next);
      way.pop();
    }
  };
  if (distances.has(from)) follow(from);
  return ways;
}

/** Distances from an atom over aromatic bonds. */
function distancesFrom(atoms: readonly Atom[], start: number, most: number): Map<number, number> {
  const found = new Map([[start, 0]]);
  for (const [at, distance] of found) {
    if (distance >= most) break;
    for (const next of atoms[at].aromaticTo) if (!found.has(next)) found.set(next, distance + 1);
  }
  return found;
}

function take(atom: Atom, order: number, reserved: number): Atom | undefined {
  if (!atom.aromatic) return atom.free + reserved < order ? undefined : { ...atom, free: atom.free + reserved - order };
  const doubled = order === 2;
  if (order > 2 || (doubled && (atom.exocyclic || !atom.mayExocyclic))) return undefined;
  if (reserved > 0) return { ...atom, exocyclic: atom.exocyclic || doubled };
  if (atom.free < 1) return undefined;
  return { ...atom, free: atom.free - 1, neighbours: atom.neighbours + 1, exocyclic: atom.exocyclic || doubled };
}

export function addAtom(molecule: Molecule, atom: Atom): Molecule | undefined {
  const { before, rings, branches, current, order } = molecule;
  const number = molecule.atoms.length;
  const grown = [...molecule.atoms, atom];
  const atoms = current === undefined ? grown : bind(grown, current, number, order);
  return atoms && { atoms, before, rings, branches, current: number };
}

/** A ring's number: closes the ring if it is open, or opens it. */
export function turnRing(molecule: Molecule, number: number): Molecule | undefined {
  const { order, ...rest } = molecule;
  const current = molecule.current!;
  const open = molecule.rings.get(number);
  const rings = new Map(molecule.rings);
  if (!open) {
    const atom = take(molecule.atoms[current], order ?? 1, 0);
    if (!atom) return undefined;
    rings.set(number, { atom: current, ...(order !== undefined && { order }) });
    const atoms = molecule.atoms.slice();
    atoms[current] = atom;
    return { ...rest, rings, atoms };
  }
  if (open.atom === current || (open.order !== undefined && order !== undefined && open.order !== order))
    return undefined;
  rings.delete(number);
  const atoms = bind(molecule.atoms.slice(), open.atom, current, order ?? open.order, open.order ?? 1);
  return atoms && { ...rest, rings, atoms };
}

/** Whether everything is done. */
export function isWhole({ atoms, current, order, rings, branches }: Molecule): boolean {
  if (current === undefined || order !== undefined || rings.size > 0 || branches.length > 0) return false;
  const required: number[] = [];
  for (const [i, atom] of atoms.entries()) {
    if (!atom.aromatic) continue;
    if (atom.ringedWith.length === 0 || atom.neighbours < atom.least) return false;
    if (needsDouble(atom)) required.push(i);
  }
  if (required.length === 0) return true;
  const needs = new Set(required);
  return pair(new Map(required.map((i) => [i, atoms[i].ringedWith.filter((j) => needs.has(j))]))) !== undefined;
}

/** `more`: with so many neighbours more. */
export const needsDouble = ({ doubleAt, neighbours, exocyclic }: Atom, more = 0): boolean =>
  doubleAt !== undefined && !exocyclic && doubleAt.includes(neighbours + more);

const mostSteps = 3_000;

/**
 * A partner for each of some atoms, from those it may have; partners that are not among them may be left without. Those with the fewest
 * choices first; beyond a bound the answer is no.
 */
export function pair(options: ReadonlyMap<number, readonly number[]>): ReadonlyMap<number, number> | undefined {
  const taken = new Map<number, number>();
  let steps = 0;
  const search = (): boolean => {
    steps += 1;
    if (steps > mostSteps) return false;
    let atom: number | undefined;
    let choices: readonly number[] = [];
    for (const [one, all] of options) {
      if (taken.has(one)) continue;
      const left = all.filter((j) => !taken.has(j));
      if (left.length === 0) return false;
      if (atom !== undefined && left.length >= choices.length) continue;
      [atom, choices] = [one, left];
      if (left.length === 1) break;
    }
    if (atom === undefined) return true;
    for (const partner of choices) {
      taken.set(atom, partner);
      taken.set(partner, atom);
      if (search()) return true;
      taken.delete(partner);
    }
    taken.delete(atom);
    return false;
  };
  return search() ? taken : undefined;
}
