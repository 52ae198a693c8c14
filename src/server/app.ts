/**
 * The HTTP application: one Hono app, one engine, and groups of routes that are mounted on it. Every failure is JSON,
 * `{ error: { code, message } }`. What listens on loopback answers to loopback's names alone, so that a page from elsewhere cannot
 * reach it by rebinding a name, nor by posting from another origin.
 */
import { Hono, type MiddlewareHandler } from "hono";
import { bodyLimit } from "hono/body-limit";
import { VentrisError } from "../errors.ts";
import type { Engine } from "./engine.ts";

/** Wrong options, each by its name, so that a form can say it at the field and a client gets it in one piece. */
export class OptionError extends VentrisError {
  readonly fields: readonly {
    readonly where: "method" | "request";
    readonly option: string;
    readonly message: string;
  }[];
  constructor(fields: OptionError["fields"]) {
    super("bad_option", fields.map(({ option, message }) => `${option}: ${message}`).join("; "));
    this.fields = fields;
  }
}

/** What a group of routes gets. */
export interface RouteContext {
  readonly engine: Engine;
  readonly version: string;
}

export interface RouteGroup {
  readonly path: string;
  routes(context: RouteContext): Hono;
}

export interface AppOptions extends RouteContext {
  readonly groups: readonly RouteGroup[];
  /** Whether only loopback's names are served; false for a server that was told to listen elsewhere. */
  readonly loopback: boolean;
  readonly bodyBytes?: number;
}

const statusOf: Readonly<Record<string, 400 | 404 | 408 | 503>> = {
  bad_option: 400,
  bad_shape: 400,
  context_full: 400,
  constraint_dead_end: 400,
  unavailable: 404,
  aborted: 503,
  out_of_memory: 503,
  runtime_failed: 503,
};

export function createApp({ groups, loopback, bodyBytes = 2 ** 20, ...context }: AppOptions): Hono {
  const app = new Hono();
  app.use(secure);
  if (loopback) app.use(loopbackOnly);
  app.use(
    bodyLimit({
      maxSize: bodyBytes,
      onError: (c) => {
        // The rest of the body is not read, so that the connection cannot serve another request.
        c.header("Connection", "close");
        return c.json({ error: { code: "bad_option", message: `a body of more than ${bodyBytes} bytes` } }, 413);
      },
    }),
  );
  app.get("/health", (c) => c.json({ ok: true, version: context.version, active: context.engine.active }));
  for (const { path, routes } of groups) app.route(path, routes(context));
  app.notFound((c) => c.json({ error: { code: "unavailable", message: `nothing at ${c.req.path}` } }, 404));
  app.onError((error, c) => {
    const known = error instanceof VentrisError;
    if (!known) console.error(error);
    const code = known ? error.code : "internal";
    const message = known ? error.message : "unexpected failure; see the server's output";
    const fields = error instanceof OptionError ? { fields: error.fields } : {};
    return c.json({ error: { code, message, ...fields } }, statusOf[code] ?? 500);
  });
  return app;
}

const loopbackNames = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/i;

const loopbackOnly: MiddlewareHandler = async (c, next) => {
  const host = c.req.header("host") ?? "";
  const origin = c.req.header("origin");
  const strange = !loopbackNames.test(host)
    ? `Host ${host || "(none)"}`
    : origin && origin !== `http://${host}`
      ? `Origin ${origin}`
      : undefined;
  if (strange) return c.json({ error: { code: "bad_option", message: `${strange} is not served here` } }, 403);
  return next();
};

const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'", // widths and places of what is drawn are style attributes
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const secure: MiddlewareHandler = async (c, next) => {
  await next();
  c.header("Content-Security-Policy", policy);
  c.header("X-Content-Type-Options", "nosniff");
  c.header("Referrer-Policy", "no-referrer");
  c.header("Cross-Origin-Resource-Policy", "same-origin");
};
