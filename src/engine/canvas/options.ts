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
      "positions of a block, filled before the next begins; default: 32, or all of a shorter answer; maxTokens must be a multiple of it",
    ),
  cache: z
    .enum(cacheModes)
    .default("none")
    .describe(
      "keys and values that are used again: none; of all before the block (prefix); of all outside of it (dual); of tokens a pass after they were filled (delayed)",
    ),
  refresh: z
    .int()
    .min(1)
    .optional()
    .describe(
      "of a cache: compute everything anew after so many passes; default: at each block (prefix, dual), 8 (delayed)",
    ),
  guidance: z
    .number()
    .min(0)
    .max(100)
    .default(0)
    .describe("classifier-free guidance: how much further from the prediction without the prompt; 0 is off"),
  earlyStop: z
    .boolean()
    .default(true)
    .describe("end as soon as everything before the end of the text is there; false fills the whole canvas"),
});
export type CanvasSettings = z.output<typeof canvasOptions>;

/** Positions of a block. Errors: `bad_option` where the length is no multiple of it. */
export function blockLengthFor({ blockLength }: CanvasSettings, length: number): number {
  const size = blockLength ?? Math.min(32, length);
  ensure(length % size === 0, "bad_option", () => {
    const near = [Math.floor(length / size) * size, Math.ceil(length / size) * size].filter((n) => n > 0);
    return `maxTokens: ${length} positions cannot be cut into blocks of ${size}: give ${[...new Set(near)].join(" or ")}, or another blockLength`;
  });
  return size;
}
