import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
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
