/** Pictures in prompts: pieces, parts of messages, data URLs; and what is refused, each by name. */
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PhotonImage } from "@cf-wasm/photon";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { removeModel, type TinyModel, writeTinyModel } from "../test/fixtures/tiny-model.ts";
import { imageToken, type TinySeeing, writeTinySeeing } from "../test/fixtures/tiny-seeing.ts";
import type { Prompt } from "./calls.ts";
import type { VectorRow } from "./engine/forest.ts";
import type { Vision } from "./engine/vision.ts";
import { type Model, open } from "./open.ts";

vi.setConfig({ testTimeout: 120_000 });

let tiny: TinySeeing;
let blind: TinyModel;
let model: Model;
let file: Uint8Array;
beforeAll(async () => {
  tiny = await writeTinySeeing("siglip");
  blind = await writeTinyModel({ tokenizer: true });
  model = await open(tiny.folder, { threads: 1 });
  const pixels = Uint8Array.from({ length: 4 * 144 }, (_, i) => (i % 4 === 3 ? 255 : (i * 7) % 256));
  const image = new PhotonImage(pixels, 12, 12);
  file = image.get_bytes();
  image.free();
});
afterAll(async () => {
  await model.close();
  await removeModel(blind);
  await rm(tiny.folder, { recursive: true, force: true });
});

const dataUrl = (type = "image/png", bytes = file) => `data:${type};base64,${Buffer.from(bytes).toString("base64")}`;
const run = { temperature: 0, maxTokens: 5 } as const;
const said = async (prompt: Prompt) => (await model.generate(prompt, run)).tokens;

test("a path, bytes, a data URL and parts of a message are the same picture, whose rows stand where the template says", async () => {
  const path = join(tiny.folder, "picture.png");
  await writeFile(path, file);
  const wanted = await said([{ image: file }, "what is it"]);
  expect(await said([{ image: path }, "what is it"])).toEqual(wanted);
  expect(await said([{ image: dataUrl() }, "what is it"])).toEqual(wanted);
  const message = (part: object) => [
    { role: "user", content: [part as { type: string }, { type: "text", text: "what is it" }] },
  ];
  expect(await said(message({ type: "image", image: file }))).toEqual(wanted);
  expect(await said(message({ type: "image_url", image_url: { url: dataUrl() } }))).toEqual(wanted);
  const asClients = { url: dataUrl(), detail: "low" };
  expect(await said(message({ type: "image_url", image_url: asClients }))).toEqual(wanted);

  const { encode, encodeChat } = model.tokenizer!;
  const rows = await model
    .ability<Vision>("vision")
    .see({ width: 12, height: 12, pixels: Uint8Array.from(await pixelsOf()) });
  const tokens = encodeChat!(message({ type: "image" }));
  expect(tokens.filter((token) => token === imageToken).length).toBe(1);
  const byHand = tokens.flatMap((token): readonly (number | VectorRow)[] => (token === imageToken ? rows : [token]));
  expect(await said(byHand)).toEqual(wanted);
  expect(encode("what").length).toBeGreaterThan(0);
});
async function pixelsOf(): Promise<Uint8Array> {
  const { decodePicture } = await import("./images/index.ts");
  return (await decodePicture(file)).pixels;
}

test("another picture, and two of them, matter", async () => {
  const other = { width: 1, height: 1, pixels: Uint8Array.of(250, 10, 10) };
  const logits = async (prompt: Prompt) =>
    (await model.generate(prompt, { ...run, maxTokens: 1, logprobs: 3 })).logprobs![0].top![0].raw;
  const one = await logits([{ image: file }, "what is it"]);
  expect(await logits([{ image: other }, "what is it"])).not.toBe(one);
  expect(await logits([{ image: file }, { image: other }, "what is it"])).not.toBe(one);
  expect(await logits([{ image: file }, "what is it"])).toBe(one);
});

test("rows of a picture are taken whole", async () => {
  const rows = await model.ability("vision").see({ width: 1, height: 1, pixels: Uint8Array.of(9, 9, 9) });
  expect((await model.decode([0, ...rows, ...rows, 5], run).final).tokens.length).toBeGreaterThan(0);
  for (const part of [rows.slice(0, -2), rows.slice(1), rows.toReversed(), [...rows, rows[0]]])
    expect(() => model.decode([0, ...part, 5], run)).toThrow(
      /^(decode )?prompt\[\d+\]: a picture is \d+ rows in their order, and here are/,
    );
});

test("text that names the placeholder is text", async () => {
  const { counters } = await model.generate([{ image: file }, "is 'image' a word"], run);
  const { counters: plain } = await model.generate([{ image: file }, "is a word"], run);
  const difference = counters.prefillTokens + counters.cachedTokens - plain.prefillTokens - plain.cachedTokens;
  expect(difference).toBe(model.tokenizer!.encode("'image' ", { special: false }).length);
});

describe("refused by name:", () => {
  test.each<[string, () => Prompt, RegExp]>([
    ["a URL", () => [{ image: "https://example.org/cat.png" }, "x"], /nothing is fetched from elsewhere/],
    [
      "the URL of a file",
      () => [{ image: "file:///x.png" }, "x"],
      /a file's path, not a URL such as "file:\/\/\/x\.png"$/,
    ],
    ["a URL of another kind", () => [{ image: "ftp://x/y.png" }, "x"], /a file's path, not a URL such as/],
    ["an empty path", () => [{ image: "" }, "x"], /prompt\[0\]: the path of the picture is empty$/],
    [
      "the URL of a file in a message",
      () => [{ role: "user", content: [{ type: "image_url", image_url: { url: "file:///x.png" } }] }],
      /only data URLs are taken, not "file:\/\/\/x\.png"$/,
    ],
    ...[Number.NaN, Number.POSITIVE_INFINITY, -1, 256].map((value): [string, () => Prompt, RegExp] => [
      `pixels of ${value}`,
      () => [{ image: { width: 1, height: 1, pixels: Float32Array.of(0, value, 9) as never } }, "x"],
      /pixels must be numbers from 0 to 255$/,
    ]),
    [
      "a URL in a message",
      () => [{ role: "user", content: [{ type: "image_url", image_url: { url: "http://x/y.png" } }] }],
      /only data URLs/,
    ],
    [
      "a data URL of another type",
      () => [{ image: "data:text/html;base64,AAAA" }, "x"],
      /a data URL of the type "text\/html" is no picture/,
    ],
    ["a data URL without a type", () => [{ image: "data:,hello" }, "x"], /type "text\/plain" is no picture/],
    ["a data URL that is not base64", () => [{ image: "data:image/png,%89PNG" }, "x"], /must be in base64/],
    [
      "pixels that do not fill the picture",
      () => [{ image: { width: 2, height: 2, pixels: new Uint8Array(5) } }, "x"],
      /pixels must be 12 bytes/,
    ],
    [
      "a picture without a size",
      () => [{ image: { width: 0, height: 2, pixels: new Uint8Array(0) } }, "x"],
      /0 x 2 pixels is not possible/,
    ],
    ["something else", () => [{ image: 7 as never }, "x"], /prompt\[0\]: image must be a path, a data URL/],
    [
      "a URL object",
      () => [{ image: new URL("file:///x.png") as never }, "x"],
      /not a URL: fileURLToPath gives its path$/,
    ],
    [
      "a Blob",
      () => [{ image: new Blob([]) as never }, "x"],
      /not a Blob: new Uint8Array\(await blob\.arrayBuffer\(\)\)/,
    ],
    [
      "a promise",
      () => [{ image: Promise.resolve() as never }, "x"],
      /not a Promise that was not awaited: await it first$/,
    ],
    [
      "pixels by another name",
      () => [{ image: { width: 1, height: 1, pixel: [] } as never }, "x"],
      /did you mean "pixels"/,
    ],
    [
      "a field beside a picture",
      () => [{ image: file, detial: "low" } as never, "x"],
      /^prompt\[0\] has no field "detial" \(known: image\)$/,
    ],
    [
      "ids beside a picture",
      () => [{ image: file }, 7 as never],
      /prompt\[1\]: beside pictures there are texts, not 7/,
    ],
    [
      "the placeholder's id without a picture",
      () => [0, imageToken, 5],
      /the token 2 stands for a picture, and none is given/,
    ],
  ])("%s", (_, prompt, message) => {
    expect(() => model.decode(prompt(), run)).toThrow(message);
  });
  test.each<[string, () => Prompt, RegExp]>([
    [
      "a file that is not there",
      () => [{ image: "/nowhere/cat.png" }, "x"],
      /cannot read the picture \/nowhere\/cat\.png/,
    ],
    [
      "a file that is no picture",
      () => [{ image: join(tiny.folder, "config.json") }, "x"],
      /config\.json is no PNG, JPEG, WebP or GIF/,
    ],
    [
      "a picture that is cut off",
      () => [{ image: file.subarray(0, 70) }, "x"],
      /prompt\[0\]: a PNG file that is damaged/,
    ],
    ["a data URL of no base64", () => [{ image: "data:image/png;base64,!!!" }, "x"], /is not base64/],
    ["too many", () => [...Array.from({ length: 30 }, () => ({ image: file })), "x"], /context|tokens/],
  ])("%s", async (_, prompt, message) => {
    await expect((async () => model.decode(prompt(), run).final)()).rejects.toThrow(message);
  });
  test("a picture for a model that cannot see", async () => {
    await using text = await open(blind.folder, { threads: 1 });
    expect(() => text.decode([{ image: file }, "x"], run)).toThrow(/cannot see: it has no vision tower/);
  });
  test("a template that writes no place", async () => {
    const { readFile } = await import("node:fs/promises");
    const path = join(tiny.folder, "tokenizer_config.json");
    const before = await readFile(path, "utf8");
    const template =
      "{{ bos_token }}{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}{{ part.text }}{% if part.type == 'image' %}{% endif %}{% endfor %}{% endif %}{% endfor %}";
    await writeFile(path, JSON.stringify({ ...JSON.parse(before), chat_template: template }));
    await using other = await open(tiny.folder, { threads: 1 });
    await writeFile(path, before);
    expect(() => other.decode([{ image: file }, "x"], run)).toThrow(
      /the prompt has 1 picture, and the chat template .* writes 0 places/,
    );
  });
});
