/** `ventris bench`: the benchmarks of a checkout. They live in a package of their own, with peers of hundreds of megabytes. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { ensure } from "../errors.ts";

const script = fileURLToPath(new URL("../../scripts/bench.mjs", import.meta.url));

export function define(command: Command): void {
  command
    .argument("[arguments...]", "name of a benchmark, and its flags")
    .allowUnknownOption()
    .helpOption("-h, --help", "show this help")
    .addHelpText(
      "after",
      "\nWithout a name it lists the benchmarks and their flags.\n\nExample:\n  ventris bench speculation --quick",
    )
    .action((words: string[]) => {
      ensure(
        existsSync(script),
        "unavailable",
        "benchmarks are not part of the installed package: clone the repository and run `npm run bench` there",
      );
      const { status, signal } = spawnSync(process.execPath, [script, ...words], { stdio: "inherit" });
      process.exitCode = status ?? (signal === "SIGINT" ? 130 : 1);
    });
}
