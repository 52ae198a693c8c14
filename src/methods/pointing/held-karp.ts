/**
 * Shortest round tours by dynamic programming over sets of cities (Held and Karp 1962; Bellman 1962), where what cannot lead to a tour as short
 * as a known one is left out. What is left of a tour is at least as long as the shortest tree over its cities, by distances to which each city
 * adds a penalty: one that trees use often is made dear, one that they pass by cheap (Held and Karp 1970). All tours change by one sum.
 */
import { ensure } from "../../errors.ts";
import { checkedDistances } from "./checks.ts";
import { canonicalTour, type Distances, nearestNeighbour, tourLength, twoOpt } from "./tours.ts";

/** Most cities that the shortest tour is found of. */
export const mostExact = 20;

/** Of so few all sets are gone through sooner than bounds are found. */
const fewCities = 11;

/**
 * The shortest tour. Of scattered cities it takes milliseconds, and less than a megabyte; where all tours are about as long, O(2^n n^2) time and up
 * to 9 bytes times 2^n n / 2, half as much again while it grows: 90 megabytes and two seconds at 20 cities. Each pair is asked for in one direction. Errors: `bad_option` beyond
 * 20 cities, and for distances that are not finite (those below 0 are taken as they are).
 */
export function heldKarp(cities: number, between: Distances): number[] {
  ensure(
    Number.isInteger(cities) && cities >= 1 && cities <= mostExact,
    "bad_option",
    `${cities} cities: exact tours are found for 1 to ${mostExact}`,
  );
  if (cities <= 3) return Array.from({ length: cities }, (_, i) => i);
  const apart = tableOf(cities, checkedDistances(between));
  const upper = cities > fewCities ? shortKnown(cities, apart) : Number.POSITIVE_INFINITY;
  // Bounds are summed in another order than tours: what is rounded must cost no tour that is as short.
  const bound = upper + 1e-9 * cities * apart.reduce((most, length) => Math.max(most, Math.abs(length)), 0);
  const left = createBounds(cities, apart, cities > fewCities ? penaltiesOf(cities, apart, upper) : undefined);
  const others = cities - 1; // city 0 is where every tour begins
  const states = createStates(others);
  for (let j = 0; j < others; j++) states.reach(1 << j, j, apart[j + 1], 0);
  const all = 2 ** others - 1;
  for (let set = 1; set < all; set++) {
    if (!states.has(set)) continue;
    left.without(set);
    for (let j = 0; j < others; j++) {
      const reached = states.length(set, j);
      if (reached + left.from(j + 1) > bound || reached === Number.POSITIVE_INFINITY) continue;
      for (const city of left.cities)
        states.reach(set | (1 << (city - 1)), city - 1, reached + apart[(j + 1) * cities + city], j);
    }
  }
  let last = 0;
  const whole = (j: number): number => states.length(all, j) + apart[j + 1];
  for (let j = 1; j < others; j++) if (whole(j) < whole(last)) last = j;
  ensure(whole(last) < Number.POSITIVE_INFINITY, "bad_option", "the distances are too large to be added up");
  const tour: number[] = [];
  for (let set = all; set !== 0; ) {
    tour.push(last + 1);
    const previous = states.before(set, last);
    set ^= 1 << last;
    last = previous;
  }
  return canonicalTour([0, ...tour]);
}

function tableOf(cities: number, between: Distances): Float64Array {
  const apart = new Float64Array(cities * cities);
  for (let a = 0; a < cities; a++)
    for (let b = a + 1; b < cities; b++) {
      apart[a * cities + b] = between(a, b);
      apart[b * cities + a] = apart[a * cities + b];
    }
  return apart;
}

/** Length of the shortest that two-opt makes of a nearest neighbours' tour from each city. */
function shortKnown(cities: number, apart: Float64Array): number {
  const lengths = Array.from({ length: cities }, (_, first) => {
    const between = (a: number, b: number): number => apart[((a + first) % cities) * cities + ((b + first) % cities)];
    return tourLength(twoOpt(nearestNeighbour(cities, between), between), between);
  });
  return Math.min(...lengths);
}

/** Paths from city 0 through a set of others to one of them: the shortest length, and the city before the last. Memory is taken for the sets that are met. */
function createStates(others: number) {
  const rows = new Int32Array(2 ** others); // 0: none
  let used = 1;
  let lengths = new Float64Array(0);
  let lasts = new Int8Array(0);
  const grow = (): void => {
    const size = Math.min(Math.max(256, 2 * used), 2 ** others) * others;
    const [longer, more] = [new Float64Array(size).fill(Number.POSITIVE_INFINITY), new Int8Array(size)];
    longer.set(lengths);
    more.set(lasts);
    [lengths, lasts] = [longer, more];
  };
  return {
    has: (set: number): boolean => rows[set] > 0,
    /** Infinite where no path was met. */
    length: (set: number, last: number): number => lengths[rows[set] * others + last],
    before: (set: number, last: number): number => lasts[rows[set] * others + last],
    reach(set: number, last: number, length: number, before: number): void {
      if (rows[set] === 0) {
        if ((used + 1) * others > lengths.length) grow();
        rows[set] = used++;
      }
      const at = rows[set] * others + last;
      if (length >= lengths[at]) return;
      lengths[at] = length;
      lasts[at] = before;
    },
  };
}

/**
 * What is left of a tour is no shorter than: an edge to a city that is left, the tree over those, and an edge from one of them to city 0. Without
 * penalties nothing is known of it.
 */
function createBounds(cities: number, apart: Float64Array, given: Float64Array | undefined) {
  const penalties = given ?? new Float64Array(cities);
  const cost = apart.map((length, i) => length + penalties[Math.floor(i / cities)] + penalties[i % cities]);
  const nearest = new Float64Array(cities);
  const left: number[] = [];
  let fixed = 0;
  return {
    cities: left,
    /** City j + 1 is taken where bit j is set. */
    without(set: number): void {
      left.length = 0;
      fixed = -penalties[0];
      let home = Number.POSITIVE_INFINITY;
      for (let city = 1; city < cities; city++) {
        if (set & (1 << (city - 1))) continue;
        left.push(city);
        home = Math.min(home, cost[city]);
        fixed -= 2 * penalties[city];
        nearest[city] = Number.POSITIVE_INFINITY;
      }
      fixed += home;
      if (!given) return;
      const outside = [...left];
      for (let city = outside.pop()!; outside.length > 0; ) {
        let next = 0;
        for (const [i, other] of outside.entries()) {
          nearest[other] = Math.min(nearest[other], cost[city * cities + other]);
          if (nearest[other] < nearest[outside[next]]) next = i;
        }
        city = outside[next];
        outside[next] = outside[outside.length - 1];
        outside.pop();
        fixed += nearest[city];
      }
    },
    /** From the last city that was taken, through what is left, to city 0. */
    from(last: number): number {
      if (!given) return Number.NEGATIVE_INFINITY;
      let edge = Number.POSITIVE_INFINITY;
      for (const city of left) edge = Math.min(edge, cost[last * cities + city]);
      return edge + fixed - penalties[last];
    },
  };
}

/** So many trees are looked at: more hardly raise the bound. */
const mostTrees = 100;

/** Penalties under which the shortest tree with a circle through city 0 is long, found step by step from how many edges it has at each city. */
function penaltiesOf(cities: number, apart: Float64Array, upper: number): Float64Array {
  const penalties = new Float64Array(cities);
  let best = { penalties: penalties.slice(), bound: Number.NEGATIVE_INFINITY };
  for (let tree = 0; tree < mostTrees; tree++) {
    const { length, degrees } = treeWithCircle(cities, (a, b) => apart[a * cities + b] + penalties[a] + penalties[b]);
    const bound = length - 2 * penalties.reduce((sum, penalty) => sum + penalty, 0);
    if (bound > best.bound) best = { penalties: penalties.slice(), bound };
    const surplus = degrees.reduce((sum, degree) => sum + (degree - 2) ** 2, 0);
    const step = (0.96 ** tree * (upper - bound)) / surplus;
    if (!(step > 0 && step < Number.POSITIVE_INFINITY)) break; // a tour already, or numbers too large to add
    for (let city = 0; city < cities; city++) penalties[city] += step * (degrees[city] - 2);
  }
  return best.penalties;
}

/** The shortest tree over all cities but city 0, and two edges from there. */
function treeWithCircle(cities: number, cost: Distances): { length: number; degrees: number[] } {
  const degrees = new Array<number>(cities).fill(0);
  const nearest = Array.from({ length: cities }, () => ({ from: 0, cost: Number.POSITIVE_INFINITY }));
  const outside = Array.from({ length: cities - 2 }, (_, i) => i + 2);
  let length = 0;
  const link = (a: number, b: number): void => {
    length += cost(a, b);
    degrees[a]++;
    degrees[b]++;
  };
  for (let city = 1; outside.length > 0; ) {
    let next = 0;
    for (const [i, other] of outside.entries()) {
      const edge = cost(city, other);
      if (edge < nearest[other].cost) nearest[other] = { from: city, cost: edge };
      if (nearest[other].cost < nearest[outside[next]].cost) next = i;
    }
    [city] = outside.splice(next, 1);
    link(nearest[city].from, city);
  }
  const [one, other] = Array.from({ length: cities - 1 }, (_, i) => i + 1).sort((a, b) => cost(0, a) - cost(0, b));
  link(0, one);
  link(0, other);
  return { length, degrees };
}
