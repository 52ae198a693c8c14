/** Routes that OpenAI's clients expect. */
import { Hono } from "hono";
import type { RouteGroup } from "../app.ts";
import { completions } from "./completions.ts";
import { modelRoutes } from "./models.ts";

export const openaiRoutes: RouteGroup = {
  path: "/v1",
  routes(context) {
    const app = new Hono();
    modelRoutes(app, context);
    app.post("/completions", (c) => completions(c, context));
    return app;
  },
};
