/** The command behind `ventris train trigrams`: a table for a tokenizer from any texts, written to a file. */
import type { Tokenizer } from "../../../text/tokenizer.ts";
import { writeFileAtomically } from "../../../weights/index.ts";
import { createTableBuilder } from "./build.ts";
import { encodeTable } from "./file.ts";

export interface TableFromTexts {
  texts: AsyncIterable<string>;
  tokenizer: Tokenizer;
  out: string;
  /** Most pairs kept, the most frequent ones. */
  maximumPairs?: number;
  onProgress?: (progress: { texts: number; tokens: number }) => void;
  signal?: AbortSignal;
}

/** Errors: `out_of_memory` for too much text, `disk_full`, `aborted`. */
export async function trainTable({
  texts,
  tokenizer,
  out,
  maximumPairs,
  onProgress,
  signal,
}: TableFromTexts): Promise<{ pairs: number; bytes: number }> {
  const { vocabularySize, fingerprint } = tokenizer;
  const builder = createTableBuilder({ vocabularySize, fingerprint, maximumPairs });
  let count = 0;
  let tokens = 0;
  for await (const text of texts) {
    signal?.throwIfAborted();
    const ids = tokenizer.encode(text, { special: false });
    builder.add(ids);
    count += 1;
    tokens += ids.length;
    onProgress?.({ texts: count, tokens });
  }
  const table = builder.finish();
  const bytes = encodeTable(table);
  await writeFileAtomically(out, bytes);
  return { pairs: table.keys().length, bytes: bytes.length };
}
