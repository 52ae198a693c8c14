import { shown, VentrisError } from "./errors.ts";
import { isInstance } from "./values.ts";

/** Errors: `bad_option`. */
export function requireSignal(signal: unknown): void {
  if (signal === undefined || isInstance("AbortSignal", signal)) return;
  throw new VentrisError("bad_option", `signal must be an AbortSignal, not ${shown(signal)}`);
}

/** Calls that wait for each signal. */
const waiting = new WeakMap<AbortSignal, Set<() => void>>();

/**
 * Has a call made when a signal is aborted, at once where it is already. Returns what takes that back. However many wait for one signal, it
 * has one listener: the platform takes more than ten for a leak, and a caller may well give one signal to a hundred requests.
 */
export function whenAborted(signal: AbortSignal | undefined, call: () => void): () => void {
  if (!signal) return () => {};
  if (signal.aborted) {
    call();
    return () => {};
  }
  const calls = waiting.get(signal) ?? listenTo(signal);
  const own = (): void => call(); // the same call may wait twice
  calls.add(own);
  return () => calls.delete(own);
}

function listenTo(signal: AbortSignal): Set<() => void> {
  const calls = new Set<() => void>();
  waiting.set(signal, calls);
  signal.addEventListener(
    "abort",
    () => {
      for (const call of calls) call();
      calls.clear();
    },
    { once: true },
  );
  return calls;
}
