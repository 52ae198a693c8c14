/**
 * Pictures in prompts: beside a question (`[{ image: "cat.png" }, "What is this?"]`) or as parts of chat messages, as OpenAI's API has them too. The
 * chat template says where they stand; their rows take the place of its image tokens.
 */

import { fromBase64, toBase64 } from "./base64.ts";
import type { VectorRow } from "./engine/forest.ts";
import type { DecodingModel } from "./engine/model.ts";
import type { Vision } from "./engine/vision.ts";
import { ensure, plural, shown, VentrisError } from "./errors.ts";
import { readWhole, whyUnreadable } from "./files.ts";
import { checkPicture, decodePicture, mostPictureBytes, type Picture, pictureHeader } from "./images/index.ts";
import { meantField, requireFieldsAmong } from "./names.ts";
import { muchTooLong } from "./text/most.ts";
import type { ChatMessage, ContentPart } from "./text/tokenizer.ts";
import { isInstance, isPlatforms } from "./values.ts";

/** A file's path or a data URL, the bytes of a file (PNG, JPEG, WebP, GIF), or pixels. */
export type ImageSource = string | Uint8Array | Picture;

/** A picture among the pieces of a prompt. */
export interface ImagePiece {
  readonly image: ImageSource;
}

/** Pictures and texts in order: what a user says. A list of texts does not compile: no picture can be in it. */
export type PicturePrompt = readonly (string | ImagePiece)[] & { includes(picture: { image: never }): boolean };

type Rows = readonly (number | VectorRow)[];

/** A prompt has at most so many pictures. */
const mostPictures = 64;

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;
const isPiece = (value: unknown): boolean => typeof value === "string" || (isObject(value) && "image" in value);
const isPicturePart = (part: unknown): part is ContentPart =>
  isObject(part) && (part.type === "image" || part.type === "image_url");

/** Whether a prompt is a list of texts and pictures. */
export const isPicturePrompt = (prompt: unknown): prompt is PicturePrompt =>
  Array.isArray(prompt) && prompt.some((piece) => isObject(piece) && "image" in piece && !("role" in piece));

/** Whether a message has a picture among its parts. */
export const hasPictures = (messages: unknown): messages is readonly ChatMessage[] =>
  Array.isArray(messages) &&
  messages.some(
    (message) => isObject(message) && Array.isArray(message.content) && message.content.some(isPicturePart),
  );

/** What a part of a message holds: `{ type: "image", image }`, or OpenAI's `{ type: "image_url", image_url: { url } }`, a data URL. */
function sourceOf(part: ContentPart, where: string): ImageSource {
  requireFieldsAmong(part, where, ["type", part.type]);
  if (part.type === "image") return part.image as ImageSource;
  const given = part.image_url;
  // How closely OpenAI's models look is theirs alone: here a picture is seen as it is, whatever clients write.
  if (isObject(given)) requireFieldsAmong(given, `${where}.image_url`, ["url", "detail"]);
  const url = isObject(given) ? given.url : given;
  ensure(
    typeof url === "string",
    "bad_option",
    () => `${where}: image_url must be { url: "data:image/…" }, not ${shown(given)}`,
  );
  ensure(url.startsWith("data:"), "bad_option", () => {
    // Of servers that were told to fetch, such addresses do not come here.
    const why = /^https?:/i.test(url) ? ": nothing is fetched from elsewhere" : "";
    return `${where}: only data URLs are taken, not ${shown(url.slice(0, 100))}${why}`;
  });
  return url;
}

/**
 * What makes the rows of a prompt with pictures; what can be said at once is checked at once. Errors: `bad_option` for a model that does not see,
 * has no chat template, or whose template writes another number of places; later `bad_file` and `unavailable` for pictures.
 */
export function pictureRows(
  model: Pick<DecodingModel, "name" | "capabilities" | "tokenizer" | "ability" | "config">,
  prompt: PicturePrompt | readonly ChatMessage[],
): () => Promise<Rows> {
  const messages = isPicturePrompt(prompt) ? [messageOf(prompt)] : prompt;
  const sources: { source: ImageSource; where: string }[] = [];
  const stripped = messages.map((message, m): ChatMessage => {
    if (!Array.isArray(message.content)) return message;
    const content = message.content.map((part: ContentPart, i): ContentPart => {
      if (!isPicturePart(part)) return part;
      const where = isPicturePrompt(prompt) ? `prompt[${i}]` : `messages[${m}].content[${i}]`;
      sources.push({ source: sourceOf(part, where), where });
      return { type: "image" };
    });
    return { ...message, content };
  });
  ensure(model.capabilities.has("vision"), "bad_option", () => {
    return `${sources[0].where}: the model ${model.name} cannot see: it has no vision tower, and a picture is given; checkpoints of LLaVA-1.5's form have one`;
  });
  const { tokenizer } = model;
  ensure(tokenizer?.encodeChat, "unavailable", () => {
    return `the model ${model.name} has no chat template, which would say where a picture stands: give its rows (model.ability("vision")) among token ids`;
  });
  ensure(
    sources.length <= mostPictures,
    "bad_option",
    `prompt: ${sources.length} pictures, and at most ${mostPictures} are taken`,
  );
  for (const { source, where } of sources) checkSource(source, where);
  const vision = model.ability<Vision>("vision");
  const tokens = tokenizer.encodeChat(stripped, { most: muchTooLong(model.config.contextLength) });
  const found = tokens.filter((token) => token === vision.imageToken).length;
  ensure(found === sources.length, "bad_option", () => {
    return `the prompt has ${plural(sources.length, "picture")}, and the chat template of ${model.name} writes ${plural(found, "place")} for pictures`;
  });
  return async () => {
    const seen: (readonly VectorRow[])[] = [];
    for (const { source, where } of sources) seen.push(await vision.see(await readPicture(source, where)));
    let next = 0;
    return tokens.flatMap((token): Rows => (token === vision.imageToken ? seen[next++] : [token]));
  };
}

/** Rows that `see` gave are whole pictures: of a part the model would say something, and of nothing that it was taught. Errors: `bad_option`. */
export function requireWholePictures(rows: Rows, each: number, place: string): void {
  const idAt = (at: number): string => (typeof rows[at] === "object" ? rows[at].id : "");
  for (let at = 0; at < rows.length; at++) {
    const [, picture] = /^(picture [0-9a-f]{64}) \d+$/.exec(idAt(at)) ?? [];
    if (!picture) continue;
    let count = 0;
    while (idAt(at + count) === `${picture} ${count}`) count += 1;
    ensure(count === each, "bad_option", () => {
      return `${place}[${at}]: a picture is ${each} rows in their order, and here are ${count === 0 ? "others" : `${count} of them`}`;
    });
    at += count - 1;
  }
}

/** What a user says with pictures. Errors: `bad_option`. */
export function messageOf(prompt: PicturePrompt): ChatMessage {
  for (const [i, piece] of prompt.entries())
    ensure(isPiece(piece), "bad_option", () => {
      return `prompt[${i}]: beside pictures there are texts, not ${shown(piece)}; for rows of ids and vectors use model.ability("vision")`;
    });
  const content = prompt.map((piece, i): ContentPart => {
    if (typeof piece === "string") return { type: "text", text: piece };
    requireFieldsAmong(piece, `prompt[${i}]`, ["image"]);
    return { type: "image", image: piece.image };
  });
  return { role: "user", content };
}

/** The bytes of a picture file as a data URL. Errors: `bad_file` for what is none. */
export function dataUrlOf(bytes: Uint8Array): string {
  return `data:image/${pictureHeader(bytes, "the picture").format};base64,${toBase64(bytes)}`;
}

const dataUrl = /^data:([a-z]+\/[a-z0-9.+-]+)?((?:;[a-z0-9=-]+)*),/i;
const mediaTypes = ["image/png", "image/jpeg", "image/jpg", "image/webp", "image/gif"];

/** Errors: `bad_option`. */
function checkSource(source: ImageSource, where: string): void {
  if (typeof source === "string") {
    ensure(source !== "", "bad_option", `${where}: the path of the picture is empty`);
    ensure(!/^https?:/i.test(source), "bad_option", () => {
      return `${where}: a picture is a file's path, a data URL or bytes, not ${shown(source.slice(0, 100))}: nothing is fetched from elsewhere`;
    });
    ensure(!/^[a-z][a-z0-9+.-]*:\/\//i.test(source), "bad_option", () => {
      return `${where}: a picture is a file's path, not a URL such as ${shown(source.slice(0, 100))}`;
    });
    if (!/^data:/i.test(source)) return;
    const [, type = "text/plain", flags] = dataUrl.exec(source.slice(0, 500)) ?? [];
    ensure(flags !== undefined && mediaTypes.includes(type.toLowerCase()), "bad_option", () => {
      return `${where}: a data URL of the type ${shown(type)} is no picture (known: ${mediaTypes.join(", ")})`;
    });
    ensure(/;base64$/i.test(flags), "bad_option", `${where}: a picture's data URL must be in base64`);
    ensure(
      source.length <= mostPictureBytes * 1.4,
      "bad_option",
      () => `${where}: the data URL has ${source.length} characters, which is too long`,
    );
    return;
  }
  if (source instanceof Uint8Array) return;
  const isPicture = isObject(source) && pictureFields.every((field) => field in source);
  ensure(isPicture && !isPlatforms(source), "bad_option", () => {
    const instead = Object.keys(insteadOf).find((name) => isObject(source) && isInstance(name, source));
    const hint = instead ? `: ${insteadOf[instead]}` : (isObject(source) && meantField(source, pictureFields)) || "";
    return `${where}: image must be a path, a data URL, bytes of a file or { width, height, pixels }, not ${shown(source)}${hint}`;
  });
  checkPicture(source);
}

const pictureFields = ["width", "height", "pixels"];

/** How what holds a picture otherwise is given. */
const insteadOf: Readonly<Record<string, string>> = {
  URL: "fileURLToPath gives its path",
  Blob: "new Uint8Array(await blob.arrayBuffer()) has its bytes",
  Promise: "await it first",
};

async function readPicture(source: ImageSource, where: string): Promise<Picture> {
  if (source instanceof Uint8Array) return decodePicture(source, where);
  if (typeof source !== "string") return checkPicture(source);
  if (/^data:/i.test(source)) return ofDataUrl(source, where);
  let bytes: Uint8Array | undefined;
  try {
    bytes = await readWhole(source, mostPictureBytes);
  } catch (cause) {
    throw new VentrisError("unavailable", `cannot read the picture ${source}: ${whyUnreadable(cause)}`, { cause });
  }
  ensure(bytes, "bad_file", `${source} is larger than ${mostPictureBytes} bytes, which is too long for a picture`);
  return decodePicture(bytes, source);
}

/** What is wrong with it is the caller's own: `bad_option`, where a file would be `bad_file`. */
async function ofDataUrl(url: string, where: string): Promise<Picture> {
  const text = url.slice(url.indexOf(",") + 1);
  ensure(/^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(text), "bad_option", `${where}: the data URL is not base64`);
  const bytes = fromBase64(text.replace(/\s/g, ""));
  ensure(bytes, "bad_option", `${where}: the data URL is not base64, it is cut off`);
  try {
    return await decodePicture(bytes, where);
  } catch (error) {
    const bad = error instanceof VentrisError && error.code === "bad_file";
    throw bad ? new VentrisError("bad_option", error.message, { cause: error }) : error;
  }
}
