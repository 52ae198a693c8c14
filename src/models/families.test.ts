import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { gpt2Config, llamaConfig } from "../../test/fixtures/tiny-model.ts";
import { VentrisError } from "../errors.ts";
import { familyOf } from "./families.ts";

function refusal(config: unknown): VentrisError {
  try {
    familyOf(config);
  } catch (error) {
    expect(error).toBeInstanceOf(VentrisError);
    expect((error as VentrisError).code).toBe("bad_config");
    return error as VentrisError;
  }
  throw new Error("it was not refused");
}

describe("fields of published configs", () => {
  it.each([
    // distilgpt2, and what other trainers and libraries leave in a config.json
    [gpt2Config, { id2label: { 0: "LABEL_0" }, label2id: { LABEL_0: 0 }, task_specific_params: { x: 1 } }],
    [llamaConfig, { num_labels: 2, problem_type: "x", finetuning_task: "mnli", torchscript: true, is_decoder: true }],
    [llamaConfig, { pruned_heads: {}, tokenizer_class: "LlamaTokenizer", unsloth_version: "2025.1", prefix: null }],
    [llamaConfig, { temperature: 0.6, top_p: 0.9, do_sample: true, max_length: 4096, rope_interleaved: false }],
    [llamaConfig, { is_encoder_decoder: false, add_cross_attention: false, cross_attention_hidden_size: null }],
  ])("that say nothing of the mathematics are passed over in silence", (base, fields) => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    expect(familyOf({ ...base, ...fields }).config).toEqual(familyOf(base).config);
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
  });

  it("that are unknown are told once when their names say nothing of the mathematics", () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    for (let i = 0; i < 2; i++) familyOf({ ...llamaConfig, trained_by: "somebody", wandb_run: 7 });
    expect(warn).toHaveBeenCalledTimes(1);
    expect(warn.mock.calls[0][0]).toMatch(/"trained_by", "wandb_run"/);
    warn.mockRestore();
  });

  it.each<[object, RegExp]>([
    [{ pruned_heads: { 0: [1] } }, /pruned_heads/],
    [{ embedding_multiplier: 12 }, /embedding_multiplier/],
    [{ final_logit_softcapping: 30 }, /final_logit_softcapping/],
    [{ no_rope_layers: [1, 0] }, /no_rope_layers/],
    [{ attn_temperature_tuning: 4 }, /attn_temperature_tuning/],
    [{ use_qk_norm: true }, /use_qk_norm/],
    [{ ropeTheta: 5 }, /ropeTheta/],
    [{ rope_interleaved: true }, /rope_interleaved/],
    [{ is_encoder_decoder: true }, /is_encoder_decoder/],
    [{ hiden_size: 32 }, /hiden_size.*did you mean hidden_size/],
    [{ rms_norm_esp: 1 }, /did you mean rms_norm_eps/],
  ])("that may matter are refused: %j", (fields, message) => {
    expect(refusal({ ...llamaConfig, ...fields }).message).toMatch(message);
  });

  it("of any length, depth and number take no time", () => {
    let deep: unknown = [];
    for (let i = 0; i < 50_000; i++) deep = [deep];
    const started = performance.now();
    expect(refusal({ ...llamaConfig, hidden_size: deep }).message.length).toBeLessThan(1000);
    expect(refusal({ ...llamaConfig, ["x".repeat(2_000_000)]: 1 }).message.length).toBeLessThan(4100);
    const many = Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`field${i}`, 1]));
    expect(refusal({ ...llamaConfig, ...many }).message).toMatch(/unknown fields/);
    expect(performance.now() - started).toBeLessThan(3000);
  });
});

describe("any config", () => {
  it("is read, or refused with our error, whatever a field holds", () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const value = fc.oneof(fc.jsonValue(), fc.constantFrom(-1, 0, 1e308, 2 ** 53, 0.5, "", "x", true));
    const field = fc.oneof(
      fc.constantFrom(
        ...Object.keys({ ...llamaConfig, ...gpt2Config }),
        "rope_scaling",
        "rope_parameters",
        "sliding_window",
        "layer_types",
        "head_dim",
      ),
      fc.string(),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(llamaConfig, gpt2Config),
        fc.dictionary(field, value, { maxKeys: 3 }),
        (base, fields) => {
          try {
            const { family, config } = familyOf({ ...base, ...fields });
            expect(config.layers).toBeGreaterThan(0);
            family.parameters({ ...config, layers: 1 });
          } catch (error) {
            expect(error).toBeInstanceOf(VentrisError);
          }
        },
      ),
      { numRuns: 2000 },
    );
    fc.assert(
      fc.property(fc.anything(), (config) => {
        expect(() => familyOf(config)).toThrow(VentrisError);
      }),
    );
    warn.mockRestore();
  });
});

describe("model_type", () => {
  it.each([
    ["LlamaForCausalLM", "llama"],
    ["Qwen2ForCausalLM", "qwen2"],
    ["MistralForCausalLM", undefined],
    ["LlamaForCausalLM", null],
  ])("agrees: %s and %s", (architecture, model_type) => {
    expect(familyOf({ ...llamaConfig, architectures: [architecture], model_type }).config.layers).toBe(2);
  });

  it.each([
    ["LlamaForCausalLM", "nosuch"],
    ["LlamaForCausalLM", "qwen2"],
    ["Qwen2ForCausalLM", "qwen3"],
    ["LlamaForCausalLM", ""],
    ["LlamaForCausalLM", 5],
  ])("contradicts: %s and %s", (architecture, model_type) => {
    expect(refusal({ ...llamaConfig, architectures: [architecture], model_type }).message).toMatch(/contradicts/);
  });
});
