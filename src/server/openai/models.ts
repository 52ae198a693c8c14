/** `/v1/models`: what requests may name. */
import type { Hono } from "hono";
import type { RouteContext } from "../app.ts";
import type { Served } from "../catalogue.ts";

const entry = ({ name, created, origin }: Served): object => ({ id: name, object: "model", created, owned_by: origin });

export function modelRoutes(app: Hono, { catalogue }: RouteContext): void {
  app.get("/models", async (c) => c.json({ object: "list", data: (await catalogue.list()).map(entry) }));
  // Names of the hub have a slash.
  app.get("/models/:name{.+}", async (c) => {
    const name = await catalogue.find(c.req.param("name"));
    const found = (await catalogue.list()).find((one) => one.name === name)!;
    return c.json(entry(found));
  });
}
