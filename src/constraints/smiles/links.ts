/** New rings of aromatic atoms: where they may begin and end, and which of them bring atoms that are there into rings. */
import { largestRing, type Molecule, smallestRing, waysBetween } from "./molecule.ts";

/** A place in the text at which atoms can still be bound to one that is there: its end, and what follows a branch that is closed after it. */
export interface Growth {
  readonly atom: number;
  /** An atom must come here, and only one can. */
  readonly must: boolean;
  /** Numbers of rings may come first. */
  readonly fresh: boolean;
  /** Whether what is bound here may be part of an aromatic ring. */
  readonly aromatic: boolean;
}

export interface End {
  readonly number: number;
  readonly atom: number;
}

/**
 * New atoms that close a ring. They begin at a place of growth; or wherever there is room for a bond, with a number that the first of them
 * closes; or they go on after another link, whose last atom is part of this ring, too. They end with a number, or at another place of growth.
 */
export interface Link {
  readonly start: { readonly growth: number } | { readonly opens: number } | { readonly after: number };
  readonly end: { readonly growth: number } | { readonly number: number };
  /** The atoms that are there at both ends. */
  readonly between: readonly [number, number];
  /** The ways between them that become parts of rings. */
  readonly ways: readonly (readonly number[])[];
  /** How many atoms are new. */
  readonly fresh: number;
}

/** So many links are made in a plan, so many plans kept to go on from, and so many times is it asked for links. */
const mostLinks = 4;
const mostKept = 4;
const mostSteps = 40;

/** The places of growth at which links begin or end. */
export const placesOf = (links: readonly Link[]): number[] =>
  links.flatMap(({ start, end }) => [
    ...("growth" in start ? [start.growth] : []),
    ...("growth" in end ? [end.growth] : []),
  ]);

/** The numbers that links close. */
export const numbersOf = (links: readonly Link[]): number[] =>
  links.flatMap(({ start, end }) => [
    ...("opens" in start ? [start.opens] : []),
    ...("number" in end ? [end.number] : []),
  ]);

/** Finds links. */
export class Planner {
  readonly #molecule: Molecule;
  readonly #growths: readonly Growth[];
  readonly #ends: readonly End[];
  /** Places that other systems have used up. */
  #exits: readonly number[] = [];
  #steps = 0;
  readonly #ways = new Map<number, readonly (readonly number[])[]>();

  constructor(molecule: Molecule, growths: readonly Growth[], ends: readonly End[]) {
    this.#molecule = molecule;
    this.#growths = growths;
    this.#ends = ends;
  }

  /** Links that bring all atoms of a system into rings; then those with one more; then those that may do so, as new atoms make rings, too. */
  *covering(system: readonly number[], before: readonly Link[], exits: readonly number[]): Generator<readonly Link[]> {
    this.#exits = exits;
    this.#steps = 0;
    const bare = system.filter((i) => this.#molecule.atoms[i].ringedWith.length === 0).sort((a, b) => b - a);
    const whole: (readonly Link[])[] = [];
    const partial: (readonly Link[])[] = [];
    // Links that go on after others are found in one order or in the other.
    for (const order of bare.length > 1 ? [bare, bare.toReversed()] : [bare]) {
      for (const links of this.#cover(order, before, system, partial)) {
        yield links;
        if (whole.length < mostKept) whole.push(links);
      }
    }
    for (const links of whole) for (const link of this.#links(undefined, links, system)) yield [...links, link];
    for (const links of partial) if (links.length > before.length) yield links;
  }

  *#cover(
    bare: readonly number[],
    links: readonly Link[],
    system: readonly number[],
    partial: (readonly Link[])[],
  ): Generator<readonly Link[]> {
    if (bare.length === 0) {
      yield links;
      return;
    }
    if (links.length === mostLinks || this.#steps++ > mostSteps) return;
    let found = false;
    for (const link of this.#links(bare[0], links, system)) {
      found = true;
      const left = bare.filter((i) => !link.ways.some((way) => way.includes(i)));
      yield* this.#cover(left, [...links, link], system, partial);
    }
    if (!found && partial.length < mostKept) partial.push(links);
  }

  /** Links that may still be made beside others, through an atom where one is given. */
  *#links(through: number | undefined, links: readonly Link[], system: readonly number[]): Generator<Link> {
    const { atoms } = this.#molecule;
    const growths = this.#growths;
    const places = [...placesOf(links), ...this.#exits];
    const taken = numbersOf(links);
    const roomAtAtom = (atom: number): number =>
      atoms[atom].free - places.filter((place) => growths[place].atom === atom).length;
    const room = (growth: number): number => {
      const { atom, must } = growths[growth];
      return must ? Math.min(roomAtAtom(atom), places.includes(growth) ? 0 : 1) : roomAtAtom(atom);
    };
    const rings = growths.flatMap(({ aromatic, atom }, i) =>
      aromatic && system.includes(atom) && room(i) > 0 ? [i] : [],
    );
    const ends = this.#ends.filter(({ number, atom }) => system.includes(atom) && !taken.includes(number));
    for (const growth of rings) {
      for (const { number, atom } of ends) {
        // A number right at the current atom closes the ring without any new one.
        const least = growths[growth].fresh ? 0 : 1;
        yield* this.#along(growths[growth].atom, atom, through, 0, least, { start: { growth }, end: { number } });
      }
    }
    for (const [after, { end: last }] of links.entries()) {
      if (!("number" in last) || links.some(({ start }) => "after" in start && start.after === after)) continue;
      if (links[after].fresh === 0) continue;
      const from = this.#molecule.rings.get(last.number)!.atom;
      for (const { number, atom } of ends) {
        yield* this.#along(from, atom, through, 1, 0, { start: { after }, end: { number } });
      }
    }
    for (const growth of rings) {
      for (const to of rings) {
        const [a, b] = [growths[growth].atom, growths[to].atom];
        if (to < growth || (to === growth && room(growth) < 2) || (a === b && roomAtAtom(a) < 2)) continue;
        yield* this.#along(a, b, through, 0, 2, { start: { growth }, end: { growth: to } });
      }
    }
    for (const [i, first] of ends.entries()) {
      for (const { number, atom } of ends.slice(i + 1)) {
        const link = { start: { opens: first.number }, end: { number } };
        yield* this.#along(first.atom, atom, through, 0, 1, link);
      }
    }
  }

  /** Links of all sizes, likely ones first, between two atoms. `more`: atoms of other links in the ring. */
  *#along(
    from: number,
    to: number,
    through: number | undefined,
    more: number,
    least: number,
    link: Pick<Link, "start" | "end">,
  ): Generator<Link> {
    const ways = this.#waysBetween(from, to);
    if (ways.length === 0) return;
    const shortest = Math.min(...ways.map((way) => way.length));
    const passing = through === undefined ? ways : ways.filter((way) => way.includes(through));
    const length = Math.min(...passing.map((way) => way.length));
    for (const size of sizes) {
      const fresh = size - length - more;
      if (fresh < least || shortest + fresh + more < smallestRing) continue;
      yield {
        ...link,
        between: [from, to],
        ways: ways.filter((way) => way.length + fresh + more <= largestRing),
        fresh,
      };
    }
  }

  #waysBetween(from: number, to: number): readonly (readonly number[])[] {
    const key = from * this.#molecule.atoms.length + to;
    let ways = this.#ways.get(key);
    if (!ways) {
      ways = waysBetween(this.#molecule.atoms, from, to, largestRing);
      this.#ways.set(key, ways);
    }
    return ways;
  }
}

/** Sizes of rings, likely ones first. */
const sizes = [6, 5, 7];
