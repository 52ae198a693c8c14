/** Questions with known answers, asked of a model alone, with passages in its prompt, or with a memory in its distribution. */
import { z } from "zod";
import { ensure } from "../../errors.ts";
import { checkJson, parseJson } from "../../json.ts";
import { type Tokenizer, textLines } from "../../text/index.ts";
import { wordsOf } from "./bm25.ts";

export interface Question {
  readonly question: string;
  /** Any of them is right. */
  readonly answers: readonly string[];
}

/** What a model must have to be asked: what `open` gives has it. */
export interface AskedModel {
  readonly name: string;
  readonly tokenizer: Tokenizer | undefined;
  readonly config: { readonly contextLength: number };
  // Options are typed by what calls methods, which these know nothing of.
  decode(prompt: string, options: object): { readonly final: Promise<{ text: string; finish: string }> };
}

/** A way to ask. */
export interface Way {
  readonly name: string;
  /** What may stand before a question, best first: as many as the context has room for. */
  readonly passages?: (question: string) => readonly string[];
  /** Mixed into the model's distribution: a shaper's name, with its options beside it. */
  readonly shaper?: { readonly name: string } & Readonly<Record<string, unknown>>;
}

/** What was said to a question in one of the ways. */
export interface Said {
  readonly text: string;
  readonly right: boolean;
  /** What the prompt cost, and how many passages it had. */
  readonly promptTokens: number;
  readonly passages: number;
}

export interface AskOptions {
  /** Ends the work with the error `aborted`. Default: nothing ends it. */
  readonly signal?: AbortSignal;
  /** Told how many questions are answered. Default: nobody is told. */
  readonly onProgress?: (questions: number) => void;
}

const questionSchema = z.object({
  question: z.string().refine((text) => text.trim() !== "", "is empty"),
  answer: z.union([z.string(), z.array(z.string()).min(1)]),
});

/** Lines {"question": …, "answer": a text, or a list of which any is right}. Errors: `bad_file` naming the line; those of reading text files. */
export async function readQuestions(path: string, limit = Infinity): Promise<Question[]> {
  ensure(/\.jsonl(\.gz)?$/.test(path), "bad_option", `${path}: questions are a file that ends in .jsonl or .jsonl.gz`);
  const questions: Question[] = [];
  let number = 0;
  for await (const line of textLines(path)) {
    number++;
    if (line.trim() === "") continue;
    if (questions.length >= limit) break;
    const origin = `${path}, line ${number}`;
    const { question, answer } = checkJson(questionSchema, parseJson(line, origin), origin);
    const answers = [answer].flat();
    const empty = answers.find((one) => wordsOf(one).length === 0);
    ensure(empty === undefined, "bad_file", `${origin}: the answer ${JSON.stringify(empty)} has no words`);
    questions.push({ question, answers });
  }
  ensure(questions.length > 0, "bad_option", `${path} holds no questions`);
  return questions;
}

/** Tokens of an answer at least, and beyond the longest that is right. */
const [fewestTokens, tokensBeyond] = [12, 4];

/** Whether what was said begins with a right answer as a whole sentence or line, by its words. */
export function isRight(said: string, answers: readonly string[]): boolean {
  const ends = [...said.matchAll(/[.\n]/g)].map(({ index }) => index);
  const beginnings = [...ends, said.length].map((end) => wordsOf(said.slice(0, end)).join(" "));
  return answers.some((answer) => beginnings.includes(wordsOf(answer).join(" ")));
}

/**
 * What a model says to each question, greedily, in each of the ways. The question is the prompt as it stands; passages are lines before it, the best one
 * nearest to it. Errors: `bad_option` without questions, or answers to one; those of decoding;
 * `aborted`.
 */
export async function askQuestions(
  model: AskedModel,
  questions: readonly Question[],
  ways: readonly Way[],
  { signal, onProgress }: AskOptions = {},
): Promise<Said[][]> {
  const { tokenizer, config } = model;
  ensure(tokenizer, "bad_option", `questions are asked in words, and ${model.name} has no tokenizer`);
  ensure(questions.length > 0, "bad_option", "there are no questions to ask");
  const unanswered = questions.findIndex((one) => one.answers.length === 0);
  ensure(unanswered < 0, "bad_option", `question ${unanswered} has no answer that would be right`);
  const answers = questions.flatMap((one) => one.answers);
  const longest = answers.reduce((most, one) => Math.max(most, tokenizer.encode(one, { special: false }).length), 0);
  const maxTokens = Math.max(fewestTokens, longest + tokensBeyond);
  // A sentence that has ended says no more, but where an answer itself has a full stop.
  const stop = answers.some((one) => one.includes(".")) ? ["\n"] : [".", "\n"];
  const said: Said[][] = [];
  for (const { question, answers: wanted } of questions) {
    const row: Said[] = [];
    for (const { passages, shaper } of ways) {
      const found = [...(passages?.(question) ?? [])];
      const prompt = () => [...found.toReversed(), question].join("\n");
      while (found.length > 0 && tokenizer.encode(prompt()).length + maxTokens > config.contextLength) found.pop();
      const { text, finish } = await model.decode(prompt(), {
        ...{ temperature: 0, maxTokens, stop, signal },
        shapers: shaper ? [shaper] : [],
      }).final;
      ensure(finish !== "aborted", "aborted", "asking questions was aborted");
      const promptTokens = tokenizer.encode(prompt()).length;
      row.push({ text, right: isRight(text, wanted), promptTokens, passages: found.length });
    }
    said.push(row);
    onProgress?.(said.length);
  }
  return said;
}
