/** Figures for readers. */
export { describeCondition, formatFigure, withUnit } from "../../../src/papers/judge.ts";

export function bytes(count: number): string {
  const units = ["bytes", "KB", "MB", "GB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, count)) / 3));
  return `${(count / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}

export const milliseconds = (seconds: number): string => {
  const value = seconds * 1000;
  return `${value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)} ms`;
};

/** A token as a reader sees it: spaces and line ends made visible where nothing else is there. */
export function visible(text: string): string {
  if (text === "") return "∅";
  return text
    .replace(/\n/g, "↵")
    .replace(/\t/g, "⇥")
    .replace(/^ /, "·")
    .replace(/^ +$/, (run) => "·".repeat(run.length));
}

export const percent = (logprob: number): string => {
  const value = Math.exp(logprob) * 100;
  return `${value >= 10 ? value.toFixed(0) : value >= 0.1 ? value.toFixed(1) : value.toPrecision(1)} %`;
};
