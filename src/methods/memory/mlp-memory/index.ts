/**
 * MLP Memory (Wei et al. 2025): a network without attention that was trained to give, from one hidden state of a frozen model, the distribution that a
 * search in a datastore would have returned; mixed into the model's own, ln p = ln((1 - λ) p_LM + λ p_MLP).
 */
import { z } from "zod";
import { exponential } from "../../../engine/distribution.ts";
import { defineShaper, hostOnly } from "../../../engine/method.ts";
import type { DecodingModel } from "../../../engine/model.ts";
import { logSumExp, topLogprobs } from "../../../engine/shapers/logprobs.ts";
import { ensure, ofOption } from "../../../errors.ts";
import { checkJson } from "../../../json.ts";
import { parameterMaker } from "../../../models/parameters.ts";
import type { Part } from "../../../models/parts.ts";
import { siteNamed } from "../../../models/sites.ts";
import { compile, type Program, valueMaker } from "../../../runtime/program.ts";
import { input, logSoftmax, lower } from "../../../tensor/index.ts";
import { weightFile } from "../../../training/graph-objective.ts";
import { ownFormats } from "../../../weights/index.ts";
import { lambdaOption, type Recollection, recallingShaper } from "../recalling.ts";
import { type MemoryShape, memoryLogits, requireTensors } from "./network.ts";

export const memoryKind = "mlp-memory";

/** What a memory's card says of it. */
export const memorySettings = z.object({
  blocks: z.int().min(1).max(1000),
  kind: z.enum(["swiglu", "gelu"]),
  inputWidth: z
    .int()
    .min(1)
    .max(2 ** 16),
  width: z
    .int()
    .min(1)
    .max(2 ** 16),
  innerWidth: z
    .int()
    .min(1)
    .max(2 ** 20),
  vocabularySize: z
    .int()
    .min(1)
    .max(2 ** 24),
  epsilon: z.number().positive().max(1),
});

/** Precision of a memory's matrices. */
export const memoryWeights = ["int8", "f32"] as const;
export type MemoryWeights = (typeof memoryWeights)[number];

export const mlpMemory = defineShaper({
  name: "mlp-memory",
  summary: "mixes in what a trained network remembers of texts, without any search",
  source: "Wei et al. 2025, MLP Memory (arXiv 2508.01832)",
  options: z.strictObject({
    memory: hostOnly(
      z
        .string()
        .min(1)
        .max(4096)
        .describe("a part beside the model by its name, or a folder that ventris memory train wrote"),
    ),
    lambda: lambdaOption,
    temperature: z
      .number()
      .positive()
      .max(100)
      .default(1)
      .describe(
        "divides the logits of the memory: below 1 it counts on what it is surest of, above 1 it spreads; change it where the memory is too sure or too vague",
      ),
    weights: z
      .enum(memoryWeights)
      .default("int8")
      .describe(
        "how the memory's matrices are kept: int8 reads a quarter of the bytes for every token, f32 leaves them as they were trained",
      ),
  }),
  async create(host, { memory: reference, lambda, temperature, weights }) {
    const memory = await host.model.state(`mlp-memory ${reference} ${weights}`, () =>
      ofOption("memory", () => openMemory(host.model, reference, weights)),
    );
    return recallingShaper(host, {
      name: "mlp-memory",
      site: memory.site,
      width: memory.shape.inputWidth,
      lambda,
      recall: async (states) => (await memory.recall(states)).map((logprobs) => recollection(logprobs, temperature)),
    });
  },
});

/** The memory's distribution, from its log-probabilities, as a recollection. Errors: `bad_option`. */
export function recollection(logprobs: Float32Array, temperature: number): Recollection {
  ensure(temperature > 0, "bad_option", `temperature must be above 0, not ${temperature}`);
  if (temperature === 1) return recollectionOf(logprobs, 0);
  // The largest is taken off first: divided by the least of temperatures, all would be minus infinity.
  const most = logprobs.reduce((a, b) => Math.max(a, b), -Infinity);
  const scaled = logprobs.map((logprob) => (logprob - most) / temperature);
  return recollectionOf(scaled, logSumExp(scaled));
}

/** `normaliser`: ln of the sum of the logits' exponentials. */
function recollectionOf(logits: Float32Array, normaliser: number): Recollection {
  return {
    table: { logits, normaliser },
    probability: (token) => exponential(Math.min(0, logits[token] - normaliser)),
    get tokens() {
      return topLogprobs(logits, 4, normaliser).map(({ token }) => token);
    },
  };
}

export interface OpenMemory {
  readonly site: string;
  readonly shape: MemoryShape;
  readonly part: Part;
  /** Log-probabilities [vocabulary] for each state of [rows, width]; a row's bits do not depend on the others. */
  recall(states: Float32Array): Promise<Float32Array[]>;
  close(): Promise<void>;
}

/** Rows of a pass: as many have the same bits as each of them alone. */
const rowsTogether = 64;

/** Errors: those of parts; `bad_file` for a card or tensors that are no memory's; `bad_option` for one of another vocabulary. */
export async function openMemory(
  model: Pick<DecodingModel, "part" | "sites" | "config" | "name">,
  reference: string,
  weights: MemoryWeights = "int8",
): Promise<OpenMemory> {
  const part = await model.part(reference, memoryKind);
  const shape = checkJson(memorySettings, part.card.settings, `the part ${part.card.name}: settings`);
  const [site] = part.card.sites;
  ensure(
    part.card.sites.length === 1,
    "bad_file",
    `the part ${part.card.name}: a memory reads one site, not ${part.card.sites.length}`,
  );
  const { width } = siteNamed(model.sites(), site);
  ensure(
    width === shape.inputWidth,
    "bad_file",
    `the part ${part.card.name}: ${site} is ${width} wide, not ${shape.inputWidth}`,
  );
  const { vocabularySize } = model.config;
  ensure(shape.vocabularySize === vocabularySize, "bad_option", () => {
    return `the memory ${part.card.name} has ${shape.vocabularySize} tokens, and ${model.name} ${vocabularySize}`;
  });
  requireTensors(shape, part.tensors, `the part ${part.card.name}`);
  const values = new Map([...part.tensors].map(([name, tensor]) => [name, tensor.values]));
  // Threads that wait by spinning would take the cores from the model's own pass.
  const program = await compileMemory(shape, values, { weights, threads: 1 });
  let last: Promise<unknown> = Promise.resolve();
  return {
    site,
    shape,
    part,
    recall(states) {
      const result = last.then(() => recallAll(program, shape, states));
      last = result.catch(() => {});
      return result;
    },
    async close() {
      await last;
      await program.release();
    },
  };
}

/** The network with its weights as constants. */
export function compileMemory(
  shape: MemoryShape,
  values: ReadonlyMap<string, Float32Array>,
  { weights = "int8", threads }: { weights?: MemoryWeights; threads?: number } = {},
): Promise<Program> {
  // Log-probabilities at once: here a sum of exponentials over the vocabulary would cost a third of the network's time.
  const logprobs = logSoftmax(memoryLogits(input("states", ["rows", shape.inputWidth]), shape, parameterMaker()));
  const blocks = weights === "int8" ? () => ownFormats[8] : undefined;
  const lowered = lower({ logprobs }, { parameters: "weights", blocks });
  return compile(lowered, { threads, weights: weightFile(lowered, values) });
}

export async function recallAll(
  program: Program,
  { inputWidth, vocabularySize }: MemoryShape,
  states: Float32Array,
): Promise<Float32Array[]> {
  const value = await valueMaker();
  const rows: Float32Array[] = [];
  for (let at = 0; at * inputWidth < states.length; at += rowsTogether) {
    const some = states.slice(at * inputWidth, (at + rowsTogether) * inputWidth);
    const count = some.length / inputWidth;
    const { logprobs } = await program.run({ states: value("float32", some, [count, inputWidth]) });
    for (let row = 0; row < count; row++)
      rows.push((logprobs.data as Float32Array).subarray(row * vocabularySize, (row + 1) * vocabularySize));
  }
  return rows;
}
