/** Which types a user of the package meets and cannot name. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

/** What the entries of `package.json` export, of the built package. */
function publicSymbols(root: string): { checker: ts.TypeChecker; exported: ReadonlySet<ts.Symbol>; resolve: Resolve } {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const entries = Object.values(manifest.exports as Record<string, string | { types: string }>).flatMap((entry) =>
    typeof entry === "string" ? [] : [join(root, entry.types)],
  );
  const program = ts.createProgram(entries, {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    lib: ["lib.es2022.d.ts"],
    types: [],
    strict: true,
    skipLibCheck: true,
    noEmit: true,
  });
  const checker = program.getTypeChecker();
  const resolve = (symbol: ts.Symbol): ts.Symbol =>
    symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
  const exported = new Set<ts.Symbol>();
  // A namespace gives names to what is in it.
  const add = (symbol: ts.Symbol): void => {
    const found = resolve(symbol);
    if (found.flags & ts.SymbolFlags.ValueModule) checker.getExportsOfModule(found).forEach(add);
    else exported.add(found);
  };
  for (const entry of entries) {
    const module = checker.getSymbolAtLocation(program.getSourceFile(entry)!)!;
    for (const symbol of checker.getExportsOfModule(module)) add(symbol);
  }
  return { checker, exported, resolve };
}

type Resolve = (symbol: ts.Symbol) => ts.Symbol;

/**
 * Members of options that say nothing of themselves, as `Interface.member`, and those that may be left out and do not say what happens then;
 * and whatever lies in an object written there.
 */
export function undocumentedOptions(root: string): string[] {
  const { checker, exported, resolve } = publicSymbols(root);
  const silent = new Set<string>();
  const visit = (node: ts.Node, where: string): void => {
    if (ts.isTypeElement(node)) {
      if (!ts.isPropertySignature(node) && !ts.isMethodSignature(node)) return;
      const name = `${where}.${node.name.getText()}`;
      const words = ts
        .getJSDocCommentsAndTags(node)
        .map((part) => part.getText())
        .join(" ");
      const saysItself = node.type && ts.isLiteralTypeNode(node.type) && !node.questionToken;
      if (words === "") {
        if (!saysItself) silent.add(name);
      } else if (node.questionToken && !saysWithout.test(words)) silent.add(`${name}, left out`);
      if (node.type && ts.isPropertySignature(node)) visit(node.type, name);
    } else if (!ts.isFunctionTypeNode(node)) ts.forEachChild(node, (child) => visit(child, where));
  };
  const own = join(root, "dist");
  for (const symbol of optionsOf(checker, exported, resolve))
    for (const declaration of symbol.declarations ?? [])
      if (!declaration.getSourceFile().fileName.startsWith(own)) continue;
      else if (ts.isInterfaceDeclaration(declaration))
        for (const member of declaration.members) visit(member, symbol.name);
      else if (ts.isTypeAliasDeclaration(declaration)) visit(declaration.type, symbol.name);
  // Objects that parameters of functions have written out: what may be left out of them.
  for (const symbol of exported)
    for (const declaration of symbol.declarations ?? [])
      if (ts.isFunctionDeclaration(declaration) && declaration.getSourceFile().fileName.startsWith(own))
        for (const { type } of declaration.parameters)
          if (type && ts.isTypeLiteralNode(type))
            for (const member of type.members) if (member.questionToken) visit(member, symbol.name);
  return [...silent].sort();
}

/** What a docstring says of an option that is left out. */
const saysWithout = /\bdefaults?\b|\bneeded\b|\bwithout (it|one|them)\b|\bunless given\b|\bnever given\b/i;

/** Interfaces and objects of options: those whose names say so, and what parameters of that name are. */
function optionsOf(checker: ts.TypeChecker, exported: ReadonlySet<ts.Symbol>, resolve: Resolve): Set<ts.Symbol> {
  const found = new Set<ts.Symbol>();
  const add = (node: ts.TypeReferenceNode): void => {
    const symbol = checker.getSymbolAtLocation(node.typeName);
    if (symbol && exported.has(resolve(symbol))) found.add(resolve(symbol));
  };
  const visit = (node: ts.Node): void => {
    if (
      ts.isParameter(node) &&
      /^(options|settings)$/i.test(node.name.getText()) &&
      node.type &&
      ts.isTypeReferenceNode(node.type)
    )
      add(node.type);
    ts.forEachChild(node, visit);
  };
  for (const symbol of exported) {
    if (/(Options|Training|Scoring|Settings|Progress|Choice|Edit|Resolving|TemplateText)$/.test(symbol.name))
      found.add(symbol);
    for (const declaration of symbol.declarations ?? []) visit(declaration);
  }
  return found;
}

/**
 * Types of ours that declarations exported from any entry of `package.json` mention, and that no entry exports: "Name (file), of Where". What
 * its own file keeps to itself (a short name for a longer type) is not counted. The package must be built.
 */
export function unnamedTypes(root: string): string[] {
  const { checker, exported, resolve } = publicSymbols(root);
  const dist = join(root, "dist");
  const missing = new Map<ts.Symbol, string>();
  const visit = (node: ts.Node, where: string): void => {
    const name = ts.isTypeReferenceNode(node)
      ? node.typeName
      : ts.isExpressionWithTypeArguments(node)
        ? node.expression
        : undefined;
    const found = name && checker.getSymbolAtLocation(name);
    if (found) {
      const symbol = resolve(found);
      const file = symbol.declarations?.[0]?.getSourceFile().fileName;
      const type = symbol.flags & (ts.SymbolFlags.Interface | ts.SymbolFlags.TypeAlias | ts.SymbolFlags.Class);
      const shared = symbol.declarations?.some(
        (one) => ts.getCombinedModifierFlags(one) & ts.ModifierFlags.Export && ts.isSourceFile(one.parent),
      );
      if (type && shared && file?.startsWith(dist) && !exported.has(symbol))
        missing.set(symbol, `${symbol.name} (${file.slice(dist.length + 1)}), of ${where}`);
    }
    ts.forEachChild(node, (child) => visit(child, where));
  };
  for (const symbol of exported) for (const declaration of symbol.declarations ?? []) visit(declaration, symbol.name);
  return [...missing.values()].sort();
}
