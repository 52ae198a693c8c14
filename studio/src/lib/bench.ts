/** Records of benchmarks as tables; what has no rows of the usual form is left out. */
import { formatFigure } from "./figures.ts";

export interface BenchTable {
  readonly name: string;
  readonly note: string;
  readonly rows: readonly { what: string; target: string; value: string; met?: boolean; runs: readonly number[] }[];
}

export function readBench(name: string, record: unknown): BenchTable | undefined {
  const { rows, machine, date } = (record ?? {}) as {
    rows?: unknown;
    machine?: Record<string, unknown>;
    date?: unknown;
  };
  if (!Array.isArray(rows)) return undefined;
  return {
    name,
    note: [
      String(date ?? "").slice(0, 10),
      ...Object.entries(machine ?? {}).map(([what, value]) => `${what} ${value}`),
    ].join(" · "),
    rows: rows
      .filter((row) => typeof row?.what === "string")
      .map(({ what, target, value, holds, runs }) => {
        const bounded = /^[≥≤]/.test(String(target));
        const unit = /[×%]/.exec(String(target))?.[0] ?? "";
        return {
          what,
          target: bounded ? target : "–",
          value: typeof value === "number" ? `${formatFigure(value)}${unit}` : "not measured",
          ...(bounded && typeof value === "number" && { met: Boolean(holds) }),
          runs: Array.isArray(runs) ? runs.filter((run) => typeof run === "number") : [],
        };
      }),
  };
}
