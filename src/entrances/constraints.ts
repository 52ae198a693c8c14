/** `ventris/constraints`, where functions hold what they are given to the types that they declare. Made by `node scripts/entrances.mjs`: change those, not this. */
import { checked, type NamedKinds } from "../arguments.ts";
import * as area from "../constraints/index.ts";

const named: NamedKinds = {"Constraint":{"fields":{"name":"string","tight":"boolean","start":{"named":"ConstraintState"}},"from":["createConstraint"]},"ConstraintState":{"fields":{"push":"function","complete":"boolean","allowed?":"function"}},"Plain":{"fields":{"upTo":{"list":{"instance":"Uint32Array"}},"others":{"named":"Vocabulary"}}},"Vocabulary":{"fields":{"size":"number","bytes":"function","byte":{"instance":"Uint8Array"},"depth":{"instance":"Uint16Array"},"after":{"instance":"Int32Array"},"first":{"instance":"Int32Array"},"tokens":{"instance":"Int32Array"},"deepest":"number","plain":{"named":"Plain"},"memory":{"instance":"Map"}},"from":["createVocabulary"]}};

export * from "../constraints/index.ts";
export const createConstraint = /* @__PURE__ */ checked("createConstraint", area.createConstraint, [["choice","unknown"]], named);
export const describeConstraint = /* @__PURE__ */ checked("describeConstraint", area.describeConstraint, [["choice","unknown"]], named);
export const isConstraint = /* @__PURE__ */ checked("isConstraint", area.isConstraint, [["value","unknown"]], named);
export const forgetConstraints = /* @__PURE__ */ checked("forgetConstraints", area.forgetConstraints, [], named);
export const isValid = /* @__PURE__ */ checked("isValid", area.isValid, [["the first argument",{"named":"Constraint"}],["text","string"]], named);
export const pushAll = /* @__PURE__ */ checked("pushAll", area.pushAll, [["state",{"named":"ConstraintState"}],["bytes",{"iterable":"iterator"}]], named);
export const tryTokens = /* @__PURE__ */ checked("tryTokens", area.tryTokens, [["state",{"fields":{"push":"function"}}],["vocabulary",{"named":"Vocabulary"}]], named);
export const createVocabulary = /* @__PURE__ */ checked("createVocabulary", area.createVocabulary, [["size","number"],["bytesOf","function"]], named);
export const hasBit = /* @__PURE__ */ checked("hasBit", area.hasBit, [["bits",{"instance":"Uint32Array"}],["token","number"]], named);
export const wordsFor = /* @__PURE__ */ checked("wordsFor", area.wordsFor, [["size","number"]], named);
