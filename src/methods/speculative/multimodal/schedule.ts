/** The order of training: words first, then pictures on a ramp (section 3.3 of the paper, as its code has it), and what it is compared with. */
import { uniform } from "../../../engine/random.ts";

export const schedules = ["two-stage", "pictures", "texts", "abrupt", "constant"] as const;
export type DraftSchedule = (typeof schedules)[number];

/**
 * Probability that an item comes from the picture set in an epoch, which count from 1 to `epochs`: nothing up to the half, then a ramp that ends at 1.
 * `pictures` has no first stage, `texts` no second; `abrupt` jumps to 1 after the half; `constant` is a half throughout.
 */
export function pictureShare(schedule: DraftSchedule, epoch: number, epochs: number): number {
  const half = epochs / 2;
  if (schedule === "constant") return 0.5;
  if (schedule === "pictures") return 1;
  if (schedule === "texts" || epoch <= half) return 0;
  return schedule === "abrupt" || epoch >= epochs ? 1 : (epoch - half) / half;
}

/** Whether the item of this number is one with a picture. */
export const drawsPicture = (share: number, seed: number, item: number): boolean =>
  uniform({ seed, request: 0x9d }, item, "data") < share;
