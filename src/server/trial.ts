/**
 * A thread that compiles constraints of strangers before the engine does, and takes a few steps in each: what that costs is found out where
 * nobody else waits. Whoever started it ends it when a trial takes too long.
 */
import {
  type Constraint,
  type ConstraintChoice,
  createConstraint,
  createVocabulary,
  forgetConstraints,
  hasBit,
  tryTokens,
  type Vocabulary,
} from "../constraints/index.ts";
import { VentrisError } from "../errors.ts";
import { serveThread } from "../runtime/thread.ts";
import { toolConstraint } from "../tool-calls.ts";
import { type Form, mostVocabularies, type Trial, type Verdict } from "./trial-face.ts";

const vocabularies = new Map<string, Vocabulary>();

/** Steps of a walk, each with a mask; enough to leave what a schema begins with. */
const mostSteps = 24;

function walk({ start }: Constraint, vocabulary: Vocabulary): void {
  let state = start;
  let random = 1;
  for (let step = 0; step < mostSteps; step++) {
    const bits = state.allowed?.(vocabulary) ?? tryTokens(state, vocabulary);
    const allowed: number[] = [];
    for (let token = 0; token < vocabulary.size; token++) if (hasBit(bits, token)) allowed.push(token);
    if (allowed.length === 0) return;
    random = (Math.imul(random, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    for (const byte of vocabulary.bytes(allowed[random % allowed.length])) {
      const next = state.push(byte);
      if (!next) return;
      state = next;
    }
  }
}

function judge(model: string, form: Form): Verdict {
  forgetConstraints();
  const [began, used] = [performance.now(), process.cpuUsage()];
  try {
    const { tools, constraint } = form;
    const vocabulary = vocabularies.get(model);
    for (const one of [tools && toolConstraint(tools), constraint && createConstraint(constraint)])
      if (one && vocabulary) walk(one, vocabulary);
  } catch (error) {
    if (error instanceof VentrisError) return { error: { code: error.code, message: error.message } };
    // A stack that is full, a set that is: of the schema, not of the server.
    const message = `constraint: it cannot be compiled (${(error as Error).message})`;
    return { error: { code: "bad_option", message } };
  }
  // What it takes of a processor, as others may have kept it waiting. The whole process's use is at least its own.
  const { user, system } = process.cpuUsage(used);
  return { seconds: Math.min((performance.now() - began) / 1000, (user + system) / 1e6) };
}

/** Of the usual kinds: the first trial is then not one of code that was never run. */
const usual: readonly ConstraintChoice[] = [
  {
    jsonSchema: {
      type: "object",
      properties: {
        name: { type: "string", minLength: 1, maxLength: 40, pattern: "^[A-Z][a-z]+$" },
        age: { type: "integer", minimum: 0, maximum: 150 },
        tags: { type: "array", items: { anyOf: [{ enum: ["a", "b"] }, { type: "number" }] }, maxItems: 5 },
        more: { $ref: "#/$defs/more" },
      },
      required: ["name"],
      $defs: { more: { type: "object", additionalProperties: { type: ["string", "null", "boolean"] } } },
    },
  },
  { regex: "[0-9]{4}-(a|b)+" },
];

serveThread<Trial>({
  async learn(model, { bytes, lengths }) {
    const ends: number[] = [];
    for (const length of lengths) ends.push((ends.at(-1) ?? 0) + length);
    const [oldest] = vocabularies.keys();
    if (vocabularies.size >= mostVocabularies) vocabularies.delete(oldest);
    vocabularies.set(
      model,
      createVocabulary(lengths.length, (token) => bytes.subarray(ends[token] - lengths[token], ends[token])),
    );
    for (const constraint of usual) judge(model, { constraint });
  },
  judge: async (model, form) => judge(model, form),
  async close() {},
});
