/** What callers without types may give by mistake: each call says what is wrong, as a VentrisError and never as the language's own. */
import { describe, expect, test } from "vitest";
import { VentrisError } from "./errors.ts";
import * as choice from "./methods/choice/index.ts";
import * as pointing from "./methods/pointing/index.ts";
import * as signals from "./methods/signals.ts";
import { lensReading, logitLens } from "./models/lens.ts";
import { resolveModel } from "./references.ts";
import { useModels } from "./shipped.ts";
import * as text from "./text/index.ts";
import * as training from "./training/index.ts";
import * as weights from "./weights/index.ts";

type Call = (...values: unknown[]) => unknown;
/** Of a generator, which begins when it is asked. */
const iterated =
  (call: unknown): Call =>
  (...values) =>
    ((call as Call)(...values) as AsyncIterator<unknown>).next();
const calls: Record<string, [call: unknown, ...given: unknown[]]> = {
  "resolveModel(7)": [resolveModel, 7],
  'resolveModel("x", null)': [resolveModel, "x", null],
  "openWeights(undefined)": [weights.openWeights, undefined],
  "openSafetensors({})": [weights.openSafetensors, {}],
  'downloadModel("a/b", 3)': [weights.downloadModel, "a/b", 3],
  "openTokenizer(null)": [text.openTokenizer, null],
  "createDetokenizer(undefined)": [text.createDetokenizer, undefined],
  "trainTokenizer([], null)": [text.trainTokenizer, [], null],
  "readTexts(undefined)": [iterated(text.readTexts), undefined],
  'readTexts("a.txt")': [iterated(text.readTexts), "a.txt"],
  "documents(null)": [iterated(text.documents), null],
  "documents({})": [iterated(text.documents), {}],
  "writeSafetensors(5)": [weights.writeSafetensors, 5],
  'writeSafetensors("x", null)': [weights.writeSafetensors, "x", null],
  "useFiles(5)": [weights.useFiles, 5],
  "useFiles({})": [weights.useFiles, {}],
  "useModels(5)": [useModels, 5],
  "logitLens()": [logitLens],
  "lensReading(5)": [lensReading, 5],
  'createPolicyByName("constructor", {})': [choice.createPolicyByName, "constructor", {}],
  'createPolicyByName("linUCB", null)': [choice.createPolicyByName, "linUCB", null],
  'choice.readTable("x")': [choice.readTable, "x"],
  "train(undefined)": [training.train, undefined],
  "cosine()": [training.cosine],
  "constant(7)": [training.constant, 7],
  'findFilter("kalmann")': [signals.findFilter, "kalmann"],
  "findFilter({})": [signals.findFilter, {}],
  "fitFilter()": [signals.fitFilter],
  "fitFilter(kalman)": [signals.fitFilter, signals.findFilter("kalman")],
  "openFilter(undefined, {})": [signals.openFilter, undefined, {}],
  "filterAll(null, null)": [signals.filterAll, null, null],
  "loadFilter(5)": [signals.loadFilter, 5],
  "readTable([])": [signals.readTable, []],
  "openPointing()": [pointing.openPointing],
  "openPointing(7)": [pointing.openPointing, 7],
};

describe("a wrong call", () => {
  test.each(Object.entries(calls))("%s", async (_, [call, ...given]) => {
    const failure = await (async () => (call as Call)(...given))().then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure).toBeInstanceOf(VentrisError);
    expect((failure as Error).message).not.toMatch(
      /undefined is not|cannot read|not a function|expected \w+, received/i,
    );
  });
});
