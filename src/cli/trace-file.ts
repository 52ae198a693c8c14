/** Traces as files: JSON lines, as docs/trace.md describes them. */
import type { TimedEvent } from "../engine/trace.ts";
import { writeFileAtomically } from "../weights/index.ts";

export const writeTrace = (path: string, events: readonly TimedEvent[]): Promise<void> =>
  writeFileAtomically(path, events.map((event) => `${JSON.stringify(event)}\n`).join(""));
