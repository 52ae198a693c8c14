/** Routes of the studio: papers, methods, models, measurements as JSON, and runs as a stream of trace events. */

import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Hono } from "hono";
import { z } from "zod";
import { listModels } from "../cli/models.ts";
import { requestOptions } from "../engine/decoding.ts";
import type { TimedEvent } from "../engine/trace.ts";
import { ensure } from "../errors.ts";
import { methods } from "../methods/index.ts";
import { findPaper, papers } from "../papers/index.ts";
import { judge } from "../papers/judge.ts";
import { readRecord, recordsFolder } from "../papers/records.ts";
import type { ReproductionRecord } from "../papers/reproduction.ts";
import type { RouteContext, RouteGroup } from "./app.ts";
import { asking } from "./asking.ts";
import { answerOf, parseBody, readJson } from "./errors.ts";
import { findModel, knownModel } from "./listed.ts";
import { readRun } from "./run-body.ts";
import { event, eventStream } from "./sse.ts";

const schemaOf = (schema: z.ZodType): unknown => z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });

/** In a checkout: the records of the benchmarks. */
const benchFolder = fileURLToPath(new URL("../../bench/results/", import.meta.url));

const textBody = z.strictObject({ text: z.string().max(50_000) });

export const studioRoutes: RouteGroup = {
  path: "/api",
  routes(context: RouteContext) {
    const { engine, loopback } = context;
    const app = new Hono();

    app.get("/papers", (c) =>
      c.json(
        papers.map(({ reproduction, ...paper }) => {
          const { record, unreadable } = recordOf(paper.name);
          return {
            ...paper,
            claims: judge({ ...paper, reproduction }, record).map(({ claim, measurement, holds }) => ({
              ...claim,
              measurement,
              verdict: holds,
            })),
            state: reproduction ? "runs" : "planned",
            record: record && { ...record, measurements: undefined },
            unreadable,
            trace: existsSync(tracePath(paper.name)),
          };
        }),
      ),
    );

    app.get("/papers/:name/trace", async (c) => {
      const { name } = c.req.param();
      const known = papers.some((paper) => paper.name === name) && existsSync(tracePath(name));
      ensure(known, "unavailable", `no trace is kept for "${name}"`);
      return c.body(await readFile(tracePath(name), "utf8"), 200, traceType);
    });

    app.post("/papers/:name/live", async (c) => {
      const paper = findPaper(c.req.param("name"));
      ensure(
        paper.showcase && "live" in paper.showcase,
        "unavailable",
        `${paper.name} has no run of its own to be watched: it is decoded, or looked into`,
      );
      const { signal, end, explain } = await asking(context, 1, c.req.raw.signal);
      try {
        const events = await engine.ask(signal, "live", paper.name);
        return c.body(events.map((one) => `${JSON.stringify(one)}\n`).join(""), 200, traceType);
      } catch (error) {
        throw signal.aborted ? explain() : error;
      } finally {
        end();
      }
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
      const records = papers.flatMap(({ name }) => recordOf(name).record ?? []);
      return c.json({ records, bench: await Promise.all(bench) });
    });

    app.post("/runs", async (c) => {
      const request = await readRun(await readJson(c.req.raw), {
        local: loopback,
        listed: listedNames,
        known: knownModel,
      });
      const { signal, end } = await asking(context, 1, c.req.raw.signal);
      const pieces = eventsOf(engine.run(request, signal));
      return eventStream({ pieces, first: await pieces.next(), failed, end }, {});
    });

    return app;
  },
};

/** One damaged record does not take the other systems with it: its card says so, and the server's output why. */
function recordOf(name: string): { record?: ReproductionRecord; unreadable?: true } {
  try {
    return { record: readRecord(name) };
  } catch (error) {
    console.error(`ventris: ${(error as Error).message}`);
    return { unreadable: true };
  }
}

async function* eventsOf(runs: AsyncIterable<TimedEvent[]>): AsyncGenerator<string, void> {
  try {
    for await (const events of runs) yield events.map((one) => event(one)).join("");
  } catch (error) {
    yield failed(error);
  }
}

function failed(error: unknown): string {
  const { code, message, fields } = answerOf(error).body.error;
  return event({ code, message, fields }, "failure");
}

const traceType = { "Content-Type": "application/jsonl; charset=utf-8" };

const listedNames = async (): Promise<string[]> => (await listModels()).map(({ name }) => name);

const tracePath = (name: string): string => join(recordsFolder, `${name}.trace.jsonl`);
