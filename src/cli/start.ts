/** `ventris start`, what `npm start` runs: a story by the model that ships, the same again by the fastest lossless method, and what to try next. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Command, Option } from "commander";
import { z } from "zod";
import { type DecodeOptions, isCanvas } from "../calls.ts";
import { isLossless, type Method, repeatsPlain } from "../engine/method.ts";
import type { RunResult } from "../engine/run.ts";
import { ensure, plural, VentrisError } from "../errors.ts";
import { methods } from "../methods/index.ts";
import type { Model } from "../open.ts";
import { fits, outlookOf, plainMethod } from "./comparison.ts";
import { noGain, prospectOf } from "./comparison-report.ts";
import { parseValue } from "./flags.ts";
import { examples } from "./help.ts";
import { interruptible } from "./interruptible.ts";
import { decodesNothing } from "./method-choice.ts";
import { endProgress, print, printJson, say, showProgress, write } from "./output.ts";
import { openShown } from "./progress.ts";
import { loadOptions, modelHelp } from "./request.ts";
import { styled, widthOf, wordWriter, wrap, wrapCommand } from "./terminal.ts";

interface StartFlags {
  model: string;
  seed: number;
  threads?: number;
  json?: true;
}

const usualModel = "knossos";
const opening = "Once upon a time there was an old king who could read a forgotten script.";
/** How much is decoded, and how: of a canvas, whose blocks divide the length, less, since a pass costs as much as the canvas is long. */
const ofTexts = { maxTokens: 200, temperature: 0.8 };
const ofCanvases = { maxTokens: 64, temperature: 0 };
/** A speed of fewer tokens says nothing. */
const leastTokens = 16;
/** Each method first decodes so many tokens, which loads and measures what it needs, and then as many that are timed. */
const trial = 48;
const canvasTrial = 32;

export function define(command: Command): void {
  command
    .argument("[prompt...]", "how the story begins")
    .option("-m, --model <name>", modelHelp, usualModel)
    .addOption(
      new Option("--seed <number>", "another seed gives another story")
        .default(1)
        .argParser((text) => parseValue(z.int().min(0).max(Number.MAX_SAFE_INTEGER), "--seed", text)),
    )
    .addOption(
      new Option("--threads <number>", "how many threads compute at once")
        .default(undefined, "all cores, at most 8")
        .argParser((text) => parseValue(z.int().min(1).max(256), "--threads", text)),
    )
    .option("--json", "print one JSON object when all is done, and no story before")
    .addHelpText("after", examples("ventris start", 'ventris start --seed 2 "A dog and a cat met"'))
    .action(start);
}

async function start(words: string[], flags: StartFlags): Promise<void> {
  const prompt = words.join(" ") || opening;
  const { model: reference, seed } = flags;
  await using model = await openShown(reference, loadOptions(flags));
  const { stdout } = process;
  await interruptible(async (signal) => {
    const shape = isCanvas(model) ? ofCanvases : ofTexts;
    const { temperature } = shape;
    const request: DecodeOptions = { ...shape, seed, signal };
    const standard = plainMethod(model, request) ?? methods.find((method) => fits(method, model.capabilities));
    ensure(standard, "unavailable", () => decodesNothing(model));
    const width = Math.min(100, widthOf(stdout));
    const show = (text: string): void => print(wrap(text, width).join("\n"));
    const title = `${model.name} goes on from “${prompt}”, decoded by ${standard.name} at temperature ${temperature}`;
    if (!flags.json) {
      print(
        wrap(title, width)
          .map((line) => styled(stdout, "bold", line))
          .join("\n"),
      );
      print("");
    }
    const told = await tell(model, prompt, { ...request, method: standard }, flags.json ? undefined : width);
    const short = told.counters.generated < leastTokens;
    if (!signal.aborted && !flags.json) show(`\n${short ? wordsForShort(told, model) : figuresOf(told, standard)}`);
    const again =
      signal.aborted || short
        ? undefined
        : await decodeAgain(model, prompt, request, standard, told, stepTeller(flags.json ?? false));
    const found = signal.aborted ? undefined : again;
    if (signal.aborted) process.exitCode = 130;
    if (flags.json)
      printJson({
        model: model.name,
        prompt,
        method: standard.name,
        seed,
        temperature,
        ...told,
        again: toJson(told, found?.best),
      });
    else if (!signal.aborted) {
      if (found) show(`\n${isCanvas(model) ? wordsForCanvas(told, found) : wordsFor(told, found, reference)}`);
      const kind = isCanvas(model) ? "canvas" : short && model.tokenizer?.encodeChat ? "chat" : "text";
      print(`\nTry next:\n${suggestions(found?.best, reference, kind)}`);
    }
  });
}

/** The story's figures: of a first run, which is not as fast as one that goes on from others. */
export function figuresOf(told: RunResult, { name, needs }: Method): string {
  const { counters, seconds } = told;
  const how = needs?.includes("canvas")
    ? `${name}, which fills positions in any order, in ${plural(counters.passes, "pass", "passes")} of the model`
    : "plain decoding, one token with every pass of the model";
  return `${plural(counters.generated, "token")} in ${seconds.decode.toFixed(1)} s, ${speedOf(told).toFixed(0)} tokens/s in this first run: ${how}.`;
}

/** Of a model that had next to nothing to say: no speeds, and what makes it say more. */
export function wordsForShort(
  { counters }: Pick<RunResult, "counters">,
  { name, tokenizer }: Pick<Model, "name" | "tokenizer">,
): string {
  const ended = `${name} ended the text after ${plural(counters.generated, "token")}: too few to measure a speed on.`;
  return tokenizer?.encodeChat
    ? `${ended} It was made to answer, and may have nothing to add to a text that is whole.`
    : `${ended} Another --seed or another beginning may give more.`;
}

/** Writes prompt and story, wrapped as they come; nothing without a width. */
async function tell(model: Model, prompt: string, request: DecodeOptions, width?: number): Promise<RunResult> {
  const run = model.decode(prompt, request);
  if (width === undefined) return run.final;
  const writer = wordWriter({ isTTY: true, columns: width, write });
  writer.write(prompt);
  try {
    for await (const piece of run.text) writer.write(piece);
  } finally {
    writer.end(); // an error is told on a line of its own
  }
  return run.final;
}

type TellStep = (step: string, now?: string) => void;

/** What is being done: a line of a terminal that the next one replaces; where the story goes elsewhere, as into a file, one line for each step, whatever it is made of. */
export function stepTeller(json: boolean): TellStep {
  if (json || process.stdout.isTTY) return (step, now = step) => showProgress(now);
  let last: string | undefined;
  return (step) => {
    if (step !== last) say(step);
    last = step;
  };
}

interface Trial {
  readonly method: Method;
  readonly tokensPerSecond: number;
}

/** Whether a method with its own options gives plain decoding's very text. */
function givesPlainText(method: Method): boolean {
  const { data, success } = method.options.safeParse({});
  if (!success || method.family !== "speculative") return false;
  return isLossless(method, data) && repeatsPlain(method, data);
}

/** The whole decoded once more, plainly and by a method. */
export interface Again {
  readonly method: Method;
  readonly plain: RunResult;
  readonly fast: RunResult;
}

/** What came of looking for a faster method. */
export interface Search {
  /** How many methods there are to look at, with this model. */
  readonly candidates: number;
  /** So many of them gain nothing by the pass times that were measured, and were not tried. */
  readonly hopeless: number;
  /** By the fastest that was tried, or where none was by the most promising. Undefined: there is none, or it would take long. */
  readonly best?: Again;
}

/** What is tried without being expected to gain may take seconds, and not minutes: only where the story itself took less. */
const mostSeconds = 5;

/** Those that fill a canvas by other rules; each gives a text of its own. */
const fillsCanvas = (method: Method): boolean =>
  method.needs?.includes("canvas") === true && method.options.safeParse({}).success;

/**
 * The fastest of the methods that give the same text, or of a canvas' own, by a short trial of each, decodes it beside the standard one. Those
 * that gain nothing by the pass times are not tried; where that leaves none, the most promising decodes it all the same: pass times may be
 * those of a busy machine.
 */
async function decodeAgain(
  model: Model,
  prompt: string,
  request: DecodeOptions,
  standard: Method,
  told: RunResult,
  tellStep: TellStep,
): Promise<Search> {
  const canvas = isCanvas(model);
  const short = { ...request, maxTokens: canvas ? canvasTrial : trial };
  const cheap = told.seconds.decode < mostSeconds;
  const trials: Trial[] = [];
  const hopeless: { method: Method; expected: number }[] = [];
  for (const method of methods) {
    if (request.signal?.aborted) break;
    if (method === standard || !(canvas ? fillsCanvas(method) : givesPlainText(method))) continue;
    tellStep("looking for a faster method", `trying ${method.name}`);
    try {
      const outlook = await outlookOf(model, { method, options: {} }, request, request.signal);
      const prospect = outlook && prospectOf(outlook);
      if (outlook && prospect !== "may gain" && !(prospect === "not known" && cheap)) {
        hopeless.push({ method, expected: outlook.speedUp ?? outlook.most });
        continue;
      }
      await time(model, prompt, short, method);
      trials.push({ method, tokensPerSecond: speedOf(await time(model, prompt, short, method)) });
    } catch (error) {
      if (!lacksSomething(error)) throw error;
    }
  }
  const found = { candidates: trials.length + hopeless.length, hopeless: hopeless.length };
  trials.sort((a, b) => b.tokensPerSecond - a.tokensPerSecond);
  hopeless.sort((a, b) => b.expected - a.expected);
  const [method] = [...trials, ...(cheap ? hopeless : [])].map((one) => one.method);
  try {
    return { ...found, best: method && (await decodeBy(method)) };
  } catch (error) {
    if (!lacksSomething(error)) throw error;
    return found;
  } finally {
    endProgress();
  }

  async function decodeBy(method: Method): Promise<Again> {
    tellStep(`decoding the same again, by ${standard.name} and by ${method.name}`);
    if (trials.length === 0) await time(model, prompt, short, method);
    return {
      method,
      plain: await time(model, prompt, request, standard),
      fast: await time(model, prompt, request, method),
    };
  }
}

/** Whether an error says that a method cannot work here, or that all was interrupted. */
const lacksSomething = (error: unknown): boolean =>
  error instanceof VentrisError && ["unavailable", "bad_option", "aborted"].includes(error.code);

/** So many times as fast as the same later, which has nothing left to load, a first run only is where others use the machine since. */
const becameBusy = 1.3;

/** What the second decoding showed. */
export function wordsFor(told: RunResult, { candidates, hopeless, best }: Search, reference: string): string {
  if (candidates === 0) return "No method that changes nothing but the speed works with this model.";
  const all = `${candidates} methods that change nothing but the speed`;
  const unexpected = `By the pass times that were measured on this machine, none of ${all} is expected to be faster than plain decoding`;
  const anew = `${caller()} doctor --model ${reference} --measure takes the pass times anew`;
  if (!best) return `${unexpected}; ${anew}.`;
  const { method, plain, fast } = best;
  const same =
    fast.text === told.text ? "the same text, token for token" : "another text, which it must not: please report it";
  const speeds = `${speedOf(fast).toFixed(0)} tokens/s beside ${speedOf(plain).toFixed(0)} of plain decoding (${gainOf(best).toFixed(2)}×), one run after the other`;
  const untried = candidates === hopeless;
  if (!isFaster(best)) {
    if (untried)
      return `${unexpected}. Decoded again by ${method.name}, the most promising of them: ${same}, at ${speeds}; ${anew}.`;
    const others = hopeless > 0 ? `; of ${hopeless} of them that was not expected, and they were not tried` : "";
    return `None of ${all} was clearly faster here and now${others}. Decoded again by ${method.name}, which did best in a short trial: ${same}, at ${speeds}.`;
  }
  return [
    `Decoded again by ${method.name}, ${untried ? "the most promising" : "in a short trial the fastest"} of ${all}: ${same}, at ${speeds}, with ${plural(fast.counters.passes, "pass", "passes")} instead of ${plain.counters.passes}.`,
    ...(hopeless > 0 && !untried
      ? [
          `${hopeless} of them were not tried: by the pass times that were measured on this machine they are not expected to gain.`,
        ]
      : []),
    ...(speedOf(told) > becameBusy * speedOf(plain)
      ? [
          `Plain decoding had written the story at ${speedOf(told).toFixed(0)} tokens/s: other programs use this machine now.`,
        ]
      : []),
  ].join(" ");
}

/** The same of a canvas, where each method gives a text of its own. */
export function wordsForCanvas(told: RunResult, { candidates, best }: Search): string {
  if (!best) return "No other method works with this model.";
  const { method, plain, fast } = best;
  const text = fast.text === told.text ? "the same text" : "another text, as each of them may give";
  const figures = `${text}, at ${speedOf(fast).toFixed(0)} tokens/s beside ${speedOf(plain).toFixed(0)} (${gainOf(best).toFixed(2)}×), one run after the other, with ${plural(fast.counters.passes, "pass", "passes")} instead of ${plain.counters.passes}`;
  const how = isFaster(best) ? "in a short trial the fastest" : "which did best in a short trial";
  return `Decoded again by ${method.name}, ${how} of ${candidates} other methods of such models: ${figures}.`;
}

const gainOf = ({ plain, fast }: Again): number => speedOf(fast) / speedOf(plain);

/** A trial is short, and machines are disturbed: what won it need not be faster in the whole. */
const isFaster = (again: Again): boolean => gainOf(again) >= noGain;

/** Null where no method is faster, or where it was interrupted before. */
const toJson = (told: RunResult, again: Again | undefined): object | null =>
  again
    ? {
        method: again.method.name,
        sameText: again.fast.text === told.text,
        speedUp: gainOf(again),
        counters: again.fast.counters,
        seconds: again.fast.seconds,
        plainSeconds: again.plain.seconds,
      }
    : null;

const time = (model: Model, prompt: string, request: DecodeOptions, method: Method): Promise<RunResult> =>
  model.decode(prompt, { ...request, method }).final;

const speedOf = ({ counters, seconds }: RunResult): number => counters.generated / Math.max(seconds.decode, 1e-9);

/** How the command is called from here: in a checkout, or where the package is installed. */
function caller(): string {
  const checkout = existsSync(fileURLToPath(new URL("../../scripts/ventris.mjs", import.meta.url)));
  return checkout ? "npm run --silent ventris --" : "npx ventris";
}

/** Three commands as they can be called from here, of this model: that of the method only where it was faster, and else the one that tells why not. */
export function suggestions(
  again: Again | undefined,
  reference: string,
  kind: "text" | "canvas" | "chat" = "text",
): string {
  const call = caller();
  const faster = again && isFaster(again) ? ` --method ${again.method.name}` : "";
  const model = reference === usualModel ? "" : ` --model ${reference}`;
  const doctor = [`${call} doctor --model ${reference}`, "what each method can gain on this machine, and why"];
  const studio = [`${call} studio`, "the same to look at, in a browser"];
  const lines = {
    text: [
      [`${call} run${model}${faster} "The fox said"`, "an opening of your own"],
      [`${call} compare${model} --tree "Once upon a time"`, "all methods side by side, and what they drafted"],
      faster ? studio : doctor,
    ],
    canvas: [
      [`${call} run${model}${faster} -n ${ofCanvases.maxTokens} "The fox said"`, "an opening of your own"],
      [`${call} run${model} --fill "The king was very ___ and had a ___." --fill-lengths 1,1`, "a text with blanks"],
      [`${call} compare${model} -n ${ofCanvases.maxTokens} "Once upon a time"`, "all its methods side by side"],
    ],
    chat: [
      [`${call} chat${model}`, "a conversation with it"],
      [
        `${call} run${model} --chat "Ben has 14 pens. Ben finds 9 more. How many pens does Ben have now?"`,
        "one question, in the form that it was made for",
      ],
      studio,
    ],
  }[kind];
  const width = widthOf(process.stdout);
  const told = (what: string): string[] => wrap(what, width - 6).map((line) => `      ${line}`);
  return lines.flatMap(([line, what]) => [wrapCommand(`  ${line}`, width), ...told(what)]).join("\n");
}
