/**
 * The simple modern stories that knossos is trained on, cleaned as `recipes/corpus.mjs` cleans them: which documents were held out of
 * its training is decided by the cleaned text.
 */
import { type CleaningOptions, cleanTexts, collectNames, seenTexts } from "../text/cleaning.ts";
import { documents } from "../text/text-files.ts";

export interface StorySource {
  /** Below the data folder. */
  readonly path: string;
  /** What stands between the texts of a .txt file. */
  readonly separator?: RegExp;
  /** Its capitals are put back by the names in the first source. */
  readonly lowerCased?: boolean;
}

export const storyCleaning: CleaningOptions = { splitStories: true, minimumCharacters: 150 };

/** Copies with their case come first: the lower-cased file repeats many of them. */
export const storySources: readonly StorySource[] = [
  { path: "simple-stories/tinystories-more.jsonl.gz" },
  { path: "tinystories/tinystories-1000.jsonl.gz" },
  { path: "tinystories/tinystories-lower-4mb.txt.gz", separator: /(?<!\n)\n(?!\n)/, lowerCased: true },
];

/** The names that the lower-cased stories need for their capitals. */
export const storyNames = (data: (path: string) => string): Promise<Set<string>> =>
  collectNames(cleanTexts(documents({ path: data(storySources[0].path) }), storyCleaning));

/** Every story once. `data` gives a file of the data folder its place. */
export async function* simpleStories(data: (path: string) => string): AsyncGenerator<string> {
  const names = await storyNames(data);
  const seen = seenTexts();
  for (const { path, separator, lowerCased } of storySources) {
    const options = { ...storyCleaning, seen, names: lowerCased ? names : undefined };
    yield* cleanTexts(documents({ path: data(path), separator }), options);
  }
}
