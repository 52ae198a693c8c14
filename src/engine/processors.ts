/** How busy others keep the processors while something is timed here. */

interface System {
  cpus(): readonly { readonly times: Readonly<Record<string, number>> }[];
}

/**
 * Begins to watch; the function that it returns says which share (0 to 1) of the time of all processors other programs took since.
 * Undefined where the platform does not say (a browser, a short time).
 */
export function watchProcessors(): () => number | undefined {
  // Not imported: where it is absent, nothing is known, and that is all.
  const system = globalThis.process?.getBuiltinModule?.("node:os") as System | undefined;
  const before = system && timesOf(system);
  return () => {
    const after = system && timesOf(system);
    if (!before || !after || after.all <= before.all) return undefined;
    const others = after.used - before.used - (after.own - before.own);
    return Math.round(100 * Math.min(1, Math.max(0, others / (after.all - before.all)))) / 100;
  };
}

/** Milliseconds since the machine began: of all processors, those at work, and those of this process. */
function timesOf(system: System): { all: number; used: number; own: number } {
  let [all, idle] = [0, 0];
  for (const { times } of system.cpus()) {
    all += Object.values(times).reduce((sum, time) => sum + time, 0);
    idle += times.idle;
  }
  const { user, system: kernel } = process.cpuUsage();
  return { all, used: all - idle, own: (user + kernel) / 1000 };
}
