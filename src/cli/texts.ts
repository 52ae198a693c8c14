/**
 * `ventris train texts`: texts that a model writes itself. A draft is best distilled on its teacher's own samples (Liu et al. 2024),
 * and a table of its habits is best counted in them. Openings are taken from real texts.
 */
import { appendFile, readFile, rename, stat, truncate } from "node:fs/promises";
import { uniform } from "../engine/random.ts";
import { ensure, plural } from "../errors.ts";
import type { Model } from "../open.ts";
import type { TokenIds } from "../training/data.ts";
import { withFileLock, writeError } from "../weights/index.ts";

export interface WrittenTextsOptions {
  readonly model: Model;
  /** Where openings are taken from, at places drawn uniformly. */
  readonly openings: TokenIds;
  readonly openingTokens: number;
  /** Texts in all, and tokens that the model adds to each opening, unless it ends the text before. */
  readonly count: number;
  readonly length: number;
  /** Taken in turn, text by text; 0 is greedy. */
  readonly temperatures: readonly number[];
  readonly seed: number;
  /** JSON lines {text}. Until it is complete its name ends in `.partial`, and the next call goes on from there. */
  readonly out: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { texts: number; tokensPerSecond: number }) => void;
}

/** Texts written side by side: more of them fill a pass better, and look at more of each other's masked rows. */
const together = 16;

/**
 * Text number n is a function of seed, n and the model. Resolves to the number of texts in the file: fewer than `count` after an
 * abort. Errors: `bad_option`, `disk_full`, `unavailable` when another process writes the same file.
 */
export async function writeTexts(options: WrittenTextsOptions): Promise<number> {
  const { model, openings, openingTokens, count, length, temperatures, seed, out, signal, onProgress } = options;
  const { tokenizer } = model;
  ensure(tokenizer, "bad_option", "texts: the model has no tokenizer");
  ensure(
    openings.length > openingTokens,
    "bad_option",
    `texts: there are ${plural(openings.length, "token")} to take openings of ${openingTokens} from`,
  );

  /** The text, or undefined when it was aborted. */
  async function write(request: number): Promise<string | undefined> {
    const at = Math.floor(uniform({ seed, request }, 0, "data") * (openings.length - openingTokens));
    const opening = [...openings.subarray(at, at + openingTokens)];
    const temperature = temperatures[request % temperatures.length];
    const { finish, tokens } = await model.decode(opening, { temperature, seed, request, maxTokens: length, signal })
      .final;
    return finish === "aborted" ? undefined : tokenizer!.decode([...opening, ...tokens]);
  }

  const partial = `${out}.partial`;
  const writeAll = async (): Promise<number> => {
    const before = await completeLines(partial);
    const started = performance.now();
    let done = before;
    while (done < count) {
      const numbers = Array.from({ length: Math.min(together, count - done) }, (_, i) => done + i);
      const texts = await Promise.all(numbers.map(write));
      if (texts.includes(undefined)) return done;
      const lines = texts.map((text) => `${JSON.stringify({ text })}\n`).join("");
      await appendFile(partial, lines).catch((error) => {
        throw writeError(error, partial);
      });
      done += numbers.length;
      onProgress?.({ texts: done, tokensPerSecond: ((done - before) * length * 1000) / (performance.now() - started) });
    }
    await rename(partial, out);
    return done;
  };
  return withFileLock(out, writeAll, { timeout: 0 });
}

/** Lines of a file that an earlier call left; a last line without its end is cut off. */
async function completeLines(path: string): Promise<number> {
  if (!(await stat(path).catch(() => undefined))) return 0;
  const bytes = await readFile(path);
  const end = bytes.lastIndexOf(10) + 1;
  if (end < bytes.length) await truncate(path, end);
  let lines = 0;
  for (let i = 0; i < end; i++) if (bytes[i] === 10) lines += 1;
  return lines;
}
