/** `ventris studio`: the page with papers, playground, traces, models and measurements, on loopback. */
import { type Command, Option } from "commander";
import { z } from "zod";
import { formatBytes } from "../bytes.ts";
import { listen, studioGroups } from "../server/listen.ts";
import { writeSite } from "../server/site.ts";
import { parseValue, refuseFlags, threadsFlag } from "./flags.ts";
import { interruptible } from "./interruptible.ts";
import { folderSize } from "./models.ts";
import { print, say, showProgress } from "./output.ts";
import { loadOptions, type RequestFlags } from "./request.ts";

const port = z.int().min(0).max(65_535);

export function define(command: Command): void {
  command
    .addOption(
      new Option(
        "--static <folder>",
        "write the studio as a site that runs in the visitor's browser, for any web server, and end",
      ),
    )
    .addOption(
      new Option("--port <number>", "port of the page; 0 takes any free one")
        .default(4477)
        .argParser((text) => parseValue(port, "--port", text)),
    )
    .addOption(threadsFlag())
    .addHelpText(
      "after",
      "\nOnly this machine can open the page. It fetches nothing from elsewhere. Ctrl-C\nends it.\n\nWith --static a folder of about 52 MB is written: the studio, three models and\nthe engine for browsers. Any web server can serve it, also below a path:\n  ventris studio --static site && npx serve site",
    )
    .action(studio);
}

async function studio(flags: { port: number; threads?: number; static?: string }, command: Command): Promise<void> {
  if (flags.static !== undefined) {
    const why = "is for a studio that is served; with --static a site is written, and nothing is served";
    refuseFlags(command, ["port", "threads"], why);
    return writeStatic(flags.static);
  }
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

async function writeStatic(folder: string): Promise<void> {
  const path = await interruptible((signal) => writeSite(folder, { signal, onStep: showProgress }));
  print(path);
  say(
    `${formatBytes(await folderSize(path))}; serve it, for instance: npx serve ${folder}, or python3 -m http.server --directory ${folder}`,
  );
}
