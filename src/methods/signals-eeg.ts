/** EEG to text, for faces: apart from the filters, since it brings the trainer. */
export { openTextModel } from "../engine/encoder-decoder/text-model.ts";
export { loadSentenceSet, type SentenceSet, type Split, saveSentenceSet } from "./signals/glim/dataset.ts";
export {
  type ClassTexts,
  type Control,
  controls,
  encodeRecordings,
  evaluateGlim,
  generateTexts,
  type Report,
} from "./signals/glim/evaluate.ts";
export { loadGlim, saveGlim, trainGlim } from "./signals/glim/index.ts";
export { trainTextModel } from "./signals/glim/language.ts";
export { prepareReadings, prepareZuco } from "./signals/glim/prepare.ts";
export { publishedShape } from "./signals/glim/preprocess.ts";
export { classSentences, synthesiseSentences, syntheticDefaults } from "./signals/glim/synthetic.ts";
export { analyseWords, readWordCorpus } from "./signals/glim/zuco-words.ts";
