/** Prompts of the AI SDK as messages of ours. */
import type { LanguageModelV3Message, LanguageModelV3Prompt, SharedV3Warning } from "@ai-sdk/provider";
import { VentrisError } from "../errors.ts";
import type { OpenModel } from "../open.ts";
import type { ChatMessage } from "../text/tokenizer.ts";
import { chatTokens, type Tool } from "../tool-calls.ts";

/**
 * Ids of a prompt, in the model's chat template; where the model has none, the one text of a user, which is continued as it is.
 * Errors: `bad_option` for files, and for a conversation without a template.
 */
export function promptTokens(
  { tokenizer, name }: OpenModel,
  prompt: LanguageModelV3Prompt,
  tools: readonly Tool[],
  warnings: SharedV3Warning[],
): readonly number[] {
  const messages = prompt.flatMap((message) => messagesOf(message, warnings));
  if (tokenizer?.encodeChat) return chatTokens(tokenizer, messages, tools);
  const [only, ...others] = messages;
  const plain = others.length === 0 && tools.length === 0 && only?.role === "user" && typeof only.content === "string";
  if (!plain || !tokenizer) {
    throw new VentrisError("bad_option", `the model ${name} has no chat template: give it one prompt and nothing else`);
  }
  warnings.push({
    type: "other",
    message: `the model ${name} has no chat template: it continues the prompt as a text`,
  });
  return tokenizer.encode(only.content as string);
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
  const calls: object[] = [];
  for (const part of content) {
    if (part.type === "text") text += part.text;
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
  return [{ role, content: text, ...(calls.length > 0 && { tool_calls: calls }) }];
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
  new VentrisError("bad_option", `the prompt has a part of type ${type}, which text models do not take`);
