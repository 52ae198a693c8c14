/** Routes that OpenAI's clients expect. */
import { Hono } from "hono";
import type { RouteGroup } from "../app.ts";
import { chatCompletions } from "./chat.ts";
import { completions } from "./completions.ts";
import { embeddings } from "./embeddings.ts";
import { modelRoutes } from "./models.ts";
import { responses } from "./responses.ts";

export const openaiRoutes: RouteGroup = {
  path: "/v1",
  routes(context) {
    const app = new Hono();
    modelRoutes(app, context);
    app.post("/completions", (c) => completions(c, context));
    app.post("/chat/completions", (c) => chatCompletions(c, context));
    app.post("/embeddings", (c) => embeddings(c, context));
    app.post("/responses", (c) => responses(c, context));
    return app;
  },
};
