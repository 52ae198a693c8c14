/** Listens, and stops in order. */
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { serve } from "@hono/node-server";
import { VentrisError } from "../errors.ts";
import type { OpenOptions } from "../open.ts";
import { createApp, type RouteGroup } from "./app.ts";
import { type Engine, startEngine } from "./engine.ts";
import { staticFiles } from "./static.ts";
import { studioRoutes } from "./studio.ts";

export interface ListenOptions {
  /** 0: any free one. */
  readonly port: number;
  readonly host?: string;
  readonly groups: readonly RouteGroup[];
  readonly models?: OpenOptions;
}

export interface Listening {
  readonly url: string;
  readonly engine: Engine;
  close(): Promise<void>;
}

/** The studio's routes and its page. */
export const studioGroups = (): RouteGroup[] => [
  studioRoutes,
  staticFiles(fileURLToPath(new URL("../../dist/studio/", import.meta.url))),
];

/** Errors: `unavailable` when the port is taken. */
export async function listen({ port, host = "127.0.0.1", groups, models }: ListenOptions): Promise<Listening> {
  const engine = startEngine(models);
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  const loopback = host === "127.0.0.1" || host === "::1" || host === "localhost";
  const app = createApp({ engine, version, groups, loopback });
  const server = serve({ fetch: app.fetch, port, hostname: host, autoCleanupIncoming: true });
  await new Promise<void>((resolve, reject) => {
    server.once("listening", resolve);
    server.once("error", (cause: NodeJS.ErrnoException) => {
      const taken = cause.code === "EADDRINUSE";
      const message = taken ? `port ${port} is taken: choose another with --port, or 0 for any` : cause.message;
      reject(new VentrisError("unavailable", message, { cause }));
    });
  });
  const { port: bound } = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${bound}/`,
    engine,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      await engine.close();
      if ("closeAllConnections" in server) server.closeAllConnections();
      await closed;
    },
  };
}
