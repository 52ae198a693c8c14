/** `ventris point`: hulls, triangulations and tours by pointer networks, beside exact answers and heuristics. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { Argument, type Command, Option } from "commander";
import { z } from "zod";
import { ensure, plural, VentrisError } from "../errors.ts";
import { whyUnreadable } from "../files.ts";
import { pointing } from "../methods/index.ts";
import { progressWriter } from "../training/progress.ts";
import { writeFileAtomically } from "../weights/index.ts";
import { numberFlag, parseValue, threadsFlag } from "./flags.ts";
import { examples } from "./help.ts";
import { interruptible } from "./interruptible.ts";
import { print, printJson, say, talk } from "./output.ts";
import { formatTable } from "./table.ts";
import { writeTrace } from "./trace-file.ts";

type Point = pointing.Point;
const taskNames = Object.keys(pointing.tasks) as pointing.TaskName[];
const { rules } = pointing;

interface PointFlags {
  model?: string;
  beams?: number;
  rule?: pointing.RuleName;
  out?: string;
  trace?: string;
  json?: true;
}

interface TrainFlags {
  sizes: [number, number];
  steps: number;
  kind: "pointer" | "attention" | "plain";
  start: pointing.Start;
  hidden: number;
  batch: number;
  rate: number;
  seed: number;
  threads?: number;
  run?: string;
  out: string;
  json?: true;
}

interface EvaluateFlags extends Omit<PointFlags, "out" | "trace"> {
  points: number;
  count: number;
  seed: number;
}

export function define(command: Command): void {
  command.addHelpText(
    "after",
    examples(
      "ventris point hull points.csv --out hull.svg",
      "ventris point tour cities.tsp",
      "ventris point eval hull --points 10",
      "ventris point train hull --sizes 5-10 --out hull.safetensors",
    ),
  );
  const search = (to: Command): Command =>
    to
      .option("-m, --model <file>", "a trained network; default: the one that ships for the task")
      .addOption(
        numberFlag(
          "--beams",
          z.int().min(1).max(1000),
          "how many answers the search follows at once; default: 1 for hull, 3 for delaunay, 10 for tour",
        ),
      )
      .addOption(
        new Option(
          "--rule <name>",
          "rule that answers must keep to; no-repeat: no point twice; hull: three points or more, none twice; tour: every point once; triples: triangles, as delaunay has them; none: any points; default: that of the task",
        ).choices(Object.keys(rules)),
      )
      .option("--json", "print one JSON object");
  for (const task of taskNames) {
    search(command.command(task))
      .description(descriptions[task])
      .argument("<points>", "a CSV file with a line x,y for each point, or a TSPLIB file (.tsp)")
      .option("--out <file.svg>", "draw the answer into this file")
      .option("--trace <file>", "write every step to a file as JSON lines, which the studio replays")
      .addHelpText(
        "after",
        examples(`ventris point ${task} points.csv`, `ventris point ${task} points.csv --out ${task}.svg`),
      )
      .action((path: string, flags: PointFlags) => pointFile(task, path, flags));
  }
  const size = z.int().min(1).max(500);
  command
    .command("train")
    .description("train a network on generated examples with exact answers; the same command goes on where it stopped")
    .addArgument(taskArgument())
    .addOption(
      new Option("--sizes <low-high>", "how many points the examples have, as 5 or 5-10")
        .default([5, 5], "5")
        .argParser((text): [number, number] => {
          const [low, high = low] = text.split("-").map((part) => parseValue(size, "--sizes", part) as number);
          return [low, high];
        }),
    )
    .addOption(numberFlag("--steps", z.int().min(1).max(10_000_000), "how many batches to train on").default(3000))
    .addOption(
      new Option("--kind <name>", "the network: pointer, or one of the two that the paper compares it with")
        .choices(["pointer", "attention", "plain"])
        .default("pointer"),
    )
    .addOption(
      new Option("--start <name>", "size of the first weights that read coordinates: wide, or small as the paper's are")
        .choices(pointing.starts)
        .default("wide"),
    )
    .addOption(numberFlag("--hidden", z.int().min(1).max(4096), "how many units the LSTMs have").default(128))
    .addOption(numberFlag("--batch", z.int().min(1).max(4096), "how many examples a step learns from").default(128))
    .addOption(numberFlag("--rate", z.number().positive().max(10), "highest learning rate").default(0.002))
    .addOption(numberFlag("--seed", z.int().min(0), "seed of weights and examples").default(0))
    .addOption(threadsFlag())
    .option("--run <folder>", "folder for the checkpoint; default: runs/point-TASK")
    .requiredOption("--out <file>", "file for the trained network (safetensors)")
    .option("--json", "print the outcome as one JSON object")
    .addHelpText("after", examples("ventris point train hull --sizes 5-10 --steps 1000 --out hull.safetensors"))
    .action(trainNetwork);
  search(command.command("eval"))
    .description("score a network on new examples, beside exact answers and heuristics")
    .addArgument(taskArgument())
    .addOption(numberFlag("--points", z.int().min(1).max(500), "how many points each example has").default(5))
    .addOption(numberFlag("--count", z.int().min(1).max(1_000_000), "how many examples to score").default(200))
    .addOption(numberFlag("--seed", z.int().min(0), "seed of the examples").default(1))
    .addHelpText(
      "after",
      examples("ventris point eval hull --points 10", "ventris point eval tour --points 20 --beams 3"),
    )
    .action(evaluate);
}

const descriptions: Readonly<Record<pointing.TaskName, string>> = {
  hull: "find the convex hull of points",
  delaunay: "find the Delaunay triangulation of points",
  tour: "find a short tour through points",
};

const taskArgument = (): Argument => new Argument("<task>", "what to find").choices(taskNames);

async function openNetwork(task: pointing.TaskName, path: string | undefined): Promise<pointing.PointingModel> {
  const shipped = pointing.shippedNetwork(task);
  ensure(
    path !== undefined || existsSync(shipped),
    "unavailable",
    `no network for ${task} ships yet: train one with \`ventris point train ${task} --out FILE\` and give it as --model`,
  );
  const model = await pointing.openPointing(path ?? shipped);
  ensure(model.task === task, "bad_option", `--model: ${path} was trained for ${model.task}, not ${task}`);
  return model;
}

const searchOf = ({ beams, rule }: Pick<PointFlags, "beams" | "rule">, signal: AbortSignal): pointing.PointOptions => ({
  ...(beams !== undefined && { beams }),
  ...(rule !== undefined && { rule }),
  signal,
});

async function pointFile(task: pointing.TaskName, path: string, flags: PointFlags): Promise<void> {
  const { points, between } = await readPoints(path);
  const { least } = pointing.tasks[task];
  ensure(
    points.length >= least,
    "bad_option",
    `${path} has ${plural(points.length, "point")}, and ${task} needs ${least}`,
  );
  const model = await openNetwork(task, flags.model);
  const result = await interruptible(async (signal) => pointing.point(model, points, searchOf(flags, signal)));
  if (result.normalised)
    say("the points lie outside the unit square: they were moved and scaled into it, in their own proportions");
  const { exact, valid, quality } = pointing.tasks[task].score(
    points,
    result.places,
    task === "tour" ? result.places : undefined,
  );
  const length = task === "tour" ? pointing.tourLength(result.places, between) : undefined;
  const summary = {
    task,
    points: points.length,
    answer: result.places.map((place) => place + 1),
    logprob: result.logprob,
    valid,
    ...(task === "tour"
      ? { length, "two-opt from nearest neighbour": heuristic(points.length, between) }
      : { exact, quality }),
  };
  if (flags.out !== undefined) {
    ensure(flags.out.endsWith(".svg"), "bad_option", `--out ${flags.out}: the picture is an .svg`);
    const title = `${task} of ${plural(points.length, "point")} (${basename(path)})`;
    await writeFileAtomically(
      flags.out,
      new TextEncoder().encode(pointing.drawPointing(task, points, result.places, title)),
    );
    say(`drawn: ${flags.out}`);
  }
  if (flags.trace !== undefined) {
    const events = pointing.pointingEvents(pointing.normalise(points).points, result);
    await writeTrace(flags.trace, events);
    say(`written: ${flags.trace}`);
  }
  if (flags.json) {
    printJson(summary);
    return;
  }
  print(summary.answer.join(" "));
  const words =
    task === "tour"
      ? [`length ${length?.toFixed(4)}`, `two-opt ${heuristic(points.length, between).toFixed(4)}`]
      : [
          exact ? "exact" : "not exact",
          `${(100 * quality).toFixed(1)} % ${task === "hull" ? "of the area" : "of the triangles"}`,
        ];
  say([valid ? "valid" : "not valid", ...words, `log-probability ${result.logprob.toFixed(2)}`].join(" · "));
}

function heuristic(cities: number, between: (a: number, b: number) => number): number {
  return pointing.tourLength(pointing.twoOpt(pointing.nearestNeighbour(cities, between), between), between);
}

async function readPoints(path: string): Promise<{ points: Point[]; between: (a: number, b: number) => number }> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    throw new VentrisError("unavailable", `cannot read ${path}: ${whyUnreadable(cause)}`, { cause });
  }
  if (path.endsWith(".tsp")) {
    const { points, between } = pointing.readTsplib(text, basename(path));
    ensure(points, "bad_option", `${path} has distances but no coordinates to point at`);
    return { points, between };
  }
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const points: Point[] = [];
  for (const [i, line] of lines.entries()) {
    if (line === "" || (i === 0 && /^[a-z]/i.test(line))) continue; // a header
    const [x, y, ...more] = line.split(/[,;\s]+/).map(Number);
    ensure(
      Number.isFinite(x) && Number.isFinite(y) && more.length === 0,
      "bad_file",
      `${path}, line ${i + 1}: expected two numbers, x,y`,
    );
    points.push([x, y]);
  }
  return { points, between: (a, b) => pointing.distance(points[a], points[b]) };
}

async function trainNetwork(task: pointing.TaskName, flags: TrainFlags): Promise<void> {
  const { run = join("runs", `point-${task}`), out, sizes, steps, ...rest } = flags;
  const progress = progressWriter({ stream: talk });
  const model = await interruptible((signal) =>
    pointing.trainPointing({
      task,
      sizes,
      steps,
      kind: rest.kind,
      start: rest.start,
      hidden: rest.hidden,
      rows: rest.batch,
      rate: rest.rate,
      seed: rest.seed,
      threads: rest.threads,
      folder: run,
      signal,
      onProgress: progress.update,
    }),
  ).finally(progress.done);
  await pointing.savePointing(out, model);
  const { reason, step, history } = model.result;
  const loss = history.at(-1)?.smoothedLoss;
  if (flags.json) printJson({ task, reason, step, steps, loss, run, out });
  else print(`${task}: step ${step} of ${steps} · loss ${loss?.toFixed(3)} · written to ${out}`);
  if (step < steps)
    say(`stopped early (${reason === "aborted" ? "interrupted" : reason}); the same command goes on from it`);
  if (reason === "aborted") process.exitCode = 130;
}

async function evaluate(task: pointing.TaskName, flags: EvaluateFlags): Promise<void> {
  const { points: size, count, seed } = flags;
  ensure(
    task !== "tour" || size <= 16,
    "bad_option",
    `--points ${size}: exact tours, which scores need, are known for up to 16 points`,
  );
  const model = await openNetwork(task, flags.model);
  const rows = await interruptible(async (signal) => {
    const scores: pointing.Score[] = [];
    const lengths = { network: 0, shortest: 0, "nearest neighbour": 0, "two-opt": 0, Christofides: 0 };
    for (let i = 0; i < count; i++) {
      // The training draws from other numbers: its seeds count batches from 0.
      const points = pointing.drawPoints(size, seed, 2 ** 31 + i);
      const truth = pointing.tasks[task].solve(points);
      const answer = pointing.point(model, points, searchOf(flags, signal)).places;
      scores.push(pointing.tasks[task].score(points, answer, truth));
      if (task !== "tour") continue;
      const between = (a: number, b: number): number => pointing.distance(points[a], points[b]);
      const add = (name: keyof typeof lengths, tour: readonly number[]): void => {
        lengths[name] += pointing.tourLength(tour, between) / count;
      };
      const near = pointing.nearestNeighbour(size, between);
      add("network", answer);
      add("shortest", truth);
      add("nearest neighbour", near);
      add("two-opt", pointing.twoOpt(near, between));
      add("Christofides", pointing.christofides(size, between));
    }
    return { scores, lengths };
  });
  const share = (of: (score: pointing.Score) => number): number =>
    rows.scores.reduce((sum, score) => sum + of(score), 0) / count;
  const valid = rows.scores.filter((score) => score.valid);
  const quality = valid.reduce((sum, score) => sum + score.quality, 0) / (valid.length || 1);
  const summary = {
    task,
    points: size,
    count,
    exact: share(({ exact }) => Number(exact)),
    valid: valid.length / count,
    quality,
  };
  if (flags.json) {
    printJson({ ...summary, ...(task === "tour" && { lengths: rows.lengths }) });
    return;
  }
  const name = {
    hull: "area covered, valid ones",
    delaunay: "triangles found",
    tour: "length over the shortest, valid ones",
  }[task];
  print(
    formatTable(
      ["what", "value"],
      [
        ["exact", summary.exact.toFixed(3)],
        ["valid", summary.valid.toFixed(3)],
        [name, quality.toFixed(3)],
        ...(task === "tour"
          ? Object.entries(rows.lengths).map(([who, length]) => [`mean length, ${who}`, length.toFixed(3)])
          : []),
      ],
    ),
  );
}
