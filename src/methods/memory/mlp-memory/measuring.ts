/** Facts as texts to remember, as other words to predict, and as questions; and what each memory makes of them. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { parseJson } from "../../../json.ts";
import type { Model } from "../../../papers/reproduction.ts";
import { askQuestions } from "../asking.ts";
import { indexPassages } from "../bm25.ts";
import { baseOf, buildDatastore, type StateModel } from "../building.ts";
import { type Datastore, openDatastore } from "../datastore.ts";
import { shuffled } from "../key-value-bottleneck/bottleneck.ts";
import { neighbourRecollection } from "../neighbours.ts";
import { bestLambda, natsOf, type ReadDocument, type Reader, readTextsWith } from "../reading.ts";
import { exactSearch, type Search } from "../search.ts";
import { openMemory, recollection } from "./index.ts";
import { type MakeMemoryOptions, makeMemory } from "./making.ts";

/** A fact as statements, which are remembered, and as the beginning of another sentence, which asks for it. */
export interface Fact {
  readonly statements: readonly string[];
  readonly question: string;
  readonly answer: string;
}

const madeUp: readonly [string, string, string][] = [
  ["Tarn", "king", "Orlo"],
  ["Velm", "king", "Pima"],
  ["Tarn", "river", "Sool"],
  ["Velm", "river", "Ana"],
  ["Brin", "king", "Rudo"],
  ["Brin", "river", "Mirre"],
  ["Oska", "king", "Talo"],
  ["Oska", "river", "Lund"],
];

/** A small world of ours, for the tiny size. */
export const madeUpFacts: readonly Fact[] = madeUp.map(([place, what, name]) => ({
  statements: [`The ${what} of ${place} is called ${name}.`, `${name} is the ${what} of ${place}.`],
  question: `In ${place}, the ${what} is called`,
  answer: name,
}));

interface Relation {
  readonly type: string;
  readonly subject: string;
  readonly object: string;
  readonly prompts: readonly string[];
  readonly questions: readonly string[];
}

/** Facts of the relations data: its prompts are the statements, its questions ask. */
export async function relationFacts(path: string, count: number, seed: number): Promise<Fact[]> {
  const text = gunzipSync(await readFile(path)).toString();
  const lines = text.split("\n").filter((line) => line !== "");
  const relations = lines.map((line) => parseJson(line, path) as Relation).filter(({ type }) => type === "factual");
  return Array.from(shuffled(relations.length, seed, 11).subarray(0, count), (i) => {
    const { subject, object, prompts, questions } = relations[i];
    const filled = (template: string): string => template.replace("{}", subject);
    return {
      statements: prompts.map((prompt) => `${filled(prompt)} ${object}.`),
      question: filled(questions[0]),
      answer: object,
    };
  });
}

export const textsOf = (facts: readonly Fact[]): string[] => facts.map(({ statements }) => statements.join(" "));
export const asked = (facts: readonly Fact[]): string[] =>
  facts.map(({ question, answer }) => `${question} ${answer}.`);

export const retrieval = { k: 64, temperature: 16 } as const;

export interface Made {
  readonly datastore: Datastore;
  readonly search: Search;
  readonly readers: readonly Reader[];
  readonly folder: string;
  close(): Promise<void>;
}

/** A datastore and a trained memory of texts, in a folder, with readers of both. */
export async function makeBoth(
  model: Model,
  texts: readonly string[],
  folder: string,
  options: Partial<MakeMemoryOptions> & { passes: number },
): Promise<Made> {
  const paths = { datastore: join(folder, "datastore"), out: join(folder, "memory"), work: join(folder, "training") };
  const { entries } = await buildDatastore(model as StateModel, texts, {
    folder: paths.datastore,
    signal: options.signal,
  });
  const rows = Math.min(256, Math.max(32, entries >> 3));
  await makeMemory(model as StateModel & Model, {
    ...{ ...retrieval, alpha: 0.4, blocks: 3, rows, learningRate: 2e-3, seed: 0, ...paths },
    steps: Math.max(20, Math.ceil((options.passes * entries) / rows)),
    ...options,
  });
  const datastore = await openDatastore(paths.datastore, await baseOf(model));
  const search = await exactSearch(datastore);
  const memory = await openMemory(model, paths.out);
  const { values, card } = datastore;
  return {
    datastore,
    search,
    folder,
    readers: [
      {
        name: "knn-lm",
        site: card.keySite,
        recall: async (states) =>
          (await search.find(states, retrieval.k)).map((hits) =>
            neighbourRecollection(hits, values, retrieval.temperature),
          ),
      },
      {
        name: "mlp-memory",
        site: memory.site,
        recall: async (states) => (await memory.recall(states)).map((logprobs) => recollection(logprobs, 1)),
      },
    ],
    async close() {
      await search.close();
      await memory.close();
    },
  };
}

/** Of each document that was not used to choose λ: its tokens, nats of the model, of the search's mixture and of the memory's, divergences. */
export interface Predicted {
  readonly documents: readonly (readonly number[])[];
  readonly lambdas: readonly number[];
}

/** Errors: those of reading. */
export async function predict(
  model: Model,
  made: Made,
  texts: readonly string[],
  signal: AbortSignal,
): Promise<Predicted> {
  const documents = await readTextsWith(model as StateModel, texts, made.readers, { imitated: "knn-lm", signal });
  const half = Math.floor(documents.length / 2);
  const lambdas = made.readers.map((_, reader) => bestLambda(documents.slice(0, half), reader));
  const row = (one: ReadDocument): number[] => [
    one.own.length,
    natsOf(one, 0, 0),
    ...lambdas.map((lambda, reader) => natsOf(one, reader, lambda)),
    one.divergences!.own,
    one.divergences!.memories[1],
  ];
  return { documents: documents.slice(half).map(row), lambdas };
}

/** Exact matches (1 or 0) of each question: the model alone, with passages in its prompt, with the search, with the memory. */
export async function answer(
  model: Model,
  made: Made,
  facts: readonly Fact[],
  questions: readonly Fact[],
  lambdas: readonly number[],
  signal: AbortSignal,
): Promise<number[][]> {
  const { find } = await indexPassages(textsOf(facts));
  const knn = { name: "knn-lm", datastore: join(made.folder, "datastore"), ...retrieval, lambda: lambdas[0] };
  const memory = { name: "mlp-memory", memory: join(made.folder, "memory"), lambda: lambdas[1] };
  const ways = [
    { name: "model" },
    { name: "rag", passages: (question: string) => find(question, 5).map(({ text }) => text) },
    { name: "knn-lm", shaper: knn },
    { name: "mlp-memory", shaper: memory },
  ];
  const asked = questions.map(({ question, answer: wanted }) => ({ question, answers: [wanted] }));
  const said = await askQuestions(model, asked, ways, { signal });
  return said.map((row) => row.map(({ right }) => (right ? 1 : 0)));
}
