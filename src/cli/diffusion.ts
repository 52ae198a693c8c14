/** `ventris diffusion`: what methods over a canvas learn: labels are collected from a model's own answers, and a filter is trained on them. */
import { basename } from "node:path";
import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure, plural } from "../errors.ts";
import { learn2pd } from "../methods/index.ts";
import { shippedWith } from "../models/shipping.ts";
import type { Model } from "../open.ts";
import { readTexts } from "../text/index.ts";
import { skillItem, skills } from "../training/skills/index.ts";
import { numberFlag, refuseFlags, threadsFlag } from "./flags.ts";
import { examples } from "./help.ts";
import { interruptible } from "./interruptible.ts";
import { print, printJson, say, showProgress } from "./output.ts";
import { openShown } from "./progress.ts";

interface CollectFlags {
  out: string;
  prompts?: string;
  each: number;
  length: number;
  blockLength: number;
  states: "oracle" | "both";
  seed: number;
  threads?: number;
  json?: true;
}

interface TrainFlags {
  records: string[];
  out: string;
  depth: learn2pd.Depth;
  steps: number;
  rate: number;
  threshold: number;
  seed: number;
  threads?: number;
  json?: true;
}

export function define(command: Command): void {
  command.addHelpText(
    "after",
    examples(
      "ventris diffusion collect mycenae --out all.safetensors",
      "ventris diffusion train-filter mycenae --records all.safetensors --out filter",
    ),
  );
  command
    .command("collect")
    .description("decode prompts token by token, then with the oracle, and keep what a filter learns from")
    .argument("<model>", "a diffusion model: the name of one that ships, a folder, or a name on the hub")
    .requiredOption("--out <file>", "file for the records (.safetensors)")
    .option(
      "--prompts <file>",
      "texts that are each a prompt: .txt, or .jsonl whose lines have a field text; default: tasks with checkable answers",
    )
    .addOption(
      numberFlag(
        "--each",
        z.int().min(1).max(100_000),
        "how many prompts of each kind of task, or of the file",
      ).default(40),
    )
    .addOption(numberFlag("--length", z.int().min(1).max(65536), "how many positions an answer has").default(64))
    .addOption(numberFlag("--block-length", z.int().min(1).max(4096), "how many positions a block has").default(32))
    .addOption(
      new Option(
        "--states <passes>",
        "which passes make records; oracle: those of the oracle, as published; both: those of decoding token by token as well, which cost nothing more",
      )
        .choices(["oracle", "both"])
        .default("oracle"),
    )
    .addOption(numberFlag("--seed", z.int().min(0), "seed of the tasks").default(0))
    .addOption(threadsFlag())
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      examples(
        "ventris diffusion collect mycenae --out all.safetensors",
        "ventris diffusion collect mycenae --prompts prompts.txt --out all.safetensors",
      ),
    )
    .action(collect);
  command
    .command("train-filter")
    .description("train a filter of Learn2PD on collected records; it becomes a part of the model")
    .argument("<model>", "the model that the records are of")
    .requiredOption("--records <files...>", "files that ventris diffusion collect wrote, each with another seed")
    .requiredOption(
      "--out <folder>",
      "folder for the trained filter, a part of the model; parts/learn2pd in the model's folder is found by its name",
    )
    .addOption(
      new Option("--depth <layers>", "how many layers the filter has; positions: it sees each position by itself")
        .choices(learn2pd.depths)
        .default("2"),
    )
    .addOption(
      numberFlag(
        "--steps",
        z.int().min(1).max(1_000_000),
        "training steps over all records; the filter of the step that validates best is kept; published: 40000",
      ).default(4000),
    )
    .addOption(numberFlag("--rate", z.number().positive().max(1), "learning rate of AdamW").default(3e-3))
    .addOption(
      numberFlag(
        "--threshold",
        z.number().min(0).max(1),
        "how sure the filter must be of a position, unless a request says; ventris reproduce learn2pd compares some; published: 0.96",
      ).default(learn2pd.publishedThreshold),
    )
    .addOption(numberFlag("--seed", z.int().min(0), "seed of the split and the first values").default(0))
    .addOption(threadsFlag())
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      examples(
        "ventris diffusion train-filter mycenae --records all.safetensors --out filter",
        'ventris run --model mycenae --method learn2pd --set filter=filter "…"',
      ),
    )
    .action(trainFilter);
}

/** Errors: `bad_option` for a model of another kind, with the shipped ones of this. */
function requireDiffusion({ name, capabilities }: Pick<Model, "name" | "capabilities">): void {
  ensure(capabilities.has("canvas"), "bad_option", () => {
    return `${name} is no diffusion model: these have a canvas, which they fill in any order${shippedWith(["canvas"])}`;
  });
}

/** Prompts as the model's template writes them; of a file the texts as they are. */
async function promptsOf(model: Model, flags: CollectFlags): Promise<number[][]> {
  const { tokenizer } = model;
  ensure(tokenizer, "bad_option", "collect: the model has no tokenizer");
  if (flags.prompts !== undefined) {
    const prompts: number[][] = [];
    for await (const text of readTexts([flags.prompts])) {
      prompts.push(tokenizer.encode(text));
      if (prompts.length === flags.each) break;
    }
    return prompts;
  }
  ensure(tokenizer.encodeChat, "bad_option", "collect: the model has no chat template for the skills: give --prompts");
  const item = (i: number, skill: (typeof skills)[number]) => skillItem(skill, "train", flags.seed + 1000, i).prompt;
  return Array.from({ length: flags.each }, (_, i) =>
    skills.map((skill) => tokenizer.encodeChat!([{ role: "user", content: item(i, skill) }])),
  ).flat();
}

async function collect(reference: string, flags: CollectFlags, command: Command): Promise<void> {
  if (flags.prompts !== undefined) refuseFlags(command, ["seed"], "is that of the tasks, and --prompts gives others");
  const { length, blockLength, states, out } = flags;
  await using model = await openShown(reference, { threads: flags.threads });
  requireDiffusion(model);
  const prompts = await promptsOf(model, flags);
  const records = await interruptible((signal) =>
    learn2pd.collectRecords(model, {
      prompts,
      length,
      blockLength,
      states,
      signal,
      onProgress: (done, count) =>
        showProgress(`${done} of ${plural(prompts.length, "prompt")}, ${plural(count, "record")}`),
    }),
  );
  await learn2pd.writeRecords(out, records);
  const count = records.labels.length / blockLength;
  const positions = prompts.length * length; // each a pass of decoding token by token
  const result = {
    prompts: prompts.length,
    records: count,
    passesPerBlock: (count - (states === "both" ? positions : 0)) / (positions / blockLength),
  };
  if (flags.json) printJson({ model: reference, out, ...result });
  else
    say(
      `${out}: ${plural(count, "record")} of ${plural(prompts.length, "prompt")}; the oracle took ${result.passesPerBlock.toFixed(2)} passes a block`,
    );
}

async function trainFilter(reference: string, flags: TrainFlags): Promise<void> {
  const { out, depth, steps, rate, threshold, seed, threads } = flags;
  const records = learn2pd.joinRecords(await Promise.all(flags.records.map(learn2pd.readRecords)));
  await using model = await openShown(reference, { threads });
  requireDiffusion(model);
  ensure(records.base === (await model.fingerprint()), "bad_option", () => {
    return `${flags.records.join(", ")}: collected with another model, whose confidences say nothing about ${reference}`;
  });
  const { tensors, step, validation, test, filter } = await interruptible((signal) =>
    learn2pd.trainFilter(records, {
      depth,
      steps,
      learningRate: rate,
      seed,
      threads,
      signal,
      onProgress: (step, loss) =>
        step % 500 === 0 && showProgress(`step ${step} of ${steps} · loss ${loss.toFixed(4)}`),
    }),
  );
  await model.writePart(out, {
    kind: learn2pd.filterKind,
    name: basename(out),
    settings: { depth, blockLength: records.blockLength, threshold },
    training: { records: records.labels.length / records.blockLength, steps, kept: step, rate, seed, validation, test },
    tensors,
  });
  if (flags.json) printJson({ model: reference, out, numbers: filter.size, step, validation, test });
  else {
    const share = (x: number) => `${(100 * x).toFixed(1)} %`;
    print(
      `${out}: ${filter.size} numbers, as they were after step ${step} of ${steps}; on ${plural(test.records, "record")} held out: loss ${test.loss.toFixed(4)}, ` +
        `${share(test.falsePositives)} of what it accepts at 0.9 is wrong, ${share(test.falseNegatives)} of what it refuses is right`,
    );
  }
}
