/** docs/trace.md has a line of every event, with no field that its type has not, and none missing that it must have. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { expect, it } from "vitest";
import { open } from "../src/index.ts";
import { root } from "./build.ts";
import { standsFor } from "./fixtures/matching.ts";

const page = readFileSync(join(root, "docs", "trace.md"), "utf8");
const lines = [...page.matchAll(/```json\n([^\n]+)\n```/g)].map(([, line]) => line);

/** What any event may have, and the page says once. */
const notes = ["request", "texts"];

/** Fields of each event by its type, and whether they may be absent, read from the declaration. */
function declared(): Map<string, Map<string, boolean>> {
  const text = readFileSync(join(root, "src", "engine", "trace.ts"), "utf8");
  const source = ts.createSourceFile("trace.ts", text, ts.ScriptTarget.Latest, true);
  const alias = (name: string): ts.TypeNode =>
    source.statements.filter(ts.isTypeAliasDeclaration).find((one) => one.name.text === name)!.type;
  const members = (alias("MethodEvent") as ts.UnionTypeNode).types.map(
    (member) => alias((member as ts.TypeReferenceNode).typeName.getText(source)) as ts.TypeLiteralNode,
  );
  return new Map(
    members.map((member) => {
      const fields = member.members.map((field) => field as ts.PropertySignature);
      const type = fields.find((field) => field.name.getText(source) === "type")!.type!.getText(source);
      return [
        JSON.parse(type),
        new Map(fields.map((field) => [field.name.getText(source), field.questionToken !== undefined])),
      ];
    }),
  );
}

it("shows every event once, in its own section, with numbers rounded as it says", () => {
  for (const line of lines) expect(line).not.toMatch(/\d\.\d{5}/);
  expect(lines.map((line) => JSON.parse(line).type).sort()).toEqual([...declared().keys()].sort());
  for (const line of lines) {
    const { type } = JSON.parse(line);
    expect(page.indexOf(`\`${type}\`: `), type).toBeLessThan(page.indexOf(line));
    expect(page.indexOf(`\`${type}\`: `), type).toBeGreaterThan(0);
  }
});

it("has the fields that the types have", () => {
  const types = declared();
  for (const line of lines) {
    const event = JSON.parse(line);
    const fields = types.get(event.type)!;
    for (const name of Object.keys(event)) expect([...fields.keys(), ...notes], line).toContain(name);
    for (const [name, optional] of fields) if (!optional) expect(Object.keys(event), line).toContain(name);
    const optional = [...fields].filter(([, may]) => may).map(([name]) => name);
    const section = page.slice(page.indexOf(`\`${event.type}\`: `), page.indexOf(line));
    for (const name of optional) if (!(name in event)) expect(section, `${event.type}.${name}`).toContain(`${name}?`);
  }
});

it("has lines of runs: of stored traces, of knossos and mycenae here and now, or said to be of none", {
  timeout: 120_000,
}, async () => {
  const folder = join(root, "reproductions");
  const stored = readdirSync(folder)
    .filter((name) => name.endsWith(".trace.jsonl"))
    .flatMap((name) => readFileSync(join(folder, name), "utf8").trim().split("\n"))
    .map((line) => JSON.parse(line));
  const live: object[] = [];
  await using model = await open("knossos", { threads: 1 });
  const constraint = { regex: "( the| a)* (king|dog)\\." };
  for (const options of [
    { method: "greedy", taps: ["final"], logprobs: 1, maxTokens: 2 },
    { method: { name: "smc", particles: 4 }, constraint, maxTokens: 12, seed: 1 },
  ] as const)
    for await (const event of model.decode("Once upon a time", options)) live.push(event);
  await using filler = await open("mycenae", { threads: 1 });
  for await (const event of filler.decode({ fill: "The old king ___ and then ___.", longest: 3 })) live.push(event);

  const of = (type: string, events: readonly object[]) =>
    events.filter((event) => (event as { type: string }).type === type);
  const [, none = ""] = /Those of ([^.]*) show the form and are of no run/.exec(page) ?? [];
  for (const line of lines) {
    const event = JSON.parse(line);
    const { type } = event;
    const known = [...of(type, stored), ...of(type, live)];
    if (none.includes(`\`${type}\``)) expect(of(type, stored), `a trace has ${type}: take a line of it`).toEqual([]);
    else
      expect(
        known.some((one) => standsFor(event, one)),
        line,
      ).toBe(true);
  }
});
