/** Builds the studio into dist/studio; `vite studio` with VENTRIS_STUDIO set serves sources. */
import { fileURLToPath } from "node:url";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

const out = fileURLToPath(new URL("../dist/studio/", import.meta.url));

export default defineConfig({
  base: "./",
  root: fileURLToPath(new URL(".", import.meta.url)),
  plugins: [svelte()],
  build: { outDir: out, emptyOutDir: true, target: "es2022", assetsInlineLimit: 0, reportCompressedSize: false },
  server: { proxy: { "/api": process.env.VENTRIS_STUDIO ?? "http://127.0.0.1:4477" } },
  logLevel: "warn",
});
