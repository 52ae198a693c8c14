/**
 * A molecule while its SMILES is read: atoms, bonds, open rings and open branches, and whether all of it can still come right: bonds
 * left where bonds are needed, every aromatic atom in an aromatic ring, and double bonds for all aromatic atoms that need one (Kekulé).
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
}

export interface Bond {
  readonly a: number;
  readonly b: number;
  /** May be part of an aromatic ring. */
  readonly aromatic: boolean;
}

export interface OpenRing {
  readonly atom: number;
  /** Undefined: as it comes. */
  readonly order?: number;
}

export interface Molecule {
  readonly atoms: readonly Atom[];
  readonly bonds: readonly Bond[];
  readonly rings: ReadonlyMap<number, OpenRing>;
  /** Atoms at which a branch is open, the innermost last. */
  readonly branches: readonly number[];
  /** The atom that the next one is bound to; undefined at the start of a part. */
  readonly current?: number;
  /** Order of the bond that was written; undefined for none. */
  readonly order?: number;
}

export const emptyMolecule: Molecule = { atoms: [], bonds: [], rings: new Map(), branches: [] };

/** One bond more; undefined where an atom has no room. `reserved`: a place at `a` was kept for an order of so much. */
function bind(molecule: Molecule, a: number, b: number, order: number | undefined, reserved = 0): Molecule | undefined {
  const [from, to] = [molecule.atoms[a], molecule.atoms[b]];
  const both = from.aromatic && to.aromatic;
  const strength = order ?? 1;
  if (both && strength > 1) return undefined;
  if (molecule.bonds.some((bond) => (bond.a === a && bond.b === b) || (bond.a === b && bond.b === a))) return undefined;
  const first = take(from, strength, reserved);
  const second = take(to, strength, 0);
  if (!first || !second) return undefined;
  const atoms = molecule.atoms.map((atom, i) => (i === a ? first : i === b ? second : atom));
  const bond: Bond = { a, b, aromatic: both && order === undefined };
  const bonds = [...molecule.bonds, bond];
  // The smallest ring that a bond closes stays: later bonds make none larger.
  if (bond.aromatic && (ringLength(neighboursOf(bonds), bond) ?? smallestRing) < smallestRing) return undefined;
  return { ...molecule, atoms, bonds };
}

/** Aromatic rings have so many atoms: beyond, hardly a molecule is known, and programs disagree on what is aromatic. */
const smallestRing = 5;
const largestRing = 7;

type Neighbours = ReadonlyMap<number, readonly number[]>;

function neighboursOf(bonds: readonly Bond[]): Neighbours {
  const around = new Map<number, number[]>();
  const add = (from: number, to: number): void => {
    const list = around.get(from);
    if (list) list.push(to);
    else around.set(from, [to]);
  };
  for (const { a, b, aromatic } of bonds) {
    if (!aromatic) continue;
    add(a, b);
    add(b, a);
  }
  return around;
}

/** Distances from an atom over aromatic bonds, but for one of them, as far as a ring reaches. */
function distancesFrom(around: Neighbours, start: number, without?: Bond): Map<number, number> {
  const found = new Map([[start, 0]]);
  for (const [at, distance] of found) {
    if (distance >= largestRing) break;
    for (const next of around.get(at) ?? []) {
      if (without && ((at === without.a && next === without.b) || (at === without.b && next === without.a))) continue;
      if (!found.has(next)) found.set(next, distance + 1);
    }
  }
  return found;
}

/** Atoms of the smallest ring with a bond; undefined where there is none of bearable size. */
function ringLength(around: Neighbours, bond: Bond): number | undefined {
  const way = distancesFrom(around, bond.a, bond).get(bond.b);
  return way === undefined || way >= largestRing ? undefined : way + 1;
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
  const { current, order, ...rest } = molecule;
  const number = molecule.atoms.length;
  const grown: Molecule = { ...rest, atoms: [...molecule.atoms, atom], current: number };
  return current === undefined ? grown : bind(grown, current, number, order);
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
    return { ...rest, rings, atoms: molecule.atoms.map((one, i) => (i === current ? atom : one)) };
  }
  if (open.atom === current || (open.order !== undefined && order !== undefined && open.order !== order))
    return undefined;
  rings.delete(number);
  return bind({ ...rest, rings }, open.atom, current, order ?? open.order, open.order ?? 1);
}

/** Whether everything is done. */
export const isWhole = (molecule: Molecule): boolean =>
  molecule.current !== undefined &&
  molecule.order === undefined &&
  molecule.rings.size === 0 &&
  molecule.branches.length === 0 &&
  ringsHold(molecule, new Map(), [], undefined);

/** Whether it can still be made whole. `fresh`: rings may still be opened at the current atom. */
export function canBeWhole(molecule: Molecule, fresh: boolean): boolean {
  const { atoms, current, branches, rings } = molecule;
  const growing = [...new Set(current === undefined ? branches : [...branches, current])];
  // A double bond out of the ring settles a carbon, too.
  const exits = growing.filter((i) => atoms[i].aromatic && atoms[i].mayExocyclic && atoms[i].free > 0);
  /** Whether it works out when these atoms get no further neighbour. */
  const works = (finished: readonly number[]): boolean => {
    const left = growing.filter((i) => !finished.includes(i) && atoms[i].free > 0);
    if (rings.size > 0 && left.length === 0) return false;
    const open = new Map<number, number>();
    const add = (i: number, ways: number): void => {
      if (atoms[i].aromatic) open.set(i, (open.get(i) ?? 0) + ways);
    };
    for (const i of left) add(i, i === current && fresh ? Math.min(atoms[i].free, 2) : 1);
    for (const { atom, order } of rings.values()) if (order === undefined) add(atom, 1);
    // A ring that ends at the current atom must leave a way to the others.
    const mayClose =
      current !== undefined && (fresh || finished.length > 0) && (rings.size <= 1 || atoms[current].free > 1);
    // What gets its last neighbour may need no double bond any more.
    const grown = atoms.map((atom, i) => (left.includes(i) && undecided.includes(i) ? lastNeighbour(atom) : atom));
    return ringsHold({ atoms: grown, bonds: molecule.bonds }, open, exits, mayClose ? current : undefined);
  };
  const undecided = growing.filter(
    (i) => needsDouble(atoms[i]) && atoms[i].free === 1 && !needsDouble(lastNeighbour(atoms[i])),
  );
  if (works([])) return true;
  return undecided.some((i) => works([i])) || (undecided.length > 1 && works(undecided));
}

const lastNeighbour = (atom: Atom): Atom => ({ ...atom, neighbours: atom.neighbours + 1 });
const needsDouble = ({ doubleAt, neighbours, exocyclic }: Atom): boolean =>
  doubleAt !== undefined && !exocyclic && doubleAt.includes(neighbours);

/** `open`: aromatic atoms that may get further aromatic neighbours, and how many ways there are. */
function ringsHold(
  { atoms, bonds }: Pick<Molecule, "atoms" | "bonds">,
  open: ReadonlyMap<number, number>,
  exits: readonly number[],
  current: number | undefined,
): boolean {
  const aromatic = atoms.flatMap((atom, i) => (atom.aromatic ? [i] : []));
  if (aromatic.length === 0) return true;
  const hub = atoms.length;
  const edges = [
    ...bonds.filter((bond) => bond.aromatic).map(({ a, b }) => [a, b] as const),
    ...[...open].flatMap(([atom, ways]) => Array.from({ length: ways }, () => [atom, hub] as const)),
  ];
  const inRing = ringEdges(atoms.length + 1, edges);
  const around = neighboursOf(bonds);
  const inSmallRing = bonds.map((bond) => bond.aromatic && ringLength(around, bond) !== undefined);
  const ringed = new Set(bonds.flatMap(({ a, b }, i) => (inSmallRing[i] ? [a, b] : [])));
  const partners = new Map<number, number[]>();
  const closed = open.size === 0;
  const aromaticSmall = inSmallRing.filter((_, i) => bonds[i].aromatic);
  edges.forEach(([a, b], k) => {
    if (b === hub || !(closed ? aromaticSmall[k] : inRing[k])) return;
    partners.set(a, [...(partners.get(a) ?? []), b]);
    partners.set(b, [...(partners.get(b) ?? []), a]);
  });
  const reaches = [...open].map(([atom, ways]) => ({ atom, ways, reach: distancesFrom(around, atom) }));
  /** Two ends at which a ring of bearable size through the atom can be closed. */
  const canRing = (i: number): boolean =>
    reaches.some(({ atom, ways, reach }, k) => {
      const first = reach.get(i);
      if (first === undefined) return false;
      if (atom === i && ways > 1) return true;
      return reaches.slice(k + 1).some((other) => {
        const second = other.reach.get(i);
        const direct = atom === current || other.atom === current;
        return second !== undefined && first + second + 1 <= (direct ? largestRing : largestRing - 1);
      });
    });
  if (!aromatic.every((i) => ringed.has(i) || canRing(i))) return false;
  const candidates = new Set(aromatic.filter((i) => needsDouble(atoms[i])));
  /** Atoms that may get a partner that is not there yet. */
  const hopeful = new Set([...exits, ...edges.flatMap(([a, b], k) => (b === hub && inRing[k] ? [a] : []))]);
  if (aromatic.some((i) => !open.has(i) && atoms[i].neighbours < atoms[i].least)) return false;
  const required = aromatic.filter((i) => needsDouble(atoms[i]) && !hopeful.has(i));
  return canPair(required, candidates, partners);
}

const mostSteps = 3_000;

/** Whether all required atoms can have one partner each. Those with the fewest choices first; beyond a bound the answer is no. */
function canPair(
  required: readonly number[],
  candidates: ReadonlySet<number>,
  partners: ReadonlyMap<number, readonly number[]>,
): boolean {
  const taken = new Set<number>();
  let steps = 0;
  const choicesOf = (i: number): number[] => (partners.get(i) ?? []).filter((j) => candidates.has(j) && !taken.has(j));
  const search = (): boolean => {
    steps += 1;
    if (steps > mostSteps) return false;
    let best: { atom: number; choices: number[] } | undefined;
    for (const atom of required) {
      if (taken.has(atom)) continue;
      const choices = choicesOf(atom);
      if (!best || choices.length < best.choices.length) best = { atom, choices };
      if (choices.length <= 1) break;
    }
    if (!best) return true;
    const { atom, choices } = best;
    taken.add(atom);
    for (const partner of choices) {
      taken.add(partner);
      if (search()) return true;
      taken.delete(partner);
    }
    taken.delete(atom);
    return false;
  };
  return search();
}

/** Which edges lie on a cycle (Tarjan 1974: an edge is a bridge where nothing below it reaches higher). */
function ringEdges(size: number, edges: readonly (readonly [number, number])[]): boolean[] {
  const around: { to: number; edge: number }[][] = Array.from({ length: size }, () => []);
  edges.forEach(([a, b], edge) => {
    around[a].push({ to: b, edge });
    around[b].push({ to: a, edge });
  });
  const order = new Int32Array(size).fill(-1);
  const lowest = new Int32Array(size);
  const inRing = edges.map(() => true);
  let time = 0;
  for (let root = 0; root < size; root++) {
    if (order[root] >= 0) continue;
    const path = [{ at: root, by: -1, next: 0 }];
    order[root] = lowest[root] = time++;
    while (path.length > 0) {
      const frame = path[path.length - 1];
      const step = around[frame.at][frame.next++];
      if (!step) {
        path.pop();
        const above = path.at(-1);
        if (!above) continue;
        lowest[above.at] = Math.min(lowest[above.at], lowest[frame.at]);
        if (lowest[frame.at] > order[above.at]) inRing[frame.by] = false;
      } else if (step.edge !== frame.by) {
        if (order[step.to] < 0) {
          order[step.to] = lowest[step.to] = time++;
          path.push({ at: step.to, by: step.edge, next: 0 });
        } else lowest[frame.at] = Math.min(lowest[frame.at], order[step.to]);
      }
    }
  }
  return inRing;
}
