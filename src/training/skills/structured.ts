/** Questions over a small table turned into SQL, sentences into JSON objects of a schema, stated patterns into strings that match. */
import type { Choices, Skill } from "./skill.ts";

interface Column {
  name: string;
  values: readonly (string | number)[];
}
interface Table {
  name: string;
  label: string;
  columns: readonly Column[];
}

const ages = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
const places = ["Rome", "Paris", "Oslo", "Lima", "Cairo", "London"];
const colours = ["red", "blue", "green", "white", "black", "yellow"];
const tables: readonly Table[] = [
  {
    name: "pets",
    label: "name",
    columns: [
      { name: "kind", values: ["dog", "cat", "bird", "fish"] },
      { name: "age", values: ages },
      { name: "colour", values: colours },
    ],
  },
  {
    name: "children",
    label: "name",
    columns: [
      { name: "city", values: places },
      { name: "age", values: ages },
      { name: "sport", values: ["football", "tennis", "running", "swimming"] },
    ],
  },
  {
    name: "books",
    label: "title",
    columns: [
      { name: "pages", values: [20, 30, 40, 50, 60, 80, 100] },
      { name: "colour", values: colours },
      { name: "price", values: ages },
    ],
  },
];

type Comparison = "=" | ">" | "<";
interface Condition {
  column: string;
  comparison: Comparison;
  value: string | number;
}

const literal = (value: string | number): string => (typeof value === "number" ? String(value) : `'${value}'`);
const comparisonWords: Record<Comparison, string> = { "=": "is", ">": "is more than", "<": "is less than" };

function drawCondition(choose: Choices, column: Column): Condition {
  const value = choose.one(column.values);
  const comparison = typeof value === "number" ? choose.one<Comparison>(["=", ">", "<"]) : "=";
  return { column: column.name, comparison, value };
}

export const sql: Skill = {
  name: "sql",
  summary: "a question over one stated table turned into a SELECT",
  make(choose) {
    const table = choose.one(tables);
    const conditions = choose
      .several(table.columns, choose.integer(1, 2))
      .map((column) => drawCondition(choose, column));
    const asked = choose.one(["list", "count", "column"] as const);
    const other = choose.one(table.columns).name;
    const where = conditions
      .map(({ column, comparison, value }) => `${column} ${comparison} ${literal(value)}`)
      .join(" AND ");
    const spoken = conditions
      .map(({ column, comparison, value }) => `${column} ${comparisonWords[comparison]} ${value}`)
      .join(" and ");
    const what = asked === "count" ? "COUNT(*)" : asked === "list" ? table.label : other;
    const question =
      asked === "count"
        ? `How many ${table.name} are there whose ${spoken}?`
        : `What is the ${what} of the ${table.name} whose ${spoken}?`;
    const columns = [table.label, ...table.columns.map(({ name }) => name)];
    return {
      prompt: `Table ${table.name}: ${columns.join(", ")}. ${question}`,
      answer: `SELECT ${what} FROM ${table.name} WHERE ${where}`,
      facts: { table: table.name, columns },
    };
  },
  check: (item, text) => canonicalSql(text) === canonicalSql(item.answer),
};

/** One space between words, key words in capitals, no semicolon at the end. Text in quotes stays. */
const canonicalSql = (text: string): string =>
  text
    .trim()
    .replace(/;\s*$/, "")
    .split(/('[^']*')/)
    .map((part, i) =>
      i % 2 === 1
        ? part
        : part.replace(/\s+/g, " ").replace(/\b(select|from|where|and|count)\b/gi, (word) => word.toUpperCase()),
    )
    .join("");

const people = ["Tom", "Lily", "Ben", "Mia", "Sam", "Anna", "Max", "Lucy", "Jack", "Sara", "Zoe", "Leo"];
const animals = ["dog", "cat", "rabbit", "goat", "horse", "duck"];

type FieldName = "name" | "age" | "city" | "pet" | "likes" | "colour";
const fields: Record<
  FieldName,
  { type: "string" | "integer"; draw: (choose: Choices) => string | number; say: (value: string | number) => string }
> = {
  name: { type: "string", draw: (choose) => choose.one(people), say: String },
  age: { type: "integer", draw: (choose) => choose.integer(2, 90), say: (value) => `is ${value} years old` },
  city: { type: "string", draw: (choose) => choose.one(places), say: (value) => `lives in ${value}` },
  pet: { type: "string", draw: (choose) => choose.one(animals), say: (value) => `has a ${value}` },
  likes: {
    type: "string",
    draw: (choose) => choose.one(["apples", "music", "games", "books", "cakes"]),
    say: (value) => `likes ${value}`,
  },
  colour: { type: "string", draw: (choose) => choose.one(colours), say: (value) => `wears a ${value} hat` },
};

export const json: Skill = {
  name: "json",
  summary: "a sentence turned into a JSON object of a given schema",
  make(choose) {
    const wanted: FieldName[] = [
      "name",
      ...choose.several(["age", "city", "pet", "likes", "colour"] as const, choose.integer(1, 3)),
    ];
    const values = wanted.map((field) => fields[field].draw(choose));
    const told = wanted.slice(1).map((field, i) => ({ field, words: fields[field].say(values[i + 1]) }));
    // The sentence gives them in an order of its own; the object follows the schema.
    const said = choose.several(told, told.length).map(({ words }) => words);
    const sentence = `${values[0]} ${said.length === 1 ? said[0] : `${said.slice(0, -1).join(", ")} and ${said[said.length - 1]}`}.`;
    const schema = {
      type: "object",
      properties: Object.fromEntries(wanted.map((field) => [field, { type: fields[field].type }])),
      required: wanted,
      additionalProperties: false,
    };
    const object = Object.fromEntries(wanted.map((field, i) => [field, values[i]]));
    return {
      prompt: `Write as JSON with ${wanted.map((field) => `${field} (${fields[field].type})`).join(", ")}: ${sentence}`,
      answer: JSON.stringify(object).replace(/([:,])(?=["\d])/g, "$1 "),
      facts: { schema, object },
    };
  },
  check(item, text) {
    const object = item.facts.object as Record<string, unknown>;
    try {
      const given = JSON.parse(text);
      const keys = Object.keys(given);
      return keys.length === Object.keys(object).length && keys.every((key) => given[key] === object[key]);
    } catch {
      return false;
    }
  },
};

const classes: readonly { words: string; source: string; characters: string }[] = [
  { words: "digit", source: "[0-9]", characters: "0123456789" },
  { words: "small letter", source: "[a-z]", characters: "abcdefghijklmnopqrstuvwxyz" },
  { words: "capital letter", source: "[A-Z]", characters: "ABCDEFGHIJKLMNOPQRSTUVWXYZ" },
  { words: "vowel", source: "[aeiou]", characters: "aeiou" },
];
const counts = ["no", "one", "two", "three", "four"];

export const pattern: Skill = {
  name: "pattern",
  summary: "a pattern in words turned into a string that matches it",
  make(choose) {
    const parts = Array.from({ length: choose.integer(2, 4) }, (_, i) =>
      i > 0 && choose.chance(0.3)
        ? choose.one([
            { words: "a dash", source: "-", text: "-" },
            { words: "a dot", source: "\\.", text: "." },
            { words: "a slash", source: "\\/", text: "/" },
          ])
        : classPart(choose),
    );
    return {
      prompt: `Write a string: ${parts.map(({ words }) => words).join(", then ")}.`,
      answer: parts.map(({ text }) => text).join(""),
      facts: { pattern: `^${parts.map(({ source }) => source).join("")}$` },
    };
  },
  check: (item, text) => new RegExp(item.facts.pattern as string).test(text.trim()),
};

function classPart(choose: Choices) {
  const { words, source, characters } = choose.one(classes);
  const count = choose.integer(1, 4);
  return {
    words: `${counts[count]} ${words}${count > 1 ? "s" : ""}`,
    source: `${source}{${count}}`,
    // The class's first ones: of strings drawn evenly there would be nothing to learn but how many.
    text: characters.slice(0, count),
  };
}
