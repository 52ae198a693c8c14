/** From a finished datastore to a trained memory: search for every entry, imitation, a part. Each stage is kept, so that a stop loses little. */
import type { DecodingModel } from "../../../engine/model.ts";
import { ensure } from "../../../errors.ts";
import { exists, folderOf, inMadeFolder, keeping, nameOf, within } from "../../../files.ts";
import { requireCounts, requirePositive, requireWhole, requireWithin } from "../../../numbers.ts";
import type { TrainProgress } from "../../../training/loop.ts";
import { withFileLock } from "../../../weights/cache.ts";
import { baseOf, type StateModel } from "../building.ts";
import { type Datastore, inputTensor, openDatastore, readChunks } from "../datastore.ts";
import { invertedSearch, recallWithin, usualLists } from "../inverted.ts";
import { exactSearch } from "../search.ts";
import { memoryKind } from "./index.ts";
import { shapeFor } from "./network.ts";
import { type Teacher, teach } from "./teacher.ts";
import { type TrainedMemory, trainMemory } from "./training.ts";

export interface MakeMemoryOptions {
  /** Folder of the datastore. */
  readonly datastore: string;
  /** Folder of the part to write. */
  readonly out: string;
  /** Folder for what is kept on the way; it is removed at the end. */
  readonly work: string;
  /** Neighbours that the teacher looks at. */
  readonly k: number;
  /** Divides the squared distances of the neighbours. */
  readonly temperature: number;
  /** Share of the imitation in the loss. */
  readonly alpha: number;
  /** Feed-forward blocks of the network. */
  readonly blocks: number;
  /** Steps of the optimiser. */
  readonly steps: number;
  /** Entries of a step. */
  readonly rows: number;
  /** Peak of the learning rate. */
  readonly learningRate: number;
  /** Of the first weights and of the order of entries. */
  readonly seed: number;
  /** Entries from which on the teacher looks at the nearest lists of an inverted file alone. Default 50000. */
  readonly exactUntil?: number;
  /** Bytes that the datastore may take in memory. Default: half of the machine's. */
  readonly memoryLimit?: number;
  /** Threads within an operator. Default: all cores, at most 8. */
  readonly threads?: number;
  /** Ends the work with the error `aborted`; the same call goes on where it was. Default: nothing ends it. */
  readonly signal?: AbortSignal;
  /** Told how many entries the teacher has searched for, of how many. Default: nobody is told. */
  readonly onTeach?: (entries: number, of: number) => void;
  /** Told after each step how far the training is. Default: nobody is told. */
  readonly onTrain?: (progress: TrainProgress) => void;
}

export interface MadeMemory extends TrainedMemory {
  readonly entries: number;
  /** Of the teacher's search, where it was no exact one: the lists that it looked at, and the share of the true nearest that it found. */
  readonly inverted?: { readonly lists: number; readonly probes: number; readonly recall: number };
}

type MemoryModel = StateModel & Pick<DecodingModel, "writePart">;

const probes = 32;
const usualExactUntil = 50_000;

/** Errors: `bad_option` for numbers out of their range; `unavailable` where another process makes it; those of the datastore, of searching and of training; `aborted`, with every stage kept. */
export async function makeMemory(model: MemoryModel, options: MakeMemoryOptions): Promise<MadeMemory> {
  const { work, k, temperature, alpha, blocks, steps, rows, learningRate, seed } = options;
  requireCounts({ k, blocks, steps, rows });
  requirePositive({ temperature, learningRate });
  requireWhole({ seed }, 0);
  requireWithin({ alpha }, 0, 1);
  return inMadeFolder(folderOf(work), () => withFileLock(work, () => make(model, options), { timeout: 0 }));
}

async function make(model: MemoryModel, options: MakeMemoryOptions): Promise<MadeMemory> {
  const { datastore: folder, out, work, k, temperature, alpha, blocks, seed, threads, signal, onTrain } = options;
  const { memoryLimit, exactUntil = usualExactUntil, steps, rows, learningRate } = options;
  const datastore = await openDatastore(folder, await baseOf(model), { memoryLimit });
  const { card, entries } = datastore;
  const { teacher, inverted } = await teacherOf(datastore, options, exactUntil);
  ensure(teacher.offsets.length === entries + 1, "internal", "the teacher has other entries than the datastore");
  const shape = shapeFor(model.config, card.inputWidth, blocks);
  const checkpoints = within(work, "checkpoints");
  const trained = await trainMemory(
    { states: await inputsOf(datastore), width: card.inputWidth, values: datastore.values, teacher },
    {
      shape,
      alpha,
      steps,
      rows,
      learningRate,
      warmup: 100,
      seed,
      folder: checkpoints,
      threads,
      signal,
      onProgress: onTrain,
    },
  );
  await model.writePart(out, {
    name: nameOf(out),
    kind: memoryKind,
    sites: [card.inputSite],
    settings: { ...shape },
    training: {
      entries,
      k,
      temperature,
      alpha,
      steps,
      rows,
      learningRate,
      seed,
      loss: trained.loss,
      datastore: card.digest,
    },
    tensors: new Map(trained.parameters.map(({ name, shape, values }) => [name, { shape, values }])),
  });
  await (await keeping()).remove(work);
  return { ...trained, entries, ...(inverted && { inverted }) };
}

/** What the search says of every entry; where it is no exact one, how much of that it finds. */
async function teacherOf(
  datastore: Datastore,
  { work, k, temperature, threads, signal, onTeach }: MakeMemoryOptions,
  exactUntil: number,
): Promise<{ teacher: Teacher; inverted?: MadeMemory["inverted"] }> {
  const { entries } = datastore;
  const lists = usualLists(entries);
  const approximate =
    entries <= exactUntil ? undefined : await invertedSearch(datastore, { probes: Math.min(probes, lists), threads });
  const search = approximate ?? (await exactSearch(datastore, { threads }));
  try {
    const recall = approximate && (await recallWithin(datastore, approximate, k, threads));
    const teacher = await teach(datastore, search, {
      folder: within(work, "teacher"),
      ...{ k, temperature, signal },
      onProgress: (done) => onTeach?.(done, entries),
    });
    return { teacher, ...(approximate && { inverted: { lists, probes: approximate.probes, recall: recall! } }) };
  } finally {
    await search.close();
  }
}

/** What a memory reads at every entry: the keys themselves where both are read at one site. */
async function inputsOf({ folder, card, keys, entries }: Datastore): Promise<Float32Array> {
  const name = inputTensor(card);
  if (name === "keys") return keys;
  const inputs = new Float32Array(entries * card.inputWidth);
  let at = 0;
  for await (const chunk of readChunks(folder, card, ["inputs"])) {
    inputs.set(chunk.tensors.inputs, at * card.inputWidth);
    at += chunk.entries;
  }
  return inputs;
}

/** Whether a folder has a finished memory. */
export const isMade = (out: string): Promise<boolean> => exists(within(out, "part.json"));
