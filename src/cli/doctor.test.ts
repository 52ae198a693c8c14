import { expect, test } from "vitest";
import { type Gain, gainRows, warningOf } from "./doctor.ts";

const gain = (more: Partial<Gain>): Gain => ({ method: "chain", lossless: true, because: "it is so", ...more });

test("verdicts of an idle machine are firm, with their figures", () => {
  const gains = [
    gain({ speedUp: 1.4, most: 2.5 }),
    gain({ speedUp: 0.6, most: 0.9 }),
    gain({ most: 3 }),
    gain({ unfit: true }),
  ];
  expect(gainRows(gains)).toEqual([
    ["chain", "1.40×", "2.50×", "gains"],
    ["chain", "0.60×", "0.90×", "no gain"],
    ["chain", "-", "3.00×", "depends on the text"],
    ["chain", "-", "-", "cannot work"],
  ]);
  expect(warningOf(gains, "knossos", "")).toBeUndefined();
});

test("of a busy machine no verdict is firm, and what is not known has no figures", () => {
  const gains = [
    gain({ speedUp: 1.4, most: 2.5, disturbed: true }),
    gain({ speedUp: 0.6, most: 2.5, disturbed: true }),
    gain({ speedUp: 0.3, most: 0.4, disturbed: true }),
  ];
  expect(gainRows(gains)).toEqual([
    ["chain", "~1.4×", "~2.5×", "likely gains"],
    ["chain", "-", "-", "not known"],
    ["chain", "~0.3×", "~0.4×", "likely no gain"],
  ]);
  expect(warningOf(gains, "pylos", " (measured while others were busy)")).toMatch(
    /^The pass times are too long \(measured .*\), so that figures with ~ .* guesses\. When .* ventris doctor --model pylos --measure /,
  );
  // The target's own may be right, and those of a draft not.
  expect(warningOf(gains, "pylos", "")).toMatch(/^The pass times of drafts are too long, as said below, /);
});
