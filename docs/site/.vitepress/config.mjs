// The site: pages from ../pages (written by scripts/docs.mjs), the look of the studio, a search that needs no server.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitepress";
import { slug, titleOf } from "../../../scripts/site/markdown.mjs";
import { dark, light } from "./code.mjs";

const path = (place) => fileURLToPath(new URL(place, import.meta.url));
const read = (place) => JSON.parse(readFileSync(path(place), "utf8"));
const { description, version } = read("../../../package.json");

/** Entries of the library that were written: "ventris", "ventris/text" … */
const library = () => {
  const folder = path("../pages/api");
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true })
    .map((name) => name.replaceAll("\\", "/"))
    .filter((name) => name.endsWith(".md") && name !== "index.md")
    .map((name) => {
      const link = `/api/${name.replace(/(\/index)?\.md$/, (index) => (index.startsWith("/index") ? "/" : ""))}`;
      // Addresses may have a number behind them, where two names are alike but for capitals.
      const title = titleOf(readFileSync(`${folder}/${name}`, "utf8"));
      const [entry, within] = name.split("/namespaces/");
      return { text: within ? `${entry}: ${title}` : title, link };
    })
    .sort((a, b) => (a.text < b.text ? -1 : 1));
};

/** Characters of a cell that is a sentence rather than a word or a figure. */
const longCell = 60;

/** On a narrow screen such cells keep a width to be read at, and their table scrolls: the style asks for the class. */
function markLongCells(markdown) {
  markdown.renderer.rules.td_open = (tokens, at, options, _, renderer) => {
    if (tokens[at + 1].content.length > longCell) tokens[at].attrJoin("class", "long");
    return renderer.renderToken(tokens, at, options);
  };
}

export default defineConfig({
  title: "Ventris",
  description,
  lang: "en",
  srcDir: "pages",
  outDir: "dist",
  cacheDir: "node_modules/.cache/vitepress",
  head: [["link", { rel: "icon", href: "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><rect width='16' height='16' rx='2' fill='%239c2f1a'/><path d='M4 4l4 8 4-8' fill='none' stroke='%23fff6ea' stroke-width='1.6'/></svg>" }]],
  // Pages of the library may be left out while authors write.
  ignoreDeadLinks: existsSync(path("../pages/api")) ? false : [/^\/api\//],
  markdown: { theme: { light, dark }, anchor: { slugify: slug }, toc: { slugify: slug }, config: markLongCells },
  vite: {
    server: { fs: { allow: [path("../../..")] } },
    build: { chunkSizeWarningLimit: 4000 },
  },
  themeConfig: {
    outline: { level: [2, 3], label: "On this page" },
    search: { provider: "local" },
    nav: [
      { text: "Tutorial", link: "/tutorial/1-install", activeMatch: "^/tutorial/" },
      { text: "How do I", link: "/how/", activeMatch: "^/how/" },
      { text: "Methods", link: "/methods/", activeMatch: "^/(methods|families|papers)/" },
      { text: "Library", link: "/api/ventris", activeMatch: "^/api/" },
      { text: version, link: "/changelog" },
    ],
    sidebar: { ...read("../pages/sidebar.json"), "/api/": [{ text: "Library", items: library() }] },
    docFooter: { prev: "Before", next: "Next" },
  },
});
