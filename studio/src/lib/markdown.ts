/** The little Markdown that model cards use, as data: cards come from strangers, so that nothing of them is ever taken as HTML. */
export type Block =
  | { kind: "heading"; level: number; text: Inline[] }
  | { kind: "paragraph"; text: Inline[] }
  | { kind: "list"; items: Inline[][] }
  | { kind: "table"; rows: Inline[][][] }
  | { kind: "code"; text: string };

export interface Inline {
  readonly text: string;
  readonly style?: "code" | "strong" | "emphasis";
}

const longestCard = 200_000;

export function parseMarkdown(source: string): Block[] {
  const blocks: Block[] = [];
  // Front matter and pictures are left out: the one is for the hub, the others are shown by the page itself.
  const lines = source
    .slice(0, longestCard)
    .replace(/^---\n[\s\S]*?\n---\n/, "")
    .split("\n");
  for (let i = 0; i < lines.length; ) {
    const line = lines[i];
    const heading = /^(#{1,6})\s+(.*)$/.exec(line);
    if (line.trim() === "" || /^!\[/.test(line)) i += 1;
    else if (heading) {
      blocks.push({ kind: "heading", level: heading[1].length, text: inline(heading[2]) });
      i += 1;
    } else if (line.startsWith("```")) {
      const end = lines.findIndex((other, at) => at > i && other.startsWith("```"));
      blocks.push({ kind: "code", text: lines.slice(i + 1, end < 0 ? undefined : end).join("\n") });
      i = end < 0 ? lines.length : end + 1;
    } else {
      const belongs = line.startsWith("|")
        ? (other: string) => other.startsWith("|")
        : /^\s*[-*] /.test(line)
          ? (other: string) => /^\s*([-*] |\S)/.test(other)
          : (other: string) => other.trim() !== "" && !/^(#|\||```|!\[)/.test(other);
      let end = i + 1;
      while (end < lines.length && lines[end].trim() !== "" && belongs(lines[end])) end += 1;
      const own = lines.slice(i, end);
      if (line.startsWith("|")) {
        const rows = own
          .filter((row) => !/^\|[\s:|-]+\|?$/.test(row))
          .map((row) =>
            row
              .replace(/^\||\|\s*$/g, "")
              .split("|")
              .map((cell) => inline(cell.trim())),
          );
        blocks.push({
          kind: "table",
          rows: rows.filter((row) => row.some((cell) => cell.some(({ text }) => text !== ""))),
        });
      } else if (/^\s*[-*] /.test(line)) {
        const items = own
          .join("\n")
          .split(/\n?^\s*[-*] /m)
          .slice(1);
        blocks.push({ kind: "list", items: items.map((item) => inline(item.replace(/\n\s*/g, " "))) });
      } else blocks.push({ kind: "paragraph", text: inline(own.join(" ")) });
      i = end;
    }
  }
  return blocks;
}

/** Links become their text, with the address behind it. */
function inline(source: string): Inline[] {
  const text = source.replace(/\[([^\]]*)\]\(([^)\s]*)\)/g, (_, name, target) =>
    /^https?:/.test(target) ? `${name} (${target})` : name,
  );
  return text
    .split(/(`[^`]+`|\*\*[^*]+\*\*|(?<![\w*])[*_][^*_]+[*_](?![\w*]))/)
    .filter((part) => part !== "")
    .map((part): Inline => {
      if (/^`.+`$/.test(part)) return { text: part.slice(1, -1), style: "code" };
      if (/^\*\*.+\*\*$/.test(part)) return { text: part.slice(2, -2), style: "strong" };
      if (/^([*_]).+\1$/.test(part)) return { text: part.slice(1, -1), style: "emphasis" };
      return { text: part };
    });
}
