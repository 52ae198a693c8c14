/** `ventris filter` as people call it. */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { ensureBuilt, root } from "./build.ts";

vi.setConfig({ testTimeout: 180_000 });
let folder: string;
beforeAll(async () => {
  ensureBuilt();
  folder = await mkdtemp(join(tmpdir(), "ventris-filter-"));
  const rows = Array.from({ length: 400 }, (_, t) => {
    const [x, y] = [Math.sin(t / 9), Math.cos(t / 13)];
    const noise = (k: number) => 0.3 * Math.sin(t * (k + 1.7) * 12.9);
    return [x, y, x + noise(1), y - x + noise(2), 0.5 * y + noise(3)].join(",");
  });
  await writeFile(join(folder, "data.csv"), `x,y,a,b,c\n${rows.join("\n")}\n`);
}, 300_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

function filter(
  words: readonly string[],
  input = "",
): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [join(root, "dist", "cli", "main.js"), "filter", ...words], { cwd: folder });
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  const texts = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    child[name].setEncoding("utf8").on("data", (text: string) => {
      texts[name] += text;
    });
  return new Promise((resolve) => child.on("close", (status) => resolve({ status, ...texts })));
}

it("fits, decodes, draws, and answers a stream line by line with the same estimates and its latencies", async () => {
  const fitted = await filter([
    "fit",
    "data.csv",
    "--state",
    "x,y",
    "--method",
    "kalman",
    "--out",
    "k.filter",
    "--json",
  ]);
  expect(fitted).toMatchObject({ status: 0, stderr: "" });
  expect(JSON.parse(fitted.stdout)).toMatchObject({ method: "kalman", bins: 320, scores: { bins: 80 } });
  expect(JSON.parse(fitted.stdout).scores.nrmse).toBeLessThan(0.5);

  const run = await filter([
    "run",
    "k.filter",
    "data.csv",
    "--state",
    "x,y",
    "--rows",
    "0:20",
    "--json",
    "--svg",
    "k.svg",
    "--trace",
    "k.jsonl",
  ]);
  const { means, names, scores } = JSON.parse(run.stdout);
  expect([means.length, names, scores.bins]).toEqual([20, ["x", "y"], 20]);
  expect(await readFile(join(folder, "k.svg"), "utf8")).toMatch(/^<svg .*<ellipse /s);
  const events = (await readFile(join(folder, "k.jsonl"), "utf8"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(events[19]).toMatchObject({
    type: "posterior",
    step: 19,
    mean: means[19],
    truth: [expect.any(Number), expect.any(Number)],
  });

  const lines = (await readFile(join(folder, "data.csv"), "utf8"))
    .split("\n")
    .slice(1, 21)
    .map((line) => line.split(",").slice(2).join(","));
  const streamed = await filter(["run", "k.filter", "--stream", "--json"], `${lines.join("\n")}\n\n`);
  const answers = streamed.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(answers.slice(0, 20).map(({ mean }) => mean)).toEqual(means);
  expect(answers[20]).toMatchObject({ missing: true });
  expect(answers[21]).toMatchObject({ steps: 21, counters: { missing: 1 } });
  expect(answers[21].latencyMicroseconds.p99).toBeGreaterThan(0);

  // In two halves, with the state between them in a file.
  const first = await filter(
    ["run", "k.filter", "--stream", "--json", "--state-file", "s"],
    `${lines.slice(0, 12).join("\n")}\n`,
  );
  expect(first.status).toBe(0);
  const second = await filter(
    ["run", "k.filter", "--stream", "--json", "--state-file", "s"],
    `${lines.slice(12).join("\n")}\n`,
  );
  expect(JSON.parse(second.stdout.split("\n")[0]).mean).toEqual(means[12]);
});

it("compares filters in a table", async () => {
  const { status, stdout } = await filter([
    "compare",
    "data.csv",
    "--state",
    "1-2",
    "--methods",
    "kalman,zero",
    "--set",
    "ridge=0.01",
  ]);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^filter +nRMSE +angle, rad .*\nkalman .*\nzero +1\.\d+/);
});

it("decodes spike trains counted in bins, where the state moves, and leaves outliers out", async () => {
  const place = (t: number) => 10 + 10 * Math.sin(t / 2);
  const t = Array.from({ length: 900 }, (_, i) => i / 10);
  // Two units: one fires at either end of the track.
  const units = [0, 20].map((centre) =>
    t.flatMap((at) => (Math.abs(place(at) - centre) < 7 ? [at + 0.01, at + 0.03, at + 0.07] : [])),
  );
  await writeFile(join(folder, "rat.json"), JSON.stringify({ units, position: { t, x: t.map(place) } }));
  const shared = ["compare", "rat.json", "--state", "x", "--methods", "place,zero", "--features", "as-is", "--json"];
  const whole = JSON.parse((await filter([...shared, "--bin", "0.5"])).stdout);
  expect([whole.train, whole.results[0].scores.bins]).toEqual([143, 36]);
  expect(whole.results[0].scores.nrmse).toBeLessThan(0.8 * whole.results[1].scores.nrmse);
  const moving = JSON.parse((await filter([...shared, "--bin", "0.5", "--moving", "3"])).stdout);
  expect(moving.results[0].scores.bins).toBeLessThan(30);
  expect(moving.results[0].scores.bins).toBeGreaterThan(15);
  expect(await filter(shared)).toMatchObject({ status: 2, stderr: expect.stringMatching(/--bin says/) });

  const states = Array.from({ length: 300 }, (_, i) => Number(i % 60 > 30));
  const values = states.map((s, i) => (i % 50 === 7 ? 1e6 : s + 0.4 * Math.sin(i * 12.9)));
  await writeFile(join(folder, "channel.csv"), `a\n${values.join("\n")}\n`);
  await writeFile(join(folder, "eyes.csv"), `open,closed\n${states.map((s) => `${1 - s},${s}`).join("\n")}\n`);
  const eyes = ["compare", "channel.csv", "--states", "eyes.csv", "--state", "closed", "--methods", "kalman", "--json"];
  const accuracy = async (words: string[]) => {
    const { stdout, stderr } = await filter([...eyes, ...words]);
    return { stderr, classes: JSON.parse(stdout).results[0].scores.classes };
  };
  const kept = await accuracy(["--outliers", "8"]);
  expect(kept.stderr).toMatch(/6 bins of 300/);
  expect(kept.classes.balancedAccuracy).toBeGreaterThan(0.8);
  expect((await accuracy([])).classes.balancedAccuracy).toBeLessThan(0.7);
});

it("refuses flags of whole recordings with a stream, those with a default too", async () => {
  const kalman = ["--method", "kalman", "--out", "s.filter"];
  expect(await filter(["fit", "data.csv", "--state", "x,y", ...kalman])).toMatchObject({ status: 0 });
  for (const words of [["--lag", "2"], ["--channels", "a"], ["--without", "b"], ["--smooth"], ["--rows", "0:3"]])
    expect(await filter(["run", "s.filter", "--stream", ...words])).toMatchObject({
      status: 2,
      stderr: `ventris: ${words[0]} and --stream exclude each other: a stream is decoded as it comes\n`,
    });
});

it("refuses what makes no sense, by name and with status 2", async () => {
  const wrong: [string[], number, RegExp][] = [
    [["fit", "data.csv", "--out", "k"], 2, /which columns are states/],
    [["fit", "data.csv", "--state", "x,z", "--out", "k"], 2, /no column "z"\. It has 5: x, y, a/],
    [["compare", "data.csv", "--state", "9"], 2, /no column "9"\. It has 5: x, y, a/],
    [["fit", "data.csv", "--state", "x", "--method", "kalmn", "--out", "k"], 2, /did you mean "kalman"/],
    [
      ["fit", "data.csv", "--state", "x", "--set", "rigde=1", "--method", "kalman", "--out", "k"],
      2,
      /did you mean "ridge"/,
    ],
    [["fit", "data.csv", "--state", "x", "--train", "0:900", "--out", "k"], 2, /does not lie in the 400 bins/],
    [["fit", "none.csv", "--state", "x", "--out", "k"], 1, /cannot be read/],
    // Names are looked at before files.
    [["fit", "none.csv", "--state", "x", "--method", "kalmn", "--out", "k"], 2, /did you mean "kalman"/],
    [["compare", "none.csv", "--state", "x", "--methods", "kalmn"], 2, /did you mean "kalman"/],
    [["run", "none", "data.csv"], 1, /there is no filter none/],
    [["run", "data.csv", "data.csv"], 1, /data\.csv is no fitted filter; ventris filter fit/],
    [["compare", "data.csv", "--state", "x", "--methods", "kalman", "--set", "hidden=3"], 2, /no option "hidden"/],
  ];
  for (const [words, status, message] of wrong) {
    const outcome = await filter(words);
    expect(outcome.stderr, words.join(" ")).toMatch(message);
    expect(outcome.status, words.join(" ")).toBe(status);
  }
  // A filter knows the steps of its dynamics: a recording of another rate has others.
  const wave = Float32Array.from({ length: 600 }, (_, i) => Math.sin(i / 9) + 0.2 * Math.sin(7.3 * i));
  for (const rate of [50, 100]) {
    await writeFile(join(folder, `w${rate}.f32`), new Uint8Array(wave.buffer));
    await writeFile(join(folder, `w${rate}.json`), JSON.stringify({ columns: ["z", "a", "b"], rate }));
  }
  const fit = await filter(["fit", "w50.f32", "--state", "z", "--method", "kalman", "--out", "w.filter"]);
  expect(fit).toMatchObject({ status: 0 });
  expect(await filter(["run", "w.filter", "w50.f32", "--state", "z"])).toMatchObject({ status: 0 });
  expect(await filter(["run", "w.filter", "w100.f32", "--state", "z"])).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/fitted to 50 bins a second, and w100\.f32 has 100/),
  });
  const bad = await filter(["run", "k.filter", "--stream"], "1,2\n");
  expect(bad).toMatchObject({ status: 1, stderr: expect.stringMatching(/line 1: 2 values.*3 channels/) });
});

it("takes the columns that a filter was fitted to by their names, and says which states it is scored against", async () => {
  const text = (await readFile(join(folder, "data.csv"), "utf8")).trimEnd();
  const reordered = text.split("\n").map((line) => line.split(",").reverse().join(","));
  await writeFile(join(folder, "reordered.csv"), reordered.join("\n"));
  await writeFile(join(folder, "nameless.csv"), text.split("\n").slice(1).join("\n"));
  await writeFile(join(folder, "renamed.csv"), text.replace("a,b,c", "a,b,d"));
  await filter(["fit", "data.csv", "--state", "x,y", "--method", "kalman", "--out", "named.filter"]);
  const first = await filter(["run", "named.filter", "data.csv", "--state", "x,y"]);
  const second = await filter(["run", "named.filter", "reordered.csv"]);
  expect(second.stdout).toBe(first.stdout);
  // No names of its own: by its places, as they are asked for.
  expect((await filter(["run", "named.filter", "nameless.csv", "--channels", "3-5"])).stdout).toBe(first.stdout);
  expect(await filter(["run", "named.filter", "renamed.csv", "--state", "x,y"])).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/renamed\.csv has no column c, which the filter was fitted to/),
  });
  const swapped = await filter(["run", "named.filter", "data.csv", "--state", "y,x"]);
  expect(swapped.stderr).toMatch(/scored against y,x; the filter was fitted to x,y/);
});

it("learns from all bins where it is told to, and refuses to score on bins without a state", async () => {
  const all = ["data.csv", "--state", "x,y", "--train", "0:400"];
  const fitted = await filter(["fit", ...all, "--method", "kalman", "--out", "all.filter"]);
  expect(fitted).toMatchObject({ status: 0, stdout: expect.stringMatching(/no bins are left to score on/) });
  const compared = await filter(["compare", ...all, "--methods", "kalman"]);
  expect(compared).toMatchObject({ status: 2, stderr: expect.stringMatching(/takes all bins/) });
  const lines = (await readFile(join(folder, "data.csv"), "utf8")).trimEnd().split("\n");
  const unknown = lines.map((line, i) => (i > 320 ? line.replace(/^[^,]*/, "") : line));
  await writeFile(join(folder, "unknown.csv"), unknown.join("\n"));
  const refused = await filter([
    "fit",
    "unknown.csv",
    "--state",
    "x,y",
    "--train",
    "0:320",
    "--method",
    "kalman",
    "--out",
    "u.filter",
  ]);
  expect(refused).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/none of the bins 320:400 has a true state/),
  });
});

it("counts the steps of the whole comparison, and reads fields between tabs with gaps", async () => {
  const rows = Array.from(
    { length: 6000 },
    (_, t) => `${Math.sin(t / 9)},${Math.sin(t / 9 + 0.1) + 0.2 * Math.sin(7.7 * t)}`,
  );
  await writeFile(join(folder, "long.csv"), `x,a\n${rows.join("\n")}\n`);
  const compared = await filter([
    "compare",
    "long.csv",
    "--state",
    "x",
    "--train",
    "0:1000",
    "--methods",
    "kalman",
    "--json",
  ]);
  expect(JSON.parse(compared.stdout).results[0].counters.steps).toBe(5000);
  await filter(["fit", "data.csv", "--state", "x,y", "--method", "kalman", "--out", "tabs.filter"]);
  const answers = await filter(["run", "tabs.filter", "--stream", "--json"], "0.1\t\t0.3\n\t0.2\t0.3\n0.1\t0.2\t0.3\n");
  const lines = answers.stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line).missing);
  expect(lines).toEqual([true, true, false, undefined]);
});

it("saves the state when Ctrl-C ends a stream, and refuses a line without an end", async () => {
  await filter(["fit", "data.csv", "--state", "x,y", "--method", "kalman", "--out", "end.filter"]);
  const words = ["filter", "run", "end.filter", "--stream", "--json", "--state-file", "end.state"];
  const child = spawn(process.execPath, [join(root, "dist", "cli", "main.js"), ...words], { cwd: folder });
  let text = "";
  const ended = new Promise((resolve) => child.on("close", resolve));
  child.stdin.write("0.1,0.2,0.3\n0.2,0.2,0.3\n");
  await new Promise<void>((resolve) => {
    child.stdout.setEncoding("utf8").on("data", (piece: string) => {
      text += piece;
      if (text.split("\n").length === 3) resolve();
    });
  });
  child.kill("SIGINT");
  expect(await ended).toBe(0);
  expect(JSON.parse(text.trim().split("\n")[2])).toMatchObject({ steps: 2 });
  const next = "0.3,0.2,0.1\n";
  const whole = await filter(["run", "end.filter", "--stream", "--json"], `0.1,0.2,0.3\n0.2,0.2,0.3\n${next}`);
  const second = await filter(words.slice(1), next);
  expect(second.stdout.split("\n")[0]).toBe(whole.stdout.split("\n")[2]);

  const endless = await filter(["run", "end.filter", "--stream"], `0.1,0.2,0.3\n${"1".repeat(2 ** 23)}`);
  expect(endless).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/line 2: more than \d+ bytes without an end/),
  });
});

it("scores on the last fifth of the bins with a true state, and leaves channels out that never change", async () => {
  const lines = (await readFile(join(folder, "data.csv"), "utf8")).trimEnd().split("\n");
  // The animal rests at the end, where its state is not known, and one unit never fires.
  const rests = lines.map(
    (line, i) => `${i > 200 ? line.replace(/^[^,]*,[^,]*/, ",") : line},${i === 0 ? "silent" : 0}`,
  );
  await writeFile(join(folder, "rests.csv"), rests.join("\n"));
  const compare = ["compare", "rests.csv", "--state", "x,y", "--methods", "kalman", "--json"];
  expect(await filter(compare)).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/channel silent .*--without/),
  });
  const { stdout } = await filter([...compare, "--without", "silent"]);
  expect(JSON.parse(stdout)).toMatchObject({ train: 160, results: [{ scores: { bins: 40 } }] });
  expect(await filter([...compare, "--without", "x"])).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/--without x: no such channel is observed/),
  });
  await filter(["fit", ...compare.slice(1, 4), "--without", "silent", "--method", "kalman", "--out", "rests.filter"]);
  expect(await filter(["run", "rests.filter", "rests.csv", "--state", "x,y"])).toMatchObject({ status: 0 });

  // A state that stands still where it is scored on explains nothing.
  const still = lines.map((line, i) => (i > 320 ? line.replace(/^[^,]*/, "7") : line));
  await writeFile(join(folder, "still.csv"), still.join("\n"));
  const fitted = await filter(["fit", "still.csv", "--state", "x,y", "--method", "kalman", "--out", "still.filter"]);
  expect(fitted).toMatchObject({ status: 2, stderr: expect.stringMatching(/x never changes in the bins 320:400/) });
  const run = await filter(["run", "rests.filter", "still.csv", "--state", "x,y", "--rows", "330:400", "--json"]);
  expect(run).toMatchObject({ status: 0, stderr: expect.stringMatching(/not scored: x never changes/) });
  expect(JSON.parse(run.stdout).means.length).toBe(70);
});
