/** Tokens that are found in the text itself before any merging: special tokens and additions to a vocabulary. */
import { endOfSpace, trimEnd, wordClass } from "./white-space.ts";

export interface AddedToken {
  id: number;
  content: string;
  special: boolean;
  /** Swallows white space before or after it. */
  leftStrip: boolean;
  rightStrip: boolean;
  /** Matches only where no word character touches it. */
  singleWord: boolean;
  /** Is looked for in the normalised text, in its own normalised form. */
  normalized: boolean;
}

/** An added token without any of its flags, for vocabularies that have none. */
export const plainToken = {
  special: true,
  leftStrip: false,
  rightStrip: false,
  singleWord: false,
  normalized: false,
} satisfies Partial<AddedToken>;

/** Cuts a text into plain sections and the added tokens between them; the longest token wins where several match. */
export type AddedTokenSplitter = (text: string) => (string | AddedToken)[];

/** `written` gives the form in which a token is looked for. */
export function createAddedTokenSplitter(
  tokens: readonly AddedToken[],
  written: (content: string) => string = (content) => content,
): AddedTokenSplitter {
  const byContent = new Map<string, AddedToken>();
  for (const token of tokens) {
    const content = written(token.content);
    if (content !== "" && !byContent.has(content)) byContent.set(content, token);
  }
  if (byContent.size === 0) return (text) => (text === "" ? [] : [text]);
  const contents = [...byContent.keys()].sort((a, b) => b.length - a.length);
  const source = contents.map((content) => content.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|");
  const pattern = new RegExp(source, "gu");
  return (text) => {
    const sections: (string | AddedToken)[] = [];
    let start = 0;
    pattern.lastIndex = 0;
    for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
      const token = byContent.get(match[0])!;
      const end = match.index + match[0].length;
      if (token.singleWord && touchesWord(text, match.index, end)) continue;
      const before = text.slice(start, match.index);
      const plain = token.leftStrip ? trimEnd(before) : before;
      if (plain !== "") sections.push(plain);
      const to = token.rightStrip ? endOfSpace(text, end) : end;
      // As in the reference, a token within swallowed space is found all the same, unless its own space was swallowed with it.
      if (token.leftStrip && to <= start) continue;
      sections.push(token);
      start = to;
    }
    if (start < text.length) sections.push(text.slice(start));
    return sections;
  };
}

const wordBefore = new RegExp(`[${wordClass}]$`, "u");
const wordAfter = new RegExp(`^[${wordClass}]`, "u");

function touchesWord(text: string, start: number, end: number): boolean {
  return wordBefore.test(text.slice(Math.max(0, start - 2), start)) || wordAfter.test(text.slice(end, end + 2));
}
