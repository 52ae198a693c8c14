/**
 * What a trace says, for all who draw it: the output token by token with where each came from, and the steps of the method. It knows
 * events, not methods. Traces come from strangers too: `parseTrace` bounds them and names the line that is wrong.
 */
import type { Counters, FinishReason, TimedEvent, TokenLogprob, TraceEvent } from "../../../src/engine/trace.ts";

export type Origin = "plain" | "accepted" | "own" | "forced" | "turned" | "copied" | "given" | "unmasked";

export const originNames: Readonly<Record<Origin, string>> = {
  plain: "decoded by a pass of its own",
  accepted: "drafted, and accepted",
  own: "added by the target after a draft",
  forced: "the only one its constraint allowed",
  turned: "drawn after its constraint refused others",
  copied: "kept when its particle was copied, and others were dropped",
  given: "given",
  unmasked: "unmasked",
};

export interface OutputToken {
  readonly token: number;
  readonly origin: Origin;
  /** Step that it came with. */
  readonly step: number;
  readonly logprob?: TokenLogprob;
  /** What stood beside it and was not taken. */
  readonly rejected: readonly { token: number; value?: number; reason?: string }[];
  /** Why it was taken. */
  readonly reason?: string;
  /** Canvas only: unmasked yet? */
  readonly hidden?: boolean;
}

type Of<Type extends TraceEvent["type"]> = Extract<TraceEvent, { type: Type }>;

/** One round, pass or observation of the method. */
export type Step = { readonly at?: number; readonly outputLength: number } & (
  | { readonly kind: "round"; readonly draft: Of<"draft">; readonly verify: Of<"verify"> }
  | { readonly kind: "token"; readonly tokens: number }
  | { readonly kind: "beams"; readonly beams: Of<"beams"> }
  | { readonly kind: "unmask"; readonly unmask: Of<"unmask"> }
  | { readonly kind: "particles"; readonly particles: Of<"particles"> }
  | { readonly kind: "constraint"; readonly constraint: Of<"constraint"> }
  | { readonly kind: "explore"; readonly explore: Of<"explore"> }
  | { readonly kind: "contrast"; readonly contrast: Of<"contrast"> }
  | { readonly kind: "memory"; readonly memory: Of<"memory"> }
  | { readonly kind: "regions"; readonly regions: Of<"regions"> }
  | { readonly kind: "choice"; readonly choice: Of<"choice"> }
  | { readonly kind: "posterior"; readonly posterior: Of<"posterior"> }
  | { readonly kind: "point"; readonly point: Of<"point"> }
  | { readonly kind: "retrieval"; readonly retrieval: Of<"retrieval"> }
  | { readonly kind: "taps"; readonly taps: Of<"taps"> }
  | { readonly kind: "learn"; readonly learn: Of<"learn"> }
  | { readonly kind: "other"; readonly event: TraceEvent }
);

export type StepKind = Step["kind"];

export interface Reading {
  start?: Of<"start">;
  prefill?: Of<"prefill">;
  tokens: OutputToken[];
  /** Text as it was released, for traces whose vocabulary is not at hand. */
  text: string;
  steps: Step[];
  /** Positions of the canvas, where there is one. */
  canvas: number;
  /** What the events say of their tokens. */
  readonly names: ReadonlyMap<number, string>;
  finish?: { reason: FinishReason; stop?: string; counters: Counters; seconds: Of<"finish">["seconds"] };
}

/** A token that nobody names. */
export const numbered = (token: number): string => `#${token}`;

/** Names of tokens, with those that the run's events say where there is no other. */
export const withNames =
  (nameOf: (token: number) => string, reading: Reading | undefined) =>
  (token: number): string => {
    const name = nameOf(token);
    return name === numbered(token) ? (reading?.names.get(token) ?? name) : name;
  };

/** Reads events as they come: `add` may be called for every batch of a live run. */
export function createReader(): { readonly reading: Reading; add(events: readonly TimedEvent[]): void } {
  const names = new Map<number, string>();
  const reading: Reading = { tokens: [], text: "", steps: [], canvas: 0, names };
  let draft: Of<"draft"> | undefined;
  let round: { draft: Of<"draft">; verify: Of<"verify"> } | undefined;
  let constraint: Of<"constraint"> | undefined;
  /** Tokens of each particle as it is now, and which of them were the last when it was copied. */
  let lineages: { readonly tokens: readonly number[]; readonly copied: ReadonlySet<number> }[] = [];
  const particles: Of<"particles">[] = [];
  /** Those that begin as the output does. */
  let candidates = lineages;

  const push = (step: Omit<Step, "outputLength">): void => {
    reading.steps.push({ ...step, outputLength: reading.tokens.length } as Step);
  };

  function committed(event: Of<"tokens"> & { at?: number }): void {
    reading.text += event.text;
    if (reading.canvas > 0) return; // what a canvas holds was said position by position
    // Of a round, a constraint or a reading the token belongs to the step that told of it.
    const told = round || constraint || reading.steps[reading.steps.length - 1]?.kind === "taps";
    const step = told ? reading.steps.length - 1 : reading.steps.length;
    for (const [i, token] of event.tokens.entries()) {
      const described = describe(token, i);
      const { origin: from, rejected, reason } = particles.length > 0 ? among(described, token) : described;
      const origin = event.forced?.includes(i) ? "forced" : from;
      reading.tokens.push({ token, origin, step, logprob: event.logprobs?.[i], rejected, reason });
    }
    if (!told && event.tokens.length > 0) push({ kind: "token", tokens: event.tokens.length, at: event.at } as Step);
    else if (reading.steps.length > 0) {
      const last = reading.steps[reading.steps.length - 1];
      reading.steps[reading.steps.length - 1] = { ...last, outputLength: reading.tokens.length };
    }
    if (event.tokens.length > 0) [round, constraint] = [undefined, undefined];
  }

  function describe(token: number, i: number): Pick<OutputToken, "origin" | "rejected" | "reason"> {
    if (constraint && i === 0) {
      const { rejected, allowed } = constraint;
      return {
        origin: allowed === 1 ? "forced" : rejected.length > 0 ? "turned" : "plain",
        rejected: rejected.map((one) => ({ token: one, reason: "refused by the constraint" })),
      };
    }
    if (!round) return { origin: "plain", rejected: [] };
    const { draft: tree, verify } = round;
    const parent = i === 0 ? 0 : verify.path[i - 1];
    const taken = verify.path[i];
    const rejected = tree.tokens.flatMap((other, at) =>
      tree.parents[at] === parent && at + 1 !== taken && other !== token
        ? [{ token: other, value: tree.values?.[at] }]
        : [],
    );
    return { origin: i < verify.path.length ? "accepted" : "own", rejected, reason: verify.reasons[i] };
  }

  /** A token of a particle: whether that was copied for it, and what the others took in its place. */
  function among(described: ReturnType<typeof describe>, token: number): ReturnType<typeof describe> {
    const at = reading.tokens.length;
    candidates = (at === 0 ? lineages : candidates).filter((one) => one.tokens[at] === token);
    const { tokens, weights } = particles[at] ?? { tokens: [], weights: [] };
    const known = new Set([token, ...described.rejected.map((one) => one.token)]);
    const others = tokens.flatMap((other, i) => {
      if (other < 0 || known.has(other)) return [];
      known.add(other);
      return [{ token: other, value: weights[i], reason: "taken by another particle" }];
    });
    return {
      ...described,
      origin: described.origin === "plain" && candidates[0]?.copied.has(at) ? "copied" : described.origin,
      rejected: [...described.rejected, ...others],
    };
  }

  function follow(event: Of<"particles">): void {
    const { tokens, parents } = event;
    if (tokens.length === 0) return; // what a single text was found to weigh
    particles.push(event);
    const grown = tokens.map((token, i) => {
      const { tokens: before = [], copied = new Set<number>() } = lineages[i] ?? {};
      return { tokens: token < 0 ? before : [...before, token], copied };
    });
    const copies = new Map<number, number>();
    for (const parent of parents ?? []) copies.set(parent, (copies.get(parent) ?? 0) + 1);
    lineages = (parents ?? tokens.map((_, i) => i)).flatMap((parent) => {
      const one = grown[parent];
      if (!one) return [];
      return (copies.get(parent) ?? 0) > 1 ? { ...one, copied: new Set([...one.copied, particles.length - 1]) } : one;
    });
  }

  /** Of a file nothing is sure but what was checked. */
  function name(event: TimedEvent): void {
    const said = event.type === "start" ? event.prompt : event.type === "constraint" ? event.rejected : undefined;
    const tokens: unknown = said ?? ("tokens" in event ? event.tokens : undefined);
    if (!Array.isArray(tokens) || !Array.isArray(event.texts)) return;
    for (const [i, text] of event.texts.entries()) if (isText(text) && isNumber(tokens[i])) names.set(tokens[i], text);
  }

  function widen(length: number): void {
    reading.canvas = Math.max(reading.canvas, length);
  }

  function fill({ positions, tokens, confidences, reasons }: Of<"unmask">, origin: Origin): void {
    for (const [i, position] of positions.entries()) {
      widen(position + 1);
      while (reading.tokens.length <= position)
        reading.tokens.push({ token: -1, origin: "unmasked", step: -1, rejected: [], hidden: true });
      const confidence = confidences?.[i];
      const reason = reasons?.[i] ?? (confidence === undefined ? undefined : `confidence ${confidence.toFixed(3)}`);
      reading.tokens[position] = { token: tokens[i], origin, step: reading.steps.length, rejected: [], reason };
    }
  }

  function add(events: readonly TimedEvent[]): void {
    for (const event of events) {
      const { at } = event;
      name(event);
      switch (event.type) {
        case "start":
          reading.start = event;
          break;
        case "prefill":
          reading.prefill = event;
          break;
        case "draft":
          draft = event;
          break;
        case "verify":
          if (!draft) break;
          round = { draft, verify: event };
          draft = undefined;
          push({ kind: "round", ...round, at } as Step);
          break;
        case "tokens":
          committed(event);
          break;
        case "canvas": {
          widen(event.length);
          const { positions, tokens, length } = event;
          if (positions.length === 0) break;
          // As a pass before the first, so that the picture has what is given from the beginning.
          const unmask: Of<"unmask"> = { type: "unmask", pass: 0, positions, tokens, length };
          fill(unmask, "given");
          push({ kind: "unmask", unmask, at } as Step);
          break;
        }
        case "unmask":
          if (event.length !== undefined) widen(event.length); // of traces that have no event of their own for it
          fill(event, "unmasked");
          push({ kind: "unmask", unmask: event, at } as Step);
          break;
        case "truncate":
          reading.tokens.length = Math.min(reading.tokens.length, event.length);
          push({ kind: "other", event, at } as Step);
          break;
        case "constraint":
          constraint = event;
          push({ kind: "constraint", constraint: event, at } as Step);
          break;
        case "memory":
        case "contrast": {
          // It tells of a token that is output already: which others stood beside it, and that this is its step.
          const at = event.position - (reading.start?.prompt.length ?? 0);
          const token = reading.tokens[at];
          if (token?.origin === "plain") {
            const rejected = event.tokens.flatMap((other, i) =>
              other === event.token ? [] : [{ token: other, value: event.after[i] }],
            );
            reading.tokens[at] = { ...token, step: reading.steps.length, rejected };
          }
          push({ kind: event.type, [event.type]: event, at: event.at } as unknown as Step);
          break;
        }
        case "particles":
          follow(event);
          push({ kind: "particles", particles: event, at } as Step);
          break;
        case "beams":
        case "explore":
        case "choice":
        case "posterior":
        case "regions":
        case "point":
        case "retrieval":
        case "taps":
        case "learn":
          push({ kind: event.type, [event.type]: event, at } as unknown as Step);
          break;
        case "finish":
          reading.finish = event;
          break;
        default:
          push({ kind: "other", event, at } as Step);
      }
    }
  }

  return { reading, add };
}

/** The last step of the kind that the picture is about; of pointing, where one answer is whole. */
export function wholeStep(steps: readonly Step[]): number {
  const kind = pictureOf(steps);
  const second = steps.findIndex((step, i) => i > 0 && step.kind === "point" && step.point.inputs);
  return second > 0 ? second - 1 : steps.findLastIndex((step) => step.kind === kind);
}

/** The kind of picture that shows most of a trace: of its steps the most telling kind there is. */
export function pictureOf(steps: readonly Step[]): StepKind | undefined {
  const order: StepKind[] = [
    "round",
    "unmask",
    "explore",
    "particles",
    "beams",
    "posterior",
    "point",
    "retrieval",
    "constraint",
    "contrast",
    "memory",
    "regions",
    "choice",
    "taps",
    "learn",
  ];
  // A single particle, as a method alone has it, is no picture.
  const tells = (step: Step): boolean => step.kind !== "particles" || step.particles.weights.length > 1;
  return (
    order.find((kind) => steps.some((step) => step.kind === kind && tells(step))) ??
    (steps.length > 0 ? "token" : undefined)
  );
}

/** What an event without a picture says; undefined for one of another version. */
export function wordsOf(event: TraceEvent): string | undefined {
  if (event.type === "truncate") return `The text ends at position ${event.length}: the canvas is cut there.`;
  if (event.type === "lengths") {
    const { blank, tried, chosen, passes } = event;
    return `Blank ${blank + 1} is ${chosen} ${chosen === 1 ? "token" : "tokens"} long: of ${tried.length} lengths, tried in ${passes} ${passes === 1 ? "pass" : "passes"}, the one that the model is surest of.`;
  }
  if (event.type === "refresh") return `The cache of ${event.positions} positions was computed anew.`;
  if (event.type !== "learn") return undefined;
  const { updates, acceptance, loss, heldOut, note } = event;
  const parts = [`Learnt in ${updates} ${updates === 1 ? "update" : "updates"} so far`];
  if (loss !== undefined) parts.push(`the loss is ${loss.toFixed(3)}`);
  if (heldOut !== undefined) parts.push(`on texts left out it is ${heldOut.toFixed(3)}`);
  if (acceptance) {
    const { empirical, positions } = acceptance;
    parts.push(`${(100 * empirical).toFixed(0)} % of ${positions} proposals were accepted in this run`);
  }
  return `${parts.join("; ")}.${note ? ` ${note}` : ""}`;
}

export const largestTrace = 64 * 2 ** 20;
const mostEvents = 200_000;
/** Most things that one step may have: each becomes an element of the page. */
const mostDrawn = 2 ** 16;

export class TraceError extends Error {}

export interface ParsedTrace {
  readonly events: TimedEvent[];
  /** What is odd about it and did not keep it from being read. */
  readonly warnings: readonly string[];
}

/**
 * Lines of JSON as `--trace` writes them. A last line that was cut is left out with a warning; unknown types of events (of another
 * version) are kept and listed as such. Errors: `TraceError` that names the line.
 */
export function parseTrace(text: string): ParsedTrace {
  if (text.length > largestTrace)
    throw new TraceError(`a trace of more than ${largestTrace / 2 ** 20} MiB is not read`);
  const events: TimedEvent[] = [];
  const warnings: string[] = [];
  const lines = text.split("\n");
  if (lines.at(-1)?.trim() === "") lines.pop();
  if (lines.length > mostEvents)
    throw new TraceError(`a trace of more than ${mostEvents.toLocaleString("en")} events is not read`);
  for (const [i, line] of lines.entries()) {
    if (line.trim() === "") continue;
    let event: unknown;
    try {
      event = JSON.parse(line);
    } catch {
      if (i === lines.length - 1 && events.length > 0) {
        warnings.push(`the last line (${i + 1}) was cut off and is left out`);
        break;
      }
      throw new TraceError(`line ${i + 1} is not JSON: this is no trace of ventris`);
    }
    const problem = problemOf(event);
    if (problem) throw new TraceError(`line ${i + 1}: ${problem}`);
    events.push(event as TimedEvent);
  }
  if (events.length === 0) throw new TraceError("the file is empty");
  // Filters, pointer networks and bandits have a stream without begin and end; a run that decodes text has both.
  const decodes = events.some(({ type }) => type === "start" || type === "prefill" || type === "tokens");
  if (decodes && events[0].type !== "start") warnings.push("it does not begin with the start of a run");
  if (decodes && !events.some(({ type }) => type === "finish"))
    warnings.push("the run has no end: it was stopped, or the file is cut");
  const strange = new Set(events.map(({ type }) => type).filter((type) => !Object.hasOwn(checks, type)));
  if (strange.size > 0)
    warnings.push(`events of another version are shown as they are: ${[...strange].slice(0, 8).join(", ")}`);
  return { events, warnings };
}

const isNumbers = (value: unknown): boolean => Array.isArray(value) && value.every((one) => typeof one === "number");
const isOptional = (check: (value: unknown) => boolean) => (value: unknown) => value === undefined || check(value);
const isNumber = (value: unknown): boolean => typeof value === "number" && Number.isFinite(value);
const isText = (value: unknown): boolean => typeof value === "string";
const isTexts = (value: unknown): boolean => Array.isArray(value) && value.every(isText);
const isTree = (value: unknown): boolean =>
  isNumbers(value) && (value as number[]).every((parent, i) => Number.isInteger(parent) && parent >= 0 && parent <= i);
const isObject = (value: unknown): boolean => typeof value === "object" && value !== null && !Array.isArray(value);
const isPositions = (value: unknown): boolean =>
  isNumbers(value) && (value as number[]).every((at) => Number.isInteger(at) && at >= 0 && at < mostDrawn);
const isLength = (value: unknown): boolean =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= mostDrawn;
/** Of each tap as many numbers as will ever be drawn. */
const isReadings = (value: unknown): boolean =>
  isObject(value) &&
  Object.values(value as object).every((one) => isNumbers(one) && (one as unknown[]).length <= mostDrawn);
/** An object with these fields, and whatever else. */
const isOf = (fields: Readonly<Record<string, (value: unknown) => boolean>>) => (value: unknown) =>
  isObject(value) && Object.entries(fields).every(([name, check]) => check((value as Record<string, unknown>)[name]));
const isListOf = (check: (value: unknown) => boolean) => (value: unknown) => Array.isArray(value) && value.every(check);
const isLogprob = isOf({
  raw: isNumber,
  shaped: isNumber,
  top: isOptional(isListOf(isOf({ token: isNumber, raw: isNumber }))),
});
const isPoints = (value: unknown): boolean =>
  Array.isArray(value) && value.every((one) => isNumbers(one) && one.length >= 2);

/** What the drawing of an event relies on. */
const checks: Readonly<Record<string, Readonly<Record<string, (value: unknown) => boolean>>>> = {
  start: { method: isText, model: isText, prompt: isNumbers, seed: isNumber, options: isObject },
  prefill: { tokens: isNumber, cached: isNumber, passes: isNumber, seconds: isNumber },
  tokens: { tokens: isNumbers, text: isText, logprobs: isOptional(isListOf(isLogprob)), forced: isOptional(isNumbers) },
  taps: { position: isNumber, rows: isLength, values: isReadings },
  draft: { tokens: isNumbers, parents: isTree, values: isOptional(isNumbers), passes: isNumber, seconds: isNumber },
  verify: { path: isPositions, token: isNumber, reasons: isTexts, seconds: isNumber },
  learn: {
    updates: isNumber,
    loss: isOptional(isNumber),
    heldOut: isOptional(isNumber),
    note: isOptional(isText),
    acceptance: isOptional(isOf({ positions: isNumber, empirical: isNumber })),
  },
  beams: {
    tokens: isNumbers,
    parents: isNumbers,
    scores: isNumbers,
    groups: isOptional(isNumbers),
    finished: isOptional(isNumbers),
  },
  lengths: { blank: isNumber, tried: isNumbers, scores: isNumbers, chosen: isNumber, passes: isNumber },
  canvas: { length: isLength, positions: isPositions, tokens: isNumbers },
  unmask: {
    pass: isNumber,
    positions: isPositions,
    length: isOptional(isLength),
    tokens: isNumbers,
    confidences: isOptional(isNumbers),
    reasons: isOptional(isTexts),
  },
  truncate: { pass: isNumber, length: isLength },
  refresh: { pass: isNumber, positions: isNumber },
  particles: { tokens: isNumbers, weights: isNumbers, parents: isOptional(isNumbers) },
  constraint: { rejected: isNumbers, checks: isNumber },
  explore: { node: isNumber, parent: isNumber, score: isNumber, tokens: isOptional(isNumbers) },
  contrast: {
    position: isNumber,
    token: isNumber,
    tokens: isNumbers,
    before: isNumbers,
    after: isNumbers,
    exits: isOptional(isNumbers),
  },
  memory: {
    name: isText,
    position: isNumber,
    token: isNumber,
    lambda: isNumber,
    tokens: isNumbers,
    before: isNumbers,
    memory: isNumbers,
    after: isNumbers,
    passages: isOptional(isListOf(isOf({ before: isText, next: isText, share: isNumber }))),
  },
  regions: { task: isNumber, side: isLength, classes: isNumbers, samples: isOptional(isPoints) },
  choice: { arms: isTexts, predicted: isNumbers, probabilities: isNumbers, chosen: isNumber },
  posterior: { step: isNumber, mean: isNumbers, covariance: isNumbers, truth: isOptional(isNumbers) },
  point: {
    chosen: isNumber,
    probabilities: isOptional(isNumbers),
    inputs: isOptional(isPoints),
    of: isOptional(isText),
  },
  retrieval: {
    signal: isListOf(isNumbers),
    of: isOptional(isText),
    candidates: isTexts,
    scores: isNumbers,
    truth: isOptional(isNumber),
  },
  finish: {
    reason: isText,
    counters: isOf({
      ...{ passes: isNumber, rows: isNumber, generated: isNumber, tokensPerPass: isNumber },
      skippedSteps: isOptional(isNumber),
      ...{ drafted: isNumber, accepted: isNumber, draftPasses: isNumber, constraintChecks: isNumber },
    }),
    seconds: isOf({ prefill: isNumber, decode: isNumber }),
  },
};

/** Lists of an event that speak of the same things, one by one. */
const together: Readonly<Record<string, readonly string[]>> = {
  draft: ["tokens", "parents"],
  beams: ["tokens", "parents", "scores"],
  lengths: ["tried", "scores"],
  canvas: ["positions", "tokens"],
  unmask: ["positions", "tokens"],
  contrast: ["tokens", "before", "after"],
  memory: ["tokens", "before", "memory", "after"],
  choice: ["arms", "predicted", "probabilities"],
};

function problemOf(event: unknown): string | undefined {
  if (!isObject(event)) return "not an event";
  const { type, ...fields } = event as Record<string, unknown>;
  if (typeof type !== "string") return "an event without a type";
  if ("version" in fields)
    return `it is of version ${JSON.stringify(fields.version)}, and traces that are read here name none`;
  const expected = { at: isOptional(isNumber), ...(Object.hasOwn(checks, type) && checks[type]) };
  const wrong = Object.entries(expected).find(([name, check]) => !check(fields[name]));
  if (wrong) return `"${wrong[0]}" of the event "${type}" is not what this version knows`;
  const lists = Object.entries(fields).filter((field): field is [string, unknown[]] => Array.isArray(field[1]));
  const drawn = Object.hasOwn(checks, type) && type !== "start" && type !== "tokens";
  const long = drawn && lists.find(([, list]) => list.length > mostDrawn);
  if (long) return `"${long[0]}" of the event "${type}" has more than ${mostDrawn.toLocaleString("en")} entries`;
  const [first, ...others] = (Object.hasOwn(together, type) ? together[type] : []).map(
    (name) => fields[name] as unknown[],
  );
  if (others.some(({ length }) => length !== first.length)) return `the lists of the event "${type}" differ in length`;
  return undefined;
}
