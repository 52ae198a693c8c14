/** Chat templates (Jinja) of untrusted checkpoints, with bounds on time and size. */
import { Environment, Interpreter, Template } from "@huggingface/jinja";
import { ensure, VentrisError } from "../errors.ts";
import { nameOf } from "../files.ts";
import { type ChatForms, type ChatInput, findForms, mapStrings, shapeMessages } from "./chat-messages.ts";
import { strftime } from "./strftime.ts";
import type { ChatMessage, ChatOptions } from "./tokenizer.ts";

export type ChatTemplate = (messages: readonly ChatMessage[], options?: ChatOptions) => string;

const longestTemplate = 1 << 20;
/** Real templates take milliseconds for the longest conversations; a busy machine may stall now and then. */
const longestRender = 10_000;
const longestString = 1 << 25;
const longestList = 100_000;

// The library's own declarations do not resolve under Node's module rules; this much of them is used here.
type RuntimeValue = { value: unknown };
type Evaluate = (statement: { type: string } | undefined, environment: unknown) => RuntimeValue;

/**
 * Compiles a chat template. `variables` are the special tokens that templates expect (`bos_token`, `eos_token` …).
 * Errors: `bad_file` naming `origin` for a template that does not parse, fails, or exceeds the bounds (`milliseconds`, 32
 * million characters, lists of 100 000); `bad_option` when the template itself refuses the messages.
 */
export function compileChatTemplate(
  source: string,
  origin: string,
  variables: Record<string, unknown>,
  milliseconds = longestRender,
): ChatTemplate {
  ensure(
    source.length <= longestTemplate,
    "bad_file",
    `${origin}: the chat template is longer than ${longestTemplate} characters`,
  );
  const file = nameOf(origin); // what is wrong with messages is told to whoever sent them, who need not learn of folders here
  // Jinja itself knows one kind of line end.
  const lines = source.replace(/\r\n?/g, "\n");
  const { parsed } = attempt(`${origin}: the chat template does not parse`, () => new Template(lines));
  const render = ({ messages, tools, addGenerationPrompt }: ChatInput): string => {
    const environment = new Environment();
    const globals = {
      ...Object.fromEntries(["true", "True", "false", "False"].map((name) => [name, name.toLowerCase() === "true"])),
      none: null,
      None: null,
      range: boundedRange,
      raise_exception: (reason: unknown) => {
        throw new VentrisError("bad_option", `the model's chat template (${file}) refuses these messages: ${reason}`);
      },
      strftime_now: (format: string) => strftime(new Date(), format),
      ...variables,
      ...(tools && { tools }),
      messages,
      add_generation_prompt: addGenerationPrompt,
    };
    for (const [name, value] of Object.entries(globals)) environment.set(name, value);
    const interpreter = new Interpreter(environment);
    interpreter.evaluate = bounded(interpreter.evaluate.bind(interpreter), milliseconds);
    return attempt(`${file}: the chat template failed`, () => String(interpreter.run(parsed).value));
  };
  let found: ChatForms | undefined;
  const forms = () => {
    found ??= findForms(render);
    return found;
  };
  return (given, options = {}) => {
    const messages = mapStrings(given, (text) => text, "messages") as readonly ChatMessage[];
    const input = shapeMessages(messages, options, { source: lines, file, forms });
    const silent = input.messages.findIndex(({ content }) => content === null);
    if (silent < 0) return render(input);
    try {
      return render(input);
    } catch (first) {
      // Written for text alone: no content and an empty one say the same.
      try {
        return render({
          ...input,
          messages: input.messages.map((message) => ({ ...message, content: message.content ?? "" })),
        });
      } catch {
        const { message } = first as Error;
        const without = messages[silent]?.content === undefined ? "missing" : "null";
        throw new VentrisError("bad_option", `messages[${silent}].content is ${without}, and ${message}`, {
          cause: first,
        });
      }
    }
  };
}

/** Every step of the interpreter goes through `evaluate`, so this is the place to watch the time and what values grow to. */
function bounded(evaluate: Evaluate, milliseconds: number): Evaluate {
  const deadline = performance.now() + milliseconds;
  return (statement, environment) => {
    if (performance.now() > deadline) throw new Error(`it took longer than ${milliseconds} ms`);
    const value = evaluate(statement, environment);
    if (typeof value.value === "string" && value.value.length > longestString) {
      throw new Error(`it made a string longer than ${longestString} characters`);
    }
    // Only literals nest values in each other; elsewhere the outermost length tells enough.
    const nests =
      statement?.type === "ArrayLiteral" || statement?.type === "TupleLiteral" || statement?.type === "ObjectLiteral";
    if (nests ? countValues(value, 0) > longestList : Array.isArray(value.value) && value.value.length > longestList) {
      throw new Error(`it made a list of more than ${longestList} values`);
    }
    return value;
  };
}

/** Values inside a value, every repetition counted; stops soon after `longestList`. */
function countValues(value: RuntimeValue, counted: number): number {
  const inner = value?.value;
  const children: Iterable<RuntimeValue> = Array.isArray(inner) ? inner : inner instanceof Map ? inner.values() : [];
  let count = counted + 1;
  for (const child of children) {
    if (count > longestList) break;
    count = countValues(child, count);
  }
  return count;
}

function boundedRange(first: number, second?: number, step = 1): number[] {
  const [start, stop] = typeof second === "number" ? [first, second] : [0, first];
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!(length <= longestList)) throw new Error(`range() of ${length} values`);
  return Array.from({ length }, (_, index) => start + index * step);
}

function attempt<T>(message: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    if (cause instanceof VentrisError) throw cause;
    throw new VentrisError("bad_file", `${message}: ${(cause as Error).message}`, { cause });
  }
}
