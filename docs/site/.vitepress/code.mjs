// Colours of code, from the palette of the page: ink, clay, one oxide red, and the green of what is held.
const theme = (name, type, { ink, soft, oxide, held, clay, leaf }) => ({
  name: `ventris-${name}`,
  type,
  colors: { "editor.background": leaf, "editor.foreground": ink },
  settings: [
    { settings: { foreground: ink, background: leaf } },
    { scope: ["comment", "punctuation.definition.comment"], settings: { foreground: soft, fontStyle: "italic" } },
    { scope: ["keyword", "storage", "keyword.control", "storage.type", "storage.modifier"], settings: { foreground: oxide } },
    { scope: ["keyword.operator", "punctuation", "meta.brace"], settings: { foreground: soft } },
    { scope: ["keyword.operator.new", "keyword.operator.expression"], settings: { foreground: oxide } },
    { scope: ["string", "punctuation.definition.string", "markup.inline.raw"], settings: { foreground: held } },
    { scope: ["constant.numeric", "constant.language", "support.type.property-name"], settings: { foreground: clay } },
    { scope: ["entity.name.function", "support.function", "entity.name.type", "support.type", "support.class"], settings: { foreground: ink, fontStyle: "bold" } },
    { scope: ["entity.name.tag"], settings: { foreground: oxide } },
    { scope: ["entity.other.attribute-name"], settings: { foreground: clay } },
  ],
});

export const light = theme("light", "light", {
  ink: "#241d15",
  soft: "#6f6350",
  oxide: "#9c2f1a",
  held: "#3d5c54",
  clay: "#80572a",
  leaf: "#fbf7ee",
});
export const dark = theme("dark", "dark", {
  ink: "#ece1cd",
  soft: "#a0927c",
  oxide: "#e0694a",
  held: "#8fb8ab",
  clay: "#c9a26f",
  leaf: "#1f1a15",
});
