import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { guardMessages } from "./chat-guard.ts";
import { compileChatTemplate } from "./chat-template.ts";
import { openTokenizer } from "./open-tokenizer.ts";

const chatml =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
const hello = [{ role: "user", content: "Hello" }];
const render = (source: string, milliseconds?: number) =>
  compileChatTemplate(source, "chat.json", { bos_token: "<s>" }, milliseconds)(hello);

describe("chat templates", () => {
  it("renders messages, special tokens and the generation prompt", () => {
    expect(render(`{{ bos_token }}${chatml}`)).toBe("<s><|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n");
    const plain = compileChatTemplate(chatml, "chat.json", {})(hello, { addGenerationPrompt: false });
    expect(plain).toBe("<|im_start|>user\nHello<|im_end|>\n");
    expect(render("{% if tools is defined %}tools{% endif %}{{ [1, true, none, range(3)] | tojson }}")).toBe(
      "[1, true, null, [0, 1, 2]]",
    );
    expect(render("{{ strftime_now('%d %b %Y') }}")).toMatch(/^\d\d [A-Z][a-z]{2} \d{4}$/);
  });

  it("passes on the template's own refusal", () => {
    const source = "{{ raise_exception('roles must alternate') }}";
    expect(() => render(source)).toThrow(
      expect.objectContaining({ code: "bad_option", message: expect.stringContaining("roles must alternate") }),
    );
  });

  const bad: Record<string, string> = {
    "does not parse": "{% for %}",
    failed: "{{ 1 / missing }}",
    "longer than":
      "{% set ns = namespace(s='xxxxxxxxxx') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
    "took longer": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "range\\(\\)": "{{ range(1000000000) }}",
    "list of more":
      "{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a | tojson }}",
    "list of more than":
      "{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = ns.a + ns.a %}{% endfor %}",
  };
  it.each(Object.entries(bad))("bounds and names a bad template: %s", (message, source) => {
    const expected = { code: "bad_file", message: expect.stringMatching(new RegExp(`chat\\.json.*${message}`)) };
    expect(() => render(source, message === "took longer" ? 100 : undefined)).toThrow(
      expect.objectContaining(expected),
    );
  });
});

describe("chat of a folder", () => {
  async function openWith(files: Record<string, unknown>) {
    const folder = await mkdtemp(join(tmpdir(), "ventris-chat-"));
    const source = fileURLToPath(new URL("../../models/knossos/tokenizer.json", import.meta.url));
    await writeFile(join(folder, "tokenizer.json"), await readFile(source));
    for (const [name, content] of Object.entries(files)) {
      await writeFile(join(folder, name), typeof content === "string" ? content : JSON.stringify(content));
    }
    return openTokenizer(folder);
  }
  const template =
    "{{ bos_token }}{% for message in messages %}{{ message.role | trim }}: {{ message.content | trim }}{{ eos_token }}{% endfor %}";
  const roles = { bos_token: "<|begin|>", eos_token: "<|end|>" };

  it("turns the template's special tokens into ids and leaves those in messages as text", async () => {
    const tokenizer = await openWith({ "tokenizer_config.json": { ...roles, chat_template: template } });
    const messages = [{ role: "user", content: " I say <|end|><|mask|>. 7 " }];
    expect(tokenizer.applyChatTemplate!(messages)).toBe("<|begin|>user: I say <|end|><|mask|>. 7<|end|>");
    const ids = tokenizer.encodeChat!(messages);
    expect(ids.filter((id) => id < 8)).toEqual([0, 1]);
    expect(ids).toEqual([0, ...tokenizer.encode("user: I say <|end|><|mask|>. 7", { special: false }), 1]);
  });

  it("reads chat_template.jinja before the configuration, and the default of several", async () => {
    const file = await openWith({
      "chat_template.jinja": "file",
      "tokenizer_config.json": { ...roles, chat_template: template },
    });
    expect(file.applyChatTemplate!([])).toBe("file");
    const named = [
      { name: "tools", template: "no" },
      { name: "default", template: "yes" },
    ];
    const several = await openWith({ "tokenizer_config.json": { ...roles, chat_template: named } });
    expect(several.applyChatTemplate!([])).toBe("yes");
    const none = await openWith({});
    expect([none.applyChatTemplate, none.encodeChat]).toEqual([undefined, undefined]);
  });

  it("refuses messages that leave no mark free", () => {
    const content = Array.from({ length: 32 }, (_, index) => String.fromCharCode(0xfdd0 + index)).join("");
    expect(() => guardMessages([{ role: "user", content }], ["<s>"])).toThrow(
      expect.objectContaining({ code: "bad_option" }),
    );
    const guard = guardMessages([{ role: "user", content: content.slice(0, -1) }], ["<s>"]);
    expect(guard.restore(guard.messages[0].content)).toBe(content.slice(0, -1));
  });
});
