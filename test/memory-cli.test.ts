/** `ventris memory` as people call it: a memory of a text of one's own, classes learned one after another, and what is refused. */
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { ensureBuilt, root } from "./build.ts";
import { removeModel, type TinyModel, writeTinyModel } from "./fixtures/tiny-model.ts";

vi.setConfig({ testTimeout: 180_000 });
let folder: string;
let model: TinyModel;
let other: TinyModel;
const config = { eos_token_id: undefined };
const words = ["the cat sat on the hat", "a tin hat is in the den", "the ten hens sit in it", "the hen ate the cat"];
const kinds: Readonly<Record<string, readonly [number, number]>> = { a: [1, 9], b: [9, 1], c: [1, 1], d: [9, 9] };
/** Rows around the middles of some kinds, the feature y a thousand times as large as x. */
const table = (names: readonly string[]): string =>
  [
    "x,y,kind",
    ...Array.from({ length: 40 }, (_, i) => {
      const [x, y] = kinds[names[i % names.length]];
      return `${x + Math.sin(i)},${1000 * (y + Math.cos(7 * i))},${names[i % names.length]}`;
    }),
  ].join("\n");

beforeAll(async () => {
  ensureBuilt();
  folder = await mkdtemp(join(tmpdir(), "ventris-memory-cli-"));
  [model, other] = [
    await writeTinyModel({ config, tokenizer: true }),
    await writeTinyModel({ config, seed: 9, tokenizer: true }),
  ];
  const texts = Array.from({ length: 20 }, (_, i) => ({
    text: `${words[i % 4]} ${words[(i + 1) % 4]}`,
    topic: i % 2 ? "hens" : "cats",
  }));
  await writeFile(join(folder, "texts.jsonl"), texts.map((one) => JSON.stringify(one)).join("\n"));
  await writeFile(join(folder, "tale.txt"), Array(6).fill(words.join(". ")).join(". "));
  await writeFile(join(folder, "first.csv"), table(["a", "b"]));
  await writeFile(join(folder, "second.csv"), table(["c", "d"]));
}, 300_000);
afterAll(() => Promise.all([removeModel(model), removeModel(other), rm(folder, { recursive: true, force: true })]));

function ventris(...line: readonly string[]) {
  const env = { ...process.env, NO_COLOR: "1", VENTRIS_CACHE: join(folder, "cache") };
  const program = join(root, "dist", "cli", "main.js");
  return spawnSync(process.execPath, [program, "memory", ...line], { cwd: folder, encoding: "utf8", env });
}
const bottleneck = (...line: readonly string[]) => ventris("bottleneck", ...line);
const refused = ({ status, stderr }: ReturnType<typeof ventris>, message: RegExp): void => {
  expect(stderr).toMatch(message);
  expect(status).not.toBe(0);
};

it("a text becomes a memory, which is measured beside the model and the search, and refused for another model", async () => {
  const of = ["--model", model.folder];
  const train = ["train", "tale.txt", "--out", "tale", "--passes", "1", "--rows", "16", "--k", "4", "--blocks", "1"];
  const made = ventris(...train, ...of, "--json");
  expect(JSON.parse(made.stdout)).toMatchObject({ memory: join("tale", "memory"), steps: 200 });
  const { rows } = JSON.parse(ventris("evaluate", "texts.jsonl", "--memory", "tale", ...of, "--json").stdout);
  expect(rows.map(({ name }: { name: string }) => name)).toEqual([model.folder, "knn-lm", "mlp-memory"]);
  const asked = { question: "the cat sat on the", answer: ["hat", "cat"] };
  await writeFile(join(folder, "asked.jsonl"), [asked, asked].map((one) => JSON.stringify(one)).join("\n"));
  const questions = ["--questions", "asked.jsonl", "--passages", "2"];
  const beside = ["--memory", "tale", ...of, "--k", "4", "--search", "inverted", "--probes", "2"];
  const both = JSON.parse(ventris("evaluate", "texts.jsonl", ...beside, ...questions, "--json").stdout);
  expect(both.inverted).toMatchObject({ probes: 2, checked: expect.any(Number) });
  expect(both.inverted.recall).toBeGreaterThan(0);
  const names = both.questions.rows.map(({ name }: { name: string }) => name);
  expect(names).toEqual([model.folder, "rag", "knn-lm", "mlp-memory"]);
  expect(both.questions.rows[2].lambda).toBe(both.rows[1].lambda);
  const shown = ventris("evaluate", "texts.jsonl", ...beside, ...questions).stdout;
  expect(shown).toMatch(
    / recall\n.* -\nknn-lm .* [01]\.\d{3}\nmlp-memory .* -\nwith +λ +right .*\n.*\nrag +- .*\nknn-lm /,
  );
  const inside = join("tale", "datastore");
  refused(
    ventris("evaluate", "texts.jsonl", "--memory", inside, ...of),
    /is a datastore: give the folder that it is in/,
  );
  refused(
    ventris("evaluate", "texts.jsonl", "--memory", join("tale", "memory"), ...of),
    /is a trained memory by itself: give the folder that it is in/,
  );
  refused(ventris("train", "tale.txt", "--out", "tale", "--passes", "1e300", ...of), /--passes must be at most 100000/);
  refused(ventris("evaluate", "--memory", "tale", ...of), /give texts to predict, or questions/);
  refused(
    ventris("evaluate", "texts.jsonl", "--memory", "tale", "--probes", "2", ...of),
    /--probes belongs to --search/,
  );
  const single = ventris("evaluate", "tale.txt", "--memory", "tale", ...of); // one document chooses no weight
  expect(single.stderr).toMatch(/λ is 0\.25, as in ventris run/);
  expect(single.stdout).toMatch(/\nmlp-memory +0\.25 .* - +\S+\n$/);
  refused(ventris("evaluate", "texts.jsonl", "--memory", "tale", "--model", other.folder), /built with another model/);
  refused(ventris("evaluate", "texts.jsonl", "--memory", "tale", "--lambda", "1.5", ...of), /--lambda/);
  // The search alone knows nothing of most tokens.
  const alone = ventris("evaluate", "texts.jsonl", "--memory", "tale", "--lambda", "1", ...of);
  expect(alone.stdout).toMatch(/knn-lm +1\.00 +infinite +infinite/);
  expect(alone.stderr).toMatch(/knn-lm with λ = 1 gives some token the probability 0/);
  refused(ventris("build", "tale.txt", "--out", "small", "--max-size", "0.001", ...of), /more than the .* given/);
  await truncate(join(folder, "tale", "datastore", "chunk-00000.safetensors"), 500);
  refused(ventris("evaluate", "texts.jsonl", "--memory", "tale", ...of), /chunk-00000\.safetensors/);
});

it("classes of tables come one after another: all are known in the end, and drawn", async () => {
  const out = ["--out", "kinds.safetensors"];
  const begun = bottleneck("train", "first.csv", "--classes", "a,b,c,d", "--keys", "first.csv,second.csv", ...out);
  expect(begun.stdout).toMatch(/^learned +rows +right then +right now\nfirst\.csv +40 +100\.0 % +100\.0 %/);
  const on = bottleneck("train", "second.csv", ...out, "--svg", "kinds.svg", "--json");
  expect(JSON.parse(on.stdout).parts).toEqual([{ file: "second.csv", rows: 40, rightThen: 1, rightNow: 1 }]);
  expect(await readFile(join(folder, "kinds.svg"), "utf8")).toMatch(/^<svg .*after second\.csv/s);
  const judged = bottleneck("evaluate", "first.csv", "second.csv", "--bottleneck", "kinds.safetensors", "--json");
  expect(JSON.parse(judged.stdout).all).toMatchObject({ rows: 80, right: 1, undecided: 0 });
  const compared = JSON.parse(bottleneck("compare", "first.csv", "second.csv", "--json").stdout);
  expect(compared.incremental).toBe(1);
  expect(compared.moved).toBe(0);

  await writeFile(join(folder, "new.csv"), "x,y,kind\n1,2000,e");
  refused(
    bottleneck("train", "new.csv", ...out),
    /row 1 has the label "e", which is none of the classes \(a, b, c, d\)/,
  );
  refused(bottleneck("evaluate", "new.csv", "--bottleneck", "kinds.safetensors"), /label "e"/);
  refused(bottleneck("train", "second.csv", ...out, "--pairs", "7"), /--pairs 7: .* was begun with 256/);
  refused(bottleneck("train", "texts.jsonl", ...out), /learned on tables, and texts are given/);
  await truncate(join(folder, "kinds.safetensors"), 900);
  refused(bottleneck("evaluate", "first.csv", "--bottleneck", "kinds.safetensors"), /kinds\.safetensors/);
});

it("classes of texts by a model's states, refused for another model; tables that are none", async () => {
  const of = ["--label", "topic", "--model"];
  const out = ["--out", "topics.safetensors"];
  const made = bottleneck("train", "texts.jsonl", ...of, model.folder, ...out, "--json");
  expect(JSON.parse(made.stdout)).toMatchObject({ classes: ["cats", "hens"], encoder: { site: "layers.1.mlp.norm" } });
  expect(JSON.parse(made.stdout).parts[0].rightNow).toBe(1);
  const wrong = bottleneck("evaluate", "texts.jsonl", ...of, other.folder, "--bottleneck", "topics.safetensors");
  refused(wrong, /learned on states of another model/);
  const bad = async (name: string, text: string, message: RegExp) => {
    await writeFile(join(folder, name), text);
    refused(bottleneck("train", name, "--out", "none.safetensors"), message);
  };
  await bad("empty.csv", "x,y,kind\n", /empty\.csv: the stream is empty/);
  await bad("empty.jsonl", "", /empty\.jsonl: the stream is empty/);
  await bad("gaps.csv", "x,y,kind\n1,,a\n", /gaps\.csv, line 2: y is empty/);
  await bad("nan.csv", "x,y,kind\n1,NaN,a\n", /nan\.csv, line 2: y is "NaN", and must be a number/);
  await bad("vast.csv", "x,y,kind\n1,1e39,a\n", /vast\.csv, line 2: y is 1e39, beyond what 32 bits hold/);
  await bad("short.csv", "x,y,kind\n1,2\n", /line 2: 2 columns, not 3/);
  await bad("one.csv", "x,y,kind\n1,2,a\n", /one class \(a\) leaves nothing to decide/);
  const refusedWith = (flag: string, value: string, message: RegExp) =>
    refused(bottleneck("train", "first.csv", flag, value, "--out", "none.safetensors"), message);
  refusedWith("--label", "sort", /no column "sort"/);
  refusedWith("--label", "knid", /no column "knid"; did you mean "kind"\? It has 3: x, y, kind/);
  refusedWith("--classes", "a,b,a", /--classes a,b,a: a stands there twice/);
  refusedWith("--classes", "a,,b", /--classes a,,b: a name is empty/);
  refusedWith("--svg", "map.png", /--svg map\.png: it is an \.svg/);
  refusedWith("--model", model.folder, /--model belongs to texts/);
});
