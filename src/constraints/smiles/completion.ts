/**
 * Ways to end a molecule from where its text stands: atoms that close what is open. Aromatic atoms that are in no ring yet get into rings
 * of new atoms, each from an atom that can still grow, or from an open ring's number, to another of these; double bonds decide of what
 * elements the new atoms are; what rings are open besides is closed by carbons.
 */
import { type Growth, type Link, numbersOf, Planner, placesOf } from "./links.ts";
import { type Atom, type Molecule, needsDouble, pair } from "./molecule.ts";

/** What is decided of a way to end: links, and for atoms that need a double bond, and new ones, to which it goes. */
interface Plan {
  readonly links: readonly Link[];
  readonly partners: ReadonlyMap<number, number>;
}

/** So many plans are tried for each system of rings. */
const mostPlans = 24;

/** Texts that may end the molecule, likely ones first; whether one does is for the reader to find out. */
export function* completions(molecule: Molecule, must: boolean, fresh: boolean): Generator<string> {
  const { atoms, current, order, branches, rings } = molecule;
  if (current === undefined) {
    yield "C";
    return;
  }
  const growths: Growth[] = [
    { atom: current, must, fresh: fresh && order === undefined, aromatic: order === undefined },
    ...branches.toReversed().map((atom) => ({ atom, must: false, fresh: false, aromatic: true })),
  ];
  const ends = [...rings].flatMap(([number, { atom, order: given }]) =>
    given === undefined && atoms[atom].aromatic ? [{ number, atom }] : [],
  );
  const planner = new Planner(molecule, growths, ends);
  const systems = openSystems(atoms, [...growths, ...ends]);
  const last = systems.pop() ?? [];
  let plan: Plan = { links: [], partners: new Map() };
  for (const system of systems) {
    const [found] = plansFor(molecule, growths, planner, system, plan);
    if (!found) return;
    plan = found;
  }
  for (const whole of plansFor(molecule, growths, planner, last, plan)) {
    const text = textOf(molecule, growths, whole);
    if (text !== undefined) yield text;
  }
}

/** Aromatic atoms whose rings are not settled yet, those that hang together by themselves. */
function openSystems(atoms: readonly Atom[], places: readonly { readonly atom: number }[]): number[][] {
  const systems: number[][] = [];
  const seen = new Set<number>();
  for (const { atom } of places) {
    if (!atoms[atom].aromatic || seen.has(atom)) continue;
    const system = [atom];
    seen.add(atom);
    for (const at of system) {
      for (const next of atoms[at].aromaticTo) {
        if (seen.has(next)) continue;
        seen.add(next);
        system.push(next);
      }
    }
    systems.push(system);
  }
  return systems;
}

/** Plans that settle a system of rings, after one for others. */
function* plansFor(
  molecule: Molecule,
  growths: readonly Growth[],
  planner: Planner,
  system: readonly number[],
  before: Plan,
): Generator<Plan> {
  const exits = growths.flatMap((_, i) => (before.partners.has(exitAt(i)) ? [i] : []));
  let tried = 0;
  for (const links of planner.covering(system, before.links, exits)) {
    if (tried++ >= mostPlans) return;
    const partners = pairing(molecule, growths, system, links);
    if (partners) yield { links, partners: new Map([...before.partners, ...partners]) };
  }
}

/** Partners that are not atoms: what is bound twice to a place of growth, or once so that the atom there needs no double bond. */
const exitAt = (growth: number): number => -1 - growth;

/** New atoms by their numbers, and bonds that the atoms at places of growth get. */
class Frame {
  readonly #molecule: Molecule;
  readonly #growths: readonly Growth[];
  readonly #links: readonly Link[];
  readonly #linked: readonly number[];
  readonly #more = new Map<number, number>();
  readonly #firsts: number[] = [];
  /** Places where a carbon is bound, whatever else: where an atom must come, or one has too few neighbours. */
  readonly carbons: number[] = [];

  constructor(molecule: Molecule, growths: readonly Growth[], links: readonly Link[]) {
    this.#molecule = molecule;
    this.#growths = growths;
    this.#links = links;
    this.#linked = placesOf(links);
    const { atoms, order } = molecule;
    let next = atoms.length;
    for (const { fresh } of links) {
      this.#firsts.push(next);
      next += fresh;
    }
    for (const growth of this.#linked) this.gain(growth);
    growths.forEach(({ atom, must }, i) => {
      const { aromatic, neighbours, least, mayExocyclic } = atoms[atom];
      // A double bond to an oxygen may take the same place.
      const forced = must && !this.isLinked(i) && !(mayExocyclic && order === undefined);
      if (!forced && !(aromatic && neighbours + this.more(atom) < least && this.room(i) > 0)) return;
      this.carbons.push(i);
      this.gain(i);
    });
  }

  isLinked(growth: number): boolean {
    return this.#linked.includes(growth);
  }

  gain(growth: number): void {
    const { atom } = this.#growths[growth];
    this.#more.set(atom, this.more(atom) + 1);
  }

  more(atom: number): number {
    return this.#more.get(atom) ?? 0;
  }

  room(growth: number): number {
    const { atom, must } = this.#growths[growth];
    return must && this.isLinked(growth) ? 0 : this.#molecule.atoms[atom].free - this.more(atom);
  }

  /** The first of a link's new atoms. */
  first(link: number): number {
    return this.#firsts[link];
  }

  /** The atom that the end of a link is bound to. */
  last(link: number): number {
    const { start, fresh } = this.#links[link];
    return fresh === 0 && "after" in start ? this.last(start.after) : this.#firsts[link] + fresh - 1;
  }

  /** The new atoms of a link and of those that go on after it. */
  chain(link: number): number[] {
    const own = Array.from({ length: this.#links[link].fresh }, (_, k) => this.#firsts[link] + k);
    const further = this.#links.findIndex(({ start }) => "after" in start && start.after === link);
    return further < 0 ? own : [...own, ...this.chain(further)];
  }
}

/** To which atom each one of a system has its double bond, if it needs one; undefined where they do not work out. */
function pairing(
  molecule: Molecule,
  growths: readonly Growth[],
  system: readonly number[],
  links: readonly Link[],
): ReadonlyMap<number, number> | undefined {
  const { atoms, order, current } = molecule;
  const frame = new Frame(molecule, growths, links);
  const doubled = order === 2 ? current : undefined;
  const required = system.filter((i) => i !== doubled && needsDouble(atoms[i], frame.more(i)));
  if (required.length === 0) return new Map();
  const options = new Map(required.map((i) => [i, [] as number[]]));
  for (const [i, own] of options) for (const j of atoms[i].ringedWith) if (options.has(j)) own.push(j);
  const add = (a: number, b: number): void => {
    if (b < 0 || b >= atoms.length || options.has(b)) options.get(a)?.push(b);
  };
  links.forEach(({ start, ways, between: [a, b], fresh }, i) => {
    for (const way of ways) {
      for (let k = 1; k < way.length; k++) {
        add(way[k - 1], way[k]);
        add(way[k], way[k - 1]);
      }
    }
    if (!("after" in start) && fresh > 0) add(a, frame.first(i));
    if ("growth" in start && fresh === 0) {
      add(a, b);
      add(b, a);
    } else add(b, frame.last(i));
  });
  // New atoms may bring bonds into rings by the way.
  for (const [i, own] of options) for (const j of atoms[i].aromaticTo) if (!own.includes(j)) add(i, j);
  growths.forEach(({ atom, aromatic, must }, i) => {
    if (!options.has(atom) || frame.carbons.includes(i) || frame.room(i) < 1) return;
    const { mayExocyclic } = atoms[atom];
    if ((mayExocyclic && aromatic) || (!must && !needsDouble(atoms[atom], frame.more(atom) + 1))) add(atom, exitAt(i));
  });
  return pair(options);
}

/** The text that carries out a plan and closes everything else; undefined where there is no place for all of it. */
function textOf(molecule: Molecule, growths: readonly Growth[], { links, partners }: Plan): string | undefined {
  const { atoms, rings, order } = molecule;
  const frame = new Frame(molecule, growths, links);
  const items: string[][] = growths.map(() => []);
  const carbons = [...frame.carbons];
  growths.forEach(({ atom, must }, i) => {
    if (partners.has(exitAt(i))) {
      if (atoms[atom].mayExocyclic) items[i].push("=O");
      else carbons.push(i);
      frame.gain(i);
    } else if (must && !frame.isLinked(i) && !carbons.includes(i)) {
      carbons.push(i);
      frame.gain(i);
    }
  });

  // The elements of the new atoms: two neighbours without a partner are each other's, and one alone is an element that needs none.
  const junctions = new Set(
    links.flatMap(({ start }, i) =>
      "after" in start ? [frame.last(start.after)] : "opens" in start ? [frame.first(i)] : [],
    ),
  );
  const symbols = new Map<number, string>();
  const numbers = new Map<number, string>();
  const addNumber = (atom: number, number: number): void => {
    numbers.set(atom, (numbers.get(atom) ?? "") + numberText(number));
  };
  const starts = growths.map(() => "");
  let unused = 0;
  links.forEach(({ start, end, fresh }, i) => {
    if (!("after" in start)) {
      const chain = frame.chain(i);
      for (let k = 0; k < chain.length; k++) {
        const alone = !partners.has(chain[k]);
        const both = alone && k + 1 < chain.length && !partners.has(chain[k + 1]);
        symbols.set(chain[k], both || !alone ? "c" : junctions.has(chain[k]) ? "n" : "o");
        if (both) symbols.set(chain[++k], "c");
      }
      if ("opens" in start) addNumber(frame.first(i), start.opens);
    }
    if ("growth" in end) {
      while (rings.has(unused)) unused += 1;
      addNumber(frame.last(i) - 1, unused);
      addNumber(frame.last(i), unused++);
    } else if (fresh === 0 && "growth" in start) starts[start.growth] += numberText(end.number);
    else addNumber(frame.last(i), end.number);
  });
  const written = (atom: number): string => symbols.get(atom)! + (numbers.get(atom) ?? "");
  const chainOf = (link: number): string[] => frame.chain(link).map(written);

  // What is left of the rings is closed by carbons, two for each, so that no two atoms are bound twice.
  const closed = numbersOf(links);
  let tail = "";
  for (const number of rings.keys()) if (!closed.includes(number)) tail += `C(C${numberText(number)})`;
  links.forEach(({ start }, i) => {
    if ("opens" in start) tail += `C(${chainOf(i).join("")})`;
  });
  if (tail && growths[0].must && order === 3) tail = `C${tail}`;
  for (const growth of carbons) {
    items[growth].push(tail || "C");
    tail = "";
  }
  const place = growths.findIndex(
    ({ atom, must }, i) =>
      frame.room(i) > 0 && !(must && items[i].length > 0) && (atoms[atom].mayExocyclic || !partners.has(atom)),
  );
  if (tail && place >= 0) {
    items[place].push(tail);
    tail = "";
  }
  links.forEach(({ start, end }, i) => {
    if (!("growth" in start)) return;
    const chain = chainOf(i);
    const host = tail ? frame.chain(i).findIndex((atom) => !junctions.has(atom)) : -1;
    if (host >= 0) {
      chain[host] = `${chain[host].replace("o", "n")}(${tail})`;
      tail = "";
    }
    const outer = "growth" in end ? chain.pop()! : undefined;
    if (chain.length > 0) items[start.growth].push(chain.join(""));
    // The other end comes later in the text, or last at the same place.
    if (outer !== undefined && "growth" in end) items[end.growth].push(outer);
  });
  if (tail) return undefined;
  return items
    .map((own, i) => starts[i] + own.map((item, k) => (k < own.length - 1 ? `(${item})` : item)).join(""))
    .join(")");
}

const numberText = (number: number): string => (number < 10 ? `${number}` : `%${number}`);
