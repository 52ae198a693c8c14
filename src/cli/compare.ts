/** `ventris compare`: several methods on the same prompts with the same seed, side by side. */
import { type Command, Option } from "commander";
import { z } from "zod";
import { type DecodeOptions, isCanvas, type Text } from "../calls.ts";
import { ensure, plural } from "../errors.ts";
import { joined } from "../issues.ts";
import { methods } from "../methods/index.ts";
import type { Model } from "../open.ts";
import { writeFileAtomically } from "../weights/index.ts";
import {
  type Comparison,
  compareMethods,
  fits,
  measureOf,
  plainMethod,
  speedUp,
  tokensPerSecond,
  verdictOf,
} from "./comparison.ts";
import { comparisonFigure, comparisonPage } from "./comparison-page.ts";
import { columnsNote, listed, notesOf, rowsOf, skippedNotes, textsOf, treesOf } from "./comparison-report.ts";
import { parseValue } from "./flags.ts";
import { groups } from "./help.ts";
import { interruptible } from "./interruptible.ts";
import { type ChosenMethod, decodesNothing, readMethods, requireNoOptions } from "./method-choice.ts";
import { complain, endProgress, print, printJson, say, showProgress } from "./output.ts";
import { openShown } from "./progress.ts";
import {
  addOpenFlags,
  addOutputFlags,
  addPromptFlags,
  addSamplingFlags,
  inForm,
  openOptions,
  type RequestFlags,
  readPrompt,
  readPromptFile,
  readRequest,
  requirePrompt,
} from "./request.ts";
import { formatTable } from "./table.ts";
import { widthOf, wrap } from "./terminal.ts";
import { draftedRounds, treeLegend } from "./tree.ts";

interface CompareFlags extends RequestFlags {
  methods?: string;
  draft?: string;
  prompts?: string;
  repeat: number;
  tree?: true;
  rounds?: number;
  out?: string;
}

/** Long enough that a speed means something, and a text that all lossless methods must write. */
const defaults = { temperature: 0, maxTokens: 200 };
/** The same where an output is blocks of 32. */
const ofCanvases = { maxTokens: 192 };
const mostPrompts = 1000;

export function define(command: Command): void {
  const number = (flag: string, description: string, most = Number.MAX_SAFE_INTEGER): Option =>
    new Option(`${flag} <number>`, description).argParser((text) => parseValue(z.int().min(1).max(most), flag, text));
  command.argument("[prompt...]", "the text to continue; read from standard input when it is piped");
  addPromptFlags(command);
  command.option("--prompts <file>", "compare on several prompts: every line of the file is one");
  addOpenFlags(command);
  command
    .optionsGroup(groups.method)
    .addOption(
      new Option(
        "--methods <list>",
        'names between commas, files with methods of your own among them; default: plain decoding, and all methods that need no further options. Or a JSON list of names and objects with options: \'["greedy", {"name": "dyspec", "budget": 8}, {"name": "dyspec", "budget": 32}]\'',
      ),
    )
    .option("--draft <model>", "the draft model of all methods that have one, instead of their default")
    .addOption(number("--repeat", "measure every prompt this many times", 1000).default(4))
    .option(
      "--tree",
      "show the drafted trees of the first rounds that drafted something, and why their tokens were kept or rejected",
    )
    .addOption(number("--rounds", "show this many rounds of each method, as --tree shows 3").implies({ tree: true }));
  addSamplingFlags(command, defaults);
  addOutputFlags(command, { defaults });
  command.option("--out <file>", "write the comparison to a page (.html) or its figure (.svg), to keep or to send");
  command.addHelpText(
    "after",
    `
Each method runs once without being counted; then all run in turn, and plain
decoding with them if it is not among them. Speeds are relative to plain
decoding, with 95 % intervals over repetitions and prompts. Lossless methods
must write the very text of plain decoding; if one does not, the exit status is
1.

Examples:
  ventris compare "Once upon a time"
  ventris compare --methods greedy,chain,dyspec --tree "Once upon a time"
  ventris compare --prompts prompts.txt --temperature 0.8 --out comparison.html`,
  );
  command.action(compare);
}

async function compare(words: string[], flags: CompareFlags): Promise<void> {
  const { out } = flags;
  ensure(
    out === undefined || /\.(html|svg)$/.test(out),
    "bad_option",
    `--out ${out}: the file must end in .html or .svg`,
  );
  ensure(flags.logprobs === undefined || flags.json, "bad_option", "--logprobs needs --json");
  const given = await readRequest(flags);
  const named = flags.methods === undefined ? undefined : await readMethods(flags.methods);
  requireNoOptions(words, named ?? [], "--methods");
  const drafting = named?.some(({ method }) => "draft" in method.options.shape) ?? true;
  ensure(flags.draft === undefined || drafting, "bad_option", "--draft: none of these methods has a draft model");
  const prompts = await readPrompts(words, flags);
  await using model = await openShown(flags.model, openOptions(flags));
  for (const prompt of prompts) requirePrompt(prompt, model, "compare");
  const request = { ...defaults, ...(isCanvas(model) && ofCanvases), ...given };
  const chosen = (named ?? defaultMethods(model, request)).map((one) => withDraft(one, flags.draft));
  const nameOf = (token: number): string =>
    model.tokenizer
      ? JSON.stringify(model.tokenizer.decode([token], { continued: true, special: true }))
      : String(token);

  await interruptible(async (signal) => {
    const { repeat: repetitions } = flags;
    const options = { model, prompts, methods: chosen, request, repetitions, signal, onProgress: showProgress };
    const comparison = await compareMethods(options);
    endProgress();
    const { entries, skipped, differences } = comparison;
    // Lengths are the call's to mend.
    const tooShort = skipped.length > 0 && skipped.every(({ flag }) => flag.startsWith("-n "));
    ensure(entries.length > 0 || signal.aborted, tooShort ? "bad_option" : "unavailable", () => {
      const reasons = skippedNotes(skipped);
      if (reasons.length === 0) return decodesNothing(model);
      return `none of these methods can work with this model (${joined(reasons)})`;
    });
    const rounds = flags.tree ? (flags.rounds ?? 3) : 0;
    const notes = notesOf(comparison);
    if (flags.json) printJson(toJson(flags.model, comparison, rounds));
    else if (entries.length > 0) show(comparison, rounds, nameOf);
    if (out !== undefined && entries.length > 0) {
      const title = `${plural(entries.length, "method")} on ${flags.model}`;
      const page = { title, comparison, notes, request, trees: treesOf(comparison, Math.max(rounds, 1), nameOf).trees };
      await writeFileAtomically(out, out.endsWith(".svg") ? comparisonFigure(page) : comparisonPage(page));
      say(`wrote ${out}`);
    }
    for (const note of [...skippedNotes(skipped), ...notes]) say(note);
    for (const { method, from, prompt, at } of differences) {
      const which = prompts.length > 1 ? ` of prompt ${prompt + 1}` : "";
      complain(`ventris: ${method} is lossless and yet differs from ${from} at token ${at} of the output${which}`);
    }
    if (differences.length > 0) process.exitCode = 1;
    if (signal.aborted) process.exitCode = 130;
  });
}

/** Plain decoding first, as the measure of all others, which need no options; all of this kind of model, and none that chooses among them. */
function defaultMethods(model: Model, request: DecodeOptions): ChosenMethod[] {
  const plain = plainMethod(model, request);
  const others = methods.filter(
    (method) =>
      fits(method, model.capabilities) &&
      !["plain", "choice"].includes(method.family) &&
      method.options.safeParse({}).success,
  );
  return [...(plain ? [plain] : []), ...others].map((method) => ({ method, options: {} }));
}

const withDraft = ({ method, options }: ChosenMethod, draft: string | undefined): ChosenMethod => ({
  method,
  options: draft !== undefined && "draft" in method.options.shape ? { draft, ...options } : options,
});

async function readPrompts(words: readonly string[], flags: CompareFlags): Promise<Text[]> {
  if (flags.prompts === undefined) return [inForm(await readPrompt(words, flags, "compare"), flags)];
  const others = words.length > 0 || flags.promptFile !== undefined || flags.promptIds !== undefined;
  ensure(!others, "bad_option", "give one prompt or --prompts, not both");
  const lines = (await readPromptFile(flags.prompts, "--prompts")).split(/\r?\n/).filter((line) => line.trim() !== "");
  ensure(lines.length > 0, "bad_option", `--prompts: ${flags.prompts} has no lines`);
  ensure(lines.length <= mostPrompts, "bad_option", `--prompts: ${lines.length} prompts are more than ${mostPrompts}`);
  return lines.map((line) => inForm(line, flags));
}

const toJson = (
  model: string,
  { prompts, entries, skipped, differences, margin, repetitions }: Comparison,
  rounds: number,
): object => ({
  model,
  prompts,
  repetitions,
  methods: entries.map((entry) => {
    const { label, chosen, lossless, results, events } = entry;
    const { value, interval } = speedUp(entry, measureOf(entries));
    return {
      method: chosen.method.name,
      label,
      options: chosen.options,
      lossless,
      ...results[0],
      ...(results.length > 1 && { prompts: results }),
      tokensPerSecond: tokensPerSecond(entry),
      speedUp: value,
      ...(interval && { interval }),
      verdict: verdictOf(entry, measureOf(entries)),
      ...(entry.outlook && { outlook: entry.outlook }),
      ...(rounds > 0 && {
        rounds: draftedRounds(events[0], rounds).shown.map(({ number, round }) => ({ number, ...round })),
      }),
    };
  }),
  skipped,
  differences,
  ...(margin && { margin }),
});

function show(comparison: Comparison, rounds: number, nameOf: (token: number) => string): void {
  const { prompts } = comparison;
  const { header, rows } = rowsOf(comparison);
  print(formatTable(header, rows));
  const width = Math.min(100, widthOf(process.stdout));
  print(`\n${wrap(columnsNote(comparison), width).join("\n")}`);
  for (const prompt of prompts.keys()) {
    for (const { labels, text } of textsOf(comparison, prompt)) {
      const which = prompts.length > 1 ? ` on prompt ${prompt + 1}` : "";
      print(`\n${wrap(`${listed(labels)}${which}:`, width).join("\n")}`);
      print(
        wrap(text.trim(), width - 2)
          .map((line) => `  ${line}`)
          .join("\n"),
      );
    }
  }
  const { trees, without } = treesOf(comparison, rounds, nameOf, widthOf(process.stdout));
  if (rounds > 0 && trees.length === 0) say("none of these methods drafted anything: there is no tree to show");
  else if (without.length > 0) print(`\n${without.flatMap((line) => wrap(`${line}.`, width)).join("\n")}`);
  if (trees.length > 0) print(`\n${wrap(treeLegend.replaceAll("\n", " "), width).join("\n")}`);
  for (const tree of trees) print(`\n${tree}`);
}
