/** What looking into a model costs: taps, edits, traces of long texts, parts that are trained, rows that begin after a layer. */
import { alternate, format, median, ratio, seconds } from "./harness/measure.mjs";
import { atMost, reported } from "./harness/report.mjs";
import { openParts, openTraced } from "./ours.mjs";
import { trainingOptions } from "./training.mjs";

/** @typedef {import("./harness/report.mjs").Settings} Settings */

/** @type {Awaited<ReturnType<typeof openTraced>> | undefined} */
let opened;
const knossos = async () => {
  opened ??= await openTraced(2);
  return opened;
};

/** Seconds of a greedy request with these options over the same without. @param {string} what @param {(traced: NonNullable<typeof opened>) => object} options */
const decodeRow = (what, options) => ({
  what,
  target: atMost(1.1),
  /** @param {Settings} settings */
  async measure({ runs, quick, progress }) {
    const traced = await knossos();
    const count = quick ? 32 : 256;
    const given = options(traced);
    const measured = await alternate(
      () => traced.decode(count, given),
      () => traced.decode(count, {}),
      runs * 5,
      (line) => progress(`  ${line} ms a token`),
    );
    return { ...ratio(measured), note: `${format(median(measured.a))} and ${format(median(measured.b))} ms a token` };
  },
});

/** @param {Settings} settings */
const traceLength = ({ quick }) => (quick ? 10_000 : 100_000);

export const rows = [
  decodeRow("decode with one tap (the residual stream of a middle layer), over none", ({ middle }) => ({
    taps: [middle],
  })),
  decodeRow("decode with one edit (scale of a middle layer), over none", ({ middle }) => ({
    edits: [{ site: middle, scale: 1.01 }],
  })),
  {
    what: "trace of 100,000 tokens with taps at every layer, over plain evaluation",
    target: atMost(1.3),
    /** @param {Settings} settings */
    async measure(settings) {
      const traced = await knossos();
      const measured = await alternate(
        () => seconds(() => traced.trace(traceLength(settings))),
        () => seconds(() => traced.evaluate(traceLength(settings))),
        settings.quick ? 2 : 1,
        (line) => settings.progress(`  ${line} s`),
      );
      return { ...ratio(measured), note: `${format(median(measured.a))} and ${format(median(measured.b))} s` };
    },
  },
  {
    what: "resident memory that the last three quarters of such a trace add",
    target: atMost(16, " MB"),
    /** @param {Settings} settings */
    async measure(settings) {
      const { quarter, end } = await (await knossos()).trace(traceLength(settings));
      const grown = Math.max(0, end - quarter) / 2 ** 20;
      return { value: grown, runs: [grown], note: `${format(end / 2 ** 20)} MB at the end` };
    },
  },
  {
    what: "AdamW step on a part alone (one head), over a full step; knossos's shape, 8 × 256 tokens",
    target: atMost(0.6),
    /** @param {Settings} settings */
    async measure({ runs, progress }) {
      const sides = await openParts(trainingOptions("knossos", 8, 256));
      try {
        const measured = await alternate(sides.part, sides.full, runs, (line) => progress(`  ${line} s`));
        return { ...ratio(measured), note: `${format(median(measured.a))} and ${format(median(measured.b))} s` };
      } finally {
        await sides.close();
      }
    },
  },
  {
    what: "pass of one token and eight rows that begin after the layer before the last, over one whose eight rows are in every layer",
    target: reported(),
    /** @param {Settings} settings */
    async measure({ runs, progress }) {
      const traced = await knossos();
      const measured = await alternate(
        () => traced.aheadPass(8, true),
        () => traced.aheadPass(8, false),
        runs * 3,
        (line) => progress(`  ${line} ms`),
      );
      return { ...ratio(measured), note: `${format(median(measured.a))} and ${format(median(measured.b))} ms` };
    },
  },
];
