import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readConstraint } from "./constraint.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "constraint-flags-"));
});
afterAll(() => rm(folder, { recursive: true }));

const written = async (text: string): Promise<string> => {
  const path = join(folder, "given.json");
  await writeFile(path, text);
  return path;
};

it("refuses a list with empty places, which are meant where the list is JSON", async () => {
  await expect(readConstraint({ choices: "" })).rejects.toThrow(/^--choices: it has no text; .*JSON list/);
  for (const choices of ["yes,,no", "yes,", ",yes"])
    await expect(readConstraint({ choices })).rejects.toThrow(/^--choices: between two of its commas/);
  expect(await readConstraint({ choices: '["yes", ""]' })).toEqual({ choices: ["yes", ""] });
  expect(await readConstraint({ choices: "yes,no" })).toEqual({ choices: ["yes", "no"] });
});

it("refuses a name that is given twice, with its line", async () => {
  const path = await written('{\n  "type": "object",\n  "properties": {},\n  "type": "array"\n}\n');
  for (const flags of [{ jsonSchema: path }, { sqlSchema: path }]) {
    await expect(readConstraint(flags)).rejects.toMatchObject({
      code: "bad_file",
      message: `${path}, line 4: the name "type" is given twice in one object: leave one out`,
    });
  }
});

it.each([
  [{ jsonSchema: '{"type":"object"}' }, /^--json-schema takes the name of a file.*--constraint '\{"jsonSchema": …\}'$/],
  [{ grammar: 'root ::= "yes"' }, /^--grammar takes the name of a file.*"grammar"/],
  [{ sqlSchema: "CREATE TABLE pots (id int)" }, /^--sql-schema takes the name of a file.*"sqlSchema"/],
])("says where the content of a file can stand: %o", async (flags, message) => {
  await expect(readConstraint(flags)).rejects.toThrow(message);
});

it.each([
  ["missing.json", /^--json-schema: cannot read .*missing\.json: there is no such file/],
  [".", /^--json-schema: cannot read .*: it is (a folder|not a file)/],
])("says plainly what cannot be read: %s", async (name, message) => {
  const failed = { code: "unavailable", message: expect.stringMatching(message) };
  await expect(readConstraint({ jsonSchema: join(folder, name) })).rejects.toMatchObject(failed);
});

it("says plainly that a file is empty", async () => {
  const failed = { code: "bad_option", message: expect.stringMatching(/given\.json is empty$/) };
  await expect(readConstraint({ jsonSchema: await written("") })).rejects.toMatchObject(failed);
});
