import { whenAborted } from "./aborts.ts";

/** Waits until the event loop has had its turn: timers, messages and signals that came meanwhile are heard. */
export const nextTurn: () => Promise<void> =
  typeof setImmediate === "function" ? () => new Promise((resolve) => setImmediate(resolve)) : byMessage();

/** A page has no `setImmediate`, and holds back timers that start one another; a message to oneself comes in the next turn. */
function byMessage(): () => Promise<void> {
  const waiting: (() => void)[] = [];
  const { port1, port2 } = new MessageChannel();
  (port1 as unknown as { onmessage: () => void }).onmessage = () => waiting.shift()!();
  return () =>
    new Promise((resolve) => {
      waiting.push(resolve);
      port2.postMessage(undefined);
    });
}

/** So many milliseconds may go by in calls that wait for nothing. */
const longestBreath = 8;
let breathed = 0;

/**
 * For calls that may find that there is nothing to wait for: whoever makes them in a loop would keep the event loop from its turn, and with it
 * timers, signals and other requests. Gives it one where the last is a while ago.
 */
export async function breathe(): Promise<void> {
  if (performance.now() - breathed < longestBreath) return;
  await nextTurn();
  breathed = performance.now();
}

/** Waits, or until the signal is aborted. Errors: the signal's reason. */
export function delay(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const refuse = (): void => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = setTimeout(() => {
      heard();
      resolve();
    }, milliseconds);
    const heard = whenAborted(signal, refuse);
  });
}
