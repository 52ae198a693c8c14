import { readFileSync } from "node:fs";

/** A field of /proc/self/status in bytes: VmRSS is what this process holds, VmHWM the most it has held. @param {"VmRSS" | "VmHWM"} field */
export const memory = (field) =>
  1024 * Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(readFileSync("/proc/self/status", "utf8"))?.[1]);
