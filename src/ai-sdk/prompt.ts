/** Prompts of the AI SDK as messages of ours. */
import type {
  LanguageModelV3FilePart,
  LanguageModelV3Message,
  LanguageModelV3Prompt,
  SharedV3Warning,
} from "@ai-sdk/provider";
import { fromBase64 } from "../base64.ts";
import type { Prompt } from "../calls.ts";
import { ensure, VentrisError } from "../errors.ts";
import type { Model } from "../open.ts";
import { hasPictures } from "../pictures.ts";
import { muchTooLong } from "../text/most.ts";
import type { ChatMessage, ContentPart } from "../text/tokenizer.ts";
import { chatTokens, type Tool } from "../tool-calls.ts";

/**
 * Ids of a prompt, in the model's chat template, or its messages where there are pictures among them; where the model has no template, the one
 * text of a user, which is continued as it is. Errors: `bad_option` for other files, and for a conversation without a template.
 */
export function promptOf(
  model: Model,
  prompt: LanguageModelV3Prompt,
  tools: readonly Tool[],
  warnings: SharedV3Warning[],
): Prompt {
  const messages = prompt.flatMap((message) => messagesOf(message, warnings));
  const seen: boolean = hasPictures(messages);
  if (seen) {
    ensure(tools.length === 0, "bad_option", "tools: beside pictures there can be none");
    return messages;
  }
  const { tokenizer, name, capabilities } = model;
  const most = tokenizer && muchTooLong(model.config.contextLength);
  if (tokenizer?.encodeChat) return chatTokens(tokenizer, messages, tools, most);
  ensure(
    tokenizer,
    "bad_option",
    () => `the model ${name} has no tokenizer; what it has: ${[...capabilities].join(", ")}`,
  );
  const [only, ...others] = messages;
  const plain = others.length === 0 && tools.length === 0 && only?.role === "user" && typeof only.content === "string";
  if (!plain) {
    throw new VentrisError("bad_option", `the model ${name} has no chat template: give it one prompt and nothing else`);
  }
  warnings.push({
    type: "other",
    message: `the model ${name} has no chat template: it continues the prompt as a text`,
  });
  return tokenizer.encode(only.content as string, { most });
}

function messagesOf({ role, content }: LanguageModelV3Message, warnings: SharedV3Warning[]): ChatMessage[] {
  if (role === "system") return [{ role, content }];
  if (role === "tool") {
    return content.map((part) => {
      if (part.type !== "tool-result") throw refused(part.type);
      return { role, tool_call_id: part.toolCallId, content: resultText(part.output) };
    });
  }
  let text = "";
  const parts: ContentPart[] = [];
  const calls: object[] = [];
  for (const part of content) {
    if (part.type === "text") {
      text += part.text;
      parts.push({ type: "text", text: part.text });
    } else if (role === "user" && part.type === "file" && /^image\//.test(part.mediaType))
      parts.push({ type: "image", image: pictureOf(part) });
    else if (part.type === "reasoning") {
      warnings.push({
        type: "unsupported",
        feature: "reasoning in the prompt",
        details: "these models were not told of it",
      });
    } else if (part.type === "tool-call") {
      const call = { name: part.toolName, arguments: JSON.stringify(part.input) };
      calls.push({ id: part.toolCallId, type: "function", function: call });
    } else throw refused(part.type);
  }
  const seen = parts.some(({ type }) => type === "image");
  return [{ role, content: seen ? parts : text, ...(calls.length > 0 && { tool_calls: calls }) }];
}

/** The SDK itself fetches what is given by its address. */
function pictureOf({ data }: LanguageModelV3FilePart): Uint8Array {
  ensure(!(data instanceof URL), "bad_option", "the prompt has a picture by its address: give its bytes");
  const bytes = typeof data === "string" ? fromBase64(data) : data;
  ensure(bytes, "bad_option", "the prompt has a picture whose text is no base64");
  return bytes;
}

type Output = Extract<
  Extract<LanguageModelV3Message, { role: "tool" }>["content"][number],
  { type: "tool-result" }
>["output"];

function resultText(output: Output): string {
  if (output.type === "text" || output.type === "error-text") return output.value;
  if (output.type === "json" || output.type === "error-json") return JSON.stringify(output.value);
  if (output.type === "execution-denied") return `denied${output.reason ? `: ${output.reason}` : ""}`;
  return output.value
    .map((part) => {
      if (part.type !== "text") throw refused(part.type);
      return part.text;
    })
    .join("\n");
}

const refused = (type: string): VentrisError =>
  new VentrisError(
    "bad_option",
    `the prompt has a part of type ${type}, which these models do not take: texts, and pictures for those that see`,
  );
