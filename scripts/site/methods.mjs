/**
 * The pages that are made of papers, options and records: one a method, shaper or system, one a family, and the list of the papers.
 * What they say stands in `paper.ts`, in the schemas of options, in `reproductions/` and in the methods' READMEs, and nowhere else.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { section, titleOf, withoutTitle } from "./markdown.mjs";

const arxivOf = (source = "") => /arXiv:? ?(\d{4}\.\d{4,5})/i.exec(source)?.[1];
const arxivLink = (id) => `[arXiv:${id}](https://arxiv.org/abs/${id})`;
const capital = (name) => name[0].toUpperCase() + name.slice(1);
const sentence = (line) => `${capital(line)}${/[.!?]$/.test(line) ? "" : "."}`;
/** A text that is shown as it is, whatever Markdown and Vue would make of its signs. */
export const plain = (text) => text.replace(/[<>*_[\]{}|\\]/g, (sign) => `&#${sign.charCodeAt(0)};`);

/** Everything that gets a page, by name: what the registry has of it, its paper, folder, family and README. */
export function entries(root, { methods, shapers, papers }) {
  const folders = new Map(
    readdirSync(join(root, "src", "methods"), { withFileTypes: true })
      .filter((family) => family.isDirectory())
      .flatMap(({ name: family }) => {
        const inside = readdirSync(join(root, "src", "methods", family), { withFileTypes: true });
        return inside.filter((one) => one.isDirectory()).map(({ name }) => [name, `methods/${family}/${name}`]);
      }),
  );
  const names = new Set([...papers, ...methods, ...shapers].map(({ name }) => name));
  return [...names].map((name) => {
    const paper = papers.find((one) => one.name === name);
    const method = methods.find((one) => one.name === name);
    const shaper = shapers.find((one) => one.name === name);
    const folder = paper?.lives.folder ?? folders.get(name) ?? `methods/${method.family}`;
    const family = folder.split("/")[1];
    const own = join("src", folder, "README.md");
    const isOwn = paper !== undefined || folder.endsWith(`/${name}`);
    return {
      name,
      paper,
      method,
      shaper,
      folder,
      family,
      readme: isOwn && existsSync(join(root, own)) ? own : undefined,
    };
  });
}

/** The family's README, where there is one that is not a system's own. */
export const familyReadme = (root, family, all) => {
  const path = join("src", "methods", family, "README.md");
  return existsSync(join(root, path)) && !all.some(({ readme }) => readme === path) ? path : undefined;
};
export const familyTitle = (root, family, all) => {
  const path = familyReadme(root, family, all);
  return (path && titleOf(readFileSync(join(root, path), "utf8"))) ?? capital(family);
};

/**
 * A page: what it is, who published it, how it is run, options, the README with its claims.
 * `texts` are parts with the file they came from, whose links are relative to that file.
 */
export function methodPage(root, entry, all, tables) {
  const { name, paper, method, shaper, family, readme } = entry;
  const made = method ?? shaper;
  const own = readme ? readFileSync(join(root, readme), "utf8") : "";
  const familyPath = familyReadme(root, family, all);
  const shared =
    !readme && familyPath
      ? section(readFileSync(join(root, familyPath), "utf8"), (title) => title === name)
      : undefined;
  const text = own || shared || "";
  const head = [`# ${paper ? plain(paper.system) : name}`, labels(entry)];
  if (paper) head.push(sentence(plain(paper.line)), citation(paper), plain(paper.what.join(" ")));
  else head.push(sentence(plain(made.summary)), made.source ? `Source: ${source(made.source)}.` : "");
  if (paper?.missing && paper.reproduction) head.push(`✗ Not there: ${plain(paper.missing)}`);
  if (familyPath) {
    head.push(
      `Its family: [${familyTitle(root, family, all)}](/families/${family}${anchorIn(root, familyPath, name)}).`,
    );
  }
  const use = [...commands(entry), ...showcase(entry)];
  if (use.length > 0) head.push("## In use", ...use);
  const rest = [];
  const hasTable = text.includes(`<!-- ${tables.optionsMark(name)}:begin -->`);
  const table = made ? tables.optionsTable(made) : "";
  // A README of a family whose methods share options has those of its own alone.
  const [, , ...rows] = table.split("\n");
  if (rows.some((row) => !text.includes(row))) rest.push(hasTable ? "## All options" : "## Options", table);
  const record = paper && tables.readRecord(name);
  if (paper && !text.includes(`<!-- ${tables.claimsMark}:begin -->`))
    rest.push("## Claims", tables.claimsTable(paper, record));
  return [
    { from: undefined, text: head.filter(Boolean).join("\n\n") },
    ...(text
      ? [
          {
            from: readme ?? familyPath,
            text: `## ${readme ? "The method" : "How it works"}\n\n${withoutTitle(text).trim()}`,
          },
        ]
      : []),
    // The tables' pictures are named from the paper's folder.
    { from: `src/${entry.folder}/README.md`, text: rest.join("\n\n") },
  ];
}

const anchorIn = (root, path, name) =>
  section(readFileSync(join(root, path), "utf8"), (title) => title === name) === undefined ? "" : `#${name}`;

function source(text) {
  const id = arxivOf(text);
  const at = id ? text.replace(/arXiv:? ?\d{4}\.\d{4,5}/i, "@") : text;
  return id ? at.split("@").map(plain).join(arxivLink(id)) : plain(at);
}

function labels({ method, shaper, name, family }) {
  const { lossless } = method ?? {};
  const kinds = method
    ? [
        `method \`${name}\``,
        family,
        lossless === true ? "lossless" : lossless ? "lossless with some options" : "changes the distribution",
      ]
    : shaper
      ? [`shaper \`${name}\``, family, "works inside every method"]
      : [family];
  if (method?.needs) kinds.push(`needs a model with: ${method.needs.join(", ")}`);
  return `<div class="label">\n\n${kinds.join(" · ")}\n\n</div>`;
}

export function citation({ title, authors, year, arxiv, venue }) {
  const where = [venue && plain(venue), arxiv && arxivLink(arxiv)].filter(Boolean).join(", ");
  return `> **${plain(title)}**<br>${plain(authors.join(", "))}, ${year}${where ? `. ${where}` : ""}`;
}

/** What the registry and the paper say of how it is called: lines to type, and what to call. */
function commands({ name, paper, method, shaper }) {
  const { command, function: called } = paper?.lives ?? {};
  const lines = command ? command.split("; ") : [];
  if (method ?? shaper) lines.push(`ventris methods ${name}`);
  return [
    lines.length > 0 ? `On the command line:\n\n\`\`\`text\n${lines.join("\n")}\n\`\`\`` : "",
    called ? `In a program: \`${called}\`.` : "",
  ].filter(Boolean);
}

/** The program behind "run" in the studio's gallery; none where it looks inside a model, computes a run of its own, or shows a drawn picture. */
function showcase({ name, paper }) {
  const shown = paper?.showcase;
  if (!shown?.prompt || shown.scene) return [];
  const { prompt: said, chat, model = "knossos", options = {}, methodOptions = {}, shapers } = shown;
  const prompt = chat ? [{ role: "user", content: said }] : said;
  const given = { ...options, ...(shapers ? { shapers } : { method: { name, ...methodOptions } }) };
  const program = [
    'import { open } from "ventris";',
    "",
    `await using model = await open(${JSON.stringify(model)});`,
    `const result = await model.generate(${literal(prompt)}, ${literal(given)});`,
    "console.log(result.text);",
    `console.log(result.counters.generated, "tokens in", result.counters.passes, "passes");`,
  ];
  return [`\`\`\`ts\n${program.join("\n")}\n\`\`\``];
}

/** As a person would write it: names without quotes where they need none. */
const literal = (value) =>
  Array.isArray(value)
    ? `[${value.map(literal).join(", ")}]`
    : value !== null && typeof value === "object"
      ? `{ ${Object.entries(value)
          .map(([key, inner]) => `${/^[a-z]\w*$/i.test(key) ? key : JSON.stringify(key)}: ${literal(inner)}`)
          .join(", ")} }`
      : JSON.stringify(value);

/** What a family has: its README, and its members by their lines. */
export function familyPage(root, family, all) {
  const path = familyReadme(root, family, all);
  const text = path ? readFileSync(join(root, path), "utf8") : "";
  const rows = all
    .filter((one) => one.family === family)
    .map(({ name, paper, method, shaper }) => {
      const line = plain((method ?? shaper)?.summary ?? paper.line);
      return `| [\`${name}\`](/methods/${name}) | ${line} | ${paper ? `[${paper.number}](/papers/)` : ""} |`;
    });
  const table = ["| name | what it does | paper |", "|---|---|---|", ...rows].join("\n");
  return [
    { from: undefined, text: `# ${familyTitle(root, family, all)}\n\n${table}` },
    ...(text ? [{ from: path, text: withoutTitle(text).trim() }] : []),
  ];
}

/** All methods by family. */
export function methodsPage(root, families, all) {
  const blocks = families.map((family) => {
    const members = all.filter((one) => one.family === family).map(({ name }) => `[\`${name}\`](/methods/${name})`);
    return `## [${familyTitle(root, family, all)}](/families/${family})\n\n${members.join(" · ")}`;
  });
  const text = [
    "# Methods",
    "A page for each method, shaper and system: what was published, how it is run, its options, and what was measured. These pages are made of the",
    "papers' data, the options' schemas and the records of the reproductions.",
  ].join("\n");
  return `${text.replace("\n", "\n\n")}\n\n${blocks.join("\n\n")}`;
}

/** The 24 papers as tablets. */
export function papersPage(papers, { judge, readRecord }) {
  const tablets = papers.map((paper) => {
    const judged = judge(paper, readRecord(paper.name)).filter(({ measurement }) => measurement);
    const held = judged.filter(({ holds }) => holds).length;
    const state = !paper.reproduction
      ? "planned"
      : judged.length === 0
        ? "not measured yet"
        : `${held} of ${judged.length} measured claims hold`;
    return [
      '<div class="tablet">',
      `<p class="label">${paper.number} · ${state}</p>`,
      `\n### [${plain(paper.system)}](/methods/${paper.name})\n`,
      `${sentence(plain(paper.line))}\n`,
      `<p class="cited">${plain(paper.title)}. ${plain(paper.authors[0])}${paper.authors.length > 1 ? " and others" : ""}, ${paper.year}</p>`,
      "</div>",
    ].join("\n");
  });
  const text = [
    "Twenty-four published decoding systems in one engine, each with its claims as data and with what was measured of them here.",
    "The [table of systems](/features) has every figure; `ventris papers` lists the same on the command line, and `ventris reproduce NAME` measures it anew.",
  ].join(" ");
  return `# The papers\n\n${text}\n\n<div class="tablets">\n\n${tablets.join("\n\n")}\n\n</div>`;
}
