/**
 * A* over steps against best-of-n, on multi-step arithmetic with a solver and a reward of known errors: the rows of `control` that the
 * reproduction of a-star measures.
 */
import { atLeast, reported } from "./harness/report.mjs";
import { ourReproduction } from "./ours.mjs";

/** @typedef {import("./harness/report.mjs").Settings} Settings */
/** @typedef {import("./harness/report.mjs").Measurement} Measurement */

/** @type {Promise<{ claim: string, value: number, interval?: readonly [number, number], note?: string }[]> | undefined} */
let shared;

/** @param {string} claim @param {(value: number) => number} [shown] @returns {(settings: Settings) => Promise<Measurement>} */
const measured =
  (claim, shown = (value) => value) =>
  async ({ quick, progress }) => {
    shared ??= ourReproduction("a-star", quick ? "tiny" : "quick", progress);
    const found = (await shared).find((one) => one.claim === claim);
    if (!found) return { skipped: "this size does not measure it" };
    return { value: shown(found.value), runs: (found.interval ?? [found.value]).map(shown), note: found.note };
  };

export const rows = [
  { what: "best-of-n over a-star: tokens at equal accuracy", target: atLeast(2), measure: measured("tokens") },
  {
    what: "best-of-n over a-star: reward calls at equal accuracy",
    target: atLeast(1),
    measure: measured("reward-passes", (saved) => 1 / (1 - saved / 100)),
  },
  { what: "a-star with a perfect reward: expansions over depth", target: reported(""), measure: measured("oracle") },
];
