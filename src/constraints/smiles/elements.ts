/** How many bonds atoms may have in SMILES. Where chemistry knows exceptions, the lower number stands: what is written is then surely a molecule. */

/** Atoms that need no brackets, by their largest number of bonds. */
export const organic: Readonly<Record<string, number>> = {
  B: 3,
  C: 4,
  N: 3,
  O: 2,
  P: 5,
  S: 6,
  F: 1,
  Cl: 1,
  Br: 1,
  I: 1,
};
export const aromaticSymbols = ["c", "n", "o", "s"];
export const bracketAromatic = [...aromaticSymbols, "se"];

export const elements = (
  "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe " +
  "Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Ra Ac Th Pa U"
).split(" ");

/** Largest numbers of bonds of charged and uncharged atoms, by charge from -2 to 3. */
const bonds: Readonly<Record<string, readonly [number, number, number, number, number, number]>> = {
  H: [-1, 0, 1, 0, -1, -1],
  B: [0, 4, 3, 2, 0, 0],
  C: [2, 3, 4, 3, 2, 0],
  N: [1, 2, 3, 4, 0, 0],
  O: [0, 1, 2, 3, 0, 0],
  F: [0, 0, 1, 0, 0, 0],
  Si: [6, 5, 4, 3, 0, 0],
  P: [0, 6, 5, 4, 0, 0],
  S: [0, 1, 6, 5, 4, 0],
  Cl: [0, 0, 1, 2, 3, 4],
  Br: [0, 0, 1, 2, 3, 4],
  I: [0, 2, 5, 4, 3, 4],
  As: [0, 6, 5, 4, 0, 0],
  Se: [0, 1, 6, 5, 4, 0],
  Te: [0, 1, 6, 5, 4, 0],
};
const inert = ["He", "Ne", "Ar", "Kr", "Xe", "Rn"];
/** Of uncharged metals. Each positive charge is an electron less to bind with, each negative one an electron more. */
const ofMetals = 6;
const fewer: readonly (readonly [string, number])[] = [
  ["Li Na K Rb Cs At", 1],
  ["Be Mg Ca Sr Ba Ra Po", 2],
  ["Al Ga In Tl", 3],
  ["Sn", 4],
  ["Sb", 5],
];

/** -1: there is no such atom. */
export function mostBonds(element: string, charge: number): number {
  const known = bonds[element];
  if (known) return known[charge + 2] ?? -1;
  if (inert.includes(element)) return 0;
  const uncharged = fewer.find(([names]) => names.split(" ").includes(element))?.[1] ?? ofMetals;
  return Math.max(-1, uncharged - charge);
}
