// The pages of the library: one an entry of the package, from the docstrings of its sources.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Comment, Converter, ReflectionKind } from "typedoc";

const root = new URL("../../", import.meta.url);
const { exports } = JSON.parse(readFileSync(new URL("package.json", root), "utf8"));
/** Sources by what a program imports: "ventris", "ventris/text" … */
const entries = new Map(
  Object.entries(exports)
    .filter(([, entry]) => typeof entry === "object")
    .map(([name, { types }]) => [
      fileURLToPath(new URL(types.replace("./dist/", "src/").replace(".d.ts", ".ts"), root)),
      `ventris${name.slice(1)}`,
    ]),
);

/** Modules are called by the names that programs import, and described by the heads of their files. */
const named = ({ converter }) =>
  converter.on(Converter.EVENT_CREATE_DECLARATION, (context, reflection) => {
    const file = reflection.kindOf(ReflectionKind.Module) && context.getSymbolFromReflection(reflection);
    const name = file?.declarations?.map(({ fileName }) => entries.get(fileName)).find(Boolean);
    if (!name) return;
    reflection.name = name;
    const head = /^\/\*\*([\s\S]*?)\*\//.exec(readFileSync(file.declarations[0].fileName, "utf8"))?.[1];
    const text = head?.replace(/^ *\* ?/gm, "").trim();
    if (text) reflection.comment = new Comment([{ kind: "text", text }]);
  });

export default {
  name: "Library",
  entryPoints: [...entries.keys()],
  tsconfig: fileURLToPath(new URL("tsconfig.build.json", root)),
  out: fileURLToPath(new URL("pages/api", import.meta.url)),
  plugin: ["typedoc-plugin-markdown", named],
  router: "module",
  readme: "none",
  skipErrorChecking: true,
  excludeInternal: true,
  excludePrivate: true,
  excludeExternals: true,
  disableSources: true,
  hideGenerator: true,
  entryFileName: "index",
  hidePageHeader: true,
  hideBreadcrumbs: true,
  useCodeBlocks: true,
  expandObjects: true,
  parametersFormat: "table",
  interfacePropertiesFormat: "table",
  typeAliasPropertiesFormat: "table",
  enumMembersFormat: "table",
  propertyMembersFormat: "table",
  validation: { notExported: false, invalidLink: true, notDocumented: true },
  requiredToBeDocumented: ["Class", "Interface", "Function", "TypeAlias", "Module"],
  logLevel: "Warn",
};
