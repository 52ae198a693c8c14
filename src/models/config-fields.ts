/** Fields of published configs that no architecture here reads: which may be passed over, and which may not. */
import { meantBy } from "../names.ts";

/** Fields that say nothing of the mathematics of inference, whatever their values. */
const harmless = new Set(
  `architectures model_type torch_dtype dtype transformers_version adapter_transformers_version unsloth_version unsloth_fixed
  transformers.js_config name_or_path auto_map description license tokenizer_class processor_class use_cache initializer_range
  initializer_std initializer_factor attention_dropout hidden_dropout attention_probs_dropout_prob hidden_dropout_prob
  classifier_dropout cache_implementation resid_pdrop embd_pdrop attn_pdrop gradient_checkpointing
  use_cache_quantization use_cache_kernel pad_token_id unk_token_id sep_token_id cls_token_id mask_token_id
  decoder_start_token_id output_attentions output_hidden_states output_scores return_dict return_dict_in_generate torchscript
  use_bfloat16 tf_legacy_loss problem_type finetuning_task num_labels id2label label2id task_specific_params summary_type
  summary_use_proj summary_activation summary_first_dropout summary_proj_to_labels is_llama_config is_decoder
  chunk_size_feed_forward attn_implementation cross_attention_hidden_size max_window_layers n_ctx prefix max_length max_new_tokens min_length
  min_new_tokens do_sample early_stopping num_beams num_beam_groups num_return_sequences diversity_penalty temperature top_k
  top_p min_p typical_p epsilon_cutoff eta_cutoff repetition_penalty length_penalty no_repeat_ngram_size
  encoder_no_repeat_ngram_size bad_words_ids forced_bos_token_id forced_eos_token_id suppress_tokens begin_suppress_tokens
  exponential_decay_length_penalty remove_invalid_values output_router_logits router_aux_loss_coef`.split(/\s+/),
);

/** Words of field names that may be about the mathematics. */
const weighty = new RegExp(
  `(^|_)(${`attn attention rope rotary alibi position positions positional theta window sliding causal mask query key value qk qkv q k v
  kv head heads layer layers block blocks norm norms normalization layernorm rms rmsnorm eps epsilon scale scales scaled scaling
  multiplier factor bias biases act activation activations gelu silu swiglu hidden intermediate inner width depth dim dims dimension
  size sizes embed embd embedding embeddings wpe wte vocab logit logits softcap softcapping cap clip clamp expert experts moe router
  topk gate gated gating mlp ffn ff feedforward conv ssm state mamba recurrent residual skip parallel tie tied share shared quant
  quantization quantized bits group lora adapter adapters pruned prune encoder decoder cross tp interleaved partial temperature
  compression config`
    .split(/\s+/)
    .join("|")})(_|$)`,
  "i",
);

/** Nothing is said by it: the feature that the field is about is absent or off. */
function saysNothing(value: unknown): boolean {
  return (
    value === null ||
    value === undefined ||
    value === false ||
    value === "" ||
    (typeof value === "object" && Object.keys(value as object).length === 0)
  );
}

/**
 * What to do about a field that was not read: nothing, say so once (its name says nothing of the mathematics), or refuse the config
 * (it may matter, or is a slip of the pen for `meant`, a field that is known).
 */
export function judgeField(
  name: string,
  value: unknown,
  known: readonly string[],
): { verdict: "ignore" | "warn" | "refuse"; meant?: string } {
  if (harmless.has(name) || name.startsWith("_") || saysNothing(value)) return { verdict: "ignore" };
  if (name.length > longestField) return { verdict: "refuse" };
  const words = name.replace(/([a-z0-9])([A-Z])/g, "$1_$2").replace(/[^A-Za-z0-9]+/g, "_");
  const meant = name.length >= 4 ? meantBy(name, known) : undefined;
  const slip = meant !== undefined && Math.abs(meant.length - name.length) <= 2 && differsLittle(name, meant);
  if (weighty.test(words) || slip) return { verdict: "refuse", meant };
  return { verdict: "warn" };
}

const longestField = 200;

/** Same letters but for two at most, counted without regard to their order. */
function differsLittle(a: string, b: string): boolean {
  const count = new Map<string, number>();
  for (const letter of a) count.set(letter, (count.get(letter) ?? 0) + 1);
  for (const letter of b) count.set(letter, (count.get(letter) ?? 0) - 1);
  return [...count.values()].reduce((sum, n) => sum + Math.abs(n), 0) <= 2;
}
