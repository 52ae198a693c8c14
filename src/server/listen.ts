/** Listens, and stops in order. */
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import type { NamedMethod } from "../calls.ts";
import { VentrisError } from "../errors.ts";
import type { OpenOptions } from "../open.ts";
import { requireShare } from "../sharing/index.ts";
import { type Admission, createAdmission } from "./admission.ts";
import { createApp, type RouteGroup } from "./app.ts";
import { createCatalogue } from "./catalogue.ts";
import { createConnections } from "./connections.ts";
import { type GuardedEngine, startGuardedEngine } from "./guarded.ts";
import { insideRoutes } from "./inside.ts";
import { createMetrics } from "./metrics.ts";
import { openaiRoutes } from "./openai/index.ts";
import type { PictureOrigins } from "./remote-pictures.ts";
import { staticFiles } from "./static.ts";
import { studioRoutes } from "./studio.ts";

export interface ListenOptions {
  /** 0: any free one. */
  readonly port: number;
  readonly host?: string;
  readonly groups: readonly RouteGroup[];
  readonly models?: OpenOptions;
  /** Models that are served, opened at the start; none: whatever is listed on this machine, opened when it is asked for. */
  readonly serve?: readonly string[];
  /** How requests are decoded that name no method. */
  readonly method?: NamedMethod;
  /** The store through which replicas share what they learn. Errors: those of `requireShare`. */
  readonly share?: string;
  readonly apiKey?: string;
  readonly origins?: readonly string[];
  /** Sequences that are decoded at once, and requests that wait. */
  readonly maxConcurrent?: number;
  readonly maxQueue?: number;
  readonly bodyBytes?: number;
  readonly requestSeconds?: number;
  readonly constraintSeconds?: number;
  /** Whose pictures are fetched where a request gives their address; default: nobody's. */
  readonly pictures?: PictureOrigins;
}

/** What these are unless said otherwise. */
export const usualLimits = {
  maxConcurrent: 16,
  maxQueue: 64,
  bodyBytes: 2 ** 20,
  requestSeconds: 600,
  constraintSeconds: 10,
} as const;

export interface Listening {
  readonly url: string;
  readonly engine: GuardedEngine;
  readonly admission: Admission;
  /** Requests that are not answered to the end. */
  readonly underWay: number;
  /** Takes no more requests, gives those under way `seconds` to end, aborts the rest, and says how many of each there were. */
  close(seconds?: number): Promise<{ readonly finished: number; readonly aborted: number }>;
}

/** The studio's routes and its page. */
export const studioGroups = (): RouteGroup[] => [
  studioRoutes,
  insideRoutes,
  staticFiles(fileURLToPath(new URL("../../dist/studio/", import.meta.url))),
];

/** What other programs expect, and the routes of the studio; `page`: the studio itself, too. */
export const serveGroups = (page: boolean): RouteGroup[] => [openaiRoutes, ...(page ? studioGroups() : [studioRoutes])];

/** Errors: `unavailable` when the port is taken. */
export async function listen(options: ListenOptions): Promise<Listening> {
  const {
    port,
    host = "127.0.0.1",
    groups,
    models,
    serve: served = [],
    method,
    share,
    apiKey,
    origins = [],
    pictures = "none",
    ...given
  } = options;
  const limits = {
    ...usualLimits,
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
  };
  if (share !== undefined) await requireShare(share);
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  const { constraintSeconds } = limits;
  const engine = startGuardedEngine(models, { warm: served, method, share, constraintSeconds });
  const admission = createAdmission(limits);
  let open = true;
  const app = createApp({
    engine,
    version,
    groups,
    catalogue: createCatalogue(served),
    admission,
    metrics: createMetrics(engine, admission),
    loopback: host === "127.0.0.1" || host === "::1" || host === "localhost",
    requestSeconds: limits.requestSeconds,
    bodyBytes: limits.bodyBytes,
    pictures,
    apiKey,
    origins,
    open: () => open,
  });
  const connections = createConnections(app.fetch, host);
  const { server } = connections;
  server.listen(port, host);
  await new Promise<void>((resolve, reject) => {
    server.once("listening", resolve);
    server.once("error", (cause: NodeJS.ErrnoException) => {
      const taken = cause.code === "EADDRINUSE";
      const absent = cause.code === "ENOTFOUND" || cause.code === "EADDRNOTAVAIL" || cause.code === "EAI_AGAIN";
      const message = taken
        ? `port ${port} is taken: choose another with --port, or 0 for any`
        : absent
          ? `--host ${host} is no address of this machine (${cause.message})`
          : cause.message;
      reject(new VentrisError("unavailable", message, { cause }));
    });
  });
  const { port: bound } = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${bound}/`,
    engine,
    admission,
    get underWay() {
      return connections.underWay;
    },
    async close(seconds = 0) {
      open = false;
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      const { underWay } = connections;
      const deadline = performance.now() + seconds * 1000;
      const left = (): number => connections.underWay;
      while (left() > 0 && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
      const aborted = Math.min(underWay, left());
      await engine.close();
      server.closeAllConnections();
      await closed;
      return { finished: underWay - aborted, aborted };
    },
  };
}
