/** Measurements of a model's layers as rows that can be drawn, and reports as `ventris inspect markov --json` writes them. */
import type { MarkovReport } from "../../../src/server/protocol.ts";

type Layer = MarkovReport["layers"][number];

/** What is measured at a layer, in a reader's words. `unit`: of its figures. */
export const kinds: readonly {
  readonly name: string;
  readonly unit: string;
  readonly says: string;
  readonly of: (layer: Layer) => number | undefined;
}[] = [
  {
    name: "explained",
    unit: "share",
    says: "share of the next token's variance that a linear reading of the states explains",
    of: ({ explained }) => explained,
  },
  {
    name: "captured",
    unit: "share",
    says: "how much of the reference's predictive kernel the whitened states span; 1 is all that so many numbers can",
    of: ({ alignment }) => alignment?.captured,
  },
  {
    name: "overlap",
    unit: "share",
    says: "how much of the kernel's eight leading directions the states hold",
    of: ({ alignment }) => alignment?.overlap[8],
  },
  {
    name: "similarity",
    unit: "share",
    says: "centred alignment of the states' own kernel with that of the predictions",
    of: ({ alignment }) => alignment?.similarity,
  },
  {
    name: "surplus",
    unit: "nats",
    says: "what a state tells of the token after the next, once the next is known",
    of: ({ surplus }) => surplus?.[0]?.value,
  },
  {
    name: "tells of next",
    unit: "nats",
    says: "what the head, reading this layer, tells of the next token",
    of: ({ information }) => information,
  },
  {
    name: "entropy",
    unit: "nats",
    says: "how unsure the head is, reading this layer",
    of: ({ entropy }) => entropy?.kl,
  },
  { name: "loss", unit: "nats", says: "loss of the head, reading this layer", of: ({ loss }) => loss },
  {
    name: "gap",
    unit: "nats",
    says: "loss less entropy: above 0 the head is surer than it is right",
    of: ({ gap }) => gap,
  },
  {
    name: "coherence",
    unit: "nats",
    says: "what a state tells of the one that follows it",
    of: ({ coherence }) => coherence?.gaussian,
  },
];
export type Kind = (typeof kinds)[number];

export interface Measured {
  readonly model: string;
  readonly report: MarkovReport;
}

/** Kinds that some layer of some report has. */
export const measuredKinds = (reports: readonly Measured[]): Kind[] =>
  kinds.filter(({ of }) => reports.some(({ report }) => report.layers.some((layer) => of(layer) !== undefined)));

/** Checkpoints by layers. Undefined: not measured there. */
export const grid = (reports: readonly Measured[], { of }: Kind): (number | undefined)[][] =>
  reports.map(({ report }) => report.layers.map(of));

/** Reports and layers that a file may bring, at most. */
const [mostReports, mostLayers] = [256, 1024];

/** A file that `ventris inspect markov --json` wrote. Errors: with a message for whoever chose the file. */
export function parseReports(text: string): Measured[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new Error("this file is not JSON: ventris inspect markov --json > FILE writes one");
  }
  const found = (json as { models?: unknown } | null)?.models;
  const whole =
    Array.isArray(found) &&
    found.length > 0 &&
    found.every(
      (one) =>
        typeof one?.model === "string" &&
        Array.isArray(one.report?.layers) &&
        one.report.layers.length > 0 &&
        one.report.layers.every((layer: unknown) => Number.isInteger((layer as Layer | null)?.layer)),
    );
  if (!whole) throw new Error("this file is no report: ventris inspect markov --json > FILE writes one");
  const reports = found as Measured[];
  const size = `${reports.length} checkpoints of ${reports[0].report.layers.length} layers`;
  if (reports.length > mostReports || reports.some(({ report }) => report.layers.length > mostLayers))
    throw new Error(`this report is too large to draw: ${size}`);
  for (const { model, report } of reports)
    for (const { name, of } of kinds)
      for (const layer of report.layers) {
        let value: unknown;
        try {
          value = of(layer);
        } catch {
          value = null;
        }
        if (value !== undefined && (typeof value !== "number" || !Number.isFinite(value)))
          throw new Error(`${model.slice(0, 100)}, layer ${layer.layer}: ${name} is no number`);
      }
  return reports;
}
