/** `ventris pull`: a model of the hub into the cache folder, resumed where it was cut off. */
import type { Command } from "commander";
import { formatBytes } from "../bytes.ts";
import { VentrisError } from "../errors.ts";
import { likelySlips, meantBy } from "../names.ts";
import { shippedModels } from "../references.ts";
import { downloadModel } from "../weights/index.ts";
import { examples } from "./help.ts";
import { interruptible } from "./interruptible.ts";
import { folderSize } from "./models.ts";
import { endProgress, print, printJson, say, showProgress } from "./output.ts";

interface PullFlags {
  revision: string;
  file?: string;
  json?: true;
}

export function define(command: Command): void {
  command
    .argument("<name>", "a model of the Hugging Face hub, such as HuggingFaceTB/SmolLM2-135M")
    .option("--revision <name>", "branch, tag or commit", "main")
    .option("--file <name>", "the GGUF file to take, where the repository holds several")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Files are checked against the hub's own hashes. A download that was cut off goes
on with the same command. Then --model takes the name, or for another revision
the folder that is printed; ventris models --remove NAME removes a model again.
HF_TOKEN opens models that need a login, HF_ENDPOINT names a mirror of the hub,
and VENTRIS_CACHE the folder of the cache.`,
    )
    .addHelpText("after", examples("ventris pull HuggingFaceTB/SmolLM2-135M"))
    .action(pull);
}

async function pull(name: string, { revision, file, json }: PullFlags): Promise<void> {
  await interruptible(async (signal) => {
    const began = performance.now();
    let before: number | undefined;
    const onProgress = ({ file: part, received, total }: { file: string; received: number; total: number }): void => {
      before ??= received;
      const speed = (received - before) / Math.max(0.5, (performance.now() - began) / 1000);
      const left = speed > 0 && received < total ? `, ${Math.ceil((total - received) / speed)} s left` : "";
      const share = total > 0 ? Math.floor((100 * received) / total) : 100;
      showProgress(`${share} % of ${formatBytes(total)}, ${formatBytes(speed)}/s${left}: ${part}`);
    };
    let folder: string;
    let earlier: Error | undefined;
    const onEarlier = (reason: Error): void => {
      earlier = reason;
    };
    try {
      folder = await downloadModel(name, { revision, file, signal, onProgress, onEarlier });
    } catch (error) {
      endProgress();
      throw advised(error, { name, revision, shipped: await shippedModels() });
    }
    endProgress();
    if (earlier) say(`whether there is a newer one cannot be told: ${earlier.message}`);
    const bytes = await folderSize(folder);
    if (json) printJson({ name, revision, folder, bytes });
    else {
      print(folder);
      say(
        `${name} is here, ${formatBytes(bytes)}: ventris run --model ${revision === "main" ? name : folder} "Once upon a time"`,
      );
    }
  });
}

/** What to do about it, where the hub's own words do not say. */
function advised(error: unknown, wanted: Wanted): unknown {
  if (!(error instanceof VentrisError)) return error;
  const { code, message } = error;
  const advice = adviceFor(code, message, wanted);
  return advice ? new VentrisError(code, `${message}\n${advice}`, { cause: error }) : error;
}

interface Wanted {
  readonly name: string;
  readonly revision: string;
  /** Names of the models that need no download. */
  readonly shipped: readonly string[];
}

function adviceFor(
  code: VentrisError["code"],
  message: string,
  { name, revision, shipped }: Wanted,
): string | undefined {
  if (code === "aborted") return "what has arrived is kept: the same command goes on from there";
  if (code === "disk_full")
    return "what has arrived is kept: free some space (ventris models --remove NAME takes a model away), and the same command goes on from there; VENTRIS_CACHE names a folder on another disk";
  const meant = name.includes("/") ? undefined : meantBy(name, shipped, likelySlips(name));
  if (meant !== undefined)
    return `${meant} ships with the package and needs no download: ventris run --model ${meant} "Once upon a time"`;
  if (code !== "unavailable") return undefined;
  if (/cannot reach|nothing arrived|ended at byte/.test(message))
    return "check the connection and call this again, which goes on from where it was; HF_ENDPOINT names a mirror, and a folder that was copied here by other means can be given as --model";
  if (/no such revision/.test(message)) return `look at the revision: ${name} has no branch, tag or commit ${revision}`;
  if (!/answers 40[134]/.test(message)) return undefined;
  return process.env.HF_TOKEN
    ? `look at the name: ${name} must be spelt as on the hub, and HF_TOKEN be of somebody who may read it`
    : `look at the name: ${name} must be spelt as on the hub; one that is not public needs a token of the hub in HF_TOKEN`;
}
