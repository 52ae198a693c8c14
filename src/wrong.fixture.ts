import { expect } from "vitest";
import type { ErrorCode } from "./errors.ts";

/** Two signs where one stands: a question that goes on with a semicolon, two full stops. Not `…` or paths. */
export const doubledSigns = /[?.;,];(?=\s|$)|\?[.,](?=\s|$)|[;,]\.(?=\s|$)|(?<!\.)\.\.(?=\s|$)/m;

/** An error of ours with this code, these words and, where one is given, this cause. */
export const isSaid = (code: ErrorCode, message: RegExp, cause?: unknown): Error =>
  expect.objectContaining({
    name: "VentrisError",
    code,
    message: expect.stringMatching(message),
    ...(cause !== undefined && { cause }),
  });
