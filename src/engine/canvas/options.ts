/** Options that every method over a canvas has. */
import { z } from "zod";
import { ensure } from "../../errors.ts";

export const cacheModes = ["none", "prefix", "dual", "delayed"] as const;

export const canvasOptions = z.strictObject({
  blockLength: z
    .int()
    .min(1)
    .max(2 ** 16)
    .optional()
    .describe(
      "positions of a block, all filled before the next begins: short blocks write more from left to right, long ones let the model choose freely; maxTokens must be a multiple of it; default: 32, or all of a shorter answer",
    ),
  cache: z
    .enum(cacheModes)
    .default("none")
    .describe(
      "keys and values that passes use again instead of computing them anew, faster and no longer exact: those before the block (prefix), all outside of it (dual), those of each token from one pass after it was filled (delayed), or none",
    ),
  refresh: z
    .int()
    .min(1)
    .optional()
    .describe(
      "compute everything anew after so many passes, where there is a cache: fewer are closer to no cache and slower; default: at each new block for prefix and dual, 8 for delayed",
    ),
  guidance: z
    .number()
    .min(0)
    .max(100)
    .default(0)
    .describe(
      "classifier-free guidance: how far to move away from what the model would say without the prompt; larger follows the prompt more strictly and doubles the cost of a pass; 0 is off",
    ),
  earlyStop: z
    .boolean()
    .default(true)
    .describe(
      "end as soon as all before the end of the text is filled, which saves passes; false fills the whole canvas, as the published programs do",
    ),
});
/** Options that all methods over a canvas share, with their defaults filled in. */
export type CanvasSettings = z.output<typeof canvasOptions>;

/** Positions of a block where nobody says how many. */
const usualBlock = 32;

/**
 * Positions of an answer whose length nobody gave: as many as is `usual`, or as there is room for, in whole blocks. A block that was asked for is
 * there at least once; where the usual one has no room, the room is the block. 0: nothing fits.
 */
export function fittingLength(
  { blockLength }: Pick<CanvasSettings, "blockLength">,
  usual: number,
  room: number,
): number {
  const size = blockLength ?? usualBlock;
  const most = Math.min(Math.max(usual, size), room);
  if (most >= size) return most - (most % size);
  return blockLength === undefined ? Math.max(0, most) : 0;
}

/** Positions of a block. Errors: `bad_option` where the length is no multiple of it. */
export function blockLengthFor({ blockLength }: CanvasSettings, length: number): number {
  const size = blockLength ?? Math.min(usualBlock, length);
  requireBlocks(length, size, { otherwise: "another blockLength" });
  return size;
}

/** Errors: `bad_option` where so many positions are no blocks of this size, naming the lengths that are. */
export function requireBlocks(
  length: number,
  size: number,
  { because = "", otherwise }: { because?: string; otherwise: string },
): void {
  ensure(length % size === 0, "bad_option", () => {
    const near = [Math.floor(length / size) * size, Math.ceil(length / size) * size].filter((n) => n > 0);
    return `maxTokens: ${length} positions cannot be cut into blocks of ${size}${because}: give ${near.join(" or ")}, or ${otherwise}`;
  });
}
