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

/** Members of options that say nothing of themselves, as `Interface.member`; and whatever lies in an object written there. */
export function undocumentedOptions(root: string): string[] {
  const { exported } = publicSymbols(root);
  const silent: string[] = [];
  const visit = (members: readonly ts.TypeElement[], where: string): void => {
    for (const member of members) {
      if (!ts.isPropertySignature(member) && !ts.isMethodSignature(member)) continue;
      const name = `${where}.${member.name.getText()}`;
      if (ts.getJSDocCommentsAndTags(member).length === 0) silent.push(name);
      if (member.type && ts.isTypeLiteralNode(member.type)) visit([...member.type.members], name);
    }
  };
  for (const symbol of exported)
    for (const declaration of symbol.declarations ?? [])
      if (ts.isInterfaceDeclaration(declaration) && isOfOptions(symbol.name))
        visit([...declaration.members], symbol.name);
  return silent.sort();
}

const isOfOptions = (name: string): boolean => /(Options|Training|Scoring)$/.test(name);

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
