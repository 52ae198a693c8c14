/** The heap of a process that serves for long. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * Collects what starting left behind, once. V8 puts off its first full collection until the heap has grown to a limit that it takes from the
 * machine's memory, some hundred megabytes: what requests leave would lie there until then. From the first collection on the limit follows what is in use.
 */
export function settleHeap(): void {
  setFlagsFromString("--expose-gc");
  const collect: (() => void) | undefined = runInNewContext("globalThis.gc");
  setFlagsFromString("--no-expose-gc"); // nobody else's code sees it
  collect?.();
}
