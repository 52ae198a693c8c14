/**
 * Keeps special tokens written inside messages from being taken for the template's own: they travel through the
 * template as numbered marks and are put back only after the text has been cut at its special tokens.
 */
import { VentrisError } from "../errors.ts";
import { createAddedTokenSplitter, plainToken } from "./added-tokens.ts";
import type { ChatMessage } from "./tokenizer.ts";

/** U+FDD0..U+FDEF are noncharacters: no text that is meant to be exchanged contains them. */
const marks = Array.from({ length: 32 }, (_, index) => String.fromCharCode(0xfdd0 + index));

export function guardMessages(
  messages: readonly ChatMessage[],
  specialTokens: Iterable<string>,
): { messages: ChatMessage[]; restore(text: string): string } {
  const mark = marks.find((candidate) =>
    messages.every((message) => !`${message.role}${message.content}`.includes(candidate)),
  );
  if (mark === undefined) {
    throw new VentrisError(
      "bad_option",
      "the messages contain every Unicode noncharacter from U+FDD0 to U+FDEF; remove one of them",
    );
  }
  const contents = [...specialTokens];
  const split = createAddedTokenSplitter(contents.map((content, id) => ({ ...plainToken, id, content })));
  const guard = (text: string) =>
    split(text)
      .map((section) => (typeof section === "string" ? section : `${mark}${section.id}${mark}`))
      .join("");
  const marked = new RegExp(`${mark}(\\d+)${mark}`, "g");
  return {
    messages: messages.map(({ role, content }) => ({ role: guard(role), content: guard(content) })),
    restore: (text) => text.replace(marked, (_, index) => contents[Number(index)]),
  };
}
