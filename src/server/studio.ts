/** Routes of the studio: papers, methods, models, measurements as JSON, and runs as a stream of trace events. */

import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Hono } from "hono";
import { z } from "zod";
import { methodChoice, shaperChoice } from "../calls.ts";
import { listModels } from "../cli/models.ts";
import { requestOptions } from "../engine/decoding.ts";
import { hostOnlyOptions, type Method } from "../engine/method.ts";
import type { TimedEvent } from "../engine/trace.ts";
import { ensure } from "../errors.ts";
import { findMethod, methods } from "../methods/index.ts";
import { papers } from "../papers/index.ts";
import { judge } from "../papers/judge.ts";
import { readRecord, recordsFolder } from "../papers/records.ts";
import type { RouteContext, RouteGroup } from "./app.ts";
import { asking } from "./asking.ts";
import { answerOf, OptionError, parseBody, readJson } from "./errors.ts";
import { findModel, knownModel } from "./listed.ts";
import { readShapers } from "./openai/fields.ts";
import { event, eventStream } from "./sse.ts";

const schemaOf = (schema: z.ZodType): unknown => z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });

/** In a checkout: the records of the benchmarks. */
const benchFolder = fileURLToPath(new URL("../../bench/results/", import.meta.url));

const runBody = z.strictObject({
  model: z.string().min(1).max(200),
  prompt: z.union([z.string().min(1).max(200_000), z.array(z.int().min(0)).min(1).max(100_000)]),
  method: z.record(z.string(), z.json()).and(z.object({ name: z.string() })),
  options: z.record(z.string(), z.json()).default({}),
  shapers: z.array(z.json()).max(16).default([]),
});

const textBody = z.strictObject({ text: z.string().max(50_000) });

export const studioRoutes: RouteGroup = {
  path: "/api",
  routes(context: RouteContext) {
    const { engine, loopback } = context;
    const app = new Hono();

    app.get("/papers", (c) =>
      c.json(
        papers.map(({ reproduction, ...paper }) => {
          const record = readRecord(paper.name);
          return {
            ...paper,
            claims: judge({ ...paper, reproduction }, record).map(({ claim, measurement, holds }) => ({
              ...claim,
              measurement,
              verdict: holds,
            })),
            state: reproduction ? "runs" : "planned",
            record: record && { ...record, measurements: undefined },
            trace: existsSync(tracePath(paper.name)),
          };
        }),
      ),
    );

    app.get("/papers/:name/trace", async (c) => {
      const { name } = c.req.param();
      const known = papers.some((paper) => paper.name === name) && existsSync(tracePath(name));
      ensure(known, "unavailable", `no trace is kept for "${name}"`);
      return c.body(await readFile(tracePath(name), "utf8"), 200, {
        "Content-Type": "application/jsonl; charset=utf-8",
      });
    });

    app.get("/methods", (c) =>
      c.json({
        request: schemaOf(requestOptions),
        methods: methods.map(({ name, family, summary, source, lossless, needs = ["forest"], options }) => ({
          name,
          family,
          needs,
          summary,
          source,
          lossless: typeof lossless === "function" ? "depends on the options" : lossless,
          options: schemaOf(options),
        })),
      }),
    );

    app.get("/models", async (c) => c.json((await listModels()).map(({ path: _, ...entry }) => entry)));

    app.get("/models/:name/card", async (c) => {
      const folder = (await findModel(c.req.param("name"))).path;
      const text = (file: string) => readFile(join(folder, file), "utf8").catch(() => undefined);
      const config = await text("config.json");
      return c.json({
        card: await text("README.md"),
        config: config && JSON.parse(config),
        lossCurve: existsSync(join(folder, "loss.svg")),
      });
    });

    app.get("/models/:name/loss.svg", async (c) => {
      const path = join((await findModel(c.req.param("name"))).path, "loss.svg");
      ensure(existsSync(path), "unavailable", "this model has no loss curve");
      return c.body(await readFile(path, "utf8"), 200, { "Content-Type": "image/svg+xml" });
    });

    app.get("/models/:name/facts", async (c) =>
      c.json(await engine.call("open", await knownModel(c.req.param("name")))),
    );

    app.get("/models/:name/vocabulary", async (c) =>
      c.json(await engine.call("vocabulary", await knownModel(c.req.param("name")))),
    );

    app.post("/models/:name/tokens", async (c) => {
      const { text } = parseBody(textBody, await readJson(c.req.raw));
      return c.json(await engine.call("tokenize", await knownModel(c.req.param("name")), text));
    });

    app.get("/measurements", async (c) => {
      const names = await readdir(benchFolder).catch(() => []);
      const bench = names
        .filter((name) => name.endsWith(".json"))
        .map(async (name) => ({
          name: name.slice(0, -5),
          record: JSON.parse(await readFile(join(benchFolder, name), "utf8")),
        }));
      const records = papers.flatMap(({ name }) => readRecord(name) ?? []);
      return c.json({ records, bench: await Promise.all(bench) });
    });

    app.post("/runs", async (c) => {
      const { model, prompt, method, options, shapers } = parseBody(runBody, await readJson(c.req.raw));
      await knownModel(model);
      const { name, ...given } = method;
      const chosen = findMethod(name);
      await checkHostOptions(chosen, given, loopback);
      checkOptions(chosen.options, given, "method");
      checkOptions(requestOptions, options, "request");
      const also = readShapers(shapers, (option, message) => {
        throw new OptionError([{ where: "request", option, message }]);
      });
      const request = {
        model,
        prompt,
        options: { ...options, shapers: also.map(shaperChoice), method: methodChoice(method) },
      };
      const { signal, end } = await asking(context, 1, c.req.raw.signal);
      const pieces = eventsOf(engine.run(request, signal));
      return eventStream({ pieces, first: await pieces.next(), failed, end }, {});
    });

    return app;
  },
};

async function* eventsOf(runs: AsyncIterable<TimedEvent[]>): AsyncGenerator<string, void> {
  try {
    for await (const events of runs) yield events.map((one) => event(one)).join("");
  } catch (error) {
    yield failed(error);
  }
}

function failed(error: unknown): string {
  const { code, message } = answerOf(error).body.error;
  return event({ code, message }, "failure");
}

/**
 * What only the host decides may be said as it is anyway, and on the host itself as the name of a listed model, which a request may open
 * as its own. Errors: `bad_option`.
 */
async function checkHostOptions(
  method: Method,
  given: Readonly<Record<string, unknown>>,
  local: boolean,
): Promise<void> {
  const usual = method.options.safeParse({}).data ?? {};
  for (const option of hostOnlyOptions(method)) {
    const value = given[option];
    if (value === undefined || value === usual[option]) continue;
    const listed = local && typeof value === "string" && (await listModels()).some(({ name }) => name === value);
    if (listed) continue;
    const who = local
      ? `no model ${JSON.stringify(value)} is listed here, and this page opens no other`
      : "is for the host of the server to decide";
    throw new OptionError([{ where: "method", option, message: who }]);
  }
}

const tracePath = (name: string): string => join(recordsFolder, `${name}.trace.jsonl`);

/** Options that are wrong are said by name, so that a form can say it at the field. */
function checkOptions(schema: z.ZodType, given: Readonly<Record<string, unknown>>, where: "method" | "request"): void {
  const { error } = schema.safeParse(given);
  if (!error) return;
  throw new OptionError(
    error.issues.map(({ path, message, ...issue }) => {
      const unknown = "keys" in issue ? (issue.keys as string[])[0] : undefined;
      return {
        where,
        option: String(path[0] ?? unknown ?? ""),
        message: unknown ? "there is no such option" : message,
      };
    }),
  );
}
