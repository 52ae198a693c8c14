/**
 * Keeps special tokens written inside messages from being taken for the template's own: they travel through the
 * template as numbered marks and are put back only after the text has been cut at its special tokens.
 */
import { VentrisError } from "../errors.ts";
import { createAddedTokenSplitter, plainToken } from "./added-tokens.ts";
import { mapStrings } from "./chat-messages.ts";
import type { ChatMessage, ChatOptions } from "./tokenizer.ts";

/** U+FDD0..U+FDEF are noncharacters: no text that is meant to be exchanged contains them. */
const marks = Array.from({ length: 32 }, (_, index) => String.fromCharCode(0xfdd0 + index));

/** Errors: `bad_option` for messages that are no JSON, or leave no mark free. */
export function guardMessages(
  messages: readonly ChatMessage[],
  options: ChatOptions,
  specialTokens: Iterable<string>,
): { messages: readonly ChatMessage[]; options: ChatOptions; restore(text: string): string } {
  const taken = new Set<string>();
  const look = (text: string) => {
    for (const mark of marks) if (!taken.has(mark) && text.includes(mark)) taken.add(mark);
    return text;
  };
  mapStrings(messages, look, "messages");
  mapStrings(options.tools ?? [], look, "tools");
  const mark = marks.find((candidate) => !taken.has(candidate));
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
    messages: mapStrings(messages, guard, "messages") as readonly ChatMessage[],
    options: {
      ...options,
      ...(options.tools && { tools: mapStrings(options.tools, guard, "tools") as readonly unknown[] }),
    },
    restore: (text) => text.replace(marked, (_, index) => contents[Number(index)]),
  };
}
