/** `ventris inspect codes`: which codes of a model's codebooks fire where a regular expression matches, and where a code fires. */

import { type Command, Option } from "commander";
import { z } from "zod";
import { ensure, ofOption, plural } from "../errors.ts";
import { codebooks } from "../methods/index.ts";
import { readTexts } from "../text/index.ts";
import { numberFlag, refuseFlags, threadsFlag } from "./flags.ts";
import { interruptible } from "./interruptible.ts";
import { endProgress, print, printJson, say, showProgress } from "./output.ts";
import { openShown } from "./progress.ts";
import { modelHelp } from "./request.ts";
import { formatTable } from "./table.ts";
import { styled } from "./terminal.ts";

interface CodesFlags {
  model: string;
  part: string;
  find?: string;
  code?: Place;
  neurons?: true;
  precision: number;
  recall: number;
  limit: number;
  examples: number;
  texts: number;
  threads?: number;
  json?: true;
}

interface Place {
  readonly site: string;
  readonly group: number;
  readonly code: number;
}

export function defineCodes(command: Command): void {
  command
    .command("codes")
    .description("search the codes of a model's codebooks: which fire where a regular expression matches, and on what")
    .argument(
      "<files...>",
      "texts to search: .txt, or .jsonl whose lines have a field text; each may be compressed (.gz)",
    )
    .option("-m, --model <name>", modelHelp, "knossos")
    .option("--part <name>", "the part with the codebooks: its name beside the model, or its folder", "codebook")
    .option("--find <regex>", "rank codes by how precisely they fire where this matches (its group 1, if it has one)")
    .addOption(
      new Option(
        "--code <site/group/code>",
        "show where one code fires, as layers.2.attention.heads/5/117 (group: the attention head)",
      ).argParser(placeOf),
    )
    .option("--neurons", "put the best neuron of the same site beside each code, at the same recall")
    .addOption(
      numberFlag(
        "--precision",
        z.number().min(0).max(1),
        "leave out a code when no more than this share of the places where it fires are matches of --find",
      ).default(0.5),
    )
    .addOption(
      numberFlag(
        "--recall",
        z.number().min(0).max(1),
        "leave out a code when it fires at no more than this share of the matches of --find",
      ).default(0.01),
    )
    .addOption(numberFlag("--limit", z.int().min(1).max(1000), "how many codes of each site are shown").default(5))
    .addOption(
      numberFlag("--examples", z.int().min(0).max(1000), "how many places of the best code are shown").default(5),
    )
    .addOption(
      numberFlag(
        "--texts",
        z.int().min(1).max(1_000_000),
        "how many texts are read at most, a long one in pieces of 256 tokens, each of which counts",
      ).default(200),
    )
    .addOption(threadsFlag())
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
To make a code fire while the model writes, under any method:
  ventris run --shaper "$(cat dragon.json)" "Once upon a time"
where dragon.json is {"name": "codebook", "changes": [
  {"site": "layers.2.attention.heads", "group": 5, "patch": 117}]}

Examples:
  ventris inspect codes stories.jsonl --find "dragon"
  ventris inspect codes stories.jsonl --find "(\\w+) said" --neurons
  ventris inspect codes stories.jsonl --code layers.2.attention.heads/5/117`,
    )
    .action(inspect);
}

/** SITE/GROUP/CODE. Errors: `bad_option`. */
function placeOf(text: string): Place {
  const [, site, group, code] = /^([\w.]{1,200})\/(\d{1,9})\/(\d{1,9})$/.exec(text) ?? [];
  ensure(site !== undefined, "bad_option", () => {
    return `--code ${text.slice(0, 200)}: write it as SITE/GROUP/CODE, such as layers.2.attention.heads/5/117`;
  });
  return { site, group: Number(group), code: Number(code) };
}

async function inspect(files: string[], flags: CodesFlags, command: Command): Promise<void> {
  const { find, code, neurons, precision, recall, limit, json } = flags;
  ensure(
    (find === undefined) !== (code === undefined),
    "bad_option",
    "give --find REGEX to search codes, or --code SITE/GROUP/CODE to look at one: one of them",
  );
  // What is asked for is looked at before texts are read, which may take minutes.
  if (find !== undefined) await ofOption("--find", async () => codebooks.patternOf(find));
  if (code) refuseFlags(command, ["neurons", "precision", "recall", "limit"], "is of what --find finds: give --find");
  await using model = await openShown(flags.model, { threads: flags.threads });
  const opened = await codebooks.openCodebooks(model, flags.part);
  const sites = opened.map(({ bottleneck }) => bottleneck.site);
  if (code) {
    const places = opened.map(({ bottleneck }) => bottleneck);
    await ofOption("--code", async () => codebooks.placeAmong(places, code.site, code.group, code.code));
  }
  const compared = neurons ? sites.map(neuronsOf) : [];
  const longest = Math.min(256, model.config.contextLength);
  const cache = await interruptible(async (signal) => {
    const texts: string[] = [];
    for await (const text of readTexts(files)) {
      texts.push(text);
      if (texts.length > flags.texts) break; // one more says that there are more
    }
    return codebooks.cacheCodes(model, opened, texts, {
      more: compared,
      longest,
      most: flags.texts,
      signal,
      onProgress: (done, total) => showProgress(`${done} of ${plural(total, "text")}`),
    });
  });
  endProgress();
  const { tokens } = cache;
  const whole = cache.cut === 0;
  const read = `${plural(tokens, "token")} of ${plural(cache.texts.length, "text")}`;
  if (!whole)
    say(
      `there is more text than the ${plural(flags.texts, "piece")} of up to ${longest} tokens that are searched: give a higher --texts`,
    );
  const examplesOf = (places: readonly number[]) => codebooks.codeExamples(cache, places, { limit: flags.examples });
  if (code) {
    const places = codebooks.firedAt(cache, code.site, code.group, code.code);
    const examples = examplesOf(places);
    if (json) printJson({ model: flags.model, ...code, fired: places.length, tokens, whole, examples });
    else {
      tell(examples);
      say(`fires at ${places.length} of ${read}`);
    }
    return;
  }
  const { matched, codes: found } = codebooks.findCodes(cache, find!, { precision, recall, limit });
  const rows = found.map((one) => ({
    ...one,
    ...(neurons && { neuron: codebooks.bestNeuron(cache.values[neuronsOf(one.site)], matched, one.recall) }),
  }));
  const [best] = rows;
  const examples = best ? examplesOf(codebooks.firedAt(cache, best.site, best.group, best.code)) : [];
  if (json) {
    printJson({ model: flags.model, find, matched: matched.length, tokens, whole, codes: rows, examples });
    return;
  }
  if (best) {
    const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
    print(
      formatTable(
        ["code", "precision", "recall", "fires", ...(neurons ? ["best neuron", "its precision"] : [])],
        rows.map(({ site, group, code: id, precision: exact, recall: share, count, neuron }) => [
          `${site}/${group}/${id}`,
          percent(exact),
          percent(share),
          String(count),
          ...(neuron ? [String(neuron.neuron), percent(neuron.precision)] : []),
        ]),
      ),
    );
    if (examples.length > 0) print("");
    tell(examples);
  }
  say(
    matched.length === 0
      ? `nothing matches in ${read}`
      : `${plural(matched.length, "match", "matches")} in ${read}; ${best ? "the places are those of the first code" : "no code is precise enough: lower --precision or --recall"}`,
  );
}

/** What stands for the neurons of a site: those of a feed-forward whose output it is, else its own numbers. */
const neuronsOf = (site: string): string => site.replace(/\.mlp\.output$/, ".mlp.neurons");

/** Bold on a screen with styles, in brackets elsewhere. */
function tell(examples: readonly codebooks.CodeExample[]): void {
  const mark = (text: string): string => {
    const bold = styled(process.stdout, "bold", text);
    return bold === text ? `[${text}]` : bold;
  };
  for (const { pieces } of examples)
    print(
      `… ${pieces
        .map(({ text, fired }) => (fired ? mark(text) : text))
        .join("")
        .replace(/\s+/g, " ")} …`,
    );
}
