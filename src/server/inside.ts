/** Routes of the studio that look inside a model: neurons, codes, and how states lie to predictions. Each waits for a turn, and ends when its asker goes. */
import { type Context, Hono } from "hono";
import { z } from "zod";
import type { RouteContext, RouteGroup } from "./app.ts";
import { asking } from "./asking.ts";
import { parseBody, readJson } from "./errors.ts";
import { knownModel } from "./listed.ts";
import { type Calls, markovChoices } from "./protocol.ts";

const word = z.strictObject({ word: z.string().min(1).max(100).optional() });
const place = z.strictObject({ site: z.string().min(1).max(200), group: z.int().min(0).max(65_535) });
const code = place.extend({
  code: z
    .int()
    .min(0)
    .max(2 ** 24),
});
const text = place.extend({ text: z.string().min(1).max(5000) });
const expression = z.strictObject({ expression: z.string().min(1).max(500) });
const measuring = z.strictObject({
  reference: z.string().min(1).max(200).optional(),
  what: z.array(z.enum(markovChoices)).min(1).max(markovChoices.length),
});

export const insideRoutes: RouteGroup = {
  path: "/api/models/:name",
  routes(context: RouteContext) {
    const { engine } = context;
    const app = new Hono();

    /** Answers with what the engine says of the model that the path names. */
    async function answer<Name extends keyof Calls>(
      c: Context,
      name: Name,
      values: (model: string) => Parameters<Calls[Name]> | Promise<Parameters<Calls[Name]>>,
    ): Promise<Response> {
      const given = await values(await knownModel(c.req.param("name") ?? ""));
      const { signal, end, explain } = await asking(context, 1, c.req.raw.signal);
      try {
        return c.json((await engine.ask(signal, name, ...given)) as object);
      } catch (error) {
        throw signal.aborted ? explain() : error;
      } finally {
        end();
      }
    }
    const body = async <Schema extends z.ZodType>(c: Context, schema: Schema): Promise<z.output<Schema>> =>
      parseBody(schema, await readJson(c.req.raw));

    app.post("/neurons", async (c) => {
      const { word: wanted } = await body(c, word);
      return answer(c, "neurons", (model) => [model, wanted]);
    });
    app.get("/codebooks", (c) => answer(c, "codebooks", (model) => [model]));
    app.post("/codes", async (c) => {
      const at = await body(c, place);
      return answer(c, "codes", (model) => [model, at]);
    });
    app.post("/codes/one", async (c) => {
      const one = await body(c, code);
      return answer(c, "code", (model) => [model, one]);
    });
    app.post("/codes/text", async (c) => {
      const { text: given, ...at } = await body(c, text);
      return answer(c, "codedText", (model) => [model, at, given]);
    });
    app.post("/codes/find", async (c) => {
      const given = await body(c, expression);
      return answer(c, "findCodes", (model) => [model, given.expression]);
    });
    app.post("/markov", async (c) => {
      const { reference, what } = await body(c, measuring);
      return answer(c, "markov", async (model) => [
        model,
        { what, ...(reference !== undefined && { reference: await knownModel(reference) }) },
      ]);
    });
    return app;
  },
};
