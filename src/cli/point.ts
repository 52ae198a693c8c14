/** `ventris point`: hulls, triangulations and tours by pointer networks, beside exact answers and heuristics. */
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { Argument, type Command, Option } from "commander";
import { z } from "zod";
import { ensure, plural } from "../errors.ts";
import { pointing } from "../methods/index.ts";
import { progressWriter } from "../training/progress.ts";
import { writeFileAtomically } from "../weights/index.ts";
import { numberFlag, parseValue, threadsFlag } from "./flags.ts";
import { examples } from "./help.ts";
import { interruptible } from "./interruptible.ts";
import { print, printJson, say, talk } from "./output.ts";
import { readPointFile } from "./point-files.ts";
import { formatTable } from "./table.ts";
import { writeTrace } from "./trace-file.ts";

type Point = pointing.Point;
const taskNames = Object.keys(pointing.tasks) as pointing.TaskName[];
const { rules } = pointing;

interface PointFlags {
  model?: string;
  beams?: number;
  rule?: pointing.RuleName;
  most?: number;
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
  optimiser: (typeof pointing.optimisers)[number];
  rate?: number;
  seed: number;
  threads?: number;
  run?: string;
  out: string;
  json?: true;
}

interface EvaluateFlags extends Omit<PointFlags, "out" | "trace" | "most"> {
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
      .addOption(
        numberFlag(
          "--most",
          z.int().min(1).max(5000),
          "most points that are taken; memory and time grow with their square; default: 2000",
        ),
      )
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
          const parts = text.split("-");
          ensure(parts.length <= 2, "bad_option", `--sizes ${text}: expected one number, or two as 5-10`);
          const [low, high = low] = parts.map((part) => parseValue(size, "--sizes", part) as number);
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
    .addOption(
      new Option(
        "--optimiser <name>",
        "how weights are changed: adamw, or sgd as the paper does, with --start paper for its first weights",
      )
        .choices(pointing.optimisers)
        .default("adamw"),
    )
    .addOption(
      numberFlag("--rate", z.number().positive().max(10), "highest learning rate; default: 0.002, or 1 of sgd"),
    )
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
  ensure(flags.out?.endsWith(".svg") ?? true, "bad_option", `--out ${flags.out}: the picture is an .svg`);
  const { points, between, optimum } = await readPointFile(path);
  const { least } = pointing.tasks[task];
  ensure(
    points.length >= least,
    "bad_option",
    `${path} has ${plural(points.length, "point")}, and ${task} needs ${least}`,
  );
  const model = await openNetwork(task, flags.model);
  const { most } = flags;
  const result = await interruptible((signal) =>
    pointing.point(model, points, { ...searchOf(flags, signal), ...(most !== undefined && { most }) }),
  );
  if (result.normalised)
    say("the points lie outside the unit square: they were moved and scaled into it, in their own proportions");
  const dropped = result.dropped.map((index) => index + 1);
  if (dropped.length > 0) say(`equal to earlier points, and left out: ${dropped.join(", ")}`);
  const [low, high] = model.trained.sizes;
  if (points.length > high) say(`the network was trained on ${low} to ${high} points: of more, expect worse answers`);
  const outcome =
    task === "tour" ? tourOutcome(points, result.places, between, optimum) : shapeOutcome(task, points, result.places);
  const summary = {
    task,
    points: points.length,
    answer: result.places.map((place) => place + 1),
    logprob: result.logprob,
    ...(task === "hull" && { dropped }),
    ...outcome.summary,
  };
  if (flags.out !== undefined) {
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
  say([...outcome.words, `log-probability ${result.logprob.toFixed(2)}`].join(" · "));
}

/** What there is to say of an answer, as fields and in words. */
interface Outcome {
  readonly summary: Readonly<Record<string, unknown>>;
  readonly words: readonly string[];
}

function shapeOutcome(task: "hull" | "delaunay", points: readonly Point[], answer: readonly number[]): Outcome {
  const { exact, valid, quality } = pointing.tasks[task].score(points, answer);
  const overlapping = task === "delaunay" ? pointing.overlappingTriangles(points, pointing.trianglesOf(answer)) : 0;
  return {
    summary: { valid, exact, quality, ...(task === "delaunay" && { overlapping }) },
    words: [
      valid ? "valid" : "not valid",
      ...(overlapping > 0 ? [`${overlapping} of ${Math.ceil(answer.length / 3)} triangles overlap others`] : []),
      exact ? "exact" : "not exact",
      `${(100 * quality).toFixed(1)} % ${task === "hull" ? "of the area" : "of the triangles"}`,
    ],
  };
}

/** Lengths are by the file's own distances; the shortest is worked out where that is soon done. */
function tourOutcome(
  points: readonly Point[],
  answer: readonly number[],
  between: pointing.Distances,
  published: number | undefined,
): Outcome {
  const cities = points.length;
  const valid = pointing.isTour(answer, cities);
  const left = cities - new Set(answer).size;
  const again = answer.length - new Set(answer).size;
  const length = pointing.tourLength(answer, between);
  const twoOpt = pointing.tourLength(pointing.twoOpt(pointing.nearestNeighbour(cities, between), between), between);
  const shortest =
    cities <= pointing.mostExact ? pointing.tourLength(pointing.heldKarp(cities, between), between) : published;
  // A file may bear a published name and have other cities: then no such length is the shortest.
  const known =
    shortest !== undefined && shortest > 0 && shortest <= Math.min(valid ? length : twoOpt, twoOpt) * (1 + 1e-9);
  const over = valid && known ? length / shortest - 1 : undefined;
  return {
    summary: {
      valid,
      ...(!valid && { "cities left out": left, "cities again": again }),
      length,
      "two-opt from nearest neighbour": twoOpt,
      ...(known && { shortest }),
      ...(over !== undefined && { "over the shortest": over }),
    },
    words: [
      valid ? "valid" : `not valid: ${left} left out, ${again} visited again`,
      `length ${length.toFixed(4)}`,
      `two-opt ${twoOpt.toFixed(4)}`,
      ...(known ? [`shortest ${shortest.toFixed(4)}`] : []),
      ...(over !== undefined ? [`${(100 * over).toFixed(1)} % over it`] : []),
    ],
  };
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
      optimiser: rest.optimiser,
      ...(rest.rate !== undefined && { rate: rest.rate }),
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
    task !== "tour" || size <= pointing.mostExact,
    "bad_option",
    `--points ${size}: exact tours, which scores need, are known for up to ${pointing.mostExact} points`,
  );
  const model = await openNetwork(task, flags.model);
  const rows = await interruptible(async (signal) => {
    const scores: pointing.Score[] = [];
    const lengths = {
      network: 0,
      shortest: 0,
      "as given": 0,
      random: 0,
      "nearest neighbour": 0,
      "two-opt": 0,
      Christofides: 0,
    };
    for (let i = 0; i < count; i++) {
      // The training draws from other numbers: its seeds count batches from 0.
      const points = pointing.drawPoints(size, seed, 2 ** 31 + i);
      const truth = pointing.tasks[task].solve(points);
      const { places: answer } = await pointing.point(model, points, searchOf(flags, signal));
      scores.push(pointing.tasks[task].score(points, answer, truth));
      if (task !== "tour") continue;
      const between = (a: number, b: number): number => pointing.distance(points[a], points[b]);
      const add = (name: keyof typeof lengths, tour: readonly number[]): void => {
        lengths[name] += pointing.tourLength(tour, between) / count;
      };
      const near = pointing.nearestNeighbour(size, between);
      add("network", answer);
      add("shortest", truth);
      add("as given", Array.from(points.keys()));
      add("random", pointing.randomTour(size, seed, i));
      add("nearest neighbour", near);
      add("two-opt", pointing.twoOpt(near, between));
      add("Christofides", pointing.christofides(size, between));
    }
    return { scores, lengths };
  });
  const share = (of: (score: pointing.Score) => number): number =>
    rows.scores.reduce((sum, score) => sum + of(score), 0) / count;
  const valid = rows.scores.filter((score) => score.valid);
  // Triangles are found, or not, whether or not others overlap.
  const judged = task === "delaunay" ? rows.scores : valid;
  const quality = judged.reduce((sum, score) => sum + score.quality, 0) / (judged.length || 1);
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
