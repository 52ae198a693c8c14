/** How `models/knossos/tokenizer.json` was made: 4096 byte-level BPE tokens from 61 MB of public-domain stories. */
import { join } from "node:path";
import { readTexts, type TrainedBpe, type TrainingProgress, trainTokenizer } from "../src/text/index.ts";

export const tokenizerRecipe = {
  size: 4096,
  /** Below the data folder. */
  files: [
    "gutenberg-stories/tales.jsonl.gz",
    "gutenberg-stories/classic.jsonl.gz",
    "gutenberg-stories/misc-1.jsonl.gz",
    "gutenberg-stories/misc-2.jsonl.gz",
    "gutenberg-stories/misc-3.jsonl.gz",
    "childrens-books/books.jsonl.gz",
    "childrens-books/aesop-fables.jsonl.gz",
    "tinystories/tinystories-1000.jsonl.gz",
  ],
};

/** Writes tokenizer.json and tokenizer_config.json into `out`. Takes seconds. Errors as `readTexts` and `trainTokenizer`. */
export function makeTokenizer(options: {
  data: string;
  out: string;
  onProgress?: (progress: TrainingProgress) => void;
  signal?: AbortSignal;
}): Promise<TrainedBpe> {
  const { data, ...rest } = options;
  const texts = readTexts(tokenizerRecipe.files.map((file) => join(data, file)));
  return trainTokenizer({ ...rest, texts, size: tokenizerRecipe.size });
}
