/**
 * The site's pages, made of what the repository has: the pages in docs/, the READMEs, papers, schemas and records. Links between files become
 * links between pages; one that leads nowhere is an error that names it.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { headings, links, mapProse, rewriteLinks, titleOf, withoutTitle } from "./markdown.mjs";
import { entries, familyPage, familyReadme, familyTitle, methodPage, methodsPage, papersPage } from "./methods.mjs";

/** What stands on the home page's doors. */
const doors = [
  ["Tutorial", "/tutorial/1-install", "Five steps from an empty folder to a model of your own, a server, a page."],
  ["How do I …", "/how/", "Streams, schemas, tools, drafts, GGUF files, seeds, memory: what people ask first."],
  ["Methods", "/methods/", "A page for each: what was published, its options, what was measured."],
  ["The 24 papers", "/papers/", "Every claim beside what this engine measured of it, the failures too."],
  ["Library", "/api/ventris", "Every function and type of every entry of the package."],
  ["Guide", "/guide/", "Models, servers, pages, the engine's inside, measurements, limits."],
];

/** Pages that are a file of the repository as it is, in the order of the side bar. */
const guides = [
  ["Guide", ["install", "library", "models", "cli", "constraints", "serving", "browser", "studio", "limits"]],
  ["Inside", ["engine", "methods", "trace", "papers"]],
  ["Measured", ["measurements"]],
];

const read = (root, path) => readFileSync(join(root, path), "utf8");
const markdownIn = (root, folder) =>
  existsSync(join(root, folder))
    ? readdirSync(join(root, folder))
        .filter((name) => name.endsWith(".md"))
        .map((name) => `${folder}/${name}`)
    : [];

/** Pages by address ("/methods/dyspec"): parts with the file each came from. And which address stands for which file. */
function gather(root, tables) {
  const all = entries(root, tables);
  const families = [...new Set(all.map(({ family }) => family))].sort();
  const pages = new Map();
  const homes = new Map();
  const add = (address, from) => {
    pages.set(address, [{ from, text: read(root, from) }]);
    homes.set(from, address);
  };
  for (const [folder, address] of [
    ["docs", "guide"],
    ["docs/tutorial", "tutorial"],
    ["docs/how", "how"],
  ]) {
    for (const path of markdownIn(root, folder))
      add(`/${address}/${posix.basename(path, ".md").replace(/^README$/, "")}`, path);
  }
  add("/guide/constraints", "src/constraints/README.md");
  add("/guide/benchmarks", "bench/README.md");
  add("/features", "FEATURES.md");
  add("/changelog", "CHANGELOG.md");
  for (const { name } of readdirSync(join(root, "models"), { withFileTypes: true }).filter((one) =>
    one.isDirectory(),
  )) {
    if (existsSync(join(root, "models", name, "README.md"))) add(`/models/${name}`, `models/${name}/README.md`);
  }
  for (const path of ["examples/story.ts", "examples/browser/index.html"]) {
    const language = posix.extname(path).slice(1);
    const text = `# ${path}\n\nRun by a test, and to be copied.\n\n\`\`\`${language}\n${read(root, path).trimEnd()}\n\`\`\``;
    const address = `/examples/${posix.dirname(path).split("/")[1] ?? posix.basename(path, ".ts")}`;
    pages.set(address, [{ from: undefined, text }]);
    homes.set(path, address);
  }
  for (const entry of all) {
    const address = `/methods/${entry.name}`;
    pages.set(address, methodPage(root, entry, all, tables));
    if (entry.readme) homes.set(entry.readme, address);
    homes.set(`src/${entry.folder}`, address);
  }
  for (const family of families) {
    pages.set(`/families/${family}`, familyPage(root, family, all));
    const path = familyReadme(root, family, all);
    if (path) homes.set(path, `/families/${family}`);
  }
  pages.set("/methods/", [{ from: undefined, text: methodsPage(root, families, all) }]);
  pages.set("/papers/", [{ from: undefined, text: papersPage(tables.papers, tables) }]);
  pages.set("/", [{ from: "README.md", text: homePage(root) }]);
  homes.set("README.md", "/");
  return { pages, homes, all, families };
}

/** The README up to its first section, under a head made of the manifest. */
function homePage(root) {
  const readme = read(root, "README.md");
  const { description } = JSON.parse(read(root, "package.json"));
  const hero = {
    name: titleOf(readme),
    text: description.split(":")[0],
    tagline: description.split(": ")[1].replace(/^./, (first) => first.toUpperCase()),
    actions: [
      { theme: "brand", text: "Begin", link: "/tutorial/1-install" },
      { theme: "alt", text: "How do I …", link: "/how/" },
    ],
  };
  const features = doors.map(([title, link, details]) => ({ title, link, details }));
  // JSON is YAML.
  const head = `---\n${JSON.stringify({ layout: "home", hero, features })}\n---`;
  return `${head}\n\n${withoutTitle(readme).split(/^## /m)[0].trim()}`;
}

/**
 * All pages with their links made those of the site, the files that they show, and the side bars. `root` is the checkout's folder, `tables` what
 * `dist` has of methods, papers and records. Errors: one that lists every link that leads nowhere.
 */
export function sitePages(root, tables) {
  const { pages, homes, all, families } = gather(root, tables);
  const files = new Set();
  const broken = [];
  const anchors = new Map();
  const anchorsOf = (address) => {
    if (!anchors.has(address)) {
      const text =
        pages
          .get(address)
          ?.map((part) => part.text)
          .join("\n\n") ?? "";
      anchors.set(address, new Set(headings(text).map(({ anchor }) => anchor)));
    }
    return anchors.get(address);
  };
  const leads = (address, anchor) =>
    address.startsWith("/api/") || (pages.has(address) && (!anchor || anchorsOf(address).has(anchor)));

  /** The address of what a part links to. */
  const target = (from, page, { target: to, picture }) => {
    if (/^[a-z]+:/.test(to)) return to;
    const [path, anchor = ""] = to.split("#");
    const hash = anchor && `#${anchor}`;
    const fail = () => {
      broken.push(`${from ?? page}: ${to}`);
      return undefined;
    };
    if (path === "") return leads(page, anchor) ? to : fail();
    if (path.startsWith("/")) return leads(path, anchor) ? to : fail();
    const file = posix.normalize(posix.join(posix.dirname(from ?? "README.md"), path)).replace(/\/$/, "");
    if (!existsSync(join(root, file))) return fail();
    if (picture || /\.(svg|png)$/.test(file)) {
      files.add(file);
      return `/files/${file}`;
    }
    // A source stands for the page of its folder.
    const home = homes.get(file) ?? homes.get(`${file}/README.md`) ?? homes.get(posix.dirname(file));
    return home && leads(home, anchor) ? `${home}${hash}` : fail();
  };

  const texts = new Map();
  for (const [page, made] of pages) {
    const parts = made
      .filter(({ text }) => text)
      .map(({ from, text }) => rewriteLinks(text, (one) => target(from, page, one)));
    texts.set(page, escapeForVue(parts.join("\n\n")));
  }
  if (broken.length > 0) throw new Error(`links that lead nowhere:\n  ${broken.join("\n  ")}`);
  return { texts, files, sidebar: sidebar(root, { pages, all, families }) };
}

/** Double braces are code to Vue wherever they stand in prose. */
const escapeForVue = (text) => mapProse(text, (prose) => prose.replaceAll("{{", "{&#8203;{"));

/** Entries of the side bar: { text, link } or { text, items }. */
function sidebar(root, { pages, all, families }) {
  const entry = (link, text) => ({ link, text: text ?? titleOf(pages.get(link)[0].text) ?? link });
  const under = (start) => [...pages.keys()].filter((address) => address.startsWith(start)).sort();
  const tutorial = under("/tutorial/").map((link) => entry(link));
  const how = under("/how/").map((link) => (link === "/how/" ? entry(link, "All questions") : entry(link)));
  const guide = guides.map(([text, names]) => ({
    text,
    items: names.filter((name) => pages.has(`/guide/${name}`)).map((name) => entry(`/guide/${name}`)),
  }));
  // A page that nobody has given a place yet stands last in the guide.
  const placed = new Set([
    "/guide/",
    "/guide/benchmarks",
    ...guide.flatMap(({ items }) => items.map(({ link }) => link)),
  ]);
  guide[0].items.push(
    ...under("/guide/")
      .filter((link) => !placed.has(link))
      .map((link) => entry(link)),
  );
  guide[0].items.unshift(entry("/guide/", "Contents"));
  guide.at(-1).items.push(entry("/guide/benchmarks"), entry("/features", "The 24 systems"), entry("/changelog"));
  const shipped = [
    { text: "Models", items: under("/models/").map((link) => entry(link)) },
    { text: "Examples", items: under("/examples/").map((link) => entry(link)) },
  ];
  const methods = [
    { text: "Overview", items: [entry("/methods/", "All methods"), entry("/papers/", "The 24 papers")] },
    ...families.map((family) => ({
      text: familyTitle(root, family, all),
      collapsed: false,
      items: [
        entry(`/families/${family}`, "The family"),
        ...all.filter((one) => one.family === family).map(({ name }) => entry(`/methods/${name}`, name)),
      ],
    })),
  ];
  const learning = [{ text: "Tutorial", items: tutorial }, { text: "How do I …", items: how }, ...guide, ...shipped];
  return {
    "/methods/": methods,
    "/families/": methods,
    "/papers/": methods,
    "/": learning,
  };
}

/** Writes the pages into an empty folder, and what they show below `public/`. Only what changed is touched: a server that watches sees it. */
export function writePages(root, folder, { texts, files, sidebar: bars }) {
  const wanted = new Map();
  for (const [address, text] of texts)
    wanted.set(`${address.slice(1)}${address.endsWith("/") ? "index" : ""}.md`, text);
  for (const file of files) wanted.set(`public/files/${file}`, readFileSync(join(root, file)));
  wanted.set("sidebar.json", JSON.stringify(bars));
  for (const [name, content] of wanted) {
    const path = join(folder, name);
    if (existsSync(path) && readFileSync(path).equals(Buffer.from(content))) continue;
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder, { recursive: true })) {
    const place = name.replaceAll("\\", "/");
    if (wanted.has(place) || place.startsWith("api/") || statSync(join(folder, name)).isDirectory()) continue;
    rmSync(join(folder, name));
  }
}

/** Relative links of a file of the repository that lead to no file: for a test over all of them. */
export function brokenLinks(root, path) {
  return links(read(root, path)).flatMap(({ target: to }) => {
    if (/^([a-z]+:|#|\/)/.test(to)) return [];
    const file = posix.join(posix.dirname(path), to.split("#")[0]);
    return existsSync(join(root, file)) ? [] : [`${path}: ${to}`];
  });
}
