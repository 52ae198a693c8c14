// Writes src/entrances: for every subpath of the package what it exports, with functions that hold what they are given to the types that they
// declare (src/arguments.ts). `--check` only says whether it is stale.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const ts = createRequire(import.meta.url)("typescript");

/** Subpaths by their name, with their source. What looks at its arguments itself, in words of its own, has no entrance here. */
export const areas = {
  choice: "methods/choice/index.ts",
  constraints: "constraints/index.ts",
  inside: "methods/inside.ts",
  memory: "methods/memory/library.ts",
  methods: "methods/authoring.ts",
  models: "models/index.ts",
  pointing: "methods/pointing/index.ts",
  signals: "methods/signals.ts",
  "signals.browser": "methods/signals.browser.ts",
  tensor: "tensor/index.ts",
  text: "text/index.ts",
  training: "training/index.ts",
  weights: "weights/index.ts",
};

/** Objects that callers get, whose methods hold what they are given to their types, too: their interfaces, by the files that have them. */
const given = {
  "open.ts": ["Abilities"],
  "engine/decoding.ts": ["Decoding"],
  "engine/model.ts": ["DecodingModel"],
  "engine/forest.ts": ["Forest", "Lease"],
  "engine/canvas/canvas.ts": ["Canvas", "Sheet"],
  "engine/vision.ts": ["Vision"],
  "engine/encoder-decoder/index.ts": ["EncoderDecoder"],
};

/** The program of these files of src. */
function programOf(root, files) {
  const source = join(root, "src");
  const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile);
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
  return ts.createProgram(
    files.map((file) => join(source, file)),
    options,
  );
}

/** The text of src/given.ts. */
export function renderGiven(root) {
  const source = join(root, "src");
  const program = programOf(root, Object.keys(given));
  const checker = program.getTypeChecker();
  const kinds = createKinds(checker, source);
  const types = new Map();
  for (const [file, names] of Object.entries(given)) {
    const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(join(source, file))));
    for (const name of names)
      types.set(checker.getDeclaredTypeOfSymbol(exported.find((one) => one.name === name)), name);
  }
  const objects = {};
  for (const [type, name] of types) {
    const [methods, fields] = [{}, {}];
    for (const property of type.getProperties().filter((one) => !one.name.startsWith("__"))) {
      const own = checker.getTypeOfSymbol(property);
      const signatures = checker.getNonNullableType(own).getCallSignatures();
      if (types.has(own)) fields[property.name] = types.get(own);
      else if (signatures.length > 0) {
        const { parameters, rejects } = kinds.signature(signatures);
        const returned = signatures.map((one) => types.get(one.getReturnType())).find(Boolean);
        methods[property.name] = { parameters: JSON.parse(parameters), rejects, ...(returned && { gives: returned }) };
      }
    }
    objects[name] = { methods, fields };
  }
  return `/** Objects that callers get, with what their methods take by their declarations. Made by \`node scripts/entrances.mjs\`: change those, not this. */
import { createObjectChecks, type NamedKinds, type ObjectKinds } from "./arguments.ts";

const named: NamedKinds = ${kinds.table()};

const objects: ObjectKinds = ${JSON.stringify(objects)};

/** The object, as \`type\` declares it, whose methods refuse what is not of their declared types. Errors of its calls: \`bad_option\`. */
export const checkedObject = /* @__PURE__ */ createObjectChecks(objects, named);
`;
}

/** The text of every file of src/entrances, by its name. */
export function renderEntrances(root) {
  const source = join(root, "src");
  const program = programOf(root, Object.values(areas));
  return new Map(
    Object.entries(areas).map(([name, file]) => [`${name}.ts`, renderEntrance(program, source, name, file)]),
  );
}

function renderEntrance(program, source, name, file) {
  const checker = program.getTypeChecker();
  const kinds = createKinds(checker, source);
  const resolve = (symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol);
  const entry = program.getSourceFile(join(source, file));
  // The compiler counts what `export type *` names among the values.
  const types = new Set(
    entry.statements
      .filter((one) => ts.isExportDeclaration(one) && one.isTypeOnly && !one.exportClause)
      .flatMap(({ moduleSpecifier }) => checker.getExportsOfModule(checker.getSymbolAtLocation(moduleSpecifier))),
  );
  const exportsOf = (symbol) =>
    checker.getExportsOfModule(symbol).flatMap((one) => {
      const found = resolve(one);
      if (types.has(one)) return [];
      if (found.flags & ts.SymbolFlags.ValueModule) return [{ name: one.name, module: found }];
      if (!(found.flags & ts.SymbolFlags.Value)) return [];
      const type = checker.getTypeOfSymbol(found);
      const signatures = type.getCallSignatures();
      if (signatures.length > 0) return [{ name: one.name, signatures }];
      const inner = checker.getIndexInfoOfType(type, ts.IndexKind.String)?.type.getCallSignatures() ?? [];
      return inner.length > 0 ? [{ name: one.name, signatures: inner, record: true }] : [];
    });
  const call = (path, { name: own, signatures, record }) => {
    if (!record) kinds.made([...path.split(".").slice(1), own].join("."), signatures);
    const { parameters, rejects } = kinds.signature(signatures);
    const called = record ? "checkedAll(" : `checked(${JSON.stringify(own)}, `;
    return `/* @__PURE__ */ ${called}${path}.${own}, ${parameters}, named${rejects ? ", true" : ""})`;
  };
  const lines = exportsOf(checker.getSymbolAtLocation(entry)).map((one) => {
    if (!one.module) return `export const ${one.name} = ${call("area", one)};`;
    const inner = exportsOf(one.module).filter(({ module }) => !module);
    return `export const ${one.name} = {\n  ...area.${one.name},\n${inner.map((each) => `  ${each.name}: ${call(`area.${one.name}`, each)},`).join("\n")}\n};`;
  });
  const helpers = ["checked", ...(lines.some((line) => line.includes("checkedAll(")) ? ["checkedAll"] : [])];
  const subpath = name.replace(/\..*/, "");
  return `/** \`ventris/${subpath}\`, where functions hold what they are given to the types that they declare. Made by \`node scripts/entrances.mjs\`: change those, not this. */
import { ${helpers.join(", ")}, type NamedKinds } from "../arguments.ts";
import * as area from "../${file}";

const named: NamedKinds = ${kinds.table()};

export * from "../${file}";
${lines.join("\n")}
`;
}

/** Of what callers write down for one call, a name that is not declared is a mistake; of what they got or made elsewhere it may be theirs. */
const closedTypes = /Options$|^(Extension|LookAhead|Commitment|Instrumenting|LeaseSites|SheetCall)$/;

/** What is read by the function that takes it, in words of its own, wherever it is given. */
const readElsewhere = /^ConstraintChoice$/;

/** Types as data, those with a name under that name. */
function createKinds(checker, source) {
  const table = new Map();
  const names = new Map();
  const flags = ts.TypeFlags;

  function nameOf(type, base) {
    const known = names.get(type);
    if (known) return known;
    let name = base;
    for (let i = 2; [...names.values()].includes(name); i++) name = `${base}${i}`;
    names.set(type, name);
    return name;
  }

  function kindOf(type) {
    if (type.flags & (flags.Any | flags.Unknown | flags.Never | flags.Void)) return "unknown";
    if (type.flags & flags.TypeParameter) {
      const constraint = checker.getBaseConstraintOfType(type);
      return constraint ? kindOf(constraint) : "unknown";
    }
    if (type.flags & flags.Undefined) return "undefined";
    if (type.flags & flags.Null) return "null";
    if (type.flags & flags.Boolean) return "boolean";
    if (type.flags & flags.BooleanLiteral) return { values: [checker.typeToString(type) === "true"] };
    if (type.isLiteral()) return typeof type.value === "object" ? "bigint" : { values: [type.value] };
    if (type.flags & flags.StringLike) return "string";
    if (type.flags & flags.NumberLike) return "number";
    if (type.flags & flags.BigIntLike) return "bigint";
    if (type.flags & flags.ESSymbolLike) return "symbol";
    if (type.flags & flags.NonPrimitive) return "object";
    // Where it may be left out, the compiler has it as part of another union.
    if ([type, ...(type.origin?.types ?? [])].some((one) => readElsewhere.test(one.aliasSymbol?.name)))
      return "unknown";
    if (type.isUnion()) return either(type.types);
    if (type.isIntersection() && type.types.some((one) => one.flags & flags.StringLike)) return "string";
    if (type.flags & (flags.Object | flags.Intersection)) return ofObject(type);
    return "unknown"; // indexed and conditional types of type parameters
  }

  function either(types) {
    const kinds = [];
    const values = [];
    for (const one of types) {
      const kind = kindOf(one);
      if (kind === "unknown") return "unknown";
      if (kind.either) kinds.push(...kind.either);
      else if (kind.values) values.push(...kind.values);
      else kinds.push(kind);
    }
    if (values.includes(true) && values.includes(false)) {
      kinds.push("boolean");
      for (const value of [true, false]) values.splice(values.indexOf(value), 1);
    }
    if (values.length > 0) kinds.unshift({ values: values.sort() });
    // The compiler's own order of a union's types changes with what it read before.
    const different = [...new Map(kinds.map((kind) => [JSON.stringify(kind), kind]).sort()).values()];
    return different.length === 1 ? different[0] : { either: different };
  }

  function ofObject(type) {
    if (checker.isTupleType(type)) {
      const { elementFlags, minLength } = type.target;
      const items = checker.getTypeArguments(type).map(kindOf);
      if (elementFlags.some((flag) => flag & ts.ElementFlags.Variable)) return { list: "unknown" };
      return { tuple: items, least: minLength };
    }
    if (checker.isArrayType(type)) return { list: kindOf(checker.getTypeArguments(type)[0]) };
    if (type.getCallSignatures().length > 0 || type.getConstructSignatures().length > 0) return "function";
    const symbol = type.symbol;
    const file = symbol?.declarations?.[0]?.getSourceFile();
    const isNamed = symbol && symbol.flags & (ts.SymbolFlags.Interface | ts.SymbolFlags.Class);
    if (isNamed && file && !file.fileName.startsWith(source)) return ofOthers(symbol.name, type);
    const isOurs = (one) => one?.declarations?.[0]?.getSourceFile().fileName.startsWith(source);
    const own = [type.aliasSymbol, isNamed ? symbol : undefined].find(isOurs);
    if (!own || /^__/.test(own.name)) return structure(type, false);
    const name = nameOf(type, own.name);
    if (!table.has(name)) {
      table.set(name, undefined); // begun: a type may hold itself
      table.set(name, structure(type, closedTypes.test(own.name)));
    }
    return { named: name };
  }

  /** Of the language, the platform or another package. */
  function ofOthers(name, type) {
    const [item] = checker.getTypeArguments(type);
    if (name === "ArrayLike") return { places: kindOf(item) };
    if (name === "Iterable" || name === "IterableIterator") return { iterable: "iterator" };
    if (/^Async(Iter|Gen)/.test(name)) return { iterable: "asyncIterator" };
    if (name.startsWith("Zod")) return "schema";
    const instance = name.replace(/^Readonly(?=Map|Set)/, "");
    return typeof globalThis[instance] === "function" && !/^(Object|Function)$/.test(instance)
      ? { instance }
      : "object";
  }

  function structure(type, closed) {
    const properties = type.getProperties().filter(({ name }) => !name.startsWith("__"));
    const index = checker.getIndexInfoOfType(type, ts.IndexKind.String);
    if (properties.length === 0 && index) return { record: kindOf(index.type) };
    if (properties.length === 0) return "object";
    const fields = properties.map((property) => {
      const kind = kindOf(checker.getTypeOfSymbol(property));
      const parts = kind.either ?? [kind];
      const rest = parts.filter((part) => part !== "undefined");
      const optional = property.flags & ts.SymbolFlags.Optional || rest.length < parts.length || kind === "unknown";
      return [`${property.name}${optional ? "?" : ""}`, rest.length === 1 ? rest[0] : { either: rest }];
    });
    return { fields: Object.fromEntries(fields), ...(index ? { open: true } : closed && { closed: true }) };
  }

  const ordinals = ["first", "second", "third", "fourth", "fifth", "sixth"];

  /** Of overloads each parameter takes what any of them takes. */
  function signature(signatures) {
    const most = Math.max(...signatures.map(({ parameters }) => parameters.length));
    const parameters = Array.from({ length: most }, (_, i) => {
      const all = signatures.map(({ parameters }) => parameters[i]);
      const present = all.filter(Boolean);
      const [{ valueDeclaration, name }] = present;
      const kind = either(present.map((one) => checker.getTypeOfSymbol(one)));
      const rest = (kind.either ?? [kind]).filter((part) => part !== "undefined");
      const label = ts.isIdentifier(valueDeclaration.name) ? name : `the ${ordinals[i]} argument`;
      if (valueDeclaration.dotDotDotToken) return [`...${label}`, kind];
      const optional =
        present.length < all.length ||
        present.some(({ valueDeclaration: one }) => one.questionToken || one.initializer) ||
        rest.length < (kind.either?.length ?? 1);
      const taken = rest.length === 1 ? rest[0] : { either: rest };
      return [
        `${label}${optional ? "?" : ""}`,
        label === "options" && taken.fields && !taken.open ? { ...taken, closed: true } : taken,
      ];
    });
    const rejects = signatures.some((one) => one.getReturnType().symbol?.name === "Promise");
    return { parameters: JSON.stringify(parameters), rejects };
  }

  /** More than these a sentence does not name. */
  const mostMakers = 4;

  /** Names of functions that give a type, by the type: who lacks a value of it learns where to get one. */
  const makers = new Map();

  function made(name, signatures) {
    for (const one of signatures) {
      const returned = one.getReturnType();
      const type = returned.symbol?.name === "Promise" ? checker.getTypeArguments(returned)[0] : returned;
      const taken = one.parameters.map((parameter) => checker.getTypeOfSymbol(parameter));
      if (!taken.includes(type)) makers.set(type, new Set(makers.get(type)).add(name));
    }
  }

  function tableOf() {
    for (const [type, name] of names) {
      const kind = table.get(name);
      if (makers.has(type) && kind.fields)
        table.set(name, { ...kind, from: [...makers.get(type)].slice(0, mostMakers) });
    }
    return JSON.stringify(Object.fromEntries([...table].sort()));
  }

  return { signature, made, table: tableOf };
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const root = fileURLToPath(new URL("..", import.meta.url));
  const folder = join(root, "src", "entrances");
  const files = renderEntrances(root).set("../given.ts", renderGiven(root));
  mkdirSync(folder, { recursive: true });
  const current = (name) => (existsSync(join(folder, name)) ? readFileSync(join(folder, name), "utf8") : "");
  const extra = readdirSync(folder).filter((name) => !files.has(name));
  const stale = [...files].filter(([name, text]) => current(name) !== text);
  if (process.argv.includes("--check")) {
    if (stale.length + extra.length > 0) {
      console.error("src/entrances is stale: run node scripts/entrances.mjs");
      process.exitCode = 1;
    }
  } else {
    for (const name of extra) rmSync(join(folder, name));
    for (const [name, text] of stale) {
      writeFileSync(join(folder, name), text);
      console.error(`wrote ${relative(root, join(folder, name))}`);
    }
  }
}
