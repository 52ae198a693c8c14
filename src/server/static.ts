/** The built page, served from `dist/studio`. */
import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { extname, join, normalize, sep } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { Hono } from "hono";
import { VentrisError } from "../errors.ts";
import type { RouteGroup } from "./app.ts";

const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
  ".json": "application/json",
};

const text = /\.(html|js|css|svg|json)$/;
const compress = promisify(gzip);

/** Files of a folder below "/". Scripts and styles are named by their content and never change. */
export const staticFiles = (folder: string): RouteGroup => ({
  path: "/",
  routes() {
    const app = new Hono();
    app.get("*", async (c) => {
      if (!existsSync(join(folder, "index.html"))) {
        throw new VentrisError("unavailable", "the studio was not built: run `npm run build` in the checkout");
      }
      const name = c.req.path === "/" ? "index.html" : decodeURIComponent(c.req.path).slice(1);
      const path = normalize(join(folder, name));
      const inside = path.startsWith(normalize(folder).replace(/[/\\]$/, "") + sep);
      const found = inside && !path.includes("\0") && (await stat(path).catch(() => undefined))?.isFile();
      if (!found) return c.notFound();
      const content = await readFile(path);
      const zipped = text.test(path) && /\bgzip\b/.test(c.req.header("accept-encoding") ?? "");
      return c.body(new Uint8Array(zipped ? await compress(content) : content), 200, {
        "Content-Type": types[extname(path)] ?? "application/octet-stream",
        "Cache-Control": name.startsWith("assets/") ? "public, max-age=31536000, immutable" : "no-cache",
        ...(zipped && { "Content-Encoding": "gzip", Vary: "Accept-Encoding" }),
      });
    });
    return app;
  },
});
