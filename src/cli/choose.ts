/** `ventris choose`: what the method `auto` learnt of a model, and contextual bandits on a table, side by side. */
import { readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure, plural, VentrisError } from "../errors.ts";
import { whyUnreadable } from "../files.ts";
import { choice } from "../methods/index.ts";
import { drawPlot } from "../papers/plot.ts";
import { resolveModel } from "../references.ts";
import { writeFileAtomically } from "../weights/index.ts";
import { numberFlag, refuseFlags } from "./flags.ts";
import { examples } from "./help.ts";
import { interruptible } from "./interruptible.ts";
import { print, printJson, say, showProgress } from "./output.ts";
import { formatTable } from "./table.ts";

const { classificationTask, createPolicyByName, playInTurns, policies, readTable } = choice;

interface PlayFlags {
  policy?: string[];
  set?: string[];
  rounds: number;
  seed: number;
  out?: string;
  json?: true;
}

/** Bytes of a table file, unzipped: what a stranger's file may take. */
const largestTable = 2 ** 28;

export function define(command: Command): void {
  command.addHelpText(
    "after",
    examples(
      'ventris run --method auto "Once upon a time"',
      "ventris choose",
      "ventris choose forget",
      "ventris choose play table.csv --policy LinUCB --out regret.svg",
    ),
  );
  const learnt = (to: Command): Command =>
    to
      .option("-m, --model <name>", "the model for which the method auto has learnt what to choose; default: knossos")
      .option(
        "--state <folder>",
        "folder where auto keeps what it learns (its option state); default: beside the model",
      )
      .option("--json", "print one JSON object");
  learnt(command).action((flags: LearntFlags, sub: Command) => showLearnt(flags, sub));
  learnt(command.command("forget"))
    .description("delete what auto has learnt, so that it begins anew")
    .addHelpText("after", examples("ventris choose forget --model phaistos"))
    .action(forget);
  command
    .command("play")
    .description(
      "let contextual bandits guess the class of each row of a table: they see only whether the guess was right, and learn from that",
    )
    .argument("<table>", "a CSV file with a header line and the class in the last column; it may be compressed (.gz)")
    .addOption(
      new Option(
        "--policy <name>",
        `a policy to play: one of ${Object.keys(policies).join(", ")}. May be given several times.`,
      ).argParser((name: string, previous: string[] | undefined) => [...(previous ?? []), name]),
    )
    .addOption(
      new Option(
        "--set <name=value>",
        "set an option of the policy, as gamma=50; only with a single --policy. May be given several times.",
      ).argParser((pair: string, previous: string[] | undefined) => [...(previous ?? []), pair]),
    )
    .addOption(numberFlag("--rounds", z.int().min(1).max(1_000_000), "how many rounds to play").default(2000))
    .addOption(
      numberFlag("--seed", z.int().min(0).max(Number.MAX_SAFE_INTEGER), "seed of all random choices").default(0),
    )
    .option("--out <file.svg>", "draw how many guesses had been wrong after each round (the regret) into this file")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      examples("ventris choose play table.csv", "ventris choose play table.csv --policy LinUCB --out regret.svg"),
    )
    .action(playTable);
}

interface LearntFlags {
  model?: string;
  state?: string;
  json?: true;
}

async function folderOf({ model = "knossos", state }: LearntFlags, command: Command): Promise<string> {
  if (state !== undefined) refuseFlags(command, ["model"], "has no part in --state, which names the folder itself");
  if (state !== undefined) return state;
  const path = await resolveModel(model);
  return join((await stat(path)).isDirectory() ? path : dirname(path), choice.stateFolder);
}

async function showLearnt(flags: LearntFlags, command: Command): Promise<void> {
  const folder = await folderOf(flags, command);
  const found = await choice.learntIn(folder);
  const states = found.map(({ path, learnt: { arms, policy, recent, ...bound } }) => {
    const outlook = choice.outlook({ arms, policy, recent, ...bound });
    const rows = arms.map((arm, i) => ({
      ...arm,
      millisecondsPerToken: arm.tokens > 0 ? (1000 * arm.seconds) / arm.tokens : undefined,
      recentShare: recent.filter(([chosen]) => chosen === i).length / Math.max(1, recent.length),
      outlook: Object.fromEntries(outlook.map(({ kind, probabilities }) => [kind, probabilities[i]])),
    }));
    return { path, policy: policy.policy, requests: policy.counters.learnt, arms: rows };
  });
  if (flags.json) {
    printJson({ folder, states });
    return;
  }
  if (states.length === 0)
    say(
      `nothing is learnt yet in ${folder}: the method auto learns with every run, as in \`ventris run --method auto "Once upon a time"\``,
    );
  for (const { path, policy, requests, arms } of states) {
    say(`${path}: ${policy}, ${plural(requests, "request")}`);
    const kinds = Object.keys(arms[0].outlook);
    print(
      formatTable(
        ["arm", "requests", "failed", "ms a token", "agreement", "of the last", ...kinds],
        arms.map((arm) => [
          arm.name,
          String(arm.requests),
          String(arm.failures),
          arm.millisecondsPerToken?.toFixed(2) ?? "-",
          arm.agreement.toFixed(2),
          arm.recentShare.toFixed(2),
          ...kinds.map((kind) => arm.outlook[kind].toFixed(2)),
        ]),
      ),
    );
  }
}

async function forget(flags: LearntFlags, command: Command): Promise<void> {
  const paths = await choice.forgetLearnt(await folderOf(flags, command));
  if (flags.json) printJson({ forgotten: paths });
  else print(paths.length === 0 ? "there was nothing to forget" : paths.join("\n"));
}

async function playTable(path: string, flags: PlayFlags): Promise<void> {
  const { policy: names = ["Uniform", "LinUCB", "NeuSquareCB", "NeuFastCB"], set = [], rounds, seed } = flags;
  ensure(
    set.length === 0 || names.length === 1,
    "bad_option",
    "--set belongs to one policy: give one --policy with it",
  );
  ensure(flags.out?.endsWith(".svg") ?? true, "bad_option", `--out ${flags.out}: the picture is an .svg`);
  const options = Object.fromEntries(set.map(assignment));
  // Names and options are looked at before the table, which may take a while to read.
  for (const name of names) createPolicyByName(name, { width: 1, seed, ...options });
  ensure(flags.out?.endsWith(".svg") ?? true, "bad_option", `--out ${flags.out}: the picture is an .svg`);
  const task = classificationTask(await readTableFile(path), seed);
  const made = names.map((name) => createPolicyByName(name, { width: task.width, seed, ...options }));
  const plays = await interruptible(async (signal) => {
    const results: choice.Play[] = [];
    for (const [i, policy] of made.entries()) {
      showProgress(`${names[i]} plays ${plural(rounds, "round")} of ${plural(task.arms, "arm")}`);
      results.push(await playInTurns(policy, task, rounds, signal));
    }
    return results;
  });
  const rows = plays.map(({ regret, secondHalf, loss }, i) => ({ policy: names[i], rounds, regret, secondHalf, loss }));
  const { arm, ...best } = plays[0].fixed;
  if (flags.out !== undefined) {
    const series = plays.map(({ curve }, i) => ({ name: names[i], points: curve }));
    const picture = drawPlot({
      title: `Regret on ${task.name}`,
      x: { label: "rounds" },
      y: { label: "regret" },
      series,
    });
    await writeFileAtomically(flags.out, new TextEncoder().encode(picture));
    say(`drawn: ${flags.out}`);
  }
  if (flags.json)
    printJson({
      table: task.name,
      arms: task.arms,
      width: task.width,
      seed,
      plays: rows,
      bestFixed: { arm, rounds, ...best },
    });
  else
    print(
      formatTable(
        ["policy", "regret", "a round", "second half"],
        [...rows, { policy: `best fixed arm in hindsight: ${arm}`, ...best }].map(({ policy, regret, secondHalf }) => [
          policy,
          regret.toFixed(0),
          (regret / rounds).toFixed(3),
          (secondHalf / Math.ceil(rounds / 2)).toFixed(3),
        ]),
      ),
    );
}

function assignment(pair: string): [string, unknown] {
  const [, name, text] = /^([^=]+)=(.+)$/.exec(pair) ?? [];
  ensure(name, "bad_option", `--set ${pair}: write it as name=value`);
  try {
    return [name, JSON.parse(text)];
  } catch {
    return [name, text]; // a word
  }
}

async function readTableFile(path: string): Promise<choice.Table> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw new VentrisError("unavailable", `cannot read ${path}: ${whyUnreadable(cause)}`, { cause });
  }
  try {
    const text = (path.endsWith(".gz") ? gunzipSync(bytes, { maxOutputLength: largestTable }) : bytes).toString("utf8");
    return readTable(basename(path).replace(/\.csv(\.gz)?$/, ""), text);
  } catch (cause) {
    if (cause instanceof VentrisError) throw cause;
    throw new VentrisError("bad_file", `${path}: it cannot be unzipped: ${(cause as Error).message}`, { cause });
  }
}
