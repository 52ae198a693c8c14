import { defineConfig } from "vitest/config";

// The exporter's own tests (`npx vitest run` here); the root's suite does not install this package's peers.
export default defineConfig({ test: { include: ["**/*.test.mjs"] } });
