// The package as a page gets it: modules in dist/browser with everything in them but ONNX Runtime, whose large files a bundler, or an import
// map, takes from its own package. A source file with a twin that ends in `.browser.ts` is left out for the twin.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

/** Areas of the package by what they are called in `exports`, with their source; and two workers. */
export const browserEntries = {
  index: "index.ts",
  choice: "entrances/choice.ts",
  constraints: "entrances/constraints.ts",
  inside: "entrances/inside.ts",
  memory: "entrances/memory.ts",
  methods: "entrances/methods.ts",
  models: "entrances/models.ts",
  pointing: "entrances/pointing.ts",
  signals: "entrances/signals.browser.ts",
  tensor: "entrances/tensor.ts",
  text: "entrances/text.ts",
  training: "entrances/training.ts",
  weights: "entrances/weights.ts",
  worker: "worker/index.ts",
  thread: "worker/thread.ts",
  studio: "server/page.ts",
};

/** What bundlers find a worker by, written when nothing else is rewritten any more. */
const started = 'new Worker(new URL("./thread.js", import.meta.url), { type: "module" })';

/** Modules that are written here. */
const made = {
  "\0start": "export const startWorker = () => globalThis.startVentrisThread();",
  "\0nothing": "export {};",
};

const twins = {
  name: "twins",
  enforce: "pre",
  resolveId(id, from) {
    if (/^node:|^onnxruntime-node$/.test(id)) this.error(`${from} imports ${id}, which a page has not`);
    if (!from || !id.startsWith(".")) return null;
    if (id === "./start.ts") return "\0start";
    // The schema library's own messages in fifty languages: none of them is ever shown.
    if (id.endsWith("/locales/index.js") && /[\\/]zod[\\/]/.test(from)) return "\0nothing";
    const twin = resolve(dirname(from), id).replace(/\.ts$/, ".browser.ts");
    return existsSync(twin) ? twin : null;
  },
  load: (id) => made[id] ?? null,
  generateBundle(_, bundle) {
    for (const chunk of Object.values(bundle))
      if (chunk.type === "chunk") chunk.code = chunk.code.replaceAll("globalThis.startVentrisThread()", started);
  },
};

/** Texts of the licences of what is in the modules, since they are given away with it. */
function licences(ids) {
  const packages = new Set(ids.flatMap((id) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(id)?.[0] ?? []));
  const texts = [...packages].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    return `${name} ${version} (${license})\n\n${file ? readFileSync(join(folder, file), "utf8").trim() : ""}\n`;
  });
  return texts.join(`\n${"-".repeat(80)}\n\n`);
}

export async function bundle(root) {
  const { build } = await import("vite");
  const out = join(root, "dist", "browser", "bundle");
  const ids = [];
  const result = await build({
    root,
    configFile: false,
    logLevel: "warn",
    publicDir: false,
    plugins: [twins],
    resolve: { conditions: ["browser", "import", "default"] },
    define: { "process.env.NODE_ENV": '"production"' },
    build: {
      outDir: out,
      emptyOutDir: true,
      target: "es2022",
      minify: true,
      reportCompressedSize: false,
      modulePreload: false,
      lib: {
        formats: ["es"],
        entry: Object.fromEntries(
          Object.entries(browserEntries).map(([name, file]) => [name, join(root, "src", file)]),
        ),
      },
      rollupOptions: {
        external: [/^onnxruntime-web/],
        experimental: { attachDebugInfo: "none" }, // where a piece of code is from needs no room in the package
        output: { entryFileNames: "[name].js", chunkFileNames: "[name]-[hash].js" },
      },
    },
  });
  for (const { output } of [result].flat()) for (const { moduleIds = [] } of output) ids.push(...moduleIds);
  writeFileSync(join(out, "LICENSES.txt"), licences(ids));
  return out;
}
