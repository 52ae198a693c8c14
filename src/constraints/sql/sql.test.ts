/** SQL under a schema, judged by SQLite itself, by a second parser, and by the real queries of Spider. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import sqlParser from "node-sql-parser";
import initSqlJs from "sql.js";
import { describe, expect, it } from "vitest";
import { dataPath, noData } from "../../../test/data.ts";
import { type ConstraintState, isValid, pushAll } from "../contract.ts";
import { obeysTheLaws } from "../laws.fixture.ts";
import { createVocabulary, hasBit } from "../vocabulary.ts";
import { sqlConstraint } from "./index.ts";
import { readSchema } from "./schema.ts";

const tables = {
  singer: ["id", "name", "age", "Home Town", "order"],
  song: ["sid", "title", "sales", "singer_id", "name"],
  "play list": ["vid", "note"],
};

describe("SQL", () => {
  obeysTheLaws("a small schema", {
    constraint: () => sqlConstraint({ singer: ["id", "name"], song: ["sid", "name", "by"] }),
    valid: [
      "SELECT name FROM singer",
      "SELECT T1.name, count(*) AS n FROM singer AS T1 GROUP BY T1.name HAVING n > 2;",
      "SELECT id FROM singer EXCEPT SELECT sid FROM song",
    ],
    invalid: [
      "SELECT nam FROM singer",
      "SELECT id FROM song",
      "SELECT id FROM singer WHERE count(*) > 1",
      "SELECT id FROM singer UNION SELECT sid, name FROM song",
    ],
    endsElsewhere: true,
  });

  const { singer, song } = tables;
  const constraint = sqlConstraint(tables);
  it.each([
    ["SELECT * FROM singer WHERE \"Home Town\" = 'x' OR `order` IS NOT NULL", true],
    ["SELECT name FROM singer WHERE id = (SELECT max(singer_id) FROM song WHERE sales > age)", true],
    ["SELECT name FROM singer AS s WHERE EXISTS (SELECT * FROM song WHERE song.singer_id = s.id)", true],
    ["SELECT a.name, b.name FROM singer a JOIN song b ON a.id = b.singer_id", true],
    ["SELECT n FROM (SELECT count(*) AS n FROM song)", false], // a result's own name is not known before FROM
    ["SELECT count(*) FROM (SELECT name FROM song INTERSECT SELECT name FROM singer)", true],
    ["SELECT * FROM singer UNION SELECT * FROM song", true],
    ['SELECT * FROM singer UNION SELECT * FROM "play list"', false],
    ['SELECT name FROM singer WHERE name = "somebody"', true],
    ["SELECT name FROM singer WHERE sales > 1", false],
    ["SELECT order FROM singer", false],
    ["SELECT max(count(*)) FROM singer", false],
    ["SELECT name FROM singer ORDER BY count(*)", false],
    ["SELECT name, count(*) FROM singer GROUP BY name ORDER BY count(*) DESC, 1", true],
    ["SELECT name FROM singer WHERE id IN (SELECT id, age FROM singer)", false],
    ["SELECT T1.name FROM singer AS T1 JOIN song AS T1", false],
    ["SELECT CASE WHEN age > 3 THEN 'old' ELSE 'young' END AS what FROM singer ORDER BY what", true],
    ["SELECT name FROM singer GROUP BY 7", false],
    ["SELECT a--1 FROM singer", false],
    ["SELECT name FROM singer, song", false],
    ["SELECT T1.name FROM singer", false],
    ["select count(*) from song where singer_id in (SELECT id FROM singer) ;", true],
  ])("%s", async (query, valid) => {
    expect(isValid(constraint, query)).toBe(valid);
    const database = await databaseOf();
    const prepare = (): void => database.prepare(query).free();
    if (valid) expect(prepare).not.toThrow();
  });

  it("whatever random walks write is taken by both judges, and every walk can end", { timeout: 120_000 }, async () => {
    const database = await databaseOf();
    const parser = new sqlParser.Parser();
    for (let seed = 1; seed <= 5; seed++) {
      const query = randomQuery(constraint.start, seed);
      expect(() => database.prepare(query).free(), query).not.toThrow();
      expect(() => parser.astify(query, { database: "sqlite" }), query).not.toThrow();
    }
  });

  async function databaseOf() {
    const sqlite = await initSqlJs();
    const database = new sqlite.Database();
    for (const [name, columns] of Object.entries(tables)) {
      database.run(`CREATE TABLE "${name}" (${columns.map((column) => `"${column}"`).join(", ")})`);
    }
    return database;
  }

  it("offers a table's further name only where it leads to an end", () => {
    const { start } = sqlConstraint({ one: ["x"] });
    const reads = (text: string): boolean => pushAll(start, Buffer.from(text)) !== undefined;
    // x is of one table alone, so that no second one can come, and the only one is called as it was before.
    expect(reads("select x, one.x - o")).toBe(true);
    expect(reads("select x, one.x - other")).toBe(false);
    expect(reads("select x, q.x from one q")).toBe(true);
    expect(reads("select x, q.x from one as q where")).toBe(true);
    expect(reads("select x, q.x from one r")).toBe(false);
    expect(reads("select x, one.x from one as")).toBe(false);
    expect(reads("select q.x from one r, one q")).toBe(true);
  });

  it("reads schemas as statements and as data, and says what is wrong with them", () => {
    const statements = `
      -- two tables
      CREATE TABLE IF NOT EXISTS main."singer" (id INTEGER PRIMARY KEY, name TEXT DEFAULT 'a, (b', age INT CHECK (age > 0),
        [Home Town] TEXT, "order" INT, CONSTRAINT c UNIQUE (id, name), FOREIGN KEY (id) REFERENCES song (sid));
      INSERT INTO singer VALUES (1, 'x', 2, 'y', 3); /* no names */
      create table song (sid int, title, sales decimal(3, 2), singer_id, name)`;
    const both = [
      { name: "singer", columns: singer },
      { name: "song", columns: song },
    ];
    expect(readSchema(statements)).toEqual(both);
    expect(readSchema({ singer, song })).toEqual(both);
    expect(readSchema([both[0], { name: "song", columns: song.map((name) => ({ name })) }])).toEqual(both);
    for (const [schema, message] of [
      ["", /no table/],
      ["CREATE TABLE a (b", /do not end/],
      ["CREATE TABLE a", /are missing/],
      ["CREATE VIEW v AS SELECT 1", /VIEW is not supported/],
      [{ a: ["b", "B"] }, /B of a is given twice/],
      [{ a: [] }, /no column/],
      [{ a: "b" }, /must be a list/],
      [{ a: ["x\ny"] }, /character that no name/],
      [7, /CREATE TABLE/],
    ] as const) {
      expect(() => sqlConstraint(schema as never), JSON.stringify(schema)).toThrow(message);
    }
  });

  describe.skipIf(!dataPath("spider"))(`Spider ${dataPath("spider") ? "" : noData}`, () => {
    it("takes every real query", { timeout: 120_000 }, () => {
      const lines = (bytes: Buffer) =>
        bytes
          .toString()
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line));
      const schemas = new Map(
        lines(gunzipSync(readFileSync(dataPath("spider", "schemas.jsonl.gz")!))).map((one) => [one.db_id, one]),
      );
      const constraints = new Map<string, ReturnType<typeof sqlConstraint>>();
      const refused: string[] = [];
      for (const [i, { db_id: id, query }] of lines(readFileSync(dataPath("spider", "dev.jsonl")!)).entries()) {
        if (i % 4 !== 0) continue;
        if (!constraints.has(id)) constraints.set(id, sqlConstraint(schemas.get(id)));
        if (!isValid(constraints.get(id)!, query.trim())) refused.push(query);
      }
      expect(refused).toEqual([]);
    });
  });
});

const words =
  "SELECT|DISTINCT|FROM|WHERE|AND|OR|NOT|IN|LIKE|BETWEEN|IS|NULL|EXISTS|GROUP BY|HAVING|ORDER BY|LIMIT|DESC|UNION|EXCEPT|JOIN|LEFT JOIN|ON|AS|CASE|WHEN|" +
  'THEN|ELSE|END|count|sum|max|abs|round|coalesce|*|,|(|)|.|=|<|+|-|/|1|5|\'a\'|T1|x|singer|song|id|name|title|sales|sid|vid|"Home Town"|"play list"|;';
const closing =
  ')|END|THEN|AND|FROM|,|NULL|*|song AS T1|singer AS T1|song AS x|singer AS x|song AS vid|singer AS vid|AS x|singer|song|"play list"|.|sid|id|name|(|SELECT'.split(
    "|",
  );

/** Some words at random, then the way to an end. */
function randomQuery(start: ConstraintState, seed: number): string {
  let state = seed;
  const draw = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  let at = start;
  let text = "";
  const all = words.split("|");
  /** A word that ends there: what comes next is no part of it. */
  const next = (word: string, from: ConstraintState, written: string): [ConstraintState, string] | undefined => {
    const glued = /[\w"'`]$/.test(written) && /^[\w"'`]/.test(word);
    for (const added of glued ? [` ${word}`] : [word, ` ${word}`]) {
      const to = pushAll(from, Buffer.from(added));
      if (
        to &&
        (to.complete || [...(word.endsWith('"') ? " .),*" : " .(),*'\"")].some((mark) => to.push(mark.charCodeAt(0))))
      )
        return [to, written + added];
    }
    return undefined;
  };
  for (let i = 0; i < 14 && !(at.complete && draw() < 0.3); i++) {
    let found: [ConstraintState, string] | undefined;
    for (let tries = 0; tries < 100 && !found; tries++) found = next(all[Math.floor(draw() * all.length)], at, text);
    if (!found) break;
    [at, text] = found;
  }
  const seen = new Set<ConstraintState>();
  const finish = (from: ConstraintState, written: string): string | undefined => {
    if (from.complete) return written;
    if (seen.has(from) || seen.size > 2_000) return undefined;
    seen.add(from);
    for (const word of closing) {
      const found = next(word, from, written);
      const done = found && finish(...found);
      if (done !== undefined) return done;
    }
    return undefined;
  };
  const query = finish(at, text);
  if (query === undefined) throw new Error(`no way to end: ${text}`);
  return query;
}

it("takes names that are given freely for alike only as far as they are", () => {
  const { start } = sqlConstraint(
    "CREATE TABLE pets (id INTEGER, weight INTEGER); CREATE TABLE people (id INTEGER, age INTEGER);",
  );
  // What follows "Z" is what follows "a" until a second name comes: no table has a weight and an age.
  const wanted: [string, boolean][] = [
    ["Z", true],
    ["Z.", true],
    ["a.weight,a.age", false],
    ["a.weight,b.age", true],
    ["a.weight,a.id", true],
    ["a.nothing", false],
    ["a b", false],
    ["pets.age", false],
    ["pets.id", true],
  ];
  const vocabulary = createVocabulary(wanted.length, (token) => new TextEncoder().encode(wanted[token][0]));
  for (const begun of ["select ", "select id, "]) {
    const state = pushAll(start, new TextEncoder().encode(begun))!;
    const allowed = state.allowed!(vocabulary);
    wanted.forEach(([text, fits], token) => {
      expect([text, hasBit(allowed, token)]).toEqual([text, fits]);
      expect(pushAll(state, new TextEncoder().encode(text)) !== undefined, text).toBe(fits);
    });
  }
});
