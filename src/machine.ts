/** What this machine has. */
import { availableParallelism, loadavg, totalmem } from "node:os";

export const processors = availableParallelism;

/** Bytes. */
export const memoryBytes = totalmem;

/** Processes that ran or waited, over the last minute; 0 where the system does not tell. */
export const waitingProcesses = (): number => loadavg()[0];
