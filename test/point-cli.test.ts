/** `ventris point` as people call it. */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { readTable } from "../src/cli/point-files.ts";
import { drawPoints } from "../src/methods/pointing/index.ts";
import { ensureBuilt, root } from "./build.ts";

vi.setConfig({ testTimeout: 180_000 });
let folder: string;
beforeAll(async () => {
  ensureBuilt();
  folder = await mkdtemp(join(tmpdir(), "ventris-point-"));
}, 300_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** `after` is given what interrupts it. */
function pointing(words: readonly string[], after?: (stop: () => void) => void): Promise<Ended> {
  const child = spawn(process.execPath, [join(root, "dist", "cli", "main.js"), "point", ...words], { cwd: folder });
  const texts = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    child[name].setEncoding("utf8").on("data", (text: string) => {
      texts[name] += text;
    });
  after?.(() => child.kill("SIGINT"));
  return new Promise((resolve) => child.on("close", (status) => resolve({ status, ...texts })));
}

async function file(name: string, text: string): Promise<string> {
  await writeFile(join(folder, name), text);
  return name;
}

const csv = (points: readonly (readonly number[])[]): string => points.map((point) => point.join(",")).join("\n");

it("a table's cells are decimal numbers, its header has none, and what is neither is told by its line", () => {
  expect(readTable("x,y\n0.1,.2\n 3. ; -4e-1\n\n+5\t6\n", "f")).toEqual([
    [0.1, 0.2],
    [3, -0.4],
    [5, 6],
  ]);
  for (const [text, message] of [
    ["NaN,0.5\n", /^f, line 1: "NaN" is not a number/],
    ["inf,0.5\n", /line 1: "inf"/],
    ["-Infinity,x\n", /line 1: "-Infinity"/],
    ["x,0.5\n", /line 1: "x"/],
    ["0.5,\n", /line 1: an empty cell/],
    ["x,y\n1,,2\n", /line 2: an empty cell/],
    ["x,\n1,2\n", /line 1: "x"/],
    ["0x10,0.5\n", /line 1: "0x10"/],
    ["1e999,0\n", /line 1: "1e999"/],
    ["1,2\nx,y\n", /line 2: "x"/],
    ["1,2,3\n", /line 1: expected two numbers, x,y, not 3/],
    ["5\n", /line 1: expected two numbers, x,y, not 1/],
  ] as const)
    expect(() => readTable(text, "f"), text).toThrow(
      expect.objectContaining({ code: "bad_file", message: expect.stringMatching(message) }),
    );
});

it("equal points of a hull are named and left out; a triangulation of them, and of a line, is refused", async () => {
  const twice = await file("twice.csv", "0.1,0.2\n0.9,0.1\n0.9,0.1\n0.5,0.8\n");
  const { stdout, stderr } = await pointing(["hull", twice, "--json"]);
  expect(stderr).toContain("equal to earlier points, and left out: 3");
  expect(JSON.parse(stdout)).toMatchObject({ dropped: [3], valid: true });
  const line = await file("line.csv", "0,0\n0.5,0.5\n1,1\n");
  for (const [words, message] of [
    [["delaunay", twice], /^ventris: points 2 and 3 are equal/],
    [["delaunay", line], /^ventris: the points lie on one line/],
    [["hull", line], /^ventris: the points lie on one line/],
    [["tour", line, "--most", "2"], /^ventris: 3 points are given, and 1 to 2/],
  ] as const)
    expect(await pointing(words)).toMatchObject({ status: 2, stderr: expect.stringMatching(message) });
});

it("a tour is put beside the shortest; without a rule it is said how many cities it has again", async () => {
  const cities = await file("cities.csv", csv(drawPoints(9, 3, 4)));
  const ruled = JSON.parse((await pointing(["tour", cities, "--json"])).stdout);
  expect(ruled["over the shortest"]).toBeCloseTo(ruled.length / ruled.shortest - 1, 12);
  expect(ruled["over the shortest"]).toBeGreaterThanOrEqual(0);
  const many = await file("many.csv", csv(drawPoints(20, 3, 4)));
  const free = JSON.parse((await pointing(["tour", many, "--rule", "none", "--beams", "1", "--json"])).stdout);
  expect(free.answer).toHaveLength(20);
  expect(free.valid).toBe(false);
  expect(free["cities left out"]).toBe(20 - new Set(free.answer).size);
  expect(free["cities again"]).toBe(free["cities left out"]);
  expect(free["over the shortest"]).toBeUndefined();
});

it("triangles that overlap are counted, and more points than were trained on are said to be more", async () => {
  const points = await file("more.csv", csv(drawPoints(16, 1, 0)));
  const { stdout, stderr } = await pointing(["delaunay", points, "--json"]);
  expect(stderr).toContain("trained on 5 to 10 points");
  const { valid, overlapping, answer } = JSON.parse(stdout);
  expect(valid).toBe(overlapping === 0);
  expect(overlapping).toBeLessThanOrEqual(answer.length / 3);
  const { stderr: words } = await pointing(["delaunay", points, "--out", "more.svg"]);
  if (overlapping > 0)
    expect(words).toContain(`not valid · ${overlapping} of ${answer.length / 3} triangles overlap others`);
  expect(await readFile(join(folder, "more.svg"), "utf8")).toContain("<polygon");
});

it("Ctrl-C is heard while the network points", async () => {
  const large = await file("large.csv", csv(drawPoints(1500, 1, 0)));
  // It has said that the points are more than it was trained on when it is done: until then it works.
  const { status, stderr, stdout } = await pointing(["tour", large, "--beams", "200"], (stop) =>
    setTimeout(stop, 8000),
  );
  expect([status, stdout]).toEqual([130, ""]);
  expect(stderr).toMatch(/interrupted/);
});

it("sizes are one number or two", async () => {
  for (const sizes of ["5-10-20", "-5", "5-", "ten"])
    expect((await pointing(["train", "hull", `--sizes=${sizes}`, "--out", "x.safetensors"])).stderr).toMatch(
      /^ventris: --sizes/,
    );
});

it("training by stochastic gradient descent is a choice, and tours are scored beside orders that know nothing", async () => {
  const words = ["train", "tour", "--sizes", "5", "--steps", "2", "--hidden", "4", "--batch", "8", "--threads", "1"];
  const trained = await pointing([...words, "--optimiser", "sgd", "--start", "paper", "--out", "t.safetensors"]);
  expect(trained.stdout).toMatch(/^tour: step 2 of 2/);
  const scored = await pointing(["eval", "tour", "--model", "t.safetensors", "--count", "20", "--json"]);
  const { lengths } = JSON.parse(scored.stdout);
  for (const name of ["as given", "random", "nearest neighbour"])
    expect(lengths[name], name).toBeGreaterThanOrEqual(lengths.shortest - 1e-9);
});
