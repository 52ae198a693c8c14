/** The methods over a canvas, in the order of listings. */
import type { Method } from "../../engine/method.ts";
import { entropy } from "./entropy/index.ts";
import { fixedK } from "./fixed-k/index.ts";
import { learn2pd } from "./learn2pd/index.ts";
import { localleap } from "./localleap/index.ts";
import { lowConfidence } from "./low-confidence/index.ts";
import { margin } from "./margin/index.ts";
import { oracle } from "./oracle/index.ts";
import { random } from "./random/index.ts";
import { threshold } from "./threshold/index.ts";

export const diffusionMethods: readonly Method[] = [
  lowConfidence,
  fixedK,
  random,
  entropy,
  margin,
  threshold,
  localleap,
  learn2pd,
  oracle,
];
