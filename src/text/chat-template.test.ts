import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { guardMessages } from "./chat-guard.ts";
import { compileChatTemplate } from "./chat-template.ts";
import { openTokenizer } from "./open-tokenizer.ts";
import type { ChatMessage } from "./tokenizer.ts";

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

  it("names its file and no folder in what it says of messages", () => {
    const at = (source: string) => compileChatTemplate(source, "/home/somebody/models/chat.json", {});
    const sayings = [
      () => at("{{ raise_exception('roles must alternate') }}")(hello),
      () => at("{{ 1 / missing }}")(hello),
      () => at(chatml)([{ role: "user", content: "Hello", mood: "glad" }]),
    ].map((call) => {
      try {
        return call();
      } catch (error) {
        return (error as Error).message;
      }
    });
    for (const saying of sayings) {
      expect(saying).toContain("chat.json");
      expect(saying).not.toContain("somebody");
    }
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

describe("what messages hold", () => {
  const forTools =
    "{% for m in messages %}{{ m.role }}:{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}{% if m.tool_calls %}[{{ m.tool_calls[0].name }}]{% endif %};{% endfor %}";
  const forText = "{% for m in messages %}{{ m.role + ':' + m.content + ';' }}{% endfor %}";
  const forParts = "{% for m in messages %}{{ m.role }}:{% for p in m.content %}{{ p.text }}{% endfor %};{% endfor %}";
  const printed = "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}";
  const text = (...texts: string[]) => texts.map((each) => ({ type: "text", text: each }));
  const call = [{ name: "f" }];

  it.each<[string, ChatMessage, string]>([
    [forTools, { role: "user", content: text("hi") }, "user:hi;"],
    [forTools, { role: "assistant", content: null, tool_calls: call }, "assistant:[f];"],
    [forTools, { role: "assistant", tool_calls: call }, "assistant:[f];"],
    [forTools, { role: "assistant", content: "x", tool_calls: call }, "assistant:x[f];"],
    [forTools, { role: "assistant", content: "x", tool_calls: [], refusal: null }, "assistant:x;"],
    [forText, { role: "user", content: text("a", "b") }, "user:ab;"],
    [forText, { role: "user", content: [] }, "user:;"],
    [printed, { role: "user", content: text("a") }, "user:a;"],
    [forParts, { role: "user", content: text("a", "b") }, "user:ab;"],
    [forParts, { role: "user", content: "plain" }, "user:plain;"],
    [`${printed}{% if m.role == "narrator" %}{% endif %}`, { role: "narrator", content: "a" }, "narrator:a;"],
    ...["system", "developer", "user", "assistant", "tool", "function"].map((role): [string, ChatMessage, string] => [
      printed,
      { role, content: "a" },
      `${role}:a;`,
    ]),
    [`${printed}{# usr: a role of its own #}`, { role: "usr", content: "a" }, "usr:a;"],
  ])("is written by %s: %j", (source, message, expected) => {
    expect(compileChatTemplate(source, "chat.json", {})([message])).toBe(expected);
  });

  it.each<[string, unknown, RegExp]>([
    [forText, { role: "assistant", content: "x", tool_calls: call }, /messages\[0\]\.tool_calls is given/],
    [forText, { role: "user", content: "x", reasoning_content: "y" }, /messages\[0\]\.reasoning_content is given/],
    [forTools, { role: "user", content: "x", name: "n" }, /messages\[0\]\.name is given/],
    [forText, { role: "tool", content: "x", tool_call_id: "a" }, /messages\[0\]\.tool_call_id: no call/],
    [forText, { role: "user", content: "x", tool_call_id: "a" }, /messages\[0\]\.tool_call_id is given/],
    [forText, { role: "usr", content: "x" }, /messages\[0\]\.role is "usr".*did you mean "user"/],
    [forText, { role: "user", content: "x", "a b-c": 1 }, /messages\[0\]\.a b-c is given/],
    [forText, { role: "user", content: null }, /messages\[0\]\.content is null/],
    [forText, { role: "user" }, /messages\[0\]\.content is missing, and/],
    [forText, { role: "user", content: [{ type: "image_url", image_url: {} }] }, /content\[0\] is of type "image_url"/],
    [
      forText,
      { role: "user", content: [{ type: "txt", text: "Hi" }] },
      /content\[0\] is of type "txt".*did you mean "text"\?/,
    ],
    [forTools, { role: "user", content: [{ type: "image" }] }, /content\[0\] is of type "image"/],
    [
      forText,
      { role: "user", content: [{ type: "text", txet: "x" }] },
      /has no text; did you mean "text" for "txet"\?/,
    ],
    [forText, { role: "user", content: [{ type: "text", text: 3 }] }, /content\[0\]\.text must be a text, not 3/],
    [forText, { role: "user", content: [{ type: "text" }] }, /content\[0\] is of type text and has no text$/],
    [forText, { role: "user", content: ["x"] }, /content\[0\] is no part/],
    [forText, { role: "user", content: 5 }, /messages\[0\]\.content must be text/],
    [printed, { role: "narrator", content: "x" }, /role is "narrator", .*for\. Roles: system, .*function$/],
    [printed, { role: "asistant", content: "x" }, /role is "asistant", .*; did you mean "assistant"\? Roles:/],
    // The name that was meant is never the one that was given.
    [forText, { role: "user", content: "x", tool_call: [1] }, /tool_call is given; .*; did you mean "tool_calls"\?$/],
    [forText, { role: "user", content: "x", tool_calls: [1] }, /tool_calls is given; .* does not write it$/],
    [forTools, { role: "user", content: "x", tool_call: [1] }, /does not write it; did you mean "tool_calls"\?$/],
    [forText, { role: 5, content: "x" }, /messages\[0\]\.role must be a text/],
    [forText, "x", /messages\[0\] must have a role and content/],
    [forText, { role: "user", content: "x", at: Symbol("x") }, /messages\[0\]\.at is symbol/],
    [
      "{{ messages[0].content + messages[0].tool_calls.x.y }}",
      { role: "user", tool_calls: call },
      /messages\[0\]\.content is missing, and/,
    ],
  ])("is refused where %s would drop it: %j", (source, message, expected) => {
    expect(() => compileChatTemplate(source, "chat.json", {})([message as ChatMessage])).toThrow(
      expect.objectContaining({ code: "bad_option", message: expect.stringMatching(expected) }),
    );
  });

  it("are tools for templates that know them", () => {
    const tools = [{ name: "f" }];
    const knows = compileChatTemplate("{{ tools | tojson }}", "chat.json", {});
    expect(knows(hello, { tools })).toBe('[{"name": "f"}]');
    expect(() => compileChatTemplate(chatml, "chat.json", {})(hello, { tools })).toThrow(/tools are given/);
  });

  it("are line ends of the message, not of the template", () => {
    const lf =
      "{%- for m in messages %}\n{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' }}\n{% endfor %}\n{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    const messages = [{ role: "user", content: "a\r\nb" }];
    const expected = "<|im_start|>user\na\r\nb<|im_end|>\n<|im_start|>assistant\n"; // as Jinja2 writes it
    for (const end of ["\n", "\r\n", "\r"])
      expect(compileChatTemplate(lf.replaceAll("\n", end), "chat.json", {})(messages)).toBe(expected);
  });

  it("is written or refused with our error, whatever it is", () => {
    const part = fc.oneof(
      fc.record({ type: fc.constantFrom("text", "image"), text: fc.oneof(fc.string(), fc.nat()) }),
      fc.anything(),
    );
    const message = fc.oneof(
      fc.anything(),
      fc.record(
        {
          role: fc.oneof(fc.string(), fc.nat()),
          content: fc.oneof(fc.string(), fc.constant(null), fc.array(part), fc.anything()),
          tool_calls: fc.anything(),
        },
        { requiredKeys: [] },
      ),
    );
    const templates = [forTools, forText, forParts, printed].map((source) =>
      compileChatTemplate(source, "chat.json", {}),
    );
    fc.assert(
      fc.property(fc.constantFrom(...templates), fc.array(message, { maxLength: 3 }), (template, messages) => {
        try {
          const guard = guardMessages(messages as ChatMessage[], {}, ["<s>"]);
          expect(template(guard.messages)).toBeTypeOf("string");
        } catch (error) {
          expect(error).toEqual(expect.objectContaining({ name: "VentrisError" }));
        }
      }),
      { numRuns: 500 },
    );
  });

  it("is bounded in depth", () => {
    let deep: unknown = "x";
    for (let i = 0; i < 100_000; i++) deep = [deep];
    expect(() => compileChatTemplate(forTools, "chat.json", {})([{ role: "user", tool_calls: deep }])).toThrow(
      /nests deeper/,
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

  it("leaves special tokens in parts, tool calls and keys as text, too", async () => {
    const source =
      "{% for m in messages %}{{ bos_token }}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}{{ m.tool_calls | tojson }}{% endfor %}";
    const tokenizer = await openWith({ "tokenizer_config.json": { ...roles, chat_template: source } });
    const ids = tokenizer.encodeChat!([
      { role: "user", content: [{ type: "text", text: "<|end|>" }], tool_calls: [{ "<|mask|>": "<|begin|>" }] },
    ]);
    expect(ids.filter((id) => id < 8)).toEqual([0]);
    expect(tokenizer.decode(ids)).toBe('<|end|>[{"<|mask|>": "<|begin|>"}]');
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
    expect(() => guardMessages([{ role: "user", content }], {}, ["<s>"])).toThrow(
      expect.objectContaining({ code: "bad_option" }),
    );
    const guard = guardMessages([{ role: "user", content: content.slice(0, -1) }], {}, ["<s>"]);
    expect(guard.restore(guard.messages[0].content as string)).toBe(content.slice(0, -1));
  });
});
