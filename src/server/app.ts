/**
 * The HTTP application: one Hono app, one engine, and groups of routes that are mounted on it. Every failure is JSON. What listens on
 * loopback answers to loopback's names alone, so that a page from elsewhere cannot reach it by rebinding a name; and no server answers a
 * page of another origin that it was not told of.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { type Context, Hono, type MiddlewareHandler } from "hono";
import { bodyLimit } from "hono/body-limit";
import { cors } from "hono/cors";
import { matchedRoutes } from "hono/route";
import { hint, likelySlips, meantBy } from "../names.ts";
import type { Admission } from "./admission.ts";
import type { Catalogue } from "./catalogue.ts";
import type { Engine } from "./engine.ts";
import { answerOf, notArrived, RequestError } from "./errors.ts";
import type { Metrics } from "./metrics.ts";
import type { PictureOrigins } from "./remote-pictures.ts";

/** What a group of routes gets. */
export interface RouteContext {
  readonly engine: Engine;
  readonly version: string;
  readonly catalogue: Catalogue;
  readonly admission: Admission;
  readonly metrics: Metrics;
  /** Whether the server listens on this machine alone. */
  readonly loopback: boolean;
  /** Longest time for a request. */
  readonly requestSeconds: number;
  /** Whose pictures are fetched where a request gives their address. */
  readonly pictures: PictureOrigins;
}

export interface RouteGroup {
  readonly path: string;
  routes(context: RouteContext): Hono;
}

export interface AppOptions extends RouteContext {
  readonly groups: readonly RouteGroup[];
  readonly bodyBytes: number;
  /** Asked of every request but `/health`, as a bearer token or as the password of a browser's own form. */
  readonly apiKey?: string;
  /** Pages of these origins may call. */
  readonly origins: readonly string[];
  /** Whether requests are taken; false while the server stops. */
  readonly open: () => boolean;
}

export function createApp({ groups, bodyBytes, apiKey, origins, open, ...context }: AppOptions): Hono {
  const { engine, metrics, admission, loopback, version } = context;
  const app = new Hono();
  app.use(secure(origins));
  app.use(expected(loopback, origins));
  if (origins.length > 0) app.use(cors({ origin: [...origins], exposeHeaders: ["Retry-After", "X-Ventris-Seed"] }));
  app.get("/health", (c) =>
    c.json({
      ...{ ok: true, version, active: engine.active, waiting: admission.waiting, restarts: engine.restarts },
      // Why not is for those who have the key: it is in the log.
      ...(engine.sharing && { sharing: engine.sharing.alone === undefined ? "shared" : "alone" }),
    }),
  );
  if (apiKey !== undefined) app.use(keyed(apiKey));
  app.use(async (c, next) => {
    if (!open()) throw new RequestError("aborted", "the server is stopping", { headers: { Connection: "close" } });
    await next();
    metrics.answered(c.req.method, routeOf(c), statusFor(c));
  });
  app.use(limited(bodyBytes));
  app.get("/metrics", async (c) => {
    const { type, text } = await metrics.page();
    return c.body(text, 200, { "Content-Type": type });
  });
  for (const { path, routes } of groups) app.route(path, routes(context));
  app.notFound((c) => failure(c, absent(app, c, groups)));
  app.onError((error, c) => failure(c, error));
  return app;
}

function failure(c: Context, error: unknown): Response {
  const { status, body, headers } = answerOf(error);
  return c.json(body, status, { ...headers });
}

/** What answers at a path, and not only stands before all of them. */
const answers = ({ method }: { readonly method: string }): boolean => method !== "ALL";

/** A label of few values: paths of strangers are none. */
const routeOf = (c: Context): string =>
  matchedRoutes(c)
    .findLast(answers)
    ?.path.replace(/\{.*?\}/g, "") ?? "other";

/** A client that has gone is none of the server's failures: 499, as nginx counts it. */
const statusFor = (c: Context): number => (c.res.status === 503 && c.req.raw.signal.aborted ? 499 : c.res.status);

function absent(app: Hono, { req: { method, path } }: Context, groups: readonly RouteGroup[]): RequestError {
  const there = app.routes.find((route) => answers(route) && route.path === path);
  if (there) {
    const headers = { Allow: there.method };
    return new RequestError("unavailable", `${path} is asked with ${there.method}, not ${method}`, {
      status: 405,
      headers,
    });
  }
  const paths = [...new Set(app.routes.filter(answers).map((route) => route.path))];
  const meant = hint(meantBy(path, paths, likelySlips(path)));
  const advice = groups.some((group) => group.path === "/v1")
    ? ": OpenAI's clients ask below /v1, such as /v1/models, and ventris serve --studio has a page at /"
    : "";
  return new RequestError("unavailable", `nothing at ${method} ${path}${meant || advice}`);
}

/** Bodies in chunks are read here. */
function limited(bodyBytes: number): MiddlewareHandler {
  const limit = bodyLimit({
    maxSize: bodyBytes,
    onError: () => {
      // The rest of the body is not read, so that the connection cannot serve another request.
      const headers = { Connection: "close" };
      const message = `a body of more than ${bodyBytes} bytes: ventris serve allows more with --max-body`;
      throw new RequestError("bad_option", message, { status: 413, headers });
    },
  });
  return async (c, next) => {
    try {
      return await limit(c, next);
    } catch (error) {
      throw error instanceof RequestError ? error : notArrived(error as Error);
    }
  };
}

const loopbackNames = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/i;

/** Host and origin as they are expected. */
function expected(loopback: boolean, origins: readonly string[]): MiddlewareHandler {
  return async (c, next) => {
    const host = c.req.header("host") ?? "";
    const origin = c.req.header("origin");
    const own = origin === undefined || origin === `http://${host}` || origin === `https://${host}`;
    const strange =
      loopback && !loopbackNames.test(host)
        ? `Host ${host || "(none)"}`
        : !own && !origins.includes(origin) && !origins.includes("*")
          ? `Origin ${origin}`
          : undefined;
    if (!strange) return next();
    const remedy = strange.startsWith("Origin") ? ": --cors lets its pages call" : "";
    throw new RequestError("bad_option", `${strange} is not served here${remedy}`, { status: 403 });
  };
}

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

/** Compared by their digests, in a time that does not depend on how much of the key is right. */
function keyed(apiKey: string): MiddlewareHandler {
  const wanted = digest(apiKey);
  return async (c, next) => {
    if (c.req.method === "OPTIONS") return next();
    const [, scheme = "", value = ""] = /^(\w+) +(.*)$/.exec(c.req.header("authorization") ?? "") ?? [];
    const given =
      scheme.toLowerCase() === "basic"
        ? Buffer.from(value, "base64")
            .toString("utf8")
            .replace(/^[^:]*:/, "")
        : value;
    if (timingSafeEqual(digest(given), wanted)) return next();
    const headers = { "WWW-Authenticate": 'Basic realm="ventris", charset="UTF-8"' };
    throw new RequestError("bad_option", "the API key is missing or wrong (Authorization: Bearer KEY)", {
      status: 401,
      headers,
    });
  };
}

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

const secure =
  (origins: readonly string[]): MiddlewareHandler =>
  async (c, next) => {
    await next();
    c.header("Content-Security-Policy", policy);
    c.header("X-Content-Type-Options", "nosniff");
    c.header("Referrer-Policy", "no-referrer");
    c.header("Cross-Origin-Resource-Policy", origins.length > 0 ? "cross-origin" : "same-origin");
  };
