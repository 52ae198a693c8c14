/** `ventris doctor`: whether this installation works, what is missing and how to get it, and what methods can gain with a model here. */
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, freemem, homedir, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { type Command, Option } from "commander";
import { z } from "zod";
import { formatBytes } from "../bytes.ts";
import { isLossless, methodOutlook } from "../engine/method.ts";
import { forgetPassCurves, type PassCurve, passCurve, passSeconds, underLoad } from "../engine/pass-curve.ts";
import { ensure, plural } from "../errors.ts";
import { methods } from "../methods/index.ts";
import { engineModel } from "../open.ts";
import { shippedModels } from "../references.ts";
import { loadRuntime } from "../runtime/load.ts";
import { type Device, defaultThreads } from "../runtime/program.ts";
import { amount } from "../training/progress.ts";
import { cacheFolder } from "../weights/index.ts";
import { prospectOf } from "./comparison-report.ts";
import { devices, deviceWorks, probe, remedies } from "./devices.ts";
import { parseValue, refuseFlags } from "./flags.ts";
import { interruptible } from "./interruptible.ts";
import { misfitOf } from "./misfit.ts";
import { folderSize } from "./models.ts";
import { endProgress, print, printJson, say, showProgress } from "./output.ts";
import { openShown } from "./progress.ts";
import { addModelFlags, loadOptions, type ModelFlags } from "./request.ts";
import { formatTable } from "./table.ts";
import { styled, widthOf, wrap } from "./terminal.ts";

const expectedModels = ["knossos", "pylos"];

interface Check {
  readonly what: string;
  /** `absent`: not there, and nothing wrong with that. */
  readonly state: "ok" | "absent" | "wrong";
  readonly found: string;
  /** What to do about it. */
  readonly remedy?: string;
}

export interface Gain {
  readonly method: string;
  readonly lossless: boolean;
  readonly speedUp?: number;
  readonly most?: number;
  readonly disturbed?: boolean;
  readonly because: string;
  readonly advice?: string;
  /** Why it cannot work with this model. */
  readonly unfit?: true;
}

interface DoctorFlags extends Omit<ModelFlags, "model"> {
  model?: string;
  draft?: string;
  temperature: number;
  measure?: true;
  probe?: Device;
  json?: true;
}

export function define(command: Command): void {
  addModelFlags(command);
  const model = command.options.find(({ long }) => long === "--model")!;
  model.description = `also measure what each method can gain with this model on this machine: ${model.description}`;
  model.default(undefined);
  command.setOptionValue("model", undefined);
  command
    .optionsGroup("What is measured:")
    .option("--draft <model>", "the draft model of methods that have one, instead of their default")
    .addOption(
      new Option("--temperature <number>", "temperature that drafts are judged at")
        .default(0)
        .argParser((text) => parseValue(z.number().min(0).max(1000), "--temperature", text)),
    )
    .option(
      "--measure",
      "measure pass times anew. They are kept in the cache folder from the first time on, and methods choose by them how much they draft: do this on an idle machine when they were taken on a busy one.",
    )
    .addOption(new Option("--probe <device>", "try a device").choices(devices).hideHelp())
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
✓ works; ✗ is wrong, with what to do; · is not on this machine, and need not be.

Examples:
  ventris doctor
  ventris doctor --model knossos
  ventris doctor --model knossos --measure`,
    )
    .action(doctor);
}

/** Flags that have a meaning where no model is measured. */
const withoutModel = ["json", "quiet", "debug", "help"];

async function doctor(flags: DoctorFlags, command: Command): Promise<void> {
  if (flags.probe) {
    printJson(await probe(flags.probe));
    return;
  }
  if (flags.model === undefined) {
    const others = command.options
      .map((option) => option.attributeName())
      .filter((name) => !withoutModel.includes(name));
    refuseFlags(command, others, "is about a model: say which, by --model");
  }
  const checks = await examine();
  const wrong = checks.some(({ state }) => state === "wrong");
  if (!flags.json) print(checks.map(line).join("\n"));
  const gains = flags.model === undefined || wrong ? undefined : await measureGains({ ...flags, model: flags.model });
  if (flags.json) {
    const { model, contextLength, passes, methods: gained } = gains ?? {};
    printJson({ checks, ...(gains && { model, contextLength, passes, methods: gained }) });
  } else if (gains) showGains(gains);
  else if (!wrong) say("To see what each method can gain here: ventris doctor --model knossos");
  if (wrong) process.exitCode = 1;
}

function line({ what, state, found, remedy }: Check): string {
  const { stdout } = process;
  const sign = { ok: styled(stdout, "green", "✓"), wrong: styled(stdout, "red", "✗"), absent: "·" }[state];
  const text = state === "ok" || !remedy ? found : `${found}: ${remedy}`;
  const indent = 16;
  return `${sign} ${what.padEnd(indent - 2)}${wrap(text, widthOf(stdout) - indent).join(`\n${" ".repeat(indent)}`)}`;
}

async function examine(): Promise<Check[]> {
  const cache = await cacheFolder();
  const shipped = await shippedModels();
  const missing = expectedModels.filter((name) => !shipped.includes(name));
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  return [
    { what: "Ventris", state: "ok", found: `${version} in ${short(fileURLToPath(new URL("../..", import.meta.url)))}` },
    {
      what: "Node",
      state: Number(process.versions.node.split(".")[0]) >= 20 ? "ok" : "wrong",
      found: `${process.versions.node} on ${process.platform} ${process.arch}`,
      remedy: "Ventris needs Node 20 or newer",
    },
    {
      what: "processor",
      state: "ok",
      found: `${cpus()[0]?.model.trim() ?? "unknown"}, ${plural(availableParallelism(), "core")}; models use ${plural(defaultThreads(), "thread")}`,
    },
    { what: "memory", state: "ok", found: `${formatBytes(totalmem())}, ${formatBytes(freemem())} of it free` },
    ...(await examineRuntime()),
    {
      what: "models",
      state: missing.length === 0 ? "ok" : "wrong",
      found: missing.length === 0 ? shipped.join(", ") : `${missing.join(", ")} missing`,
      remedy: "install the package again: these models are part of it",
    },
    {
      what: "cache",
      state: "ok",
      found: `${short(cache)}, ${formatBytes(await folderSize(cache))}; it may be deleted at any time, and VENTRIS_CACHE moves it`,
    },
  ];
}

const short = (path: string): string =>
  path.startsWith(homedir()) ? `~${path.slice(homedir().length)}`.replace(/[\\/]$/, "") : path.replace(/[\\/]$/, "");

async function examineRuntime(): Promise<Check[]> {
  try {
    const { env } = await loadRuntime();
    const version = env.versions.node ?? env.versions.common;
    return [{ what: "ONNX Runtime", state: "ok", found: version }, ...devices.map(examineDevice)];
  } catch (error) {
    return [{ what: "ONNX Runtime", state: "wrong", found: (error as Error).message, remedy: remedies.cpu }];
  }
}

function examineDevice(device: Device): Check {
  if (deviceWorks(device)) return { what: device, state: "ok", found: "works" };
  const state = device === "cpu" ? "wrong" : "absent";
  return { what: device, state, found: device === "cpu" ? "does not work" : "not here", remedy: remedies[device] };
}

interface Gains {
  readonly model: string;
  readonly parameters: number;
  /** Where it was set. */
  readonly contextLength?: number;
  readonly passes: PassCurve;
  readonly methods: readonly Gain[];
}

async function measureGains(flags: DoctorFlags & { model: string }): Promise<Gains> {
  const { temperature, draft } = flags;
  await using model = await openShown(flags.model, loadOptions(flags));
  ensure(
    model.capabilities.has("forest"),
    "bad_option",
    `--model: doctor says what drafts can gain with a model that writes from left to right, and ${model.name} does not; ventris methods --model ${model.name} lists its own methods, and ventris compare --model ${model.name} measures them`,
  );
  return await interruptible(async (signal) => {
    if (flags.measure) await forgetPassCurves();
    showProgress(`measuring passes of ${model.name}`);
    const passes = await passCurve(engineModel(model), signal);
    const gains: Gain[] = [];
    for (const method of methods) {
      if (!method.outlook) continue;
      showProgress(`measuring what ${method.name} can gain`);
      const given = draft !== undefined && "draft" in method.options.shape ? { draft } : {};
      const options = method.options.parse(given);
      const lossless = isLossless(method, options);
      try {
        const outlook = await methodOutlook(method, engineModel(model), options as never, { temperature, signal });
        // Nobody asked for the model as its own draft.
        const itself = draft === undefined && options.draft === model.name && outlook.most === 1;
        const because = `the usual draft, ${model.name}, is this model itself; pass --draft MODEL with a smaller model of the same tokenizer`;
        gains.push({ method: method.name, lossless, ...(itself ? { because, unfit: true } : outlook) });
      } catch (error) {
        const misfit = misfitOf(error, { method, options: given, model, temperature });
        if (!misfit) throw error;
        gains.push({ method: method.name, lossless, because: misfit.reason, unfit: true });
      }
    }
    ensure(!signal.aborted, "aborted", "interrupted");
    endProgress();
    const { contextLength } = flags;
    return { model: model.name, parameters: model.parameterCount, contextLength, passes, methods: gains };
  });
}

const prospect = ({ speedUp, most, disturbed, unfit }: Gain) =>
  unfit ? "cannot work" : prospectOf({ speedUp, most: most!, disturbed });

/** What one is to know before the table; undefined where all pass times are those of an idle machine. */
export function warningOf(gains: readonly Gain[], model: string, load: string): string | undefined {
  if (!load && !gains.some(({ disturbed }) => disturbed)) return undefined;
  const which = load ? `The pass times are too long${load}` : "The pass times of drafts are too long, as said below";
  return `${which}, so that figures with ~ and their verdicts are guesses. When nothing else uses the machine, ventris doctor --model ${model} --measure measures them anew.`;
}

/** Method, expected, at best and verdict. Figures that tell nothing are left out, and those of a busy machine are marked and rounded. */
export const gainRows = (gains: readonly Gain[]): string[][] =>
  gains.map((gain) => {
    const found = prospect(gain);
    const factor = (value: number | undefined): string =>
      value === undefined || found === "not known"
        ? "-"
        : gain.disturbed
          ? `~${value.toFixed(1)}×`
          : `${value.toFixed(2)}×`;
    return [gain.method, factor(gain.speedUp), factor(gain.most), verdictOf(gain, found)];
  });

function verdictOf({ speedUp, disturbed }: Gain, found: ReturnType<typeof prospect>): string {
  if (found === "cannot work" || found === "not known") return found;
  if (found !== "may gain") return disturbed ? "likely no gain" : "no gain";
  return speedUp === undefined ? "depends on the text" : disturbed ? "likely gains" : "gains";
}

function showGains({ model, parameters, contextLength, passes, methods: gains }: Gains): void {
  const width = Math.min(100, widthOf(process.stdout));
  const time = (rows: number): string => {
    const milliseconds = 1000 * passSeconds(passes, rows);
    return `${milliseconds < 10 ? milliseconds.toPrecision(2) : milliseconds.toFixed(0)} ms`;
  };
  const title = `What methods can gain with ${model} (${amount(parameters)} parameters${contextLength === undefined ? "" : `, opened for ${contextLength} tokens`}) on this machine`;
  print(`\n${wrap(title, width).join("\n")}`);
  const times = `a pass over 1 token takes ${time(1)}, over 8 tokens ${time(8)}, over 32 tokens ${time(32)}`;
  print(`${wrap(times, width).join("\n")}\n`);
  const load = underLoad(passes);
  const warning = warningOf(gains, model, load);
  if (warning) print(`${wrap(warning, width).join("\n")}\n`);
  print(formatTable(["method", "expected", "at best", "verdict"], gainRows(gains), width));
  const reasons = new Map<string, string[]>();
  for (const gain of gains) {
    const hopeless = ["not expected", "cannot gain"].includes(prospect(gain));
    // What makes the pass times too long is said above.
    const reason = `${gain.because.replace(load, "")}${hopeless && gain.advice ? `; ${gain.advice}` : ""}`;
    reasons.set(reason, [...(reasons.get(reason) ?? []), gain.method]);
  }
  for (const [reason, names] of reasons) print(`\n${wrap(`${names.join(", ")}: ${reason}.`, width).join("\n")}`);
  print(
    `\n${wrap("Expected: on texts like those that the model writes itself, compared with plain decoding. At best: were every draft right.", width).join("\n")}`,
  );
}
