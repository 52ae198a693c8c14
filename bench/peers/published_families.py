"""Random checkpoints of published families as Hugging Face's libraries write them, with what they compute of them: for published.mjs.

Usage: python3 bench/peers/published_families.py FOLDER CORPUS (needs torch, transformers 5 and tokenizers; CORPUS: any text, to train tokenizers on)

A folder for each model has config.json, model.safetensors and reference.json: tokens, logits in float64, and tokens written greedily. `tokenizers` has
NAME.json and NAME.reference.json: odd texts with their ids and what these are decoded to.
"""
import json
import os
import sys
import traceback

import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

folder, corpus = sys.argv[1], sys.argv[2]
base = dict(
    vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=128, pad_token_id=0, bos_token_id=1, eos_token_id=2,
)
wide = dict(base, head_dim=16)
phi = dict(base, num_key_value_heads=4, hidden_size=64)
gemma = dict(wide, query_pre_attn_scalar=24, sliding_window=8)
gemma3 = dict(gemma, num_hidden_layers=7)
granite = dict(base, embedding_multiplier=12.0, logits_scaling=8.0, residual_multiplier=0.22, attention_multiplier=0.0625)
gpt2 = dict(vocab_size=96, n_embd=32, n_layer=3, n_head=4, n_positions=128, bos_token_id=1, eos_token_id=2)
neox = dict(
    vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=128,
    bos_token_id=1, eos_token_id=2,
)
t5 = dict(
    vocab_size=96, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_decoder_layers=2, num_heads=4, decoder_start_token_id=0,
    pad_token_id=0, eos_token_id=1,
)


def rope(kind, theta=10000.0, **more):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=theta, **more))


stretched = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
near = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]
original = dict(original_max_position_embeddings=64)
cases = {
    "llama": ("Llama", base),
    "llama-headdim": ("Llama", dict(wide, tie_word_embeddings=True)),
    "llama-llama3": ("Llama", base | rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)),
    "llama-linear": ("Llama", base | rope("linear", 5000.0, factor=4.0)),
    "llama-yarn": ("Llama", base | rope("yarn", factor=4.0, original_max_position_embeddings=32)),
    "llama-dynamic": ("Llama", base | rope("dynamic", factor=4.0)),
    "llama-attention-bias": ("Llama", dict(base, attention_bias=True)),
    "llama-bias": ("Llama", dict(base, attention_bias=True, mlp_bias=True)),
    "mistral": ("Mistral", dict(base, sliding_window=8)),
    "mistral-full": ("Mistral", dict(wide, sliding_window=None)),
    "qwen2": ("Qwen2", base),
    "qwen2-window": ("Qwen2", dict(base, use_sliding_window=True, sliding_window=8, max_window_layers=2)),
    "qwen3": ("Qwen3", wide),
    "qwen3-window": ("Qwen3", dict(wide, use_sliding_window=True, sliding_window=8, max_window_layers=2)),
    "qwen3-yarn": ("Qwen3", wide | rope("yarn", 1e6, factor=4.0, original_max_position_embeddings=32)),
    "granite": ("Granite", dict(granite, tie_word_embeddings=True)),
    "granite-untied": ("Granite", dict(granite, tie_word_embeddings=False)),
    "olmo2": ("Olmo2", base),
    "olmo2-tied": ("Olmo2", dict(base, tie_word_embeddings=True)),
    "smollm3": ("SmolLM3", dict(base, no_rope_layer_interval=4)),
    "smollm3-window": ("SmolLM3", dict(base, no_rope_layer_interval=2, use_sliding_window=True, sliding_window=8)),
    "phi3": ("Phi3", base),
    "phi3-window": ("Phi3", dict(base, sliding_window=8)),
    "phi3-longrope": ("Phi3", phi | original | rope("longrope", short_factor=near, long_factor=stretched, **original)),
    "phi4-mini": (
        "Phi3",
        phi | original | dict(partial_rotary_factor=0.75, tie_word_embeddings=True)
        | rope("longrope", partial_rotary_factor=0.75, short_factor=[1.0] * 6, long_factor=stretched[:6], **original),
    ),
    "gemma": ("Gemma", wide),
    "gemma2": ("Gemma2", dict(gemma, attn_logit_softcapping=5.0, final_logit_softcapping=3.0)),
    "gemma3": ("Gemma3", gemma3),
    "gemma3-caps": ("Gemma3", dict(gemma3, final_logit_softcapping=3.0)),
    "gemma3-scaled": (
        "Gemma3",
        dict(
            gemma3,
            rope_parameters=dict(
                full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
                sliding_attention=dict(rope_type="default", rope_theta=10000.0),
            ),
        ),
    ),
    "gpt2": ("GPT2", gpt2),
    "gpt2-gelu": ("GPT2", dict(gpt2, n_inner=40, activation_function="gelu")),
    "gpt2-byindex": ("GPT2", dict(gpt2, scale_attn_by_inverse_layer_idx=True)),
    "gpt2-untied": ("GPT2", dict(gpt2, tie_word_embeddings=False)),
    "neox": ("GPTNeoX", neox),
    "neox-serial": ("GPTNeoX", dict(neox, use_parallel_residual=False, hidden_act="gelu_new", rotary_pct=1.0)),
    "neox-nobias": ("GPTNeoX", dict(neox, attention_bias=False)),
    "neox-linear": ("GPTNeoX", neox | rope("linear", factor=2.0, partial_rotary_factor=0.25)),
    "t5-flan": ("T5", dict(t5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)),
    "t5-v1": ("T5", dict(t5, feed_forward_proj="relu")),
}


def model_of(name, kind, options):
    """Weights large enough that every part shows in the logits."""
    config = getattr(transformers, "Gemma3TextConfig" if kind == "Gemma3" else f"{kind}Config")(**options)
    config._attn_implementation = "eager"
    task = {"GPT2": "LMHeadModel", "T5": "ForConditionalGeneration"}.get(kind, "ForCausalLM")
    model = getattr(transformers, kind + task)(config).float().eval()
    random = torch.Generator().manual_seed(sum(map(ord, name)))
    with torch.no_grad():
        for at, parameter in {p.data_ptr(): (n, p) for n, p in reversed(list(model.named_parameters()))}.values():
            values = torch.randn(parameter.shape, generator=random)
            if parameter.dim() == 1:
                centre = 0 if "bias" in at or "gemma" in name else 1  # Gemma's norms add one to what is stored
                parameter.copy_(centre + 0.2 * values)
            elif any(word in at for word in ("embed", "wte", "shared")):
                parameter.copy_(0.5 * values)
            else:
                parameter.copy_(0.9 / parameter.shape[-1] ** 0.5 * values)
    return model, random


def reference_of(kind, model, random):
    tokens = torch.randint(3, 96, (2, 48), generator=random)
    if kind == "T5":
        tokens = torch.cat([tokens[:, :20], torch.ones(2, 1, dtype=torch.long)], 1)
        start = torch.cat([torch.zeros(2, 1, dtype=torch.long), torch.randint(3, 96, (2, 11), generator=random)], 1)
        logits = model(input_ids=tokens, decoder_input_ids=start).logits
        greedy = model.generate(tokens[:1], max_new_tokens=12, num_beams=1, do_sample=False)[0, 1:]
        return dict(ids=tokens.tolist(), start=start.tolist(), logits=logits.tolist(), greedy=greedy.tolist())
    record = dict(ids=tokens.tolist(), logits=model(input_ids=tokens).logits.tolist())
    if getattr(model.config, "original_max_position_embeddings", None) == 64:
        long = torch.randint(3, 96, (1, 100), generator=random)
        record |= dict(long=long.tolist(), longLogits=model(input_ids=long).logits.tolist())
    prompt = tokens[:1, :24]
    written = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=20, min_new_tokens=20, do_sample=False)
    return record | dict(greedy=written[0, 24:].tolist())


for name, (kind, options) in cases.items():
    try:
        model, random = model_of(name, kind, options)
        model.save_pretrained(f"{folder}/{name}", safe_serialization=True)
        with torch.no_grad():
            reference = reference_of(kind, model.double(), random)
        with open(f"{folder}/{name}/reference.json", "w") as file:
            json.dump(reference, file)
    except Exception:
        print(name, "was not made:")
        traceback.print_exc(limit=2)

text = open(corpus, encoding="utf8").read()[:300_000].split("\n")
odd = json.load(open(os.path.join(os.path.dirname(__file__), "odd-texts.json"), encoding="utf8"))
bytes_alone = [f"<0x{i:02X}>" for i in range(256)]
alphabet = pre_tokenizers.ByteLevel.alphabet()
word = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def built(model, *, normalizer=None, pre=None, decoder=None):
    tokenizer = Tokenizer(model)
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre:
        tokenizer.pre_tokenizer = pre
    if decoder:
        tokenizer.decoder = decoder
    return tokenizer


def of_bytes(*first, normalizer=None, **more):
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not any(isinstance(f, pre_tokenizers.Split) for f in first))
    return built(models.BPE(**more), normalizer=normalizer, pre=pre_tokenizers.Sequence([*first, level]), decoder=decoders.ByteLevel())


def of_pieces(strips, **more):
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *([decoders.Strip(" ", 1, 0)] if strips else [])]
    return built(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True), decoder=decoders.Sequence(steps), **more)


level_bpe = trainers.BpeTrainer(vocab_size=800, initial_alphabet=alphabet, special_tokens=["<s>", "</s>", "<|im_start|>"], show_progress=False)
piece_bpe = trainers.BpeTrainer(vocab_size=900, special_tokens=["<unk>", "<s>", "</s>", *bytes_alone], show_progress=False)
unigram = trainers.UnigramTrainer(vocab_size=600, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False)
word_piece = trainers.WordPieceTrainer(vocab_size=600, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False)
prefixed = built(models.BPE(), pre=pre_tokenizers.ByteLevel(add_prefix_space=True), decoder=decoders.ByteLevel())
spaces = normalizers.Replace(Regex(" {2,}"), " ")
tokenizers = {
    "gpt2": (of_bytes(), level_bpe),
    "gpt2-prefix": (prefixed, level_bpe),
    "llama3": (of_bytes(pre_tokenizers.Split(Regex(word % "{1,3}"), "isolated"), ignore_merges=True), level_bpe),
    "qwen2": (of_bytes(pre_tokenizers.Split(Regex(word % ""), "isolated"), normalizer=normalizers.NFC()), level_bpe),
    "digits": (of_bytes(pre_tokenizers.Digits(individual_digits=True)), level_bpe),
    "llama2": (of_pieces(True, normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])), piece_bpe),
    "gemma": (of_pieces(False, normalizer=normalizers.Replace(" ", "▁"), pre=pre_tokenizers.Split(" ", "merged_with_previous")), piece_bpe),
    "mistral": (of_pieces(True, pre=pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)), piece_bpe),
    "t5": (
        built(
            models.Unigram(), normalizer=normalizers.Sequence([normalizers.NFKC(), spaces]), pre=pre_tokenizers.Metaspace(),
            decoder=decoders.Metaspace(),
        ),
        unigram,
    ),
    "bert": (
        built(
            models.WordPiece(unk_token="[UNK]"), normalizer=normalizers.BertNormalizer(lowercase=True),
            pre=pre_tokenizers.BertPreTokenizer(), decoder=decoders.WordPiece(),
        ),
        word_piece,
    ),
}
os.makedirs(f"{folder}/tokenizers", exist_ok=True)
for name, (tokenizer, trainer) in tokenizers.items():
    tokenizer.train_from_iterator(text, trainer)
    if name == "gpt2":
        tokenizer.add_tokens([AddedToken("<tool>", lstrip=True, rstrip=True, normalized=False), AddedToken("kingdom", single_word=True)])
    if name in ("llama2", "llama3"):
        begin = ("<s>", tokenizer.token_to_id("<s>"))
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[begin])
    stored = json.loads(tokenizer.to_str())
    stored["added_tokens"] = [added for added in stored["added_tokens"] if added["content"] not in bytes_alone]
    tokenizer = Tokenizer.from_str(json.dumps(stored))
    tokenizer.save(f"{folder}/tokenizers/{name}.json")
    records = []
    for one in odd:
        ids = tokenizer.encode(one).ids
        plain = tokenizer.encode(one, add_special_tokens=False).ids
        records.append(dict(text=one, ids=ids, plain=plain, decoded=tokenizer.decode(plain, skip_special_tokens=False)))
    with open(f"{folder}/tokenizers/{name}.reference.json", "w") as file:
        json.dump(records, file)
print(f"transformers {transformers.__version__}")
