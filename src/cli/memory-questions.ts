/** The questions of `ventris memory evaluate`: a model alone, with passages in its prompt, and with its memories, side by side. */
import { plural } from "../errors.ts";
import { memory } from "../methods/index.ts";
import type { Model } from "../open.ts";
import { meanOf } from "../papers/statistics.ts";
import { print, say, showProgress } from "./output.ts";
import { formatTable } from "./table.ts";

interface Asked {
  readonly questions: string;
  readonly limit?: number;
  /** Folder and card of the datastore, of which the passages are. */
  readonly folder: string;
  readonly card: memory.DatastoreCard;
  readonly passages: number;
  /** The ways with a memory. */
  readonly memories: readonly memory.Way[];
  /** Their weights. */
  readonly lambdas: readonly number[];
  readonly reference: string;
  readonly seed: number;
  readonly signal: AbortSignal;
}

export async function answered(model: Model, asked: Asked) {
  const { questions: path, limit, folder, card, passages, memories, lambdas, reference, seed, signal } = asked;
  const questions = await memory.readQuestions(path, limit);
  const index = await memory.indexPassages(memory.textsOf(folder, card, model.tokenizer!));
  const ways: memory.Way[] = [
    { name: reference },
    { name: "rag", passages: (question) => index.find(question, passages).map(({ text }) => text) },
    ...memories,
  ];
  const said = await memory.askQuestions(model, questions, ways, {
    signal,
    onProgress: (done) => showProgress(`${done} of ${plural(questions.length, "question")}`),
  });
  const right = (row: readonly memory.Said[], way: number): number => (row[way].right ? 1 : 0);
  const mean = (way: number, of: (one: memory.Said) => number): number =>
    said.reduce((sum, row) => sum + of(row[way]), 0) / said.length;
  const rows = ways.map(({ name }, way) => {
    const lambda = lambdas[way - 2];
    const share = meanOf(
      said.map((row) => right(row, way)),
      seed,
    );
    const gain = meanOf(
      said.map((row) => right(row, way) - right(row, 0)),
      seed,
    );
    return {
      name,
      ...(lambda !== undefined && { lambda }),
      right: { value: share.value, interval: share.interval },
      gain: { value: gain.value, interval: gain.interval },
      promptTokens: mean(way, (one) => one.promptTokens),
      passages: mean(way, (one) => one.passages),
    };
  });
  return {
    count: questions.length,
    rows,
    answers: questions.map((one, i) => ({
      ...one,
      said: Object.fromEntries(ways.map(({ name }, way) => [name, said[i][way].text])),
    })),
  };
}

export function reportAnswers({ count, rows }: Awaited<ReturnType<typeof answered>>): void {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  const between = (interval: readonly number[] | undefined): string => interval?.map(percent).join(" to ") ?? "-";
  print(
    formatTable(
      ["with", "λ", "right", "95 % interval", "more than alone", "95 % interval", "tokens of a prompt"],
      rows.map(({ name, lambda, right, gain, promptTokens }) => [
        name,
        lambda?.toFixed(2) ?? "-",
        percent(right.value),
        between(right.interval),
        percent(gain.value),
        between(gain.interval),
        promptTokens.toFixed(0),
      ]),
    ),
  );
  const [, rag] = rows;
  say(`${plural(count, "question")}; rag has ${rag.passages.toFixed(1)} passages by BM25 before each`);
}
