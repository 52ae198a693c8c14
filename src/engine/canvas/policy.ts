/** What decides which positions are filled in a pass: the one thing in which published methods over a canvas differ. */
import type { z } from "zod";
import type { RequestSettings } from "../decoding.ts";
import type { DecodingModel } from "../model.ts";
import type { Stream } from "../random.ts";
import type { CanvasSettings } from "./options.ts";

/** A pass as a policy sees it. Positions are those of the whole sequence, prompt included. */
export interface CanvasView {
  /** Passes before this one, in all and in this block. */
  readonly pass: number;
  readonly step: number;
  /** The block that is being filled: positions from `start` up to `end`. */
  readonly block: { readonly index: number; readonly start: number; readonly end: number };
  /** Its positions that are still masked, rising; at least one. */
  readonly masked: readonly number[];
  /** Masked positions behind the block, as far as this pass scored them; of policies that look at "rest". */
  readonly later: readonly number[];
  /** The token that the model would put there. */
  token(position: number): number;
  /** The model's own probability of that token, without noise and temperature. */
  confidence(position: number): number;
  /** Probability of the likeliest token less that of the second. */
  margin(position: number): number;
  /** Sum of p ln p: 0 where the model is sure, and less the less it is. */
  negentropy(position: number): number;
}

/** Which positions a pass fills, and why. */
export interface Decision {
  /** Positions to fill now, of `masked`. */
  readonly positions: readonly number[];
  /** Why, one for each. */
  readonly reasons?: readonly string[];
  /** What to put there instead of the model's own tokens. */
  readonly tokens?: readonly number[];
  /** The last position that is kept: what lies behind leaves the canvas. */
  readonly last?: number;
  /** Steps of a schedule before or after this pass that fill nothing and are no passes; default 0. */
  readonly skippedSteps?: number;
}

/** Decides, pass by pass, which masked positions are filled. */
export interface Policy {
  /** What is scored: the block's masked positions (default); the whole block; that and all masked positions behind it. */
  readonly looksAt?: "masked" | "block" | "rest";
  decide(view: CanvasView): Decision;
  /** Passes without a filled position in a row that are still no standstill; default 0. */
  readonly patience?: number;
}

/** What a policy may know of its request when it is made. */
export interface PolicyRequest {
  readonly model: DecodingModel;
  readonly settings: RequestSettings;
  readonly canvas: CanvasSettings & { readonly blockLength: number };
  readonly stream: Stream;
  /** Positions to fill, and blocks. */
  readonly length: number;
  readonly blocks: number;
  /** Position of the first token that is not prompt. */
  readonly start: number;
  /** Whether positions are filled within a given text. */
  readonly template: boolean;
  /** Tokens that end a text. */
  readonly endTokens: ReadonlySet<number>;
  /** A place for each position in each pass: the coordinate of its draws. */
  place(pass: number, position: number): number;
}

/** A method over a canvas: its options, and the policy that they make. */
export interface UnmaskingMethod<Schema extends z.ZodObject> {
  readonly name: string;
  readonly summary: string;
  readonly source?: string;
  /** Its own options, beside those of every canvas. */
  readonly options: Schema;
  /** Errors: `bad_option` for what it cannot honour. */
  policy(request: PolicyRequest, options: z.output<Schema>): Policy | Promise<Policy>;
}
