import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import { papers } from "./index.ts";
import { drawPlot } from "./plot.ts";
import { readRecord } from "./records.ts";
import { claimsMark, claimsTable, featuresMark, featuresTable, replaceBetween } from "./tables.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const stale = "run node scripts/tables.mjs";

describe("generated tables", () => {
  it("of FEATURES.md is that of papers and records", () => {
    const text = readFileSync(join(root, "FEATURES.md"), "utf8");
    expect(
      replaceBetween(
        text,
        featuresMark,
        featuresTable(papers, (name) => readRecord(name)),
      ),
      stale,
    ).toBe(text);
  });

  it.each(papers.filter(({ reproduction }) => reproduction).map((paper) => [paper.name, paper] as const))(
    "of %s's README is that of its record",
    (_, paper) => {
      const path = join(root, "src", paper.lives.folder, "README.md");
      const text = readFileSync(path, "utf8");
      expect(replaceBetween(text, claimsMark, claimsTable(paper, readRecord(paper.name))), stale).toBe(text);
    },
  );

  it("of published figures beside ours are those of the benchmarks' records", async () => {
    const { figures } = await import(pathToFileURL(join(root, "bench", "baselines.mjs")).href);
    const { figuresTable } = await import(pathToFileURL(join(root, "bench", "harness", "report.mjs")).href);
    const recordOf = (name: string) => JSON.parse(readFileSync(join(root, "bench", "results", `${name}.json`), "utf8"));
    for (const [name, list] of Object.entries(figures)) {
      const folder = join(root, "src", "methods", name === "auto" ? "choice" : "speculative", name);
      const text = readFileSync(join(folder, "README.md"), "utf8");
      const table: string = figuresTable(list, recordOf);
      expect(replaceBetween(text, "figures", table), `${name}: ${stale}`).toBe(text);
      expect(table).toMatch(/ \(.*\) \| [\d.]+ tokens a pass \(knossos/);
      expect(table).not.toContain("not measured");
    }
  });

  it("of docs/measurements.md are those of the benchmarks' records", async () => {
    // Of a package of its own, which has no types.
    const { markdownTable } = await import(pathToFileURL(join(root, "bench", "harness", "report.mjs")).href);
    const text = readFileSync(join(root, "docs", "measurements.md"), "utf8");
    const recordOf = (name: string) => {
      const path = join(root, "bench", "results", `${name}.json`);
      return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : undefined;
    };
    const names = [...text.matchAll(/<!-- benchmark-([\w-]+):begin -->/g)].map(([, name]) => name);
    expect(names).toContain("browser");
    for (const name of names) {
      const table = markdownTable(
        recordOf(name),
        `npm run --silent bench -- ${name} --record`,
        recordOf("second-machine")?.[name],
      );
      expect(replaceBetween(text, `benchmark-${name}`, table), stale).toBe(text);
    }
    const rows = [
      { what: "speed", target: "≥ 0.35×", value: 0.5, holds: true, runs: [] },
      { what: "bytes", target: "≤ 15 MB", value: 20, holds: false, runs: [] },
      { what: "time", target: "reported, ms", value: 3, holds: true, runs: [] },
      { what: "gone", target: "≥ 1×", value: null, holds: false, runs: [] },
    ];
    const machine = { cpu: "C", cores: 2, memoryGiB: 4, system: "S", node: "20", onnxruntime: "1" };
    expect(markdownTable({ name: "x", machine, date: "2026-01-02T03", rows }, "run x")).toBe(
      [
        "| what | target | measured |",
        "|---|---|---|",
        "| speed | ≥ 0.35× | 0.5× ✓ |",
        "| bytes | ≤ 15 MB | 20 MB ✗ |",
        "| time | – | 3 ms |",
        "| gone | ≥ 1× | not measured |",
        "",
        "Measured on 2026-01-02 by `run x`: C, 2 cores, 4 GiB, S, Node 20, ONNX Runtime 1.",
      ].join("\n"),
    );
    const second = { speed: 0.2, bytes: 21, time: 3.1 };
    const beside: string = markdownTable({ name: "x", machine, date: "2026-01-02T03", rows }, "run x", second);
    expect(beside.split("\n").slice(0, 6)).toEqual([
      "| what | target | measured | second machine |",
      "|---|---|---|---|",
      "| speed | ≥ 0.35× | 0.5× ✓ | 0.2× ✗ ≠ |",
      "| bytes | ≤ 15 MB | 20 MB ✗ | 21 MB ✗ |",
      "| time | – | 3 ms | 3.1 ms |",
      "| gone | ≥ 1× | not measured | – |",
    ]);
    expect(markdownTable({ name: "x", machine, date: "2026-01-02T03", rows }, "run x", { time: 4 })).toMatch(
      /3 ms \| 4 ms ≠ \|/,
    );
    const small = { what: "bias", target: "≤ 1e-9", value: 2e-9, holds: false, runs: [], note: "plain 3 | 4" };
    const noted: string = markdownTable({ name: "x", machine, date: "2026-01-02T03", rows: [small, rows[0]] }, "run x");
    expect(noted.split("\n").slice(0, 4)).toEqual([
      "| what | target | measured | note |",
      "|---|---|---|---|",
      "| bias | ≤ 1e-9 | 2e-9 ✗ | plain 3 \\| 4 |",
      "| speed | ≥ 0.35× | 0.5× ✓ |  |",
    ]);
  });

  it("of benchmarks keep older rows where newer ones were not measured, and say from when to when", async () => {
    const { merged } = await import(pathToFileURL(join(root, "bench", "harness", "record.mjs")).href);
    const { markdownTable } = await import(pathToFileURL(join(root, "bench", "harness", "report.mjs")).href);
    const machine = { cpu: "C", cores: 2, memoryGiB: 4, system: "S", node: "20", onnxruntime: "1" };
    const row = (what: string, value: number | null) => ({
      what,
      target: "≥ 1×",
      value,
      holds: value !== null,
      runs: [],
    });
    const before = { name: "x", machine, date: "2026-01-01T00", rows: [row("gone", 1), row("old", 2), row("both", 3)] };
    const now = { name: "x", machine, date: "2026-01-02T00", rows: [row("both", 4), row("old", null)] };
    const all = ["both", "old", "never", "moved"].map((what) => ({ what, target: what === "moved" ? "≥ 2×" : "≥ 1×" }));
    const record = merged({ ...before, rows: [...before.rows, row("moved", 5)] }, now, all);
    expect(record.rows.map(({ what, value, date }: Record<string, unknown>) => [what, value, date])).toEqual([
      ["both", 4, "2026-01-02T00"],
      ["old", 2, "2026-01-01T00"],
      ["never", null, undefined],
      ["moved", null, undefined],
    ]);
    const table: string = markdownTable(record, "run x");
    expect(table).toContain("| never | ≥ 1× | not measured |");
    expect(table).toContain("Measured from 2026-01-01 to 2026-01-02 by `run x`");
  });

  it("shows plots that are there", () => {
    for (const { name } of papers) {
      for (const { claim, plot } of readRecord(name)?.measurements ?? []) {
        if (plot) expect(existsSync(join(root, "reproductions", `${name}-${claim}.svg`))).toBe(true);
      }
    }
  });
});

it("draws a plot whose marks lie where the figures say, and whose labels are text", () => {
  const svg = drawPlot({
    title: "<script>",
    x: { label: "budget", scale: "log" },
    y: { label: "tokens a pass" },
    series: [
      {
        name: "ours & theirs",
        points: [
          [1, 0],
          [10, 5],
          [100, 10, 8, 12],
        ],
      },
      { name: "nothing", points: [] },
    ],
  });
  expect(svg).not.toContain("<script>");
  expect(svg).toContain("ours &amp; theirs");
  expect(svg).not.toContain("NaN");
  // 1, 10 and 100 are equally far apart on a logarithmic axis.
  const places = [...svg.matchAll(/cx="([\d.]+)"/g)].map(([, at]) => Number(at));
  expect(places[1] - places[0]).toBeCloseTo(places[2] - places[1], 0);
});
