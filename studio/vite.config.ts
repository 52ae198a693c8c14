/** Builds the studio into dist/studio, every text file compressed beside itself; `vite studio` with VENTRIS_STUDIO set serves sources. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

const out = fileURLToPath(new URL("../dist/studio/", import.meta.url));

export default defineConfig({
  base: "./",
  root: fileURLToPath(new URL(".", import.meta.url)),
  plugins: [
    svelte(),
    {
      name: "compress",
      closeBundle() {
        for (const entry of readdirSync(out, { recursive: true, encoding: "utf8" })) {
          if (/\.(js|css|html|svg)$/.test(entry))
            writeFileSync(join(out, `${entry}.gz`), gzipSync(readFileSync(join(out, entry)), { level: 9 }));
        }
      },
    },
  ],
  build: { outDir: out, emptyOutDir: true, target: "es2022", assetsInlineLimit: 0, reportCompressedSize: false },
  server: { proxy: { "/api": process.env.VENTRIS_STUDIO ?? "http://127.0.0.1:4477" } },
  logLevel: "warn",
});
