/** Reading and rewriting Markdown: headings, sections, links. Code, in blocks or in a line, is never touched. */

/** The anchor of a heading, as code hosts make it, so that links work in the repository and on the site alike. */
export const slug = (heading) =>
  heading
    .replace(/<[^>]*>|`|\*|!?\[([^\]]*)\]\([^)]*\)/g, "$1")
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .replace(/\s/g, "-");

/** Text between and within fenced blocks, in order. */
export function parts(text) {
  const found = [];
  let at = 0;
  for (const fence of text.matchAll(/^( *)(```+)[^\n]*\n[\s\S]*?^\1\2 *$/gm)) {
    found.push({ code: false, text: text.slice(at, fence.index) }, { code: true, text: fence[0] });
    at = fence.index + fence[0].length;
  }
  return [...found, { code: false, text: text.slice(at) }];
}

/** `change` is given prose alone. */
export const mapProse = (text, change) =>
  parts(text)
    .map((part) => (part.code ? part.text : change(part.text)))
    .join("");

const prose = (text) =>
  parts(text)
    .filter(({ code }) => !code)
    .map((part) => part.text)
    .join("\n");

/** Level, text and anchor of every heading; of equal ones the second has "-1" behind it. */
export function headings(text) {
  const seen = new Map();
  return [...prose(text).matchAll(/^(#{1,6}) +(.+?) *#*$/gm)].map(([, marks, title]) => {
    const plain = slug(title);
    const times = seen.get(plain) ?? 0;
    seen.set(plain, times + 1);
    return { level: marks.length, title, anchor: times === 0 ? plain : `${plain}-${times}` };
  });
}

export const titleOf = (text) => headings(text).find(({ level }) => level === 1)?.title;
export const withoutTitle = (text) => text.replace(/^# .*\n+/, "");

/** The section under the first heading that `is` accepts, without the heading; undefined where there is none. */
export function section(text, is) {
  const lines = text.split("\n");
  const levelOf = (line) => /^(#{1,6}) /.exec(line)?.[1].length;
  const from = lines.findIndex((line) => levelOf(line) && is(line.replace(/^#+ /, "")));
  if (from < 0) return undefined;
  const level = levelOf(lines[from]);
  const length = lines.slice(from + 1).findIndex((line) => (levelOf(line) ?? 9) <= level);
  return lines
    .slice(from + 1, length < 0 ? undefined : from + 1 + length)
    .join("\n")
    .trim();
}

const link = /(`+)(?:(?!\1|\n\n)[\s\S])+?\1|(!?)\[((?:`[^`]*`|!\[[^\]]*\]\([^)]*\)|[^\]`])*)\]\(([^()\s]+)\)/g;

/** Every link and picture of a text: { picture, text, target }. A linked picture gives both. */
export function links(text) {
  const found = [];
  rewriteLinks(text, (one) => {
    found.push(one);
  });
  return found;
}

/**
 * `to({ picture, text, target })` gives the new target; undefined leaves it, null takes the link away and leaves its text.
 */
export function rewriteLinks(text, to) {
  return mapProse(text, (given) =>
    given.replace(link, (whole, ticks, mark, inner, target) => {
      if (ticks) return whole;
      const within = inner.startsWith("!") ? rewriteLinks(inner, to) : inner;
      const changed = to({ picture: mark === "!", text: inner, target });
      return changed === null ? within : `${mark}[${within}](${changed ?? target})`;
    }),
  );
}
