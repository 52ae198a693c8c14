/** `/v1/embeddings`: texts as vectors, the mean of their final states scaled to length 1. */
import type { Context } from "hono";
import { z } from "zod";
import type { RouteContext } from "../app.ts";
import { asking } from "../asking.ts";
import { readJson } from "../errors.ts";
import { blame } from "./answer.ts";
import { longestPrompt, modelField, readFields, textsField } from "./fields.ts";

const fields = z.strictObject({
  model: modelField,
  input: textsField(z.string().min(1).max(longestPrompt), 2048),
  encoding_format: z.enum(["float", "base64"]).default("float"),
  user: z.string().max(1000).optional(),
});

const unsupported = { dimensions: "vectors are as wide as the model" };

export async function embeddings(c: Context, context: RouteContext): Promise<Response> {
  const { input, encoding_format: format, model: name } = readFields(fields, await readJson(c.req.raw), unsupported);
  const model = await context.catalogue.find(name);
  const texts =
    typeof input === "string" || typeof input[0] === "number" ? [input as string | number[]] : (input as string[]);
  const client = await asking(context, 1, c.req.raw.signal);
  try {
    const { vectors, tokens } = await context.engine.ask(client.signal, "embed", model, texts);
    const data = vectors.map((vector, index) => ({
      object: "embedding",
      index,
      embedding: format === "float" ? Array.from(vector) : base64(vector),
    }));
    return c.json({ object: "list", data, model, usage: { prompt_tokens: tokens, total_tokens: tokens } });
  } catch (error) {
    throw client.signal.aborted ? client.explain() : blame(error, { prompt: "input" });
  } finally {
    client.end();
  }
}

/** Little-endian, as every machine here has them. */
const base64 = ({ buffer, byteOffset, byteLength }: Float32Array): string =>
  Buffer.from(buffer, byteOffset, byteLength).toString("base64");
