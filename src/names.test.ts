/** Names of other libraries lead to ours, and every name that is promised exists. */
import { describe, expect, test } from "vitest";
import { requestOptions } from "./engine/decoding.ts";
import { VentrisError } from "./errors.ts";
import { findMethod, findShaper, methods, shapers } from "./methods/index.ts";
import { chatWays, embedWays, meantBy, openWays, requestWays, suggestion } from "./names.ts";

const request = [...Object.keys(requestOptions.shape), "method", "shapers", "signal"];

describe("names from elsewhere", () => {
  test.each([
    ["maxNewTokens", "maxTokens"],
    ["max_tokens", "maxTokens"],
    ["maxOutputTokens", "maxTokens"],
    ["max_completion_tokens", "maxTokens"],
    ["max_new_tokens", "maxTokens"],
    ["max_output_tokens", "maxTokens"],
    ["num_predict", "maxTokens"],
    ["numPredict", "maxTokens"],
    ["max_gen_len", "maxTokens"],
    ["max_gen_tokens", "maxTokens"],
    ["max_tokens_to_sample", "maxTokens"],
    ["maximumTokens", "maxTokens"],
    ["tokens", "maxTokens"],
    ["min_tokens", "minTokens"],
    ["top_k", "topK"],
    ["min_p", "minP"],
    ["typical_p", "typicalP"],
    ["stop_sequences", "stop"],
    ["stop_words", "stop"],
    ["stopTokenIds", "stopTokens"],
    ["frequency_penalty", "frequencyPenalty"],
    ["repetition_penalty", "repetitionPenalty"],
    ["random_seed", "seed"],
    ["logit_bias", "logitBias"],
    ["logprob", "logprobs"],
    ["nPredict", "maxTokens"],
    ["n_predict", "maxTokens"],
    ["max_length", "maxTokens"],
    ["min_new_tokens", "minTokens"],
    ["top_p", "topP"],
    ["temp", "temperature"],
    ["stopSequences", "stop"],
    ["stop_strings", "stop"],
    ["customStopTriggers", "stop"],
    ["eos_token_id", "stopTokens"],
    ["repeatPenalty", "repetitionPenalty"],
    ["repeat_last_n", "penaltyWindow"],
    ["no_repeat_ngram_size", "noRepeatNgram"],
    ["bad_words_ids", "badTokens"],
    ["tokenBias", "logitBias"],
    ["abortSignal", "signal"],
    ["responseFormat", "constraint"],
    ["top_logprobs", "logprobs"],
    ["temprature", "temperature"],
    ["tasp", "taps"],
    ["tmep", "temperature"],
    ["siganl", "signal"],
  ])("%s of a request is %s", (given, ours) => {
    expect(suggestion(given, request, requestWays)).toBe(`; did you mean "${ours}"?`);
  });

  test.each(["penalty", "penaltie", "penalties "])("%j is the plural that there is", (given) => {
    expect(suggestion(given, ["bias", "penalties", "temperature"])).toBe('; did you mean "penalties"?');
  });

  test.each([
    ["samples", requestWays, /another number as request/],
    ["num_return_sequences", requestWays, /another number as request/],
    ["numBeams", requestWays, /method: \{ name: "beam", beams/],
    ["systemPrompt", requestWays, /model\.chat/],
    ["onTextChunk", requestWays, /\.text/],
    ["do_sample", requestWays, /temperature 0/],
    ["prompt", requestWays, /first argument/],
    ["draftModel", requestWays, /method: \{ name: "dyspec", draft/],
    ["modelPath", openWays, /first argument/],
    ["cache_dir", openWays, /VENTRIS_CACHE/],
    ["gpu", openWays, /device: "webgpu"/],
    ["callbacks", openWays, /onProgress/],
    ["num_predict", openWays, /each request/],
    ["repeat_penalty", openWays, /each request/],
    ["callbacks", requestWays, /iterate the text/],
    ["num_ctx", requestWays, /option of open/],
    ["gpu", requestWays, /option of open/],
    ["kv_cache", requestWays, /option of open/],
    ["eosToken", requestWays, /stopTokens/],
    ["grammar", requestWays, /constraint: \{ grammar: /],
    ["schema", requestWays, /constraint: \{ jsonSchema: /],
    ["model", requestWays, /what open gave/],
    ["images", requestWays, /stand in the prompt/],
    ["model", chatWays, /what open gave/],
    ["num_ctx", chatWays, /option of open/],
    ["onToken", chatWays, /iterate the text/],
    ["pooling", embedWays, /mean of the final states/],
  ])("%s is no option, and is had in another way", (given, ways, told) => {
    expect(suggestion(given, request, ways)).toMatch(told);
  });

  test.each([
    ["gpu", ["cpu", "webgpu", "cuda"], "webgpu"],
    ["q8", ["auto", "f32", "int8", "int4"], "int8"],
    ["fp32", ["auto", "f32", "int8", "int4"], "f32"],
  ])("the value %s is not taken for one that is spelt alike", (given, known, ours) => {
    expect(suggestion(given, known)).toBe(`; did you mean "${ours}"?`);
  });

  test.each([
    ["steps", "epochs"],
    ["lr", "learning-rate"],
    ["max-length", "length"],
    ["rank", "lora"],
    ["out", "folder"],
  ])("--%s of finetuning is --%s", (given, ours) => {
    const known = ["folder", "epochs", "learning-rate", "length", "lora", "alpha", "targets", "part", "help"];
    expect(suggestion(given, known)).toBe(`; did you mean "${ours}"?`);
  });

  const methodNames = methods.map(({ name }) => name);
  const shaperNames = shapers.map(({ name }) => name);
  test.each<[string, readonly string[], string | undefined]>([
    ["tool_calls", ["role", "content", "name", "tool_calls", "tool_call_id"], undefined], // itself
    ["tool_call", ["role", "content", "tool_calls", "tool_call_id"], "tool_calls"],
    ["samples", request, undefined], // of `samplers`, which others call the order
    ["samplerOrdr", request, "order"],
    ["option", ["method", "options"], "options"],
    ["", shaperNames, undefined],
    ["x", shaperNames, undefined],
    ["ab", shaperNames, undefined],
    ["abc", shaperNames, undefined],
    ["id", shaperNames, "icd"],
    ["lo", shaperNames, "lol"],
    ["dol", shaperNames, "dola"],
    ["ad", ["at", "add"], "add"],
    ["x", methodNames, undefined],
    ["bema", methodNames, "beam"],
    ["smp", methodNames, "smc"],
    ["Top_K", request, "topK"],
    ["temprature", request, "temperature"],
    ["zzzz", request, undefined],
  ])("%j is no other name by chance", (given, known, meant) => {
    expect(suggestion(given, known)).toBe(meant === undefined ? "" : `; did you mean "${meant}"?`);
  });

  test("a name of elsewhere counts only where ours is known", () => {
    expect(meantBy("stopSequences", ["weights"])).toBeUndefined();
    expect(meantBy("dtype", ["weights", "device"])).toBe("weights");
    expect(meantBy("num-beams", ["beams"])).toBe("beams");
    // Of several one slip away.
    expect(meantBy("stopp", ["topP", "stop"])).toBe("stop");
    expect(meantBy("toP", ["topK", "topP"])).toBe("topP");
    expect(meantBy("cid", ["cd", "icd"])).toBe("icd");
  });

  test("the beginning of exactly one name is near to it, from four letters on", () => {
    const known = ["warmupStableDecay", "cosine", "json_object", "json_schema"];
    expect(meantBy("warmupStable", known)).toBe("warmupStableDecay");
    expect(meantBy("json", known.slice(0, 3))).toBe("json_object");
    expect(meantBy("json", known)).toBeUndefined(); // of two it says nothing
    expect(meantBy("war", known)).toBeUndefined();
    expect(meantBy("warmupStable", known, 1)).toBeUndefined(); // where a word may be somebody's own
  });

  test("what the ways name exists", () => {
    for (const way of Object.values(requestWays)) {
      for (const [, name] of way.matchAll(/(?:name|method): "([^"]+)"/g)) expect(findMethod(name).name).toBe(name);
    }
  });

  test.each([
    ["beam_search", /did you mean "beam"/],
    ["speculative", /did you mean "chain"/],
    ["gredy", /did you mean "greedy"/],
    ["nucleus", /topP/],
    ["x", /is called "x"\. Methods/],
    ["", /is called ""\. Methods/],
    ["ab", /is called "ab"\. Methods/],
  ])("the method %s", (given, told) => {
    expect(() => findMethod(given)).toThrow(VentrisError);
    expect(() => findMethod(given)).toThrow(told);
  });

  test.each(["", "x", "ab"])("the shaper %j is like none", (given) => {
    expect(() => findShaper(given)).toThrow(`no shaper is called "${given}". Shapers: `);
  });
});
