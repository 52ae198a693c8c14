/** The registry: every method, listed once. */
import type { Method } from "../engine/method.ts";
import { nearest, VentrisError } from "../errors.ts";
import { greedy, sample } from "./plain/index.ts";
import { aded } from "./speculative/aded/index.ts";
import { chain } from "./speculative/chain/index.ts";
import { dyspec } from "./speculative/dyspec/index.ts";
import { online } from "./speculative/online/index.ts";
import { promptLookup } from "./speculative/prompt-lookup/index.ts";
import { sequoia } from "./speculative/sequoia/index.ts";
import { specInfer } from "./speculative/spec-infer/index.ts";
import { topK } from "./speculative/top-k/index.ts";

export const methods: readonly Method[] = [
  greedy,
  sample,
  chain,
  promptLookup,
  specInfer,
  sequoia,
  dyspec,
  topK,
  aded,
  online,
];

/** Errors: `bad_option` with the nearest name. */
export function findMethod(name: string): Method {
  const found = methods.find((method) => method.name === name);
  if (found) return found;
  const names = methods.map((method) => method.name);
  const meant = nearest(name, names);
  throw new VentrisError(
    "bad_option",
    `no method is called "${name}"${meant ? `; did you mean "${meant}"?` : ""} Methods: ${names.join(", ")}`,
  );
}

/** What methods offer beside decoding. */
export * as choice from "./choice/index.ts";
export * as pointing from "./pointing/index.ts";
export { trainTable } from "./speculative/aded/corpus.ts";
