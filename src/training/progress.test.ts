import { describe, expect, it } from "vitest";
import { type HistoryEntry, lossCurveSvg } from "./history.ts";
import { amount, progressLine, progressWriter } from "./progress.ts";

const entry = (step: number): HistoryEntry => ({
  step,
  loss: 8 / step,
  smoothedLoss: 8 / step,
  learningRate: 0.00098,
  gradientNorm: 1,
  tokens: 100 * step,
  seconds: step,
});
const progress = (step: number) => ({ ...entry(step), totalSteps: 90, tokensPerSecond: 5120.4, secondsLeft: 4310 });

function recorder(terminal?: { columns: number }) {
  let time = 0;
  const written: string[] = [];
  const stream = { isTTY: terminal !== undefined, ...terminal, write: (text: string) => written.push(text) };
  return { writer: progressWriter({ stream, now: () => time }), written, pass: (seconds: number) => (time += seconds) };
}

it("gives counts in units that leave something to read", () => {
  const said = { 96: "96", 9216: "9216", 46080: "46.1 thousand", 999499: "999 thousand", 999500: "1.00 million" };
  for (const [count, text] of Object.entries(said)) expect(amount(Number(count))).toBe(text);
  expect(amount(1_254_000)).toBe("1.25 million");
});

describe("progress", () => {
  it("says all there is to know in a line", () => {
    const line = "step 4/90 · loss 2.000 · held-out 3.250 · rate 9.8e-4 · 5120 tokens/s · 1 h 12 min left";
    expect(progressLine({ ...progress(4), heldOutLoss: 3.25 })).toBe(line);
    const bare = { ...progress(4), totalSteps: undefined, tokensPerSecond: 0, secondsLeft: 58.5 };
    expect(progressLine(bare)).toBe("step 4 · loss 2.000 · rate 9.8e-4 · 59 s left");
  });

  it("rewrites one line on a terminal, within its width, and takes it away in the end", () => {
    const { writer, written, pass } = recorder({ columns: 20 });
    for (const step of [1, 2, 3]) {
      writer.update(progress(step));
      pass(0.06);
    }
    writer.done();
    expect(written).toEqual(["\rstep 1/90 · loss 8.\x1b[K", "\rstep 3/90 · loss 2.\x1b[K", "\r\x1b[K"]);
  });

  it("keeps the whole line where a terminal does not know its width", () => {
    const { writer, written } = recorder({ columns: 0 });
    writer.update(progress(1));
    expect(written[0]).toBe(`\r${progressLine(progress(1))}\x1b[K`);
  });

  it("writes a line now and then to a log, the last one always, and remembers the held-out loss", () => {
    const { writer, written, pass } = recorder();
    for (let step = 1; step <= 65; step++) {
      writer.update({ ...progress(step), heldOutLoss: step === 20 ? 3.5 : undefined });
      pass(1);
    }
    writer.done();
    expect(written.map((line) => Number(/^step (\d+)\/90 .*\n$/.exec(line)?.[1]))).toEqual([1, 31, 61, 65]);
    expect(written[3]).toContain("held-out 3.500");
  });
});

describe("a writer refuses", () => {
  const stream = { write: () => {} };
  it("an interval that is none, and a clock that gives no seconds", () => {
    expect(() => progressWriter({ stream, logInterval: Number.NaN })).toThrow(/progressWriter: logInterval must be/);
    for (const seconds of [Number.NaN, undefined, "0"])
      expect(() => progressWriter({ stream, now: () => seconds as number }).update(progress(1))).toThrow(
        /progressWriter: now gave .*, and must give seconds/,
      );
    const full = (): never => {
      throw new Error("boo");
    };
    expect(() => progressWriter({ stream: { write: full }, logInterval: 0 }).update(progress(1))).toThrow(
      /^progressWriter: stream.write failed: boo$/,
    );
  });
});

describe("loss curve", () => {
  it("is drawn to scale, with held-out losses as dots and no more points than can be seen", () => {
    const history = Array.from({ length: 5000 }, (_, i) => ({
      ...entry(i + 1),
      heldOutLoss: (i + 1) % 1000 === 0 ? 4 : undefined,
    }));
    const svg = lossCurveSvg(history, "a < b");
    expect(svg.match(/<circle/g)).toHaveLength(5);
    expect(svg).toContain("a &#60; b");
    const points = /points="([^"]*)"/.exec(svg)![1].split(" ");
    expect(points.length).toBeLessThan(600);
    expect(points[0]).toBe("48.1,28.0"); // loss 8 is the top of the scale
    expect(points.at(-1)).toMatch(/^624\.0,248\.0$|^624\.0,247/);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  });

  it("also draws one entry, and refuses none", () => {
    expect(lossCurveSvg([entry(1)])).not.toMatch(/NaN|Infinity|undefined/);
    expect(() => lossCurveSvg([])).toThrow(expect.objectContaining({ code: "bad_option" }));
  });
});
