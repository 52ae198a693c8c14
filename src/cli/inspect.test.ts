/** `ventris inspect` in this process: what codes and markov print, and what they refuse. */
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { codebooks } from "../methods/index.ts";
import { familyOf } from "../models/families.ts";
import { fingerprintOf, writePart } from "../models/parts.ts";
import { sitesOf } from "../models/sites.ts";
import { open } from "../open.ts";
import { resolveModel } from "../references.ts";
import { openWeights, readConfig } from "../weights/index.ts";
import { define } from "./inspect.ts";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 }); // seconds of work, but the machine may be busy

let folder: string;
let part: string;
let stories: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ventris-inspect-"));
  stories = join(folder, "stories.jsonl");
  const texts = Array.from({ length: 24 }, (_, i) =>
    i % 2 === 0
      ? "Once upon a time there was a dog. The dog ran to the park with the other dog."
      : "The king said that the old ship was lost at sea, and the child wept.",
  );
  await writeFile(stories, texts.map((text) => `${JSON.stringify({ text })}\n`).join(""));
  const path = await resolveModel("knossos");
  const { family, config } = familyOf(await readConfig(path));
  const shape = { codes: 16, k: 2, similarity: "inner", aggregate: "sum" } as const;
  const made = codebooks.initialCodebooks(family, config, {
    sites: [{ site: "layers.1.mlp.output", groups: 1 }],
    ...shape,
  });
  const source = await openWeights(path);
  const fingerprint = await fingerprintOf(source).finally(() => source.close());
  part = join(folder, "codebook");
  await writePart(
    part,
    { name: "knossos", fingerprint, sites: sitesOf(family, config) },
    { name: "codebook", ...codebooks.partOfCodebooks(made) },
  );
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** What a command prints. */
async function inspect(...given: string[]): Promise<string> {
  const command = new Command("inspect").exitOverride().configureOutput({ writeErr: () => {}, writeOut: () => {} });
  define(command);
  for (const sub of command.commands) sub.exitOverride().configureOutput({ writeErr: () => {}, writeOut: () => {} });
  let printed = "";
  const spy = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    printed += text;
    return true;
  });
  try {
    await command.parseAsync(given, { from: "user" });
  } finally {
    spy.mockRestore();
  }
  return printed;
}

describe("codes", () => {
  test("are found by an expression, beside neurons, and shown at work", async () => {
    const found = JSON.parse(
      await inspect("codes", stories, "--part", part, "--find", "dog", "--neurons", "--precision", "0", "--json"),
    );
    expect(found.matched).toBe(36);
    const [best] = found.codes;
    expect(best).toMatchObject({ site: "layers.1.mlp.output", group: 0 });
    expect(best.neuron.precision).toBeGreaterThan(0);
    const code = `${best.site}/${best.group}/${best.code}`;
    const one = JSON.parse(await inspect("codes", stories, "--part", part, "--code", code, "--json"));
    expect(one.fired).toBe(best.count);
    expect(one.examples[0].pieces.some(({ fired }: { fired: boolean }) => fired)).toBe(true);
    expect(await inspect("codes", stories, "--part", part, "--find", "dog", "--precision", "0")).toMatch(
      /layers\.1\.mlp\.output\/0\/\d+ .*%/,
    );
  });

  test.each<[string[], RegExp]>([
    [[], /give --find REGEX/],
    [["--find", "a", "--code", "layers.1.mlp.output/0/1"], /one of them/],
    [["--find", "("], /cannot be read/],
    [["--code", "3.5"], /SITE\/GROUP\/CODE/],
    [["--code", "layers.1.mlp.outputs/0/1"], /did you mean "layers.1.mlp.output/],
    [["--code", "layers.1.mlp.output/0/16"], /no code 16/],
    [["--code", "layers.1.mlp.output/1/0"], /no codebook 1/],
    [["--code", "layers.1.mlp.output/0/1", "--neurons"], /give --find/],
    [["--code", "layers.1.mlp.output/0/1", "--limit", "3"], /--limit is of what --find finds/],
  ])("%s is refused", async (flags, message) => {
    await expect(inspect("codes", stories, "--part", part, ...flags)).rejects.toThrow(message);
  });

  test.each<[string[], RegExp]>([
    [["--find", "("], /--find: the regular expression/],
    [["--code", "layers.1.mlp.output/0/16"], /--code: .*no code 16/],
  ])("%s is refused before a text is read", async (flags, message) => {
    await expect(inspect("codes", "nothing.txt", "--part", part, ...flags)).rejects.toThrow(message);
  });

  test("a long text is searched to its end, as far as --texts goes", async () => {
    const long = join(folder, "long.txt");
    await writeFile(long, `${"The king was old. ".repeat(200)}Then came a dragon.`);
    const flags = ["--part", part, "--find", "dragon", "--json"];
    expect(JSON.parse(await inspect("codes", long, ...flags))).toMatchObject({ matched: 1, whole: true });
    const few = JSON.parse(await inspect("codes", long, ...flags, "--texts", "2"));
    expect(few).toMatchObject({ matched: 0, whole: false });
    expect(few.tokens).toBe(256 + 255);
  });

  test("a part that is not there is named", async () => {
    await expect(inspect("codes", stories, "--part", "nothing", "--find", "a")).rejects.toThrow(
      /nothing.*did you mean "codebook"\? Codebooks of knossos/,
    );
  });
});

describe("markov", () => {
  test("measures what is asked for, layer by layer, and draws it", async () => {
    const picture = join(folder, "entropy.svg");
    const flags = [
      "--what",
      "entropy,alignment",
      "--layers",
      "0,5",
      "--contexts",
      "200",
      "--picture",
      picture,
      "--json",
    ];
    const { models } = JSON.parse(await inspect("markov", stories, ...flags));
    expect(models[0].report.layers.map(({ layer }: { layer: number }) => layer)).toEqual([0, 5]);
    const [low, high] = models[0].report.layers;
    expect(high.loss).toBeLessThan(low.loss);
    expect(high.surplus).toBeUndefined();
    expect(await readFile(picture, "utf8")).toContain("<svg");
  });

  test("looks at all models before it measures one", async () => {
    // Texts are read when the first is measured.
    const given = ["nothing.txt", "--model", "knossos", "nonesuch"];
    await expect(inspect("markov", ...given)).rejects.toThrow(/no model "nonesuch"/);
  });

  test("takes a long text in pieces, each after one begin token", async () => {
    const measured = async (name: string, text: string) => {
      const path = join(folder, name);
      await writeFile(path, text);
      const flags = ["--what", "entropy", "--layers", "5", "--contexts", "400", "--json"];
      return JSON.parse(await inspect("markov", path, ...flags)).models[0].report;
    };
    const long = await measured("long.txt", "The king was old. He read a script that had been lost. ".repeat(200));
    expect(long.contexts).toBe(400);
    expect(long.documents).toBe(1);
    const text = "Once upon a time there was a dog. The dog ran to the park with the other dog. They had fun.";
    const short = await measured("short.txt", text);
    await using model = await open("knossos");
    const ids = model.tokenizer!.encode(text);
    const { logits } = await model.forward(ids, { logits: "all" });
    // Of contexts four tokens are left out at the beginning, and four at the end, which a surplus would need.
    const losses = ids.slice(5, -4).map((id, i) => {
      const row = logits.subarray((i + 4) * 4096, (i + 5) * 4096);
      return Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0)) - row[id];
    });
    expect(short.layers[0].loss).toBeCloseTo(losses.reduce((a, b) => a + b, 0) / losses.length, 3);
  });

  test("pieces of a long text are one document, and leave the others their places", async () => {
    const texts = join(folder, "texts.jsonl");
    const sentences = (count: number) => "The king was old. He read a script that had been lost. ".repeat(count);
    const lines = [200, ...Array<number>(8).fill(3)].map((count) => JSON.stringify({ text: sentences(count) }));
    await writeFile(texts, lines.join("\n"));
    const flags = ["--layers", "5", "--contexts", "400", "--json", "--steps", "1", "--distances", "1", "--what"];
    await expect(inspect("markov", texts, ...flags, "surplus")).rejects.toThrow(/9 are too few: give ten or more/);
    await writeFile(texts, [...lines, JSON.stringify({ text: sentences(4) })].join("\n"));
    const [{ report }] = JSON.parse(await inspect("markov", texts, ...flags, "surplus")).models;
    expect(report.documents).toBe(10);
  });

  test("measures the checkpoints of a run in the order of their numbers", async () => {
    const run = join(folder, "run");
    const from = await resolveModel("knossos");
    await mkdir(join(run, "kept"), { recursive: true });
    for (const step of [900, 1000]) await symlink(from, join(run, "kept", `step-${step}`));
    await writeFile(join(run, "kept", "notes.txt"), "no model");
    const flags = ["--run", run, "--what", "entropy", "--layers", "5", "--contexts", "100", "--json"];
    const { models } = JSON.parse(await inspect("markov", stories, ...flags));
    expect(models.map(({ model }: { model: string }) => model.split("-").at(-1))).toEqual(["900", "1000"]);
    expect(models[0].report).toEqual(models[1].report);
  });

  test.each<[string[], RegExp]>([
    [["--run", "nothing-here"], /no folder/],
    [["--run", "src/cli"], /no model is in/],
    [["--run", "src", "--model", "knossos"], /one of them/],
    [["--what", "colour"], /--what/],
    [["--layers", "77"], /no layer 77/],
    [["--layers", "1,1"], /layer 1 is asked for twice/],
    [["--model", "knossos", "stories.jsonl"], /stories\.jsonl is a file of texts: give texts before it/],
    [["--model", "mycenae"], /mycenae is a masked diffusion model/],
    [["--picture", "map.svg", "--what", "fisher"], /--picture: the measurement fisher/],
    [["--layers", "1", "--what", "fisher"], /--layers has no part in the measurement fisher/],
    [["--distances", "0"], /--distances/],
    [["--reference", "phaistos", "--what", "entropy"], /--reference belongs to/],
    [["--picture", "map.png"], /\.svg/],
    [["--what", "entropy", "--distances", "2"], /--distances belongs to/],
  ])("%s is refused", async (flags, message) => {
    await expect(inspect("markov", stories, "--contexts", "100", ...flags)).rejects.toThrow(message);
  });
});

describe("neurons", () => {
  test("two checkpoints of different shapes are not compared", async () => {
    await expect(inspect("neurons", "--compare", "pylos")).rejects.toThrow(/knossos|pylos/);
  });

  test.each<[string[], RegExp]>([
    [["--neuron", "9.1"], /no layer 9/],
    [["--neuron", "1.99999"], /99999/],
    [["--clamp", "1.1"], /--word/],
    [["--compare", "knossos", "--picture", "map.svg"], /--picture has no part in --compare/],
    [["--tokens", "5,5"], /token 5 is asked for twice/],
    [["--neuron", "1.1", "--matrix", "gate"], /--matrix has no part in --neuron/],
    [["--clamp", "1.1", "--word", "dog", "--top", "3"], /--top has no part in --clamp/],
    [["--word", "dog", "--drive", "product"], /--drive belongs to --clamp/],
    [["--clamp", "1.1", "--word", "dog", "--model", "mycenae"], /left to right; mycenae is none/],
  ])("%s is refused", async (flags, message) => {
    await expect(inspect("neurons", ...flags)).rejects.toThrow(message);
  });
});
