/** Tokens that are found in the text itself before any merging: special tokens and additions to a vocabulary. */

export interface AddedToken {
  id: number;
  content: string;
  special: boolean;
  /** Swallows white space before or after it. */
  leftStrip: boolean;
  rightStrip: boolean;
  /** Matches only where no letter, digit or underscore touches it. */
  singleWord: boolean;
}

/** Cuts a text into plain sections and the added tokens between them; the longest token wins where several match. */
export type AddedTokenSplitter = (text: string) => (string | AddedToken)[];

export function createAddedTokenSplitter(tokens: readonly AddedToken[]): AddedTokenSplitter {
  if (tokens.length === 0) return (text) => (text === "" ? [] : [text]);
  const byContent = new Map(tokens.map((token) => [token.content, token]));
  const contents = [...byContent.keys()].sort((a, b) => b.length - a.length);
  const source = contents.map((content) => content.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|");
  return (text) => {
    const sections: (string | AddedToken)[] = [];
    const pattern = new RegExp(source, "gu");
    let start = 0;
    for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
      const token = byContent.get(match[0])!;
      if (token.singleWord && touchesWord(text, match.index, pattern.lastIndex)) continue;
      const before = text.slice(start, match.index);
      const plain = token.leftStrip ? before.trimEnd() : before;
      if (plain !== "") sections.push(plain);
      sections.push(token);
      if (token.rightStrip) pattern.lastIndex = text.length - text.slice(pattern.lastIndex).trimStart().length;
      start = pattern.lastIndex;
    }
    if (start < text.length) sections.push(text.slice(start));
    return sections;
  };
}

function touchesWord(text: string, start: number, end: number): boolean {
  return (
    /[\p{L}\p{N}_]$/u.test(text.slice(Math.max(0, start - 2), start)) ||
    /^[\p{L}\p{N}_]/u.test(text.slice(end, end + 2))
  );
}
