// The `ventris` command of a checkout: compiled first where a source is newer than its output.
import { transpile } from "./build.mjs";

transpile();
await import("../dist/cli/main.js");
