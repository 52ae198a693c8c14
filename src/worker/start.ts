/** Starts the thread. In the form for pages this file is left out for one whose line bundlers know: see scripts/browser.mjs. */
import { VentrisError } from "../errors.ts";
import type { Answer, Request } from "./protocol.ts";

export interface WebWorker {
  postMessage(message: Request): void;
  terminate(): void;
  onmessage: (event: { data: Answer }) => void;
  onerror: (event: { message?: string }) => void;
}

export function startWorker(): WebWorker {
  throw new VentrisError("unavailable", 'ventris/worker is for pages: under Node take open of "ventris"');
}
