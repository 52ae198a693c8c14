/** Conversations about pictures as rows of a batch: a picture's rows stand where its template puts them, and only answers count. */
import { ensure } from "../../errors.ts";
import type { VisionConfig } from "../../models/vision/config.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import type { SeeingBatch } from "./objective.ts";

export interface Turn {
  readonly question: string;
  readonly answer: string;
  /** What they speak of, for `SeeingShape.grounding`. */
  readonly references?: { readonly question: readonly Reference[]; readonly answer: readonly Reference[] };
}

/** Words that speak of a part of the picture. */
export interface Reference {
  /** Characters of the question or answer up to the end of the words. */
  readonly end: number;
  /** Lists of the picture's rows, one for each thing that is meant. */
  readonly things: readonly (readonly number[])[];
}

export interface Conversation {
  /** [channels, size, size], resized and normalised; stands before the first question. None: a text alone. */
  readonly pixels?: Float32Array;
  readonly turns: readonly Turn[];
}

export interface ConversationTokens {
  readonly tokens: readonly number[];
  /** Where a row of the picture stands, its number; -1 elsewhere. */
  readonly places: readonly number[];
  /** Whether the model is to say this token. */
  readonly said: readonly boolean[];
  /** What the words that end with a token speak of. */
  readonly references: readonly { readonly at: number; readonly things: Reference["things"] }[];
}

/**
 * As a template of the form `<|begin|><|user|>[picture]question<|assistant|>answer<|end|>…` writes it, up to `most` tokens: turns that do not
 * fit whole are left out. Errors: `bad_option` for a tokenizer without these tokens, or a first turn that does not fit.
 */
export function conversationTokens(
  tokenizer: Tokenizer,
  { pixels, turns }: Conversation,
  vision: Pick<VisionConfig, "rows" | "imageToken">,
  most: number,
): ConversationTokens {
  const { beginToken: begin, endTokens, specialTokens } = tokenizer;
  const [user, assistant, end] = [specialTokens?.get("<|user|>"), specialTokens?.get("<|assistant|>"), endTokens[0]];
  ensure(
    begin !== undefined && end !== undefined && user !== undefined && assistant !== undefined,
    "bad_option",
    "training: the tokenizer has no tokens for the turns of a conversation",
  );
  const tokens: number[] = [begin];
  const places: number[] = [-1];
  const said: boolean[] = [false];
  const references: { at: number; things: Reference["things"] }[] = [];
  const refer = (ids: readonly number[], given: readonly Reference[] = []): void => {
    let end = 0;
    for (const [i, id] of given.length > 0 ? ids.entries() : []) {
      end += tokenizer.decode([id]).length;
      const found = given.find((reference) => reference.end === end);
      if (found) references.push({ at: tokens.length + i, things: found.things });
    }
  };
  const write = (ids: readonly number[], isSaid: boolean, placesOf: (i: number) => number = () => -1): void => {
    for (const [i, id] of ids.entries()) {
      tokens.push(id);
      places.push(placesOf(i));
      said.push(isSaid);
    }
  };
  const encode = (text: string): number[] => tokenizer.encode(text, { special: false });
  for (const [number, { question, answer, references: given }] of turns.entries()) {
    const [asked, told] = [encode(question), encode(answer)];
    const picture = number === 0 && pixels ? vision.rows : 0;
    const fits = tokens.length + 3 + picture + asked.length + told.length <= most;
    ensure(fits || number > 0, "bad_option", `training: ${most} tokens do not hold the question ${question}`);
    if (!fits) break;
    write([user], false);
    if (picture > 0) write(new Array<number>(picture).fill(vision.imageToken), false, (i) => i);
    refer(asked, given?.question);
    write(asked, false);
    write([assistant], false);
    refer(told, given?.answer);
    write([...told, end], true);
  }
  return { tokens, places, said, references };
}

/** Conversations as a batch, as many with a picture as `pictures` says, those first. Errors: `bad_option`. */
export function seeingBatch(
  tokenizer: Tokenizer,
  conversations: readonly Conversation[],
  vision: VisionConfig,
  { length, pictures }: { length: number; pictures: number },
): SeeingBatch {
  const rows = conversations.length;
  const size = vision.channels * vision.imageSize * vision.imageSize;
  const pad = tokenizer.endTokens[0];
  const tokens = new Int32Array(rows * (length + 1)).fill(pad);
  const places = new Int32Array(tokens.length).fill(-1);
  const weights = new Float32Array(rows * length);
  const pixels = new Float32Array(pictures * size);
  const looks = new Float32Array(rows * length * length);
  let [seen, counted] = [0, 0];
  for (const [row, conversation] of conversations.entries()) {
    const written = conversationTokens(tokenizer, conversation, vision, length + 1);
    const at = row * (length + 1);
    tokens.set(written.tokens, at);
    if (conversation.pixels) {
      ensure(seen < pictures, "bad_option", `training: a batch has ${pictures} pictures, not more`);
      pixels.set(conversation.pixels, seen * size);
      for (const [i, place] of written.places.entries()) if (place >= 0) places[at + i] = seen * vision.rows + place;
      seen += 1;
    }
    for (const { at: token, things } of written.references) {
      if (token >= length) continue;
      // One share for each thing, and one for the text's begin: how much is left there says how many things there are.
      const share = 1 / (1 + things.length);
      const from = (row * length + token) * length;
      looks[from] = share;
      for (const rowsOfThing of things)
        for (const place of rowsOfThing) looks[from + written.places.indexOf(place)] += share / rowsOfThing.length;
    }
    for (const [i, said] of written.said.entries()) {
      if (!said || i === 0) continue;
      weights[row * length + i - 1] = 1;
      counted += 1;
    }
  }
  ensure(seen === pictures, "bad_option", `training: a batch has ${pictures} pictures, and ${seen} were given`);
  for (let i = 0; i < weights.length; i++) weights[i] *= weights.length / counted;
  return { rows, length, tokens, places, weights, pixels, looks };
}
