import { existsSync, readFileSync } from "node:fs";
import { cpus, totalmem, type } from "node:os";

/** What a reader needs to judge the figures: hardware, and the versions of both sides. */
export function describeMachine() {
  const processors = cpus();
  return {
    cpu: processors[0]?.model ?? "unknown",
    cores: processors.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${process.arch}`,
    node: process.versions.node,
    onnxruntime: version("../../node_modules/onnxruntime-node/package.json"),
    nodeLlamaCpp: version("../node_modules/node-llama-cpp/package.json"),
  };
}

/** @param {string} path of a package.json, relative to this file; undefined where the package is not installed, as no row needs it */
function version(path) {
  const file = new URL(path, import.meta.url);
  return existsSync(file) ? String(JSON.parse(readFileSync(file, "utf8")).version) : undefined;
}
