/**
 * The engine's process. A pass blocks this process and no other, and whatever kills it leaves the server standing.
 */
import { methodChoice } from "../calls.ts";
import { createEngineSide } from "./engine-side.ts";
import type { ToEngine } from "./protocol.ts";

/** Where replicas share comes by the environment, since it may hold a password and arguments are for all to see. */
const share = process.env.VENTRIS_SHARE || undefined;
const engine = createEngineSide({
  openOptions: { ...JSON.parse(process.argv[2] ?? "{}"), ...(share && { share }) },
  usualMethod: process.argv[3] === undefined ? undefined : methodChoice(JSON.parse(process.argv[3])),
  send: (message) => void process.send?.(message),
  soon: process.nextTick,
  residentBytes: process.memoryUsage.rss,
  async live(name, signal) {
    // Loaded when somebody asks: a server of requests never does.
    const [{ findPaper }, { showcase }] = await Promise.all([import("../papers/index.ts"), import("../papers/run.ts")]);
    return showcase(findPaper(name), signal, { live: true });
  },
});

process.on("message", async (message: ToEngine) => {
  await engine.hear(message);
  if (message.type === "close") process.disconnect();
});

// The server decides when to stop, and its end is this process's end. A terminal's Ctrl-C goes to both.
process.on("SIGINT", () => {});
process.on("SIGTERM", () => {});
process.on("disconnect", () => process.exit(0));
