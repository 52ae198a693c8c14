/** `ventris studio`: the page with papers, playground, traces, models and measurements, on loopback. */
import { type Command, Option } from "commander";
import { z } from "zod";
import { listen, studioGroups } from "../server/listen.ts";
import { parseValue, threadsFlag } from "./flags.ts";
import { interruptible } from "./interruptible.ts";
import { print, say } from "./output.ts";
import { loadOptions, type RequestFlags } from "./request.ts";

const port = z.int().min(0).max(65_535);

export function define(command: Command): void {
  command
    .addOption(
      new Option("--port <number>", "port of the page; 0 takes any free one")
        .default(4477)
        .argParser((text) => parseValue(port, "--port", text)),
    )
    .addOption(threadsFlag())
    .addHelpText(
      "after",
      "\nThe page can be opened on this machine alone, until Ctrl-C. It fetches nothing\nfrom elsewhere.",
    )
    .action(studio);
}

async function studio(flags: { port: number; threads?: number }): Promise<void> {
  const server = await listen({
    port: flags.port,
    groups: studioGroups(),
    models: loadOptions(flags as RequestFlags & typeof flags),
  });
  await interruptible((signal) => {
    const ended = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    // Whoever reads this may interrupt at once.
    print(server.url);
    say("the studio is open there; Ctrl-C ends it");
    return ended;
  });
  await server.close();
}
