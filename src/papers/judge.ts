/** Whether what was measured confirms what was claimed. */
import type { Claim, Condition, Paper } from "./paper.ts";
import type { Measurement, ReproductionRecord } from "./reproduction.ts";

export interface Judgement {
  readonly claim: Claim;
  readonly measurement?: Measurement;
  /** Undefined where nothing was measured. */
  readonly holds?: boolean;
}

export function judge(paper: Paper, record: ReproductionRecord | undefined): Judgement[] {
  return paper.claims.map((claim) => {
    const measurement = record?.measurements.find((candidate) => candidate.claim === claim.id);
    return measurement ? { claim, measurement, holds: meets(measurement, claim.holds) } : { claim };
  });
}

export function meets({ value, interval }: Measurement, condition: Condition): boolean {
  const { above, below, atLeast, atMost, surely } = condition;
  if (surely && !interval) return false;
  const values = surely && interval ? [value, ...interval] : [value];
  // Written so that NaN meets nothing.
  return values.every(
    (at) =>
      (above === undefined || at > above) &&
      (below === undefined || at < below) &&
      (atLeast === undefined || at >= atLeast) &&
      (atMost === undefined || at <= atMost) &&
      !Number.isNaN(at),
  );
}

/** A condition for readers: "> 0, with the whole interval". */
export function describeCondition(
  { above, below, atLeast, atMost, surely }: Condition,
  unit = "",
  digits?: number,
): string {
  const parts = Object.entries({ ">": above, "≥": atLeast, "<": below, "≤": atMost })
    .filter(([, bound]) => bound !== undefined)
    .map(([sign, bound]) => `${sign} ${withUnit(bound!, unit, digits)}`);
  return `${parts.join(" and ")}${surely ? ", with the whole interval" : ""}`;
}

export const withUnit = (value: number | string, unit = "", digits?: number): string =>
  typeof value === "string"
    ? value
    : `${formatFigure(value, digits)}${/^[×%]/.test(unit) || unit === "" ? unit : ` ${unit}`}`;

/** Below this a figure is what rounding leaves of 0. */
const rounding = 1e-15;

/** Three significant digits, or so many, without exponents where a reader would not expect them. */
export function formatFigure(value: number, digits = 3): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size < rounding) return "0";
  if (size >= 1e-3 && size < 1e5) return String(Number(value.toPrecision(size >= 100 ? Math.max(4, digits) : digits)));
  return value.toExponential(1);
}
