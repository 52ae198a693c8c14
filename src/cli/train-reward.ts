/** `ventris train reward`: a reward head of a model, for searches over steps, from solutions that the model writes. */
import { readFile, stat } from "node:fs/promises";
import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure, plural, VentrisError } from "../errors.ts";
import { whyUnreadable } from "../files.ts";
import { decodeUtf8, parseJson } from "../json.ts";
import { rewardHeads } from "../methods/index.ts";
import { checkSteps, skillItem, skills } from "../training/skills/index.ts";
import { numberFlag, threadsFlag } from "./flags.ts";
import { examples } from "./help.ts";
import { interruptible } from "./interruptible.ts";
import { endProgress, printJson, say, showProgress } from "./output.ts";
import { openShown } from "./progress.ts";

interface RewardFlags {
  out: string;
  problems?: string;
  count: number;
  rollouts: number;
  temperature: number;
  maxTokens: number;
  labels?: "steps" | "outcome";
  delimiter?: string[];
  answer: string;
  seed: number;
  threads?: number;
  json?: true;
}

export function defineReward(command: Command): void {
  command
    .command("reward")
    .description("train a reward head of a model on solutions that it writes, for a-star and its like")
    .argument(
      "<model>",
      "the model: the name of one that ships, a checkpoint folder, or a name on the hub such as HuggingFaceTB/SmolLM2-135M",
    )
    .requiredOption(
      "--out <folder>",
      "folder for the trained head, a part of the model; parts/reward in the model's folder is found by its name",
    )
    .option(
      "--problems <file>",
      "file of JSON lines with the fields prompt and answer; default: the arithmetic tasks, whose steps are checked",
    )
    .addOption(
      numberFlag("--count", z.int().min(5).max(1_000_000), "how many problems are solved to learn from").default(200),
    )
    .addOption(
      numberFlag("--rollouts", z.int().min(1).max(256), "how many solutions are drawn for each problem").default(4),
    )
    .addOption(
      numberFlag("--temperature", z.number().gt(0).max(100), "temperature at which solutions are drawn").default(0.8),
    )
    .addOption(numberFlag("-n, --max-tokens", z.int().min(1).max(100_000), "most tokens of a solution").default(200))
    .addOption(
      new Option(
        "--labels <kind>",
        "what the head learns to foretell: whether the steps so far are right, or whether the solution ends with the right answer; default: steps where they can be checked, else outcome",
      ).choices(["steps", "outcome"]),
    )
    .option("--delimiter <text...>", "what ends a step; default: the end of a line")
    .option(
      "--answer <expression>",
      "regular expression that finds the answer of a finished solution, in its first group",
      "^Answer: *(.*)$",
    )
    .addOption(numberFlag("--seed", z.int().min(0), "seed of all random choices").default(0))
    .addOption(threadsFlag())
    .option("--json", "print one JSON object at the end")
    .addHelpText(
      "after",
      examples(
        "ventris train reward phaistos --out my-reward",
        'ventris run --model phaistos --method a-star --set rewardHead=my-reward "…"',
      ),
    )
    .action(trainReward);
}

interface Task {
  readonly prompt: string;
  judge(steps: readonly string[], finished: boolean): readonly boolean[];
}

/** Largest file of problems. */
const mostBytes = 2 ** 28;

async function readProblemFile(path: string): Promise<string> {
  try {
    ensure((await stat(path)).size <= mostBytes, "bad_file", `${path} has more than ${mostBytes} bytes`);
    return decodeUtf8(await readFile(path), path);
  } catch (cause) {
    if (cause instanceof VentrisError) throw cause;
    throw new VentrisError("unavailable", `cannot read ${path}: ${whyUnreadable(cause)}`, { cause });
  }
}

const problem = z.object({ prompt: z.string().min(1).max(100_000), answer: z.union([z.string(), z.number()]) });

/** Errors: `bad_file` naming the line. */
async function readProblems(path: string, count: number, answer: string): Promise<Task[]> {
  const expression = new RegExp(answer, "m");
  const tasks: Task[] = [];
  for (const [i, line] of (await readProblemFile(path)).split("\n").entries()) {
    if (line.trim() === "") continue;
    if (tasks.length === count) break;
    const parsed = problem.safeParse(parseJson(line, `${path}, line ${i + 1}`));
    ensure(parsed.success, "bad_file", () => `${path}, line ${i + 1}: needs a prompt and an answer`);
    const { prompt, answer: right } = parsed.data!;
    // Nothing is known of the steps before the end: only what it came to.
    const judge = (steps: readonly string[], finished: boolean): boolean[] =>
      steps.map(
        (_, i) =>
          i < steps.length - 1 || !finished || expression.exec(steps.join(""))?.[1]?.trim() === String(right).trim(),
      );
    tasks.push({ prompt, judge });
  }
  return tasks;
}

function arithmeticTasks(count: number, seed: number): Task[] {
  const skill = skills.find(({ name }) => name === "arithmetic")!;
  return Array.from({ length: count }, (_, i) => {
    const item = skillItem(skill, "train", seed, i);
    const judge = (steps: readonly string[], finished: boolean): boolean[] => {
      const lines = checkSteps(item, steps.join("") + (finished ? "\n" : ""));
      const asked = (item.facts.steps as unknown[]).length + 1;
      return steps.map((_, i) => (lines[i] ?? true) && (!finished || i < steps.length - 1 || lines.length === asked));
    };
    return { prompt: item.prompt, judge };
  });
}

async function trainReward(reference: string, flags: RewardFlags): Promise<void> {
  const { out, problems, count, rollouts, temperature, maxTokens, delimiter, answer, seed, threads, json } = flags;
  const labels = flags.labels ?? (problems === undefined ? "steps" : "outcome");
  ensure(
    labels === "outcome" || problems === undefined,
    "bad_option",
    "--labels steps: the steps of problems from a file cannot be checked; take outcome",
  );
  const tasks = problems === undefined ? arithmeticTasks(count, seed) : await readProblems(problems, count, answer);
  ensure(tasks.length >= 5, "bad_option", `there are too few problems to train on: ${tasks.length}, and 5 are needed`);
  const model = await openShown(reference, { threads });
  try {
    const { tokenizer } = model;
    ensure(tokenizer, "bad_option", `${reference} has no tokenizer`);
    const prompts = tasks.map(({ prompt, judge }) => ({
      prompt: tokenizer.encodeChat?.([{ role: "user", content: prompt }]) ?? tokenizer.encode(`${prompt}\n`),
      judge,
    }));
    const delimiters = delimiter ?? ["\n"];
    const examples = await interruptible((signal) =>
      rewardHeads.collectRollouts(model as unknown as rewardHeads.Writer, prompts, {
        rollouts,
        temperature,
        maxTokens,
        seed,
        delimiters,
        answer,
        labels,
        signal,
        onProgress: (done) => showProgress(`${done} of ${plural(prompts.length, "problem")}`),
      }),
    );
    endProgress();
    const { tensors, heldOut, ...trained } = rewardHeads.trainRewardHead(examples, { seed });
    const training = {
      problems: problems ?? "arithmetic",
      count: tasks.length,
      rollouts,
      temperature,
      labels,
      seed,
      ...trained,
      heldOut,
    };
    const { rewardHeadKind: kind, rewardHeadSite: site } = rewardHeads;
    await model.writePart(out, { kind, sites: [site], settings: { delimiters, answer }, tensors, training });
    if (json) printJson({ out, ...training });
    else {
      const { examples: apart, loss, base, accuracy } = heldOut;
      say(
        `${plural(trained.examples, "beginning")}, ${(100 * trained.positive).toFixed(0)} % right · held out (${apart}): ${(100 * accuracy).toFixed(0)} % judged rightly, ${loss.toFixed(3)} nats against ${base.toFixed(3)} · written to ${out}`,
      );
    }
  } finally {
    await model.close();
  }
}
