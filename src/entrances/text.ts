/** `ventris/text`, where functions hold what they are given to the types that they declare. Made by `node scripts/entrances.mjs`: change those, not this. */
import { checked, type NamedKinds } from "../arguments.ts";
import * as area from "../text/index.ts";

const named: NamedKinds = {"TextFile":{"fields":{"path":"string","field?":"string","separator?":{"either":["string",{"instance":"RegExp"}]}}},"Tokenizer":{"fields":{"vocabularySize":"number","beginToken?":"number","endTokens":{"list":"number"},"fingerprint":"string","specialTokens?":{"instance":"Map"},"dropsLeadingSpace?":"boolean","encode":"function","decode":"function","tokenBytes":"function","applyChatTemplate?":"function","encodeChat?":"function"},"from":["openTok512","openTokenizer"]},"TokenizerOptions":{"fields":{"outputs?":"number","metadata?":{"record":"unknown"}},"closed":true},"TokenizerTraining":{"fields":{"texts":{"either":[{"iterable":"asyncIterator"},{"iterable":"iterator"}]},"size":"number","atMost?":"boolean","specialTokens?":{"list":"string"},"onProgress?":"function","signal?":{"instance":"AbortSignal"}}}};

export * from "../text/index.ts";
export const trainBpe = /* @__PURE__ */ checked("trainBpe", area.trainBpe, [["options",{"named":"TokenizerTraining"}]], named, true);
export const trainTokenizer = /* @__PURE__ */ checked("trainTokenizer", area.trainTokenizer, [["options",{"fields":{"texts":{"either":[{"iterable":"asyncIterator"},{"iterable":"iterator"}]},"size":"number","atMost?":"boolean","specialTokens?":{"list":"string"},"onProgress?":"function","signal?":{"instance":"AbortSignal"},"out":"string"},"closed":true}]], named, true);
export const createDetokenizer = /* @__PURE__ */ checked("createDetokenizer", area.createDetokenizer, [["tokenizer",{"named":"Tokenizer"}],["options?",{"fields":{"continued?":"boolean"},"closed":true}]], named);
export const openTok512 = /* @__PURE__ */ checked("openTok512", area.openTok512, [["path","string"]], named, true);
export const openTokenizer = /* @__PURE__ */ checked("openTokenizer", area.openTokenizer, [["path","string"],["options?",{"named":"TokenizerOptions"}]], named, true);
export const documents = /* @__PURE__ */ checked("documents", area.documents, [["file",{"named":"TextFile"}]], named);
export const readTexts = /* @__PURE__ */ checked("readTexts", area.readTexts, [["paths",{"iterable":"iterator"}]], named);
export const recordFields = /* @__PURE__ */ checked("recordFields", area.recordFields, [["path","string"],["fields",{"list":"string"}]], named);
export const textLines = /* @__PURE__ */ checked("textLines", area.textLines, [["path","string"]], named);
