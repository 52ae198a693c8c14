/** Pictures at the faces: the server's image_url and the command's --image, on a checkpoint of LLaVA's form; and what they refuse. */
import { spawnSync } from "node:child_process";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PhotonImage } from "@cf-wasm/photon";
import { generateText, type ModelMessage, tool } from "ai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { ventris } from "../src/ai-sdk/index.ts";
import { readChat } from "../src/chat.ts";
import { type Model, open } from "../src/open.ts";
import { type Listening, listen, serveGroups } from "../src/server/listen.ts";
import { ensureBuilt, root } from "./build.ts";
import { type TinySeeing, writeTinySeeing } from "./fixtures/tiny-seeing.ts";

let tiny: TinySeeing;
let model: Model;
let server: Listening;
let file: Uint8Array;
let path: string;
beforeAll(async () => {
  ensureBuilt();
  tiny = await writeTinySeeing("clip");
  model = await open(tiny.folder);
  server = await listen({ port: 0, groups: serveGroups(false), serve: [tiny.folder] });
  const pixels = Uint8Array.from({ length: 4 * 144 }, (_, i) => (i % 4 === 3 ? 255 : (i * 5) % 256));
  const image = new PhotonImage(pixels, 12, 12);
  file = image.get_bytes();
  image.free();
  path = join(tiny.folder, "picture.png");
  await writeFile(path, file);
}, 300_000);
afterAll(async () => {
  await model?.close();
  await ventris.close();
  await server?.close();
  await rm(tiny.folder, { recursive: true, force: true });
});

const url = () => `data:image/png;base64,${Buffer.from(file).toString("base64")}`;
async function ask(content: unknown, more: object = {}) {
  const body = { messages: [{ role: "user", content }], temperature: 0, max_tokens: 5, ...more };
  const { data } = (await (await fetch(new URL("v1/models", server.url))).json()) as { data: { id: string }[] };
  const response = await fetch(new URL("v1/chat/completions", server.url), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: data[0].id, ...body }),
  });
  return { status: response.status, json: (await response.json()) as Record<string, never> };
}
const question = { type: "text", text: "what is it" };

it("the AI SDK's provider sees pictures among the parts of a message, and refuses what it cannot honour", async () => {
  const sees = ventris(tiny.folder);
  const ask = (content: object[], more: object = {}) =>
    generateText({
      ...{ model: sees, temperature: 0, maxOutputTokens: 5, maxRetries: 0 },
      messages: [{ role: "user", content }] as ModelMessage[],
      ...more,
    });
  const wanted = await model.generate([{ image: file }, "what is it"], { temperature: 0, maxTokens: 5 });
  for (const image of [file, Buffer.from(file).toString("base64")]) {
    const { text, usage } = await ask([{ type: "image", image }, question]);
    expect(text).toBe(wanted.text);
    expect(usage.inputTokens).toBe(wanted.counters.prefillTokens + wanted.counters.cachedTokens);
  }
  const picture = { type: "image", image: file };
  await expect(ask([picture, question], { model: ventris("phaistos") })).rejects.toThrow(/cannot see/);
  await expect(ask([{ type: "image", image: new Uint8Array(9), mediaType: "image/png" }, question])).rejects.toThrow();
  await expect(ask([{ type: "file", data: file, mediaType: "application/pdf" }, question])).rejects.toThrow(
    /type file/,
  );
  const tools = { add: tool({ inputSchema: z.object({ a: z.int() }) }) };
  await expect(ask([picture, question], { tools })).rejects.toThrow(/beside pictures there can be none/);
});

describe("the server", () => {
  it("sees a picture that comes with the question as a data URL", async () => {
    const { status, json } = await ask([{ type: "image_url", image_url: { url: url() } }, question]);
    expect(status, JSON.stringify(json)).toBe(200);
    const wanted = await model.generate([{ image: file }, "what is it"], { temperature: 0, maxTokens: 5 });
    const { choices, usage } = json as unknown as {
      choices: { message: { content: string } }[];
      usage: { prompt_tokens: number };
    };
    expect(choices[0].message.content).toBe(wanted.text);
    expect(usage.prompt_tokens).toBe(wanted.counters.prefillTokens + wanted.counters.cachedTokens);
  });
  it.each<[string, () => unknown, object, RegExp]>([
    [
      "a URL of elsewhere",
      () => [{ type: "image_url", image_url: { url: "http://127.0.0.1/x.png" } }, question],
      {},
      /only data URLs are taken/,
    ],
    ["a file of its own", () => [{ type: "image", image: path }, question], {}, /a picture is given as/],
    [
      "a text as a data URL",
      () => [{ type: "image_url", image_url: { url: "data:text/plain;base64,AAAA" } }],
      {},
      /is no picture/,
    ],
    [
      "what is no picture",
      () => [{ type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } }, question],
      {},
      /no PNG, JPEG, WebP or GIF/,
    ],
    [
      "tools beside a picture",
      () => [{ type: "image_url", image_url: { url: url() } }, question],
      { tools: [{ type: "function", function: { name: "look", parameters: { type: "object" } } }] },
      /tools/,
    ],
  ])("refuses %s by name", async (_, content, more, message) => {
    const { status, json } = await ask(content(), more);
    expect(status).toBe(400);
    expect(JSON.stringify(json)).toMatch(message);
    expect(JSON.stringify(json)).not.toContain(tiny.folder);
  });
});

describe("responses", () => {
  const respond = async (content: unknown, more: object = {}) => {
    const { data } = (await (await fetch(`${server.url}v1/models`)).json()) as { data: { id: string }[] };
    const body = {
      model: data[0].id,
      input: [{ role: "user", content }],
      temperature: 0,
      max_output_tokens: 5,
      ...more,
    };
    const headers = { "content-type": "application/json" };
    const response = await fetch(`${server.url}v1/responses`, { method: "POST", headers, body: JSON.stringify(body) });
    return { status: response.status, text: await response.text() };
  };
  const words = { type: "input_text", text: "what is it" };
  it("sees a picture among the input's parts", async () => {
    const { status, text } = await respond([{ type: "input_image", image_url: url(), detail: "low" }, words]);
    expect(status, text).toBe(200);
    const wanted = await model.generate([{ image: file }, "what is it"], { temperature: 0, maxTokens: 5 });
    const { output, usage } = JSON.parse(text);
    expect(output[0].content[0].text).toBe(wanted.text);
    expect(usage.input_tokens).toBe(wanted.counters.prefillTokens + wanted.counters.cachedTokens);
  });
  it.each<[string, unknown, RegExp]>([
    ["a file that is kept elsewhere", { type: "input_image", file_id: "file-1" }, /file_id/],
    [
      "an address of this network",
      { type: "input_image", image_url: "http://127.0.0.1/x.png" },
      /only data URLs are taken/,
    ],
    [
      "what is no picture",
      { type: "input_image", image_url: "data:image/png;base64,AAAA" },
      /no PNG, JPEG, WebP or GIF/,
    ],
    ["another type", { type: "input_image", image_url: "data:text/plain;base64,AAAA" }, /is no picture/],
  ])("refuse %s", async (_, part, message) => {
    const { status, text } = await respond([part, words]);
    expect(status).toBe(400);
    expect(text).toMatch(message);
  });
});

describe("a conversation", () => {
  it("has pictures among its messages, and keeps them when it is saved", async () => {
    const chat = model.chat({ defaults: { temperature: 0, maxTokens: 5 } });
    const first = await chat.send([{ image: file }, "what is it"]).reply;
    expect(first).toBe((await model.generate([{ image: file }, "what is it"], { temperature: 0, maxTokens: 5 })).text);
    const second = await chat.send("and then").reply;
    const saved = join(tiny.folder, "talk.json");
    await chat.save(saved);
    const again = model.chat({ messages: await readChat(saved), defaults: { temperature: 0, maxTokens: 5 } });
    expect(await again.retry().reply).toBe(second);
    const drawn = model.chat({ defaults: { temperature: 0, maxTokens: 2 } });
    await drawn.send([{ image: { width: 1, height: 1, pixels: new Uint8Array(3) } }, "x"]).reply;
    await expect(drawn.save(saved)).rejects.toThrow(/a picture that is given as pixels/);
  });
  it("in the terminal shows a picture with the next message", async () => {
    const words = ["chat", "--model", tiny.folder, "-n", "5", "--temperature", "0", "--json"];
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, "dist/cli/main.js"), ...words], {
      encoding: "utf8",
      input: `/image ${path}\nwhat is it\n/history\n`,
    });
    expect(status, stderr).toBe(0);
    const wanted = await model.generate([{ image: file }, "what is it"], { temperature: 0, maxTokens: 5 });
    const [answer, history] = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(answer.tokens).toEqual(wanted.tokens);
    expect(history.messages[0].content[0]).toEqual({ type: "image", image: path });
  });
});

describe("ventris run --image", () => {
  const ventris = (...words: string[]) =>
    spawnSync(
      process.execPath,
      [join(root, "dist/cli/main.js"), "run", "--model", tiny.folder, "-n", "5", "--temperature", "0", ...words],
      { encoding: "utf8", input: "" },
    );
  it("asks about a picture", async () => {
    const { status, stdout, stderr } = ventris("--json", "--image", path, "what is it");
    expect(status, stderr).toBe(0);
    const wanted = await model.generate([{ image: file }, "what is it"], { temperature: 0, maxTokens: 5 });
    expect(JSON.parse(stdout).tokens).toEqual(wanted.tokens);
  });
  it.each([
    [["--image", "/nowhere.png", "x"], /cannot read the picture \/nowhere\.png/],
    [["--image", "https://example.org/cat.png", "x"], /nothing is fetched from elsewhere/],
    [["--image", "picture.png", "--prompt-ids", "1,2"], /the prompt is a text/],
    [["--image", "picture.png", "--fill", "a ___"], /--image and --fill/],
  ])("refuses %j", (words, message) => {
    const { status, stderr } = ventris(...words);
    expect(status).not.toBe(0);
    expect(stderr).toMatch(message);
  });
});

it("argos says of its examples what its card tells", { timeout: 300_000 }, async () => {
  const card = await readFile(join(root, "models/argos/README.md"), "utf8");
  const shown = [...card.matchAll(/^ {4}\$ ventris run .*--image (\S+) "([^"]+)"\n {4}(.*)$/gm)];
  expect(shown.length).toBe(9);
  await using argos = await open("argos");
  for (const [, file, question, answer] of shown) {
    const { text } = await argos.generate([{ image: join(root, file) }, question], { temperature: 0 });
    expect(text, question).toBe(answer);
  }
});
