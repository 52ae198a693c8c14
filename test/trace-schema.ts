/** The trace format as a schema: what every event of every method must be. `docs/trace.md` documents it. */
import { z } from "zod";
import type { TraceEvent } from "../src/engine/trace.ts";

const count = z.int().min(0);
const token = count;
const tokens = z.array(token);
const logprob = z.number().max(0);
const seconds = z.number().min(0);
const numbers = z.array(z.number());

const counters = z.strictObject({
  passes: z.int().min(1),
  skippedSteps: z.int().min(1).optional(),
  rows: z.int().min(1),
  prefillTokens: count,
  cachedTokens: count,
  generated: z.int().min(1),
  tokensPerPass: z.number().min(0),
  drafted: count,
  accepted: count,
  draftPasses: count,
  failedDrafts: z.int().min(1).optional(),
  constraintChecks: count,
  missed: z
    .strictObject({
      places: count,
      largest: z.number().min(0).max(1.001),
      share: z.number().min(0).max(1).optional(),
    })
    .optional(),
  search: z
    .strictObject({
      tokens: count,
      rewardCalls: count,
      expansions: count,
      duplicates: count,
      rejected: count,
      peakOpen: count,
    })
    .optional(),
});

const tokenLogprob = z.strictObject({
  token,
  text: z.string(),
  raw: logprob,
  shaped: logprob,
  top: z.array(z.strictObject({ token, text: z.string(), raw: logprob })).optional(),
});

/** What every event may have. `at` is there in saved traces alone. */
const notes = { request: count.optional(), texts: z.array(z.string()).optional(), at: seconds.optional() };
const kind = <Name extends string, Shape extends z.ZodRawShape>(type: Name, shape: Shape) =>
  z.strictObject({ type: z.literal(type), ...shape, ...notes });

export const traceEvent = z.discriminatedUnion("type", [
  kind("start", {
    method: z.string(),
    model: z.string(),
    /** -1: a row that is a vector. */
    prompt: z.array(z.int().min(-1)).min(1),
    seed: z.int(),
    options: z.record(z.string(), z.unknown()),
  }),
  kind("prefill", { tokens: count, cached: count, passes: count, seconds }),
  kind("tokens", {
    tokens,
    text: z.string(),
    forced: z.array(count).min(1).optional(),
    logprobs: z.array(tokenLogprob).optional(),
  }),
  kind("taps", { position: count, rows: z.int().min(1), values: z.record(z.string(), numbers) }),
  kind("draft", {
    tokens,
    parents: tokens,
    values: numbers.optional(),
    note: z.string().optional(),
    passes: count,
    seconds,
  }).refine(({ tokens, note }) => tokens.length > 0 || note !== undefined, "an empty draft says why"),
  kind("verify", { path: tokens, token, text: z.string().optional(), reasons: z.array(z.string()), seconds }),
  kind("learn", {
    updates: count,
    loss: z.number().optional(),
    heldOut: z.number().optional(),
    acceptance: z.strictObject({ positions: z.number(), exact: z.number(), empirical: z.number() }).optional(),
    note: z.string().optional(),
  }),
  kind("beams", {
    /** -1: a text that has ended already. */
    tokens: z.array(z.int().min(-1)),
    /** -1: the prompt. */
    parents: z.array(z.int().min(-1)),
    scores: numbers,
    groups: tokens.optional(),
    finished: tokens.optional(),
  }),
  kind("lengths", {
    blank: count,
    tried: z.array(z.int().min(1)).min(1),
    scores: z.array(logprob).min(1),
    chosen: z.int().min(1),
    passes: z.int().min(1),
  }),
  kind("canvas", { length: z.int().min(1), positions: tokens, tokens }),
  kind("unmask", {
    pass: z.int().min(1),
    positions: tokens,
    tokens,
    confidences: z.array(z.number().min(0).max(1)).optional(),
    reasons: z.array(z.string()).optional(),
  }),
  kind("truncate", { pass: z.int().min(1), length: z.int().min(1) }),
  kind("refresh", { pass: z.int().min(1), positions: z.int().min(1) }),
  kind("particles", {
    /** -1: one that has ended already, or died. */
    tokens: z.array(z.int().min(-1)),
    weights: numbers,
    parents: tokens.optional(),
    logEvidence: z.number().optional(),
  }),
  kind("constraint", {
    rejected: tokens,
    token: token.optional(),
    text: z.string().optional(),
    allowed: count.optional(),
    checks: count,
  }),
  kind("contrast", {
    position: count,
    token,
    tokens,
    before: numbers,
    after: numbers,
    exits: tokens.optional(),
  }),
  kind("memory", {
    name: z.string(),
    position: count,
    token,
    lambda: z.number(),
    tokens,
    before: numbers,
    memory: numbers,
    after: numbers,
    passages: z
      .array(
        z.strictObject({
          document: count,
          at: count,
          before: z.string(),
          next: z.string(),
          share: z.number(),
          distance: z.number(),
        }),
      )
      .optional(),
  }),
  kind("explore", {
    node: count,
    parent: z.int().min(-1),
    score: z.number(),
    tokens: tokens.optional(),
    reward: z.number().min(0).max(1).optional(),
    solution: z.boolean().optional(),
    chosen: z.boolean().optional(),
    note: z.string().optional(),
  }),
  kind("regions", {
    task: count,
    side: z.int().min(1),
    classes: z.array(z.int().min(-1)),
    samples: z.array(z.tuple([z.number(), z.number(), count])).optional(),
  }),
  kind("choice", {
    arms: z.array(z.string()),
    predicted: numbers,
    probabilities: z.array(z.number().min(0).max(1)),
    chosen: count,
  }),
  kind("posterior", { step: count, mean: numbers, covariance: numbers, truth: numbers.optional() }),
  kind("point", {
    chosen: z.int().min(-1),
    probabilities: numbers.optional(),
    inputs: z.array(z.tuple([z.number(), z.number()])).optional(),
    of: z.string().optional(),
  }),
  kind("retrieval", {
    signal: z.array(numbers),
    of: z.string().optional(),
    candidates: z.array(z.string()),
    scores: numbers,
    truth: count.optional(),
  }),
  kind("finish", {
    reason: z.enum(["stop", "length", "context", "aborted", "end", "incomplete"]),
    stop: z.string().optional(),
    ending: tokenLogprob.optional(),
    counters,
    seconds: z.strictObject({ load: seconds, prefill: seconds, decode: seconds }),
  }),
]) satisfies z.ZodType<TraceEvent>;

/** Compiles only while every kind of event has its schema. */
export const everyKind: z.output<typeof traceEvent>["type"] = undefined as unknown as TraceEvent["type"];
